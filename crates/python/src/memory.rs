//! Big values by reference: memory that is sealed, and mapped by whoever gets it.
//!
//! The stable interface of Python 3.10 has no buffers. So what lies in a buffer is written to such memory by the module `os`, and mapped by the module `mmap`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Mutex;

use andiron::{Blob, engine};
use andiron_sys::pages;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::ending::detached;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

/// From so many bytes on a buffer goes by reference.
pub(crate) const BY_REFERENCE_FROM: usize = 1 << 20;

/// Bytes that lie in sealed memory. The package maps them, by the module `mmap`.
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

    pub(crate) fn whole(blob: Blob) -> Memory {
        let length = blob.len();
        Memory { blob, offset: 0, length }
    }

    /// All of the memory, where that is what it is.
    pub(crate) fn as_whole(&self) -> Option<&Blob> {
        (self.offset == 0 && self.length == self.blob.len()).then_some(&self.blob)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.blob[self.offset..self.offset + self.length]
    }
}

#[pymethods]
impl Memory {
    /// The descriptor of memory that nobody can change, open as long as this is there, and where in it the bytes begin; `None` where it was not kept.
    fn place(&self) -> Option<(i32, usize)> {
        self.blob.memory().map(|memory| (memory.as_raw_fd(), self.offset))
    }

    /// Whether its bytes are mapped privately at this address, and none of them was written there since.
    fn is_unchanged(&self, py: Python<'_>, address: usize) -> bool {
        self.as_whole().is_some() && detached(py, || pages::are_of_file(address, self.length))
    }

    fn __len__(&self) -> usize {
        self.length
    }

    /// A copy of the bytes.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.bytes())
    }
}

/// Memory that is filled where it is mapped, and sealed then.
#[pyclass(frozen, module = "andiron._native")]
pub(crate) struct Room(Mutex<Option<engine::Room>>);

#[pymethods]
impl Room {
    /// So many zeros.
    #[new]
    fn zeroed(py: Python<'_>, length: usize) -> PyResult<Room> {
        Ok(Room(Mutex::new(Some(detached(py, || engine::Room::zeroed(length))?))))
    }

    /// Its descriptor, to be mapped at once.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let room = self.0.lock_py_attached(py).unwrap_or_else(|room| room.into_inner());
        room.as_ref().map(|room| std::os::fd::AsFd::as_fd(room).as_raw_fd()).ok_or_else(frozen_before)
    }

    /// Seals it, once. Who has it mapped goes on with a copy of its own. `_held` keeps the map where it is meanwhile.
    fn freeze(&self, _held: &Bound<'_, PyMemoryView>) -> PyResult<Memory> {
        let py = _held.py();
        let room = self.0.lock_py_attached(py).unwrap_or_else(|room| room.into_inner()).take();
        let room = room.ok_or_else(frozen_before)?;
        Ok(Memory::whole(detached(py, || room.freeze())?))
    }
}

fn frozen_before() -> PyErr {
    PyValueError::new_err("this memory was frozen before")
}

/// The bytes of a view of plain bytes, in memory that can be passed on.
#[pyfunction]
pub(crate) fn freeze(view: &Bound<'_, PyMemoryView>) -> PyResult<Memory> {
    frozen(view).map(Memory::whole)
}

pub(crate) fn frozen(view: &Bound<'_, PyMemoryView>) -> PyResult<Blob> {
    Ok(engine::written(|file| write(file, view))?)
}

/// Where bytes are that belong into a value.
pub(crate) enum Source {
    /// In a buffer of plain bytes.
    Buffer(Py<PyAny>),
    Blob(Blob),
}

/// A value of whose bytes some lie elsewhere: where they belong, and from where they are copied.
pub(crate) fn assembled(
    py: Python<'_>,
    bytes: &[u8],
    absent: &[(usize, usize)],
    sources: &[Source],
) -> PyResult<Blob> {
    let blob = engine::written(|mut file| {
        let mut written = 0;
        for ((at, _), source) in absent.iter().zip(sources) {
            file.write_all(&bytes[written..*at])?;
            written = *at;
            match source {
                Source::Buffer(buffer) => write(file, buffer.bind(py))?,
                Source::Blob(blob) => detached(py, || file.write_all(blob))?,
            }
        }
        file.write_all(&bytes[written..])
    });
    Ok(blob?)
}

/// Writes a buffer of plain bytes; the interpreter is free meanwhile.
fn write(file: &File, buffer: &Bound<'_, PyAny>) -> io::Result<()> {
    let py = buffer.py();
    let mut written = 0;
    let some = |rest: &Bound<'_, PyAny>| -> PyResult<usize> {
        let write = py.import(intern!(py, "os"))?.getattr(intern!(py, "write"))?;
        write.call1((file.as_raw_fd(), rest))?.extract()
    };
    let length = buffer.len().map_err(io_error)?;
    while written < length {
        let count = if written == 0 {
            some(buffer)
        } else {
            let [from, to] = [written, length].map(|at| isize::try_from(at).unwrap_or(isize::MAX));
            PyMemoryView::from(buffer).and_then(|view| some(&view.get_item(PySlice::new(py, from, to, 1))?))
        };
        match count.map_err(io_error)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(())
}

/// As the system said it, where it was that.
fn io_error(raised: PyErr) -> io::Error {
    Python::attach(|py| {
        let number = raised.is_instance_of::<PyOSError>(py).then(|| raised.value(py).getattr("errno").ok());
        match number.flatten().and_then(|number| number.extract().ok()) {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(raised),
        }
    })
}
