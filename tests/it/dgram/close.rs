//! Closing while others receive.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::dgram::{Socket, SocketEvent, SocketOptions};

use crate::support::clients::Over;
use crate::support::dgram::receiving;
use crate::support::time::{nearly_all_below, once_below};
use crate::support::{
    HANG, PORTABLE, blocked, descriptors, eventually, families, has_proc, in_child, numbered, threads, until_asleep,
    within,
};

/// How a socket comes to be. An adopted one may have another owner too, so it is neither connected to what wakes it nor
/// given a timeout that it does not need.
type Making = fn(&str) -> Socket;

fn makings() -> Vec<(&'static str, Making)> {
    let mut makings: Vec<(_, Making)> = vec![("own", |at| Socket::bind(at).unwrap())];
    // Without /proc the network of an adopted one is unknown, and it is not woken: its receivers look by themselves.
    if has_proc() {
        makings.push(("adopted", |at| SocketOptions::new().adopt(UdpSocket::bind(at).unwrap()).unwrap()));
    }
    makings
}

/// After this time `close` gives up to wait for receivers.
const GIVES_UP: Duration = Duration::from_secs(2);

/// After this time receivers look around by themselves, unless they are adopted and not connected; so late would a close be
/// that wakes nobody.
const LOOK: Duration = Duration::from_secs(1);

/// Closes sockets while a thread waits for them, and ensures that it is woken, for which it has less than half of the time
/// after which it would look by itself.
fn assert_woken(what: &str, make: impl Fn() -> Socket) {
    let (sockets, inbox) = mpsc::channel::<(Socket, Arc<Barrier>)>();
    let (returned, outcomes) = mpsc::channel();
    let (receiver, id) = numbered(move || {
        for (socket, ready) in inbox {
            ready.wait();
            let received = socket.recv(&mut [0; 100]).unwrap().map(|(bytes, _)| bytes.len());
            returned.send((Instant::now(), received)).unwrap();
        }
    });
    let mut round = 0;
    nearly_all_below(what, LOOK / 2, || {
        let socket = make();
        let ready = Arc::new(Barrier::new(2));
        sockets.send((socket.clone(), ready.clone())).unwrap();
        ready.wait();
        // Sometimes at once, sometimes a little later, sometimes when the thread surely blocks: all have to work.
        round += 1;
        match round % 3 {
            0 => {}
            1 => (0..round * 50).for_each(|_| std::hint::spin_loop()),
            _ => until_asleep(id.as_slice()),
        }
        let begun = Instant::now();
        socket.close();
        let closed = Instant::now();
        let (at, received) = outcomes.recv_timeout(HANG).expect("close wakes the receiver");
        assert_eq!(received, None, "a receive ends with None, and not with a wake-up");
        // A program that another test starts has a copy of the socket until it runs.
        eventually("the port is free", || Socket::bind(socket.address()).is_ok());
        at.max(closed) - begun
    });
    drop(sockets);
    receiver.join().unwrap();
}

/// Ensures that `close` wakes a blocked receive, of sockets of our own before it looks by itself, and of adopted ones, which
/// never look, in every round.
#[test]
fn close_wakes_a_blocked_receive() {
    // Nobody else may take the ports, nor start a program, which has a copy of every descriptor until it runs.
    in_child(this_test!(), &[], || {
        for at in families() {
            for (kind, make) in makings() {
                // Each round has its own bound.
                assert_woken(&format!("{kind} {at}"), || make(at));
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
                let peer = Socket::bind(at).unwrap();
                // Each round has its own bound.
                assert_woken(&format!("connected, {kind} {at}"), || {
                    let socket = make(at);
                    socket.connect(peer.address()).unwrap();
                    socket
                });
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
                let running = receiving(&socket, message);
                for _ in 0..10 {
                    sender.send_to(b"", socket.address()).unwrap();
                }
                for _ in 0..10 {
                    assert_eq!(inbox.recv_timeout(HANG).expect("an empty datagram is a message"), 0);
                }
                assert!(!running.is_finished(), "the loop goes on");
                socket.close();
                within("the loop ends", || running.join().unwrap().unwrap());
                assert!(inbox.try_recv().is_err(), "there were no more messages");
            }
        }
    }
}

/// Ensures that `close` stops loops that never have to wait, while the flood lasts.
#[test]
fn close_stops_a_flooded_loop() {
    for (_, make) in makings() {
        for connected in [false, true] {
            let stop = AtomicBool::new(false);
            let target = std::sync::RwLock::new(None);
            thread::scope(|scope| {
                let flooding = Over(&stop);
                let sender = Socket::bind("127.0.0.1:0").unwrap();
                let from = sender.address();
                let flood = scope.spawn(|| {
                    let sender = sender;
                    while !stop.load(Ordering::Relaxed) {
                        let to = *target.read().unwrap();
                        match to {
                            Some(to) => (0..16).for_each(|_| drop(sender.send_to([1; 64], to))),
                            None => thread::yield_now(),
                        }
                    }
                });
                for _ in 0..20 {
                    let socket = make("127.0.0.1:0");
                    if connected {
                        socket.connect(from).unwrap();
                    }
                    let messages = Arc::new(AtomicUsize::new(0));
                    let count = messages.clone();
                    let message = move |_: &Socket, _: &[u8], _: &_| {
                        count.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    };
                    let running = receiving(&socket, message);
                    *target.write().unwrap() = Some(socket.address());
                    eventually("the flood arrives", || messages.load(Ordering::SeqCst) > 0);
                    within("close returns during the flood", move || socket.close());
                    // Only now does the flood pause: until then a loop that has missed the close would never end.
                    within("the loop ends during the flood", || running.join().unwrap().unwrap());
                    *target.write().unwrap() = None;
                }
                drop(flooding);
                flood.join().unwrap();
            });
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
                let run = |socket: Socket| blocked(move || socket.each(|_, _| Ok(())));
                let loops: Vec<_> = (0..8).map(|_| run(socket.clone())).collect();
                socket.close();
                within("every loop ends", || loops.into_iter().for_each(|running| running.join().unwrap().unwrap()));
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
        let running = receiving(&socket, |_, _, _| Ok(()));
        within("two threads close at once", move || {
            thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(|| socket.close()))));
            running.join().unwrap().unwrap();
        });

        once_below("the hook closes what is closing, and no thread waits for itself", GIVES_UP, || {
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
            let running = receiving(&socket, |_, _, _| Ok(()));
            let begun = Instant::now();
            within("the hook may close what is closing", move || {
                socket.close();
                running.join().unwrap().unwrap();
            });
            assert_eq!(calls.load(Ordering::SeqCst), 2, "closing and closed are reported once");
            begun.elapsed()
        });
    });
}

/// Ensures that `close` cuts a receive with a timeout short.
#[test]
fn close_wakes_a_receive_with_a_timeout() {
    for (_, make) in makings() {
        for at in families() {
            let socket = make(at);
            let waiting = socket.clone();
            // Not a bound: an hour, so that it is not its end that is seen.
            let thread = blocked(move || waiting.recv_timeout(&mut [0; 10], HANG * 60).unwrap().is_none());
            socket.close();
            assert!(within("the receive ends", || thread.join().unwrap()), "it gives None");
        }
    }
}

/// Ensures that a socket bound to a group is closed too before its receiver looks around as rarely as others do: nothing is
/// sent to a group in order to wake it.
#[cfg(unix)]
#[test]
fn close_wakes_a_receive_of_a_socket_that_is_bound_to_a_group() {
    once_below("closing a socket bound to a group", LOOK / 2, || {
        let socket = SocketOptions::udp4().bind("239.255.13.200:0").unwrap();
        let running = socket.clone();
        let running = blocked(move || running.each(|_, _| Ok(())));
        let begun = Instant::now();
        socket.close();
        let took = begun.elapsed();
        within("the loop ends", || running.join().unwrap()).unwrap();
        took
    });
}

/// Ensures that a socket can be closed that cannot reach itself, in a network whose loopback is down: no datagram wakes its
/// receiver there, which looks around by itself.
#[cfg(target_os = "linux")]
#[test]
fn close_works_where_loopback_is_down() {
    crate::support::dgram::in_own_network(this_test!(), || {
        for at in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            for (kind, make) in makings() {
                let socket = make(at);
                let to = ("127.0.0.1", socket.address().port());
                assert!(socket.send_to(b"x", to).is_err(), "nothing can be sent here");
                let running = socket.clone();
                let running = blocked(move || running.each(|_, _| Ok(())));
                let begun = Instant::now();
                socket.close();
                println!("measured: closing {kind} {at} where loopback is down takes {:?}", begun.elapsed());
                within("the loop ends", || running.join().unwrap()).unwrap();
                Socket::bind(socket.address()).expect("the port is free");
            }
        }
    });
}

/// Ensures that no descriptor and no thread is left by sockets, loops, disconnecting and closing.
#[cfg(target_os = "linux")]
#[test]
fn no_descriptor_and_no_thread_is_left() {
    in_child(this_test!(), &[], || {
        let before = (descriptors(), threads());
        for (kind, make) in makings() {
            for at in families() {
                for _ in 0..20 {
                    let (socket, peer) = (make(at), Socket::bind(at).unwrap());
                    let running = [(); 3].map(|()| receiving(&socket, |_, _, _| Ok(())));
                    socket.connect(peer.address()).unwrap();
                    if kind == "own" {
                        socket.disconnect().unwrap();
                    }
                    peer.send_to(b"x", socket.address()).unwrap();
                    socket.close();
                    running.into_iter().for_each(|running| running.join().unwrap().unwrap());
                }
            }
        }
        eventually("descriptors and threads are as before", || (descriptors(), threads()) == before);
    });
}

/// Ensures that `close` returns and frees the port while another thread asks how many datagrams were lost, however long
/// the system takes to tell: here it takes three seconds to open a table of sockets.
#[test]
fn close_frees_the_port_while_another_thread_reads_what_was_lost() {
    // musl calls open(2), which not every processor has.
    let strace =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=?open,openat", "-P", "/proc/thread-self/net/udp"];
    in_child(this_test!(), &[&strace[..], &["-e", "inject=?open,openat:delay_enter=3000000"]].concat(), || {
        eventually("close returns while another thread is in lost()", || {
            let socket = Socket::bind("127.0.0.1:0").expect("port 0 can be bound");
            let asked = socket.clone();
            let (asking, id) = numbered(move || asked.lost());
            until_asleep(id.as_slice());
            let closing = socket.clone();
            within("close returns beside lost()", move || closing.close());
            let again = Socket::bind(socket.address());
            assert!(again.is_ok(), "the port is free when close has returned: {again:?}");
            let counts = !asking.is_finished() || PORTABLE || id.is_none();
            within("lost() returns", || asking.join()).expect("no panic");
            counts
        });
    });
}
