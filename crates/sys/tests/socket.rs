//! Sockets: connecting, bytes, descriptors passed along, and what goes wrong.
#![allow(unsafe_code)] // To set how a signal is handled.

mod common;

use std::fs;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use andiron_sys::socket::{
    self, AcceptError, ConnectError, Credentials, MAX_DESCRIPTORS, Received, accept, connect, listen, pair,
    peer_credentials, recv, send, shutdown,
};
use common::Talking;
use rustix::io::FdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const WHOLE: fn(usize) -> Received = |bytes| Received { bytes, truncated: false };

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A pipe's read end for each of `count`, all of one pipe.
fn descriptors(count: usize) -> Vec<OwnedFd> {
    let (read, _) = io::pipe().unwrap();
    (0..count).map(|_| OwnedFd::from(read.try_clone().unwrap())).collect()
}

/// Sends one byte with `fds`, of which there may be more than `send` allows.
fn send_any_number(to: &OwnedFd, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let sent = rustix::net::sendmsg(to, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, 1);
}

#[test]
fn bytes_go_both_ways_and_end_with_zero() {
    // No other test may start a process meanwhile, which has a copy of every descriptor until it is another program.
    common::in_own_process("bytes_go_both_ways_and_end_with_zero", || {
        let (here, there) = pair().unwrap();
        let (mut buf, mut fds) = ([0; 16], Vec::new());
        assert_eq!(send(&here, &[IoSlice::new(b"hello")], &[]).unwrap(), 5);
        assert_eq!(recv(&there, &mut buf, false, &mut fds).unwrap(), WHOLE(5));
        assert_eq!(&buf[..5], b"hello");
        let pieces = [IoSlice::new(b"and "), IoSlice::new(b""), IoSlice::new(b"back")];
        assert_eq!(send(&there, &pieces, &[]).unwrap(), 8);
        drop(there);
        assert_eq!(recv(&here, &mut buf, true, &mut fds).unwrap(), WHOLE(8));
        assert_eq!(&buf[..8], b"and back");
        assert_eq!(recv(&here, &mut buf, true, &mut fds).unwrap(), WHOLE(0));
        assert!(fds.is_empty());
    });
}

#[test]
fn what_was_sent_is_known_to_be_read_when_all_of_it_is() {
    let (here, there) = pair().unwrap();
    assert!(socket::is_read(&here));
    send(&here, &[IoSlice::new(b"ab")], &[]).unwrap();
    assert!(!socket::is_read(&here) && socket::is_read(&there));
    recv(&there, &mut [0; 1], false, &mut Vec::new()).unwrap();
    assert!(!socket::is_read(&here));
    recv(&there, &mut [0; 1], false, &mut Vec::new()).unwrap();
    assert!(socket::is_read(&here));
    assert!(!socket::is_read(io::pipe().unwrap().0), "it is no socket");
}

#[test]
fn more_slices_than_the_kernel_takes_are_a_partial_send() {
    let (here, _there) = pair().unwrap();
    let slices: Vec<_> = (0..2000).map(|_| IoSlice::new(b"x")).collect();
    assert_eq!(send(&here, &slices, &[]).unwrap(), 1024);
}

#[test]
fn receiving_nothing_without_blocking_is_would_block() {
    let (here, _there) = pair().unwrap();
    let error = recv(&here, &mut [0; 8], true, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_wait_that_was_given_an_end_is_would_block_there() {
    let (near, far) = pair().unwrap();
    socket::wait_at_most(&near, Duration::from_millis(1)).unwrap();
    let received = recv(&near, &mut [0; 8], false, &mut Vec::new());
    assert_eq!(received.unwrap_err().kind(), ErrorKind::WouldBlock);
    send(&far, &[IoSlice::new(b"late")], &[]).unwrap();
    assert_eq!(recv(&near, &mut [0; 8], false, &mut Vec::new()).unwrap(), WHOLE(4));
}

#[test]
fn an_empty_buffer_is_not_mistaken_for_the_end() {
    let (here, there) = pair().unwrap();
    send(&there, &[IoSlice::new(b"x")], &[]).unwrap();
    let error = recv(&here, &mut [], true, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn sending_to_who_does_not_read_never_blocks() {
    let (here, there) = pair().unwrap();
    let chunk = vec![7; 1 << 20];
    let mut sent = 0;
    let error = loop {
        match send(&here, &[IoSlice::new(&chunk)], &[]) {
            Ok(bytes) => sent += bytes,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(here);
    let mut arrived = Vec::new();
    fs::File::from(there).read_to_end(&mut arrived).unwrap();
    assert_eq!(arrived.len(), sent);
}

#[test]
fn sending_to_who_is_gone_is_an_error_and_no_signal() {
    common::in_own_process("sending_to_who_is_gone_is_an_error_and_no_signal", || {
        // SAFETY: sets the default action, under which SIGPIPE would end this process.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (here, there) = pair().unwrap();
        drop(there);
        let (piece, file) = (IoSlice::new(b"x"), descriptors(1));
        for (slices, fds) in
            [(&[piece] as &[_], &[] as &[_]), (&[piece, piece], &[]), (&[piece], &[file[0].as_fd()])]
        {
            assert_eq!(send(&here, slices, fds).unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn shutdown_wakes_a_reader_and_may_be_repeated() {
    let (here, there) = pair().unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| recv(&here, &mut [0; 8], false, &mut Vec::new()).unwrap());
        shutdown(&here).unwrap();
        assert_eq!(reader.join().unwrap(), WHOLE(0));
    });
    shutdown(&here).unwrap();
    assert_eq!(recv(&there, &mut [0; 8], false, &mut Vec::new()).unwrap(), WHOLE(0));
    drop(there);
    shutdown(&here).unwrap();
}

#[test]
fn a_passed_descriptor_works_and_closes_on_exec() {
    let (here, there) = pair().unwrap();
    let (mut read, write) = io::pipe().unwrap();
    assert_eq!(send(&here, &[IoSlice::new(b"take")], &[write.as_fd()]).unwrap(), 4);
    drop(write);
    let (mut buf, mut fds) = ([0; 16], Vec::new());
    assert_eq!(recv(&there, &mut buf, true, &mut fds).unwrap(), WHOLE(4));
    let passed = fds.pop().unwrap();
    assert!(fds.is_empty());
    assert!(rustix::io::fcntl_getfd(&passed).unwrap().contains(FdFlags::CLOEXEC));
    fs::File::from(passed).write_all(b"through").unwrap();
    let mut arrived = String::new();
    read.read_to_string(&mut arrived).unwrap();
    assert_eq!(arrived, "through");
}

#[test]
fn descriptors_of_two_sends_never_come_at_once() {
    common::in_own_process("descriptors_of_two_sends_never_come_at_once", || {
        let before = open_descriptors();
        {
            let (here, there) = pair().unwrap();
            let files = descriptors(MAX_DESCRIPTORS);
            let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            for count in [1, MAX_DESCRIPTORS, 0, 2] {
                send(&here, &[IoSlice::new(b"abc")], &files[..count]).unwrap();
            }
            drop(here);
            let (mut buf, mut arrived, mut bytes) = ([0; 64], Vec::new(), 0);
            loop {
                let mut fds = Vec::new();
                let received = recv(&there, &mut buf, true, &mut fds).unwrap();
                if received.bytes == 0 {
                    break;
                }
                assert!(!received.truncated);
                bytes += received.bytes;
                arrived.push(fds.len());
            }
            arrived.retain(|count| *count > 0);
            assert_eq!((bytes, arrived), (12, vec![1, MAX_DESCRIPTORS, 2]));
        }
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn surplus_descriptors_are_reported_and_do_not_stay_open() {
    common::in_own_process("surplus_descriptors_are_reported_and_do_not_stay_open", || {
        let before = open_descriptors();
        {
            let (here, there) = pair().unwrap();
            let files = descriptors(253);
            send_any_number(&here, &files);
            send_any_number(&here, &files[..MAX_DESCRIPTORS + 1]);
            send_any_number(&here, &files[..3]);
            drop(files);
            let mut fds = Vec::new();
            for expected in [MAX_DESCRIPTORS, MAX_DESCRIPTORS, 3] {
                let received = recv(&there, &mut [0; 8], true, &mut fds).unwrap();
                assert_eq!(received, Received { bytes: 1, truncated: expected == MAX_DESCRIPTORS });
                assert_eq!(fds.len(), expected);
                fds.clear();
                assert_eq!(open_descriptors(), before + 2);
            }
        }
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn descriptors_that_this_process_may_not_open_are_reported_lost() {
    common::in_own_process("descriptors_that_this_process_may_not_open_are_reported_lost", || {
        let (here, there) = pair().unwrap();
        let files = descriptors(8);
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        send(&here, &[IoSlice::new(b"x")], &borrowed).unwrap();
        let limit = files.iter().map(AsRawFd::as_raw_fd).max().unwrap() as u64 + 3;
        let is_free = |number: &u64| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err();
        let free = (0..limit).filter(is_free).count();
        assert!((1..8).contains(&free), "{free}");
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..getrlimit(Resource::Nofile) }).unwrap();
        let mut fds = Vec::new();
        let received = recv(&there, &mut [0; 8], true, &mut fds).unwrap();
        assert_eq!(received, Received { bytes: 1, truncated: true });
        assert_eq!(fds.len(), free);
    });
}

#[test]
fn descriptors_need_a_byte_and_have_a_limit() {
    let (here, there) = pair().unwrap();
    let files = descriptors(MAX_DESCRIPTORS + 1);
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    for slices in [&[] as &[_], &[IoSlice::new(b"")]] {
        assert_eq!(send(&here, slices, &files[..1]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(send(&here, &[IoSlice::new(b"x")], &files).unwrap_err().kind(), ErrorKind::InvalidInput);
    let nothing = recv(&there, &mut [0; 8], true, &mut Vec::new()).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
}

#[test]
fn accept_without_a_caller_is_none_and_with_one_a_blocking_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = listen(&path).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(accept(&listener).unwrap().is_none());
    let client = connect(&path, Some(Duration::from_secs(60))).unwrap();
    let served = accept(&listener).unwrap().unwrap();
    assert!(accept(&listener).unwrap().is_none());
    for socket in [&client, &served] {
        assert!(!rustix::fs::fcntl_getfl(socket).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
        assert!(rustix::io::fcntl_getfd(socket).unwrap().contains(FdFlags::CLOEXEC));
    }
    let kept = rustix::net::sockopt::socket_timeout(&client, rustix::net::sockopt::Timeout::Send).unwrap();
    assert_eq!(kept, None, "the time to connect is none to send");
}

#[test]
fn accept_without_descriptors_left_says_so_and_loses_no_caller() {
    common::in_own_process("accept_without_descriptors_left_says_so_and_loses_no_caller", || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = listen(&path).unwrap();
        let client = connect(&path, None).unwrap();
        let limit = Rlimit { current: Some(client.as_raw_fd() as u64 + 2), ..getrlimit(Resource::Nofile) };
        setrlimit(Resource::Nofile, limit).unwrap();
        let last = client.try_clone().unwrap();
        for _ in 0..2 {
            let error = accept(&listener).unwrap_err();
            assert!(matches!(error, AcceptError::Exhausted(_)), "{error:?}");
            assert!(error.to_string().contains("ulimit -n"), "{error}");
        }
        drop(last);
        assert!(accept(&listener).unwrap().is_some());
    });
}

#[test]
fn accepting_on_no_listener_is_another_error() {
    let (here, _there) = pair().unwrap();
    assert!(matches!(accept(&here), Err(AcceptError::Os(_))));
}

#[test]
fn connect_says_what_is_wrong() {
    // No other test may start a process meanwhile, which has a copy of every descriptor until it is another program.
    common::in_own_process("connect_says_what_is_wrong", || {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(
            matches!(connect(&at("nothing"), None), Err(ConnectError::NotFound(path)) if path == at("nothing"))
        );
        fs::write(at("file"), "").unwrap();
        assert!(matches!(connect(&at("file"), None), Err(ConnectError::Refused(_))));
        assert!(matches!(connect(&at("file/below"), None), Err(ConnectError::NotFound(_))));
        drop(listen(&at("dead")).unwrap());
        let dead = connect(&at("dead"), None).unwrap_err();
        assert!(matches!(dead, ConnectError::Refused(_)));
        assert!(dead.to_string().contains("its server is gone"), "{dead}");
        let error = connect(&at(&"x".repeat(108)), None).unwrap_err();
        assert!(matches!(error, ConnectError::PathTooLong(_)), "{error:?}");
        assert_eq!(listen(&at("dead")).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(listen(&at(&"x".repeat(108))).unwrap_err().kind(), ErrorKind::InvalidFilename);
    });
}

#[test]
fn connecting_to_a_server_that_does_not_accept_ends_with_the_time_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = listen(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _queued = connect(&path, None).unwrap();
    for time in [Duration::ZERO, Duration::from_millis(2)] {
        let error = connect(&path, Some(time)).unwrap_err();
        assert!(matches!(error, ConnectError::Busy(_)), "{error:?}");
    }
}

/// No test by itself: connects to the path in its role and says what came of it.
#[test]
fn connecting_child() {
    let Some(path) = common::role() else { return };
    match connect(Path::new(&path), None) {
        Ok(_connection) => {
            common::say("connected");
            common::hear();
        }
        Err(ConnectError::Permission(_)) => common::say("permission"),
        Err(error) => common::say(&error.to_string()),
    }
}

#[test]
fn the_kernel_says_who_the_peer_is() {
    let (here, _there) = pair().unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let own = Credentials { pid: Some(std::process::id() as i32), uid, gid };
    assert_eq!(peer_credentials(&here).unwrap(), own);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = listen(&path).unwrap();
    let mut child = Talking::start(common::command("connecting_child", path.to_str().unwrap()));
    assert_eq!(child.listen(), "connected");
    let served = accept(&listener).unwrap().unwrap();
    assert_eq!(peer_credentials(&served).unwrap(), Credentials { pid: Some(child.pid()), uid, gid });
    child.finish();
}

#[test]
fn another_users_socket_is_a_matter_of_permission() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let _listener = listen(&path).unwrap();
    let mut command = common::command("connecting_child", path.to_str().unwrap());
    if rustix::process::geteuid().is_root() {
        // Root may connect anywhere, so the child is another user.
        command.uid(65534).gid(65534).current_dir("/");
    } else {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let mut child = Talking::start(command);
    assert_eq!(child.listen(), "permission");
    child.finish();
}

#[test]
fn tcp_sockets_are_served_by_the_same_calls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    assert!(accept(&listener).unwrap().is_none());
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    andiron_sys::poll::wait(&listener, true, false, None).unwrap();
    let served = accept(&listener).unwrap().unwrap();
    assert_eq!(send(&client, &[IoSlice::new(b"one"), IoSlice::new(b"two")], &[]).unwrap(), 6);
    let (mut buf, mut fds) = ([0; 6], Vec::new());
    let mut arrived = 0;
    while arrived < 6 {
        arrived += recv(&served, &mut buf[arrived..], false, &mut fds).unwrap().bytes;
    }
    assert_eq!(&buf, b"onetwo");
    assert_eq!(send(&served, &[IoSlice::new(b"x")], &[]).unwrap(), 1);
    assert_eq!(recv(&client, &mut buf, false, &mut fds).unwrap(), WHOLE(1));
    let error = peer_credentials(&client).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    socket::shutdown(&served).unwrap();
    assert_eq!(recv(&client, &mut buf, false, &mut fds).unwrap(), WHOLE(0));
}
