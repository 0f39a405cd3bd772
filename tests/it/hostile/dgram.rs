//! Datagrams and their sockets under hostile use: what must hold all the same.

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use landline::dgram::{Socket, SocketEvent, SocketOptions};
use landline::{BlockList, Cancel, Report};

use crate::support::dgram::{receive, receiving};
use crate::support::time::nearly_all_below;
use crate::support::{Told, differs, families, has_proc, within};

/// Waits until something has arrived, without taking it.
fn has_arrived(socket: &Socket, sender: &Socket) {
    // Loopback delivers in order and at once: what another socket gets of the same sender came later.
    let witness = Socket::bind((socket.address().ip(), 0)).unwrap();
    sender.send_to(b"after", witness.address()).unwrap();
    receive(&witness);
}

/// Ensures that what strangers sent before the socket had a peer is not received from them while it has one, though
/// disconnecting has kept it.
#[test]
fn what_disconnect_has_kept_is_heard_from_the_peer_alone() {
    for at in families() {
        let (socket, one, other) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        socket.connect(one.address()).unwrap();
        one.send_to(b"of the first peer", socket.address()).unwrap();
        has_arrived(&socket, &one);
        socket.disconnect().unwrap();
        socket.connect(other.address()).unwrap();
        let error = socket.recv_timeout(&mut [0; 100], Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "the first peer is not heard any more");
        other.send_to(b"of the second", socket.address()).unwrap();
        assert_eq!(receive(&socket).0, b"of the second");
    }
}

/// Ensures that a wildcard as a destination, which is this machine, does not get around a list that blocks this
/// machine; neither to send to nor to connect to, in any of its forms.
#[test]
fn a_wildcard_is_no_way_around_a_block_list() {
    let list = BlockList::new();
    list.add_address([127, 0, 0, 1]);
    list.add_address(std::net::Ipv6Addr::LOCALHOST);
    let v4 = SocketOptions::udp4().send_block_list(&list).bind("127.0.0.1:0").unwrap();
    check(&v4, &["0.0.0.0", "[::ffff:0.0.0.0]", "[::ffff:127.0.0.1]"]);
    if families().len() == 2 {
        let v6 = SocketOptions::udp6().send_block_list(&list).bind("[::]:0").unwrap();
        check(&v6, &["0.0.0.0", "[::ffff:0.0.0.0]", "[::ffff:127.0.0.1]", "[::]"]);
    }

    fn check(socket: &Socket, hosts: &[&str]) {
        let listening = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        for host in hosts {
            let to = format!("{host}:{port}");
            assert_eq!(socket.send_to(b"x", &to).unwrap_err().told().code(), "ERR_IP_BLOCKED", "sending to {to}");
            assert_eq!(socket.connect(&to).unwrap_err().told().code(), "ERR_IP_BLOCKED", "connecting to {to}");
        }
        listening.set_nonblocking(true).unwrap();
        assert!(listening.recv(&mut [0; 10]).is_err(), "nothing was sent");
    }
}

/// Ensures that a peer given as an IPv4-mapped wildcard is this machine, is called so, and is heard.
#[test]
fn a_mapped_wildcard_is_a_peer_that_is_heard() {
    let peer = Socket::bind("127.0.0.1:0").unwrap();
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    socket.connect(format!("[::ffff:0.0.0.0]:{}", peer.address().port())).unwrap();
    assert_eq!(socket.remote_address().unwrap(), peer.address());
    peer.send_to(b"x", socket.address()).unwrap();
    assert_eq!(receive(&socket).0, b"x");
}

/// Ensures that a rule added while the socket is connected keeps it from sending, and that taking it away lets it.
#[test]
fn a_block_list_holds_for_a_peer_too() {
    let (list, peer) = (BlockList::new(), Socket::bind("127.0.0.1:0").unwrap());
    let given = UdpSocket::bind("127.0.0.1:0").unwrap();
    given.connect(peer.address()).unwrap();
    let adopted = SocketOptions::new().send_block_list(&list).adopt(given).unwrap();
    let own = SocketOptions::udp4().send_block_list(&list).bind("127.0.0.1:0").unwrap();
    own.connect(peer.address()).unwrap();
    list.add_address([127, 0, 0, 1]);
    for socket in [&own, &adopted] {
        assert_eq!(socket.send(b"x").unwrap_err().told().code(), "ERR_IP_BLOCKED");
        assert_eq!(socket.send_vectored(&[IoSlice::new(b"x")]).unwrap_err().told().code(), "ERR_IP_BLOCKED");
    }
    peer.try_recv(&mut [0; 10]).expect_err("nothing was sent");
}

/// Ensures that a socket that goes from peer to peer and never receives does not keep all that it was ever sent, that
/// what it throws away is counted, and that the rest is the oldest, in order.
#[test]
fn what_disconnect_keeps_is_bounded_and_the_rest_is_lost() {
    let socket = SocketOptions::udp4().recv_buffer_size(20_000).bind("127.0.0.1:0").unwrap();
    let peer = Socket::bind("127.0.0.1:0").unwrap();
    let (rounds, each) = (50_u32, 10_u32);
    for round in 0..rounds {
        socket.connect(peer.address()).unwrap();
        for i in 0..each {
            let mut data = vec![0; 1000];
            data[..4].copy_from_slice(&(round * each + i).to_be_bytes());
            peer.send_to(&data, socket.address()).unwrap();
        }
        has_arrived(&socket, &peer);
        socket.disconnect().unwrap();
    }
    let mut buffer = vec![0; 65_535];
    let mut received = Vec::new();
    while let Ok(Some((bytes, _))) = socket.try_recv(&mut buffer) {
        received.push(u32::from_be_bytes(bytes[..4].try_into().unwrap()));
    }
    assert!((10..100).contains(&received.len()), "{} datagrams were kept", received.len());
    assert!(received.iter().copied().eq(0..received.len() as u32), "the first ones, in order: {received:?}");
    let is_counted = !differs("the system keeps no table that tells how many datagrams were lost") && has_proc();
    if cfg!(target_os = "linux") && is_counted {
        assert_eq!(socket.lost(), Some(u64::from(rounds * each) - received.len() as u64), "the others are lost");
    }
}

/// Ensures that a receiver is woken when the socket is closed while another thread connects it, and does not have to look
/// around by itself, as it does after a second.
#[test]
fn close_beside_connect_wakes_the_receivers() {
    let peer = Socket::bind("127.0.0.1:0").unwrap();
    for _ in 0..4 {
        nearly_all_below("closing beside connecting", Duration::from_millis(500), || {
            let socket = Socket::bind("127.0.0.1:0").unwrap();
            let running = receiving(&socket, |_, _, _| Ok(()));
            let (connecting, to) = (socket.clone(), peer.address());
            let connect = std::thread::spawn(move || drop(connecting.connect(to)));
            within("the close", move || {
                let begun = std::time::Instant::now();
                socket.close();
                running.join().unwrap().unwrap();
                connect.join().unwrap();
                begun.elapsed()
            })
        });
    }
}

/// Ensures that 1,024 slices are one datagram, and one more is an error that sends nothing.
#[test]
fn a_thousand_and_twenty_five_slices_are_refused() {
    let (socket, peer) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    let slices = vec![IoSlice::new(b"x"); 1025];
    assert_eq!(socket.send_vectored_to(&slices[..1024], peer.address()).unwrap(), 1024);
    assert_eq!(receive(&peer).0.len(), 1024);
    let error = socket.send_vectored_to(&slices, peer.address()).unwrap_err();
    assert_eq!(error.told().code(), "EMSGSIZE");
    peer.try_recv(&mut [0; 10]).expect_err("nothing was sent");
}

/// Ensures that changing, connecting, disconnecting, asking and closing at once, from several threads beside receivers,
/// ends, delivers nothing that was not sent, and leaves nothing.
#[cfg(target_os = "linux")]
#[test]
fn everything_at_once_ends_and_leaves_nothing() {
    use crate::support::{descriptors, eventually, in_child, threads};
    in_child(this_test!(), &[], || {
        let before = (descriptors(), threads());
        for _ in 0..20 {
            within("everything", || {
                let (socket, peer) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
                let loops = [(); 3].map(|()| {
                    let message = |_: &Socket, bytes: &[u8], _: &_| match bytes {
                        b"x" => Ok(()),
                        other => Err(io::Error::other(format!("{other:?} was not sent"))),
                    };
                    receiving(&socket, message)
                });
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            (0..20).for_each(|_| {
                                let _ = (socket.connect(peer.address()), socket.disconnect());
                            });
                            socket.close();
                        });
                        scope.spawn(|| {
                            (0..100).for_each(|_| {
                                let _ = peer.send_to(b"x", socket.address());
                            })
                        });
                        scope.spawn(|| {
                            (0..20).for_each(|_| {
                                let _ = (socket.lost(), socket.set_ttl(8), socket.remote_address(), socket.send(b"y"));
                            })
                        });
                    }
                });
                loops.into_iter().for_each(|running| running.join().unwrap().unwrap());
            });
        }
        eventually("all is as before", || (descriptors(), threads()) == before);
    });
}

/// Ensures that a socket can be closed, cancelled, asked and disconnected from every hook and callback.
#[test]
fn every_hook_may_call_everything() {
    let cancel = Cancel::new();
    let place: Arc<OnceLock<Socket>> = Arc::default();
    let (seen, firing) = (place.clone(), cancel.clone());
    let all = move |socket: &Socket| {
        let _ = (socket.lost(), socket.set_ttl(8), socket.remote_address(), socket.disconnect());
        let _ = (socket.try_recv(&mut [0; 10]), socket.connect(9), socket.send(b"x"));
        firing.cancel();
        socket.close();
    };
    let in_hook = all.clone();
    let hook = move |_: &Report| {
        if let Some(socket) = seen.get() {
            in_hook(socket);
        }
    };
    let socket = SocketOptions::udp4().report(hook).cancel(&cancel).bind("127.0.0.1:0").unwrap();
    place.set(socket.clone()).unwrap();
    Socket::bind("127.0.0.1:0").unwrap().send_to(b"x", socket.address()).unwrap();
    let closes = within("the loop ends", move || {
        let mut closes = 0;
        let each = socket.each(|socket, event| {
            closes += usize::from(matches!(event, SocketEvent::Close));
            all(socket);
            Ok(())
        });
        each.unwrap();
        closes
    });
    assert_eq!(closes, 1, "the close is told once");
}

/// Ensures that events handed over one by one, and those of a channel that is full, do not keep their consumer from
/// closing, dropping or both, at any moment.
#[cfg(feature = "channel")]
#[test]
fn a_consumer_may_close_and_drop_at_any_moment() {
    for n in [0, 1] {
        for round in 0..60 {
            within("closing and dropping", move || {
                let (socket, sender) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
                let events = socket.events(n).unwrap();
                for _ in 0..5 {
                    sender.send_to(b"x", socket.address()).unwrap();
                }
                (0..round % 3).for_each(|_| drop(events.recv().unwrap()));
                if round % 2 == 0 {
                    socket.close();
                }
                if round % 10 == 0 {
                    let last = events.iter().last();
                    assert!(matches!(last, Some(SocketEvent::Close)), "the close is the last event");
                }
                drop(events);
                assert!(socket.recv(&mut [0; 10]).unwrap().is_none(), "it is closed");
            });
        }
    }
}
