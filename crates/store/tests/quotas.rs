//! What one author may have, and what makes room for what.

use std::time::Duration;

use andiron_store::{
    AUTHOR_OVERHEAD, Codec, Discarded, ENTRY_OVERHEAD, Effects, Entry, Evict, KeyRef, Limits, Now, Op, Plan,
    Put, Reply, Resource, Store, StoreError, StoreStart, TTL_OVERHEAD,
};
use bytes::Bytes;

fn at(millis: u64) -> Now {
    Now { wall: Duration::from_secs(1_700_000_000), steady: Duration::from_millis(millis) }
}

fn store(limits: Limits) -> Store {
    Store::new(StoreStart { now: at(0).wall, limits, ..StoreStart::default() })
}

/// Room for so many entries of one author whose names have one letter, with values of 100 bytes.
fn room_for(entries: u64) -> u64 {
    AUTHOR_OVERHEAD + 1 + entries * (ENTRY_OVERHEAD + 101)
}

fn evicting(limits: Limits) -> Store {
    store(Limits { evict: Evict::Oldest, ..limits })
}

fn put<'a>(author: &'a str, name: &'a str) -> Put<'a> {
    Put::new(KeyRef::new(author, name), Codec(1), vec![7; 100].into())
}

/// What was told of the changes, in their order, and how many values were handed out to be freed.
#[derive(Default)]
struct Told {
    changes: Vec<(String, u64)>,
    discarded: usize,
}

impl Effects<Bytes> for Told {
    fn change(&mut self, key: KeyRef<'_>, version: u64) {
        self.changes.push((format!("{}{}", key.author, key.name), version));
    }

    fn discard(&mut self, discarded: Discarded<Bytes>) {
        self.discarded += discarded.entries();
    }
}

fn set_told(store: &mut Store, puts: Vec<Put<'_>>, told: &mut Told) -> Result<u64, StoreError> {
    match store.apply(Op::SetMany(puts), at(0), told)? {
        Reply::Set { version, .. } => Ok(version),
        other => panic!("a set was answered {other:?}"),
    }
}

fn set(store: &mut Store, author: &str, name: &str) -> Result<u64, StoreError> {
    set_told(store, vec![put(author, name)], &mut Told::default())
}

fn set_all(store: &mut Store, author: &str, names: &[&str]) {
    for name in names {
        set(store, author, name).unwrap();
    }
}

fn plan(store: &mut Store, op: Op<'_>) -> Result<Plan<Bytes>, StoreError> {
    let version = store.version_for_plan(1000);
    store.plan(op, at(0), version, &mut ())
}

fn kept<'a>(author: &'a str, name: &'a str) -> Op<'a> {
    Op::Set(Put { persist: true, ..put(author, name) })
}

fn persist(store: &mut Store, author: &str, name: &str, persist: bool) {
    let planned = plan(store, Op::Persist { key: KeyRef::new(author, name), persist }).unwrap();
    store.publish(planned, &mut ());
}

/// Authors and names of all entries, one behind the other.
fn there(store: &mut Store) -> String {
    match store.apply(Op::List { author: None, after: None, limit: 99 }, at(0), &mut ()).unwrap() {
        Reply::Listed(page) => {
            page.entries.iter().map(|entry| format!("{}{} ", entry.key.author, entry.key.name)).collect()
        }
        other => panic!("a listing was answered {other:?}"),
    }
}

fn full(resource: Resource, max: u64, author: Option<&str>) -> StoreError {
    StoreError::Full { resource, max, author: author.map(Into::into) }
}

#[test]
fn an_author_with_a_full_quota_is_refused_and_others_go_on() {
    let mut store = store(Limits { max_author_bytes: room_for(2), ..Limits::default() });
    set_all(&mut store, "a", &["x", "y"]);
    let refused = set(&mut store, "a", "z").unwrap_err();
    assert_eq!(refused, full(Resource::Bytes, room_for(2), Some("a")));
    assert_eq!(
        refused.to_string(),
        "the author \"a\" has all that one author may have, 1483 bytes: delete entries of this author, or have the program of the store \
         start it with a larger max_author_bytes"
    );
    set_all(&mut store, "b", &["x", "y"]);
    // What is set over another takes its room; what is deleted leaves some.
    set_all(&mut store, "a", &["x"]);
    store.apply(Op::Delete { key: KeyRef::new("a", "x"), if_version: None }, at(0), &mut ()).unwrap();
    set_all(&mut store, "a", &["z"]);
    assert_eq!(there(&mut store), "ay az bx by ");

    let lasting = Put { ttl: Some(Duration::from_secs(1)), ..put("c", "x") };
    assert!(set_told(&mut store, vec![lasting.clone(), put("c", "y")], &mut Told::default()).is_err());
    assert!(room_for(1) + TTL_OVERHEAD < room_for(2));
    set_told(&mut store, vec![lasting], &mut Told::default()).unwrap();
}

#[test]
fn an_author_may_have_so_many_entries() {
    let mut store = store(Limits { max_author_entries: 2, max_entries: 5, ..Limits::default() });
    set_all(&mut store, "a", &["x", "y"]);
    assert_eq!(set(&mut store, "a", "z"), Err(full(Resource::Entries, 2, Some("a"))));
    // Of several entries all have to fit.
    let puts = vec![put("b", "x"), put("a", "z")];
    let refused = set_told(&mut store, puts, &mut Told::default());
    assert_eq!(refused, Err(full(Resource::Entries, 2, Some("a"))));
    set_all(&mut store, "b", &["x", "y"]);
    set_all(&mut store, "c", &["x"]);
    assert_eq!(set(&mut store, "c", "y"), Err(full(Resource::Entries, 5, None)));
}

#[test]
fn an_entry_that_is_more_than_one_author_may_have_is_too_large() {
    for evict in [Evict::None, Evict::Oldest] {
        let mut store = store(Limits { max_author_bytes: room_for(1) - 1, evict, ..Limits::default() });
        let (bytes, max) = (room_for(1), room_for(1) - 1);
        assert_eq!(set(&mut store, "a", "x"), Err(StoreError::EntryTooLarge { bytes, max }));
    }
}

#[test]
fn the_name_of_an_author_is_told_in_short() {
    let author = "é".repeat(10_000);
    let text = full(Resource::Bytes, 1, Some(&author)).to_string();
    assert!(text.len() < 400 && text.contains("éé"), "{text}");
}

#[test]
fn what_was_written_longest_ago_makes_room() {
    let mut store = evicting(Limits { max_entries: 3, ..Limits::default() });
    set_all(&mut store, "a", &["x"]);
    set_all(&mut store, "b", &["x"]);
    set_all(&mut store, "a", &["y"]);
    // It is written anew, so it is the youngest; that it is read makes it no younger.
    set_all(&mut store, "a", &["x"]);
    store.apply(Op::Get { key: KeyRef::new("b", "x"), known: None, hits: 0 }, at(0), &mut ()).unwrap();
    set_all(&mut store, "c", &["x"]);
    assert_eq!(there(&mut store), "ax ay cx ");
    set_all(&mut store, "c", &["y"]);
    assert_eq!((there(&mut store).as_str(), store.stats().evicted), ("ax cx cy ", 2));
    // Nothing more than is needed goes, and nothing at all for what takes the place of another.
    set_all(&mut store, "c", &["y"]);
    assert_eq!((store.len(), store.stats().evicted), (3, 2));
}

#[test]
fn an_author_with_a_full_quota_makes_room_with_own_entries() {
    let mut store = evicting(Limits { max_author_bytes: room_for(2), ..Limits::default() });
    set_all(&mut store, "b", &["x", "y"]);
    set_all(&mut store, "a", &["x", "y", "z"]);
    assert_eq!(there(&mut store), "ay az bx by ");
    // Of several entries each author has to have room for those of this author.
    set_told(&mut store, vec![put("a", "y"), put("b", "z")], &mut Told::default()).unwrap();
    assert_eq!(there(&mut store), "ay az by bz ");
    let mut told = Told::default();
    set_told(&mut store, vec![put("a", "y"), put("a", "x")], &mut told).unwrap();
    let keys: Vec<&str> = told.changes.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["az", "ay", "ax"], "what is set is not evicted for it, however old it is");
}

#[test]
fn the_last_entry_of_an_author_leaves_what_the_author_counted_for() {
    // Room for the entries of three authors, or for a large one of one.
    let mut store = evicting(Limits { max_bytes: 3 * room_for(1), ..Limits::default() });
    ["a", "b", "c"].iter().for_each(|author| set_all(&mut store, author, &["x"]));
    let large = |len: u64| Put::new(KeyRef::new("d", "x"), Codec(1), vec![1; len as usize].into());
    let most = 3 * room_for(1) - AUTHOR_OVERHEAD - 1 - ENTRY_OVERHEAD - 1;
    set_told(&mut store, vec![large(most - room_for(1))], &mut Told::default()).unwrap();
    assert_eq!(there(&mut store), "cx dx ");
    set_told(&mut store, vec![large(most)], &mut Told::default()).unwrap();
    assert_eq!((there(&mut store).as_str(), store.bytes()), ("dx ", 3 * room_for(1)));
}

#[test]
fn each_eviction_is_a_write_that_is_told_and_its_value_is_handed_out() {
    let mut store = evicting(Limits { max_entries: 2, ..Limits::default() });
    let long = |name| Put { value: vec![1; 1000].into(), ..put("a", name) };
    set_told(&mut store, vec![long("x"), long("y")], &mut Told::default()).unwrap();
    let (before, mut told) = (store.version(), Told::default());
    let version = set_told(&mut store, vec![put("b", "x"), put("b", "y")], &mut told).unwrap();
    let change = |key: &str, version| (key.to_owned(), version);
    let expected = [
        change("ax", before + 1),
        change("ay", before + 2),
        change("bx", before + 3),
        change("by", before + 3),
    ];
    assert_eq!((&told.changes[..], told.discarded), (&expected[..], 2));
    assert_eq!((version, store.version()), (before + 3, before + 3));
}

#[test]
fn what_a_disk_has_is_never_evicted_and_where_the_rest_is_not_enough_nothing_is() {
    let mut store = evicting(Limits { max_entries: 3, ..Limits::default() });
    set_all(&mut store, "a", &["x", "y", "z"]);
    persist(&mut store, "a", "x", true);
    set_all(&mut store, "b", &["x"]);
    assert_eq!(there(&mut store), "ax az bx ");
    let (version, mut told) = (store.version(), Told::default());
    let refused = set_told(&mut store, vec![put("c", "x"), put("c", "y"), put("c", "z")], &mut told);
    assert_eq!(refused, Err(full(Resource::Entries, 3, None)));
    assert_eq!((there(&mut store).as_str(), store.version()), ("ax az bx ", version));
    assert!(told.changes.is_empty() && store.stats().evicted == 1);
    // One that the disk has to keep no longer is as old as it is.
    persist(&mut store, "a", "x", false);
    set_all(&mut store, "c", &["x"]);
    assert_eq!(there(&mut store), "az bx cx ");
}

#[test]
fn what_was_loaded_is_no_room_for_anything() {
    let mut store = evicting(Limits { max_entries: 2, max_author_entries: 1, ..Limits::default() });
    for (version, name) in [(1, "x"), (2, "y"), (3, "z")] {
        let value = Bytes::from_static(b"v");
        let entry =
            Entry { value, codec: Codec(1), version, timestamp: 0.5, ttl_left: None, persistent: true };
        store.load(KeyRef::new("a", name), entry, at(0));
    }
    assert_eq!(set(&mut store, "a", "new"), Err(full(Resource::Entries, 1, Some("a"))));
    assert_eq!(set(&mut store, "b", "x"), Err(full(Resource::Entries, 2, None)));
    assert_eq!(there(&mut store), "ax ay az ");
    for name in ["x", "y"] {
        persist(&mut store, "a", name, false);
    }
    // Writes evict until there is room again.
    set_all(&mut store, "b", &["x"]);
    assert_eq!(there(&mut store), "az bx ");
}

#[test]
fn what_expired_goes_before_what_is_old() {
    let mut store = evicting(Limits { max_entries: 2, ..Limits::default() });
    set_all(&mut store, "a", &["old"]);
    let lasting = Put { ttl: Some(Duration::from_millis(5)), ..put("a", "young") };
    set_told(&mut store, vec![lasting], &mut Told::default()).unwrap();
    store.apply(Op::Set(put("a", "new")), at(10), &mut ()).unwrap();
    assert_eq!((there(&mut store).as_str(), store.stats().evicted), ("anew aold ", 0));
}

#[test]
fn without_versions_for_all_that_has_to_go_nothing_goes() {
    let mut store = evicting(Limits { max_entries: 3, ..Limits::default() });
    set_all(&mut store, "a", &["x", "y", "z"]);
    let two = || vec![put("b", "x"), put("b", "y")];
    // Two go, and the write takes one more.
    for left in 0..3 {
        store.hold_versions(Some(store.version() + left + 1));
        assert_eq!(set_told(&mut store, two(), &mut Told::default()), Err(StoreError::VersionsHeld));
        assert_eq!((there(&mut store).as_str(), store.stats().evicted), ("ax ay az ", 0));
    }
    store.hold_versions(Some(store.version() + 4));
    set_told(&mut store, two(), &mut Told::default()).unwrap();
    assert_eq!(there(&mut store), "az bx by ");
}

#[test]
fn a_plan_makes_room_at_once_and_keeps_it() {
    let mut store = evicting(Limits { max_entries: 2, ..Limits::default() });
    set_all(&mut store, "a", &["x", "y"]);
    let planned = plan(&mut store, kept("b", "x")).unwrap();
    assert_eq!(there(&mut store), "ay ");
    set_all(&mut store, "a", &["z"]);
    assert_eq!(there(&mut store), "az ");
    store.publish(planned, &mut ());
    assert_eq!(there(&mut store), "az bx ");
    // With all room kept, by the disk or by plans, there is none.
    let planned = plan(&mut store, kept("b", "y")).unwrap();
    assert_eq!(set(&mut store, "a", "x"), Err(full(Resource::Entries, 2, None)));
    assert!(plan(&mut store, kept("b", "z")).is_err());
    store.abandon(planned);
    set_all(&mut store, "a", &["x"]);
    assert_eq!(there(&mut store), "ax bx ");
}

#[test]
fn nothing_that_is_planned_is_evicted_meanwhile() {
    let mut store = evicting(Limits { max_entries: 4, ..Limits::default() });
    set_all(&mut store, "a", &["w", "x", "y", "z"]);
    let plans = [
        plan(&mut store, kept("a", "w")).unwrap(),
        plan(&mut store, Op::Persist { key: KeyRef::new("a", "x"), persist: true }).unwrap(),
        plan(&mut store, Op::Delete { key: KeyRef::new("a", "y"), if_version: None }).unwrap(),
    ];
    set_all(&mut store, "b", &["x", "y"]);
    assert_eq!(there(&mut store), "aw ax ay by ");
    // Abandoned, they are as old as they were.
    plans.into_iter().for_each(|planned| store.abandon(planned));
    set_all(&mut store, "c", &["x", "y"]);
    assert_eq!(there(&mut store), "ay by cx cy ");
}

#[test]
fn an_entry_whose_time_ends_while_it_is_planned_keeps_its_room() {
    let soon = |name| Put { ttl: Some(Duration::from_millis(5)), ..put("a", name) };
    for evict in [Evict::None, Evict::Oldest] {
        let mut store = store(Limits { max_entries: 2, evict, ..Limits::default() });
        set_told(&mut store, vec![soon("x"), soon("y")], &mut Told::default()).unwrap();
        let planned = plan(&mut store, kept("a", "x")).unwrap();
        let lasts = plan(&mut store, Op::Persist { key: KeyRef::new("a", "y"), persist: true }).unwrap();
        let get = Op::Get { key: KeyRef::new("a", "x"), known: None, hits: 0 };
        assert_eq!(store.apply(get, at(9), &mut ()).unwrap(), Reply::Missing);
        let expired = store.apply(Op::Expire { limit: 9 }, at(9), &mut ()).unwrap();
        assert_eq!((expired, store.has_expired(at(9))), (Reply::Expired { count: 0 }, false));
        assert_eq!(set(&mut store, "b", "x"), Err(full(Resource::Entries, 2, None)));
        store.publish(planned, &mut ());
        // The disk has got it and has to be told to forget it.
        store.publish(lasts, &mut ());
        assert_eq!((store.len(), store.due_on_disk(9).len()), (2, 1));
    }
}

#[test]
fn a_clear_leaves_the_room_that_is_kept_for_plans() {
    let mut store = evicting(Limits { max_bytes: room_for(2) + 1, ..Limits::default() });
    for author in [Some("b"), None] {
        let planned = plan(&mut store, kept("b", "x")).unwrap();
        set_all(&mut store, "b", &["y"]);
        store.apply(Op::Clear { author }, at(0), &mut ()).unwrap();
        set_all(&mut store, "b", &["y"]);
        // What the author counts for is needed for the plan in any case, so the other entry is not enough.
        assert_eq!(set(&mut store, "c", "x"), Err(full(Resource::Bytes, room_for(2) + 1, None)));
        store.publish(planned, &mut ());
        assert_eq!((there(&mut store).as_str(), store.bytes()), ("bx by ", room_for(2)));
        persist(&mut store, "b", "x", false);
        store.apply(Op::Clear { author: None }, at(0), &mut ()).unwrap();
    }
}
