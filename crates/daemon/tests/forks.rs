//! A child that was forked goes on reading through what it inherited: it is told at once that it cannot, whatever the other threads of its
//! parent did at that moment, and the parent notices nothing.
#![allow(unsafe_code)] // forks

use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use andiron::{Blob, Connector, ErrorKind, Hub, Proxy, Result, Store, StoreCell, Watch};
use andiron_daemon::Daemon;

#[test]
fn a_forked_child_that_reads_on_is_told_so_and_its_parent_is_not_disturbed() {
    // Forks in a process of its own: the test runner has threads.
    let this = std::env::current_exe().unwrap();
    let run = Command::new(this).args(["--exact", "forks", "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && text.contains("the parent is well"),
        "{text}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// What the parent has and its child inherits.
struct Inherited {
    hub: Hub,
    store: Store,
    lax: Store,
    cell: StoreCell,
    object: Proxy,
    blob: Blob,
    watch: Watch,
}

#[track_caller]
fn told<T: std::fmt::Debug>(outcome: Result<T>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("forked"), "{error}");
}

impl Inherited {
    fn of(connector: &Connector) -> Inherited {
        let hub = connector.connect().unwrap();
        let store = hub.store();
        let lax = store.max_staleness(Duration::from_secs(3600));
        let mut cell = store.cell("x");
        cell.get::<u64>().unwrap();
        let blob = store.entry("big").unwrap().unwrap().bytes;
        let object = hub.object("store").unwrap();
        let mut watch = store.watch("*").unwrap();
        watch.next().unwrap().unwrap();
        Inherited { hub, store, lax, cell, object, blob, watch }
    }

    /// All that a child could do with it.
    fn use_in_child(&mut self) {
        for name in ["x", "missing", "big"] {
            told(self.store.entry(name));
            told(self.lax.entry(name));
            told(self.store.get_if_changed(name, 1));
            told(self.store.cell(name).entry().map(|entry| entry.cloned()));
        }
        told(self.cell.get::<u64>());
        told(self.cell.clone().get::<u64>());
        told(self.store.set("x", &1));
        told(self.store.incr("x", 1));
        told(self.store.delete("x"));
        told(self.store.clear());
        told(self.store.list().next().unwrap());
        told(self.store.watch("*").map(drop));
        told(self.store.stats());
        told(self.hub.store().get::<u64>("x"));
        told(self.watch.next().unwrap());
        told(self.hub.names());
        told(self.object.call::<u64>("stats", &()));
        told(self.object.notify("stats", &()));
        assert!(self.blob.iter().all(|byte| *byte == 7), "what was read is memory like any other");
        self.hub.close();
    }
}

/// A child that has not ended by then hangs. It is ended by the system, so that nothing is left.
const PATIENCE: u32 = 60;

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn forks() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let running = Daemon::bind(&address).unwrap().start().unwrap();
    let connectors = [Connector::new(&address), Connector::new(&address).retry(Duration::from_secs(300))];
    let writer = Hub::connect(&address).unwrap().store();
    writer.set("x", &0u64).unwrap();
    writer.set_bytes("big", vec![7; 2 << 20], 3).unwrap();

    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    for connector in connectors {
        let mut inherited = Inherited::of(&connector);
        stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (hub, store) = (inherited.hub.clone(), inherited.store.clone());
                let mut cell = inherited.cell.clone();
                let (stop, reads, writer) = (&stop, &reads, writer.clone());
                let object = inherited.object.clone();
                scope.spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // Each of these takes locks, of which one or another is held at the fork.
                        let value = store.get::<u64>("x").unwrap().unwrap();
                        assert!(value >= last, "{value} after {last}");
                        last = value;
                        cell.get::<u64>().unwrap();
                        store.entry("big").unwrap();
                        hub.store().author("nobody").get::<u64>(&format!("{}", value % 50)).unwrap();
                        let _: andiron::Value = object.call("stats", &()).unwrap();
                        if number == 0 {
                            writer.incr("x", 1).unwrap();
                        }
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // These do nothing but take the locks that every use of a connection takes first.
            for _ in 0..2 {
                let (hub, stop) = (inherited.hub.clone(), &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        hub.peer();
                        hub.take_notify_error();
                    }
                });
            }
            for round in 0..100 {
                let before = reads.load(Ordering::Relaxed);
                // SAFETY: the child runs only what this test is about, and ends without returning from here.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    // SAFETY: a signal that ends this process.
                    unsafe { libc::alarm(PATIENCE) };
                    let used = std::panic::catch_unwind(AssertUnwindSafe(|| inherited.use_in_child()));
                    // SAFETY: ends the child at once, without the destructors of its parent's things.
                    unsafe { libc::_exit(i32::from(used.is_err())) }
                }
                let mut status = 0;
                // SAFETY: waits for the child that was just made; `status` is a valid place for the answer.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                if status != 0 {
                    stop.store(true, Ordering::Relaxed);
                    panic!("round {round}: the child failed or hung: {status:#x}");
                }
                while reads.load(Ordering::Relaxed) == before {
                    std::thread::yield_now(); // the parent reads on
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(inherited.store.get::<u64>("x").unwrap().is_some());
        assert!(inherited.cell.get::<u64>().unwrap().is_some());
        inherited.hub.close();
    }
    assert!(running.stop());
    println!("the parent is well");
}
