//! Andiron's store as its users use it: a daemon, and a client that reads and writes.

use std::hint::black_box;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use andiron::{Blob, Connector, Durability, Put, Store};
use andiron_bench::{Client, LOG_FILLED, Laps, Register, WRITERS, Workload, say_ready, together};
use andiron_daemon::{Daemon, Options};
use andiron_sys::board::{Board, BoardView, Slot};
use anyhow::{Context, Result, bail, ensure};

use crate::big::sum;
use crate::own::address;

/// The name of the entry where there is one.
const NAME: &str = "value";
/// The codec of bytes as they are.
const RAW: u8 = 3;

/// `state`: where it keeps what is persistent.
pub(crate) fn serve(socket: &Path, state: Option<&PathBuf>) -> Result<()> {
    let options = Options { state: state.cloned(), ..Options::default() };
    let running = Daemon::bind_with(&address(socket), options)?.start()?;
    say_ready()?;
    running.wait(); // until the harness is gone
    Ok(())
}

/// Reads small values that are cached: by their names, or one by a cell.
pub(crate) struct Cached {
    store: Store,
    by_cell: bool,
}

impl Cached {
    pub(crate) fn connect(socket: &Path, by_cell: bool) -> Result<Cached> {
        let store = Connector::new(address(socket)).connect()?.store();
        for name in names() {
            store.set_bytes(&name, small(), RAW)?;
        }
        Ok(Cached { store, by_cell })
    }
}

impl Client for Cached {
    fn looped(&mut self, calls: usize) -> Result<()> {
        let names = names();
        if self.by_cell {
            let mut cell = self.store.cell(&names[0]);
            for _ in 0..calls {
                black_box(cell.entry()?.context("no entry")?.bytes.as_ref());
            }
        } else {
            for name in names.iter().cycle().take(calls) {
                let entry = self.store.entry(name)?.context("no entry")?;
                black_box(entry.bytes.as_ref());
            }
        }
        Ok(())
    }
}

/// Asks the board alone. It is one of this process: whose it is does not change what a look costs.
pub(crate) struct Check {
    view: BoardView,
    _board: Board,
}

impl Check {
    pub(crate) fn new() -> Result<Check> {
        let incarnation = [1; 16];
        let board = Board::new(incarnation)?;
        let view = BoardView::open(board.as_fd().try_clone_to_owned()?, incarnation)?;
        board.bump(Slot::of_hash(7), 1);
        Ok(Check { view, _board: board })
    }
}

impl Client for Check {
    fn looped(&mut self, calls: usize) -> Result<()> {
        let (slot, mut current) = (Slot::of_hash(7), true);
        for _ in 0..calls {
            current &= black_box(&self.view).is_current(slot, 1);
        }
        ensure!(current, "nobody wrote");
        Ok(())
    }
}

/// Asks the daemon each time.
pub(crate) struct Asking {
    store: Store,
    workload: Workload,
    own: Vec<u8>,
    frozen: Blob,
}

impl Asking {
    pub(crate) fn connect(socket: &Path, workload: Workload) -> Result<Asking> {
        let store = Connector::new(address(socket)).cache(0).connect()?.store();
        let frozen = match workload.is_big() {
            true => Blob::zeroed(workload.length())?.freeze()?,
            false => small().into(),
        };
        store.set_bytes(NAME, &frozen, RAW)?;
        let own = match workload {
            Workload::Freeze(_) | Workload::FreezeCopy(_) | Workload::SetCopy(_) => {
                vec![1; workload.length()]
            }
            _ => Vec::new(),
        };
        Ok(Asking { store, workload, own, frozen })
    }

    fn get(&self) -> Result<Blob> {
        Ok(self.store.entry(NAME)?.context("no entry")?.bytes)
    }

    /// Makes something big, which is freed at no expense of the figure.
    fn make(&self, laps: &mut Laps, make: impl Fn(&[u8]) -> Result<Blob>) -> Result<()> {
        while laps.next() {
            let made = make(&self.own)?;
            laps.apart(|| drop(made));
        }
        Ok(())
    }
}

impl Client for Asking {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        match self.workload {
            Workload::Get | Workload::First(_) => {
                while laps.next() {
                    black_box(self.get()?[0]);
                }
            }
            Workload::Set | Workload::SetFrozen(_) => {
                while laps.next() {
                    self.store.set_bytes(NAME, &self.frozen, RAW)?;
                }
            }
            Workload::Freeze(_) => self.make(laps, |own| {
                let mut blob = Blob::zeroed(own.len())?;
                blob.copy_from_slice(own);
                Ok(blob.freeze()?)
            })?,
            Workload::FreezeCopy(_) => self.make(laps, |own| Ok(own.into()))?,
            Workload::SetCopy(_) => {
                while laps.next() {
                    self.store.set_bytes(NAME, &self.own, RAW)?;
                }
            }
            Workload::ReadAll(_) => {
                while laps.next() {
                    black_box(sum(&self.get()?));
                }
            }
            Workload::ReadAgain(_) => {
                let value = self.get()?;
                black_box(sum(&value));
                while laps.next() {
                    black_box(sum(&value));
                }
            }
            other => bail!("no part in {}", other.name()),
        }
        Ok(())
    }
}

/// Sets small values that outlive the daemon; one that does not, to compare, is `plain`.
pub(crate) struct Lasting {
    /// The writers' connections, and what they set.
    writers: Vec<(Store, Put)>,
}

impl Lasting {
    pub(crate) fn connect(socket: &Path, workload: Workload, plain: bool) -> Result<Lasting> {
        let durability = if workload.is_synced() { Durability::Sync } else { Durability::Relaxed };
        let writers = if workload == Workload::SyncMany { WRITERS } else { 1 };
        let writer = |number| {
            let put = Put::bytes(&format!("{NAME}:{number}"), small(), RAW);
            let put = if plain { put } else { put.persist().durability(durability) };
            Ok((Connector::new(address(socket)).cache(0).connect()?.store(), put))
        };
        let writers = (0..writers).map(writer).collect::<Result<Vec<(Store, Put)>>>()?;
        let (store, put) = &writers[0];
        for _ in 0..LOG_FILLED {
            store.set_with(put.clone().durability(Durability::Relaxed))?;
        }
        Ok(Lasting { writers })
    }
}

impl Client for Lasting {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let (store, put) = &self.writers[0];
        while laps.next() {
            store.set_with(put.clone())?;
        }
        Ok(())
    }

    fn pipelined(&mut self, _: usize, calls: usize) -> Result<()> {
        together(&mut self.writers, calls, |(store, put)| {
            store.set_with(put.clone())?;
            Ok(())
        })
    }
}

/// A number that is written by one process and read by another.
pub(crate) struct Number(Store);

impl Number {
    pub(crate) fn connect(socket: &Path) -> Result<Number> {
        Ok(Number(Connector::new(address(socket)).connect()?.store()))
    }
}

impl Register for Number {
    fn set(&mut self, number: u64) -> Result<()> {
        self.0.set(NAME, &number)?;
        Ok(())
    }

    fn get(&mut self) -> Result<u64> {
        self.0.get(NAME)?.context("no entry")
    }
}

fn small() -> Vec<u8> {
    vec![7; Workload::Get.length()]
}

fn names() -> Vec<String> {
    (0..100).map(|number| format!("key:{number:07}")).collect()
}
