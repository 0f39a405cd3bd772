//! The events of datagram sockets through a channel, and lists and handles that keep datagrams away or end sockets.

use std::net::UdpSocket;

use landline::channel::{RecvTimeoutError, TryRecvError};
use landline::dgram::{Socket, SocketEvent, SocketOptions};
use landline::{BlockList, Cancel};

use crate::support::{HANG, Told, blocked, descriptors, each_ip, eventually, in_child, threads, within};

fn sender(at: &str) -> Socket {
    Socket::bind(at).expect("port 0 can be bound")
}

/// Ensures that each datagram is one event, in the order of arrival, and that the close is the last.
#[test]
fn events_are_messages_in_order_and_then_the_close() {
    each_ip(|at| {
        let socket = Socket::bind(at).expect("port 0 can be bound");
        let events = socket.events(4).expect("a thread can be started");
        let from = sender(at);
        for text in ["one", "", "three"] {
            from.send_to(text.as_bytes(), socket.address()).expect("it is bound");
        }
        for text in ["one", "", "three"] {
            match events.recv_timeout(HANG).expect("it was sent") {
                SocketEvent::Message(bytes, info) => {
                    assert_eq!((bytes.as_slice(), info.address()), (text.as_bytes(), from.address()), "as it was sent");
                }
                other => panic!("a message, not {other:?}"),
            }
        }
        socket.close();
        let last = events.recv_timeout(HANG).expect("the close is told");
        assert!(matches!(last, SocketEvent::Close), "the close, not {last:?}");
        assert_eq!(events.recv_timeout(HANG).err(), Some(RecvTimeoutError::Disconnected), "and nothing after it");
    });
}

/// Ensures that a full channel holds up the receiving and loses nothing of what the system can keep, and that closing
/// from the thread that receives does not wait for room.
#[test]
fn a_full_channel_holds_up_and_does_not_hang_the_close() {
    within("the close returns", || {
        for n in [0, 1] {
            each_ip(|at| {
                let socket = Socket::bind(at).expect("port 0 can be bound");
                let events = socket.events(n).expect("a thread can be started");
                let from = sender(at);
                for i in 0..100u8 {
                    from.send_to([i], socket.address()).expect("it is bound");
                }
                for i in 0..50u8 {
                    match events.recv_timeout(HANG).expect("it was sent") {
                        SocketEvent::Message(bytes, _) => assert_eq!(bytes, [i], "none is left out"),
                        other => panic!("a message, not {other:?}"),
                    }
                }
                socket.close();
                let rest: Vec<_> = events.iter().collect();
                assert!(matches!(rest.last(), Some(SocketEvent::Close)), "the close is told even so");
                assert!(rest.len() <= n + 2, "what had no room is not delivered after the close");
            });
        }
    });
}

/// Ensures that dropping the channel closes the socket and leaves no thread and no descriptor.
#[test]
fn dropping_the_events_closes_the_socket() {
    in_child(this_test!(), &[], || {
        let before = (threads(), descriptors());
        for n in [0, 16] {
            let socket = Socket::bind("127.0.0.1:0").expect("port 0 can be bound");
            let events = socket.events(n).expect("a thread can be started");
            let from = sender("127.0.0.1:0");
            for _ in 0..100 {
                from.send_to(b"x", socket.address()).expect("it is bound");
            }
            drop(events);
            let error = socket.send_to(b"x", from.address()).expect_err("it is closed");
            assert_eq!(error.told().code(), "ERR_SOCKET_DGRAM_NOT_RUNNING", "the socket is closed");
            assert!(socket.events(1).is_err(), "and stays so");
        }
        eventually("every thread and descriptor goes", || (threads(), descriptors()) == before);
    });
}

/// Ensures that sending to a listed address is `ERR_IP_BLOCKED` and sends nothing, and that what comes from one is not seen
/// (dgram-blocklist.js).
#[test]
fn block_lists_keep_datagrams_away() {
    each_ip(|at| {
        let list = BlockList::new();
        let ip = at.rsplit_once(':').expect("it has a port").0.trim_matches(['[', ']']);
        list.add_address(ip.parse::<std::net::IpAddr>().expect("it is an address"));
        let (v4, v6) = (SocketOptions::udp4(), SocketOptions::udp6());
        let options = if ip.contains(':') { v6 } else { v4 };

        let plain = sender(at);
        let guarded = options.clone().send_block_list(&list).bind(at).expect("port 0 can be bound");
        let errors = [guarded.send_to(b"x", plain.address()).map(drop), guarded.connect(plain.address())];
        for error in errors {
            let error = error.expect_err("the address is listed");
            assert_eq!(error.told().code(), "ERR_IP_BLOCKED", "Node's code");
            assert_eq!(error.to_string(), format!("IP({ip}) is blocked by net.BlockList"), "Node's text");
        }
        assert_eq!(plain.try_recv(&mut [0; 9]).expect_err("nothing was sent").kind(), std::io::ErrorKind::WouldBlock);

        let deaf = options.receive_block_list(&list).bind(at).expect("port 0 can be bound");
        plain.send_to(b"unseen", deaf.address()).expect("it is bound");
        let mut buffer = [0; 9];
        let nothing = deaf.recv_timeout(&mut buffer, std::time::Duration::ZERO);
        assert_eq!(nothing.expect_err("its sender is listed").kind(), std::io::ErrorKind::TimedOut, "it is not seen");
        list.clear();
        plain.send_to(b"seen", deaf.address()).expect("it is bound");
        let mut buffer = [0; 9];
        let (bytes, _) = deaf.recv_timeout(&mut buffer, HANG).expect("it comes").expect("it is open");
        assert_eq!(bytes, b"seen", "a rule that is gone holds no longer");
    });
}

/// Ensures that a handle that is fired closes the socket, before (dgram-close-signal.js) and while it receives, and after
/// its close does nothing (dgram-abort-closed.js).
#[test]
fn a_cancel_closes_the_socket() {
    let cancel = Cancel::new();
    let options = SocketOptions::udp4().cancel(&cancel);
    let socket = options.bind("127.0.0.1:0").expect("port 0 can be bound");
    let receiving = socket.clone();
    let running = blocked(move || receiving.each(|_, _| Ok(())));
    cancel.cancel();
    within("the loop ends", move || running.join()).expect("it does not panic").expect("without an error");
    let late = options.bind("127.0.0.1:0").expect("it is bound before it is closed");
    assert!(late.recv(&mut [0; 9]).expect("no error").is_none(), "it is closed at once");
    cancel.cancel();
    let at = socket.address();
    // A program that another test starts has a copy of the socket until it runs.
    eventually("the port is free", || UdpSocket::bind(at).is_ok());
}

/// Ensures that a channel that nobody has taken anything out of is empty, and no more than that.
#[test]
fn an_idle_socket_has_no_events() {
    let socket = Socket::bind("127.0.0.1:0").expect("port 0 can be bound");
    let events = socket.events(1).expect("a thread can be started");
    assert_eq!(events.try_recv().err(), Some(TryRecvError::Empty), "nothing has happened");
}
