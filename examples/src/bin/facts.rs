//! Gathers facts about this machine into the store of the daemon, and answers questions about them as the object `facts`.
//!
//! Usage: `facts [SECONDS]`, the time between two looks, 2 by default. Runs until the daemon ends.

use std::thread;
use std::time::Duration;

use andiron::{Error, ErrorKind, Result, Store};
use andiron_examples::{AUTHOR, Facts, Snapshot, proc};

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(2.0);
    let pause = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(2));
    let hub = andiron::connect()?;
    let facts = Facts::default();
    let store = hub.store().author(AUTHOR);
    gather(&store, &facts)?; // what is asked first is there already
    hub.register("facts", facts.clone())?;
    let gatherer = thread::spawn(move || {
        loop {
            thread::sleep(pause);
            if let Err(error) = gather(&store, &facts) {
                return error;
            }
        }
    });
    hub.run()?;
    match gatherer.is_finished() {
        true => {
            Err(gatherer.join().unwrap_or_else(|_| Error::new(ErrorKind::Internal, "the gatherer panicked")))
        }
        false => Ok(()),
    }
}

/// Looks once: what changed goes into the store, and its watchers are told.
fn gather(store: &Store, facts: &Facts) -> Result<()> {
    let unreadable = |error| Error::new(ErrorKind::Unavailable, format!("cannot read /proc: {error}"));
    let new = Snapshot {
        memory: proc::memory().map_err(unreadable)?,
        processes: proc::processes().map_err(unreadable)?,
        mounts: proc::mounts().map_err(unreadable)?,
    };
    let changed = facts.update(new.clone());
    for subject in &changed {
        match *subject {
            "memory" => store.set(subject, &new.memory)?,
            "processes" => store.set(subject, &new.processes)?,
            _ => store.set(subject, &new.mounts)?,
        };
    }
    for subject in changed {
        facts.tell_watchers(subject);
    }
    Ok(())
}
