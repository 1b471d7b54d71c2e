//! What a daemon refuses, and how it says so.

use andiron::{Connector, ErrorKind, Hub, Limits, Put, Running, Secret, Security};
use andiron_daemon::{Daemon, Options, StoreLimits};

fn serving(options: Options) -> (tempfile::TempDir, Running, Hub) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let running = Daemon::bind_with(&address, options).unwrap().start().unwrap();
    let hub = Hub::connect(&address).unwrap();
    (folder, running, hub)
}

#[test]
fn a_store_that_is_full_refuses_and_keeps_what_it_has() {
    let limits = StoreLimits { max_entries: 2, max_bytes: 10_000, ..StoreLimits::default() };
    let (_folder, _running, hub) = serving(Options { store: limits, ..Options::default() });
    let store = hub.store();
    store.set("a", &1).unwrap();
    store.set("b", &2).unwrap();
    let error = store.set("c", &3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota);
    assert!(
        error.message().contains("delete entries, or have its program start it with a larger max_entries"),
        "{error}"
    );

    let error = store.set_bytes("b", &[0; 8_800], 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
    let error = store.set_bytes("b", &[0; 20_000], 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(store.get("b").unwrap(), Some(2));
    store.delete("a").unwrap();
    store.set("c", &3).unwrap();
}

#[test]
fn a_write_that_nobody_waits_for_and_that_is_refused_is_told_later() {
    let limits = StoreLimits { max_entries: 0, ..StoreLimits::default() };
    let (_folder, _running, hub) = serving(Options { store: limits, ..Options::default() });
    let store: andiron::Proxy = hub.object("store").unwrap();
    store.notify("set", &("x", andiron::Value::Bytes(vec![1]), 3)).unwrap();
    assert_eq!(hub.store().get::<i64>("x").unwrap(), None);
    assert_eq!(hub.take_notify_error().unwrap().kind(), ErrorKind::Quota);
}

#[test]
fn a_message_beyond_what_the_daemon_takes_is_refused_before_it_is_sent() {
    let session = Limits { message: 100_000, ..Limits::default() };
    let (_folder, _running, hub) = serving(Options { session, ..Options::default() });
    let store = hub.store();
    let error = store.set_bytes("x", &[0; 200_000], 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    store.set_bytes("x", &[0; 90_000], 3).unwrap();
}

#[test]
fn objects_of_the_hosting_process_stand_beside_the_store_whose_name_is_taken() {
    struct Clock;
    #[andiron::expose]
    impl Clock {
        fn seconds(&self) -> u64 {
            7
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let daemon = Daemon::bind(&address).unwrap().object("clock", Clock).unwrap();
    let error = daemon.object("store", Clock).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);

    let _running = Daemon::bind(&address).unwrap().object("clock", Clock).unwrap().start().unwrap();
    let hub = Hub::connect(&address).unwrap();
    assert_eq!(hub.names().unwrap(), ["clock", "store"]);
    assert_eq!(hub.call::<u64>("clock", "seconds", &()).unwrap(), 7);
}

#[test]
fn each_life_of_a_store_has_versions_above_those_of_the_life_before() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let mut before = 0;
    for _ in 0..3 {
        let running = Daemon::bind(&address).unwrap().start().unwrap();
        let store = Hub::connect(&address).unwrap().store();
        assert_eq!(store.get::<i64>("x").unwrap(), None);
        let version = store.set("x", &1).unwrap();
        assert!(version > before);
        before = version;
        assert!(running.stop());
    }
}

#[test]
fn no_value_is_longer_than_what_is_sent_over_a_network_with_the_longest_key() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let security = Security::default().secret(Secret::new().unwrap());
    let session = Limits { message: 4 << 20, ..Limits::default() };
    let options = Options { session: session.clone(), security: security.clone(), ..Options::default() };
    let daemon = Daemon::bind_with(&address, options).unwrap().listen("tcp://127.0.0.1:0").unwrap();
    let running = daemon.start().unwrap();
    let tcp = running.addresses().into_iter().find(|address| address.starts_with("tcp:")).unwrap();
    let here = Hub::connect(&address).unwrap().store();
    let there = Connector::new(&tcp).security(security).limits(session).connect().unwrap().store();
    let mut changes = there.watch("*").unwrap();

    let (name, most) = ("n".repeat((64 << 10) - "default".len()), (4 << 20) - (128 << 10));
    here.set_bytes(&name, vec![1; most], 3).unwrap();
    let longer = || Put::bytes(&name, vec![2; most + 1], 3);
    let several = [Put::new("beside", &1).unwrap(), longer()];
    for refused in [here.set_with(longer()), here.set_many(several)] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.message().contains(&format!("{most} is the most that a value may have")), "{error}");
    }
    let first = changes.next().unwrap().unwrap();
    assert_eq!(first.entry.unwrap().bytes.len(), most);
    assert_eq!(there.entry(&name).unwrap().unwrap().bytes.len(), most);
    assert_eq!(there.delete(&name).unwrap().unwrap().bytes.len(), most);
    assert_eq!(changes.next().unwrap().unwrap().entry, None);
    assert_eq!(here.get::<i64>("beside").unwrap(), None);
}
