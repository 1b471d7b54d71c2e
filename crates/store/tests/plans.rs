//! Writes that a disk has to know of before anybody sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use andiron_store::{
    Codec, Effects, Entry, Key, KeyRef, Limits, Now, Op, Plan, Put, Reply, Store, StoreError, StoreStart,
    ToDisk,
};
use bytes::Bytes;
use fastrand::Rng;

fn at(millis: u64) -> Now {
    Now { wall: Duration::from_secs(1_700_000_000), steady: Duration::from_millis(millis) }
}

fn store() -> Store {
    Store::new(StoreStart { now: at(0).wall, ..StoreStart::default() })
}

fn key(name: &str) -> KeyRef<'_> {
    KeyRef::new("a", name)
}

fn put<'a>(name: &'a str, value: &'static str) -> Put<'a> {
    Put::new(key(name), Codec(1), value.into())
}

fn kept<'a>(name: &'a str, value: &'static str) -> Put<'a> {
    Put { persist: true, ..put(name, value) }
}

fn get(store: &mut Store, name: &str, now: Now) -> Option<Entry> {
    match store.apply(Op::Get { key: key(name), known: None, hits: 0 }, now, &mut ()).unwrap() {
        Reply::Found(entry) => Some(entry),
        _ => None,
    }
}

fn plan(store: &mut Store, op: Op<'_>, now: Now) -> Result<Plan<Bytes>, StoreError> {
    let version = store.version_for_plan(1000);
    store.plan(op, now, version, &mut ())
}

/// What a disk would have of a store, and would do.
#[derive(Default, Debug, PartialEq)]
struct Disk(BTreeMap<Key, (u64, Bytes)>);

impl Disk {
    fn take(&mut self, changes: Vec<ToDisk<'_, Bytes>>) {
        for change in changes {
            match change {
                ToDisk::Keep { key, version, value, .. } => drop(self.0.insert(key.into(), (version, value))),
                ToDisk::Forget(key) => drop(self.0.remove(&Key::from(key))),
                ToDisk::ForgetAll(author) => {
                    self.0.retain(|key, _| author.is_some_and(|author| author != &*key.author))
                }
            }
        }
    }
}

fn durably(store: &mut Store, disk: &mut Disk, op: Op<'_>, now: Now) -> Result<Reply, StoreError> {
    let plan = plan(store, op, now)?;
    disk.take(store.to_disk(&plan));
    Ok(store.publish(plan, &mut ()))
}

#[test]
fn nobody_sees_a_plan_before_it_is_published() {
    let mut store = store();
    store.apply(Op::Set(put("x", "old")), at(0), &mut ()).unwrap();
    let planned = plan(&mut store, Op::Set(kept("x", "new")), at(0)).unwrap();
    let old = get(&mut store, "x", at(0)).unwrap();
    assert_eq!((&old.value[..], old.persistent), (&b"old"[..], false));
    let version = planned.version().unwrap();
    // Other writes go on, with smaller versions.
    let Reply::Set { version: other, .. } = store.apply(Op::Set(put("y", "1")), at(0), &mut ()).unwrap()
    else {
        panic!()
    };
    assert!(old.version < other && other < version);
    let reply = store.publish(planned, &mut ());
    assert_eq!(reply, Reply::Set { version, timestamp: 1_700_000_000.0 });
    let new = get(&mut store, "x", at(0)).unwrap();
    assert_eq!((&new.value[..], new.version, new.persistent), (&b"new"[..], version, true));
    let Reply::Set { version: later, .. } = store.apply(Op::Set(put("y", "2")), at(0), &mut ()).unwrap()
    else {
        panic!()
    };
    assert!(later > version);
}

#[test]
fn an_abandoned_plan_leaves_nothing_behind() {
    let limits = Limits { max_entries: 2, ..Limits::default() };
    let mut store: Store = Store::new(StoreStart { now: at(0).wall, limits, ..StoreStart::default() });
    store.apply(Op::Set(put("x", "1")), at(0), &mut ()).unwrap();
    let planned = plan(&mut store, Op::Set(kept("y", "1")), at(0)).unwrap();
    // Its room is taken, although nobody sees it.
    let full = store.apply(Op::Set(put("z", "1")), at(0), &mut ());
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    assert!(plan(&mut store, Op::Set(kept("z", "1")), at(0)).is_err());
    store.abandon(planned);
    assert_eq!(get(&mut store, "y", at(0)), None);
    store.apply(Op::Set(put("z", "1")), at(0), &mut ()).unwrap();
}

#[test]
fn which_operations_a_disk_has_to_know_of() {
    let (mut store, mut disk) = (store(), Disk::default());
    let concerns = |store: &Store, op: Op<'_>| store.concerns_disk(&op);
    assert!(!concerns(&store, Op::Set(put("x", "1"))));
    assert!(!concerns(&store, Op::Clear { author: None }));
    assert!(concerns(&store, Op::Set(kept("x", "1"))));
    assert!(concerns(&store, Op::SetMany(vec![put("y", "1"), kept("x", "1")])));
    durably(&mut store, &mut disk, Op::Set(kept("x", "1")), at(0)).unwrap();
    assert!(concerns(&store, Op::Set(put("x", "1"))), "its record has to go first");
    assert!(concerns(&store, Op::Delete { key: key("x"), if_version: None }));
    assert!(concerns(&store, Op::Increment { key: key("x"), by: 1 }));
    assert!(concerns(&store, Op::Clear { author: None }));
    assert!(!concerns(&store, Op::Set(put("y", "1"))));
    assert!(!concerns(&store, Op::Get { key: key("x"), known: None, hits: 0 }));
    // A plain set makes it an entry like any other.
    durably(&mut store, &mut disk, Op::Set(put("x", "2")), at(0)).unwrap();
    assert_eq!(disk, Disk::default());
    assert!(!concerns(&store, Op::Set(put("x", "1"))));
}

#[test]
fn persistence_is_given_and_taken_without_a_write() {
    let (mut store, mut disk) = (store(), Disk::default());
    store
        .apply(Op::Set(Put { ttl: Some(Duration::from_secs(60)), ..put("x", "1") }), at(0), &mut ())
        .unwrap();
    let before = get(&mut store, "x", at(0)).unwrap();
    let mut persist = |store: &mut Store, name: &str, persist: bool| {
        durably(store, &mut disk, Op::Persist { key: key(name), persist }, at(0)).unwrap();
        disk.0.len()
    };
    assert_eq!(persist(&mut store, "x", true), 1);
    assert_eq!(get(&mut store, "x", at(0)).unwrap(), Entry { persistent: true, ..before.clone() });
    assert_eq!(persist(&mut store, "x", true), 1);
    assert_eq!(persist(&mut store, "nothing", true), 1);
    assert_eq!(persist(&mut store, "x", false), 0);
    assert_eq!(get(&mut store, "x", at(0)).unwrap(), before);
    assert_eq!(store.next_expiry(), Some(Duration::from_secs(60)));
}

#[test]
fn a_persistent_entry_whose_time_is_over_is_missing_and_waits_for_the_disk() {
    let (mut store, mut disk) = (store(), Disk::default());
    let lasting = Put { ttl: Some(Duration::from_secs(1)), ..kept("x", "1") };
    durably(&mut store, &mut disk, Op::Set(lasting), at(0)).unwrap();
    assert_eq!(get(&mut store, "x", at(1000)), None);
    assert_eq!(store.apply(Op::Expire { limit: 9 }, at(1000), &mut ()).unwrap(), Reply::Expired { count: 0 });
    let due: Vec<Key> = store.due_on_disk(9);
    assert_eq!(due, [Key::from(key("x"))]);
    assert_eq!(disk.0.len(), 1);
    let reply = durably(&mut store, &mut disk, Op::ExpireOne { key: key("x") }, at(1000)).unwrap();
    assert_eq!((reply, disk.0.len(), store.len()), (Reply::Expired { count: 1 }, 0, 0));
    let again = durably(&mut store, &mut disk, Op::ExpireOne { key: key("x") }, at(1000)).unwrap();
    assert_eq!(again, Reply::Expired { count: 0 });
    // A set over one that is due is a set over nothing.
    let lasting = Put { ttl: Some(Duration::from_secs(1)), ..kept("x", "1") };
    durably(&mut store, &mut disk, Op::Set(lasting), at(1000)).unwrap();
    let only_new = Put { if_version: Some(0), ..kept("x", "2") };
    durably(&mut store, &mut disk, Op::Set(only_new), at(5000)).unwrap();
    assert_eq!(&get(&mut store, "x", at(5000)).unwrap().value[..], b"2");
}

#[test]
fn writes_up_to_the_version_of_a_plan_are_held_back() {
    let mut store = store();
    let version = store.version_for_plan(3);
    store.hold_versions(Some(version));
    let planned = store.plan(Op::Set(kept("x", "1")), at(0), version, &mut ()).unwrap();
    let write = |store: &mut Store| store.apply(Op::Set(put("y", "1")), at(0), &mut ());
    assert!(write(&mut store).is_ok() && write(&mut store).is_ok());
    assert_eq!(write(&mut store), Err(StoreError::VersionsHeld));
    store.publish(planned, &mut ());
    store.hold_versions(None);
    assert!(matches!(write(&mut store), Ok(Reply::Set { version: later, .. }) if later == version + 1));
}

/// Counts what is told.
#[derive(Default)]
struct Count(usize);

impl Effects<Bytes> for Count {
    fn change(&mut self, _: KeyRef<'_>, _: u64) {
        self.0 += 1;
    }
}

/// Whatever happens, a disk has exactly the persistent entries, and what is planned and abandoned is as if it had not been.
#[test]
fn the_disk_has_exactly_the_persistent_entries() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let (mut store, mut disk) = (store(), Disk::default());
        let mut now = at(0);
        for _ in 0..300 {
            now.steady += Duration::from_millis(rng.u64(..10));
            let names = ["a", "b", "c", "d", "e", "f"];
            let name = names[rng.usize(..names.len())];
            let author = ["a", "b"][rng.usize(..2)];
            let key = KeyRef::new(author, name);
            let random_put = |rng: &mut Rng, key| Put {
                ttl: rng.bool().then(|| Duration::from_millis(rng.u64(..40))),
                persist: rng.bool(),
                ..Put::new(key, Codec(1), Bytes::from(vec![rng.u8(..100)]))
            };
            let op = match seed.wrapping_mul(31).wrapping_add(now.steady.as_millis() as u64) % 10 {
                0..4 => Op::Set(random_put(&mut rng, key)),
                4 => Op::SetMany(
                    names
                        .iter()
                        .take(3)
                        .map(|name| random_put(&mut rng, KeyRef::new(author, name)))
                        .collect(),
                ),
                5 => Op::Increment { key, by: 1 },
                6 => Op::Delete { key, if_version: None },
                7 => Op::Persist { key, persist: rng.bool() },
                8 => Op::ExpireOne { key },
                _ => match rng.u32(..6) {
                    0 => Op::Clear { author: rng.bool().then_some(author) },
                    1 => Op::DeleteFirst { author },
                    2 => Op::Replace(random_put(&mut rng, key)),
                    _ => Op::Expire { limit: 3 },
                },
            };
            if !store.concerns_disk(&op) {
                let _ = store.apply(op.clone(), now, &mut ());
            } else if let Ok(planned) = plan(&mut store, op.clone(), now) {
                if rng.u32(..4) == 0 {
                    let before = (store.len(), store.version());
                    store.abandon(planned);
                    assert_eq!((store.len(), store.version()), before, "seed {seed}");
                } else {
                    let (version, mut told) = (store.version(), Count::default());
                    disk.take(store.to_disk(&planned));
                    let _ = store.publish(planned, &mut told);
                    let persists = matches!(op, Op::Persist { .. });
                    assert!(told.0 == 0 || store.version() > version && !persists, "seed {seed}: {op:?}");
                }
            }
            let due = store.due_on_disk(usize::MAX);
            let mut persistent: BTreeMap<Key, u64> = BTreeMap::new();
            for author in ["a", "b"] {
                for name in names {
                    let key = KeyRef::new(author, name);
                    if let Some(entry) = store.peek(key, now).filter(|entry| entry.persistent) {
                        persistent.insert(key.into(), entry.version);
                    }
                }
            }
            let on_disk: BTreeMap<Key, u64> =
                disk.0.iter().map(|(key, (version, _))| (key.clone(), *version)).collect();
            let live: BTreeMap<Key, u64> =
                on_disk.clone().into_iter().filter(|(key, _)| !due.contains(key)).collect();
            assert_eq!(live, persistent, "seed {seed}: {op:?}");
            assert!(due.iter().all(|key| on_disk.contains_key(key)), "seed {seed}: {op:?}");
        }
    }
}
