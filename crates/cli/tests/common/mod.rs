//! A runtime folder of a test's own, and real processes in it.
//!
//! Nothing here waits for a time to pass: processes tell when they are ready, and ends of streams tell the rest.
//!
//! `ANDIRON_TEST_SERVE` is a program that is run in place of `andiron`, with the same arguments, where these are `serve ..`: so another server is held to the
//! same. Tests that cannot be about it say so ([`only_native`]).
#![allow(dead_code)] // Each test binary uses its part.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use andiron::Hub;

/// How long a test waits for something that comes by itself, before it fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_andiron");

/// Says which part of a test this process plays, if it was started to play one.
const ROLE: &str = "ANDIRON_TEST_ROLE";

/// A folder of its own for the servers of one test.
pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { folder: tempfile::tempdir().unwrap() }
    }

    /// The folder of the sockets.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.folder.path().join("andiron")
    }

    /// The address of the server of this name, for callers whose environment is another one.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("unix:{}", self.socket(name).display())
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.runtime().join(format!("{name}.sock"))
    }

    /// The program with these arguments.
    pub(crate) fn andiron(&self, arguments: &[&str]) -> Command {
        let serves = arguments.first() == Some(&"serve");
        let mut command = Command::new(if serves { server() } else { OsString::from(PROGRAM) });
        command.args(arguments);
        self.settle(&mut command);
        if serves && is_other() && arguments.iter().any(|one| one.starts_with("tls://")) {
            command.env("ANDIRON_CERTIFICATE_FILE", self.certificate());
        }
        command
    }

    /// A certificate with its key, for a server that can make none.
    fn certificate(&self) -> PathBuf {
        let path = self.folder.path().join("certificate.pem");
        if !path.exists() {
            let made = rcgen::generate_simple_self_signed(["andiron".to_owned()]).unwrap();
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            write!(file, "{}{}", made.signing_key.serialize_pem(), made.cert.pem()).unwrap();
        }
        path
    }

    /// Makes this the command's home.
    pub(crate) fn settle(&self, command: &mut Command) {
        command.env("XDG_RUNTIME_DIR", self.folder.path()).env_remove("ANDIRON_ADDRESS");
        command.env("XDG_STATE_HOME", self.folder.path().join("state"));
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config")).env_remove("ANDIRON_SECRET_FILE");
    }

    /// Runs the program and waits for its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.andiron(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs the program with this input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.andiron(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Starts a daemon of the default name, ready to be called.
    pub(crate) fn serve(&self) -> Process {
        self.serve_with(&[])
    }

    /// Starts a daemon with further arguments, ready to be called.
    pub(crate) fn serve_with(&self, arguments: &[&str]) -> Process {
        let mut all = vec!["serve"];
        all.extend(arguments);
        let mut daemon = Process::start(self.andiron(&all));
        daemon.wait_for("listening at ");
        daemon
    }

    /// Starts this test binary again, to run the test `test` in a role. Ready when it has said so.
    pub(crate) fn play(&self, test: &str, role: &str) -> Process {
        let mut player = Process::start(self.player(test, role));
        player.wait_for("ready");
        player
    }

    /// This test binary, to run the test `test` in a role.
    pub(crate) fn player(&self, test: &str, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
        self.settle(&mut command);
        command
    }

    /// Connects to the server of the default name.
    pub(crate) fn hub(&self) -> Hub {
        Hub::connect(&self.address("andiron")).unwrap()
    }

    /// Connects a plain socket to the server of the default name.
    pub(crate) fn stream(&self) -> UnixStream {
        UnixStream::connect(self.socket("andiron")).unwrap()
    }
}

/// The part that this process plays in a test, if it was started by [`Home::play`].
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Tells whoever started this process a line.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// A process that ends with the test at the latest.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Process { child, stdin, lines, seen: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on its standard error that has this in it, and gives it.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        match self.try_wait_for(part) {
            Some(line) => line,
            None => panic!("the process never said {part:?}, but {:#?}", self.seen),
        }
    }

    /// The same, but of a line that is not said yet.
    pub(crate) fn wait_for_next(&mut self, part: &str) -> String {
        self.seen.extend(self.lines.try_iter());
        self.wait_for(part)
    }

    /// The next line with this in it; `None` if the process ended without.
    pub(crate) fn try_wait_for(&mut self, part: &str) -> Option<String> {
        while let Ok(line) = self.lines.recv_timeout(LONG) {
            self.seen.push(line.clone());
            if line.contains(part) {
                return Some(line);
            }
        }
        None
    }

    /// All that it has said so far.
    pub(crate) fn said(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// Tells the process a line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Processor time that it has used so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Memory that it has in use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run of the program came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Ran {
        let Output { status, stdout, stderr } = output;
        Ran { code: status.code(), out: stdout, err: String::from_utf8(stderr).unwrap() }
    }

    /// What it printed; it must have succeeded and said nothing else.
    #[track_caller]
    pub(crate) fn printed(&self) -> &str {
        assert_eq!((self.code, &*self.err), (Some(0), ""), "{self:?}");
        self.text()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// The one line of its error; it must have failed so and printed nothing.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32) -> &str {
        assert_eq!((self.code, &*self.out), (Some(code), &b""[..]), "{self:?}");
        let line = self.err.strip_suffix('\n').unwrap_or(&self.err);
        assert!(line.starts_with("andiron: ") && !line.contains('\n'), "{self:?}");
        line
    }
}

/// The program that these tests run in place of `andiron serve`, if they are about another one.
fn other_server() -> Option<OsString> {
    std::env::var_os("ANDIRON_TEST_SERVE")
}

/// What serves.
pub(crate) fn server() -> OsString {
    other_server().unwrap_or_else(|| PROGRAM.into())
}

/// Whether the server is another program than `andiron`.
pub(crate) fn is_other() -> bool {
    other_server().is_some()
}

/// The same for a test that cannot be about such a one; says why.
pub(crate) fn only_native(why: &str) -> bool {
    if is_other() {
        skipped(&format!("it is about the server in Rust alone: {why}"));
    }
    is_other()
}

/// Says that a test does nothing here, and why. Not captured as what tests print, so it is seen in every run.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// Asks again and again until there is an answer, for what nobody tells of; fails after a [`LONG`] time.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < LONG, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads to the end of a stream that the other side closes. A reset is an end too.
pub(crate) fn read_to_end(stream: &mut UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the other side did not close the stream: {error}"),
    }
    bytes
}
