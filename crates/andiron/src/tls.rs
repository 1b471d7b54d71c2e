//! TLS between socket and session, without a socket of its own: bytes go in and come out, so every driver can use it.
//!
//! Only TLS 1.3, and each connection begins anew: no tickets, no resumption, no early data. A certificate is checked in one of two ways.
//! Where an authority is named it is what says who may speak, for which host and until when. Where a secret is the proof, any certificate
//! will do, whatever host or date it names: the other end shows that it has its key, as in every handshake, and the proof of the secret
//! covers the certificate, so nobody in between can put another one in its place.

use std::io::{self, BufRead, IoSlice, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use andiron_proto::Session;
use andiron_sys::socket;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme,
};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::{Error, ErrorKind, Result};

/// One connection's TLS, at either end.
pub(crate) struct Tls {
    connection: Connection,
    /// What a session is to be bound to is known from the other end's certificate only: it is still to be told.
    binds: bool,
    failure: Option<Error>,
}

impl Tls {
    /// The end that connects. `host` is whom the certificate has to be for, where that is looked at.
    pub(crate) fn client(config: Arc<ClientConfig>, host: &str) -> Result<Tls> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| {
            let text = format!("{host:?} is no name that a certificate could be for: {error}");
            Error::new(ErrorKind::BadArguments, text)
        })?;
        let connection = ClientConnection::new(config, name).map_err(|error| unusable(&error))?;
        Ok(Tls { connection: connection.into(), binds: true, failure: None })
    }

    /// The end that listens.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Tls> {
        let connection = ServerConnection::new(config).map_err(|error| unusable(&error))?;
        Ok(Tls { connection: connection.into(), binds: false, failure: None })
    }

    /// Takes bytes of the socket and gives the session what is in them.
    pub(crate) fn receive(&mut self, mut bytes: &[u8], now: Instant, session: &mut Session) {
        while !bytes.is_empty() && !session.is_closed() {
            // In pieces, each of which is worked off: so it does not grow, and has room each time.
            match self.connection.read_tls(&mut bytes) {
                Ok(0) => return session.disconnected("the other end closed it"),
                Ok(_) => {}
                Err(error) => return session.disconnected(&error.to_string()),
            }
            let processed = self.connection.process_new_packets();
            if self.binds
                && let Some([own, ..]) = self.connection.peer_certificates()
            {
                session.bind(&andiron_proto::binding::tls(own));
                self.binds = false;
            }
            let mut reader = self.connection.reader();
            // What came before a failure counts.
            while let Ok(plain) = reader.fill_buf()
                && !plain.is_empty()
            {
                session.receive(now, plain, Vec::new(), false);
                let length = plain.len();
                reader.consume(length);
            }
            match processed {
                Ok(state) if state.peer_has_closed() => {
                    return session.disconnected("the other end closed it");
                }
                Ok(_) => {}
                Err(error) => {
                    let failure = failure(&error);
                    session.disconnected(failure.message());
                    self.failure = Some(failure);
                }
            }
        }
    }

    /// Takes as much of what the session has to send as it has room for; how many bytes. Zero only where something waits for the socket, or
    /// for the handshake.
    pub(crate) fn take(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.connection.writer().write_vectored(slices)
    }

    /// Sends what waits for the socket. `WouldBlock`: there is no room.
    pub(crate) fn send(&mut self, socket: &OwnedFd) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Socket(socket))?;
        }
        Ok(())
    }

    /// True where something waits for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Tells the other end that nothing more comes.
    pub(crate) fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// At a server: whom the client's certificate is for, where it showed one.
    pub(crate) fn client_name(&self) -> Option<String> {
        match (&self.connection, self.connection.peer_certificates()) {
            (Connection::Server(_), Some([own, ..])) => subject(own).or(Some("without a name".to_owned())),
            _ => None,
        }
    }

    /// What it means that the stream is over.
    pub(crate) fn end_of_stream(&self) -> &'static str {
        match &self.connection {
            Connection::Client(client) if client.is_handshaking() => {
                "the other end closed it before TLS began; if it does not speak TLS, its address begins with `tcp://`"
            }
            _ => "the other end closed it",
        }
    }

    /// Why TLS itself ended the connection, where it did.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }
}

/// The common name in a certificate's subject, for people. The certificate was checked before.
fn subject(certificate: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // Version (which may be missing), serial number, algorithm, issuer, validity, subject.
    let mut before = 4;
    if fields.first() == Some(&0xa0) {
        before += 1;
    }
    for _ in 0..before {
        fields = element(fields)?.2;
    }
    let (_, mut names, _) = element(fields)?;
    while let Some((_, set, rest)) = element(names) {
        names = rest;
        let (_, pair, _) = element(set)?;
        let (_, kind, value) = element(pair)?;
        if kind == COMMON_NAME {
            let text = String::from_utf8_lossy(element(value)?.1).into_owned();
            return Some(text.chars().filter(|c| !c.is_control()).take(100).collect());
        }
    }
    None
}

/// The first element of a sequence in DER: tag, content, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

struct Socket<'a>(&'a OwnedFd);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        socket::send(self.0, &[IoSlice::new(bytes)], &[])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send(self.0, slices, &[])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A certificate, those that vouch for it, and its key.
#[derive(Debug)]
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// A new one, for nobody in particular.
    pub(crate) fn generate() -> Result<Identity> {
        let made =
            rcgen::generate_simple_self_signed(["andiron".to_owned()]).map_err(|error| unusable(&error))?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Identity { chain: vec![made.cert.der().clone()], key: key.into() })
    }

    /// That of two PEM files.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Identity> {
        let chain = certificates(certificate)?;
        let key =
            PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", &error))?;
        Ok(Identity { chain, key })
    }

    /// What a session over it is bound to.
    pub(crate) fn der(&self) -> &[u8] {
        &self.chain[0]
    }
}

/// The certificates in a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = |error: pem::Error| unreadable(path, "certificate", &error);
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if found.is_empty() {
        return Err(unreadable(pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| {
            let text = format!("{} has a certificate that cannot be an authority's: {error}", path.display());
            Error::new(ErrorKind::BadArguments, text)
        })?;
    }
    Ok(Arc::new(roots))
}

fn unreadable(path: &Path, what: &str, error: &pem::Error) -> Error {
    let text = match error {
        pem::Error::NoItemsFound => format!("{} has no {what} in PEM form", path.display()),
        error => format!("cannot read the {what} in {}: {error}", path.display()),
    };
    Error::new(ErrorKind::BadArguments, text)
}

fn unusable(error: &(impl std::fmt::Display + ?Sized)) -> Error {
    Error::new(ErrorKind::BadArguments, format!("TLS cannot be set up: {error}"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How a server speaks TLS. With an authority clients have to show a certificate signed by it.
pub(crate) fn server_config(identity: Identity, authority: Option<&Path>) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities(path)?, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(&error))?)
        }
    };
    let mut config =
        builder.with_single_cert(identity.chain, identity.key).map_err(|error| unusable(&error))?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// How a client speaks TLS. Without an authority any certificate of a server will do, since a secret is the proof.
pub(crate) fn client_config(
    identity: Option<Identity>,
    authority: Option<&Path>,
) -> Result<Arc<ClientConfig>> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?;
    let builder = match authority {
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        Some(path) => {
            let verifier = WebPkiServerVerifier::builder_with_provider(authorities(path)?, provider).build();
            builder.with_webpki_verifier(verifier.map_err(|error| unusable(&error))?)
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Takes every certificate whose key the server shows to have.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        // Nobody gets here: no version but 1.3 is spoken.
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What ended the connection, for a person.
fn failure(error: &rustls::Error) -> Error {
    use rustls::Error as Tls;
    let (kind, text) = match error {
        Tls::InvalidCertificate(why) => {
            (ErrorKind::Authentication, format!("the other end's certificate is refused: {why}"))
        }
        Tls::NoCertificatesPresented => (
            ErrorKind::Authentication,
            "the other end shows no certificate, which is asked for here".to_owned(),
        ),
        Tls::AlertReceived(alert) => refused(*alert),
        Tls::InvalidMessage(_) => (
            ErrorKind::Protocol,
            "the other end does not speak TLS; is its address one of `tcp://`?".to_owned(),
        ),
        Tls::PeerIncompatible(why) => (
            ErrorKind::Unsupported,
            format!("the other end does not speak TLS 1.3 as it is spoken here ({why:?})"),
        ),
        other => (ErrorKind::Protocol, format!("TLS failed: {other}")),
    };
    Error::new(kind, text)
}

/// The other end says that it will not have this.
fn refused(alert: AlertDescription) -> (ErrorKind, String) {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => (
            ErrorKind::Authentication,
            "the other end asks for a certificate: give one and its key".to_owned(),
        ),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::DecryptError
        | Alert::AccessDenied => (
            ErrorKind::Authentication,
            format!("the other end refuses the certificate of this one ({alert:?})"),
        ),
        Alert::ProtocolVersion => (ErrorKind::Unsupported, "the other end does not speak TLS 1.3".to_owned()),
        _ => (ErrorKind::Protocol, format!("the other end ended the TLS connection ({alert:?})")),
    }
}
