//! What the program does to a client's socket before it is bound and connected, and the sizes of its buffers.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use landline::net::{Server, ServerOptions, SocketOptions};
use landline::{Cancel, Error};
use socket2::SockRef;

use crate::support::fixtures::{accept, kernel};
use crate::support::{Folder, HANG, Told, descriptors, each_ip, in_child};

/// A hook that counts its calls, and sees that the socket is new: neither bound nor connected.
fn counting(calls: &Arc<AtomicUsize>) -> impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static {
    let calls = Arc::clone(calls);
    move |fd| {
        let socket = SockRef::from(&fd);
        let port = socket.local_addr()?.as_socket().map(|at| at.port());
        assert!(port.is_none_or(|port| port == 0), "the socket is not bound yet");
        assert!(socket.peer_addr().is_err(), "the socket is not connected yet");
        calls.fetch_add(1, SeqCst);
        socket.set_keepalive(true)
    }
}

/// Ensures that the hook runs on the socket that is then connected, before it is bound or connected, whatever else is asked
/// for: a local address, a limit, a way to cancel.
#[test]
fn the_hook_runs_on_the_socket_before_it_is_bound() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let ip = server.address().ip().expect("it is TCP");
        let plain = SocketOptions::new();
        let ways = [
            ("plain", plain.clone()),
            ("local address", plain.clone().local_address(ip)),
            // A limit that only a hang reaches.
            ("limit", plain.clone().connect_timeout(HANG)),
            ("cancel", plain.cancel(&Cancel::new())),
        ];
        for (way, options) in ways {
            let calls = Arc::new(AtomicUsize::new(0));
            let socket = options.before_bind(counting(&calls)).connect(server.address()).expect("it listens");
            assert_eq!(calls.load(SeqCst), 1, "{way}: it runs once for the one socket");
            assert!(kernel(&socket, |raw| raw.keepalive()), "{way}: what it has set holds");
            assert_eq!(accept(&server).remote_address(), socket.local_address(), "{way}: it is connected");
        }
    });
}

/// Options of a client for which a name has two addresses, the second of which is listened on.
fn two_addresses() -> (Server, SocketOptions, (&'static str, u16)) {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let options =
        SocketOptions::new().lookup(|_, _| Ok([2, 1].map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last)))));
    let to = ("two.example", server.address().port());
    (server, options, to)
}

/// Ensures that the hook runs for each attempt of a connect to several addresses, and that its error is the failure of that
/// attempt alone.
#[test]
fn the_hook_runs_for_each_attempt() {
    let (_server, options, to) = two_addresses();
    let calls = Arc::new(AtomicUsize::new(0));
    let socket = options.clone().before_bind(counting(&calls)).connect(to).expect("the second address listens");
    assert_eq!(calls.load(SeqCst), 2, "each attempt has a socket of its own");
    assert_eq!(socket.attempted_addresses().len(), 2, "the first was refused");

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let fails_first = move |_: BorrowedFd<'_>| match counted.fetch_add(1, SeqCst) {
        0 => Err(ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    };
    let socket = options.clone().before_bind(fails_first).connect(to).expect("the second attempt is made");
    assert_eq!(socket.attempted_addresses().len(), 2, "an error is that of one attempt");

    let fails = |_: BorrowedFd<'_>| Err(io::Error::from(ErrorKind::PermissionDenied));
    let error = options.before_bind(fails).connect(to).expect_err("no attempt is made");
    let causes: Vec<_> = error.told().causes().iter().map(|cause| (cause.syscall(), cause.code())).collect();
    assert_eq!(causes, [(Some("before_bind"), "EACCES"); 2], "each attempt has the error");
}

/// Ensures that an error of the hook names it and the address, and that one of the program's own is passed on with its text.
#[test]
fn an_error_of_the_hook_is_that_of_the_connect() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let denied = SocketOptions::new().before_bind(|_| Err(ErrorKind::PermissionDenied.into()));
        let error = denied.connect(server.address()).expect_err("the hook fails");
        assert!(error.to_string().starts_with("before_bind EACCES "), "the hook is named: {error}");
        assert_eq!(error.told().address(), Some(server.address()), "so is the address");
        let own = SocketOptions::new().before_bind(|_| Err(io::Error::other("no such mark")));
        let error = own.connect(server.address()).expect_err("the hook fails");
        assert_eq!(error.to_string(), "no such mark", "its text is the program's");
        assert_eq!(error.told().address(), Some(server.address()), "the address is known");
    });
}

/// Ensures that a panic in the hook is that of the thread that connects, and leaves no descriptor and no thread behind, in an
/// attempt of several too.
#[test]
fn a_panic_in_the_hook_leaves_nothing() {
    in_child(this_test!(), &[], || {
        let (server, options, to) = two_addresses();
        let panics = |_: BorrowedFd<'_>| panic!("the hook panics");
        let before = descriptors();
        for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
            let one = options.before_bind(panics);
            catch_unwind(AssertUnwindSafe(|| one.connect(server.address()))).expect_err("the panic comes out");
        }
        let several = options.before_bind(panics);
        catch_unwind(AssertUnwindSafe(|| several.connect(to))).expect_err("the panic comes out");
        assert_eq!(descriptors(), before, "every socket is closed");
    });
}

/// Ensures that a client's and a server's buffers are as large as asked for, also where a local address is, and that a size
/// that cannot be is an error that names the option.
#[test]
fn buffers_are_as_large_as_asked_for() {
    each_ip(|at| {
        let server = ServerOptions::new().recv_buffer_size(300_000).send_buffer_size(200_000);
        let server = server.listen(at).expect("port 0 can be listened on");
        let ip = server.address().ip().expect("it is TCP");
        let plain = SocketOptions::new().recv_buffer_size(100_000).send_buffer_size(150_000);
        for options in [plain.clone(), plain.local_address(ip)] {
            let client = options.connect(server.address()).expect("it listens");
            let sizes = |socket| kernel(socket, |raw| Ok((raw.recv_buffer_size()?, raw.send_buffer_size()?)));
            // Linux reports twice what it has granted, and grants net.core.rmem_max at most.
            let least = |(recv, send), most_recv: usize, most_send: usize| {
                recv >= most_recv.min(200_000) && send >= most_send.min(200_000)
            };
            assert!(least(sizes(&client), 100_000, 150_000), "the client's: {:?}", sizes(&client));
            let accepted = accept(&server);
            assert!(least(sizes(&accepted), 300_000, 200_000), "the server's: {:?}", sizes(&accepted));
        }
    });
    for bytes in [0, usize::MAX] {
        let error = SocketOptions::new().recv_buffer_size(bytes).connect("127.0.0.1:1").expect_err("it cannot be");
        assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "{error}");
        assert!(error.to_string().contains("recv_buffer_size"), "the option is named: {error}");
        let error = ServerOptions::new().send_buffer_size(bytes).listen("127.0.0.1:0").expect_err("it cannot be");
        assert!(error.to_string().contains("send_buffer_size"), "the option is named: {error}");
    }
}

/// Ensures that the hook runs on Unix sockets too, of both sides.
#[test]
fn the_hook_runs_on_unix_sockets() {
    let folder = Folder::new();
    let path = folder.file("socket");
    let calls = Arc::new(AtomicUsize::new(0));
    let server = ServerOptions::new().before_bind(counting(&calls)).listen(path.as_path()).expect("the path is free");
    let client = SocketOptions::new().before_bind(counting(&calls)).connect(path.as_path()).expect("it listens");
    assert_eq!(calls.load(SeqCst), 2, "it runs once for each side");
    drop((server, client));
    let fails = ServerOptions::new().before_bind(|_| Err(ErrorKind::PermissionDenied.into()));
    let error = fails.listen(path.as_path()).expect_err("the hook fails");
    assert_eq!((error.told().syscall(), error.told().code()), (Some("before_bind"), "EACCES"));
    assert!(!path.exists(), "no file is made where the hook fails");
    assert!(Error::of(&error).is_some(), "it is an error of the library");
}
