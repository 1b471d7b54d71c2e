//! The thread that takes out what expired and frees what is big. Alone in its process, whose threads it counts.

use std::time::{Duration, Instant};

use andiron::{Hub, Put};
use andiron_daemon::Daemon;

/// Threads of this process that look after a store.
fn housekeepers() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.trim() == "andiron-store")).count()
}

#[test]
fn there_is_none_until_it_has_something_to_do_and_it_ends_with_its_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    for big in [false, true] {
        let running = Daemon::bind(&address).unwrap().start().unwrap();
        let hub = Hub::connect(&address).unwrap();
        let store = hub.store();
        store.set("x", &1).unwrap();
        store.set_bytes("y", &[0; 100_000], 3).unwrap();
        store.incr("x", 1).unwrap();
        store.clear().unwrap();
        assert_eq!(housekeepers(), 0);

        let changes = store.watch_with("*", false, false).unwrap();
        if big {
            store.set_bytes("x", vec![1; 5 << 20], 3).unwrap();
            assert_eq!(store.delete("x").unwrap().unwrap().bytes, vec![1; 5 << 20]);
        } else {
            store.set_with(Put::new("x", &1).unwrap().ttl(Duration::from_millis(20))).unwrap();
        }
        let removed = changes.map(|change| change.unwrap()).find(|change| change.entry.is_none());
        assert_eq!(removed.unwrap().name, "x");
        assert_eq!(housekeepers(), 1);
        store.set_with(Put::new("x", &1).unwrap().ttl(Duration::from_secs(3600))).unwrap();
        running.stop();
        // The threads of the server end on their own, and the last of them lets go of the store.
        drop(running);
        let began = Instant::now();
        while housekeepers() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "it goes on");
            std::thread::yield_now();
        }
    }
}
