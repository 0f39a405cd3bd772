//! The descriptor of a listener, lent to a closure.

use std::io::ErrorKind;
use std::sync::mpsc;
use std::thread;

use landline::Error;
use landline::net::Server;
use socket2::SockRef;

use crate::support::{differs, each_ip, in_child, within};

/// Ensures that the descriptor that is lent is the listener's, and that what the closure returns comes back.
#[test]
fn the_descriptor_is_the_listeners() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let local = server.with_raw(|fd| SockRef::from(&fd).local_addr()).expect("it is open").expect("it is bound");
        assert_eq!(local.as_socket(), server.address().socket_addr(), "it is this listener");
    });
}

/// Ensures that a close does not wait for the closure, and that the port is free when it has returned, although the
/// descriptor is still open.
#[test]
#[cfg(target_os = "linux")]
fn a_close_frees_the_port_while_the_descriptor_is_lent() {
    if differs("nothing but close(2) ends listening") {
        return;
    }
    in_child(this_test!(), &[], || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let (tell, told) = mpsc::channel();
            let (go_on, is_to_go_on) = mpsc::channel::<()>();
            let lent = server.clone();
            let borrower = thread::spawn(move || {
                lent.with_raw(|fd| {
                    tell.send(()).expect("the test waits");
                    is_to_go_on.recv().expect("the test tells");
                    SockRef::from(&fd).is_listener()
                })
            });
            told.recv().expect("it is open");
            within("close does not wait for the closure", {
                let server = server.clone();
                move || server.close()
            });
            let next = Server::listen(server.address()).expect("the port is free when close has returned");
            go_on.send(()).expect("the closure waits");
            let is_listener =
                within("the closure returns", move || borrower.join()).expect("no panic").expect("it was open");
            assert!(!is_listener.expect("the descriptor is still open"), "the lent descriptor listens no more");
            drop(next);
        });
    });
}

/// Ensures that the closure may close the server, and that one of a closed server is not called.
#[test]
fn a_closed_server_lends_nothing() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let closing = server.clone();
        within("a close in the closure returns", move || closing.with_raw(|_| closing.close())).expect("it was open");
        let called = server.with_raw(|_| panic!("the closure of a closed server is not called"));
        let error = called.map(|(): ()| ()).expect_err("the server is closed");
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
        assert_eq!(Error::of(&error).map(Error::code), Some("ERR_SERVER_NOT_RUNNING"), "{error}");
    });
}
