//! What the program does to a listener's socket before it is bound.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use landline::net::{Server, ServerOptions, Socket};
use socket2::SockRef;

use crate::support::{Told, descriptors, each_ip, in_child};

/// Ensures that the hook runs once, on the listener, before it is bound.
#[test]
fn the_hook_runs_on_the_listener_before_it_is_bound() {
    each_ip(|at| {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let options = ServerOptions::new().before_bind(move |fd| {
            let socket = SockRef::from(&fd);
            assert_eq!(socket.local_addr()?.as_socket().map(|at| at.port()), Some(0), "it is not bound yet");
            counted.fetch_add(1, SeqCst);
            socket.set_ttl_v4(40)
        });
        let server = options.listen(at).expect("port 0 can be listened on");
        assert_eq!(calls.load(SeqCst), 1, "it runs once");
        let ttl = server.with_raw(|fd| SockRef::from(&fd).ttl_v4()).expect("it is open").expect("it can be asked");
        assert_eq!(ttl, 40, "what it has set holds");
        Socket::connect(server.address()).expect("it listens");
    });
}

/// Ensures that an error of the hook is that of `listen`, with the address, also on a bare port, which is not tried over IPv4
/// alone then.
#[test]
fn an_error_of_the_hook_is_that_of_listen() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let options = ServerOptions::new().before_bind(move |_| {
        counted.fetch_add(1, SeqCst);
        Err(ErrorKind::InvalidInput.into())
    });
    let error = options.listen(0).expect_err("the hook fails");
    assert_eq!((error.told().syscall(), error.told().code()), (Some("before_bind"), "EINVAL"), "{error}");
    assert_eq!(calls.load(SeqCst), 1, "a server over IPv4 alone is not what was asked for");
    let error = options.listen("127.0.0.1:0").expect_err("the hook fails");
    assert_eq!(error.to_string(), "before_bind EINVAL 127.0.0.1");
}

/// Ensures that a panic in the hook is that of the thread that listens, and leaves neither a descriptor nor a port taken.
#[test]
fn a_panic_in_the_hook_leaves_nothing() {
    in_child(this_test!(), &[], || {
        let free = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
        let at = free.address().clone();
        drop(free);
        let before = descriptors();
        let options = ServerOptions::new().before_bind(|_: BorrowedFd<'_>| panic!("the hook panics"));
        catch_unwind(AssertUnwindSafe(|| options.listen(&at))).expect_err("the panic comes out");
        assert_eq!(descriptors(), before, "the socket is closed");
        Server::listen(&at).expect("the port is free");
    });
}
