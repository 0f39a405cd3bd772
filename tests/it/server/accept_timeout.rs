//! `accept`, `try_accept` and `accept_timeout`, beside each other on one server.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Socket, SocketOptions, WhenFull};
use landline::{BlockList, Error, RefusedBy};
use socket2::SockRef;

use crate::support::Whole;
use crate::support::clients::{Closes, Over, are_queued, client, is_turned_away, stop};
use crate::support::fixtures::{is_nonblocking, kernel};
use crate::support::time::some_round;
use crate::support::{Folder, HANG, each_ip, eventually, has_proc, numbered, until_asleep, within};

const HOUR: Duration = Duration::from_secs(3600);

/// One of the three calls.
type Call = fn(&Server) -> io::Result<Option<Socket>>;

/// The kind and code of what a call failed with.
#[track_caller]
fn failure(result: io::Result<Option<Socket>>) -> (ErrorKind, String) {
    let error = result.expect_err("no client is let in");
    (error.kind(), Error::of(&error).expect("it is the library's").code().to_owned())
}

fn timed_out() -> (ErrorKind, String) {
    (ErrorKind::TimedOut, "ERR_SOCKET_TIMEOUT".into())
}

fn would_block() -> (ErrorKind, String) {
    (ErrorKind::WouldBlock, "EAGAIN".into())
}

/// The next client, which waits already.
#[track_caller]
fn waiting(server: &Server) -> Socket {
    limited(server, HANG / 2).expect("a client waits").expect("the server is open")
}

/// What a call with a time gives.
#[track_caller]
fn limited(server: &Server, time: Duration) -> io::Result<Option<Socket>> {
    let server = server.clone();
    within("a call with a time returns", move || server.accept_timeout(time))
}

/// What a look gives.
#[track_caller]
fn tried(server: &Server) -> io::Result<Option<Socket>> {
    let server = server.clone();
    within("a look returns", move || server.try_accept())
}

/// How long a call took, and what it gave.
fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let result = call();
    (began.elapsed(), result)
}

/// Ensures that of four acceptors each waits for its own time, whichever of them is in accept(2): for ever, for a
/// time, for four times as long, and not at all. A channel's `recv_timeout` is the control.
#[test]
fn four_acceptors_wait_each_for_its_own_time() {
    each_ip(|at| {
        // Before the first call with a time, a caller without one is in accept(2) beside the others; after it they take turns.
        for has_had_a_time in [false, true] {
            some_round("each returns in time", Duration::from_millis(50), |short| {
                let (server, long) = (Server::listen(at).expect("port 0 can be listened on"), 4 * short);
                if has_had_a_time {
                    assert_eq!(failure(server.accept_timeout(Duration::ZERO)), timed_out(), "zero looks once");
                }
                let patient = server.clone();
                let (patient, id) = numbered(move || patient.accept());
                until_asleep(id.as_slice());
                let of = |time: Duration| {
                    let server = server.clone();
                    let accepting = thread::spawn(move || timed(|| server.accept_timeout(time)));
                    let control = thread::spawn(move || {
                        let (_keep, never) = mpsc::channel::<()>();
                        // Not a bound: the timer that is the control.
                        timed(|| never.recv_timeout(time)).0
                    });
                    (time, accepting, control)
                };
                let limited = [of(long), of(short)];
                let (took, result) = timed(|| tried(&server));
                assert_eq!(failure(result), would_block(), "no client waits");
                let mut is_in_time = took < short;
                for (time, accepting, control) in limited {
                    let (took, result) = within("its time is over", || accepting.join()).expect("no panic");
                    assert_eq!(failure(result), timed_out(), "no client came in {time:?}");
                    assert!(took >= time, "it returns after {time:?}, not {took:?}");
                    is_in_time &= took < control.join().expect("no panic") + short / 2;
                }
                assert!(!patient.is_finished(), "the caller without a time still waits");
                server.close();
                let last = within("close lets it go", || patient.join()).expect("no panic");
                assert!(last.expect("closing is no error").is_none(), "it is told that the server is closed");
                is_in_time.then_some(())
            });
        }
    });
}

/// Ensures that `close` ends every call at once: of those in accept(2), of those that wait for their turn, and of those that
/// wait for a slot.
#[test]
fn close_lets_every_acceptor_go() {
    let closed = |server: &Server| {
        let calls: [Call; 4] = [
            |server| server.accept(),
            |server| server.accept_timeout(HOUR),
            |server| server.accept_timeout(2 * HOUR),
            |server| server.accept(),
        ];
        let accepting: Vec<_> = calls
            .map(|call| {
                let server = server.clone();
                let (accepting, id) = numbered(move || call(&server));
                until_asleep(id.as_slice());
                accepting
            })
            .into();
        let closing = server.clone();
        within("close returns", move || closing.close());
        for one in accepting {
            let result = within("it is let go", || one.join()).expect("no panic");
            assert!(result.expect("closing is no error").is_none(), "it is told that the server is closed");
        }
        assert!(server.try_accept().expect("closing is no error").is_none(), "so is one that comes later");
        assert!(server.accept_timeout(HOUR).expect("closing is no error").is_none(), "with a time too");
    };
    each_ip(|at| {
        for answers in [false, true] {
            closed(&ServerOptions::new().answer_queued(answers).listen(at).expect("port 0 can be listened on"));
        }
        let full = ServerOptions::new().max_connections(0).when_full(WhenFull::Wait);
        let full = full.listen(at).expect("port 0 can be listened on");
        let _waits = client(full.address());
        closed(&full);
    });
}

/// Ensures that an accepted socket blocks and has no time limit, whichever call the listener was set for when its client came,
/// and whichever gives it.
#[test]
fn an_accepted_socket_has_no_time_of_its_listener() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let is_plain = |socket: &Socket| {
            assert_eq!(kernel(socket, |raw| raw.read_timeout()), None, "reads have no time limit");
            assert!(!kernel(socket, is_nonblocking), "it blocks");
        };
        for look in [false, true] {
            let calls: [Call; 3] =
                [|server| server.accept(), |server| server.accept_timeout(HANG), |server| server.try_accept()];
            for call in calls {
                let before = if look { server.try_accept() } else { server.accept_timeout(Duration::from_millis(1)) };
                before.expect_err("no client waits");
                let _one = client(server.address());
                are_queued(&server, 1);
                is_plain(&call(&server).expect("a client waits").expect("the server is open"));
            }
        }
        // One that comes while a call with a time is in accept(2).
        let accepting = server.clone();
        let (accepting, id) = numbered(move || accepting.accept_timeout(HOUR));
        until_asleep(id.as_slice());
        let _one = client(server.address());
        let socket = within("the client is accepted", || accepting.join()).expect("no panic");
        is_plain(&socket.expect("accepting works").expect("the server is open"));
        // And one of a server that is served after that.
        let (tell, told) = mpsc::channel();
        server.accept_timeout(Duration::from_millis(1)).expect_err("no client waits");
        let tell = Mutex::new(tell);
        let serving = server.spawn(move |socket| {
            let _ = tell.lock().expect("no panic").send(kernel(socket, |raw| raw.read_timeout()));
            Ok(())
        });
        let _one = client(server.address());
        assert_eq!(told.recv_timeout(HANG), Ok(None), "a handler's socket has no time limit either");
        assert_eq!(
            failure(server.accept_timeout(HOUR)).0,
            ErrorKind::AlreadyExists,
            "a served server is not accepted from"
        );
        assert_eq!(failure(server.try_accept()).0, ErrorKind::AlreadyExists, "nor looked at");
        stop(&server, serving.expect("a thread can be started"));
    });
}

/// Ensures that no client is lost when the time is over as it comes: in a storm of clients against times of 1 to 5 ms, and of
/// none, each is accepted once.
#[test]
fn no_client_is_lost_when_the_time_is_over_as_it_comes() {
    const CLIENTS: u32 = 2000;
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let (seen, all_came) = (Mutex::new(HashSet::new()), AtomicBool::new(false));
        let (seen, all_came, server) = (&seen, &all_came, &server);
        thread::scope(|scope| {
            let _closes = Closes(server);
            let acceptors: Vec<_> = (0..6)
                .map(|n: u64| {
                    scope.spawn(move || {
                        let mut ticks = 0;
                        while !all_came.load(SeqCst) {
                            let next = match n {
                                0 => server.try_accept(),
                                _ => server.accept_timeout(Duration::from_millis(n)),
                            };
                            match next {
                                Ok(socket) => {
                                    let socket = socket.expect("the server is open");
                                    let mut number = [0; 4];
                                    socket.read_exact(&mut number).expect("the client writes its number");
                                    let number = u32::from_be_bytes(number);
                                    assert!(seen.lock().expect("no panic").insert(number), "{number} comes once");
                                }
                                Err(error) => {
                                    let expected = [ErrorKind::TimedOut, ErrorKind::WouldBlock];
                                    assert!(expected.contains(&error.kind()), "it is the time: {error}");
                                    ticks += 1;
                                    if n == 0 {
                                        thread::yield_now();
                                    }
                                }
                            }
                        }
                        ticks
                    })
                })
                .collect();
            for part in 0..2 {
                scope.spawn(move || {
                    for number in (part..CLIENTS).step_by(2) {
                        let mut one = client(server.address());
                        one.write_all(&number.to_be_bytes()).expect("it is connected");
                        // Its end: then no port is left in use on this side.
                        one.read_to_end(&mut Vec::new()).expect("the server ends in order");
                        if number % 16 < 2 {
                            // Not a bound: the pace of the clients, so that times are over between them.
                            thread::park_timeout(Duration::from_millis(3));
                        }
                    }
                });
            }
            // Two thousand clients in all may take a slow machine longer than a hang.
            for hundreds in 1..=CLIENTS / 100 {
                let count = || seen.lock().expect("no panic").len() as u32;
                eventually("a hundred more are accepted", || count() >= 100 * hundreds);
            }
            all_came.store(true, SeqCst);
            let ticks: Vec<u32> = acceptors.into_iter().map(|one| one.join().expect("no panic")).collect();
            println!("\nmeasured {CLIENTS} clients: {ticks:?} calls without one");
            assert!(ticks.iter().sum::<u32>() > 0, "the premise: times were over while clients came");
            assert_eq!(failure(server.try_accept()), would_block(), "none is left");
        });
        assert_eq!(server.stats().accepted, u64::from(CLIENTS), "each is counted once");
    });
}

/// Ensures that on a listener that has another holder a call with a time is an error, and the other's setting stays as it was.
#[test]
fn an_adopted_listener_takes_no_time() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        let listener = TcpListener::bind(at).expect("port 0 can be listened on");
        let twin = listener.try_clone().expect("a descriptor is free");
        let server = ServerOptions::new().adopt(listener).expect("it listens");
        for result in [server.try_accept(), server.accept_timeout(Duration::ZERO), server.accept_timeout(HOUR)] {
            assert_eq!(failure(result), (ErrorKind::Unsupported, "ERR_NOT_SUPPORTED".into()), "its giver has it too");
        }
        let twin = SockRef::from(&twin);
        assert_eq!(twin.read_timeout().expect("it can be asked"), None, "the giver's accept waits as before");
        assert!(!is_nonblocking(&twin).expect("it can be asked"), "and blocks");
        let _one = client(server.address());
        server.accept().expect("accept works").expect("the server is open");
    });
}

/// Ensures that clients that are refused do not begin the time anew, and that `try_accept` finds the one behind them.
#[test]
fn a_refused_client_does_not_begin_the_time_anew() {
    each_ip(|at| {
        let list = BlockList::new();
        let server = ServerOptions::new().block_list(&list).listen(at).expect("port 0 can be listened on");
        let ip = server.address().ip().expect("it is TCP");
        list.add_address(ip);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let coming = scope.spawn(|| {
                while !over.load(SeqCst) {
                    is_turned_away(&client(server.address()));
                }
            });
            let is_over = Over(&over);
            are_queued(&server, 1);
            let accepting = server.clone();
            let result = within("the time is over", move || accepting.accept_timeout(Duration::from_millis(100)));
            drop(is_over);
            assert_eq!(failure(result), timed_out(), "each is refused");
            // The last one may be about to connect.
            eventually("the last one sees its end", || {
                let _ = server.accept_timeout(Duration::from_millis(1));
                coming.is_finished()
            });
        });
        assert!(server.stats().refused(RefusedBy::Blocked) > 0, "the premise: clients were refused");
    });
    // Up to sixteen that are refused are passed over.
    let list = BlockList::new();
    list.add_address([127, 0, 0, 2]);
    let server = ServerOptions::new().block_list(&list).listen("127.0.0.1:0").expect("port 0 can be listened on");
    let blocked = |count| -> Vec<_> {
        let from = SocketOptions::new().local_address("127.0.0.2");
        (0..count).map(|_| from.connect(server.address()).expect("it listens")).collect()
    };
    let _refused = blocked(15);
    are_queued(&server, 15);
    let one = client(server.address());
    are_queued(&server, 16);
    let socket = tried(&server).expect("a client waits").expect("the server is open");
    assert_eq!(socket.remote_address().socket_addr(), one.local_addr().ok(), "the one behind them is found");
    let _refused = blocked(16);
    are_queued(&server, 16);
    let _one = client(server.address());
    are_queued(&server, 17);
    assert_eq!(failure(tried(&server)), would_block(), "a flood of them holds up no look");
    tried(&server).expect("the next look finds it").expect("the server is open");
}

/// Ensures that a full server that lets its clients wait is waited for within the time, and that the client is let in when
/// there is room. So is one that was accepted just before the limit was lowered.
#[test]
fn the_time_holds_for_a_slot() {
    each_ip(|at| {
        let options = ServerOptions::new().max_connections(1).when_full(WhenFull::Wait);
        let server = options.listen(at).expect("port 0 can be listened on");
        let _first = client(server.address());
        are_queued(&server, 1);
        let second = client(server.address());
        let socket = waiting(&server);
        assert_eq!(failure(tried(&server)), would_block(), "it is full");
        assert_eq!(failure(limited(&server, Duration::from_millis(20))), timed_out(), "it stays full");
        drop(socket);
        let socket = waiting(&server);
        assert_eq!(socket.remote_address().socket_addr(), second.local_addr().ok(), "the one that waited is let in");
        drop(socket);

        // Without it no thread is seen to be in accept(2).
        if !has_proc() {
            return;
        }
        some_round("the limit is lowered while the call is in accept(2)", Duration::from_millis(50), |time| {
            server.set_max_connections(1);
            let accepting = server.clone();
            let (accepting, id) = numbered(move || accepting.accept_timeout(time));
            until_asleep(id.as_slice());
            server.set_max_connections(0);
            let third = client(server.address());
            let result = within("its time is over", || accepting.join()).expect("no panic");
            assert_eq!(failure(result), timed_out(), "there is no room");
            assert_eq!(failure(tried(&server)), would_block(), "and still none");
            let was_kept = server.queued() == Some(0);
            server.set_max_connections(1);
            let socket = waiting(&server);
            assert_eq!(
                socket.remote_address().socket_addr(),
                third.local_addr().ok(),
                "it is let in when there is room"
            );
            (was_kept || crate::support::PORTABLE).then_some(())
        });
    });
}

/// Ensures that a client whose PROXY header is late, however much of it has come, costs a call no more than its time, and is
/// given by a later one; and that `close` refuses one that is kept.
#[test]
fn the_time_holds_for_a_proxy_header() {
    each_ip(|at| {
        let balancers = BlockList::new();
        let options = ServerOptions::new().proxy_protocol(&balancers).proxy_timeout(None);
        let server = options.listen(at).expect("port 0 can be listened on");
        balancers.add_address(server.address().ip().expect("it is TCP"));
        let mut balancer = client(server.address());
        are_queued(&server, 1);
        let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n";
        for part in [&header[..0], &header[..3], &header[3..20], &header[20..30]] {
            balancer.write_all(part).expect("it is connected");
            assert_eq!(failure(limited(&server, Duration::from_millis(20))), timed_out(), "it is not complete");
            assert_eq!(failure(tried(&server)), would_block(), "nor is it at a look");
            assert_eq!(server.connections(), 1, "it keeps its slot");
        }
        balancer.write_all(&header[30..]).and_then(|()| balancer.write_all(b"hello")).expect("it is connected");
        let socket = waiting(&server);
        assert_eq!(socket.remote_address().to_string(), "192.0.2.7:56324", "the client's address");
        let mut first = [0; 5];
        socket.read_exact(&mut first).expect("they were sent");
        assert_eq!(&first, b"hello", "what follows the header is the client's");
        drop(socket);

        // The time for a header is over when it is looked at again, and it has come in time.
        some_round("the header is sent in time", Duration::from_millis(50), |time| {
            let options = ServerOptions::new().proxy_protocol(&balancers).proxy_timeout(time);
            let hurried = options.listen(at).expect("port 0 can be listened on");
            let began = Instant::now();
            let mut balancer = client(hurried.address());
            let first = tried(&hurried);
            balancer.write_all(header).expect("it is connected");
            let was_in_time = began.elapsed() < time / 2;
            assert_eq!(failure(first), would_block(), "its header has not come");
            // Not a bound: longer than the time for the header.
            thread::sleep(2 * time);
            let second = tried(&hurried);
            was_in_time.then(|| second.expect("it came in time").expect("the server is open"))
        });

        let late = client(server.address());
        are_queued(&server, 1);
        assert_eq!(failure(tried(&server)), would_block(), "its header has not come");
        assert_eq!(server.connections(), 1, "it is kept");
        server.close();
        assert!(is_turned_away(&late), "a server that is closed keeps none");
        assert_eq!(server.stats().refused(RefusedBy::Closing), 1, "it counts as refused");
        assert_eq!(server.connections(), 0, "its slot is free");
        within("the server is over", move || server.wait()).expect("it ends");
    });
}

/// Ensures that a client that is kept when a call's time ends is returned by a call that was waiting for its turn
/// before the client connected, whether that call has a time or not.
#[test]
fn a_kept_client_is_returned_by_a_call_that_waited_for_its_turn() {
    let calls: [Call; 2] = [|server| server.accept_timeout(HOUR), |server| server.accept()];
    each_ip(|at| {
        let balancers = BlockList::new();
        let options = ServerOptions::new().proxy_protocol(&balancers).proxy_timeout(None);
        for call in calls {
            some_round("the first call accepts the client", Duration::from_millis(50), |time| {
                let server = options.listen(at).expect("port 0 can be listened on");
                balancers.add_address(server.address().ip().expect("it is TCP"));
                let (first, second) = (server.clone(), server.clone());
                let (first, id) = numbered(move || first.accept_timeout(time));
                until_asleep(id.as_slice());
                let (second, id) = numbered(move || call(&second));
                until_asleep(id.as_slice());
                let mut balancer = client(server.address());
                eventually("the client is accepted", || server.connections() == 1);
                let is_in_time = !first.is_finished();
                let result = within("the first call's time ends", || first.join()).expect("no panic");
                assert_eq!(failure(result), timed_out(), "the header has not come");
                balancer.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n").expect("it is connected");
                let result = within("the second call returns the client", || second.join()).expect("no panic");
                let socket = result.expect("accepting works").expect("the server is open");
                assert_eq!(
                    socket.remote_address().to_string(),
                    "192.0.2.7:56324",
                    "the second call returns the client"
                );
                is_in_time.then_some(())
            });
        }
    });
}

/// Ensures that a Unix socket's server has the same calls.
#[cfg(unix)]
#[test]
fn a_unix_socket_takes_a_time_too() {
    let folder = Folder::new();
    let path = folder.file("socket");
    let server = Server::listen(path.as_path()).expect("the path is free");
    assert_eq!(failure(limited(&server, Duration::from_millis(5))), timed_out(), "no client came");
    assert_eq!(failure(tried(&server)), would_block(), "none waits");
    let one = Socket::connect(path.as_path()).expect("it listens");
    let socket = waiting(&server);
    one.write_end("hello").expect("it is connected");
    assert_eq!(socket.read_text().expect("an orderly end"), "hello", "it is served");
    let accepting = server.clone();
    let (accepting, id) = numbered(move || accepting.accept_timeout(HOUR));
    until_asleep(id.as_slice());
    server.close();
    let last = within("close lets it go", || accepting.join()).expect("no panic");
    assert!(last.expect("closing is no error").is_none(), "it is told that the server is closed");
}
