//! The thread whose end the kernel marks in a board, however its process ends.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use rustix::mm::MapFlags;

use super::Words;
use super::words::Word;
use crate::mapping::Mapping;

/// A thread that has put its number into the owner word, and takes it away when this is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    thread: Option<(Sender<Infallible>, JoinHandle<()>)>,
    words: Arc<Words>,
}

impl Owner {
    /// Starts the thread, and answers when the word is set and the kernel looks after it.
    pub(super) fn start(words: Arc<Words>) -> io::Result<Self> {
        let (started, begun) = mpsc::sync_channel(1);
        let (stop, stopped) = mpsc::channel();
        let own = words.clone();
        let keeping = thread::Builder::new().name("andiron-board".to_owned());
        let thread = keeping.spawn(move || keep(&own, &started, &stopped))?;
        let owner = Self { thread: Some((stop, thread)), words };
        begun.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(owner)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if !self.words.is_here() {
            // A forked child has no such thread, and must not wait for it.
            mem::forget(thread);
            return;
        }
        let (stop, thread) = thread;
        drop(stop);
        // It does nothing that panics.
        let _ = thread.join();
    }
}

/// What the thread does: it keeps the owner word until nobody holds the other end of `stop`.
fn keep(words: &Words, started: &SyncSender<io::Result<()>>, stop: &Receiver<Infallible>) {
    match Registered::new(words) {
        Err(error) => {
            let _ = started.send(Err(error));
        }
        Ok(registered) => {
            let _ = started.send(Ok(()));
            let _ = stop.recv();
            drop(registered);
        }
    }
}

/// What the kernel reads when a thread ends: `struct robust_list_head`, and the only entry of its list.
#[repr(C)]
struct RobustList {
    /// The first entry; the list ends where it began.
    first: usize,
    /// From an entry to its word.
    to_word: isize,
    /// An entry that is just being put on the list or taken from it; none.
    pending: usize,
    /// The entry, which is nothing but where the next one is.
    entry: usize,
}

/// The calling thread's list, with the owner word on it. The thread's own list is put back at the end; the C library keeps the robust
/// mutexes there that the thread holds, and this one never holds any.
struct Registered<'a> {
    words: &'a Words,
    before: (usize, usize),
    /// The kernel reads it when the process is gone already. When the system ran out of memory and this process was chosen to end, its
    /// private memory may be taken away before that; shared memory is not.
    _list: Mapping,
}

impl<'a> Registered<'a> {
    fn new(words: &'a Words) -> io::Result<Self> {
        let mut map = Mapping::anonymous(size_of::<RobustList>(), MapFlags::SHARED)?;
        map.keep_from_children()?;
        let owner = words.life().owner;
        let list: *mut RobustList = map.start().cast();
        let entry = list as usize + mem::offset_of!(RobustList, entry);
        let to_word = (owner.as_ptr() as isize).wrapping_sub(entry as isize);
        // SAFETY: the map is a page, aligned, writable and nobody else's.
        unsafe { list.write(RobustList { first: entry, to_word, pending: 0, entry: list as usize }) };

        let mut before = (0_usize, 0_usize);
        // SAFETY: 0 is the calling thread, and both places can be written.
        let answer = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &mut before.0, &mut before.1) };
        succeeded(answer)?;
        // Before the kernel looks after it: a word of another thread, such as 0, would be left alone.
        owner.set(rustix::thread::gettid().as_raw_pid() as u32);
        // SAFETY: the list is one entry long and well-formed. It and the word stay mapped until the list is taken away by drop, since `self`
        // holds the one and borrows the other.
        let answer =
            unsafe { libc::syscall(libc::SYS_set_robust_list, list, mem::offset_of!(RobustList, entry)) };
        succeeded(answer)?;
        Ok(Self { words, before, _list: map })
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        // A board without an owner is dead, so it does not matter if the end comes between the two.
        self.words.life().owner.set(0);
        // SAFETY: it is what this thread had registered before.
        let answer = unsafe { libc::syscall(libc::SYS_set_robust_list, self.before.0, self.before.1) };
        debug_assert_eq!(answer, 0, "what was registered before can be registered again");
    }
}

fn succeeded(answer: libc::c_long) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
