//! Binary files of Python, for what is written and read in Rust.

use std::io;
use std::sync::{Arc, Mutex};

use andiron::Error;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::to_python;

/// A binary file of Python, and what it raised.
#[derive(Clone)]
pub(crate) struct PythonFile {
    file: Arc<Py<PyAny>>,
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl PythonFile {
    pub(crate) fn new(file: Py<PyAny>) -> PythonFile {
        PythonFile { file: Arc::new(file), raised: Arc::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> io::Result<T> {
        Python::attach(|py| work(self.file.bind(py))).map_err(|raised| {
            let text = raised.to_string();
            if let Ok(mut place) = self.raised.lock() {
                *place = Some(raised);
            }
            io::Error::other(text)
        })
    }

    /// What the file raised is raised, in place of what came of that.
    pub(crate) fn outcome(&self, py: Python<'_>, outcome: Result<u64, Error>) -> PyResult<u64> {
        let raised = self.raised.lock().ok().and_then(|mut raised| raised.take());
        match raised {
            Some(raised) => Err(raised),
            None => outcome.map_err(|error| to_python(py, &error)),
        }
    }
}

impl io::Write for PythonFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|file| {
            let bytes = PyBytes::new(file.py(), bytes);
            file.call_method1(intern!(file.py(), "write"), (bytes,))?.extract()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|file| file.call_method0(intern!(file.py(), "flush")).map(drop))
    }
}

impl io::Read for PythonFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.with(|file| {
            let bytes = file.call_method1(intern!(file.py(), "read"), (into.len(),))?;
            let bytes = bytes.cast::<PyBytes>()?.as_bytes();
            let fits = bytes.get(..into.len()).unwrap_or(bytes);
            into[..fits.len()].copy_from_slice(fits);
            Ok(fits.len())
        })
    }
}
