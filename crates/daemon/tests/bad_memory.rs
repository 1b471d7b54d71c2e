//! What peers send in place of big values: it is refused for the call that it came with, and nobody else notices.

#[path = "../../andiron/tests/common/memory.rs"]
#[allow(unreachable_pub)]
mod memory;

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use andiron::{Blob, Connector, Error, ErrorKind, Hub, Proxy, Result, Running, Secret, Security, Value};
use andiron_daemon::{Daemon, Options, StoreLimits};
use memory::{FROZEN, Forged, memory, refused_ones};

/// Takes big values and gives them back.
struct Echo;

#[andiron::expose]
impl Echo {
    fn echo(&self, blob: Blob) -> Blob {
        blob
    }

    fn lengths(&self, blobs: Vec<Blob>) -> Vec<usize> {
        blobs.iter().map(|blob| blob.len()).collect()
    }

    /// Passes on what it does not look at.
    fn keep(&self, what: Value) -> bool {
        matches!(what, Value::Buffer(_))
    }
}

/// A daemon that is reached over a Unix socket and over TCP, with a provider at each and an object of its own.
struct House {
    running: Running,
    unix: String,
    security: Security,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        House::with(Options::default())
    }

    fn with(options: Options) -> House {
        let folder = tempfile::tempdir().unwrap();
        let unix = format!("unix:{}/s", folder.path().display());
        let security = Security::default().secret(Secret::new().unwrap());
        let daemon = Daemon::bind_with(&unix, Options { security: security.clone(), ..options }).unwrap();
        let running =
            daemon.object("here", Echo).unwrap().listen("tcp://127.0.0.1:0").unwrap().start().unwrap();
        House { running, unix, security, _folder: folder }
    }

    fn at(&self, transport: &str) -> Hub {
        let tcp = self.running.addresses().into_iter().find(|address| address.starts_with("tcp:"));
        let address = if transport == "unix" { self.unix.clone() } else { tcp.unwrap() };
        Connector::new(&address).security(self.security.clone()).connect().unwrap()
    }

    /// Has an object provided over this transport, under its name.
    fn provide(&self, transport: &str) {
        let hub = self.at(transport);
        hub.register(transport, Echo).unwrap();
        std::thread::spawn(move || hub.run());
    }

    #[track_caller]
    fn serves_on(&self) {
        let store = self.at("unix").store();
        store.set("alive", &1).unwrap();
        assert_eq!(store.get("alive").unwrap(), Some(1));
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T>, what: &str, said: &str) -> Error {
    let error = outcome.expect_err(what);
    assert!(
        matches!(error.kind(), ErrorKind::BadArguments | ErrorKind::Encoding),
        "{what}: {:?} {error}",
        error.kind()
    );
    assert!(error.to_string().contains(said), "{what}: {error}");
    error
}

#[test]
fn what_is_no_frozen_memory_is_not_set_and_the_connection_goes_on() {
    let house = House::new();
    let hub = house.at("unix");
    let store: Proxy = hub.object("store").unwrap();
    for (what, forged, said) in refused_ones() {
        refused(store.call::<Value>("set", &("x", &forged, 3)), what, said);
        let one = ("a", Value::Bytes(vec![1]), 3);
        refused(store.call::<Value>("set_many", &([one], 5)), what, ""); // too many arguments
        let both = (vec![Value::Array(vec![Value::Str("b".into()), Value::Bytes(vec![1]), Value::Int(3)])],);
        store.call::<Value>("set_many", &both).unwrap();
        let many = (vec![("c", &forged, 3)],);
        refused(store.call::<Value>("set_many", &many), what, "");
        assert_eq!(hub.store().get::<i64>("c").unwrap(), None, "{what}");
        assert_eq!(hub.store().get::<i64>("x").unwrap(), None, "{what}");
    }
    house.serves_on();
}

#[test]
fn what_is_no_frozen_memory_is_no_argument_of_a_method_here_or_elsewhere() {
    let house = House::new();
    house.provide("unix");
    house.provide("tcp");
    for object in ["here", "unix", "tcp"] {
        let hub = house.at("unix");
        let echo: Proxy = hub.object(object).unwrap();
        for (what, forged, said) in refused_ones() {
            let what = format!("{what}, to {object}");
            refused(echo.call::<Blob>("echo", &(&forged,)), &what, said_over(object, said));
            let good: Blob = vec![5; 2 << 20][..].into();
            let mixed = (vec![Value::Nil],);
            assert!(echo.call::<Value>("lengths", &mixed).is_err());
            assert!(echo.call::<Blob>("echo", &(&good,)).unwrap() == good, "{what}");
        }
    }
    house.serves_on();
}

/// What is said of memory that is too short for what it is to hold, where the bytes went over a network.
fn said_over<'s>(object: &str, said: &'s str) -> &'s str {
    match (object, said) {
        ("tcp", "4097 were announced" | "were announced") => "announced",
        ("tcp", "has holes" | "is not sealed" | "F_SEAL_WRITE" | "MFD_HUGETLB" | "memfd_create") => "memory",
        _ => said,
    }
}

/// What its provider gives back is forged.
struct Forger;

#[andiron::expose]
impl Forger {
    fn give(&self, index: usize) -> Forged {
        refused_ones().swap_remove(index).1
    }

    fn blob(&self) -> Blob {
        vec![5; 2 << 20][..].into()
    }
}

#[test]
fn what_is_no_frozen_memory_is_no_result_over_any_way() {
    let house = House::new();
    let provider = house.at("unix");
    provider.register("forger", Forger).unwrap();
    std::thread::spawn(move || provider.run());
    for transport in ["unix", "tcp"] {
        let forger: Proxy = house.at(transport).object("forger").unwrap();
        for (index, (what, _, said)) in refused_ones().into_iter().enumerate() {
            let what = format!("{what}, over {transport}");
            refused(forger.call::<Blob>("give", &(index,)), &what, said_over(transport, said));
            assert_eq!(forger.call::<Blob>("blob", &()).unwrap().len(), 2 << 20, "{what}");
        }
    }
    house.serves_on();
}

#[test]
fn memory_that_is_longer_than_the_value_in_it_gives_the_value_over_any_way() {
    let house = House::new();
    house.provide("unix");
    house.provide("tcp");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
    for object in ["here", "unix", "tcp"] {
        let echo: Proxy = house.at("unix").object(object).unwrap();
        let forged = Forged::new(memory(&bytes, bytes.len() as u64, FROZEN), 1_500_000);
        let blob: Blob = echo.call("echo", &(forged,)).unwrap();
        assert!(blob == bytes[..1_500_000], "{object}: {} bytes", blob.len());
    }
}

#[test]
fn a_value_costs_the_store_what_it_counts_for() {
    let house = House::new();
    let store = house.at("unix").store();
    // A value of a megabyte in memory of twenty.
    let much = memory(&vec![7; 20 << 20], 20 << 20, FROZEN);
    let proxy: Proxy = house.at("unix").object("store").unwrap();
    let _: Value = proxy.call("set", &("x", Forged::new(much, 1 << 20), 3)).unwrap();
    let Some(entry) = store.entry("x").unwrap() else { panic!("it was set") };
    assert_eq!(entry.bytes.len(), 1 << 20);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    drop(entry);
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let sizes = open.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = std::fs::read_link(&path).ok()?;
        let memory = name.to_str()?.starts_with("/memfd:test");
        memory.then(|| File::open(&path).ok()?.metadata().ok().map(|found| found.size())).flatten()
    });
    assert_eq!(sizes.max(), None, "the memory that came is kept");
    assert!(!maps.contains("memfd:test"), "the memory that came is mapped");
}

#[test]
fn a_value_larger_than_the_store_is_refused_before_anything_is_done_with_it() {
    let limits = StoreLimits { max_bytes: 100 << 20, ..StoreLimits::default() };
    let house = House::with(Options { store: limits, ..Options::default() });
    let store = house.at("unix").store();
    let large = Blob::zeroed(110 << 20).unwrap().freeze().unwrap();
    assert_eq!(store.set_bytes("x", &large, 3).unwrap_err().kind(), ErrorKind::TooLarge);
    let half = Blob::zeroed(60 << 20).unwrap().freeze().unwrap();
    store.set_bytes("x", &half, 3).unwrap();
    assert_eq!(store.set_bytes("y", &half, 3).unwrap_err().kind(), ErrorKind::Quota);
    let proxy: Proxy = house.at("unix").object("store").unwrap();
    let forged = Forged::new(memory(&[7; 4096], 4096, FROZEN), 512 << 20);
    refused(proxy.call::<Value>("set", &("z", forged, 3)), "announced only", "were announced");
    house.serves_on();
}

#[test]
fn more_bytes_than_a_peer_takes_are_not_copied_for_it() {
    // Sixty-four times the same sixteen megabytes: a gigabyte and more, in bytes.
    let house = House::new();
    house.provide("tcp");
    let echo: Proxy = house.at("unix").object("tcp").unwrap();
    let blob = Blob::zeroed(17 << 20).unwrap().freeze().unwrap();
    let before = peak();
    let error = echo.call::<Vec<usize>>("lengths", &(vec![blob.clone(); 64],)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let grown = peak().saturating_sub(before) >> 20;
    assert!(grown < 200, "{grown} MiB were taken for it");
    assert_eq!(echo.call::<Vec<usize>>("lengths", &(vec![blob; 2],)).unwrap(), [17 << 20; 2]);
}

/// The most memory that this process had in use.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn values_that_nobody_looks_at_pass_as_they_are() {
    let house = House::new();
    house.provide("unix");
    let echo: Proxy = house.at("unix").object("unix").unwrap();
    for (what, forged, _) in refused_ones() {
        assert!(echo.call::<bool>("keep", &(forged,)).unwrap(), "{what}");
    }
}
