//! The native engine of the Python package `andiron`: connections, calls, the store and the codec, without a word of what users see.
//!
//! The package gives it a few functions ([`install`]), by which the engine makes what users see: proxies, errors, and the values that it does not know by itself.
#![forbid(unsafe_code)]

mod decode;
mod driver;
mod encode;
mod ending;
mod error;
mod file;
mod flow;
mod hooks;
mod hub;
mod log;
mod memory;
mod object;
mod options;
mod pending;
mod remote;
mod server;
mod signals;
mod store;
mod template;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyTuple};

/// The package's functions, see `python/andiron/_engine.py`.
#[pyfunction]
fn install(py: Python<'_>, hooks: hooks::Hooks) {
    hooks::install(py, hooks);
    log::install();
    signals::watch();
    signals::keep_threads();
}

/// One value in the native codec.
#[pyfunction(name = "encode")]
fn to_bytes<'py>(py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = encode::to_bytes(value)?;
    Ok(PyBytes::new(py, &bytes))
}

/// One value as it is stored: bytes, or `Memory` where some of it is big.
#[pyfunction]
fn encode_stored<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let blob = encode::to_blob(value, || "the value".to_owned())?;
    match blob.memory() {
        None => Ok(PyBytes::new(py, &blob).into_any()),
        Some(_) => Ok(Bound::new(py, memory::Memory::whole(blob))?.into_any()),
    }
}

/// Raises what is in the way of sending a value in a call.
#[pyfunction]
fn check(value: &Bound<'_, PyAny>) -> PyResult<()> {
    encode::check(value)
}

/// The value that these bytes hold.
#[pyfunction(name = "decode")]
fn from_bytes<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return decode::from_bytes(data.py(), bytes.as_bytes());
    }
    // Others may change while they are read.
    let copy = PyMemoryView::from(data)?.call_method0("tobytes")?;
    decode::from_bytes(data.py(), copy.cast::<PyBytes>()?.as_bytes())
}

/// The `andiron` program with these arguments; its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<String>) -> u8 {
    let code = ending::detached(py, || andiron_cli::main(arguments));
    // An exit code tells no more than whether it is that one.
    (0..=u8::MAX).find(|&number| std::process::ExitCode::from(number) == code).unwrap_or(1)
}

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_function(wrap_pyfunction!(install, module)?)?;
    module.add_function(wrap_pyfunction!(to_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(encode_stored, module)?)?;
    module.add_function(wrap_pyfunction!(from_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(check, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)?;
    module.add_function(wrap_pyfunction!(hub::connect, module)?)?;
    module.add_function(wrap_pyfunction!(hub::current, module)?)?;
    module.add_function(wrap_pyfunction!(options::use_options, module)?)?;
    module.add_function(wrap_pyfunction!(server::serve, module)?)?;
    module.add_class::<hub::Connection>()?;
    module.add_class::<hub::Batch>()?;
    module.add_function(wrap_pyfunction!(driver::open, module)?)?;
    module.add_class::<driver::Bell>()?;
    module.add_class::<driver::Driver>()?;
    module.add_class::<object::Later>()?;
    module.add_class::<object::Feed>()?;
    module.add_class::<object::Answer>()?;
    module.add_class::<hub::Context>()?;
    module.add_function(wrap_pyfunction!(memory::freeze, module)?)?;
    module.add_class::<memory::Memory>()?;
    module.add_class::<memory::Room>()?;
    module.add_class::<object::Target>()?;
    module.add_class::<object::Outflow>()?;
    module.add_class::<remote::Remote>()?;
    module.add_class::<remote::Method>()?;
    module.add_class::<pending::Pending>()?;
    module.add_class::<remote::Inflow>()?;
    module.add_class::<server::Running>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<store::Entries>()?;
    module.add_class::<store::Watch>()?;
    module.add("KINDS", PyTuple::new(py, error::KINDS.iter().map(|(_, name)| *name))?)
}
