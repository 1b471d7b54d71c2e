//! What a secret gives the right to, in real connections.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use andiron::{Connector, Error, ErrorKind, Hub, Proxy, Put, Result, Running, Secret, Security};
use andiron_daemon::{Daemon, Options};

struct Clock;

#[andiron::expose]
impl Clock {
    fn seconds(&self) -> u64 {
        7
    }

    /// What the caller may do, as the handler sees it.
    fn may_set(&self, author: &str) -> bool {
        let call = andiron::current().unwrap();
        !call.rights().read_only_store && call.rights().may_use(author)
    }
}

/// Keeps a reference for others.
struct Keeper(Option<Proxy>);

#[andiron::expose]
impl Keeper {
    fn keep(&mut self, object: Proxy) {
        self.0 = Some(object);
    }

    fn kept(&self) -> Proxy {
        self.0.clone().unwrap()
    }
}

/// A daemon with the secrets of a file, each with words behind it.
struct House {
    folder: tempfile::TempDir,
    running: Running,
    secrets: Vec<Secret>,
}

impl House {
    fn new(words: &[&str]) -> House {
        let folder = tempfile::tempdir().unwrap();
        let secrets: Vec<Secret> = words.iter().map(|_| Secret::new().unwrap()).collect();
        let lines = secrets.iter().zip(words).map(|(secret, words)| format!("{} {words}\n", secret.text()));
        let path = folder.path().join("secret");
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let state = Some(folder.path().join("state"));
        let security = Security::default().secret_file(path);
        let options = Options { state, security, ..Options::default() };
        let daemon = Daemon::bind_with("tcp://127.0.0.1:0", options).unwrap();
        let daemon = daemon.object("clock", Clock).unwrap().object("other", Clock).unwrap();
        let daemon = daemon.object("keeper", Keeper(None)).unwrap();
        let daemon = daemon.listen(&format!("unix:{}/s", folder.path().display())).unwrap();
        House { folder, running: daemon.start().unwrap(), secrets }
    }

    /// A client with one of the secrets.
    fn hub(&self, secret: usize) -> Hub {
        let security = Security::default().secret(self.secrets[secret].clone());
        let address = self.running.addresses().into_iter().find(|address| address.starts_with("tcp:"));
        Connector::new(address.unwrap()).security(security).connect().unwrap()
    }

    /// A client on this machine, to whom no secret says what it may do.
    fn local(&self) -> Hub {
        let path: PathBuf = self.folder.path().join("s");
        Hub::connect(&format!("unix:{}", path.display())).unwrap()
    }
}

#[track_caller]
fn denied<T: std::fmt::Debug>(outcome: Result<T>) -> Error {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    error
}

fn listed(hub: &Hub) -> Vec<(String, String)> {
    hub.store().list_all().map(|entry| entry.map(|entry| (entry.author, entry.name)).unwrap()).collect()
}

#[test]
fn a_secret_without_words_and_a_local_client_may_do_everything() {
    let house = House::new(&["", "store=read-only authors= objects="]);
    for hub in [house.hub(0), house.local()] {
        hub.store().author("a").set("x", &1).unwrap();
        assert_eq!(hub.names().unwrap(), ["clock", "keeper", "other", "store"]);
        assert!(hub.call::<bool>("clock", "may_set", &("anybody",)).unwrap());
        hub.register("mine", Clock).unwrap();
        assert_eq!(hub.store().clear_all().unwrap(), 1);
        hub.close();
    }
}

#[test]
fn a_read_only_store_can_be_read_and_not_changed() {
    let house = House::new(&["", "store=read-only"]);
    let (full, reader) = (house.hub(0).store(), house.hub(1));
    full.set("x", &1).unwrap();
    let store = reader.store();
    assert_eq!(store.get("x").unwrap(), Some(1));
    assert_eq!(listed(&reader).len(), 1);

    let error = denied(store.set("x", &2));
    assert!(error.message().contains("not to change it"), "{error}");
    denied(store.set_bytes("y", b"", 3));
    denied(store.delete("x"));
    denied(store.delete("missing"));
    denied(store.incr("x", 1));
    denied(store.set_with(andiron::Put::new("y", &1).unwrap().if_version(0)));
    denied(store.set_many([andiron::Put::new("y", &1).unwrap()]));
    assert_eq!(store.stats().unwrap().entries, 1);
    denied(store.clear());
    denied(store.clear_all());
    assert_eq!(full.get("x").unwrap(), Some(1));
    assert!(!reader.call::<bool>("clock", "may_set", &("default",)).unwrap());
    reader.register("mine", Clock).unwrap();
}

#[test]
fn a_write_that_nobody_waits_for_is_refused_as_well() {
    let house = House::new(&["store=read-only"]);
    let hub = house.hub(0);
    let store: Proxy = hub.object("store").unwrap();
    store.notify("set", &("x", andiron::Value::Bytes(vec![1]), 3)).unwrap();
    assert_eq!(hub.store().get::<i64>("x").unwrap(), None);
    assert_eq!(hub.take_notify_error().unwrap().kind(), ErrorKind::Denied);
}

#[test]
fn entries_of_other_authors_than_those_allowed_are_out_of_sight() {
    let house = House::new(&["", "authors=b,d,none"]);
    let (full, some) = (house.hub(0), house.hub(1));
    for author in ["a", "b", "c", "d", "default"] {
        full.store().author(author).set("x", &1).unwrap();
        full.store().author(author).set("y", &1).unwrap();
    }
    for author in ["a", "c", "default", "nobody"] {
        let store = some.store().author(author);
        let error = denied(store.get::<i64>("x"));
        assert!(error.message().contains(&format!("'{author}'")), "{error}");
        denied(store.get_if_changed("x", 1));
        denied(store.set("x", &2));
        denied(store.delete("x"));
        denied(store.incr("x", 1));
        let allowed = andiron::Put::new("x", &2).unwrap().author("b");
        denied(store.set_many([allowed, andiron::Put::new("x", &2).unwrap()]));
        denied(store.clear());
        denied(store.list().next().unwrap());
    }
    let key = |author: &str, name: &str| (author.to_owned(), name.to_owned());
    assert_eq!(listed(&some), [key("b", "x"), key("b", "y"), key("d", "x"), key("d", "y")]);
    denied(some.store().stats());
    assert_eq!(some.store().author("b").incr("x", 1).unwrap(), 2);
    some.store().author("b").set("z", &1).unwrap();
    assert_eq!(some.store().author("b").list().count(), 3);
    assert_eq!(some.store().author("b").clear().unwrap(), 3);
    assert_eq!(some.store().clear_all().unwrap(), 2, "all that it may change, and no more");
    assert_eq!(listed(&some), []);
    assert_eq!(listed(&full).len(), 6);
}

#[test]
fn who_resumes_a_watch_hears_of_the_allowed_authors_alone() {
    let house = House::new(&["", "authors=b,d"]);
    let (full, some) = (house.hub(0).store(), house.hub(1).store());
    drop(full.watch("*").unwrap());
    let begun = full.set("x", &0).unwrap();
    for author in ["a", "b", "c", "d"] {
        full.author(author).set("x", &1).unwrap();
        full.author(author).delete("x").unwrap();
    }
    denied(some.watch_since("*", false, begun).map(drop));
    denied(some.author("a").watch_since("*", false, begun).map(drop));
    let removed = some.watch_since("*", true, begun).unwrap().take(2).map(|change| change.unwrap().author);
    assert_eq!(removed.collect::<Vec<_>>(), ["b", "d"]);
    let mut own = some.author("d").watch_since("*", false, begun).unwrap();
    assert_eq!(own.next().unwrap().unwrap().author, "d");
}

#[test]
fn a_listing_of_some_authors_comes_in_pages_as_that_of_all_does() {
    let house = House::new(&["", "authors=b,d,e"]);
    let (full, some) = (house.hub(0), house.hub(1));
    for author in ["a", "b", "c", "d"] {
        for number in 0..5 {
            full.store().author(author).set(&number.to_string(), &1).unwrap();
        }
    }
    let store: Proxy = some.object("store").unwrap();
    type Page = (bool, Vec<(String, String, u64, f64, u64, bool)>);
    let page = |after: Option<(&str, &str)>, limit: u64| -> (bool, Vec<String>) {
        let (more, rows): Page = store.call("list", &(None::<&str>, after, limit)).unwrap();
        (more, rows.into_iter().map(|row| row.0 + &row.1).collect())
    };
    assert_eq!(page(None, 0), (true, vec![]));
    assert_eq!(page(None, 2), (true, vec!["b0".into(), "b1".into()]));
    assert_eq!(page(Some(("a", "3")), 1), (true, vec!["b0".into()]));
    assert_eq!(page(Some(("b", "3")), 9), (true, vec!["b4".into()]));
    assert_eq!(page(Some(("b", "4")), 1), (true, vec!["d0".into()]));
    assert_eq!(page(Some(("c", "9")), 5).1.len(), 5);
    assert_eq!(page(Some(("d", "4")), 5), (false, vec![]));
    assert_eq!(page(Some(("z", "")), 5), (false, vec![]));
}

#[test]
fn only_the_objects_allowed_are_found_and_none_can_be_registered() {
    let house = House::new(&["", "objects=clock,missing", "objects=store authors=a store=read-only"]);
    let some = house.hub(1);
    assert_eq!(some.names().unwrap(), ["clock"]);
    assert_eq!(some.call::<u64>("clock", "seconds", &()).unwrap(), 7);
    let error = denied(some.object::<Proxy>("other"));
    assert!(error.message().contains("'other'"), "{error}");
    denied(some.object::<Proxy>("nowhere"));
    assert_eq!(some.object::<Proxy>("missing").unwrap_err().kind(), ErrorKind::NoObject);
    denied(some.store().get::<i64>("x"));
    denied(some.register("mine", Clock).map(drop));

    let reader = house.hub(2);
    assert_eq!(reader.names().unwrap(), ["store"]);
    assert_eq!(reader.store().author("a").get::<i64>("x").unwrap(), None);
    denied(reader.store().author("a").set("x", &1));
    denied(reader.call::<u64>("clock", "seconds", &()));
}

#[test]
fn a_store_that_was_passed_on_gives_no_more_than_the_secret_does() {
    let house = House::new(&["", "store=read-only authors=a objects=keeper"]);
    let (full, some) = (house.hub(0), house.hub(1));
    full.store().author("a").set("x", &1).unwrap();
    let () = full.call("keeper", "keep", &(full.object::<Proxy>("store").unwrap(),)).unwrap();

    let store: Proxy = some.call("keeper", "kept", &()).unwrap();
    let bytes = andiron::Value::Bytes(vec![1]);
    denied(store.call::<(u64, f64)>("set", &("x", bytes, 3, "a")));
    denied(store.call::<andiron::Value>("get", &("x", 0, "b")));
    store.call::<andiron::Value>("get", &("x", 0, "a")).unwrap();
}

#[test]
fn every_way_to_write_is_denied_to_who_may_only_read_and_beyond_ones_own_authors() {
    let house = House::new(&["store=read-only", "authors=mine"]);
    let (reader, writer, local) = (house.hub(0).store(), house.hub(1).store(), house.local().store());
    let big = || Put::bytes("x", vec![7; 2 << 20], 3);
    denied(reader.incr("x", 1));
    denied(reader.set_many([Put::new("x", &1).unwrap()]));
    denied(reader.set_with(big()));
    denied(reader.delete_if_version("x", 0));
    denied(reader.delete_first());
    denied(reader.set_default(big()));
    denied(reader.replace(big()));
    denied(writer.delete_first());
    denied(writer.set_default(big()));
    denied(writer.replace(big()));
    denied(writer.count());
    denied(writer.names().map(Iterator::count));
    denied(writer.incr("x", 1));
    denied(writer.set_with(big()));
    denied(writer.stats());
    // One that is not allowed keeps all of them from being set, wherever it stands.
    let (mine, others) = (|| big().author("mine"), || Put::new("x", &1).unwrap().author("others"));
    denied(writer.set_many([mine(), others()]));
    denied(writer.set_many([others(), mine()]));
    assert_eq!(local.list_all().count(), 0);
    writer.set_many([mine()]).unwrap();
    assert_eq!(writer.author("mine").incr("n", 2).unwrap(), 2);
    assert!(reader.author("mine").entry("x").unwrap().unwrap().bytes.len() == 2 << 20);
}

#[test]
fn who_may_not_see_all_authors_gets_no_board() {
    let house = House::new(&["authors=mine", "store=read-only"]);
    let board = |hub: Hub| hub.call::<Option<andiron::PassedDescriptor>>("store", "board", &());
    assert!(board(house.hub(0)).unwrap().is_none());
    // To who may it would be given, were there a way for it.
    assert!(board(house.hub(1)).is_err());
    assert!(board(house.local()).unwrap().is_some());
}

#[test]
fn snapshots_go_by_author_and_backups_need_all_rights() {
    let house = House::new(&["", "store=read-only", "authors=a"]);
    let (full, reader, some) = (house.hub(0).store(), house.hub(1).store(), house.hub(2).store());
    full.set_with(Put::new("x", &1).unwrap().persist()).unwrap();
    for author in ["a", "b"] {
        full.author(author).save("s").unwrap();
    }
    assert_eq!(some.author("a").save("t").unwrap(), 0);
    let names = |snapshots: Vec<andiron::Snapshot>| -> Vec<String> {
        snapshots.into_iter().map(|snapshot| snapshot.author + &snapshot.name).collect()
    };
    assert_eq!(names(some.all_snapshots().unwrap()), ["as", "at"]);
    assert_eq!(names(reader.all_snapshots().unwrap()), ["as", "at", "bs"]);
    denied(some.author("b").snapshots());
    denied(some.author("b").save("s"));
    denied(some.author("b").load("s"));
    denied(some.author("b").delete_snapshot("s"));
    denied(reader.save("s"));
    denied(reader.author("a").load("s"));
    denied(reader.persist("x", false));
    let mut bytes = Vec::new();
    full.backup(&mut bytes).unwrap();
    for store in [&reader, &some] {
        denied(store.backup(&mut Vec::new()));
        denied(store.restore(std::io::Cursor::new(bytes.clone())));
    }
    assert_eq!(full.restore(std::io::Cursor::new(bytes)).unwrap(), 1);
}
