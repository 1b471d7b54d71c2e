//! Memory that a peer could send in place of a big value.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use andiron::{PassedDescriptor, Value};
use andiron_proto::codec;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub const FROZEN: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Memory of `length` bytes, of which these are written, with these seals.
pub fn memory(written: &[u8], length: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(written).unwrap();
    file.set_len(length).unwrap();
    // The kernel itself may have one of its pages in its hands for a moment.
    while let Err(error) = fcntl_add_seals(&file, seals) {
        assert_eq!(error, Errno::BUSY);
    }
    file.into()
}

/// One of huge pages, where the system makes such. It need not be there: what it is made of is looked at first.
pub fn huge() -> io::Result<OwnedFd> {
    let file = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB)?;
    ftruncate(&file, 1 << 30)?;
    fcntl_add_seals(&file, FROZEN)?;
    Ok(file)
}

/// A descriptor in the place of a value, said to have so many bytes.
#[derive(Clone, Debug)]
pub struct Forged {
    pub descriptor: Arc<OwnedFd>,
    pub length: u64,
}

impl Forged {
    pub fn new(descriptor: impl Into<OwnedFd>, length: u64) -> Forged {
        Forged { descriptor: Arc::new(descriptor.into()), length }
    }
}

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // It goes beside the message when it is encoded, wherever its name then stands.
        let named = codec::to_vec(&PassedDescriptor(self.descriptor.clone())).map_err(S::Error::custom)?;
        let mut named: Value = codec::from_slice(&named).map_err(S::Error::custom)?;
        if let Value::Buffer(buffer) = &mut named {
            buffer.shape = vec![self.length];
        }
        named.serialize(serializer)
    }
}

/// It only goes out, and results have to be readable.
impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("something forged is not read"))
    }
}

/// What no receiver may take for a value of so many bytes: what it is, and what is said of it.
pub fn refused_ones() -> Vec<(&'static str, Forged, &'static str)> {
    let page = [7; 4096];
    let (reader, writer) = io::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut all = vec![
        ("sparse", Forged::new(memory(&page, 1 << 30, FROZEN), 1 << 30), "has holes"),
        ("sparse behind what is announced", Forged::new(memory(&page, 1 << 40, FROZEN), 4096), "has holes"),
        ("never written", Forged::new(memory(&[], 1 << 40, FROZEN), 0), "has holes"),
        ("unsealed", Forged::new(memory(&page, 4096, SealFlags::empty()), 4096), "is not sealed"),
        ("sealed a little", Forged::new(memory(&page, 4096, SealFlags::SHRINK), 4096), "F_SEAL_WRITE"),
        ("short", Forged::new(memory(&page, 4096, FROZEN), 4097), "4097 were announced"),
        ("beyond all bounds", Forged::new(memory(&page, 4096, FROZEN), u64::MAX), "were announced"),
        ("half of all", Forged::new(memory(&page, 4096, FROZEN), i64::MAX as u64 + 1), "were announced"),
        ("a file", Forged::new(tempfile::tempfile().unwrap(), 0), "memfd_create"),
        ("a pipe to read", Forged::new(reader, 10), "memfd_create"),
        ("a pipe to write", Forged::new(writer, 0), "memfd_create"),
        ("a socket", Forged::new(socket, 1), "memfd_create"),
        ("a folder", Forged::new(File::open("/").unwrap(), 1), "memfd_create"),
        ("a device", Forged::new(File::open("/dev/zero").unwrap(), 4096), "memfd_create"),
    ];
    match huge() {
        Ok(file) => all.push(("huge pages", Forged::new(file, 4096), "MFD_HUGETLB")),
        Err(error) => println!("skipped: this system makes no memory of huge pages: {error}"),
    }
    all
}
