//! TEMPORARY: stands in for the real proxy until it is there. Runs an object of this process.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Access, Arguments, Error, ErrorKind, Expose, Reply, Result};

type Call = dyn Fn(&str, &[u8]) -> Result<Reply> + Send + Sync;

/// Calls an object.
#[derive(Clone)]
pub struct Proxy(Arc<Call>);

/// A call under way.
#[derive(Debug)]
pub struct Pending<R>(Result<Vec<u8>>, PhantomData<R>);

impl<R: DeserializeOwned> Pending<R> {
    /// Waits.
    ///
    /// # Errors
    /// Any.
    pub fn wait(self) -> Result<R> {
        decode(&self.0?)
    }
}

fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R> {
    andiron_proto::codec::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::Encoding, error.to_string()))
}

impl Proxy {
    /// An object of this process.
    pub fn local<T: Expose>(object: T) -> Proxy {
        let object = RwLock::new(object);
        Proxy(Arc::new(move |method, body| {
            let label = format!("{}.{method}", T::interface().name);
            let mut arguments = Arguments::new(body, &label)?;
            match T::access(method) {
                Some(Access::Exclusive) => object.write().unwrap().call_exclusive(method, &mut arguments),
                _ => object.read().unwrap().call_shared(method, &mut arguments),
            }
        }))
    }

    fn run(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        andiron_proto::codec::encode_args(args, &mut body)
            .map_err(|error| Error::new(ErrorKind::Encoding, error.to_string()))?;
        (self.0)(method, &body).map(Reply::into_bytes)
    }

    /// Calls and waits.
    ///
    /// # Errors
    /// Any.
    pub fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        decode(&self.run(method, args)?)
    }

    /// Calls.
    ///
    /// # Errors
    /// Any.
    pub fn start<R: DeserializeOwned>(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Pending<R>> {
        Ok(Pending(self.run(method, args), PhantomData))
    }

    /// Calls one way.
    ///
    /// # Errors
    /// Any.
    pub fn notify(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<()> {
        self.run(method, args).map(drop)
    }

    /// With a deadline.
    pub fn with_timeout(&self, _timeout: Duration) -> Proxy {
        self.clone()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not yet"))
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not yet"))
    }
}
