//! The descriptor of a datagram socket, lent to a closure.

use std::io::ErrorKind;
use std::sync::mpsc;
use std::thread;

use landline::Error;
use landline::dgram::Socket;
use socket2::SockRef;

use crate::support::dgram::receive;
use crate::support::{HANG, blocked, eventually, families, has_proc, within};

/// Ensures that the descriptor that is lent is the socket's, that a setting holds, and that receiving is as before.
#[test]
fn the_descriptor_is_the_sockets() {
    for at in families() {
        let socket = Socket::bind(at).expect("port 0 is free");
        let local = socket.with_raw(|fd| SockRef::from(&fd).local_addr()).expect("it is open").expect("it is bound");
        assert_eq!(local.as_socket(), Some(socket.address()), "it is this socket");
        socket.with_raw(|fd| SockRef::from(&fd).set_broadcast(true)).expect("it is open").expect("it can be set");
        let broadcast = socket.with_raw(|fd| SockRef::from(&fd).broadcast()).expect("it is open");
        assert!(broadcast.expect("it can be asked"), "a setting is the socket's");
        Socket::bind(at).expect("port 0 is free").send_to(b"x", socket.address()).expect("it is on this machine");
        assert_eq!(receive(&socket).0, b"x", "receiving is as before");
    }
}

/// Ensures that a close waits until the closure has returned, as for a receiver, so that the port is free then; and that a
/// closure of a closed socket is not called.
#[test]
fn a_close_waits_for_the_closure() {
    for at in families() {
        let round = |_: usize| {
            let socket = Socket::bind(at).expect("port 0 is free");
            let (holds, held) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let lent = socket.clone();
            let borrower = thread::spawn(move || {
                lent.with_raw(|_| {
                    holds.send(()).expect("the test waits");
                    let _ = released.recv();
                })
            });
            held.recv_timeout(HANG).expect("it is open");
            let closing = socket.clone();
            let closing = blocked(move || closing.close());
            let waits = !closing.is_finished();
            drop(release);
            within("close returns", move || closing.join()).expect("no panic");
            // A program that another test starts has a copy of the socket until it runs.
            eventually("the port is free", || Socket::bind(socket.address()).is_ok());
            within("the closure returns", move || borrower.join()).expect("no panic").expect("it was open");
            let called = socket.with_raw(|_| panic!("the closure of a closed socket is not called"));
            let error = called.map(|(): ()| ()).expect_err("the socket is closed");
            assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
            assert_eq!(Error::of(&error).map(Error::code), Some("ERR_SOCKET_DGRAM_NOT_RUNNING"), "{error}");
            waits
        };
        // A round counts unless the machine pauses for as long as `close` waits.
        let waits = (0..5).any(round);
        // Without /proc it is not seen.
        if has_proc() {
            assert!(waits, "a close waits while the closure runs");
        }
    }
}
