//! The limit of connections as single clients see it, and the count while they talk.

use std::io::{self, ErrorKind};
use std::sync::mpsc;

use landline::RefusedBy;
use landline::net::{ReadyState, Server, ServerOptions, Socket, SocketEvent};

use crate::support::Whole;
use crate::support::fixtures::Served;
use crate::support::{WHOLE, differs, each_ip, eventually, in_surroundings, within, within_for};

/// Whether the connection is over, in one of the two ways a refused client may see it.
fn is_over(client: &Socket) -> bool {
    match client.read(&mut [0; 1]) {
        Ok(n) => n == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Ensures that with a limit of 10 the first ten of twenty clients are served and stay, and the others see connect, no
/// data, and the end, before the first ten do (net-server-max-connections.js).
#[test]
fn ten_of_twenty_clients_are_served() {
    within("all twenty are told", || {
        each_ip(|at| {
            let served = Served::start(at, &ServerOptions::new().max_connections(10), |socket| {
                socket.write_all("hello")?;
                socket.read_all().map(drop)
            });
            let server = served.server.clone();
            let clients: Vec<_> = (0..20).map(|_| served.connect()).collect();
            let (first, last) = clients.split_at(10);
            for client in first {
                let mut hello = [0; 5];
                client.read_exact(&mut hello).expect("the first ten are served");
                assert_eq!(&hello, b"hello", "with data");
            }
            for client in last {
                assert!(is_over(client), "the last ten get no data but the end");
                assert_eq!(client.bytes_read(), 0, "no data at all");
            }
            assert_eq!(server.connections(), 10, "the first ten are open still");
            let stats = server.stats();
            assert_eq!((stats.accepted, stats.open, stats.peak), (10, 10, 10), "ten were let in");
            assert_eq!(stats.refused(RefusedBy::Full), 10, "ten were refused");
            for client in first {
                client.end().expect("it is open");
                assert!(is_over(client), "the first ten end when they want to");
            }
            eventually("every slot comes back", || server.connections() == 0);
            assert_eq!(server.stats().ended, 10, "ten ended in order");
            served.stop();
        });
    });
}

/// Ensures that a limit of 0 refuses the very first client and 1 the second, that each refusal carries both addresses, and
/// that the handler does not run for it (net-server-drop-connections.js).
#[test]
fn a_limit_of_0_refuses_the_first_client_and_of_1_the_second() {
    within("all clients are told", || {
        each_ip(|at| {
            for limit in [0, 1] {
                let server = ServerOptions::new().max_connections(limit).listen(at).expect("port 0 can be listened on");
                let (tell, told) = mpsc::channel();
                let handled = tell.clone();
                let running = server
                    .on()
                    .connection(move |socket| {
                        handled.send(format!("handled {}", socket.remote_address())).map_err(io::Error::other)?;
                        socket.read_all().map(drop)
                    })
                    .refused(move |client| {
                        let text = format!("refused {} -> {}", client.remote, client.local);
                        tell.send(text).expect("the test waits");
                    })
                    .spawn()
                    .expect("a thread can be started");
                let mut clients = Vec::new();
                for n in 0..=limit {
                    let client = Socket::connect(server.address()).expect("the kernel connects all of them");
                    // Before the next one comes: the two are told on two threads.
                    let text = told.recv().expect("each client is told of");
                    let (own, address) = (client.local_address(), server.address());
                    if n < limit {
                        assert_eq!(text, format!("handled {own}"), "a client below the limit of {limit}");
                    } else {
                        assert_eq!(text, format!("refused {own} -> {address}"), "a client at the limit of {limit}");
                        assert!(is_over(&client), "it is closed");
                    }
                    clients.push(client);
                }
                drop(clients);
                server.close();
                running.join().expect("it was closed in order");
                assert_eq!(told.iter().count(), 0, "each client is told of once");
            }
        });
    });
}

/// Ensures that the limit can be read and changed while the server runs: raising lets in at once, lowering closes nobody.
#[test]
fn the_limit_changes_live() {
    within("all clients are told", || {
        each_ip(|at| {
            let served = Served::start(at, &ServerOptions::new().max_connections(1), |socket| {
                socket.write_all("x")?;
                socket.read_all().map(drop)
            });
            let server = &served.server;
            assert_eq!(server.max_connections(), 1, "the limit that was set");
            let is_served = |client: &Socket| client.read_exact(&mut [0; 1]).is_ok();
            let first = served.connect();
            assert!(is_served(&first), "one is allowed");
            assert!(is_over(&served.connect()), "two are not");
            server.set_max_connections(2);
            let second = served.connect();
            assert!(is_served(&second), "two are allowed now");
            server.set_max_connections(0);
            assert_eq!(server.connections(), 2, "lowering the limit closes nobody");
            assert!(is_over(&served.connect()), "0 refuses everybody");
            server.set_max_connections(None);
            assert!(server.max_connections() > 2, "no limit is as many as the system has threads for");
            assert!(is_served(&served.connect()), "so there is room");
            for client in [first, second] {
                client.write_end("x").expect("it was never closed");
            }
            served.stop();
        });
    });
}

/// Ensures that of the limit's default nothing is left to chance: 10,000, or less where descriptors are fewer.
#[test]
fn the_default_limit_is_10000_or_what_descriptors_allow() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    let expected = soft.map_or(USUAL, |soft: usize| soft.saturating_sub(64).min(10_000));
    assert_eq!(server.max_connections(), expected, "the default limit");
}

/// The limit's default where Linux gives a process the usual 1,024 descriptors.
#[cfg(target_os = "linux")]
const USUAL: usize = 1024 - 1024 / 8 - 64;
#[cfg(not(target_os = "linux"))]
const USUAL: usize = 10_000;

/// Ensures that where /proc does not tell the limits of descriptors and of memory mappings, they are taken to be the usual ones
/// and not endless.
#[test]
#[cfg(target_os = "linux")]
fn limits_that_are_not_told_are_the_usual_ones() {
    in_surroundings(this_test!(), "mount -t tmpfs tmpfs /proc", || {
        if differs("no limit of descriptors is known there") {
            return;
        }
        let listen = |options: ServerOptions| options.listen("127.0.0.1:0");
        let server = listen(ServerOptions::new()).expect("port 0 can be listened on");
        assert_eq!(server.max_connections(), USUAL, "the default limit");
        let most = listen(ServerOptions::new().max_connections(None)).expect("port 0 can be listened on");
        assert_eq!(most.max_connections(), 65_530 / 4 - 1000, "as many as a process may have threads for");
        let error =
            listen(ServerOptions::new().max_connections(1_000_000)).expect_err("so many threads end the process");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "more are refused: {error}");
    });
}

/// Ensures that 1,001 pings are answered, that the count is 1 all along, and that a half-open server's side is writable
/// but not readable after the client's end, and neither after the close (net-pingpong.js).
#[test]
fn a_thousand_pings_are_answered() {
    const PINGS: usize = 1001;
    within_for(WHOLE, "every ping is answered", || {
        for to in ["default", "127.0.0.1", "::1"] {
            if to == "::1" && std::net::TcpListener::bind("[::1]:0").is_err() {
                println!("skipped for IPv6");
                continue;
            }
            let options = ServerOptions::new().allow_half_open(true);
            let server = if to == "default" { options.listen(0) } else { options.listen((to, 0)) };
            let server = server.expect("port 0 can be listened on");
            let (tell, told) = mpsc::channel();
            let counted = server.clone();
            let running = server
                .on()
                .connection(move |socket| {
                    assert_eq!(counted.connections(), 1, "the one client counts");
                    assert_eq!(counted.sockets().first(), Some(socket), "and is the one the server knows");
                    let mut pings = 0;
                    socket.each(|socket, event| match event {
                        SocketEvent::Data(bytes) => {
                            assert_eq!(bytes, b"PING", "a client that waits for its answer sends one at a time");
                            assert_eq!(counted.connections(), 1, "the count stays");
                            pings += 1;
                            socket.write_all("PONG")
                        }
                        SocketEvent::End => {
                            assert_eq!(socket.ready_state(), ReadyState::WriteOnly, "not readable, but writable");
                            socket.write_end("BYE")
                        }
                        SocketEvent::Close { had_error } => {
                            let state = socket.ready_state();
                            tell.send((state, had_error, counted.connections())).map_err(std::io::Error::other)
                        }
                        _ => Ok(()),
                    })?;
                    assert_eq!(pings, PINGS, "every ping arrived");
                    Ok(())
                })
                .spawn()
                .expect("a thread can be started");
            let port = server.address().port();
            let client = if to == "default" { Socket::connect(port) } else { Socket::connect((to, port)) };
            let client = client.expect("it listens");
            for _ in 0..PINGS {
                client.write_all("PING").expect("it is connected");
                let mut pong = [0; 4];
                client.read_exact(&mut pong).expect("the answer arrives");
                assert_eq!(&pong, b"PONG", "the answer");
            }
            client.end().expect("it is connected");
            assert_eq!(client.read_text().expect("no reset"), "BYE", "the server writes after the end");
            assert_eq!(told.recv(), Ok((ReadyState::Closed, false, 0)), "after the close neither, and nobody counts");
            server.close();
            running.join().expect("it was closed in order");
            assert_eq!(server.stats().panicked, 0, "no assertion above failed in the handler");
        }
    });
}
