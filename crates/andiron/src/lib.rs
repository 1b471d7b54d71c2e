//! Processes share live objects and data: expose an object, call its methods from any other process.
#![forbid(unsafe_code)]

// `#[expose]` writes `::andiron`, in here too.
#[allow(unused_extern_crates)]
extern crate self as andiron;

mod arguments;
mod error;
mod expose;
mod interface;
mod proxy;

pub use andiron_macros::expose;
pub use andiron_proto::ErrorKind;
pub use arguments::{Arguments, Reply};
pub use error::{Error, Result};
pub use expose::{Access, Expose};
pub use interface::{Interface, Method, Parameter};
pub use proxy::{Pending, Proxy};

#[doc(hidden)]
pub use expose::private as __private;
