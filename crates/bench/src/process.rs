//! Processes that the benchmark starts beside its contestants, and their memory.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A process that ends with this.
pub(crate) struct Ended(pub(crate) Child);

impl Ended {
    /// A daemon on core 1, and its address, with `folder` for its secrets and sockets.
    pub(crate) fn daemon(root: &Path, folder: &Path, name: &str, transport: &str) -> Result<(Ended, String)> {
        Ended::daemon_with_state(root, folder, name, transport, None)
    }

    /// The same, which keeps what is persistent in that folder.
    pub(crate) fn daemon_with_state(
        root: &Path,
        folder: &Path,
        name: &str,
        transport: &str,
        state: Option<&Path>,
    ) -> Result<(Ended, String)> {
        let program = root.join("target/release/andiron");
        ensure!(program.exists(), "the daemon is not built: `make bench` builds it, then runs this program");
        let mut command = Command::new("taskset");
        command.args(["-c", "1"]).arg(program).arg("serve").stderr(Stdio::piped());
        let local = format!("unix:{}/{name}", folder.display());
        match transport {
            "unix" => command.args(["--name", &local]),
            _ => command.args(["--no-local", "--listen", "tcp://127.0.0.1:0"]),
        };
        if let Some(state) = state {
            command.arg("--state").arg(state);
        }
        of_this_run(&mut command, folder);
        let mut child = command.spawn().context("cannot start the daemon by taskset, of util-linux")?;
        let mut line = String::new();
        BufReader::new(child.stderr.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening at ").context(line.clone())?.to_owned();
        Ok((Ended(child), address))
    }

    /// A redis server on core 1 that listens at `socket`, with these arguments.
    pub(crate) fn redis(socket: &Path, arguments: &[&OsStr]) -> Result<Ended> {
        let _ = std::fs::remove_file(socket); // of one that was killed
        let server = Command::new("taskset")
            .args(["-c", "1", "redis-server", "--port", "0", "--save", "", "--unixsocket"])
            .arg(socket)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn();
        let mut server = Ended(server.context("cannot start redis-server by taskset, of util-linux")?);
        while !socket.exists() {
            ensure!(server.0.try_wait()?.is_none(), "redis-server is not installed, or ended");
            std::thread::yield_now();
        }
        Ok(server)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// Lets a process have secrets and sockets of this run alone.
pub(crate) fn of_this_run(command: &mut Command, folder: &Path) {
    command
        .env("XDG_RUNTIME_DIR", folder)
        .env("XDG_STATE_HOME", folder)
        .env_remove("ANDIRON_ADDRESS")
        .env_remove("ANDIRON_SECRET_FILE");
}

/// Resident memory in KiB.
pub(crate) fn memory(process: &Ended) -> Result<u64> {
    field(&process.0.id().to_string(), "VmRSS:")
}

/// The most that this process has had, in KiB.
pub(crate) fn peak_of_this() -> Result<u64> {
    field("self", "VmHWM:")
}

fn field(process: &str, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no memory")?;
    Ok(line.split_whitespace().next().context("no memory")?.parse()?)
}
