//! What the program does to a listener's socket before it is bound.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use landline::Endpoint;
use landline::net::{Server, ServerOptions, Socket};
use socket2::SockRef;

use crate::support::{Folder, Told, descriptors, each_ip, in_child};

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

/// Ensures that an error of the program's own, which the hook returns, comes out of `listen` with its text, as the source, and
/// with the address, on an address, a bare port, a list and a path.
#[test]
fn the_programs_own_error_comes_out_of_listen() {
    let options = ServerOptions::new().before_bind(|_| Err(io::Error::other("no such mark")));
    let folder = Folder::new();
    let path = folder.file("socket");
    for at in [Endpoint::from("127.0.0.1:0"), "[::1]:0".into(), 0.into(), path.as_path().into()] {
        let error = options.listen(at.clone()).expect_err("the hook fails");
        assert_eq!(error.to_string(), "no such mark", "the text is the program's: {at}");
        assert!(error.told().source().is_some(), "its error is the source: {at}");
        assert!(error.told().address().is_some(), "the address is known: {at}");
    }
    let list = [([127, 0, 0, 1], 0).into(), ([127, 0, 0, 2], 0).into()];
    let error = options.listen(list).expect_err("the hook fails");
    let causes: Vec<_> = error.told().causes().iter().map(ToString::to_string).collect();
    assert_eq!(causes, ["no such mark"; 2], "each address has the error");
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
