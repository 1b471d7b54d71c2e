//! One call that arrived, and the duty to answer it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::task::{self, Poll, Waker};
use std::time::Instant;

use andiron_proto::wire::codecs;
use andiron_proto::{Body, ErrorKind};
use bytes::Bytes;

use crate::blob::Attached;
use crate::context::{self, CallState};
use crate::engine::Message;
use crate::link::{Callee, Link, OutCall, OutParcel, no_object};
use crate::sync::lock;
use crate::target::{Beside, Carried, Remote, StreamSlot, Target};
use crate::{Error, Reply, Result};

/// An encoded value with the objects and descriptors that it names.
#[derive(Default)]
pub(crate) struct Parcel {
    pub(crate) codec: u8,
    pub(crate) body: Bytes,
    pub(crate) targets: Vec<Target>,
    pub(crate) attached: Vec<Attached>,
    /// In a box, since few have one and all are moved from hand to hand.
    pub(crate) stream: Option<Box<StreamSlot>>,
}

impl Parcel {
    /// What goes beside the value.
    pub(crate) fn beside(&self) -> Beside<'_> {
        let Parcel { targets, attached, stream, .. } = self;
        Beside { targets, attached, stream: stream.as_deref() }
    }
}

impl From<Reply> for OutParcel<'_> {
    fn from(reply: Reply) -> Self {
        let (body, Carried { targets, attached, stream }) = reply.into_parts();
        let body = Body::Owned(body);
        OutParcel { codec: codecs::NATIVE, body, targets, attached, stream }
    }
}

/// A call that arrived. It is answered once: by [`answer`](Call::answer), [`forward`](Call::forward), or, if it is dropped, with an error.
pub(crate) struct Call {
    method: String,
    parcel: Parcel,
    state: Arc<CallState>,
    reply_to: ReplyTo,
    /// Its connection waits for it to begin before it starts another.
    starting: AtomicBool,
}

enum ReplyTo {
    /// The connection on which it came, under the peer's number of it.
    Link {
        id: u64,
        notify: bool,
    },
    Here(Arc<LocalSlot>),
    Nobody,
}

impl Call {
    pub(crate) fn arrived(
        (id, notify): (u64, bool),
        method: String,
        parcel: Parcel,
        state: Arc<CallState>,
    ) -> Call {
        Call {
            method,
            parcel,
            state,
            reply_to: ReplyTo::Link { id, notify },
            starting: AtomicBool::new(false),
        }
    }

    pub(crate) fn local(slot: Arc<LocalSlot>, method: String, parcel: Parcel, state: Arc<CallState>) -> Call {
        Call { method, parcel, state, reply_to: ReplyTo::Here(slot), starting: AtomicBool::new(false) }
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn chain(&self) -> u64 {
        self.state.chain
    }

    /// The encoded arguments.
    pub(crate) fn arguments(&self) -> Result<&[u8]> {
        match self.parcel.codec {
            codecs::NATIVE => Ok(&self.parcel.body),
            codecs::NONE if self.parcel.body.is_empty() => Ok(&[0x90]), // an empty array: no arguments
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("arguments in codec {other}; this object reads the native codec, {}", codecs::NATIVE),
            )),
        }
    }

    /// The arguments with what came beside them, for those who read them by themselves.
    pub(crate) fn take_arguments(&mut self) -> Parcel {
        std::mem::take(&mut self.parcel)
    }

    /// What came beside the arguments.
    pub(crate) fn beside(&self) -> Beside<'_> {
        self.parcel.beside()
    }

    /// The connection that it came on.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        match &self.reply_to {
            ReplyTo::Link { .. } => self.state.link.as_ref(),
            _ => None,
        }
    }

    /// The peer's number of it, where it came on a connection.
    pub(crate) fn id(&self) -> Option<u64> {
        match &self.reply_to {
            ReplyTo::Link { id, .. } => Some(*id),
            _ => None,
        }
    }

    pub(crate) fn is_notify(&self) -> bool {
        matches!(self.reply_to, ReplyTo::Link { notify: true, .. })
    }

    /// A thread takes it to run it. Until [`begin`](Call::begin) its connection starts no other.
    pub(crate) fn start(&self) {
        if let Some(link) = self.link() {
            self.starting.store(true, Ordering::Relaxed);
            link.starting(true);
        }
    }

    /// Its method begins, or never will.
    pub(crate) fn begin(&self) {
        // Relaxed: it goes from thread to thread with the call.
        if self.starting.swap(false, Ordering::Relaxed)
            && let Some(link) = self.link()
        {
            link.starting(false);
        }
    }

    /// Refuses to start what nobody waits for.
    pub(crate) fn check(&self) -> Result<()> {
        if self.state.is_cancelled() {
            return Err(self.state.given_up(" before the method began; it did not run"));
        }
        Ok(())
    }

    /// What its handler knows of it.
    pub(crate) fn state(&self) -> &Arc<CallState> {
        &self.state
    }

    /// Runs `handler` as the handler of this call.
    pub(crate) fn enter<R>(&self, handler: impl FnOnce() -> R) -> R {
        context::enter(self.state.clone(), handler)
    }

    /// Answers.
    pub(crate) fn answer(mut self, outcome: Result<Reply>) {
        self.settle(outcome.map(OutParcel::from));
    }

    /// Answers with what another engine encoded.
    pub(crate) fn answer_with(mut self, outcome: Result<Message>) {
        self.settle(outcome.map(|message| message.0.into()));
    }

    fn settle(&mut self, outcome: Result<OutParcel<'_>>) {
        self.begin();
        let outcome = outcome.map_err(|error| self.unless_late(error));
        match std::mem::replace(&mut self.reply_to, ReplyTo::Nobody) {
            ReplyTo::Link { id, .. } => {
                if let Some(link) = &self.state.link {
                    link.answer(id, outcome);
                }
            }
            ReplyTo::Here(slot) => slot.fill(outcome.map(OutParcel::into_parcel)),
            ReplyTo::Nobody => {}
        }
    }

    /// What was given up because its time was over failed for that. This may reach the caller before its own clock does.
    fn unless_late(&self, error: Error) -> Error {
        let late = self.state.deadline.is_some_and(|deadline| deadline <= Instant::now());
        match error.kind() {
            ErrorKind::Cancelled if late => {
                Error::new(ErrorKind::Deadline, "the time for the call was over before it was answered")
            }
            _ => error,
        }
    }

    /// Passes the call on to an object at the end of another connection, unread, and its answer back. Does not wait.
    pub(crate) fn forward(self, to: &Arc<Remote>) {
        self.pass_on(&to.link, Callee::Object(to.id), None);
    }

    /// Passes the call on to what the caller's call `of` will give, which was passed on under this number.
    pub(crate) fn forward_to_promise(self, of: u64, to: &Weak<Link>, number: u64) {
        match to.upgrade() {
            Some(link) => self.pass_on(&link, Callee::ResultOf(number), Some(of)),
            None => {
                let text = "the process that provides this object is gone; the method did not run";
                self.answer(Err(Error::new(ErrorKind::Unavailable, text)));
            }
        }
    }

    fn pass_on(mut self, to: &Arc<Link>, callee: Callee, promise_of: Option<u64>) {
        self.begin();
        // From here to the sending of it the promise is not kept: else this call would lose its stream.
        let Some(state_there) = to.lock_for(callee) else {
            return match (self.link().cloned(), promise_of) {
                (Some(link), Some(of)) => link.start_kept(of, self),
                _ => self.answer(Err(no_object())),
            };
        };
        let (state, method) = (self.state.clone(), std::mem::take(&mut self.method));
        let parcel = std::mem::take(&mut self.parcel).into();
        let (chain, deadline, annotations) = (state.chain, state.deadline, state.annotations.clone());
        let call = OutCall { callee, method: &method, chain, deadline, annotations, parcel };
        if self.is_notify() {
            let sent = to.pass_on(state_there, call, self.link().zip(self.id()));
            return self.settle(sent.map(|()| Parcel::default().into()));
        }
        let link = to.clone();
        let provider = Arc::downgrade(&link);
        let origin = self.link().cloned().zip(self.id());
        let back = self;
        link.clone().call_with(
            state_there,
            call,
            move |outcome| {
                let mut back = back;
                back.state.forget_hooks();
                let outcome = outcome.map_err(|error| seen_from_afar(error, &provider));
                back.settle(outcome.map(OutParcel::from));
            },
            move |forwarded| {
                let link = Arc::downgrade(&link);
                if let Some((origin, id)) = origin {
                    origin.passed_on(id, &link, forwarded);
                }
                state.on_cancel(move || {
                    if let Some(link) = link.upgrade() {
                        link.cancel(forwarded);
                    }
                });
            },
        );
    }
}

/// An error of a call that was passed on, for a caller to whom "the connection" is another one.
fn seen_from_afar(error: Error, provider: &Weak<Link>) -> Error {
    let gone = provider.upgrade().is_none_or(|link| link.ended().is_some());
    let text = match error.kind() {
        ErrorKind::Unknown if gone => {
            "the process that provides this object was lost before it answered; the method may have run"
        }
        ErrorKind::Unavailable if gone => {
            "the process that provides this object is gone; the method did not run"
        }
        _ => return error,
    };
    Error::new(error.kind(), text)
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.method)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !matches!(self.reply_to, ReplyTo::Nobody) {
            self.settle(Err(Error::new(ErrorKind::Internal, "the handler ended without an answer")));
        }
    }
}

/// Where the answer to a call within this process is put.
#[derive(Default)]
pub(crate) struct LocalSlot {
    outcome: Mutex<Outcome>,
    filled: Condvar,
}

#[derive(Default)]
struct Outcome {
    of_call: Option<Result<Parcel>>,
    /// The task that waits for it.
    waker: Option<Waker>,
}

impl LocalSlot {
    fn fill(&self, outcome: Result<Parcel>) {
        let mut filled = lock(&self.outcome);
        filled.of_call = Some(outcome);
        let waker = filled.waker.take();
        drop(filled);
        self.filled.notify_all();
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn poll(&self, context: &task::Context<'_>) -> Poll<Result<Parcel>> {
        let mut outcome = lock(&self.outcome);
        match outcome.of_call.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                outcome.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Parcel> {
        let mut outcome = lock(&self.outcome);
        loop {
            if let Some(outcome) = outcome.of_call.take() {
                return outcome;
            }
            outcome = match deadline {
                None => self.filled.wait(outcome).unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Error::new(ErrorKind::Deadline, "no answer came in the time allowed"));
                    }
                    let waited = self.filled.wait_timeout(outcome, left);
                    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                }
            };
        }
    }
}
