//! Closing while others receive.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::dgram::{Socket, SocketEvent, SocketOptions};

use crate::support::{HANG, families, in_child, within};

/// How a socket comes to be. An adopted one may have another owner too, so it is neither connected to what wakes it nor
/// given a timeout that it does not need.
type Making = fn(&str) -> Socket;

fn makings() -> Vec<(&'static str, Making)> {
    vec![
        ("own", |at| Socket::bind(at).unwrap()),
        ("adopted", |at| SocketOptions::udp4().adopt(UdpSocket::bind(at).unwrap()).unwrap()),
    ]
}

/// Closes a socket `rounds` times while a thread waits for it, each time a new one, and gives how long it took from
/// `close()` until the waiting thread had returned, the slowest last.
fn stop_latencies(rounds: usize, make: impl Fn() -> Socket) -> Vec<Duration> {
    let (sockets, inbox) = mpsc::channel::<(Socket, Arc<Barrier>)>();
    let (returned, outcomes) = mpsc::channel();
    let receiver = thread::spawn(move || {
        for (socket, ready) in inbox {
            ready.wait();
            let received = socket.recv(&mut [0; 100]).unwrap().map(|(bytes, _)| bytes.len());
            returned.send((Instant::now(), received)).unwrap();
        }
    });
    let mut took: Vec<Duration> = (0..rounds)
        .map(|round| {
            let socket = make();
            let ready = Arc::new(Barrier::new(2));
            sockets.send((socket.clone(), ready.clone())).unwrap();
            ready.wait();
            // Sometimes at once, sometimes when the thread surely blocks: both have to work.
            if round % 4 != 0 {
                thread::sleep(Duration::from_micros(round as u64 % 4 * 100));
            }
            let begun = Instant::now();
            socket.close();
            let closed = Instant::now();
            let (at, received) = outcomes.recv_timeout(HANG).expect("close wakes the receiver");
            assert_eq!(received, None, "a receive ends with None, and not with a wake-up");
            Socket::bind(socket.address()).expect("the port is free when close has returned");
            at.max(closed) - begun
        })
        .collect();
    drop(sockets);
    receiver.join().unwrap();
    took.sort();
    took
}

fn assert_prompt(what: &str, took: &[Duration]) {
    let (median, p99, max) = (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
    println!("measured {what}: {} closes, median {median:?}, p99 {p99:?}, longest {max:?}", took.len());
    // Below 50 ms on a machine that is not busy with other tests.
    assert!(p99 < Duration::from_millis(250), "{what}: p99 is {p99:?}");
}

/// Ensures that `close` wakes a blocked receive at once, in each of 1,000 rounds, sockets of our own and adopted ones.
#[test]
fn close_wakes_a_blocked_receive() {
    // Nobody else may take the ports, nor start a program, which has a copy of every descriptor until it runs.
    in_child(this_test!(), &[], || {
        for at in families() {
            for (kind, make) in makings() {
                let at = at.to_owned();
                let name = format!("{kind} {at}");
                let took = within("1,000 closes", move || stop_latencies(500, || make(&at)));
                assert_prompt(&name, &took);
            }
        }
    });
}

/// Ensures the same of connected sockets. An adopted one looks around every 10 ms.
#[test]
fn close_wakes_a_blocked_receive_of_a_connected_socket() {
    // Nobody else may take the ports, nor start a program, which has a copy of every descriptor until it runs.
    in_child(this_test!(), &[], || {
        for at in families() {
            for (kind, make) in makings() {
                let rounds = if kind == "own" { 500 } else { 200 };
                let peer = Socket::bind(at).unwrap();
                let name = format!("connected, {kind} {at}");
                let took = within("all closes", move || {
                    stop_latencies(rounds, || {
                        let socket = make(at);
                        socket.connect(peer.address()).unwrap();
                        socket
                    })
                });
                assert_prompt(&name, &took);
            }
        }
    });
}

/// Ensures that ten empty datagrams are ten messages, that none of them is taken for the wake-up, and that nothing else
/// is taken for a message.
#[test]
fn empty_datagrams_do_not_stop_a_loop_and_close_does() {
    for (_, make) in makings() {
        for at in families() {
            for connected in [false, true] {
                let (socket, sender) = (make(at), Socket::bind(at).unwrap());
                if connected {
                    socket.connect(sender.address()).unwrap();
                }
                let (got, inbox) = mpsc::channel();
                let message = move |_: &Socket, bytes: &[u8], _: &_| got.send(bytes.len()).map_err(io::Error::other);
                let running = socket.on().message(message).spawn().unwrap();
                for _ in 0..10 {
                    sender.send_to(b"", socket.address()).unwrap();
                }
                for _ in 0..10 {
                    assert_eq!(inbox.recv_timeout(HANG).expect("an empty datagram is a message"), 0);
                }
                assert!(!running.is_finished(), "the loop goes on");
                socket.close();
                within("the loop ends", || running.join().unwrap());
                assert!(inbox.try_recv().is_err(), "there were no more messages");
            }
        }
    }
}

/// Ensures that `close` stops loops that never have to wait, at once, and that nothing is delivered when it has
/// returned.
#[test]
fn close_stops_a_flooded_loop() {
    for (kind, make) in makings() {
        for connected in [false, true] {
            let took = within("all closes during a flood", move || {
                let stop = AtomicBool::new(false);
                let target = std::sync::RwLock::new(None);
                thread::scope(|scope| {
                    let sender = Socket::bind("127.0.0.1:0").unwrap();
                    let from = sender.address().clone();
                    let flood = scope.spawn(|| {
                        let sender = sender;
                        while !stop.load(Ordering::Relaxed) {
                            let to = target.read().unwrap().clone();
                            match to {
                                Some(to) => (0..16).for_each(|_| drop(sender.send_to(&[1; 64], &to))),
                                None => thread::yield_now(),
                            }
                        }
                    });
                    let mut took: Vec<Duration> = (0..100)
                        .map(|_| {
                            let socket = make("127.0.0.1:0");
                            if connected {
                                socket.connect(&from).unwrap();
                            }
                            let messages = Arc::new(AtomicUsize::new(0));
                            let count = messages.clone();
                            let message = move |_: &Socket, _: &[u8], _: &_| {
                                count.fetch_add(1, Ordering::SeqCst);
                                Ok(())
                            };
                            let running = socket.on().message(message).spawn().unwrap();
                            *target.write().unwrap() = Some(socket.address().clone());
                            while messages.load(Ordering::SeqCst) == 0 {
                                thread::yield_now();
                            }
                            let begun = Instant::now();
                            socket.close();
                            running.join().unwrap();
                            let took = begun.elapsed();
                            *target.write().unwrap() = None;
                            took
                        })
                        .collect();
                    stop.store(true, Ordering::Relaxed);
                    flood.join().unwrap();
                    took.sort();
                    took
                })
            });
            assert_prompt(&format!("flooded, {kind}, connected {connected}"), &took);
        }
    }
}

/// Ensures that every thread that waits is woken, not only one.
#[test]
fn close_wakes_every_receiver() {
    for (_, make) in makings() {
        for at in families() {
            for connected in [false, true] {
                let socket = make(at);
                if connected {
                    socket.connect(9).unwrap();
                }
                let loops: Vec<_> = (0..8).map(|_| socket.on().spawn().unwrap()).collect();
                thread::sleep(Duration::from_millis(5));
                socket.close();
                within("every loop ends", || loops.into_iter().for_each(|running| running.join().unwrap()));
            }
        }
    }
}

/// Ensures that closing works from within the loop itself, from two threads at once, and from the report hook.
#[test]
fn close_works_from_anywhere() {
    in_child(this_test!(), &[], || {
        for (_, make) in makings() {
            let (socket, sender) = (make("127.0.0.1:0"), Socket::bind("127.0.0.1:0").unwrap());
            for _ in 0..5 {
                sender.send_to(b"x", socket.address()).unwrap();
            }
            let closing = socket.clone();
            let messages = within("a loop that closes itself ends", move || {
                let mut messages = 0;
                closing
                    .each(|socket, event| {
                        if let SocketEvent::Message(..) = event {
                            messages += 1;
                            socket.close();
                            Socket::bind(socket.address()).expect("the port is free within the callback, too");
                        }
                        Ok(())
                    })
                    .unwrap();
                messages
            });
            assert_eq!(messages, 1, "nothing is delivered after close, though it had arrived");
        }

        let socket = Socket::bind("127.0.0.1:0").unwrap();
        let running = socket.on().spawn().unwrap();
        within("two threads close at once", move || {
            thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(|| socket.close()))));
            running.join().unwrap();
        });

        let handle = Arc::new(std::sync::OnceLock::<Socket>::new());
        let (in_hook, calls) = (handle.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = calls.clone();
        let hook = move |_: &landline::Report| {
            counter.fetch_add(1, Ordering::SeqCst);
            if let Some(socket) = in_hook.get() {
                socket.close();
            }
        };
        let socket = SocketOptions::udp4().report(hook).bind("127.0.0.1:0").unwrap();
        handle.set(socket.clone()).unwrap();
        let running = socket.on().spawn().unwrap();
        let begun = Instant::now();
        within("the hook may close what is closing", move || {
            socket.close();
            running.join().unwrap();
        });
        assert!(begun.elapsed() < Duration::from_secs(1), "nobody waits for himself: {:?}", begun.elapsed());
        assert_eq!(calls.load(Ordering::SeqCst), 2, "closing and closed are reported once");
    });
}

/// Ensures that `close` cuts a receive with a timeout short.
#[test]
fn close_wakes_a_receive_with_a_timeout() {
    for (_, make) in makings() {
        for at in families() {
            let socket = make(at);
            let waiting = socket.clone();
            let thread = thread::spawn(move || waiting.recv_timeout(&mut [0; 10], HANG).unwrap().is_none());
            thread::sleep(Duration::from_millis(5));
            socket.close();
            assert!(within("the receive ends", || thread.join().unwrap()), "it gives None");
        }
    }
}

/// Ensures that a socket bound to a group is closed promptly too: nothing is sent to a group in order to wake it.
#[cfg(unix)]
#[test]
fn close_wakes_a_receive_of_a_socket_that_is_bound_to_a_group() {
    for _ in 0..20 {
        let socket = SocketOptions::udp4().bind("239.255.13.200:0").unwrap();
        let running = socket.on().spawn().unwrap();
        let begun = Instant::now();
        socket.close();
        assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
        within("the loop ends", || running.join().unwrap());
    }
}

/// Ensures that a socket can be closed that cannot reach itself, in a network whose loopback is down: it takes a
/// second.
#[cfg(target_os = "linux")]
#[test]
fn close_works_where_loopback_is_down() {
    crate::support::dgram::in_own_network(this_test!(), || {
        let socket = Socket::bind(0).unwrap();
        assert!(socket.send_to(b"x", socket.address()).is_err(), "nothing can be sent here");
        let running = socket.on().spawn().unwrap();
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        socket.close();
        assert!(begun.elapsed() < Duration::from_millis(1900), "it took {:?}", begun.elapsed());
        within("the loop ends", || running.join().unwrap());
        Socket::bind(socket.address()).expect("the port is free");
    });
}

/// Ensures that no descriptor and no thread is left by sockets, loops, disconnecting and closing.
#[cfg(target_os = "linux")]
#[test]
fn no_descriptor_and_no_thread_is_left() {
    in_child(this_test!(), &[], || {
        let count = |folder| std::fs::read_dir(folder).unwrap().count();
        let before = (count("/proc/self/fd"), count("/proc/self/task"));
        for (kind, make) in makings() {
            for at in families() {
                for _ in 0..50 {
                    let (socket, peer) = (make(at), Socket::bind(at).unwrap());
                    let running = [(); 3].map(|()| socket.on().spawn().unwrap());
                    socket.connect(peer.address()).unwrap();
                    if kind == "own" {
                        socket.disconnect().unwrap();
                    }
                    peer.send_to(b"x", socket.address()).unwrap();
                    socket.close();
                    running.into_iter().for_each(|running| running.join().unwrap());
                }
            }
        }
        assert_eq!((count("/proc/self/fd"), count("/proc/self/task")), before, "descriptors and threads are as before");
    });
}
