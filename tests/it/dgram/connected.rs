//! Sockets with a peer.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use landline::Error;
use landline::dgram::{Socket, SocketEvent, SocketOptions};

use crate::support::dgram::{receive, receiving, refusing};
use crate::support::{HANG, PORTABLE, Told, eventually, families, in_child, proc, within};

/// Ensures the life of a connection: once, not twice, gone once, not twice, and again.
#[test]
fn connect_and_disconnect_go_once_each_and_again() {
    for at in families() {
        let (server, client) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let not_connected = |error: io::Error| {
            assert_eq!(error.told().code(), "ERR_SOCKET_DGRAM_NOT_CONNECTED");
            assert_eq!(error.to_string(), "Not connected", "it prints what Node prints");
        };
        not_connected(client.remote_address().unwrap_err());
        not_connected(client.disconnect().unwrap_err());
        not_connected(client.send(b"x").unwrap_err());
        for _ in 0..3 {
            client.connect(server.address()).unwrap();
            assert_eq!(client.remote_address().unwrap(), server.address(), "the peer is known");
            let elsewhere = (server.address().ip(), 9);
            for error in [client.connect(server.address()), client.send_to(b"x", elsewhere).map(drop)] {
                let error = error.unwrap_err();
                assert_eq!(error.told().code(), "ERR_SOCKET_DGRAM_IS_CONNECTED");
                assert_eq!(error.to_string(), "Already connected", "it prints what Node prints");
            }
            assert_eq!(client.send(b"hello").unwrap(), 5);
            let (bytes, from) = receive(&server);
            assert_eq!((&*bytes, from.address()), (&b"hello"[..], client.address()), "the port is the same each time");
            let sent = client.send_vectored_to(&[IoSlice::new(b"by "), IoSlice::new(b"address")], server.address());
            assert_eq!((sent.unwrap(), client.send_to(b"again", from.address()).is_err()), (10, true));
            assert_eq!(receive(&server).0, b"by address", "the peer may be named");
            client.disconnect().unwrap();
            not_connected(client.disconnect().unwrap_err());
            not_connected(client.remote_address().unwrap_err());
            client.send_to(b"free", server.address()).unwrap();
            assert_eq!(receive(&server).0, b"free", "without a peer it sends anywhere");
        }
    }
}

/// Ensures that a port that cannot be is refused before anything else.
#[test]
fn connect_to_port_0_or_78960_is_a_bad_port() {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    let error = socket.connect(0).unwrap_err();
    assert_eq!(error.told().code(), "ERR_SOCKET_BAD_PORT");
    assert_eq!(error.to_string(), "Port should be > 0 and < 65536. Received 0.", "it prints what Node prints");
    assert_eq!(socket.connect("127.0.0.1:78960").unwrap_err().told().code(), "ERR_SOCKET_BAD_PORT");
    assert_eq!(socket.connect("[::1]:9").unwrap_err().to_string(), "connect EINVAL ::1:9");
    socket.connect(9).expect("it can still be connected");
}

/// Ensures that a look-up that fails is told, and that the socket can then be connected elsewhere.
#[test]
fn connect_to_an_unknown_name_leaves_the_socket_as_it_was() {
    let (server, client) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    let error = client.connect(("name.invalid", 1)).unwrap_err();
    assert!(["ENOTFOUND", "EAI_AGAIN"].contains(&error.told().code()), "{error}");
    client.connect(server.address()).unwrap();
    client.send(b"x").unwrap();
    assert_eq!(receive(&server).0, b"x");
}

/// Ensures that a bare port is loopback, and that everything sent to the peer arrives: slices, lists of them, and those
/// without a byte.
#[test]
fn every_form_of_send_reaches_the_peer() {
    for at in families() {
        let (server, client) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        client.connect(server.address().port()).unwrap();
        let words = ["foo", "bar", "baz"].map(|word| IoSlice::new(word.as_bytes()));
        let sent = [
            client.send(b"foobarbaz").unwrap(),
            client.send(&b"_foobarbaz_"[1..10]).unwrap(),
            client.send_vectored(&words).unwrap(),
            client.send_vectored(&[IoSlice::new(b"foobarbaz"), IoSlice::new(b"")]).unwrap(),
        ];
        assert_eq!(sent, [9; 4], "each send gives the size of the datagram");
        for _ in sent {
            assert_eq!(receive(&server).0, b"foobarbaz");
        }
        assert_eq!(client.send_vectored(&[]).unwrap(), 0);
        assert_eq!(receive(&server).0, b"", "an empty list is an empty datagram");
        assert_eq!(client.send(b"").unwrap(), 0);
        assert_eq!(receive(&server).0, b"", "an empty slice is an empty datagram");
    }
}

/// Ensures that a connected socket hears its peer alone, whatever had arrived from others before, and that a
/// disconnected one hears everyone.
#[test]
fn only_the_peer_is_heard_while_connected() {
    for at in families() {
        let sockets = [at; 3].map(|at| Socket::bind(at).unwrap());
        let [peer, stranger, socket] = &sockets;
        stranger.send_to(b"before", socket.address()).unwrap();
        socket.connect(peer.address()).unwrap();
        stranger.send_to(b"during", socket.address()).unwrap();
        peer.send_to(b"peer", socket.address()).unwrap();
        assert_eq!(receive(socket).0, b"peer", "nothing of a stranger is delivered");
        socket.disconnect().unwrap();
        stranger.send_to(b"after", socket.address()).unwrap();
        assert_eq!(receive(socket).0, b"after", "a stranger is heard again");
    }
}

/// Ensures that disconnecting loses nothing that has arrived, keeps its order, keeps the port and the settings.
#[test]
fn disconnect_keeps_what_has_arrived_and_the_port_and_the_settings() {
    for at in families() {
        let (peer, socket) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        socket.set_recv_buffer_size(100_000).unwrap();
        let granted = socket.recv_buffer_size().unwrap();
        let address = socket.address();
        for round in 0..3u8 {
            socket.connect(peer.address()).unwrap();
            for i in 0..20u8 {
                peer.send_to([round, i], socket.address()).unwrap();
            }
            socket.disconnect().unwrap();
            peer.send_to(b"new", socket.address()).unwrap();
            for i in 0..20u8 {
                assert_eq!(receive(&socket).0, [round, i], "what had arrived comes first, in order");
            }
            assert_eq!(receive(&socket).0, b"new");
        }
        assert_eq!(socket.address(), address, "the address is the same");
        assert_eq!(socket.recv_buffer_size().unwrap(), granted, "the settings are the same");
        let error = Socket::bind(address).unwrap_err();
        assert_eq!(error.told().code(), "EADDRINUSE", "the port is as much its own as before");
        let sharing = SocketOptions::udp4().reuse_address(true);
        // On Windows the option is enough to take the port of another socket.
        if at.starts_with('1') && !cfg!(windows) {
            assert_eq!(sharing.bind(address).unwrap_err().told().code(), "EADDRINUSE", "and no other may share it");
        }
    }
}

/// Ensures that what had arrived stays in order when one thread disconnects while another receives. The second call of
/// each thread that takes a datagram is slow here, so the thread that receives is in one while the other disconnects.
#[test]
fn disconnect_keeps_the_order_beside_a_receive() {
    const SENT: u8 = 10;
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=recvfrom"];
    in_child(this_test!(), &[&strace[..], &["-e", "inject=recvfrom:delay_enter=20000:when=2+2"]].concat(), || {
        for at in families() {
            for _ in 0..5 {
                let (peer, socket) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
                socket.connect(peer.address()).unwrap();
                for i in 0..SENT {
                    peer.send_to([i], socket.address()).unwrap();
                }
                let (tell, told) = mpsc::channel();
                let [receiver, leaving] = [(); 2].map(|()| socket.clone());
                let receiver = thread::spawn(move || {
                    for _ in 0..SENT {
                        tell.send(receive(&receiver).0[0]).unwrap();
                    }
                });
                let mut received = vec![told.recv_timeout(HANG).expect("the first arrives")];
                within("disconnect returns", move || leaving.disconnect()).unwrap();
                received.extend((1..SENT).map_while(|_| told.recv_timeout(HANG).ok()));
                assert!(received.iter().copied().eq(0..SENT), "in the order in which it arrived: {received:?}");
                receiver.join().unwrap();
            }
        }
    });
}

/// Ensures that a wildcard is a wildcard again after disconnecting.
#[test]
fn disconnect_gives_a_wildcard_back() {
    let socket = Socket::bind(0).unwrap();
    let peer = Socket::bind("127.0.0.1:0").unwrap();
    socket.connect(peer.address()).unwrap();
    socket.disconnect().unwrap();
    let other = Socket::bind("127.0.0.2:0");
    let other = other.unwrap_or_else(|_| Socket::bind("127.0.0.1:0").unwrap());
    other.send_to(b"hello", (other.address().ip(), socket.address().port())).unwrap();
    assert_eq!(receive(&socket).1.address(), other.address(), "it is reached at every address");
}

/// Ensures that blocked receivers stay blocked through connecting and disconnecting, and then receive.
#[test]
fn blocked_receivers_go_on_through_connect_and_disconnect() {
    for at in families() {
        let (peer, socket) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let (got, inbox) = mpsc::channel();
        let loops: Vec<_> = (0..3)
            .map(|_| {
                let got = got.clone();
                let message = move |_: &Socket, bytes: &[u8], _: &_| got.send(bytes.to_vec()).map_err(io::Error::other);
                receiving(&socket, message)
            })
            .collect();
        for round in 0..50u8 {
            socket.connect(peer.address()).unwrap();
            peer.send_to([round, 0], socket.address()).unwrap();
            assert_eq!(inbox.recv_timeout(HANG).expect("a loop receives while connected"), [round, 0]);
            socket.disconnect().unwrap();
            peer.send_to([round, 1], socket.address()).unwrap();
            assert_eq!(inbox.recv_timeout(HANG).expect("a loop receives after disconnecting"), [round, 1]);
        }
        socket.close();
        for running in loops {
            within("every loop ends", || running.join().unwrap().unwrap());
        }
        assert!(inbox.try_recv().is_err(), "nothing was delivered twice, and nobody was told of a wake-up");
    }
}

/// Ensures that nothing is lost at all when a socket is disconnected under a stream of its peer's datagrams.
#[test]
fn disconnect_during_a_stream_loses_nothing() {
    let (peer, socket) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    const SENT: u32 = 5_000;
    // The sender is ahead of the receiver by no more than any system's buffer holds.
    let (ahead, behind) = mpsc::sync_channel(400);
    let (to, from) = (socket.address(), peer.address());
    let sender = thread::spawn(move || {
        for i in 0..SENT {
            ahead.send(()).expect("the test receives");
            peer.send_to(i.to_be_bytes(), to).unwrap();
        }
        peer
    });
    let (mut buffer, mut received) = ([0; 4], Vec::new());
    while received.len() < SENT as usize {
        socket.connect(from).unwrap();
        socket.disconnect().unwrap();
        for _ in 0..10.min(SENT as usize - received.len()) {
            let (bytes, _) = socket.recv_timeout(&mut buffer, HANG).expect("all arrive").expect("it is open");
            received.push(u32::from_be_bytes(bytes.try_into().unwrap()));
            behind.recv().expect("it was sent");
        }
    }
    sender.join().unwrap();
    assert!(received.iter().copied().eq(0..SENT), "every datagram arrives, once, in order");
    let is_counted = cfg!(target_os = "linux") && !PORTABLE && proc::is_there();
    assert_eq!(socket.lost(), Some(0).filter(|_| is_counted), "nothing is lost, where that is counted");
}

/// Ensures the whole story of a peer that is not there: the first send succeeds, the refusal is told once, the socket
/// goes on and works as soon as the peer is there.
#[test]
fn refusal_is_told_once_and_the_socket_works_once_the_peer_is_there() {
    for at in families() {
        let (server, address) = refusing(at);
        let client = Socket::bind(at).unwrap();
        client.connect(address).unwrap();
        assert_eq!(client.send(b"anybody?").expect("the first send succeeds"), 8);
        let mut buffer = [0; 100];
        let error = client.recv_timeout(&mut buffer, HANG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), "recvmsg ECONNREFUSED", "it prints what Node prints");
        assert_eq!(Error::of(&error).unwrap().code(), "ECONNREFUSED");
        let error = client.recv_timeout(&mut buffer, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "it is told once");

        // Now nobody receives, so the next send is told, and the one after it is sent.
        client.send(b"anybody?").unwrap();
        let mut told = None;
        eventually("a send is told", || {
            told = client.send(b"anybody?").err();
            told.is_some()
        });
        let (ip, port) = (address.ip(), address.port());
        assert_eq!(told.expect("a send is told").to_string(), format!("send ECONNREFUSED {ip}:{port}"));

        // From here on the peer hears the client.
        server.connect(client.address()).unwrap();
        let sent = client.send(b"hello").or_else(|_| client.send(b"hello"));
        assert_eq!(sent.expect("at most one more refusal was pending"), 5);
        assert_eq!(server.recv(&mut buffer).unwrap(), 5, "the peer is there");
        server.send(b"welcome").unwrap();
        let mut again = buffer;
        let answer = client.recv_timeout(&mut buffer, HANG).or_else(|_| client.recv_timeout(&mut again, HANG));
        assert_eq!(answer.unwrap().unwrap().0, b"welcome", "the socket works once the peer is there");
    }
}

/// Ensures that a loop is told of the refusal as an event, and goes on.
#[test]
fn refusal_is_an_event_and_the_loop_goes_on() {
    for at in families() {
        let (server, address) = refusing(at);
        let client = Socket::bind(at).unwrap();
        client.connect(address).unwrap();
        client.send(b"anybody?").unwrap();
        let events = within("the loop ends", move || {
            let mut events = Vec::new();
            client
                .each(|client, event| {
                    match event {
                        SocketEvent::Error(error) => {
                            events.push(error.to_string());
                            server.connect(client.address()).unwrap();
                            server.send(b"now I am").unwrap();
                        }
                        SocketEvent::Message(bytes, _) => {
                            events.push(String::from_utf8(bytes.to_vec()).unwrap());
                            client.close();
                        }
                        _ => events.push("closed".into()),
                    }
                    Ok(())
                })
                .unwrap();
            events
        });
        assert_eq!(events, ["recvmsg ECONNREFUSED", "now I am", "closed"]);
    }
}

/// Ensures that an adopted socket that is connected already has its peer, that a loop on one that is not goes on when
/// it is connected, and that disconnecting works where the peer is ours and says that it cannot be done where it came with
/// one.
#[test]
fn adopted_socket_connects_and_disconnects_from_its_own_peer_alone() {
    for at in families() {
        let peer = Socket::bind(at).unwrap();
        let std = UdpSocket::bind(at).unwrap();
        std.connect(peer.address()).unwrap();
        let socket = SocketOptions::new().adopt(std).unwrap();
        assert_eq!(socket.remote_address().unwrap(), peer.address(), "it has its peer");
        assert_eq!(socket.disconnect().unwrap_err().to_string(), "disconnect ENOTSUP");

        let socket = SocketOptions::new().adopt(UdpSocket::bind(at).unwrap()).unwrap();
        let (got, inbox) = mpsc::channel();
        let message = move |_: &Socket, bytes: &[u8], _: &_| got.send(bytes.to_vec()).map_err(io::Error::other);
        let running = receiving(&socket, message);
        peer.send_to(b"before", socket.address()).unwrap();
        assert_eq!(inbox.recv_timeout(HANG).unwrap(), b"before");
        socket.connect(peer.address()).unwrap();
        peer.send_to(b"after", socket.address()).unwrap();
        assert_eq!(inbox.recv_timeout(HANG).unwrap(), b"after", "nothing else is delivered");
        socket.disconnect().unwrap();
        socket.close();
        within("the loop ends", || running.join().unwrap().unwrap());
    }
}

/// Ensures that a thread that holds the socket in `with_raw` holds up `disconnect` alone, and that `close` waits for a
/// socket that `disconnect` has replaced.
#[test]
fn other_calls_do_not_wait_for_a_disconnect() {
    within("all calls return", || {
        let peer = Socket::bind("127.0.0.1:0").unwrap();
        let round = |_: usize| {
            let (tell, told) = mpsc::channel();
            let options = SocketOptions::udp4().report(move |report| _ = tell.send(report.to_string()));
            let socket = options.bind("127.0.0.1:0").unwrap();
            socket.connect(peer.address()).unwrap();
            let (holds, held) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let holding = socket.clone();
            let holding = thread::spawn(move || {
                holding.with_raw(|_| {
                    holds.send(()).unwrap();
                    let _ = released.recv();
                })
            });
            held.recv().unwrap();
            let leaving = socket.clone();
            let leaving = thread::spawn(move || leaving.disconnect());
            // It waits for the thread that holds the old socket, for 2 s.
            eventually("the peer is gone", || socket.remote_address().is_err());
            peer.send_to(b"x", socket.address()).unwrap();
            assert_eq!(receive(&socket).0, b"x", "the new socket receives");
            let is_soon = !leaving.is_finished();
            socket.close();
            let told: Vec<_> = told.try_iter().collect();
            let failed = format!("udp failed: close ETIMEDOUT {}", socket.address());
            assert_eq!(told.last(), Some(&failed), "the old socket still has the port");
            drop(release);
            holding.join().unwrap().unwrap();
            leaving.join().unwrap().unwrap();
            // A program that another test starts has a copy of the descriptor until it runs.
            eventually("the port is free", || UdpSocket::bind(socket.address()).is_ok());
            is_soon
        };
        // A round counts unless the machine pauses for as long as `disconnect` waits.
        assert!((0..5).any(round), "a receive does not wait for the disconnect of another thread");
    });
}
