//! What a disk gave back, put into a store before anything else is done.

use std::time::Duration;

use andiron_store::{
    Codec, ENTRY_OVERHEAD, Entry, Key, KeyRef, Limits, Now, Op, Put, Reply, Store, StoreError, StoreStart,
};
use bytes::Bytes;

/// The steady clock is far on when a store starts.
fn at(millis: u64) -> Now {
    Now { wall: Duration::from_micros(1_000), steady: Duration::from_millis(1_000_000 + millis) }
}

fn store(limits: Limits) -> Store {
    Store::new(StoreStart { now: at(0).wall, limits, ..StoreStart::default() })
}

fn key(name: &str) -> KeyRef<'_> {
    KeyRef::new("a", name)
}

fn entry(version: u64, value: &'static str, ttl_left: Option<Duration>) -> Entry {
    Entry { value: value.into(), codec: Codec(7), version, timestamp: 0.5, ttl_left, persistent: true }
}

fn set(store: &mut Store, name: &str, value: Vec<u8>) -> Result<u64, StoreError> {
    match store.apply(Op::Set(Put::new(key(name), Codec(1), value.into())), at(0), &mut ())? {
        Reply::Set { version, .. } => Ok(version),
        other => panic!("a set was answered {other:?}"),
    }
}

#[test]
fn what_is_loaded_is_as_it_was_and_a_disk_has_it() {
    let mut store = store(Limits::default());
    let (x, y) = (entry(9_000, "new", Some(Duration::from_millis(50))), entry(10, "old", None));
    store.load(key("x"), x.clone(), at(0));
    store.load(key("y"), Entry { persistent: false, ..y.clone() }, at(0));
    assert_eq!((store.peek(key("x"), at(0)), store.peek(key("y"), at(0))), (Some(x), Some(y)));
    assert!(store.concerns_disk(&Op::Delete { key: key("x"), if_version: None }));
    assert!(store.concerns_disk(&Op::Delete { key: key("y"), if_version: None }));
    // The next version is above all that were loaded, in whatever order.
    assert_eq!((store.len(), set(&mut store, "z", vec![1])), (2, Ok(9_001)));
}

#[test]
fn what_is_loaded_too_late_is_missing_and_waits_for_the_disk() {
    let mut store = store(Limits::default());
    store.load(key("x"), entry(1, "v", Some(Duration::ZERO)), at(0));
    store.load(key("y"), entry(2, "v", Some(Duration::from_millis(5))), at(0));
    assert_eq!((store.peek(key("x"), at(0)), store.peek(key("y"), at(4)).is_some()), (None, true));
    assert_eq!(store.next_expiry(), Some(at(5).steady));
    store.apply(Op::Expire { limit: 9 }, at(5), &mut ()).unwrap();
    assert_eq!(store.due_on_disk(9), [Key::from(key("x")), Key::from(key("y"))]);
}

#[test]
fn limits_refuse_nothing_that_is_loaded_and_what_would_grow_then() {
    let small = Limits { max_entries: 1, max_bytes: 2 * ENTRY_OVERHEAD + 1_200, ..Limits::default() };
    let mut store = store(small);
    for (version, name) in [(1, "x"), (2, "y"), (3, "z")] {
        store.load(key(name), Entry { value: Bytes::from(vec![0; 50]), ..entry(version, "", None) }, at(0));
    }
    assert!(store.len() > small.max_entries && store.bytes() > small.max_bytes);
    assert!(matches!(set(&mut store, "new", vec![]), Err(StoreError::Full { .. })));
    assert!(matches!(set(&mut store, "x", vec![0; 51]), Err(StoreError::Full { .. })));
    // What takes no more than before is no harm.
    assert!(set(&mut store, "x", vec![0; 50]).is_ok() && set(&mut store, "x", vec![]).is_ok());
    // A plan is asked the same.
    let plan = |store: &mut Store, name: &str, len: usize| {
        let put = Put { persist: true, ..Put::new(key(name), Codec(1), vec![0; len].into()) };
        let version = store.version_for_plan(9);
        store.plan(Op::Set(put), at(0), version, &mut ())
    };
    assert!(matches!(plan(&mut store, "y", 51), Err(StoreError::Full { .. })));
    let planned = plan(&mut store, "y", 50).unwrap();
    store.publish(planned, &mut ());
    // Until there is room.
    store.apply(Op::Clear { author: None }, at(0), &mut ()).unwrap();
    assert_eq!((store.len(), store.bytes()), (0, 0));
    assert!(set(&mut store, "new", vec![]).is_ok());
}
