//! The same for asynchronous programs: what waits elsewhere in this crate is awaited here. On [tokio](https://docs.rs/tokio), with the feature `tokio`.
//!
//! [`connect`], [`Hub`], [`Proxy`], [`Store`] with its [`StoreCell`], and [`Server`] have the names and methods of their counterparts outside of this module. For a
//! `Player` that is [exposed](macro@crate::expose) there is a `PlayerProxyAsync` beside the `PlayerProxy`. Its methods send their call at once
//! and give a [`Pending`](crate::Pending) to await, to build upon, or to drop, which gives the call up. A method that returns an object gives
//! a `DiscProxy` to everybody, as its promise does; `.into()` makes a `DiscProxyAsync` of it. Each connection is one task of the
//! runtime in which it was made; calls are sent by whoever makes them, without a way through that task. Methods of exposed objects run on
//! it too: an `async fn` is polled there once, and becomes a task of its own only if it has to wait; any other method should not block. A
//! connection ends with its runtime. Calls that come from the other end run beside the tasks that wait for answers, in no fixed order with these.
//!
//! ```
//! struct Adder;
//!
//! #[andiron::expose]
//! impl Adder {
//!     async fn add(&self, a: i64, b: i64) -> i64 {
//!         a + b
//!     }
//! }
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let address = &format!("unix:{}/socket", folder.path().display());
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let _server = andiron::aio::Server::bind(address)?.object("adder", Adder)?.start()?;
//!
//! let hub = andiron::aio::Hub::connect(address).await?;
//! let adder: AdderProxyAsync = hub.object("adder").await?;
//! let (three, seven) = (adder.add(1, 2), adder.add(3, 4)); // both are under way
//! assert_eq!((three.await?, seven.await?), (3, 7));
//! # Ok::<(), andiron::Error>(())
//! # })?;
//! # Ok::<(), andiron::Error>(())
//! ```

mod again;
mod drive;
mod hub;
mod proxy;
mod server;
mod store;

pub(crate) use again::CallAgain;
pub use hub::{Hub, connect};
pub use proxy::Proxy;
pub use server::{Running, Server};
pub use store::{Store, StoreCell};
