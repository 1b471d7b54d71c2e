//! Entries that are set as they once were.

use std::time::Duration;

use andiron_store::{
    Codec, Effects, Entry, Key, KeyRef, Limits, Now, Op, Put, Reply, Store, StoreError, StoreStart, ToDisk,
};

const NOW: Now = Now { wall: Duration::from_secs(9), steady: Duration::from_secs(100) };

fn key(name: &str) -> KeyRef<'_> {
    KeyRef::new("a", name)
}

fn entry(timestamp: f64, persistent: bool) -> Entry {
    let ttl_left = Some(Duration::from_secs(5));
    Entry { value: "old".into(), codec: Codec(3), version: 77, timestamp, ttl_left, persistent }
}

/// With a persistent `kept`, and `plain`.
fn store(limits: Limits) -> Store {
    let mut store = Store::new(StoreStart { limits, ..StoreStart::default() });
    store.load(key("kept"), Entry { ttl_left: None, ..entry(1.0, true) }, NOW);
    store.apply(Op::Set(Put::new(key("plain"), Codec(1), "new".into())), NOW, &mut ()).unwrap();
    store
}

#[derive(Default)]
struct Told(Vec<(String, u64)>);

impl Effects<bytes::Bytes> for Told {
    fn change(&mut self, key: KeyRef<'_>, version: u64) {
        self.0.push((key.name.to_owned(), version));
    }
}

#[test]
fn entries_are_restored_with_their_timestamps_and_under_a_new_version() {
    let mut store = store(Limits::default());
    let entries = [(key("x").into(), entry(2.5, true)), (key("plain").into(), entry(3.5, false))];
    let op = Op::Restore { entries: &entries, all: false };
    assert!(store.concerns_disk(&op));
    let version = store.version_for_plan(10);
    let plan = store.plan(op, NOW, version, &mut ()).unwrap();
    let [ToDisk::Keep { key: on_disk, version: kept, timestamp, ttl_left, .. }] = &store.to_disk(&plan)[..]
    else {
        panic!("only what is persistent goes to the disk")
    };
    assert_eq!((on_disk.name, *kept, *timestamp, *ttl_left), ("x", version, 2.5, entry(0.0, true).ttl_left));
    assert_eq!(store.peek(key("x"), NOW), None, "nobody sees it before the disk has it");
    let mut told = Told::default();
    assert!(matches!(store.publish(plan, &mut told), Reply::Set { version: set, .. } if set == version));
    assert_eq!(told.0, [("x".to_owned(), version), ("plain".to_owned(), version)]);
    assert_eq!(store.peek(key("x"), NOW), Some(Entry { version, ..entry(2.5, true) }));
    assert_eq!(store.peek(key("plain"), NOW), Some(Entry { version, ..entry(3.5, false) }));
    assert!(store.peek(key("kept"), NOW).is_some(), "the others stay");
}

#[test]
fn a_restore_of_all_takes_out_what_else_a_disk_has() {
    let mut store = store(Limits::default());
    let entries = [(key("x").into(), entry(2.5, true))];
    let version = store.version_for_plan(10);
    let plan = store.plan(Op::Restore { entries: &entries, all: true }, NOW, version, &mut ()).unwrap();
    let to_disk = store.to_disk(&plan);
    assert!(matches!(to_disk[..], [ToDisk::ForgetAll(None), ToDisk::Keep { .. }]), "{to_disk:?}");
    let mut told = Told::default();
    store.publish(plan, &mut told);
    assert_eq!(told.0, [("kept".to_owned(), version), ("x".to_owned(), version)]);
    let found = ["kept", "plain", "x"].map(|name| store.peek(key(name), NOW).is_some());
    assert_eq!(found, [false, true, true], "what no disk has stays");
    // A delete is not for the disk any more, as far as it is not of what was restored.
    assert!(!store.concerns_disk(&Op::Delete { key: key("plain"), if_version: None }));
    assert!(store.concerns_disk(&Op::Delete { key: key("x"), if_version: None }));
}

#[test]
fn a_restore_that_finds_no_room_or_names_an_entry_twice_changes_nothing() {
    let mut store = store(Limits { max_entries: 2, ..Limits::default() });
    let twice: [(Key, Entry); 2] = std::array::from_fn(|_| (key("kept").into(), entry(1.0, true)));
    let refused = store.apply(Op::Restore { entries: &twice, all: true }, NOW, &mut ());
    assert_eq!(refused.unwrap_err(), StoreError::KeyTwice);
    let before = store.version();
    let third = [(key("x").into(), entry(1.0, true))];
    let refused = store.apply(Op::Restore { entries: &third, all: false }, NOW, &mut ());
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    assert_eq!((store.len(), store.version()), (2, before));
}
