//! What can go wrong when values are written and read.

use std::fmt::{self, Display, Write as _};

use serde::de::{self, Expected, Unexpected};
use serde::ser;

use super::MAX_DEPTH;
use super::bigint::BigInt;

/// Why a value could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Arrays and maps are nested deeper than [`MAX_DEPTH`].
    #[error("the value is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A string, array, map or extension has more than 2^32 - 1 bytes or elements.
    #[error("a part of the value is longer than 2^32 - 1 bytes or elements")]
    TooLong,
    /// The arguments of a call, or the content of an extension, are not a list.
    #[error("expected a tuple, sequence or unit, as the list of arguments")]
    NotAList,
    /// A newtype struct has a reserved name and does not hold what that name asks for.
    #[error("a newtype struct with a name reserved by the codec holds something else")]
    ReservedName,
    /// The `Serialize` implementation of the value failed.
    #[error("{0}")]
    Custom(Box<str>),
}

impl ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        EncodeError::Custom(message.to_string().into())
    }
}

/// Whose fault a [`DecodeError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The data is well formed, but not what the wanted type expects.
    Mismatch,
    /// The data breaks the rules of the codec; no type can read it.
    Malformed,
}

/// Why bytes could not be read, and where.
///
/// It prints as, for example, `expected a string, found int 5 at byte 12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    reason: Reason,
    position: Option<usize>,
}

/// The reason of a [`DecodeError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A well-formed value is not what the type expects.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What the type expects.
        expected: String,
        /// What the data has.
        found: String,
    },
    /// Any other complaint of the wanted type.
    #[error("{0}")]
    Custom(String),
    /// The content of an extension type breaks its rules.
    #[error("{0}")]
    Malformed(String),
    /// The data ends before the value does.
    #[error("the data ends inside a value")]
    Truncated,
    /// This many bytes follow the value.
    #[error("nothing should follow the value, found {0} more bytes")]
    Trailing(usize),
    /// Arrays and maps are nested deeper than [`MAX_DEPTH`].
    #[error("the value is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The byte 0xc1.
    #[error("no value begins with the byte 0xc1")]
    UnusedByte,
    /// A string is not UTF-8.
    #[error("a string is not valid UTF-8")]
    Utf8,
}

impl DecodeError {
    /// Whether the data is malformed, or well formed but not of the wanted type.
    pub fn class(&self) -> ErrorClass {
        match self.0.reason {
            Reason::Unexpected { .. } | Reason::Custom(_) => ErrorClass::Mismatch,
            _ => ErrorClass::Malformed,
        }
    }

    /// What is wrong.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The byte, counted from the start of the input, at which the offending value begins.
    pub fn position(&self) -> Option<usize> {
        self.0.position
    }

    #[cold]
    pub(super) fn new(reason: Reason, position: usize) -> Self {
        DecodeError(Box::new(Inner { reason, position: Some(position) }))
    }

    #[cold]
    pub(super) fn malformed(what: &str, why: &str, position: usize) -> Self {
        Self::new(Reason::Malformed(format!("malformed {what}: {why}")), position)
    }

    /// Says where, unless that is known already: the innermost value that knows its position is the one to blame.
    #[cold]
    pub(super) fn at(mut self, position: usize) -> Self {
        self.0.position.get_or_insert(position);
        self
    }

    /// Says where, and names the extension type that a visitor could only see as a serde construct.
    #[cold]
    pub(super) fn at_ext(mut self, name: &str, position: usize) -> Self {
        let seen = [describe(Unexpected::NewtypeStruct), describe(Unexpected::Seq)];
        if let (Reason::Unexpected { found, .. }, None) = (&mut self.0.reason, self.0.position)
            && seen.contains(found)
        {
            *found = name.to_owned();
        }
        self.at(position)
    }

    /// Says where, and shows an integer that serde has no form for.
    #[cold]
    pub(super) fn at_int(mut self, shown: &BigInt, position: usize) -> Self {
        if let (Reason::Unexpected { found, .. }, None) = (&mut self.0.reason, self.0.position) {
            *found = format!("int {shown}");
        }
        self.at(position)
    }

    #[cold]
    fn unexpected(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let reason = Reason::Unexpected { expected: expected.to_string(), found: describe(found) };
        DecodeError(Box::new(Inner { reason, position: None }))
    }
}

impl Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.reason.fmt(f)?;
        match self.0.position {
            Some(position) => write!(f, " at byte {position}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    /// A message that begins with `malformed ` blames the data; any other says that the type does not fit.
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        let message = message.to_string();
        let reason = if message.starts_with("malformed ") {
            Reason::Malformed(message)
        } else {
            Reason::Custom(message)
        };
        DecodeError(Box::new(Inner { reason, position: None }))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unexpected(found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unexpected(found, expected)
    }

    fn invalid_length(len: usize, expected: &dyn Expected) -> Self {
        let reason = Reason::Unexpected { expected: expected.to_string(), found: elements(len) };
        DecodeError(Box::new(Inner { reason, position: None }))
    }
}

pub(super) fn elements(count: usize) -> String {
    if count == 1 { "1 element".to_owned() } else { format!("{count} elements") }
}

/// Names a value in the words of this codec. Long strings are cut: errors travel and are logged.
fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(v) => format!("bool {v}"),
        Unexpected::Unsigned(v) => format!("int {v}"),
        Unexpected::Signed(v) => format!("int {v}"),
        Unexpected::Float(v) => format!("float {v:?}"),
        Unexpected::Char(v) => format!("string {:?}", v.to_string()),
        Unexpected::Str(v) => {
            let mut text = String::from("string ");
            let short: String = v.chars().take(40).collect();
            write!(text, "{short:?}").expect("writing to a String cannot fail");
            text.push_str(if short.len() < v.len() { "..." } else { "" });
            text
        }
        Unexpected::Bytes(v) => format!("{} bytes", v.len()),
        Unexpected::Unit => "nil".into(),
        Unexpected::Seq => "array".into(),
        Unexpected::NewtypeStruct => "extension".into(),
        other => other.to_string(),
    }
}
