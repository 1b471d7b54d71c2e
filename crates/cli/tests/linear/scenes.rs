//! Scenes: several clients at a store, and what happens to them and to the daemon meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;

use crate::checker::check;
use crate::client::{Choice, Client, ENTRIES, JOURNALS, WENT_ON, perform};
use crate::common::{Home, Process};
use crate::history::{Answer, End, Event, Op, now};
use crate::journal::{self, Journal};
use crate::line::{Line, WELL};

const CLIENTS: usize = 3;

/// The number of the process that sets the scene.
const DIRECTOR: u32 = 1000;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// The daemon is killed, and another one started.
    Daemon,
    /// The daemon stands still for a moment.
    Stop,
    /// It stands still, and is killed before it goes on.
    StopAndDaemon,
    /// A client is killed, and another one started.
    Client,
}

#[test]
fn many_processes_see_one_order_of_all_that_is_done() {
    Scene::new("steady load").run(&[]);
}

#[test]
fn a_daemon_that_is_killed_takes_all_with_it_and_nothing_comes_back() {
    Scene::new("kills of the daemon").run(&[Blow::Daemon]);
}

#[test]
fn a_daemon_that_stands_still_lets_nobody_read_what_is_not_true_any_more() {
    Scene::new("stops of the daemon").run(&[Blow::Stop]);
}

#[test]
fn what_a_client_had_begun_when_it_was_killed_happens_once_or_never() {
    Scene::new("kills of clients").run(&[Blow::Client]);
}

#[test]
fn all_of_this_together_changes_nothing() {
    let all = [Blow::Daemon, Blow::Stop, Blow::StopAndDaemon, Blow::Client];
    Scene::new("everything together").run(&all);
}

#[test]
fn what_is_to_be_kept_is_the_same_in_the_daemon_that_follows_one_that_was_killed() {
    Scene::with_keepers("kills of a daemon that keeps").run(&[Blow::Daemon]);
}

#[test]
fn all_of_this_together_changes_nothing_of_what_is_to_be_kept() {
    let all = [Blow::Daemon, Blow::Stop, Blow::StopAndDaemon, Blow::Client];
    Scene::with_keepers("everything together, with what is kept").run(&all);
}

/// Each daemon gets the same number of writes of each entry. If it counted from the same number as the one before, its versions would be the
/// same ones, and who remembers something would take it for current.
#[test]
fn a_store_that_began_anew_and_was_written_as_often_is_not_taken_for_the_old_one() {
    let mut scene = Scene::with_readers("the same writes again");
    let mut journal = Journal::new(&scene.journals(), (DIRECTOR, 0));
    let director = Client { number: DIRECTOR, seed: scene.seed, reads: false, keeps: false };
    let (mut choice, mut line) = (Choice::new(director, 0), Line::default());
    for _ in 0..rounds() {
        let store = scene.home.hub().store();
        for _ in 0..3 {
            scene.goes_on();
            for key in 0..ENTRIES {
                let deed = choice.set(key);
                let answer = journal.act(key, deed.op, || perform(&mut line, &store, deed));
                assert!(matches!(answer, Some(Answer::Written { .. })), "{answer:?}");
            }
        }
        scene.goes_on();
        scene.strike(Blow::Daemon);
    }
    scene.goes_on();
    drop(journal);
    scene.finish();
}

struct Scene {
    name: &'static str,
    seed: u64,
    rng: Rng,
    home: Home,
    daemon: Process,
    clients: Vec<(u32, Process)>,
    /// How many clients were started.
    started: u32,
    reads: bool,
    keeps: bool,
    /// When clients that were killed were gone.
    gone: HashMap<u32, u64>,
    restarts: Vec<Event>,
}

impl Scene {
    fn new(name: &'static str) -> Scene {
        Scene::start(name, false, false)
    }

    fn with_readers(name: &'static str) -> Scene {
        Scene::start(name, true, false)
    }

    fn with_keepers(name: &'static str) -> Scene {
        Scene::start(name, false, true)
    }

    fn start(name: &'static str, reads: bool, keeps: bool) -> Scene {
        let seed = number("ANDIRON_LINEAR_SEED").unwrap_or_else(|| fastrand::u64(..));
        eprintln!("{name}: ANDIRON_LINEAR_SEED={seed} repeats the choices");
        let home = Home::new();
        let daemon = home.serve();
        let rng = Rng::with_seed(seed);
        let (clients, gone, restarts) = (Vec::new(), HashMap::new(), Vec::new());
        let mut scene =
            Scene { name, seed, rng, home, daemon, clients, started: 0, reads, keeps, gone, restarts };
        std::fs::create_dir(scene.journals()).unwrap();
        (0..CLIENTS).for_each(|_| scene.enter());
        scene
    }

    fn journals(&self) -> PathBuf {
        self.home.folder.path().join("journals")
    }

    /// Starts one more client.
    fn enter(&mut self) {
        let client = Client { number: self.started, seed: self.seed, reads: self.reads, keeps: self.keeps };
        let mut command = self.home.player("client::client", &serde_json::to_string(&client).unwrap());
        command.env(JOURNALS, self.journals());
        let mut process = Process::start(command);
        process.wait_for("ready");
        self.clients.push((client.number, process));
        self.started += 1;
    }

    fn run(mut self, blows: &[Blow]) {
        for _ in 0..rounds() {
            for _ in 0..self.rng.u32(1..4) {
                self.goes_on();
            }
            if let Some(blow) = self.rng.choice(blows) {
                self.strike(*blow);
            }
        }
        self.goes_on();
        self.finish();
    }

    /// Waits until one of the clients has done something more.
    fn goes_on(&mut self) {
        let one = self.rng.usize(..self.clients.len());
        self.clients[one].1.wait_for_next(WENT_ON);
    }

    fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Daemon => self.restart(),
            Blow::Stop => {
                self.stand_still();
                self.daemon.signal("CONT");
            }
            Blow::StopAndDaemon => {
                self.stand_still();
                self.restart();
            }
            Blow::Client => {
                let one = self.rng.usize(..self.clients.len());
                let (number, mut process) = self.clients.swap_remove(one);
                process.kill();
                self.gone.insert(number, now());
                self.enter();
            }
        }
    }

    /// How long is a part of the scene: nothing is waited for.
    fn stand_still(&mut self) {
        self.daemon.signal("STOP");
        std::thread::sleep(Duration::from_millis(self.rng.u64(0..20)));
    }

    fn restart(&mut self) {
        let begun = now();
        self.daemon.kill();
        self.daemon = self.home.serve();
        let end = End::Answered { at: now(), answer: Answer::Done };
        let restarts = (0..ENTRIES).map(|key| Event { by: (DIRECTOR, 1), key, op: Op::Restart, begun, end });
        self.restarts.extend(restarts);
    }

    /// Has everybody end, and checks what they saw.
    fn finish(mut self) {
        for (number, client) in &mut self.clients {
            client.tell("end");
            client.wait_for(WELL);
            assert_eq!(client.wait().code(), Some(0), "client {number}");
        }
        let hits = self.home.hub().store().stats().unwrap().hits;
        let mut history = journal::collect(&self.journals(), &self.gone);
        let (name, operations, restarts) = (self.name, history.len(), self.restarts.len() / ENTRIES as usize);
        let lost = history.iter().filter(|event| matches!(event.end, End::Lost { .. })).count();
        history.extend(&self.restarts);
        eprintln!(
            "{name}: {operations} operations, {lost} without an answer, {restarts} restarts, {hits} reads without a question"
        );
        assert!(operations > 1000 && hits > 0, "so little says nothing");
        if let Err(violation) = check(&history) {
            panic!("{name}, ANDIRON_LINEAR_SEED={}: {violation}", self.seed);
        }
    }
}

/// How many things happen in a scene.
fn rounds() -> u64 {
    number("ANDIRON_LINEAR_ROUNDS").unwrap_or(30)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a variable is a number"))
}
