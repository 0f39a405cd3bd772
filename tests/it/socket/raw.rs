//! The descriptor of a connection, lent to a closure.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;

use landline::Error;
use landline::net::ReadyState;
use socket2::SockRef;

use crate::support::Whole;
use crate::support::fixtures::{kernel, pair};
use crate::support::{differs, each_ip, has_proc, within};

/// Ensures that the descriptor that is lent is the connection's, that what the closure returns comes back, and that the
/// connection is used as before.
#[test]
fn the_descriptor_is_the_connections() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let local = kernel(&client, |raw| raw.local_addr()).as_socket();
        assert_eq!(local, client.local_address().socket_addr(), "it is this connection");
        kernel(&client, |raw| raw.set_ttl_v4(40));
        assert_eq!(kernel(&client, |raw| raw.ttl_v4()), 40, "a setting is the connection's");
        client.write_end("x").expect("it is connected");
        assert_eq!(accepted.read_text().expect("an orderly end"), "x", "writing is as before");
    });
}

/// Ensures that a destroy does not wait for the closure, that the peer sees the end at once, that the descriptor is not
/// closed before the closure has returned, and that it is closed then.
#[test]
fn the_descriptor_outlives_a_destroy_until_the_closure_returns() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let (tell, told) = mpsc::channel();
        let (go_on, is_to_go_on) = mpsc::channel::<()>();
        let lent = client.clone();
        let borrower = thread::spawn(move || {
            lent.with_raw(|fd| {
                tell.send(fd.as_raw_fd()).expect("the test waits");
                is_to_go_on.recv().expect("the test tells");
                SockRef::from(&fd).local_addr().expect("the descriptor is still the connection's").as_socket()
            })
        });
        let number = told.recv().expect("it is open");
        within("destroy does not wait for the closure", {
            let client = client.clone();
            move || client.destroy()
        });
        assert_eq!(accepted.read_text().expect("an orderly end"), "", "the peer sees the end while it runs");
        let link = || std::fs::read_link(format!("/proc/self/fd/{number}"));
        let open = link();
        go_on.send(()).expect("the closure waits");
        let seen = within("the closure returns", move || borrower.join()).expect("no panic").expect("it was open");
        assert_eq!(seen, client.local_address().socket_addr(), "it was the connection's to the end");
        // Another test may have the number by then.
        let is_same = open.is_ok_and(|open| link().is_ok_and(|now| now == open));
        assert!(!is_same, "the descriptor is closed when the closure has returned");
    });
}

/// Ensures that a peer whose bytes were not read is reset by a destroy, and sees no orderly end, also while a closure
/// has the descriptor, and at once.
#[test]
fn bytes_that_are_unread_reset_the_peer_while_the_descriptor_is_lent() {
    if differs("the reset is sent when the descriptor is closed") {
        return;
    }
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        client.write_all("unread").expect("it is connected");
        accepted.peek(&mut [0; 1]).expect("it arrives");
        let read = accepted.with_raw(|_| {
            accepted.destroy();
            within("the peer hears of it", move || client.read(&mut [0; 1]))
        });
        let error = read.expect("it was open").expect_err("half a conversation is no whole one");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the peer is reset while the closure runs");
    });
}

/// Ensures that a closure may destroy its own connection, and that one of a closed connection is not called: the error is
/// the one of every call on such a connection.
#[test]
fn a_closed_connection_lends_nothing() {
    each_ip(|at| {
        let (_server, client, _accepted) = pair(at);
        client.with_raw(|_| client.destroy()).expect("it was open");
        assert_eq!(client.ready_state(), ReadyState::Closed, "the closure may destroy it");
        let error = client.with_raw(|_| panic!("the closure of a closed connection is not called")).map(|(): ()| ());
        let error = error.expect_err("the connection is closed");
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
        assert_eq!(Error::of(&error).map(Error::code), Some("ERR_STREAM_DESTROYED"), "{error}");
    });
}

/// Ensures that a panic in the closure leaves the connection as it was, and no descriptor behind when it is closed.
#[test]
fn a_panic_in_the_closure_harms_nothing() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let (tell, told) = mpsc::channel();
        let lent = client.clone();
        let panicked = thread::spawn(move || {
            lent.with_raw(|fd| {
                tell.send(fd.as_raw_fd()).expect("the test waits");
                panic!("on purpose");
            })
            .map(|(): ()| ())
        });
        panicked.join().expect_err("the panic is the closure's caller's");
        client.write_all("x").expect("it is open");
        accepted.read_exact(&mut [0]).expect("it arrives");
        let number = told.recv().expect("it was lent");
        let link = || std::fs::read_link(format!("/proc/self/fd/{number}"));
        let open = link();
        client.destroy();
        if has_proc() {
            // Another test may have the number by then.
            let is_same = link().is_ok_and(|now| now == open.expect("it was open"));
            assert!(!is_same, "nothing holds the descriptor open");
        }
        assert_eq!(accepted.read_text().expect("an orderly end"), "", "the peer sees the end");
    });
}
