//! The addresses of a connection's two ends, and the socket as a value.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc;

use landline::Family;
use landline::net::{Server, Socket};

use crate::support::fixtures::{pair, watch};
use crate::support::{each_ip, families, within};

/// Ensures that both ends of a connection know both addresses, each the other's counterpart, with the right family, and
/// know them still in the close and after (net-remote-address-port.js).
#[test]
fn both_ends_know_both_addresses() {
    within("both sides close", || {
        each_ip(|at| {
            let (server, client, accepted) = pair(at);
            let family = server.address().family();
            assert_eq!(client.remote_address(), server.address(), "the client's remote end is the server");
            assert_eq!(accepted.local_address(), server.address(), "as is the server's local end");
            assert_eq!(accepted.remote_address(), client.local_address(), "the server's remote end is the client");
            assert_ne!(accepted.remote_address().port(), server.address().port(), "whose port is another");
            for socket in [&client, &accepted] {
                for address in [socket.local_address(), socket.remote_address()] {
                    assert_eq!(address.family(), family, "{address} is of the family that was listened on");
                    assert!(address.ip().is_some_and(|ip| ip.is_loopback()), "{address} is this machine");
                    assert_eq!(address.path(), None, "{address} is no path");
                }
            }
            let (tell, told) = mpsc::channel();
            let closing = watch(&accepted, move |socket, event| {
                if let landline::net::SocketEvent::Close { .. } = event {
                    let ends = (socket.local_address().clone(), socket.remote_address().clone());
                    tell.send(ends).expect("the test waits");
                }
                Ok(())
            });
            let own = client.local_address().clone();
            client.destroy();
            assert_eq!(told.recv(), Ok((server.address().clone(), own.clone())), "they are known in the close");
            closing.join().expect("no panic");
            assert_eq!(accepted.remote_address(), &own, "and after");
            assert_eq!((client.local_address(), client.remote_address()), (&own, server.address()), "on both sides");
        });
    });
}

/// Ensures that the local end of a connection to a server on every interface is the address the client came to, and
/// canonical.
#[test]
fn the_local_end_on_every_interface_is_the_one_the_client_reached() {
    within("the clients are accepted", || {
        let server = Server::listen(0).expect("every interface can be listened on");
        let port = server.address().port();
        let mut hosts = vec![("127.0.0.1", Family::Ipv4)];
        if cfg!(target_os = "linux") {
            hosts.push(("127.0.0.3", Family::Ipv4));
        }
        if server.address().family() == Family::Ipv6 && families().len() == 2 {
            hosts.push(("::1", Family::Ipv6));
        }
        for (host, family) in hosts {
            let client = Socket::connect((host, port)).expect("every interface is listened on");
            let accepted = crate::support::fixtures::accept(&server);
            let local = accepted.local_address();
            assert_eq!(local.ip().map(|ip| ip.to_string()).as_deref(), Some(host), "the address the client came to");
            assert_eq!((local.family(), local.port()), (family, port), "with its own family");
            assert_eq!(accepted.remote_address(), client.local_address(), "the client's as the client knows it");
        }
    });
}

/// Ensures that handles to one connection are equal and hash alike, and others are not, and that a number is never used
/// again.
#[test]
// What is mutable inside a socket takes no part in its equality and its hash.
#[allow(clippy::mutable_key_type)]
fn handles_of_one_connection_are_equal() {
    let (server, client, accepted) = pair("127.0.0.1:0");
    let clone = client.clone();
    assert_eq!(client, clone, "handles to one connection are equal");
    assert_ne!(client, accepted, "the two ends of a connection are two sockets");
    assert_eq!(server.sockets().first(), Some(&accepted), "the server knows the accepted one");
    let mut names = HashMap::from([(client.clone(), "client"), (accepted, "accepted")]);
    assert_eq!(names.insert(clone, "again"), Some("client"), "handles to one connection hash alike");

    let mut seen = HashSet::new();
    for _ in 0..20 {
        let socket = Socket::connect(server.address()).expect("it listens");
        assert!(seen.insert(socket.id()), "{} was used before", socket.id());
        let accepted = crate::support::fixtures::accept(&server);
        assert!(seen.insert(accepted.id()), "{} was used before", accepted.id());
        assert!(accepted.id() > socket.id(), "numbers rise");
    }
    client.destroy();
    assert_eq!(names.get(&client), Some(&"again"), "a closed socket is still found");
}

/// Ensures that `sockets` lists the open connections in the order they came.
#[test]
fn sockets_lists_the_open_connections_in_order() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let clients: Vec<_> = (0..5).map(|_| Socket::connect(server.address()).expect("it listens")).collect();
        let mut accepted: Vec<_> = clients.iter().map(|_| crate::support::fixtures::accept(&server)).collect();
        assert_eq!(server.sockets(), accepted, "all five, in order");
        accepted.remove(2).destroy();
        assert_eq!(server.sockets(), accepted, "a closed one is gone");
        assert_eq!(server.connections(), 4, "and not counted");
    });
}

/// Ensures that `Debug` of each type says what one wants to know of it while searching a fault.
#[test]
fn debug_says_what_one_wants_to_know() {
    let (server, client, accepted) = pair("127.0.0.1:0");
    let address = server.address();
    assert_eq!(format!("{client:?}"), format!("Socket({} {address} open)", client.id()), "number, peer, state");
    assert_eq!(format!("{server:?}"), format!("Server({address} listening, 1 open)"), "address, state, count");
    assert_eq!(format!("{address:?}"), address.to_string(), "an address as it is written");
    accepted.destroy();
    client.destroy();
    server.close();
    assert_eq!(format!("{client:?}"), format!("Socket({} {address} closed)", client.id()), "closed");
    assert_eq!(format!("{server:?}"), format!("Server({address} closed, 0 open)"), "closed");
    assert!(format!("{:?}", client.id()).contains(&client.id().get().to_string()), "the number");
    assert_eq!(client.id().to_string(), format!("#{}", client.id().get()), "as reports show it");
    let options = format!("{:?}", landline::net::ServerOptions::new().max_connections(7));
    assert!(options.contains('7') && options.contains("4096"), "options with their values: {options}");
    assert!(format!("{:?}", server.on()).contains("Server("), "callbacks with their server");
}
