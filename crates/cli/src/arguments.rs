//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use andiron::Security;
use clap::{Args, Parser, Subcommand};

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
    /// The server: its name, unix:PATH, tcp://HOST[:PORT] or tls://HOST[:PORT] [default: andiron]
    #[arg(long, global = true, value_name = "ADDRESS", env = "ANDIRON_ADDRESS", hide_env_values = true)]
    pub(crate) address: Option<String>,
    #[command(flatten)]
    pub(crate) security: SecurityArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Who is let in over a network, for both ends alike.
#[derive(Debug, Args)]
pub(crate) struct SecurityArguments {
    /// The file with the secret that both ends have, for tcp:// and tls:// [default: that of ANDIRON_SECRET_FILE, or andiron/secret in ~/.config]
    #[arg(long, global = true, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Trust certificates of this authority (PEM), and ask for one, for tls://
    #[arg(long, global = true, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The own certificate (PEM), for tls://
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Allow TCP without TLS beyond this machine, where others may read and change what is said
    #[arg(long, global = true)]
    plain_tcp: bool,
}

impl From<SecurityArguments> for Security {
    fn from(arguments: SecurityArguments) -> Security {
        let SecurityArguments { secret_file, authority, certificate, key, plain_tcp } = arguments;
        let mut security = Security::default();
        if let Some(path) = secret_file {
            security = security.secret_file(path);
        }
        if let Some(path) = authority {
            security = security.authority(path);
        }
        if let (Some(certificate), Some(key)) = (certificate, key) {
            security = security.certificate(certificate, key);
        }
        if plain_tcp { security.plain_tcp() } else { security }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a daemon: a store, and a place where processes register objects.
    ///
    /// Runs in the foreground and says `listening at ...` on the standard error when it is ready. SIGINT or SIGTERM: calls under way are finished,
    /// for at most five seconds, then it ends with 0; a second signal ends it at once.
    Serve {
        /// Where programs of this machine find it, before `--address`: a name, or unix:PATH [default: andiron]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Listen here as well: tcp://HOST[:PORT], tls://HOST[:PORT], fd:NUMBER or systemd; may be given several times
        #[arg(long, value_name = "ADDRESS")]
        listen: Vec<String>,
        /// Listen nowhere but at the addresses of `--listen`
        #[arg(long, requires = "listen", conflicts_with = "name")]
        no_local: bool,
        /// Tell this address to others, by which they reach one that is listened at; may be given several times
        #[arg(long, value_name = "ADDRESS")]
        advertise: Vec<String>,
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
