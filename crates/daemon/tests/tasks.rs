//! The store as asynchronous programs use it, who share what they read with threads.

mod site;

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use andiron::{Blob, Change, Connector, ErrorKind, Put, Stream, aio};
use andiron_daemon::{Daemon, Options};
use futures_core::Stream as _;
use site::Site;

/// Runs a test at a Unix socket, where there is a board, and over TCP, where there is none.
fn at_both<F: Future<Output = ()>>(test: impl Fn(Connector, bool) -> F) {
    for transport in ["unix", "tcp"] {
        let site = Site::at(transport);
        let connector = site.connector.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let in_time = tokio::time::timeout(Duration::from_secs(60), test(connector, transport == "unix"));
            in_time.await.expect("it hangs");
        });
        site.running.stop();
    }
}

async fn two_stores(connector: &Connector) -> (aio::Store, aio::Store) {
    let hub = aio::Hub::connect_with(connector.clone()).await.unwrap();
    let other = aio::Hub::connect_with(connector.clone()).await.unwrap();
    (hub.store(), other.store())
}

#[test]
fn tasks_read_without_a_question_what_nobody_wrote() {
    at_both(async |connector, board| {
        let (reader, writer) = two_stores(&connector).await;
        let mut cell = reader.cell("x");
        assert_eq!(cell.get::<i64>().await.unwrap(), None);
        for value in 0..20 {
            writer.set("x", &value).await.unwrap();
            let entry = reader.entry("x").await.unwrap().unwrap();
            assert_eq!((entry.value::<i64>().unwrap(), entry.cached), (value, false));
            assert_eq!(reader.entry("x").await.unwrap().unwrap().cached, board);
            assert_eq!(cell.get().await.unwrap(), Some(value));
            assert_eq!(cell.entry().await.unwrap().map(|entry| entry.cached), Some(board));
        }
        writer.delete("x").await.unwrap();
        assert_eq!(reader.get::<i64>("x").await.unwrap(), None);
        assert_eq!(cell.clone().get::<i64>().await.unwrap(), None);
        let stats = writer.stats().await.unwrap();
        assert_eq!((stats.entries, stats.hits > 0), (0, board));
    });
}

#[test]
fn tasks_write_with_conditions_times_and_several_at_once() {
    at_both(async |connector, _| {
        let (store, other) = two_stores(&connector).await;
        let version = store.set("x", &1).await.unwrap();
        let refused = other.set_with(Put::new("x", &2).unwrap().if_version(version - 1)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        let version = other.set_with(Put::new("x", &2).unwrap().if_version(version)).await.unwrap();
        assert_eq!(store.incr("x", 5).await.unwrap(), 7);
        let refused = store.delete_if_version("x", version).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        let puts = [Put::new("a", &1).unwrap(), Put::new("b", &2).unwrap().author("other")];
        let version = store.set_many(puts).await.unwrap();
        assert_eq!(other.entry("a").await.unwrap().unwrap().version, version);
        assert_eq!(other.author("other").get::<i64>("b").await.unwrap(), Some(2));
        store.set_with(Put::new("soon", &1).unwrap().ttl(Duration::from_millis(20))).await.unwrap();
        while other.get::<i64>("soon").await.unwrap().is_some() {}
        assert_eq!(store.clear().await.unwrap(), 2, "x and a");
    });
}

/// Name and version of the next change.
async fn next(changes: &mut Stream<Change>) -> (String, u64) {
    let change = poll_fn(|context| Pin::new(&mut *changes).poll_next(context)).await.unwrap().unwrap();
    (change.name, change.version)
}

#[test]
fn tasks_resume_a_watch_too() {
    at_both(async |connector, _| {
        let (store, writer) = two_stores(&connector).await;
        drop(store.watch("*").await.unwrap());
        let begun = writer.set("x", &1).await.unwrap();
        writer.set("y", &1).await.unwrap();
        writer.delete("y").await.unwrap();
        let version = writer.author("other").set("z", &1).await.unwrap();
        let mut own = store.watch_since("*", false, begun).await.unwrap();
        assert_eq!(next(&mut own).await, ("y".to_owned(), version - 1));
        let mut all = store.watch_since("*", true, version - 1).await.unwrap();
        assert_eq!(next(&mut all).await, ("z".to_owned(), version));
        let error = store.watch_since("*", true, begun - 2).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    });
}

#[test]
fn tasks_see_their_own_writes_where_staleness_is_allowed() {
    at_both(async |connector, _| {
        let (store, other) = two_stores(&connector).await;
        let lax = store.max_staleness(Duration::from_secs(3600));
        let mut cell = lax.cell("x");
        store.set("x", &1).await.unwrap();
        assert_eq!((lax.get("x").await.unwrap(), cell.get().await.unwrap()), (Some(1), Some(1)));
        other.set("x", &2).await.unwrap();
        assert_eq!((lax.get("x").await.unwrap(), cell.get().await.unwrap()), (Some(1), Some(1)));
        store.set("x", &3).await.unwrap();
        assert_eq!((lax.get("x").await.unwrap(), cell.get().await.unwrap()), (Some(3), Some(3)));
    });
}

#[test]
fn tasks_pass_big_values_and_know_the_end() {
    at_both(async |connector, _| {
        let (reader, writer) = two_stores(&connector).await;
        let mut built = Blob::zeroed(5 << 20).unwrap();
        built.fill(3);
        let built = built.freeze().unwrap();
        writer.set_bytes("big", &built, 3).await.unwrap();
        writer.set_bytes("ordinary", vec![4; 2 << 20], 3).await.unwrap();
        assert!(reader.entry("big").await.unwrap().unwrap().bytes == built);
        assert!(reader.entry("ordinary").await.unwrap().unwrap().bytes == vec![4; 2 << 20]);
        let hub = aio::Hub::connect_with(connector.clone()).await.unwrap();
        let mut cell = hub.store().cell("big");
        assert!(cell.entry().await.unwrap().is_some());
        hub.close();
        assert!(cell.entry().await.is_err() && hub.store().entry("big").await.is_err());
    });
}

#[test]
fn tasks_save_and_load_snapshots_and_back_up_and_restore() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let options = Options { state: Some(folder.path().join("state")), ..Options::default() };
    let _running = Daemon::bind_with(&address, options).unwrap().start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = aio::Hub::connect(&address).await.unwrap().store();
        store.set_with(Put::new("x", &1).unwrap().persist()).await.unwrap();
        assert_eq!(store.save("s").await.unwrap(), 1);
        store.set("x", &2).await.unwrap();
        assert!(store.persist("x", true).await.unwrap());
        assert_eq!(store.load("s").await.unwrap(), 1);
        assert_eq!(store.get::<i32>("x").await.unwrap(), Some(1));
        let (own, all) = (store.snapshots().await.unwrap(), store.all_snapshots().await.unwrap());
        assert_eq!((own.len(), &own), (1, &all));
        let mut pieces = store.backup().await.unwrap();
        let mut whole: Vec<Blob> = Vec::new();
        while let Some(piece) = poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await {
            whole.push(piece.unwrap());
        }
        store.delete_snapshot("s").await.unwrap();
        store.delete("x").await.unwrap();
        assert_eq!(store.restore(Stream::iter(whole)).await.unwrap(), 1);
        assert_eq!(store.get::<i32>("x").await.unwrap(), Some(1));
        assert_eq!(store.snapshots().await.unwrap().len(), 1);
    });
}

async fn item<S: futures_core::Stream + Unpin>(items: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *items).poll_next(context)).await
}

#[test]
fn tasks_go_over_all_entries_as_they_were_at_one_moment() {
    at_both(async |connector, _| {
        let (store, other) = two_stores(&connector).await;
        let name = |number: usize| format!("{number:05}");
        let puts = (0..6000).map(|number| Put::new(&name(number), &number).unwrap());
        store.set_many(puts).await.unwrap();
        assert_eq!(store.count().await.unwrap(), 6000);
        let (mut entries, mut names) = (store.entries().await.unwrap(), store.names().await.unwrap());
        let first = other.delete_first().await.unwrap().unwrap();
        assert_eq!((first.0, first.1.value::<usize>().unwrap()), (name(0), 0));
        other.clear().await.unwrap();
        for number in 0..6000 {
            let (found, entry) = item(&mut entries).await.unwrap().unwrap();
            assert_eq!((found, entry.value::<usize>().unwrap()), (name(number), number));
            assert_eq!(item(&mut names).await.unwrap().unwrap(), name(number));
        }
        assert!(item(&mut entries).await.is_none() && item(&mut names).await.is_none());

        let put = |value: usize| Put::new("x", &value).unwrap();
        assert_eq!(store.set_default(put(1)).await.unwrap(), None);
        let found = other.set_default(put(2)).await.unwrap().unwrap();
        assert_eq!(found.value::<usize>().unwrap(), 1);
        other.replace(put(3).if_version(found.version)).await.unwrap();
        assert_eq!(store.get("x").await.unwrap(), Some(3));
        assert_eq!(store.replace(put(4).if_version(1)).await.unwrap_err().kind(), ErrorKind::Conflict);
    });
}
