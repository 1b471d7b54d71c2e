//! TCP: where connections go, what listens, and sockets that were handed over.

mod common;

use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use andiron_sys::inherit::{self, Family};
use andiron_sys::tcp::{self, ConnectError, connect, listen, local_address, peer_address};
use andiron_sys::{poll, socket};
use common::Talking;
use rustix::net::sockopt;

const PATIENCE: Duration = Duration::from_secs(20);

/// The next connection of a listener, which does not block.
fn accepted(listener: &OwnedFd) -> OwnedFd {
    assert!(poll::wait(listener, true, false, Some(PATIENCE)).unwrap().readable);
    socket::accept(listener).unwrap().expect("somebody connected")
}

fn addresses(listeners: &[OwnedFd]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| local_address(listener).unwrap()).collect()
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn localhost_listens_at_each_loopback_address_with_one_free_port() {
    let listeners = listen("localhost", 0).unwrap();
    let found = addresses(&listeners);
    assert_eq!(found[0].ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(found.len(), if has_ipv6() { 2 } else { 1 });
    assert!(found.iter().all(|address| address.port() == found[0].port() && address.port() != 0));
    for (listener, address) in listeners.iter().zip(&found) {
        let client = connect(&address.ip().to_string(), address.port(), PATIENCE).unwrap();
        let served = accepted(listener);
        assert_eq!(local_address(&client).unwrap(), peer_address(&served).unwrap());
        assert_eq!(peer_address(&client).unwrap(), *address);
    }
}

#[test]
fn connecting_tries_the_next_address_where_one_refuses() {
    if !has_ipv6() {
        return;
    }
    let listeners = listen("::1", 0).unwrap();
    let port = addresses(&listeners)[0].port();
    // Nothing else may have taken the same port over IPv4; then it would be connected to.
    let Ok(held) = TcpListener::bind(("127.0.0.1", port)) else { return };
    drop(held);
    let client = connect("localhost", port, PATIENCE).unwrap();
    assert!(peer_address(&client).unwrap().is_ipv6());
}

#[test]
fn a_taken_port_is_an_error_at_once() {
    let first = listen("127.0.0.1", 0).unwrap();
    let port = addresses(&first)[0].port();
    for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
        assert_eq!(listen(host, port).unwrap_err().kind(), ErrorKind::AddrInUse, "{host}");
    }
}

#[test]
fn the_port_of_a_server_that_ended_is_free_at_once() {
    let listeners = listen("127.0.0.1", 0).unwrap();
    let port = addresses(&listeners)[0].port();
    let client = connect("127.0.0.1", port, PATIENCE).unwrap();
    let served = accepted(&listeners[0]);
    drop((served, listeners)); // the end that closes first keeps the port for a while
    drop(client);
    listen("127.0.0.1", port).unwrap();
}

#[test]
fn an_ipv6_socket_leaves_the_port_free_for_ipv4() {
    if !has_ipv6() {
        return;
    }
    let six = listen("::", 0).unwrap();
    let port = addresses(&six)[0].port();
    match listen("0.0.0.0", port) {
        Ok(_) => {}
        // Somebody else has it over IPv4, which this socket then did not keep away.
        Err(error) => assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "{error}"),
    }
}

#[test]
fn who_listens_nowhere_is_told_apart_from_who_is_not_found() {
    let gone = addresses(&listen("127.0.0.1", 0).unwrap())[0];
    assert!(
        matches!(connect("127.0.0.1", gone.port(), PATIENCE), Err(ConnectError::Refused(at)) if at == gone)
    );
    assert!(matches!(
        connect("no.such.host.invalid", 1, PATIENCE),
        Err(ConnectError::Unknown { .. } | ConnectError::Silent(_))
    ));
    assert_eq!(listen("192.0.2.1", 0).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn a_server_that_does_not_accept_is_given_up_in_time() {
    // A queue of one connection that is full: the kernel then answers nobody.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let error = loop {
        match connect("127.0.0.1", address.port(), Duration::from_millis(200)) {
            Ok(client) => waiting.push(client),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100, "the queue is never full");
    };
    assert!(matches!(error, ConnectError::Silent(_)), "{error}");
}

#[test]
fn connections_are_set_up_for_small_messages_and_dead_peers() {
    let listeners = listen("127.0.0.1", 0).unwrap();
    let client = connect("127.0.0.1", addresses(&listeners)[0].port(), PATIENCE).unwrap();
    assert!(sockopt::tcp_nodelay(&client).unwrap());
    assert!(sockopt::socket_keepalive(&client).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&client).unwrap(), Duration::from_secs(60));
    assert_eq!(sockopt::tcp_user_timeout(&client).unwrap(), 120_000);
    let served = accepted(&listeners[0]);
    tcp::tune(&served).unwrap();
    assert_eq!(socket::send(&client, &[IoSlice::new(b"x")], &[]).unwrap(), 1);
    let (mut buffer, mut none) = ([0; 4], Vec::new());
    assert_eq!(socket::recv(&served, &mut buffer, false, &mut none).unwrap().bytes, 1);
    assert!(!rustix::fs::fcntl_getfl(&client).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn an_ipv4_address_is_seen_as_one_through_an_ipv6_socket() {
    if !has_ipv6() {
        return;
    }
    // As a socket may be that somebody else made.
    let Ok(listener) = TcpListener::bind("[::]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    let client = connect("127.0.0.1", port, PATIENCE).unwrap();
    let (served, _) = listener.accept().unwrap();
    assert_eq!(local_address(&client).unwrap(), peer_address(&served).unwrap());
    assert_eq!(peer_address(&client).unwrap(), local_address(&served).unwrap());
}

#[test]
fn a_listening_socket_is_taken_over_once() {
    common::in_own_process("a_listening_socket_is_taken_over_once", || {
        let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let number = listener.as_raw_fd();
        std::mem::forget(listener); // it is the process's from its start, as it were
        let taken = inherit::take(number).unwrap();
        assert_eq!(taken.family, Family::Tcp);
        assert!(socket::accept(&taken.socket).unwrap().is_none(), "it does not block");
        let flags = rustix::io::fcntl_getfd(&taken.socket).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(inherit::take(number).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn what_is_no_listening_socket_is_not_taken_over() {
    common::in_own_process("what_is_no_listening_socket_is_not_taken_over", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in [0, 1, 2, -1, 9999, connected.as_raw_fd(), file.as_raw_fd(), datagrams.as_raw_fd()] {
            let error = inherit::take(number).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{number}");
            assert!(error.to_string().contains("listening socket"), "{error}");
        }
    });
}

#[test]
fn the_sockets_of_systemd_are_taken_over() {
    const TEST: &str = "the_sockets_of_systemd_are_taken_over";
    if common::role().as_deref() == Some("child") {
        let sockets = inherit::take_from_systemd().unwrap();
        assert_eq!(
            sockets.iter().map(|socket| socket.family).collect::<Vec<_>>(),
            [Family::Tcp, Family::Unix]
        );
        let path = socket::local_path(&sockets[1].socket).unwrap();
        return common::say(&format!("{} {}", local_address(&sockets[0].socket).unwrap(), path.display()));
    }
    common::in_own_process(TEST, || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let mut child =
            Talking::start(hand_over(common::command(TEST, "child"), [tcp.as_raw_fd(), unix.as_raw_fd()]));
        assert_eq!(child.listen(), format!("{} {}", tcp.local_addr().unwrap(), path.display()));
        child.finish();
    });
}

/// Has the command find these as descriptors 3 and 4, and its own number in LISTEN_PID, as systemd does it.
#[allow(unsafe_code)]
fn hand_over(command: Command, sockets: [i32; 2]) -> Command {
    // The shell knows its number, and keeps it when it becomes the program.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" \"$@\""]);
    shell.arg(std::env::current_exe().unwrap()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Descriptors 3 and 4 are to be in use here, or else those of the start itself may lie there.
    while std::fs::File::open("/dev/null").unwrap().into_raw_fd() <= 4 {}
    // SAFETY: between fork and exec only calls that may be made there: fcntl and dup2.
    unsafe {
        shell.pre_exec(move || {
            let high = sockets.map(|number| libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 100));
            for (index, number) in high.into_iter().enumerate() {
                if number < 0 || libc::dup2(number, 3 + index as i32) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    shell
}

#[test]
fn without_systemd_there_is_nothing_to_take_over() {
    let error = inherit::take_from_systemd().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("LISTEN_FDS"), "{error}");
}
