//! What clients keep of what they read: never old, and mostly without a question.

mod site;

use std::time::Duration;

use andiron::{Blob, Connector, Hub, Put, Store, StoreCell};
use andiron_daemon::Daemon;
use site::Site;

/// The number that is there, and whether it came without a question.
fn read(store: &Store, name: &str) -> Option<(i64, bool)> {
    store.entry(name).unwrap().map(|entry| (entry.value().unwrap(), entry.cached))
}

fn read_cell(cell: &mut StoreCell) -> Option<i64> {
    cell.get().unwrap()
}

fn questions(store: &Store) -> u64 {
    store.stats().unwrap().questions
}

#[test]
fn what_nobody_wrote_is_read_without_a_question() {
    let site = Site::at("unix");
    let (reader, writer) = (site.store(), site.store());
    writer.set("x", &1).unwrap();
    assert_eq!(read(&reader, "x"), Some((1, false)));
    let before = questions(&reader);
    for _ in 0..100 {
        assert_eq!(read(&reader, "x"), Some((1, true)));
    }
    assert_eq!(questions(&reader), before);
    // Whoever wrote it, and by whatever way.
    writer.set("x", &2).unwrap();
    assert_eq!(read(&reader, "x"), Some((2, false)));
    assert_eq!(read(&reader, "x"), Some((2, true)));
    writer.incr("x", 5).unwrap();
    assert_eq!(read(&reader, "x"), Some((7, false)));
    writer.set_many([Put::new("y", &1).unwrap(), Put::new("x", &8).unwrap()]).unwrap();
    assert_eq!(read(&reader, "x"), Some((8, false)));
    writer.delete("x").unwrap();
    assert_eq!(read(&reader, "x"), None);
    reader.set("x", &9).unwrap();
    assert_eq!(read(&reader, "x"), Some((9, false)), "own writes too");
    writer.clear().unwrap();
    assert_eq!(read(&reader, "x"), None);
}

#[test]
fn that_there_is_nothing_is_known_too() {
    let site = Site::at("unix");
    let (reader, writer) = (site.store(), site.store());
    assert_eq!(read(&reader, "x"), None);
    let before = questions(&reader);
    assert_eq!(read(&reader, "x"), None);
    assert_eq!(questions(&reader), before);
    writer.set("x", &1).unwrap();
    assert_eq!(read(&reader, "x"), Some((1, false)));
}

#[test]
fn without_a_board_each_read_asks_and_no_value_is_sent_again() {
    let site = Site::at("tcp");
    let (reader, writer) = (site.store(), site.store());
    let big = vec![7u8; 3 << 20];
    writer.set_bytes("big", &big, 3).unwrap();
    let first = reader.entry("big").unwrap().unwrap();
    assert!(first.bytes == big && !first.cached);
    let before = questions(&reader);
    let second = reader.entry("big").unwrap().unwrap();
    assert!(!second.cached && questions(&reader) == before + 1);
    assert_eq!(second.bytes.as_ptr(), first.bytes.as_ptr(), "the bytes that were here");
    writer.set_bytes("big", b"small", 3).unwrap();
    assert!(reader.entry("big").unwrap().unwrap().bytes == b"small");
}

#[test]
fn where_it_is_allowed_what_was_read_is_given_out_for_a_while() {
    for transport in ["tcp", "unix"] {
        let site = Site::at(transport);
        let (reader, writer) = (site.store(), site.store());
        let lax = reader.max_staleness(Duration::from_secs(3600));
        writer.set("x", &1).unwrap();
        assert_eq!(read(&lax, "x"), Some((1, false)));
        writer.set("x", &2).unwrap();
        assert_eq!(read(&lax, "x"), Some((1, true)), "{transport}: not asked again so soon");
        assert_eq!(read(&reader, "x"), Some((2, false)), "who allows nothing asks");
        assert_eq!(read(&lax, "x"), Some((2, true)), "and the others have it too");
        lax.set("x", &3).unwrap();
        assert_eq!(read(&lax, "x"), Some((3, false)), "own writes are seen");
        reader.author("other").clear().unwrap();
        assert_eq!(read(&lax, "x"), Some((3, true)));
        reader.clear_all().unwrap();
        assert_eq!(read(&lax, "x"), None);
        let mut cell = lax.cell("x");
        lax.set("x", &5).unwrap();
        assert_eq!(read_cell(&mut cell), Some(5));
        writer.set("x", &6).unwrap();
        assert_eq!(read_cell(&mut cell), Some(5), "{transport}: not asked again so soon");
        lax.set("x", &7).unwrap();
        assert_eq!(read_cell(&mut cell), Some(7), "own writes are seen by cells");
        let strict = reader.max_staleness(Duration::ZERO);
        writer.set("x", &4).unwrap();
        assert_eq!(read(&strict, "x"), Some((4, false)));
    }
}

#[test]
fn what_expires_is_not_given_out_beyond_its_time() {
    for transport in ["tcp", "unix"] {
        let site = Site::at(transport);
        let (reader, writer) = (site.store(), site.store());
        let lax = reader.max_staleness(Duration::from_secs(3600));
        let began = std::time::Instant::now();
        let ttl = Duration::from_millis(150);
        writer.set_with(Put::new("x", &1).unwrap().ttl(ttl)).unwrap();
        writer.set_with(Put::new("y", &1).unwrap().ttl(Duration::from_secs(3600))).unwrap();
        let mut cell = reader.cell("x");
        loop {
            let reads =
                [read(&lax, "x").is_some(), read(&reader, "x").is_some(), read_cell(&mut cell).is_some()];
            let over = began.elapsed();
            if reads == [false; 3] {
                assert!(over >= ttl, "{transport}: gone too early, after {over:?}");
                break;
            }
            // Each read ended before `over` was taken, but may have begun any time before.
            assert!(over < Duration::from_secs(20), "{transport}: {reads:?} after {over:?}");
        }
        assert_eq!(read(&reader, "y").map(|(value, _)| value), Some(1));
        assert_eq!(read(&reader, "y"), Some((1, transport == "unix")));
    }
}

#[test]
fn a_read_that_fails_says_that_it_was_one() {
    let site = Site::at("unix");
    let store = site.store();
    let mut cell = store.cell("x");
    store.set("x", &1).unwrap();
    assert_eq!(read_cell(&mut cell), Some(1));
    let error = cell.get::<String>().unwrap_err();
    assert!(
        error.to_string().starts_with("store.get: ") && error.to_string().contains("(name: x)"),
        "{error}"
    );
    site.running.stop();
    for error in [cell.get::<i64>().unwrap_err(), store.get::<i64>("x").unwrap_err()] {
        assert_eq!(error.operation(), Some("store.get"), "{error}");
    }
}

#[test]
fn a_cell_has_what_was_written_last() {
    for transport in ["tcp", "unix"] {
        let site = Site::at(transport);
        let (store, writer) = (site.store(), site.store());
        let mut cell = store.cell("x");
        assert_eq!(read_cell(&mut cell), None);
        for value in 0..50 {
            writer.set("x", &value).unwrap();
            assert_eq!(cell.entry().unwrap().map(|entry| entry.cached), Some(false));
            assert_eq!(read_cell(&mut cell), Some(value));
            assert_eq!(read_cell(&mut cell.clone()), Some(value));
            assert_eq!(cell.entry().unwrap().map(|entry| entry.cached), Some(transport == "unix"));
        }
        let before = questions(&writer);
        for _ in 0..50 {
            assert_eq!(read_cell(&mut cell), Some(49));
        }
        let asked = questions(&writer) - before;
        assert_eq!(asked, if transport == "unix" { 0 } else { 50 });
        writer.delete("x").unwrap();
        assert_eq!(read_cell(&mut cell), None);
    }
}

#[test]
fn reads_that_were_not_asked_are_told_and_counted() {
    let site = Site::at("unix");
    let store = site.store();
    store.set("x", &1).unwrap();
    for _ in 0..11 {
        read(&store, "x");
    }
    let mut cell = store.cell("x");
    for _ in 0..11 {
        read_cell(&mut cell);
    }
    drop(cell);
    read(&store, "y");
    let stats = store.stats().unwrap();
    assert_eq!((stats.hits, stats.questions), (20, 3));
}

#[test]
fn the_cache_is_bounded_and_what_is_read_stays() {
    let site = Site::at("unix");
    let writer = site.store();
    let store = site.connector.clone().cache(200_000).connect().unwrap().store();
    for number in 0..1000 {
        writer.set_bytes(&number.to_string(), &[1; 2000], 3).unwrap();
    }
    let cached = |name: &str| store.entry(name).unwrap().unwrap().cached;
    cached("0");
    for number in 1..1000 {
        cached(&number.to_string());
        assert!(cached("0"), "read all the time, and gone after {number} others");
    }
    let kept = (1..1000).filter(|number| cached(&number.to_string())).count();
    assert!(kept <= 100, "{kept} entries of 2000 bytes in 200,000");
    // What alone is larger is not kept, and pushes nothing out.
    writer.set_bytes("large", vec![1; 300_000], 3).unwrap();
    cached("999");
    assert!(!cached("large") && !cached("large") && cached("999"));
}

#[test]
fn without_a_cache_each_read_is_a_question() {
    let site = Site::at("unix");
    let store = site.connector.clone().cache(0).connect().unwrap().store();
    store.set("x", &1).unwrap();
    for _ in 0..3 {
        assert_eq!(read(&store, "x"), Some((1, false)));
    }
    assert_eq!(questions(&store), 3);
}

#[test]
fn threads_share_what_was_read() {
    let site = Site::at("unix");
    let hub = site.hub();
    hub.store().set("x", &1).unwrap();
    read(&hub.store(), "x");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(read(&hub.store(), "x"), Some((1, true))));
        }
    });
}

#[test]
fn the_end_of_the_daemon_or_of_the_hub_ends_what_is_known() {
    let site = Site::at("unix");
    let (closed, hub) = (site.hub(), site.hub());
    closed.store().set("x", &1).unwrap();
    let (mut cell, mut other) = (hub.store().cell("x"), closed.store().cell("x"));
    assert_eq!((read_cell(&mut cell), read_cell(&mut other)), (Some(1), Some(1)));
    closed.close();
    assert!(other.get::<i64>().is_err() && closed.store().get::<i64>("x").is_err());
    assert_eq!(read_cell(&mut cell), Some(1), "the other hub goes on");
    site.running.stop();
    assert!(cell.get::<i64>().is_err() && hub.store().get::<i64>("x").is_err());
}

#[test]
fn another_daemon_in_the_same_place_has_other_entries() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let start = || Daemon::bind(&address).unwrap().start().unwrap();
    let first = start();
    let hub = Connector::new(&address).retry(Duration::from_secs(20)).connect().unwrap();
    let store = hub.store();
    let mut cell = store.cell("x");
    store.set("x", &1).unwrap();
    assert_eq!((read(&store, "x"), read_cell(&mut cell)), (Some((1, false)), Some(1)));
    first.stop();
    drop(first);
    let second = start();
    assert_eq!((read(&store, "x"), read_cell(&mut cell)), (None, None));
    store.set("x", &2).unwrap();
    assert_eq!((read(&store, "x"), read_cell(&mut cell)), (Some((2, false)), Some(2)));
    assert_eq!(read(&store, "x"), Some((2, true)));
    second.stop();
}

#[test]
fn what_may_be_old_goes_back_neither_in_time_nor_to_another_store() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let start = || Daemon::bind(&address).unwrap().start().unwrap();
    let first = start();
    let hub = Connector::new(&address).retry(Duration::from_secs(20)).connect().unwrap();
    let (store, lax) = (hub.store(), hub.store().max_staleness(Duration::from_secs(3600)));
    let mut cell = lax.cell("x");
    let writer = Hub::connect(&address).unwrap().store();
    writer.set("x", &1).unwrap();
    assert_eq!(read_cell(&mut cell), Some(1));
    writer.set("x", &2).unwrap();
    assert_eq!(read_cell(&mut cell), Some(1), "it may be old");
    assert_eq!(read(&store, "x"), Some((2, false)));
    assert_eq!(
        (read_cell(&mut cell), read(&lax, "x")),
        (Some(2), Some((2, true))),
        "but not older than that"
    );
    first.stop();
    drop(first);
    let second = start();
    assert_eq!(read(&store, "other"), None, "the hub has seen the other store");
    assert_eq!((read_cell(&mut cell), read(&lax, "x")), (None, None));
    second.stop();
}

#[test]
fn big_values_are_read_by_reference_and_outlive_their_entry() {
    for transport in ["unix", "tcp"] {
        let site = Site::at(transport);
        let (reader, writer) = (site.store(), site.store());
        let mut built = Blob::zeroed(9 << 20).unwrap();
        built.fill(3);
        let built = built.freeze().unwrap();
        writer.set_bytes("big", &built, 3).unwrap();
        writer.set_bytes("ordinary", vec![4; 2 << 20], 3).unwrap();
        let big = reader.entry("big").unwrap().unwrap();
        assert!(big.bytes == built && reader.entry("ordinary").unwrap().unwrap().bytes == vec![4; 2 << 20]);
        let mut many = writer.set_many([Put::bytes("a", &built, 3), Put::bytes("b", vec![5; 3 << 20], 3)]);
        many.as_mut().unwrap();
        assert!(reader.entry("b").unwrap().unwrap().bytes == vec![5; 3 << 20]);
        let told: Vec<usize> = reader
            .watch("*")
            .unwrap()
            .take(4)
            .map(|change| change.unwrap().entry.unwrap().bytes.len())
            .collect();
        assert_eq!(told, [9 << 20, 3 << 20, 9 << 20, 2 << 20]);
        writer.clear().unwrap();
        site.running.stop();
        assert!(big.bytes.iter().all(|byte| *byte == 3), "the entry is gone, and its daemon");
    }
}

#[test]
fn over_a_network_no_board_is_given() {
    let site = Site::at("tcp");
    let error = site.hub().call::<Option<andiron::PassedDescriptor>>("store", "board", &()).unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
}
