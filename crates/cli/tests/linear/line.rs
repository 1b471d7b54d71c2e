//! A way of a test's process to the store.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use andiron::{Entry, Hub, Store, StoreCell};

use crate::common::say;

/// What a process says when it has ended well.
pub(crate) const WELL: &str = "ended well";

/// A connection that is kept whatever happens, or one that is made anew when it was lost.
#[derive(Default)]
pub(crate) struct Line {
    kept: bool,
    store: Option<Store>,
    /// `None`: entries are read by name.
    cells: Option<HashMap<String, StoreCell>>,
}

impl Line {
    /// Over a hub that retries.
    pub(crate) fn kept(hub: &Hub) -> Line {
        Line { kept: true, store: Some(hub.store()), cells: None }
    }

    /// The same, read by cells, which are kept as long as the connection.
    pub(crate) fn by_cells(self) -> Line {
        Line { cells: Some(HashMap::new()), ..self }
    }

    /// `None`: nobody is there at the moment.
    pub(crate) fn store(&mut self) -> Option<Store> {
        if self.store.is_none() {
            match andiron::connect() {
                Ok(hub) => self.store = Some(hub.store()),
                // Nobody tells when a daemon is there.
                Err(error) if error.is_temporary() => thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("no way to the store: {error:?}"),
            }
        }
        self.store.clone()
    }

    /// Reads an entry, from what is remembered where that is current.
    pub(crate) fn entry(&mut self, store: &Store, name: &str) -> andiron::Result<Option<Entry>> {
        match &mut self.cells {
            None => store.entry(name),
            Some(cells) => {
                let cell = cells.entry(name.to_owned()).or_insert_with(|| store.cell(name));
                Ok(cell.entry()?.cloned())
            }
        }
    }

    /// An operation had no answer.
    pub(crate) fn lost(&mut self) {
        if !self.kept {
            self.store = None;
            self.cells.iter_mut().for_each(HashMap::clear);
        }
    }
}

/// Says that this process is ready, and does this until whoever started it tells it a line or is gone: then the flag is set.
pub(crate) fn until_told(act: impl FnOnce(&AtomicBool) + Send) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let acts = scope.spawn(|| act(&over));
        say("ready");
        let _ = std::io::stdin().read(&mut [0]);
        over.store(true, Ordering::Relaxed);
        acts.join().expect("it went well");
    });
    say(WELL);
}
