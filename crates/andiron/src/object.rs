//! Objects that can be called: what lies between an arriving call and the method.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use andiron_proto::ErrorKind;
use parking_lot::RwLock;

use crate::call::Call;
use crate::expose::Access;
use crate::link::Pump;
use crate::sync::contained;
use crate::target::Remote;
use crate::task::{self, Method, Steps};
use crate::turnstile::{Entered, Turnstile};
use crate::{Arguments, Error, Expose, Reply, Result};

/// The protocol's own method by which every object tells what it is.
pub(crate) const DESCRIBE: &str = "$describe";

/// Something that answers calls.
pub(crate) trait Object: Send + Sync + 'static {
    /// True where calls never block: they then run at once, in order, on the thread that reads.
    fn is_inline(&self) -> bool {
        false
    }

    /// What it passes calls on to, if it is only that.
    fn relayed(&self) -> Option<&Arc<Remote>> {
        None
    }

    /// The object of another language that it is, if it is one.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// The queue that calls of this method pass, and how it enters; `None` where nobody ever waits.
    fn turns(&self, _method: &str) -> Option<(&Turnstile<Job>, Access)> {
        None
    }

    /// Answers the call, now or later. Gives back the jobs that may run because this one is done.
    fn run(self: Arc<Self>, call: Call) -> Vec<Job>;
}

/// Gives the call its place in the order of calls to this object, and gives it back if it can run now. To be called in the order in which
/// calls arrived, also under the lock of the connection: it does not run or answer anything.
pub(crate) fn admit(object: Arc<dyn Object>, call: Call) -> Admitted {
    let Some((turns, access)) = object.turns(call.method()) else {
        return Admitted::Run(Job { object, call });
    };
    match turns.enter(access, call.chain(), Job { object: object.clone(), call }) {
        Entered::Now(job) => Admitted::Run(job),
        Entered::Parked => Admitted::Parked,
        Entered::Reentrant(job) => {
            let error = Error::new(
                ErrorKind::Reentrant,
                "this call comes, by way of others, from a method of the same object that is still running: \
                 the object is held by it; make one of the methods take `&self`, or call back later",
            );
            Admitted::Refused(job.call, error)
        }
    }
}

/// What came of [`admit`].
pub(crate) enum Admitted {
    /// Run it.
    Run(Job),
    /// It runs when others are done.
    Parked,
    /// It never runs; answer it with this error.
    Refused(Call, Error),
    /// No call: a stream has something to send.
    Pump(Pump),
    /// No call: a method that waited can go on.
    Step(Arc<Steps>),
}

impl Admitted {
    /// Runs or refuses it, if it is not parked.
    pub(crate) fn run(self) {
        match self {
            Admitted::Run(job) => job.run(),
            Admitted::Parked => {}
            Admitted::Refused(call, error) => call.answer(Err(error)),
            Admitted::Pump(pump) => pump.run(),
            Admitted::Step(steps) => steps.step(),
        }
    }
}

/// An admitted call.
pub(crate) struct Job {
    object: Arc<dyn Object>,
    pub(crate) call: Call,
}

impl Job {
    /// Runs it. The jobs that waited for its turn to end go to their own connections' threads; those of calls within this process run
    /// here.
    pub(crate) fn run(self) {
        let mut here = VecDeque::new(); // which seldom holds any
        let mut turn = Some(self);
        while let Some(Job { object, call }) = turn {
            let next = contained(move || object.run(call)).unwrap_or_default();
            here.extend(left_here(next));
            turn = here.pop_front();
        }
    }
}

/// Gives jobs to the threads of their connections; those of calls within this process stay.
fn left_here(jobs: Vec<Job>) -> impl Iterator<Item = Job> {
    jobs.into_iter().filter_map(|job| match job.call.link().cloned() {
        Some(link) => link.run_later(job),
        None => Some(job),
    })
}

/// A value of the user's type, in turns.
pub(crate) struct Exposed<T> {
    value: RwLock<T>,
    turns: Turnstile<Job>,
    /// False where all methods take `&self`: then nobody ever waits.
    takes_turns: bool,
    /// True where a method is an `async fn`.
    waits: bool,
    inline: bool,
}

impl<T: Expose> Exposed<T> {
    pub(crate) fn new(value: T, inline: bool) -> Exposed<T> {
        let methods = &T::interface().methods;
        let takes_turns = methods.iter().any(|method| method.exclusive);
        let waits = methods.iter().any(|method| T::is_async(&method.name));
        Exposed { value: RwLock::new(value), turns: Turnstile::default(), takes_turns, waits, inline }
    }

    /// Answers a call of an asynchronous method.
    async fn answer_later(self: Arc<Self>, call: Call) {
        let chain = call.chain();
        // What the method borrows is given back before others have their turn.
        let outcome = self.outcome(&call).await;
        let next = if self.takes_turns { self.turns.leave(chain) } else { Vec::new() };
        contained(move || call.answer(outcome));
        left_here(next).for_each(Job::run);
    }

    // The turnstile lets nobody in whom the lock would have to keep waiting, so no thread ever blocks on it.
    #[allow(clippy::await_holding_lock)]
    async fn outcome(&self, call: &Call) -> Result<Reply> {
        call.check()?;
        let (method, state) = (call.method(), call.state().clone());
        let arguments = Arguments::of(call)?;
        if T::access(method) == Some(Access::Exclusive) {
            let mut value = self.value.write();
            Method::new(state, value.start_exclusive(method, arguments)).await
        } else {
            let value = self.value.read();
            Method::new(state, value.start_shared(method, arguments)).await
        }
    }

    fn answer(&self, call: &Call) -> Result<Reply> {
        call.check()?;
        let interface = T::interface();
        let method = call.method();
        let Some(access) = T::access(method) else {
            if method == DESCRIBE {
                return Reply::encode(interface);
            }
            return Err(interface.no_method(method));
        };
        let mut arguments = Arguments::of(call)?;
        call.enter(|| match access {
            Access::Shared => self.value.read().call_shared(method, &mut arguments),
            Access::Exclusive => self.value.write().call_exclusive(method, &mut arguments),
        })
    }
}

impl<T: Expose> Object for Exposed<T> {
    fn is_inline(&self) -> bool {
        self.inline
    }

    fn turns(&self, method: &str) -> Option<(&Turnstile<Job>, Access)> {
        // What is no method only asks for the interface or gets an error: that needs no turn, but has one.
        self.takes_turns.then(|| (&self.turns, T::access(method).unwrap_or(Access::Shared)))
    }

    fn run(self: Arc<Self>, call: Call) -> Vec<Job> {
        if self.waits && T::is_async(call.method()) {
            let link = call.link().cloned();
            task::run(link.as_ref(), self.answer_later(call));
            return Vec::new();
        }
        let chain = call.chain();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.answer(&call)))
            .unwrap_or_else(|panic| Err(panicked(&*panic)));
        // The turn ends before the answer goes out: who has the answer can call again and is not called reentrant.
        let next = if self.takes_turns { self.turns.leave(chain) } else { Vec::new() };
        // What the call brought is dropped with it, and that may be anything.
        contained(move || call.answer(outcome));
        next
    }
}

/// What a caller hears of a method that panicked.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    Error::new(ErrorKind::Internal, format!("the method panicked: {}", panic_text(panic)))
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else {
        panic.downcast_ref::<String>().map_or("no message", String::as_str)
    }
}

/// Another connection's object, shown to this one: passes calls on without looking into them.
pub(crate) struct Relay(pub(crate) Arc<Remote>);

impl Object for Relay {
    fn is_inline(&self) -> bool {
        true
    }

    fn relayed(&self) -> Option<&Arc<Remote>> {
        Some(&self.0)
    }

    fn run(self: Arc<Self>, call: Call) -> Vec<Job> {
        call.forward(&self.0);
        Vec::new()
    }
}
