//! The daemon is killed at any moment: what it acknowledged is there, and nothing else is half there.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use andiron::{Hub, Put, Result, Store};
use fastrand::Rng;

use crate::common::{Home, Process};
use crate::model::{Deed, Entries, may_have_happened};

const CLIENTS: u32 = 4;
/// Whose counter all of them count up.
const EVERYBODY: &str = "everybody";

#[test]
fn what_was_acknowledged_survives_a_kill_and_nothing_else_is_half_there() {
    let rounds = number("ANDIRON_KILL_ROUNDS").unwrap_or(200);
    let seed = number("ANDIRON_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{rounds} rounds, ANDIRON_FUZZ_SEED={seed} repeats the choices");
    let mut scene = Scene::new(seed);
    for round in 0..rounds {
        scene.round = round;
        let daemon = scene.begin();
        scene.go_on_until_killed(daemon);
        scene.kill_again();
    }
    drop(scene.begin());
    println!(
        "{} writes acknowledged, {} under way at a kill, of which {} happened",
        scene.done, scene.open, scene.happened
    );
    assert!(rounds < 10 || scene.done > rounds, "so little says nothing");
}

struct Scene {
    seed: u64,
    round: u64,
    rng: Rng,
    home: Home,
    clients: Vec<Client>,
    /// What everybody's counter is, at least and at most.
    counted: (i64, i64),
    done: u64,
    open: u64,
    happened: u64,
}

/// A client, in all its rounds.
struct Client {
    number: u32,
    rng: Rng,
    entries: Entries,
    /// What it had begun when the daemon was killed, and it may have happened.
    open: Option<Deed>,
    counted: i64,
    may_have_counted: bool,
    done: u64,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let clients = (0..CLIENTS).map(|number| Client {
            number,
            rng: Rng::with_seed(seed.wrapping_add(1 + u64::from(number))),
            entries: Entries::default(),
            open: None,
            counted: 0,
            may_have_counted: false,
            done: 0,
        });
        let (rng, home, clients) = (Rng::with_seed(seed), Home::new(), clients.collect());
        Scene { seed, round: 0, rng, home, clients, counted: (0, 0), done: 0, open: 0, happened: 0 }
    }

    /// Starts a daemon, and looks at what it has.
    fn begin(&mut self) -> Process {
        let durability = if self.rng.u8(..4) == 0 { "sync" } else { "relaxed" };
        let daemon = self.home.serve_with(&["--durability", durability]);
        let store = self.home.hub().store();
        let at = format!("ANDIRON_FUZZ_SEED={}, round {}", self.seed, self.round);
        let (mut seen, mut big) = (0, 0);
        for client in &mut self.clients {
            let happened = client.look(&store, &at);
            self.happened += u64::from(happened);
            seen = seen.max(client.entries.seen);
            big += client.entries.count_big();
        }
        let files = std::fs::read_dir(self.home.folder.path().join("state/andiron/andiron/values"));
        assert_eq!(files.unwrap().count(), big, "{at}: files beside the database");
        // Counts on, and is larger than all that anybody saw.
        let everybody = store.author(EVERYBODY);
        let version = match everybody.entry("counter").unwrap() {
            None => everybody.set_with(Put::new("counter", &0).unwrap().persist()).unwrap(),
            Some(counter) => {
                let (least, most) = self.counted;
                let value = counter.value::<i64>().unwrap();
                assert!((least..=most).contains(&value), "{at}: {value} is not from {least} to {most}");
                self.counted = (value, value);
                everybody.set("plain", &0).unwrap()
            }
        };
        assert!(version > seen, "{at}: version {version} comes behind {seen}");
        self.clients.iter_mut().for_each(|client| client.entries.seen = version);
        daemon
    }

    /// Clients do what they do, until some of it is done and then for a moment more.
    fn go_on_until_killed(&mut self, mut daemon: Process) {
        let wait_for = if self.rng.u8(..10) == 0 { 0 } else { self.rng.usize(1..100) };
        let spins = self.rng.u32(..50_000);
        let (acknowledged, heard) = channel();
        let address = self.home.address("andiron");
        thread::scope(|scope| {
            for client in &mut self.clients {
                let (acknowledged, address) = (acknowledged.clone(), &address);
                scope.spawn(move || client.go_on(address, &acknowledged));
            }
            drop(acknowledged);
            let count = heard.iter().take(wait_for).count();
            assert_eq!(count, wait_for, "all clients have ended");
            spin(spins);
            daemon.kill();
        });
        for client in &mut self.clients {
            self.open += u64::from(client.open.is_some());
            self.counted.0 += client.counted;
            self.counted.1 += client.counted + i64::from(client.may_have_counted);
            self.done += client.done;
            (client.counted, client.may_have_counted, client.done) = (0, false, 0);
        }
    }

    /// While it starts, when it has just started or while it ends, which must change nothing.
    fn kill_again(&mut self) {
        for _ in 0..[0, 0, 0, 1, 2][self.rng.usize(..5)] {
            match self.rng.u8(..4) {
                0 => self.home.serve().kill(),
                1 => assert!(self.home.serve().terminate().success()),
                2 => {
                    let mut daemon = self.home.serve();
                    daemon.signal("TERM");
                    spin(self.rng.u32(..1_000_000));
                    daemon.kill();
                }
                _ => {
                    let mut daemon = Process::start(self.home.andiron(&["serve"]));
                    spin(self.rng.u32(..3_000_000));
                    daemon.kill();
                }
            }
        }
    }
}

impl Client {
    /// Looks at what is there of what it did. True where what was under way happened.
    fn look(&mut self, store: &Store, at: &str) -> bool {
        let (mut without, mut with) = (self.entries.clone(), self.entries.clone());
        self.open.iter().for_each(|deed| with.apply(deed));
        without.die();
        with.die();
        let mut found = Entries::found(store, self.number);
        let happened = !without.are(&found);
        assert!(
            !happened || with.are(&found),
            "{at}, client {}: {found:#?}\nis neither {without:#?}\nnor, with {:?}, {with:#?}",
            self.number,
            self.open
        );
        self.open = None;
        found.seen = found.seen.max(self.entries.seen);
        self.entries = found;
        happened
    }

    /// Does one thing after the other until there is no daemon any more.
    fn go_on(&mut self, address: &str, acknowledged: &Sender<()>) {
        let Ok(hub) = Hub::connect(address) else { return };
        let store = hub.store();
        loop {
            let done = if self.rng.u8(..10) == 0 { self.count_for_all(&store) } else { self.act(&store) };
            if done.is_err() {
                return;
            }
            self.done += 1;
            let _ = acknowledged.send(()); // nobody counts any more
        }
    }

    fn act(&mut self, store: &Store) -> Result<()> {
        let deed = Deed::pick(&mut self.rng);
        self.entries.act(store, self.number, &deed).inspect_err(|error| {
            self.open = may_have_happened(error).then_some(deed);
        })
    }

    fn count_for_all(&mut self, store: &Store) -> Result<()> {
        match store.author(EVERYBODY).incr("counter", 1) {
            Ok(_) => self.counted += 1,
            Err(error) => {
                self.may_have_counted = may_have_happened(&error);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn spin(times: u32) {
    (0..times).for_each(|time| {
        std::hint::black_box(time);
    });
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a variable is a number"))
}
