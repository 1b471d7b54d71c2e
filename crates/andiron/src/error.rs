//! The one error that users of this crate see.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use andiron_proto::codec::Value;
use andiron_proto::{ErrorKind, Failure, FailureDetail};

/// What calls and everything else in this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The most lines that a chain of causes contributes to what travels.
const MAX_CAUSES: usize = 32;

/// What went wrong: a [kind](ErrorKind) to decide on, and words for a person.
///
/// `{}` is one line: the operation, the type of the remote error, the message. `{:#}` adds the causes to that line, as far as it does not have their
/// words already, `{:?}` puts them and the remote trace below it.
///
/// ```
/// use andiron::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NoObject, "no object named `player`").during("player.seek");
/// assert_eq!(error.kind(), ErrorKind::NoObject);
/// assert_eq!(error.to_string(), "player.seek: no object named `player`");
/// assert!(!error.is_temporary());
/// ```
pub struct Error(Box<Inner>); // boxed: a `Result` with it stays small

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    operation: Option<Cow<'static, str>>,
    context: Vec<(&'static str, String)>,
    /// Shared by those who are told the same.
    source: Option<Arc<dyn StdError + Send + Sync>>,
    remote_type: Cow<'static, str>,
    remote_trace: Vec<String>,
    remote_args: Vec<Value>,
    #[allow(clippy::box_collection)] // as in a `FailureDetail`
    remote_attributes: Option<Box<BTreeMap<String, Value>>>,
    /// A call of this process ended with it.
    from_call: bool,
}

impl Error {
    /// An error with one line that says what is wrong and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            context: Vec::new(),
            source: None,
            remote_type: Cow::Borrowed(""),
            remote_trace: Vec::new(),
            remote_args: Vec::new(),
            remote_attributes: None,
            from_call: false,
        }))
    }

    /// Says what was being done, for example `player.seek`. An operation that was already named becomes the context
    /// `called`.
    pub fn during(mut self, operation: impl Into<Cow<'static, str>>) -> Error {
        if let Some(inner) = self.0.operation.replace(operation.into()) {
            self.0.context.insert(0, ("called", inner.into_owned()));
        }
        self
    }

    /// Says that a call ended with this.
    pub(crate) fn of_call(mut self, operation: impl Into<Cow<'static, str>>) -> Error {
        self.0.from_call = true;
        self.during(operation)
    }

    /// Forgets the operation, where it was one that the user did not ask for.
    pub(crate) fn without_operation(mut self) -> Error {
        self.0.operation = None;
        self
    }

    /// Adds a detail that helps to find the cause, for example the address.
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Error {
        self.0.context.push((key, value.into()));
        self
    }

    /// Keeps the error that caused this one.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// The same error for one more who waited for the same.
    pub(crate) fn told_again(&self) -> Error {
        Error(self.0.clone())
    }

    /// What went wrong, to decide on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is wrong and what to do, without operation, type and context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What was being done, for example `player.seek`.
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// Details that help to find the cause.
    pub fn context(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// True where the same call may succeed a little later, and has not run: of the kinds `Unavailable` and `Overloaded`. It goes by the kind alone, so it
    /// is true as well where only you can change what stands in the way: of calls on a [hub](crate::Hub) that this process closed, and of
    /// [promises](crate::Pending::promise) that depend on more than sixteen others in a row. Whoever tries again counts his tries.
    pub fn is_temporary(&self) -> bool {
        self.0.kind.is_temporary()
    }

    /// The type of the error that the method returned or raised, as its language writes it.
    pub fn remote_type(&self) -> Option<&str> {
        (!self.0.remote_type.is_empty()).then_some(&*self.0.remote_type)
    }

    /// The causes or the traceback as the other end tells them, outermost first.
    pub fn remote_trace(&self) -> &[String] {
        &self.0.remote_trace
    }

    /// What the error of the method was made with, where its language makes errors anew from that.
    pub fn remote_args(&self) -> &[Value] {
        &self.0.remote_args
    }

    /// What else belongs to the error of the method, by name.
    pub fn remote_attributes(&self) -> impl Iterator<Item = (&str, &Value)> {
        let attributes = self.0.remote_attributes.iter();
        attributes.flat_map(|attributes| attributes.iter().map(|(name, value)| (name.as_str(), value)))
    }

    /// The causes whose words stand neither in the message nor in a cause before them.
    fn further_causes(&self) -> Vec<String> {
        let mut told = self.0.message.to_string();
        let mut further = causes(self.source());
        further.retain(|cause| {
            let adds = !told.contains(cause);
            if adds {
                told.push('\n');
                told.push_str(cause);
            }
            adds
        });
        further
    }

    /// What travels to the caller. The operation does not: the caller knows what it called.
    pub fn to_failure(&self) -> Failure {
        let inner = &*self.0;
        let mut message = inner.message.clone();
        if !inner.context.is_empty() {
            message = Cow::Owned(format!("{message}{}", Context(&inner.context)));
        }
        let mut trace = causes(self.source());
        trace.extend(inner.remote_trace.iter().cloned());
        Failure {
            kind: inner.kind,
            detail: FailureDetail {
                message,
                type_name: inner.remote_type.clone(),
                trace,
                args: inner.remote_args.clone(),
                attributes: inner.remote_attributes.clone(),
            },
        }
    }

    /// What a method returned as its error, as the caller will see it. An [`Error`] that the method made keeps its kind. One that a call
    /// of its own ended with keeps it where it says nothing of whether the method ran: "unavailable, did not run" would be true of
    /// that call, and a lie about this one, which its caller might then repeat.
    pub(crate) fn from_method<E: Into<Box<dyn StdError + Send + Sync>>>(error: E) -> Error {
        let error = match error.into().downcast::<Error>() {
            Ok(own) => return own.passed_on(),
            Err(error) => error,
        };
        let mut passed = Error::new(ErrorKind::Application, error.to_string());
        passed.0.remote_type = Cow::Borrowed(telling_type_name::<E>());
        passed.0.remote_trace = causes(error.source());
        passed
    }

    /// The operation was one inside of the method, not the method itself, so it moves into the message.
    fn passed_on(mut self) -> Error {
        let holds = matches!(
            self.0.kind,
            ErrorKind::Application
                | ErrorKind::Deadline
                | ErrorKind::Cancelled
                | ErrorKind::Unknown
                | ErrorKind::Reentrant
        );
        if self.0.from_call && !holds {
            self.0.remote_trace.insert(0, format!("a call of the method failed: {}", self.0.kind));
            self.0.kind = ErrorKind::Application;
        }
        if let Some(operation) = self.0.operation.take() {
            self.0.message = Cow::Owned(format!("{operation}: {}", self.0.message));
        }
        self
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let FailureDetail { message, type_name, trace, args, attributes } = failure.detail;
        let mut error = Error::new(failure.kind, message);
        error.0.remote_type = type_name;
        error.0.remote_trace = trace;
        error.0.remote_args = args;
        error.0.remote_attributes = attributes;
        error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        error.to_failure()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(operation) = &inner.operation {
            write!(f, "{operation}: ")?;
        }
        match (short_type_name(&inner.remote_type), &*inner.message) {
            // Many a library calls its only error `Error`: that says nothing.
            ("" | "Error", "") => f.write_str(inner.kind.text())?,
            ("" | "Error", message) => f.write_str(message)?,
            (name, "") => f.write_str(name)?,
            (name, message) => write!(f, "{name}: {message}")?,
        }
        write!(f, "{}", Context(&inner.context))?;
        if f.alternate() {
            for cause in self.further_causes() {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

/// Meant for a person too: `fn main() -> andiron::Result<()>` prints this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{:?}]", self.0.kind)?;
        for cause in self.further_causes() {
            write!(f, "\n  caused by: {cause}")?;
        }
        for line in &self.0.remote_trace {
            write!(f, "\n  remote: {line}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Writes ` (key: value, key: value)`, and nothing where there is none.
struct Context<'a>(&'a [(&'static str, String)]);

impl fmt::Display for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let opening = if index == 0 { " (" } else { ", " };
            write!(f, "{opening}{key}: {value}")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

fn causes(first: Option<&(dyn StdError + 'static)>) -> Vec<String> {
    std::iter::successors(first, |&error| error.source()).take(MAX_CAUSES).map(ToString::to_string).collect()
}

/// The name of `E`, or nothing where it is a mere carrier of text or of another error.
fn telling_type_name<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    let carrier = name == "alloc::string::String"
        || name == "anyhow::Error"
        || name.starts_with('&')
        || name.starts_with("alloc::borrow::Cow<")
        || name.starts_with("alloc::boxed::Box<dyn ");
    if carrier { "" } else { name }
}

/// `PlayerError` of `player::PlayerError` or `player.PlayerError`.
fn short_type_name(name: &str) -> &str {
    let path = &name[..name.find('<').unwrap_or(name.len())];
    path.rsplit([':', '.']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct PlayerError(std::io::Error);

    impl fmt::Display for PlayerError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no such track")
        }
    }

    impl StdError for PlayerError {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    fn player_error() -> PlayerError {
        PlayerError(std::io::Error::other("the disc is scratched"))
    }

    #[test]
    fn an_application_error_arrives_with_its_type_and_causes() {
        let sent = Error::from_method(player_error()).to_failure();
        assert_eq!(sent.kind, ErrorKind::Application);
        assert!(sent.detail.type_name.ends_with("::PlayerError"), "{}", sent.detail.type_name);

        let seen = Error::from(sent).during("player.seek");
        assert_eq!(seen.to_string(), "player.seek: PlayerError: no such track");
        assert_eq!(seen.remote_trace(), ["the disc is scratched"]);
        assert!(seen.remote_type().is_some_and(|name| name.contains("error::tests")));
    }

    #[test]
    fn text_as_an_error_carries_no_type() {
        for error in [
            Error::from_method("too far"),
            Error::from_method(String::from("too far")),
            Error::from_method(Box::<dyn StdError + Send + Sync>::from("too far")),
            Error::from_method(anyhow::anyhow!("too far")),
            Error::from_method(std::io::Error::other("too far")),
        ] {
            assert_eq!(error.kind(), ErrorKind::Application);
            assert_eq!(error.to_string(), "too far");
        }
    }

    #[test]
    fn an_error_that_a_method_makes_keeps_its_kind() {
        let passed = Error::from_method(Error::new(ErrorKind::Denied, "not yours")).during("player.seek");
        assert_eq!(passed.kind(), ErrorKind::Denied);
        assert_eq!(passed.to_string(), "player.seek: not yours");
    }

    #[test]
    fn that_a_call_did_not_run_is_not_said_of_the_method_that_made_it() {
        for kind in
            [ErrorKind::Unavailable, ErrorKind::Overloaded, ErrorKind::NoObject, ErrorKind::BadArguments]
        {
            let inner = Error::new(kind, "64 calls are waiting").of_call("disc.read");
            let passed = Error::from_method(inner).during("player.seek");
            assert_eq!(passed.kind(), ErrorKind::Application);
            assert!(!passed.is_temporary());
            assert_eq!(passed.to_string(), "player.seek: disc.read: 64 calls are waiting");
        }
        let inner = Error::new(ErrorKind::Unknown, "the connection was lost").of_call("disc.read");
        assert_eq!(Error::from_method(inner).kind(), ErrorKind::Unknown);
    }

    #[test]
    fn what_caused_an_error_of_ours_travels_with_it() {
        let failure = Error::new(ErrorKind::Unavailable, "cannot connect")
            .with_context("address", "tcp://host")
            .with_source(player_error())
            .during("connect")
            .to_failure();
        assert_eq!(failure.detail.message, "cannot connect (address: tcp://host)");
        assert_eq!(failure.detail.trace, ["no such track", "the disc is scratched"]);
    }

    #[test]
    fn the_longer_forms_show_the_causes() {
        let error = Error::new(ErrorKind::Unavailable, "cannot connect").with_source(player_error());
        assert_eq!(error.to_string(), "cannot connect");
        assert_eq!(format!("{error:#}"), "cannot connect: no such track: the disc is scratched");
        assert_eq!(
            format!("{error:?}"),
            "cannot connect [Unavailable]\n  caused by: no such track\n  caused by: the disc is scratched"
        );
    }

    #[test]
    fn a_cause_whose_words_stand_there_already_is_not_said_again() {
        let refused = || std::io::Error::other("no such track: the disc is scratched");
        let error = Error::new(ErrorKind::Unavailable, format!("cannot play: {}", refused()));
        let error = error.with_source(refused());
        assert_eq!(format!("{error:#}"), "cannot play: no such track: the disc is scratched");
        assert_eq!(format!("{error:?}"), "cannot play: no such track: the disc is scratched [Unavailable]");
        let error = Error::new(ErrorKind::Unavailable, "no such track").with_source(player_error());
        assert_eq!(format!("{error:#}"), "no such track: the disc is scratched", "what is new is said");
    }

    #[test]
    fn a_second_operation_keeps_the_first() {
        let error = Error::new(ErrorKind::Denied, "not yours").during("read").during("player.seek");
        assert_eq!(error.operation(), Some("player.seek"));
        assert_eq!(error.context().collect::<Vec<_>>(), [("called", "read")]);
        assert_eq!(error.to_string(), "player.seek: not yours (called: read)");
    }

    #[test]
    fn a_failure_without_words_names_its_kind() {
        let failure = Failure { kind: ErrorKind::Quota, detail: FailureDetail::default() };
        assert_eq!(Error::from(failure).to_string(), "quota exceeded");
    }

    #[test]
    fn a_result_stays_small() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
        fn sendable<T: Send + Sync>() {}
        sendable::<Error>();
    }
}
