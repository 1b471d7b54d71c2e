//! The secrets that an end has: one that it was given, or those of a file, which may change while it runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use andiron_proto::{Auth, Key};

use crate::sync::lock;
use crate::{Error, ErrorKind, Result, Secret, SecretFile};

/// The secrets of one end.
pub(crate) enum Keyring {
    Given(Secret),
    File(Mutex<Read>),
}

/// What the file says.
pub(crate) struct Read {
    file: SecretFile,
    /// Made once, and not for each of the many who may connect.
    taken: Taken,
    /// When the first of them ends.
    until: Option<SystemTime>,
}

/// The secrets that a server takes.
#[derive(Clone)]
pub(crate) struct Taken {
    /// One at least.
    pub(crate) valid: Arc<[Secret]>,
    /// Those that it takes no more, and what is said to who has one.
    ended: Arc<[(Key, String)]>,
}

impl Read {
    fn of(file: SecretFile, now: SystemTime) -> Result<Read> {
        file.first_valid(now)?;
        let valid: Arc<[Secret]> = file.valid(now).cloned().collect();
        let until = valid.iter().filter_map(Secret::end).min();
        let ended = file.secrets().filter(|secret| !secret.is_valid(now));
        let ended = ended.map(|secret| (secret.key(), secret.obituary())).collect();
        Ok(Read { file, taken: Taken { valid, ended }, until })
    }
}

impl Keyring {
    /// The secrets in this file, of which one at least is valid.
    pub(crate) fn open(path: PathBuf) -> Result<Keyring> {
        Ok(Keyring::File(Mutex::new(Read::of(SecretFile::load(path)?, SystemTime::now())?)))
    }

    /// Those that a server takes now. Looks into the file again where it has changed.
    pub(crate) fn taken(&self) -> Result<Taken> {
        self.taken_at(SystemTime::now())
    }

    fn taken_at(&self, now: SystemTime) -> Result<Taken> {
        match self {
            Keyring::Given(secret) if secret.is_valid(now) => Ok(Taken::one(secret)),
            Keyring::Given(_) => Err(Error::new(ErrorKind::Authentication, "the secret has ended")),
            Keyring::File(read) => {
                let mut read = lock(read);
                if read.file.changed() {
                    *read = Read::of(SecretFile::load(read.file.path())?, now)?;
                } else if read.until.is_some_and(|until| until <= now) {
                    *read = Read::of(read.file.clone(), now)?;
                }
                Ok(read.taken.clone())
            }
        }
    }

    /// The one that a client proves to have.
    pub(crate) fn first(&self) -> Result<Taken> {
        Ok(Taken::one(&self.taken()?.valid[0]))
    }
}

impl Taken {
    fn one(secret: &Secret) -> Taken {
        Taken { valid: [secret.clone()].into(), ended: [].into() }
    }

    /// How to prove to have one of them, and to check such a proof.
    pub(crate) fn auth(&self) -> Result<Auth> {
        let mut nonce = [0; 32];
        andiron_sys::random::fill(&mut nonce).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("the system gives no random bytes: {error}"))
                .with_source(error)
        })?;
        let keys = self.valid.iter().map(Secret::key).collect();
        Ok(Auth::Secret { keys, ended: self.ended.clone(), nonce })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_secret_that_ends_holds_no_more_though_its_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let now = SystemTime::now();
        let end = now + Duration::from_secs(1000);
        SecretFile::create(&path, Secret::new().unwrap().with_end(Some(end))).unwrap();
        let mut file = SecretFile::load(&path).unwrap();
        let lasting = Secret::new().unwrap();
        file.add(lasting.clone(), now).unwrap();
        file.save().unwrap();

        let keyring = Keyring::open(path).unwrap();
        assert_eq!(keyring.taken_at(now).unwrap().valid.len(), 2);
        let taken = keyring.taken_at(end).unwrap();
        assert_eq!((&*taken.valid, taken.ended.len()), (&[lasting][..], 1));
    }

    #[test]
    fn a_file_whose_secrets_have_all_ended_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let ended = Secret::new().unwrap().with_end(Some(SystemTime::UNIX_EPOCH));
        SecretFile::create(&path, ended.clone()).unwrap();
        let error = Keyring::open(path).err().unwrap();
        assert!(error.message().contains("has ended"), "{error}");
        assert_eq!(Keyring::Given(ended).taken().err().unwrap().kind(), ErrorKind::Authentication);
    }
}
