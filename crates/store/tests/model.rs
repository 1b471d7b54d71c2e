//! Random operations on the store and on a model that is too simple to be wrong must have the same replies.
//!
//! `ANDIRON_FUZZ_ITERATIONS` is the number of sequences (default 100), each with a seed of its own, counted up from
//! `ANDIRON_FUZZ_SEED` (default 0). A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use andiron_store::{
    AUTHOR_OVERHEAD, Codec, ENTRY_OVERHEAD, Effects, Entry, Evict, Key, KeyRef, Limits, Listed, Now, Op,
    Page, Put, Reply, Resource, Stats, Store, StoreError, StoreStart, TTL_OVERHEAD,
};
use bytes::Bytes;
use fastrand::Rng;

const OPS_PER_SEQUENCE: usize = 500;
/// Entries that are taken out at a time to make room.
const EXPIRED_FOR_ROOM: usize = 64;

/// The store as one sorted map; whatever can be computed anew is.
struct Model {
    entries: BTreeMap<(String, String), Kept>,
    version: u64,
    /// Of the clock that is never set back.
    steady: Duration,
    limits: Limits,
    hits: u64,
    questions: u64,
    evicted: u64,
    /// What the last operation told of its changes.
    told: Told,
}

#[derive(Clone)]
struct Kept {
    value: Bytes,
    codec: Codec,
    version: u64,
    timestamp: f64,
    expiry: Option<Duration>,
}

/// The changes that an operation told, in their order.
#[derive(Default, Debug, PartialEq)]
struct Told(Vec<(u64, Key)>);

impl Effects<Bytes> for Told {
    fn change(&mut self, key: KeyRef<'_>, version: u64) {
        self.0.push((version, key.into()));
    }
}

impl Model {
    fn new(start: StoreStart) -> Self {
        let version = start.high_water.max(start.now.as_micros() as u64);
        let (entries, steady, told) = (BTreeMap::new(), Duration::ZERO, Told::default());
        Self { entries, version, steady, limits: start.limits, hits: 0, questions: 0, evicted: 0, told }
    }

    fn apply(&mut self, op: Op<'_>, now: Now) -> Result<Reply, StoreError> {
        self.told.0.clear();
        self.steady = self.steady.max(now.steady);
        let timestamp = now.wall.as_secs_f64();
        Ok(match op {
            Op::Set(put) => self.set(vec![put], timestamp)?,
            Op::SetMany(puts) => self.set(puts, timestamp)?,
            Op::Increment { key, by } => {
                self.expire_if_due(key);
                let (old, expiry) = match self.entries.get(&owned(key)) {
                    None => (0, None),
                    Some(Kept { codec: Codec(1), value, expiry, .. }) => {
                        (number(value).ok_or(StoreError::NotANumber)?, *expiry)
                    }
                    Some(_) => return Err(StoreError::NotANumber),
                };
                let value = old.checked_add(by).ok_or(StoreError::Overflow { value: old, by })?;
                let put = Put::new(key, Codec(1), andiron_proto::codec::to_vec(&value).unwrap().into());
                let ttl = expiry.map(|expiry| expiry - self.steady);
                let Reply::Set { version, timestamp } = self.set(vec![Put { ttl, ..put }], timestamp)? else {
                    unreachable!()
                };
                Reply::Counted { version, timestamp, value }
            }
            Op::Get { key, known, hits } => {
                self.expire_if_due(key);
                (self.questions, self.hits) = (self.questions + 1, self.hits + hits);
                match self.entries.get(&owned(key)) {
                    None => Reply::Missing,
                    Some(kept) if Some(kept.version) == known => {
                        Reply::NotModified { version: kept.version, ttl_left: self.ttl_left(kept) }
                    }
                    Some(kept) => Reply::Found(self.entry(kept)),
                }
            }
            Op::Delete { key, if_version } => {
                self.expire_if_due(key);
                self.check_version(key, if_version)?;
                let entry = self.entries.get(&owned(key)).map(|kept| self.entry(kept));
                if entry.is_some() {
                    self.remove(owned(key));
                }
                Reply::Deleted(entry)
            }
            Op::DeleteFirst { author } => {
                let first = self.of(author).into_iter().next();
                if let Some((key, _)) = &first {
                    self.remove(owned(key.into()));
                }
                Reply::DeletedFirst(first)
            }
            Op::Replace(put) => {
                self.expire_if_due(put.key);
                let current = self.entries.get(&owned(put.key));
                let kept = current.ok_or(StoreError::VersionMismatch { current: None })?;
                let ttl = self.ttl_left(kept);
                self.set(vec![Put { ttl, ..put }], timestamp)?
            }
            Op::List { author, after, limit } => Reply::Listed(self.list(author, after.map(owned), limit)),
            Op::Clear { author } => {
                let removed: Vec<(String, String)> = self.entries.keys().cloned().collect();
                let removed = removed.into_iter().filter(|key| author.is_none_or(|author| author == key.0));
                let removed: Vec<(String, String)> = removed.collect();
                self.version += u64::from(!removed.is_empty());
                let mut count = 0;
                for key in removed {
                    self.told.change(KeyRef::new(&key.0, &key.1), self.version);
                    count += usize::from(!self.is_due(&self.entries[&key]));
                    self.entries.remove(&key);
                }
                Reply::Cleared { count }
            }
            Op::Expire { limit } => Reply::Expired { count: self.expire(limit) },
            Op::Persist { .. } | Op::ExpireOne { .. } | Op::Restore { .. } => unreachable!("no disk is here"),
        })
    }

    /// The entries of an author, by name.
    fn of(&self, author: &str) -> Vec<(Key, Entry)> {
        let own = self.entries.iter().filter(|((of, _), kept)| of == author && !self.is_due(kept));
        own.map(|((of, name), kept)| (KeyRef::new(of, name).into(), self.entry(kept))).collect()
    }

    fn is_due(&self, kept: &Kept) -> bool {
        kept.expiry.is_some_and(|expiry| expiry <= self.steady)
    }

    fn ttl_left(&self, kept: &Kept) -> Option<Duration> {
        kept.expiry.map(|expiry| expiry - self.steady)
    }

    fn entry(&self, kept: &Kept) -> Entry {
        let (value, ttl_left) = (kept.value.clone(), self.ttl_left(kept));
        let Kept { codec, version, timestamp, .. } = *kept;
        Entry { value, codec, version, timestamp, ttl_left, persistent: false }
    }

    fn remove(&mut self, key: (String, String)) {
        self.version += 1;
        self.told.change(KeyRef::new(&key.0, &key.1), self.version);
        self.entries.remove(&key);
    }

    fn expire_if_due(&mut self, key: KeyRef<'_>) {
        if self.entries.get(&owned(key)).is_some_and(|kept| self.is_due(kept)) {
            self.remove(owned(key));
        }
    }

    fn expire(&mut self, limit: usize) -> usize {
        let due = self.entries.iter().filter(|(_, kept)| self.is_due(kept));
        let mut due: Vec<_> = due.map(|(key, kept)| (kept.expiry, key.clone())).collect();
        due.sort();
        due.truncate(limit);
        due.iter().for_each(|(_, key)| self.remove(key.clone()));
        due.len()
    }

    fn check_version(&self, key: KeyRef<'_>, wanted: Option<u64>) -> Result<(), StoreError> {
        let current = self.entries.get(&owned(key)).map(|kept| kept.version);
        match wanted {
            Some(wanted) if wanted != current.unwrap_or(0) => Err(StoreError::VersionMismatch { current }),
            _ => Ok(()),
        }
    }

    fn set(&mut self, puts: Vec<Put<'_>>, timestamp: f64) -> Result<Reply, StoreError> {
        puts.iter().for_each(|put| self.expire_if_due(put.key));
        let mut set = loop {
            let set = self.try_set(&puts, timestamp)?;
            match self.beyond(&set) {
                Err(_) if self.expire(EXPIRED_FOR_ROOM) > 0 => {}
                _ => break set,
            }
        };
        let victims = self.evict(&mut set, &puts)?;
        self.evicted += victims.len() as u64;
        victims.into_iter().for_each(|victim| self.remove(victim));
        self.version += u64::from(!puts.is_empty());
        for put in &puts {
            set.get_mut(&owned(put.key)).unwrap().version = self.version;
        }
        puts.iter().for_each(|put| self.told.change(put.key, self.version));
        self.entries = set;
        Ok(Reply::Set { version: self.version, timestamp })
    }

    fn try_set(
        &self,
        puts: &[Put<'_>],
        timestamp: f64,
    ) -> Result<BTreeMap<(String, String), Kept>, StoreError> {
        let limits = self.limits;
        let mut entries = self.entries.clone();
        for Put { key, codec, value, ttl, if_version, .. } in puts {
            let key_bytes = key.author.len() + key.name.len();
            if key_bytes > limits.max_key_bytes {
                return Err(StoreError::KeyTooLong { bytes: key_bytes, max: limits.max_key_bytes });
            }
            let (value, codec, version) = (value.clone(), *codec, self.version + 1);
            let kept = Kept { value, codec, version, timestamp, expiry: ttl.map(|ttl| self.steady + ttl) };
            let alone = bytes_of(&BTreeMap::from([(owned(*key), kept.clone())]));
            let max = limits.max_bytes.min(limits.max_author_bytes);
            if alone > max {
                return Err(StoreError::EntryTooLarge { bytes: alone, max });
            }
            self.check_version(*key, *if_version)?;
            entries.insert(owned(*key), kept);
        }
        if puts.iter().map(|put| put.key).collect::<BTreeSet<_>>().len() < puts.len() {
            return Err(StoreError::KeyTwice);
        }
        Ok(entries)
    }

    /// What is beyond the limits, if anything is: of the authors first, in their order.
    fn beyond(&self, entries: &BTreeMap<(String, String), Kept>) -> Result<(), StoreError> {
        let limits = self.limits;
        let authors: BTreeSet<&String> = entries.keys().map(|(author, _)| author).collect();
        let whose = authors.into_iter().map(|author| Some(author.as_str())).chain([None]);
        for author in whose {
            let of: BTreeMap<(String, String), Kept> = entries
                .iter()
                .filter(|((of, _), _)| author.is_none_or(|author| author == of))
                .map(|(key, kept)| (key.clone(), kept.clone()))
                .collect();
            let (max_entries, max_bytes) = match author {
                Some(_) => (limits.max_author_entries, limits.max_author_bytes),
                None => (limits.max_entries, limits.max_bytes),
            };
            let full = |resource, max| Err(StoreError::Full { resource, max, author: author.map(Arc::from) });
            if of.len() > max_entries {
                return full(Resource::Entries, max_entries as u64);
            }
            if bytes_of(&of) > max_bytes {
                return full(Resource::Bytes, max_bytes);
            }
        }
        Ok(())
    }

    /// Takes the oldest entries out of what there would be until it is within the limits. Gives which those are.
    fn evict(
        &self,
        entries: &mut BTreeMap<(String, String), Kept>,
        puts: &[Put<'_>],
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut victims = Vec::new();
        while let Err(full) = self.beyond(entries) {
            let StoreError::Full { author, .. } = &full else { unreachable!() };
            let own = |key: &(String, String)| puts.iter().any(|put| owned(put.key) == *key);
            let oldest = entries
                .iter()
                .filter(|(key, _)| !own(key) && author.as_ref().is_none_or(|author| **author == *key.0))
                .min_by_key(|(key, kept)| (kept.version, *key));
            let evicts = self.limits.evict == Evict::Oldest;
            let Some((victim, _)) = oldest.filter(|_| evicts) else { return Err(full) };
            let victim = victim.clone();
            entries.remove(&victim);
            victims.push(victim);
        }
        Ok(victims)
    }

    fn stats(&self) -> Stats {
        let authors: BTreeSet<&String> = self.entries.keys().map(|(author, _)| author).collect();
        Stats {
            entries: self.entries.len(),
            bytes: bytes_of(&self.entries),
            authors: authors.len(),
            questions: self.questions,
            hits: self.hits,
            evicted: self.evicted,
        }
    }

    fn list(&self, author: Option<&str>, after: Option<(String, String)>, limit: usize) -> Page {
        let mut all: Vec<Listed> = Vec::new();
        for ((of, name), entry) in &self.entries {
            let wanted = author.is_none_or(|author| author == of);
            if wanted
                && !self.is_due(entry)
                && after.as_ref().is_none_or(|after| (of, name) > (&after.0, &after.1))
            {
                all.push(Listed {
                    key: KeyRef::new(of, name).into(),
                    version: entry.version,
                    timestamp: entry.timestamp,
                    size: entry.value.len() as u64,
                    persistent: false,
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

/// The whole number that stands there, in any of the forms that MessagePack has for it.
fn number(value: &[u8]) -> Option<i64> {
    andiron_proto::codec::from_slice(value).ok()
}

fn bytes_of(entries: &BTreeMap<(String, String), Kept>) -> u64 {
    let mut authors: Vec<&String> = entries.keys().map(|key| &key.0).collect();
    authors.dedup();
    let of_authors: u64 = authors.iter().map(|author| author.len() as u64 + AUTHOR_OVERHEAD).sum();
    let of_entries = entries.iter().map(|((_, name), kept)| {
        let ttl = kept.expiry.map_or(0, |_| name.len() as u64 + TTL_OVERHEAD);
        (name.len() + kept.value.len()) as u64 + ENTRY_OVERHEAD + ttl
    });
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

fn random_put<'k>(rng: &mut Rng, key: KeyRef<'k>, model: &Model) -> Put<'k> {
    let (codec, value) = if rng.bool() {
        (Codec(1), andiron_proto::codec::to_vec(&rng.i64(..)).unwrap().into())
    } else {
        let len = if rng.u32(..10) == 0 { rng.usize(..4000) } else { rng.usize(..50) };
        (Codec(rng.u8(..4)), Bytes::from(vec![rng.u8(..); len]))
    };
    let ttl = (rng.u32(..3) == 0).then(|| Duration::from_millis(rng.u64(..50)));
    let if_version = random_version(rng, key, model);
    Put { key, codec, value, ttl, if_version, persist: false }
}

/// None, that of the entry, or another.
fn random_version(rng: &mut Rng, key: KeyRef<'_>, model: &Model) -> Option<u64> {
    let current = model.entries.get(&owned(key)).map_or(0, |kept| kept.version);
    let other = model.version.saturating_sub(rng.u64(..20));
    [None, None, None, Some(current), Some(current), Some(0), Some(other)][rng.usize(..7)]
}

fn random_op<'k>(rng: &mut Rng, keys: &'k [Key; 5], model: &Model) -> Op<'k> {
    let key = KeyRef::from(&keys[0]);
    let author = rng.bool().then_some(key.author);
    match rng.u32(..100) {
        0..30 => Op::Set(random_put(rng, key, model)),
        30..33 => Op::Replace(random_put(rng, key, model)),
        33..35 => Op::DeleteFirst { author: key.author },
        35..43 => {
            let count = rng.usize(..=keys.len());
            Op::SetMany(keys[..count].iter().map(|key| random_put(rng, key.into(), model)).collect())
        }
        43..52 => {
            let far = [i64::MIN, i64::MAX][rng.usize(..2)];
            Op::Increment { key, by: if rng.u32(..10) == 0 { far } else { rng.i64(-9..9) } }
        }
        52..66 => Op::Get { key, known: random_version(rng, key, model), hits: rng.u64(..3) },
        66..76 => Op::Delete { key, if_version: random_version(rng, key, model) },
        76..92 => {
            let after = rng.bool().then_some(KeyRef::from(&keys[1]));
            Op::List { author, after, limit: rng.usize(..12) }
        }
        92..98 => Op::Expire { limit: rng.usize(..6) },
        _ => Op::Clear { author },
    }
}

/// Clocks that jump: the one of the wall anywhere, the steady one mostly on, and sometimes back, which it is not to do.
fn random_now(rng: &mut Rng, before: Now) -> Now {
    let steady = before.steady + Duration::from_millis(rng.u64(..8));
    let steady = if rng.u32(..20) == 0 { steady / 2 } else { steady };
    Now { wall: Duration::from_millis(rng.u64(..1_000_000)), steady }
}

fn random_start(rng: &mut Rng) -> StoreStart {
    let limits = Limits {
        max_entries: rng.usize(..40),
        max_bytes: rng.u64(..20_000),
        max_author_entries: if rng.bool() { rng.usize(..12) } else { usize::MAX },
        max_author_bytes: if rng.bool() { rng.u64(..6_000) } else { u64::MAX },
        evict: if rng.bool() { Evict::Oldest } else { Evict::None },
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
    let mut now = Now::default();
    let mut views = Vec::new();
    for _ in 0..OPS_PER_SEQUENCE {
        let keys: [Key; 5] =
            std::array::from_fn(|_| KeyRef::new(&random_part(&mut rng), &random_part(&mut rng)).into());
        let op = random_op(&mut rng, &keys, &model);
        now = random_now(&mut rng, now);
        let (before, mut told) = (store.version(), Told::default());

        let reply = store.apply(op.clone(), now, &mut told);

        assert_eq!(reply, model.apply(op.clone(), now), "{op:?}");
        assert_eq!(told, model.told, "{op:?}");
        let wrote = told.0.last().map_or(before, |last| last.0);
        assert_eq!(store.version(), wrote, "every write is told, and nothing else takes a version");
        assert!(told.0.iter().all(|(version, _)| *version > before));
        assert_eq!(store.stats(), model.stats(), "{op:?}");
        assert_eq!(store.next_expiry(), model.entries.values().filter_map(|kept| kept.expiry).min());
        for ((author, name), kept) in &model.entries {
            let entry = (!model.is_due(kept)).then(|| model.entry(kept));
            assert_eq!(store.peek(KeyRef::new(author, name), now), entry, "{op:?}");
        }
        let author = &*keys[0].author;
        let of_author = model.of(author);
        assert_eq!(store.count(Some(author), now), of_author.len(), "{op:?}");
        assert_eq!(store.count(None, now), model.entries.values().filter(|kept| !model.is_due(kept)).count());
        views.push((store.view(author, now), of_author));
        if rng.u32(..8) == 0 {
            let (view, expected) = views.swap_remove(rng.usize(..views.len()));
            let expected = expected.into_iter().map(|(key, entry)| ((*key.name).into(), entry));
            assert!(view.eq(expected), "a view is as it was when it was taken");
        }
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
