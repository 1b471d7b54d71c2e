//! Running a piece of a test as a process of its own, coordinated by pipes.
//!
//! A test binary starts itself again with one test chosen; the variable `ROLE` tells that test that it is the child.
#![allow(dead_code)] // Each test binary uses its part.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "ANDIRON_SYS_TEST_ROLE";

/// Marks the lines that a child says, between those of the test runner.
const MARK: &str = "child says: ";

/// A command that runs the test `test` of this binary alone, as a child with the role `role`.
pub(crate) fn command(test: &str, role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

/// The role, if this process is a child.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// In a child: tells the parent a line.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{MARK}{line}").unwrap();
    out.flush().unwrap();
}

/// In a child: waits for a line of the parent; `None` when the parent hung up.
pub(crate) fn hear() -> Option<String> {
    let mut line = String::new();
    let length = std::io::stdin().read_line(&mut line).unwrap();
    (length > 0).then(|| line.trim_end().to_owned())
}

/// Runs `body` as a process of its own, for what concerns the whole process: descriptors, limits, forks.
///
/// `test` is the name of the calling test.
pub(crate) fn in_own_process(test: &str, body: impl FnOnce()) {
    if role().is_some() {
        body();
        say("done");
        return;
    }
    let output = command(test, "body").stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("child says: done"), "the test {test} did not run in the child:\n{out}");
}

/// A child that is talked with.
pub(crate) struct Talking {
    pub(crate) process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talking {
    /// Starts `command` with its ends of two pipes.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        Self { process, input, output: BufReader::new(output) }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that the child says; panics when it ends without one.
    pub(crate) fn listen(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the child ended without a word");
            if let Some(said) = line.strip_prefix(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Hangs up and waits for the child to end well.
    pub(crate) fn finish(mut self) {
        drop(self.input.take());
        std::io::copy(&mut self.output, &mut std::io::sink()).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    /// Kills the child without a warning and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
