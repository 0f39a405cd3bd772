//! Listening: what a server listens on, what it says of it, and what keeps it from listening.

use std::sync::mpsc;

use landline::net::{Server, ServerOptions, Socket, SocketEvent};
use landline::{Error, Family};

use crate::support::Whole;
use crate::support::fixtures::{Served, accept, pair};
use crate::support::{HANG, Told, each_ip, in_child, within};

/// Ensures that a server is listening once `listen` has returned, and no longer inside its close callback
/// (net-listening.js).
///
/// A server that does not listen yet does not exist here.
#[test]
fn is_listening_from_listen_until_close() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        assert!(server.is_listening(), "a server listens when listen has returned");
        let (told, close) = mpsc::channel();
        let inside = server.clone();
        let running = server.on().close(move || told.send(inside.is_listening()).expect("the test waits")).spawn();
        let running = running.expect("a thread can be started");
        server.close();
        assert_eq!(close.recv_timeout(HANG), Ok(false), "a server does not listen inside its close callback");
        within("run returns", || running.join()).expect("it was closed in order");
        assert!(!server.is_listening(), "a closed server does not listen");
    });
}

/// Ensures that `address` is exactly what was bound (sequential/net-server-address.js).
#[test]
fn address_is_what_was_bound() {
    let server = Server::listen("127.0.0.1:0").expect("IPv4 works");
    assert_eq!(server.address().ip(), Some([127, 0, 0, 1].into()), "the IP asked for is the one told");
    assert_eq!(server.address().family(), Family::Ipv4, "its family is told");
    assert_ne!(server.address().port(), 0, "the port told is the one the system chose");

    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped for IPv6");
        return;
    }
    let server = Server::listen("[::1]:0").expect("IPv6 works");
    assert_eq!(server.address().ip(), Some(std::net::Ipv6Addr::LOCALHOST.into()), "the IP asked for is the one told");
    assert_eq!(server.address().family(), Family::Ipv6, "its family is told");

    let server = Server::listen(0).expect("every interface can be listened on");
    let any = std::net::Ipv6Addr::UNSPECIFIED.into();
    assert_eq!(server.address().ip(), Some(any), "a bare port listens on :: where there is IPv6");
    assert_eq!(server.address().family(), Family::Ipv6, "and says so");
    let kept = server.address().clone();
    server.close();
    assert_eq!(*server.address(), kept, "the address outlives the server");
}

/// Ensures that a bare port takes clients of both families, and shows the IPv4 ones as such (sequential/net-server-address.js).
#[test]
fn a_bare_port_takes_both_families() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6");
        return;
    }
    let server = Server::listen(0).expect("every interface can be listened on");
    for (to, family) in [("127.0.0.1", Family::Ipv4), ("::1", Family::Ipv6)] {
        let client = Socket::connect((to, server.address().port())).expect("both families are listened on");
        let accepted = accept(&server);
        assert_eq!(accepted.remote_address().family(), family, "an IPv4 client is not shown as ::ffff:127.0.0.1");
        assert_eq!(accepted.remote_address(), client.local_address(), "both sides name the client's end alike");
        assert_eq!(accepted.local_address(), client.remote_address(), "both sides name the server's end alike");
    }
}

/// Ensures that port 0 is the system's choice, that a port is kept, and that a backlog is taken with either
/// (sequential/net-server-bind.js).
#[test]
fn port_0_is_the_systems_choice_and_a_port_is_kept() {
    in_child(this_test!(), &[], || {
        each_ip(|at| {
            let first = Server::listen(at).expect("port 0 can be listened on");
            let port = first.address().port();
            assert!(port > 100, "the system chooses no port of the first hundred, but chose {port}");
            let address = first.address().clone();
            first.close();
            let again =
                ServerOptions::new().backlog(127).listen(&address).expect("a closed server's port is free at once");
            assert_eq!(*again.address(), address, "the port asked for is the one told");
        });
        let bare = ServerOptions::new().backlog(127).listen(0).expect("a backlog goes with a bare port too");
        assert!(bare.address().port() > 100, "port 0 is the system's choice");
    });
}

/// Ensures that every form of no port is the system's choice, and that a port outside the range is an error before
/// anything is tried (net-server-listen-options.js).
///
/// Ports are `u16`, so only a text can hold a bad one; and there is always a port or a path.
#[test]
fn every_form_of_no_port_is_the_systems_choice_and_a_bad_one_an_error() {
    let ports = [Server::listen(0), Server::listen("0"), Server::listen(":0"), Server::listen(("127.0.0.1", 0))];
    for server in ports {
        assert_ne!(server.expect("port 0 can be listened on").address().port(), 0, "the system chose a port");
    }
    for bad in ["127.0.0.1:65536", ":65536", "65536", ":4294967295", ":99999999999999999999"] {
        let error = Server::listen(bad).expect_err("there is no such port");
        assert_eq!(error.told().code(), "ERR_SOCKET_BAD_PORT", "{bad} is no port");
        let received = bad.rsplit(':').next().expect("there is always a last part");
        let text = format!("options.port should be >= 0 and < 65536. Received {received}.");
        assert_eq!(error.to_string(), text, "the error says what it got");
        assert_eq!(error.told().syscall(), None, "nothing was tried");
    }
    for bad in [":-1", ":NaN", ":123.456", ":Infinity", "127.0.0.1", "", ":", "/tmp/socket"] {
        let error = Server::listen(bad).expect_err("that is no endpoint");
        assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "{bad:?} is no endpoint");
        assert!(error.to_string().contains(bad), "the error names {bad:?}: {error}");
    }
}

/// Ensures that listening on an address of somebody else's is an error that names call, address and port
/// (net-listen-error.js, net-better-error-messages-listen.js).
#[test]
fn an_address_that_is_not_ours_is_an_error_that_names_it() {
    let error = Server::listen("1.1.1.1:1").expect_err("1.1.1.1 is not this machine");
    assert_eq!(error.told().syscall(), Some("listen"), "the call is named");
    let address = error.told().address().expect("the address is named");
    assert_eq!((address.ip(), address.port()), (Some([1, 1, 1, 1].into()), 1), "it is the one asked for");
    assert_eq!(error.told().code(), "EADDRNOTAVAIL", "the system's reason is kept");
    assert_eq!(error.to_string(), "listen EADDRNOTAVAIL: address not available 1.1.1.1:1", "Node's text");
    let error = Server::listen("1.1.1.1:0").expect_err("1.1.1.1 is not this machine");
    assert_eq!(error.to_string(), "listen EADDRNOTAVAIL: address not available 1.1.1.1", "port 0 is not shown");
}

/// Ensures that a port on which a server listens for everybody is in use for the next one (net-eaddrinuse.js).
#[test]
fn a_port_of_every_interface_is_in_use() {
    let first = Server::listen(0).expect("every interface can be listened on");
    let port = first.address().port();
    let error = Server::listen(port).expect_err("the port is taken");
    assert_eq!(error.told().code(), "EADDRINUSE", "a port is one server's");
    let host = if first.address().family() == Family::Ipv6 { "::" } else { "0.0.0.0" };
    let text = format!("listen EADDRINUSE: address already in use {host}:{port}");
    assert_eq!(error.to_string(), text, "Node's text, without brackets");

    let first = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let error = Server::listen(first.address().port()).expect_err("the port is taken on 127.0.0.1");
    assert_eq!(error.told().code(), "EADDRINUSE", "a server on 127.0.0.1 keeps the port from one on every interface");
}

/// Ensures that a second server on an address is an error, and that the first goes on serving (net-bind-twice.js).
#[test]
fn a_second_server_on_an_address_is_an_error() {
    each_ip(|at| {
        let first = Served::start(at, &ServerOptions::new(), |socket| socket.write_end("first"));
        let error = Server::listen(first.server.address()).expect_err("the address is taken");
        assert_eq!(error.told().code(), "EADDRINUSE", "an address is one server's");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "its kind is std's");
        let address = first.server.address().to_string().replace(['[', ']'], "");
        let text = format!("listen EADDRINUSE: address already in use {address}");
        assert_eq!(error.to_string(), text, "Node's text");
        let client = first.connect();
        let told = within("the first server answers", move || client.read_text());
        assert_eq!(told.expect("the answer arrives"), "first", "the first server is not disturbed");
        first.stop();
    });
}

/// Ensures that options which failed on one port listen on another right after (net-server-try-ports.js).
#[test]
fn options_that_failed_on_one_port_listen_on_another() {
    let taken = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let options = ServerOptions::new();
    assert!(options.listen(taken.address()).is_err(), "the port is taken");
    let server = options.listen("127.0.0.1:0").expect("another port is free");
    let client = Socket::connect(server.address()).expect("it listens");
    client.write_all("hello").expect("it is connected");
    let accepted = accept(&server);
    let mut buf = [0; 5];
    accepted.read_exact(&mut buf).expect("the bytes arrive");
    assert_eq!(&buf, b"hello", "the server on the second port works");
}

/// Ensures that `close` waits for nobody, that each open socket then closes once, and the server once after them
/// (net-server-close.js).
#[test]
fn a_closed_server_tells_close_once_after_its_sockets_were_destroyed() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let (tell, told) = mpsc::channel();
        let (open, opened) = mpsc::channel();
        let (socket_close, server_close) = (tell.clone(), tell);
        let running = server
            .on()
            .connection(move |socket| {
                socket.each(|socket, event| match event {
                    SocketEvent::Data(_) => open.send(socket.clone()).map_err(std::io::Error::other),
                    SocketEvent::Close { had_error } => {
                        socket_close.send(format!("socket {had_error}")).map_err(std::io::Error::other)
                    }
                    _ => Ok(()),
                })
            })
            .close(move || server_close.send("server".into()).expect("the test waits"))
            .spawn()
            .expect("a thread can be started");
        let clients = [0, 1].map(|_| Socket::connect(server.address()).expect("the server listens"));
        for client in &clients {
            client.write_all("x").expect("it is connected");
        }
        let sockets = [0, 1].map(|_| opened.recv_timeout(HANG).expect("both are served"));
        server.close();
        assert_eq!(server.connections(), 2, "open connections outlive close");
        assert!(told.try_recv().is_err(), "nothing is closed while connections are open");
        for socket in &sockets {
            socket.destroy();
        }
        let order = [0, 1, 2].map(|_| told.recv_timeout(HANG).expect("all three tell their close"));
        assert_eq!(order, ["socket false", "socket false", "server"], "sockets close first, then the server");
        within("run returns", || running.join()).expect("it was closed in order");
        assert!(told.recv().is_err(), "each close is told once");
        drop(clients);
    });
}

/// Ensures that a server to which nobody has connected counts no connection (async-hooks/net-get-connections.js).
#[test]
fn a_server_without_clients_counts_none() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    assert_eq!(server.connections(), 0, "nobody has connected");
    assert!(server.sockets().is_empty(), "nobody is there");
    server.close();
    assert_eq!(server.connections(), 0, "a closed server can be asked too");
}

/// Ensures that a system on which IPV6_V6ONLY cannot be changed, as OpenBSD, has servers on IPv6 addresses, and a server
/// over IPv4 on a bare port, where an IPv6 socket would not accept IPv4 clients.
#[test]
fn a_system_that_refuses_ipv6_only_has_servers() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return println!("skipped: no IPv6");
    }
    // The first call of each thread. It is the one with IPV6_V6ONLY.
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt"];
    in_child(this_test!(), &[&strace[..], &["-e", "inject=setsockopt:error=EINVAL:when=1"]].concat(), || {
        let listen = |at: &'static str, only: bool| {
            within("listen returns", move || ServerOptions::new().ipv6_only(only).listen(at))
        };
        let server = listen("[::1]:0", false).expect("an IPv6 address is listened on");
        assert_eq!(server.address().family(), Family::Ipv6, "the server is on the IPv6 address");
        let running = server.spawn(|socket| socket.write_end("hello")).expect("a thread can be started");
        let client = std::net::TcpStream::connect(server.address().socket_addr().expect("an address"));
        let text = std::io::read_to_string(client.expect("it listens")).expect("an orderly end");
        assert_eq!(text, "hello", "clients are served");
        server.close();
        within("serve returns", || running.join()).expect("it was closed in order");

        let server = within("listen returns", || Server::listen(0)).expect("a bare port can be listened on");
        assert_eq!(server.address().family(), Family::Ipv4, "a bare port is served over IPv4");
        let error = listen("[::]:0", true).expect_err("the socket would accept IPv4 clients");
        assert_eq!(error.told().code(), "EINVAL", "a server accepts no clients that its options exclude");
    });
}

/// Ensures that options which cannot be right are errors that name them, and that no socket has existed then.
#[test]
fn a_wrong_option_is_an_error_that_names_it_before_any_socket_exists() {
    in_child(
        this_test!(),
        &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=socket", "-e", "inject=socket:error=EXDEV"],
        || {
            // Premise: in this process socket(2) itself fails, so what gets as far as a socket fails with EXDEV.
            let error = Server::listen("127.0.0.1:0").expect_err("socket(2) fails here");
            assert_eq!(error.told().raw_os_error(), Some(18), "the premise: {error}");
            let before = crate::support::descriptors();

            let error = ServerOptions::new().stack_size(64 * 1024 - 1).listen("127.0.0.1:0").expect_err("too small");
            assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "a stack below the floor is out of range");
            assert_eq!(
                error.to_string(),
                "The value of \"stack_size\" is out of range. It must be >= 65536. Received 65535",
                "the error names option, bound and value"
            );
            let error = ServerOptions::new().max_connections(usize::MAX).listen("127.0.0.1:0").expect_err("too many");
            assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "a limit above the ceiling is out of range");
            let text = error.to_string();
            assert!(text.starts_with("The value of \"max_connections\" is out of range. It must be <= "), "{text}");
            assert!(text.ends_with(&format!("Received {}", usize::MAX)), "the error says what it got: {text}");
            let connect = landline::net::SocketOptions::new().local_address("localhost").connect("127.0.0.1:1");
            let error = connect.expect_err("a name is no local address");
            assert_eq!(error.told().code(), "ERR_INVALID_IP_ADDRESS", "a local address is an IP address");
            assert_eq!(
                error.to_string(),
                "Invalid IP address: localhost (local_address)",
                "the error names value and option"
            );
            for error in [Server::listen("127.0.0.1:65536").map(drop), Socket::connect("nowhere").map(drop)] {
                let error = error.expect_err("that is no endpoint");
                assert!(
                    error.told().code().starts_with("ERR_"),
                    "a bad endpoint is found before a socket is tried: {error}"
                );
            }
            assert_eq!(crate::support::descriptors(), before, "no descriptor is left");
        },
    );
}

/// Ensures that the smallest stack allowed is enough for a handler that answers and one that panics.
#[test]
fn the_smallest_stack_serves() {
    let options = ServerOptions::new().stack_size(64 * 1024);
    let served = Served::start("127.0.0.1:0", &options, |socket| {
        let line = socket.buffered()?.lines().next().expect("the client sends a line")?;
        assert!(line != "panic", "as asked");
        socket.write_end(line)
    });
    for (sent, expected) in [("panic\n", ""), ("hello\n", "hello")] {
        let client = served.connect();
        client.write_all(sent).expect("it is connected");
        let told = within("the server answers or ends", move || client.read_text());
        assert_eq!(told.expect("it ends in order"), expected, "after {sent:?}");
    }
    served.stop();
}

/// Ensures that an `Error` goes through `io::Error` and comes back whole.
#[test]
fn a_listen_error_comes_back_out_of_an_io_error() {
    let (server, _client, _accepted) = pair("127.0.0.1:0");
    let io = Server::listen(server.address()).expect_err("the address is taken");
    let text = io.to_string();
    assert_eq!(io.kind(), std::io::ErrorKind::AddrInUse, "the kind is kept");
    assert!(format!("{io:?}").contains(&text), "Debug shows the text, as main would");
    let back = Error::of(&io).expect("a landline error is inside");
    assert_eq!((back.code(), back.address()), ("EADDRINUSE", Some(server.address())), "nothing was lost");
    assert_eq!(back.to_string(), text, "the text is kept");
}

/// Ensures that of a list the first address that can be listened on is, in its order, and that the others are left alone.
#[test]
fn a_list_listens_on_the_first_address_that_can_be_had() {
    in_child(this_test!(), &[], || {
        each_ip(|at| {
            let first = Server::listen(at).expect("port 0 can be listened on");
            let taken = first.address().socket_addr().expect("it is an IP address");
            let free: std::net::SocketAddr = at.parse().expect("it is an address");
            let second = Server::listen([taken, free]).expect("port 0 can be listened on");
            assert_ne!(second.address(), first.address(), "the first is taken, so it is the second");
            first.close();
            let third = Server::listen([taken, free]).expect("it is free again");
            assert_eq!(third.address(), first.address(), "the first is free, so it is the first");

            let others = [taken, second.address().socket_addr().expect("it is an IP address")];
            let error = Server::listen(others.to_vec()).map(drop).expect_err("both are taken");
            assert_eq!(
                (error.told().code(), error.kind()),
                ("EADDRINUSE", std::io::ErrorKind::AddrInUse),
                "the first's"
            );
            let text = format!("listen EADDRINUSE 2 addresses ({} EADDRINUSE, {} EADDRINUSE)", others[0], others[1]);
            assert_eq!(error.to_string(), text, "it says what was tried");
            assert_eq!(error.told().causes().len(), 2, "it has the error of each");
            let error = Server::listen([taken]).map(drop).expect_err("it is taken");
            assert_eq!(error.to_string(), Server::listen(taken).map(drop).expect_err("as alone").to_string(), "of one");
        });
    });
}
