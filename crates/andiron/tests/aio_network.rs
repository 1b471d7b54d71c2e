//! Tasks of tokio over TCP and TLS, at both ends, and beside threads at the other one.
#![cfg(feature = "tokio")]

mod common;

use andiron::{Connector, Hosting, Secret, Security, aio};
use common::{Echo, Site};

fn secret() -> Security {
    Security::default().secret(Secret::new().unwrap())
}

/// Small, in pieces of a frame, and beyond what any buffer holds.
const LENGTHS: [usize; 4] = [1, 10_000, 300_000, 5_000_000];

async fn talks(hub: &aio::Hub) {
    for length in LENGTHS {
        let text = "x".repeat(length);
        assert_eq!(hub.call::<String>("echo", "text", &(&text,)).await.unwrap(), text);
    }
}

#[tokio::test]
async fn tasks_talk_with_tasks_over_tcp_and_tls() {
    let security = secret();
    let server = aio::Server::bind_with("tcp://127.0.0.1:0", security.clone()).unwrap();
    let server = server.listen("tls://127.0.0.1:0").unwrap().object("echo", Echo).unwrap().start().unwrap();
    for address in server.addresses() {
        let connector = Connector::new(address).security(security.clone());
        talks(&aio::Hub::connect_with(connector).await.unwrap()).await;
    }
    assert!(server.stop().await);
}

#[tokio::test]
async fn tasks_talk_with_threads_over_tcp_and_tls() {
    for transport in ["tcp", "tls"] {
        let site = Site::at(transport, Hosting::default(), |server| server.object("echo", Echo));
        talks(&aio::Hub::connect_with(site.connector()).await.unwrap()).await;
    }
}

#[tokio::test]
async fn threads_talk_with_tasks_over_tcp_and_tls() {
    let security = secret();
    let server = aio::Server::bind_with("tcp://127.0.0.1:0", security.clone()).unwrap();
    let server = server.listen("tls://127.0.0.1:0").unwrap().object("echo", Echo).unwrap().start().unwrap();
    for address in server.addresses() {
        let connector = Connector::new(address).security(security.clone());
        let talk = tokio::task::spawn_blocking(move || {
            let hub = connector.connect().unwrap();
            for length in LENGTHS {
                let text = "x".repeat(length);
                assert_eq!(hub.call::<String>("echo", "text", &(&text,)).unwrap(), text);
            }
        });
        talk.await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_at_once() {
    let server = aio::Server::bind_with("tls://127.0.0.1:0", secret()).unwrap();
    let server = server.object("echo", Echo).unwrap().start().unwrap();
    let connector = Connector::new(server.addresses().remove(0)).security(secret());
    let error = aio::Hub::connect_with(connector).await.unwrap_err();
    assert_eq!(error.kind(), andiron::ErrorKind::Authentication, "{error}");
    assert!(error.message().contains("the proof of the secret is wrong"), "{error}");
}
