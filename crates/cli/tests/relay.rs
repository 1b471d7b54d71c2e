//! Objects that other processes register at the daemon.

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use andiron::{ErrorKind, Hub, Proxy, Value};
use common::{Home, LONG, Process, role, say};

/// What the process of a provider shows.
struct Player {
    name: String,
}

/// Plays things.
#[andiron::expose]
impl Player {
    /// Who answers.
    fn name(&self) -> String {
        self.name.clone()
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    fn echo(&self, value: Value) -> Value {
        value
    }

    fn fail(&self) -> Result<(), std::num::ParseIntError> {
        "no number".parse::<i32>().map(drop)
    }

    fn explode(&self) {
        panic!("boom");
    }

    /// Calls `signal`, if there is one, and then never returns.
    fn hang(&self, signal: Option<SignalProxy>) -> andiron::Result<()> {
        if let Some(signal) = signal {
            signal.fire(String::new())?;
        }
        loop {
            std::thread::park();
        }
    }

    /// Calls `signal`, and returns when this process is told a line.
    fn wait_for_line(&self, signal: SignalProxy) -> andiron::Result<String> {
        signal.fire(String::new())?;
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .map_err(|error| andiron::Error::new(ErrorKind::Internal, error.to_string()))?;
        Ok(line.trim().to_owned())
    }

    /// Calls `signal`, and runs until nobody waits for it any more.
    fn run_until_cancelled(&self, signal: SignalProxy) -> andiron::Result<()> {
        // Whoever is told may be gone before it has answered.
        let _ = signal.fire(String::new());
        while !andiron::current().is_some_and(|call| call.is_cancelled()) {
            std::thread::yield_now();
        }
        say("it was cancelled");
        Ok(())
    }

    fn time_left(&self) -> Option<u64> {
        let left = andiron::current()?.time_left()?;
        Some(left.as_micros() as u64)
    }

    /// Fires `signal` with this text and the name of the player.
    fn tell(&self, signal: SignalProxy, text: String) -> andiron::Result<String> {
        signal.fire(format!("{text} by {}", self.name))
    }

    /// Has `other` tell it.
    fn pass_on(&self, other: PlayerProxy, signal: SignalProxy, text: String) -> andiron::Result<String> {
        other.tell(signal, format!("{text} through {}", self.name))
    }

    /// Calls the player of that name at the server, which is to call `signal`.
    fn find_and_tell(&self, other: String, signal: SignalProxy) -> andiron::Result<String> {
        let hub = andiron::current().and_then(|call| call.hub());
        let hub = hub.ok_or_else(|| andiron::Error::new(ErrorKind::Internal, "no connection"))?;
        hub.object::<PlayerProxy>(&other)?.tell(signal, format!("found by {}", self.name))
    }

    /// A new object.
    fn track(&self, number: u32) -> TrackProxy {
        Track { number, of: self.name.clone() }.into()
    }

    fn open(&self, track: TrackProxy) -> andiron::Result<String> {
        Ok(format!("{} opened {}", self.name, track.title()?))
    }

    fn vault(&self) -> VaultProxy {
        Vault.into()
    }

    fn open_vault(&self, vault: VaultProxy) -> andiron::Result<()> {
        vault.look()
    }
}

struct Track {
    number: u32,
    of: String,
}

#[andiron::expose]
impl Track {
    fn title(&self) -> String {
        format!("track {} of {}", self.number, self.of)
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        say(&format!("track {} was released", self.number));
    }
}

/// Has itself to itself while a method runs.
struct Vault;

#[andiron::expose]
impl Vault {
    /// Has the player call this vault again, while it is open.
    fn open(&mut self, player: PlayerProxy, vault: VaultProxy) -> andiron::Result<()> {
        player.open_vault(vault)
    }

    fn look(&mut self) {}
}

/// Called back in the process of a test.
struct Signal(Mutex<Sender<String>>);

#[andiron::expose]
impl Signal {
    fn fire(&self, text: String) -> String {
        let answer = format!("heard: {text}");
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(text);
        answer
    }
}

fn signal() -> (SignalProxy, Receiver<String>) {
    let (sender, receiver) = channel();
    (Signal(Mutex::new(sender)).into(), receiver)
}

/// Not a test of its own: the process of a provider.
#[test]
fn provider() {
    let Some(name) = role() else { return };
    let hub = andiron::connect().unwrap();
    hub.register(&name, Player { name: name.clone() }).unwrap();
    say("ready");
    let _ = hub.run();
}

fn provide(home: &Home, name: &str) -> Process {
    home.play("provider", name)
}

#[test]
fn an_object_of_another_process_is_called_through_the_daemon() {
    let home = Home::new();
    let _daemon = home.serve();
    let provider = provide(&home, "player");
    assert_eq!(home.run(&["call", "player", "process"]).printed(), format!("{}\n", provider.id()));
    assert_eq!(home.run(&["call", "player", "echo", "[1, \"a\"]"]).printed(), "[1,\"a\"]\n");
    assert_eq!(home.run(&["call", "player", "echo", "null"]).printed(), "");
    assert_eq!(home.run(&["call", "player", "echo", "--", "-x"]).printed(), "\"-x\"\n");
    assert_eq!(home.run(&["call", "player", "echo", "-1.5", "--timeout", "60"]).printed(), "-1.5\n");
    let long = "123456789012345678901234567890";
    let printed = format!("{{\"$int\":\"{long}\"}}\n");
    assert_eq!(home.run(&["call", "player", "echo", long]).printed(), printed);
    assert_eq!(home.run(&["call", "andiron/player", "name"]).printed(), "\"player\"\n");
    let by_path = format!("{}/player", home.address("andiron"));
    assert_eq!(home.run(&["call", &by_path, "name"]).printed(), "\"player\"\n");
    assert!(home.run(&["describe", "player"]).printed().starts_with("Player: Plays things.\n"));
    let all = home.run(&["describe"]);
    let all = all.printed();
    assert!(
        all.contains("player\n  Player: Plays things.\n    name() -> String\n        Who answers.\n"),
        "{all}"
    );
    assert!(all.contains("store\n  Store: "), "{all}");
}

#[test]
fn errors_of_the_provider_arrive_as_they_are() {
    let home = Home::new();
    let _daemon = home.serve();
    let _provider = provide(&home, "player");
    let player: PlayerProxy = home.hub().object("player").unwrap();
    let error = player.fail().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Application);
    assert_eq!(error.to_string(), "player.fail: ParseIntError: invalid digit found in string");
    assert_eq!(player.explode().unwrap_err().kind(), ErrorKind::Internal);

    assert!(home.run(&["call", "player", "fail"]).failed(1).contains("ParseIntError"));
    assert!(home.run(&["call", "player", "explode"]).failed(1).contains("boom"));
    assert!(home.run(&["call", "player", "nothing"]).failed(3).contains("has no method `nothing`"));
    assert!(home.run(&["call", "nobody", "name"]).failed(3).contains("no object is named 'nobody'"));
    assert!(home.run(&["describe", "nobody"]).failed(3).contains("no object is named 'nobody'"));
    assert!(home.run(&["call", "player", "open"]).failed(1).contains("missing argument `track`"));
}

#[test]
fn what_is_passed_on_is_not_read_on_the_way() {
    let home = Home::new();
    let _daemon = home.serve();
    let _provider = provide(&home, "player");
    // An extension that no program knows, and a size beyond one frame.
    let value = Value::Array(vec![Value::Ext(99, vec![0xc1; 5]), Value::Bytes(vec![7; 3 << 20])]);
    let player: PlayerProxy = home.hub().object("player").unwrap();
    assert_eq!(player.echo(value.clone()).unwrap(), value);
}

#[test]
fn names_are_listed_while_their_process_lives_and_no_longer() {
    let home = Home::new();
    let _daemon = home.serve();
    let (mut one, _two) = (provide(&home, "one"), provide(&home, "two"));
    let hub = home.hub();
    assert_eq!(hub.names().unwrap(), ["one", "store", "two"]);

    let player: PlayerProxy = hub.object("one").unwrap();
    let (signal, fired) = signal();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| player.hang(Some(signal)));
        fired.recv_timeout(LONG).unwrap();
        one.kill();
        // The call was under way: whether it ran is not known, and nobody asks again.
        let error = call.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        assert_eq!(
            error.to_string(),
            "one.hang: the process that provides this object was lost before it answered; the method may have run"
        );
        // Who knows of the end finds the name gone.
        assert_eq!(hub.names().unwrap(), ["store", "two"]);
    });
    let error = hub.object::<PlayerProxy>("one").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoObject);
    // Whoever still holds the object hears that it is gone, and that the call did not run.
    let error = player.name().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("is gone; the method did not run"), "{error}");

    let _again = provide(&home, "one");
    assert_eq!(hub.object::<PlayerProxy>("one").unwrap().name().unwrap(), "one");
}

#[test]
fn a_name_has_one_provider() {
    let home = Home::new();
    let _daemon = home.serve();
    let _provider = provide(&home, "player");
    for taken in ["player", "store"] {
        let error = home.hub().register(taken, Track { number: 0, of: String::new() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(&format!("the name '{taken}' is taken")), "{error}");
    }
    assert_eq!(home.run(&["call", "player", "name"]).printed(), "\"player\"\n");
}

#[test]
fn a_callback_comes_through_the_daemon_to_the_caller() {
    let home = Home::new();
    let _daemon = home.serve();
    let _provider = provide(&home, "player");
    let player: PlayerProxy = home.hub().object("player").unwrap();
    let (signal, fired) = signal();
    assert_eq!(player.tell(signal, "hello".into()).unwrap(), "heard: hello by player");
    assert_eq!(fired.recv_timeout(LONG).unwrap(), "hello by player");
}

#[test]
fn a_chain_goes_through_processes_and_back_to_where_it_began() {
    let home = Home::new();
    let _daemon = home.serve();
    let (_one, _two) = (provide(&home, "one"), provide(&home, "two"));
    let hub = home.hub();
    let one: PlayerProxy = hub.object("one").unwrap();
    let two: PlayerProxy = hub.object("two").unwrap();
    for _ in 0..100 {
        let (signal, fired) = signal();
        let answer = one.pass_on(two.clone(), signal, "a".into()).unwrap();
        assert_eq!(answer, "heard: a through one by two");
        assert_eq!(fired.recv_timeout(LONG).unwrap(), "a through one by two");
    }
    let (signal, _fired) = signal();
    assert_eq!(one.find_and_tell("two".into(), signal.clone()).unwrap(), "heard: found by one by two");
    // The second player is the first: its own process is called back while it waits.
    assert_eq!(one.find_and_tell("one".into(), signal).unwrap(), "heard: found by one by one");
}

#[test]
fn objects_are_handed_on_between_processes_and_released_by_the_last() {
    let home = Home::new();
    let _daemon = home.serve();
    let (mut one, _two) = (provide(&home, "one"), provide(&home, "two"));
    let hub = home.hub();
    let first: PlayerProxy = hub.object("one").unwrap();
    let second: PlayerProxy = hub.object("two").unwrap();
    let track = first.track(7).unwrap();
    assert_eq!(track.title().unwrap(), "track 7 of one");
    assert_eq!(second.open(track.clone()).unwrap(), "two opened track 7 of one");
    assert_eq!(first.open(track.clone()).unwrap(), "one opened track 7 of one");
    drop(track);
    // A release travels with the next message.
    first.name().unwrap();
    second.name().unwrap();
    first.name().unwrap();
    one.wait_for("track 7 was released");
}

#[test]
fn a_chain_that_comes_back_to_an_object_that_it_holds_is_told_so_at_once() {
    let home = Home::new();
    let _daemon = home.serve();
    let (_one, _two) = (provide(&home, "one"), provide(&home, "two"));
    let hub = home.hub();
    let vault = hub.object::<PlayerProxy>("one").unwrap().vault().unwrap();
    let other: PlayerProxy = hub.object("two").unwrap();
    let error = vault.open(other, vault.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    vault.look().unwrap();
}

#[test]
fn a_cancelled_call_is_cancelled_in_the_process_that_runs_it() {
    let home = Home::new();
    let _daemon = home.serve();
    let mut provider = provide(&home, "player");
    let player: PlayerProxy = home.hub().object("player").unwrap();
    let (signal, fired) = signal();
    let call = player.start_run_until_cancelled(signal).unwrap();
    std::thread::scope(|scope| {
        // Somebody waits for something else, so the callback is run.
        scope.spawn(|| player.name().unwrap());
        fired.recv_timeout(LONG).unwrap();
    });
    call.cancel();
    provider.wait_for("it was cancelled");
}

#[test]
fn a_caller_that_dies_cancels_its_calls() {
    let home = Home::new();
    let _daemon = home.serve();
    let mut provider = provide(&home, "player");
    let hub = home.hub();
    let player: PlayerProxy = hub.object("player").unwrap();
    let (signal, fired) = signal();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| player.run_until_cancelled(signal));
        fired.recv_timeout(LONG).unwrap();
        hub.close();
        assert!(call.join().unwrap().is_err());
    });
    provider.wait_for("it was cancelled");
}

#[test]
fn the_time_that_a_caller_has_is_known_to_the_provider() {
    let home = Home::new();
    let _daemon = home.serve();
    let mut provider = provide(&home, "player");
    let player: Proxy = home.hub().object("player").unwrap();
    assert_eq!(player.call::<Option<u64>>("time_left", &()).unwrap(), None);
    let limited = player.with_timeout(LONG);
    let left = limited.call::<Option<u64>>("time_left", &()).unwrap().unwrap();
    assert!(left > 0 && left <= LONG.as_micros() as u64);

    let short = player.with_timeout(Duration::from_millis(50));
    let error = short.call::<()>("hang", &()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    assert!(home.run(&["call", "player", "hang", "--timeout", "0.05"]).failed(1).contains("time"));

    // This one sees by itself that the time is over, and may be quick enough to say so.
    let (signal, fired) = signal();
    let (signal, mut limit) = (Proxy::from(signal), Duration::from_millis(50));
    // Until it is long enough to begin, however busy this machine is.
    while fired.try_recv().is_err() {
        let _ = player.with_timeout(limit).call::<()>("run_until_cancelled", &(signal.clone(),));
        limit *= 2;
    }
    provider.wait_for("it was cancelled");
}

#[test]
fn the_time_of_a_call_bounds_connecting_too() {
    let home = Home::new();
    let daemon = home.serve();
    daemon.signal("STOP");
    let address = home.address("andiron");
    for (object, server, doctor) in [
        ("store", "andiron", "`andiron doctor`"),
        (&*format!("{address}/store"), &*address, &*format!("`andiron doctor --address {address}`")),
    ] {
        let ran = home.run(&["call", object, "get", "x", "--timeout", "0.25"]);
        let error = ran.failed(1);
        assert!(error.contains(&format!("'{server}' did not answer within 0.25 s")), "{error}");
        assert!(error.contains(doctor), "{error}");
    }
    daemon.signal("CONT");
    assert!(home.run(&["call", "store", "get", "x", "--timeout", "1e18"]).printed().starts_with("[0,0,"));
}

#[test]
fn a_provider_that_hangs_holds_up_only_its_own_calls() {
    let home = Home::new();
    let _daemon = home.serve();
    let (slow, _quick) = (provide(&home, "slow"), provide(&home, "quick"));
    let hub = home.hub();
    let slow_player: PlayerProxy = hub.object("slow").unwrap();
    let quick_player: PlayerProxy = hub.object("quick").unwrap();
    slow.signal("STOP");
    // More than the sockets take, and none of it read.
    let held_up: Vec<_> =
        (0..200).map(|_| slow_player.start_echo(Value::Bytes(vec![1; 20_000])).unwrap()).collect();
    for number in 0..200 {
        assert_eq!(quick_player.name().unwrap(), "quick");
        hub.store().set("x", &number).unwrap();
        assert_eq!(home.hub().store().get("x").unwrap(), Some(number));
    }
    slow.signal("CONT");
    for call in held_up {
        assert_eq!(call.wait().unwrap(), Value::Bytes(vec![1; 20_000]));
    }
}

#[test]
fn calls_of_many_at_once_reach_their_providers_and_their_callers() {
    let home = Home::new();
    let _daemon = home.serve();
    let (_one, _two) = (provide(&home, "p0"), provide(&home, "p1"));
    let hub = home.hub();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let hub = if thread < 2 { hub.clone() } else { home.hub() };
            scope.spawn(move || {
                let name = format!("p{}", thread % 2);
                let player: PlayerProxy = hub.object(&name).unwrap();
                for number in 0..300 {
                    let value = Value::from(format!("{thread} {number}"));
                    assert_eq!(player.echo(value.clone()).unwrap(), value);
                    assert_eq!(player.name().unwrap(), name);
                }
            });
        }
    });
}

#[test]
fn an_object_of_a_client_with_a_loop_of_its_own_is_served_while_it_polls() {
    let home = Home::new();
    let _daemon = home.serve();
    let provider = home.hub();
    provider.register("player", Player { name: "here".into() }).unwrap();
    std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let pumped = &provider;
        scope.spawn(move || {
            while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                pumped.poll(Duration::from_millis(20)).unwrap();
            }
        });
        let player: PlayerProxy = home.hub().object("player").unwrap();
        assert_eq!(player.name().unwrap(), "here");
        drop(stop);
    });
}

/// Where the daemon ends while the provider works, both ends are told.
#[test]
fn a_call_whose_daemon_is_killed_has_an_unknown_outcome() {
    let home = Home::new();
    let mut daemon = home.serve();
    let _provider = provide(&home, "player");
    let hub: Hub = home.hub();
    let player: PlayerProxy = hub.object("player").unwrap();
    let (signal, fired) = signal();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| player.hang(Some(signal)));
        fired.recv_timeout(LONG).unwrap();
        daemon.kill();
        let error = call.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    });
    assert_eq!(player.name().unwrap_err().kind(), ErrorKind::Unavailable);
}
