//! `async fn` methods: served by threads, and by tasks.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use andiron::{ErrorKind, Proxy, Server};
use common::{Gate, Site, eventually, fun, in_time, next, run};

#[derive(Default)]
struct Waiting {
    gate: Gate,
    inside: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
    order: Vec<u32>,
}

#[andiron::expose]
impl Waiting {
    async fn at_once(&self, number: i64) -> i64 {
        number + 1
    }

    async fn behind_the_gate(&self, number: i64) -> Result<i64, String> {
        struct Inside(Arc<AtomicUsize>);
        impl Drop for Inside {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _inside = Inside(self.inside.clone());
        let before = andiron::current().unwrap().time_left().is_some();
        self.gate.passed().await;
        assert_eq!(andiron::current().unwrap().time_left().is_some(), before, "it is the same call");
        if number < 0 { Err("negative".to_owned()) } else { Ok(number) }
    }

    async fn in_turn(&mut self, number: u32) -> Vec<u32> {
        self.order.push(number);
        self.gate.passed().await;
        self.order.clone()
    }

    async fn explodes_later(&self) {
        self.gate.passed().await;
        panic!("boom");
    }

    async fn asks(&self, other: Proxy) -> andiron::Result<i64> {
        other.start::<i64>("run", &(20, [(); 0]))?.await
    }

    fn blocking(&self) -> i64 {
        5
    }
}

/// Runs the test with objects served by threads, and by tasks of a runtime with two.
fn both(test: impl Fn(&str, &Gate, &Arc<AtomicUsize>, &Arc<AtomicUsize>)) {
    let fresh = || {
        let waiting = Waiting::default();
        let handles = (waiting.gate.clone(), waiting.inside.clone(), waiting.begun.clone());
        (waiting, handles)
    };
    let (waiting, (gate, inside, begun)) = fresh();
    let site = Site::new(|server: Server| server.object("waiting", waiting));
    test(&site.address, &gate, &inside, &begun);
    gate.open();
    #[cfg(feature = "tokio")]
    {
        let (waiting, (gate, inside, begun)) = fresh();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix:{}/s", folder.path().display());
        let _inside = runtime.enter();
        let server = andiron::aio::Server::bind(&address)
            .unwrap()
            .object("waiting", waiting)
            .unwrap()
            .start()
            .unwrap();
        test(&address, &gate, &inside, &begun);
        gate.open();
        drop(server);
    }
}

fn proxy(address: &str) -> WaitingProxy {
    andiron::Hub::connect(address).unwrap().object("waiting").unwrap()
}

#[test]
fn a_method_that_need_not_wait_answers_as_any_other() {
    both(|address, _, _, _| {
        let waiting = proxy(address);
        for number in 0..1000 {
            assert_eq!(waiting.at_once(number).unwrap(), number + 1);
        }
        assert_eq!(waiting.blocking().unwrap(), 5);
    });
}

#[test]
fn methods_with_self_wait_together() {
    both(|address, gate, inside, _| {
        let waiting = proxy(address);
        let pending: Vec<_> = (-5..50).map(|number| waiting.start_behind_the_gate(number).unwrap()).collect();
        eventually("all are inside", || inside.load(Ordering::SeqCst) == 55);
        assert_eq!(
            in_time({
                let waiting = waiting.clone();
                move || waiting.at_once(1)
            })
            .unwrap(),
            2
        );
        gate.open();
        for (number, pending) in (-5..50).zip(pending) {
            let outcome = in_time(move || pending.wait());
            assert_eq!(
                outcome.map_err(|error| error.message().to_owned()),
                if number < 0 { Err("negative".into()) } else { Ok(number) }
            );
        }
    });
}

#[test]
fn methods_with_mut_self_take_turns_across_their_waits() {
    both(|address, gate, _, _| {
        let waiting = proxy(address);
        let pending: Vec<_> = (0..10).map(|number| waiting.start_in_turn(number).unwrap()).collect();
        let shared = waiting.start_at_once(1).unwrap();
        gate.open();
        for (number, pending) in pending.into_iter().enumerate() {
            let order = in_time(move || pending.wait()).unwrap();
            assert_eq!(order, (0..=number as u32).collect::<Vec<_>>());
        }
        assert_eq!(shared.wait().unwrap(), 2, "it had its turn behind them");
    });
}

#[test]
fn a_caller_who_gives_up_ends_the_method_where_it_waits() {
    both(|address, _, inside, begun| {
        let waiting = proxy(address);
        let pending = waiting.start_behind_the_gate(1).unwrap();
        eventually("it is inside", || inside.load(Ordering::SeqCst) == 1);
        pending.cancel();
        eventually("it ended", || inside.load(Ordering::SeqCst) == 0);
        // A limit does the same: one that is long enough for the method to begin, however busy this machine is.
        let mut limit = Duration::from_millis(20);
        while begun.load(Ordering::SeqCst) == 1 {
            let error = waiting.with_timeout(limit).behind_the_gate(1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Deadline);
            limit *= 2;
        }
        eventually("it ended", || inside.load(Ordering::SeqCst) == 0);
        // And so does the end of a connection.
        let hub = andiron::Hub::connect(address).unwrap();
        let third: WaitingProxy = hub.object("waiting").unwrap();
        let pending = third.start_behind_the_gate(1).unwrap();
        eventually("it is inside", || inside.load(Ordering::SeqCst) == 1);
        hub.close();
        assert!(pending.wait().is_err());
        eventually("it ended", || inside.load(Ordering::SeqCst) == 0);
    });
}

#[test]
fn a_panic_behind_an_await_is_an_error_and_hurts_nobody() {
    both(|address, gate, _, _| {
        let waiting = proxy(address);
        let pending = waiting.start_explodes_later().unwrap();
        gate.open();
        let error = in_time(move || pending.wait()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains("boom"), "{error}");
        assert_eq!(waiting.at_once(1).unwrap(), 2);
    });
}

#[test]
fn a_method_awaits_a_call_back_to_its_caller() {
    both(|address, _, _, _| {
        let waiting = proxy(address);
        let this = thread::current().id();
        let (told, heard) = mpsc::channel();
        let callback = Proxy::local(fun(move |number, _| {
            told.send(thread::current().id()).unwrap();
            Ok(number * 2)
        }));
        assert_eq!(waiting.asks(callback).unwrap(), 40);
        assert_eq!(next(&heard), this, "on the thread that waits in the same chain");
    });
}

#[test]
fn asynchronous_methods_run_within_one_process_too() {
    let waiting = WaitingProxy::from(Waiting::default());
    assert_eq!(waiting.at_once(1).unwrap(), 2);
    let own = Proxy::local(fun(|number, _| Ok(number)));
    assert_eq!(run(&own, 3, &[]).unwrap(), 3);
    assert_eq!(waiting.asks(own).unwrap(), 20);
}

#[cfg(feature = "tokio")]
#[test]
fn typed_proxies_are_awaited() {
    both(|address, _, _, _| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = address.to_owned();
        // Not in the runtime of the server.
        let asked = thread::spawn(move || {
            runtime.block_on(async {
                let hub = andiron::aio::Hub::connect(&address).await.unwrap();
                let waiting: WaitingProxyAsync = hub.object("waiting").await.unwrap();
                let fast = waiting.with_timeout(Duration::from_secs(5));
                assert_eq!(fast.at_once(1).await.unwrap(), 2);
                let own = andiron::Proxy::local(fun(|number, _| Ok(number + 1)));
                assert_eq!(waiting.asks(own).await.unwrap(), 21);
                let late = waiting.with_timeout(Duration::from_millis(10)).behind_the_gate(1).await;
                assert_eq!(late.unwrap_err().kind(), ErrorKind::Deadline);
            });
        });
        asked.join().unwrap();
    });
}
