use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

fn rights(read_only_store: bool, authors: Option<&[&str]>, objects: Option<&[&str]>) -> Rights {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Rights { read_only_store, authors: authors.map(set), objects: objects.map(set) }
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    write(&path, text);
    (folder, path)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_secret_is_read_back_from_its_text_and_differs_from_all_others() {
    let secret = Secret::new().unwrap();
    let text = secret.text();
    assert_eq!(text.len(), PREFIX.len() + 58);
    assert_eq!(text.parse::<Secret>().unwrap(), secret);
    assert_ne!(Secret::new().unwrap(), secret);
}

#[test]
fn its_form_is_the_one_that_was_promised() {
    // Computed apart: base32 (RFC 4648, lower case, unpadded) of the key and the first bytes of SHA-256("andiron1-", key).
    let secret: Secret =
        "andiron1-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypwks4oxe".parse().unwrap();
    assert_eq!(secret.key, std::array::from_fn(|index| index as u8));
}

#[test]
fn a_mistyped_secret_is_told_as_such_wherever_the_mistake_is() {
    let text = Secret::new().unwrap().text();
    for index in PREFIX.len()..text.len() {
        let mut other = text.clone().into_bytes();
        other[index] = if other[index] == b'a' { b'b' } else { b'a' };
        let error = String::from_utf8(other).unwrap().parse::<Secret>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.message().contains("mistyped") || error.message().contains("damaged"), "{error}");
    }
    for wrong in
        [&text[..text.len() - 1], &format!("{text}a"), &text.to_uppercase(), "andiron1-", "andiron1-é"]
    {
        wrong.parse::<Secret>().unwrap_err();
    }
}

#[test]
fn a_password_is_refused_with_what_to_do_instead() {
    for password in ["", "hunter2", "correct horse battery staple", "0123456789abcdef0123456789abcdef"] {
        let error = password.parse::<Secret>().unwrap_err();
        assert!(error.message().contains("andiron secret new"), "{error}");
    }
}

#[test]
fn a_secret_is_never_shown_but_where_it_is_asked_for() {
    let secret = Secret::new().unwrap().with_name(Some("kodi"));
    let text = secret.text();
    let (_folder, path) = written(&format!("{text}\n{text}\n{text}x\n"));
    let shown = format!(
        "{secret:?} {secret:#?} {:?} {:?} {:?}",
        secret.key(),
        SecretFile::load(&path).unwrap_err(),
        format!("{text}x").parse::<Secret>().unwrap_err(),
    );
    assert!(shown.contains("kodi") && !shown.contains(&text[PREFIX.len()..PREFIX.len() + 8]), "{shown}");
    let numbers = format!("{:?}", secret.key);
    assert!(!shown.contains(&numbers[1..12]), "{shown}");
}

#[test]
fn a_line_keeps_name_end_and_rights_whatever_is_in_the_names() {
    let odd = ["a b", "a,b", "100%", "", "é\u{2003}x\n\u{1b}", "#", "="];
    for rights in [
        rights(false, None, None),
        rights(true, Some(&["a", "b"]), Some(&["player", "store"])),
        rights(false, Some(&odd), Some(&[""])),
        rights(true, Some(&[]), None),
    ] {
        for name in odd {
            let secret = Secret::new().unwrap().with_name(Some(name)).with_end(Some(at(1_796_083_200)));
            let secret = secret.with_rights(rights.clone());
            let line = secret.line();
            assert!(line.contains(" until=2026-12-01T00:00:00Z"), "{line}");
            assert!(!line.contains(['\n', '\u{1b}', '\u{2003}']), "{line}");
            assert_eq!(line.parse::<Secret>().unwrap(), secret, "{line}");
        }
    }
}

#[test]
fn words_that_mean_nothing_are_refused_and_not_passed_over() {
    let text = Secret::new().unwrap().text();
    for words in [
        "kodi",
        "user=kodi",
        "store=none",
        "store=",
        "until=",
        "until=tomorrow",
        "until=2026-12-01T00:00:00",
        "until=1960-01-01T00:00:00Z",
        "authors=%",
        "authors=%4",
        "authors=%+1",
        "authors=%ff",
        "name=a name=b",
        "store=read-only store=read-only",
        "objects=a objects=b",
        "objects",
        "# comment",
    ] {
        let error = format!("{text} {words}").parse::<Secret>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{words}");
    }
    let read: Secret = format!("\t{text}  objects=a%2cb,c \t until=2026-12-01T01:00+01:00 ").parse().unwrap();
    assert_eq!(
        (read.end(), &**read.rights()),
        (Some(at(1_796_083_200)), &rights(false, None, Some(&["a,b", "c"])))
    );
}

#[test]
fn whatever_text_comes_is_read_or_refused() {
    let mut random = fastrand::Rng::with_seed(3);
    let text = Secret::new().unwrap().text();
    let parts = [
        &*text,
        " ",
        "name=",
        "until=",
        "2026-12-01",
        "T00:00:00",
        "Z",
        "store=read-only",
        "authors=",
        "objects=",
        "%",
        ",",
        "4",
        "é",
        "\n",
        "#",
        "andiron1-",
        "\u{0}",
        "9999-12-31T23:59:59-23:59",
    ];
    let mut read = 0;
    for _ in 0..20_000 {
        let mut line = if random.bool() { text.clone() } else { String::new() };
        for _ in 0..random.usize(..8) {
            match random.u8(..4) {
                0 => line.push(random.char(..)),
                _ => line += random.choice(parts).unwrap(),
            }
        }
        if let Ok(secret) = line.parse::<Secret>() {
            read += 1;
            assert_eq!(secret.line().parse::<Secret>().unwrap(), secret, "{line:?}");
        }
    }
    assert!(read > 1000, "{read}");
}

#[test]
fn a_client_proves_the_first_valid_secret_and_a_server_takes_all_valid_ones() {
    let [a, b, c] = std::array::from_fn(|_| Secret::new().unwrap());
    let (_folder, path) = written(&format!(
        "# those of the house\n\n{} until=1970-01-01T00:01:40Z\n  {} name=b\n{}\r\n",
        a.text(),
        b.text(),
        c.text()
    ));
    let file = SecretFile::load(&path).unwrap();
    let keys = |now| -> Vec<Key> { file.valid(now).map(Secret::key).collect() };
    assert_eq!(keys(at(99)), [a.key(), b.key(), c.key()]);
    assert_eq!(keys(at(100)), [b.key(), c.key()]);
    assert_eq!(file.first_valid(at(99)).unwrap().key(), a.key());
    assert_eq!(file.first_valid(at(100)).unwrap().name(), Some("b"));
    assert_eq!(file.secrets().count(), 3);
}

#[test]
fn a_file_without_a_valid_secret_says_so() {
    let (_folder, path) = written("# nothing\n");
    let error = SecretFile::load(&path).unwrap().first_valid(at(0)).unwrap_err();
    assert!(error.message().contains("has no secret in it"), "{error}");
    write(&path, &format!("{} until=1970-01-01T00:01:40Z", Secret::new().unwrap().text()));
    let error = SecretFile::load(&path).unwrap().first_valid(at(100)).unwrap_err();
    assert!(error.message().contains("has ended"), "{error}");
}

#[test]
fn a_file_that_others_can_read_is_refused_with_what_to_do() {
    let (_folder, path) = written(&Secret::new().unwrap().text());
    for mode in [0o640, 0o604, 0o620, 0o602, 0o601, 0o777] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = SecretFile::load(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().contains(&format!("chmod 600 {}", path.display())), "{error}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    SecretFile::load(&path).unwrap();
}

#[test]
fn a_line_that_is_no_secret_is_told_by_its_number() {
    let one = Secret::new().unwrap().text();
    let (_folder, path) = written(&format!("# one\n{one}\nhunter2\n"));
    let error = SecretFile::load(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.message().starts_with("line 3 of "), "{error}");
    assert!(!error.message().contains("hunter2"), "{error}");
    write(&path, &format!("{one}\n{one} store=read-only\n"));
    let error = SecretFile::load(&path).unwrap_err();
    assert!(error.message().starts_with("line 2 of ") && error.message().contains("twice"), "{error}");
}

#[test]
fn what_is_no_file_of_secrets_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = SecretFile::load(folder.path()).unwrap_err();
    assert!(error.message().contains("is no file"), "{error}");
    SecretFile::load("/dev/zero").unwrap_err();
    let error = SecretFile::load(folder.path().join("none")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoObject);
    assert!(error.message().contains("andiron secret new"), "{error}");
    let path = folder.path().join("long");
    write(&path, &"#".repeat(1 << 20));
    assert!(SecretFile::load(&path).unwrap_err().message().contains("at most"));
    std::fs::write(&path, b"# \xff\n").unwrap();
    assert!(SecretFile::load(&path).unwrap_err().message().contains("lines of text"));
}

#[test]
fn a_file_is_made_for_its_owner_alone_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("a/b/secret");
    let secret = Secret::new().unwrap().with_name(Some("kodi"));
    let error = SecretFile::create(&elsewhere, secret.clone()).unwrap_err();
    assert!(error.message().contains("there is no folder"), "{error}");
    assert!(!folder.path().join("a").exists(), "no folders of others are made");

    let path = folder.path().join("secret");
    let file = SecretFile::create(&path, secret.clone()).unwrap();
    assert_eq!(file.secrets().collect::<Vec<_>>(), [&secret]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

    let error = SecretFile::create(&path, Secret::new().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(!file.changed());
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn a_change_of_the_file_is_noticed() {
    let (_folder, path) = written(&Secret::new().unwrap().text());
    let file = SecretFile::load(&path).unwrap();
    assert!(!file.changed());
    let aside = path.with_extension("aside");
    write(&aside, &Secret::new().unwrap().text()); // of the same length
    std::fs::rename(&aside, &path).unwrap();
    assert!(file.changed());
    let file = SecretFile::load(&path).unwrap();
    assert!(!file.changed());
    std::fs::remove_file(&path).unwrap();
    assert!(file.changed());
}

#[test]
fn rotating_puts_a_new_secret_in_front_and_ends_the_old_one_later() {
    let old = Secret::new().unwrap().with_rights(rights(true, None, None));
    let other = Secret::new().unwrap().with_name(Some("kodi"));
    let ended = Secret::new().unwrap().with_end(Some(at(5)));
    let (_folder, path) =
        written(&format!("{}\n# the house\n{}\n{}\n", ended.line(), old.line(), other.line()));
    let mut file = SecretFile::load(&path).unwrap();
    file.rotate(None, at(10), at(20)).unwrap();
    file.save().unwrap();
    assert!(!file.changed());

    let mut file = SecretFile::load(&path).unwrap();
    let all: Vec<&Secret> = file.secrets().collect();
    assert_eq!(all.len(), 3, "the one that ended is gone");
    assert!(all[0].key() != old.key() && all[0].rights() == old.rights() && all[0].end().is_none());
    assert_eq!(*all[1], old.clone().with_end(Some(at(20))));
    assert_eq!(*all[2], other);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("# the house\n"));

    file.rotate(Some("kodi"), at(11), at(30)).unwrap();
    let names: Vec<_> = file.secrets().map(|secret| (secret.name(), secret.end())).collect();
    assert_eq!(
        names,
        [(None, None), (None, Some(at(20))), (Some("kodi"), None), (Some("kodi"), Some(at(30)))]
    );
    assert_eq!(file.rotate(Some("nobody"), at(11), at(30)).unwrap_err().kind(), ErrorKind::Authentication);
}

#[test]
fn a_secret_whose_end_is_near_is_not_given_more_time_by_rotating() {
    let (_folder, path) = written(&Secret::new().unwrap().with_end(Some(at(15))).line());
    let mut file = SecretFile::load(&path).unwrap();
    file.rotate(None, at(10), at(20)).unwrap();
    assert_eq!(file.secrets().map(Secret::end).collect::<Vec<_>>(), [None, Some(at(15))]);
}

#[test]
fn what_another_wrote_meanwhile_is_not_overwritten() {
    let (_folder, path) = written(&Secret::new().unwrap().text());
    let mut one = SecretFile::load(&path).unwrap();
    let mut two = one.clone();
    one.add(Secret::new().unwrap().with_name(Some("kodi")), at(0)).unwrap();
    one.save().unwrap();
    two.add(Secret::new().unwrap(), at(0)).unwrap();
    assert_eq!(two.save().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(SecretFile::load(&path).unwrap().secrets().count(), 2);
    assert_eq!(
        one.add(Secret::new().unwrap().with_name(Some("kodi")), at(0)).unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

#[test]
fn a_symbolic_link_stays_one_when_its_file_is_written() {
    let (folder, path) = written(&Secret::new().unwrap().text());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut file = SecretFile::load(&link).unwrap();
    file.rotate(None, at(0), at(10)).unwrap();
    file.save().unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(SecretFile::load(&path).unwrap().secrets().count(), 2);
}
