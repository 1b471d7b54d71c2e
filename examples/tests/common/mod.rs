//! A machine of its own for one test: a runtime folder, a daemon, and the programs of this workspace on the path.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before the test says that it does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    folder: tempfile::TempDir,
    path: String,
    children: Vec<Child>,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let programs =
            Path::new(env!("CARGO_BIN_EXE_player")).parent().expect("it is in a folder").to_owned();
        build_command(&programs);
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
        Machine { folder: tempfile::tempdir().unwrap(), path, children: Vec::new() }
    }

    /// A command line in this machine.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {line}")]);
        command
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path())
            .env("PATH", &self.path)
            .env_remove("ANDIRON_ADDRESS");
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end: its output.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self.shell(line).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}` ended with {}: {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts the daemon and returns when it listens.
    pub(crate) fn serve(&mut self, line: &str) {
        let mut child = self.shell(line).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut reader = BufReader::new(child.stderr.take().expect("it is piped"));
        while !said.contains("listening") {
            assert_ne!(reader.read_line(&mut said).unwrap(), 0, "`{line}` ended: {said}");
        }
        self.children.push(child);
        // Later words are read so that the daemon never waits for us.
        std::thread::spawn(move || reader.lines().for_each(drop));
    }

    /// Starts a program that registers an object of this name, and returns when it is there.
    pub(crate) fn provide(&mut self, line: &str, object: &str) {
        let child = self.shell(line).spawn().unwrap();
        self.children.push(child);
        let deadline = Instant::now() + PATIENCE;
        while !self.shell(&format!("andiron describe {object}")).output().unwrap().status.success() {
            assert!(Instant::now() < deadline, "`{line}` registers no object `{object}`");
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The `andiron` command is a program of another package: builds it where this package is tested alone.
fn build_command(programs: &Path) {
    let profile = if programs.ends_with("release") { "release" } else { "dev" };
    let workspace = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--package", "andiron-cli", "--profile", profile]);
    let built = cargo.current_dir(workspace).status().unwrap();
    assert!(built.success(), "the andiron command cannot be built");
}
