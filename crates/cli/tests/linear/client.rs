//! The processes that use the store, each with several threads.
//!
//! What they do to an entry is chosen and done here alone: an operation that the store offers has its place in [`Choice::pick`] and in
//! [`perform`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use andiron::{Changed, Connector, Entry, Hub, Store};
use fastrand::Rng;

use crate::common::{LONG, role, say};
use crate::history::{Answer, Op};
use crate::journal::Journal;

/// How many entries all of them share. The fewer, the more meets at each.
pub(crate) const ENTRIES: u32 = 5;

/// What a process says when it has done a number of operations again.
pub(crate) const WENT_ON: &str = "went on";

/// So many operations.
const A_WHILE: u64 = 400;

/// What one process is told when it is started; as a text it is its role.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) seed: u64,
    /// Whether it only reads.
    pub(crate) reads: bool,
}

/// Not a test of its own: a process that uses the store until it is told to end.
#[test]
pub(crate) fn client() {
    let Some(role) = role() else { return };
    let client: Client = serde_json::from_str(&role).unwrap();
    let folder = PathBuf::from(std::env::var_os(JOURNALS).unwrap());
    // Kept over the whole run, so what they remember is as old as it can be. Two threads share each.
    let kept = Connector::new("andiron").retry(LONG).connect().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let hub = (thread < 2).then(|| kept.clone());
            let journal = Journal::new(&folder, (client.number, thread));
            let worker = Worker {
                choice: Choice::new(client, thread),
                line: Line::new(hub),
                journal,
                over: over.clone(),
                done: done.clone(),
            };
            thread::spawn(move || worker.run())
        })
        .collect();
    say("ready");
    // Whoever started it says that it is over, or is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The variable that names the folder of the journals.
pub(crate) const JOURNALS: &str = "ANDIRON_TEST_JOURNALS";

/// One thread of a client.
struct Worker {
    choice: Choice,
    line: Line,
    journal: Journal,
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Worker {
    fn run(mut self) {
        while !self.over.load(Ordering::Relaxed) {
            let (key, op, times) = self.choice.pick();
            for _ in 0..times {
                let Some(store) = self.line.store() else { break };
                let answer = self.journal.act(key, op, || perform(&store, key, op));
                if answer.is_none() {
                    self.line.lost();
                    break;
                }
                if self.done.fetch_add(1, Ordering::Relaxed) % A_WHILE == A_WHILE - 1 {
                    say(WENT_ON);
                }
            }
        }
    }
}

/// What a thread does next.
pub(crate) struct Choice {
    rng: Rng,
    reads: bool,
    /// The last value that it set, which nobody else sets.
    value: i64,
}

impl Choice {
    pub(crate) fn new(client: Client, thread: u32) -> Choice {
        let Client { number, seed, reads } = client;
        let place = i64::from(number) * 100 + i64::from(thread);
        let rng = Rng::with_seed(seed.wrapping_add(place as u64));
        // Far from those of others, also with what is added to it.
        Choice { rng, reads, value: place << 40 }
    }

    /// An entry, an operation, and how many times.
    fn pick(&mut self) -> (u32, Op, u32) {
        let key = self.rng.u32(0..ENTRIES);
        match self.rng.u32(0..if self.reads { 40 } else { 100 }) {
            0..20 => (key, Op::Get, self.rng.u32(1..30)),
            20..40 => (key, Op::Ask, 1),
            40..85 => (key, self.set(), 1),
            _ => (key, Op::Delete, 1),
        }
    }

    pub(crate) fn set(&mut self) -> Op {
        self.value += 1 << 16;
        Op::Set { value: self.value }
    }
}

/// Does it. Errors are those of the store.
pub(crate) fn perform(store: &Store, key: u32, op: Op) -> andiron::Result<Answer> {
    let name = format!("entry {key}");
    let found = |entry: Option<Entry>| match entry {
        None => Ok(Answer::Missing),
        Some(entry) => Ok(Answer::Found { value: entry.value()?, version: entry.version }),
    };
    match op {
        Op::Get => found(store.entry(&name)?),
        Op::Ask => match store.get_if_changed(&name, 0)? {
            Changed::Yes(entry) => found(Some(entry)),
            Changed::Missing => found(None),
            Changed::No => panic!("there is no version 0"),
        },
        Op::Set { value } => Ok(Answer::Written { version: store.set(&name, &value)? }),
        Op::Delete => found(store.delete(&name)?),
        Op::SetFor { .. } | Op::SetIf { .. } | Op::Incr { .. } | Op::Restart => {
            panic!("{op:?} is not among what clients do")
        }
    }
}

/// A way to the store: one that is kept whatever happens, or one that is made anew when it was lost.
struct Line {
    kept: bool,
    store: Option<Store>,
}

impl Line {
    fn new(kept: Option<Hub>) -> Line {
        Line { kept: kept.is_some(), store: kept.map(|hub| hub.store()) }
    }

    /// `None`: nobody is there at the moment.
    fn store(&mut self) -> Option<Store> {
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

    fn lost(&mut self) {
        if !self.kept {
            self.store = None;
        }
    }
}
