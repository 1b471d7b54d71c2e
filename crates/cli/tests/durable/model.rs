//! What a client does to entries that are its own, and what it knows of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use andiron::{Durability, Entry, ErrorKind, Put, Result, Store};
use fastrand::Rng;

/// A value of so many bytes has a file of its own.
pub(crate) const BIG: usize = 1 << 20;
/// Bytes as they are.
const BYTES: u8 = 3;
/// Far behind the end of every test.
const LONG_LIFE: Duration = Duration::from_secs(1_000_000);

/// The entries of a client: of which of its two authors, and the name.
const KEYS: [(bool, &str); 8] = [
    (false, ""),
    (false, "a"),
    (false, "../~"),
    (false, "@b"),
    (true, "a"),
    (true, "\0"),
    (true, "\u{1f525}"),
    (false, COUNTER),
];
/// The last one is a number.
const COUNTER: &str = "counter";

/// An entry, as far as its client knows it.
#[derive(Clone)]
pub(crate) struct Known {
    bytes: Arc<Vec<u8>>,
    codec: u8,
    persistent: bool,
    version: Version,
    timestamp: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    Is(u64),
    /// Nobody was told it, and before it this one was the largest that the client was told.
    Above(u64),
}

/// The entries of one client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    known: BTreeMap<usize, Known>,
    /// The largest version that the client was told.
    pub(crate) seen: u64,
}

/// Something that is done with one operation.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Read(usize),
    Set(Vec<Given>),
    Delete(usize),
    Count(i64),
    Persist(usize, bool),
    /// All of the first author.
    Clear,
}

#[derive(Clone)]
pub(crate) struct Given {
    key: usize,
    bytes: Arc<Vec<u8>>,
    codec: u8,
    persist: bool,
    stays: bool,
    durability: Option<Durability>,
}

impl Deed {
    pub(crate) fn pick(rng: &mut Rng) -> Deed {
        let key = rng.usize(..KEYS.len());
        match rng.u32(..100) {
            0..10 => Deed::Read(key),
            10..55 => Deed::Set(vec![Given::pick(rng, key)]),
            55..67 => {
                let keys: Vec<usize> = (0..KEYS.len()).filter(|_| rng.bool()).collect();
                Deed::Set(keys.into_iter().map(|key| Given::pick(rng, key)).collect())
            }
            67..79 => Deed::Delete(key),
            79..88 => Deed::Count(rng.i64(1..100)),
            88..98 => Deed::Persist(key, rng.u8(..3) > 0),
            _ => Deed::Clear,
        }
    }
}

impl Given {
    fn pick(rng: &mut Rng, key: usize) -> Given {
        let (bytes, codec) = if KEYS[key].1 == COUNTER {
            (vec![rng.u8(..100)], 1) // as it is in the native codec
        } else {
            let length = match rng.u32(..100) {
                0..3 => BIG + rng.usize(..1000),
                3..10 => rng.usize(..50_000),
                _ => rng.usize(..100),
            };
            let mut bytes = vec![rng.u8(..); length];
            let changed = length.min(32);
            rng.fill(&mut bytes[..changed]);
            (bytes, BYTES)
        };
        let durability = match rng.u8(..8) {
            0 => Some(Durability::Sync),
            1 => Some(Durability::Relaxed),
            _ => None,
        };
        let (persist, stays) = (rng.u8(..4) > 0, rng.u8(..4) > 0);
        Given { key, bytes: Arc::new(bytes), codec, persist, stays, durability }
    }

    fn put(&self, author: u32) -> Put {
        let (second, name) = KEYS[self.key];
        let put =
            Put::bytes(name, self.bytes.as_ref().clone(), self.codec).author(&author_of(author, second));
        let put = if self.persist { put.persist() } else { put };
        let put = if self.stays { put } else { put.ttl(LONG_LIFE) };
        self.durability.into_iter().fold(put, Put::durability)
    }
}

fn author_of(client: u32, second: bool) -> String {
    if second { format!("{client}/~@") } else { client.to_string() }
}

/// The store as the author of this entry has it, and the entry's name.
fn at(store: &Store, client: u32, key: usize) -> (Store, &'static str) {
    let (second, name) = KEYS[key];
    (store.author(&author_of(client, second)), name)
}

impl Entries {
    /// Does something, and knows what came of it. What it is told has to be what it knows.
    pub(crate) fn act(&mut self, store: &Store, client: u32, deed: &Deed) -> Result<()> {
        match deed {
            Deed::Read(key) => {
                let (store, name) = at(store, client, *key);
                let found = store.entry(name)?;
                self.learn(*key, found.as_ref());
            }
            Deed::Set(given) => {
                let mut puts: Vec<Put> = given.iter().map(|given| given.put(client)).collect();
                let version = match puts.len() {
                    0 => return Ok(()),
                    1 => store.set_with(puts.remove(0))?,
                    _ => store.set_many(puts)?,
                };
                self.tell(version);
                self.apply(deed);
                for given in given {
                    self.known.entry(given.key).and_modify(|known| known.version = Version::Is(version));
                }
            }
            Deed::Delete(key) => {
                let (store, name) = at(store, client, *key);
                let found = store.delete(name)?;
                self.learn(*key, found.as_ref());
                self.apply(deed);
            }
            Deed::Count(by) => {
                let (store, name) = at(store, client, COUNTER_KEY);
                let value = store.incr(name, *by)?;
                assert_eq!(Some(value), self.count().checked_add(*by));
                self.apply(deed);
            }
            Deed::Persist(key, persist) => {
                let (store, name) = at(store, client, *key);
                assert_eq!(store.persist(name, *persist)?, self.known.contains_key(key));
                self.apply(deed);
            }
            Deed::Clear => {
                let count = store.author(&author_of(client, false)).clear()?;
                let known = self.known.keys().filter(|key| !KEYS[**key].0).count();
                assert_eq!(count, known as u64);
                self.apply(deed);
            }
        }
        Ok(())
    }

    /// The same, where nobody tells what came of it.
    pub(crate) fn apply(&mut self, deed: &Deed) {
        let version = Version::Above(self.seen);
        match deed {
            Deed::Read(_) => {}
            Deed::Set(given) => {
                for Given { key, bytes, codec, persist, .. } in given {
                    let (bytes, codec, persistent) = (bytes.clone(), *codec, *persist);
                    let known = Known { bytes, codec, persistent, version, timestamp: None };
                    self.known.insert(*key, known);
                }
            }
            Deed::Delete(key) => drop(self.known.remove(key)),
            Deed::Count(by) => {
                let bytes = andiron_proto::codec::to_vec(&(self.count() + by)).unwrap();
                let persistent = self.known.get(&COUNTER_KEY).is_some_and(|known| known.persistent);
                let bytes = Arc::new(bytes);
                let known = Known { bytes, codec: 1, persistent, version, timestamp: None };
                self.known.insert(COUNTER_KEY, known);
            }
            Deed::Persist(key, persist) => {
                self.known.entry(*key).and_modify(|known| known.persistent = *persist);
            }
            Deed::Clear => self.known.retain(|key, _| KEYS[*key].0),
        }
    }

    /// The daemon died.
    pub(crate) fn die(&mut self) {
        self.known.retain(|_, known| known.persistent);
    }

    /// What a new daemon has of these, to be compared with what is known.
    pub(crate) fn found(store: &Store, client: u32) -> Entries {
        let mut found = Entries::default();
        for second in [false, true] {
            let store = store.author(&author_of(client, second));
            for listed in store.list().map(Result::unwrap) {
                let key = KEYS.iter().position(|key| *key == (second, &*listed.name));
                let key = key.unwrap_or_else(|| panic!("nobody ever set {listed:?}"));
                let Entry { bytes, codec, version, timestamp, .. } =
                    store.entry(&listed.name).unwrap().unwrap();
                assert_eq!((version, timestamp), (listed.version, listed.timestamp));
                let (bytes, persistent) = (Arc::new(bytes.to_vec()), listed.persistent);
                let (version, timestamp) = (Version::Is(version), Some(timestamp));
                found.known.insert(key, Known { bytes, codec, persistent, version, timestamp });
                found.seen = found.seen.max(listed.version);
            }
        }
        found
    }

    /// Whether all that is known is found, and nothing else.
    pub(crate) fn are(&self, found: &Entries) -> bool {
        self.known.len() == found.known.len()
            && self.known.iter().all(|(key, known)| found.known.get(key).is_some_and(|found| known.is(found)))
    }

    pub(crate) fn count_big(&self) -> usize {
        self.known.values().filter(|known| known.bytes.len() >= BIG).count()
    }

    /// An entry was read.
    fn learn(&mut self, key: usize, found: Option<&Entry>) {
        let known = self.known.get_mut(&key);
        let (Some(known), Some(found)) = (&known, found) else {
            assert!(known.is_none() && found.is_none(), "{known:?} was there, and this found: {found:?}");
            return;
        };
        let bytes = Arc::new(found.bytes.to_vec());
        let (version, timestamp) = (Version::Is(found.version), Some(found.timestamp));
        self.seen = self.seen.max(found.version);
        let found = Known { bytes, codec: found.codec, persistent: known.persistent, version, timestamp };
        assert!(known.is(&found), "{known:?} was there, and found was {found:?}");
        self.known.insert(key, found);
    }

    fn tell(&mut self, version: u64) {
        assert!(version > self.seen, "version {version} comes behind {}", self.seen);
        self.seen = version;
    }

    fn count(&self) -> i64 {
        let known = self.known.get(&COUNTER_KEY);
        known.map_or(0, |known| andiron_proto::codec::from_slice(&known.bytes).unwrap())
    }
}

const COUNTER_KEY: usize = KEYS.len() - 1;

impl Known {
    /// Whether that is what is known.
    fn is(&self, found: &Known) -> bool {
        let is_version = match (self.version, found.version) {
            (Version::Above(before), Version::Is(version)) => version > before,
            (known, found) => known == found,
        };
        is_version
            && self.bytes == found.bytes
            && (self.codec, self.persistent) == (found.codec, found.persistent)
            && (self.timestamp.is_none() || self.timestamp == found.timestamp)
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Known { bytes, codec, persistent, version, timestamp } = self;
        let persistent = if *persistent { "persistent" } else { "plain" };
        write!(f, "{persistent}, {version:?} of {timestamp:?}, codec {codec}, {}", Short(bytes))
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Given { key, bytes, persist, stays, durability, .. } = self;
        write!(f, "{key}: persist {persist}, stays {stays}, {durability:?}, {}", Short(bytes))
    }
}

/// Bytes, as far as they tell them from others.
struct Short<'b>(&'b [u8]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {:02x?}", self.0.len(), &self.0[..self.0.len().min(8)])
    }
}

/// Whether an operation that failed so, for its daemon was killed, may have happened.
pub(crate) fn may_have_happened(error: &andiron::Error) -> bool {
    match error.kind() {
        ErrorKind::Unknown => true,
        _ if error.is_temporary() => false,
        _ => panic!("an operation failed: {error:?}"),
    }
}
