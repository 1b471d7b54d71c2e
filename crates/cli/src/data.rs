//! The commands that read and write the store.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::time::{Duration, SystemTime};

use andiron::{Blob, Change, Durability, Entry, ErrorKind, Hub, Limits, Listed, Put, Stats, Store, Value};
use andiron_proto::wire::codecs;
use serde_json::json;

use crate::address::Chosen;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::reader::while_read;
use crate::text;

/// Whose entries are meant where nobody chose an author.
const DEFAULT_AUTHOR: &str = "default";
/// Bytes that are written at once.
const PIECE: usize = 1 << 16;

/// How an entry is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Its value as JSON.
    Value,
    /// Its value as it is, where that is text or bytes.
    Raw,
    /// All of it as JSON.
    Json,
}

impl Form {
    pub(crate) fn of(json: bool) -> Form {
        if json { Form::Json } else { Form::Value }
    }
}

/// For how long, and over which version an entry is set, and what it is to survive.
pub(crate) struct Condition {
    pub(crate) ttl: Option<Duration>,
    pub(crate) if_version: Option<u64>,
    pub(crate) persist: bool,
    pub(crate) durability: Option<Durability>,
}

pub(crate) fn set(
    server: &Chosen,
    name: &str,
    value: &str,
    author: Option<&str>,
    Condition { ttl, if_version, persist, durability }: Condition,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let from_input = value == "-";
    let mut put = if from_input {
        Put::bytes(name, standard_input()?, codecs::RAW)
    } else {
        Put::new(name, &text::value(value)?)?
    };
    if let Some(ttl) = ttl {
        put = put.ttl(ttl);
    }
    if let Some(version) = if_version {
        put = put.if_version(version);
    }
    if persist {
        put = put.persist();
    }
    if let Some(durability) = durability {
        put = put.durability(durability);
    }
    let told = from_input.then(|| Progress::of("sending"));
    let version = store(server, author)?.set_with(put)?;
    drop(told);
    if json {
        let author = author.unwrap_or(DEFAULT_AUTHOR);
        writeln!(out, "{}", json!({ "author": author, "name": name, "version": version }))?;
    }
    Ok(())
}

pub(crate) fn persist(
    server: &Chosen,
    name: &str,
    author: Option<&str>,
    persist: bool,
) -> Result<(), Failure> {
    match store(server, author)?.persist(name, persist)? {
        true => Ok(()),
        false => Err(missing(name, author)),
    }
}

pub(crate) fn incr(
    server: &Chosen,
    name: &str,
    by: i64,
    author: Option<&str>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let number = store(server, author)?.incr(name, by)?;
    Ok(writeln!(out, "{number}")?)
}

pub(crate) fn stats(server: &Chosen, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let stats = server.connect()?.store().stats()?;
    if json {
        return Ok(writeln!(out, "{}", json!(stats))?);
    }
    let Stats { entries, bytes, authors, hits, questions, evicted } = stats;
    writeln!(out, "entries    {entries}, of authors: {authors}")?;
    writeln!(out, "size       {}", text::size(bytes))?;
    writeln!(out, "questions  {questions}, answered by the store")?;
    writeln!(out, "hits       {hits}, answered by clients themselves")?;
    Ok(writeln!(out, "evicted    {evicted}, to make room for others")?)
}

pub(crate) fn get(
    server: &Chosen,
    name: &str,
    author: Option<&str>,
    form: Form,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let waiting = Progress::of("receiving");
    let entry = store(server, author)?.entry(name)?;
    drop(waiting);
    let entry = entry.ok_or_else(|| missing(name, author))?;
    let raw = form == Form::Raw;
    if raw && !matches!(entry.codec, codecs::NATIVE | codecs::JSON) {
        return write_bytes(&entry.bytes, out);
    }
    if form == Form::Json {
        return print(entry, name, author, out);
    }
    match value(entry)? {
        Value::Bytes(bytes) if raw => write_bytes(&bytes, out)?,
        Value::Str(text) if raw => writeln!(out, "{text}")?,
        value => writeln!(out, "{}", value.to_json())?,
    }
    Ok(())
}

pub(crate) fn del(
    server: &Chosen,
    name: &str,
    author: Option<&str>,
    if_version: Option<u64>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let store = store(server, author)?;
    let deleted = match if_version {
        Some(version) => store.delete_if_version(name, version)?,
        None => store.delete(name)?,
    };
    match deleted {
        Some(entry) if json => print(entry, name, author, out),
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
        return text::array(entries.map(|entry| Ok(entry?)), out);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut header = true;
    for entry in entries {
        let entry = entry?;
        if std::mem::take(&mut header) {
            writeln!(out, "{:>10} {:>5} P  {:<16}  {:<10}  NAME", "SIZE", "AGE", "VERSION", "AUTHOR")?;
        }
        let written = Duration::try_from_secs_f64(entry.timestamp).unwrap_or_default();
        let age = text::age(now.saturating_sub(written));
        let (author, name) = (text::one_line(&entry.author), text::one_line(&entry.name));
        let (size, version, persistent) =
            (entry.size, entry.version, if entry.persistent { 'p' } else { ' ' });
        writeln!(out, "{size:>10} {age:>5} {persistent}  {version:<16}  {author:<10}  {name}")?;
    }
    Ok(())
}

/// With what a watch begins: the entries that are there, or what changed since a version.
pub(crate) struct Beginning {
    pub(crate) present: bool,
    pub(crate) since: Option<u64>,
}

pub(crate) fn watch(
    server: &Chosen,
    pattern: &str,
    author: Option<&str>,
    beginning: Beginning,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let hub = server.connect()?;
    let (store, all) = (of_author(&hub, author), author.is_none());
    let changes = match beginning {
        Beginning { since: Some(version), .. } => store.watch_since(pattern, all, version)?,
        Beginning { present, .. } => store.watch_with(pattern, all, present)?,
    };
    let address = server.address()?;
    while_read(&hub, || {
        for change in changes {
            tell(change.map_err(|error| ended(error, address))?, json, out)?;
            out.flush()?; // whoever reads waits for it
        }
        Ok(())
    })
}

/// Why a watch is over.
fn ended(error: andiron::Error, address: &str) -> Failure {
    match error.kind() {
        ErrorKind::Unavailable => {
            Failure::Error(format!("the daemon at '{address}' is shutting down; watch again when it is back"))
        }
        _ => error.into(),
    }
}

/// Prints a change in a line.
fn tell(change: Change, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let Change { author, name, entry, version, skipped, resume_from } = change;
    if json {
        let about = format!("\"author\":{},\"name\":{}", json!(author), json!(name));
        let resume = json!(resume_from);
        let told = format!("\"version\":{version},\"skipped\":{skipped},\"resume_from\":{resume}");
        match entry {
            None => writeln!(out, "{{{about},{told}}}")?,
            Some(entry) => {
                let (timestamp, codec) = (json!(entry.timestamp), entry.codec);
                let value = told_value(entry).to_json();
                writeln!(
                    out,
                    "{{{about},{told},\"timestamp\":{timestamp},\"codec\":{codec},\"value\":{value}}}"
                )?;
            }
        }
    } else {
        let (author, name) = (text::one_line(&author), text::one_line(&name));
        match entry {
            None => writeln!(out, "{author} {name} removed")?,
            Some(entry) => writeln!(out, "{author} {name} = {}", told_value(entry).to_json())?,
        }
    }
    Ok(())
}

fn store(server: &Chosen, author: Option<&str>) -> Result<Store, Failure> {
    Ok(of_author(&server.connect()?, author))
}

fn of_author(hub: &Hub, author: Option<&str>) -> Store {
    match author {
        Some(author) => hub.store().author(author),
        None => hub.store(),
    }
}

fn missing(name: &str, author: Option<&str>) -> Failure {
    let author = author.unwrap_or(DEFAULT_AUTHOR);
    Failure::NotFound(format!("author '{author}' has no entry '{name}'; `andiron ls` lists what is there"))
}

/// Prints all of an entry. Of a value in a codec of others, which cannot be read here, the bytes.
fn print(entry: Entry, name: &str, author: Option<&str>, out: &mut impl Write) -> Result<(), Failure> {
    let Entry { codec, version, timestamp, .. } = entry;
    let value = any_value(entry)?;
    let (author, name) = (json!(author.unwrap_or(DEFAULT_AUTHOR)), json!(name));
    let (timestamp, value) = (json!(timestamp), value.to_json());
    Ok(writeln!(
        out,
        "{{\"author\":{author},\"name\":{name},\"version\":{version},\"timestamp\":{timestamp},\"codec\":{codec},\"value\":{value}}}"
    )?)
}

fn write_bytes(bytes: &[u8], out: &mut impl Write) -> Result<(), Failure> {
    // At a terminal the bytes themselves are to be seen.
    let progress = (!io::stdout().is_terminal()).then(|| Progress::of("writing"));
    for piece in bytes.chunks(PIECE) {
        out.write_all(piece)?;
        if let Some(progress) = &progress {
            progress.add(piece.len());
        }
    }
    Ok(())
}

/// What the bytes of an entry mean; the bytes themselves where they mean nothing, so that nobody ends a watch by what he sets.
fn told_value(entry: Entry) -> Value {
    let bytes = entry.bytes.clone();
    any_value(entry).unwrap_or_else(|_| Value::Bytes(bytes.to_vec()))
}

/// What the bytes of an entry mean; the bytes themselves in a codec that is not known.
fn any_value(entry: Entry) -> Result<Value, Failure> {
    match entry.codec {
        codecs::NATIVE | codecs::JSON | codecs::RAW => value(entry),
        _ => Ok(Value::Bytes(entry.bytes.to_vec())),
    }
}

/// What the bytes of an entry mean.
fn value(entry: Entry) -> Result<Value, Failure> {
    match entry.codec {
        codecs::NATIVE => entry.value().map_err(|error| Failure::Error(error.to_string())),
        codecs::JSON => std::str::from_utf8(&entry.bytes)
            .map_err(|error| error.to_string())
            .and_then(|text| Value::from_json(text).map_err(|error| error.to_string()))
            .map_err(|error| Failure::Error(format!("the value was set as JSON but is none: {error}"))),
        codecs::RAW => Ok(Value::Bytes(entry.bytes.to_vec())),
        codec => Err(Failure::Error(format!(
            "the value is in codec {codec}, which this program does not know; `--raw` prints its bytes"
        ))),
    }
}

fn standard_input() -> Result<Blob, Failure> {
    let most = Limits::default().message;
    let progress = Progress::of("reading");
    let read = Blob::from_reader(progress.reading(io::stdin().lock().take(most + 1)));
    drop(progress);
    let bytes = read.map_err(|error| Failure::Error(format!("cannot read the standard input: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(Failure::Error(format!(
            "the standard input has more than {most} bytes, the most that a value has"
        )));
    }
    Ok(bytes)
}
