//! What callers hold: an object anywhere.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, ready};
use std::time::Duration;

use andiron_proto::codec::{self, Decoder, Token};
use andiron_proto::wire::codecs;
use andiron_proto::{Body, ErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::{Call, LocalSlot, Parcel};
use crate::context::{self, Annotations, CallState, Origin};
use crate::engine::Message;
use crate::line::{Again, Line, Named};
use crate::link::{Callee, Link, OutCall, OutParcel};
use crate::object::{DESCRIBE, Exposed, Object, admit};
use crate::pending::{CallUnderWay, Pending, Waiting, cancel_with};
use crate::stream::Items;
use crate::sync::lock;
use crate::target::{self, Carried, Presently, Remote, Target, collecting, with_incoming};
use crate::{Error, Expose, Interface, Result};

/// An object that can be called: of another process, or of this one. For any thread; a clone is the same object.
///
/// Typed proxies (`PlayerProxy`) are made by [`expose`](macro@crate::expose); this one takes names and any arguments that serde knows. A proxy
/// can be sent as an argument or a result: the receiver gets a proxy of the same object. Dropping the last proxy of an object gives it free
/// at its owner.
#[derive(Clone)]
pub struct Proxy {
    target: Target,
    timeout: Option<Duration>,
    annotations: Annotations,
    label: Option<Arc<str>>,
    /// The name by which it is found again over the next connection.
    named: Option<Arc<Named>>,
    /// Its calls may be repeated although they may have run.
    idempotent: bool,
}

impl Proxy {
    /// A proxy of an object of this process, for instance to pass it as a callback.
    pub fn local<T: Expose>(object: T) -> Proxy {
        Proxy::of(Target::Local(Arc::new(Exposed::new(object, false))))
    }

    pub(crate) fn of(target: Target) -> Proxy {
        Proxy { target, timeout: None, annotations: None, label: None, named: None, idempotent: false }
    }

    pub(crate) fn root(link: Arc<Link>) -> Proxy {
        Proxy::of(Target::Remote(Arc::new(Remote::root(link)))).labelled("server")
    }

    /// The root of whatever connection this line has: calls are made again over the next one where that is right.
    pub(crate) fn root_of(line: &Arc<Line>) -> Proxy {
        let root = Proxy::root(line.link());
        match (line.retries(), &root.target) {
            (true, Target::Remote(found)) => {
                Proxy { named: Some(Named::root(line.clone(), found.clone())), ..root }
            }
            _ => root,
        }
    }

    /// The connection at which the object is; `None` for one of this process, or of which is not known yet where it is.
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        match &self.target {
            Target::Remote(remote) => Some(&remote.link),
            Target::Local(_) | Target::Promised(_) => None,
        }
    }

    /// The same proxy with a name for error messages.
    pub(crate) fn labelled(mut self, label: &str) -> Proxy {
        self.label = Some(label.into());
        self
    }

    /// The same proxy as one that was looked up by this name.
    pub(crate) fn named(mut self, line: &Arc<Line>, name: &str) -> Proxy {
        if let (true, Target::Remote(found)) = (line.retries(), &self.target) {
            self.named = Some(Named::new(line.clone(), name, found.clone()));
        }
        self.labelled(name)
    }

    pub(crate) fn name_held(&self) -> Option<&Arc<Named>> {
        self.named.as_ref()
    }

    pub(crate) fn timeout_of_calls(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The same object with a limit to the time of each call. Within a handler, a call never takes longer than what its own
    /// caller has left. A method of an object of this process, once begun, runs to its end on the caller's thread, which can ask
    /// [`current`](crate::current) for the time left.
    pub fn with_timeout(&self, timeout: Duration) -> Proxy {
        Proxy { timeout: Some(timeout), ..self.clone() }
    }

    /// The same object with something that is said beside the arguments of each call, such as where in a trace it belongs: a map of text to values, or a struct, of
    /// at most 8192 bytes. The method can read it by [`Context::annotation`](crate::Context::annotation); the daemon passes it on.
    ///
    /// ```
    /// # struct Player;
    /// #[andiron::expose]
    /// impl Player {
    ///     fn trace(&self) -> Option<String> {
    ///         andiron::current()?.annotation("trace").ok()?
    ///     }
    /// }
    /// # fn main() -> andiron::Result<()> {
    /// # let server = andiron::Server::new()?.object("player", Player)?.start()?;
    /// # let player: andiron::Proxy = server.connect()?.object("player")?;
    /// let player = PlayerProxy::from(player.with_annotations(&[("trace", "abc")].into_iter().collect::<std::collections::BTreeMap<_, _>>())?);
    /// assert_eq!(player.trace()?.as_deref(), Some("abc"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Encoding` where they cannot be encoded, or are no map.
    pub fn with_annotations(&self, annotations: &(impl Serialize + ?Sized)) -> Result<Proxy> {
        let refused = |why: String| {
            let text = format!("the annotations cannot be encoded: {why}");
            Error::new(ErrorKind::Encoding, text)
        };
        let bytes = codec::to_vec(annotations).map_err(|error| refused(error.to_string()))?;
        match Decoder::new(&bytes).token() {
            Ok(Token::Map(_)) => Ok(self.with_encoded_annotations(bytes.into())),
            _ => Err(refused("they are no map".to_owned())),
        }
    }

    /// The same of a map that is encoded.
    #[doc(hidden)]
    pub fn with_encoded_annotations(&self, annotations: Arc<[u8]>) -> Proxy {
        Proxy { annotations: Some(annotations), ..self.clone() }
    }

    fn origin(&self) -> Result<Origin> {
        context::origin(self.timeout, self.annotations.clone())
    }

    /// The same proxy, whose calls may be repeated although they may have run: over a connection that [retries](crate::Connector::retry) they
    /// are, until one is answered. Typed proxies do so for methods marked `#[expose(idempotent)]`.
    pub fn idempotent(&self) -> Proxy {
        Proxy { idempotent: true, ..self.clone() }
    }

    /// Equal for proxies of the same object.
    #[doc(hidden)]
    pub fn identity(&self) -> (usize, u64) {
        match &self.target {
            Target::Local(object) => (Arc::as_ptr(object).cast::<()>() as usize, 0),
            Target::Promised(promised) => (Arc::as_ptr(promised) as usize, 0),
            Target::Remote(remote) => (Arc::as_ptr(&remote.link) as usize, remote.id),
        }
    }

    /// Calls a method and waits for its result. `args` is a tuple, one element for each argument.
    ///
    /// # Errors
    /// What the method returned as its error, or why the call could not be made; see [`ErrorKind`].
    pub fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        let Target::Remote(remote) = &self.target else { return self.start(method, args)?.wait() };
        let outcome = self.origin().and_then(|origin| {
            let (body, carried) = self.encode(args)?;
            self.call_from(&origin, remote, method, &body, carried)
        });
        let outcome = outcome.map(|parcel| with_named_items(parcel, || self.what(method)));
        outcome.and_then(decode).map_err(|error| self.name(error, method))
    }

    /// As [`call`](Proxy::call), with values that are encoded.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn call_encoded(&self, method: &str, args: Message) -> Result<Message> {
        let Target::Remote(remote) = &self.target else {
            return self.start_encoded(method, args)?.wait_encoded();
        };
        let (body, carried) = args.into_carried();
        let outcome =
            self.origin().and_then(|origin| self.call_from(&origin, remote, method, &body, carried));
        let outcome = outcome.map(|parcel| Message(with_named_items(parcel, || self.what(method))));
        outcome.map_err(|error| self.name(error, method))
    }

    fn call_from(
        &self,
        origin: &Origin,
        remote: &Remote,
        method: &str,
        body: &[u8],
        carried: Carried,
    ) -> Result<Parcel> {
        let Some(named) = &self.named else {
            return call_remote(remote, method, origin, body, carried);
        };
        let mut again = Again::new(carried, self.idempotent);
        named.call(origin, &mut again, |remote, carried| call_remote(remote, method, origin, body, carried))
    }

    /// Calls a method; its result is waited for later.
    ///
    /// # Errors
    /// Why the call could not be made.
    pub fn start<R: DeserializeOwned>(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Pending<R>> {
        let origin = self.origin().map_err(|error| self.name(error, method))?;
        let (body, carried) = self.encode(args).map_err(|error| self.name(error, method))?;
        self.start_from(&origin, method, body.into(), carried)
    }

    /// As [`start`](Proxy::start), with values that are encoded.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn start_encoded(&self, method: &str, args: Message) -> Result<Pending<Message>> {
        let origin = self.origin().map_err(|error| self.name(error, method))?;
        let (body, carried) = args.into_carried();
        self.start_from(&origin, method, body, carried)
    }

    fn start_from<R>(
        &self,
        origin: &Origin,
        method: &str,
        body: Bytes,
        carried: Carried,
    ) -> Result<Pending<R>> {
        let started = self.send_to(origin, carried, |place, carried| match place {
            Place::There(link, callee) => {
                let id = link.call(out_call(callee, method, origin, &body, carried))?;
                Ok(Waiting::Remote(CallUnderWay::new(link.clone(), id, origin)))
            }
            Place::Here(object) => {
                Ok(Waiting::Local(call_local(object, method, body.clone(), carried, origin), origin.deadline))
            }
        });
        let state = started.map_err(|error| self.name(error, method))?;
        Ok(Pending::new(state, self.what(method)))
    }

    /// Calls a method one way: returns as soon as the call is on its way. Whether it succeeds is not known here.
    ///
    /// # Errors
    /// Why the call could not be sent.
    pub fn notify(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<()> {
        self.notify_by(method, args, |link, call| link.notify(call))
    }

    /// As [`notify`](Proxy::notify), but does not wait where the peer reads too slowly: gives the connection that has to be waited for.
    #[cfg(feature = "tokio")]
    pub(crate) fn notify_at_once(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Option<Arc<Link>>> {
        let mut slow = None;
        self.notify_by(method, args, |link, call| {
            slow = link.notify_at_once(call)?.then(|| link.clone());
            Ok(())
        })?;
        Ok(slow)
    }

    /// As [`notify`](Proxy::notify), with values that are encoded.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn notify_encoded(&self, method: &str, args: Message) -> Result<()> {
        let origin = self.origin().map_err(|error| self.name(error, method))?;
        let (body, carried) = args.into_carried();
        self.notify_from(&origin, method, &body, carried, |link, call| link.notify(call))
    }

    fn notify_by(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
        send: impl FnMut(&Arc<Link>, OutCall<'_>) -> Result<()>,
    ) -> Result<()> {
        let origin = self.origin().map_err(|error| self.name(error, method))?;
        let (body, carried) = self.encode(args).map_err(|error| self.name(error, method))?;
        self.notify_from(&origin, method, &body, carried, send)
    }

    fn notify_from(
        &self,
        origin: &Origin,
        method: &str,
        body: &[u8],
        carried: Carried,
        mut send: impl FnMut(&Arc<Link>, OutCall<'_>) -> Result<()>,
    ) -> Result<()> {
        let sent = self.send_to(origin, carried, |place, carried| match place {
            Place::There(link, callee) => send(link, out_call(callee, method, origin, body, carried)),
            Place::Here(object) => {
                call_local(object, method, Bytes::copy_from_slice(body), carried, origin);
                Ok(())
            }
        });
        sent.map_err(|error| self.name(error, method))
    }

    /// Sends a call to wherever the object is now.
    fn send_to<R>(
        &self,
        origin: &Origin,
        carried: Carried,
        mut send: impl FnMut(Place<'_>, Carried) -> Result<R>,
    ) -> Result<R> {
        let mut again = Again::new(carried, false);
        loop {
            match &*self.present_target(origin)? {
                Target::Remote(remote) => {
                    return send(Place::There(&remote.link, Callee::Object(remote.id)), again.carried());
                }
                Target::Local(object) => return send(Place::Here(object), again.carried()),
                Target::Promised(promised) => {
                    let Presently::ResultOf(link, call) = promised.presently() else { continue };
                    match send(Place::There(&link, Callee::ResultOf(call)), again.carried()) {
                        // Its answer was taken just now.
                        Err(error) if error.kind() == ErrorKind::NoObject && promised.is_settled() => {}
                        sent => return sent,
                    }
                }
            }
        }
    }

    /// Calls a method for a task to await, over the next connection where one was lost.
    #[cfg(feature = "tokio")]
    pub(crate) fn call_for_task<R: DeserializeOwned>(
        &self,
        method: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Pending<R> {
        let Some(named) = &self.named else {
            return self.start(method, args).unwrap_or_else(Pending::failed);
        };
        let begun = self.origin().and_then(|origin| Ok((origin, self.encode(args)?)));
        let state = match begun {
            Ok((origin, (body, carried))) => {
                let again = Again::new(carried, self.idempotent);
                Waiting::Again(crate::aio::CallAgain::new(named.clone(), origin, again, method, body))
            }
            Err(error) => Waiting::Failed(self.name(error, method)),
        };
        Pending::new(state, self.what(method))
    }

    /// What the object can do.
    ///
    /// # Errors
    /// As for [`call`](Proxy::call).
    pub fn describe(&self) -> Result<Interface> {
        self.call(DESCRIBE, &())
    }

    /// The object, over the next connection where one was lost.
    fn present_target(&self, origin: &Origin) -> Result<Cow<'_, Target>> {
        match &self.named {
            None => match &self.target {
                Target::Promised(promised) => match promised.presently() {
                    Presently::Settled(object) => object.map(Cow::Owned),
                    Presently::ResultOf(..) => Ok(Cow::Borrowed(&self.target)),
                },
                target => Ok(Cow::Borrowed(target)),
            },
            Some(named) => {
                named.remote(named.deadline(origin)).map(|remote| Cow::Owned(Target::Remote(remote)))
            }
        }
    }

    fn encode(&self, args: &(impl Serialize + ?Sized)) -> Result<(Vec<u8>, Carried)> {
        let mut body = Vec::with_capacity(64);
        let (encoded, carried) = collecting(|| codec::encode_args(args, &mut body));
        match encoded {
            Ok(()) => Ok((body, carried)),
            Err(error) => {
                let text = format!("the arguments cannot be encoded: {error}");
                Err(Error::new(ErrorKind::Encoding, text).with_source(error))
            }
        }
    }

    fn what(&self, method: &str) -> What {
        What { label: self.label.clone(), method: method.into() }
    }

    fn name(&self, error: Error, method: &str) -> Error {
        self.what(method).name(error)
    }
}

/// What is being called, for error messages.
#[derive(Clone)]
pub(crate) struct What {
    label: Option<Arc<str>>,
    pub(crate) method: Box<str>,
}

impl What {
    /// For what was never called, or is over.
    pub(crate) fn unnamed() -> What {
        What { label: None, method: "".into() }
    }

    pub(crate) fn name(&self, error: Error) -> Error {
        let method: Cow<'_, str> =
            if &*self.method == DESCRIBE { "describe".into() } else { (&*self.method).into() };
        error.of_call(format!("{}.{method}", self.label.as_deref().unwrap_or("object")))
    }
}

/// The items of a stream that a method gave. Their error says what was called, as that of the call would.
struct NamedItems {
    items: Box<dyn Items>,
    what: What,
}

impl Items for NamedItems {
    fn poll_next(&mut self, context: &mut task::Context<'_>) -> Poll<Option<Result<Parcel>>> {
        let item = ready!(self.items.poll_next(context));
        Poll::Ready(item.map(|item| item.map_err(|error| self.what.name(error))))
    }

    fn may_block(&self) -> bool {
        self.items.may_block()
    }

    fn next(&mut self) -> Option<Result<Parcel>> {
        self.items.next().map(|item| item.map_err(|error| self.what.name(error)))
    }
}

pub(crate) fn with_named_items(parcel: Parcel, what: impl FnOnce() -> What) -> Parcel {
    if let Some(stream) = &parcel.stream {
        let mut items = lock(stream);
        *items = items.take().map(|items| -> Box<dyn Items> { Box::new(NamedItems { items, what: what() }) });
    }
    parcel
}

pub(crate) fn out_call<'a>(
    callee: Callee,
    method: &'a str,
    origin: &Origin,
    body: &'a [u8],
    carried: Carried,
) -> OutCall<'a> {
    let Carried { targets, attached, stream } = carried;
    let body = Body::Slice(body);
    let parcel = OutParcel { codec: codecs::NATIVE, body, targets, attached, stream };
    let (chain, deadline, annotations) = (origin.chain, origin.deadline, origin.annotations.clone());
    OutCall { callee, method, chain, deadline, annotations, parcel }
}

/// Where a call goes.
enum Place<'a> {
    There(&'a Arc<Link>, Callee),
    Here(&'a Arc<dyn Object>),
}

fn call_remote(
    remote: &Remote,
    method: &str,
    origin: &Origin,
    body: &[u8],
    carried: Carried,
) -> Result<Parcel> {
    let callee = Callee::Object(remote.id);
    let begun = remote.link.call_to_wait(out_call(callee, method, origin, body, carried))?;
    let _behalf = cancel_with(origin, &remote.link, begun.0);
    remote.link.wait_as(begun, origin.chain)
}

fn call_local(
    object: &Arc<dyn Object>,
    method: &str,
    body: bytes::Bytes,
    carried: Carried,
    origin: &Origin,
) -> Arc<LocalSlot> {
    let slot = Arc::new(LocalSlot::default());
    let Carried { targets, attached, stream } = carried;
    let stream = stream.map(|stream| Box::new(Mutex::new(Some(stream))));
    let parcel = Parcel { codec: codecs::NATIVE, body, targets, attached, stream };
    let link = origin.call.as_ref().and_then(|call| call.link.clone());
    let state = CallState::new(origin.chain, origin.deadline, link);
    let state = Arc::new(state.with_annotations(origin.annotations.clone()));
    let call = Call::local(slot.clone(), method.to_owned(), parcel, state);
    admit(object.clone(), call).run();
    slot
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} {:?})", self.label.as_deref().unwrap_or("unnamed"), self.target)
    }
}

/// Two proxies are equal when they are of the same object.
impl PartialEq for Proxy {
    fn eq(&self, other: &Proxy) -> bool {
        self.target.is(&other.target)
    }
}

impl Serialize for Proxy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let position = target::put(&self.target).map_err(serde::ser::Error::custom)?;
        codec::Ref(position).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let position = codec::Ref::deserialize(deserializer)?.0;
        let target = target::take(position);
        let missing = || serde::de::Error::custom("an object reference that is not in the message");
        target.map(Proxy::of).ok_or_else(missing)
    }
}

pub(crate) fn decode<R: DeserializeOwned>(parcel: Parcel) -> Result<R> {
    if parcel.codec != codecs::NATIVE {
        // A one-way method that is called two-way answers with nothing at all.
        let nothing = parcel.codec == codecs::NONE && parcel.body.is_empty();
        let body: &[u8] = if nothing { &[0xc0] } else { return Err(unknown_codec(parcel.codec)) };
        return codec::from_slice(body).map_err(undecodable);
    }
    with_incoming(parcel.beside(), || codec::from_slice(&parcel.body))
        .map_err(|unread| unread.or(undecodable))
}

fn unknown_codec(codec: u8) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the result is in codec {codec}, which this program does not know"),
    )
}

fn undecodable(error: codec::DecodeError) -> Error {
    Error::new(ErrorKind::Encoding, format!("the result is of another type than asked for: {error}"))
        .with_source(error)
}
