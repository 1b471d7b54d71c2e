//! Big values: bytes that are shared and never change, here and in other processes.

use std::fmt;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use andiron_proto::codec::{Buffer, BufferData, Value};
use andiron_sys::memory::{Mapped, Memory, Sealed};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::target;
use crate::{Error, ErrorKind, Result};

/// From this many bytes up a stored value is passed by reference: below it a copy through the socket is as fast.
pub(crate) const BY_REFERENCE_FROM: usize = 1 << 20;

/// The format of a buffer that is bytes, as in Python's `struct` module.
const BYTES: &str = "B";
/// The same of bytes that their owner can change, a bytearray.
const CHANGEABLE_BYTES: &str = "=B";

/// Bytes that are shared and never change: a clone costs nothing that depends on their number, nor does sending them to another process of
/// this machine, if they are in memory that can be passed on. That is what [`Blob::zeroed`] makes, to be filled in place, and what comes
/// of a `&[u8]` of a megabyte or more. What arrives by reference is mapped where it lies; over a network the bytes travel. In the store
/// [`set_bytes`](crate::Store::set_bytes) and [`entry`](crate::Store::entry) do so; [`set`](crate::Store::set) and [`get`](crate::Store::get) copy, as they
/// encode and decode.
///
/// ```
/// use andiron::Blob;
///
/// let mut picture = Blob::zeroed(4 << 20)?; // four megabytes to be filled in place
/// picture[..4].copy_from_slice(b"\x89PNG");
/// let picture: Blob = picture.freeze()?;
///
/// # let folder = tempfile::tempdir()?;
/// # let address = &format!("unix:{}/socket", folder.path().display());
/// struct Echo;
///
/// #[andiron::expose]
/// impl Echo {
///     fn echo(&self, picture: Blob) -> Blob {
///         picture
///     }
/// }
///
/// let _server = andiron::Server::bind(address)?.object("echo", Echo)?.start()?;
/// let echo: EchoProxy = andiron::Hub::connect(address)?.object("echo")?;
/// assert_eq!(echo.echo(picture.clone())?, picture); // there and back without a copy
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Blob(Data);

#[derive(Clone)]
enum Data {
    /// In ordinary memory of this process.
    Own(Bytes),
    /// In memory that other processes map as well.
    Shared(Arc<Shared>),
}

struct Shared {
    map: Mapped,
    /// To be passed on.
    memory: Descriptor,
}

/// Bytes that are filled in place; see [`Blob::zeroed`].
pub struct BlobMut(Memory);

impl Blob {
    /// So many zeros, to be filled and then [frozen](BlobMut::freeze). The memory is taken from the system here, where it costs time that
    /// grows with its length.
    ///
    /// # Errors
    /// `Overloaded` where no memory or no descriptor is left, `TooLarge` for more than this machine has.
    pub fn zeroed(length: usize) -> Result<BlobMut> {
        Memory::zeroed(length).map(BlobMut).map_err(|error| exhausted(&error))
    }

    /// All bytes that come from a file, a pipe or the like. A megabyte and more go into memory that can be passed on as they come, so that they
    /// are there once.
    ///
    /// ```
    /// let blob = andiron::Blob::from_reader(&b"abc"[..])?;
    /// assert_eq!(blob, b"abc");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Why they cannot be read, or that no memory or no descriptor is left.
    pub fn from_reader(mut reader: impl Read) -> io::Result<Blob> {
        let mut beginning = Vec::new();
        reader.by_ref().take(BY_REFERENCE_FROM as u64).read_to_end(&mut beginning)?;
        if beginning.len() < BY_REFERENCE_FROM {
            return Ok(beginning.into());
        }
        Sealed::read_from(&beginning, &mut reader).and_then(Blob::of)
    }

    /// The same bytes in memory that can be passed on and is no longer than they are, with a copy where they are not.
    ///
    /// # Errors
    /// `Overloaded` where no memory or no descriptor is left.
    #[doc(hidden)]
    pub fn shared(&self) -> Result<Blob> {
        match self.descriptor() {
            Some(memory) if memory.size() == memory.len() => Ok(self.clone()),
            _ => Sealed::copy_of(&[self]).and_then(Blob::of).map_err(|error| exhausted(&error)),
        }
    }

    /// The memory that it lies in from the beginning on, where that is kept.
    #[doc(hidden)]
    pub fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor().map(AsFd::as_fd)
    }

    pub(crate) fn of_bytes(bytes: Bytes) -> Blob {
        Blob(Data::Own(bytes))
    }

    pub(crate) fn of(memory: Sealed) -> io::Result<Blob> {
        let map = memory.map()?;
        Ok(Blob(Data::Shared(Arc::new(Shared { map, memory: Descriptor::keep(memory) }))))
    }

    /// What is to be passed on in place of the bytes, where there is something.
    fn descriptor(&self) -> Option<&Sealed> {
        match &self.0 {
            Data::Own(_) => None,
            Data::Shared(shared) => shared.memory.0.as_ref(),
        }
    }

    /// The bytes, without a copy.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Data::Own(bytes) => bytes.clone(),
            Data::Shared(shared) => Bytes::from_owner(SharedBytes(shared.clone())),
        }
    }
}

struct SharedBytes(Arc<Shared>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

impl BlobMut {
    /// Fixes the bytes for ever.
    ///
    /// # Errors
    /// `Overloaded` where no memory or no descriptor is left.
    pub fn freeze(self) -> Result<Blob> {
        self.0.freeze().and_then(Blob::of).map_err(|error| exhausted(&error))
    }
}

#[cold]
fn exhausted(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::OutOfMemory {
        let text = "the value is larger than the memory of this machine: no later try will help";
        return Error::new(ErrorKind::TooLarge, text);
    }
    Error::new(ErrorKind::Overloaded, format!("there is no memory or no descriptor for a big value: {error}"))
}

/// Descriptors that blobs of this process may keep open: a part of what it may open at all. A blob beyond that is mapped and no more; its bytes
/// are copied where it is passed on.
static MOST_KEPT: LazyLock<usize> =
    LazyLock::new(|| usize::try_from(andiron_sys::limits::descriptor_limit() / 4).unwrap_or(usize::MAX));
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// The memory of a blob, where its descriptor is kept.
struct Descriptor(Option<Sealed>);

impl Descriptor {
    fn keep(memory: Sealed) -> Descriptor {
        // Relaxed: a count that orders nothing.
        if KEPT.fetch_add(1, Ordering::Relaxed) < *MOST_KEPT {
            return Descriptor(Some(memory));
        }
        KEPT.fetch_sub(1, Ordering::Relaxed);
        Descriptor(None)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.0.is_some() {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What goes beside a value, which names it by position: a blob, or the descriptor of one that nobody here has looked at.
#[derive(Clone)]
pub(crate) enum Attached {
    Blob(Blob),
    /// As it came, or as it is to go.
    Descriptor(Arc<OwnedFd>),
}

impl Attached {
    /// What can be passed as a descriptor.
    pub(crate) fn is_passable(&self) -> bool {
        match self {
            Attached::Blob(blob) => blob.descriptor().is_some(),
            Attached::Descriptor(_) => true,
        }
    }

    /// The descriptor to be sent.
    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Attached::Blob(blob) => blob.descriptor().map(AsFd::as_fd),
            Attached::Descriptor(descriptor) => Some(descriptor.as_fd()),
        }
    }

    /// The bytes, where they go in place of a descriptor.
    pub(crate) fn bytes(&self) -> Result<Bytes> {
        match self {
            Attached::Blob(blob) => Ok(blob.to_bytes()),
            Attached::Descriptor(descriptor) => received(descriptor, None).map(|blob| blob.to_bytes()),
        }
    }

    /// All of it as a blob.
    pub(crate) fn whole(&self) -> Result<Blob> {
        match self {
            Attached::Blob(blob) => Ok(blob.clone()),
            Attached::Descriptor(descriptor) => received(descriptor, None),
        }
    }

    /// The blob of so many bytes. What came may be more, as memory may be: then these are the first of it.
    fn blob(self, length: u64) -> Result<Blob> {
        match self {
            Attached::Blob(blob) if blob.len() as u64 == length => Ok(blob),
            Attached::Blob(blob) if blob.len() as u64 > length => {
                Ok(Blob(Data::Own(blob.to_bytes().slice(..length as usize))))
            }
            Attached::Blob(blob) => {
                let text = format!("a value of {length} bytes was announced, and {} came", blob.len());
                Err(Error::new(ErrorKind::Encoding, text))
            }
            Attached::Descriptor(descriptor) => received(&descriptor, Some(length)),
        }
    }
}

/// Looks at a descriptor that came, of so many bytes, or of as many as there are.
fn received(descriptor: &Arc<OwnedFd>, length: Option<u64>) -> Result<Blob> {
    let memory = match length {
        Some(length) => Sealed::received(descriptor.clone(), length),
        None => Sealed::received_whole(descriptor.clone()),
    };
    let memory = memory.map_err(|error| Error::new(ErrorKind::Encoding, error.to_string()))?;
    Blob::of(memory).map_err(|error| exhausted(&error))
}

/// A descriptor as a value, for what is no blob. Only between processes of one machine.
#[derive(Clone, Debug)]
pub struct PassedDescriptor(pub Arc<OwnedFd>);

impl Serialize for PassedDescriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let full = || serde::ser::Error::custom("a descriptor can be sent only in a call or its result");
        let position = target::attach(Attached::Descriptor(self.0.clone())).ok_or_else(full)?;
        named(position, 0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PassedDescriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let missing = || serde::de::Error::custom("a descriptor that did not come with the message");
        match Value::deserialize(deserializer)? {
            Value::Buffer(buffer) => match attached(&buffer) {
                Some(Attached::Descriptor(descriptor)) => Ok(PassedDescriptor(descriptor)),
                _ => Err(missing()),
            },
            _ => Err(missing()),
        }
    }
}

fn named(position: u64, length: u64) -> Value {
    let data = BufferData::Attachment(position);
    Value::Buffer(Box::new(Buffer { format: BYTES.to_owned(), shape: vec![length], data }))
}

/// A value names what stands at no position beside it.
fn did_not_come() -> Error {
    let (kind, text) = match target::nothing_attached() {
        true => (ErrorKind::Overloaded, "a big value did not come: its sender could pass no descriptor"),
        false => (ErrorKind::Encoding, "bytes that did not come with the message"),
    };
    Error::new(kind, text)
}

fn attached(buffer: &Buffer) -> Option<Attached> {
    match buffer.data {
        BufferData::Attachment(position) => target::attached(position),
        BufferData::Inline(_) => None,
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let position = self.descriptor().and_then(|_| target::attach(Attached::Blob(self.clone())));
        match position {
            Some(position) => named(position, self.len() as u64).serialize(serializer),
            None => serializer.serialize_bytes(self),
        }
    }
}

/// Bytes, or a buffer of bytes.
impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let other = |found: &str| serde::de::Error::custom(format_args!("expected bytes, found {found}"));
        match Value::deserialize(deserializer)? {
            Value::Bytes(bytes) => Ok(bytes.into()),
            Value::Buffer(buffer) => {
                let [length] = buffer.shape[..] else { return Err(other("an array of several dimensions")) };
                if buffer.format != BYTES && buffer.format != CHANGEABLE_BYTES {
                    return Err(other("an array of other elements"));
                }
                match buffer.data {
                    BufferData::Inline(bytes) => Ok(bytes.into()),
                    BufferData::Attachment(position) => {
                        let came = target::attached(position).ok_or_else(did_not_come);
                        came.and_then(|came| came.blob(length)).map_err(|error| {
                            let text = serde::de::Error::custom(&error);
                            target::note(error);
                            text
                        })
                    }
                }
            }
            value => Err(other(kind_of(&value))),
        }
    }
}

/// What a value is, in a word or two.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Bool(_) => "a bool",
        Value::Int(_) | Value::UInt(_) | Value::BigInt(_) => "an int",
        Value::Float(_) => "a float",
        Value::Str(_) => "a string",
        Value::Array(_) => "an array",
        Value::Map(_) => "a map",
        Value::Tuple(_) => "a tuple",
        Value::Set(_) | Value::FrozenSet(_) => "a set",
        Value::Ref(_) => "an object",
        Value::Record(_) => "a record",
        _ => "something else",
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob(Data::Own(bytes.into()))
    }
}

/// Copies them: a megabyte and more into memory that can be passed on, as far as there is some.
impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Blob {
        if bytes.len() >= BY_REFERENCE_FROM
            && let Ok(blob) = Sealed::copy_of(&[bytes]).and_then(Blob::of)
        {
            return blob;
        }
        Blob(Data::Own(Bytes::copy_from_slice(bytes)))
    }
}

impl From<&Vec<u8>> for Blob {
    fn from(bytes: &Vec<u8>) -> Blob {
        bytes[..].into()
    }
}

impl<const N: usize> From<&[u8; N]> for Blob {
    fn from(bytes: &[u8; N]) -> Blob {
        bytes[..].into()
    }
}

impl From<&Blob> for Blob {
    fn from(blob: &Blob) -> Blob {
        blob.clone()
    }
}

impl Default for Blob {
    fn default() -> Blob {
        Blob(Data::Own(Bytes::new()))
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Data::Own(bytes) => bytes,
            Data::Shared(shared) => &shared.map,
        }
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Blob {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Blob {}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

impl Deref for BlobMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for BlobMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for BlobMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobMut({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::Server;

    struct Echo;

    #[crate::expose]
    impl Echo {
        fn echo(&self, blob: Blob) -> Blob {
            blob
        }

        fn passed(&self, descriptor: PassedDescriptor) -> PassedDescriptor {
            descriptor
        }
    }

    /// Which file it is, wherever it is open.
    fn file(descriptor: BorrowedFd<'_>) -> u64 {
        File::from(descriptor.try_clone_to_owned().unwrap()).metadata().unwrap().ino()
    }

    fn file_of(blob: &Blob) -> u64 {
        file(blob.descriptor().expect("it can be passed on").as_fd())
    }

    #[test]
    fn what_is_in_memory_that_can_be_passed_on_is_not_copied() {
        let server = Server::new().unwrap().object("echo", Echo).unwrap().start().unwrap();
        let echo: EchoProxy = server.connect().unwrap().object("echo").unwrap();
        for blob in [Blob::zeroed(5).unwrap().freeze().unwrap(), vec![1; 1 << 20][..].into()] {
            assert_eq!(file_of(&echo.echo(blob.clone()).unwrap()), file_of(&blob));
        }
        let ordinary = Blob::from(vec![1; 3]);
        assert!(ordinary.descriptor().is_none() && echo.echo(ordinary.clone()).unwrap() == ordinary);
        assert!(ordinary.shared().unwrap().descriptor().is_some());
    }

    #[test]
    fn a_descriptor_that_is_no_frozen_memory_is_refused_and_the_connection_goes_on() {
        let server = Server::new().unwrap().object("echo", Echo).unwrap().start().unwrap();
        let echo: EchoProxy = server.connect().unwrap().object("echo").unwrap();
        let mut ordinary = tempfile::tempfile().unwrap();
        ordinary.write_all(&[1; 4096]).unwrap();
        let (pipe, _writes) = std::io::pipe().unwrap();
        for descriptor in [OwnedFd::from(ordinary), OwnedFd::from(pipe)] {
            let descriptor = Arc::new(descriptor);
            let came = echo.passed(PassedDescriptor(descriptor.clone())).unwrap();
            assert_eq!(file(came.0.as_fd()), file(descriptor.as_fd()), "as a descriptor it passes");
            // The same where a blob is expected.
            let error = echo.0.call::<Blob>("echo", &(PassedDescriptor(descriptor),)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadArguments, "{error}");
            assert!(error.to_string().contains("memfd_create"), "{error}");
        }
        assert_eq!(echo.echo(b"on".into()).unwrap(), b"on");
    }

    #[test]
    fn fewer_bytes_than_announced_are_refused() {
        let blob = Blob::zeroed(4096).unwrap().freeze().unwrap();
        let attached = || Attached::Blob(blob.clone());
        assert!(attached().blob(4096).is_ok() && attached().blob(4097).is_err());
        let sealed = blob.descriptor().unwrap().clone();
        let descriptor = Attached::Descriptor(sealed.into());
        assert_eq!(descriptor.clone().blob(100).unwrap().len(), 100);
        let error = descriptor.clone().blob(4097).unwrap_err();
        assert!(error.to_string().contains("4097 were announced"), "{error}");
        assert_eq!(descriptor.bytes().unwrap().len(), 4096, "all there is");
    }

    #[test]
    fn blobs_beyond_the_descriptors_that_may_be_open_are_mapped_and_hold_none() {
        // Not counted here what other tests have: the limit is far off, so it is the rule that is looked at.
        let kept = Descriptor::keep(Sealed::copy_of(&[b"a"]).unwrap());
        assert!(kept.0.is_some());
        let more = Blob(Data::Shared(Arc::new(Shared {
            map: Sealed::copy_of(&[b"abc"]).unwrap().map().unwrap(),
            memory: Descriptor(None),
        })));
        assert!(more == b"abc" && more.descriptor().is_none());
        assert!(!Attached::Blob(more).is_passable(), "its bytes go in the message");
    }
}
