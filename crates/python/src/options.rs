//! What is said for the calls of a block: context variables of the package, which are looked at once that one was set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::hooks;
use crate::hub::seconds;

/// One of the variables was set at some time.
static USED: AtomicBool = AtomicBool::new(false);

/// Deadlines or annotations are used from now on.
#[pyfunction]
pub(crate) fn use_options() {
    USED.store(true, Ordering::Relaxed);
}

fn value<'py>(py: Python<'py>, variable: &Py<PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let value = variable.bind(py).call_method1("get", (py.None(),))?;
    Ok(Some(value).filter(|value| !value.is_none()))
}

/// How long a call may take that is made now.
pub(crate) fn time_left(py: Python<'_>) -> PyResult<Option<Duration>> {
    if !USED.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let Some(deadline) = value(py, &hooks::hooks(py)?.deadline)? else { return Ok(None) };
    let now: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
    Ok(Some(seconds(deadline.extract::<f64>()? - now)))
}

/// What a call says that is made now.
pub(crate) fn annotations(py: Python<'_>) -> PyResult<Option<Arc<[u8]>>> {
    if !USED.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let annotations = value(py, &hooks::hooks(py)?.annotations)?;
    annotations.map(|bytes| Ok(bytes.cast::<PyBytes>()?.as_bytes().into())).transpose()
}

/// Runs a method without what a block says that this thread is in: its calls are no calls of the block.
pub(crate) fn aside<R>(py: Python<'_>, run: impl FnOnce() -> R) -> R {
    let set = || {
        let hooks = hooks::hooks(py)?;
        let of_block = |variable: &Py<PyAny>| {
            let inside = value(py, variable)?.is_some();
            let token = || variable.bind(py).call_method1("set", (py.None(),));
            inside.then(token).transpose().map(|token| token.map(|token| (variable.bind(py).clone(), token)))
        };
        Ok::<_, PyErr>([of_block(&hooks.deadline)?, of_block(&hooks.annotations)?])
    };
    if !USED.load(Ordering::Relaxed) {
        return run();
    }
    let set = set();
    let done = run();
    for (variable, token) in set.into_iter().flatten().flatten() {
        if let Err(raised) = variable.call_method1("reset", (token,)) {
            raised.write_unraisable(py, None);
        }
    }
    done
}
