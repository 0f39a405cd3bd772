//! One handle that ends connects, servers and sockets.

// Black holes are made on Linux alone, and so are the tests that need them.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Socket, SocketEvent, SocketOptions};
use landline::{Cancel, Error, Report, dgram};

use crate::race::{HOUR, Hole, Place, Tape, ms, named, timed};
use crate::support::Whole;
use crate::support::{
    HANG, Told, blocked, descriptors, differs, each_ip, eventually, in_child, numbered, threads, until_asleep, within,
};

/// Starts a connect on a thread of its own; gives it when its `begun`th attempt has begun, and the thread's number.
fn connecting(
    options: SocketOptions,
    to: impl Into<landline::Endpoint> + Send + 'static,
    begun: usize,
) -> (thread::JoinHandle<std::io::Result<Socket>>, Option<u32>) {
    let (tell, told) = mpsc::channel();
    let options = options.report(move |report| {
        if let Report::Attempt { .. } = report {
            let _ = tell.send(());
        }
    });
    let connecting = numbered(move || options.connect(to));
    for _ in 0..begun {
        told.recv_timeout(HANG).expect("the attempt begins");
    }
    connecting
}

/// Ensures that a connect which waits for an answer returns when it is cancelled, with Node's error.
#[test]
#[cfg(target_os = "linux")]
fn cancelling_wakes_a_blocked_connect() {
    let hole = Hole::new();
    let mut times = Vec::new();
    for round in 0..50 {
        let cancel = Cancel::new();
        let time = (round % 2 == 0).then_some(HOUR);
        let (connecting, id) = connecting(SocketOptions::new().cancel(&cancel).connect_timeout(time), hole.at, 1);
        if round % 3 == 0 {
            // Most of the others are cancelled in the moment in which connect(2) is about to begin.
            until_asleep(id.as_slice());
        }
        let (result, time) = timed(|| {
            cancel.cancel();
            within("a cancelled connect returns", || connecting.join()).expect("no panic")
        });
        let error = result.expect_err("it was cancelled");
        assert_eq!((error.told().code(), error.to_string().as_str()), ("ABORT_ERR", "The operation was aborted"));
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "not a kind that loops try again on");
        times.push(time);
    }
    times.sort();
    println!("measured: cancelled connect returns after {:?} (median of 50), {:?} at most", times[25], times[49]);
}

/// Ensures that a race is called off with every attempt in it, and leaves nothing.
#[test]
#[cfg(target_os = "linux")]
fn cancelling_ends_a_race_and_leaves_nothing() {
    in_child(this_test!(), &[], || {
        let place = Place::new();
        let (threads_before, descriptors_before) = (threads(), descriptors());
        let mut times = Vec::new();
        for _ in 0..20 {
            let cancel = Cancel::new();
            let options = named(&["127.0.0.2", "127.0.0.3"]).attempt_timeout(ms(10)).cancel(&cancel);
            let (connecting, _) = connecting(options, ("name", place.port), 2);
            let (result, time) = timed(|| {
                cancel.cancel();
                within("every attempt is woken", || connecting.join()).expect("no panic")
            });
            assert_eq!(result.expect_err("it was cancelled").told().code(), "ABORT_ERR");
            times.push(time);
        }
        times.sort();
        println!("measured: cancelled race returns after {:?} (median of 20), {:?} at most", times[10], times[19]);
        if differs("a connect under way cannot be called off: its thread stays until it has failed") {
            return;
        }
        eventually("no thread and no descriptor is left", || {
            threads() <= threads_before && descriptors() == descriptors_before
        });
    });
}

/// Ensures that a connect which waits for its resolver returns when it is cancelled.
#[test]
fn cancelling_ends_a_lookup() {
    let cancel = Cancel::new();
    let (release, released) = mpsc::channel::<()>();
    let (asked, is_asked) = mpsc::channel();
    let released = Mutex::new(released);
    let options = SocketOptions::new().cancel(&cancel).lookup(move |_, _| {
        let _ = asked.send(());
        // Until the test lets it go, however that ends.
        let _ = released.lock().expect("no panic").recv();
        Ok([[127, 0, 0, 1]])
    });
    let connecting = thread::spawn(move || options.connect("slow.example:80"));
    is_asked.recv_timeout(HANG).expect("the resolver is asked");
    let (result, time) = timed(|| {
        cancel.cancel();
        within("connecting does not wait for the resolver", || connecting.join()).expect("no panic")
    });
    drop(release);
    assert_eq!(result.expect_err("it was cancelled").told().code(), "ABORT_ERR");
    println!("measured: cancelled look-up returns after {time:?}");
}

/// Ensures that what is set up with a handle that was fired before ends at once.
#[test]
fn a_handle_fired_before_ends_everything_at_once() {
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(cancel.is_cancelled());
    let tape = Tape::default();
    let error = SocketOptions::new().cancel(&cancel).report(tape.hook()).connect("127.0.0.1:1").expect_err("too late");
    assert_eq!((error.told().code(), error.to_string().as_str()), ("ABORT_ERR", "The operation was aborted"));
    assert_eq!(tape.lines(), ["error ABORT_ERR"], "nothing was tried");
    let asked = Arc::new(AtomicBool::new(false));
    let its = asked.clone();
    let options = SocketOptions::new().cancel(&cancel).lookup(move |_, _| {
        its.store(true, SeqCst);
        Ok([[127, 0, 0, 1]])
    });
    assert_eq!(options.connect("name:1").expect_err("too late").told().code(), "ABORT_ERR");
    assert!(!asked.load(SeqCst), "nobody was asked");

    let server = ServerOptions::new().cancel(&cancel).listen("127.0.0.1:0").expect("port 0 can be listened on");
    assert!(!server.is_listening(), "the server is closed at once");
    assert!(server.accept().expect("a closed server is no error").is_none(), "and accepts nobody");
}

/// Ensures that a server is closed as by its own `close`: a blocked accept and `serve` return.
#[test]
fn cancelling_closes_a_server() {
    let cancel = Cancel::new();
    let options = ServerOptions::new().cancel(&cancel);
    let (first, second) = (options.listen("127.0.0.1:0"), options.listen("127.0.0.1:0"));
    let (first, second) = (first.expect("port 0 can be listened on"), second.expect("port 0 can be listened on"));
    let serving = first.spawn(|socket| socket.write_end("hello")).expect("a thread can be started");
    let hello = Socket::connect(first.address()).and_then(|socket| socket.read_text());
    assert_eq!(hello.expect("it is served"), "hello");
    let accepting = {
        let second = second.clone();
        blocked(move || second.accept())
    };
    cancel.cancel();
    assert!(!first.is_listening() && !second.is_listening(), "both are closed when cancel has returned");
    within("serve returns", move || serving.join()).expect("it ended in order");
    let accepted = within("accept returns", move || accepting.join()).expect("no panic");
    assert!(accepted.expect("closing is no error").is_none(), "the blocked accept has ended");
    cancel.cancel();
    second.close();
}

/// Ensures that firing a handle after everything was closed, and closing after it was fired, are harmless.
#[test]
fn cancelling_what_is_closed_does_nothing() {
    let cancel = Cancel::new();
    let tape = Tape::default();
    let server = ServerOptions::new().cancel(&cancel).report(tape.hook()).listen("127.0.0.1:0").expect("port 0");
    let socket = SocketOptions::new().cancel(&cancel).report(tape.hook()).connect(server.address()).expect("listens");
    socket.destroy();
    server.close();
    let told = tape.lines();
    cancel.cancel();
    cancel.cancel();
    assert_eq!(tape.lines(), told, "nothing more happens");
}

/// Ensures that a connected socket is destroyed: a thread that reads from it is woken, later reads and writes get the
/// same error, and the log says why.
#[test]
fn cancelling_destroys_a_connected_socket() {
    let cancel = Cancel::new();
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let tape = Tape::default();
    let options = SocketOptions::new().cancel(&cancel).report(tape.hook());
    let socket = options.connect(server.address()).expect("the server listens");
    let accepted = server.accept().expect("accepting works").expect("the server is open");
    let reading = {
        let socket = socket.clone();
        blocked(move || socket.read(&mut [0; 8]))
    };
    cancel.cancel();
    let read = within("read returns", move || reading.join()).expect("no panic");
    assert_eq!(code(read.expect_err("it was cancelled")), "ABORT_ERR", "the blocked read says what has ended it");
    let later = [
        socket.read(&mut [0; 8]).map(drop),
        socket.peek(&mut [0; 8]).map(drop),
        socket.available().map(drop),
        socket.write_all("late"),
        socket.outbox().try_send(*b"late").map_err(io::Error::from),
        socket.each(|_, _| Ok(())),
    ];
    for error in later.map(|result| result.expect_err("it was cancelled")) {
        assert_eq!(code(error), "ABORT_ERR", "and so does each later call");
    }
    assert_eq!(accepted.read_all().map_err(|error| error.kind()).unwrap_or_default(), b"", "the peer is told");
    assert!(tape.lines().contains(&"error ABORT_ERR".to_owned()), "the log says why: {:?}", tape.lines());
}

/// Ensures that `each` and a channel tell a cancelled connection as a failed one: `Error`, then `Close`, also when it was
/// cancelled before the first event; and that a destroyed one stays one, whatever is cancelled later.
#[cfg(feature = "channel")]
#[test]
fn a_cancelled_connection_is_told_as_a_failed_one() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let connect = |cancel: &Cancel| {
        let options = SocketOptions::new().cancel(cancel).allow_half_open(true);
        (options.connect(server.address()).expect("it listens"), server.accept().expect("accepting works"))
    };
    for is_ended in [false, true] {
        let cancel = Cancel::new();
        let (socket, accepted) = connect(&cancel);
        let accepted = accepted.expect("the server is open");
        let (tell, told) = mpsc::channel();
        let reading = blocked({
            let socket = socket.clone();
            move || socket.each(|_, event| tell.send(label(&event)).map_err(io::Error::other))
        });
        accepted.write_all("x").expect("it is connected");
        assert!(told.recv_timeout(HANG).is_ok(), "each has begun");
        if is_ended {
            accepted.end().expect("it is connected");
            assert_eq!(told.recv_timeout(HANG).as_deref(), Ok("end"), "our own end is waited for");
        }
        cancel.cancel();
        let result = within("each returns", move || reading.join()).expect("no panic");
        assert_eq!(code(result.expect_err("it was cancelled")), "ABORT_ERR", "each gives the error");
        assert_eq!(told.iter().collect::<Vec<_>>(), ["error ABORT_ERR", "close true"], "it is told as a failure");
    }
    for room in [0, 8] {
        let cancel = Cancel::new();
        let (socket, _accepted) = connect(&cancel);
        let events = socket.events(room).expect("a thread can be started");
        cancel.cancel();
        let told = within("the channel ends", move || events.iter().map(|event| label(&event)).collect::<Vec<_>>());
        assert_eq!(told, ["error ABORT_ERR", "close true"], "with room for {room}");
    }
    let cancel = Cancel::new();
    let (socket, _accepted) = connect(&cancel);
    socket.destroy();
    cancel.cancel();
    let error = socket.read(&mut [0; 8]).expect_err("it was destroyed");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected, "what has closed it first counts");
}

fn code(error: io::Error) -> String {
    Error::of(&error).map(|error| error.code().to_owned()).unwrap_or_default()
}

fn label<D: std::fmt::Debug>(event: &SocketEvent<D>) -> String {
    match event {
        SocketEvent::End => "end".to_owned(),
        SocketEvent::Error(error) => format!("error {}", error.code()),
        SocketEvent::Close { had_error } => format!("close {had_error}"),
        other => format!("{other:?}"),
    }
}

/// Ensures that a handle which lives as long as the program forgets each connect and each server that is gone.
#[test]
fn a_handle_forgets_what_is_gone() {
    let cancel = Cancel::new();
    let server = ServerOptions::new().cancel(&cancel).listen("127.0.0.1:0").expect("port 0 can be listened on");
    let port = server.address().port();
    let options = SocketOptions::new().cancel(&cancel).connect_timeout(HANG);
    for round in 0..300 {
        let to = if round % 2 == 0 { "127.0.0.1" } else { "localhost" };
        let socket = options.clone().family(landline::Family::Ipv4).connect((to, port)).expect("the server listens");
        drop(server.accept());
        assert_eq!(format!("{cancel:?}"), "Cancel(armed, 2 attached)", "the server and this socket");
        drop(socket);
    }
    let _ = options.connect("127.0.0.1:1");
    assert_eq!(format!("{cancel:?}"), "Cancel(armed, 1 attached)", "sockets that are gone are forgotten");
    drop(server);
    assert_eq!(format!("{cancel:?}"), "Cancel(armed, 0 attached)", "and so is the server");
}

/// Ensures that a connection, a server and a datagram socket are forgotten when they are closed, although handles are
/// left: what is long closed takes no memory as long as the program lives.
#[test]
fn a_handle_forgets_what_is_closed() {
    each_ip(|at| {
        let cancel = Cancel::new();
        let attached = |count: usize, after: &str| {
            let text = format!("Cancel(armed, {count} attached)");
            assert_eq!(format!("{cancel:?}"), text, "what is closed is forgotten, so after {after} {count} are left");
        };
        let server = ServerOptions::new().cancel(&cancel).listen(at).expect("port 0 can be listened on");
        let (to, port) = (server.address().clone(), server.address().port());
        let connect = |options: SocketOptions| options.cancel(&cancel).connect(&to).expect("the server listens");
        let destroyed = connect(SocketOptions::new());
        let reset = connect(SocketOptions::new().connect_timeout(HANG));
        let ended = connect(SocketOptions::new());
        let options = SocketOptions::new().lookup(move |_, _| Ok([to.ip().expect("an IP address"); 2])).cancel(&cancel);
        let named = options.connect(("name", port)).expect("the server listens");
        let udp = if at.starts_with('[') { dgram::SocketOptions::udp6() } else { dgram::SocketOptions::udp4() };
        let datagrams = udp.cancel(&cancel).bind(at).expect("port 0 can be bound");
        let again = datagrams.clone();
        attached(6, "making all");

        // Before one of them is reset: not every system has it in the queue then.
        let accepted = [(); 4].map(|()| server.accept().expect("accepting works").expect("the server is open"));
        destroyed.destroy();
        attached(5, "destroy()");
        reset.reset_and_destroy().expect("it is connected");
        attached(4, "reset_and_destroy()");
        named.destroy();
        attached(3, "destroying one of several addresses");
        datagrams.close();
        attached(2, "closing a datagram socket");
        for accepted in accepted {
            let _ = accepted.end();
        }
        ended.each(|_, _| Ok(())).expect("both sides end");
        attached(1, "both sides have ended");
        server.close();
        attached(0, "closing the server");
        drop((destroyed, reset, ended, named, datagrams, again, server));
        attached(0, "all were dropped too");
    });
}

/// Ensures that a connection which is cancelled while its client makes it is reported as connected before it is reported
/// as failed and ended, or not at all. The client is held up between its connect(2) and the report, by setsockopt(2).
#[test]
fn a_connection_is_reported_as_connected_before_its_end() {
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt"];
    let wrapper = [&strace[..], &["-e", "inject=setsockopt:delay_enter=200000"]].concat();
    in_child(this_test!(), &wrapper, || {
        // Of std, since one of ours makes settings too.
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let at = listener.local_addr().expect("it listens");
        eventually("a connect is cancelled when it is connected", || {
            let (cancel, tape) = (Cancel::new(), Tape::default());
            let options = SocketOptions::new().cancel(&cancel).report(tape.hook());
            let (connecting, id) = numbered(move || options.connect(at));
            let accepted = listener.accept().expect("accepting works");
            until_asleep(id.as_slice());
            cancel.cancel();
            match within("connect returns", || connecting.join()).expect("no panic") {
                Err(error) => assert_eq!(error.told().code(), "ABORT_ERR", "it was cancelled"),
                // It had returned before.
                Ok(_) => return false,
            }
            drop(accepted);
            let lines = tape.lines();
            let of_connection: Vec<_> = lines.iter().filter(|line| !line.starts_with("attempt")).collect();
            let Some(at) = of_connection.iter().position(|line| line.starts_with("connected")) else {
                // It was cancelled before the client knew that it is connected.
                return false;
            };
            assert_eq!(at, 0, "nothing of a connection is reported before it is connected: {lines:?}");
            assert_eq!(of_connection.iter().filter(|line| **line == "ended").count(), 1, "it ends once: {lines:?}");
            true
        });
    });
}

/// Ensures that a callback of the very connect that it ends may call `cancel`.
#[test]
#[cfg(target_os = "linux")]
fn a_report_hook_may_cancel() {
    let place = Place::new();
    for ends_at in ["127.0.0.2", "127.0.0.3", "127.0.0.1"] {
        let cancel = Cancel::new();
        let fires = cancel.clone();
        let options = named(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]).attempt_timeout(ms(10)).cancel(&cancel);
        let options = options.report(move |report| match report {
            Report::Attempt { address, .. } if address.ip() == ends_at.parse().ok() => fires.cancel(),
            _ => {}
        });
        let port = place.port;
        let result = within("connecting ends", move || options.connect(("name", port)));
        assert_eq!(result.expect_err("its own hook ended it").told().code(), "ABORT_ERR", "at {ends_at}");
    }
}

/// Ensures that at whatever moment a connect is cancelled it gives a socket that is destroyed, or the error; it never
/// hangs and never gives one that lives on.
#[test]
fn cancelling_at_any_moment_is_exact() {
    in_child(this_test!(), &[], || {
        let before = descriptors();
        let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
        let port = server.address().port();
        let (mut connected, mut aborted) = (0, 0);
        for round in 0..400u32 {
            let cancel = Cancel::new();
            let start = Arc::new(Barrier::new(2));
            let firing = {
                let (cancel, start) = (cancel.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    for _ in 0..round * 50 {
                        std::hint::spin_loop();
                    }
                    cancel.cancel();
                })
            };
            let options = SocketOptions::new().cancel(&cancel);
            let connecting = thread::spawn(move || {
                start.wait();
                options.connect(("127.0.0.1", port))
            });
            firing.join().expect("no panic");
            match connecting.join().expect("no panic") {
                Ok(socket) => {
                    connected += 1;
                    let error = socket.write_all("x").expect_err("cancelled while or after it was connected");
                    assert_eq!(code(error), "ABORT_ERR", "it is destroyed, and says by what");
                    drop(server.accept());
                }
                Err(error) => {
                    aborted += 1;
                    assert_eq!(error.told().code(), "ABORT_ERR");
                }
            }
        }
        server.close();
        println!("measured: cancelled at 400 moments: {aborted} aborted, {connected} connected and destroyed");
        eventually("nothing is left", || descriptors() == before);
    });
}

/// Ensures that `cancel` wakes every thread that waits for it, that one that comes later does not wait, and that the time ends the
/// wait otherwise, and not before.
#[test]
fn cancelling_ends_every_wait_for_it() {
    let cancel = Cancel::new();
    let start = Instant::now();
    // Not a bound: the time that is tested.
    assert!(!cancel.wait_timeout(ms(30)), "it was not cancelled");
    assert!(start.elapsed() >= ms(30), "the wait lasts for its time");
    assert!(!cancel.wait_timeout(Duration::ZERO), "no time is a look");
    let times = [HOUR, Duration::MAX];
    let waiting = times.map(|time| {
        let cancel = cancel.clone();
        // Not a bound: the wait ends before its time.
        blocked(move || cancel.wait_timeout(time))
    });
    cancel.cancel();
    for waiting in waiting {
        assert!(within("the wait ends", || waiting.join()).expect("no panic"), "it was cancelled");
    }
    // Not a bound: it returns at once.
    assert!(cancel.wait_timeout(Duration::MAX), "a later call does not wait");
}
