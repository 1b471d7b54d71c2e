//! What `#[expose]` implements, and what its code calls.

use std::pin::Pin;

use andiron_proto::ErrorKind;

use crate::{Arguments, Error, Interface, Proxy, Reply, Result};

/// An object whose methods can be called from other processes.
///
/// Do not write it by hand: put [`#[expose]`](macro@crate::expose) on the `impl` block.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exposed",
    note = "put `#[andiron::expose]` on the `impl` block with the methods that others may call"
)]
pub trait Expose: Send + Sync + Sized + 'static {
    /// What callers use.
    type Proxy: From<Proxy>;

    /// What can be called, with signatures and docs.
    fn interface() -> &'static Interface;

    /// How `method` needs the object; `None` where there is no such method.
    fn access(method: &str) -> Option<Access>;

    /// Runs a method for which [`access`](Expose::access) says [`Access::Shared`].
    ///
    /// # Errors
    /// When the arguments do not fit, the method fails, or its result cannot be encoded.
    fn call_shared(&self, method: &str, arguments: &mut Arguments<'_>) -> Result<Reply>;

    /// Runs a method for which [`access`](Expose::access) says [`Access::Exclusive`].
    ///
    /// # Errors
    /// As [`call_shared`](Expose::call_shared).
    fn call_exclusive(&mut self, method: &str, arguments: &mut Arguments<'_>) -> Result<Reply>;

    /// True where `method` is an `async fn`: then one of the two below starts it.
    fn is_async(_method: &str) -> bool {
        false
    }

    /// Starts an `async fn` for which [`access`](Expose::access) says [`Access::Shared`].
    fn start_shared<'a>(&'a self, method: &'a str, _arguments: Arguments<'a>) -> Answering<'a> {
        Box::pin(std::future::ready(Err(private::no_method::<Self>(method))))
    }

    /// Starts an `async fn` for which [`access`](Expose::access) says [`Access::Exclusive`].
    fn start_exclusive<'a>(&'a mut self, method: &'a str, _arguments: Arguments<'a>) -> Answering<'a> {
        Box::pin(std::future::ready(Err(private::no_method::<Self>(method))))
    }
}

/// The answer of an asynchronous method, to be awaited. It is `Send`: the method may go on on another thread.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'a>>;

/// How a method needs its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `&self`: calls run at the same time.
    Shared,
    /// `&mut self`: calls take turns.
    Exclusive,
}

/// What the code of `#[expose]` uses. Nobody else should: it changes without notice.
pub mod private {
    use std::borrow::Cow;
    use std::error::Error as StdError;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize, Serializer};

    use super::{Error, ErrorKind, Expose};
    use crate::{Pending, Proxy, Reply};

    pub use serde;

    /// The answer to a call of a method that `T` does not have.
    #[cold]
    pub fn no_method<T: Expose>(method: &str) -> Error {
        let Some(access) = T::access(method) else {
            return T::interface().no_method(method);
        };
        // The caller of the trait mixed up its two functions.
        Error::new(ErrorKind::Internal, format!("`{method}` was called with other access than {access:?}"))
    }

    /// See [`Error`]: what a method returned, as its caller will see it.
    #[cold]
    pub fn from_method<E: MethodError>(error: E) -> Error {
        Error::from_method(error)
    }

    /// A type that can be an argument.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` cannot be an argument of an exposed method",
        label = "this type cannot travel",
        note = "an argument needs serde's `Deserialize` for the object and `Serialize` for its callers: \
                `#[derive(serde::Serialize, serde::Deserialize)]`",
        note = "an object is passed by its proxy, and `#[expose(skip)]` leaves a method out"
    )]
    pub trait Argument<'de>: Serialize + Deserialize<'de> {}

    #[diagnostic::do_not_recommend]
    impl<'de, T: Serialize + Deserialize<'de>> Argument<'de> for T {}

    /// A type that can be a result.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` cannot be the result of an exposed method",
        label = "this type cannot travel",
        note = "a result needs serde's `Serialize` for the object and `Deserialize` for its callers: \
                `#[derive(serde::Serialize, serde::Deserialize)]`",
        note = "an object is returned as its proxy, and `#[expose(skip)]` leaves a method out"
    )]
    pub trait Outcome: Serialize + DeserializeOwned {}

    #[diagnostic::do_not_recommend]
    impl<T: Serialize + DeserializeOwned> Outcome for T {}

    /// A type that can be the `E` of a method's `Result<T, E>`.
    #[diagnostic::on_unimplemented(
        message = "`{Self}` cannot be the error of an exposed method",
        label = "its error cannot travel",
        note = "an error needs `std::error::Error + Send + Sync + 'static`; a `String` will do too"
    )]
    pub trait MethodError: Into<Box<dyn StdError + Send + Sync>> {}

    #[diagnostic::do_not_recommend]
    impl<E: Into<Box<dyn StdError + Send + Sync>>> MethodError for E {}

    /// Fails to compile with a readable message where `T` cannot be an argument.
    #[inline(always)]
    pub fn check_argument<'de, T: Argument<'de>>() {}

    /// A result as it leaves. This and the functions below only add the bounds whose messages are readable.
    ///
    /// # Errors
    /// Those of [`Reply::encode`].
    #[inline]
    pub fn encode<T: Outcome>(result: &T) -> Result<Reply, Error> {
        Reply::encode(result)
    }

    /// An argument as it leaves. Opaque, so that nothing but its own bound can fail.
    #[inline]
    pub fn sent<'de, T: Argument<'de>>(argument: &T) -> impl Serialize {
        argument
    }

    /// See [`sent`].
    #[inline]
    pub fn sent_slice<'de, T: Argument<'de>>(argument: &[T]) -> impl Serialize {
        argument
    }

    /// Calls and waits.
    ///
    /// # Errors
    /// Those of [`Proxy::call`].
    #[inline]
    pub fn call<R: Outcome>(proxy: &Proxy, method: &str, arguments: &impl Serialize) -> Result<R, Error> {
        proxy.call(method, arguments)
    }

    /// Calls without waiting.
    ///
    /// # Errors
    /// Those of [`Proxy::start`].
    #[inline]
    pub fn start<R: Outcome>(
        proxy: &Proxy,
        method: &str,
        arguments: &impl Serialize,
    ) -> Result<Pending<R>, Error> {
        proxy.start(method, arguments)
    }

    /// Bytes that travel as such, not as a list of numbers.
    pub struct Bytes<T>(pub T);

    impl<T: ByteContent> Serialize for Bytes<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0.content() {
                Some(bytes) => serializer.serialize_some(&ByteSlice(bytes)),
                None => serializer.serialize_none(),
            }
        }
    }

    struct ByteSlice<'a>(&'a [u8]);

    impl Serialize for ByteSlice<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    /// What holds bytes, or nothing.
    pub trait ByteContent {
        /// The bytes.
        fn content(&self) -> Option<&[u8]>;
    }

    impl ByteContent for [u8] {
        fn content(&self) -> Option<&[u8]> {
            Some(self)
        }
    }

    impl ByteContent for Vec<u8> {
        fn content(&self) -> Option<&[u8]> {
            Some(self)
        }
    }

    impl<T: ByteContent + ?Sized> ByteContent for &T {
        fn content(&self) -> Option<&[u8]> {
            (**self).content()
        }
    }

    impl<T: ByteContent + ?Sized> ByteContent for Box<T> {
        fn content(&self) -> Option<&[u8]> {
            (**self).content()
        }
    }

    impl<T: ByteContent + ToOwned + ?Sized> ByteContent for Cow<'_, T> {
        fn content(&self) -> Option<&[u8]> {
            (**self).content()
        }
    }

    impl<T: ByteContent> ByteContent for Option<T> {
        fn content(&self) -> Option<&[u8]> {
            self.as_ref().and_then(ByteContent::content)
        }
    }
}
