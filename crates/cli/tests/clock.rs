//! A clock of the wall that jumps while a daemon runs. It is played by libfaketime (the package `faketime`); without that this test says so and does
//! nothing.

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use andiron::{Connector, ErrorKind, Hub, Put, Secret, Security};
use common::{Home, LONG, Process, skipped};

const DAY: Duration = Duration::from_secs(86_400);

/// A daemon whose clock the test sets.
struct Scene {
    home: Home,
    library: PathBuf,
    daemon: Process,
    /// Over TLS, with the secrets of this home.
    address: String,
}

impl Scene {
    fn new() -> Option<Scene> {
        let Some(library) = library() else {
            skipped("libfaketime is not installed, which plays a clock that jumps");
            return None;
        };
        let home = Home::new();
        home.run(&["secret", "new"]).printed();
        set_clock(&home, "+0");
        let (daemon, address) = serve(&home, &library);
        Some(Scene { home, library, daemon, address })
    }

    /// Kills the daemon, sets the clock, and starts another one on the same state.
    fn restart(&mut self, difference: &str) {
        self.daemon.kill();
        set_clock(&self.home, difference);
        (self.daemon, self.address) = serve(&self.home, &self.library);
    }
}

/// A daemon whose clock is what [`set_clock`] says, and where it listens over TLS.
fn serve(home: &Home, library: &Path) -> (Process, String) {
    let mut command = home.andiron(&["serve", "--listen", "tls://127.0.0.1:0"]);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", home.folder.path().join("clock"));
    command.env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut daemon = Process::start(command);
    let line = daemon.wait_for("listening at tls:");
    (daemon, line.split_whitespace().last().unwrap().to_owned())
}

/// Sets the daemon's clock: by how much it differs from ours, as `-10d`.
fn set_clock(home: &Home, difference: &str) {
    let (next, clock) = (home.folder.path().join("next"), home.folder.path().join("clock"));
    std::fs::write(&next, difference).unwrap();
    std::fs::rename(next, clock).unwrap(); // never half of it
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let folders = folders.chain(["/usr/lib".into(), "/usr/lib64".into()]);
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// Answers when nobody waits for it any more.
struct Silent;

#[andiron::expose]
impl Silent {
    fn wait(&self) -> andiron::Result<()> {
        while !andiron::current().is_some_and(|call| call.is_cancelled()) {
            std::thread::yield_now();
        }
        Ok(())
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn nothing_hangs_or_goes_back_when_the_clock_jumps() {
    let Some(scene) = Scene::new() else { return };
    let home = &scene.home;
    let hub = home.hub();
    hub.register("silent", Silent).unwrap();
    let served = hub.clone();
    std::thread::spawn(move || served.run());
    let store = home.hub().store();
    let mut watch = home.andiron(&["watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    common::until("the watch has begun", || {
        store.set("begun", &true).unwrap();
        told.try_recv().ok()
    });

    let mut last = 0;
    for (number, jump) in ["-10d", "+10d", "-10d", "+0"].into_iter().enumerate() {
        // A call is under way at the jump, and its time goes on as if nothing had been.
        let silent = home.hub().object::<andiron::Proxy>("silent").unwrap();
        let pending = silent.with_timeout(Duration::from_secs(1)).start::<()>("wait", &()).unwrap();
        set_clock(&scene.home, jump);
        let version = store.set("x", &number).unwrap();
        assert!(version > last, "{jump}: versions only grow");
        last = version;
        let entry = store.entry("x").unwrap().unwrap();
        assert_eq!((entry.version, entry.value::<usize>().unwrap()), (version, number));
        let days = jump.trim_end_matches('d').parse::<f64>().unwrap();
        let off = entry.timestamp - seconds(SystemTime::now()) - days * DAY.as_secs_f64();
        assert!(off.abs() < 3600.0, "{jump}: timestamps are those of the clock, {off}");
        let line = std::iter::from_fn(|| told.recv_timeout(LONG).ok()).find(|line| line.contains(" x = "));
        assert_eq!(line, Some(format!("default x = {number}")));
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(pending.wait()));
        let outcome = ended.recv_timeout(LONG).expect("its time never ends");
        // It may have heard that its time is over, and answered, before its caller knew.
        let kind = outcome.map_err(|error| error.kind());
        assert!(matches!(kind, Ok(()) | Err(ErrorKind::Deadline)), "{jump}: {kind:?}");
        assert_eq!(Hub::connect(&home.address("andiron")).unwrap().names().unwrap(), ["silent", "store"]);
    }
    let _ = watch.kill();
    watch.wait().unwrap();
}

#[test]
fn nothing_lives_longer_or_shorter_because_the_clock_was_set() {
    let Some(scene) = Scene::new() else { return };
    let (writer, store) = (scene.home.hub().store(), scene.home.hub().store());
    let lax = store.max_staleness(DAY);
    let mut last = 0;
    for (jump, back) in [("+10d", "-10d"), ("-10d", "+10d")] {
        set_clock(&scene.home, jump);
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(3600));
        let begun = std::time::Instant::now();
        writer.set_with(Put::new("short", &1).unwrap().ttl(short)).unwrap();
        let version = writer.set_with(Put::new("long", &1).unwrap().ttl(long)).unwrap();
        assert!(version > last, "{jump}: versions go on growing");
        let mut cell = store.cell("short");
        for store in [&store, &lax] {
            store.get::<i64>("short").unwrap();
            assert_eq!(store.get::<i64>("long").unwrap(), Some(1));
        }
        set_clock(&scene.home, back);
        common::until("its end", || {
            let reads = [store.get::<i64>("short"), lax.get("short"), cell.get()].map(Result::unwrap);
            let over = begun.elapsed() >= short;
            assert!(over || reads.iter().all(Option::is_some), "{jump}: too early");
            (over && reads == [None; 3]).then_some(())
        });
        assert_eq!((store.get("long").unwrap(), lax.get("long").unwrap()), (Some(1), Some(1)), "{jump}");
        last = writer.set("long", &2).unwrap();
        assert!(last > version, "{back}: versions go on growing");
    }
}

#[test]
fn what_ran_out_while_no_daemon_ran_is_gone_and_stays_so_when_the_clock_is_set_back() {
    let Some(mut scene) = Scene::new() else { return };
    let store = scene.home.hub().store();
    let kept = |name: &str| Put::new(name, &1).unwrap().persist();
    // So many are not taken out at once.
    let shorts: Vec<String> = (0..700).map(|number| format!("short {number}")).collect();
    store.set_many(shorts.iter().map(|name| kept(name).ttl(DAY))).unwrap();
    store.set_with(kept("long").ttl(100 * DAY)).unwrap();
    let mut last = store.set_with(kept("for good")).unwrap();
    // While its clock stands before what they were set by, nothing is shorter or longer than that clock says.
    for (clock, is_short_there) in
        [("-10d", true), ("+0", true), ("+10d", false), ("+0", false), ("-10d", false)]
    {
        scene.restart(clock);
        let store = scene.home.hub().store();
        let names: Vec<String> = store.list().map(|listed| listed.unwrap().name).collect();
        let shorts = if is_short_there { shorts.len() } else { 0 };
        assert_eq!(names.len(), shorts + 2, "{clock}: {:?}", names.last());
        assert_eq!(store.get::<i64>("short 0").unwrap().is_some(), is_short_there, "{clock}");
        assert_eq!(
            (store.get("long").unwrap(), store.get("for good").unwrap()),
            (Some(1), Some(1)),
            "{clock}"
        );
        for put in [Put::new("plain", &1).unwrap(), kept("for good")] {
            let version = store.set_with(put).unwrap();
            assert!(version > last, "{clock}: version {version} comes behind {last}");
            last = version;
        }
        store.delete("plain").unwrap();
    }
}

#[test]
fn secrets_end_by_the_clock_of_the_server_as_it_is_now() {
    let Some(scene) = Scene::new() else { return };
    let show = || scene.home.run(&["secret", "show"]).printed().trim().parse::<Secret>().unwrap();
    let connect = |secret: &Secret| {
        let security = Security::default().secret(secret.clone());
        Connector::new(&scene.address).security(security).connect().map(|hub| hub.names().unwrap())
    };
    let old = show();
    scene.home.run(&["secret", "rotate", "--keep", "7d"]).printed();
    let new = show();
    connect(&old).unwrap();
    set_clock(&scene.home, "+10d");
    let error = connect(&old).unwrap_err();
    assert!(error.message().contains("ran out"), "{error}");
    connect(&new).unwrap();
    set_clock(&scene.home, "-10d");
    connect(&new).unwrap();
}
