//! Calls over a real socket, both ends in this process.

use std::sync::atomic::{AtomicU64, Ordering};

use andiron::{ErrorKind, Hub, Running, Server};

#[derive(Default)]
struct Player {
    position: f64,
    seen: AtomicU64,
}

/// Plays things.
#[andiron::expose]
impl Player {
    /// Moves to `seconds`.
    fn seek(&mut self, seconds: f64) -> f64 {
        self.position = seconds;
        seconds
    }

    fn add(&self, a: i64, b: i64) -> i64 {
        self.seen.fetch_add(1, Ordering::Relaxed);
        a + b
    }

    fn fail(&self) -> Result<(), String> {
        Err("not today".to_owned())
    }

    fn explode(&self) {
        panic!("boom");
    }

    fn tell(&self, listener: ListenerProxy) -> andiron::Result<i64> {
        listener.hear(41)
    }
}

struct Listener;

#[andiron::expose]
impl Listener {
    fn hear(&self, number: i64) -> i64 {
        number + 1
    }
}

fn served() -> (tempfile::TempDir, Running, Hub) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}/s", folder.path().display());
    let server =
        Server::bind(&address).unwrap().object("player", Player::default()).unwrap().start().unwrap();
    let hub = Hub::connect(&address).unwrap();
    (folder, server, hub)
}

#[test]
fn a_typed_call_returns_the_result() {
    let (_folder, _server, hub) = served();
    let player: PlayerProxy = hub.object("player").unwrap();
    assert_eq!(player.seek(12.5).unwrap(), 12.5);
    assert_eq!(player.add(1, 2).unwrap(), 3);
}

#[test]
fn errors_and_panics_come_back_and_the_server_serves_on() {
    let (_folder, _server, hub) = served();
    let player: PlayerProxy = hub.object("player").unwrap();
    let error = player.fail().unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Application, "not today"));
    assert_eq!(player.explode().unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(player.add(1, 2).unwrap(), 3);
}

#[test]
fn a_callback_runs_on_the_waiting_callers_thread() {
    let (_folder, _server, hub) = served();
    let player: PlayerProxy = hub.object("player").unwrap();
    assert_eq!(player.tell(Listener.into()).unwrap(), 42);
}

#[test]
fn started_calls_are_answered_in_any_order_of_waiting() {
    let (_folder, _server, hub) = served();
    let player: PlayerProxy = hub.object("player").unwrap();
    let pending: Vec<_> = (0..3000).map(|number| player.start_add(number, 1).unwrap()).collect();
    for (number, pending) in pending.into_iter().enumerate().rev() {
        assert_eq!(pending.wait().unwrap(), number as i64 + 1);
    }
}

#[test]
fn a_proxy_serves_any_number_of_threads() {
    let (_folder, _server, hub) = served();
    let player: PlayerProxy = hub.object("player").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let player = player.clone();
            scope.spawn(move || {
                for number in 0..500 {
                    assert_eq!(player.add(thread, number).unwrap(), thread + number);
                }
            });
        }
    });
}
