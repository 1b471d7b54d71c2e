//! How a command ends that did not do what it was asked to.

use std::io;
use std::process::ExitCode;

use andiron::ErrorKind;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Anything that has no code of its own.
    Error(String),
    /// The command line makes no sense.
    Usage(String),
    /// No such entry, object or method.
    NotFound(String),
    /// What is wrong was printed already.
    Told,
    /// Nobody reads the output any more.
    Unread,
}

impl Failure {
    /// The line for the person at the terminal.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Failure::Error(message) | Failure::Usage(message) | Failure::NotFound(message) => Some(message),
            Failure::Told | Failure::Unread => None,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Unread => ExitCode::SUCCESS,
            Failure::Error(_) | Failure::Told => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(2),
            Failure::NotFound(_) => ExitCode::from(3),
        }
    }
}

impl From<andiron::Error> for Failure {
    fn from(error: andiron::Error) -> Failure {
        // What was done is plain here; what it was done with is in the message.
        let message = match error.operation() {
            Some("connect" | "bind") => error.message().to_owned(),
            _ => error.to_string(),
        };
        match error.kind() {
            // What is missing for a connection, such as the file of its secret, is no entry or object.
            _ if error.operation() == Some("connect") => Failure::Error(message),
            ErrorKind::NoObject | ErrorKind::NoMethod => Failure::NotFound(message),
            _ => Failure::Error(message),
        }
    }
}

/// Of writing the output: commands that read something say so themselves.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Unread,
            _ => Failure::Error(format!("cannot write the output: {error}")),
        }
    }
}
