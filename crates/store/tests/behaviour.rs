//! What the store promises, one behaviour a test.

use std::time::Duration;

use andiron_store::{
    AUTHOR_OVERHEAD, Codec, DEFAULT_AUTHOR, ENTRY_OVERHEAD, Entry, Evict, Key, KeyRef, Limits, Now, Op, Page,
    Put, Reply, Resource, Store, StoreError, StoreStart,
};
use bytes::Bytes;

const NOW: Duration = Duration::from_secs(1_700_000_000);

/// The time by both clocks, so long after the beginning.
fn at(millis: u64) -> Now {
    Now { wall: NOW, steady: Duration::from_millis(millis) }
}

fn store() -> Store {
    store_with(Limits::default())
}

fn store_with(limits: Limits) -> Store {
    Store::new(StoreStart { now: NOW, limits, ..StoreStart::default() })
}

fn try_set(store: &mut Store, key: KeyRef<'_>, value: &[u8]) -> Result<u64, StoreError> {
    let op = Op::Set(Put::new(key, Codec(1), Bytes::copy_from_slice(value)));
    match store.apply(op, at(0), &mut ())? {
        Reply::Set { version, .. } => Ok(version),
        other => panic!("a set was answered {other:?}"),
    }
}

fn set(store: &mut Store, author: &str, name: &str, value: &[u8]) -> u64 {
    try_set(store, KeyRef::new(author, name), value).unwrap()
}

fn get(store: &mut Store, author: &str, name: &str, known: Option<u64>) -> Reply {
    store.apply(Op::Get { key: KeyRef::new(author, name), known, hits: 0 }, at(0), &mut ()).unwrap()
}

fn value(store: &mut Store, author: &str, name: &str) -> Option<Bytes> {
    match get(store, author, name, None) {
        Reply::Found(entry) => Some(entry.value),
        Reply::Missing => None,
        other => panic!("a get was answered {other:?}"),
    }
}

fn delete(store: &mut Store, author: &str, name: &str) -> Option<Entry> {
    match store
        .apply(Op::Delete { key: KeyRef::new(author, name), if_version: None }, at(0), &mut ())
        .unwrap()
    {
        Reply::Deleted(entry) => entry,
        other => panic!("a delete was answered {other:?}"),
    }
}

fn clear(store: &mut Store, author: Option<&str>) -> usize {
    match store.apply(Op::Clear { author }, at(0), &mut ()).unwrap() {
        Reply::Cleared { count } => count,
        other => panic!("a clear was answered {other:?}"),
    }
}

fn list(store: &mut Store, author: Option<&str>, after: Option<KeyRef<'_>>, limit: usize) -> Page {
    match store.apply(Op::List { author, after, limit }, at(0), &mut ()).unwrap() {
        Reply::Listed(page) => page,
        other => panic!("a list was answered {other:?}"),
    }
}

fn keys(page: &Page) -> Vec<(&str, &str)> {
    page.entries.iter().map(|listed| (&*listed.key.author, &*listed.key.name)).collect()
}

#[test]
fn a_read_gives_value_codec_version_and_time_of_the_last_write() {
    let mut store = store();
    set(&mut store, "a", "n", b"old");
    let op = Op::Set(Put::new(KeyRef::new("a", "n"), Codec(9), "new".into()));
    let later = NOW + Duration::from_millis(1500);
    let Reply::Set { version, timestamp } = store.apply(op, Now { wall: later, ..at(0) }, &mut ()).unwrap()
    else {
        panic!()
    };
    let expected =
        Entry { value: "new".into(), codec: Codec(9), version, timestamp, ttl_left: None, persistent: false };
    assert_eq!(get(&mut store, "a", "n", None), Reply::Found(expected));
    assert_eq!(timestamp, 1_700_000_001.5);
    assert_eq!(version, store.version());
}

#[test]
fn a_missing_entry_is_not_an_empty_value() {
    let mut store = store();
    set(&mut store, "a", "empty", b"");
    assert_eq!(value(&mut store, "a", "empty"), Some(Bytes::new()));
    assert_eq!(value(&mut store, "a", "none"), None);
    assert_eq!(value(&mut store, "b", "empty"), None);
}

#[test]
fn nothing_is_reserved_in_a_key() {
    let parts = [
        "",
        "~",
        "/",
        "\0",
        ".",
        "..",
        "a",
        "a/b",
        "a~b",
        "A",
        "default",
        " ",
        "é",
        "e\u{301}",
        "\u{10ffff}",
    ];
    let mut store = store();
    for author in parts {
        for name in parts {
            set(&mut store, author, name, format!("{author:?} {name:?}").as_bytes());
        }
    }
    assert_eq!(store.len(), parts.len() * parts.len());
    for author in parts {
        for name in parts {
            let expected = format!("{author:?} {name:?}");
            assert_eq!(value(&mut store, author, name).unwrap(), expected);
        }
        assert_eq!(list(&mut store, Some(author), None, 100).entries.len(), parts.len());
    }
}

#[test]
fn a_key_without_an_author_is_the_default_authors() {
    let mut store = store();
    try_set(&mut store, KeyRef::named("n"), b"v").unwrap();
    assert_eq!(value(&mut store, DEFAULT_AUTHOR, "n").unwrap(), "v");
}

#[test]
fn only_the_current_version_is_not_modified() {
    let mut store = store();
    let first = set(&mut store, "a", "n", b"v");
    assert_eq!(get(&mut store, "a", "n", Some(first)), Reply::NotModified { version: first, ttl_left: None });
    let second = set(&mut store, "a", "n", b"v");
    assert!(matches!(get(&mut store, "a", "n", Some(first)), Reply::Found(entry) if entry.version == second));
    assert!(matches!(get(&mut store, "a", "n", Some(second + 1)), Reply::Found(_)));
    delete(&mut store, "a", "n");
    assert_eq!(get(&mut store, "a", "n", Some(second)), Reply::Missing);
    set(&mut store, "a", "n", b"v");
    assert!(matches!(get(&mut store, "a", "n", Some(second)), Reply::Found(_)));
}

#[test]
fn each_write_takes_the_next_version_and_what_writes_nothing_takes_none() {
    let mut store = store();
    let start = store.version();
    assert_eq!(set(&mut store, "a", "n", b"v"), start + 1);
    assert_eq!(delete(&mut store, "a", "n").unwrap().version, start + 1);
    assert_eq!(store.version(), start + 2);
    assert_eq!(delete(&mut store, "a", "n"), None);
    assert_eq!(clear(&mut store, None), 0);
    get(&mut store, "a", "n", None);
    list(&mut store, None, None, 10);
    assert_eq!(store.version(), start + 2);
    set(&mut store, "a", "n", b"v");
    set(&mut store, "a", "m", b"v");
    assert_eq!(clear(&mut store, Some("b")), 0);
    assert_eq!(clear(&mut store, Some("a")), 2);
    assert_eq!(store.version(), start + 5);
}

#[test]
fn versions_start_above_the_high_water_mark_and_the_clock() {
    let micros = NOW.as_micros() as u64;
    for (high_water, first) in [(0, micros + 1), (micros + 500, micros + 501)] {
        let mut store = Store::new(StoreStart { high_water, now: NOW, ..StoreStart::default() });
        assert_eq!(set(&mut store, "a", "n", b"v"), first);
    }
}

#[test]
fn a_clock_set_back_changes_timestamps_but_not_the_order_of_versions() {
    let mut store = store();
    let first = set(&mut store, "a", "n", b"1");
    let op = Op::Set(Put::new(KeyRef::new("a", "n"), Codec(1), "2".into()));
    let Reply::Set { version, timestamp } = store.apply(op, Now::default(), &mut ()).unwrap() else {
        panic!()
    };
    assert_eq!((version, timestamp), (first + 1, 0.0));
    assert_eq!(value(&mut store, "a", "n").unwrap(), "2");
}

#[test]
fn without_a_version_left_writes_are_refused_and_reads_go_on() {
    let mut store =
        Store::new(StoreStart { high_water: u64::MAX - 1, now: Duration::MAX, ..StoreStart::default() });
    let refused = try_set(&mut store, KeyRef::named("n"), b"v");
    assert_eq!(refused, Err(StoreError::VersionsExhausted));

    let mut store = Store::new(StoreStart { high_water: u64::MAX - 1, ..StoreStart::default() });
    assert_eq!(set(&mut store, "a", "n", b"v"), u64::MAX);
    let key = KeyRef::new("a", "n");
    for op in [
        Op::Set(Put::new(key, Codec(1), "w".into())),
        Op::Delete { key, if_version: None },
        Op::Increment { key: KeyRef::named("new"), by: 1 },
        Op::Clear { author: None },
        Op::Clear { author: Some("a") },
    ] {
        assert_eq!(store.apply(op, at(0), &mut ()), Err(StoreError::VersionsExhausted));
    }
    assert_eq!(value(&mut store, "a", "n").unwrap(), "v");
}

#[test]
fn a_delete_gives_the_entry_it_took_out() {
    let mut store = store();
    let version = set(&mut store, "a", "n", b"v");
    let entry = delete(&mut store, "a", "n").unwrap();
    assert_eq!((&entry.value[..], entry.version), (&b"v"[..], version));
    assert_eq!(value(&mut store, "a", "n"), None);
    assert_eq!((store.len(), store.bytes()), (0, 0));
}

#[test]
fn a_clear_takes_one_authors_entries_or_all() {
    let mut store = store();
    for (author, name) in [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")] {
        set(&mut store, author, name, b"v");
    }
    assert_eq!(clear(&mut store, Some("a")), 2);
    assert_eq!(keys(&list(&mut store, None, None, 10)), [("b", "1"), ("c", "1")]);
    assert_eq!(clear(&mut store, None), 2);
    assert!(store.is_empty());
    assert_eq!(store.bytes(), 0);
}

#[test]
fn a_listing_is_sorted_by_author_then_name_and_tells_all_but_the_value() {
    let mut store = store();
    for (author, name) in [("b", "1"), ("a", "2"), ("a", "10"), ("", "z"), ("ab", "")] {
        set(&mut store, author, name, name.as_bytes());
    }
    let page = list(&mut store, None, None, 10);
    assert_eq!(keys(&page), [("", "z"), ("a", "10"), ("a", "2"), ("ab", ""), ("b", "1")]);
    assert!(!page.more);
    let Reply::Found(entry) = get(&mut store, "a", "10", None) else { panic!() };
    let listed = &page.entries[1];
    assert_eq!((listed.version, listed.timestamp, listed.size), (entry.version, entry.timestamp, 2));
    assert_eq!(keys(&list(&mut store, Some("a"), None, 10)), [("a", "10"), ("a", "2")]);
    assert_eq!(list(&mut store, Some("nobody"), None, 10), Page::default());
}

#[test]
fn pages_together_give_every_entry_once() {
    let mut store = store();
    for author in ["a", "b", "c"] {
        for name in 0..7 {
            set(&mut store, author, &name.to_string(), b"v");
        }
    }
    for author in [None, Some("b")] {
        let whole = list(&mut store, author, None, 100);
        for limit in 1..10 {
            let mut seen = Vec::new();
            let mut after: Option<Key> = None;
            loop {
                let page = list(&mut store, author, after.as_ref().map(KeyRef::from), limit);
                assert!(page.entries.len() == limit || !page.more);
                seen.extend(page.entries);
                assert!(seen.len() <= whole.entries.len(), "limit {limit}: an entry came twice");
                if !page.more {
                    break;
                }
                after = seen.last().map(|listed| listed.key.clone());
            }
            assert_eq!(seen, whole.entries, "limit {limit}");
        }
    }
}

#[test]
fn a_page_may_start_behind_a_key_that_is_gone_or_anothers() {
    let mut store = store();
    for (author, name) in [("b", "1"), ("b", "3"), ("d", "1")] {
        set(&mut store, author, name, b"v");
    }
    let mut behind = |author, after: (&str, &str)| {
        let page = list(&mut store, author, Some(KeyRef::new(after.0, after.1)), 10);
        page.entries.len()
    };
    assert_eq!(behind(None, ("b", "2")), 2);
    assert_eq!(behind(None, ("c", "9")), 1);
    assert_eq!(behind(None, ("e", "")), 0);
    assert_eq!(behind(Some("b"), ("b", "2")), 1);
    assert_eq!(behind(Some("b"), ("a", "9")), 2);
    assert_eq!(behind(Some("b"), ("c", "0")), 0);
    assert_eq!(behind(Some("c"), ("b", "0")), 0);
}

#[test]
fn a_page_is_bounded_whatever_is_asked() {
    let limits = Limits { max_page_entries: 5, max_page_bytes: 40, ..Limits::default() };
    let mut store = store_with(limits);
    for i in 0..9 {
        set(&mut store, "a", &i.to_string(), b"v");
        set(&mut store, "long", &format!("{i}{}", "x".repeat(15)), b"v");
    }
    set(&mut store, "longest", &"y".repeat(1000), b"v");
    let entries = |page: Page| (page.entries.len(), page.more);
    assert_eq!(entries(list(&mut store, Some("a"), None, usize::MAX)), (5, true));
    assert_eq!(entries(list(&mut store, Some("a"), Some(KeyRef::new("a", "3")), usize::MAX)), (5, false));
    assert_eq!(entries(list(&mut store, Some("long"), None, usize::MAX)), (2, true));
    assert_eq!(entries(list(&mut store, Some("longest"), None, usize::MAX)), (1, false));
    assert_eq!(entries(list(&mut store, Some("a"), None, 0)), (0, true));
    assert_eq!(entries(list(&mut store, Some("nobody"), None, 0)), (0, false));
}

#[test]
fn names_values_and_overheads_are_counted_and_an_author_once() {
    let mut store = store();
    set(&mut store, "author", "name", b"value");
    let one = 6 + AUTHOR_OVERHEAD + 4 + 5 + ENTRY_OVERHEAD;
    assert_eq!(store.bytes(), one);
    set(&mut store, "author", "n", b"");
    assert_eq!(store.bytes(), one + 1 + ENTRY_OVERHEAD);
    set(&mut store, "author", "name", b"v");
    assert_eq!(store.bytes(), one - 4 + 1 + ENTRY_OVERHEAD);
    delete(&mut store, "author", "n");
    assert_eq!(store.bytes(), one - 4);
}

#[test]
fn a_store_full_of_entries_takes_no_new_key_but_overwrites() {
    let mut store = store_with(Limits { max_entries: 2, ..Limits::default() });
    set(&mut store, "a", "1", b"v");
    set(&mut store, "b", "1", b"v");
    let (version, bytes) = (store.version(), store.bytes());
    let refused = try_set(&mut store, KeyRef::new("c", "1"), b"v").unwrap_err();
    assert_eq!(refused, StoreError::Full { resource: Resource::Entries, max: 2, author: None });
    assert_eq!(
        refused.to_string(),
        "the store is full, it may hold 2 entries: delete entries, or have its program start it with a larger max_entries"
    );
    assert_eq!((store.version(), store.bytes(), store.len()), (version, bytes, 2));
    set(&mut store, "a", "1", b"w");
    delete(&mut store, "b", "1");
    set(&mut store, "c", "1", b"v");
}

#[test]
fn a_store_full_of_bytes_keeps_the_old_value_and_takes_what_still_fits() {
    let max_bytes = 1 + AUTHOR_OVERHEAD + 2 * (1 + ENTRY_OVERHEAD) + 100;
    let mut store = store_with(Limits { max_bytes, ..Limits::default() });
    set(&mut store, "a", "1", &[1; 40]);
    set(&mut store, "a", "2", &[2; 60]);
    assert_eq!(store.bytes(), max_bytes);
    let full = Err(StoreError::Full { resource: Resource::Bytes, max: max_bytes, author: None });
    assert_eq!(try_set(&mut store, KeyRef::new("a", "1"), &[3; 41]), full);
    assert_eq!(try_set(&mut store, KeyRef::new("a", "3"), b""), full);
    assert_eq!(value(&mut store, "a", "1").unwrap(), [1; 40][..]);
    set(&mut store, "a", "1", &[3; 40]);
    set(&mut store, "a", "1", &[3; 39]);
    set(&mut store, "a", "2", &[4; 61]);
    assert_eq!(store.bytes(), max_bytes);
}

#[test]
fn an_entry_that_could_never_fit_is_refused_as_too_large() {
    let max_bytes = 1 + AUTHOR_OVERHEAD + 1 + ENTRY_OVERHEAD + 10;
    let mut store = store_with(Limits { max_bytes, ..Limits::default() });
    let refused = try_set(&mut store, KeyRef::new("a", "1"), &[0; 11]);
    assert_eq!(refused, Err(StoreError::EntryTooLarge { bytes: max_bytes + 1, max: max_bytes }));
    assert_eq!((store.len(), store.bytes()), (0, 0));
    set(&mut store, "a", "1", &[0; 10]);
}

#[test]
fn a_key_that_is_too_long_is_refused_and_never_found() {
    let mut store = store_with(Limits { max_key_bytes: 4, ..Limits::default() });
    set(&mut store, "ab", "cd", b"v");
    let long = KeyRef::new("ab", "cé");
    set(&mut store, "a", "cé", b"v");
    assert_eq!(try_set(&mut store, long, b"v"), Err(StoreError::KeyTooLong { bytes: 5, max: 4 }));
    assert_eq!(value(&mut store, long.author, long.name), None);
    assert_eq!(delete(&mut store, long.author, long.name), None);
}

#[test]
fn limits_may_be_as_small_or_as_large_as_numbers_are() {
    let none = Limits {
        max_entries: 0,
        max_bytes: 0,
        max_author_entries: 0,
        max_author_bytes: 0,
        evict: Evict::Oldest,
        max_key_bytes: 0,
        max_page_entries: 0,
        max_page_bytes: 0,
    };
    assert!(try_set(&mut store_with(none), KeyRef::new("", ""), b"").is_err());
    let all = Limits {
        max_entries: usize::MAX,
        max_bytes: u64::MAX,
        max_author_entries: usize::MAX,
        max_author_bytes: u64::MAX,
        evict: Evict::Oldest,
        max_key_bytes: usize::MAX,
        max_page_entries: usize::MAX,
        max_page_bytes: usize::MAX,
    };
    let mut store = store_with(all);
    set(&mut store, "a", "n", b"v");
    assert_eq!(list(&mut store, None, None, usize::MAX).entries.len(), 1);
}

#[test]
fn a_long_value_is_shared_and_a_short_slice_does_not_keep_its_buffer() {
    let buffer = Bytes::from(vec![7; 1000]);
    let within = buffer.as_ptr_range();
    let mut store = store();
    for (name, len, shared) in [("long", 1000, true), ("short", 50, false)] {
        let op = Op::Set(Put::new(KeyRef::new("a", name), Codec(1), buffer.slice(..len)));
        store.apply(op, at(0), &mut ()).unwrap();
        let kept = value(&mut store, "a", name).unwrap();
        assert_eq!(kept.len(), len);
        assert_eq!(within.contains(&kept.as_ptr()), shared, "{name}");
    }
}

#[test]
fn what_a_reader_got_stays_as_it_was() {
    let mut store = store();
    set(&mut store, "a", "n", b"old");
    let old = value(&mut store, "a", "n").unwrap();
    set(&mut store, "a", "n", b"new");
    clear(&mut store, None);
    assert_eq!(old, "old");
}

#[test]
fn a_store_can_be_handed_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Store>();
    is_send_and_sync::<Reply>();
}
