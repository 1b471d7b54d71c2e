//! Noticing that this process is a forked copy, which must not use what it inherited as if it were its own.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between this process and the one that called [`watch`] first.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A number that differs between a process and its forked children. Compare it with the one that was noted when
/// a session was made: another one means that the session belongs to the parent.
///
/// Costs a few loads; starts watching by itself. A child made by a raw `clone` or `vfork`, without the C
/// library's fork, is not noticed.
pub fn generation() -> u32 {
    watch();
    // Relaxed: a child starts as one thread, whose handler ran before fork returned in it.
    GENERATION.load(Ordering::Relaxed)
}

/// Starts counting forks. [`generation`] does it as well; any number of calls is one.
#[allow(unsafe_code)]
pub fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        // SAFETY: the handler is a function of the right type that lives as long as the program, and it only
        // touches one atomic, which is allowed between fork and exec.
        let answer = unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        assert_eq!(answer, 0, "registering a fork handler fails only when memory is exhausted");
    });
}

/// Runs in the child before its fork returns.
extern "C" fn forked() {
    // Relaxed: no other thread exists yet, and threads started later see it by being started later.
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
