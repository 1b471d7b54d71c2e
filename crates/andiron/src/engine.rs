//! For the engines of other languages: calls whose values they encode and decode themselves, and objects whose methods are known at run time only.
//!
//! Programs in Rust have no use for it: [`expose`](macro@crate::expose) and typed proxies do all of it.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use andiron_proto::ErrorKind;
use andiron_proto::wire::codecs;
use andiron_sys::memory::{Sealed, Unmapped};
use bytes::Bytes;

use crate::call::{Call, Parcel};
use crate::link::{Link, TaskRead};
use crate::object::{Job, Object};
pub use crate::store::Kept;
use crate::stream::Items;
use crate::sync::{contained, lock};
use crate::target::{self, Carried, Target, collecting, with_incoming};
use crate::{Blob, Connector, Error, Hub, Pending, Proxy, Result, context};

/// An encoded value with the objects, the memory and the stream that it names.
#[derive(Default)]
pub struct Message(pub(crate) Parcel);

impl Message {
    /// Runs an encoder, which writes one value in the native codec. What goes beside it is told by [`place`], [`place_blob`] and [`place_stream`] meanwhile.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn encode<E>(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Message, E> {
        let mut bytes = Vec::with_capacity(64);
        let (encoded, carried) = collecting(|| encode(&mut bytes));
        encoded?;
        let Carried { targets, attached, stream } = carried;
        let stream = stream.map(|stream| Box::new(Mutex::new(Some(stream))));
        let body = Bytes::from(bytes);
        Ok(Message(Parcel { codec: codecs::NATIVE, body, targets, attached, stream }))
    }

    /// Runs a decoder on the bytes of the value, or of the arguments of a call. What stands beside it is got by [`object`], [`blob`] and [`stream`] meanwhile.
    ///
    /// # Errors
    /// Those of the decoder; `Unsupported` where the value is in another codec.
    pub fn decode<T, E: From<Error>>(&self, decode: impl FnOnce(&[u8]) -> Result<T, E>) -> Result<T, E> {
        let bytes: &[u8] = match self.0.codec {
            codecs::NATIVE => &self.0.body,
            codecs::NONE if self.0.body.is_empty() => &[0xc0],
            other => {
                let text = format!("the value is in codec {other}, which this program does not know");
                return Err(Error::new(ErrorKind::Unsupported, text).into());
            }
        };
        with_incoming(self.0.beside(), || decode(bytes)).map_err(|unread| unread.or_else(E::from))
    }

    /// True where a stream goes with it, which nobody has taken.
    pub fn has_stream(&self) -> bool {
        self.0.stream.as_ref().is_some_and(|stream| lock(stream).is_some())
    }

    pub(crate) fn into_carried(self) -> (Bytes, Carried) {
        let Parcel { body, targets, attached, stream, .. } = self.0;
        let stream = stream.and_then(|stream| lock(&stream).take());
        (body, Carried { targets, attached, stream })
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.0.body.len())
    }
}

/// Names an object in the value that is being encoded; gives its position.
///
/// # Errors
/// In words: it cannot be named here.
pub fn place(object: &Proxy) -> Result<u16, String> {
    target::put(object.target())
}

/// Puts memory beside the value that is being encoded; gives its position, or `None` where there is no room for more.
pub fn place_blob(blob: Blob) -> Option<u64> {
    target::attach(crate::blob::Attached::Blob(blob))
}

/// What is written to a file, in memory that can be passed on.
///
/// # Errors
/// Why it could not be written, or that no memory or no descriptor is left.
pub fn written(write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<Blob> {
    Sealed::written(write).and_then(Blob::of)
}

/// Memory that the language maps and fills, to be frozen then.
#[derive(Debug)]
pub struct Room(Unmapped);

impl Room {
    /// So many zeros.
    ///
    /// # Errors
    /// That no memory or no descriptor is left.
    pub fn zeroed(length: usize) -> io::Result<Room> {
        Unmapped::zeroed(length).map(Room)
    }

    /// Fixes the bytes for ever; who has them mapped goes on with a copy. Nobody may unmap them meanwhile.
    ///
    /// # Errors
    /// That no memory or no descriptor is left.
    pub fn freeze(self) -> io::Result<Blob> {
        self.0.freeze().and_then(Blob::of)
    }
}

impl AsFd for Room {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives the value that is being encoded its stream, for which nil stands in it.
///
/// # Errors
/// In words: it has one already.
pub fn place_stream(items: impl Iterator<Item = Result<Message>> + Send + 'static) -> Result<(), String> {
    target::put_stream(Box::new(Encoded(items)))
}

/// As [`place_stream`], of items that come at some time: whoever asks too early is told by the waker.
///
/// # Errors
/// As there.
pub fn place_awaited_stream(
    next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Message>>> + Send + 'static,
) -> Result<(), String> {
    target::put_stream(Box::new(Awaited(next)))
}

/// The object at this position of the value that is being decoded.
pub fn object(position: u16) -> Option<Proxy> {
    target::take(position).map(Proxy::of)
}

/// The memory at this position of the value that is being decoded; `None` where nothing is there.
///
/// # Errors
/// `Encoding` where it is no memory that can be trusted, `Overloaded` where there is no room for it.
pub fn blob(position: u64) -> Option<Result<Blob>> {
    target::attached(position).map(|attached| attached.whole())
}

/// The stream of the value that is being decoded.
pub fn stream() -> Option<Messages> {
    target::take_stream().map(|items| Messages(Some(items)))
}

/// The items of a stream that came.
pub struct Messages(Option<Box<dyn Items>>);

impl Iterator for Messages {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Result<Message>> {
        let item = self.0.as_mut()?.next();
        if !matches!(item, Some(Ok(_))) {
            self.0 = None;
        }
        item.map(|item| item.map(Message))
    }
}

impl Messages {
    /// The next item, if it is there; else the waker is told when it is.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        let Some(items) = &mut self.0 else { return Poll::Ready(None) };
        let item = ready!(items.poll_next(context));
        if !matches!(item, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(item.map(|item| item.map(Message)))
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages")
    }
}

struct Encoded<I>(I);

impl<I: Iterator<Item = Result<Message>> + Send> Items for Encoded<I> {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Parcel>>> {
        Poll::Ready(self.0.next().map(|item| item.map(|message| message.0)))
    }

    fn may_block(&self) -> bool {
        true
    }
}

struct Awaited<F>(F);

impl<F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Message>>> + Send> Items for Awaited<F> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Parcel>>> {
        (self.0)(context).map(|item| item.map(|item| item.map(|message| message.0)))
    }
}

/// An object whose methods are known at run time only. Its calls overlap.
pub trait Dynamic: Send + Sync + 'static {
    /// Has a call answered, now or later; on a thread that runs methods.
    fn call(&self, call: Incoming);
}

/// A call of a [`Dynamic`] object. Where it is dropped its caller hears of a defect.
pub struct Incoming {
    call: Call,
    arguments: Message,
}

impl Incoming {
    /// What is called.
    pub fn method(&self) -> &str {
        self.call.method()
    }

    /// One array, and perhaps a map behind it.
    pub fn arguments(&self) -> &Message {
        &self.arguments
    }

    /// The method begins: from here on the next call of the same connection may start.
    pub fn begin(&self) {
        self.call.begin();
    }

    /// What its handler may ask of it.
    pub fn context(&self) -> context::Context {
        context::Context(self.call.state().clone())
    }

    /// Answers it: with an error where there is no such method, the arguments do not fit, or the method failed.
    pub fn answer(self, outcome: Result<Message>) {
        self.call.answer_with(outcome);
    }

    /// True where nobody waits for an answer.
    pub fn is_notify(&self) -> bool {
        self.call.is_notify()
    }

    /// Has this run when nobody waits for the answer any more; at once if that is so.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) {
        self.call.state().on_cancel(hook);
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming({})", self.method())
    }
}

struct DynamicObject<T>(T);

impl<T: Dynamic> Object for DynamicObject<T> {
    fn as_any(&self) -> Option<&dyn Any> {
        Some(&self.0)
    }

    fn run(self: Arc<Self>, mut call: Call) -> Vec<Job> {
        let arguments = Message(call.take_arguments());
        contained(move || {
            if let Err(error) = call.check() {
                return call.answer_with(Err(error));
            }
            let state = call.state().clone();
            context::enter(state, || self.0.call(Incoming { call, arguments }));
        });
        Vec::new()
    }
}

/// Gives up a call that somebody waits for.
#[derive(Clone, Default)]
pub struct Canceller(pub(crate) Option<(Weak<Link>, u64)>);

impl Canceller {
    /// Gives it up, if it is not over.
    pub fn cancel(&self) {
        if let Some((link, id)) = &self.0
            && let Some(link) = link.upgrade()
        {
            link.cancel(*id);
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canceller")
    }
}

/// A one-way call that failed.
#[derive(Debug)]
pub struct FailedNotify {
    /// What was called.
    pub method: String,
    /// Who was.
    pub peer: String,
    /// Why.
    pub error: Error,
}

static LINES: OnceLock<fn(String)> = OnceLock::new();
static FAILED_NOTIFIES: OnceLock<fn(FailedNotify)> = OnceLock::new();

/// Has lines for people go there and not to the standard error output. Called on any thread, also while it holds locks, so it only takes note. The first one who says so
/// is heard.
pub fn tell_lines(to: fn(String)) {
    LINES.get_or_init(|| to);
}

/// Has one-way calls that failed told there, as lines are in [`tell_lines`].
pub fn tell_failed_notifies(to: fn(FailedNotify)) {
    FAILED_NOTIFIES.get_or_init(|| to);
}

/// Where one-way calls that failed are told, if anywhere.
pub(crate) fn failed_notifies() -> Option<fn(FailedNotify)> {
    FAILED_NOTIFIES.get().copied()
}

/// Tells people something, in one line.
pub fn line(text: String) {
    match LINES.get() {
        Some(tell) => tell(text),
        None => eprintln!("andiron: {text}"),
    }
}

/// Has something done in steps by those who run the calls of this connection, as far as it waits; the first one is done here.
pub fn go_on(hub: &Hub, work: impl Future<Output = ()> + Send + 'static) {
    crate::task::run(Some(&hub.link()), work);
}

/// The same by those of the connection at which an object is. One of this process has answered at once, and nothing is done.
pub fn go_on_at(proxy: &Proxy, work: impl Future<Output = ()> + Send + 'static) {
    if let Some(link) = proxy.link() {
        crate::task::run(Some(link), work);
    }
}

/// Runs something as a part of the handler of a call: what it calls belongs to that call.
pub fn within<R>(call: &context::Context, part: impl FnOnce() -> R) -> R {
    context::enter(call.0.clone(), part)
}

/// Runs the body of a thread that runs methods.
pub type ThreadBody = fn(&mut (dyn FnMut() + Send));

static THREAD_BODY: OnceLock<ThreadBody> = OnceLock::new();

/// Has the threads that run methods do so within this, where their language wants something of a thread before. The first one who says so is heard.
pub fn run_threads_within(body: ThreadBody) {
    THREAD_BODY.get_or_init(|| body);
}

/// Runs what a thread does that runs methods.
pub(crate) fn thread(mut work: impl FnMut() + Send) {
    match THREAD_BODY.get() {
        Some(body) => body(&mut work),
        None => work(),
    }
}

/// Reads of one turn; then others have theirs.
const MOST_READS: usize = 16;

/// A connection that an event loop reads, on one thread. Its calls run in [`step`](Driver::step).
pub struct Driver {
    connector: Connector,
    link: Arc<Link>,
    /// The loop watches a descriptor of its own: that of the connection may be closed by others at any time. `None`: it was told that the connection is over.
    socket: Option<OwnedFd>,
    next: Arc<Next>,
    waker: Waker,
}

/// The connection that takes the place of one that was lost, until the loop takes it over.
type Next = Mutex<Option<Arc<Link>>>;

/// What a driver waits for, besides bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rest {
    /// Until then.
    pub until: Option<Instant>,
    /// Room to write.
    pub room: bool,
    /// There is more, and others are to have their turn first.
    pub more: bool,
    /// Nothing: the connection is over. Where it retries another step is made when there is the next one.
    pub over: bool,
}

impl Driver {
    /// Connects, and leaves the handshake to the steps. This blocks where a host has to be found or reached over a network, and else not. The waker is told where
    /// another step is to be made without bytes having come.
    ///
    /// # Errors
    /// As for [`Connector::connect`].
    pub fn open(connector: &Connector, waker: Waker) -> Result<(Hub, Driver)> {
        let link = connector.open()?;
        link.leave_to_task();
        let next = Arc::<Next>::default();
        let (again, place, bell) = (connector.clone(), Arc::downgrade(&next), waker.clone());
        let hub = connector.hub(link.clone(), move || {
            let (again, place, bell) = (again.clone(), place.clone(), bell.clone());
            Box::new(move || {
                let link = again.open()?;
                link.leave_to_task();
                let place = place.upgrade().ok_or_else(no_loop)?;
                *lock(&place) = Some(link.clone());
                bell.wake();
                link.wait_opened().map_err(|error| again.not_opened(error))?;
                Ok(link)
            })
        });
        let socket = watched(&link);
        Ok((hub, Driver { connector: connector.clone(), link, socket, next, waker }))
    }

    /// What the loop is to watch; `None` where the connection is over. Behind a step that says so it is another one or none.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// The end of the handshake, or a step comes behind which to ask again.
    pub fn poll_opened(&self) -> Poll<Result<()>> {
        let opened = self.link.poll_opened(&Context::from_waker(&self.waker));
        opened.map_err(|error| self.connector.not_opened(error))
    }

    /// Why the connection is over, if it is and nobody here closed it.
    pub fn ended(&self) -> Option<Error> {
        let ended = self.link.ended().filter(|_| !self.link.closed_here())?;
        Some(Error::new(ended.kind(), ended.message().to_owned()))
    }

    /// Reads what is there, runs the calls in it, and sends what can be sent. `rests` is called before it looks what there is to wait for: from then on the waker has to be
    /// heard.
    pub fn step(&mut self, rests: impl FnOnce()) -> Rest {
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        if self.socket.is_none()
            && let Some(link) = lock(&self.next).take()
        {
            self.socket = watched(&link);
            self.link = link;
        }
        self.link.task_begins(&Context::from_waker(&self.waker));
        let mut buffer = BUFFER.take();
        buffer.resize(crate::link::READ_BUFFER, 0);
        let mut more = true;
        for _ in 0..MOST_READS {
            match self.link.task_reads(&mut buffer) {
                TaskRead::More => continue,
                TaskRead::Drained | TaskRead::PassedOver | TaskRead::Over => more = false,
            }
            break;
        }
        BUFFER.set(buffer);
        self.link.task_cares();
        rests();
        self.link.task_runs_calls();
        let rest = self.link.task_rests();
        if rest.over {
            self.socket = None;
            more = lock(&self.next).is_some();
        }
        Rest { until: rest.until, room: rest.room, more, over: rest.over }
    }
}

fn watched(link: &Link) -> Option<OwnedFd> {
    link.socket()?.try_clone().ok()
}

fn no_loop() -> Error {
    Error::new(ErrorKind::Unavailable, "the loop that read this connection is over")
}

/// Nobody reads the connection any more: it is over.
impl Drop for Driver {
    fn drop(&mut self) {
        self.link.task_is_gone();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({})", self.link.peer_label())
    }
}

impl Pending<Message> {
    /// The result, if it is there; else the waker is told when it is.
    pub fn poll_encoded(&mut self, context: &mut Context<'_>) -> Poll<Result<Message>> {
        self.poll_parcel(context).map_ok(Message)
    }
}

/// An object was registered at this hub by a call of its root; it is registered again where the connection is made anew.
pub fn registered(hub: &Hub, name: &str, object: &Proxy) {
    hub.line().registered(name, object);
}

/// The same proxy as one that was looked up by this name at this hub.
pub fn named(proxy: Proxy, hub: &Hub, name: &str) -> Proxy {
    proxy.named(hub.line(), name)
}

/// True where a call would have to wait for the next connection first, as proxies by name of hubs that retry do.
pub fn is_lost(proxy: &Proxy) -> bool {
    proxy.name_held().is_some_and(|named| named.found().is_none())
}

/// Waits for the next connection, and what has the proxy's name there. `failed`: a call did not reach its object, so that it may be another one now. False where it is not, or the proxy is none
/// by name.
///
/// # Errors
/// Why there is no other.
pub fn renew(proxy: &Proxy, failed: bool) -> Result<bool> {
    let Some(named) = proxy.name_held() else { return Ok(false) };
    let deadline = named.deadline(&context::origin(proxy.timeout_of_calls(), None)?);
    match named.found().filter(|_| failed) {
        Some(found) => named.after(&found, deadline).map(|other| other.is_some()),
        None => named.remote(deadline).map(|_| true),
    }
}

/// A proxy of an object of this process.
pub fn local(object: impl Dynamic) -> Proxy {
    Proxy::of(Target::Local(Arc::new(DynamicObject(object))))
}

/// An object of this process that is not kept by this.
pub struct WeakObject(Weak<dyn Object>);

impl WeakObject {
    /// True where nobody keeps it any more.
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// A proxy of it, where somebody keeps it.
    pub fn upgrade(&self) -> Option<Proxy> {
        self.0.upgrade().map(|object| Proxy::of(Target::Local(object)))
    }
}

impl fmt::Debug for WeakObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakObject")
    }
}

/// What a proxy stands for, if that is an object of this process.
pub fn downgrade(proxy: &Proxy) -> Option<WeakObject> {
    match proxy.target() {
        Target::Local(object) => Some(WeakObject(Arc::downgrade(object))),
        _ => None,
    }
}

/// The object of this process, and of this type, that a proxy stands for.
pub fn downcast<T: Dynamic>(proxy: &Proxy) -> Option<&T> {
    match proxy.target() {
        Target::Local(object) => object.as_any()?.downcast_ref(),
        _ => None,
    }
}
