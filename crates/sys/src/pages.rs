//! What became of pages that are mapped.

use std::fs::File;
use std::os::unix::fs::FileExt;

const ENTRY: usize = 8;
/// Entries that are asked for at once.
const ENTRIES: usize = 4096;

/// The page is in memory, or swapped out; and it is one of a file, and no copy.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// Whether a file that is mapped privately at this address of this process shows as it is there: no page was written, and thereby copied. False where the
/// system does not tell.
pub fn are_of_file(address: usize, length: usize) -> bool {
    told(address, length).unwrap_or(false)
}

fn told(address: usize, length: usize) -> std::io::Result<bool> {
    let page = rustix::param::page_size();
    let map = File::open("/proc/self/pagemap")?;
    let mut buffer = vec![0; ENTRIES * ENTRY];
    let (mut at, end) = (address / page, address.saturating_add(length).div_ceil(page));
    while at < end {
        let some = &mut buffer[..(end - at).min(ENTRIES) * ENTRY];
        map.read_exact_at(some, (at * ENTRY) as u64)?;
        let changed = some.chunks_exact(ENTRY).any(|entry| {
            let entry = entry.try_into().map_or(SWAPPED, u64::from_ne_bytes);
            entry & (PRESENT | SWAPPED) != 0 && entry & OF_FILE == 0
        });
        if changed {
            return Ok(false);
        }
        at += some.len() / ENTRY;
    }
    Ok(true)
}
