//! Random operations on the store and on a model that is too simple to be wrong must have the same replies.
//!
//! `ANDIRON_FUZZ_ITERATIONS` is the number of sequences (default 100), each with a seed of its own, counted up from
//! `ANDIRON_FUZZ_SEED` (default 0). A failure prints its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use andiron_store::{
    AUTHOR_OVERHEAD, Codec, ENTRY_OVERHEAD, Entry, Key, KeyRef, Limits, Listed, Op, Page, Reply, Resource,
    Store, StoreError, StoreStart,
};
use bytes::Bytes;
use fastrand::Rng;

const OPS_PER_SEQUENCE: usize = 500;

/// The store as one sorted map; whatever can be computed anew is.
struct Model {
    entries: BTreeMap<(String, String), Entry>,
    version: u64,
    limits: Limits,
}

impl Model {
    fn new(start: StoreStart) -> Self {
        let version = start.high_water.max(start.now.as_micros() as u64);
        Self { entries: BTreeMap::new(), version, limits: start.limits }
    }

    fn apply(&mut self, op: Op<'_>, now: Duration) -> Result<Reply, StoreError> {
        Ok(match op {
            Op::Set { key, codec, value } => {
                let entry = Entry { value, codec, version: self.version + 1, timestamp: now.as_secs_f64() };
                let (version, timestamp) = (entry.version, entry.timestamp);
                self.set(owned(key), entry)?;
                self.version = version;
                Reply::Set { version, timestamp }
            }
            Op::Get { key, known } => match self.entries.get(&owned(key)) {
                None => Reply::Missing,
                Some(entry) if Some(entry.version) == known => Reply::NotModified { version: entry.version },
                Some(entry) => Reply::Found(entry.clone()),
            },
            Op::Delete { key } => {
                let entry = self.entries.remove(&owned(key));
                self.version += u64::from(entry.is_some());
                Reply::Deleted(entry)
            }
            Op::List { author, after, limit } => Reply::Listed(self.list(author, after.map(owned), limit)),
            Op::Clear { author } => {
                let before = self.entries.len();
                self.entries.retain(|key, _| author.is_some_and(|author| author != key.0));
                let count = before - self.entries.len();
                self.version += u64::from(count > 0);
                Reply::Cleared { count }
            }
        })
    }

    fn set(&mut self, key: (String, String), entry: Entry) -> Result<(), StoreError> {
        let limits = self.limits;
        let key_bytes = key.0.len() + key.1.len();
        if key_bytes > limits.max_key_bytes {
            return Err(StoreError::KeyTooLong { bytes: key_bytes, max: limits.max_key_bytes });
        }
        let alone = bytes_of(&BTreeMap::from([(key.clone(), entry.clone())]));
        if alone > limits.max_bytes {
            return Err(StoreError::EntryTooLarge { bytes: alone, max: limits.max_bytes });
        }
        let mut entries = self.entries.clone();
        entries.insert(key, entry);
        if entries.len() > limits.max_entries {
            return Err(StoreError::Full { resource: Resource::Entries, max: limits.max_entries as u64 });
        }
        if bytes_of(&entries) > limits.max_bytes {
            return Err(StoreError::Full { resource: Resource::Bytes, max: limits.max_bytes });
        }
        self.entries = entries;
        Ok(())
    }

    fn list(&self, author: Option<&str>, after: Option<(String, String)>, limit: usize) -> Page {
        let mut all: Vec<Listed> = Vec::new();
        for ((of, name), entry) in &self.entries {
            let wanted = author.is_none_or(|author| author == of);
            if wanted && after.as_ref().is_none_or(|after| (of, name) > (&after.0, &after.1)) {
                all.push(Listed {
                    key: KeyRef::new(of, name).into(),
                    version: entry.version,
                    timestamp: entry.timestamp,
                    size: entry.value.len(),
                });
            }
        }
        let lengths = all.iter().map(|listed| listed.key.author.len() + listed.key.name.len());
        let sums = lengths.scan(0, |sum, len| {
            *sum += len;
            Some(*sum)
        });
        let fit = sums.take_while(|sum| *sum <= self.limits.max_page_bytes).count().max(1);
        let len = fit.min(limit).min(self.limits.max_page_entries).min(all.len());
        let more = len < all.len();
        all.truncate(len);
        Page { entries: all, more }
    }
}

fn owned(key: KeyRef<'_>) -> (String, String) {
    (key.author.to_owned(), key.name.to_owned())
}

fn bytes_of(entries: &BTreeMap<(String, String), Entry>) -> u64 {
    let mut authors: Vec<&String> = entries.keys().map(|key| &key.0).collect();
    authors.dedup();
    let of_authors: u64 = authors.iter().map(|author| author.len() as u64 + AUTHOR_OVERHEAD).sum();
    let of_entries =
        entries.iter().map(|(key, entry)| (key.1.len() + entry.value.len()) as u64 + ENTRY_OVERHEAD);
    of_authors + of_entries.sum::<u64>()
}

/// Says the seed when the test that holds it fails, wherever it fails.
struct SeedOnFailure(u64);

impl Drop for SeedOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat: ANDIRON_FUZZ_SEED={} ANDIRON_FUZZ_ITERATIONS=1", self.0);
        }
    }
}

fn random_part(rng: &mut Rng) -> String {
    const PARTS: [&str; 10] = ["", "a", "b", "ab", "~", "/", "\0", "default", "é", "a longer one"];
    PARTS[rng.usize(..PARTS.len())].to_owned()
}

fn random_op<'k>(rng: &mut Rng, keys: &'k [Key; 2], model: &Model) -> Op<'k> {
    let key = KeyRef::from(&keys[0]);
    let author = rng.bool().then_some(key.author);
    match rng.u32(..100) {
        0..45 => {
            let len = if rng.u32(..10) == 0 { rng.usize(..4000) } else { rng.usize(..50) };
            let value = Bytes::from(vec![rng.u8(..); len]);
            Op::Set { key, codec: Codec(rng.u8(..)), value }
        }
        45..65 => {
            let current = model.entries.get(&owned(key)).map(|entry| entry.version);
            let other = Some(model.version.saturating_sub(rng.u64(..20)));
            Op::Get { key, known: [None, current, other][rng.usize(..3)] }
        }
        65..80 => Op::Delete { key },
        80..98 => {
            let after = rng.bool().then_some(KeyRef::from(&keys[1]));
            Op::List { author, after, limit: rng.usize(..12) }
        }
        _ => Op::Clear { author },
    }
}

fn random_start(rng: &mut Rng) -> StoreStart {
    let limits = Limits {
        max_entries: rng.usize(..40),
        max_bytes: rng.u64(..20_000),
        max_key_bytes: rng.usize(5..25),
        max_page_entries: rng.usize(..12),
        max_page_bytes: rng.usize(..60),
    };
    let now = Duration::from_micros(rng.u64(..1_000));
    StoreStart { high_water: rng.u64(..1_000), now, limits, ..StoreStart::default() }
}

fn run_sequence(seed: u64) {
    let _seed = SeedOnFailure(seed);
    let mut rng = Rng::with_seed(seed);
    let start = random_start(&mut rng);
    let (mut store, mut model) = (Store::new(start), Model::new(start));
    for _ in 0..OPS_PER_SEQUENCE {
        let keys: [Key; 2] =
            std::array::from_fn(|_| KeyRef::new(&random_part(&mut rng), &random_part(&mut rng)).into());
        let op = random_op(&mut rng, &keys, &model);
        let now = Duration::from_millis(rng.u64(..1_000_000)); // a clock that jumps about
        let before = store.version();
        let was_empty = store.is_empty();

        let reply = store.apply(op.clone(), now);

        assert_eq!(reply, model.apply(op.clone(), now), "{op:?}");
        match reply {
            Ok(Reply::Set { version, .. }) => assert!(version > before && version == store.version()),
            Ok(Reply::Deleted(Some(_))) => assert!(store.version() > before),
            Ok(Reply::Cleared { count }) if count > 0 => assert!(store.version() > before && !was_empty),
            _ => assert_eq!(store.version(), before, "{op:?} wrote nothing"),
        }
        assert_eq!(store.version(), model.version);
        assert_eq!(store.len(), model.entries.len());
        assert_eq!(store.bytes(), bytes_of(&model.entries));
        assert!(store.len() <= start.limits.max_entries && store.bytes() <= start.limits.max_bytes);
    }
}

fn number_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a number"))
    })
}

#[test]
fn random_operations_have_the_replies_of_the_model() {
    let first = number_from_env("ANDIRON_FUZZ_SEED", 0);
    let iterations = number_from_env("ANDIRON_FUZZ_ITERATIONS", 100);
    for i in 0..iterations {
        run_sequence(first.wrapping_add(i));
    }
}
