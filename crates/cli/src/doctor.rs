//! `andiron doctor`: what is wrong, and how to mend it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use andiron::{Address, Connector, Endpoint, ErrorKind, Hub};
use andiron_sys::names::{self, Holder};
use andiron_sys::runtime::{Name, Places, RuntimeDir};
use andiron_sys::socket::{self, ConnectError};
use andiron_sys::tcp;
use serde_json::json;

use crate::address::Chosen;
use crate::failure::Failure;
use crate::text;

/// How long a server has to accept, and then to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// With fewer descriptors a server soon has none left: each client takes one.
const FEW_DESCRIPTORS: u64 = 1024;

/// Something that is wrong, in one line, and what to do about it.
#[derive(Debug)]
struct Problem {
    what: String,
    mend: String,
}

type Finding<T> = Result<T, Problem>;

fn problem<T>(what: impl Into<String>, mend: impl Into<String>) -> Finding<T> {
    Err(Problem { what: what.into(), mend: mend.into() })
}

/// Looks at everything between this user and the server, in the order in which a caller meets it, and stops where looking on makes no sense.
pub(crate) fn doctor(server: &Chosen, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let mut sheet = Sheet { out, problems: 0, json: json.then(Vec::new) };
    examine(server, &mut sheet)?;
    if let Some(findings) = sheet.json.take() {
        text::array(findings.into_iter().map(Ok), sheet.out)?;
    }
    if sheet.problems == 0 { Ok(()) } else { Err(Failure::Told) }
}

fn examine(chosen: &Chosen, sheet: &mut Sheet<'_, impl Write>) -> Result<(), Failure> {
    sheet.note(environment(&Places::of_this_process()))?;
    let Some(place) = sheet.note(place(chosen))? else { return Ok(()) };
    if let Spot::Named(_, name) = &place.spot
        && sheet.note(folder(&name.folder))?.is_none()
    {
        return Ok(());
    }
    let server = sheet.note(match &place.spot {
        Spot::Net(endpoint) => net_listener(&place, endpoint),
        Spot::Path(socket) => listener(&place, socket, None),
        Spot::Named(socket, name) => listener(&place, socket, Some(name)),
    })?;
    let process = server.as_ref().and_then(|holder| holder.process);
    sheet.note(descriptors(process))?;
    if server.is_none() {
        return Ok(());
    }
    let Some(hub) = sheet.note(handshake(&place, chosen))? else { return Ok(()) };
    sheet.note(objects(&hub.0))?;
    Ok(())
}

/// What is told, line by line.
struct Sheet<'a, W> {
    out: &'a mut W,
    problems: usize,
    /// Where it is to be JSON: what was found so far.
    json: Option<Vec<serde_json::Value>>,
}

impl<W: Write> Sheet<'_, W> {
    /// Tells of one check, and gives on what it found.
    fn note<T: Told>(&mut self, finding: Finding<T>) -> Result<Option<T>, Failure> {
        match finding {
            Ok(found) => {
                if let Some(line) = found.line() {
                    if let Some(findings) = &mut self.json {
                        findings.push(json!({ "ok": true, "what": line }));
                        return Ok(Some(found));
                    }
                    writeln!(self.out, "ok       {}", text::one_line(&line))?;
                }
                Ok(Some(found))
            }
            Err(Problem { what, mend }) => {
                self.problems += 1;
                if let Some(findings) = &mut self.json {
                    findings.push(json!({ "ok": false, "what": what, "mend": mend }));
                    return Ok(None);
                }
                writeln!(self.out, "problem  {}", text::one_line(&what))?;
                writeln!(self.out, "         mend: {}", text::one_line(&mend))?;
                Ok(None)
            }
        }
    }
}

/// What a check found to be well.
trait Told {
    fn line(&self) -> Option<String>;
}

impl Told for Option<String> {
    fn line(&self) -> Option<String> {
        self.clone()
    }
}

impl Told for String {
    fn line(&self) -> Option<String> {
        Some(self.clone())
    }
}

fn environment(places: &Places) -> Finding<Option<String>> {
    let Some(chosen) = places.xdg_runtime_dir.as_ref().filter(|chosen| !chosen.is_empty()) else {
        return Ok(None);
    };
    let used = places.folder();
    if used.parent() == Some(Path::new(chosen)) {
        return Ok(None);
    }
    problem(
        format!(
            "XDG_RUNTIME_DIR is {}, which is no folder of this user, so it is ignored and {} is used",
            Path::new(chosen).display(),
            used.display()
        ),
        "set it, for all your programs alike, to the absolute path of a folder of your own, or unset it",
    )
}

/// Where the server should be.
struct Place {
    address: String,
    spot: Spot,
}

enum Spot {
    /// The socket of a name.
    Named(PathBuf, Named),
    /// A socket whose path was given.
    Path(PathBuf),
    /// A port of a host.
    Net(Endpoint),
}

struct Named {
    folder: RuntimeDir,
    name: Name,
}

impl Told for Place {
    fn line(&self) -> Option<String> {
        let address = &self.address;
        Some(match &self.spot {
            Spot::Named(socket, _) | Spot::Path(socket) => {
                format!("the address '{address}' is the socket {}", socket.display())
            }
            Spot::Net(endpoint) => {
                let kind = if address.starts_with("tls:") { "TLS" } else { "TCP" };
                format!("the address '{address}' is port {} of {}, by {kind}", endpoint.port, endpoint.host)
            }
        })
    }
}

fn place(chosen: &Chosen) -> Finding<Place> {
    let choose = "choose another address by `--address` or ANDIRON_ADDRESS";
    let address = match chosen.address() {
        Ok(address) => address.to_owned(),
        Err(failure) => return problem(failure.message().unwrap_or("the address is none"), choose),
    };
    let spot = match address.parse() {
        Ok(Address::Name(name)) => {
            let folder = match RuntimeDir::for_user() {
                Ok(folder) => folder,
                Err(error) => return sentence(&error.to_string()),
            };
            Spot::Named(folder.socket_path(&name), Named { folder, name })
        }
        Ok(Address::Unix(path)) => Spot::Path(path),
        Ok(Address::Tcp(endpoint) | Address::Tls(endpoint)) => Spot::Net(endpoint),
        _ => return problem(format!("'{address}' is an address for listening only"), choose),
    };
    if let Spot::Named(socket, _) | Spot::Path(socket) = &spot
        && socket.as_os_str().len() > socket::MAX_PATH
    {
        return problem(
            format!(
                "the path {} is longer than the {} bytes that a socket's may have",
                socket.display(),
                socket::MAX_PATH
            ),
            match spot {
                Spot::Named(..) => {
                    "choose a shorter name, or set XDG_RUNTIME_DIR to a folder with a shorter path"
                }
                _ => "choose a shorter path, or a name in place of a path",
            },
        );
    }
    Ok(Place { address, spot })
}

/// A message that says what is wrong and, behind its last colon, what to do.
fn sentence<T>(message: &str) -> Finding<T> {
    let (what, mend) = message.rsplit_once(": ").unwrap_or((message, "mend that and try again"));
    problem(what, mend)
}

fn folder(folder: &RuntimeDir) -> Finding<String> {
    let path = folder.path().display();
    match folder.exists() {
        Ok(true) => {}
        Ok(false) => {
            let what = format!("there is no runtime folder {path}: no server of this user was started here");
            return problem(what, "start one with `andiron serve`");
        }
        Err(error) => return sentence(&error.to_string()),
    }
    // The owner's bits; they do not bind root, but whoever took them away meant something else.
    let mode = fs::metadata(folder.path()).map_or(0o700, |found| found.mode());
    if mode & 0o700 != 0o700 {
        return problem(
            format!(
                "{path} cannot be used by its owner (mode {:04o}): no server can make its socket there",
                mode & 0o7777
            ),
            format!("run `chmod 700 {path}`"),
        );
    }
    Ok(format!("the runtime folder {path} is there and yours alone"))
}

/// Who listens.
struct Server {
    line: String,
    process: Option<i32>,
}

impl Told for Server {
    fn line(&self) -> Option<String> {
        Some(self.line.clone())
    }
}

/// Whether anything listens at a port. Who it is shows in the handshake.
fn net_listener(place: &Place, endpoint: &Endpoint) -> Finding<Server> {
    let error = match tcp::connect(&endpoint.host, endpoint.port, PATIENCE) {
        Ok(_) => return Ok(Server { line: "a server listens there".to_owned(), process: None }),
        Err(error) => error,
    };
    let mend = match &error {
        tcp::ConnectError::Unknown { .. } => {
            "see whether the host is spelled right, and whether its name server is reached".to_owned()
        }
        tcp::ConnectError::Refused(_) => {
            format!(
                "start a server there with `andiron serve --listen {}`, or see at which port it listens",
                place.address
            )
        }
        _ => "see whether that machine is up, and whether a firewall lets the port through".to_owned(),
    };
    problem(error.to_string(), mend)
}

fn listener(place: &Place, socket: &Path, name: Option<&Named>) -> Finding<Server> {
    let holder = match name {
        None => None,
        Some(Named { folder, name }) => match names::lock_holder(folder, name) {
            Ok(holder) => Some(holder),
            Err(error) => {
                let lock = folder.lock_path(name);
                let what = format!("the lock {} cannot be looked at: {error}", lock.display());
                return problem(what, format!("remove {} and start the server again", lock.display()));
            }
        },
    };
    let process = match holder {
        Some(Holder::Process(process)) => Some(process),
        _ => None,
    };
    let held = matches!(holder, Some(Holder::Process(_) | Holder::Unseen));
    let error = match socket::connect(socket, Some(PATIENCE)) {
        Ok(_) => {
            let who = process.map_or_else(|| "a server".to_owned(), |process| format!("process {process}"));
            return Ok(Server { line: format!("{who} listens there"), process });
        }
        Err(error) => error,
    };
    not_listening(place, socket, &error, held, process)
}

fn not_listening(
    place: &Place,
    path: &Path,
    error: &ConnectError,
    held: bool,
    process: Option<i32>,
) -> Finding<Server> {
    let socket = path.display();
    let who = process.map_or_else(
        || "a process that cannot be seen from here".to_owned(),
        |process| format!("process {process}"),
    );
    let serve = start_hint(&place.address);
    match error {
        ConnectError::NotFound(_) if held => problem(
            format!("{who} serves '{}', but its socket is gone", place.address),
            "wait some seconds, it makes another one; if it does not, end that process and start it again",
        ),
        ConnectError::NotFound(_) => {
            problem(format!("no server at '{}'", place.address), format!("start one with {serve}"))
        }
        ConnectError::Refused(_) if !is_socket(path) => problem(
            format!("{socket} is there, but is no socket"),
            format!(
                "choose another address; or, if nobody needs it, remove it and start a server with {serve}"
            ),
        ),
        ConnectError::Refused(_) if held => problem(
            format!("{who} holds the name '{}', but does not listen at {socket}", place.address),
            "end that process and start it again",
        ),
        ConnectError::Refused(_) if matches!(place.spot, Spot::Named(..)) => problem(
            format!("a dead socket was left behind at {socket}: its server was killed"),
            format!("start a server with {serve}: it takes the socket's place"),
        ),
        ConnectError::Refused(_) => problem(
            format!("a dead socket was left behind at {socket}: its server was killed"),
            format!("remove it, then start a server with {serve}"),
        ),
        ConnectError::Busy(_) => problem(
            format!("{who} listens at {socket} but does not accept connections: it is stopped or overloaded"),
            "wake it (`kill -CONT`), or end it and start it again",
        ),
        other => sentence(&other.to_string()),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn start_hint(address: &str) -> String {
    match address {
        andiron::DEFAULT_ADDRESS => "`andiron serve`".to_owned(),
        other => format!("`andiron serve --name {other}`"),
    }
}

fn descriptors(process: Option<i32>) -> Finding<Option<String>> {
    let of = process.map_or_else(|| "self".to_owned(), |process| process.to_string());
    let Ok(limits) = fs::read_to_string(format!("/proc/{of}/limits")) else { return Ok(None) };
    // "Max open files            1024                 4096                 files": a server raises the first to the second.
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers =
        line.unwrap_or_default().split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
    let (Some(soft), Some(hard)) = (numbers.next(), numbers.next()) else { return Ok(None) };
    let most = if process.is_some() { soft } else { hard };
    let whose = if process.is_some() { "the server" } else { "a process" };
    if most < FEW_DESCRIPTORS {
        return problem(
            format!("{whose} may open only {most} descriptors, and each client takes one"),
            "raise the limit before the server is started: `ulimit -Hn` in its shell, LimitNOFILE= in a systemd unit",
        );
    }
    let open =
        process.and_then(|_| fs::read_dir(format!("/proc/{of}/fd")).ok()).map_or(0, Iterator::count) as u64;
    if open > most / 10 * 9 {
        return problem(
            format!(
                "the server has {open} descriptors open and may open {most}: new clients soon have to wait"
            ),
            "close connections that are not needed, or raise its limit (`ulimit -Hn`, LimitNOFILE=)",
        );
    }
    Ok(Some(format!("{whose} may open {most} descriptors")))
}

/// A connection that works.
struct Connected(Hub);

impl Told for Connected {
    fn line(&self) -> Option<String> {
        Some(format!("it speaks the protocol of this program, {}", env!("CARGO_PKG_VERSION")))
    }
}

fn handshake(place: &Place, chosen: &Chosen) -> Finding<Connected> {
    let (sender, receiver) = mpsc::channel();
    let connector = Connector::new(&place.address).security(chosen.security.clone());
    // A thread of its own, which ends with this process: the server may never answer.
    std::thread::spawn(move || sender.send(connector.connect()));
    let error = match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(hub)) => return Ok(Connected(hub)),
        Ok(Err(error)) => error,
        Err(_) => {
            return problem(
                format!(
                    "it does not answer the handshake within {} seconds: it is stopped, hangs, or is no Andiron server",
                    PATIENCE.as_secs()
                ),
                "wake it (`kill -CONT`), or end it and start it again",
            );
        }
    };
    match error.kind() {
        ErrorKind::Unsupported => problem(error.message(), "update the older of the two programs"),
        // It did not come to a handshake: the own file, or the kind of address, is not good for it.
        ErrorKind::Denied | ErrorKind::NoObject if matches!(place.spot, Spot::Net(_)) => {
            sentence(error.message())
        }
        ErrorKind::Authentication if matches!(place.spot, Spot::Net(_)) => problem(
            error.message(),
            "give this end the secret, or the authority and certificate, that the server asks for: `--secret-file`, `--authority`",
        ),
        ErrorKind::Denied | ErrorKind::Authentication => {
            problem(error.message(), "start a server of your own, or become the user that it belongs to")
        }
        _ => problem(
            format!("the handshake failed: {}", error.message()),
            format!("see whether what listens at '{}' is an Andiron server", place.address),
        ),
    }
}

fn objects(hub: &Hub) -> Finding<String> {
    let (sender, receiver) = mpsc::channel();
    let hub = hub.clone();
    std::thread::spawn(move || sender.send(hub.names()));
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(names)) => Ok(match names.len() {
            1 => "it answers: 1 object (`andiron describe` shows it)".to_owned(),
            count => format!("it answers: {count} objects (`andiron describe` shows them)"),
        }),
        Ok(Err(error)) => {
            problem(format!("it does not tell its names: {}", error.message()), "start it again")
        }
        Err(_) => problem("it does not answer calls", "end it and start it again"),
    }
}
