//! Memory that is mapped into this process, and unmapped when it is dropped.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::{fs, io};

use rustix::fs::{fstat, major, minor};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::fork;

/// A piece of the address space. Who made it knows what may be read and written there, and when.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
    /// The [`fork::generation`] in which it is there; `None` if forked children have it too.
    only_in: Option<u32>,
}

// SAFETY: it is a range of addresses, and all threads have the same. Reading and writing there is up to who holds it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of `file`.
    pub(crate) fn new(
        file: impl AsFd,
        length: usize,
        access: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<Self> {
        // SAFETY: the kernel chooses a free range, so nothing that is there is touched.
        Self::made(length, || unsafe { mmap(ptr::null_mut(), length, access, flags, file, 0) })
    }

    /// Maps `length` bytes of zeros that no file stands behind, to be read and written.
    pub(crate) fn anonymous(length: usize, flags: MapFlags) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a free range, so nothing that is there is touched.
        Self::made(length, || unsafe { mmap_anonymous(ptr::null_mut(), length, access, flags) })
    }

    fn made(
        length: usize,
        map: impl FnOnce() -> rustix::io::Result<*mut std::ffi::c_void>,
    ) -> io::Result<Self> {
        // The kernel maps no empty range, and there is nothing to be mapped.
        let start = if length == 0 { NonNull::dangling() } else { not_null(map()?) };
        Ok(Self { start, length, only_in: None })
    }

    /// Keeps it from children that are forked from now on. There [`Mapping::is_here`] is false.
    pub(crate) fn keep_from_children(&mut self) -> io::Result<()> {
        let generation = fork::generation();
        // SAFETY: the range is ours, and what the advice changes is what a child has.
        unsafe { madvise(self.start.as_ptr().cast(), self.length, Advice::LinuxDontFork)? };
        self.only_in = Some(generation);
        Ok(())
    }

    /// Whether this process has the mapping: false in a forked child that it was kept from.
    pub(crate) fn is_here(&self) -> bool {
        self.only_in.is_none_or(|generation| generation == fork::generation())
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a child that does not have it, something else may be at these addresses by now.
        if self.length > 0 && self.is_here() {
            // SAFETY: the range is ours, and whoever borrowed from it is gone. It fails for no range that was mapped as it is unmapped.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

/// Has what maps this file for others to see in this process map it for itself alone, at the same place: a page is copied when it is written.
pub(crate) fn make_private(file: &OwnedFd) -> io::Result<()> {
    let found = fstat(file)?;
    let of_file = format!("{:02x}:{:02x} {} ", major(found.st_dev), minor(found.st_dev), found.st_ino);
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        // START-END rw-s OFFSET DEVICE INODE and a name.
        let mut words = line.splitn(4, ' ');
        let (Some(range), Some(access), Some(offset), Some(of)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        if !of.starts_with(&of_file) || !access.ends_with('s') {
            continue;
        }
        let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
        let (start, end) = range.split_once('-').ok_or(io::ErrorKind::InvalidData)?;
        let (start, end, offset) = (number(start)? as usize, number(end)? as usize, number(offset)?);
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the range is a map of this file, and stays one as long as this runs: its owner does not unmap it meanwhile, as is asked of who calls this. What is
        // there from now on has the same bytes, and may be read and written as before, so whoever refers to it finds what was there; the kernel changes it in one step for
        // all threads. The file has all its pages and its length is fixed by the seals that follow, so no access ends in a signal that would not have before.
        unsafe { mmap(start as *mut _, end - start, access, flags, file, offset)? };
    }
    Ok(())
}

fn not_null(start: *mut std::ffi::c_void) -> NonNull<u8> {
    NonNull::new(start.cast()).expect("the kernel gives the address 0 only to who asks for it")
}
