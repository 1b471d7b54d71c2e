//! `andiron secret`: what lets programs on other machines in.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use andiron::{Secret, SecretFile};
use serde_json::json;

use crate::arguments::SecretCommand;
use crate::failure::Failure;
use crate::text;

pub(crate) fn secret(
    command: SecretCommand,
    path: Option<PathBuf>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    // What the commands that are told of need to find the same file.
    let option = path
        .as_ref()
        .map_or_else(String::new, |path| format!(" --secret-file {}", text::quoted(&path.to_string_lossy())));
    let path = path.map_or_else(SecretFile::default_path, Ok)?;
    let place = Place { path, option };
    match command {
        SecretCommand::New { add, name, rights } => {
            let secret = Secret::new()?.with_name(name.as_deref()).with_rights(rights.into());
            make(&place, secret, add, json, out)
        }
        SecretCommand::Show { name } => show(&place.path, name.as_deref(), json, out),
        SecretCommand::Rotate { name, keep } => rotate(&place, name.as_deref(), keep, json, out),
    }
}

/// The file, and the option by which it was chosen.
struct Place {
    path: PathBuf,
    option: String,
}

impl Place {
    /// How a secret gets to another machine without anybody seeing it.
    fn copying(&self, name: Option<&str>) -> String {
        let name = name.map_or_else(String::new, |name| format!(" --name {}", text::quoted(name)));
        let show = format!("andiron secret show{name}{}", self.option);
        format!("{show} | ssh HOST 'umask 077; mkdir -p ~/.config/andiron; cat > ~/.config/andiron/secret'")
    }
}

fn make(place: &Place, secret: Secret, add: bool, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let path = &place.path;
    if add {
        let mut file = SecretFile::load(path)?;
        file.add(secret.clone(), SystemTime::now())?;
        file.save()?;
    } else {
        SecretFile::create(path, secret.clone())?;
    }
    if json {
        return Ok(writeln!(out, "{}", told(path, &secret, false))?);
    }
    writeln!(out, "A new secret is in {}.", path.display())?;
    writeln!(out, "Next: copy it to the other machine, over what nobody else can read, for instance:")?;
    writeln!(out, "  {}", place.copying(secret.name().filter(|_| add)))?;
    writeln!(out, "A server that has this file takes it, also one that runs already:")?;
    Ok(writeln!(out, "  andiron serve --listen tls://0.0.0.0{}", place.option)?)
}

fn show(path: &Path, name: Option<&str>, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let (file, now) = (SecretFile::load(path)?, SystemTime::now());
    let secret = match name {
        None => file.first_valid(now)?,
        Some(name) => file.valid(now).find(|secret| secret.name() == Some(name)).ok_or_else(|| {
            Failure::NotFound(format!("{} has no valid secret named '{name}'", path.display()))
        })?,
    };
    if json {
        return Ok(writeln!(out, "{}", told(path, secret, true))?);
    }
    Ok(writeln!(out, "{}", secret.text())?)
}

fn rotate(
    place: &Place,
    name: Option<&str>,
    keep: Duration,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (path, now) = (&place.path, SystemTime::now());
    let until = now.checked_add(keep).ok_or_else(|| {
        Failure::Usage("the old secret is to be kept for longer than time can be told".to_owned())
    })?;
    let mut file = SecretFile::load(path)?;
    let old = file.rotate(name, now, until)?;
    file.save()?;
    let new = match name {
        None => file.first_valid(now)?,
        Some(_) => file.valid(now).find(|secret| secret.name() == name).expect("it was put there just now"),
    };
    if json {
        return Ok(writeln!(out, "{}", told(path, new, false))?);
    }
    writeln!(out, "A new secret stands in front in {}.", path.display())?;
    match old.end() {
        Some(end) => {
            writeln!(out, "The old one is valid until {}. Until then, in this order:", text::time(end))?
        }
        None => writeln!(out, "The old one stays valid. Now, in this order:")?,
    }
    writeln!(
        out,
        "  1. The servers: this file, whole, to every other one; they read it again by themselves."
    )?;
    Ok(writeln!(out, "  2. Then the clients: {}", place.copying(name))?)
}

fn told(path: &Path, secret: &Secret, with_text: bool) -> serde_json::Value {
    let rights = secret.rights();
    let until = secret.end().and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
    let mut told = json!({
        "path": path.to_string_lossy(),
        "name": secret.name(),
        "until": until.map(|until| until.as_secs()),
        "read_only_store": rights.read_only_store,
        "authors": rights.authors,
        "objects": rights.objects,
    });
    if with_text {
        told["secret"] = secret.text().into();
    }
    told
}
