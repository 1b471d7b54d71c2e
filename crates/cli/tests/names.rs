//! Servers and their names: one of each, whatever happens to processes, folders and sockets.

mod common;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use andiron::{ErrorKind, Hub, Stream};
use common::{Home, LONG, Process, only_native, role, say, skipped, until};

#[test]
fn a_taken_name_is_an_error_that_says_what_to_do() {
    let home = Home::new();
    let daemon = home.serve();
    let second = home.run(&["serve"]);
    let expected = format!(
        "andiron: the name andiron is taken by process {}: end that server or choose another name",
        daemon.id()
    );
    assert_eq!(second.failed(1), expected);
    home.run(&["set", "x", "20"]).printed();
}

#[test]
fn servers_of_other_names_run_beside_it_with_stores_of_their_own() {
    let home = Home::new();
    let (_first, _second) = (home.serve(), home.serve_with(&["--name", "second"]));
    home.run(&["set", "x", "1"]).printed();
    home.run(&["--address", "second", "set", "x", "2"]).printed();
    assert_eq!(home.run(&["get", "x"]).printed(), "1\n");
    assert_eq!(home.run(&["get", "x", "--address", "second"]).printed(), "2\n");
    let by_variable = home.andiron(&["get", "x"]).env("ANDIRON_ADDRESS", "second").output().unwrap();
    assert_eq!(by_variable.stdout, b"2\n");
    // Missing: no state, no version; and a place on the board.
    assert!(home.run(&["call", "second/store", "get", "y"]).printed().starts_with("[0,0,"));
    assert!(home.run(&["describe", "second/store"]).printed().starts_with("Store: "));

    let mut third = home.andiron(&["serve"]);
    third.env("ANDIRON_ADDRESS", "third");
    Process::start(third).wait_for("third.sock");
}

#[test]
fn a_server_may_listen_at_a_path_of_its_own() {
    let home = Home::new();
    let address = format!("unix:{}/own socket", home.folder.path().display());
    let mut daemon = home.serve_with(&["--name", &address]);
    home.run(&["--address", &address, "set", "x", "20"]).printed();
    assert_eq!(home.run(&["--address", &address, "get", "x"]).printed(), "20\n");
    assert!(home.run(&["serve", "--name", &address]).failed(1).contains("a server listens there"));
    assert_eq!(daemon.terminate().code(), Some(0));
    let gone = home.run(&["--address", &address, "get", "x"]);
    assert!(gone.failed(1).contains("no server at 'unix:"), "{gone:?}");
    assert!(!home.folder.path().join("own socket").exists());
}

#[test]
fn what_is_where_a_path_of_its_own_was_to_be_is_told_and_left_there() {
    let home = Home::new();
    let (dead, file) = (home.folder.path().join("dead"), home.folder.path().join("file"));
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    std::fs::write(&file, "mine").unwrap();
    for (path, expected) in [(&dead, "left by a server that was killed; remove it"), (&file, "is no socket")]
    {
        let address = format!("unix:{}", path.display());
        let error = home.run(&["serve", "--name", &address]);
        assert!(error.failed(1).contains(expected), "{error:?}");
        assert!(path.exists());
    }
}

#[test]
fn of_twenty_that_start_at_once_exactly_one_serves() {
    let home = Home::new();
    let mut started: Vec<Process> = (0..20).map(|_| Process::start(home.andiron(&["serve"]))).collect();
    let mut serving = Vec::new();
    for (number, process) in started.iter_mut().enumerate() {
        let line = process.wait_for("an");
        if line.starts_with("listening at ") {
            serving.push(number);
        } else {
            assert!(line.starts_with("andiron: the name andiron is taken"), "{line}");
            assert_eq!(process.wait().code(), Some(1));
        }
    }
    assert_eq!(serving.len(), 1, "{serving:?}");
    home.run(&["set", "x", "20"]).printed();
    assert_eq!(started[serving[0]].terminate().code(), Some(0));
}

#[test]
fn after_a_kill_the_next_one_starts_at_once() {
    let home = Home::new();
    let mut before = String::new();
    for number in 0..5 {
        let mut daemon = home.serve();
        home.run(&["get", "x"]).failed(3);
        home.run(&["set", "x", &number.to_string()]).printed();
        let listed: serde_json::Value = serde_json::from_str(home.run(&["ls", "--json"]).printed()).unwrap();
        let version = listed[0]["version"].to_string();
        assert!(version > before, "versions go on: {version} after {before}");
        before = version;
        daemon.kill();
        assert!(home.socket("andiron").exists(), "a killed server leaves its socket");
        assert_eq!(
            home.run(&["get", "x"]).failed(1),
            "andiron: no server at 'andiron': start one with `andiron serve`"
        );
    }
}

#[test]
fn where_no_server_is_the_error_says_how_to_start_one() {
    let home = Home::new();
    for arguments in
        [&["get", "x"][..], &["set", "x", "1"], &["ls"], &["call", "store", "get", "x"], &["describe"]]
    {
        let none = home.run(arguments);
        assert_eq!(none.failed(1), "andiron: no server at 'andiron': start one with `andiron serve`");
    }
    assert!(home.run(&["--address", "kodi", "ls"]).failed(1).ends_with("`andiron serve --name kodi`"));
    assert_eq!(
        home.run(&["call", "kodi/x", "y"]).failed(1),
        "andiron: no server at 'kodi': start one with `andiron serve --name kodi`"
    );
    assert!(!home.runtime().exists(), "to ask makes nothing");
}

#[test]
fn a_server_makes_its_socket_and_lock_anew_when_the_folder_was_wiped() {
    let home = Home::new();
    let mut daemon = home.serve();
    home.run(&["set", "x", "20"]).printed();
    let connected = home.hub();
    fs::remove_dir_all(home.runtime()).unwrap();
    assert_eq!(connected.store().get("x").unwrap(), Some(20), "who is connected stays so");

    daemon.wait_for("made anew");
    assert_eq!(home.run(&["get", "x"]).printed(), "20\n");
    home.run(&["serve"]).failed(1);
    assert_eq!(connected.store().get("x").unwrap(), Some(20));

    // Only the socket this time.
    fs::remove_file(home.socket("andiron")).unwrap();
    daemon.wait_for("made anew");
    assert_eq!(home.run(&["get", "x"]).printed(), "20\n");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!home.socket("andiron").exists());
}

#[test]
fn a_folder_that_others_may_enter_is_not_used() {
    let home = Home::new();
    fs::DirBuilder::new().mode(0o700).create(home.runtime()).unwrap();
    fs::set_permissions(home.runtime(), fs::Permissions::from_mode(0o755)).unwrap();
    for arguments in [&["serve"][..], &["get", "x"]] {
        let refused = home.run(arguments);
        let folder = home.runtime();
        let expected =
            format!("andiron: {0} is open to other users (mode 0755): run `chmod 700 {0}`", folder.display());
        assert_eq!(refused.failed(1), expected);
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_and_stops_no_server_that_runs() {
    let home = Home::new();
    let mut daemon = home.serve();
    fs::set_permissions(home.runtime(), fs::Permissions::from_mode(0o500)).unwrap();
    let second = home.andiron(&["serve", "--name", "second"]);
    if let Some(mut bound) = bound_by_permissions(&home, second) {
        let output = bound.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("make the folder writable for this user, or set XDG_RUNTIME_DIR"), "{error}");
    }
    home.run(&["set", "x", "20"]).printed();
    assert_eq!(home.run(&["get", "x"]).printed(), "20\n");
    fs::set_permissions(home.runtime(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// The same command as a process that permissions bind, which they do not root; `None` where root cannot be bound here.
fn bound_by_permissions(home: &Home, command: Command) -> Option<Command> {
    let probe = home.runtime().join("probe");
    if fs::File::create(&probe).is_err() {
        return Some(command);
    }
    fs::remove_file(probe).unwrap();
    let mut bound = Command::new("setpriv");
    bound.arg("--bounding-set=-all").arg(command.get_program()).args(command.get_args());
    home.settle(&mut bound);
    let can = Command::new("setpriv")
        .args(["--bounding-set=-all", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !can {
        skipped("root cannot be bound by permissions here: `setpriv` does not do it");
    }
    can.then_some(bound)
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_an_error_that_says_so() {
    let home = Home::new();
    let deep = home.folder.path().join("d".repeat(90));
    fs::create_dir(&deep).unwrap();
    for arguments in [&["serve"][..], &["get", "x"]] {
        let mut command = home.andiron(arguments);
        let output = command.env("XDG_RUNTIME_DIR", &deep).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains("107 is the limit: choose a shorter name"), "{error}");
    }
    assert!(!deep.join("andiron").exists(), "nothing was made");
    let long = "n".repeat(65);
    assert!(home.run(&["serve", "--name", &long]).failed(2).contains("is no server name"));
    // Where the path was chosen, another folder for names helps nobody.
    let path = format!("unix:{}/{}", home.folder.path().display(), "d".repeat(100));
    for arguments in [&["serve", "--name", &path][..], &["get", "x", "--address", &path]] {
        let refused = home.run(arguments);
        assert!(refused.failed(2).contains("107 is the limit: choose a shorter one"), "{refused:?}");
        assert!(!refused.err.contains("XDG_RUNTIME_DIR"), "{refused:?}");
    }
}

#[test]
fn each_of_the_two_signals_ends_a_daemon_with_success() {
    for signal in ["INT", "TERM"] {
        let home = Home::new();
        let mut daemon = home.serve();
        // An idle client does not hold it up.
        let idle = home.hub();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0), "{signal}");
        assert!(!home.socket("andiron").exists());
        let error = idle.store().set("x", &1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[test]
fn a_daemon_that_a_program_started_ends_with_it_and_what_is_persistent_is_there_again() {
    if only_native("it is about an option of the command") {
        return;
    }
    let home = Home::new();
    let mut daemon = home.serve_with(&["--exit-with-parent"]);
    daemon.tell("what it is told is nothing to it");
    home.run(&["set", "x", "20", "--persist"]).printed();
    let idle = home.hub();
    daemon.hang_up();
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!home.socket("andiron").exists());
    let error = idle.store().set("x", &1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

    let mut other = home.serve();
    other.hang_up();
    assert_eq!(home.run(&["get", "x"]).printed(), "20\n");
    assert_eq!(other.terminate().code(), Some(0), "without the option the input is nothing to it");
}

/// Answers when its process is told a line.
struct Slow;

#[andiron::expose]
impl Slow {
    fn wait_for_line(&self, begun: BegunProxy) -> andiron::Result<String> {
        begun.begun()?;
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        read.map(|_| line).map_err(|error| andiron::Error::new(ErrorKind::Internal, error.to_string()))
    }
}

struct Begun(Mutex<Sender<()>>);

#[andiron::expose]
impl Begun {
    fn begun(&self) {
        let _ = self.0.lock().unwrap().send(());
    }
}

/// Not a test of its own: the process of a provider.
#[test]
fn provider() {
    let Some(name) = role() else { return };
    let hub = andiron::connect().unwrap();
    hub.register(&name, Slow).unwrap();
    say("ready");
    let _ = hub.run();
}

#[test]
fn calls_under_way_are_finished_before_the_daemon_ends() {
    let home = Home::new();
    let mut daemon = home.serve();
    let mut provider = home.play("provider", "slow");
    let slow: SlowProxy = home.hub().object("slow").unwrap();
    let (sender, begun) = channel();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| slow.wait_for_line(Begun(Mutex::new(sender)).into()));
        begun.recv_timeout(LONG).unwrap();
        daemon.signal("TERM");
        until("the end of the socket", || (!home.socket("andiron").exists()).then_some(()));
        provider.tell("done");
        assert_eq!(call.join().unwrap().unwrap(), "done\n");
    });
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let home = Home::new();
    let mut daemon = home.serve();
    let _provider = home.play("provider", "slow");
    let slow: SlowProxy = home.hub().object("slow").unwrap();
    let (sender, begun) = channel();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| slow.wait_for_line(Begun(Mutex::new(sender)).into()));
        begun.recv_timeout(LONG).unwrap();
        daemon.signal("TERM");
        until("the end of the socket", || (!home.socket("andiron").exists()).then_some(()));
        daemon.signal("TERM");
        assert_eq!(daemon.wait().code(), Some(1), "0 would be that it waited for the call");
        assert_eq!(call.join().unwrap().unwrap_err().kind(), ErrorKind::Unknown);
    });
}

#[test]
fn a_client_that_lost_its_daemon_finds_the_next_one_by_connecting_again() {
    let home = Home::new();
    let mut daemon = home.serve();
    let hub = home.hub();
    hub.store().set("x", &1).unwrap();
    daemon.kill();
    assert!(hub.store().get::<i32>("x").is_err());
    let _next = home.serve();
    let error = hub.store().get::<i32>("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(Hub::connect(&home.address("andiron")).unwrap().store().get::<i32>("x").unwrap(), None);
}

struct Counter;

#[andiron::expose]
impl Counter {
    fn count(&self, up_to: u64) -> Stream<u64> {
        Stream::iter(0..up_to)
    }

    fn stumble(&self) -> Stream<u64> {
        let error = andiron::Error::new(ErrorKind::Quota, "no more numbers");
        Stream::try_iter([Ok(1), Err(error)])
    }
}

#[test]
fn call_prints_each_item_of_a_stream_and_how_it_ended() {
    let home = Home::new();
    let _daemon = home.serve();
    let hub = home.hub();
    hub.register("counter", Counter).unwrap();
    std::thread::spawn(move || hub.run());

    assert_eq!(home.run(&["call", "counter", "count", "3"]).printed(), "0\n1\n2\n");
    assert_eq!(home.run(&["call", "counter", "count", "2", "--timeout", "30"]).printed(), "0\n1\n");
    assert_eq!(home.run(&["--json", "call", "counter", "count", "0"]).printed(), "");
    let stumbled = home.run(&["call", "counter", "stumble"]);
    assert_eq!((stumbled.code, stumbled.text()), (Some(1), "1\n"));
    assert!(stumbled.err.contains("no more numbers"), "{stumbled:?}");
}
