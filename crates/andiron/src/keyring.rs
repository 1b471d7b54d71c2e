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
    /// Those that are valid, one at least; made once, and not for each of the many who may connect.
    valid: Arc<[Secret]>,
    /// When the first of them ends.
    until: Option<SystemTime>,
}

impl Read {
    fn of(file: SecretFile, now: SystemTime) -> Result<Read> {
        file.first_valid(now)?;
        let valid: Arc<[Secret]> = file.valid(now).cloned().collect();
        let until = valid.iter().filter_map(Secret::end).min();
        Ok(Read { file, valid, until })
    }
}

impl Keyring {
    /// The secrets in this file, of which one at least is valid.
    pub(crate) fn open(path: PathBuf) -> Result<Keyring> {
        Ok(Keyring::File(Mutex::new(Read::of(SecretFile::load(path)?, SystemTime::now())?)))
    }

    /// Those that a server takes now, one at least. Looks into the file again where it has changed.
    pub(crate) fn valid(&self) -> Result<Arc<[Secret]>> {
        self.valid_at(SystemTime::now())
    }

    fn valid_at(&self, now: SystemTime) -> Result<Arc<[Secret]>> {
        match self {
            Keyring::Given(secret) if secret.is_valid(now) => Ok([secret.clone()].into()),
            Keyring::Given(_) => Err(Error::new(ErrorKind::Authentication, "the secret has ended")),
            Keyring::File(read) => {
                let mut read = lock(read);
                if read.file.changed() {
                    *read = Read::of(SecretFile::load(read.file.path())?, now)?;
                } else if read.until.is_some_and(|until| until <= now) {
                    *read = Read::of(read.file.clone(), now)?;
                }
                Ok(read.valid.clone())
            }
        }
    }

    /// The one that a client proves to have.
    pub(crate) fn first(&self) -> Result<Arc<[Secret]>> {
        Ok(self.valid()?.iter().take(1).cloned().collect())
    }
}

/// How to prove to have one of these.
pub(crate) fn proof_of(secrets: &[Secret]) -> Result<Auth> {
    let mut nonce = [0; 32];
    andiron_sys::random::fill(&mut nonce).map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("the system gives no random bytes: {error}"))
            .with_source(error)
    })?;
    let keys: Vec<Key> = secrets.iter().map(Secret::key).collect();
    Ok(Auth::Secret { keys: keys.into(), nonce })
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
        assert_eq!(keyring.valid_at(now).unwrap().len(), 2);
        assert_eq!(&*keyring.valid_at(end).unwrap(), &[lasting]);
    }

    #[test]
    fn a_file_whose_secrets_have_all_ended_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let ended = Secret::new().unwrap().with_end(Some(SystemTime::UNIX_EPOCH));
        SecretFile::create(&path, ended.clone()).unwrap();
        let error = Keyring::open(path).err().unwrap();
        assert!(error.message().contains("has ended"), "{error}");
        assert_eq!(Keyring::Given(ended).valid().unwrap_err().kind(), ErrorKind::Authentication);
    }
}
