//! Waiting for a server, or for the thread that serves it, for a time at most.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use landline::Report;
use landline::net::{Server, ServerOptions, Socket};

use crate::support::clients::{ask, client, echo, leave};
use crate::support::{HANG, blocked, each_ip, within};

const SHORT: Duration = Duration::from_millis(20);

/// Ensures that a timed wait and a timed join last for their time while a connection is open, that its end wakes both, and that
/// they may be repeated.
#[test]
fn timed_waits_end_with_the_server_or_the_time() {
    each_ip(|place| {
        let server = Server::listen(place).expect("the server listens");
        let mut serving = server.spawn(echo).expect("a thread can be started");
        let one = client(server.address());
        ask(&one).expect("the server is served");
        for is_closed in [false, true] {
            let start = Instant::now();
            // Not a bound: the time that is tested.
            assert!(!server.wait_timeout(SHORT).expect("this thread acts for nothing"), "a connection is open");
            assert!(!serving.join_timeout(SHORT).expect("this thread acts for nothing"), "a connection is served");
            assert!(start.elapsed() >= SHORT * 2, "each lasts for its time");
            assert!(!serving.join_timeout(Duration::ZERO).expect("this thread acts for nothing"), "no time is a look");
            if !is_closed {
                server.close();
            }
        }
        let waits = server.clone();
        // Not a bound: the waits end before.
        let waiting = blocked(move || waits.wait_timeout(HANG * 60));
        let joining = blocked(move || (serving.join_timeout(Duration::MAX), serving));
        leave(one);
        let over = within("the wait ends", || waiting.join()).expect("no panic");
        assert!(over.expect("that thread acts for nothing"), "the last connection has ended");
        let (joined, mut serving) = within("the join ends", || joining.join()).expect("no panic");
        assert!(joined.expect("serving ends well"), "the thread has ended");
        assert!(serving.is_finished(), "it is finished");
        assert!(serving.join_timeout(Duration::ZERO).expect("it has ended well"), "it stays so");
        serving.join().expect("what it ended with was given");
        assert!(server.wait_timeout(Duration::ZERO).expect("this thread acts for nothing"), "the server stays ended");
    });
}

/// Ensures that a timed wait does not say that all has ended while the end is still being told to the `report` hook.
#[test]
fn a_timed_wait_does_not_end_before_the_report_of_the_end() {
    each_ip(|place| {
        let ((tells, told), (ends, ended)) = (mpsc::sync_channel(0), mpsc::sync_channel::<()>(0));
        let ended = Mutex::new(ended);
        let hook = move |report: &Report| {
            if matches!(report, Report::Closed { .. }) {
                tells.send(()).expect("the test waits for it");
                ended.lock().expect("no panic").recv().expect("the test ends it");
            }
        };
        let server = ServerOptions::new().report(hook).listen(place).expect("the server listens");
        let closes = server.clone();
        let closing = blocked(move || closes.close());
        told.recv_timeout(HANG).expect("the end is told");
        // Not a bound: the time that is tested.
        let over = server.wait_timeout(SHORT).expect("this thread acts for nothing");
        ends.send(()).expect("the hook waits for it");
        assert!(!over, "the hook was being told");
        within("the server closes", || closing.join()).expect("no panic");
        assert!(server.wait_timeout(HANG).expect("this thread acts for nothing"), "the hook was told");
    });
}

/// Ensures that what a thread ended with is given by a timed join, once, be it an error or a panic of a callback.
#[test]
fn a_timed_join_gives_what_the_thread_ended_with() {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    let mut serving =
        server.on().connection(echo).close(|| panic!("of the test")).spawn().expect("a thread can be started");
    server.close();
    let error = serving.join_timeout(HANG).expect_err("the callback has panicked");
    assert_eq!(error.to_string(), "callback panicked: of the test", "the panic is the error");
    assert!(serving.join_timeout(HANG).expect("it was given"), "it is given once");
}

/// Ensures that a handler which waits for its own server with a time gets `true` when it is the last, and `false` when the time is
/// up before; and that joining its own thread is an error at once.
#[test]
fn a_handler_may_wait_with_a_time_and_not_join() {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    let (waits, serving) = (server.clone(), Arc::new(OnceLock::<Mutex<landline::Running>>::new()));
    let its = Arc::clone(&serving);
    let handler = move |socket: &Socket| {
        let mut first = [0];
        socket.read_exact(&mut first)?;
        socket.write_all(first)?;
        if &first == b"?" {
            return echo(socket);
        }
        let running = its.get().expect("it was set before the client came");
        let error = running.lock().expect("no panic").join_timeout(HANG).expect_err("it waits for this handler");
        waits.close();
        // Not a bound: the time that is tested.
        let with_others = waits.wait_timeout(SHORT)?;
        socket.write_all(format!("{} {with_others} ", error.to_string().contains("waits for this one")))?;
        socket.write_end(format!("{}", waits.wait_timeout(HANG)?))
    };
    let set = serving.set(Mutex::new(server.spawn(handler).expect("a thread can be started")));
    assert!(set.is_ok(), "it is set once");
    let other = client(server.address());
    ask(&other).expect("the server is served");
    let socket = Socket::connect(server.address()).expect("the server listens");
    socket.write_all("w").expect("it is connected");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).expect("the handler answers");
    assert_eq!(&answer, b"wtrue false ", "joining is an error, and another connection is open");
    leave(other);
    let last = within("the handler goes on", move || io::read_to_string(&socket)).expect("the handler answers");
    assert_eq!(last, "true", "its own connection is left out");
    let ended =
        within("serving ends", move || serving.get().expect("it was set").lock().expect("no panic").join_timeout(HANG));
    assert!(ended.expect("serving ends well"), "the thread has ended");
}
