//! Items that one process sends another, one after the other, as fast as they are taken.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::Thread;

use andiron_proto::codec;
use andiron_proto::wire::codecs;
use futures_core::Stream as FutureStream;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::Parcel;
use crate::sync::lock;
use crate::target::{self, Carried, collecting};
use crate::{Error, ErrorKind, Result};

/// Items that come one after the other: what a method returns or takes where one value would be too much or too late.
///
/// A stream that is passed to another process is not sent at once: items go as the receiver takes them, a few ahead. The receiver ends it early by
/// dropping it; then the sender's iterator is dropped. Several streams, and calls, go over one connection without waiting for each other; but an open
/// stream of a result counts as a call under way, and beyond 1024 of those further calls wait until one has ended. The
/// connection's end is an error as the last item. An iterator runs on a thread that runs methods; it may block there.
///
/// Taken by `for`, or asynchronously: it is a [`futures_core::Stream`], for which crates such as `futures` have methods.
///
/// ```
/// use andiron::Stream;
///
/// struct Counter;
///
/// #[andiron::expose]
/// impl Counter {
///     fn count(&self, up_to: u32) -> Stream<u32> {
///         Stream::iter(0..up_to)
///     }
///
///     fn sum(&self, numbers: Stream<u32>) -> andiron::Result<u32> {
///         numbers.into_iter().sum()
///     }
/// }
///
/// let counter = CounterProxy::from(Counter);
/// let numbers = counter.count(5)?;
/// assert_eq!(counter.sum(numbers)?, 10);
/// # Ok::<(), andiron::Error>(())
/// ```
pub struct Stream<T> {
    /// Taken out when it is passed on.
    items: Mutex<Option<Box<dyn Items>>>,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + 'static> Stream<T> {
    /// What an iterator gives.
    pub fn iter<I>(items: I) -> Stream<T>
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        Stream::of(Box::new(Iterated(items.into_iter().map(Ok))))
    }

    /// What an iterator gives, to the first error, which the receiver gets as the last item.
    pub fn try_iter<I>(items: I) -> Stream<T>
    where
        I: IntoIterator<Item = Result<T>>,
        I::IntoIter: Send + 'static,
    {
        Stream::of(Box::new(Iterated(items.into_iter())))
    }

    /// What an asynchronous stream gives, to the first error. Items that are ready go together, where those of an iterator, which does not
    /// tell whether the next one will take long, are sent one by one.
    pub fn wrap(items: impl FutureStream<Item = Result<T>> + Send + 'static) -> Stream<T> {
        Stream::of(Box::new(Awaited(Box::pin(items))))
    }
}

impl<T> Stream<T> {
    pub(crate) fn of(items: Box<dyn Items>) -> Stream<T> {
        Stream { items: Mutex::new(Some(items)), of: PhantomData }
    }
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream<{}>", std::any::type_name::<T>())
    }
}

/// Its place in a call or result; the items follow.
impl<T> Serialize for Stream<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = lock(&self.items).take();
        let items = items.ok_or_else(|| serde::ser::Error::custom("this stream was passed on before"))?;
        target::put_stream(items).map_err(serde::ser::Error::custom)?;
        serializer.serialize_unit()
    }
}

impl<'de, T> Deserialize<'de> for Stream<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        let missing = || serde::de::Error::custom("a stream that did not come with the message");
        target::take_stream().map(Stream::of).ok_or_else(missing)
    }
}

impl<T: DeserializeOwned> IntoIterator for Stream<T> {
    type Item = Result<T>;
    type IntoIter = StreamIter<T>;

    fn into_iter(self) -> StreamIter<T> {
        let items = self.items.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        StreamIter { items, of: PhantomData }
    }
}

impl<T: DeserializeOwned> FutureStream for Stream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let items = self.items.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(from) = items else { return Poll::Ready(None) };
        let item = ready!(from.poll_next(context)).map(|item| item.and_then(decode));
        if !matches!(item, Some(Ok(_))) {
            *items = None; // an error is the last item
        }
        Poll::Ready(item)
    }
}

/// The items of a [`Stream`] as they are waited for. Ends behind the first error.
pub struct StreamIter<T> {
    items: Option<Box<dyn Items>>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for StreamIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let item = self.items.as_mut()?.next().map(|item| item.and_then(decode));
        if !matches!(item, Some(Ok(_))) {
            self.items = None;
        }
        item
    }
}

impl<T> fmt::Debug for StreamIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamIter<{}>", std::any::type_name::<T>())
    }
}

/// Encoded items, wherever they come from.
pub(crate) trait Items: Send {
    /// The next item; after an error there is none.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Parcel>>>;

    /// True where asking for the next item may take long: what is there should be sent before.
    fn may_block(&self) -> bool {
        false
    }

    /// Waits for the next item on this thread.
    fn next(&mut self) -> Option<Result<Parcel>> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match self.poll_next(&mut context) {
                Poll::Ready(item) => return item,
                Poll::Pending => std::thread::park(), // woken for nothing it asks again
            }
        }
    }
}

/// Wakes a thread.
pub(crate) struct Unpark(pub(crate) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

struct Iterated<I>(I);

impl<T: Serialize, I: Iterator<Item = Result<T>> + Send> Items for Iterated<I> {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Parcel>>> {
        Poll::Ready(self.0.next().map(|item| item.and_then(|item| encode(&item))))
    }

    fn may_block(&self) -> bool {
        true
    }
}

struct Awaited<S>(Pin<Box<S>>);

impl<T: Serialize, S: FutureStream<Item = Result<T>> + Send> Items for Awaited<S> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Parcel>>> {
        let item = ready!(self.0.as_mut().poll_next(context));
        Poll::Ready(item.map(|item| item.and_then(|item| encode(&item))))
    }
}

fn encode(item: &impl Serialize) -> Result<Parcel> {
    let (body, carried) = collecting(|| codec::to_vec(item));
    let body = body.map_err(|error| {
        let text = format!("an item of the stream cannot be encoded: {error}");
        Error::new(ErrorKind::Encoding, text).with_source(error)
    })?;
    if carried.stream.is_some() {
        return Err(Error::new(ErrorKind::Encoding, "an item of a stream cannot hold a stream"));
    }
    let Carried { targets, attached, .. } = carried;
    Ok(Parcel { codec: codecs::NATIVE, body: body.into(), targets, attached, stream: None })
}

fn decode<T: DeserializeOwned>(item: Parcel) -> Result<T> {
    crate::proxy::decode(item)
}
