//! Limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No more descriptors than this are asked for, whatever is allowed: some programs walk through all of them.
const ENOUGH_DESCRIPTORS: u64 = 1 << 20;

/// The number of descriptors that this process may open now.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the number of descriptors that this process may open to what it is allowed to raise it to, 1,048,576
/// at most, and answers the number that holds now. Never lowers it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = descriptor_limit();
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(ENOUGH_DESCRIPTORS);
    if wanted <= current {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}
