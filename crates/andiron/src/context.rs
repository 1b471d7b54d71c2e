//! What the handler that runs on this thread belongs to: a chain of calls with a deadline that can be cancelled.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use andiron_proto::codec::{DecodeError, Decoder, Token};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::link::Link;
use crate::sync::lock;
use crate::{Error, ErrorKind, Hub, Result, Rights};

/// The call that a handler is running for: who calls, how much time is left, whether the caller still waits.
///
/// ```
/// # struct Miner;
/// #[andiron::expose]
/// impl Miner {
///     fn dig(&self) -> u64 {
///         let mut dug = 0;
///         while dug < 1_000_000 && !andiron::current().is_some_and(|call| call.is_cancelled()) {
///             dug += 1;
///         }
///         dug
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Context(pub(crate) Arc<CallState>);

impl Context {
    /// True when nobody waits for the result any more: the caller cancelled, its time is over, or its connection ended.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// The time that is left; `None` where the caller set no limit.
    pub fn time_left(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The connection on which the call came: its owner can be called back there. `None` for a call within this process.
    pub fn hub(&self) -> Option<Hub> {
        self.0.link.clone().map(Hub::of)
    }

    /// A number that all calls over the same connection have, and no other as long as that is open; 0 within this process.
    #[doc(hidden)]
    pub fn connection_key(&self) -> usize {
        self.0.link.as_ref().map_or(0, |link| Arc::as_ptr(link) as usize)
    }

    /// Has this run when the connection on which the call came ends, at once if it has; never for a call within this process.
    #[doc(hidden)]
    pub fn on_end(&self, hook: impl FnOnce() + Send + 'static) {
        if let Some(link) = &self.0.link {
            link.on_close(move |_| hook());
        }
    }

    /// What the caller said beside the arguments under this name, with [`Proxy::with_annotations`](crate::Proxy::with_annotations). Calls that are made in this one do not
    /// say it by themselves.
    ///
    /// # Errors
    /// `BadArguments` where it is something else than asked for.
    pub fn annotation<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let read = find(self.encoded_annotations().unwrap_or(NONE), name);
        read.map_err(|error| {
            Error::new(ErrorKind::BadArguments, format!("the annotation `{name}` cannot be read: {error}"))
        })
    }

    /// All of them, encoded, where there are any.
    #[doc(hidden)]
    pub fn encoded_annotations(&self) -> Option<&[u8]> {
        self.0.annotations.as_deref()
    }

    /// What the caller may do, by the secret that its connection began with. All rights where it came without one, or from within this process. The
    /// root and the store look at it themselves; other objects may.
    pub fn rights(&self) -> &Rights {
        self.0.rights.as_deref().unwrap_or(Rights::full())
    }
}

/// No annotations.
const NONE: &[u8] = &[0x80];

fn find<T: DeserializeOwned>(annotations: &[u8], name: &str) -> Result<Option<T>, DecodeError> {
    let mut decoder = Decoder::new(annotations);
    let Token::Map(count) = decoder.token()? else { return Ok(None) };
    for _ in 0..count {
        if decoder.decode::<&str>()? == name {
            return decoder.decode().map(Some);
        }
        decoder.decode::<IgnoredAny>()?;
    }
    Ok(None)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("cancelled", &self.is_cancelled())
            .field("time_left", &self.time_left())
            .finish()
    }
}

/// The call that this thread is handling; `None` outside of handlers.
pub fn current() -> Option<Context> {
    CURRENT.with_borrow(|current| current.clone().map(Context))
}

/// One call that is being handled.
pub(crate) struct CallState {
    pub(crate) chain: u64,
    pub(crate) deadline: Option<Instant>,
    /// The connection on which it came.
    pub(crate) link: Option<Arc<Link>>,
    /// `None`: all.
    pub(crate) rights: Option<Arc<Rights>>,
    pub(crate) annotations: Annotations,
    cancelled: AtomicBool,
    /// Stops what was started on behalf of this call.
    on_cancel: Mutex<Hooks>,
}

#[derive(Default)]
struct Hooks {
    added: u64,
    /// By number; most are forgotten in the reverse order.
    all: Vec<(u64, Box<dyn FnOnce() + Send>)>,
}

impl CallState {
    pub(crate) fn new(chain: u64, deadline: Option<Instant>, link: Option<Arc<Link>>) -> CallState {
        let (cancelled, on_cancel) = (AtomicBool::new(false), Mutex::default());
        CallState { chain, deadline, link, rights: None, annotations: None, cancelled, on_cancel }
    }

    /// The same for a caller who may do no more than this.
    pub(crate) fn with_rights(self, rights: Option<Arc<Rights>>) -> CallState {
        CallState { rights, ..self }
    }

    /// The same of which the caller says this.
    pub(crate) fn with_annotations(self, annotations: Annotations) -> CallState {
        CallState { annotations, ..self }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        // Relaxed: a hint that orders nothing.
        self.cancelled.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Why what nobody waits for does not go on, and what became of it.
    pub(crate) fn given_up(&self, outcome: &str) -> Error {
        let late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let (kind, why) = if late {
            (ErrorKind::Deadline, "the caller's time was over")
        } else {
            (ErrorKind::Cancelled, "the caller gave up")
        };
        Error::new(kind, format!("{why}{outcome}"))
    }

    pub(crate) fn cancel(&self) {
        let hooks = {
            let mut hooks = lock(&self.on_cancel);
            self.cancelled.store(true, Ordering::Relaxed); // under the lock: no hook is added behind it
            std::mem::take(&mut hooks.all)
        };
        for (_, hook) in hooks {
            hook();
        }
    }

    /// Has `hook` run when the call is cancelled; at once if it is. The number is for [`forget_hook`](CallState::forget_hook).
    pub(crate) fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> u64 {
        let mut hooks = lock(&self.on_cancel);
        if self.cancelled.load(Ordering::Relaxed) {
            drop(hooks);
            hook();
            return 0;
        }
        hooks.added += 1;
        let number = hooks.added;
        hooks.all.push((number, Box::new(hook)));
        number
    }

    /// A hook's work is done.
    pub(crate) fn forget_hook(&self, number: u64) {
        let mut hooks = lock(&self.on_cancel);
        let found = hooks.all.iter().rposition(|(of, _)| *of == number);
        let hook = found.map(|index| hooks.all.swap_remove(index));
        drop(hooks);
        drop(hook); // without the lock: it may hold the last handle of something
    }

    /// The work of all hooks is done.
    pub(crate) fn forget_hooks(&self) {
        let hooks = std::mem::take(&mut lock(&self.on_cancel).all);
        drop(hooks);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<CallState>>> = const { RefCell::new(None) };
    static CHAINS: Cell<u64> = const { Cell::new(0) };
}

/// Runs a handler for this call.
pub(crate) fn enter<R>(call: Arc<CallState>, handler: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<CallState>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let inner = CURRENT.replace(self.0.take());
            drop(inner); // outside of the borrow: it may hold the last handle of a connection
        }
    }
    let _restore = Restore(CURRENT.replace(Some(call)));
    handler()
}

/// What is said beside the arguments of a call: an encoded map, or nothing.
pub(crate) type Annotations = Option<Arc<[u8]>>;

/// What a call that is made now belongs to.
pub(crate) struct Origin {
    pub(crate) chain: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) annotations: Annotations,
    pub(crate) call: Option<Arc<CallState>>,
}

/// The chain and deadline for a call that is made now, may take `timeout`, and says this.
pub(crate) fn origin(timeout: Option<Duration>, annotations: Annotations) -> Result<Origin> {
    let own = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let Some(call) = CURRENT.with_borrow(Option::clone) else {
        return Ok(Origin { chain: new_chain(), deadline: own, annotations, call: None });
    };
    if call.is_cancelled() {
        return Err(Error::new(
            ErrorKind::Cancelled,
            "the call that this one is made for was cancelled or is out of time",
        ));
    }
    let deadline = match (own, call.deadline) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Ok(Origin { chain: call.chain, deadline, annotations, call: Some(call) })
}

/// A random number from 0 to 1, for what should differ between processes.
pub(crate) fn random_share() -> f64 {
    (new_chain() >> 11) as f64 / (1u64 << 53) as f64
}

/// A number that no other chain has: each thread counts on from a random one, and the count is scattered.
fn new_chain() -> u64 {
    let mut count = CHAINS.get();
    if count == 0 {
        count = RandomState::new().build_hasher().finish();
    }
    count = count.wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHAINS.set(count);
    let mut mixed = count;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_leaves_no_hook_behind_and_the_others_run() {
        let call = CallState::new(1, None, None);
        let ran = Arc::new(Mutex::new(Vec::new()));
        let hook = |number: i32| {
            let ran = ran.clone();
            call.on_cancel(move || lock(&ran).push(number))
        };
        let (first, _second, third) = (hook(1), hook(2), hook(3));
        call.forget_hook(first);
        call.forget_hook(third);
        call.forget_hook(third);
        assert_eq!(lock(&call.on_cancel).all.len(), 1);
        call.cancel();
        assert_eq!(*lock(&ran), [2]);
        hook(4);
        assert_eq!(*lock(&ran), [2, 4], "at once, since the call is cancelled");
    }
}
