//! The command line itself: its help, its errors, its exit codes, and readers that leave early.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::Home;

#[test]
fn a_command_line_that_cannot_be_understood_is_an_error_of_its_own() {
    let home = Home::new();
    for arguments in [
        &["nonsense"][..],
        &["get"],
        &["set", "x"],
        &["get", "x", "y"],
        &["ls", "--jason"],
        &["call", "player"],
        &["call", "player", "seek", "--timeout", "soon"],
        &["call", "player", "seek", "--timeout", "-1"],
        &["call", "player", "seek", "--timeout", "0"],
        &["serve", "andiron"],
        &["get", "x", "--raw", "--json"],
        &["secret", "new", "x"],
        &["completions"],
        &["completions", "teletype"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?} {ran:?}");
        assert!(ran.out.is_empty() && ran.err.starts_with("error: "), "{arguments:?} {ran:?}");
    }
    for arguments in [
        &["--address", "a b", "get", "x"][..],
        &["--address", "unix:", "get", "x"],
        &["serve", "--name", "../x"],
        &["call", "a b/x", "y"],
        &["call", "tls://127.0.0.1:19443", "stats"],
        &["describe", "tls://127.0.0.1:19443"],
        &["call", "x", "y", "{\"$bytes\": 1}"],
        &["set", "x", "{\"$uuid\": \"none\"}"],
    ] {
        home.run(arguments).failed(2);
    }
    let nothing = home.run(&[]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("Usage: andiron"));
}

#[test]
fn help_and_version_are_printed_and_tell_the_exit_codes() {
    let home = Home::new();
    let help = home.run(&["--help"]);
    for part in ["serve", "doctor", "ANDIRON_ADDRESS", "3  not found"] {
        assert!(help.printed().contains(part), "{part}");
    }
    assert_eq!(home.run(&["--version"]).printed(), format!("andiron {}\n", env!("CARGO_PKG_VERSION")));
    assert!(home.run(&["set", "--help"]).printed().contains("standard input"));
    for command in ["set", "get", "call"] {
        let help = home.run(&[command, "--help"]);
        for part in ["{\"$bytes\": ", "{\"$int\": ", "{\"$tuple\": ", "{\"$map\": ", "'\"5\"'"] {
            assert!(help.printed().contains(part), "{command} {part}");
        }
    }
}

#[test]
fn help_tells_of_the_options_that_mean_something_and_errors_of_those_that_lack() {
    let home = Home::new();
    let network = ["--address", "--authority", "--certificate", "--key", "--plain-tcp"];
    let tells = |command: &[&str], told: &[&str], untold: &[&str]| {
        let help = home.run(&[command, &["--help"]].concat());
        for option in told {
            assert!(help.printed().contains(&format!(" {option}")), "{command:?} {option} {help:?}");
        }
        for option in untold {
            assert!(!help.printed().contains(&format!(" {option}")), "{command:?} {option} {help:?}");
        }
    };
    tells(&["get"], &[&network[..], &["--json", "--secret-file"]].concat(), &[]);
    tells(&["serve"], &[&network[..], &["--secret-file"]].concat(), &["--json"]);
    for command in [&["secret"][..], &["secret", "new"], &["secret", "rotate"]] {
        tells(command, &["--secret-file", "--json"], &network);
    }
    tells(&["completions"], &["--help"], &[&network[..], &["--json", "--secret-file"]].concat());

    let ran = home.andiron(&["get"]).env("ANDIRON_ADDRESS", "x").output().unwrap();
    let error = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.code() == Some(2) && error.contains("Usage: andiron get <NAME>"), "{error}");
    let ran = home.andiron(&["get", "x"]).env("ANDIRON_ADDRESS", "other").output().unwrap();
    let error = String::from_utf8(ran.stderr).unwrap();
    assert!(error.contains("no server at 'other'"), "{error}");
    let serve = home.run(&["serve", "--listen", "tls://0.0.0.0:0"]);
    assert!(serve.failed(1).contains("`--secret-file`"), "{serve:?}");
    let error = home.run(&["get", "x", "--address", "unix:/etc/passwd"]);
    assert!(
        error.failed(1).contains("/etc/passwd is no socket") && !error.err.contains("andiron serve"),
        "{error:?}"
    );
    home.run(&["set", "x", "1e400"]).failed(2);
}

#[test]
fn a_reader_that_leaves_early_ends_the_program_quietly() {
    let home = Home::new();
    let _daemon = home.serve();
    let store = home.hub().store();
    for number in 0..5000 {
        store.set(&format!("{number:0>100}"), &number).unwrap();
    }
    store.set_bytes("zz", vec![0; 1 << 20], 3).unwrap();
    for arguments in [&["ls"][..], &["ls", "--json"], &["get", "zz"], &["get", "zz", "--raw"]] {
        let mut command = home.andiron(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Any part of the first line, and then no more.
        let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
        assert!(!out.fill_buf().unwrap().is_empty());
        drop(out);
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    let _daemon = home.serve();
    home.run(&["set", "x", "20"]).printed();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = home.andiron(&["get", "x"]).stdout(full).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let error = String::from_utf8(ran.stderr).unwrap();
    assert!(error.starts_with("andiron: cannot write the output: "), "{error}");
}

#[test]
fn text_of_others_cannot_steer_the_terminal() {
    let home = Home::new();
    let _daemon = home.serve();
    home.run(&["set", "a\u{1b}[2J", "b\u{1b}[2J"]).printed();
    assert!(!home.run(&["ls"]).printed().contains('\u{1b}'));
    assert!(!home.run(&["get", "a\u{1b}[2J"]).printed().contains('\u{1b}'));
    assert!(!home.run(&["get", "\u{1b}"]).failed(3).contains('\u{1b}'));
    assert!(!home.run(&["call", "\u{1b}", "x"]).failed(3).contains('\u{1b}'));
}

#[test]
fn shells_complete_commands_and_options() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).printed().to_owned();
        for word in ["doctor", "secret", "rotate", "read-only", "timeout"] {
            assert!(script.contains(word), "{shell} {word}");
        }
    }
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", r#"source "$1"; COMP_WORDS=(andiron secret ro); COMP_CWORD=2; _andiron andiron ro secret; echo "${COMPREPLY[*]}""#, "-"]);
    let script = home.folder.path().join("script");
    std::fs::write(&script, home.run(&["completions", "bash"]).out).unwrap();
    let completed = bash.arg(script).output().unwrap();
    assert_eq!((&*completed.stdout, &*completed.stderr), (&b"rotate\n"[..], &b""[..]));
}

#[test]
fn every_command_that_prints_something_prints_json_where_asked_to() {
    let home = Home::new();
    let _daemon = home.serve();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let ran = home.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(ran.printed()).unwrap()
    };
    let set = json(&["set", "x", "[1, {\"a\": null}]", "--author", "me"]);
    assert_eq!((&set["author"], &set["name"]), (&"me".into(), &"x".into()));
    let got = json(&["get", "x", "--author", "me"]);
    let keys: Vec<&str> = got.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["author", "name", "version", "timestamp", "codec", "value"]);
    assert_eq!((&got["version"], &got["codec"]), (&set["version"], &1.into()));
    assert_eq!(got["value"], serde_json::json!([1, { "a": null }]));
    assert_eq!(json(&["ls"])[0]["version"], set["version"]);
    assert_eq!(json(&["del", "x", "--author", "me"]), got);
    assert_eq!(json(&["ls"]), serde_json::json!([]));

    home.hub().store().set_bytes("private", b"\xc1", 200).unwrap();
    let private = json(&["get", "private"]);
    assert_eq!(
        (&private["codec"], &private["value"]),
        (&200.into(), &serde_json::json!({ "$bytes": "wQ==" }))
    );

    let described = json(&["describe", "store"]);
    assert_eq!((&described["name"], &described["methods"][0]["name"]), (&"Store".into(), &"set".into()));
    assert_eq!(json(&["describe"]), serde_json::json!([{ "object": "store", "interface": described }]));
    assert_eq!(json(&["call", "store", "clear"]), serde_json::json!(1));
    home.run(&["get", "x", "--json"]).failed(3);
}

#[test]
fn what_doctor_finds_is_json_where_asked_for() {
    let home = Home::new();
    let _daemon = home.serve();
    let findings = |arguments: &[&str], code: i32| -> Vec<serde_json::Value> {
        let ran = home.run(&[&["doctor", "--json"], arguments].concat());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        serde_json::from_str(ran.text()).unwrap()
    };
    let well = findings(&[], 0);
    assert!(!well.is_empty() && well.iter().all(|finding| finding["ok"] == true), "{well:?}");
    let sick = findings(&["--address", "nobody"], 1);
    let problems: Vec<_> = sick.iter().filter(|finding| finding["ok"] == false).collect();
    assert!(!problems.is_empty() && problems.iter().all(|problem| problem["mend"].is_string()), "{sick:?}");
}
