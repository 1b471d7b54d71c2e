//! The commands that call objects.

use std::io::Write;
use std::time::Duration;

use andiron::{Interface, Proxy, Value};

use crate::address::connect_to;
use crate::failure::Failure;
use crate::text;

/// How long one of many objects has to tell what it offers.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn call(
    address: Option<&str>,
    object: &str,
    method: &str,
    arguments: &[String],
    timeout: Option<Duration>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let arguments = arguments.iter().map(|text| text::value(text)).collect::<Result<Vec<Value>, _>>()?;
    let (hub, object) = connect_to(address, object)?;
    let mut object: Proxy = hub.object(object)?;
    if let Some(timeout) = timeout {
        object = object.with_timeout(timeout);
    }
    match object.call(method, &arguments)? {
        Value::Nil => Ok(()),
        value => Ok(writeln!(out, "{}", value.to_json())?),
    }
}

pub(crate) fn describe(
    address: Option<&str>,
    object: Option<&str>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if let Some(object) = object {
        let (hub, object) = connect_to(address, object)?;
        let interface = hub.object::<Proxy>(object)?.describe()?;
        return print(&interface, "", out);
    }
    let hub = crate::address::connect(address)?;
    for name in hub.names()? {
        writeln!(out, "{}", text::one_line(&name))?;
        let described =
            hub.object::<Proxy>(&name).and_then(|object| object.with_timeout(DESCRIBE_TIMEOUT).describe());
        match described {
            Ok(interface) => print(&interface, "  ", out)?,
            // The others can still be told of.
            Err(error) => writeln!(out, "  cannot be described: {}", text::one_line(&error.to_string()))?,
        }
    }
    Ok(())
}

fn print(interface: &Interface, indent: &str, out: &mut impl Write) -> Result<(), Failure> {
    for line in interface.to_string().lines() {
        let indent = if line.is_empty() { "" } else { indent };
        writeln!(out, "{indent}{}", text::one_line(line))?;
    }
    Ok(())
}
