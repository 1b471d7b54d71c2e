//! Big values by reference: memory that is sealed, and mapped by whoever gets it.

use std::io::{self, Read};
use std::os::fd::AsRawFd;

use andiron::Blob;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

/// From so many bytes on a buffer goes by reference.
pub(crate) const BY_REFERENCE_FROM: usize = 1 << 20;

/// Bytes that came by reference. The package maps them, by the module `mmap`.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Memory {
    blob: Blob,
    /// Where they begin in it, and how many there are.
    offset: usize,
    length: usize,
}

impl Memory {
    pub(crate) fn part(blob: Blob, offset: usize, length: usize) -> Memory {
        Memory { blob, offset, length }
    }
}

#[pymethods]
impl Memory {
    /// The descriptor of memory that nobody can change, open as long as this is there, and where in it the bytes begin; `None` where it was not kept.
    fn place(&self) -> Option<(i32, usize)> {
        self.blob.memory().map(|memory| (memory.as_raw_fd(), self.offset))
    }

    fn __len__(&self) -> usize {
        self.length
    }

    /// A copy of the bytes.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.blob[self.offset..self.offset + self.length])
    }
}

/// The bytes of a view of plain bytes, in memory that can be passed on.
pub(crate) fn frozen(view: &Bound<'_, PyMemoryView>) -> PyResult<Blob> {
    Ok(Blob::from_reader(Pieces { view, at: 0, length: view.len()? })?)
}

/// Reads a view in pieces that stay in the processor's cache.
struct Pieces<'a, 'py> {
    view: &'a Bound<'py, PyMemoryView>,
    at: usize,
    length: usize,
}

impl Read for Pieces<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let end = self.length.min(self.at + into.len());
        let piece = self.piece(end).map_err(io::Error::other)?;
        let bytes = piece.as_bytes();
        into[..bytes.len()].copy_from_slice(bytes);
        self.at = end;
        Ok(bytes.len())
    }
}

impl<'py> Pieces<'_, 'py> {
    fn piece(&self, end: usize) -> PyResult<Bound<'py, PyBytes>> {
        let py = self.view.py();
        let [from, to] = [self.at, end].map(|at| isize::try_from(at).unwrap_or(isize::MAX));
        let piece = self.view.get_item(PySlice::new(py, from, to, 1))?.call_method0("tobytes")?;
        Ok(piece.cast_into::<PyBytes>()?)
    }
}
