//! A daemon in this process, and how it is reached.

use andiron::{Connector, Hub, Running, Secret, Security, Store};
use andiron_daemon::{Daemon, Options};

pub(crate) struct Site {
    pub(crate) running: Running,
    pub(crate) connector: Connector,
    _folder: tempfile::TempDir,
}

impl Site {
    /// A daemon at a Unix socket, where there is a board, or over TCP, where there is none.
    pub(crate) fn at(transport: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let address = match transport {
            "unix" => format!("unix:{}/s", folder.path().display()),
            net => format!("{net}://127.0.0.1:0"),
        };
        let security = Security::default().secret(Secret::new().unwrap());
        let options = Options { security: security.clone(), ..Options::default() };
        let running = Daemon::bind_with(&address, options).unwrap().start().unwrap();
        let connector = Connector::new(&running.addresses()[0]).security(security);
        Site { running, connector, _folder: folder }
    }

    #[allow(dead_code)] // not by all
    pub(crate) fn hub(&self) -> Hub {
        self.connector.connect().unwrap()
    }

    #[allow(dead_code)] // not by all
    pub(crate) fn store(&self) -> Store {
        self.hub().store()
    }
}
