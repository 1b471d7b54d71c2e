//! The private folder where servers of this user are found, and the rule for their names.
//!
//! Whoever can write to the folder can pose as a server, so it is used only when it belongs to this user and
//! nobody else may enter it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The name of a server: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`, neither `.` nor `-` first.
///
/// ```
/// use andiron_sys::runtime::Name;
/// let name: Name = "player-2".parse()?;
/// assert_eq!(name.as_str(), "player-2");
/// assert!("../player".parse::<Name>().is_err());
/// # Ok::<(), andiron_sys::runtime::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The longest name, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && text.bytes().all(allowed) && !text.starts_with(['.', '-']) {
            Ok(Self(text.into()))
        } else {
            Err(NameError { name: text.chars().take(Self::MAX_LENGTH + 1).collect() })
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no server name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no server name: use 1 to {} of A-Z a-z 0-9 . _ -, not beginning with . or -",
    Name::MAX_LENGTH
)]
pub struct NameError {
    /// What was given, cut where it is too long anyway.
    pub name: String,
}

/// Why a runtime folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    /// Something else sits in its place: a file, or a symbolic link, which another user may have put there.
    #[error("{} must be a folder of its own but is {found}: remove it", path.display())]
    NotAFolder {
        /// Where.
        path: PathBuf,
        /// What is there, for the message.
        found: &'static str,
    },
    /// Another user made it.
    #[error(
        "{} belongs to the user with id {owner}, not to this one: \
         remove it, or set XDG_RUNTIME_DIR to a folder of your own",
        path.display()
    )]
    ForeignOwner {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may enter it.
    #[error("{0} is open to other users (mode {mode:04o}): run `chmod 700 {0}`", path.display())]
    OpenToOthers {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be made or looked at.
    #[error("cannot {doing} the runtime folder {}: {source}", path.display())]
    Os {
        /// What failed, for the message.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The private folder of this user for sockets, locks and address files. It may not be there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// The folder that all programs of this user agree on: `andiron` in `$XDG_RUNTIME_DIR`, or in
    /// `/run/user/UID`, or `andiron-UID` in `$TMPDIR` or `/tmp`; see [`Places::folder`].
    ///
    /// # Errors
    /// As [`RuntimeDir::at`].
    pub fn for_user() -> Result<Self, RuntimeDirError> {
        Self::at(Places::of_this_process().folder())
    }

    /// The folder `path`, which is not made here.
    ///
    /// # Errors
    /// Something is at `path` and cannot be trusted: no folder, another user's, or open to others.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, RuntimeDirError> {
        let folder = Self { path: path.into() };
        folder.check()?;
        Ok(folder)
    }

    /// Makes the folder, for this user only, if it is not there, and checks it again. Its parent must be there.
    ///
    /// # Errors
    /// It cannot be made, or what is there cannot be trusted.
    pub fn ensure(&self) -> Result<(), RuntimeDirError> {
        match fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(self.os_error("make", error)),
            _ => self.check().map(drop),
        }
    }

    /// Whether the folder is there.
    ///
    /// # Errors
    /// As [`RuntimeDir::at`].
    pub fn exists(&self) -> Result<bool, RuntimeDirError> {
        self.check()
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the server `name` listens.
    pub fn socket_path(&self, name: &Name) -> PathBuf {
        self.path.join(format!("{name}.sock"))
    }

    /// The file whose lock the server `name` holds.
    pub fn lock_path(&self, name: &Name) -> PathBuf {
        self.path.join(format!("{name}.lock"))
    }

    /// Whether the folder is there; an error if what is there is not ours alone.
    fn check(&self) -> Result<bool, RuntimeDirError> {
        let path = &self.path;
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.os_error("look at", error)),
        };
        if !found.is_dir() {
            let found = if found.is_symlink() { "a symbolic link" } else { "a file" };
            return Err(RuntimeDirError::NotAFolder { path: path.clone(), found });
        }
        if found.uid() != user() {
            return Err(RuntimeDirError::ForeignOwner { path: path.clone(), owner: found.uid() });
        }
        if found.mode() & 0o077 != 0 {
            return Err(RuntimeDirError::OpenToOthers { path: path.clone(), mode: found.mode() & 0o7777 });
        }
        Ok(true)
    }

    fn os_error(&self, doing: &'static str, source: io::Error) -> RuntimeDirError {
        RuntimeDirError::Os { doing, path: self.path.clone(), source }
    }
}

/// Where the runtime folder may lie: what [`RuntimeDir::for_user`] reads from the process and its environment.
#[derive(Clone, Debug)]
pub struct Places {
    /// The variable `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<OsString>,
    /// The variable `TMPDIR`.
    pub tmpdir: Option<OsString>,
    /// The folder that holds one runtime folder for each user: `/run/user`.
    pub run_user: PathBuf,
    /// This user's id.
    pub uid: u32,
}

impl Places {
    /// The places of this process.
    pub fn of_this_process() -> Self {
        Self {
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
            tmpdir: std::env::var_os("TMPDIR"),
            run_user: "/run/user".into(),
            uid: user(),
        }
    }

    /// The first of: `andiron` in `XDG_RUNTIME_DIR` if that is the absolute path of a folder of this user;
    /// `andiron` in this user's folder of `/run/user` if it is there; `andiron-UID` in `TMPDIR` if that is an
    /// absolute path; `/tmp/andiron-UID`.
    pub fn folder(&self) -> PathBuf {
        let own_folder = |path: &Path| {
            path.is_absolute()
                && fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == self.uid)
        };
        let xdg = self.xdg_runtime_dir.as_ref().map(PathBuf::from);
        let of_login = self.run_user.join(self.uid.to_string());
        if let Some(parent) = [xdg, Some(of_login)].into_iter().flatten().find(|path| own_folder(path)) {
            return parent.join("andiron");
        }
        let tmpdir = self.tmpdir.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
        tmpdir.unwrap_or_else(|| "/tmp".into()).join(format!("andiron-{}", self.uid))
    }
}

/// The id of the user that this process acts as.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}
