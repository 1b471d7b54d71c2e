//! Claiming names: between processes, within one, after kills, wipes and forks.

#![allow(unsafe_code)] // To fork for real.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use andiron_sys::names::{Claim, ClaimError, Holder, lock_holder};
use andiron_sys::runtime::{Name, RuntimeDir, RuntimeDirError};
use andiron_sys::socket::{self, ConnectError};
use common::Talking;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// A runtime folder that is not there yet, and the temporary one that holds it.
fn folder() -> (tempfile::TempDir, RuntimeDir) {
    let base = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(base.path().join("andiron")).unwrap();
    (base, dir)
}

/// Whether a connection to `name` reaches `listener`.
fn reaches(dir: &RuntimeDir, name: &Name, listener: impl std::os::fd::AsFd) -> bool {
    let client = socket::connect(&dir.socket_path(name), None);
    client.is_ok() && socket::accept(listener).unwrap().is_some()
}

/// A child that claims the name `n` in the folder `dir` when it is told to, and holds it until the parent hangs up.
fn claimer(dir: &RuntimeDir) -> Command {
    common::command("claiming_child", dir.path().to_str().unwrap())
}

/// Starts a child that holds the name `n`.
fn holder(dir: &RuntimeDir) -> Talking {
    let mut child = Talking::start(claimer(dir));
    assert_eq!(child.listen(), "ready");
    child.tell("claim");
    assert_eq!(child.listen(), "won");
    child
}

/// No test by itself: what the children of the others do.
#[test]
fn claiming_child() {
    let Some(path) = common::role() else { return };
    let dir = RuntimeDir::at(path).unwrap();
    common::say("ready");
    common::hear();
    let claim = Claim::new(&dir, &name("n"));
    match &claim {
        Ok(_) => common::say("won"),
        Err(ClaimError::Taken { pid, .. }) => common::say(&format!("taken {}", pid.unwrap())),
        Err(error) => common::say(&error.to_string()),
    }
    common::hear();
}

#[test]
fn of_twenty_processes_at_once_exactly_one_gets_the_name() {
    let (_base, dir) = folder();
    let mut children: Vec<_> = (0..20).map(|_| Talking::start(claimer(&dir))).collect();
    children.iter_mut().for_each(|child| assert_eq!(child.listen(), "ready"));
    children.iter_mut().for_each(|child| child.tell("claim"));
    let said: Vec<_> = children.iter_mut().map(|child| (child.pid(), child.listen())).collect();
    let winners: Vec<_> = said.iter().filter(|(_, words)| words == "won").collect();
    assert_eq!(winners.len(), 1, "{said:?}");
    let winner = winners[0].0;
    for (pid, words) in &said {
        assert!(*pid == winner || *words == format!("taken {winner}"), "{said:?}");
    }
    assert_eq!(lock_holder(&dir, &name("n")).unwrap(), Holder::Process(winner));
    children.into_iter().for_each(Talking::finish);
    assert_eq!(lock_holder(&dir, &name("n")).unwrap(), Holder::Nobody);
}

#[test]
fn kill_frees_the_name_at_once_and_its_dead_socket_is_replaced() {
    let (_base, dir) = folder();
    let child = holder(&dir);
    let pid = child.pid();
    let error = Claim::new(&dir, &name("n")).unwrap_err();
    assert!(matches!(error, ClaimError::Taken { pid: Some(taken), .. } if taken == pid), "{error:?}");
    assert!(error.to_string().contains(&format!("taken by process {pid}")), "{error}");

    child.kill();
    let dead = socket::connect(&dir.socket_path(&name("n")), None);
    assert!(matches!(dead, Err(ConnectError::Refused(_))), "{dead:?}");
    assert_eq!(lock_holder(&dir, &name("n")).unwrap(), Holder::Nobody);
    let (claim, listener) = Claim::new(&dir, &name("n")).unwrap();
    assert!(claim.still_mine() && reaches(&dir, &name("n"), &listener));
}

#[test]
fn a_name_is_taken_within_one_process_too() {
    let (_base, dir) = folder();
    let (claim, listener) = Claim::new(&dir, &name("n")).unwrap();
    for _ in 0..3 {
        let error = Claim::new(&dir, &name("n")).unwrap_err();
        assert!(matches!(error, ClaimError::Taken { pid: Some(pid), .. } if pid == own_pid()), "{error:?}");
        assert_eq!(lock_holder(&dir, &name("n")).unwrap(), Holder::Process(own_pid()));
    }
    let (other, _) = Claim::new(&dir, &name("m")).unwrap();
    drop(other);

    // None of that gave the lock back: another process finds it held, and the socket works.
    let mut child = Talking::start(claimer(&dir));
    child.listen();
    child.tell("claim");
    assert_eq!(child.listen(), format!("taken {}", own_pid()));
    child.finish();
    assert!(claim.still_mine() && reaches(&dir, &name("n"), &listener));

    drop(claim);
    Claim::new(&dir, &name("n")).unwrap();
}

#[test]
fn asking_for_a_name_that_is_taken_leaves_no_descriptors_open() {
    common::in_own_process("asking_for_a_name_that_is_taken_leaves_no_descriptors_open", || {
        let (_base, dir) = folder();
        let _held = Claim::new(&dir, &name("own")).unwrap();
        let child = holder(&dir);
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..3 {
            for taken in ["own", "n"] {
                assert!(matches!(Claim::new(&dir, &name(taken)), Err(ClaimError::Taken { .. })));
                assert_ne!(lock_holder(&dir, &name(taken)).unwrap(), Holder::Nobody);
            }
        }
        assert_eq!(open(), before);
        child.finish();
    });
}

#[test]
fn the_same_folder_by_another_path_is_the_same_name() {
    let (base, dir) = folder();
    let (_claim, _listener) = Claim::new(&dir, &name("n")).unwrap();
    std::os::unix::fs::symlink(base.path(), base.path().join("link")).unwrap();
    let other = RuntimeDir::at(base.path().join("link").join("andiron")).unwrap();
    assert!(matches!(Claim::new(&other, &name("n")), Err(ClaimError::Taken { .. })));
    assert_eq!(lock_holder(&other, &name("n")).unwrap(), Holder::Process(own_pid()));
    holds_against_others(&dir);
}

/// Checks by another process that this one still holds the name `n`.
fn holds_against_others(dir: &RuntimeDir) {
    let mut child = Talking::start(claimer(dir));
    child.listen();
    child.tell("claim");
    assert_eq!(child.listen(), format!("taken {}", own_pid()));
    child.finish();
}

#[test]
fn the_end_of_a_claim_leaves_no_socket() {
    let (_base, dir) = folder();
    let (claim, _listener) = Claim::new(&dir, &name("n")).unwrap();
    assert_eq!(claim.socket_path(), dir.socket_path(&name("n")));
    let mode = fs::symlink_metadata(claim.socket_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    drop(claim);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["n.lock"]);
    let gone = socket::connect(&dir.socket_path(&name("n")), None);
    assert!(matches!(gone, Err(ConnectError::NotFound(_))));
}

#[test]
fn leftovers_of_a_crash_are_replaced() {
    let (_base, dir) = folder();
    dir.ensure().unwrap();
    drop(socket::listen(&dir.path().join(".n")).unwrap());
    fs::write(dir.socket_path(&name("n")), "no socket").unwrap();
    let (_claim, listener) = Claim::new(&dir, &name("n")).unwrap();
    assert!(reaches(&dir, &name("n"), &listener));
    assert!(!dir.path().join(".n").exists());
}

#[test]
fn a_wiped_folder_is_noticed_and_renewed() {
    let (_base, dir) = folder();
    let (mut claim, _old) = Claim::new(&dir, &name("n")).unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(!claim.still_mine());
    let listener = claim.renew().unwrap();
    assert!(claim.still_mine() && reaches(&dir, &name("n"), &listener));
    holds_against_others(&dir);
}

#[test]
fn a_lost_socket_is_renewed_without_giving_the_lock_up() {
    let (_base, dir) = folder();
    let (mut claim, _old) = Claim::new(&dir, &name("n")).unwrap();
    let lock = fs::canonicalize(dir.lock_path(&name("n"))).unwrap();
    for _ in 0..2 {
        fs::remove_file(dir.socket_path(&name("n"))).unwrap();
        assert!(!claim.still_mine());
        let listener = claim.renew().unwrap();
        assert!(claim.still_mine() && reaches(&dir, &name("n"), &listener));
        assert!(lock.exists());
        holds_against_others(&dir);
    }
}

#[test]
fn a_lost_lock_file_alone_is_noticed_and_renewed() {
    let (_base, dir) = folder();
    let (mut claim, _old) = Claim::new(&dir, &name("n")).unwrap();
    fs::remove_file(dir.lock_path(&name("n"))).unwrap();
    assert!(!claim.still_mine());
    let _listener = claim.renew().unwrap();
    assert!(claim.still_mine());
    holds_against_others(&dir);
}

#[test]
fn who_claims_after_a_wipe_has_the_name() {
    let (_base, dir) = folder();
    let (mut claim, _old) = Claim::new(&dir, &name("n")).unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    let child = holder(&dir);
    assert!(!claim.still_mine());
    let error = claim.renew().unwrap_err();
    assert!(matches!(error, ClaimError::Taken { pid: Some(pid), .. } if pid == child.pid()), "{error:?}");
    assert_eq!(lock_holder(&dir, &name("n")).unwrap(), Holder::Process(child.pid()));
    // The end of the old claim does not touch the new socket.
    drop(claim);
    socket::connect(&dir.socket_path(&name("n")), None).unwrap();
    child.finish();
}

#[test]
fn a_forked_child_neither_holds_nor_harms_its_parents_name() {
    common::in_own_process("a_forked_child_neither_holds_nor_harms_its_parents_name", || {
        let (_base, dir) = folder();
        let (mut claim, listener) = Claim::new(&dir, &name("n")).unwrap();
        let (answer, other_end) = std::io::pipe().unwrap();
        // SAFETY: the child runs only the lines below and leaves by _exit; no other thread holds a lock here.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let inherited = !claim.still_mine() && matches!(claim.renew(), Err(ClaimError::Inherited(_)));
            let taken = matches!(Claim::new(&dir, &name("n")), Err(ClaimError::Taken { pid: Some(pid), .. })
                if pid != own_pid());
            drop(claim);
            let verdict = [u8::from(inherited), u8::from(taken)];
            let _ = std::io::Write::write_all(&mut &other_end, &verdict);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        drop(other_end);
        let mut verdict = Vec::new();
        std::io::Read::read_to_end(&mut &answer, &mut verdict).unwrap();
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
        assert_eq!(verdict, [1, 1], "noticed that it is inherited; found it taken by the parent");
        assert!(claim.still_mine() && reaches(&dir, &name("n"), &listener));
    });
}

#[test]
fn a_path_too_long_is_refused_before_anything_is_made() {
    let base = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(base.path().join("x".repeat(90))).unwrap();
    let error = Claim::new(&dir, &name("some-name")).unwrap_err();
    assert!(matches!(error, ClaimError::PathTooLong(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("some-name.sock") && text.contains("107 is the limit"), "{text}");
    assert!(text.contains("shorter name") && text.contains("XDG_RUNTIME_DIR"), "{text}");
    assert!(!dir.path().exists());
}

#[test]
fn the_longest_path_works_and_one_byte_more_does_not() {
    let base = tempfile::tempdir().unwrap();
    let rest = base.path().as_os_str().len() + "//nnnnnnnn.sock".len();
    let padding = socket::MAX_PATH.checked_sub(rest).expect("the temporary folder leaves room to try");
    let dir = RuntimeDir::at(base.path().join("d".repeat(padding))).unwrap();
    let longest = name("nnnnnnnn");
    assert_eq!(dir.socket_path(&longest).as_os_str().len(), 107);
    let (_claim, listener) = Claim::new(&dir, &longest).unwrap();
    assert!(reaches(&dir, &longest, &listener));
    let longer = Claim::new(&dir, &name("nnnnnnnnn"));
    assert!(matches!(longer, Err(ClaimError::PathTooLong(_))), "{longer:?}");
}

#[test]
fn a_folder_open_to_others_is_refused() {
    let (_base, dir) = folder();
    fs::create_dir(dir.path()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = Claim::new(&dir, &name("n")).unwrap_err();
    assert!(matches!(error, ClaimError::Folder(RuntimeDirError::OpenToOthers { .. })), "{error:?}");
}

#[test]
fn a_read_only_folder_is_a_clear_error() {
    let base = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(base.path().join("andiron")).unwrap();
    dir.ensure().unwrap();
    let mut command = claimer(&dir);
    if rustix::process::geteuid().is_root() {
        // Root may write anywhere, so the child is another user, and the folder its.
        const NOBODY: u32 = 65534;
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o711)).unwrap();
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let mut child = Talking::start(command);
    child.listen();
    child.tell("claim");
    let said = child.listen();
    child.finish();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(said.contains("cannot open") && said.contains("n.lock: Permission denied"), "{said}");
    assert!(said.contains("make the folder writable"), "{said}");
}

#[test]
fn a_link_in_place_of_the_lock_is_not_followed() {
    let (base, dir) = folder();
    dir.ensure().unwrap();
    let elsewhere = base.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, dir.lock_path(&name("n"))).unwrap();
    let error = Claim::new(&dir, &name("n")).unwrap_err();
    assert!(matches!(error, ClaimError::Os { .. }), "{error:?}");
    assert!(!Path::new(&elsewhere).exists());
}
