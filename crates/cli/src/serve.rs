//! `andiron serve`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use andiron::{Durability, Security};
use andiron_daemon::{Daemon, Options, StoreLimits};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};

use crate::address::{listenable, reachable};
use crate::failure::Failure;

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Where persistent entries are kept.
pub(crate) enum State {
    /// Where they are if nobody says.
    Usual,
    In(PathBuf),
    /// Nowhere.
    None,
}

/// What the store keeps, and how.
pub(crate) struct Kept {
    pub(crate) state: State,
    pub(crate) durability: Durability,
    pub(crate) limits: StoreLimits,
}

/// Serves at the local address, where there is to be one, and the others, until a signal comes or, `with_parent`, the standard input ends.
pub(crate) fn serve(
    local: Option<Option<&str>>,
    listen: &[String],
    advertise: &[String],
    with_parent: bool,
    Kept { state, durability, limits }: Kept,
    security: &Security,
) -> Result<(), Failure> {
    let mut addresses = Vec::new();
    if let Some(local) = local {
        addresses.push(listenable(local)?);
    }
    for address in listen {
        addresses.push(listenable(Some(address))?);
    }
    for address in advertise {
        reachable(address)?;
    }
    let mut signals =
        watch_signals().map_err(|error| Failure::Error(format!("cannot watch for signals: {error}")))?;
    if with_parent {
        end_with_input(signals.handle());
    }
    let (first, more) = addresses.split_first().ok_or_else(nowhere)?;
    let state = match state {
        State::None => None,
        State::In(folder) => Some(folder),
        State::Usual if local.is_none() => None,
        State::Usual => andiron_daemon::state_folder(first).map_err(|error| {
            Failure::Error(format!("{}, give a folder by `--state`, or `--no-state`", error.message()))
        })?,
    };
    let security = security.clone();
    let options = Options { state, durability, store: limits, security, ..Options::default() };
    let mut daemon = Daemon::bind_with(first, options)?;
    for address in more {
        daemon = daemon.listen(address)?;
    }
    for address in advertise {
        daemon = daemon.advertise(address)?;
    }
    let running = daemon.start()?;
    for address in running.addresses().iter().skip(advertise.len()) {
        eprintln!("listening at {address}");
    }
    signals.forever().next();
    if !running.stop() {
        eprintln!("andiron: some calls did not end in time; their callers cannot know whether they ran");
    }
    Ok(())
}

fn nowhere() -> Failure {
    Failure::Usage("there is no address to listen at: give one by `--listen`".to_owned())
}

/// The first signal is waited for, the second one ends the process at once.
fn watch_signals() -> io::Result<Signals> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        // In this order: the first signal finds the flag unset and then sets it.
        flag::register_conditional_shutdown(signal, 1, asked.clone())?;
        flag::register(signal, asked.clone())?;
    }
    Signals::new(SIGNALS)
}

/// Ends the wait for signals when the standard input does. The end of a pipe comes by whatever its other end goes, also where the parent is killed.
fn end_with_input(signals: Handle) {
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink()); // what cannot be read has ended as well
        signals.close();
    });
}
