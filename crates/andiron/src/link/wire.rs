//! What a connection is made over.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::Secret;
use crate::tls::Tls;

/// A stream to the other end, on which nothing was said yet.
pub(crate) struct Wire {
    pub(crate) socket: OwnedFd,
    /// What lies between socket and session; `None`: nothing.
    pub(crate) tls: Option<Box<Tls>>,
    /// What the session is bound to, where that is known before the first byte.
    pub(crate) binding: Option<Vec<u8>>,
    /// Who is at the other end, for people.
    pub(crate) label: String,
    /// True for a Unix socket, on which descriptors can travel.
    pub(crate) local: bool,
    /// Of these the peer is to prove that it has one; in the order in which the session knows their keys.
    pub(crate) secrets: Option<Arc<[Secret]>>,
}

impl Wire {
    /// Over a Unix socket, where the system says who is there.
    pub(crate) fn local(socket: OwnedFd, label: String) -> Wire {
        Wire { socket, tls: None, binding: None, label, local: true, secrets: None }
    }
}
