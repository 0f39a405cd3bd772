//! What a hostile reader tried: callbacks that call back, numbers without measure, ends that come at a bad time.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use landline::Report;
use landline::net::{Server, ServerOptions, Socket, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{Served, kernel, noise, pair, pair_with};
use crate::support::time::fastest;
use crate::support::{HANG, blocked, eventually, has_proc, in_child, within};

const AT: &str = "127.0.0.1:0";
/// More than the kernel takes of a connection with small buffers.
const MUCH: usize = 256 * 1024;

/// A server, a client, and the server's end, with buffers so small that the kernel takes little.
fn narrow_pair() -> (Server, Socket, Socket) {
    let (server, client, accepted) = pair(AT);
    narrow(&client);
    narrow(&accepted);
    (server, client, accepted)
}

fn narrow(socket: &Socket) {
    kernel(socket, |raw| raw.set_send_buffer_size(32_768).and_then(|()| raw.set_recv_buffer_size(32_768)));
}

/// Ensures that the report hook may write to the connection whose queued write has failed.
#[test]
fn a_report_of_a_failed_queued_write_may_write() {
    let socket = Arc::new(OnceLock::<Socket>::new());
    let (tell, told) = mpsc::channel();
    let its = Arc::clone(&socket);
    let options = ServerOptions::new().report(move |report| {
        if let (Report::Failed { connection: Some(_), .. }, Some(socket)) = (report, its.get()) {
            let _ = tell.send(socket.write_all("too late").is_err());
        }
    });
    let (_server, client, accepted) = pair_with(AT, options, SocketOptions::new());
    narrow(&client);
    narrow(&accepted);
    socket.set(accepted.clone()).expect("it is set once");
    accepted.outbox().try_send(noise(MUCH, 7)).expect("it fits");
    client.reset_and_destroy().expect("it is open");
    assert!(told.recv_timeout(HANG).expect("the hook returns"), "nothing can be written any more");
}

/// Ensures that `Closed` is told once, although the hook closes the server again when it hears of it.
#[test]
fn the_end_is_told_once_though_the_hook_closes_again() {
    in_child(this_test!(), &[], || {
        let server = Arc::new(OnceLock::<Server>::new());
        let times = Arc::new(AtomicUsize::new(0));
        let (its, count) = (Arc::clone(&server), Arc::clone(&times));
        let options = ServerOptions::new().report(move |report| {
            if let (Report::Closed { .. }, Some(server)) = (report, its.get()) {
                count.fetch_add(1, SeqCst);
                server.close();
            }
        });
        server.set(options.listen(AT).expect("port 0 can be listened on")).expect("it is set once");
        let closing = server.get().expect("it is set").clone();
        within("close and wait return", move || {
            closing.close();
            closing.wait()
        })
        .expect("waiting works");
        assert_eq!(times.load(SeqCst), 1, "the end is told once");
    });
}

/// Ensures that `Closed` is told once, whoever else closes the server while it is being told.
#[test]
fn the_end_is_told_once_though_others_close_meanwhile() {
    let (tell, told) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let options = ServerOptions::new().report(move |report| {
        if let Report::Closed { .. } = report {
            let _ = tell.send(());
            let _ = wait.lock().expect("nothing panicked").recv_timeout(HANG);
        }
    });
    let server = options.listen(AT).expect("port 0 can be listened on");
    let first = server.clone();
    let first = std::thread::spawn(move || first.close());
    told.recv_timeout(HANG).expect("the end is told");
    let second = server.clone();
    within("a second close returns", move || second.close());
    drop(go);
    first.join().expect("the first close returns");
    assert!(told.try_recv().is_err(), "the end is told once");
}

/// Ensures that times without measure are no more than long: nothing panics and nothing is shorter for it.
#[test]
fn times_without_end_are_just_long() {
    let options = ServerOptions::new()
        .lingering_close(Duration::MAX)
        .timeout(Duration::MAX)
        .deadline(Duration::MAX)
        .stack_size(256 * 1024);
    let served = Served::start(AT, &options, |socket| socket.write_end("hello"));
    let client = SocketOptions::new().timeout(Duration::MAX).attempt_timeout(Duration::MAX);
    // Not a bound: a time without measure is the subject.
    let client = client.connect_timeout(Duration::MAX);
    for _ in 0..3 {
        let client = client.connect(served.server.address()).expect("the server listens");
        assert_eq!(client.read_text().expect("an answer comes"), "hello");
    }
    let server = served.server.clone();
    let report = within("a shutdown without end ends when nobody is left", move || server.shutdown(Duration::MAX));
    assert_eq!((report.forced, report.still_running), (0, 0), "{report}");
    served.stop();
}

/// Ensures that `Write::write` waits for what was queued before it, as every other write does.
#[test]
fn a_single_write_does_not_overtake_what_is_queued() {
    let (_server, client, accepted) = narrow_pair();
    accepted.outbox().try_send(noise(MUCH, 7)).expect("it fits");
    accepted.outbox().try_send(*b"first").expect("it fits");
    let writing = blocked(move || (&accepted).write(b"last").and_then(|written| accepted.end().map(|()| written)));
    let all = within("all arrives", move || client.read_all()).expect("an orderly end");
    assert_eq!(String::from_utf8_lossy(&all[MUCH..]), "firstlast", "in the order they were given");
    assert_eq!(within("the write ends", || writing.join()).expect("no panic").expect("it is written"), 4);
}

/// Ensures that a handler which ends because of a shutdown still has its queue written out, by its return and in `each`.
#[test]
fn a_shutdown_loses_nothing_that_was_queued() {
    for by_events in [false, true] {
        let (tell, told) = mpsc::channel();
        let served = Served::start(AT, &ServerOptions::new(), move |socket| {
            narrow(socket);
            socket.outbox().try_send(noise(MUCH, 7))?;
            let _ = tell.send(());
            if by_events { socket.each(|_, _| Ok(())) } else { socket.read(&mut [0]).map(drop) }
        });
        let client = served.connect();
        narrow(&client);
        told.recv_timeout(HANG).expect("the handler runs");
        let server = served.server.clone();
        let shutdown = std::thread::spawn(move || server.shutdown(HANG));
        eventually("the shutdown has begun", || !served.server.is_listening());
        let all = within("all arrives", move || client.read_all()).expect("an orderly end");
        assert_eq!(all.len(), MUCH, "by events: {by_events}; what was queued arrives before the end");
        let report = shutdown.join().expect("the shutdown returns");
        assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0), "{report}");
        served.stop();
    }
}

/// Ensures that signals do not count as failures of accepting, however many come.
#[test]
fn interrupted_accepts_are_no_failures() {
    let test = this_test!();
    let inject = "inject=accept4:error=EINTR:when=1..40";
    in_child(test, &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4", "-e", inject], || {
        let paused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&paused);
        let options = ServerOptions::new().report(move |report| {
            if let Report::AcceptPaused { .. } = report {
                count.fetch_add(1, SeqCst);
            }
        });
        let served = Served::start(AT, &options, |socket| socket.write_end("hello"));
        assert_eq!(served.connect().read_text().expect("it is served"), "hello");
        assert_eq!(paused.load(SeqCst), 0, "nothing is paused");
        assert_eq!(served.server.stats().accept_errors, 0, "and nothing has failed");
        served.stop();
    });
}

/// Ensures that more events than there can be memory for are an error that names the number, and that the server can be
/// served otherwise after it.
#[cfg(feature = "channel")]
#[test]
fn a_channel_without_measure_is_an_error() {
    let (server, client, _accepted) = pair(AT);
    let error = server.events(usize::MAX).expect_err("there is no such memory");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = client.events(usize::MAX).expect_err("there is no such memory");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    drop(server.events(1).expect("the server is not served"));
}

/// Ensures that a connection taken over from another program is not passed on to programs that are started.
#[cfg(target_os = "linux")]
#[test]
fn a_taken_over_connection_is_not_passed_on() {
    if !has_proc() {
        return;
    }
    let (_server, client, _accepted) = pair(AT);
    let copy = kernel(&client, |raw| raw.try_clone());
    copy.set_cloexec(false).expect("it can be set");
    let socket = Socket::try_from(std::os::fd::OwnedFd::from(copy)).expect("it is a connection");
    let fd = socket.with_raw(|fd| std::os::fd::AsRawFd::as_raw_fd(&fd)).expect("it is connected");
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("it is open");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("proc(5) tells the flags");
    let flags = u32::from_str_radix(flags.trim(), 8).expect("they are octal");
    assert_ne!(flags & 0o2_000_000, 0, "O_CLOEXEC: closed in a program that is started");
}

/// Ensures that a shutdown without a grace does not wait for a receiver that has not looked yet.
#[cfg(feature = "channel")]
#[test]
fn a_shutdown_without_a_grace_waits_for_no_receiver() {
    let shutdown = |has_receiver: bool| {
        let server = Server::listen(AT).expect("port 0 can be listened on");
        let _events = has_receiver.then(|| server.events(1).expect("nobody serves it"));
        let ending = server.clone();
        within("the shutdown returns", move || ending.shutdown(Duration::ZERO)).elapsed
    };
    let [with, without] = fastest(|| shutdown(true), || shutdown(false));
    println!("measured: a shutdown without a grace takes {with:?} with a receiver, {without:?} without one");
    // It may wait for its last moment of 50 ms, and no more.
    assert!(with < without + Duration::from_millis(500), "it takes {with:?}, and without a receiver {without:?}");
}

/// Ensures that what fails on a closed socket says which call it was.
#[test]
fn a_call_on_a_closed_socket_is_named() {
    let (_server, client, _accepted) = pair(AT);
    client.destroy();
    let text = |result: io::Result<()>| result.expect_err("it is closed").to_string();
    assert_eq!(text(client.with_raw(|_| ())), "Cannot call with_raw after a stream was destroyed");
    assert_eq!(text(client.read(&mut [0]).map(drop)), "Cannot call read after a stream was destroyed");
}
