//! The idle timeout and the deadline.

use std::io::{self, ErrorKind};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, Socket, SocketEvent, SocketOptions};

use crate::support::fixtures::{pair, pair_with, watch, words};
use crate::support::{HANG, each_ip, eventually, in_child, within};

const AT: &str = "127.0.0.1:0";

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Lets time pass, as a slow peer does.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// What a call gives that is to fail for its time, and how long it took; the call ends in any case.
fn timed<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> (ErrorKind, Duration) {
    let (result, time) = within("the call ends", move || {
        let start = Instant::now();
        (call().map(drop), start.elapsed())
    });
    (result.expect_err("its time is up").kind(), time)
}

/// Ensures that any time can be set, zero and `None` being off, that 1 ms fires, and that on a destroyed socket it does
/// nothing. Mirrors net-socket-timeout.js.
#[test]
fn any_timeout_can_be_set_and_zero_is_none() {
    let (_server, client, accepted) = pair(AT);
    assert_eq!(client.timeout(), None, "there is none unless it is set");
    for time in [Duration::from_nanos(1_000), millis(1), Duration::from_secs(1_000), Duration::from_secs(1 << 40)] {
        client.set_timeout(time);
        assert!(client.timeout().is_some(), "{time:?} is a time");
    }
    client.set_timeout(Duration::MAX);
    accepted.write_all("x").expect("it is connected");
    assert_eq!(client.read(&mut [0]).expect("a byte is there"), 1, "for ever is long enough");
    client.set_timeout(Duration::ZERO);
    assert_eq!(client.timeout(), None, "zero is off");
    client.set_timeout(millis(1));
    client.set_timeout(None);
    assert_eq!(client.timeout(), None, "None is off");

    client.set_timeout(millis(1));
    let reader = client.clone();
    assert_eq!(timed(move || reader.read(&mut [0])).0, ErrorKind::TimedOut, "1 ms is over soon");
    client.destroy();
    client.set_timeout(millis(5));
    client.set_deadline(Instant::now());
    assert_eq!(client.read(&mut [0]).expect_err("it is closed").kind(), ErrorKind::NotConnected, "and nothing else");
}

/// Ensures that a timeout that was switched off does not fire. Mirrors net-settimeout.js.
#[test]
fn a_timeout_that_was_switched_off_does_not_fire() {
    let (_server, client, accepted) = pair(AT);
    client.set_timeout(millis(100));
    client.set_timeout(Duration::ZERO);
    let tape = watch(&client, |_, _| Ok(()));
    pass(millis(300));
    accepted.end().expect("it is connected");
    assert_eq!(words(tape), ["end", "close false"], "no timeout in three times its length");
}

/// Ensures that a timeout closes nothing: a write from its handler reaches the peer, and the connection ends in order.
/// Mirrors net-can-reset-timeout.js.
#[test]
fn a_timeout_closes_nothing() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        accepted.set_timeout(millis(50));
        let tape = watch(&accepted, |socket, event| match event {
            SocketEvent::Timeout => {
                socket.set_timeout(None);
                socket.write_all("are you there?")
            }
            _ => Ok(()),
        });
        let mut question = [0; 14];
        client.read_exact(&mut question).expect("the handler's write arrives");
        assert_eq!(&question, b"are you there?", "the socket is open when its timeout is told");
        client.write_end("yes").expect("the connection is open");
        assert_eq!(client.read_to_end().expect("an orderly end"), b"", "and it ends in order");
        assert_eq!(words(tape), ["timeout", "data", "end", "close false"], "a timeout is no error");
    });
}

/// Ensures that traffic keeps a timeout from firing, that it fires when the whole time has passed since the last byte, and
/// that destroying the socket then is no error. Mirrors pummel/net-timeout.js.
#[test]
fn a_timeout_fires_when_the_time_has_passed_since_the_last_byte() {
    let (_server, client, accepted) = pair(AT);
    accepted.set_timeout(millis(800));
    let (tell, fired) = mpsc::channel();
    let tape = watch(&accepted, move |socket, event| match event {
        SocketEvent::Data(bytes) => socket.write_all(bytes),
        SocketEvent::Timeout => {
            tell.send(Instant::now()).expect("the test waits");
            socket.destroy();
            Ok(())
        }
        _ => Ok(()),
    });
    let mut last = Instant::now();
    for _ in 0..8 {
        pass(millis(200));
        last = Instant::now();
        client.write_all("x").expect("traffic keeps it open");
        client.read_exact(&mut [0]).expect("the echo comes back");
    }
    let fired = fired.recv_timeout(HANG).expect("silence fires it");
    assert!(fired - last >= millis(800), "never early: after {:?}", fired - last);
    assert_eq!(client.read_to_end().expect("an orderly end, and no reset"), b"", "the client sees the end");
    assert_eq!(words(tape), ["data", "timeout", "close false"], "destroying it then is no error");
}

/// Ensures that writes alone keep a timeout from firing, although its reader is blocked all the while. Mirrors
/// pummel/net-timeout2.js.
#[test]
fn a_timeout_does_not_fire_while_only_writes_happen() {
    let (_server, client, accepted) = pair(AT);
    accepted.set_timeout(millis(600));
    let tape = watch(&accepted, |_, _| Ok(()));
    for _ in 0..12 {
        pass(millis(150));
        accepted.write_all("x").expect("the client takes it");
    }
    client.end().expect("it is connected");
    assert_eq!(words(tape), ["end", "close false"], "in 1.8 s of writes no 600 ms were idle");
}

/// Ensures that the time of a blocked reader is counted from the last write and not from when the kernel looked last.
#[test]
fn a_timeout_fires_on_time_after_a_write() {
    let (_server, _client, accepted) = pair(AT);
    accepted.set_timeout(millis(1_000));
    let reader = accepted.clone();
    let start = Instant::now();
    let read = thread::spawn(move || timed(move || reader.read(&mut [0])));
    pass(millis(100));
    accepted.write_all("x").expect("the kernel takes it");
    let (kind, _) = read.join().expect("it does not panic");
    let time = start.elapsed();
    assert_eq!(kind, ErrorKind::TimedOut, "it fires");
    assert!((millis(1_100)..millis(1_700)).contains(&time), "1 s after the write, and not a period later: {time:?}");
}

/// Ensures that bytes that arrive keep a blocked writer from timing out: the timer is one for both directions.
#[test]
fn a_blocked_write_does_not_time_out_while_bytes_arrive() {
    let (_server, client, accepted) = pair(AT);
    accepted.set_timeout(millis(600));
    let (fire, fired) = mpsc::channel();
    let tape = watch(&accepted, move |_, event| {
        if let SocketEvent::Timeout = event {
            fire.send(()).expect("the test waits");
        }
        Ok(())
    });
    let writer = accepted.clone();
    let (tell, ended) = mpsc::channel();
    let writing = thread::spawn(move || {
        let result = writer.write_all(vec![0; 32 << 20]);
        tell.send(()).expect("the test waits");
        result
    });
    for _ in 0..12 {
        assert!(ended.recv_timeout(millis(150)).is_err(), "the write goes on while bytes arrive");
        client.write_all("x").expect("somebody reads it");
    }
    ended.recv_timeout(HANG).expect("when none arrive any more, it ends");
    let error = writing.join().expect("it does not panic").expect_err("nobody reads");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "for its time: {error}");
    fired.recv_timeout(HANG).expect("both directions were idle");
    accepted.destroy();
    assert_eq!(words(tape), ["data", "timeout", "close false"], "once");
}

/// Ensures that a timeout fires once per idle period: with 40 ms and 250 ms of silence exactly once, and again only after new
/// activity.
#[test]
fn a_timeout_fires_once_per_idle_period() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let tape = watch(&accepted, |socket, event| match event {
            SocketEvent::Data(bytes) => socket.write_all(bytes),
            _ => Ok(()),
        });
        for _ in 0..2 {
            accepted.set_timeout(None);
            client.write_all("x").expect("it is connected");
            client.read_exact(&mut [0]).expect("the echo comes back");
            // The reader is blocked without a timeout by now or soon: a byte makes the new one count.
            accepted.set_timeout(millis(40));
            client.write_all("x").expect("it is connected");
            client.read_exact(&mut [0]).expect("the echo comes back");
            pass(millis(250));
        }
        client.end().expect("it is connected");
        assert_eq!(words(tape), ["data", "timeout", "data", "timeout", "end", "close false"], "once in each silence");
    });
}

/// Ensures that `on().timeout` and a channel tell it too, once.
#[test]
fn callbacks_and_channels_tell_a_timeout() {
    let options = ServerOptions::new().timeout(millis(40));
    let (_server, client, accepted) = pair_with(AT, options.clone(), SocketOptions::new());
    assert_eq!(accepted.timeout(), Some(millis(40)), "the server's option holds for its sockets");
    let running = accepted.on().timeout(|socket| socket.write_all("t")).spawn().expect("a thread can be started");
    pass(millis(250));
    client.end().expect("it is connected");
    // A write of the handler is activity, and the silence after it an idle period of its own.
    let told = client.read_to_end().expect("an orderly end");
    assert!((2..=6).contains(&told.len()), "in 250 ms of 40 ms each: {}", told.len());
    within("run returns", || running.join()).expect("a timeout is no error");

    let (_server, client, accepted) = pair_with(AT, options, SocketOptions::new());
    let events = accepted.events(16).expect("a thread can be started");
    pass(millis(250));
    assert!(matches!(events.try_recv(), Ok(SocketEvent::Timeout)), "the channel tells it");
    assert!(events.try_recv().is_err(), "once");
    drop(client);
}

/// Ensures that every blocking call fails with `TimedOut`, closes nothing and loses nothing.
#[test]
fn a_call_that_timed_out_has_lost_nothing() {
    let (_server, client, accepted) = pair(AT);
    accepted.set_timeout(millis(30));
    let calls: [fn(&Socket) -> io::Result<usize>; 5] = [
        |s| s.read(&mut [0; 8]),
        |s| s.peek(&mut [0; 8]),
        |s| s.read_exact(&mut [0; 8]).map(|()| 8),
        |s| s.read_to_end().map(|all| all.len()),
        |s| s.pipe(s).map(|n| n as usize),
    ];
    for call in calls {
        let socket = accepted.clone();
        let (kind, time) = timed(move || call(&socket));
        assert_eq!(kind, ErrorKind::TimedOut, "on every system");
        assert!(time >= millis(30), "each call waits for a whole time: {time:?}");
    }
    let mut lines = accepted.lines();
    for piece in ["on", "e\ntw", "o\n"] {
        let step = lines.next().expect("the peer has not ended");
        assert_eq!(step.expect_err("no line is whole").kind(), ErrorKind::TimedOut, "before {piece:?}");
        client.write_all(piece).expect("a timeout closes nothing");
        if piece.contains('\n') {
            let line = lines.next().expect("the peer has not ended").expect("a whole line");
            assert_eq!(line, if piece.starts_with('e') { "one" } else { "two" }, "no part of it was lost");
        } else {
            // The piece is taken in by a step that times out.
            eventually("the piece arrives", || accepted.bytes_read() == 2 || lines.next().is_none());
        }
    }
}

/// Ensures that a client that sends a byte now and then cannot outlive a deadline, whatever reads.
#[test]
fn a_trickle_of_bytes_cannot_outlive_a_deadline() {
    let readers: [fn(&Socket) -> io::Result<()>; 4] = [
        |s| loop {
            s.read(&mut [0])?;
        },
        |s| s.each(|_, _| Ok(())),
        |s| s.lines().try_for_each(|line| line.map(drop)),
        |s| s.read_to_end().map(drop),
    ];
    let running: Vec<_> = readers
        .map(|reader| {
            let (server, client, accepted) = pair(AT);
            let (tell, over) = mpsc::channel::<()>();
            let start = Instant::now();
            accepted.set_deadline(start + millis(1_000));
            let reading = thread::spawn(move || {
                let result = reader(&accepted);
                drop(tell);
                (result, start.elapsed())
            });
            thread::spawn(move || {
                while over.recv_timeout(millis(300)) == Err(mpsc::RecvTimeoutError::Timeout) {
                    // It may be closed just now.
                    let _: io::Result<()> = client.write_all("x");
                }
                drop(server);
                reading.join().expect("it does not panic")
            })
        })
        .into();
    for reading in running {
        let (result, time) = within("the deadline ends it", || reading.join()).expect("it does not panic");
        assert_eq!(result.expect_err("the deadline is an error").kind(), ErrorKind::TimedOut, "of this kind");
        assert!((millis(1_000)..millis(2_000)).contains(&time), "at the deadline: {time:?}");
    }
}

/// Ensures that a server's `deadline` is a lifetime of each of its connections, and that its end frees the slot.
#[test]
fn a_servers_deadline_ends_each_connection() {
    let options = ServerOptions::new().deadline(millis(300));
    let (server, client, accepted) = pair_with(AT, options, SocketOptions::new());
    assert!(accepted.deadline().is_some(), "each connection gets one");
    let tape = watch(&accepted, |_, _| Ok(()));
    client.set_timeout(HANG);
    assert_eq!(client.read_to_end().expect("an orderly end"), b"", "the client sees the end");
    assert_eq!(words(tape), ["error read timed out: the deadline has passed", "close true"], "it is an error");
    assert_eq!(server.connections(), 0, "the slot is free");
}

/// Ensures that a deadline in the past fails at once, and that `None` takes it back.
#[test]
fn a_past_deadline_fails_at_once() {
    let (_server, client, accepted) = pair(AT);
    client.write_all("x").expect("it is connected");
    accepted.set_deadline(Instant::now());
    assert!(accepted.deadline().is_some_and(|at| at <= Instant::now()), "it is kept");
    assert_eq!(accepted.read(&mut [0]).expect_err("it is over").kind(), ErrorKind::TimedOut, "even with a byte there");
    assert_eq!(accepted.write_all("x").expect_err("it is over").kind(), ErrorKind::TimedOut, "writes too");
    accepted.set_deadline(None);
    assert_eq!(accepted.read(&mut [0]).expect("the byte is there"), 1, "nothing was lost");
    accepted.write_all("y").expect("and it is open");
}

/// Ensures that a write to a peer that never reads ends by the deadline, and that `bytes_written` is what the peer can then
/// read.
#[test]
fn a_write_ends_by_the_deadline_and_tells_how_far_it_came() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let start = Instant::now();
        accepted.set_deadline(start + millis(400));
        let writer = accepted.clone();
        let (kind, _) = timed(move || writer.write_all(vec![0; 64 << 20]));
        let time = start.elapsed();
        assert_eq!(kind, ErrorKind::TimedOut, "of this kind");
        assert!((millis(400)..millis(1_500)).contains(&time), "at the deadline: {time:?}");
        let written = accepted.bytes_written();
        assert!(written > 0, "the kernel took something");
        accepted.destroy();
        let read = within("the end comes", move || client.read_to_end()).expect("an orderly end");
        assert_eq!(read.len() as u64, written, "what was counted as written arrives, and no more");
    });
}

/// Ensures that with both, whichever of timeout and deadline is over first counts.
#[test]
fn the_first_of_timeout_and_deadline_counts() {
    for (idle, deadline) in [(100, 5_000), (5_000, 100)] {
        let (_server, _client, accepted) = pair(AT);
        let start = Instant::now();
        accepted.set_timeout(millis(idle));
        accepted.set_deadline(start + millis(deadline));
        let (kind, _) = timed(move || accepted.read(&mut [0]));
        let time = start.elapsed();
        assert_eq!(kind, ErrorKind::TimedOut, "either has this kind");
        assert!((millis(100)..millis(1_500)).contains(&time), "{idle} and {deadline} ms: {time:?}");
    }
}

/// Ensures that a server whose handler returns the timeout as an error gets rid of a silent client in time.
#[test]
fn a_silent_clients_slot_is_free_after_the_timeout() {
    let server = ServerOptions::new().timeout(millis(200)).listen(AT).expect("port 0 can be listened on");
    let running = server
        .spawn(|socket| {
            socket.each(|_, event| match event {
                SocketEvent::Timeout => Err(ErrorKind::TimedOut.into()),
                _ => Ok(()),
            })
        })
        .expect("a thread can be started");
    let start = Instant::now();
    let client = Socket::connect(server.address()).expect("the server listens");
    assert_eq!(client.read_to_end().expect("an orderly end"), b"", "it is cut off");
    let time = start.elapsed();
    assert!((millis(200)..millis(1_200)).contains(&time), "after the timeout: {time:?}");
    assert_eq!(server.connections(), 0, "the slot is free before the client can know");
    server.close();
    within("serve returns", || running.join()).expect("one client's timeout is not the server's");
}

/// Ensures that a call that a signal interrupts goes on with the time that is left: neither failing nor starting anew. A
/// stop and a continue interrupt it on Linux, although there is no handler.
#[test]
fn an_interrupted_call_goes_on_with_the_time_that_is_left() {
    in_child(this_test!(), &[], || {
        let script = |stop: &str| {
            let script = format!("sleep {stop}; kill -STOP $0; sleep 0.1; kill -CONT $0");
            let pid = std::process::id().to_string();
            Command::new("sh").args(["-c", &script, &pid]).spawn().expect("there is a shell")
        };
        type Call = (&'static str, fn(&Socket) -> io::Result<()>);
        let calls: [Call; 3] = [
            ("timeout", |s| s.read(&mut [0]).map(drop)),
            ("deadline", |s| s.read(&mut [0]).map(drop)),
            ("deadline of a write", |s| s.write_all(vec![0; 64 << 20])),
        ];
        for (what, call) in calls {
            let (_server, _client, accepted) = pair(AT);
            let start = Instant::now();
            match what {
                "timeout" => accepted.set_timeout(millis(1_500)),
                _ => accepted.set_deadline(start + millis(1_500)),
            }
            let mut interrupting = script("0.9");
            let (kind, _) = timed(move || call(&accepted));
            let time = start.elapsed();
            assert!(interrupting.wait().expect("it was started").success(), "the signals were sent");
            assert_eq!(kind, ErrorKind::TimedOut, "{what}: a signal is no error");
            assert!((millis(1_500)..millis(2_300)).contains(&time), "{what}: neither early nor anew: {time:?}");
        }
        // Without a time it just goes on.
        let (_server, client, accepted) = pair(AT);
        let reading = thread::spawn(move || accepted.read(&mut [0]));
        assert!(script("0.1").wait().expect("it was started").success(), "the signals were sent");
        client.write_all("x").expect("it is connected");
        let read = within("the read returns", || reading.join()).expect("it does not panic");
        assert_eq!(read.expect("a signal is no error"), 1, "the byte arrives");
    });
}
