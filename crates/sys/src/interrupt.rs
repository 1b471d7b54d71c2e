//! Waits that a signal ends, for programs whose signal handlers only leave a note, as those of Python.
//!
//! A wait goes on behind a signal until a program says that it wants to look at its notes: from then on [`poll::wait`](crate::poll::wait) and
//! [`socket::recv`](crate::socket::recv) end with [`Interrupted`](std::io::ErrorKind::Interrupted).

use std::sync::OnceLock;

/// Looks whether a signal asks for the end of a wait.
pub type Look = fn() -> bool;

static LOOK: OnceLock<Look> = OnceLock::new();

/// Has signals end waits, and `look` be asked then whether to give the wait up. The first one who says so is asked.
pub fn watch(look: Look) {
    LOOK.get_or_init(|| look);
}

/// True where signals end waits.
pub fn is_watched() -> bool {
    LOOK.get().is_some()
}

/// True where a signal came that asks for the end of this thread's wait.
pub fn asked() -> bool {
    LOOK.get().is_some_and(|look| look())
}
