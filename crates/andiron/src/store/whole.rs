//! All entries of an author, as they are at one moment.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Deserializer};

use super::wire::{Answer, Open};
use super::{Store, WritesAll};
use crate::{Blob, Entry, Result, Stream, StreamIter, target};

/// An entry as it travels: name, version, timestamp, whether it is persistent, what is left of its time in µs, and where values are wanted codec and bytes.
#[derive(Deserialize)]
pub(crate) struct Row(String, u64, f64, bool, u64, #[serde(default)] u8, #[serde(default)] Blob);

impl Row {
    pub(crate) fn name(Open(row): Open<Row>) -> String {
        row.0
    }

    pub(crate) fn entry(Open(row): Open<Row>) -> (String, Entry) {
        let Row(name, version, timestamp, _persistent, _ttl, codec, bytes) = row;
        (name, Entry { bytes, codec, version, timestamp, cached: false })
    }
}

/// Those that go together.
pub(crate) type Page = Vec<Open<Row>>;

/// The first of them, and a stream of the others where there are more.
#[derive(Deserialize)]
pub(crate) struct Pages(pub(crate) Page, pub(crate) Rest);

pub(crate) struct Rest(pub(crate) Option<Stream<Page>>);

/// Nil, which is the place of a stream, or of none.
impl<'de> Deserialize<'de> for Rest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Rest, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Rest(target::take_stream().map(Stream::of)))
    }
}

/// What an entry is taken out with: its name, and the answer to `delete`.
pub(crate) type First = Option<Open<(String, Open<Answer>)>>;

pub(crate) fn first(first: First) -> Option<(String, Entry)> {
    let Open((name, Open(answer))) = first?;
    Some((name, answer.entry()?))
}

/// Goes over all that came, and takes what follows of a stream.
pub(crate) struct Rows<R, T> {
    page: std::vec::IntoIter<Open<Row>>,
    rest: Option<R>,
    of: fn(Open<Row>) -> T,
}

impl<R: From<Stream<Page>>, T> Rows<R, T> {
    pub(crate) fn new(Open(Pages(page, Rest(rest))): Open<Pages>, of: fn(Open<Row>) -> T) -> Rows<R, T> {
        Rows { page: page.into_iter(), rest: rest.map(R::from), of }
    }
}

impl From<Stream<Page>> for StreamIter<Page> {
    fn from(pages: Stream<Page>) -> StreamIter<Page> {
        pages.into_iter()
    }
}

/// Ends behind the first error.
impl<T> futures_core::Stream for Rows<Stream<Page>, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        loop {
            if let Some(row) = self.page.next() {
                return Poll::Ready(Some(Ok((self.of)(row))));
            }
            let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
            match ready!(Pin::new(rest).poll_next(context)) {
                Some(Ok(page)) => self.page = page.into_iter(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.during("store.entries")))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Ends behind the first error.
impl<T> Iterator for Rows<StreamIter<Page>, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok((self.of)(row)));
            }
            match self.rest.as_mut()?.next()? {
                Ok(page) => self.page = page.into_iter(),
                Err(error) => return Some(Err(error.during("store.entries"))),
            }
        }
    }
}

impl Store {
    /// How many entries this author has.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn count(&self) -> Result<u64> {
        self.read("count", &(&*self.author,))
    }

    /// All entries of this author with their names, sorted by name, as they are at one moment, whatever is written while the iterator goes on. Where they are more
    /// than a message takes the others come as they are asked for; 32 who do so may be under way at a daemon, and one that asks for nothing for a minute
    /// gives way.
    ///
    /// ```no_run
    /// let store = andiron::connect()?.store();
    /// for entry in store.entries()? {
    ///     let (name, entry) = entry?;
    ///     println!("{name} has {} bytes", entry.bytes.len());
    /// }
    /// # Ok::<(), andiron::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Overloaded` where too many others do the same, or why the store could not be reached.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<(String, Entry)>> + Send + use<>> {
        let pages = self.read("entries", &(&*self.author, true))?;
        Ok(Rows::<StreamIter<Page>, _>::new(pages, Row::entry))
    }

    /// The names of all entries of this author; otherwise as [`entries`](Store::entries).
    ///
    /// # Errors
    /// As there.
    pub fn names(&self) -> Result<impl Iterator<Item = Result<String>> + Send + use<>> {
        let pages = self.read("entries", &(&*self.author, false))?;
        Ok(Rows::<StreamIter<Page>, _>::new(pages, Row::name))
    }

    /// Takes out the entry whose name comes first, and gives both back; `None` where there is none. Who calls it at the same time gets another one.
    ///
    /// # Errors
    /// Why the store could not be reached.
    pub fn delete_first(&self) -> Result<Option<(String, Entry)>> {
        let _writes = WritesAll::new(self.common.cache(), Some(&self.author));
        self.call("delete_first", &(&*self.author,)).map(first)
    }
}
