//! The file that secrets stand in: one a line, readable by its owner alone.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Secret;
use crate::{Error, ErrorKind, Result};

/// The longest file, in bytes.
const LONGEST: u64 = 1 << 18;

/// The file that holds secrets, one a line. A client proves to have the first that is valid, a server takes all of them.
///
/// Behind a secret may stand, with spaces between: `name=kodi`, which a server tells in its log; `until=2026-12-01T00:00:00Z`, from when on it is
/// of no use; and at a server what its holder may do: `store=read-only`, `authors=a,b`, `objects=player,store`. Spaces, commas and `%` in names
/// are percent-encoded. Lines that begin with `#` and empty ones say nothing.
///
/// The file belongs to this user or root, and nobody else may read it, else it is refused.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("secret");
/// use andiron::{Secret, SecretFile};
/// SecretFile::create(&path, Secret::new()?)?;
/// let file = SecretFile::load(&path)?;
/// assert_eq!(file.valid(std::time::SystemTime::now()).count(), 1);
/// # Ok::<(), andiron::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SecretFile {
    path: PathBuf,
    lines: Vec<Line>,
    stamp: Stamp,
}

#[derive(Clone, Debug)]
enum Line {
    Secret(Secret),
    /// A comment, or nothing.
    Other(String),
}

/// What is different when a file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &fs::Metadata) -> Stamp {
        Stamp {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl SecretFile {
    /// Where the file of this user is: what `ANDIRON_SECRET_FILE` says, else `andiron/secret` in `XDG_CONFIG_HOME`, else in `~/.config`.
    ///
    /// # Errors
    /// `Authentication` where none of these variables nor `HOME` says so.
    pub fn default_path() -> Result<PathBuf> {
        if let Some(path) = path_in("ANDIRON_SECRET_FILE") {
            return Ok(path);
        }
        own_folder().map(|folder| folder.join("secret")).ok_or_else(|| {
            let text = "neither XDG_CONFIG_HOME nor HOME says where this user's secret is: set ANDIRON_SECRET_FILE to its path";
            Error::new(ErrorKind::Authentication, text)
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `NoObject` where there is none; `Denied` where others may read it or it belongs to another user; `Authentication` where something in it is no
    /// secret; `Unavailable` where it cannot be read.
    pub fn load(path: impl Into<PathBuf>) -> Result<SecretFile> {
        let path = path.into();
        let (text, stamp) = read(&path)?;
        let mut lines: Vec<Line> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let bare = line.trim_ascii();
            if bare.is_empty() || bare.starts_with('#') {
                lines.push(Line::Other(line.to_owned()));
                continue;
            }
            let at = |what: &str| {
                let text = format!("line {} of {}: {what}", number + 1, path.display());
                Error::new(ErrorKind::Authentication, text)
            };
            let secret: Secret = bare.parse().map_err(|error: Error| at(error.message()))?;
            if lines.iter().any(|other| matches!(other, Line::Secret(other) if other.key == secret.key)) {
                return Err(at(
                    "the same secret stands there twice, so nobody can tell what its holder may do",
                ));
            }
            lines.push(Line::Secret(secret));
        }
        Ok(SecretFile { path, lines, stamp })
    }

    /// Makes the file with one secret in it, and Andiron's own folder in `XDG_CONFIG_HOME` or `~/.config` where it is to be in that; no other folder.
    ///
    /// # Errors
    /// `Conflict` where something is there, which is never overwritten; `Unavailable` where it cannot be made.
    pub fn create(path: impl Into<PathBuf>, secret: Secret) -> Result<SecretFile> {
        let path = path.into();
        let failed = |error| failed("make", &path, error);
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) if own_folder().is_some_and(|own| own == folder) => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
            }
            Some(folder) if !folder.exists() => {
                let text = format!(
                    "there is no folder {} to put a secret into: see whether it is the one that is meant, and make it",
                    folder.display()
                );
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
            _ => {}
        }
        let lines = vec![Line::Secret(secret)];
        let temporary = Temporary::write(&path, &lines).map_err(failed)?;
        // A second name for it, which unlike renaming replaces nothing.
        match fs::hard_link(&temporary.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = format!(
                    "{} is there already and is not overwritten: `andiron secret rotate` puts a new secret in front, \
                     `andiron secret new --add` one more behind",
                    path.display()
                );
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            made => made.map_err(failed)?,
        }
        drop(temporary);
        sync_folder(&path).map_err(failed)?;
        SecretFile::load(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True where it was written, replaced or removed since it was loaded.
    pub fn changed(&self) -> bool {
        fs::metadata(&self.path).map_or(true, |found| Stamp::of(&found) != self.stamp)
    }

    /// All secrets in it, in their order, those that ended too.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.lines.iter().filter_map(|line| match line {
            Line::Secret(secret) => Some(secret),
            Line::Other(_) => None,
        })
    }

    /// Those that are valid now: a server takes all of them.
    pub fn valid(&self, now: SystemTime) -> impl Iterator<Item = &Secret> {
        self.secrets().filter(move |secret| secret.is_valid(now))
    }

    /// The one that a client proves to have: the first valid one.
    ///
    /// # Errors
    /// `Authentication` where there is none.
    pub fn first_valid(&self, now: SystemTime) -> Result<&Secret> {
        self.valid(now).next().ok_or_else(|| {
            let path = self.path.display();
            let text = if self.secrets().next().is_none() {
                format!("{path} has no secret in it: copy the server's line there, or make one with `andiron secret new --add`")
            } else {
                format!("every secret in {path} has ended: copy the line there that the server has now")
            };
            Error::new(ErrorKind::Authentication, text)
        })
    }

    /// Puts one more behind the others. The file itself changes with [`save`](SecretFile::save).
    ///
    /// # Errors
    /// `Conflict` where another that is valid has its name.
    pub fn add(&mut self, secret: Secret, now: SystemTime) -> Result<()> {
        if secret.name().is_some() && self.valid(now).any(|other| other.name() == secret.name()) {
            let name = secret.name().unwrap_or_default();
            let text =
                format!("{} has a secret named '{name}' already; choose another name", self.path.display());
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        self.lines.push(Line::Secret(secret));
        Ok(())
    }

    /// Puts a new secret before the first valid one, or before the one that has this name, with its name and rights; the old one stays valid until
    /// `until`, or its own end if that is sooner, and is returned so. Those that ended are dropped. The file itself changes with [`save`](SecretFile::save).
    ///
    /// # Errors
    /// `Authentication` where there is no such secret; `Unavailable` where the system gives no random bytes.
    pub fn rotate(&mut self, name: Option<&str>, now: SystemTime, until: SystemTime) -> Result<Secret> {
        self.lines.retain(|line| !matches!(line, Line::Secret(secret) if !secret.is_valid(now)));
        let old = self.lines.iter_mut().enumerate().find_map(|(index, line)| match line {
            Line::Secret(secret) if name.is_none() || secret.name() == name => Some((index, secret)),
            _ => None,
        });
        let Some((index, old)) = old else {
            let Some(name) = name else { return self.first_valid(now).cloned() };
            let text = format!("{} has no valid secret named '{name}'", self.path.display());
            return Err(Error::new(ErrorKind::Authentication, text));
        };
        let new = Secret { key: Secret::new()?.key, until: None, ..old.clone() };
        let until = old.until.map_or(until, |before| before.min(until));
        *old = old.clone().with_end(Some(until));
        let old = old.clone();
        self.lines.insert(index, Line::Secret(new));
        Ok(old)
    }

    /// Writes it: at no time is a part of it there, and what others wrote meanwhile is not overwritten.
    ///
    /// # Errors
    /// `Conflict` where it changed since it was loaded; `Unavailable` where it cannot be written.
    pub fn save(&mut self) -> Result<()> {
        // Behind a symbolic link lies the file that is meant.
        let path = fs::canonicalize(&self.path).map_err(|error| failed("find", &self.path, error))?;
        let failed = |error| failed("write", &path, error);
        let mut temporary = Temporary::write(&path, &self.lines).map_err(failed)?;
        if self.changed() {
            let text = format!("{} was changed meanwhile, so nothing was written: try again", path.display());
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        fs::rename(&temporary.path, &path).map_err(failed)?;
        temporary.path = PathBuf::new(); // it has the other name now
        sync_folder(&path).map_err(failed)?;
        self.stamp = Stamp::of(&fs::metadata(&path).map_err(failed)?);
        Ok(())
    }
}

/// What a variable says, unless it is empty.
fn path_in(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Andiron's folder among what this user has configured.
fn own_folder() -> Option<PathBuf> {
    let config = path_in("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let config = config.or_else(|| path_in("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("andiron"))
}

/// A file beside the one that is to be written, which is removed when it was not given its name.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn write(beside: &Path, lines: &[Line]) -> io::Result<Temporary> {
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = Temporary { path: beside.with_file_name(name) };
        // Left behind by a process that was killed here and had the same number.
        match fs::remove_file(&temporary.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.path)?;
        for line in lines {
            match line {
                Line::Secret(secret) => writeln!(file, "{}", secret.line())?,
                Line::Other(text) => writeln!(file, "{text}")?,
            }
        }
        file.sync_all()?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path); // nothing more can be done
        }
    }
}

/// What a file says, once it is known that only this user can read it.
fn read(path: &Path) -> Result<(String, Stamp)> {
    let shown = path.display();
    let denied = |text| Err(Error::new(ErrorKind::Denied, text));
    // Before it is opened: opening what is no file may wait for ever.
    if !fs::metadata(path).map_err(|error| failed("read", path, error))?.is_file() {
        return denied(format!("{shown} is no file, so it can hold no secret"));
    }
    let file = File::open(path).map_err(|error| failed("read", path, error))?;
    let found = file.metadata().map_err(|error| failed("read", path, error))?;
    let (owner, user) = (found.uid(), andiron_sys::runtime::user());
    if owner != user && owner != 0 {
        return denied(format!(
            "{shown} belongs to the user with id {owner}, who knows the secrets in it: make one of your own"
        ));
    }
    // What root hands to a service is often readable by the group of that service.
    let open = if owner == 0 && user != 0 { 0o037 } else { 0o077 };
    if found.mode() & open != 0 {
        let mode = found.mode() & 0o7777;
        return denied(format!(
            "{shown} is open to other users (mode {mode:04o}): run `chmod 600 {shown}`, and make new secrets if others were there"
        ));
    }
    let mut bytes = Vec::new();
    (&file).take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| failed("read", path, error))?;
    let text = if bytes.len() as u64 > LONGEST { None } else { String::from_utf8(bytes).ok() };
    let text = text.ok_or_else(|| {
        let text =
            format!("{shown} is no file of secrets: they are lines of text, and at most {LONGEST} bytes");
        Error::new(ErrorKind::Authentication, text)
    })?;
    Ok((text, Stamp::of(&found)))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    let path = path.display();
    let (kind, text) = match error.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::NoObject,
            format!(
                "there is no secret at {path}: copy the server's there, or make one with `andiron secret new`"
            ),
        ),
        io::ErrorKind::PermissionDenied => (ErrorKind::Denied, format!("cannot {doing} {path}: {error}")),
        _ => (ErrorKind::Unavailable, format!("cannot {doing} {path}: {error}")),
    };
    Error::new(kind, text).with_source(error)
}
