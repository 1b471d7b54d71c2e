//! Secrets: made, shown and replaced by the program, and used by it.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use andiron::{Connector, ErrorKind, Hub, Secret, SecretFile, Security};
use common::{Home, Process};

fn file(home: &Home) -> PathBuf {
    home.folder.path().join("config/andiron/secret")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// The lines of a file without the secrets in them.
fn words(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string(file(home)).unwrap();
    text.lines().map(|line| line.split_once(' ').map_or("", |(_, words)| words).to_owned()).collect()
}

/// A daemon with the secrets of this home at a port of its own, and its address.
fn serve(home: &Home, scheme: &str) -> (Process, String) {
    let command = home.andiron(&["serve", "--no-local", "--listen", &format!("{scheme}://127.0.0.1:0")]);
    let mut daemon = Process::start(command);
    let line = daemon.wait_for("listening at");
    let address = line.split_whitespace().last().unwrap().to_owned();
    (daemon, address)
}

fn connect(address: &str, secret: &str) -> andiron::Result<Hub> {
    let secret: Secret = secret.trim().parse().unwrap();
    Connector::new(address).security(Security::default().secret(secret)).connect()
}

#[test]
fn a_new_secret_is_in_a_file_of_its_owners_alone_and_is_not_printed() {
    let home = Home::new();
    let made = home.run(&["secret", "new"]);
    let path = file(&home);
    assert!(made.printed().contains(path.to_str().unwrap()), "{made:?}");
    assert!(made.text().contains("andiron secret show | ssh"), "{made:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

    let text = home.run(&["secret", "show"]).printed().to_owned();
    assert_eq!(text.lines().count(), 1);
    let secret: Secret = text.trim().parse().unwrap();
    assert!(!made.text().contains("andiron1-"));
    let file = SecretFile::load(&path).unwrap();
    assert_eq!(file.secrets().collect::<Vec<_>>(), [&secret]);
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    let before = std::fs::read(file(&home)).unwrap();
    assert!(home.run(&["secret", "new"]).failed(1).contains("andiron secret rotate"));
    assert_eq!(std::fs::read(file(&home)).unwrap(), before);
    std::fs::write(file(&home), "").unwrap();
    home.run(&["secret", "new"]).failed(1);
    assert_eq!(std::fs::read(file(&home)).unwrap(), b"", "not even one that is empty");
}

#[test]
fn further_secrets_have_names_and_say_what_their_holders_may_do() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    let made = home.run(&[
        "secret",
        "new",
        "--add",
        "--name",
        "living room",
        "--read-only",
        "--author",
        "a,b",
        "--author",
        "c",
        "--object",
        "store",
    ]);
    assert!(made.printed().contains("--name 'living room'"), "{made:?}");
    assert_eq!(words(&home), ["", "name=living%20room store=read-only authors=a%2Cb,c objects=store"]);
    let first = home.run(&["secret", "show"]).printed().to_owned();
    let second = home.run(&["secret", "show", "--name", "living room"]).printed().to_owned();
    assert_ne!(first, second);
    assert!(
        home.run(&["secret", "new", "--add", "--name", "living room"])
            .failed(1)
            .contains("choose another name")
    );
    assert!(home.run(&["secret", "show", "--name", "cellar"]).failed(3).contains("'cellar'"));
}

#[test]
fn rotating_lets_the_old_secret_be_valid_for_as_long_as_was_said() {
    let home = Home::new();
    home.run(&["secret", "new", "--name", "house", "--read-only"]).printed();
    let old = home.run(&["secret", "show"]).printed().to_owned();
    let rotated = home.run(&["secret", "rotate"]);
    let (servers, clients) =
        (rotated.printed().find("servers").unwrap(), rotated.text().find("clients").unwrap());
    assert!(servers < clients && !rotated.text().contains("andiron1-"), "{rotated:?}");
    assert_ne!(home.run(&["secret", "show"]).printed(), old);
    let lines = words(&home);
    assert_eq!(lines[0], "name=house store=read-only");
    assert!(
        lines[1].starts_with("name=house until=") && lines[1].ends_with("Z store=read-only"),
        "{lines:?}"
    );

    home.run(&["secret", "rotate", "--keep", "0s"]).printed();
    let keys = SecretFile::load(file(&home)).unwrap();
    assert_eq!(keys.valid(std::time::SystemTime::now()).count(), 2, "the newest, and the first one still");
    home.run(&["secret", "rotate", "--keep", "12h"]).printed();
    assert_eq!(words(&home).len(), 3, "the one that ended is gone");
}

#[test]
fn a_secret_file_may_be_elsewhere() {
    let home = Home::new();
    let path = home.folder.path().join("other file");
    let path = path.to_str().unwrap();
    let made = home.run(&["secret", "new", "--secret-file", path]);
    assert!(made.printed().contains(&format!("show --secret-file '{path}'")), "{made:?}");
    let shown = home.run(&["--secret-file", path, "secret", "show"]).printed().to_owned();
    let by_environment = home.andiron(&["secret", "show"]).env("ANDIRON_SECRET_FILE", path).output().unwrap();
    assert_eq!(by_environment.stdout, shown.as_bytes());
    assert!(home.run(&["secret", "show"]).failed(3).contains("andiron secret new"));
    let without = home.run(&["--address", "tls://127.0.0.1:1", "--secret-file", "/nowhere", "get", "x"]);
    assert!(without.failed(1).contains("there is no secret at /nowhere"), "not as a missing entry");
}

#[test]
fn no_folders_are_made_but_our_own() {
    let home = Home::new();
    let path = home.folder.path().join("nowhere/secret");
    let error = home.run(&["secret", "new", "--secret-file", path.to_str().unwrap()]);
    assert!(error.failed(1).contains("there is no folder") && !path.parent().unwrap().exists(), "{error:?}");
    assert!(!file(&home).parent().unwrap().exists());
    home.run(&["secret", "new"]).printed();
    let own = std::fs::metadata(file(&home).parent().unwrap()).unwrap();
    assert_eq!(own.permissions().mode() & 0o7777, 0o700);
}

#[test]
fn what_cannot_be_trusted_is_refused_with_what_to_do() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    let mode = |mode| std::fs::set_permissions(file(&home), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    for arguments in [&["secret", "show"][..], &["secret", "rotate"], &["secret", "new", "--add"]] {
        assert!(home.run(arguments).failed(1).contains("chmod 600"), "{arguments:?}");
    }
    mode(0o600);
    std::fs::write(file(&home), "open sesame\n").unwrap();
    let error = home.run(&["secret", "show"]);
    assert!(error.failed(1).contains("andiron secret new") && !error.err.contains("sesame"), "{error:?}");
    for bad in ["7", "d", "-1d", "1w", "99999999999999999999d"] {
        assert_eq!(home.run(&["secret", "rotate", "--keep", bad]).code, Some(2), "{bad}");
    }
}

#[test]
fn json_says_all_but_the_secret_unless_that_is_asked_for() {
    let home = Home::new();
    let path = file(&home);
    let made = json(home.run(&["secret", "new", "--json", "--name", "a", "--object", "x"]).printed());
    let expected = serde_json::json!({
        "path": path.to_str(), "name": "a", "until": null, "read_only_store": false, "authors": null, "objects": ["x"],
    });
    assert_eq!(made, expected);
    let shown = json(home.run(&["--json", "secret", "show"]).printed());
    assert_eq!(shown["secret"], home.run(&["secret", "show"]).printed().trim());
    let rotated = json(home.run(&["secret", "rotate", "--json"]).printed());
    assert_eq!(rotated, expected);
}

#[test]
fn programs_that_have_the_secret_of_the_file_are_let_in_and_others_are_not() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    for scheme in ["tcp", "tls"] {
        let (mut daemon, address) = serve(&home, scheme);
        home.run(&["--address", &address, "set", "x", "20"]).printed();
        let elsewhere = Home::new();
        elsewhere.run(&["secret", "new"]).printed();
        let refused = elsewhere.run(&["--address", &address, "get", "x"]);
        assert!(refused.failed(1).contains("secret"), "{refused:?}");
        daemon.wait_for("refused");
        assert_eq!(home.run(&["--address", &address, "get", "x"]).printed(), "20\n");
    }
}

#[test]
fn a_running_server_takes_the_new_secret_at_once_and_the_old_one_while_it_is_valid() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    let first = home.run(&["secret", "show"]).printed().to_owned();
    let (_daemon, address) = serve(&home, "tls");
    let open = connect(&address, &first).unwrap();

    home.run(&["secret", "rotate"]).printed();
    let second = home.run(&["secret", "show"]).printed().to_owned();
    for secret in [&first, &second] {
        assert_eq!(connect(&address, secret).unwrap().names().unwrap(), ["store"]);
    }
    home.run(&["secret", "rotate", "--keep", "0s"]).printed();
    let third = home.run(&["secret", "show"]).printed().to_owned();
    assert_eq!(connect(&address, &second).unwrap_err().kind(), ErrorKind::Authentication);
    connect(&address, &third).unwrap();
    connect(&address, &first).unwrap();
    assert_eq!(open.names().unwrap(), ["store"], "who is in stays in");
}

#[test]
fn a_server_whose_file_is_broken_says_so_to_its_operator_and_sends_clients_to_him() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    let secret = home.run(&["secret", "show"]).printed().to_owned();
    let (path, aside) = (file(&home), file(&home).with_file_name("aside"));
    for (scheme, broken) in [("tcp", true), ("tcp", false), ("tls", true), ("tls", false)] {
        let (mut daemon, address) = serve(&home, scheme);
        std::fs::rename(&path, &aside).unwrap();
        if broken {
            std::fs::write(&path, "open sesame\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let error = connect(&address, &secret).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("ask its operator"), "{error}");
        assert!(!error.message().contains(path.to_str().unwrap()), "not in words for him: {error}");
        let line = daemon.wait_for("refused");
        let own = address.split_once("://").unwrap().1;
        assert!(line.contains(&format!(": {scheme} 127.0.0.1:")) && !line.contains(own), "{line}");
        let reason = if broken { "line 1 of " } else { "there is no secret at " };
        assert!(line.contains(&format!("{reason}{}", path.display())), "{line}");
        assert!(line.contains("andiron secret new"), "what to do: {line}");
        std::fs::rename(&aside, &path).unwrap();
        connect(&address, &secret).unwrap();
    }
}

#[test]
fn a_secret_that_ran_out_is_told_as_such_at_both_ends() {
    let home = Home::new();
    home.run(&["secret", "new", "--name", "kodi"]).printed();
    let old = home.run(&["secret", "show"]).printed().to_owned();
    let (mut daemon, address) = serve(&home, "tls");
    home.run(&["secret", "rotate", "--keep", "0s"]).printed();
    let error = connect(&address, &old).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.message().contains("the secret named 'kodi' ran out on 2"), "{error}");
    assert!(daemon.wait_for("refused").contains("'kodi' ran out on 2"));
}

#[test]
fn a_server_gives_each_secret_the_rights_of_its_line() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    home.run(&["secret", "new", "--add", "--name", "guest", "--read-only", "--object", "store"]).printed();
    let (_daemon, address) = serve(&home, "tls");
    home.run(&["--address", &address, "set", "x", "20"]).printed();

    let guest = Home::new();
    let path = guest.folder.path().join("secret");
    std::fs::write(&path, home.run(&["secret", "show", "--name", "guest"]).out).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let run = |arguments: &[&str]| {
        guest.run(&[&["--address", &address, "--secret-file", path.to_str().unwrap()], arguments].concat())
    };
    assert_eq!(run(&["get", "x"]).printed(), "20\n");
    assert!(run(&["set", "x", "21"]).failed(1).contains("not to change it"));
    assert!(run(&["call", "player", "seek"]).failed(1).contains("no right to call 'player'"));
    assert_eq!(home.run(&["--address", &address, "get", "x"]).printed(), "20\n");
}

#[test]
fn doctor_tells_what_is_wrong_with_the_file() {
    let home = Home::new();
    home.run(&["secret", "new"]).printed();
    let (_daemon, address) = serve(&home, "tls");
    let other = Home::new();
    other.run(&["secret", "new"]).printed();
    let doctor = |problem: &str, mend: &str| {
        let told = other.run(&["doctor", "--address", &address]);
        let lines: Vec<&str> = told.text().lines().skip_while(|line| !line.starts_with("problem")).collect();
        assert!(lines.len() == 2 && lines[0].contains(problem) && lines[1].contains(mend), "{told:?}");
    };
    doctor("secret", "--secret-file");
    std::fs::set_permissions(file(&other), std::fs::Permissions::from_mode(0o644)).unwrap();
    doctor("is open to other users", "chmod 600");
    std::fs::set_permissions(file(&other), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(file(&other), home.run(&["secret", "show"]).out).unwrap();
    assert!(other.run(&["doctor", "--address", &address]).printed().contains("it answers"));
}
