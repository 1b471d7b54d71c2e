//! Which objects this end showed to the peer, and which of the peer's it holds.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};

use andiron_proto::{Attachment, Attachments, Body, IdMap, Outgoing, Payload, Ref, StreamId};
use andiron_sys::socket;

use super::{Link, OutParcel, State, Todo, no_object};
use bytes::Bytes;

use crate::blob::{Attached, Blob};
use crate::call::Parcel;
use crate::object::{Object, Relay};
use crate::stream::Items;
use crate::target::{Remote, Target};
use crate::{Error, Result};

/// While so many descriptors wait to be sent, because the peer does not read, bytes go in place of others.
const MOST_QUEUED: usize = 64;

/// While so many descriptors were sent that the peer has not read, bytes go in place of others: the system counts those of all processes of
/// a user together, and then lets none of them send any.
const MOST_UNREAD: usize = 64;

impl State {
    /// Whether the peer has read most of the descriptors that were sent.
    fn takes_descriptors(&mut self) -> bool {
        if self.passed >= MOST_UNREAD && self.socket.as_ref().is_some_and(socket::is_read) {
            self.passed = 0;
        }
        self.passed < MOST_UNREAD
    }
}

#[derive(Default)]
pub(super) struct Objects {
    shown: IdMap<Shown>,
    /// The number of a shown object by where it lies in memory, which is its own while it is shown.
    numbers: HashMap<usize, u64>,
    held: IdMap<Weak<Remote>>,
}

struct Shown {
    object: Arc<dyn Object>,
    place: usize,
}

impl Objects {
    pub(super) fn shown(&self, id: u64) -> Option<Arc<dyn Object>> {
        self.shown.get(&id).map(|shown| shown.object.clone())
    }

    /// The peer holds it no more. To be dropped without the lock.
    pub(super) fn released(&mut self, id: u64) -> Option<Arc<dyn Object>> {
        let shown = self.shown.remove(&id)?;
        self.numbers.remove(&shown.place);
        Some(shown.object)
    }

    /// All that was shown: the connection is over.
    pub(super) fn clear(&mut self) -> Vec<Arc<dyn Object>> {
        self.numbers.clear();
        self.held.clear();
        self.shown.drain().map(|(_, shown)| shown.object).collect()
    }
}

impl Link {
    /// Translates what a parcel names into what the peer understands.
    pub(super) fn outgoing<'a>(
        &self,
        state: &mut State,
        parcel: OutParcel<'a>,
        todo: &mut Todo,
    ) -> Result<(Outgoing<'a>, Option<Box<dyn Items>>)> {
        let OutParcel { codec, body, targets, attached, stream } = parcel;
        let (body, attachments) = match attach(state, body, attached, todo) {
            Ok(attached) => attached,
            Err(error) => {
                todo.drop_targets(targets);
                todo.drop_items(stream);
                return Err(error);
            }
        };
        let mut refs = Vec::with_capacity(targets.len());
        let shown = targets.iter().try_for_each(|target| {
            refs.push(self.show(state, target)?);
            Ok(())
        });
        todo.drop_targets(targets);
        if shown.is_err() {
            self.forget_unsent(state, &refs, todo);
        }
        match shown {
            Ok(()) => {
                let outgoing = Outgoing { codec, body, refs, attachments, stream: stream.is_some() };
                Ok((outgoing, stream))
            }
            Err(error) => {
                todo.drop_items(stream);
                Err(error)
            }
        }
    }

    /// A message with these references was not sent after all.
    pub(super) fn forget_unsent(&self, state: &mut State, refs: &[Ref], todo: &mut Todo) {
        if !refs.is_empty() {
            state.session.forget_unsent(refs);
            todo.extend(self.digest(state));
            if state.ended.is_some() {
                todo.drop_targets(state.objects.clear().into_iter().map(Target::Local).collect());
            }
        }
    }

    fn show(&self, state: &mut State, target: &Target) -> Result<Ref> {
        let place = match target {
            Target::Remote(remote) if std::ptr::eq(&*remote.link, self) && remote.id != 0 => {
                return Ok(Ref::Remote(remote.id));
            }
            Target::Remote(remote) => Arc::as_ptr(remote) as usize,
            Target::Local(object) => Arc::as_ptr(object).cast::<()>() as usize,
            Target::Promised(_) => return Err(no_object()), // resolved before it gets here
        };
        if let Some(&id) = state.objects.numbers.get(&place) {
            return Ok(Ref::Local(id));
        }
        let id = state.session.show().map_err(Error::from)?;
        let object: Arc<dyn Object> = match target {
            Target::Local(object) => object.clone(),
            Target::Remote(remote) => Arc::new(Relay(remote.clone())),
            Target::Promised(_) => return Err(no_object()),
        };
        state.objects.numbers.insert(place, id);
        state.objects.shown.insert(id, Shown { object, place });
        self.start_handler_thread(state);
        Ok(Ref::Local(id))
    }

    /// Turns what the peer names into what this process understands. Every reference that arrived becomes a handle here, so that
    /// dropping it gives it back. `stream` is the one that a message of items belongs to.
    pub(super) fn parcel(&self, state: &mut State, mut payload: Payload, stream: Option<StreamId>) -> Parcel {
        let parts = payload.take_parts();
        let Payload { codec, body, refs, attachments, stream: streams } = payload;
        let parts = parts.into_iter().map(|part| Attached::Blob(Blob::of_bytes(part)));
        let descriptors = attachments
            .descriptors()
            .iter()
            .cloned()
            .filter_map(|attachment| Arc::downcast::<OwnedFd>(attachment).ok().map(Attached::Descriptor));
        let attached = parts.chain(descriptors).collect();
        let targets = refs.into_iter().map(|entry| self.target(state, entry)).collect();
        let stream = stream
            .filter(|_| streams)
            .map(|stream| Box::new(Mutex::new(Some(self.open_inflow(state, stream)))));
        Parcel { codec, body, targets, attached, stream }
    }

    fn target(&self, state: &mut State, entry: Ref) -> Target {
        match entry {
            Ref::Local(id) => {
                let object = state.objects.shown(id).unwrap_or_else(|| Arc::new(Gone));
                match object.relayed() {
                    // So that it comes home as itself when it is passed on.
                    Some(remote) => Target::Remote(remote.clone()),
                    None => Target::Local(object),
                }
            }
            Ref::Remote(id) => {
                if let Some(remote) = state.objects.held.get(&id).and_then(Weak::upgrade) {
                    remote.count();
                    return Target::Remote(remote);
                }
                let remote = Arc::new(Remote::received(self.arc(), id));
                state.objects.held.insert(id, Arc::downgrade(&remote));
                Target::Remote(remote)
            }
        }
    }

    /// Tells the session which references were dropped, so that the peer is told with what is sent next.
    pub(super) fn give_back(&self, state: &mut State) {
        let dropped = std::mem::take(&mut *crate::sync::lock(&self.dropped));
        for (id, count) in dropped {
            if state.objects.held.get(&id).is_some_and(|held| held.strong_count() == 0) {
                state.objects.held.remove(&id);
            }
            state.session.release(id, count);
        }
    }
}

/// An own object that the peer handed back after this end had forgotten it.
struct Gone;

impl Object for Gone {
    fn is_inline(&self) -> bool {
        true
    }

    fn run(self: Arc<Self>, call: crate::call::Call) -> Vec<crate::object::Job> {
        call.answer(Err(Error::new(
            crate::ErrorKind::NoObject,
            "this object was released before it was handed back",
        )));
        Vec::new()
    }
}

/// What goes beside a value as the session takes it: descriptors where the peer takes them all, else bytes behind the value.
fn attach<'a>(
    state: &mut State,
    body: Body<'a>,
    attached: Vec<Attached>,
    todo: &mut Todo,
) -> Result<(Body<'a>, Attachments)> {
    if attached.is_empty() {
        return Ok((body, Attachments::default()));
    }
    let limits = &state.session.peer().limits;
    let (most, message) = (usize::from(limits.attachments), limits.message);
    let few = attached.len() <= most && state.session.attached() < MOST_QUEUED;
    if few && attached.iter().all(Attached::is_passable) && state.takes_descriptors() {
        let descriptors: Vec<Attachment> =
            attached.into_iter().map(|attached| Arc::new(attached) as Attachment).collect();
        return Ok((body, descriptors.into()));
    }
    let parts = attached.iter().map(Attached::bytes).collect::<Result<Vec<Bytes>>>()?;
    // Without the lock: they may be the last handles of much memory.
    todo.drop_parcel(Parcel { attached, ..Parcel::default() });
    let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
    let total = lengths.iter().fold(body.len() as u64, |sum, length| sum.saturating_add(*length));
    if total > message {
        let text =
            format!("a message of {total} bytes with the big values in it; the other end takes {message}");
        return Err(Error::new(crate::ErrorKind::TooLarge, text));
    }
    let total = body.len() + parts.iter().map(Bytes::len).sum::<usize>();
    let mut whole = Vec::with_capacity(total);
    whole.extend_from_slice(body.as_bytes());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    Ok((Body::Owned(whole), Attachments::Parts(lengths)))
}
