//! An object anywhere, whose methods are awaited.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Expose, Interface, Pending, Result};

/// An object that can be called: a [`Proxy`](crate::Proxy) whose calls are awaited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proxy(crate::Proxy);

impl Proxy {
    /// A proxy of an object of this process, for instance to pass it as a callback.
    pub fn local<T: Expose>(object: T) -> Proxy {
        Proxy(crate::Proxy::local(object))
    }

    /// The same object with a limit to the time of each call; see [`Proxy::with_timeout`](crate::Proxy::with_timeout).
    pub fn with_timeout(&self, timeout: Duration) -> Proxy {
        Proxy(self.0.with_timeout(timeout))
    }

    /// The same proxy, whose calls may be repeated although they may have run; see [`Proxy::idempotent`](crate::Proxy::idempotent).
    pub fn idempotent(&self) -> Proxy {
        Proxy(self.0.idempotent())
    }

    /// Calls a method. It is sent at once, so several calls are under way before the first is awaited; dropping what is to be awaited cancels
    /// the call. `args` is a tuple, one element for each argument.
    ///
    /// # Errors
    /// As for [`Proxy::call`](crate::Proxy::call).
    pub fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Pending<R> {
        self.0.call_for_task(method, args)
    }

    /// Calls a method one way. Waits only where the peer reads too slowly.
    ///
    /// # Errors
    /// Why the call could not be sent.
    pub async fn notify(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<()> {
        if let Some(link) = self.0.notify_at_once(method, args)? {
            std::future::poll_fn(|context| link.poll_room(context)).await;
        }
        Ok(())
    }

    /// What the object can do.
    ///
    /// # Errors
    /// As for [`call`](Proxy::call).
    pub async fn describe(&self) -> Result<Interface> {
        self.call(crate::object::DESCRIBE, &()).await
    }
}

impl From<crate::Proxy> for Proxy {
    fn from(proxy: crate::Proxy) -> Proxy {
        Proxy(proxy)
    }
}

impl From<Proxy> for crate::Proxy {
    fn from(proxy: Proxy) -> crate::Proxy {
        proxy.0
    }
}
