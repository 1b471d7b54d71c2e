//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  error: no server, a method that failed, a problem that `doctor` found
  2  usage: the command line cannot be understood
  3  not found: no such entry, object or method";

const VALUES: &str = "\
Values: what JSON has no form for is an object with one key: {\"$bytes\": \"base64\"}, {\"$int\": \"digits\"}
for a whole number beyond 64 bits, {\"$tuple\": [1, 2]}, {\"$map\": [[key, value], ...]} where a key is no
string. A string that looks like JSON is given in quotes of its own: '\"5\"'.";

/// Processes share live objects and data.
#[derive(Debug, Parser)]
#[command(name = "andiron", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The server: its name, or `unix:` and the path of its socket [default: andiron]
    #[arg(long, global = true, value_name = "NAME", env = "ANDIRON_ADDRESS", hide_env_values = true)]
    pub(crate) address: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a daemon: a store, and a place where processes register objects.
    ///
    /// Runs in the foreground and says `listening at ...` on the standard error when it is ready. SIGINT or SIGTERM: calls under way are finished,
    /// for at most five seconds, then it ends with 0; a second signal ends it at once.
    Serve {
        /// Where to listen, before `--address`: a name, or `unix:` and the path of a socket [default: andiron]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Put a value into the store.
    #[command(after_help = VALUES)]
    Set {
        /// Which entry.
        name: String,
        /// JSON if it can be read as JSON, else a string. `-`: the bytes on the standard input, as they are.
        #[arg(allow_negative_numbers = true)]
        value: String,
        /// Whose entry [default: default]
        #[arg(long)]
        author: Option<String>,
    },
    /// Print a value of the store as JSON.
    #[command(after_help = VALUES)]
    Get {
        /// Which entry.
        name: String,
        /// Whose entry [default: default]
        #[arg(long)]
        author: Option<String>,
        /// Print a string without quotes, and bytes as they are.
        #[arg(long)]
        raw: bool,
    },
    /// Take an entry out of the store.
    Del {
        /// Which entry.
        name: String,
        /// Whose entry [default: default]
        #[arg(long)]
        author: Option<String>,
    },
    /// List the entries of the store.
    Ls {
        /// Only those of this author [default: all authors]
        #[arg(long)]
        author: Option<String>,
        /// As a JSON array of objects with author, name, version, timestamp (seconds since 1970) and size (bytes).
        #[arg(long)]
        json: bool,
    },
    /// Call a method of an object and print its result as JSON, or nothing for null.
    #[command(after_help = VALUES)]
    Call {
        /// The object's name; another server's address and `/` may stand before it.
        #[arg(value_name = "[ADDRESS/]OBJECT")]
        object: String,
        /// The method's name.
        method: String,
        /// JSON each, or else a string; after `--` also what begins with `-`.
        #[arg(value_name = "ARGS", allow_negative_numbers = true)]
        arguments: Vec<String>,
        /// Give up after this time, which is for all of it: connecting, finding the object, and the call.
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<Duration>,
    },
    /// Print what an object offers, or which objects there are.
    Describe {
        /// The object's name; another server's address and `/` may stand before it.
        #[arg(value_name = "[ADDRESS/]OBJECT")]
        object: Option<String>,
    },
    /// Find out what is wrong, and how to mend it.
    Doctor,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a time above 0".to_owned()),
    }
}
