//! The commands that call objects.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use andiron::{DEFAULT_ADDRESS, Error, ErrorKind, Hub, Interface, Proxy, Stream, Value};
use serde::de::value::UnitDeserializer;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::address::Chosen;
use crate::failure::Failure;
use crate::given::{DESCRIBE_TIMEOUT, Given};
use crate::reader::while_read;
use crate::{python, text};

/// How much later than a call the whole command is given up: whoever knows why the call failed is to tell it first.
const GRACE: Duration = Duration::from_millis(250);

/// What is to be called.
pub(crate) struct Call {
    pub(crate) object: String,
    pub(crate) method: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) timeout: Option<Duration>,
}

/// What a method gives.
enum Answer {
    Value(Given),
    Items(Stream<Given>),
}

/// A stream stands in place of its value as nil.
impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Answer, D::Error> {
        let given = Given::deserialize(deserializer)?;
        let items = if given.value == Value::Nil {
            Stream::deserialize(UnitDeserializer::<D::Error>::new()).ok()
        } else {
            None
        };
        Ok(items.map_or(Answer::Value(given), Answer::Items))
    }
}

pub(crate) fn call(server: &Chosen, call: Call, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let Call { object, method, arguments, timeout } = call;
    let arguments = arguments.iter().map(|text| text::value(text)).collect::<Result<Vec<Value>, _>>()?;
    let (hub, result) = match timeout {
        None => ask(server, &object, &method, &arguments, None)?,
        Some(timeout) => ask_within(server, &object, &method, arguments, timeout)?,
    };
    match result {
        Answer::Value(Given { value: Value::Nil, .. }) if !json => Ok(()),
        Answer::Value(given) => Ok(writeln!(out, "{}", given.into_json())?),
        Answer::Items(items) => while_read(&hub, || {
            for item in items {
                writeln!(out, "{}", item?.into_json())?;
                out.flush()?; // whoever reads waits for it
            }
            Ok(())
        }),
    }
}

/// Connects, looks the object up and calls it. Only the call keeps to the time left by itself.
fn ask(
    server: &Chosen,
    object: &str,
    method: &str,
    arguments: &[Value],
    timeout: Option<Duration>,
) -> Result<(Hub, Answer), Failure> {
    let begun = Instant::now();
    let (hub, object) = server.connect_to(object)?;
    let mut object: Proxy = hub.object(object)?;
    if let Some(timeout) = timeout {
        object = object.with_timeout(timeout.saturating_sub(begun.elapsed()));
    }
    let answer = object.call(method, arguments).map_err(with_hint)?;
    Ok((hub, answer))
}

/// Why a call failed, and how bytes are written here where it wants some.
fn with_hint(error: Error) -> Failure {
    let wants_bytes = error.kind() == ErrorKind::BadArguments && error.message().contains("expected bytes");
    match Failure::from(error) {
        Failure::Error(text) if wants_bytes => {
            Failure::Error(format!("{text}; at the shell bytes are {{\"$bytes\": \"base64\"}}"))
        }
        other => other,
    }
}

/// Does so, and gives all of it up a little after the time is over: whoever is stopped or hangs answers no handshake and no lookup either.
fn ask_within(
    server: &Chosen,
    object: &str,
    method: &str,
    arguments: Vec<Value>,
    timeout: Duration,
) -> Result<(Hub, Answer), Failure> {
    let address = server.server_of(object)?.to_owned();
    let (server, object, method) = (server.clone(), object.to_owned(), method.to_owned());
    let (sender, receiver) = mpsc::channel();
    // A thread of its own, which ends with this process: the server may never answer.
    thread::Builder::new()
        .spawn(move || sender.send(ask(&server, &object, &method, &arguments, Some(timeout))))
        .map_err(|error| Failure::Error(format!("cannot start a thread: {error}")))?;
    receiver.recv_timeout(timeout.saturating_add(GRACE)).unwrap_or_else(|_| {
        let doctor = match &*address {
            DEFAULT_ADDRESS => "andiron doctor".to_owned(),
            other => format!("andiron doctor --address {other}"),
        };
        let seconds = timeout.as_secs_f64();
        Err(Failure::Error(format!(
            "the server at '{address}' did not answer within {seconds} s: it may be stopped or hang; `{doctor}` finds out"
        )))
    })
}

pub(crate) fn describe(
    server: &Chosen,
    object: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if let Some(object) = object {
        let (hub, object) = server.connect_to(object)?;
        let interface = hub.object::<Proxy>(object)?.describe()?;
        if json {
            return Ok(writeln!(out, "{}", json!(interface))?);
        }
        return print(&interface, "", out);
    }
    let hub = server.connect()?;
    let described = |name: &str| {
        hub.object::<Proxy>(name).and_then(|object| object.with_timeout(DESCRIBE_TIMEOUT).describe())
    };
    if json {
        let all = hub.names()?.into_iter().map(|name| match described(&name) {
            Ok(interface) => json!({ "object": name, "interface": interface }),
            Err(error) => json!({ "object": name, "error": error.to_string() }),
        });
        return text::array(all.map(Ok), out);
    }
    for name in hub.names()? {
        writeln!(out, "{}", text::one_line(&name))?;
        match described(&name) {
            Ok(interface) => print(&interface, "  ", out)?,
            // The others can still be told of.
            Err(error) => writeln!(out, "  cannot be described: {}", text::one_line(&error.to_string()))?,
        }
    }
    Ok(())
}

/// The same as classes in Python; without an object of all that can be described.
pub(crate) fn stub(server: &Chosen, object: Option<&str>, out: &mut impl Write) -> Result<(), Failure> {
    let interfaces = if let Some(object) = object {
        let (hub, object) = server.connect_to(object)?;
        vec![(object.to_owned(), hub.object::<Proxy>(object)?.describe()?)]
    } else {
        let hub = server.connect()?;
        let described = |name: String| {
            let object: Proxy = hub.object(&name).ok()?;
            Some((name, object.with_timeout(DESCRIBE_TIMEOUT).describe().ok()?))
        };
        hub.names()?.into_iter().filter_map(described).collect()
    };
    Ok(write!(out, "{}", python::module(&interfaces))?)
}

fn print(interface: &Interface, indent: &str, out: &mut impl Write) -> Result<(), Failure> {
    for line in interface.to_string().lines() {
        let indent = if line.is_empty() { "" } else { indent };
        writeln!(out, "{indent}{}", text::one_line(line))?;
    }
    Ok(())
}
