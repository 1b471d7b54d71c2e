//! Streams over a connection: items that came and wait to be taken, and those that wait to be asked for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use andiron_proto::{Failure, Payload, StreamId};

use super::calls::SEND_FROM;
use super::wait::WaitFor;
use super::{Link, OutParcel, Sleeper, State, Todo};
use crate::call::Parcel;
use crate::object::{Admitted, panic_text};
use crate::stream::Items;
use crate::sync::contained;
use crate::{ErrorKind, Result};

/// So many items may be on their way before it is known how long they are.
const FIRST_WINDOW: u64 = 2;
/// At most so many items are on their way or wait.
const MOST_ITEMS: u64 = 256;
/// And about so many bytes.
const MOST_BYTES: u64 = 1 << 20;
/// So many items are sent before others have their turn.
const TURN: usize = 64;

/// Items of the peer that nobody has taken yet.
#[derive(Default)]
pub(super) struct Inflowing {
    waiting: VecDeque<Result<Parcel>>,
    /// No more will come.
    over: bool,
    /// Items that were asked for and did not come yet.
    asked: u64,
    /// Items and bytes that came so far.
    items: u64,
    bytes: u64,
    sleeper: Option<Sleeper>,
    /// It is one of [`State::hooks`].
    read_for: bool,
}

impl Inflowing {
    /// How many more items there is room for, if it is worth asking.
    fn room(&self) -> Option<u64> {
        let window = match self.bytes.checked_div(self.items) {
            None => FIRST_WINDOW,
            Some(length) => (MOST_BYTES / length.max(1)).clamp(1, MOST_ITEMS),
        };
        let room = window.saturating_sub(self.asked + self.waiting.len() as u64);
        (!self.over && room > 0 && (self.asked == 0 || room >= window / 2)).then_some(room)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.over || !self.waiting.is_empty()
    }

    pub(super) fn sleeps(&mut self, sleeper: Sleeper) {
        self.sleeper = Some(sleeper);
    }
}

/// Items of this end that the peer has not asked for yet.
pub(super) struct Outflowing {
    /// Taken out while they are asked for the next one.
    items: Option<Box<dyn Items>>,
    /// Somebody will send what there is, at once or when the peer has read what was sent before.
    scheduled: bool,
    /// While they were out there was another reason to look at them.
    again: bool,
    /// There was nothing to send when they were asked last.
    waits: bool,
}

/// The task of sending what a stream has and the peer wants.
pub(crate) struct Pump {
    link: Weak<Link>,
    stream: StreamId,
}

impl Pump {
    pub(crate) fn run(self) {
        if let Some(link) = self.link.upgrade() {
            link.pump(self.stream);
        }
    }
}

/// There may be another item.
struct More {
    link: Weak<Link>,
    stream: StreamId,
}

impl Wake for More {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(link) = self.link.upgrade() {
            let mut state = link.lock();
            link.schedule(&mut state, self.stream);
            link.dispatch(&mut state);
        }
    }
}

/// Why a stream ends that only waits for something to happen.
fn shutting_down() -> Failure {
    Failure::new(ErrorKind::Unavailable, "the stream's process is shutting down")
}

impl Link {
    /// Items of this end come with a call or result that was just sent.
    pub(super) fn open_outflow(&self, state: &mut State, stream: StreamId, items: Box<dyn Items>) {
        let flow = Outflowing { items: Some(items), scheduled: false, again: false, waits: false };
        state.outflows.insert(stream, flow);
        self.start_handler_thread(state);
    }

    /// The peer wants more, or there may be more. Whoever calls this has it dispatched.
    pub(super) fn schedule(&self, state: &mut State, stream: StreamId) {
        let Some(flow) = state.outflows.get_mut(&stream) else { return };
        if flow.items.is_none() {
            flow.again = true;
        } else if !std::mem::replace(&mut flow.scheduled, true) {
            state.admitted.push_back(Admitted::Pump(Pump { link: self.this.clone(), stream }));
        }
    }

    /// Once the peer has read enough of what was sent, more is sent of the streams that waited for that.
    pub(super) fn open_dams(&self, state: &mut State) {
        if state.dammed.is_empty() || state.session.is_congested() {
            return; // as mostly
        }
        for stream in std::mem::take(&mut state.dammed) {
            state.admitted.push_back(Admitted::Pump(Pump { link: self.this.clone(), stream }));
        }
        self.dispatch(state);
    }

    /// This end takes no further calls: streams that only wait for something to happen end too, or else they would be waited for.
    pub(super) fn end_idle_outflows(state: &mut State, todo: &mut Todo) {
        state.takes_no_calls = true;
        let idle = state.outflows.extract_if(|_, flow| flow.waits && !flow.scheduled && flow.items.is_some());
        for (stream, flow) in idle {
            state.session.end_stream(stream, Err(shutting_down()));
            todo.drop_items(flow.items);
        }
    }

    /// Nobody wants the items any more. To be dropped without the lock.
    pub(super) fn close_outflow(state: &mut State, stream: StreamId) -> Option<Box<dyn Items>> {
        state.outflows.remove(&stream)?.items
    }

    /// Sends items as long as there are some and the peer wants them, but not so many at once that others wait.
    fn pump(&self, stream: StreamId) {
        let mut state = self.lock();
        let Some(flow) = state.outflows.get_mut(&stream) else { return };
        flow.scheduled = false;
        let Some(mut items) = flow.items.take() else {
            flow.again = true;
            return;
        };
        let waker = Waker::from(Arc::new(More { link: self.this.clone(), stream }));
        let mut context = Context::from_waker(&waker);
        let mut todo = Todo::default();
        let mut waits = false;
        for _ in 0..TURN {
            if state.session.stream_credit(stream) == 0 || state.session.is_congested() {
                break;
            }
            if items.may_block() {
                todo.extend(self.flush(&mut state));
                self.arm(&mut state);
            }
            drop(state);
            std::mem::take(&mut todo).run();
            let polled = catch_unwind(AssertUnwindSafe(|| items.poll_next(&mut context)));
            state = self.lock();
            if !state.outflows.contains_key(&stream) {
                break; // nobody wants them any more
            }
            let outcome = match polled {
                Ok(Poll::Pending) if state.takes_no_calls => Err(shutting_down()),
                Ok(Poll::Pending) => {
                    waits = true;
                    break;
                }
                Ok(Poll::Ready(Some(Ok(item)))) => {
                    match self.send_item(&mut state, stream, item, &mut todo) {
                        Ok(()) => continue,
                        Err(failure) => Err(failure),
                    }
                }
                Ok(Poll::Ready(Some(Err(error)))) => Err(error.to_failure()),
                Ok(Poll::Ready(None)) => Ok(()),
                Err(panic) => {
                    let text = format!("what makes the items panicked: {}", panic_text(&*panic));
                    Err(Failure::new(ErrorKind::Internal, text))
                }
            };
            state.session.end_stream(stream, outcome);
            state.outflows.remove(&stream);
            break;
        }
        let more = !waits && state.session.stream_credit(stream) > 0;
        let congested = state.session.is_congested();
        let items = match state.outflows.get_mut(&stream) {
            None => Some(items),
            Some(flow) => {
                flow.items = Some(items);
                flow.waits = waits;
                let more = std::mem::take(&mut flow.again) || more;
                if more && congested {
                    flow.scheduled = true; // looking again at once would be in vain
                    state.dammed.push(stream);
                } else if more {
                    self.schedule(&mut state, stream);
                }
                None
            }
        };
        todo.extend(self.flush(&mut state));
        self.arm(&mut state);
        self.dispatch(&mut state);
        drop(state);
        contained(|| drop(items));
        todo.run();
    }

    fn send_item(
        &self,
        state: &mut State,
        stream: StreamId,
        item: Parcel,
        todo: &mut Todo,
    ) -> std::result::Result<(), Failure> {
        let outgoing =
            self.outgoing(state, OutParcel::from(item), todo).map_err(|error| error.to_failure())?.0;
        let refs = outgoing.refs.clone();
        let sent = state.session.item(stream, outgoing);
        if sent.is_err() {
            self.forget_unsent(state, &refs, todo);
        }
        if state.session.queued() > SEND_FROM {
            todo.extend(self.flush(state)); // the peer works on these meanwhile
        }
        sent
    }

    /// The peer sends items with a call or result.
    pub(super) fn open_inflow(&self, state: &mut State, stream: StreamId) -> Box<dyn Items> {
        state.inflows.insert(stream, Inflowing::default());
        Self::ask(state, stream);
        Box::new(Inflow { link: self.arc(), stream })
    }

    /// Asks for as many items as there is room for. True if it did.
    fn ask(state: &mut State, stream: StreamId) -> bool {
        let Some(flow) = state.inflows.get_mut(&stream) else { return false };
        let Some(room) = flow.room() else { return false };
        flow.asked += room;
        state.session.want_items(stream, room);
        true
    }

    pub(super) fn on_item(&self, state: &mut State, stream: StreamId, payload: Payload, todo: &mut Todo) {
        let item = self.parcel(state, payload, None);
        let Some(flow) = state.inflows.get_mut(&stream) else {
            return todo.drop_parcel(item); // it was dropped meanwhile
        };
        flow.asked = flow.asked.saturating_sub(1);
        flow.items += 1;
        flow.bytes += item.body.len() as u64;
        flow.waiting.push_back(Ok(item));
        self.wake_inflow(state, stream, todo);
    }

    pub(super) fn on_end(
        &self,
        state: &mut State,
        stream: StreamId,
        outcome: std::result::Result<(), Failure>,
        todo: &mut Todo,
    ) {
        let Some(flow) = state.inflows.get_mut(&stream) else { return };
        flow.over = true;
        flow.waiting.extend(outcome.err().map(|failure| Err(failure.into())));
        self.wake_inflow(state, stream, todo);
    }

    fn wake_inflow(&self, state: &mut State, stream: StreamId, todo: &mut Todo) {
        let Some(flow) = state.inflows.get_mut(&stream) else { return };
        let read_for = std::mem::take(&mut flow.read_for);
        todo.wake(flow.sleeper.take());
        if read_for {
            self.read_for_one_less(state, todo);
        }
    }

    /// The next item, if it is there; the inner `None`: there are no more.
    fn take_item(&self, stream: StreamId) -> Option<Option<Result<Parcel>>> {
        if let Err(error) = self.check_fork() {
            return Some(Some(Err(error)));
        }
        let mut state = self.lock();
        let flow = state.inflows.get_mut(&stream)?;
        let item = flow.waiting.pop_front();
        if item.is_none() && !flow.over {
            return None;
        }
        if Self::ask(&mut state, stream) {
            let todo = self.flush(&mut state);
            self.arm(&mut state);
            drop(state);
            todo.run();
        }
        Some(item)
    }

    fn poll_item(&self, stream: StreamId, context: &Context<'_>) -> Poll<Option<Result<Parcel>>> {
        if let Some(item) = self.take_item(stream) {
            return Poll::Ready(item);
        }
        let mut state = self.lock();
        let Some(flow) = state.inflows.get_mut(&stream) else { return Poll::Ready(None) };
        if flow.is_ready() {
            drop(state); // it came in between
            return self.take_item(stream).map_or(Poll::Pending, Poll::Ready);
        }
        flow.sleeper = Some(Sleeper::Task(context.waker().clone()));
        let counted = std::mem::replace(&mut flow.read_for, true);
        state.hooks += usize::from(!counted);
        self.read_for_hooks(&mut state);
        Poll::Pending
    }

    fn drop_inflow(&self, stream: StreamId) {
        if self.check_fork().is_err() {
            return;
        }
        let mut state = self.lock();
        let Some(mut flow) = state.inflows.remove(&stream) else { return };
        let mut todo = Todo::default();
        if std::mem::take(&mut flow.read_for) {
            self.read_for_one_less(&mut state, &mut todo);
        }
        if !flow.over {
            state.session.stop_stream(stream);
            todo.extend(self.flush(&mut state));
            self.arm(&mut state);
        }
        drop(state);
        drop(flow);
        todo.run();
    }
}

/// Items that come over a connection.
struct Inflow {
    link: Arc<Link>,
    stream: StreamId,
}

impl Items for Inflow {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Parcel>>> {
        self.link.poll_item(self.stream, context)
    }

    fn next(&mut self) -> Option<Result<Parcel>> {
        loop {
            if let Some(item) = self.link.take_item(self.stream) {
                return item;
            }
            if let Err(error) = self.link.wait_for(&WaitFor::Item(self.stream), 0) {
                return Some(Err(error));
            }
        }
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.link.drop_inflow(self.stream);
    }
}
