//! The Andiron protocol as a pure state machine: no sockets, no threads, no clock.
//!
//! [`Session`] is one end of a connection; [`codec`] writes and reads values. The wire itself is specified in `spec/PROTOCOL.md`.
#![forbid(unsafe_code)]

pub mod codec;
mod failure;
mod hello;
mod message;
mod session;
pub mod wire;

pub use failure::{ErrorKind, Failure, FailureDetail};
pub use hello::{AUTH_USER, Hello, Limits};
pub use message::{Body, Ref};
pub use session::{
    Attachment, Attachments, Auth, Budget, CallRequest, Config, Event, Heartbeat, IdHasher, IdMap,
    IncomingCall, Key, Outgoing, PROMISES, Payload, Refusal, Role, STREAMS, Session, StreamId, Transmit,
    binding,
};
