//! Writes with conditions, of several entries, of counters, and those of time; and what is told of them.

use std::time::Duration;

use andiron_store::{
    AUTHOR_OVERHEAD, Codec, Discarded, ENTRY_OVERHEAD, Effects, Entry, Key, KeyRef, Limits, Now, Op, Put,
    Reply, Resource, Stats, Store, StoreError, StoreStart, TTL_OVERHEAD, Value,
};
use bytes::Bytes;

const NATIVE: Codec = Codec(1);

/// The steady clock after so many milliseconds; that of the wall stands where it likes.
fn at(millis: u64) -> Now {
    Now { wall: Duration::from_secs(1_700_000_000), steady: Duration::from_millis(millis) }
}

fn store() -> Store {
    Store::new(StoreStart { now: at(0).wall, ..StoreStart::default() })
}

fn put<'a>(name: &'a str, value: &'static str) -> Put<'a> {
    Put::new(KeyRef::new("a", name), NATIVE, value.into())
}

fn lasting<'a>(name: &'a str, value: &'static str, millis: u64) -> Put<'a> {
    Put { ttl: Some(Duration::from_millis(millis)), ..put(name, value) }
}

fn set(store: &mut Store, put: Put<'_>, now: Now) -> Result<u64, StoreError> {
    match store.apply(Op::Set(put), now, &mut ())? {
        Reply::Set { version, .. } => Ok(version),
        other => panic!("a set was answered {other:?}"),
    }
}

fn get(store: &mut Store, name: &str, now: Now) -> Option<Entry> {
    let op = Op::Get { key: KeyRef::new("a", name), known: None, hits: 0 };
    match store.apply(op, now, &mut ()).unwrap() {
        Reply::Found(entry) => Some(entry),
        Reply::Missing => None,
        other => panic!("a get was answered {other:?}"),
    }
}

fn increment(store: &mut Store, name: &str, by: i64, now: Now) -> Result<i64, StoreError> {
    match store.apply(Op::Increment { key: KeyRef::new("a", name), by }, now, &mut ())? {
        Reply::Counted { value, .. } => Ok(value),
        other => panic!("an increment was answered {other:?}"),
    }
}

fn delete(store: &mut Store, name: &str, if_version: Option<u64>) -> Result<Option<Entry>, StoreError> {
    match store.apply(Op::Delete { key: KeyRef::new("a", name), if_version }, at(0), &mut ())? {
        Reply::Deleted(entry) => Ok(entry),
        other => panic!("a delete was answered {other:?}"),
    }
}

/// What was told, and what was handed out.
#[derive(Default)]
struct Told {
    changes: Vec<(String, u64)>,
    discarded: Vec<Discarded<Bytes>>,
}

impl Effects<Bytes> for Told {
    fn change(&mut self, key: KeyRef<'_>, version: u64) {
        assert!(self.discarded.is_empty(), "all is told before anything is done");
        self.changes.push((key.name.to_owned(), version));
    }

    fn discard(&mut self, discarded: Discarded<Bytes>) {
        self.discarded.push(discarded);
    }
}

fn told(store: &mut Store, op: Op<'_>, now: Now) -> Told {
    let mut told = Told::default();
    let _ = store.apply(op, now, &mut told);
    told
}

fn change(name: &str, version: u64) -> (String, u64) {
    (name.to_owned(), version)
}

#[test]
fn an_entry_is_given_out_with_what_is_left_of_its_time_and_not_beyond_it() {
    let mut store = store();
    let version = set(&mut store, lasting("n", "v", 100), at(1000)).unwrap();
    let key = KeyRef::new("a", "n");
    assert_eq!(get(&mut store, "n", at(1030)).unwrap().ttl_left, Some(Duration::from_millis(70)));
    let again = store.apply(Op::Get { key, known: Some(version), hits: 0 }, at(1099), &mut ()).unwrap();
    let ttl_left = Some(Duration::from_millis(1));
    assert_eq!(again, Reply::NotModified { version, ttl_left });
    assert_eq!(store.peek(key, at(1099)).unwrap().ttl_left, ttl_left);

    assert_eq!(store.peek(key, at(1100)), None);
    assert_eq!(store.len(), 1, "looking changes nothing");
    let again = store.apply(Op::Get { key, known: Some(version), hits: 0 }, at(1100), &mut ()).unwrap();
    assert_eq!((again, store.len(), store.version()), (Reply::Missing, 0, version + 1));
}

#[test]
fn no_operation_finds_an_entry_whose_time_is_over() {
    let list = Op::List { author: None, after: None, limit: 10 };
    let ops: [(Op<'_>, Reply); 5] = [
        (list, Reply::Listed(Default::default())),
        (Op::Delete { key: KeyRef::new("a", "n"), if_version: Some(0) }, Reply::Deleted(None)),
        (Op::Clear { author: None }, Reply::Cleared { count: 0 }),
        (Op::Clear { author: Some("a") }, Reply::Cleared { count: 0 }),
        (Op::Expire { limit: 5 }, Reply::Expired { count: 1 }),
    ];
    for (op, reply) in ops {
        let mut store = store();
        set(&mut store, lasting("n", "5", 10), at(0)).unwrap();
        assert_eq!(store.apply(op.clone(), at(10), &mut ()), Ok(reply), "{op:?}");
    }
    let mut store = store();
    set(&mut store, lasting("n", "\u{5}", 10), at(0)).unwrap();
    assert_eq!(increment(&mut store, "n", 1, at(10)), Ok(1), "it begins anew, and stays");
    assert_eq!(get(&mut store, "n", at(10)).unwrap().ttl_left, None);
    set(&mut store, lasting("n", "v", 10), at(10)).unwrap();
    let only_if_missing = Put { if_version: Some(0), ..put("n", "w") };
    let version = store.version();
    assert_eq!(set(&mut store, only_if_missing.clone(), at(20)), Ok(version + 2), "it expired, and was set");
    assert!(set(&mut store, only_if_missing, at(20)).is_err());
}

#[test]
fn a_plain_set_ends_an_earlier_time_and_another_time_takes_its_place() {
    let mut store = store();
    set(&mut store, lasting("n", "v", 10), at(0)).unwrap();
    set(&mut store, lasting("m", "v", 10), at(0)).unwrap();
    set(&mut store, put("n", "w"), at(5)).unwrap();
    set(&mut store, lasting("m", "w", 10), at(5)).unwrap();
    assert_eq!(store.next_expiry(), Some(Duration::from_millis(15)));
    assert_eq!(get(&mut store, "m", at(14)).unwrap().value, "w");
    assert_eq!(get(&mut store, "m", at(15)), None);
    assert_eq!(store.next_expiry(), None);
    assert_eq!(get(&mut store, "n", at(1_000_000)).unwrap().value, "w");
}

#[test]
fn the_clock_of_the_wall_may_be_set_and_the_steady_one_does_not_bring_back_what_expired() {
    let mut store = store();
    set(&mut store, lasting("n", "v", 100), at(0)).unwrap();
    for wall in [0, 1_600_000_000, 4_000_000_000] {
        let now = Now { wall: Duration::from_secs(wall), ..at(50) };
        assert_eq!(get(&mut store, "n", now).unwrap().ttl_left, Some(Duration::from_millis(50)));
    }
    set(&mut store, lasting("m", "v", 10), at(50)).unwrap();
    let over = Op::List { author: None, after: None, limit: 9 };
    store.apply(over, at(99), &mut ()).unwrap();
    assert_eq!(get(&mut store, "m", at(55)), None);
    assert_eq!(get(&mut store, "n", at(55)).unwrap().ttl_left, Some(Duration::from_millis(1)));
    let version = store.version();
    assert_eq!(set(&mut store, put("m", "w"), Now::default()), Ok(version + 1));
}

#[test]
fn a_time_beyond_all_clocks_is_one_that_never_comes() {
    let mut store = store();
    let forever = Put { ttl: Some(Duration::MAX), ..put("n", "v") };
    set(&mut store, forever, at(1000)).unwrap();
    assert!(get(&mut store, "n", at(1_000_000_000)).unwrap().ttl_left > Some(Duration::from_secs(1 << 33)));
    set(&mut store, Put { ttl: Some(Duration::ZERO), ..put("n", "v") }, at(1000)).unwrap();
    assert_eq!(get(&mut store, "n", at(1000)), None);
}

#[test]
fn what_expired_is_taken_out_in_its_order_and_so_many_at_a_time() {
    let mut store = store();
    for (name, millis) in [("c", 10), ("b", 30), ("a", 20), ("z", 50)] {
        set(&mut store, lasting(name, "v", millis), at(0)).unwrap();
    }
    let before = store.version();
    assert_eq!(told(&mut store, Op::Expire { limit: 9 }, at(9)).changes, []);
    let first = told(&mut store, Op::Expire { limit: 2 }, at(40));
    assert_eq!(first.changes, [change("c", before + 1), change("a", before + 2)]);
    assert_eq!(told(&mut store, Op::Expire { limit: 2 }, at(40)).changes, [change("b", before + 3)]);
    assert_eq!((store.next_expiry(), store.len()), (Some(Duration::from_millis(50)), 1));
    assert_eq!(told(&mut store, Op::Clear { author: None }, at(40)).changes, [change("z", before + 4)]);
    assert_eq!(store.next_expiry(), None);
}

#[test]
fn what_expired_makes_room() {
    let limits = Limits { max_entries: 100, ..Limits::default() };
    let mut store: Store = Store::new(StoreStart { limits, ..StoreStart::default() });
    for number in 0..100 {
        set(&mut store, lasting(&number.to_string(), "v", 10 + number), at(0)).unwrap();
    }
    let full = Err(StoreError::Full { resource: Resource::Entries, max: 100, author: None });
    assert_eq!(set(&mut store, put("new", "v"), at(9)), full);
    set(&mut store, put("new", "v"), at(10)).unwrap();
    assert_eq!(store.len(), 100);
    let many = ["x", "y", "z"].map(|name| put(name, "v")).to_vec();
    store.apply(Op::SetMany(many), at(90), &mut ()).unwrap();
    assert!(store.len() <= 100 && get(&mut store, "x", at(90)).is_some());
}

#[test]
fn an_entry_that_expires_counts_for_more() {
    let mut store = store();
    set(&mut store, lasting("name", "value", 10), at(0)).unwrap();
    assert_eq!(store.bytes(), 1 + AUTHOR_OVERHEAD + 4 + 5 + ENTRY_OVERHEAD + 4 + TTL_OVERHEAD);
    set(&mut store, put("name", "value"), at(0)).unwrap();
    assert_eq!(store.bytes(), 1 + AUTHOR_OVERHEAD + 4 + 5 + ENTRY_OVERHEAD);
}

#[test]
fn a_long_name_counts_twice() {
    for (length, counted) in [(256, 256), (257, 514)] {
        let mut store = store();
        set(&mut store, put(&"n".repeat(length), ""), at(0)).unwrap();
        assert_eq!(store.bytes(), 1 + AUTHOR_OVERHEAD + counted + ENTRY_OVERHEAD);
    }
}

#[test]
fn a_write_tied_to_a_version_is_done_over_that_one_alone() {
    let mut store = store();
    let refused = |current| Err(StoreError::VersionMismatch { current });
    let over = |version| Put { if_version: Some(version), ..put("n", "v") };
    assert_eq!(set(&mut store, over(7), at(0)), refused(None));
    let first = set(&mut store, over(0), at(0)).unwrap();
    assert_eq!(set(&mut store, over(0), at(0)), refused(Some(first)));
    let second = set(&mut store, over(first), at(0)).unwrap();
    assert_eq!(set(&mut store, over(first), at(0)), refused(Some(second)));
    assert_eq!(delete(&mut store, "n", Some(first)).unwrap_err(), refused(Some(second)).unwrap_err());
    assert_eq!(store.version(), second, "what was refused took no version");
    assert_eq!(delete(&mut store, "n", Some(second)).unwrap().unwrap().version, second);
    assert_eq!(delete(&mut store, "n", Some(second)).unwrap_err(), refused(None).unwrap_err());
    assert_eq!(delete(&mut store, "n", Some(0)), Ok(None));
    let text = refused(Some(5)).unwrap_err().to_string();
    assert_eq!(text, "the entry was changed meanwhile and has version 5 now: read it, and decide anew");
}

#[test]
fn several_entries_are_set_in_one_write_or_none_of_them() {
    let mut store = store();
    let before = set(&mut store, put("b", "old"), at(0)).unwrap();
    let all = |version| {
        let with = Put { if_version: Some(version), ..lasting("c", "3", 10) };
        Op::SetMany(vec![put("b", "2"), with, put("a", "1")])
    };
    for refused in [all(1), Op::SetMany(vec![put("c", "1"), put("a", "1"), put("c", "2")])] {
        assert_eq!(told(&mut store, refused, at(0)).changes, []);
        assert_eq!((store.len(), store.version()), (1, before));
    }
    let changes = told(&mut store, all(0), at(0)).changes;
    assert_eq!(changes, [change("b", before + 1), change("c", before + 1), change("a", before + 1)]);
    let entries = ["a", "b", "c"].map(|name| get(&mut store, name, at(0)).unwrap());
    assert!(entries.iter().all(|entry| entry.version == before + 1));
    assert_eq!(entries.each_ref().map(|entry| &entry.value[..]), [b"1", b"2", b"3"]);
    assert_eq!(get(&mut store, "c", at(10)), None);

    let version = store.version();
    let nothing = store.apply(Op::SetMany(vec![]), at(20), &mut ());
    assert!(matches!(nothing, Ok(Reply::Set { version: told, .. }) if told == version));
}

#[test]
fn several_entries_have_to_fit_together() {
    let entry = 1 + ENTRY_OVERHEAD + 10;
    let limits =
        Limits { max_entries: 3, max_bytes: 2 * (1 + AUTHOR_OVERHEAD) + 3 * entry, ..Limits::default() };
    let mut store: Store = Store::new(StoreStart { limits, ..StoreStart::default() });
    let of = |author, name, len| Put::new(KeyRef::new(author, name), NATIVE, Bytes::from(vec![0; len]));
    store.apply(Op::SetMany(vec![of("a", "1", 10), of("a", "2", 10)]), at(0), &mut ()).unwrap();
    let before = store.stats();
    let full = |resource, max| Err(StoreError::Full { resource, max, author: None });
    let too_many = Op::SetMany(vec![of("a", "3", 0), of("a", "4", 0)]);
    assert_eq!(store.apply(too_many, at(0), &mut ()), full(Resource::Entries, 3));
    let too_long = Op::SetMany(vec![of("a", "1", 10), of("b", "3", 11)]);
    assert_eq!(store.apply(too_long, at(0), &mut ()), full(Resource::Bytes, limits.max_bytes));
    assert_eq!(store.stats(), before);
    let moved = Op::SetMany(vec![of("a", "1", 9), of("b", "3", 11)]);
    store.apply(moved, at(0), &mut ()).unwrap();
    assert_eq!(store.bytes(), limits.max_bytes);
}

#[test]
fn a_counter_begins_at_0_counts_both_ways_and_keeps_its_time() {
    let mut store = store();
    assert_eq!(increment(&mut store, "n", 5, at(0)), Ok(5));
    assert_eq!(increment(&mut store, "n", -300, at(0)), Ok(-295));
    let entry = get(&mut store, "n", at(0)).unwrap();
    assert_eq!((entry.codec, andiron_proto::codec::from_slice::<i64>(&entry.value).unwrap()), (NATIVE, -295));
    assert_eq!(entry.version, store.version());

    set(&mut store, lasting("m", "\u{7}", 100), at(0)).unwrap();
    assert_eq!(increment(&mut store, "m", 1, at(60)), Ok(8));
    assert_eq!(get(&mut store, "m", at(60)).unwrap().ttl_left, Some(Duration::from_millis(40)));
    assert_eq!(increment(&mut store, "m", 1, at(100)), Ok(1));
}

#[test]
fn what_cannot_be_counted_is_refused_and_stays() {
    let mut store = store();
    let native = |value: &andiron_proto::codec::Value| andiron_proto::codec::to_vec(value).unwrap();
    use andiron_proto::codec::Value as Native;
    let no_numbers: [(Codec, Vec<u8>); 9] = [
        (NATIVE, vec![]),
        (NATIVE, vec![0xc1]),
        (NATIVE, vec![1, 2]),
        (NATIVE, native(&Native::Nil)),
        (NATIVE, native(&Native::Bool(true))),
        (NATIVE, native(&Native::Float(1.0))),
        (NATIVE, native(&Native::from("1"))),
        (NATIVE, andiron_proto::codec::to_vec(&u64::MAX).unwrap()),
        (Codec(2), b"5".to_vec()),
    ];
    for (codec, bytes) in no_numbers {
        let put = Put { codec, value: bytes.clone().into(), ..put("n", "") };
        let version = set(&mut store, put, at(0)).unwrap();
        assert_eq!(increment(&mut store, "n", 1, at(0)), Err(StoreError::NotANumber), "{bytes:?}");
        let entry = get(&mut store, "n", at(0)).unwrap();
        assert_eq!((entry.version, &entry.value[..], store.version()), (version, &bytes[..], version));
    }
    for (value, by) in [(i64::MAX, 1), (i64::MIN, -1), (-2, i64::MIN)] {
        delete(&mut store, "n", None).unwrap();
        increment(&mut store, "n", value, at(0)).unwrap();
        assert_eq!(increment(&mut store, "n", by, at(0)), Err(StoreError::Overflow { value, by }));
        assert_eq!(increment(&mut store, "n", 0, at(0)), Ok(value));
    }
}

#[test]
fn each_change_is_told_before_it_is_made_and_what_is_refused_is_not_told() {
    let mut store = store();
    let key = KeyRef::new("a", "n");
    let start = store.version();
    assert_eq!(told(&mut store, Op::Set(put("n", "one")), at(0)).changes, [change("n", start + 1)]);
    assert_eq!(told(&mut store, Op::Get { key, known: None, hits: 0 }, at(0)).changes, []);
    assert_eq!(told(&mut store, Op::Increment { key, by: 1 }, at(0)).changes, [], "it is no number");
    set(&mut store, lasting("n", "v", 5), at(0)).unwrap();
    let by_get = told(&mut store, Op::Get { key, known: None, hits: 0 }, at(5)).changes;
    assert_eq!(by_get, [change("n", start + 3)]);
    set(&mut store, lasting("n", "v", 5), at(5)).unwrap();
    let by_set = told(&mut store, Op::Set(put("n", "w")), at(10)).changes;
    assert_eq!(by_set, [change("n", start + 5), change("n", start + 6)], "it expired, and was set");
    set(&mut store, put("m", "v"), at(10)).unwrap();
    let delete = Op::Delete { key, if_version: None };
    assert_eq!(told(&mut store, delete.clone(), at(10)).changes, [change("n", start + 8)]);
    assert_eq!(told(&mut store, delete, at(10)).changes, []);
    set(&mut store, put("n", "v"), at(10)).unwrap();
    let cleared = told(&mut store, Op::Clear { author: Some("a") }, at(10)).changes;
    assert_eq!(cleared, [change("m", start + 10), change("n", start + 10)]);
    assert_eq!(told(&mut store, Op::Clear { author: Some("a") }, at(10)).changes, []);
}

/// A value that the store cannot read, which knows how many there are of it.
#[derive(Clone)]
struct Elsewhere(std::sync::Arc<()>);

impl Value for Elsewhere {
    fn size(&self) -> u64 {
        1 << 30
    }

    fn bytes(&self) -> Option<&[u8]> {
        None
    }

    fn from_bytes(_bytes: &[u8]) -> Elsewhere {
        Elsewhere(Default::default())
    }
}

#[test]
fn nothing_that_was_removed_is_dropped_within_the_store() {
    struct Keep(Vec<Discarded<Elsewhere>>);
    impl Effects<Elsewhere> for Keep {
        fn discard(&mut self, discarded: Discarded<Elsewhere>) {
            self.0.push(discarded);
        }
    }
    let mut store: Store<Elsewhere> = Store::new(StoreStart::default());
    let value = Elsewhere(Default::default());
    let key = KeyRef::named("n");
    let set = |ttl| Op::Set(Put { ttl, ..Put::new(key, Codec(1), value.clone()) });
    let ops = [
        set(None),
        set(None), // in the place of the first
        Op::Clear { author: None },
        set(Some(Duration::from_millis(5))),
        Op::Expire { limit: 1 },
        set(None),
        Op::Clear { author: Some("default") },
        set(Some(Duration::from_millis(5))),
        Op::Get { key, known: None, hits: 0 },
        set(Some(Duration::from_millis(5))),
        Op::Clear { author: Some("default") },
    ];
    let (mut kept, mut sets) = (Keep(Vec::new()), 0);
    for (step, op) in (0..).zip(ops) {
        sets += usize::from(matches!(op, Op::Set(_)));
        store.apply(op, at(step * 5), &mut kept).unwrap();
    }
    assert!(store.is_empty() && store.next_expiry().is_none());
    assert_eq!(kept.0.iter().map(Discarded::entries).sum::<usize>(), sets);
    assert_eq!(std::sync::Arc::strong_count(&value.0), 1 + sets, "they are all there still");
    kept.0.clear();
    assert_eq!(std::sync::Arc::strong_count(&value.0), 1);

    assert!(matches!(store.apply(set(None), at(0), &mut ()), Ok(Reply::Set { .. })));
    let refused = store.apply(Op::Increment { key, by: 1 }, at(0), &mut ());
    assert!(matches!(refused, Err(StoreError::NotANumber)));
}

#[test]
fn the_store_tells_what_it_holds_and_was_asked() {
    let mut store = store();
    assert_eq!(store.stats(), Stats::default());
    set(&mut store, put("n", "v"), at(0)).unwrap();
    let other = Put { key: KeyRef::new("b", "n"), ..put("n", "v") };
    set(&mut store, other, at(0)).unwrap();
    for (name, hits) in [("n", 0), ("missing", 7), ("n", 3)] {
        let op = Op::Get { key: KeyRef::new("a", name), known: None, hits };
        store.apply(op, at(0), &mut ()).unwrap();
    }
    let bytes = 2 * (1 + AUTHOR_OVERHEAD + 1 + ENTRY_OVERHEAD + 1);
    assert_eq!(store.stats(), Stats { entries: 2, bytes, authors: 2, questions: 3, hits: 10, evicted: 0 });
}

#[test]
fn without_a_version_left_what_expired_is_missing_all_the_same() {
    let start = StoreStart { high_water: u64::MAX - 1, ..StoreStart::default() };
    let mut store: Store = Store::new(start);
    set(&mut store, lasting("n", "v", 5), at(0)).unwrap();
    assert_eq!(get(&mut store, "n", at(5)), None);
    assert_eq!(store.apply(Op::Expire { limit: 9 }, at(5), &mut ()), Ok(Reply::Expired { count: 0 }));
    let key = Key::from(KeyRef::new("a", "n"));
    assert_eq!(store.peek((&key).into(), at(5)), None);
    assert_eq!(delete(&mut store, "n", None), Ok(None));
}
