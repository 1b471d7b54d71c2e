//! `andiron doctor` in each situation: what it finds, what it advises, and that the advice helps.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use common::{Home, Process, Ran};

fn make(folder: &Path, mode: u32) {
    fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

/// The doctor found nothing wrong.
#[track_caller]
fn is_well(ran: &Ran) -> &str {
    let text = ran.printed();
    assert!(text.lines().all(|line| line.starts_with("ok       ")), "{text}");
    text
}

/// The doctor found one thing wrong: what it says of it, and what to do.
#[track_caller]
fn finding(ran: &Ran) -> (&str, &str) {
    assert_eq!((ran.code, &*ran.err), (Some(1), ""), "{ran:?}");
    let text = ran.text();
    let mut found = text.lines().filter_map(|line| line.strip_prefix("problem  "));
    let what = found.next().unwrap();
    assert_eq!(found.next(), None, "{text}");
    let mend = text.lines().find_map(|line| line.strip_prefix("         mend: ")).unwrap();
    assert!(text.lines().all(|line| {
        ["ok       ", "problem  ", "         mend: "].iter().any(|start| line.starts_with(start))
    }));
    (what, mend)
}

#[test]
fn all_is_well_where_a_daemon_runs() {
    let home = Home::new();
    let daemon = home.serve();
    let ran = home.run(&["doctor"]);
    let text = is_well(&ran);
    assert!(text.contains(&format!("process {} listens there", daemon.id())), "{text}");
    assert!(text.contains("it answers: 1 object"), "{text}");
    let by_path = home.run(&["doctor", "--address", &home.address("andiron")]);
    is_well(&by_path);
}

#[test]
fn no_folder_and_no_daemon_are_mended_by_starting_one() {
    let home = Home::new();
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(what.starts_with("there is no runtime folder "), "{what}");
    assert_eq!(mend, "start one with `andiron serve`");
    assert!(!home.runtime().exists(), "the doctor only looks");

    make(&home.runtime(), 0o700);
    let ran = home.run(&["--address", "kodi", "doctor"]);
    assert_eq!(finding(&ran), ("no server at 'kodi'", "start one with `andiron serve --name kodi`"));
    let _daemon = home.serve_with(&["--name", "kodi"]);
    is_well(&home.run(&["--address", "kodi", "doctor"]));
}

#[test]
fn a_folder_with_wrong_permissions_is_mended_by_chmod() {
    let home = Home::new();
    for mode in [0o755, 0o500] {
        let _ = fs::remove_dir(home.runtime());
        make(&home.runtime(), mode);
        let ran = home.run(&["doctor"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let advice = format!("chmod 700 {}", home.runtime().display());
        assert!(ran.text().contains(&advice), "{ran:?}");
        let mended = Command::new("sh").args(["-c", &advice]).status().unwrap();
        assert!(mended.success());
        let ran = home.run(&["doctor"]);
        assert_eq!(finding(&ran).0, "no server at 'andiron'");
    }
}

#[test]
fn what_is_no_folder_or_of_another_user_is_told() {
    let home = Home::new();
    fs::write(home.runtime(), "").unwrap();
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(what.ends_with("must be a folder of its own but is a file") && mend == "remove it", "{ran:?}");

    fs::remove_file(home.runtime()).unwrap();
    make(&home.runtime(), 0o700);
    if std::os::unix::fs::chown(home.runtime(), Some(65534), None).is_ok() {
        let ran = home.run(&["doctor"]);
        let (what, mend) = finding(&ran);
        assert!(what.contains("belongs to the user with id 65534"), "{ran:?}");
        assert!(mend.contains("set XDG_RUNTIME_DIR to a folder of your own"), "{ran:?}");
    } // else: only root can give things away
}

#[test]
fn a_runtime_folder_of_the_environment_that_is_ignored_is_told() {
    let home = Home::new();
    let mut command = home.andiron(&["doctor"]);
    command.env("XDG_RUNTIME_DIR", home.folder.path().join("missing")).env("TMPDIR", home.folder.path());
    let ran = command.output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(text.starts_with("problem  XDG_RUNTIME_DIR is "), "{text}");
    assert!(text.contains("which is no folder of this user, so it is ignored"), "{text}");
}

#[test]
fn names_that_can_be_none_and_paths_that_are_too_long_are_told() {
    let home = Home::new();
    let ran = home.run(&["doctor", "--address", &"n".repeat(65)]);
    let (what, mend) = finding(&ran);
    assert!(what.contains("is no server name") && mend.contains("--address"), "{ran:?}");

    let path = format!("unix:{}/{}", home.folder.path().display(), "d".repeat(100));
    let ran = home.run(&["doctor", "--address", &path]);
    let (what, mend) = finding(&ran);
    assert!(what.contains("is longer than the 107 bytes") && mend.contains("shorter"), "{ran:?}");
}

#[test]
fn a_dead_socket_is_told_from_a_live_one_and_replaced_by_the_next_daemon() {
    let home = Home::new();
    let mut daemon = home.serve();
    daemon.kill();
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(what.starts_with("a dead socket was left behind at "), "{ran:?}");
    assert!(mend.starts_with("start a server with `andiron serve`"), "{ran:?}");
    let _next = home.serve();
    is_well(&home.run(&["doctor"]));

    let path = home.folder.path().join("own");
    drop(UnixListener::bind(&path).unwrap());
    let ran = home.run(&["doctor", "--address", &format!("unix:{}", path.display())]);
    let (what, mend) = finding(&ran);
    assert!(what.starts_with("a dead socket") && mend.starts_with("remove it"), "{ran:?}");
}

#[test]
fn what_is_no_socket_is_told() {
    let home = Home::new();
    make(&home.runtime(), 0o700);
    fs::write(home.socket("andiron"), "").unwrap();
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(
        what.ends_with("is there, but is no socket") && mend.starts_with("choose another address"),
        "{ran:?}"
    );
}

#[test]
fn a_daemon_that_is_stopped_is_told_by_its_process() {
    let home = Home::new();
    let daemon = home.serve();
    daemon.signal("STOP");
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(what.starts_with("it does not answer the handshake"), "{ran:?}");
    assert!(mend.contains("kill -CONT"), "{ran:?}");
    daemon.signal("CONT");
    is_well(&home.run(&["doctor"]));
}

/// Answers the next connection with these bytes, once it has read as many.
fn answer_with(listener: UnixListener, bytes: &'static [u8]) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for _ in 0..2 {
            // The first connection only sees whether somebody listens.
            let (mut stream, _) = listener.accept().unwrap();
            if stream.read_exact(&mut [0; 12]).is_ok() {
                stream.write_all(bytes).unwrap();
            }
        }
    })
}

#[test]
fn a_server_of_another_version_is_told_with_both_versions() {
    let home = Home::new();
    make(&home.runtime(), 0o700);
    let listener = UnixListener::bind(home.socket("andiron")).unwrap();
    let server = answer_with(listener, b"\xadIRON\r\n\x1a\x00\x07\x00\x09");
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(what.contains("the other end speaks 7 to 9, this program 1 to 1"), "{ran:?}");
    assert_eq!(mend, "update the older of the two programs");
    server.join().unwrap();
}

#[test]
fn something_else_that_listens_is_told() {
    let home = Home::new();
    make(&home.runtime(), 0o700);
    let listener = UnixListener::bind(home.socket("andiron")).unwrap();
    let server = answer_with(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(what.contains("this is not an Andiron stream"), "{ran:?}");
    assert!(mend.contains("is an Andiron server"), "{ran:?}");
    server.join().unwrap();
}

#[test]
fn few_descriptors_are_told() {
    let home = Home::new();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n 64; exec '{}' serve", env!("CARGO_BIN_EXE_andiron"))]);
    home.settle(&mut command);
    let mut daemon = Process::start(command);
    daemon.wait_for("listening at ");
    let ran = home.run(&["doctor"]);
    let (what, mend) = finding(&ran);
    assert!(what.starts_with("the server may open only 64 descriptors"), "{ran:?}");
    assert!(mend.contains("ulimit"), "{ran:?}");
}
