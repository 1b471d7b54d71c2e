//! What went wrong with persistent entries in the stores before this one, each on its own.

use std::fs;
use std::thread;

use andiron::{Entry, Put, Store};

use crate::common::{Home, Process};

fn keep(store: &Store, name: &str, value: i64) -> u64 {
    store.set_with(Put::new(name, &value).unwrap().persist()).unwrap()
}

/// Kills the daemon and starts another one.
fn restart(home: &Home, daemon: &mut Process) -> Store {
    daemon.kill();
    *daemon = home.serve();
    home.hub().store()
}

#[test]
fn neither_an_orderly_end_nor_crashes_in_a_row_behind_it_lose_what_was_kept() {
    let home = Home::new();
    let mut daemon = home.serve();
    let version = keep(&home.hub().store(), "x", 1);
    assert!(daemon.terminate().success());
    daemon = home.serve();
    for _ in 0..3 {
        let entry = restart(&home, &mut daemon).entry("x").unwrap().unwrap();
        assert_eq!((entry.value::<i64>().unwrap(), entry.version), (1, version));
    }
    assert!(daemon.terminate().success());
    let _daemon = home.serve();
    assert_eq!(home.hub().store().get("x").unwrap(), Some(1));
}

#[test]
fn what_was_acknowledged_right_before_a_kill_is_there_and_whole() {
    let home = Home::new();
    let mut daemon = home.serve();
    for round in 0..20_u8 {
        let length = if round % 5 == 0 { 16 << 20 } else { 100 };
        let bytes = vec![round; length];
        home.hub().store().set_with(Put::bytes("x", bytes.clone(), 3).persist()).unwrap();
        let entry = restart(&home, &mut daemon).entry("x").unwrap().unwrap();
        assert!(*entry.bytes == *bytes, "round {round}: {} bytes", entry.bytes.len());
    }
}

#[test]
fn what_was_removed_cleared_or_overwritten_does_not_come_back() {
    let home = Home::new();
    let mut daemon = home.serve();
    let mut store = home.hub().store();
    type Act = fn(&Store) -> bool;
    let acts: [Act; 5] = [
        |store| store.delete("x").unwrap().is_some(),
        |store| store.set("x", &2).is_ok(),
        |store| store.clear().unwrap() == 1,
        |store| store.clear_all().unwrap() == 1,
        |store| store.persist("x", false).unwrap(),
    ];
    for (number, act) in acts.iter().enumerate() {
        keep(&store, "x", 1);
        store = restart(&home, &mut daemon);
        assert!(act(&store), "{number}");
        for _ in 0..2 {
            store = restart(&home, &mut daemon);
            assert_eq!(store.get::<i64>("x").unwrap(), None, "{number}");
        }
    }
}

#[test]
fn of_writers_who_race_for_one_entry_the_same_one_is_last_on_the_disk_and_for_readers() {
    let home = Home::new();
    let mut daemon = home.serve();
    for round in 0..10 {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let store = home.hub().store();
                thread::spawn(move || {
                    let values = (0..10).map(|number| round * 1000 + writer * 100 + number);
                    values.map(|value| (keep(&store, "x", value), value)).max().unwrap()
                })
            })
            .collect();
        let last = writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap();
        let told = |entry: Option<Entry>| entry.map(|entry| (entry.version, entry.value().unwrap()));
        assert_eq!(told(home.hub().store().entry("x").unwrap()), Some(last));
        assert_eq!(told(restart(&home, &mut daemon).entry("x").unwrap()), Some(last));
    }
}

#[test]
fn entries_of_any_name_and_author_come_back_as_they_were_and_files_of_others_in_the_folder_are_no_matter() {
    let home = Home::new();
    let mut daemon = home.serve();
    let names = [
        "",
        "/",
        "a/b",
        "../../x",
        "~",
        "a~b",
        "@",
        "@a~b.p.gz",
        "\0",
        "%",
        "'; --",
        "\u{1f525}",
        "store.sqlite",
    ];
    let names: Vec<(&str, &str)> =
        names.iter().flat_map(|author| names.map(|name| (*author, name))).collect();
    let store = home.hub().store();
    store
        .set_many(
            names
                .iter()
                .map(|(author, name)| Put::new(name, &(author, name)).unwrap().author(author).persist()),
        )
        .unwrap();
    let folder = home.folder.path().join("state/andiron/andiron");
    for file in ["@a", "@a~b.p.gz", "persist.p.gz", "values/@x", "values/0.value"] {
        fs::write(folder.join(file), "not one of ours").unwrap();
    }
    let store = restart(&home, &mut daemon);
    assert_eq!(store.list_all().count(), names.len());
    for (author, name) in names {
        let value = store.author(author).get::<(String, String)>(name).unwrap();
        assert_eq!(value, Some((author.to_owned(), name.to_owned())));
    }
    assert_eq!(fs::read(folder.join("values/@x")).unwrap(), b"not one of ours");
}
