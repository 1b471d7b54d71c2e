//! A call under way.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Instant;

use andiron_proto::ErrorKind;
use serde::de::DeserializeOwned;

use crate::call::{LocalSlot, Parcel};
use crate::context::{CallState, Origin};
use crate::engine::{Canceller, Message};
use crate::link::{Link, no_object};
use crate::proxy::{Proxy, What, decode, with_named_items};
use crate::target::{Promised, Target};
use crate::{Error, Result};

/// A call under way: [`wait`](Pending::wait) for its result, or await it. Dropping it without that cancels the call.
#[must_use = "a call whose handle is dropped is cancelled"]
pub struct Pending<R> {
    state: Waiting,
    what: What,
    result: PhantomData<fn() -> R>,
}

pub(crate) enum Waiting {
    Remote(CallUnderWay),
    Local(Arc<LocalSlot>, Option<Instant>),
    /// It was not even sent.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    Failed(Error),
    /// It may be made again over another connection.
    #[cfg(feature = "tokio")]
    Again(crate::aio::CallAgain),
    Done,
}

/// A call over one connection, which is given up when this is dropped before the answer is there.
pub(crate) struct CallUnderWay {
    link: Arc<Link>,
    /// 0 once it is answered.
    id: u64,
    chain: u64,
    _behalf: Option<Behalf>,
}

impl CallUnderWay {
    pub(crate) fn new(link: Arc<Link>, id: u64, origin: &Origin) -> CallUnderWay {
        let behalf = cancel_with(origin, &link, id);
        CallUnderWay { link, id, chain: origin.chain, _behalf: behalf }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Lets it go on although nobody wants the answer.
    pub(crate) fn leave(&mut self) {
        self.link.forget(std::mem::take(&mut self.id));
    }

    /// The answer, if it is there; then nothing is under way any more.
    pub(crate) fn take_answer(&self) -> Option<Result<Parcel>> {
        self.link.take_answer(self.id)
    }

    fn wait(mut self) -> Result<Parcel> {
        let id = std::mem::take(&mut self.id);
        self.link.wait(id, self.chain)
    }

    fn wait_until(&mut self, until: Option<Instant>) -> Result<Option<Result<Parcel>>> {
        let outcome = self.link.wait_until(self.id, self.chain, until)?;
        if outcome.is_some() {
            self.id = 0;
        }
        Ok(outcome)
    }

    pub(crate) fn poll(&mut self, context: &task::Context<'_>) -> Poll<Result<Parcel>> {
        let outcome = ready!(self.link.poll_answer(self.id, context));
        self.id = 0;
        Poll::Ready(outcome)
    }
}

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        if self.id != 0 {
            self.link.abandon(self.id);
        }
    }
}

impl<R> Pending<R> {
    pub(crate) fn new(state: Waiting, what: What) -> Pending<R> {
        Pending { state, what, result: PhantomData }
    }
}

impl<R: DeserializeOwned> Pending<R> {
    /// Waits for the result.
    ///
    /// # Errors
    /// As for [`Proxy::call`].
    pub fn wait(self) -> Result<R> {
        let what = self.what.clone();
        self.wait_parcel().and_then(decode).map_err(|error| what.name(error))
    }
}

impl Pending<Message> {
    /// Waits for the result, which is not decoded.
    ///
    /// # Errors
    /// As for [`Proxy::call`].
    #[doc(hidden)]
    pub fn wait_encoded(self) -> Result<Message> {
        let what = self.what.clone();
        self.wait_parcel().map(Message).map_err(|error| what.name(error))
    }

    /// The result, which is not decoded and waited for until then at most; `None`: it is not there yet. It is given once.
    ///
    /// # Errors
    /// A signal ended the wait, and not the call.
    #[doc(hidden)]
    pub fn wait_encoded_until(&mut self, until: Option<Instant>) -> Result<Option<Result<Message>>> {
        let outcome = match &mut self.state {
            Waiting::Remote(call) => match call.wait_until(until)? {
                Some(outcome) => outcome,
                None => return Ok(None),
            },
            Waiting::Local(slot, deadline) => slot.wait(*deadline), // it has run already, as a rule
            _ => return Ok(Some(std::mem::replace(self, Pending::over()).wait_encoded())),
        };
        self.state = Waiting::Done;
        let outcome = outcome.map(|parcel| Message(with_named_items(parcel, || self.what.clone())));
        Ok(Some(outcome.map_err(|error| self.what.name(error))))
    }

    /// What gives the call up while somebody waits for it.
    #[doc(hidden)]
    pub fn canceller(&self) -> Canceller {
        Canceller(match &self.state {
            Waiting::Remote(call) => Some((Arc::downgrade(&call.link), call.id)),
            _ => None,
        })
    }

    /// Lets the call go on although nobody wants its result.
    #[doc(hidden)]
    pub fn leave(mut self) {
        if let Waiting::Remote(call) = &mut self.state {
            call.leave();
        }
    }

    fn over() -> Pending<Message> {
        Pending::new(Waiting::Done, What::unnamed())
    }
}

impl<R> Pending<R> {
    fn wait_parcel(mut self) -> Result<Parcel> {
        let outcome = match std::mem::replace(&mut self.state, Waiting::Done) {
            Waiting::Remote(call) => call.wait(),
            Waiting::Local(slot, deadline) => slot.wait(deadline),
            Waiting::Failed(error) => Err(error),
            #[cfg(feature = "tokio")]
            Waiting::Again(_) => Err(Error::new(ErrorKind::Internal, "this call is to be awaited")),
            Waiting::Done => Err(Error::new(ErrorKind::Internal, "this call was waited for before")),
        };
        outcome.map(|parcel| with_named_items(parcel, || self.what.clone()))
    }
}

impl<R: DeserializeOwned> Future for Pending<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Result<R>> {
        let outcome = ready!(self.poll_parcel(context));
        Poll::Ready(outcome.and_then(|parcel| decode(parcel).map_err(|error| self.what.name(error))))
    }
}

impl<R> Pending<R> {
    pub(crate) fn poll_parcel(&mut self, context: &mut task::Context<'_>) -> Poll<Result<Parcel>> {
        let outcome = match &mut self.state {
            Waiting::Remote(call) => ready!(call.poll(context)),
            Waiting::Local(slot, _) => ready!(slot.poll(context)),
            #[cfg(feature = "tokio")]
            Waiting::Again(call) => ready!(call.poll(context)),
            Waiting::Failed(_) | Waiting::Done => match std::mem::replace(&mut self.state, Waiting::Done) {
                Waiting::Failed(error) => return Poll::Ready(Err(error)),
                _ => panic!("a call was awaited again after its result was there"),
            },
        };
        self.state = Waiting::Done;
        let outcome = outcome.map(|parcel| with_named_items(parcel, || self.what.clone()));
        Poll::Ready(outcome.map_err(|error| self.what.name(error)))
    }
}

impl<P: From<Proxy>> Pending<P> {
    /// The object that the call will give, as something that can be called right away: such calls are sent behind this one without waiting
    /// for it, so all of them take one way to and fro. If this one fails, or gives something else, they fail with the same error and did not
    /// run. At most sixteen such calls can depend on each other in a row. A call that was built upon is not made again when its connection is
    /// lost.
    ///
    /// ```
    /// # struct Shelf;
    /// # #[andiron::expose]
    /// # impl Shelf { fn disc(&self, number: u32) -> DiscProxy { Disc(number).into() } }
    /// # struct Disc(u32);
    /// # #[andiron::expose]
    /// # impl Disc { fn title(&self) -> String { format!("No. {}", self.0) } }
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let address = &format!("unix:{}/socket", folder.path().display());
    /// # let _server = andiron::Server::bind(address)?.object("shelf", Shelf)?.start()?;
    /// let shelf: ShelfProxy = andiron::Hub::connect(address)?.object("shelf")?;
    /// let disc = shelf.start_disc(5)?.promise();
    /// assert_eq!(disc.title()?, "No. 5");
    /// # Ok::<(), andiron::Error>(())
    /// ```
    pub fn promise(mut self) -> P {
        let target = match std::mem::replace(&mut self.state, Waiting::Done) {
            Waiting::Remote(call) => Promised::new(call),
            Waiting::Local(slot, deadline) => Promised::settled_to(slot.wait(deadline)),
            Waiting::Failed(error) => Promised::settled_to(Err(error)),
            #[cfg(feature = "tokio")]
            Waiting::Again(call) => match call.under_way() {
                Some(call) => Promised::new(call),
                None => Promised::settled_to(Err(Error::new(
                    ErrorKind::Unavailable,
                    "the connection was lost and there is no other yet: a call of a promise is not made again",
                ))),
            },
            Waiting::Done => Promised::settled_to(Err(no_object())),
        };
        P::from(Proxy::of(Target::Promised(Arc::new(target))).labelled(&self.what.method))
    }
}

impl<R> Pending<R> {
    /// A call that was not even sent, for who awaits it to hear.
    #[cfg(feature = "tokio")]
    pub(crate) fn failed(error: Error) -> Pending<R> {
        Pending::new(Waiting::Failed(error), What::unnamed())
    }

    /// Gives the call up: the other end is told, and its handler can learn it.
    pub fn cancel(self) {}
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({})", self.what.method)
    }
}

/// Gives the call up when that one is cancelled on whose behalf it is made.
pub(crate) fn cancel_with(origin: &Origin, link: &Arc<Link>, id: u64) -> Option<Behalf> {
    let call = origin.call.clone()?;
    let link = Arc::downgrade(link);
    let hook = call.on_cancel(move || {
        if let Some(link) = link.upgrade() {
            link.cancel(id);
        }
    });
    Some(Behalf { call, hook })
}

/// That a call is made on behalf of another one, which need not know of it any longer than it lasts.
pub(crate) struct Behalf {
    call: Arc<CallState>,
    hook: u64,
}

impl Drop for Behalf {
    fn drop(&mut self) {
        self.call.forget_hook(self.hook);
    }
}
