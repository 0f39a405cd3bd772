//! What is lost, and how it is known.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use landline::dgram::{Socket, SocketOptions};

use crate::support::dgram::receiving;
use crate::support::{HANG, differs, eventually, families, has_proc, in_child, within};

const DATA: [u8; 64] = [7; 64];

/// Whether the system does not count what is lost; if so, the number is checked to be unknown.
fn counts_no_losses() -> bool {
    let counts_none = differs("the system keeps no table that tells how many datagrams were lost") || !has_proc();
    assert_eq!(Socket::bind("127.0.0.1:0").unwrap().lost().is_none(), counts_none, "`None` where it is unknown");
    counts_none
}

/// Ensures that of many datagrams, sent as fast as can be, every one was either received or is told of as lost.
#[cfg(target_os = "linux")]
#[test]
fn received_and_lost_are_all_that_was_sent() {
    const SENT: u64 = 20_000;
    if counts_no_losses() {
        return;
    }
    in_child(this_test!(), &[], || {
        // The second has a buffer for some dozens, so that many are lost.
        let small = SocketOptions::udp4().recv_buffer_size(10_000);
        for (name, options) in [("default", SocketOptions::udp4()), ("small buffer", small)] {
            let socket = options.bind("127.0.0.1:0").unwrap();
            // Another socket with the same port, which has losses of its own.
            let twin =
                SocketOptions::udp4().recv_buffer_size(3000).bind(("127.0.0.2", socket.address().port())).unwrap();
            assert_eq!((socket.lost(), twin.lost()), (Some(0), Some(0)), "nothing is lost at first");
            let sender = Socket::bind("127.0.0.1:0").unwrap();
            for _ in 0..100 {
                sender.send_to(DATA, twin.address()).unwrap();
            }
            // Before anybody receives, so that some are lost of the small one for certain.
            (0..1000).for_each(|_| assert_eq!(sender.send_to(DATA, socket.address()).unwrap(), 64));
            let counter = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&counter);
            let message = move |_: &Socket, bytes: &[u8], _: &_| {
                assert_eq!(bytes, DATA);
                counted.fetch_add(1, Relaxed);
                Ok(())
            };
            let running = receiving(&socket, message);
            (1000..SENT).for_each(|_| assert_eq!(sender.send_to(DATA, socket.address()).unwrap(), 64));
            let lost = || socket.lost().expect("Linux tells");
            eventually("each is received or lost", || counter.load(Relaxed) + lost() >= SENT);
            let lost = lost();
            socket.close();
            within("the loop ends", move || running.join().unwrap().unwrap());
            let received = counter.load(Relaxed);
            println!("measured {name}: sent {SENT}, received {received}, lost {lost}");
            assert_eq!(received + lost, SENT, "{name}: received and lost are all that was sent");
            assert!(name == "default" || lost > 0, "some were to be lost: {received}");
            assert!(twin.lost().unwrap() > 0, "the other socket's are its own");
            assert_eq!(socket.lost(), Some(lost), "{name}: a last count is there after the close");
        }
    });
}

/// Ensures that a socket that was never asked has a last count of what it lost, after the close.
#[cfg(target_os = "linux")]
#[test]
fn lost_is_counted_at_the_close() {
    if counts_no_losses() {
        return;
    }
    for at in families() {
        let socket = Socket::bind(at).unwrap();
        socket.set_recv_buffer_size(5000).unwrap();
        let sender = Socket::bind(at).unwrap();
        for _ in 0..100 {
            sender.send_to(DATA, socket.address()).unwrap();
        }
        let mut received = 0;
        while socket.try_recv(&mut [0; 64]).is_ok() {
            received += 1;
        }
        socket.close();
        assert_eq!(socket.lost().map(|lost| lost + received), Some(100), "received and lost are all that was sent");
    }
}

/// Ensures that what a socket had lost before it was disconnected is not forgotten.
#[cfg(target_os = "linux")]
#[test]
fn lost_is_kept_when_disconnecting() {
    if counts_no_losses() {
        return;
    }
    for at in families() {
        let peer = Socket::bind(at).unwrap();
        let socket = Socket::bind(at).unwrap();
        socket.set_recv_buffer_size(5000).unwrap();
        socket.connect(peer.address()).unwrap();
        for _ in 0..100 {
            peer.send_to(DATA, socket.address()).unwrap();
        }
        let lost = socket.lost().unwrap();
        assert!(lost > 0, "some do not fit");
        socket.disconnect().unwrap();
        assert_eq!(socket.lost(), Some(lost), "the number stays");
        let mut received = 0;
        while socket.try_recv(&mut [0; 64]).is_ok() {
            received += 1;
        }
        assert_eq!(received + lost, 100, "and the rest is received");
    }
}

/// Ensures that the buffer of a socket with the default options holds what 200,000 a second bring in 20 ms, in which nobody
/// receives: nothing of it is lost.
#[cfg(target_os = "linux")]
#[test]
fn the_default_buffer_holds_20_ms_of_200_000_a_second() {
    const SENT: usize = 4_000;
    for at in families() {
        let (socket, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        // The kernel counts some 800 bytes for each, with all that it keeps of it. A socket of std's is asked for as much.
        let granted = UdpSocket::bind(at).unwrap();
        socket2::SockRef::from(&granted).set_recv_buffer_size(1000 * SENT).unwrap();
        let granted = socket2::SockRef::from(&granted).recv_buffer_size().unwrap();
        if granted < 1000 * SENT {
            println!("skipped: the system grants no receive buffer above {granted} bytes, see net.core.rmem_max");
            continue;
        }
        (0..SENT).for_each(|_| assert_eq!(sender.send_to(DATA, socket.address()).unwrap(), 64));
        for n in 0..SENT {
            let received =
                socket.recv_timeout(&mut [0; 64], HANG).map(|received| received.map(|(bytes, _)| bytes == DATA));
            assert_eq!(received.ok(), Some(Some(true)), "datagram {n} is there; {:?} are lost", socket.lost());
        }
        assert_eq!(socket.lost().unwrap_or(0), 0, "nothing is lost");
    }
}
