//! What became of pages that are mapped.

use andiron_sys::pages::are_of_file;

#[test]
fn what_was_written_is_no_part_of_a_file() {
    let mut written = vec![0_u8; 64 << 20];
    written[32 << 20] = 1; // one page of many is enough
    assert!(!are_of_file(written.as_ptr() as usize, written.len()));
}

#[test]
fn the_code_that_runs_is_that_of_its_file() {
    assert!(are_of_file(are_of_file as *const () as usize, 1));
}

#[test]
fn of_what_is_no_memory_nothing_is_known() {
    assert!(!are_of_file(usize::MAX - 4096, 4096));
}
