//! The one task of a connection: reads it, starts the calls that come, and sends what could not be sent at once.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::link::{Link, READ_BUFFER, TaskRead};

/// How many reads a task does before it lets others go on.
const MOST_READS: u32 = 16;

thread_local! {
    /// One for all connections of a thread: an idle connection holds none.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Which handle of its connection the task has.
pub(super) enum Hold {
    /// One that keeps it open, as a server does.
    Open(Arc<Link>),
    /// One that does not: the connection ends with the last hub or proxy of it.
    Loose(Weak<Link>),
}

impl Hold {
    fn link(&self) -> Option<Arc<Link>> {
        match self {
            Hold::Open(link) => Some(link.clone()),
            Hold::Loose(link) => link.upgrade(),
        }
    }
}

/// Has a task of the current runtime drive this connection.
pub(super) fn spawn(hold: Hold) -> io::Result<()> {
    let Some(link) = hold.link() else { return Ok(()) };
    link.leave_to_task();
    let Some(socket) = link.socket() else { return Ok(()) };
    let socket = watch(socket)?;
    link.task_cares(); // the first words of the handshake
    drop(link);
    Handle::current().spawn(Drive { hold, socket, sleep: None });
    Ok(())
}

/// Has the runtime watch a socket.
#[allow(deprecated)] // what replaces it is unsafe, for types that do not own their descriptor: this one does
pub(super) fn watch(socket: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::new(socket)
}

struct Drive {
    hold: Hold,
    socket: AsyncFd<Arc<OwnedFd>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Drive {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(link) = self.hold.link() else { return Poll::Ready(()) };
        link.task_begins(context);
        if self.read(&link, context) {
            return Poll::Ready(());
        }
        loop {
            link.task_runs_calls();
            let rest = link.task_rests();
            if rest.over {
                return Poll::Ready(());
            }
            let room = rest.room && self.has_room(context);
            let time = self.is_time(rest.until, context);
            if !room && !time {
                return Poll::Pending;
            }
            link.task_cares();
        }
    }
}

/// The end of the task is that of the connection; only the end of the runtime comes earlier.
impl Drop for Drive {
    fn drop(&mut self) {
        if let Some(link) = self.hold.link() {
            link.task_is_gone();
        }
    }
}

impl Drive {
    /// Reads what is there. True where the connection is over.
    fn read(&self, link: &Link, context: &mut Context<'_>) -> bool {
        for _ in 0..MOST_READS {
            let Poll::Ready(ready) = self.socket.poll_read_ready(context) else { return false };
            let Ok(mut ready) = ready else { return true }; // the runtime ends
            let mut buffer = BUFFER.take();
            buffer.resize(READ_BUFFER, 0);
            let read = link.task_reads(&mut buffer);
            BUFFER.set(buffer);
            match read {
                TaskRead::More => {}
                TaskRead::Drained => ready.clear_ready(),
                TaskRead::PassedOver => return false,
                TaskRead::Over => return true,
            }
        }
        context.waker().wake_by_ref(); // there is more, and others have their turn first
        false
    }

    /// True where something can be sent, else the task is woken when it can.
    fn has_room(&self, context: &mut Context<'_>) -> bool {
        match self.socket.poll_write_ready(context) {
            Poll::Ready(Ok(mut ready)) => {
                ready.clear_ready(); // the last send found none
                true
            }
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    /// True where this time has come, else the task is woken then.
    fn is_time(&mut self, until: Option<std::time::Instant>, context: &mut Context<'_>) -> bool {
        let Some(until) = until else {
            self.sleep = None;
            return false;
        };
        let until = tokio::time::Instant::from_std(until);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(context).is_ready()
    }
}
