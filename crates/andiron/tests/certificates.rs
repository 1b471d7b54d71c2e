//! Certificates: ignored where a secret is the proof, checked where an authority is named, and both where both are.

mod common;

use andiron::{Connector, Error, ErrorKind, Hosting, Result, Secret, Security, Server};
use common::net::{Authority, Papers};
use common::{Echo, Site, Who, in_time};

const NOW: i32 = 2999;
const LONG_AGO: i32 = 2001;

fn echo(server: Server) -> Result<Server> {
    server.object("echo", Echo)
}

fn showing(security: Security, papers: &Papers) -> Security {
    security.certificate(&papers.certificate, &papers.key)
}

fn site(security: Security) -> Site {
    Site::with("tls", Hosting { security, ..Hosting::default() }, echo)
}

fn connect(site: &Site, security: Security) -> Result<String> {
    let hub = Connector::new(&site.address).security(security).connect()?;
    hub.call("echo", "text", &("hello",))
}

#[track_caller]
fn is_refused(outcome: Result<String>, part: &str) {
    let error: Error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.message().contains(part), "{error}");
}

/// Both ends are vouched for by the same authority.
fn by_authority(authority: &Authority, host: &str, until: i32) -> Site {
    site(showing(Security::default().authority(authority.path()), &authority.issue(host, until)))
}

fn client_of(authority: &Authority) -> Security {
    showing(Security::default().authority(authority.path()), &authority.issue("client", NOW))
}

#[test]
fn who_is_vouched_for_at_both_ends_is_served_without_a_secret() {
    in_time(|| {
        let authority = Authority::new();
        let site = by_authority(&authority, "127.0.0.1", NOW);
        assert_eq!(connect(&site, client_of(&authority)).unwrap(), "hello");
    });
}

#[test]
fn a_client_is_told_by_the_name_in_its_certificate() {
    in_time(|| {
        let authority = Authority::new();
        let security = Security::default().authority(authority.path());
        let security = showing(security, &authority.issue("127.0.0.1", NOW));
        let hosting = Hosting { security, ..Hosting::default() };
        let site = Site::with("tls", hosting, |server| server.object("who", Who));
        let hub = Connector::new(&site.address).security(client_of(&authority)).connect().unwrap();
        let peer: String = hub.call("who", "calls", &()).unwrap();
        assert!(peer.starts_with("tls 127.0.0.1:"), "{peer}");
        assert!(peer.ends_with(", certificate 'client of the house'"), "{peer}");
    });
}

#[test]
fn a_server_of_another_host_or_time_is_refused_where_an_authority_is_named() {
    in_time(|| {
        let authority = Authority::new();
        let other = by_authority(&authority, "example.org", NOW);
        is_refused(connect(&other, client_of(&authority)), "not valid for name");
        let old = by_authority(&authority, "127.0.0.1", LONG_AGO);
        is_refused(connect(&old, client_of(&authority)), "expired");
    });
}

#[test]
fn a_server_of_another_host_or_time_is_taken_where_a_secret_is_the_proof() {
    in_time(|| {
        let authority = Authority::new();
        let secret = Security::default().secret(Secret::new().unwrap());
        for (host, until) in [("example.org", NOW), ("127.0.0.1", LONG_AGO)] {
            let site = site(showing(secret.clone(), &authority.issue(host, until)));
            assert_eq!(connect(&site, secret.clone()).unwrap(), "hello", "{host} {until}");
        }
    });
}

#[test]
fn a_client_without_a_certificate_or_with_one_of_another_authority_is_refused() {
    in_time(|| {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let site = by_authority(&authority, "127.0.0.1", NOW);
        let trusting = Security::default().authority(authority.path());
        is_refused(connect(&site, trusting.clone()), "asks for a certificate");
        is_refused(connect(&site, showing(trusting.clone(), &stranger.issue("client", NOW))), "certificate");
        is_refused(connect(&site, showing(trusting, &authority.issue("client", LONG_AGO))), "certificate");
        assert_eq!(connect(&site, client_of(&authority)).unwrap(), "hello");
    });
}

#[test]
fn a_server_of_another_authority_is_refused() {
    in_time(|| {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let site = by_authority(&stranger, "127.0.0.1", NOW);
        is_refused(connect(&site, client_of(&authority)), "certificate is refused");
    });
}

#[test]
fn where_both_are_asked_for_neither_is_enough() {
    in_time(|| {
        let authority = Authority::new();
        let secret = Secret::new().unwrap();
        let both = Security::default().authority(authority.path()).secret(secret.clone());
        let site = site(showing(both.clone(), &authority.issue("127.0.0.1", NOW)));
        let papers = authority.issue("client", NOW);
        assert_eq!(connect(&site, showing(both, &papers)).unwrap(), "hello");
        is_refused(connect(&site, Security::default().secret(secret)), "certificate");
        is_refused(connect(&site, client_of(&authority)), "asks for a secret");
    });
}

#[test]
fn files_that_are_none_are_told_of() {
    in_time(|| {
        let authority = Authority::new();
        let papers = authority.issue("127.0.0.1", NOW);
        let missing = Papers { certificate: "/nonexistent/c.pem".into(), key: papers.key.clone() };
        // The key where the certificate belongs, a file that is not there, and a key that is not the certificate's.
        let swapped = Papers { certificate: papers.key.clone(), key: papers.certificate.clone() };
        let other = authority.issue("other", NOW);
        let foreign = Papers { certificate: papers.certificate.clone(), key: other.key };
        for (papers, part) in [(missing, "/nonexistent"), (swapped, "no certificate"), (foreign, "TLS")] {
            let security = Security::default().secret(Secret::new().unwrap());
            let error = Server::bind_with("tls://127.0.0.1:0", showing(security, &papers)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadArguments);
            assert!(error.message().contains(part), "{error}");
        }
    });
}
