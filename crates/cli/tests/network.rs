//! The program over TCP: where it listens, who finds its secret, and what it says of others.

mod common;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use andiron::{Secret, SecretFile};
use common::{Home, Process, only_native};

/// Starts a daemon that listens at this address as well; what it says where that is.
fn serve(home: &Home, arguments: &[&str]) -> (Process, String) {
    let mut all = vec!["serve"];
    all.extend(arguments);
    let mut daemon = Process::start(home.andiron(&all));
    let line = daemon.wait_for("://");
    let address = line.strip_prefix("listening at ").unwrap().to_owned();
    (daemon, address)
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[test]
fn programs_of_the_same_user_find_the_secret_of_a_port_by_themselves() {
    let home = Home::new();
    let (mut daemon, address) = serve(&home, &["--listen", "tcp://127.0.0.1:0"]);
    let posted = home.runtime().join(format!("tcp-{}.secret", port(&address)));
    assert_eq!(posted.metadata().unwrap().permissions().mode() & 0o7777, 0o600);

    home.run(&["--address", &address, "set", "x", "20"]).printed();
    assert_eq!(home.run(&["get", "x"]).printed(), "20\n", "it is the same store");
    assert!(home.run(&["call", &format!("{address}/store"), "get", "y"]).printed().starts_with("[0,0,"));

    let stranger = Home::new().run(&["--address", &address, "get", "x"]);
    assert!(stranger.failed(1).contains("no secret for tcp://"), "{stranger:?}");

    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!posted.exists());
    let gone = home.run(&["--address", &address, "get", "x"]);
    assert!(gone.failed(1).contains("no secret for"), "{gone:?}");
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing_in_the_way_of_the_next() {
    let home = Home::new();
    let (mut daemon, address) = serve(&home, &["--listen", "tcp://127.0.0.1:0"]);
    daemon.kill();
    let gone = home.run(&["--address", &address, "get", "x"]);
    assert!(gone.failed(1).contains("no server at tcp://"), "{gone:?}");
    let (_daemon, again) = serve(&home, &["--listen", &address]);
    assert_eq!(again, address);
    home.run(&["--address", &address, "set", "x", "20"]).printed();
}

#[test]
fn a_daemon_may_listen_at_the_network_alone() {
    let home = Home::new();
    let (_daemon, address) = serve(&home, &["--no-local", "--listen", "tcp://:0"]);
    home.run(&["--address", &address, "set", "x", "20"]).printed();
    assert!(!home.socket("andiron").exists());
    assert_eq!(home.run(&["serve", "--no-local"]).code, Some(2));
}

#[test]
fn who_has_the_file_of_the_secret_is_served_over_tls() {
    let (home, remote) = (Home::new(), Home::new());
    let path = home.folder.path().join("secret");
    let file = path.to_str().unwrap();
    SecretFile::create(&path, Secret::new().unwrap().with_name(Some("kodi"))).unwrap();
    let (_daemon, address) = serve(&home, &["--listen", "tls://127.0.0.1:0", "--secret-file", file]);
    let server = ["--address", &address];

    remote.run(&["--secret-file", file, "set", "x", "20", server[0], server[1]]).printed();
    let by_variable = remote
        .andiron(&["get", "x", server[0], server[1]])
        .env("ANDIRON_SECRET_FILE", file)
        .output()
        .unwrap();
    assert_eq!(by_variable.stdout, b"20\n");
    let told = remote.run(&["doctor", "--secret-file", file, server[0], server[1]]);
    assert!(told.printed().contains("by TLS"), "{told:?}");

    // Where nothing is said, the file lies in the folder for it.
    std::fs::create_dir_all(remote.folder.path().join("config/andiron")).unwrap();
    let own = remote.folder.path().join("config/andiron/secret");
    std::fs::copy(&path, &own).unwrap();
    assert_eq!(remote.run(&["get", "x", server[0], server[1]]).printed(), "20\n");
    std::fs::remove_file(&own).unwrap();
    SecretFile::create(&own, Secret::new().unwrap()).unwrap();
    let refused = remote.run(&["get", "x", server[0], server[1]]);
    assert!(refused.failed(1).contains("the proof of the secret is wrong"), "{refused:?}");
}

#[test]
fn who_is_refused_is_told_of_without_the_secret() {
    let home = Home::new();
    let path = home.folder.path().join("secret");
    SecretFile::create(&path, Secret::new().unwrap()).unwrap();
    let wrong = home.folder.path().join("wrong");
    let secret = Secret::new().unwrap();
    SecretFile::create(&wrong, secret.clone()).unwrap();
    let file = path.to_str().unwrap();
    let (mut daemon, address) = serve(&home, &["--listen", "tls://127.0.0.1:0", "--secret-file", file]);
    let refused = home.run(&["--secret-file", wrong.to_str().unwrap(), "--address", &address, "ls"]);
    let line = daemon.wait_for("a connection was refused: tls 127.0.0.1:");
    for said in [refused.failed(1), &line] {
        assert!(said.contains("the proof of the secret is wrong"), "{said}");
        assert!(!said.contains(&secret.text()[9..20]), "{said}");
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_at_once() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", taken.local_addr().unwrap());
    let refused = home.run(&["serve", "--listen", &address]);
    assert!(refused.failed(1).contains("is taken by another server"), "{refused:?}");
    assert!(!home.socket("andiron").exists(), "nothing is left of it");
}

#[test]
fn an_address_that_others_are_told_of_is_not_listened_at() {
    if only_native("others may have no word for it") {
        return;
    }
    let home = Home::new();
    let (_daemon, address) =
        serve(&home, &["--listen", "tcp://127.0.0.1:0", "--advertise", "tls://kodi.example.org"]);
    // The root object tells them to whoever asks; the program has no word for it yet.
    home.run(&["--address", &address, "ls"]).printed();
    assert!(home.run(&["serve", "--advertise", "http://x"]).failed(2).contains("expected a server's name"));
    for (unreachable, told) in
        [("tcp://1.2.3.4:0", "port 0"), ("fd:3", "listening only"), ("systemd", "listening only")]
    {
        let refused = home.run(&["serve", "--advertise", unreachable]);
        assert!(refused.failed(2).contains(told), "{refused:?}");
    }
}

#[test]
fn addresses_that_make_no_sense_are_usage() {
    let home = Home::new();
    for address in ["http://x", "tcp://[", "tls://x:99999", "tcp:x"] {
        let refused = home.run(&["--address", address, "ls"]);
        assert!(refused.failed(2).contains("expected a server's name"), "{refused:?}");
        assert!(home.run(&["serve", "--listen", address]).failed(2).contains("expected a server's name"));
    }
    assert!(home.run(&["--address", "systemd", "ls"]).failed(2).contains("listening only"));
    assert!(home.run(&["--address", "tcp://127.0.0.1:0", "ls"]).failed(2).contains("port 0"));
}

#[test]
fn sockets_that_were_not_handed_over_are_told() {
    if only_native("others may take none that are") {
        return;
    }
    let home = Home::new();
    assert!(home.run(&["serve", "--listen", "systemd"]).failed(1).contains("systemd handed no socket"));
    assert!(home.run(&["serve", "--listen", "fd:999"]).failed(1).contains("descriptor 999 is not open"));
}

#[test]
fn what_others_could_read_is_refused_with_what_to_do() {
    let home = Home::new();
    assert!(home.run(&["serve", "--listen", "tcp://0.0.0.0:0"]).failed(1).contains("use `tls://`"));
    assert!(home.run(&["--address", "tcp://192.0.2.1", "ls"]).failed(1).contains("use `tls://`"));
    assert!(home.run(&["serve", "--listen", "tls://127.0.0.1:0"]).failed(1).contains("andiron secret new"));
    assert!(home.run(&["--address", "tls://127.0.0.1:1", "ls"]).failed(1).contains("andiron secret new"));
}

#[test]
fn doctor_finds_out_what_is_wrong_with_a_port() {
    let home = Home::new();
    let (mut daemon, address) = serve(&home, &["--listen", "tcp://127.0.0.1:0"]);
    let told = home.run(&["doctor", "--address", &address]);
    assert!(told.printed().contains("by TCP") && told.printed().contains("it answers: 1 object"), "{told:?}");
    let stranger = Home::new().run(&["doctor", "--address", &address]);
    assert!(stranger.text().contains("problem  no secret for tcp://"), "{stranger:?}");
    daemon.terminate();
    let gone = home.run(&["doctor", "--address", &address]);
    assert!(gone.text().contains("problem  nobody listens at 127.0.0.1:"), "{gone:?}");
}
