//! Whoever reads the output: noticed when it leaves, also while there is nothing to write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use andiron::Hub;
use andiron_sys::epoll::{Interest, Poller, Waker};

use crate::failure::Failure;

/// Does `work`, which waits for what comes over this connection; closes the connection when nobody reads the output any more, which ends the work.
pub(crate) fn while_read(hub: &Hub, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let lookout = Lookout::new(hub);
    let done = work();
    // A file has no reader, and cannot be watched.
    if lookout.is_ok_and(Lookout::end) { Err(Failure::Unread) } else { done }
}

/// A thread that waits for the reader to leave.
struct Lookout {
    /// Ends the thread.
    over: Arc<Waker>,
    left: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Lookout {
    fn new(hub: &Hub) -> io::Result<Lookout> {
        const OVER: u64 = 1;
        let (poller, over, left) = (Poller::new()?, Arc::new(Waker::new()?), Arc::<AtomicBool>::default());
        poller.add(&*over, OVER, Interest::READ)?;
        poller.add(io::stdout(), 0, Interest::NONE)?;
        let (hub, note) = (hub.clone(), left.clone());
        let thread = thread::Builder::new().spawn(move || {
            if let Ok(Some((token, _))) = poller.wait_one(None)
                && token != OVER
            {
                note.store(true, Ordering::Release);
                hub.close();
            }
        })?;
        Ok(Lookout { over, left, thread })
    }

    /// True where the reader has left.
    fn end(self) -> bool {
        self.over.wake();
        let _ = self.thread.join(); // it cannot panic
        self.left.load(Ordering::Acquire)
    }
}
