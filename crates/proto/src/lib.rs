//! The Andiron protocol as a pure state machine: no sockets, no threads, no clock.
#![forbid(unsafe_code)]

pub mod codec;
mod failure;

pub use failure::{ErrorKind, Failure, FailureDetail};
