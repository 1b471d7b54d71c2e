//! The example service: gathers, answers, and calls back.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use common::Machine;

#[test]
fn facts_are_in_the_store_and_can_be_asked_for() {
    let mut machine = Machine::new();
    machine.serve("andiron serve");
    machine.provide("facts 0.05", "facts");
    let listed = machine.run("andiron ls --author facts --json");
    for subject in ["memory", "mounts", "processes"] {
        assert!(listed.contains(&format!("\"{subject}\"")), "{listed}");
    }
    assert!(machine.run("andiron get memory --author facts").contains("total_kib"));
    assert_eq!(machine.run("andiron call facts largest 3").matches("\"pid\"").count(), 3);
    assert!(machine.run("andiron call facts mount_of /proc/self").contains("proc"));
}

#[test]
fn a_watcher_is_called_back_when_facts_change() {
    let mut machine = Machine::new();
    machine.serve("andiron serve");
    machine.provide("facts 0.05", "facts");
    // Memory and processes of a machine that runs tests change all the time.
    let seen = machine.run("facts-watch 4");
    assert_eq!(seen.matches(" changed: version ").count(), 4, "{seen}");
    assert!(seen.contains("of memory are free") || seen.contains("MiB of memory"), "{seen}");
}

#[test]
fn an_address_in_the_environment_that_is_no_text_is_not_ignored() {
    let mut machine = Machine::new();
    machine.serve("andiron serve");
    let output =
        machine.shell("facts-watch").env("ANDIRON_ADDRESS", OsStr::from_bytes(b"\xff")).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not UTF-8"), "{output:?}");
}
