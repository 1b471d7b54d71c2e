//! The store as the shell and other processes see it.

mod common;

use std::time::Duration;

use andiron::{Changed, ErrorKind, Put};
use common::Home;

#[test]
fn what_one_process_sets_another_reads() {
    let home = Home::new();
    let _daemon = home.serve();
    assert_eq!(home.run(&["set", "x", "20"]).printed(), "");
    assert_eq!(home.run(&["get", "x"]).printed(), "20\n");
    assert_eq!(home.hub().store().get::<i64>("x").unwrap(), Some(20));

    home.hub().store().set("y", &vec!["a", "b"]).unwrap();
    assert_eq!(home.run(&["get", "y"]).printed(), "[\"a\",\"b\"]\n");
}

#[test]
fn values_come_back_as_they_were_set() {
    let home = Home::new();
    let _daemon = home.serve();
    let values = [
        ("20", "20"),
        ("-1.5", "-1.5"),
        ("true", "true"),
        ("null", "null"),
        ("twenty", "\"twenty\""),
        ("\"20\"", "\"20\""),
        ("", "\"\""),
        ("{\"b\": [1, {\"a\": null}], \"a\": 2}", "{\"b\":[1,{\"a\":null}],\"a\":2}"),
        ("{not json", "\"{not json\""),
        ("h\u{e9}\u{1f525}", "\"h\u{e9}\u{1f525}\""),
        ("{\"$bytes\": \"AP8=\"}", "{\"$bytes\":\"AP8=\"}"),
        ("{\"$tuple\": [1, 2]}", "{\"$tuple\":[1,2]}"),
        ("18446744073709551615", "18446744073709551615"),
        ("123456789012345678901234567890", "{\"$int\":\"123456789012345678901234567890\"}"),
        ("-123456789012345678901234567890", "{\"$int\":\"-123456789012345678901234567890\"}"),
        ("{\"$int\": \"123456789012345678901234567890\"}", "{\"$int\":\"123456789012345678901234567890\"}"),
    ];
    for (given, printed) in values {
        assert_eq!(home.run(&["set", "v", given]).printed(), "", "{given}");
        assert_eq!(home.run(&["get", "v"]).printed(), format!("{printed}\n"), "{given}");
    }
}

#[test]
fn raw_prints_text_and_bytes_as_they_are_and_the_rest_as_json() {
    let home = Home::new();
    let _daemon = home.serve();
    home.run(&["set", "text", "a \"b\"\n\u{e9}"]).printed();
    assert_eq!(home.run(&["get", "text", "--raw"]).printed(), "a \"b\"\n\u{e9}\n");
    home.run(&["set", "number", "[1]"]).printed();
    assert_eq!(home.run(&["get", "--raw", "number"]).printed(), "[1]\n");

    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    assert_eq!(home.run_with(&["set", "bytes", "-"], &bytes).printed(), "");
    let got = home.run(&["get", "bytes", "--raw"]);
    assert!(got.code == Some(0) && got.out == bytes);
    let entry = home.hub().store().entry("bytes").unwrap().unwrap();
    assert_eq!((entry.codec, entry.bytes.len()), (3, 300_000));

    home.run_with(&["set", "none", "-"], b"").printed();
    assert_eq!(home.run(&["get", "none", "--raw"]).printed(), "");
    assert_eq!(home.run(&["get", "none"]).printed(), "{\"$bytes\":\"\"}\n");
}

#[test]
fn a_value_in_a_codec_of_others_is_kept_and_only_its_bytes_are_printed() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    store.set_bytes("private", b"\xc1 no one knows", 200).unwrap();
    assert!(home.run(&["get", "private"]).failed(1).contains("codec 200"));
    assert_eq!(home.run(&["get", "private", "--raw"]).out, b"\xc1 no one knows");
    store.set_bytes("json", b"{\"a\": [1.0]}", 2).unwrap();
    assert_eq!(home.run(&["get", "json"]).printed(), "{\"a\":[1.0]}\n");
    store.set_bytes("broken", b"{", 2).unwrap();
    assert!(home.run(&["get", "broken"]).failed(1).contains("was set as JSON but is none"));
    store.set_bytes("malformed", b"\xc1", 1).unwrap();
    home.run(&["get", "malformed"]).failed(1);
}

#[test]
fn a_missing_entry_is_not_an_empty_value() {
    let home = Home::new();
    let _daemon = home.serve();
    let missing = home.run(&["get", "x"]);
    assert_eq!(
        missing.failed(3),
        "andiron: author 'default' has no entry 'x'; `andiron ls` lists what is there"
    );
    for empty in ["", "null", "[]", "0", "false"] {
        home.run(&["set", "x", empty]).printed();
        home.run(&["get", "x"]).printed();
    }
    assert_eq!(home.run(&["del", "x"]).printed(), "");
    home.run(&["get", "x"]).failed(3);
    home.run(&["del", "x"]).failed(3);
}

#[test]
fn no_name_and_no_author_is_reserved() {
    let home = Home::new();
    let _daemon = home.serve();
    let names = ["", "~", "/", "a/b", "..", "$x", "_x", "*", "default", "store", "\u{1f525}", "a\nb", " "];
    for (number, name) in names.iter().enumerate() {
        for author in ["", "~", "default", "a/b"] {
            home.hub().store().author(author).set(name, &(number, author)).unwrap();
        }
    }
    for (number, name) in names.iter().enumerate() {
        let printed = format!("{{\"$tuple\":[{number},\"a/b\"]}}\n");
        assert_eq!(home.run(&["get", name, "--author", "a/b"]).printed(), printed, "{name:?}");
        let printed = format!("{{\"$tuple\":[{number},\"default\"]}}\n");
        assert_eq!(home.run(&["get", name]).printed(), printed, "{name:?}");
    }
    home.run(&["get", "--author", "nobody", "~"]).failed(3);
    assert_eq!(home.run(&["set", "--author", "", "--", "-x", "-y"]).printed(), "");
    assert_eq!(home.run(&["get", "--author", "", "--", "-x"]).printed(), "\"-y\"\n");
}

#[test]
fn a_listing_is_sorted_and_complete() {
    let home = Home::new();
    let _daemon = home.serve();
    assert_eq!(home.run(&["ls"]).printed(), "");
    assert_eq!(home.run(&["ls", "--json"]).printed(), "[]\n");

    let store = home.hub().store();
    for number in 0..2500 {
        store.set(&format!("n{number:04}"), &number).unwrap();
    }
    home.run(&["set", "x\u{1b}", "20", "--author", "a"]).printed();

    let all: serde_json::Value = serde_json::from_str(home.run(&["ls", "--json"]).printed()).unwrap();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 2501);
    assert_eq!((&all[0]["author"], &all[0]["name"]), (&"a".into(), &"x\u{1b}".into()));
    let names: Vec<&str> = all[1..].iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names[2499] == "n2499");
    let keys: Vec<&str> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["author", "name", "version", "timestamp", "size", "persistent"]);
    assert!(all[0]["version"].as_u64() > all[1]["version"].as_u64());
    assert_eq!(all[0]["size"], 1);

    let of_one: serde_json::Value =
        serde_json::from_str(home.run(&["ls", "--json", "--author", "a"]).printed()).unwrap();
    assert_eq!(of_one.as_array().unwrap()[..], all[..1]);
    let table = home.run(&["ls", "--author", "a"]);
    let lines: Vec<&str> = table.printed().lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["SIZE", "AGE", "P", "VERSION", "AUTHOR", "NAME"]
    );
    assert!(lines.len() == 2 && lines[1].ends_with("x\\u{1b}"), "{lines:?}");
    assert_eq!(home.run(&["ls"]).printed().lines().count(), 2502);
}

#[test]
fn a_client_reads_its_own_writes_and_the_last_one_wins() {
    let home = Home::new();
    let _daemon = home.serve();
    let (writer, reader) = (home.hub(), home.hub());
    let (writer, reader) = (writer.store(), reader.store());
    let mut before = 0;
    for number in 0..500 {
        let version = writer.set("x", &number).unwrap();
        assert!(version > before);
        before = version;
        assert_eq!(writer.get("x").unwrap(), Some(number));
        assert_eq!(reader.get("x").unwrap(), Some(number));
    }
}

#[test]
fn writes_of_one_client_keep_their_order_though_none_is_waited_for() {
    let home = Home::new();
    let _daemon = home.serve();
    let hub = home.hub();
    let store: andiron::Proxy = hub.object("store").unwrap();
    let bytes = |number: u32| andiron::Value::Bytes(number.to_be_bytes().to_vec());
    for number in 0..5000 {
        store.notify("set", &(format!("x{}", number % 7), bytes(number), 3)).unwrap();
    }
    for key in 0..7 {
        let last: u32 = (0..5000).rev().find(|number| number % 7 == key).unwrap();
        let entry = hub.store().entry(&format!("x{key}")).unwrap().unwrap();
        assert_eq!(entry.bytes, last.to_be_bytes());
    }
    assert!(hub.take_notify_error().is_none());
}

#[test]
fn writers_and_readers_at_once_never_see_an_older_value_again() {
    let home = Home::new();
    let _daemon = home.serve();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let store = home.hub().store().author(&format!("w{writer}"));
            scope.spawn(move || {
                for number in 0..400 {
                    store.set("x", &number).unwrap();
                }
            });
        }
        for writer in 0..2 {
            let store = home.hub().store().author(&format!("w{writer}"));
            scope.spawn(move || {
                let mut before = -1;
                while before < 399 {
                    let now = store.get::<i32>("x").unwrap().unwrap_or(-1);
                    assert!(now >= before, "{now} after {before}");
                    before = now;
                }
            });
        }
    });
}

#[test]
fn a_read_of_what_did_not_change_sends_no_value() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    let version = store.set("x", &20).unwrap();
    assert_eq!(store.get_if_changed("x", version).unwrap(), Changed::No);
    let Changed::Yes(entry) = store.get_if_changed("x", version - 1).unwrap() else { panic!() };
    assert_eq!((entry.version, entry.value::<i32>().unwrap()), (version, 20));
    assert_eq!(store.delete("x").unwrap().unwrap().value::<i32>().unwrap(), 20);
    assert_eq!(store.delete("x").unwrap(), None);
    assert_eq!(store.get_if_changed("x", version).unwrap(), Changed::Missing);
    assert!(store.set("x", &20).unwrap() > version, "a version is never used again");
}

#[test]
fn only_what_is_asked_for_all_authors_concerns_more_than_one() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    for author in ["a", "b", "default", "z"] {
        store.author(author).set("x", &1).unwrap();
        store.author(author).set("y", &1).unwrap();
    }
    let listed = |of: &andiron::Store| -> Vec<(String, String)> {
        of.list().map(|entry| entry.map(|entry| (entry.author, entry.name)).unwrap()).collect()
    };
    let both = |author: &str| ["x", "y"].map(|name| (author.to_owned(), name.to_owned()));
    assert_eq!(listed(&store), both("default"));
    assert_eq!(listed(&store.author("b")), both("b"));
    assert_eq!(store.list_all().count(), 8);

    assert_eq!(store.clear().unwrap(), 2, "of the author `default` alone");
    assert_eq!(store.list().count(), 0);
    assert_eq!(store.author("a").clear().unwrap(), 2);
    assert_eq!(store.author("z").list_all().count(), 4);
    assert_eq!(home.run(&["ls"]).printed().lines().count(), 1 + 4);
    assert_eq!(home.run(&["ls", "--author", "b"]).printed().lines().count(), 1 + 2);
    assert_eq!(store.author("b").clear_all().unwrap(), 4);
    assert_eq!(store.list_all().count(), 0);
}

#[test]
fn values_beyond_all_buffers_go_both_ways() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    let value: Vec<u8> = (0..70 << 20).map(|index: u32| (index / 7) as u8).collect();
    store.set_bytes("big", &value, 3).unwrap();
    let entry = home.hub().store().entry("big").unwrap().unwrap();
    assert!(entry.bytes == value);
    assert_eq!(store.delete("big").unwrap().unwrap().bytes.len(), value.len());
}

#[test]
fn what_the_store_refuses_is_told_and_changes_nothing() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    let long = "k".repeat((64 << 10) + 1);
    let error = store.set(&long, &1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("use a shorter key"), "{error}");
    assert_eq!(store.list().count(), 0);
    assert!(home.run(&["set", &"k".repeat((64 << 10) + 1), "1"]).failed(1).contains("use a shorter key"));
}

#[test]
fn an_entry_is_set_for_a_time() {
    let home = Home::new();
    let _daemon = home.serve();
    let changes = home.hub().store().watch_with("*", false, false).unwrap();
    assert_eq!(home.run(&["set", "x", "20", "--ttl", "0.05"]).printed(), "");
    let mut gone = changes.map(|change| change.unwrap()).filter(|change| change.entry.is_none());
    assert_eq!(gone.next().unwrap().name, "x");
    home.run(&["get", "x"]).failed(3);
    for long in ["3600", "90.5", "5m", "1h", "2d", "30s"] {
        assert_eq!(home.run(&["set", "x", "20", "--ttl", long]).printed(), "");
    }
    assert_eq!(home.run_with(&["set", "y", "-", "--ttl", "1h"], b"bytes").printed(), "");
    assert_eq!(home.run(&["get", "y", "--raw"]).printed(), "bytes");
    for wrong in ["0", "0m", "-1", "soon", "5x", ""] {
        let told = home.run(&["set", "x", "21", &format!("--ttl={wrong}")]);
        assert!(told.code == Some(2) && told.err.contains("not a time above 0"), "{told:?}");
    }
    let told = home.run(&["set", "x", "21", "--ttl", "-5"]);
    assert!(told.code == Some(2) && told.err.contains("like 90 or 5m"), "{told:?}");
    assert_eq!(home.run(&["get", "x"]).printed(), "20\n");
    // What is left of it is told.
    home.run(&["set", "for good", "1"]).printed();
    let ttl_of = |name: &str| {
        let got: serde_json::Value =
            serde_json::from_str(home.run(&["get", name, "--json"]).printed()).unwrap();
        got.get("ttl").map(|ttl| ttl.as_f64().unwrap())
    };
    assert!(ttl_of("y").is_some_and(|left| left > 0.0 && left <= 3600.0), "{:?}", ttl_of("y"));
    assert_eq!(ttl_of("for good"), None);
}

#[test]
fn a_daemon_that_stood_still_while_an_entry_expired_does_not_give_it_out() {
    let home = Home::new();
    let daemon = home.serve();
    let store = home.hub().store();
    let mut changes = store.watch_with("*", false, false).unwrap();
    let ttl = Duration::from_millis(100);
    store.set_with(Put::new("x", &1).unwrap().ttl(ttl)).unwrap();
    let version = store.entry("x").unwrap().map(|entry| entry.version);
    daemon.signal("STOP");
    std::thread::sleep(ttl); // it is this time that is to pass
    std::thread::scope(|scope| {
        let read = scope.spawn(|| store.get_if_changed("x", version.unwrap_or(1)).unwrap());
        daemon.signal("CONT");
        assert_eq!(read.join().unwrap(), Changed::Missing);
    });
    assert!(changes.any(|change| change.unwrap().entry.is_none()));
}

#[test]
fn an_entry_is_set_and_removed_over_one_version_alone() {
    let home = Home::new();
    let _daemon = home.serve();
    home.run(&["set", "x", "1", "--if-version", "0"]).printed();
    let refused = home.run(&["set", "x", "2", "--if-version", "0"]);
    assert!(refused.failed(1).contains("was changed meanwhile"), "{refused:?}");
    let version = home.hub().store().entry("x").unwrap().unwrap().version.to_string();
    let set = home.run(&["set", "x", "2", "--if-version", &version, "--json"]);
    let set: serde_json::Value = serde_json::from_str(set.printed()).unwrap();
    home.run(&["del", "x", "--if-version", &version]).failed(1);
    assert_eq!(home.run(&["get", "x"]).printed(), "2\n");
    assert_eq!(home.run(&["del", "x", "--if-version", &set["version"].to_string()]).printed(), "");
    home.run(&["del", "x"]).failed(3);
}

#[test]
fn numbers_are_counted_up_and_down() {
    let home = Home::new();
    let _daemon = home.serve();
    assert_eq!(home.run(&["incr", "n"]).printed(), "1\n");
    assert_eq!(home.run(&["incr", "n", "41"]).printed(), "42\n");
    assert_eq!(home.run(&["incr", "n", "-50", "--json"]).printed(), "-8\n");
    assert_eq!(home.run(&["incr", "n", "--author", "a"]).printed(), "1\n");
    assert_eq!(home.run(&["get", "n"]).printed(), "-8\n");
    home.run(&["set", "text", "none"]).printed();
    assert!(home.run(&["incr", "text"]).failed(1).contains("no whole number"));
    assert_eq!(home.run(&["incr", "n", "1.5"]).code, Some(2));
}

#[test]
fn how_much_the_store_holds_is_printed() {
    let home = Home::new();
    let _daemon = home.serve();
    home.run(&["set", "x", "1"]).printed();
    home.run(&["set", "x", "1", "--author", "a"]).printed();
    home.run(&["get", "x"]).printed();
    let stats: serde_json::Value = serde_json::from_str(home.run(&["stats", "--json"]).printed()).unwrap();
    assert_eq!((&stats["entries"], &stats["authors"]), (&2.into(), &2.into()));
    assert_eq!((&stats["hits"], &stats["questions"]), (&0.into(), &1.into()));
    assert!(stats["bytes"].as_u64() > Some(0));
    let told = home.run(&["stats"]);
    let lines: Vec<&str> = told.printed().lines().collect();
    assert_eq!(lines[0], "entries    2, of authors: 2");
    assert_eq!(lines[2], "questions  1, answered by the store");
}

#[test]
fn a_store_that_may_hold_little_refuses_or_removes_what_is_oldest() {
    let home = Home::new();
    let mut daemon = home.serve_with(&["--max-author-entries", "2", "--max-bytes", "1M"]);
    for name in ["a", "b"] {
        home.run(&["set", name, "1"]).printed();
    }
    let full = home.run(&["set", "c", "1"]);
    assert!(full.failed(1).contains("max_author_entries") && full.err.contains("\"default\""), "{full:?}");
    home.run(&["set", "c", "1", "--author", "another"]).printed();
    daemon.terminate();

    let _daemon = home.serve_with(&["--max-author-entries", "2", "--evict", "oldest"]);
    for name in ["a", "b"] {
        home.run(&["set", name, "1"]).printed();
    }
    home.run(&["persist", "a"]).printed();
    home.run(&["set", "c", "1"]).printed();
    let listed: serde_json::Value = serde_json::from_str(home.run(&["ls", "--json"]).printed()).unwrap();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "c"], "what is persistent stays");
    assert!(home.run(&["stats"]).printed().ends_with("evicted    1, to make room for others\n"));
    home.run(&["persist", "c"]).printed();
    assert!(home.run(&["set", "d", "1"]).failed(1).contains("has all that one author may have"));
}

#[test]
fn the_store_says_what_it_offers() {
    let home = Home::new();
    let _daemon = home.serve();
    let described = home.run(&["describe", "store"]);
    let described = described.printed();
    assert!(described.starts_with("Store: Values by author and name"), "{described}");
    // With the names of the arguments, those that may be left out behind the `|`. What a type is called is for each language to say.
    for signature in [
        "set name value codec | author ttl if_version persist durability",
        "set_many entries | durability",
        "set_default name value codec | author ttl persist durability",
        "replace name value codec | author if_version durability",
        "persist name | persist author durability",
        "get name | known author hits",
        "delete name | author if_version",
        "delete_first | author",
        "count | author",
        "entries | author values",
        "incr name | by author",
        "board |",
        "stats |",
        "list | author after limit",
        "watch | pattern author present since",
        "clear | author",
        "save snapshot | author",
        "load snapshot | author",
        "snapshots | author",
        "delete_snapshot snapshot | author",
        "backup |",
        "restore pieces |",
    ] {
        has_method(described, signature);
    }
}

#[track_caller]
fn has_method(described: &str, signature: &str) {
    let (needed, optional) = signature.split_once('|').unwrap();
    let (method, needed) = needed.split_once(' ').unwrap();
    let line =
        described.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(method)?.strip_prefix('('));
    let mut rest = line.unwrap_or_else(|| panic!("{method}\n{described}"));
    for name in needed.split_whitespace().chain(optional.split_whitespace()) {
        let behind = rest.split_once(&format!("{name}: "));
        rest = behind.unwrap_or_else(|| panic!("{method}, {name}\n{described}")).1;
    }
    let (all, left_out) = (line.unwrap().matches(": ").count(), line.unwrap().matches(" = ..").count());
    let counts = (needed.split_whitespace().count(), optional.split_whitespace().count());
    assert_eq!((all - left_out, left_out), counts, "{method}\n{described}");
}

#[test]
fn the_store_is_an_object_like_any_other_and_names_wrong_arguments() {
    let home = Home::new();
    let _daemon = home.serve();
    assert!(home.run(&["call", "store", "get", "x"]).printed().starts_with("[0,0,"));
    let set = home.run(&["call", "store", "set", "x", "{\"$bytes\": \"AQ==\"}", "1"]);
    assert!(set.printed().starts_with('['), "{set:?}");
    let got = home.run(&["call", "store", "get", "x"]);
    assert!(got.printed().ends_with(",1,{\"$bytes\":\"AQ==\"}]\n"), "{got:?}");
    let missing = home.run(&["call", "store", "get"]);
    assert!(missing.failed(1).contains("missing") && missing.err.contains("name"), "{missing:?}");
    assert!(home.run(&["call", "store", "get", "5"]).failed(1).contains("found int 5"));
    assert!(home.run(&["call", "store", "set", "x", "[1]", "1"]).failed(1).contains("argument `value`"));
}
