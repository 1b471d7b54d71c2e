//! Memory that is mapped into this process, and unmapped when it is dropped.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

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

fn not_null(start: *mut std::ffi::c_void) -> NonNull<u8> {
    NonNull::new(start.cast()).expect("the kernel gives the address 0 only to who asks for it")
}
