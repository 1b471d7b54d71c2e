//! What Andiron does is the same whoever drives the two ends of a connection, threads or tasks, and whatever lies between them: a Unix socket, TCP, TLS,
//! or nothing but the memory of one process. Each behaviour is written once here and looked at in all sixteen combinations.
#![cfg(feature = "tokio")]

#[path = "../common/mod.rs"]
mod common;
mod objects;
#[macro_use]
mod scene;

mod blobs;
mod bodies;
mod calls;
mod chains;
mod ends;
mod order;
mod references;
mod relays;
mod streams;
mod time;
