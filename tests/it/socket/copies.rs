//! Connections of which another process has a copy, as a child that was forked: what reaches the peer all the same. A
//! duplicate of the descriptor is such a copy to the system.
#![cfg(unix)]

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::mpsc;

use landline::net::{Server, ServerOptions, Socket};

use crate::support::fixtures::{Served, accept, pair};
use crate::support::{Folder, HANG, Whole, blocked, differs, each_ip, within};

/// What another process would have.
fn copy(socket: &Socket) -> OwnedFd {
    socket.with_raw(|fd| fd.try_clone_to_owned()).expect("it is open").expect("a descriptor is free")
}

/// What the next read of a peer gives.
fn read(peer: &Socket) -> Result<usize, ErrorKind> {
    let peer = peer.clone();
    within("the peer hears of the end", move || peer.read(&mut [0; 1])).map_err(|error| error.kind())
}

/// Ensures that `destroy` reaches the peer although there is a copy of the descriptor, over TCP and Unix sockets: as an
/// end, and as a reset where the peer's bytes were not read.
#[test]
fn destroy_reaches_the_peer_of_a_copied_connection() {
    each_ip(|at| {
        for is_unread in [false, true] {
            let (_server, peer, socket) = pair(at);
            let _copy = copy(&socket);
            if is_unread {
                peer.write_all("unread").expect("it is connected");
                socket.peek(&mut [0; 1]).expect("it arrives");
            }
            if is_unread && differs("a connection with bytes unread is reset once the last copy is closed") {
                continue;
            }
            socket.destroy();
            let expected = if is_unread { Err(ErrorKind::ConnectionReset) } else { Ok(0) };
            assert_eq!(read(&peer), expected, "the peer hears of it; bytes unread: {is_unread}");
        }
    });
    let folder = Folder::new();
    let path = folder.file("socket");
    let server = Server::listen(path.as_path()).expect("the path is free");
    let peer = Socket::connect(server.address()).expect("it listens");
    let socket = accept(&server);
    let _copy = copy(&socket);
    socket.destroy();
    assert_eq!(read(&peer), Ok(0), "the peer on a Unix socket hears of it");
}

/// Ensures that a reset reaches the peer although there is a copy of the descriptor, also while a thread of ours reads.
#[test]
fn a_reset_reaches_the_peer_of_a_copied_connection() {
    if differs("a connection is reset once the last copy is closed") {
        return;
    }
    each_ip(|at| {
        for has_reader in [false, true] {
            let (_server, peer, socket) = pair(at);
            let _copy = copy(&socket);
            let reader = socket.clone();
            let reading = has_reader.then(|| blocked(move || reader.read(&mut [0; 1])));
            socket.reset_and_destroy().expect("it is open");
            assert_eq!(read(&peer), Err(ErrorKind::ConnectionReset), "the peer is reset; reader: {has_reader}");
            if let Some(reading) = reading {
                let read = within("the reader is woken", || reading.join().expect("no panic"));
                assert_eq!(read.expect_err("it is closed").kind(), ErrorKind::NotConnected, "the reader is told");
            }
        }
    });
}

/// Ensures that a handler that fails after its peer has ended, and one that returns before, are seen by the peer
/// although there is a copy of the descriptor: lingering or not.
#[test]
fn the_end_of_a_handler_reaches_the_peer_of_a_copied_connection() {
    for (fails, time) in [(true, Some(HANG)), (false, Some(HANG)), (false, None)] {
        each_ip(|at| {
            let (give, copies) = mpsc::channel();
            let options = ServerOptions::new().lingering_close(time);
            let served = Served::start(at, &options, move |socket| {
                give.send(copy(socket)).map_err(io::Error::other)?;
                if !fails {
                    return Ok(());
                }
                socket.read_all()?;
                Err(io::Error::other("the handler fails"))
            });
            let peer = served.connect();
            let _copy = copies.recv_timeout(HANG).expect("the handler runs");
            if fails {
                peer.end().expect("it is connected");
            }
            assert_eq!(read(&peer), Ok(0), "the peer sees the end; the handler fails: {fails}, lingering: {time:?}");
            drop(peer);
            served.stop();
        });
    }
}

/// Ensures that a peer that goes on sending after a handler has returned is reset in the end, and does not wait for ever for
/// room that none makes, although there is a copy of the descriptor.
#[test]
fn a_peer_that_sends_on_is_reset_although_there_is_a_copy() {
    if differs("a peer that waits for room is reset once the last copy is closed") {
        return;
    }
    each_ip(|at| {
        let (give, copies) = mpsc::channel();
        let options = ServerOptions::new().lingering_close(HANG);
        let served = Served::start(at, &options, move |socket| give.send(copy(socket)).map_err(io::Error::other));
        let peer = served.connect();
        let _copy = copies.recv_timeout(HANG).expect("the handler runs");
        let error = within("the peer is not left waiting", move || {
            loop {
                if let Err(error) = peer.write_all([0; 64 * 1024]) {
                    return error;
                }
            }
        });
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "the peer sees a reset: {error}");
        served.stop();
    });
}

/// Ensures that dropping the last handle is close(2) and no more: the copy goes on with the connection, both ways.
#[test]
fn a_dropped_handle_leaves_a_copied_connection_alone() {
    each_ip(|at| {
        let (_server, peer, socket) = pair(at);
        let copy = Socket::from(TcpStream::from(copy(&socket)));
        drop(socket);
        copy.write_all("x").expect("the connection is open");
        assert_eq!(read(&peer), Ok(1), "the copy writes");
        peer.write_all("y").expect("the connection is open");
        assert_eq!(read(&copy), Ok(1), "the copy reads");
    });
}
