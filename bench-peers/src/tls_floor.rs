//! What TLS itself takes: rustls over a blocking TCP socket, with as many bytes each way as a call of Andiron and its answer have.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use andiron_bench::{Client, Laps, say_ready};
use anyhow::{Context, Result};
use rustls::crypto::ring::default_provider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

const CALL: usize = 48;
const ANSWER: usize = 18;

/// The file says where, and holds the certificate.
pub fn serve(file: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut said = format!("{}\n", listener.local_addr()?).into_bytes();
    said.extend_from_slice(made.cert.der());
    std::fs::write(file, said)?;
    say_ready()?;
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config))?, socket);
    let mut call = [0; CALL];
    while stream.read_exact(&mut call).is_ok() {
        stream.write_all(&call[..ANSWER])?;
    }
    Ok(())
}

pub struct Floor(StreamOwned<ClientConnection, TcpStream>);

impl Floor {
    pub fn connect(file: &Path) -> Result<Floor> {
        let said = std::fs::read(file)?;
        let end = said.iter().position(|byte| *byte == b'\n').context("no address")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(said[end + 1..].to_vec()))?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(std::str::from_utf8(&said[..end])?)?;
        socket.set_nodelay(true)?;
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
        Ok(Floor(StreamOwned::new(connection, socket)))
    }
}

impl Client for Floor {
    fn sequential(&mut self, laps: &mut Laps) -> Result<()> {
        let (call, mut answer) = ([1; CALL], [0; ANSWER]);
        while laps.next() {
            self.0.write_all(&call)?;
            self.0.read_exact(&mut answer)?;
        }
        Ok(())
    }
}
