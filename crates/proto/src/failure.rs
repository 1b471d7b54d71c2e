//! How a call fails, as it travels.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::Value;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// What went wrong, and by that whose fault it is. The number is what travels in an `ERROR` frame
        /// (`spec/PROTOCOL.md`, "Error kinds").
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of their numbers.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$name,)+];

            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self { $(ErrorKind::$name => $number,)+ }
            }

            /// The kind with this number; a number of a later version is [`ErrorKind::Internal`].
            pub fn from_number(number: u16) -> ErrorKind {
                match number { $($number => ErrorKind::$name,)+ _ => ErrorKind::Internal }
            }

            /// A few words for a person.
            pub fn text(self) -> &'static str {
                match self { $(ErrorKind::$name => $text,)+ }
            }
        }
    };
}

kinds! {
    /// The method ran and failed by its own decision.
    Application = 1, "the method failed";
    /// No object of that name or reference is there (any more).
    NoObject = 2, "no such object";
    /// The object has no such method, or does not expose it.
    NoMethod = 3, "no such method";
    /// Arguments are missing, unknown or of another type. The method did not run.
    BadArguments = 4, "wrong arguments";
    /// A value cannot be encoded or decoded.
    Encoding = 5, "the value cannot be encoded or decoded";
    /// A message is longer than the receiver accepts.
    TooLarge = 6, "the message is too large";
    /// A limit of the other end is reached; the call did not run. Try again later.
    Overloaded = 7, "overloaded";
    /// The time allowed for the call is over. The method may have run.
    Deadline = 8, "the deadline passed";
    /// The caller cancelled the call. The method may have run.
    Cancelled = 9, "cancelled";
    /// The call chain came back into an object that it already holds exclusively.
    Reentrant = 10, "the call chain re-enters an object that it holds";
    /// The peer may not do this.
    Denied = 11, "permission denied";
    /// A handler panicked, or the other end has a defect.
    Internal = 12, "internal error";
    /// The process that provides the object, or the server, cannot be reached. The call did not run.
    Unavailable = 13, "unavailable";
    /// The connection ended before the answer came: the call may or may not have run.
    Unknown = 14, "the outcome is unknown";
    /// Something else is already there: a name that is taken, a version that has moved on.
    Conflict = 15, "conflict";
    /// A quota of the store is used up.
    Quota = 16, "quota exceeded";
    /// The other end does not have this feature, codec or protocol version.
    Unsupported = 17, "not supported";
    /// The peer broke the rules of the protocol; the session has ended.
    Protocol = 18, "protocol violation";
    /// The proof of who is calling was refused.
    Authentication = 19, "authentication failed";
}

impl ErrorKind {
    /// True where the same call may succeed a little later, and has not run.
    pub fn is_temporary(self) -> bool {
        matches!(self, ErrorKind::Overloaded | ErrorKind::Unavailable)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What an `ERROR` frame says beyond its kind. Travels as a map in the native codec; every field but `message` may be
/// absent, fields that a reader does not know are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetail {
    /// One line for a person: what happened and, where there is one, what to do.
    #[serde(default)]
    pub message: Cow<'static, str>,
    /// The type of the application's error, as its language writes it.
    #[serde(default, rename = "type", skip_serializing_if = "str::is_empty")]
    pub type_name: Cow<'static, str>,
    /// The chain of causes or the remote traceback, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
    /// What the application's error was made with, for languages whose errors can be made anew from that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
    /// What else belongs to it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[allow(clippy::box_collection)] // few have any, and failures are moved about
    pub attributes: Option<Box<BTreeMap<String, Value>>>,
}

/// A failed call: the kind and its detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The rest of what the other end says.
    pub detail: FailureDetail,
}

impl Failure {
    /// A failure with a message and nothing else.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { kind, detail: FailureDetail { message: message.into(), ..FailureDetail::default() } }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.detail.type_name, &*self.detail.message) {
            ("", "") => write!(f, "{}", self.kind),
            ("", message) => f.write_str(message),
            (name, message) => write!(f, "{name}: {message}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_come_back() {
        for &kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_number(kind.number()), kind);
        }
        assert_eq!(ErrorKind::from_number(9999), ErrorKind::Internal);
    }
}
