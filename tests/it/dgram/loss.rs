//! What is lost, and how it is known.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::dgram::{Socket, SocketEvent, SocketOptions};

use crate::support::eventually;
use crate::support::{families, in_child, within};

const DATA: [u8; 64] = [7; 64];

/// Counts what a socket receives until nothing comes for a while after `sent` has been told.
fn count(socket: &Socket, all_sent: &mpsc::Receiver<()>) -> u64 {
    let (mut received, mut buffer, mut is_over) = (0, vec![0; 65_535], false);
    loop {
        match socket.recv_timeout(&mut buffer, Duration::from_millis(200)) {
            Ok(Some((bytes, _))) => {
                assert_eq!(bytes, DATA);
                received += 1;
            }
            Ok(None) => panic!("nobody closes it"),
            Err(error) if error.kind() == ErrorKind::TimedOut && is_over => return received,
            Err(error) if error.kind() == ErrorKind::TimedOut => is_over = all_sent.try_recv().is_ok(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Ensures that of a million datagrams, sent as fast as can be, every one was either received or is told of as lost.
#[cfg(target_os = "linux")]
#[test]
fn received_and_lost_are_all_that_was_sent() {
    in_child(this_test!(), &[], || {
        // The second has a buffer for some dozens, so that many are lost.
        let small = SocketOptions::udp4().recv_buffer_size(10_000);
        for (name, options, sent) in [("default", SocketOptions::udp4(), 600_000), ("small buffer", small, 400_000)] {
            let socket = options.bind("127.0.0.1:0").unwrap();
            // Another socket with the same port, which has losses of its own.
            let twin =
                SocketOptions::udp4().recv_buffer_size(3000).bind(("127.0.0.2", socket.address().port())).unwrap();
            assert_eq!((socket.lost(), twin.lost()), (Some(0), Some(0)), "nothing is lost at first");
            let (done, all_sent) = mpsc::channel();
            let (to, other) = (socket.address().clone(), twin.address().clone());
            let begun = Instant::now();
            let sender = thread::spawn(move || {
                let sender = Socket::bind("127.0.0.1:0").unwrap();
                for _ in 0..100 {
                    sender.send_to(&DATA, &other).unwrap();
                }
                for _ in 0..sent {
                    assert_eq!(sender.send_to(&DATA, &to).unwrap(), 64);
                }
                done.send(()).unwrap();
            });
            let (socket, received) = within("all are counted", move || {
                let received = count(&socket, &all_sent);
                (socket, received)
            });
            sender.join().unwrap();
            let lost = socket.lost().expect("Linux tells");
            println!("{name}: sent {sent}, received {received}, lost {lost}, in {:?}", begun.elapsed());
            assert_eq!(received + lost, sent, "{name}: received and lost are all that was sent");
            assert!(name == "default" || lost > 0, "some were to be lost: {received}");
            assert!(twin.lost().unwrap() > 0, "the other socket's are its own");
        }
    });
}

/// Ensures that what a socket had lost before it was disconnected is not forgotten.
#[cfg(target_os = "linux")]
#[test]
fn lost_is_kept_when_disconnecting() {
    for at in families() {
        let peer = Socket::bind(at).unwrap();
        let socket = Socket::bind(at).unwrap();
        socket.set_recv_buffer_size(5000).unwrap();
        socket.connect(peer.address()).unwrap();
        for _ in 0..100 {
            peer.send_to(&DATA, socket.address()).unwrap();
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

/// Ensures that at 200,000 a second nothing is lost with the default options, while the handler only counts.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_lost_at_200_000_a_second() {
    in_child(this_test!(), &[], || {
        const RATE: u64 = 200_000;
        // On a machine that is busy with other things the receiver may not get to run for longer than the buffer lasts,
        // some 50 ms, and the sender may not get to send as much. That says nothing about the socket, so there are several
        // rounds.
        let rounds = (0..8).map(|_| {
            let socket = Socket::bind("127.0.0.1:0").unwrap();
            let receiver = socket.clone();
            let counter = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&counter);
            let loops = thread::spawn(move || {
                let count = |_: &Socket, event: SocketEvent<&[u8]>| {
                    counted.fetch_add(u64::from(matches!(event, SocketEvent::Message(..))), Relaxed);
                    Ok(())
                };
                receiver.each(count).unwrap();
            });
            let sender = Socket::bind("127.0.0.1:0").unwrap();
            let (begun, mut sent) = (Instant::now(), 0);
            while begun.elapsed() < Duration::from_secs(1) {
                // What is due, but no great bursts after a time of not having run.
                let due = (begun.elapsed().as_micros() as u64 * RATE / 1_000_000).min(sent + 1000);
                while sent < due {
                    sender.send_to(&DATA, socket.address()).unwrap();
                    sent += 1;
                }
                thread::sleep(Duration::from_micros(100));
            }
            let rate = (sent as f64 / begun.elapsed().as_secs_f64()) as u64;
            // What has arrived is to be received before the end.
            eventually("each is received or lost", || counter.load(Relaxed) + socket.lost().unwrap() == sent);
            let lost = socket.lost().unwrap();
            socket.close();
            within("the loop ends", || loops.join().unwrap());
            let received = counter.load(Relaxed);
            println!("{rate} a second: sent {sent}, received {received}, lost {lost}");
            (rate, sent, received, lost)
        });
        let mut too_slow = true;
        for (rate, sent, received, lost) in rounds {
            too_slow &= rate < RATE * 9 / 10;
            if rate >= RATE * 9 / 10 && lost == 0 {
                assert_eq!(received, sent, "what is not lost is received");
                return;
            }
        }
        assert!(too_slow, "at 200,000 a second nothing is lost");
        println!("skipped: this machine does not send 200,000 a second");
    });
}
