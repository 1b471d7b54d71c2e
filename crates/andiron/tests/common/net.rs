//! What the tests over a network share: certificates, strangers who speak TLS by hand, and those who stand in between.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use andiron_proto::{Auth, Config, Event, Failure, Key, Role, STREAMS, Session};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::PATIENCE;

/// `HOST:PORT` of an address.
pub fn place(address: &str) -> SocketAddr {
    address.split_once("://").unwrap().1.parse().unwrap()
}

pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(place(address)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Files of an authority and of those that it vouches for.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate and its key, in files.
pub struct Papers {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for this host, valid until the end of that year.
    pub fn issue(&self, host: &str, until: i32) -> Papers {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("{host} of the house"));
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 12, 31);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |what: &str, text: String| {
            let path = self.folder.path().join(format!("{host}-{until}-{what}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        Papers { certificate: file("certificate", certificate.pem()), key: file("key", key.serialize_pem()) }
    }
}

/// Takes any certificate and any signature.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A stream through TLS by hand.
pub type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Connects to a TLS server, whoever it is; its handshake is done.
pub fn connect_tls(address: &str) -> Encrypted {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_no_client_auth();
    let name = ServerName::try_from("andiron").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = connect(address);
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    StreamOwned::new(connection, stream)
}

pub fn certificate_of(stream: &Encrypted) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Shows one certificate and signs with the key of another.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// TLS as a server that shows this certificate, or one of its own, with a key of its own in either case.
pub fn server_showing(certificate: Option<CertificateDer<'static>>) -> Arc<ServerConfig> {
    let own = rcgen::generate_simple_self_signed(["andiron".to_owned()]).unwrap();
    let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certificate = certificate.unwrap_or_else(|| own.cert.der().clone());
    let shown = Arc::new(CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Impostor(shown)));
    Arc::new(config)
}

/// Takes one connection and does `with` with it, on a thread of its own. Gives the port.
pub fn take_one(with: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        with(stream);
    });
    at
}

/// Passes everything on, both ways, until either end is closed; notes what the first says.
pub fn relay(client: TcpStream, server: TcpStream, heard: &Mutex<Vec<u8>>) {
    std::thread::scope(|scope| {
        scope.spawn(|| pass(&client, &server, |bytes| heard.lock().unwrap().extend_from_slice(bytes)));
        pass(&server, &client, |_| {});
    });
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        note(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// Stands between the two with TLS of its own on either side, and passes on what is in it.
pub fn relay_tls(client: TcpStream, config: Arc<ServerConfig>, server: &str) {
    let mut client = StreamOwned::new(ServerConnection::new(config).unwrap(), client);
    let mut server = connect_tls(server);
    // It is the client's turn, then the server's, until one has enough.
    let mut buffer = [0; 4096];
    loop {
        match client.read(&mut buffer) {
            Ok(count @ 1..) => server.write_all(&buffer[..count]).unwrap(),
            _ => return,
        }
        match server.read(&mut buffer) {
            Ok(count @ 1..) => client.write_all(&buffer[..count]).unwrap(),
            _ => return,
        }
    }
}

/// A session by hand, which tells what it said.
pub struct Talk {
    pub session: Session,
    pub said: Vec<u8>,
}

impl Talk {
    pub fn new(role: Role, auth: Auth, binding: &[u8]) -> Talk {
        let features = vec![STREAMS.to_owned()];
        let mut session = Session::new(role, Config { auth, features, ..Config::default() }, Instant::now());
        session.bind(binding);
        Talk { session, said: Vec::new() }
    }

    /// Talks until the handshake is over. How it ended, if not well.
    pub fn open(&mut self, stream: &mut (impl Read + Write)) -> Option<Failure> {
        let mut buffer = [0; 4096];
        loop {
            self.send(stream);
            while let Some(event) = self.session.poll_event() {
                match event {
                    Event::Opened(_) => return None,
                    Event::Closed(failure) => return Some(failure),
                    _ => {}
                }
            }
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => self.session.receive(Instant::now(), &buffer[..count], Vec::new(), false),
                Ok(0) => self.session.disconnected("it ended"),
                Err(error) if is_patient(&error) => panic!("the other end says nothing"),
                Err(error) => self.session.disconnected(&error.to_string()),
            }
        }
    }

    pub fn send(&mut self, stream: &mut impl Write) {
        while let Some(transmit) = self.session.poll_transmit() {
            let bytes: Vec<u8> = transmit.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            self.session.transmitted(bytes.len());
            let _ = stream.write_all(&bytes); // the other end may have hung up
            self.said.extend_from_slice(&bytes);
        }
    }
}

pub fn is_patient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Proves itself by this key, with these random bytes.
pub fn by_key(key: Key, nonce: u8) -> Auth {
    Auth::Secret { keys: [key].into(), ended: [].into(), nonce: [nonce; 32] }
}

/// Reads until the other end hangs up; what it said.
pub fn last_words(stream: &mut impl Read) -> Vec<u8> {
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => said.extend_from_slice(&buffer[..count]),
            Err(error) if is_patient(&error) => panic!("the other end does not hang up"),
            _ => return said,
        }
    }
}
