//! Random writes, planned ones among them, against a model of what fits and what makes room for what: whatever is under way, and however it ends, limits and quotas
//! hold, nothing is refused that fits, and nothing goes that did not have to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use andiron_store::{
    AUTHOR_OVERHEAD, Codec, ENTRY_OVERHEAD, Evict, KeyRef, Limits, Now, Op, Plan, Put, Store, StoreError,
    StoreStart, TTL_OVERHEAD,
};
use bytes::Bytes;
use fastrand::Rng;

const AUTHORS: [&str; 3] = ["a", "b", "cc"];
const NAMES: [&str; 5] = ["v", "w", "x", "y", "z"];

type Name = (&'static str, &'static str);

#[derive(Clone, Debug)]
struct Kept {
    version: u64,
    cost: u64,
    persistent: bool,
    expiry: Option<u64>,
}

/// So many entries and bytes.
type Room = (usize, u64);

struct UnderWay {
    plan: Plan<Bytes>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// With the room that is kept for each author.
    Put(Vec<(Name, Kept)>, BTreeMap<&'static str, Room>),
    Remove(Name),
    Persist(Name, bool),
    Clear(Option<&'static str>),
}

impl What {
    fn concerns(&self, name: Name) -> bool {
        match self {
            What::Put(puts, _) => puts.iter().any(|(put, _)| *put == name),
            What::Remove(key) | What::Persist(key, _) => *key == name,
            What::Clear(author) => author.is_none_or(|author| author == name.0),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Refused {
    Full(Option<String>),
    TooLarge,
}

struct Model {
    entries: BTreeMap<Name, Kept>,
    limits: Limits,
    now: u64,
    evicted: u64,
}

fn author_cost(author: &str) -> u64 {
    AUTHOR_OVERHEAD + author.len() as u64
}

impl Model {
    fn is_due(&self, kept: &Kept) -> bool {
        kept.expiry.is_some_and(|expiry| expiry <= self.now)
    }

    /// What these would add to each author.
    fn growth(
        entries: &BTreeMap<Name, Kept>,
        puts: &[(Name, Kept)],
    ) -> BTreeMap<&'static str, (usize, u64, u64)> {
        let mut growth: BTreeMap<&str, (usize, u64, u64)> = BTreeMap::new();
        for (name, kept) in puts {
            let of = growth.entry(name.0).or_default();
            of.1 += kept.cost;
            match entries.get(name) {
                None => of.0 += 1,
                Some(old) => of.2 += old.cost,
            }
        }
        growth
    }

    /// Whose limit would be passed, of the authors first.
    fn beyond(
        &self,
        entries: &BTreeMap<Name, Kept>,
        puts: &[(Name, Kept)],
        planned: bool,
        under_way: &[UnderWay],
    ) -> Option<Option<&'static str>> {
        let growth = Self::growth(entries, puts);
        let kept_rooms: Vec<(&str, Room)> = under_way
            .iter()
            .filter_map(|under_way| match &under_way.what {
                What::Put(_, rooms) => Some(rooms.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let taken = |author: Option<&str>| {
            let of = |of: &str| author.is_none_or(|author| author == of);
            let here = entries.iter().filter(|(name, _)| of(name.0)).map(|(_, kept)| (1, kept.cost));
            let kept = kept_rooms.iter().filter(|(author, _)| of(author)).map(|(_, room)| *room);
            here.chain(kept).fold((0, 0), |sum, room| (sum.0 + room.0, sum.1 + room.1))
        };
        let beyond = |have: Room, more: (usize, u64, u64), cost: u64, max: Room| {
            have.0 + more.0 > max.0 || have.1 + more.1 + cost - more.2 > max.1
        };
        let most = |of: &(usize, u64, u64)| match planned {
            true => (of.0, of.1.saturating_sub(of.2), 0),
            false => *of,
        };
        let Limits { max_author_entries, max_author_bytes, max_entries, max_bytes, .. } = self.limits;
        for (author, of) in &growth {
            let max = (max_author_entries, max_author_bytes);
            if beyond(taken(Some(author)), most(of), author_cost(author), max) {
                return Some(Some(author));
            }
        }
        let authors: BTreeSet<&str> = entries
            .keys()
            .map(|name| name.0)
            .chain(growth.keys().copied())
            .chain(kept_rooms.iter().map(|(author, _)| *author))
            .collect();
        let cost = authors.into_iter().map(author_cost).sum();
        let all = growth.values().map(most).fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
        beyond(taken(None), all, cost, (max_entries, max_bytes)).then_some(None)
    }

    fn admit(&mut self, puts: &[(Name, Kept)], planned: bool, under_way: &[UnderWay]) -> Result<(), Refused> {
        let max = self.limits.max_bytes.min(self.limits.max_author_bytes);
        if puts.iter().any(|(name, kept)| kept.cost + author_cost(name.0) > max) {
            return Err(Refused::TooLarge);
        }
        if self.beyond(&self.entries, puts, planned, under_way).is_some() {
            self.expire(under_way);
        }
        let (mut entries, mut evicted) = (self.entries.clone(), 0);
        while let Some(whose) = self.beyond(&entries, puts, planned, under_way) {
            let oldest = entries
                .iter()
                .filter(|(name, kept)| {
                    !kept.persistent
                        && whose.is_none_or(|author| author == name.0)
                        && !puts.iter().any(|(put, _)| put == *name)
                        && !is_pinned(**name, under_way)
                })
                .min_by_key(|(name, kept)| (kept.version, **name));
            let evicts = self.limits.evict == Evict::Oldest;
            let Some((victim, _)) = oldest.filter(|_| evicts) else {
                return Err(Refused::Full(whose.map(str::to_owned)));
            };
            let victim = *victim;
            entries.remove(&victim);
            evicted += 1;
        }
        self.entries = entries;
        self.evicted += evicted;
        Ok(())
    }

    fn expire(&mut self, under_way: &[UnderWay]) {
        for name in all_names() {
            self.expire_if_due(name, under_way);
        }
    }

    fn expire_if_due(&mut self, name: Name, under_way: &[UnderWay]) {
        let due = |kept: &Kept| self.is_due(kept) && !kept.persistent && !is_pinned(name, under_way);
        if self.entries.get(&name).is_some_and(due) {
            self.entries.remove(&name);
        }
    }

    fn check(&self, store: &Store, now: Now) {
        let authors: BTreeSet<&str> = self.entries.keys().map(|name| name.0).collect();
        let mut bytes = 0;
        for author in &authors {
            let of = || self.entries.iter().filter(|(name, _)| name.0 == *author).map(|(_, kept)| kept.cost);
            let sum = author_cost(author) + of().sum::<u64>();
            let (max_entries, max_bytes) = (self.limits.max_author_entries, self.limits.max_author_bytes);
            assert!(of().count() <= max_entries && sum <= max_bytes, "{author} has more than its quota");
            bytes += sum;
        }
        let stats = store.stats();
        assert_eq!((stats.entries, stats.bytes), (self.entries.len(), bytes));
        assert_eq!((stats.authors, stats.evicted), (authors.len(), self.evicted));
        assert!(stats.entries <= self.limits.max_entries && bytes <= self.limits.max_bytes);
        for name in all_names() {
            let entry = store.peek(KeyRef::new(name.0, name.1), now);
            let live = self.entries.get(&name).filter(|kept| !self.is_due(kept));
            let expected = live.map(|kept| (kept.version, kept.persistent));
            assert_eq!(entry.map(|entry| (entry.version, entry.persistent)), expected, "{name:?}");
        }
    }
}

fn all_names() -> impl Iterator<Item = Name> {
    AUTHORS.into_iter().flat_map(|author| NAMES.into_iter().map(move |name| (author, name)))
}

/// A clear takes what is there when it is done; it may be less by then.
fn is_pinned(name: Name, under_way: &[UnderWay]) -> bool {
    under_way.iter().any(|other| !matches!(other.what, What::Clear(_)) && other.what.concerns(name))
}

struct Sequence {
    rng: Rng,
    store: Store,
    model: Model,
    under_way: Vec<UnderWay>,
    last_planned: u64,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let limits = Limits {
            max_entries: rng.usize(2..14),
            max_bytes: rng.u64(1_500..6_000),
            max_author_entries: if rng.bool() { rng.usize(1..6) } else { usize::MAX },
            max_author_bytes: if rng.bool() { rng.u64(1_300..2_600) } else { u64::MAX },
            evict: if rng.u32(..4) > 0 { Evict::Oldest } else { Evict::None },
            ..Limits::default()
        };
        let store = Store::new(StoreStart { limits, ..StoreStart::default() });
        let model = Model { entries: BTreeMap::new(), limits, now: 0, evicted: 0 };
        Sequence { rng, store, model, under_way: Vec::new(), last_planned: 0 }
    }

    fn now(&self) -> Now {
        Now { wall: Duration::ZERO, steady: Duration::from_nanos(self.model.now) }
    }

    fn name(&mut self) -> Name {
        (AUTHORS[self.rng.usize(..AUTHORS.len())], NAMES[self.rng.usize(..NAMES.len())])
    }

    fn puts(&mut self, may_persist: bool) -> Vec<(Name, Put<'static>)> {
        let count = if self.rng.bool() { 1 } else { self.rng.usize(1..5) };
        let names: BTreeSet<Name> = (0..count).map(|_| self.name()).collect();
        let rng = &mut self.rng;
        names
            .into_iter()
            .map(|name| {
                let length = [3, 100, 129, 600][rng.usize(..4)];
                let put = Put {
                    ttl: (rng.u32(..3) == 0).then(|| Duration::from_nanos(rng.u64(1..30))),
                    persist: may_persist && rng.bool(),
                    ..Put::new(KeyRef::new(name.0, name.1), Codec(1), vec![0; rng.usize(..length)].into())
                };
                (name, put)
            })
            .collect()
    }

    fn kept(&self, name: Name, put: &Put<'_>, version: u64) -> Kept {
        let length = name.1.len() as u64;
        let ttl = put.ttl.map_or(0, |_| length + TTL_OVERHEAD);
        let cost = length + put.value.len() as u64 + ENTRY_OVERHEAD + ttl;
        let expiry = put.ttl.map(|ttl| self.model.now + ttl.as_nanos() as u64);
        Kept { version, cost, persistent: put.persist, expiry }
    }

    fn is_free(&self, name: Name) -> bool {
        !self.under_way.iter().any(|under_way| under_way.what.concerns(name))
    }

    fn step(&mut self) {
        self.model.now += self.rng.u64(..4);
        match self.rng.u32(..100) {
            0..30 => self.set(),
            30..55 => self.plan_set(),
            55..70 => self.plan_other(),
            70..74 => {
                let (name, now) = (self.name(), self.now());
                let get = Op::Get { key: KeyRef::new(name.0, name.1), known: None, hits: 0 };
                self.store.apply(get, now, &mut ()).unwrap();
                self.model.expire_if_due(name, &self.under_way);
            }
            74..77 => {
                self.store.apply(Op::Expire { limit: 99 }, self.now(), &mut ()).unwrap();
                self.model.expire(&self.under_way);
            }
            77..93 if !self.under_way.is_empty() => self.publish(),
            _ if !self.under_way.is_empty() => {
                let at = self.rng.usize(..self.under_way.len());
                self.store.abandon(self.under_way.remove(at).plan);
            }
            _ => {}
        }
    }

    fn set(&mut self) {
        let puts = self.puts(false);
        let op = Op::SetMany(puts.iter().map(|(_, put)| put.clone()).collect());
        if self.store.concerns_disk(&op) || !puts.iter().all(|(name, _)| self.is_free(*name)) {
            return;
        }
        puts.iter().for_each(|(name, _)| self.model.expire_if_due(*name, &self.under_way));
        let kept: Vec<_> = puts.iter().map(|(name, put)| (*name, self.kept(*name, put, 0))).collect();
        let expected = self.model.admit(&kept, false, &self.under_way);
        let reply = self.store.apply(op, self.now(), &mut ());
        assert_eq!(reply.map(drop).map_err(refused), expected);
        if expected.is_ok() {
            let version = self.store.version();
            let kept = kept.into_iter().map(|(name, kept)| (name, Kept { version, ..kept }));
            self.model.entries.extend(kept);
        }
    }

    fn version_to_plan(&mut self) -> u64 {
        self.last_planned = self.store.version_for_plan(1_000_000).max(self.last_planned + 1);
        self.last_planned
    }

    fn plan_set(&mut self) {
        let puts = self.puts(true);
        if !puts.iter().all(|(name, _)| self.is_free(*name)) {
            return;
        }
        let version = self.version_to_plan();
        let kept: Vec<_> = puts.iter().map(|(name, put)| (*name, self.kept(*name, put, version))).collect();
        let expected = self.model.admit(&kept, true, &self.under_way);
        let op = Op::SetMany(puts.into_iter().map(|(_, put)| put).collect());
        match (self.store.plan(op, self.now(), version, &mut ()), expected) {
            (Err(error), Err(expected)) => assert_eq!(refused(error), expected),
            (Ok(plan), Ok(())) => {
                let growth = Model::growth(&self.model.entries, &kept).into_iter();
                let rooms = growth.map(|(author, of)| (author, (of.0, of.1.saturating_sub(of.2)))).collect();
                self.under_way.push(UnderWay { plan, what: What::Put(kept, rooms) });
            }
            (plan, expected) => panic!("{plan:?}, where the model says {expected:?}"),
        }
    }

    fn plan_other(&mut self) {
        let name = self.name();
        let key = KeyRef::new(name.0, name.1);
        let (op, what) = match self.rng.u32(..10) {
            0..3 => (Op::Delete { key, if_version: None }, What::Remove(name)),
            3..5 => (Op::ExpireOne { key }, What::Remove(name)),
            5..9 => {
                let persist = self.rng.bool();
                (Op::Persist { key, persist }, What::Persist(name, persist))
            }
            _ => {
                let author = (self.rng.u32(..4) > 0).then_some(name.0);
                (Op::Clear { author }, What::Clear(author))
            }
        };
        if !all_names().all(|name| !what.concerns(name) || self.is_free(name)) {
            return;
        }
        let version = self.version_to_plan();
        let plan = self.store.plan(op, self.now(), version, &mut ()).unwrap();
        let nothing = plan.version().is_none() && self.store.to_disk(&plan).is_empty();
        if nothing {
            self.store.publish(plan, &mut ());
        } else {
            self.under_way.push(UnderWay { plan, what });
        }
    }

    /// In the order of their versions.
    fn publish(&mut self) {
        let UnderWay { plan, what } = self.under_way.remove(0);
        self.store.publish(plan, &mut ());
        let entries = &mut self.model.entries;
        match what {
            What::Put(puts, _) => entries.extend(puts),
            What::Remove(name) => drop(entries.remove(&name)),
            What::Persist(name, persist) => {
                let kept = entries.get_mut(&name).expect("nothing else takes it out");
                kept.persistent = persist;
            }
            What::Clear(author) => entries.retain(|name, _| author.is_some_and(|author| author != name.0)),
        }
    }
}

fn refused(error: StoreError) -> Refused {
    match error {
        StoreError::Full { author, .. } => Refused::Full(author.map(|author| author.to_string())),
        StoreError::EntryTooLarge { .. } => Refused::TooLarge,
        other => panic!("{other}"),
    }
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

fn number_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a number"))
    })
}

#[test]
fn limits_and_quotas_hold_whatever_is_under_way_and_nothing_is_refused_that_fits() {
    let first = number_from_env("ANDIRON_FUZZ_SEED", 0);
    for seed in first..first + number_from_env("ANDIRON_FUZZ_ITERATIONS", 60) {
        let _seed = SeedOnFailure(seed);
        let mut sequence = Sequence::new(seed);
        for _ in 0..400 {
            sequence.step();
            sequence.model.check(&sequence.store, sequence.now());
        }
        // Nothing is left of plans once they are over: what fits then is what fits into the store.
        while let Some(under_way) = sequence.under_way.pop() {
            sequence.store.abandon(under_way.plan);
        }
        for _ in 0..50 {
            sequence.set();
            sequence.model.check(&sequence.store, sequence.now());
        }
    }
}
