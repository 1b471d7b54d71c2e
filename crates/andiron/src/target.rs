//! What a proxy points at, and how objects get in and out of messages.
//!
//! While a value is encoded or decoded, the objects in it go through a table beside it: the value holds a position, the table the
//! object. The table of the value at hand lies in a thread-local, since serde passes nothing along.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use andiron_proto::{ErrorKind, Failure, Limits};

use crate::Error;
use crate::blob::Attached;
use crate::call::Parcel;
use crate::link::{Link, no_object, only_object};
use crate::object::Object;
use crate::pending::CallUnderWay;
use crate::stream::Items;
use crate::sync::lock;

/// An object here or at the other end of a connection.
#[derive(Clone)]
pub(crate) enum Target {
    Local(Arc<dyn Object>),
    Remote(Arc<Remote>),
    /// What a call will give that is under way.
    Promised(Arc<Promised>),
}

/// The result of a call, as an object that can be called before it is there.
pub(crate) struct Promised(Mutex<Promise>);

enum Promise {
    /// Kept so that it is not given up.
    UnderWay(CallUnderWay),
    Settled(Result<Target, Failure>),
}

/// What a promise is at the moment.
pub(crate) enum Presently {
    /// The result of this call over this connection.
    ResultOf(Arc<Link>, u64),
    Settled(crate::Result<Target>),
}

impl Promised {
    pub(crate) fn new(call: CallUnderWay) -> Promised {
        Promised(Mutex::new(Promise::UnderWay(call)))
    }

    /// Of a call that was answered so.
    pub(crate) fn settled_to(answer: crate::Result<Parcel>) -> Promised {
        Promised(Mutex::new(Promise::Settled(object_of(answer))))
    }

    pub(crate) fn presently(&self) -> Presently {
        let mut promise = lock(&self.0);
        let answer = match &*promise {
            Promise::Settled(target) => return Presently::Settled(target.clone().map_err(Into::into)),
            Promise::UnderWay(call) => match call.take_answer() {
                None => return Presently::ResultOf(call.link().clone(), call.id()),
                Some(answer) => answer,
            },
        };
        let target = object_of(answer);
        let before = std::mem::replace(&mut *promise, Promise::Settled(target.clone()));
        drop(promise);
        drop(before);
        Presently::Settled(target.map_err(Into::into))
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.presently(), Presently::Settled(_))
    }
}

/// Who drops a promise gives the object back once it is there. The call is not given up: others may build upon it.
impl Drop for Promised {
    fn drop(&mut self) {
        if let Promise::UnderWay(call) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            call.leave();
        }
    }
}

fn object_of(answer: crate::Result<Parcel>) -> Result<Target, Failure> {
    let object = answer
        .and_then(|parcel| only_object(parcel.codec, &parcel.body, &parcel.targets).ok_or_else(no_object));
    object.map_err(|error| error.to_failure())
}

/// An object of the peer. Dropping the last handle gives the reference back.
pub(crate) struct Remote {
    pub(crate) link: Arc<Link>,
    /// 0 is the root, which is not counted.
    pub(crate) id: u64,
    received: AtomicU64,
}

impl Remote {
    pub(crate) fn root(link: Arc<Link>) -> Remote {
        Remote { link, id: 0, received: AtomicU64::new(0) }
    }

    pub(crate) fn received(link: Arc<Link>, id: u64) -> Remote {
        Remote { link, id, received: AtomicU64::new(1) }
    }

    /// The same reference arrived once more.
    pub(crate) fn count(&self) {
        // Relaxed: the count is read by the drop of the last handle only, and whoever counts holds one.
        self.received.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let count = *self.received.get_mut();
        if count > 0 {
            self.link.drop_reference(self.id, count);
        }
    }
}

impl Target {
    /// Tells whether both are the same object.
    pub(crate) fn is(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Local(a), Target::Local(b)) => Arc::ptr_eq(a, b),
            (Target::Promised(a), Target::Promised(b)) => Arc::ptr_eq(a, b),
            (Target::Remote(a), Target::Remote(b)) => Arc::ptr_eq(&a.link, &b.link) && a.id == b.id,
            _ => false,
        }
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        self.is(other)
    }
}

impl Eq for Target {}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Local(_) => f.write_str("local object"),
            Target::Remote(remote) => write!(f, "object {} of {}", remote.id, remote.link.peer_label()),
            Target::Promised(_) => f.write_str("result of a call"),
        }
    }
}

/// What goes beside a value: it names the objects by position, and has a place for the stream.
#[derive(Default)]
pub(crate) struct Carried {
    pub(crate) targets: Vec<Target>,
    /// Big values, and other descriptors.
    pub(crate) attached: Vec<Attached>,
    pub(crate) stream: Option<Box<dyn Items>>,
}

impl Carried {
    fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.attached.is_empty() && self.stream.is_none()
    }
}

/// What came beside a value.
#[derive(Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub(crate) targets: &'a [Target],
    pub(crate) attached: &'a [Attached],
    pub(crate) stream: Option<&'a StreamSlot>,
}

/// A stream that came with a message, until somebody takes it out.
pub(crate) type StreamSlot = Mutex<Option<Box<dyn Items>>>;

thread_local! {
    static OUTGOING: RefCell<Option<Carried>> = const { RefCell::new(None) };
    /// Why something beside the value that is being decoded could not be taken, where its sender is not to blame.
    static NOTED: RefCell<Option<Error>> = const { RefCell::new(None) };
    static INCOMING: RefCell<Carried> = const { RefCell::new(Carried { targets: Vec::new(), attached: Vec::new(), stream: None }) };
}

/// Runs an encoder and gives back what goes beside its value.
pub(crate) fn collecting<R>(encode: impl FnOnce() -> R) -> (R, Carried) {
    let outer = OUTGOING.replace(Some(Carried::default()));
    let restore = Restore(outer);
    let result = encode();
    let collected = OUTGOING.take().unwrap_or_default();
    drop(restore);
    (result, collected)
}

/// Puts back the table of the value that was being encoded around this one, also after a panic.
struct Restore(Option<Carried>);

impl Drop for Restore {
    fn drop(&mut self) {
        let inner = OUTGOING.replace(self.0.take());
        drop(inner); // outside of the borrow: dropping a stream may run anything
    }
}

/// Objects that one value names: their number travels in 16 bits.
const MOST: u16 = u16::MAX;

/// Names an object in the value that is being encoded: its position.
///
/// # Errors
/// In words: no value of a call is being encoded, or it names as many as it can.
pub(crate) fn put(target: &Target) -> Result<u16, String> {
    let settled;
    let target = match target {
        Target::Promised(promised) => {
            let Presently::Settled(object) = promised.presently() else {
                return Err("the result of a call can be passed on once it is there: wait for it".to_owned());
            };
            settled = object.map_err(|error| error.to_string())?;
            &settled
        }
        target => target,
    };
    OUTGOING.with_borrow_mut(|outgoing| {
        let carried = outgoing.as_mut().ok_or("a proxy can be sent only in a call or its result")?;
        let table = &mut carried.targets;
        match u16::try_from(table.len()) {
            Ok(position) if position < MOST => {
                table.push(target.clone());
                Ok(position)
            }
            _ => Err(format!(
                "a call or its result can hold {MOST} proxies, and this one has more: send them in several"
            )),
        }
    })
}

/// Gives the value that is being encoded a stream.
///
/// # Errors
/// In words: no value of a call is being encoded, or it has a stream already.
pub(crate) fn put_stream(items: Box<dyn Items>) -> Result<(), String> {
    OUTGOING.with_borrow_mut(|outgoing| {
        let carried = outgoing.as_mut().ok_or("a stream can be sent only in a call or its result")?;
        match &carried.stream {
            None => {
                carried.stream = Some(items);
                Ok(())
            }
            Some(_) => Err("a call or its result can hold one stream: make a call for each".to_owned()),
        }
    })
}

/// Puts something beside the value that is being encoded: its position; `None` where no value of a call is, or as much as can stands beside it.
pub(crate) fn attach(attached: Attached) -> Option<u64> {
    OUTGOING.with_borrow_mut(|outgoing| {
        let beside = &mut outgoing.as_mut()?.attached;
        let position = beside.len();
        (position < usize::from(Limits::MOST_ATTACHMENTS)).then(|| {
            beside.push(attached);
            position as u64
        })
    })
}

/// What stands at this position beside the value that is being decoded.
pub(crate) fn attached(position: u64) -> Option<Attached> {
    let position = usize::try_from(position).ok()?;
    INCOMING.with_borrow(|incoming| incoming.attached.get(position).cloned())
}

/// Tells whether nothing at all stands beside the value that is being decoded.
pub(crate) fn nothing_attached() -> bool {
    INCOMING.with_borrow(|incoming| incoming.attached.is_empty())
}

/// Notes why something beside the value that is being decoded cannot be taken: the text goes with the decoder's error, the kind would not.
pub(crate) fn note(error: Error) {
    if error.kind() == ErrorKind::Overloaded {
        let before = NOTED.replace(Some(error));
        drop(before);
    }
}

/// Why a value could not be decoded.
pub(crate) enum Unread<E> {
    /// There was no room for what came beside it.
    NoRoom(Error),
    Malformed(E),
}

impl<E> Unread<E> {
    fn of(error: E) -> Unread<E> {
        NOTED.take().map_or(Unread::Malformed(error), Unread::NoRoom)
    }

    /// The error as the decoder's, whatever it is.
    pub(crate) fn or_else(self, no_room: impl FnOnce(Error) -> E) -> E {
        match self {
            Unread::NoRoom(error) => no_room(error),
            Unread::Malformed(error) => error,
        }
    }

    /// The error for people, of which the caller knows what was to be decoded.
    pub(crate) fn or(self, malformed: impl FnOnce(E) -> Error) -> Error {
        match self {
            Unread::NoRoom(error) => error,
            Unread::Malformed(error) => malformed(error),
        }
    }
}

/// Runs a decoder whose value names this, and may have a place for the stream.
pub(crate) fn with_incoming<T, E>(
    beside: Beside<'_>,
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, Unread<E>> {
    struct Restore<'a>(Carried, Option<&'a StreamSlot>);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            let mut inner = INCOMING.replace(std::mem::take(&mut self.0));
            if let Some(slot) = self.1 {
                *lock(slot) = inner.stream.take();
            }
            drop(inner); // outside of the borrow: dropping a proxy may run anything
        }
    }
    // Most values carry nothing, and are read around by none that does.
    let Beside { targets, attached, stream } = beside;
    let nothing = targets.is_empty() && attached.is_empty() && stream.is_none();
    if nothing && INCOMING.with_borrow(Carried::is_empty) {
        return decode().map_err(Unread::of);
    }
    let carried = Carried {
        targets: targets.to_vec(),
        attached: attached.to_vec(),
        stream: stream.and_then(|slot| lock(slot).take()),
    };
    let _restore = Restore(INCOMING.replace(carried), stream);
    NOTED.take();
    decode().map_err(Unread::of)
}

/// The stream of the value that is being decoded.
pub(crate) fn take_stream() -> Option<Box<dyn Items>> {
    INCOMING.with_borrow_mut(|incoming| incoming.stream.take())
}

/// The object at a position of the value that is being decoded.
pub(crate) fn take(position: u16) -> Option<Target> {
    INCOMING.with_borrow(|incoming| incoming.targets.get(usize::from(position)).cloned())
}
