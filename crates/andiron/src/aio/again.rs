//! Calls over a line that retries: the next connection is made by a thread of the runtime for what blocks, and awaited.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use crate::call::Parcel;
use crate::context::Origin;
use crate::line::{Again, Line, Named};
use crate::link::{Callee, Link};
use crate::proxy::{CallUnderWay, out_call};
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

/// Calls, and again over the next connection where that is right; see [`Named::call`].
pub(crate) async fn call(
    named: Arc<Named>,
    origin: Origin,
    mut again: Again,
    method: String,
    body: Vec<u8>,
) -> Result<Parcel> {
    let deadline = named.deadline(&origin);
    loop {
        let remote = present(&named, deadline).await?;
        let link = remote.link.clone();
        let begun = link.call(out_call(Callee::Object(remote.id), &method, &origin, &body, again.carried()));
        let outcome = match begun {
            Ok(id) => {
                let mut call = CallUnderWay::new(link.clone(), id, &origin);
                poll_fn(|context| call.poll(context)).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if again.is_right(&remote, &error, deadline) => {}
            outcome => return outcome,
        }
    }
}

async fn present(named: &Arc<Named>, deadline: Option<Instant>) -> Result<Arc<Remote>> {
    match named.found() {
        Some(remote) => Ok(remote),
        None => {
            let named = named.clone();
            blocking(move || named.remote(deadline)).await
        }
    }
}
