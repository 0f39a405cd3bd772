//! Connecting: to what, from where, and what keeps it from working.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc;

use landline::net::{Server, ServerOptions, Socket, SocketOptions};
use landline::{Address, Endpoint, Family, Report};

use crate::support::Whole;
use crate::support::fixtures::{Refusing, Served, accept, port_of_no_client};
use crate::support::{Told, each_ip, eventually, within};

/// An address as Node's messages write it.
fn bare(address: impl ToString) -> String {
    address.to_string().replace(['[', ']'], "")
}

/// Ensures that connecting to a path that is not there is an error that names it (net-better-error-messages-path.js).
#[test]
fn connecting_to_a_missing_path_is_an_error_that_names_it() {
    let path = std::path::Path::new("/nowhere/landline.sock");
    let error = Socket::connect(path).expect_err("nobody listens there");
    let code = error.told().code();
    assert!(["ENOENT", "ENOTSUP"].contains(&code), "it is not there, or Unix sockets are not: {code}");
    assert_eq!(error.to_string(), format!("connect {code} {}", path.display()), "call, code and path");
}

/// Ensures that a refused connect names call, code, address and port (sequential/net-better-error-messages-port.js).
#[test]
fn a_refused_connect_names_address_and_port() {
    within("connect returns", || {
        each_ip(|at| {
            let refusing = Refusing::at(at);
            let error = Socket::connect(refusing.address).expect_err("nobody listens there");
            assert_eq!(error.told().syscall(), Some("connect"), "the call");
            assert_eq!(error.told().code(), "ECONNREFUSED", "the code");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "std's kind");
            assert!(error.told().raw_os_error().is_some(), "the system's number");
            assert_eq!(error.told().address(), Some(&Address::from(refusing.address)), "the address");
            assert_eq!(error.told().local_address(), None, "no local address was asked for");
            assert_eq!(error.told().host(), None, "no name was looked up");
            let text = format!("connect ECONNREFUSED {}", bare(refusing.address));
            assert_eq!(error.to_string(), text, "Node's text");
        });
        // In both families, of which either may be this machine.
        let refusing = crate::race::Refusing::new();
        let port = refusing.port;
        for to in [Endpoint::from(port), Endpoint::from(("localhost", port))] {
            let error = Socket::connect(to).expect_err("nobody listens there");
            assert_eq!(error.told().code(), "ECONNREFUSED", "the default host refuses too");
            let address =
                error.told().address().expect("the address is named, that of the first attempt if there were several");
            assert_eq!(address.port(), port, "with the port");
            assert!(address.ip().is_some_and(|ip| ip.is_loopback()), "this machine was asked: {address}");
        }
    });
}

/// Ensures that a name without an address gives `ENOTFOUND`, `getaddrinfo` and the name, and no address
/// (net-better-error-messages-port-hostname.js).
#[test]
fn an_unknown_name_is_not_found() {
    let host = "nohost.invalid";
    let (connect, listen) = within("the look-up returns", move || {
        (Socket::connect((host, 1)).map(drop), Server::listen((host, 1)).map(drop))
    });
    for error in [connect.expect_err("there is no such host"), listen.expect_err("there is no such host")] {
        assert_eq!(error.told().syscall(), Some("getaddrinfo"), "the call");
        assert_eq!(error.told().host(), Some(host), "the name");
        assert_eq!(error.told().address(), None, "there is no address");
        if error.told().code() == "EAI_AGAIN" {
            println!("skipped: no name server answers");
            continue;
        }
        assert_eq!((error.told().code(), error.kind()), ("ENOTFOUND", ErrorKind::NotFound), "there is no such host");
        assert_eq!(error.to_string(), format!("getaddrinfo ENOTFOUND {host}"), "Node's text");
    }
}

/// Ensures that a name which cannot exist, with a part of 64 characters, is an error of the look-up (net-dns-error.js).
#[test]
fn a_name_with_a_part_of_64_characters_is_an_error_of_the_look_up() {
    let host = "x".repeat(64);
    let error = {
        let host = host.clone();
        within("the look-up returns", move || Socket::connect((host, 1)).map(drop))
    };
    let error = error.expect_err("a part of a name has 63 characters at most");
    assert!(["ENOTFOUND", "EAI_FAIL"].contains(&error.told().code()), "there can be no such host: {error}");
    assert_eq!((error.told().syscall(), error.told().host()), (Some("getaddrinfo"), Some(&*host)), "call and name");
    let text = format!("getaddrinfo {} {host}", error.told().code());
    assert!(error.to_string().starts_with(&text), "Node's text, and that of the system: {error}");
}

/// Ensures that one set of options fails 21 times in a row with one error each, and connects nowhere
/// (sequential/net-reconnect-error.js).
#[test]
fn options_can_fail_again_and_again() {
    within("every connect returns", || {
        each_ip(|at| {
            let refusing = Refusing::at(at);
            let (tell, told) = mpsc::channel();
            let options = SocketOptions::new().report(move |report| tell.send(report.to_string()).expect("it waits"));
            for _ in 0..21 {
                let error = options.connect(refusing.address).expect_err("nobody listens there");
                let at = refusing.address;
                assert_eq!(error.to_string(), format!("connect ECONNREFUSED {}", bare(at)), "each is refused");
                let texts = [
                    format!("connecting to {at}"),
                    format!("connecting to {at} failed: ECONNREFUSED"),
                    format!("failed: {error}"),
                ];
                assert_eq!(told.try_iter().collect::<Vec<_>>(), texts, "each is reported once and is no connection");
            }
        });
    });
}

/// Ensures that a port outside the range is an error before anything is tried, that port 0 is the system's error, and that
/// every form of call connects (net-connect-options-port.js).
#[test]
fn every_form_of_endpoint_connects_and_a_bad_port_does_not() {
    within("every connect returns", || {
        for bad in ["localhost:65536", ":65536", ":70000", "65536", "127.0.0.1:65536", "127.0.0.1:4294967296"] {
            let error = Socket::connect(bad).expect_err("there is no such port");
            assert_eq!(
                (error.told().code(), error.told().syscall()),
                ("ERR_SOCKET_BAD_PORT", None),
                "{bad} is no port"
            );
        }
        let error = Socket::connect(("127.0.0.1", 0)).expect_err("nobody listens on port 0");
        assert_eq!(error.told().syscall(), Some("connect"), "port 0 is tried");
        assert!(error.told().raw_os_error().is_some(), "and the system's error is told");
        assert_eq!(error.to_string(), format!("connect {} 127.0.0.1", error.told().code()), "port 0 is not shown");

        let served = Served::start("127.0.0.1:0", &ServerOptions::new(), |socket| socket.pipe(socket));
        let address = served.server.address().clone();
        let port = address.port();
        let at = address.socket_addr().expect("it is TCP");
        let (ip, text) = (Ipv4Addr::LOCALHOST, format!("127.0.0.1:{port}"));
        let forms = || -> Vec<Endpoint> {
            vec![
                port.into(),
                text.as_str().into(),
                text.clone().into(),
                (&text).into(),
                format!("localhost:{port}").into(),
                format!(":{port}").into(),
                port.to_string().into(),
                ("127.0.0.1", port).into(),
                ("localhost", port).into(),
                (String::from("localhost"), port).into(),
                (IpAddr::V4(ip), port).into(),
                (ip, port).into(),
                ([127, 0, 0, 1], port).into(),
                at.into(),
                (&at).into(),
                SocketAddrV4::new(ip, port).into(),
                address.clone().into(),
                (&address).into(),
            ]
        };
        let sets = [
            SocketOptions::new(),
            SocketOptions::default().family(Family::Ipv4),
            SocketOptions::new().local_address("127.0.0.1"),
            SocketOptions::new().local_address(ip),
        ];
        let mut connected = 0;
        for options in sets {
            for form in forms() {
                let shown = format!("{form:?}");
                let socket = options.connect(form).unwrap_or_else(|error| panic!("{shown}: {error}"));
                assert_eq!(*socket.remote_address(), address, "{shown} leads to the server");
                socket.write_end(shown.as_str()).expect("it is connected");
                assert_eq!(socket.read_text().expect("no reset"), shown, "{shown} is a working connection");
                connected += 1;
            }
        }
        assert_eq!(connected, 72, "Node's test connects as often");
        eventually("every connection ends", || served.server.connections() == 0);
        assert_eq!(served.server.stats().accepted, 72, "each was one connection");
        served.stop();
    });
}

/// Ensures that a local address is the one the server sees, and that one that cannot be had is the error of `bind`.
#[test]
fn the_server_sees_the_local_address_that_was_asked_for() {
    within("every connect returns", || {
        let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
        if cfg!(target_os = "linux") {
            // All of 127/8 is this machine there.
            let client = SocketOptions::new().local_address("127.0.0.2").connect(server.address());
            let client = client.expect("the address is ours");
            assert_eq!(accept(&server).remote_address(), client.local_address(), "both name it alike");
            assert_eq!(client.local_address().ip(), Some([127, 0, 0, 2].into()), "it is the one asked for");
        }
        let error = SocketOptions::new().local_address("1.1.1.1").connect(server.address()).expect_err("not ours");
        assert_eq!((error.told().syscall(), error.told().code()), (Some("bind"), "EADDRNOTAVAIL"), "call and code");
        assert_eq!(error.to_string(), "bind EADDRNOTAVAIL 1.1.1.1", "Node's text");
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let taken = held.local_addr().expect("it is bound").port();
        let options = SocketOptions::new().local_address("127.0.0.1").local_port(taken);
        let error = options.connect(server.address()).expect_err("somebody listens there");
        assert_eq!(error.to_string(), format!("bind EADDRINUSE 127.0.0.1:{taken}"), "Node's text");
        let address = error.told().address().expect("the address is named");
        assert_eq!(*address, Address::from(SocketAddr::from(([127, 0, 0, 1], taken))), "the local one");
    });
}

/// Ensures that a refused connect from a local address and port names both.
#[test]
fn a_refused_connect_names_the_local_end_that_was_asked_for() {
    within("connect returns", || {
        let refusing = Refusing::at("127.0.0.1:0");
        let to = refusing.address;
        // A port that is free may be taken by another program in the next moment.
        let (port, error) = (0..20)
            .find_map(|_| {
                let port = port_of_no_client();
                let options = SocketOptions::new().local_address("127.0.0.1").local_port(port);
                let error = options.connect(to).expect_err("nobody listens there");
                (error.told().code() != "EADDRINUSE").then_some((port, error))
            })
            .expect("one of 20 ports is free");
        let text = format!("connect ECONNREFUSED 127.0.0.1:{} - Local (127.0.0.1:{port})", to.port());
        assert_eq!(error.to_string(), text, "Node's text");
        assert_eq!(error.told().local_address().map(Address::port), Some(port), "the local port can be asked for");
        let error = SocketOptions::new().local_address("127.0.0.1").connect(to).expect_err("nobody listens there");
        assert_eq!(error.told().local_address(), None, "only an end that was asked for whole is named");
    });
}

/// Ensures that a text which is no IP address is no local address, and that the error names the option and the text.
#[test]
fn a_name_is_no_local_address() {
    let refusing = Refusing::at("127.0.0.1:0");
    for text in ["localhost", "", "127.0.0.1:80", "1.2.3", "[::1]", "::1%"] {
        let error = SocketOptions::new().local_address(text).connect(refusing.address).expect_err("no IP address");
        assert_eq!(
            (error.told().code(), error.kind()),
            ("ERR_INVALID_IP_ADDRESS", ErrorKind::InvalidInput),
            "{text:?}"
        );
        assert_eq!(error.to_string(), format!("Invalid IP address: {text} (local_address)"), "value and option");
    }
}

/// Ensures that a client connects to the very address a server on every interface tells (net-socket-connect-without-cb.js).
#[test]
fn the_address_of_a_server_on_every_interface_can_be_connected_to() {
    within("the client is accepted", || {
        let server = Server::listen(0).expect("every interface can be listened on");
        let client = Socket::connect(server.address()).expect("it is this machine");
        assert_eq!(accept(&server).remote_address(), client.local_address(), "it is our client");
    });
}

/// Ensures that a family asked for is the one a bare port or a name is connected over.
#[test]
fn a_family_asked_for_is_used() {
    within("every connect returns", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let family = server.address().family();
            let options = SocketOptions::new().family(family);
            let client = options.connect(server.address().port()).expect("the family's loopback is listened on");
            assert_eq!(client.remote_address(), server.address(), "a bare port leads to the family's loopback");
        });
        let error = SocketOptions::new().family(Family::Unix).connect(("localhost", 1)).map(drop);
        let error = error.expect_err("a name has no address of that family");
        assert_eq!(error.to_string(), "getaddrinfo ENOTFOUND localhost", "as of a name without any");
        let error = SocketOptions::new().family(Family::Unix).connect(1).map(drop);
        let error = error.expect_err("a port is on no Unix socket");
        assert_eq!(
            error.told().code(),
            "ERR_INVALID_ADDRESS_FAMILY",
            "as for a list without an address of it: {error}"
        );
    });
}

/// Ensures that a client's connection is reported as connected, then as ended, once.
#[test]
fn a_clients_connection_is_reported() {
    within("the connection ends", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let (tell, told) = mpsc::channel();
            let options = SocketOptions::new().report(move |report| tell.send(report.clone()).expect("the test waits"));
            let client = options.connect(server.address()).expect("it listens");
            let (id, local) = (client.id(), client.local_address().clone());
            client.write_all("abc").expect("it is connected");
            client.destroy();
            client.destroy();
            drop((client, options));
            let reports: Vec<_> = told.iter().collect();
            let texts: Vec<_> = reports.iter().map(Report::to_string).collect();
            assert_eq!(texts.len(), 3, "three reports: {texts:?}");
            assert_eq!(texts[0], format!("connecting to {}", server.address()), "first the attempt");
            assert_eq!(texts[1], format!("{id} {local} -> {} connected", server.address()), "then connected");
            let Report::Ended { connection, read, written, outcome, .. } = &reports[2] else {
                panic!("then ended, not {}", texts[2]);
            };
            assert_eq!((connection.id, *read, *written), (id, 0, 3), "which, and how much");
            let texts = (id.to_string(), connection.to_string());
            let padded = format!("{id:>20}|{connection:>90}");
            assert_eq!(padded, format!("{:>20}|{:>90}", texts.0, texts.1), "both are padded as texts are");
            assert_eq!(outcome.to_string(), "destroyed", "and how");
        });
    });
}
