//! Calls over a line that retries: the next connection is made by a thread of the runtime for what blocks, and awaited.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::call::Parcel;
use crate::context::Origin;
use crate::line::{Again, Line, Named};
use crate::link::{Callee, Link};
use crate::pending::CallUnderWay;
use crate::proxy::out_call;
use crate::target::Remote;
use crate::{Error, ErrorKind, Result};

/// Runs what may block.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Unavailable, format!("the runtime runs nothing any more: {error}")))
    })
}

/// A connection that is not over as far as is known; see [`Line::alive`].
pub(super) async fn alive(line: &Arc<Line>, deadline: Option<Instant>) -> Result<Arc<Link>> {
    let link = line.link();
    if !line.retries() || !link.is_leaving() {
        return Ok(link);
    }
    let line = line.clone();
    blocking(move || line.alive(deadline)).await
}

/// A call of an object that was got by name. It is sent at once where there is a connection, and once more over the next one, or at the next
/// provider, where that is right; see [`Named::call`].
pub(crate) enum CallAgain {
    Sent(Box<(Arc<Remote>, CallUnderWay, Attempts)>),
    Trying(Pin<Box<dyn Future<Output = Result<Parcel>> + Send>>),
}

/// What it takes to make the call once more.
pub(crate) struct Attempts {
    named: Arc<Named>,
    origin: Origin,
    deadline: Option<Instant>,
    again: Again,
    method: String,
    body: Vec<u8>,
}

impl CallAgain {
    pub(crate) fn new(
        named: Arc<Named>,
        origin: Origin,
        again: Again,
        method: &str,
        body: Vec<u8>,
    ) -> CallAgain {
        let deadline = named.deadline(&origin);
        let mut attempts = Attempts { named, origin, deadline, again, method: method.to_owned(), body };
        match attempts.named.found() {
            None => CallAgain::Trying(Box::pin(attempts.go_on(None))),
            Some(remote) => match attempts.send(&remote) {
                Ok(call) => CallAgain::Sent(Box::new((remote, call, attempts))),
                Err(error) => CallAgain::Trying(Box::pin(attempts.go_on(Some((remote, error))))),
            },
        }
    }

    /// The call as it is under way now, which is then not made again; `None` where there is no connection.
    pub(crate) fn under_way(self) -> Option<CallUnderWay> {
        match self {
            CallAgain::Sent(sent) => Some(sent.1),
            CallAgain::Trying(_) => None,
        }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Parcel>> {
        if let CallAgain::Sent(sent) = self {
            let (_, call, attempts) = &mut **sent;
            match ready!(call.poll(context)) {
                Err(error) if attempts.again.is_right(&error, attempts.deadline) => {
                    let none = CallAgain::Trying(Box::pin(std::future::pending()));
                    let CallAgain::Sent(sent) = std::mem::replace(self, none) else {
                        unreachable!("it was sent")
                    };
                    let (remote, _, attempts) = *sent;
                    *self = CallAgain::Trying(Box::pin(attempts.go_on(Some((remote, error)))));
                }
                outcome => return Poll::Ready(outcome),
            }
        }
        match self {
            CallAgain::Sent(_) => unreachable!("it was answered"),
            CallAgain::Trying(attempts) => attempts.as_mut().poll(context),
        }
    }
}

impl Attempts {
    fn send(&mut self, remote: &Remote) -> Result<CallUnderWay> {
        let callee = Callee::Object(remote.id);
        let call = out_call(callee, &self.method, &self.origin, &self.body, self.again.carried());
        let id = remote.link.call(call)?;
        Ok(CallUnderWay::new(remote.link.clone(), id, &self.origin))
    }

    /// Calls until it is answered, behind a try that ended so.
    async fn go_on(mut self, mut failed: Option<(Arc<Remote>, Error)>) -> Result<Parcel> {
        loop {
            let (named, deadline) = (self.named.clone(), self.deadline);
            let remote = match failed {
                None => blocking(move || named.remote(deadline)).await?,
                Some((lost, error)) if self.again.is_right(&error, deadline) => {
                    blocking(move || named.after(&lost, deadline)).await?.ok_or(error)?
                }
                Some((_, error)) => return Err(error),
            };
            let outcome = match self.send(&remote) {
                Ok(mut call) => poll_fn(|context| call.poll(context)).await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) => failed = Some((remote, error)),
                outcome => return outcome,
            }
        }
    }
}
