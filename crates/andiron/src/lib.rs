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

/// ```
/// struct Player {
///     position: f64,
/// }
///
/// /// Plays things.
/// #[andiron::expose]
/// impl Player {
///     // Without `self`: not exposed.
///     pub fn new() -> Self {
///         Player { position: 0.0 }
///     }
///
///     /// Moves to `seconds`; returns the new position.
///     fn seek(&mut self, seconds: f64) -> Result<f64, String> {
///         if seconds < 0.0 {
///             return Err("the beginning is at 0".into());
///         }
///         self.position = seconds;
///         Ok(self.position)
///     }
///
///     #[expose(oneway)]
///     fn log(&self, line: String) {
///         println!("{line}");
///     }
///
///     #[expose(skip)]
///     fn helper(&self) {}
/// }
///
/// let player = PlayerProxy::from(Player::new());
/// assert_eq!(player.seek(12.5)?, 12.5);
/// assert_eq!(player.seek(-1.0).unwrap_err().message(), "the beginning is at 0");
/// # Ok::<(), andiron::Error>(())
/// ```
pub use andiron_macros::expose;
pub use andiron_proto::ErrorKind;
pub use arguments::{Arguments, Reply};
pub use error::{Error, Result};
pub use expose::{Access, Expose};
pub use interface::{Interface, Method, Parameter};
pub use proxy::{Pending, Proxy};

#[doc(hidden)]
pub use expose::private as __private;
