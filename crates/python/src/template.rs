//! Values that were read before and are given out again.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

/// Values of more bytes are decoded each time: what is kept of one takes many times as much memory.
const LONGEST: usize = 256;

/// A value that nobody else has, made of plain parts: to copy it is faster than to decode it.
pub(crate) struct Template(Py<PyAny>);

impl Template {
    /// Of a value that was read from so many bytes; and what its reader gets.
    pub(crate) fn of<'py>(
        value: Bound<'py, PyAny>,
        length: usize,
    ) -> PyResult<(Option<Template>, Bound<'py, PyAny>)> {
        if length > LONGEST || !is_plain(&value) {
            return Ok((None, value));
        }
        let own = copy(&value)?;
        Ok((Some(Template(value.unbind())), own))
    }

    /// A copy, of which nothing that can be changed is anybody else's.
    pub(crate) fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        copy(self.0.bind(py))
    }
}

/// Whether nobody can change it.
fn is_fixed(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_none()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyBytes>()
}

/// Whether a copy can be made by what is known here. Its depth is that of what was decoded.
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return dict.iter().all(|(key, value)| is_fixed(&key) && is_plain(&value));
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return list.iter().all(|element| is_plain(&element));
    }
    is_fixed(value)
}

fn copy<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        let own = dict.copy()?;
        for (key, value) in dict.iter() {
            if !is_fixed(&value) {
                own.set_item(key, copy(&value)?)?;
            }
        }
        return Ok(own.into_any());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        let own = list.get_slice(0, list.len());
        for (index, element) in list.iter().enumerate() {
            if !is_fixed(&element) {
                own.set_item(index, copy(&element)?)?;
            }
        }
        return Ok(own.into_any());
    }
    Ok(value.clone())
}
