//! A listener that was given by value and that this program alone has.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use landline::Error;
use landline::net::{Server, ServerOptions, Socket, WhenFull};
use socket2::SockRef;

use crate::support::clients::{are_queued, stop};
use crate::support::fixtures::{accept, kernel};
use crate::support::{Folder, blocked, differs, each_ip, within};

type Own = fn(TcpListener) -> Server;

/// The ways to give a listener: from std's type, to options, as a bare descriptor.
fn ways() -> [(&'static str, Own); 3] {
    [
        ("From", Server::from),
        ("own", |listener| ServerOptions::new().own(listener).expect("it listens")),
        ("OwnedFd", |listener| ServerOptions::new().own(OwnedFd::from(listener)).expect("it listens")),
    ]
}

/// Ensures that a listener of one's own is served whatever mode and timeouts it was left in, and that its connections are
/// those of a server: they block, without a timeout, and with the options asked for, also where the client had connected
/// before.
#[test]
fn a_listener_is_served_in_whatever_mode_it_was_left() {
    each_ip(|at| {
        for (way, own) in ways() {
            let listener = TcpListener::bind(at).expect("port 0 can be listened on");
            let bound = listener.local_addr().expect("it is bound");
            let early = Socket::connect(bound).expect("it listens");
            listener.set_nonblocking(true).expect("it is a socket");
            let left_over = Some(Duration::from_millis(1));
            // Not a bound: what the giver has left.
            SockRef::from(&listener).set_read_timeout(left_over).expect("it is a socket");
            // Not a bound: the same.
            SockRef::from(&listener).set_write_timeout(left_over).expect("it is a socket");
            let earlier = Socket::connect(bound).expect("it listens");
            let server = own(listener);
            assert_eq!(server.address().socket_addr(), Some(bound), "{way}: its address is the listener's");
            let blocks = server.with_raw(|fd| SockRef::from(&fd).nonblocking().map(|is| !is)).expect("it is open");
            assert!(blocks.expect("it is a socket"), "{way}: it is made blocking");
            let timeout = server.with_raw(|fd| SockRef::from(&fd).read_timeout()).expect("it is open");
            assert_eq!(timeout.expect("it is a socket"), None, "{way}: its timeout is taken off");
            let late = Socket::connect(bound).expect("it listens");
            for client in [early, earlier, late] {
                let accepted = accept(&server);
                assert_eq!(accepted.remote_address(), client.local_address(), "{way}: clients come in order");
                let timeouts = kernel(&accepted, |raw| Ok((raw.read_timeout()?, raw.write_timeout()?)));
                assert_eq!(timeouts, (None, None), "{way}: its connections have no timeout of the listener's");
                assert!(!kernel(&accepted, |raw| raw.nonblocking()), "{way}: they block");
                assert!(kernel(&accepted, |raw| raw.tcp_nodelay()), "{way}: they have the options asked for");
            }
        }
    });
}

/// Ensures that a close ends listening for good by shutdown(2): a blocked accept returns, serving ends, and a copy of the
/// descriptor listens no more. An adopted listener is the control: its copy listens on.
#[test]
fn a_close_ends_listening_by_shutdown() {
    if differs("shutdown(2) on a listener is not called") {
        return;
    }
    each_ip(|at| {
        let closed = |server: Server| {
            let accepting = blocked({
                let server = server.clone();
                move || server.accept()
            });
            within("close returns", move || server.close());
            let ended = within("accept returns", move || accepting.join()).expect("no panic");
            assert!(ended.expect("in order").is_none(), "accepting has ended");
        };
        let listening = || {
            let listener = TcpListener::bind(at).expect("port 0 can be listened on");
            let copy = listener.try_clone().expect("a descriptor is free");
            (listener, move || SockRef::from(&copy).is_listener().expect("it is a socket"))
        };
        for (way, own) in ways() {
            let (listener, copy_listens) = listening();
            closed(own(listener));
            assert!(!copy_listens(), "{way}: the listener is shut down");
        }
        let (listener, copy_listens) = listening();
        closed(ServerOptions::new().adopt(listener).expect("it listens"));
        assert!(copy_listens(), "one that is adopted is not");
    });
}

/// Ensures that clients in the queue are answered when the server closes, as many as the giver's backlog holds, whatever
/// the option says.
#[test]
fn clients_in_the_queue_are_answered() {
    each_ip(|at| {
        let options = ServerOptions::new().when_full(WhenFull::RefuseWith("closing down\n".into())).answer_queued(true);
        let server = options.backlog(0).own(TcpListener::bind(at).expect("port 0 is free")).expect("it listens");
        let clients: Vec<_> = (0..5).map(|_| Socket::connect(server.address()).expect("it listens")).collect();
        are_queued(&server, 5);
        within("close returns", {
            let server = server.clone();
            move || server.close()
        });
        for client in clients {
            let goodbye = within("the goodbye arrives", move || io::read_to_string(&client));
            assert_eq!(goodbye.expect("an orderly end"), "closing down\n", "each client in the queue is told");
        }
        within("wait returns", move || server.wait()).expect("in order");
    });
}

/// Ensures that a refused client reads the end and no reset, although the listener was left with an SO_LINGER of zero:
/// a client of a full server, and a client in the queue of a server that closes.
#[test]
fn a_refused_client_reads_the_end_whatever_linger_time_the_listener_has() {
    let reads_the_end = |client: Socket, what: &str| {
        let end = within("the end arrives", move || io::read_to_string(&client));
        assert_eq!(end.expect("it is not reset"), "", "{what} reads the end of the stream");
    };
    each_ip(|at| {
        let listener = || {
            let listener = TcpListener::bind(at).expect("port 0 can be listened on");
            SockRef::from(&listener).set_linger(Some(Duration::ZERO)).expect("it is a socket");
            listener
        };
        let full = ServerOptions::new().max_connections(0).answer_queued(true);
        for server in [full.own(listener()), full.adopt(listener())] {
            let server = server.expect("it listens");
            let serving = server.spawn(|_| Ok(())).expect("a thread can be started");
            reads_the_end(Socket::connect(server.address()).expect("it listens"), "a client of a full server");
            stop(&server, serving);
        }
        let server = full.own(listener()).expect("it listens");
        let queued = Socket::connect(server.address()).expect("it listens");
        are_queued(&server, 1);
        within("close returns", move || server.close());
        reads_the_end(queued, "a client in the queue");
    });
}

/// Ensures that calls that accept for a time are possible, which they are not on an adopted listener.
#[test]
fn accepting_takes_a_time() {
    each_ip(|at| {
        let server = Server::from(TcpListener::bind(at).expect("port 0 is free"));
        let error = server.accept_timeout(Duration::from_millis(1)).expect_err("there is no client");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert_eq!(server.try_accept().expect_err("there is no client").kind(), ErrorKind::WouldBlock);
    });
}

/// Ensures that a Unix listener is served and closed, although its file is gone, and that its file is left where it is there.
#[test]
fn a_unix_listener_is_served_and_its_file_stays() {
    for is_gone in [false, true] {
        if is_gone && differs("nothing but a call wakes its accept") {
            continue;
        }
        let folder = Folder::new();
        let path = folder.file("socket");
        let server = Server::from(UnixListener::bind(&path).expect("the path is free"));
        let serving = server.spawn(|socket| socket.write_end("hello")).expect("a thread can be started");
        let client = Socket::connect(path.as_path()).expect("it listens");
        assert_eq!(io::read_to_string(&client).expect("an orderly end"), "hello", "it is served");
        drop(client);
        if is_gone {
            std::fs::remove_file(&path).expect("it is there");
        }
        within("close returns", move || server.close());
        within("serving ends", move || serving.join()).expect("in order");
        assert_eq!(path.exists(), !is_gone, "the file is its giver's");
    }
}

/// Ensures that what is no listener is an error of `own`, and that a server made `From` it, which cannot fail, says so when it
/// accepts, and is closed then.
#[test]
fn what_is_no_listener_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let at: SocketAddr = listener.local_addr().expect("it is bound");
    let connection = || OwnedFd::from(TcpStream::connect(at).expect("it listens"));
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").expect("it is there"));
    let wrong: [(&str, &dyn Fn() -> OwnedFd); 2] = [("connection", &connection), ("file", &file)];
    for (what, descriptor) in wrong {
        let error = ServerOptions::new().own(descriptor()).expect_err("it does not listen");
        assert_eq!(error.to_string(), "listen EINVAL: invalid argument", "{what}: as of adopt");
        let server = Server::from(TcpListener::from(descriptor()));
        let error = within("accept returns", {
            let server = server.clone();
            move || server.accept()
        });
        let error = error.expect_err("it does not listen");
        let code = Error::of(&error).map(|error| error.code().to_owned()).unwrap_or_default();
        assert!(["EINVAL", "ENOTSOCK"].contains(&code.as_str()), "{what}: the first accept says so: {error}");
        assert!(!server.is_listening(), "{what}: the server is closed then");
    }
    let error = ServerOptions::new().stack_size(1).own(listener).expect_err("no thread has so small a stack");
    assert_eq!(Error::of(&error).map(Error::code), Some("ERR_OUT_OF_RANGE"), "options are checked");
}

/// Ensures that a Unix socket of packets that listens is refused, owned or adopted: a read would lose the rest of a packet.
#[test]
#[cfg(target_os = "linux")]
fn a_listener_of_packets_is_an_error() {
    let name = format!("\0landline-packets-{}", std::process::id());
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).expect("one can be had");
    socket.bind(&socket2::SockAddr::unix(name).expect("a name")).expect("it is free");
    socket.listen(1).expect("it is bound");
    let copy = || OwnedFd::from(socket.try_clone().expect("it can be cloned"));
    for (what, taken) in [("own", ServerOptions::new().own(copy())), ("adopt", ServerOptions::new().adopt(copy()))] {
        let error = taken.expect_err("it is no stream");
        assert_eq!(error.to_string(), "listen EINVAL: invalid argument", "{what}: as what is no listener");
    }
}
