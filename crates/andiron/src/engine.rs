//! For the engines of other languages: calls whose values they encode and decode themselves, and objects whose methods are known at run time only.
//!
//! Programs in Rust have no use for it: [`expose`](macro@crate::expose) and typed proxies do all of it.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
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
use crate::stream::Items;
use crate::sync::{contained, lock};
use crate::target::{self, Carried, Target, collecting, with_incoming};
use crate::{Blob, Error, Hub, Pending, Proxy, Result, context};

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

    /// Answers it: with an error where there is no such method, the arguments do not fit, or the method failed.
    pub fn answer(self, outcome: Result<Message>) {
        self.call.answer_with(outcome);
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
    link: Arc<Link>,
    waker: Waker,
}

/// What a driver waits for, besides bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rest {
    /// Until then.
    pub until: Option<Instant>,
    /// Room to write.
    pub room: bool,
    /// There is more, and others are to have their turn first.
    pub more: bool,
    /// Nothing: the connection is over.
    pub over: bool,
}

impl Driver {
    /// Drives a connection that is only just made. The waker is told where another step is to be made without bytes having come.
    pub fn new(hub: &Hub, waker: Waker) -> Driver {
        let link = hub.link();
        link.leave_to_task();
        Driver { link, waker }
    }

    /// Reads what is there, runs the calls in it, and sends what can be sent.
    pub fn step(&self) -> Rest {
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
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
        self.link.task_runs_calls();
        let rest = self.link.task_rests();
        Rest { until: rest.until, room: rest.room, more, over: rest.over }
    }
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
