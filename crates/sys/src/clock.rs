//! The clock that times of life are counted by.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since this machine was started, with the time that it was suspended. Nobody can set this clock, so it never goes back and never
/// jumps: what is to end in an hour ends in an hour, also where the lid was closed meanwhile. It says nothing about the time of day, and
/// nothing to another machine.
///
/// Takes about 30 ns: the kernel is not entered.
///
/// ```
/// use andiron_sys::clock::since_boot;
/// let sent = since_boot();
/// assert!(since_boot() >= sent);
/// ```
pub fn since_boot() -> Duration {
    // `Instant` stands still while the machine is suspended, and what should have expired meanwhile would live on. Other systems than Linux
    // and Android do it as well with their monotonic clock, or have no other.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    // Neither part is negative: the clock begins at 0, and nanoseconds are below a second.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
