//! The connection of a hub, and those that take its place when it is lost.
//!
//! Nothing here runs by itself: whoever finds the connection lost, a call or [`Hub::run`](crate::Hub::run), has the next one made, and the others that
//! find it too wait for that. A thread makes it, one for each try: whoever waits may have to give up while the other end says nothing. What is restored: registered names, and proxies that were got by name. A reference that came in a call
//! or a result belonged to the connection that is gone.
//!
//! Locking rules: no lock here is held while one of a link is taken or foreign code runs.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::blob::Attached;
use crate::context::Origin;
use crate::link::Link;
use crate::stream::Items;
use crate::sync::lock;
use crate::target::{Carried, Remote, Target};
use crate::{Error, ErrorKind, Proxy, Result};

/// The pause after the first connection that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Signal<'a> {
    /// The handshake is done: calls can go both ways.
    Connected,
    /// It is over, for this reason; each connection ends once.
    Disconnected(&'a Error),
    /// Another connection has taken the place of one that was lost, and registered names are restored. Of clients that
    /// [retry](crate::Connector::retry). Where a server that shuts down still answers what it was asked, the end of that connection is told
    /// when it has, which may be behind this.
    Reconnected,
}

/// Who is told of signals.
pub(crate) type Listen = Arc<dyn Fn(Signal<'_>) + Send + Sync>;

/// Connects and does the handshake, on whatever thread it is called.
pub(crate) type Opening = Box<dyn FnOnce() -> Result<Arc<Link>> + Send>;

/// Begins a try on the thread that wants the connection.
pub(crate) type Open = dyn Fn() -> Opening + Send + Sync;

pub(crate) struct Line {
    /// In a forked child the locks here may be held for ever, by threads that are not there. This needs none, and says so.
    first: Arc<Link>,
    current: Mutex<Arc<Link>>,
    again: Option<Renewal>,
}

/// What a line has that makes another connection when one is lost.
pub(crate) struct Renewal {
    open: Box<Open>,
    /// How long a call without a limit of its own waits for the next connection.
    patience: Duration,
    listen: Option<Listen>,
    tries: Mutex<Tries>,
    wake: Condvar,
}

#[derive(Default)]
struct Tries {
    /// A thread is at it, or pauses before the next one.
    busy: bool,
    /// It is over for good.
    closed: bool,
    /// So many in a row failed.
    failed: u32,
    /// So many failed at all, and why the last one did.
    failures: u64,
    failure: Option<Error>,
    /// The objects that were registered, with their names.
    registered: Vec<(String, Proxy)>,
}

impl Line {
    /// One connection and no other.
    pub(crate) fn single(link: Arc<Link>) -> Arc<Line> {
        Arc::new(Line { first: link.clone(), current: Mutex::new(link), again: None })
    }

    /// This connection, and others after it.
    pub(crate) fn retrying(link: Arc<Link>, again: Renewal) -> Arc<Line> {
        Arc::new(Line { first: link.clone(), current: Mutex::new(link), again: Some(again) })
    }

    /// The latest connection, which may be over. In a forked child one that says so.
    pub(crate) fn link(&self) -> Arc<Link> {
        match self.check_fork() {
            Ok(()) => lock(&self.current).clone(),
            Err(_) => self.first.clone(),
        }
    }

    /// Refuses to use what belongs to the parent process.
    pub(crate) fn check_fork(&self) -> Result<()> {
        self.first.check_fork()
    }

    pub(crate) fn retries(&self) -> bool {
        self.again.is_some()
    }

    /// A name was registered, to be restored.
    pub(crate) fn registered(&self, name: &str, object: &Proxy) {
        self.link().registered(name, object);
        if let Some(again) = &self.again {
            lock(&again.tries).registered.push((name.to_owned(), object.clone()));
        }
    }

    /// Ends the connection, and there will be no other.
    pub(crate) fn close(&self) {
        if self.check_fork().is_err() {
            return;
        }
        if let Some(again) = &self.again {
            lock(&again.tries).closed = true;
            again.wake.notify_all();
        }
        self.link().close();
    }

    /// True where this end closed it for good.
    pub(crate) fn closed_here(&self) -> bool {
        if self.check_fork().is_err() {
            return false;
        }
        match &self.again {
            Some(again) => lock(&again.tries).closed,
            None => self.link().closed_here(),
        }
    }

    /// A connection that is not over, as far as is known: the present one, or else the next, for which it waits at most until `deadline`, or
    /// as long as the line is patient.
    pub(crate) fn alive(self: &Arc<Line>, deadline: Option<Instant>) -> Result<Arc<Link>> {
        self.check_fork()?;
        let link = self.link();
        match &self.again {
            Some(again) if link.is_leaving() => {
                self.next(again, &link, deadline.or_else(|| Instant::now().checked_add(again.patience)))
            }
            Some(_) => Ok(link),
            None => match link.ended() {
                None => Ok(link),
                Some(ended) => Err(Error::new(ErrorKind::Unavailable, ended.message().to_owned())),
            },
        }
    }

    /// The connection after `lost`, for which it waits without end, but not for what no waiting will change.
    pub(crate) fn after(self: &Arc<Line>, lost: &Arc<Link>) -> Result<Arc<Link>> {
        self.check_fork()?;
        match &self.again {
            Some(again) => self.next(again, lost, None),
            None => Err(Error::new(ErrorKind::Unavailable, "the connection is over")),
        }
    }

    /// Pauses before another try of something; false where there is no time for one, or no sense in it any more.
    fn rest(&self, failed: u32, deadline: Option<Instant>) -> bool {
        let Some(again) = &self.again else { return false };
        let pause = pause_after(failed, deadline);
        !pause.is_zero() && !again.rest(lock(&again.tries), pause).closed
    }

    fn next(
        self: &Arc<Line>,
        again: &Renewal,
        lost: &Arc<Link>,
        deadline: Option<Instant>,
    ) -> Result<Arc<Link>> {
        let mut tries = lock(&again.tries);
        let mut failures = tries.failures;
        let mut last_error = None;
        loop {
            if tries.closed {
                return Err(closed_here());
            }
            let link = self.link();
            if !Arc::ptr_eq(&link, lost) {
                return Ok(link);
            }
            let failed = tries.failures != failures;
            if failed {
                failures = tries.failures;
                match tries.failure.as_ref().map(Error::told_again) {
                    Some(error) if !may_pass(&error) => return Err(error),
                    error => last_error = error,
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) && (tries.busy || last_error.is_some()) {
                return Err(last_error.unwrap_or_else(not_back));
            }
            if tries.busy {
                tries = wait(&again.wake, tries, left);
            } else if failed {
                let pause = pause_after(tries.failed.saturating_sub(1), deadline);
                // Whoever comes meanwhile waits as well.
                tries.busy = true;
                tries = again.rest(tries, pause);
                tries.busy = false;
                again.wake.notify_all();
            } else {
                self.begin(again, &mut tries);
            }
        }
    }

    /// Has a thread make the next connection. It goes on for others where who began it gives up.
    fn begin(self: &Arc<Line>, again: &Renewal, tries: &mut Tries) {
        let (line, opening, registered) = (self.clone(), (again.open)(), tries.registered.clone());
        let thread = std::thread::Builder::new().name("andiron-connect".to_owned());
        match thread.spawn(move || line.renew(opening, &registered)) {
            Ok(_) => tries.busy = true,
            Err(error) => {
                let text = format!("no thread can be started to connect again: {error}");
                tries.fail(Error::new(ErrorKind::Overloaded, text).with_source(error));
            }
        }
    }

    /// Makes the next connection, and lets those know who wait for it.
    fn renew(&self, opening: Opening, registered: &[(String, Proxy)]) {
        let Some(again) = &self.again else { return };
        let opened = crate::sync::contained(|| {
            let link = again.opened(opening, registered)?;
            let before = std::mem::replace(&mut *lock(&self.current), link.clone());
            before.catch_up(); // its end is told before the new beginning
            drop(before); // outside of the lock: it may be the last handle
            Ok(link)
        });
        let mut tries = lock(&again.tries);
        tries.busy = false;
        match opened {
            Some(Ok(link)) => {
                tries.failed = 0;
                let closed = tries.closed;
                drop(tries);
                if closed {
                    link.close(); // it was closed meanwhile
                } else {
                    again.tell(Signal::Reconnected); // before anybody who waited goes on
                }
            }
            Some(Err(error)) => tries.fail(error),
            None => tries.fail(Error::new(ErrorKind::Internal, "connecting again panicked")),
        }
        again.wake.notify_all();
    }
}

impl Tries {
    fn fail(&mut self, error: Error) {
        self.failed += 1;
        self.failures += 1;
        self.failure = Some(error);
    }
}

impl Renewal {
    pub(crate) fn new(open: Box<Open>, patience: Duration, listen: Option<Listen>) -> Renewal {
        Renewal { open, patience, listen, tries: Mutex::default(), wake: Condvar::new() }
    }

    fn opened(&self, opening: Opening, registered: &[(String, Proxy)]) -> Result<Arc<Link>> {
        let link = opening()?;
        restore(&link, registered, self)?;
        if let Some(listen) = &self.listen {
            tell_end(&link, listen);
        }
        Ok(link)
    }

    fn tell(&self, signal: Signal<'_>) {
        if let Some(listen) = &self.listen {
            crate::sync::contained(|| listen(signal));
        }
    }

    /// Waits for this time, or until the line is closed.
    fn rest<'a>(&self, tries: MutexGuard<'a, Tries>, time: Duration) -> MutexGuard<'a, Tries> {
        self.wake
            .wait_timeout_while(tries, time, |tries| !tries.closed)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// Has the end of this connection told.
pub(crate) fn tell_end(link: &Link, listen: &Listen) {
    let listen = listen.clone();
    link.on_close(move |error| listen(Signal::Disconnected(error)));
}

fn wait<'a>(wake: &Condvar, tries: MutexGuard<'a, Tries>, left: Option<Duration>) -> MutexGuard<'a, Tries> {
    match left {
        None => wake.wait(tries).unwrap_or_else(PoisonError::into_inner),
        Some(left) => wake.wait_timeout(tries, left).unwrap_or_else(PoisonError::into_inner).0,
    }
}

fn not_back() -> Error {
    let text = "the connection was lost and there is no other yet: the server has not answered so far";
    Error::new(ErrorKind::Unavailable, text)
}

fn closed_here() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection was closed here")
}

/// Registers what was registered before.
fn restore(link: &Arc<Link>, registered: &[(String, Proxy)], again: &Renewal) -> Result<()> {
    let root = Proxy::root(link.clone()).with_timeout(again.patience);
    for (name, object) in registered {
        let () = root
            .call("register", &(name, object))
            .map_err(|error| error.without_operation().during("register").with_context("name", name))?;
        link.registered(name, object);
    }
    Ok(())
}

/// True where another try may do better: nobody is there yet, or the server has not noticed yet that the lost connection, which has the
/// name, is gone.
fn may_pass(error: &Error) -> bool {
    error.is_temporary()
        || matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Unknown | ErrorKind::Deadline)
}

/// Twice as long each time, and different for each client, so that they do not all come back in the same moment; but at most half of what is
/// left until `deadline`, so that the last try is made shortly before it.
fn pause_after(failed: u32, deadline: Option<Instant>) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << failed.min(10)).min(LONGEST_PAUSE);
    let pause = pause.mul_f64(0.5 + 0.5 * crate::context::random_share());
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    left.map_or(pause, |left| pause.min(left / 2).max(FIRST_PAUSE.min(left)))
}

/// A proxy that was got by name over a line that retries: it is looked up again over the next connection, and where its provider is another.
pub(crate) struct Named {
    line: Arc<Line>,
    /// `None`: the root, which every connection has.
    name: Option<String>,
    /// `None`: nothing had this name when it was looked up last.
    found: Mutex<Option<Arc<Remote>>>,
}

impl Named {
    /// Where `found` is what the name was looked up to.
    pub(crate) fn new(line: Arc<Line>, name: &str, found: Arc<Remote>) -> Arc<Named> {
        Arc::new(Named { line, name: Some(name.to_owned()), found: Mutex::new(Some(found)) })
    }

    /// Whatever is at the other end.
    pub(crate) fn root(line: Arc<Line>, found: Arc<Remote>) -> Arc<Named> {
        Arc::new(Named { line, name: None, found: Mutex::new(Some(found)) })
    }

    /// The object, if its connection is not over as far as is known.
    pub(crate) fn found(&self) -> Option<Arc<Remote>> {
        self.line.check_fork().ok()?;
        lock(&self.found).clone().filter(|found| !found.link.is_leaving())
    }

    fn set_found(&self, found: Option<Arc<Remote>>) {
        let before = std::mem::replace(&mut *lock(&self.found), found);
        drop(before); // outside of the lock: it may be the last handle
    }

    /// The object, over the next connection where one is over. Where nothing has its name any more its provider may be on its way as well.
    pub(crate) fn remote(&self, deadline: Option<Instant>) -> Result<Arc<Remote>> {
        let mut failed = 0;
        let mut missing = None;
        loop {
            if let Some(found) = self.found() {
                return Ok(found);
            }
            let link = self.line.alive(deadline)?;
            match self.look_up(link.clone(), deadline) {
                Ok(found) => self.set_found(Some(found)),
                Err(error) => {
                    let nobody = error.kind() == ErrorKind::NoObject;
                    let may_come = nobody || link.is_leaving() && may_pass(&error);
                    // That the time is over says less than what was waited for in it.
                    if nobody || missing.is_none() {
                        missing = Some(error);
                    }
                    if !may_come || !self.line.rest(failed, deadline) {
                        return Err(missing.expect("the last try failed, if no other"));
                    }
                    failed += 1;
                }
            }
        }
    }

    /// The object once more, behind a call that did not reach `lost`: over the next connection, or of who provides it now. `None` where it is
    /// what it was, and the call failed for a reason of its own.
    pub(crate) fn after(&self, lost: &Remote, deadline: Option<Instant>) -> Result<Option<Arc<Remote>>> {
        if !lost.link.is_leaving() {
            match self.look_up(lost.link.clone(), deadline) {
                Ok(found) if found.id == lost.id => return Ok(None),
                Ok(found) => self.set_found(Some(found)),
                Err(_) => self.set_found(None), // it may be said once more, of the next try
            }
        }
        self.remote(deadline).map(Some)
    }

    fn look_up(&self, link: Arc<Link>, deadline: Option<Instant>) -> Result<Arc<Remote>> {
        let Some(name) = &self.name else { return Ok(Arc::new(Remote::root(link))) };
        let mut root = Proxy::root(link);
        if let Some(deadline) = deadline {
            root = root.with_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let again: Proxy = root.call("lookup", &(name,)).map_err(Error::without_operation)?;
        let Target::Remote(again) = again.target() else {
            // The server registered an object of this process under that name: it is here.
            return Err(Error::new(ErrorKind::NoObject, "this name is now one of an object of this process"));
        };
        Ok(again.clone())
    }

    /// Calls it, and again over the next connection or at the next provider where that is right.
    pub(crate) fn call<R>(
        &self,
        origin: &Origin,
        again: &mut Again,
        call: impl Fn(&Arc<Remote>, Carried) -> Result<R>,
    ) -> Result<R> {
        let deadline = self.deadline(origin);
        let mut remote = self.remote(deadline)?;
        loop {
            match call(&remote, again.carried()) {
                Err(error) if again.is_right(&error, deadline) => match self.after(&remote, deadline)? {
                    Some(next) => remote = next,
                    None => return Err(error),
                },
                outcome => return outcome,
            }
        }
    }

    /// Until when a call is tried.
    pub(crate) fn deadline(&self, origin: &Origin) -> Option<Instant> {
        let patience = self.line.again.as_ref().map_or(Duration::ZERO, |again| again.patience);
        origin.deadline.or_else(|| Instant::now().checked_add(patience))
    }
}

/// Whether and with what a call is made again: one that cannot have run, and one that may have but is idempotent. A stream is sent once.
pub(crate) struct Again {
    targets: Vec<Target>,
    attached: Vec<Attached>,
    stream: Option<Box<dyn Items>>,
    streamed: bool,
    idempotent: bool,
}

impl Again {
    pub(crate) fn new(carried: Carried, idempotent: bool) -> Again {
        let Carried { targets, attached, stream } = carried;
        Again { targets, attached, streamed: stream.is_some(), stream, idempotent }
    }

    pub(crate) fn carried(&mut self) -> Carried {
        Carried { targets: self.targets.clone(), attached: self.attached.clone(), stream: self.stream.take() }
    }

    /// True where a call that ended so is to be made again, if its object is elsewhere now.
    pub(crate) fn is_right(&self, error: &Error, deadline: Option<Instant>) -> bool {
        let harmless = match error.kind() {
            ErrorKind::Unavailable | ErrorKind::NoObject => true, // it did not run
            ErrorKind::Unknown => self.idempotent,
            _ => false,
        };
        harmless && !self.streamed && deadline.is_none_or(|deadline| deadline > Instant::now())
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Named({:?})", self.name)
    }
}
