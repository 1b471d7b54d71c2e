//! The session, through its public interface: pairs of sessions over a simulated link, and single ones that are fed by hand.

mod attachments;
mod auth;
mod bodies;
mod calls;
mod frames;
mod fuzz;
mod fuzz_streams;
mod goodbye;
mod handshake;
mod heartbeat;
mod limits;
mod promises;
mod references;
mod streams;
mod support;
mod vectors;
