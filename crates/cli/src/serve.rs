//! `andiron serve`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use andiron_daemon::Daemon;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::failure::Failure;

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

pub(crate) fn serve(address: &str) -> Result<(), Failure> {
    let mut signals =
        watch_signals().map_err(|error| Failure::Error(format!("cannot watch for signals: {error}")))?;
    let running = Daemon::bind(address)?.start()?;
    eprintln!("listening at {}", running.socket_path().display());
    signals.forever().next();
    if !running.stop() {
        eprintln!("andiron: some calls did not end in time; their callers cannot know whether they ran");
    }
    Ok(())
}

/// The first signal is waited for, the second one ends the process at once.
fn watch_signals() -> std::io::Result<Signals> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        // In this order: the first signal finds the flag unset and then sets it.
        flag::register_conditional_shutdown(signal, 1, asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    Signals::new(SIGNALS)
}
