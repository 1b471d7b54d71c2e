//! The `andiron` program as a library, for others that bring the command with them.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | error: no server, a method that failed, a problem that `doctor` found |
//! | 2 | usage: the command line cannot be understood |
//! | 3 | not found: no such entry, object or method |
//!
//! Results go to the standard output; an error is one line on the standard error that begins with `andiron: `. Whoever reads the output
//! may stop reading at any time: the program then ends quietly.
#![forbid(unsafe_code)]

mod address;
mod archive;
mod arguments;
mod data;
mod doctor;
mod failure;
mod given;
mod objects;
mod progress;
mod python;
mod reader;
mod secret;
mod serve;
mod text;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use address::Chosen;
use arguments::{Arguments, Command};
use data::{Beginning, Condition, Form};
use failure::Failure;
use objects::Call;
use serve::{Kept, State};

/// Runs the program with these arguments, the first of which is its own name, and answers its exit code.
///
/// ```
/// # use std::process::ExitCode;
/// assert_eq!(andiron_cli::main(["andiron", "--version"]), ExitCode::SUCCESS);
/// ```
pub fn main<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>) -> ExitCode {
    let arguments = match Arguments::read(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print(); // nobody may be reading
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let done = run(arguments, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("andiron: {}", text::one_line(message));
            }
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments, out: &mut impl io::Write) -> Result<(), Failure> {
    let Arguments { address, security, json, command } = arguments;
    let secret_file = security.secret_file.clone();
    let address = address.map_or_else(address::of_environment, |address| Ok(Some(address)))?;
    let server = &Chosen { address, security: security.into() };
    match command {
        Command::Serve {
            name,
            listen,
            no_local,
            exit_with_parent,
            advertise,
            state,
            no_state,
            durability,
            limits,
        } => {
            let local = if no_local { None } else { Some(name.as_deref().or(server.address.as_deref())) };
            let state = if no_state { State::None } else { state.map_or(State::Usual, State::In) };
            let kept = Kept { state, durability, limits: limits.into() };
            serve::serve(local, &listen, &advertise, exit_with_parent, kept, &server.security)
        }
        Command::Persist { name, author, off } => data::persist(server, &name, author.as_deref(), !off),
        Command::Set { name, value, author, ttl, if_version, persist, durability } => {
            let condition = Condition { ttl, if_version, persist, durability };
            data::set(server, &name, &value, author.as_deref(), condition, json, out)
        }
        Command::Incr { name, by, author } => data::incr(server, &name, by, author.as_deref(), out),
        Command::Get { name, author, raw } => {
            let form = if raw { Form::Raw } else { Form::of(json) };
            data::get(server, &name, author.as_deref(), form, out)
        }
        Command::Del { name, author, if_version } => {
            data::del(server, &name, author.as_deref(), if_version, json, out)
        }
        Command::Snapshots { command, author } => {
            archive::snapshots(server, command, author.as_deref(), json, out)
        }
        Command::Backup { file } => archive::backup(server, &file, out),
        Command::Restore { file } => archive::restore(server, &file),
        Command::Stats => data::stats(server, json, out),
        Command::Watch { pattern, author, present, since } => {
            let beginning = Beginning { present, since };
            data::watch(server, &pattern, author.as_deref(), beginning, json, out)
        }
        Command::Ls { author } => data::ls(server, author.as_deref(), json, out),
        Command::Call { object, method, arguments, timeout } => {
            let call = Call { object, method, arguments, timeout };
            objects::call(server, call, json, out)
        }
        Command::Describe { object, python: true } => objects::stub(server, object.as_deref(), out),
        Command::Describe { object, .. } => objects::describe(server, object.as_deref(), json, out),
        Command::Doctor => doctor::doctor(server, json, out),
        Command::Secret(command) => secret::secret(command, secret_file, json, out),
        Command::Completions { shell } => {
            let mut script = Vec::new(); // what writes it would panic where nobody reads
            clap_complete::generate(shell, &mut Arguments::described(), "andiron", &mut script);
            Ok(out.write_all(&script)?)
        }
    }
}
