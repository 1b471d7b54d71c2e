//! What is done beside the operations of the store: taking out what expired, and freeing what takes long to free.
//!
//! One thread does both. It is started when there is something to do for the first time, sleeps until there is, and ends with the store.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::shared::{Shared, steady};

/// Who looks after a store. Its lock is never held while that of the store is asked for, or anything is freed.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    shared: Weak<Shared>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// To be freed.
    rubbish: Vec<Box<dyn Send>>,
    /// When something expires next, by the steady clock.
    wake_at: Option<Duration>,
    thread: Option<JoinHandle<()>>,
    ended: bool,
}

impl Housekeeper {
    /// One for a store that is only just made.
    pub(crate) fn new(shared: Weak<Shared>) -> Arc<Housekeeper> {
        Arc::new(Housekeeper { shared, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Frees something soon.
    pub(crate) fn free(self: &Arc<Self>, thing: impl Send + 'static) {
        let mut state = self.lock();
        if !self.is_at_work(&mut state) {
            drop(state);
            return; // and with it the thing
        }
        state.rubbish.push(Box::new(thing));
        self.changed.notify_one();
    }

    /// Something expires then.
    pub(crate) fn wake_at(self: &Arc<Self>, time: Duration) {
        let mut state = self.lock();
        if state.wake_at.is_none_or(|other| time < other) && self.is_at_work(&mut state) {
            state.wake_at = Some(time);
            self.changed.notify_one();
        }
    }

    /// Ends the thread and waits for that.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let thread = state.thread.take();
        drop(state);
        self.changed.notify_one();
        thread.into_iter().for_each(join);
    }

    /// Whether there is a thread, which is started if not. Where there can be none, what expires is taken out when it is met.
    fn is_at_work(self: &Arc<Self>, state: &mut State) -> bool {
        if state.thread.is_none() && !state.ended {
            let housekeeper = self.clone();
            let thread = std::thread::Builder::new().name("andiron-store".to_owned());
            state.thread = thread.spawn(move || housekeeper.run()).ok();
        }
        state.thread.is_some()
    }

    fn run(&self) {
        loop {
            let mut state = self.lock();
            let is_due = loop {
                let now = steady();
                let left = state.wake_at.map(|time| time.saturating_sub(now));
                match left {
                    Some(Duration::ZERO) => break true,
                    _ if state.ended || !state.rubbish.is_empty() => break false,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                    Some(left) => {
                        let woken = self.changed.wait_timeout(state, left);
                        state = woken.unwrap_or_else(PoisonError::into_inner).0;
                    }
                }
            };
            let (rubbish, ended) = (std::mem::take(&mut state.rubbish), state.ended);
            if is_due {
                state.wake_at = None;
            }
            drop(state);
            drop(rubbish);
            if ended {
                return;
            }
            if is_due && let Some(shared) = self.shared.upgrade() {
                shared.expire();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the end of a thread of the store. Where it is the one that had the last handle of the store, it ends by itself.
pub(crate) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != std::thread::current().id() {
        let _ = thread.join(); // it does not panic, and nothing would be to be done about it
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} to free, wakes at {:?})", self.rubbish.len(), self.wake_at)
    }
}
