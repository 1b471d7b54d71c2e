//! What a connection is made over, and who turned out to be at its other end.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use andiron_proto::Refusal;
use andiron_proto::wire::Reason;

use super::io::read;
use super::{Link, State, Todo};
use crate::lobby::Guest;
use crate::tls::Tls;
use crate::{Rights, Secret};

/// The preface of a peer and its longest `HELLO`.
const MOST_SAID: usize = 5 << 10;

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

/// What a peer proved in the handshake.
pub(super) struct Proved {
    secret: Option<Secret>,
    /// For people: where the peer is, and by what it was let in.
    label: String,
}

impl Link {
    /// Gives it its place in the lobby until it is open.
    pub(crate) fn set_guest(&self, guest: Guest) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.guest = Some(guest);
        }
    }

    /// Sends a guest away for whom there is no room. It is told where it has said enough to be told anything; one who wants to speak TLS first is not,
    /// since that would cost more than it is worth to a server that has too much to do.
    pub(crate) fn show_out(&self, text: &str) {
        let mut state = self.lock();
        if state.guest.is_none() {
            return; // it opened, or ended, at the last moment
        }
        let mut todo = Todo::default();
        let waits =
            state.session.turn_away(Refusal::overloaded(text)) && state.tls.is_none() && !state.reader;
        if let Some(socket) = state.socket.clone().filter(|_| waits) {
            // Mostly it has said all of it, and only nobody had the time to read.
            let mut buffer = vec![0; MOST_SAID];
            let read = read(&socket, &mut buffer, true);
            todo.extend(self.take(&mut state, read, &buffer));
        }
        state.session.goodbye(Reason::Overloaded, text);
        todo.extend(self.flush(&mut state));
        self.arm(&mut state);
        drop(state);
        todo.run();
    }

    pub(crate) fn peer_label(&self) -> &str {
        self.proved.get().map_or(&self.label, |proved| &proved.label)
    }

    /// The secret by which the peer was let in, where it was by one; known from when the connection is open.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        self.proved.get().and_then(|proved| proved.secret.as_ref())
    }

    /// What the peer may do; `None`: everything.
    pub(crate) fn rights(&self) -> Option<&Arc<Rights>> {
        self.secret().map(Secret::rights).filter(|rights| !rights.is_full())
    }

    /// The handshake is done.
    pub(super) fn opened(&self, state: &mut State) {
        state.guest = None;
        let secrets = state.secrets.take();
        let index = state.session.proved_with();
        let secret = secrets.zip(index).and_then(|(secrets, index)| secrets.get(index).cloned());
        let subject = state.tls.as_ref().and_then(|tls| tls.client_name());
        if secret.is_none() && subject.is_none() {
            return;
        }
        let mut label = self.label.clone();
        if let Some(subject) = subject {
            label += &format!(", certificate '{subject}'");
        }
        if let Some(name) = secret.as_ref().and_then(Secret::name) {
            label += &format!(", secret '{name}'");
        }
        self.proved.get_or_init(|| Proved { secret, label });
    }
}
