//! Receiving.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::dgram::{Socket, SocketOptions};

use crate::support::dgram::{Running, receive, refusing};
use crate::support::proc::{sleeps, until_asleep};
use crate::support::time::once_below;
use crate::support::{HANG, Told, blocked, eventually, families, has_proc, in_child, numbered, tool, within};

/// Ensures that a buffer that is too small is filled, that the rest is told of, and that the next datagram is whole.
#[test]
fn truncated_datagram_says_so_and_tells_its_size() {
    for at in families() {
        let (receiver, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let data: Vec<u8> = (0..100).collect();
        for size in [10, 99, 100, 101, 0, 65_534, 65_535, 65_536] {
            sender.send_to(&data, receiver.address()).unwrap();
            let mut buffer = vec![0; size];
            let (bytes, from) = receiver.recv_timeout(&mut buffer, HANG).unwrap().expect("the socket is open");
            assert_eq!(bytes, &data[..size.min(100)], "the buffer has what fits");
            assert_eq!(from.size(), 100, "the size is the datagram's");
            assert_eq!(from.is_truncated(), size < 100, "it is cut if the buffer is smaller: {size}");
        }
    }
}

/// Ensures that a receive with a timeout waits that long and ends, loses nothing, and works again.
#[test]
fn recv_timeout_times_out_and_loses_nothing() {
    for at in families() {
        let (receiver, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let mut buffer = [0; 100];
        for millis in [1, 50, 50, 200] {
            let (begun, timeout) = (Instant::now(), Duration::from_millis(millis));
            // Not a bound: the timer that is tested.
            let error = receiver.recv_timeout(&mut buffer, timeout).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "a timed-out call is TimedOut on every system");
            let took = begun.elapsed();
            assert!(took >= timeout, "it waits {timeout:?}, not {took:?}");
        }
        assert_eq!(receiver.recv_timeout(&mut buffer, Duration::ZERO).unwrap_err().kind(), ErrorKind::TimedOut);
        sender.send_to(b"x", receiver.address()).unwrap();
        assert_eq!(
            receiver.recv_timeout(&mut buffer, Duration::ZERO).unwrap().unwrap().0,
            b"x",
            "what is there is got"
        );
        sender.send_to(b"y", receiver.address()).unwrap();
        // Not a bound: a time without measure, and the datagram is there.
        assert_eq!(receiver.recv_timeout(&mut buffer, Duration::MAX).unwrap().unwrap().0, b"y", "no time is too long");
    }
}

/// Ensures that a timeout of one thread is no other's: short ones end though others wait for an hour or for ever, and those
/// wait on.
#[test]
fn timeouts_of_threads_do_not_mix() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (socket, sender) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    let receive = |timeout: Option<Duration>| {
        let socket = socket.clone();
        blocked(move || {
            let (begun, mut buffer) = (Instant::now(), [0; 10]);
            let received = match timeout {
                None => socket.recv(&mut buffer),
                // Not a bound: the timer that is tested.
                Some(timeout) => socket.recv_timeout(&mut buffer, timeout),
            };
            let received = received.map(|received| received.expect("the socket is open").0.to_vec());
            (received.map_err(|error| error.kind()), begun.elapsed())
        })
    };
    let (patient, hour) = (receive(None), receive(Some(HOUR)));
    let longer = receive(Some(Duration::from_millis(200)));
    let short = socket.clone();
    within("every short receive ends", move || {
        for _ in 0..20 {
            // Not a bound: the timer that is tested.
            let error = short.recv_timeout(&mut [0; 10], Duration::from_millis(10)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
    });
    let (received, took) = within("the longer one ends", || longer.join().unwrap());
    assert_eq!(received, Err(ErrorKind::TimedOut));
    assert!(took >= Duration::from_millis(200), "it was not cut short: {took:?}");
    assert!(!patient.is_finished() && !hour.is_finished(), "who has no timeout, or an hour, still waits");
    for waiting in [patient, hour] {
        sender.send_to(b"x", socket.address()).unwrap();
        // Either may get it.
        sender.send_to(b"x", socket.address()).unwrap();
        assert_eq!(within("it receives", || waiting.join().unwrap()).0, Ok(b"x".to_vec()));
    }
}

/// Ensures that a timeout that is over costs a receive without one nothing: it sleeps through.
#[cfg(target_os = "linux")]
#[test]
fn timeout_is_taken_off_for_those_who_have_none() {
    if !has_proc() {
        return;
    }
    let [socket, control] = [(); 2].map(|()| Socket::bind("127.0.0.1:0").unwrap());
    let (tell, told) = mpsc::channel();
    let waiting = socket.clone();
    let (thread, id) = numbered(move || {
        // Not a bound: the timer that is tested.
        assert!(waiting.recv_timeout(&mut [0; 10], Duration::from_millis(1)).is_err());
        tell.send(()).unwrap();
        waiting.recv(&mut [0; 10]).unwrap().is_none()
    });
    told.recv_timeout(HANG).unwrap();
    let id = id.expect("there is /proc");
    until_asleep(&[id]);
    let (before, begun) = (sleeps(id), Instant::now());
    for _ in 0..100 {
        // Not a bound: the timer that would wake the other thread as often.
        assert!(control.recv_timeout(&mut [0; 10], Duration::from_millis(1)).is_err());
    }
    let (slept, looks) = (sleeps(id) - before, begun.elapsed().as_secs() as usize);
    assert!(slept < 10 + 2 * looks, "beside a look each second it was woken {slept} times for nothing");
    socket.close();
    assert!(within("the receive ends", || thread.join().unwrap()));
}

/// Ensures that `try_recv` takes what is there and never waits.
#[test]
fn try_recv_does_not_wait() {
    for at in families() {
        let (receiver, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let mut buffer = [0; 100];
        let error = receiver.try_recv(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "there is nothing");
        assert_eq!(error.to_string(), "recvmsg EAGAIN", "it says so, as `try_accept` does");
        assert_eq!((error.told().syscall(), error.told().code()), (Some("recvmsg"), "EAGAIN"), "with its code");
        sender.send_to(b"", receiver.address()).unwrap();
        sender.send_to(b"x", receiver.address()).unwrap();
        assert_eq!(receiver.try_recv(&mut buffer).unwrap().unwrap().0, b"", "an empty datagram is there");
        assert_eq!(receiver.try_recv(&mut buffer).unwrap().unwrap().0, b"x");
        assert_eq!(receiver.try_recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        // What it does to the socket must not change a receive that waits.
        sender.send_to(b"y", receiver.address()).unwrap();
        assert_eq!(receive(&receiver).0, b"y");
    }
}

/// Ensures that several threads share the datagrams of one socket: each goes to one of them.
#[test]
fn several_threads_receive_and_each_datagram_is_received_once() {
    // Any system's buffer holds as many, should no thread receive.
    const SENT: u32 = 400;
    for at in families() {
        let (receiver, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let seen = within("all are received", move || {
            let seen = Mutex::new(HashSet::new());
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut buffer = [0; 4];
                        while let Some((bytes, _)) = receiver.recv(&mut buffer).unwrap() {
                            let mut seen = seen.lock().unwrap();
                            assert!(
                                seen.insert(u32::from_be_bytes(bytes.try_into().unwrap())),
                                "each is received once"
                            );
                            if seen.len() == SENT as usize {
                                receiver.close();
                            }
                        }
                    });
                }
                for i in 0..SENT {
                    sender.send_to(i.to_be_bytes(), receiver.address()).unwrap();
                }
            });
            seen.into_inner().unwrap()
        });
        assert_eq!(seen.len(), SENT as usize);
    }
}

/// Ensures that an interrupted receive goes on with the time that is left: stopping and continuing a process interrupts
/// a receive that has a timeout, signal(7).
#[cfg(target_os = "linux")]
#[test]
fn interrupted_receive_goes_on_with_the_time_that_is_left() {
    const PART: &str = "LANDLINE_TEST_INTERRUPTED";
    const TIMEOUT: Duration = Duration::from_millis(500);
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    if std::env::var_os(PART).is_some() {
        println!("\nwaiting");
        let begun = Instant::now();
        // Not a bound: the timer that is tested.
        let error = socket.recv_timeout(&mut [0; 10], TIMEOUT).unwrap_err();
        let took = begun.elapsed();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "it does not say that it was interrupted");
        assert!(took >= TIMEOUT, "it waits as long as it should, not {took:?}");
        println!("\ngood");
        return;
    }
    if tool("kill").is_none() {
        return;
    }
    let mut command = Command::new(crate::support::this_program());
    command.args(["--exact", this_test!(), "--nocapture"]);
    let child = Running::start(command.env(PART, "1"));
    while child.line() != "waiting" {}
    let (id, is_over) = (child.child.id(), AtomicBool::new(false));
    thread::scope(|scope| {
        // It is interrupted for as long as it waits: if each time began anew, it would never end.
        let interrupting = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                // Not a bound: the pace of the interruptions, many within the timeout.
                thread::sleep(TIMEOUT / 10);
                for signal in ["-STOP", "-CONT"] {
                    crate::support::dgram::run(&format!("kill {signal} {id}"));
                }
            }
        });
        let lines = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| while child.line() != "good" {}));
        is_over.store(true, Relaxed);
        interrupting.join().unwrap();
        lines.expect("it ends at its time, interrupted or not");
    });
}

/// Ensures that a shortage does not end a loop: errors of the system become events, and the next datagram a message.
#[cfg(target_os = "linux")]
#[test]
fn errors_of_receiving_are_events_and_the_loop_goes_on() {
    // Lets the first calls fail that this process makes to receive.
    let inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=recvfrom:error=ENOMEM:when=1..6"];
    let works =
        || Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    if !crate::support::is_child(this_test!()) && tool("strace").is_some() && !works() {
        return println!("skipped: nothing can be traced here");
    }
    in_child(this_test!(), &inject, || {
        let reports = std::sync::Arc::new(Mutex::new(Vec::new()));
        let log = reports.clone();
        let hook = move |report: &landline::Report| log.lock().unwrap().push(report.to_string());
        let socket = SocketOptions::udp4().report(hook).bind("127.0.0.1:0").unwrap();
        Socket::bind("127.0.0.1:0").unwrap().send_to(b"x", socket.address()).unwrap();
        let (mut errors, mut messages) = (Vec::new(), 0);
        let begun = Instant::now();
        socket
            .each(|socket, event| {
                match event {
                    landline::dgram::SocketEvent::Error(error) => errors.push(error.to_string()),
                    landline::dgram::SocketEvent::Message(b"x", _) => {
                        messages += 1;
                        socket.close();
                    }
                    _ => {}
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(messages, 1, "the loop has gone on");
        assert_eq!(errors, ["recvmsg ENOMEM"; 6], "each error is an event");
        // Each after the first is followed by a pause, of 5 ms at least, or comes that much later by itself.
        let pauses = Duration::from_millis(5 * 5);
        assert!(begun.elapsed() >= pauses, "errors in a row are slowed down: {:?}", begun.elapsed());
        let reports = reports.lock().unwrap();
        assert_eq!(reports[..6], ["udp failed: recvmsg ENOMEM"; 6], "each error is reported");
        let address = socket.address();
        assert_eq!(
            reports[6..],
            [format!("udp {address} closing"), format!("udp {address} closed")],
            "and the end is, in order"
        );
    });
}

/// Ensures that a receive with a timeout, and one that does not wait, return while a blocked sender, or one that is not the
/// peer, never stops, and that what comes from others is received all the same.
#[test]
fn receives_keep_their_time_while_what_comes_is_thrown_away() {
    use std::net::UdpSocket;
    // Each receive takes a millisecond, so that the receiver never finds its buffer empty.
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=recvfrom"];
    in_child(this_test!(), &[&strace[..], &["-e", "inject=recvfrom:delay_exit=1000"]].concat(), || {
        let list = landline::BlockList::new();
        list.add_address([127, 0, 0, 2]);
        let blocking = SocketOptions::udp4().receive_block_list(&list).bind("127.0.0.1:0").unwrap();
        let peer = Socket::bind("127.0.0.1:0").unwrap();
        let filtering = SocketOptions::new().adopt(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        filtering.connect(peer.address()).unwrap();
        for (socket, from) in [(blocking, "127.0.0.2:0"), (filtering, "127.0.0.1:0")] {
            // Some dozens, which are soon thrown away at the end.
            socket.set_recv_buffer_size(20_000).unwrap();
            let Ok(flooding) = UdpSocket::bind(from) else {
                println!("skipped: {from} cannot be bound here");
                continue;
            };
            let (stop, at) = (AtomicBool::new(false), socket.address());
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !stop.load(Relaxed) {
                            let _ = flooding.send_to(b"not for the program", at);
                        }
                    });
                }
                let receiving = socket.clone();
                within("all receives return during the flood", move || {
                    for _ in 0..20 {
                        // Not a bound: the timeout that is tested.
                        let timed_out = receiving.recv_timeout(&mut [0; 100], Duration::from_millis(5)).unwrap_err();
                        assert_eq!(timed_out.kind(), ErrorKind::TimedOut);
                        assert_eq!(receiving.try_recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
                    }
                });
                stop.store(true, Relaxed);
            });
            // The buffer may be full of the flood.
            eventually("what stands behind is found", || {
                peer.send_to(b"for the program", socket.address()).unwrap();
                matches!(socket.try_recv(&mut [0; 100]), Ok(Some((b"for the program", _))))
            });
        }
    });
}

/// Ensures that a receiver that pauses because its calls fail holds up no other receiver of the socket.
#[test]
fn a_receiver_that_pauses_after_errors_holds_up_no_other() {
    const LONG: Duration = Duration::from_millis(500);
    // Rounds are repeated, so the bound is that of a child.
    in_child(this_test!(), &[], || {
        let (_gone, address) = refusing("127.0.0.1:0");
        let (tell, told) = mpsc::channel();
        let options = SocketOptions::udp4().report(move |_| _ = tell.send((thread::current().id(), Instant::now())));
        let socket = options.bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        let [failing, sending] = [(); 2].map(|()| socket.clone());
        let (failing, id) = numbered(move || while failing.recv(&mut [0]).is_err() {});
        // Each send is refused, and one of the next calls is told, until the socket is closed.
        let sending = thread::spawn(move || {
            while !sending.send(b"x").is_err_and(|error| error.kind() == ErrorKind::NotConnected) {
                thread::yield_now();
            }
        });
        let failed = || loop {
            let (by, at) = told.recv_timeout(HANG).expect("calls fail");
            if by == failing.thread().id() {
                return at;
            }
        };
        let round = || {
            loop {
                while told.try_recv().is_ok() {}
                let at = failed();
                until_asleep(id.as_slice());
                let begun = Instant::now();
                while !socket.try_recv(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {}
                let took = begun.elapsed();
                if failed() - at >= LONG {
                    return took;
                }
            }
        };
        once_below("a call that does not block, while another pauses for longer", LONG / 2, round);
        socket.close();
        for thread in [failing, sending] {
            within("each thread ends", || thread.join()).unwrap();
        }
    });
}
