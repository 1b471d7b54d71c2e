//! Running what an asynchronous method does: in place as far as it goes at once, then wherever it can wait.
//!
//! Without a runtime the rest is done step by step on the threads that run the calls of the connection: a thread that waited in it could not run
//! the calls that it waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

use crate::context::{self, CallState};
use crate::link::Link;
use crate::stream::Unpark;
use crate::sync::{contained, lock};
use crate::{Answering, Reply, Result};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs this to its end, for a call of that connection: what goes at once in place, the rest as a task where a runtime is at hand, else in
/// steps. Of a call within this process the caller waits, and so may this thread.
pub(crate) fn run(link: Option<&Arc<Link>>, work: impl Future<Output = ()> + Send + 'static) {
    let mut work: Work = Box::pin(work);
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // Whatever it waits for is told again by whom to be woken when the task polls it first.
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            runtime.spawn(work);
        }
        return;
    }
    if let Some(link) = link {
        let stage = Mutex::new(Stage::Due(work));
        return Arc::new(Steps { link: Arc::downgrade(link), stage }).step();
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    while work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park(); // woken for nothing it asks again
    }
}

/// A method that waits for something, and goes on when it is there.
pub(crate) struct Steps {
    link: Weak<Link>,
    stage: Mutex<Stage>,
}

enum Stage {
    Waits(Work),
    /// Somebody will do the next step.
    Due(Work),
    /// A thread is at it; true where there is something for it already.
    Goes(bool),
    Done,
}

impl Steps {
    /// Does what can be done now.
    pub(crate) fn step(self: Arc<Self>) {
        let mut stage = lock(&self.stage);
        let Stage::Due(mut work) = std::mem::replace(&mut *stage, Stage::Goes(false)) else {
            unreachable!("a step is taken by whom it was given to");
        };
        drop(stage);
        let waker = Waker::from(self.clone());
        let polled = contained(|| work.as_mut().poll(&mut Context::from_waker(&waker)));
        let mut stage = lock(&self.stage);
        if polled != Some(Poll::Pending) {
            *stage = Stage::Done;
            return;
        }
        let again = matches!(*stage, Stage::Goes(true));
        *stage = if again { Stage::Due(work) } else { Stage::Waits(work) };
        drop(stage);
        if again {
            self.give_out();
        }
    }

    fn give_out(self: Arc<Self>) {
        if let Some(link) = self.link.upgrade() {
            link.step_later(self);
        }
    }
}

impl Wake for Steps {
    fn wake(self: Arc<Self>) {
        let mut stage = lock(&self.stage);
        match std::mem::replace(&mut *stage, Stage::Done) {
            Stage::Waits(work) => {
                *stage = Stage::Due(work);
                drop(stage);
                self.give_out();
            }
            Stage::Goes(_) => *stage = Stage::Goes(true),
            other => *stage = other,
        }
    }
}

/// A method under way: each of its steps belongs to its call, a panic is its error, and it ends where it waits when nobody wants the result.
pub(crate) struct Method<'a> {
    state: Arc<CallState>,
    answer: Answering<'a>,
    given_up: Option<(Arc<GivenUp>, u64)>,
}

impl<'a> Method<'a> {
    pub(crate) fn new(state: Arc<CallState>, answer: Answering<'a>) -> Method<'a> {
        Method { state, answer, given_up: None }
    }
}

impl Future for Method<'_> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Reply>> {
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            context::enter(this.state.clone(), || this.answer.as_mut().poll(context))
        }));
        match polled {
            Ok(Poll::Ready(outcome)) => return Poll::Ready(outcome),
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Err(crate::object::panicked(&*panic))),
        }
        let (given_up, _) = this.given_up.get_or_insert_with(|| {
            let given_up = Arc::new(GivenUp::default());
            let waker = Waker::from(given_up.clone());
            let hook = this.state.on_cancel(move || waker.wake());
            (given_up, hook)
        });
        *lock(&given_up.0) = Some(context.waker().clone());
        if this.state.is_cancelled() {
            return Poll::Ready(Err(this.state.given_up("; the method ended where it waited")));
        }
        Poll::Pending
    }
}

impl Drop for Method<'_> {
    fn drop(&mut self) {
        if let Some((_, hook)) = self.given_up {
            self.state.forget_hook(hook);
        }
    }
}

/// Wakes whoever runs a method when its caller gives up.
#[derive(Default)]
struct GivenUp(Mutex<Option<Waker>>);

impl Wake for GivenUp {
    fn wake(self: Arc<Self>) {
        let waker = lock(&self.0).take();
        waker.into_iter().for_each(Waker::wake);
    }
}
