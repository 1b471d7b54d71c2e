//! The commands that read and write the store.

use std::io::{self, Read as _, Write};
use std::time::{Duration, SystemTime};

use andiron::{Entry, Limits, Listed, Store, Value};
use andiron_proto::wire::codecs;

use crate::address::Chosen;
use crate::failure::Failure;
use crate::text;

pub(crate) fn set(server: &Chosen, name: &str, value: &str, author: Option<&str>) -> Result<(), Failure> {
    if value == "-" {
        let bytes = standard_input()?;
        store(server, author)?.set_bytes(name, &bytes, codecs::RAW)?;
    } else {
        let value = text::value(value)?;
        store(server, author)?.set(name, &value)?;
    }
    Ok(())
}

pub(crate) fn get(
    server: &Chosen,
    name: &str,
    author: Option<&str>,
    raw: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let entry = store(server, author)?.entry(name)?;
    let entry = entry.ok_or_else(|| missing(name, author))?;
    let known = matches!(entry.codec, codecs::NATIVE | codecs::JSON);
    if raw && !known {
        return Ok(out.write_all(&entry.bytes)?);
    }
    match value(entry)? {
        Value::Bytes(bytes) if raw => out.write_all(&bytes)?,
        Value::Str(text) if raw => writeln!(out, "{text}")?,
        value => writeln!(out, "{}", value.to_json())?,
    }
    Ok(())
}

pub(crate) fn del(server: &Chosen, name: &str, author: Option<&str>) -> Result<(), Failure> {
    match store(server, author)?.delete(name)? {
        Some(_) => Ok(()),
        None => Err(missing(name, author)),
    }
}

pub(crate) fn ls(
    server: &Chosen,
    author: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let store = server.connect()?.store();
    let entries: Box<dyn Iterator<Item = andiron::Result<Listed>>> = match author {
        Some(author) => Box::new(store.author(author).list()),
        None => Box::new(store.list_all()),
    };
    if json {
        // An entry is a line, so that whoever reads lines needs no more than a page in memory either.
        let mut before = "[";
        for entry in entries {
            let entry = serde_json::to_string(&entry?).map_err(io::Error::from)?;
            write!(out, "{before}\n  {entry}")?;
            before = ",";
        }
        writeln!(out, "{}]", if before == "[" { before } else { "\n" })?;
        return Ok(());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut header = true;
    for entry in entries {
        let entry = entry?;
        if std::mem::take(&mut header) {
            writeln!(out, "{:>10} {:>5}  {:<16}  {:<10}  NAME", "SIZE", "AGE", "VERSION", "AUTHOR")?;
        }
        let written = Duration::try_from_secs_f64(entry.timestamp).unwrap_or_default();
        let age = text::age(now.saturating_sub(written));
        let (author, name) = (text::one_line(&entry.author), text::one_line(&entry.name));
        writeln!(out, "{:>10} {age:>5}  {:<16}  {author:<10}  {name}", entry.size, entry.version)?;
    }
    Ok(())
}

fn store(server: &Chosen, author: Option<&str>) -> Result<Store, Failure> {
    let store = server.connect()?.store();
    Ok(match author {
        Some(author) => store.author(author),
        None => store,
    })
}

fn missing(name: &str, author: Option<&str>) -> Failure {
    let author = author.unwrap_or("default");
    Failure::NotFound(format!("author '{author}' has no entry '{name}'; `andiron ls` lists what is there"))
}

/// What the bytes of an entry mean.
fn value(entry: Entry) -> Result<Value, Failure> {
    match entry.codec {
        codecs::NATIVE => entry.value().map_err(|error| Failure::Error(error.to_string())),
        codecs::JSON => std::str::from_utf8(&entry.bytes)
            .map_err(|error| error.to_string())
            .and_then(|text| Value::from_json(text).map_err(|error| error.to_string()))
            .map_err(|error| Failure::Error(format!("the value was set as JSON but is none: {error}"))),
        codecs::RAW => Ok(Value::Bytes(entry.bytes)),
        codec => Err(Failure::Error(format!(
            "the value is in codec {codec}, which this program does not know; `--raw` prints its bytes"
        ))),
    }
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let most = Limits::default().message;
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Error(format!("cannot read the standard input: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(Failure::Error(format!(
            "the standard input has more than {most} bytes, the most that a value has"
        )));
    }
    Ok(bytes)
}
