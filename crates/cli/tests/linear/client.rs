//! The processes that use the store, each with several threads.
//!
//! What they do to an entry is chosen and done here alone: an operation that the store offers has its place in [`Choice::pick`] and in
//! [`perform`]; what it means is said in [`Op`] and known to the checker.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use andiron::{Changed, Connector, Durability, Entry, Put, Store};
use fastrand::Rng;

use crate::common::{LONG, role, say};
use crate::history::{Answer, Op};
use crate::journal::Journal;
use crate::line::{Line, until_told};

/// How many entries all of them share. The fewer, the more meets at each.
pub(crate) const ENTRIES: u32 = 6;

/// The entry that has two names, of which each has always what the other has, since both are set at once.
const PAIR: u32 = ENTRIES - 1;

/// What a process says when it has done something a number of times again.
pub(crate) const WENT_ON: &str = "went on";

/// So many times.
const A_WHILE: u64 = 100;

/// What one process is told when it is started; as a text it is its role.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) seed: u64,
    /// Whether it only reads.
    pub(crate) reads: bool,
    /// Whether it has some of what it sets be kept.
    pub(crate) keeps: bool,
}

/// Not a test of its own: a process that uses the store until it is told to end.
#[test]
fn client() {
    let Some(role) = role() else { return };
    let client: Client = serde_json::from_str(&role).unwrap();
    let folder = PathBuf::from(std::env::var_os(JOURNALS).unwrap());
    // Kept over the whole run, so what they remember is as old as it can be. Some remember two entries at most.
    let cache = if client.number.is_multiple_of(2) { 64 << 20 } else { 1 << 10 };
    let kept = Connector::new("andiron").retry(LONG).cache(cache).connect().unwrap();
    let lines =
        [Line::kept(&kept), Line::kept(&kept).by_cells(), Line::default(), Line::default().by_cells()];
    let done = AtomicU64::new(0);
    until_told(|over| {
        thread::scope(|scope| {
            for (thread, line) in (0..).zip(lines) {
                let journal = Journal::new(&folder, (client.number, thread));
                let worker = Worker { choice: Choice::new(client, thread), line, journal };
                scope.spawn(|| worker.run(over, &done));
            }
        });
    });
}

/// The variable that names the folder of the journals.
pub(crate) const JOURNALS: &str = "ANDIRON_TEST_JOURNALS";

/// One thread of a client.
struct Worker {
    choice: Choice,
    line: Line,
    journal: Journal,
}

impl Worker {
    fn run(mut self, over: &AtomicBool, done: &AtomicU64) {
        while !over.load(Ordering::Relaxed) {
            let deed = self.choice.pick();
            for _ in 0..deed.times {
                let Some(store) = self.line.store() else { break };
                let Some(answer) =
                    self.journal.act(deed.key, deed.op, || perform(&mut self.line, &store, deed))
                else {
                    self.line.lost();
                    break;
                };
                self.choice.heard(deed.key, answer);
            }
            if done.fetch_add(1, Ordering::Relaxed) % A_WHILE == A_WHILE - 1 {
                say(WENT_ON);
            }
        }
    }
}

/// What a thread does next.
pub(crate) struct Choice {
    rng: Rng,
    reads: bool,
    keeps: bool,
    /// The last value that it set, which nobody else sets.
    value: i64,
    /// The last version of each entry that it heard of.
    versions: [u64; ENTRIES as usize],
}

/// One operation, some times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed {
    pub(crate) key: u32,
    pub(crate) op: Op,
    times: u32,
    /// Which of its names is used to read an entry that has two.
    name: usize,
}

impl Choice {
    pub(crate) fn new(client: Client, thread: u32) -> Choice {
        let Client { number, seed, reads, keeps } = client;
        let place = i64::from(number) * 100 + i64::from(thread);
        let rng = Rng::with_seed(seed.wrapping_add(place as u64));
        // Far from those of others, also with what is added to it.
        Choice { rng, reads, keeps, value: place << 40, versions: [0; ENTRIES as usize] }
    }

    fn pick(&mut self) -> Deed {
        let key = self.rng.u32(0..ENTRIES);
        let version = self.versions[key as usize];
        let all = match key {
            _ if self.reads => 40,
            PAIR => 80,
            _ => 100,
        };
        let op = match self.rng.u32(0..all) {
            0..20 => Op::Get,
            20..25 => Op::GetWithin { age: self.rng.u64(1..20) * 1_000_000 },
            25..40 => Op::Ask,
            40..62 => return self.set(key),
            62..70 => Op::SetFor { value: self.value(), ttl: self.rng.u64(1..20) * 1_000_000 },
            70..80 => Op::SetIf { value: self.value(), version },
            80..84 => Op::DeleteIf { version: version.max(1) },
            84..92 => Op::Delete,
            96.. if self.keeps => Op::Persist { persist: self.rng.bool() },
            _ => Op::Incr { by: self.rng.i64(1..5) },
        };
        // Long enough to meet with what others write.
        let times = if matches!(op, Op::Get | Op::GetWithin { .. }) { self.rng.u32(1..200) } else { 1 };
        Deed { key, op, times, name: self.rng.usize(0..2) }
    }

    pub(crate) fn set(&mut self, key: u32) -> Deed {
        let value = self.value();
        let keeps = self.keeps && self.rng.u8(0..4) > 0;
        let op = if keeps { Op::Keep { value } } else { Op::Set { value } };
        Deed { key, op, times: 1, name: 0 }
    }

    fn value(&mut self) -> i64 {
        self.value += 1 << 16;
        self.value
    }

    fn heard(&mut self, key: u32, answer: Answer) {
        if let Answer::Found { version, .. } | Answer::Written { version } = answer {
            self.versions[key as usize] = version;
        }
    }
}

/// Does it once. Errors are those of the store.
pub(crate) fn perform(line: &mut Line, store: &Store, deed: Deed) -> andiron::Result<Answer> {
    let names = match deed.key {
        PAIR => vec!["one of two".to_owned(), "two of two".to_owned()],
        key => vec![format!("entry {key}")],
    };
    let name = &names[deed.name % names.len()];
    let found = |entry: Option<Entry>| match entry {
        None => Ok(Answer::Missing),
        Some(entry) => Ok(Answer::Found { value: entry.value()?, version: entry.version }),
    };
    let set = |value: i64, how: &dyn Fn(Put) -> Put| {
        let puts = names.iter().map(|name| Ok(how(Put::new(name, &value)?)));
        let mut puts = puts.collect::<andiron::Result<Vec<Put>>>()?;
        let version = match names.len() {
            1 => store.set_with(puts.remove(0))?,
            _ => store.set_many(puts)?,
        };
        Ok(Answer::Written { version })
    };
    match deed.op {
        Op::Get => found(line.entry(store, name)?),
        Op::GetWithin { age } => found(store.max_staleness(Duration::from_nanos(age)).entry(name)?),
        Op::Ask => match store.get_if_changed(name, 0)? {
            Changed::Yes(entry) => found(Some(entry)),
            Changed::Missing => found(None),
            Changed::No => panic!("there is no version 0"),
        },
        Op::Set { value } => set(value, &|put| put),
        Op::Keep { value } => set(value, &|put| put.persist().durability(durability_of(value))),
        Op::Persist { persist } => {
            Ok(if store.persist(name, persist)? { Answer::Done } else { Answer::Missing })
        }
        Op::SetFor { value, ttl } => set(value, &|put| put.ttl(Duration::from_nanos(ttl))),
        Op::SetIf { value, version } => set(value, &|put| put.if_version(version)),
        Op::Delete => found(store.delete(name)?),
        Op::DeleteIf { version } => found(store.delete_if_version(name, version)?),
        Op::Incr { by } => Ok(Answer::Counted { value: store.incr(name, by)? }),
        Op::Restart => panic!("clients do not start the daemon"),
    }
}

/// Now and then one is to survive more than a kill, and takes another way to the disk.
fn durability_of(value: i64) -> Durability {
    if (value >> 16) % 8 == 0 { Durability::Sync } else { Durability::Relaxed }
}
