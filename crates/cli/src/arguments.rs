//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use andiron::{Durability, Rights, Security};
use andiron_daemon::{Evict, StoreLimits};
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

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
    /// The server: its name, unix:PATH, tcp://HOST[:PORT] or tls://HOST[:PORT] [default: that of ANDIRON_ADDRESS, or andiron]
    // Not read from the environment by clap, which would then name it as required in usage errors.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    #[command(flatten)]
    pub(crate) security: SecurityArguments,
    /// Print JSON; the help of each command says what
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads a command line, the first word of which is the program's own name.
    pub(crate) fn read<A: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = A>,
    ) -> clap::error::Result<Arguments> {
        Arguments::from_arg_matches(&Arguments::described().try_get_matches_from(words)?)
    }

    /// The command line as its help and completions describe it: options that hold for most commands are left out where they mean nothing.
    pub(crate) fn described() -> clap::Command {
        let network = ["address", "authority", "certificate", "key", "plain_tcp"];
        let everything = [&network[..], &["secret_file", "json"]].concat();
        let command = Arguments::command();
        let global: Vec<Arg> =
            command.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
        // A command that has an option of that name already is not given the global one.
        let without = |command: clap::Command, options: &[&str]| {
            let hidden = global.iter().filter(|option| options.contains(&option.get_id().as_str()));
            command.args(hidden.map(|option| option.clone().hide(true)))
        };
        command
            .mut_subcommand("serve", |serve| without(serve, &["json"]))
            .mut_subcommand("secret", |secret| without(secret, &network))
            .mut_subcommand("completions", |completions| without(completions, &everything))
    }
}

/// Who is let in over a network, for both ends alike.
#[derive(Debug, Args)]
pub(crate) struct SecurityArguments {
    /// The file with the secret that both ends have, for tcp:// and tls:// [default: that of ANDIRON_SECRET_FILE, or andiron/secret in ~/.config]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
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

/// How much the store of a daemon may hold.
#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// The store holds so many bytes at most: names, values, and about 128 for each entry; a number, or one and K, M or G [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// The store holds so many entries at most [default: 4000000]
    #[arg(long, value_name = "NUMBER")]
    max_entries: Option<usize>,
    /// Each author has so many bytes of that at most [default: all]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_author_bytes: Option<u64>,
    /// Each author has so many entries at most [default: all]
    #[arg(long, value_name = "NUMBER")]
    max_author_entries: Option<usize>,
    /// Where there is no room left: `none` refuses the write, `oldest` removes entries that were set longest ago; none that is persistent
    #[arg(long, value_name = "WHICH", default_value = "none", value_parser = evict)]
    evict: Evict,
}

impl From<LimitArguments> for StoreLimits {
    fn from(arguments: LimitArguments) -> StoreLimits {
        let LimitArguments { max_bytes, max_entries, max_author_bytes, max_author_entries, evict } =
            arguments;
        let usual = StoreLimits::default();
        StoreLimits {
            max_bytes: max_bytes.unwrap_or(usual.max_bytes),
            max_entries: max_entries.unwrap_or(usual.max_entries),
            max_author_bytes: max_author_bytes.unwrap_or(usual.max_author_bytes),
            max_author_entries: max_author_entries.unwrap_or(usual.max_author_entries),
            evict,
            ..usual
        }
    }
}

fn evict(text: &str) -> Result<Evict, String> {
    match text {
        "none" => Ok(Evict::None),
        "oldest" => Ok(Evict::Oldest),
        _ => Err("it is `none` or `oldest`".to_owned()),
    }
}

/// Bytes, or a number of units of them.
fn size(text: &str) -> Result<u64, String> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let unit = units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "not a number, or one and K, M or G, like 512M".to_owned())
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
        /// End as after a signal when the standard input ends, as it does when the program that holds its other end ends, by whatever
        #[arg(long)]
        exit_with_parent: bool,
        /// Tell this address to others, by which they reach one that is listened at; may be given several times
        #[arg(long, value_name = "ADDRESS")]
        advertise: Vec<String>,
        /// Keep persistent entries in this folder [default: andiron/NAME in XDG_STATE_HOME or ~/.local/state; none for a server without a name]
        #[arg(long, value_name = "FOLDER")]
        state: Option<PathBuf>,
        /// Keep nothing beyond the end of the daemon
        #[arg(long, conflicts_with_all = ["state", "durability"])]
        no_state: bool,
        /// What a persistent write survives where its caller does not say: `relaxed` the end of the daemon by whatever, `sync` also a power cut
        #[arg(long, value_name = "HOW", default_value = "relaxed")]
        durability: Durability,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Put a value into the store.
    ///
    /// With `--json`: prints an object with author, name and version.
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
        /// After this time it is gone: seconds, or a number and s, m, h or d
        #[arg(long, value_name = "DURATION", value_parser = time_to_live, allow_hyphen_values = true)]
        ttl: Option<Duration>,
        /// Only if the entry has this version; 0: only if there is none
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        /// Have it be there again after the end of the daemon
        #[arg(long)]
        persist: bool,
        /// What it is to survive: `relaxed` the end of the daemon by whatever, `sync` also a power cut [default: as the daemon was started]
        #[arg(long, value_name = "HOW", requires = "persist")]
        durability: Option<Durability>,
    },
    /// Have an entry of the store be there again after the end of the daemon, as it is; `set --persist` does so when it is set.
    Persist {
        /// Which entry.
        name: String,
        /// Whose entry [default: default]
        #[arg(long)]
        author: Option<String>,
        /// Have it end with the daemon.
        #[arg(long)]
        off: bool,
    },
    /// Add to a whole number in the store, and print what it is now. Where there is no entry it begins at 0.
    Incr {
        /// Which entry.
        name: String,
        /// How much.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
        /// Whose entry [default: default]
        #[arg(long)]
        author: Option<String>,
    },
    /// Print a value of the store as JSON.
    ///
    /// With `--json`: all of the entry, an object with author, name, version, timestamp (seconds since 1970), codec (1 native, 2 JSON, 3 bytes), value
    /// and, where it expires, ttl (the seconds that are left).
    #[command(after_help = VALUES)]
    Get {
        /// Which entry.
        name: String,
        /// Whose entry [default: default]
        #[arg(long)]
        author: Option<String>,
        /// Print a string without quotes, and bytes as they are.
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
    /// Take an entry out of the store.
    ///
    /// With `--json`: prints what was there, as `get --json` does, without a ttl.
    Del {
        /// Which entry.
        name: String,
        /// Whose entry [default: default]
        #[arg(long)]
        author: Option<String>,
        /// Only if the entry has this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// Print how much the store holds, and how often it was asked.
    ///
    /// With `--json`: an object with entries, bytes (which they count for), authors, hits (reads that clients answered from their own memory, as they
    /// told), questions (reads that came to the store) and evicted (entries that were removed to make room).
    Stats,
    /// List the entries of the store.
    ///
    /// With `--json`: an array of objects with author, name, version, timestamp (seconds since 1970), size (bytes) and persistent (bool).
    Ls {
        /// Only those of this author [default: all authors]
        #[arg(long)]
        author: Option<String>,
    },
    /// List, save, load and delete snapshots, which the daemon keeps: the entries of one author as they were once.
    ///
    /// With `--json`: the list is an array of objects with author, name, timestamp (seconds since 1970), entries and bytes.
    Snapshots {
        #[command(subcommand)]
        command: Option<SnapshotCommand>,
        /// Whose entries [default: default; all authors in the list]
        #[arg(long, global = true)]
        author: Option<String>,
    },
    /// Write all that is persistent in the store, with the snapshots, to a file, while the daemon goes on.
    Backup {
        /// Which file; `-`: the standard output. A file that is there is replaced when the backup is complete; what is none, like a pipe, is written to.
        file: PathBuf,
    },
    /// Have all that is persistent in the store, and the snapshots, be as they were at a backup: all of it, or nothing is changed.
    Restore {
        /// A file that `backup` wrote; `-`: the standard input.
        file: PathBuf,
    },
    /// Print what changes in the store, a line for each change, until the server goes.
    ///
    /// Whoever reads slowly gets the latest value of what changed several times. With `--json`: an object a line, with author, name, version, skipped (so
    /// many earlier changes of the same entry were not told), resume_from (a version for `--since`; null while more follow of the entries that were there) and,
    /// unless it was removed, timestamp, codec and value.
    #[command(after_help = VALUES)]
    Watch {
        /// Which entries, by name: `*` stands for any characters, `?` for one, a character behind `\` for itself.
        #[arg(default_value = "*", hide_default_value = true)]
        pattern: String,
        /// Only those of this author [default: all authors]
        #[arg(long)]
        author: Option<String>,
        /// Begin with the entries that are there.
        #[arg(long)]
        present: bool,
        /// Begin with what changed since a version, as `resume_from` of an earlier watch; an error where that is not known any more.
        #[arg(long, value_name = "VERSION", conflicts_with = "present")]
        since: Option<u64>,
    },
    /// Call a method of an object and print its result as JSON, or nothing for null; of a stream each item in a line.
    ///
    /// For an object in the result, which ends with this command, stands `"<object Disc>"`: what it is. With `--json`: null is printed too.
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
        /// Give up after this time, which is for all of it: connecting, finding the object, and the call; not for the items of a stream.
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<Duration>,
    },
    /// Print what an object offers, or which objects there are.
    ///
    /// With `--json`: an object with name, doc and methods; for all objects an array of objects with object (its name) and interface, or error.
    Describe {
        /// The object's name; another server's address and `/` may stand before it.
        #[arg(value_name = "[ADDRESS/]OBJECT")]
        object: Option<String>,
        /// Print it as a typed class in Python: `player: Player = hub["player"]` is checked by that.
        #[arg(long, conflicts_with = "json")]
        python: bool,
    },
    /// Find out what is wrong, and how to mend it.
    ///
    /// With `--json`: an array of objects with ok (bool), what and, where it is not ok, mend.
    Doctor,
    /// Make, show and replace the secret by which programs on other machines are let in.
    ///
    /// The file is that of `--secret-file`, else that of ANDIRON_SECRET_FILE, else andiron/secret in XDG_CONFIG_HOME or ~/.config. With `--json`: an object
    /// with path, name, until (seconds since 1970, or null), read_only_store (bool), authors and objects (arrays, or null for all); `show` has
    /// secret as well.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Print what a shell needs to complete this command line.
    ///
    /// For bash, in ~/.bashrc: source <(andiron completions bash)
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Keep the entries of the author as they are now, in place of an earlier snapshot of that name.
    Save {
        /// The name of the snapshot.
        snapshot: String,
    },
    /// Set the entries that the snapshot has as they were, all or none, but for those whose time is over; others stay.
    Load {
        /// The name of the snapshot.
        snapshot: String,
    },
    /// Delete the snapshot.
    Delete {
        /// The name of the snapshot.
        snapshot: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Make a secret in a file that is not there yet.
    New {
        /// Put it behind those that are in the file, for a server that lets in several parties
        #[arg(long)]
        add: bool,
        /// What a server calls its holder in its log
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        rights: RightsArguments,
    },
    /// Print the secret, to be copied to where it is to be used, and nothing else.
    Show {
        /// The one of this name [default: the first valid one]
        #[arg(long)]
        name: Option<String>,
    },
    /// Put a new secret in front, and let the old one be valid for a while.
    Rotate {
        /// The one of this name [default: the first valid one]
        #[arg(long)]
        name: Option<String>,
        /// How long the old one is still valid: a number and s, m, h or d
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
        keep: Duration,
    },
}

/// What the holder of a secret may do at a server that has it in its file with this. Without any of it: everything.
#[derive(Debug, Args)]
pub(crate) struct RightsArguments {
    /// Its holder may read the store, and not change it
    #[arg(long)]
    read_only: bool,
    /// Its holder may use entries of this author only; may be given several times
    #[arg(long = "author", value_name = "AUTHOR")]
    authors: Vec<String>,
    /// Its holder may call this object only, and register none; may be given several times. The store is the object `store`
    #[arg(long = "object", value_name = "OBJECT")]
    objects: Vec<String>,
}

impl From<RightsArguments> for Rights {
    fn from(arguments: RightsArguments) -> Rights {
        let RightsArguments { read_only, authors, objects } = arguments;
        let some = |names: Vec<String>| (!names.is_empty()).then(|| names.into_iter().collect());
        let mut rights = Rights::default();
        rights.read_only_store = read_only;
        rights.authors = some(authors);
        rights.objects = some(objects);
        rights
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a time above 0".to_owned()),
    }
}

/// A time above 0: seconds, or a number and its unit.
fn time_to_live(text: &str) -> Result<Duration, String> {
    match seconds(text).or_else(|_| duration(text)) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a time above 0, in seconds or as a number and s, m, h or d, like 90 or 5m".to_owned()),
    }
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400)];
    let unit = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let whole = unit.and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(seconds));
    whole.map(Duration::from_secs).ok_or_else(|| "not a number and s, m, h or d, like 7d".to_owned())
}
