//! Connection attributes: type of service, sockets from elsewhere.

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, Socket, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{accept, kernel, pair, pair_with};
use crate::support::{Folder, HANG, Told, differs, differs_on_windows, each_ip, eventually, within};

/// Ensures that the type of service is what was set, that its lowest two bits may be the kernel's, and that a closed socket
/// says so. Mirrors what Node's documentation says of setTypeOfService.
#[test]
fn the_type_of_service_is_what_was_set() {
    each_ip(|at| {
        let (_server, client, _accepted) = pair(at);
        if cfg!(windows) && at.starts_with('[') {
            let error = client.set_type_of_service(0x10).expect_err("there is no such thing");
            assert_eq!(error.told().code(), "ENOTSUP", "Windows has it for IPv4 alone");
            return;
        }
        assert_eq!(client.type_of_service().expect("it is connected"), 0, "none unless it is set");
        for value in [0x10, 0xB8, 0] {
            client.set_type_of_service(value).expect("it can be set");
            assert_eq!(client.type_of_service().expect("it is connected"), value, "read back from the kernel");
        }
        client.set_type_of_service(0xFF).expect("it can be set");
        assert_eq!(client.type_of_service().expect("it is connected") & 0xFC, 0xFC, "but for the lowest two bits");
        client.destroy();
        assert_eq!(client.set_type_of_service(0).expect_err("it is closed").told().code(), "ERR_STREAM_DESTROYED");
    });
}

/// Ensures that a listener from elsewhere is served, also as a bare descriptor. Mirrors net-server-listen-handle.js.
#[test]
fn a_listener_from_elsewhere_is_served() {
    each_ip(|at| {
        for bare in [false, true] {
            let listener = TcpListener::bind(at).expect("port 0 can be listened on");
            let bound = listener.local_addr().expect("it is bound");
            #[cfg(unix)]
            let listener = if bare { landline_handle(listener) } else { listener.into() };
            #[cfg(not(unix))]
            let _ = bare;
            let server = ServerOptions::new().adopt(listener).expect("it listens");
            assert_eq!(server.address().socket_addr(), Some(bound), "its address is the listener's");
            let running = server.spawn(|socket| socket.write_end("hello")).expect("a thread can be started");
            let client = Socket::connect(bound).expect("the server listens");
            assert_eq!(client.read_text().expect("an orderly end"), "hello", "its clients are served");
            drop(client);
            server.close();
            within("serve returns", || running.join()).expect("all went well");
        }
    });
}

#[cfg(unix)]
fn landline_handle(listener: TcpListener) -> std::os::fd::OwnedFd {
    listener.into()
}

/// Ensures that a descriptor that is no listener is EINVAL with Node's text, and no panic: a file, a device as standard input
/// may be, a datagram socket, a connection, a socket that is bound only. Mirrors net-server-listen-handle.js, net-listen-fd0.js
/// and listen-fd-ebadf.js; a descriptor that is not open cannot be had without unsafe code.
#[cfg(unix)]
#[test]
fn a_descriptor_that_is_no_listener_is_an_error() {
    use std::os::fd::OwnedFd;
    // It stays, since a connection that was reset has no peer any more, just like a listener.
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let connection = || TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let bound = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("one can be had");
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("port 0 can be bound");
        socket
    };
    let wrong: [(&str, OwnedFd); 5] = [
        ("file", File::open(env!("CARGO_MANIFEST_PATH")).expect("it is there").into()),
        ("device", File::open("/dev/null").expect("it is there").into()),
        ("datagrams", UdpSocket::bind("127.0.0.1:0").expect("port 0 can be bound").into()),
        ("connection", connection().into()),
        ("bound", bound().into()),
    ];
    for (what, descriptor) in wrong {
        if what == "bound" && differs("a socket that is bound is not told from one that listens: its accept(2) fails") {
            continue;
        }
        let error = ServerOptions::new().adopt(descriptor).expect_err("it does not listen");
        assert_eq!((error.told().code(), error.told().syscall()), ("EINVAL", Some("listen")), "{what}");
        assert_eq!(error.to_string(), "listen EINVAL: invalid argument", "{what}: Node's text");
    }
}

/// Ensures that a descriptor becomes a socket only if it is a connection. Mirrors the errors of Node's `new Socket({fd})`.
#[cfg(unix)]
#[test]
fn a_descriptor_that_is_no_connection_is_an_error() {
    use std::os::fd::OwnedFd;
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let at = listener.local_addr().expect("it is bound");
    let wrong: [(&str, OwnedFd); 3] = [
        ("file", File::open("/dev/null").expect("it is there").into()),
        ("datagrams", UdpSocket::bind("127.0.0.1:0").expect("port 0 can be bound").into()),
        ("listener", listener.try_clone().expect("it can be").into()),
    ];
    for (what, descriptor) in wrong {
        assert_eq!(
            Socket::try_from(descriptor).expect_err("no connection").told().code(),
            "ERR_INVALID_FD_TYPE",
            "{what}"
        );
    }
    let stream = TcpStream::connect(at).expect("it listens");
    let socket = Socket::try_from(OwnedFd::from(stream)).expect("it is a connection");
    let peer = Socket::from(listener.accept().expect("it comes").0);
    socket.write_end("hello").expect("it is connected");
    assert_eq!(peer.read_text().expect("an orderly end"), "hello", "and is one");
    assert_eq!(peer.remote_address(), socket.local_address(), "both know both ends");
}

/// Ensures that a connection of other code's loses the SO_LINGER that was set on it: closing it neither waits nor resets it.
#[cfg(unix)]
#[test]
fn a_connection_from_elsewhere_loses_its_linger_time() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    let lingers = |socket: &dyn std::os::fd::AsFd| {
        // Not a bound: what the giver has left.
        socket2::SockRef::from(&socket.as_fd()).set_linger(Some(HANG)).expect("it is a socket");
    };
    each_ip(|at| {
        let listener = TcpListener::bind(at).expect("port 0 can be listened on");
        let connection = || {
            let stream = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
            lingers(&stream);
            stream
        };
        let (unix, _peer) = UnixStream::pair().expect("a pair can be had");
        lingers(&unix);
        let taken = [
            ("TcpStream", Socket::from(connection())),
            ("OwnedFd", Socket::try_from(OwnedFd::from(connection())).expect("it is a connection")),
            ("UnixStream", Socket::from(unix)),
        ];
        for (what, socket) in taken {
            assert_eq!(kernel(&socket, |raw| raw.linger()), None, "{what}: it is taken off");
        }
    });
}

/// Ensures that a listener that is refused as a connection stays as its other owners have it.
#[cfg(unix)]
#[test]
fn a_listener_that_is_refused_is_left_as_it_was() {
    use std::os::fd::OwnedFd;
    each_ip(|at| {
        let listener = TcpListener::bind(at).expect("port 0 can be listened on");
        listener.set_nonblocking(true).expect("it is a socket");
        let raw = socket2::SockRef::from(&listener);
        // Not a bound: what its owner has set.
        raw.set_read_timeout(Some(Duration::from_secs(3))).expect("it is a socket");
        let copy = OwnedFd::from(listener.try_clone().expect("it can be cloned"));
        Socket::try_from(copy).expect_err("it is no connection");
        assert_eq!(
            raw.read_timeout().expect("it is a socket"),
            Some(Duration::from_secs(3)),
            "its timeout is its owner's"
        );
        if !differs_on_windows("asks by changing the mode, and has no `try_from`") {
            assert!(raw.nonblocking().expect("it is a socket"), "so is its mode");
        }
    });
}

/// Ensures that a stream socket without a peer is an error that says so, be it new, bound or connecting; and that a
/// connection that was reset, which has no peer either, is taken and says so when it is read.
#[cfg(unix)]
#[test]
fn a_descriptor_without_a_peer_is_an_error() {
    use std::os::fd::OwnedFd;
    let tcp = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("one can be had");
    let unix = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("one can be had");
    let bound = || {
        let socket = tcp();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("port 0 can be bound");
        socket
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let at = listener.local_addr().expect("it is bound");
    // It is never answered: the backlog is full with the first.
    let full = bound();
    full.listen(0).expect("it is bound");
    let full_at = full.local_addr().expect("it is bound");
    let _first = TcpStream::connect(full_at.as_socket().expect("it is IPv4")).expect("there is room for one");
    let connecting = tcp();
    connecting.set_nonblocking(true).expect("it is a socket");
    let _ = connecting.connect(&full_at);
    for (what, socket) in [("tcp", tcp()), ("bound", bound()), ("unix", unix()), ("connecting", connecting)] {
        let error = Socket::try_from(OwnedFd::from(socket)).expect_err("it is not connected");
        if differs("a socket without a peer is not told from one that listens") {
            assert_eq!(error.told().code(), "ERR_INVALID_FD_TYPE", "{what}");
            continue;
        }
        assert_eq!((error.told().code(), error.told().syscall()), ("ENOTCONN", Some("getpeername")), "{what}");
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected, "{what}");
    }
    for was_told in [false, true] {
        let stream = TcpStream::connect(at).expect("it listens");
        Socket::from(listener.accept().expect("it comes").0).reset_and_destroy().expect("it is connected");
        eventually("the reset arrives", || stream.peer_addr().is_err());
        if was_told {
            stream.take_error().expect("it is a socket").expect("the reset is told once");
        }
        let socket = Socket::try_from(OwnedFd::from(stream)).expect("it was connected");
        match (was_told, within("the read returns", move || socket.read(&mut [0]))) {
            (false, read) => {
                let error = read.expect_err("the connection was reset");
                assert_eq!(error.to_string(), "read ECONNRESET", "the reset is told to the reader");
            }
            (true, read) => assert_eq!(read.expect("the giver has taken the error"), 0, "the end is what is left"),
        }
    }
}

/// Ensures that the type of service is an option of both sides, inherited from a listener on one family and on both.
#[test]
fn the_type_of_service_is_an_option() {
    each_ip(|at| {
        let (server, client) = (ServerOptions::new().type_of_service(0x10), SocketOptions::new().type_of_service(0x20));
        let (_server, client, accepted) = pair_with(at, server, client);
        if cfg!(windows) && at.starts_with('[') {
            // It connects all the same: Windows has it for IPv4 alone.
            return;
        }
        assert_eq!(accepted.type_of_service().expect("it is open"), 0x10, "the server's");
        assert_eq!(client.type_of_service().expect("it is open"), 0x20, "the client's");
    });
    let server = ServerOptions::new().type_of_service(0x10).listen(0).expect("a bare port can be listened on");
    let client = Socket::connect(("127.0.0.1", server.address().port())).expect("it takes IPv4 clients");
    assert_eq!(
        accept(&server).type_of_service().expect("it is open"),
        0x10,
        "an IPv4 client of a server on every address"
    );
    drop(client);
    if differs_on_windows("there are no Unix sockets") {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("socket");
    let server = ServerOptions::new().type_of_service(1).listen(path.as_path()).expect("a path can be listened on");
    SocketOptions::new().type_of_service(1).connect(server.address()).expect("on a Unix socket it does nothing");
}

/// Ensures that a listener that a process left with a receive timeout, as one does that is killed, is taken as it is: accepting
/// goes on when that time is over, its connections have none, and it is put back in no way.
#[test]
fn a_listener_with_a_receive_timeout_is_served_as_it_is() {
    each_ip(|at| {
        let listener = TcpListener::bind(at).expect("port 0 can be bound");
        let address = listener.local_addr().expect("it is bound");
        let giver = socket2::Socket::from(listener.try_clone().expect("a descriptor"));
        let time = Duration::from_millis(20);
        // Not a bound: what the giver has left.
        giver.set_read_timeout(Some(time)).expect("it is a socket");
        let server = ServerOptions::new().adopt(listener).expect("it listens");
        let serving = server.spawn(|socket| socket.pipe(socket)).expect("a thread can be started");
        // Not a bound: several of its times pass.
        std::thread::sleep(time * 5);
        let mut client = TcpStream::connect(address).expect("it is served");
        // Not a bound: several of its times pass.
        std::thread::sleep(time * 5);
        std::io::Write::write_all(&mut client, b"x").expect("it is connected");
        client.set_read_timeout(Some(HANG)).expect("a timeout can be set");
        client.read_exact(&mut [0]).expect("the connection has no timeout of the listener's");
        drop(client);
        within("close returns", move || server.close());
        within("serving ends", move || serving.join()).expect("in order");
        assert_eq!(giver.read_timeout().expect("it is a socket"), Some(time), "it is the giver's");
    });
}

/// Ensures that the close of an adopted Unix listener whose file is gone, which no call of ours reaches, returns, and that
/// serving ends.
#[test]
#[cfg(unix)]
fn a_listener_that_no_call_reaches_is_closed() {
    if differs("nothing but a call wakes its accept") {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("the path is free");
    std::fs::remove_file(&path).expect("it is there");
    let server = ServerOptions::new().adopt(listener).expect("it listens");
    let serving = server.spawn(|_| Ok(())).expect("a thread can be started");
    let begun = Instant::now();
    within("close returns", {
        let server = server.clone();
        move || server.close()
    });
    println!("measured: a close takes {:?}", begun.elapsed());
    within("serving ends", move || serving.join()).expect("in order");
    within("wait returns", move || server.wait()).expect("in order");
}

/// Ensures that the close of an adopted listener whose address another listener shares by SO_REUSEPORT returns, that
/// serving ends, and that no connection of ours comes to the other listener, which gets the clients of loopback.
#[test]
#[cfg(unix)]
fn a_listener_that_shares_its_port_is_closed_without_a_call() {
    use crate::support::blocked;
    use std::net::SocketAddr;
    if differs("nothing but a call wakes its accept") {
        return;
    }
    each_ip(|at| {
        let shared = |at: SocketAddr| {
            let listener = socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::STREAM, None);
            let listener = listener.expect("one can be had");
            listener.set_reuse_port(true).expect("it is a new socket");
            listener.bind(&at.into()).expect("the port is shared");
            listener.listen(64).expect("it is bound");
            listener
        };
        let loopback: SocketAddr = at.parse().expect("an address");
        let mut everywhere = loopback;
        everywhere.set_ip(if at.starts_with('[') { [0; 16].into() } else { [0; 4].into() });
        let ours = shared(everywhere);
        let port = ours.local_addr().ok().and_then(|bound| bound.as_socket()).expect("it is bound").port();
        let other = shared((loopback.ip(), port).into());
        let server = ServerOptions::new().adopt(TcpListener::from(ours)).expect("it listens");
        let accepting = blocked({
            let server = server.clone();
            move || server.accept().map(|socket| socket.is_some())
        });
        within("close returns", move || server.close());
        let is_client = within("accept returns", move || accepting.join()).expect("it does not panic");
        assert!(!is_client.expect("closing is no error"), "accept returns `None` once the server is closed");
        other.set_nonblocking(true).expect("it is a socket");
        let error = other.accept().expect_err("no connection of ours comes to another program's listener");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "the other listener's queue is empty");
    });
}

/// Ensures that the close of an adopted Unix listener returns, and that serving ends, if no connection could reach the
/// listener when it was adopted, but one does now. Where accept(2) knows no timeout, nothing else wakes it.
#[test]
#[cfg(unix)]
fn a_listener_that_is_reached_again_is_closed() {
    let folder = Folder::new();
    let (path, moved) = (folder.file("socket"), folder.file("moved"));
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("the path is free");
    let giver = socket2::Socket::from(std::os::fd::OwnedFd::from(listener.try_clone().expect("a descriptor is free")));
    if differs("the timeout of an hour stands for an accept(2) that knows none") {
        // Not a bound: what the giver has set.
        giver.set_read_timeout(Some(HANG * 60)).expect("it is a socket");
    }
    std::fs::rename(&path, &moved).expect("it is there");
    let server = ServerOptions::new().adopt(listener).expect("it listens");
    std::fs::rename(&moved, &path).expect("it is there");
    let serving = crate::support::blocked({
        let server = server.clone();
        move || server.serve(|_| Ok(()))
    });
    within("close returns", move || server.close());
    within("serving ends", move || serving.join()).expect("it does not panic").expect("in order");
    assert!(path.exists(), "the file stays with its owner");
}
