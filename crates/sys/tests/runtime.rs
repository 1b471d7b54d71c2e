//! Which runtime folder is chosen, and which are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use andiron_sys::runtime::{Name, Places, RuntimeDir, RuntimeDirError};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Places below `base` for this user, with nothing set.
fn places(base: &Path) -> Places {
    Places { xdg_runtime_dir: None, tmpdir: None, run_user: base.join("run"), uid: user() }
}

#[test]
fn names_follow_the_rule() {
    for good in ["a", "andiron", "A.b_c-9", "9", "_x", &"x".repeat(64)] {
        assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
    }
    for bad in ["", ".", "..", ".hidden", "-flag", "a/b", "a b", "a\0", "ä", "~", "a\n", &"x".repeat(65)] {
        let error = bad.parse::<Name>().unwrap_err().to_string();
        assert!(error.contains("1 to 64 of A-Z a-z 0-9 . _ -"), "{error}");
    }
}

#[test]
fn the_error_of_an_endless_name_is_short() {
    assert!("x".repeat(1 << 20).parse::<Name>().unwrap_err().to_string().len() < 300);
}

#[test]
fn xdg_runtime_dir_comes_first() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir_all(base.path().join("run").join(user().to_string())).unwrap();
    let chosen = Places { xdg_runtime_dir: Some(base.path().into()), ..places(base.path()) }.folder();
    assert_eq!(chosen, base.path().join("andiron"));
}

#[test]
fn an_unusable_xdg_runtime_dir_is_passed_over() {
    let base = tempfile::tempdir().unwrap();
    fs::write(base.path().join("file"), "").unwrap();
    let login = base.path().join("run").join(user().to_string());
    fs::create_dir_all(&login).unwrap();
    for unusable in ["", "relative/path", "file", "missing"] {
        let value = if unusable.is_empty() || unusable.contains('/') {
            unusable.into()
        } else {
            base.path().join(unusable).into_os_string()
        };
        let chosen = Places { xdg_runtime_dir: Some(value), ..places(base.path()) }.folder();
        assert_eq!(chosen, login.join("andiron"), "{unusable:?}");
    }
}

#[test]
fn anothers_xdg_runtime_dir_is_passed_over() {
    let base = tempfile::tempdir().unwrap();
    // Seen by a user who does not own the folder, as after `sudo` that kept the environment.
    let other = Places { xdg_runtime_dir: Some(base.path().into()), uid: user() + 1, ..places(base.path()) };
    assert_eq!(other.folder(), Path::new(&format!("/tmp/andiron-{}", user() + 1)));
}

#[test]
fn the_fallback_is_in_tmpdir_or_tmp() {
    let base = tempfile::tempdir().unwrap();
    let own = format!("andiron-{}", user());
    assert_eq!(places(base.path()).folder(), Path::new("/tmp").join(&own));
    let relative = Places { tmpdir: Some("relative".into()), ..places(base.path()) };
    assert_eq!(relative.folder(), Path::new("/tmp").join(&own));
    let set = Places { tmpdir: Some(base.path().into()), ..places(base.path()) };
    assert_eq!(set.folder(), base.path().join(&own));
}

#[test]
fn the_folder_is_made_for_this_user_only() {
    let base = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(base.path().join("andiron")).unwrap();
    assert!(!dir.exists().unwrap());
    dir.ensure().unwrap();
    dir.ensure().unwrap();
    assert!(dir.exists().unwrap());
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn a_folder_open_to_others_is_refused_with_the_remedy() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("andiron");
    fs::create_dir(&path).unwrap();
    for mode in [0o777, 0o1777, 0o750, 0o701, 0o704] {
        set_mode(&path, mode);
        let error = RuntimeDir::at(&path).unwrap_err();
        assert!(matches!(error, RuntimeDirError::OpenToOthers { .. }), "{error:?}");
        let remedy = format!("chmod 700 {}", path.display());
        assert!(error.to_string().contains(&remedy), "{error}");
    }
    set_mode(&path, 0o700);
    RuntimeDir::at(&path).unwrap();
}

#[test]
fn a_folder_that_becomes_open_is_noticed() {
    let base = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(base.path().join("andiron")).unwrap();
    dir.ensure().unwrap();
    set_mode(dir.path(), 0o777);
    assert!(matches!(dir.ensure(), Err(RuntimeDirError::OpenToOthers { mode: 0o777, .. })));
}

#[test]
fn a_symbolic_link_is_refused_wherever_it_leads() {
    let base = tempfile::tempdir().unwrap();
    let good = base.path().join("good");
    RuntimeDir::at(&good).unwrap().ensure().unwrap();
    for target in [good, base.path().join("missing")] {
        let link = base.path().join("andiron");
        symlink(target, &link).unwrap();
        let error = RuntimeDir::at(&link).unwrap_err();
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
        fs::remove_file(link).unwrap();
    }
}

#[test]
fn a_file_in_its_place_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("andiron");
    fs::write(&path, "").unwrap();
    assert!(matches!(RuntimeDir::at(&path), Err(RuntimeDirError::NotAFolder { found: "a file", .. })));
}

#[test]
fn anothers_folder_is_refused() {
    if user() == 0 {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("andiron");
        RuntimeDir::at(&path).unwrap().ensure().unwrap();
        chown(&path, Some(12345), None).unwrap();
        assert!(matches!(RuntimeDir::at(&path), Err(RuntimeDirError::ForeignOwner { owner: 12345, .. })));
    } else {
        assert!(matches!(RuntimeDir::at("/"), Err(RuntimeDirError::ForeignOwner { owner: 0, .. })));
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let base = tempfile::tempdir().unwrap();
    let dir = RuntimeDir::at(base.path().join("missing").join("andiron")).unwrap();
    let error = dir.ensure().unwrap_err().to_string();
    assert!(error.contains("cannot make") && error.contains("missing/andiron"), "{error}");
}
