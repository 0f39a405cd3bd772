//! The idle timeout and the deadline.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ReadyState, ServerOptions, Socket, SocketEvent, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{kernel, pair, pair_with, record, watch, watch_only, words};
use crate::support::time::some_round;
use crate::support::{HANG, Told, blocked, differs_on_windows, each_ip, eventually, in_child, within};

const AT: &str = "127.0.0.1:0";

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Lets time pass, as a slow peer does.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        // Not a bound: the pace of the peer.
        thread::park_timeout(left);
    }
}

/// Lets some idle times of another connection pass, each of which ends a read.
fn idle_times(count: u32, timer: Duration) {
    let (_server, _client, quiet) = pair(AT);
    quiet.set_timeout(timer);
    for _ in 0..count {
        let reader = quiet.clone();
        assert_eq!(timed(move || reader.read(&mut [0])).0, ErrorKind::TimedOut, "the control's timeout fires");
    }
}

/// The longest time in which a connection may have been idle.
struct Pauses {
    last: Instant,
    longest: Duration,
}

impl Pauses {
    fn begin() -> Pauses {
        Pauses { last: Instant::now(), longest: Duration::ZERO }
    }

    /// Does something that is an activity of the connection before it returns.
    fn act(&mut self, activity: impl FnOnce()) {
        let began = Instant::now();
        activity();
        self.longest = self.longest.max(self.last.elapsed());
        self.last = began;
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

/// Ensures that a timeout that was switched off does not fire, though one that was set after it has. Mirrors
/// net-settimeout.js.
#[test]
fn a_timeout_that_was_switched_off_does_not_fire() {
    let (_server, client, accepted) = pair(AT);
    client.set_timeout(millis(100));
    client.set_timeout(Duration::ZERO);
    let tape = blocked(move || record(&client, |_, _| Ok(())));
    idle_times(1, millis(150));
    accepted.end().expect("it is connected");
    assert_eq!(words(tape), ["end", "close false"], "no timeout, though a later one has fired");
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
        assert_eq!(client.read_all().expect("an orderly end"), b"", "and it ends in order");
        assert_eq!(words(tape), ["timeout", "data", "end", "close false"], "a timeout is no error");
    });
}

/// Ensures that traffic keeps a timeout from firing, that it fires when the whole time has passed since the last byte, and
/// that destroying the socket then is no error. Mirrors pummel/net-timeout.js.
#[test]
fn a_timeout_fires_when_the_time_has_passed_since_the_last_byte() {
    some_round("the client sends a byte in each timeout", millis(200), |timer| {
        let (_server, client, accepted) = pair(AT);
        let mut last = Instant::now();
        accepted.set_timeout(timer);
        let (tell, fired) = mpsc::channel();
        let tape = watch(&accepted, move |socket, event| match event {
            SocketEvent::Data(bytes) => {
                last = Instant::now();
                socket.write_all(bytes)
            }
            SocketEvent::Timeout => {
                tell.send(last.elapsed()).expect("the test waits");
                socket.destroy();
                Ok(())
            }
            _ => Ok(()),
        });
        // Until it fires, which a client that is late may meet.
        let echoes = (0..6).take_while(|_| {
            pass(timer / 4);
            client.write_all("x").and_then(|()| client.read_exact(&mut [0])).is_ok()
        });
        let is_fed = echoes.count() == 6;
        let silent = fired.recv_timeout(HANG).expect("silence fires it");
        assert!(silent >= timer, "never early: after {silent:?} of {timer:?}");
        if !is_fed {
            return None;
        }
        assert_eq!(client.read_all().expect("an orderly end, and no reset"), b"", "the client sees the end");
        assert_eq!(words(tape), ["data", "timeout", "close false"], "destroying it then is no error");
        Some(())
    });
}

/// Ensures that writes alone keep a timeout from firing, although its reader is blocked all the while. Mirrors
/// pummel/net-timeout2.js.
#[test]
fn a_timeout_does_not_fire_while_only_writes_happen() {
    some_round("there is a write in each timeout", millis(200), |timer| {
        let (_server, client, accepted) = pair(AT);
        let mut pauses = Pauses::begin();
        accepted.set_timeout(timer);
        let tape = watch_only(&accepted);
        for _ in 0..8 {
            pass(timer / 4);
            pauses.act(|| accepted.write_all("x").expect("the client takes it"));
        }
        let mut told = Vec::new();
        pauses.act(|| {
            client.end().expect("it is connected");
            told = words(tape);
        });
        // Otherwise it was idle.
        (pauses.longest < timer).then(|| assert_eq!(told, ["end", "close false"], "twice the time, and never idle"))
    });
}

/// Ensures that the time of a blocked reader is counted from the last write, and not from when the kernel looked last:
/// then it would begin anew when the kernel's is up.
#[test]
fn a_timeout_fires_on_time_after_a_write() {
    some_round("it fires one timeout after the write, and not a period later", millis(200), |timer| {
        let (_server, _client, accepted) = pair(AT);
        let reader = accepted.clone();
        let start = Instant::now();
        accepted.set_timeout(timer);
        let reading = blocked(move || (reader.read(&mut [0]), Instant::now()));
        pass(timer / 2);
        let written = Instant::now();
        accepted.write_all("x").expect("the kernel takes it");
        let is_late = start.elapsed() > timer * 3 / 4;
        let (result, ended) = within("it fires", || reading.join()).expect("it does not panic");
        assert_eq!(result.expect_err("nobody writes to it").kind(), ErrorKind::TimedOut, "it fires");
        if is_late {
            return None;
        }
        let time = ended - written;
        assert!(time >= timer, "a whole time after the write, and not {time:?} of {timer:?}");
        // Two whole times after the read began.
        (time < timer * 5 / 4).then_some(())
    });
}

/// Ensures that bytes that arrive keep a blocked writer from timing out: the timer is one for both directions.
#[test]
fn a_blocked_write_does_not_time_out_while_bytes_arrive() {
    some_round("a byte arrives in each timeout", millis(200), |timer| {
        let (_server, client, accepted) = pair(AT);
        let mut pauses = Pauses::begin();
        accepted.set_timeout(timer);
        let ((fire, fired), (tell, arrived)) = (mpsc::channel(), mpsc::channel());
        let tape = watch(&accepted, move |_, event| {
            match event {
                SocketEvent::Data(_) => tell.send(()).expect("the test waits"),
                SocketEvent::Timeout => fire.send(()).expect("the test waits"),
                _ => {}
            }
            Ok(())
        });
        let writer = accepted.clone();
        let writing = thread::spawn(move || (writer.write_all(vec![0; 32 << 20]), Instant::now()));
        for _ in 0..8 {
            pass(timer / 4);
            pauses.act(|| {
                client.write_all("x").expect("it is connected");
                arrived.recv_timeout(HANG).expect("it is read");
            });
        }
        let (result, ended) = within("when none arrive any more, it ends", || writing.join()).expect("no panic");
        fired.recv_timeout(HANG).expect("both directions were idle");
        accepted.destroy();
        let told = words(tape);
        if pauses.longest >= timer {
            return None;
        }
        let error = result.expect_err("the client does not read");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "for its time: {error}");
        let time = ended.saturating_duration_since(pauses.last);
        assert!(time >= timer, "a whole time after the last byte that arrived, and not {time:?} of {timer:?}");
        assert_eq!(told, ["data", "timeout", "close false"], "once");
        Some(())
    });
}

/// Ensures that a write which waits for the write of another thread obeys each timer, also where that write began before any
/// timer was set, so that it ends by none.
#[test]
fn a_write_that_waits_for_another_obeys_the_timers() {
    type Way = fn(&Socket) -> io::Result<()>;
    let ways: [(&str, Way); 6] = [
        ("write_all", |socket| socket.write_all("x")),
        ("write_end", |socket| socket.write_end("x")),
        ("write_fmt", |socket| socket.write_fmt(format_args!("{}", 1))),
        ("write_vectored", |mut socket| socket.write_vectored(&[IoSlice::new(b"x")]).map(drop)),
        ("Buffered::flush", |socket| {
            let mut buffered = socket.buffered()?;
            buffered.write_all(b"x").and_then(|()| buffered.flush())
        }),
        ("end", Socket::end),
    ];
    type Set = fn(&Socket);
    let timers: [(Set, &str); 3] = [
        // Not a bound: the timer under test.
        (|socket| socket.set_write_timeout(millis(20)).expect("it is open"), "ERR_SOCKET_TIMEOUT"),
        (|socket| socket.set_timeout(millis(20)), "ERR_SOCKET_TIMEOUT"),
        (|socket| socket.set_deadline(Instant::now() + millis(20)), "ERR_SOCKET_DEADLINE"),
    ];
    each_ip(|at| {
        for (set, code) in timers {
            let (_server, client, accepted) = pair(at);
            let first = client.clone();
            let writing = thread::spawn(move || first.write_all(vec![0; 64 << 20]));
            accepted.peek(&mut [0]).expect("the write is under way");
            set(&client);
            for (way, call) in ways {
                let socket = client.clone();
                let error = within("the wait ends", move || call(&socket)).expect_err("the peer reads nothing");
                assert_eq!(error.told().code(), code, "{way} ends by the timer that was set: {error}");
            }
            client.destroy();
            writing.join().expect("no panic").expect_err("it was cut");
        }
    });
}

/// Ensures that a write which waits for the write of another thread does not time out while the peer takes bytes of that one.
#[test]
fn a_write_that_waits_for_another_does_not_time_out_while_bytes_are_taken() {
    const PIECE: usize = 256 * 1024;
    const PIECES: usize = 12;
    some_round("the peer takes bytes in each timeout", millis(100), |timer| {
        let (_server, client, accepted) = pair(AT);
        for end in [&client, &accepted] {
            kernel(end, |raw| raw.set_send_buffer_size(32_768).and_then(|()| raw.set_recv_buffer_size(32_768)));
        }
        // Not a bound: the timer under test.
        client.set_write_timeout(timer).expect("it is open");
        let (first, second) = (client.clone(), client.clone());
        let mut pauses = Pauses::begin();
        let writing = thread::spawn(move || {
            // Otherwise the peer would wait for bytes that do not come.
            first.write_all(vec![0; PIECE * PIECES]).inspect_err(|_| first.destroy())
        });
        accepted.peek(&mut [0]).expect("the write is under way");
        let waiting = thread::spawn(move || second.write_all("x"));
        let mut piece = vec![0; PIECE];
        for _ in 0..PIECES {
            pass(timer / 4);
            pauses.act(|| accepted.read_exact(&mut piece).unwrap_or_default());
        }
        let first = within("the first write ends", || writing.join()).expect("no panic");
        let second = within("the second write ends", || waiting.join()).expect("no panic");
        if pauses.longest >= timer / 2 {
            return None;
        }
        first.expect("the peer has taken all of it");
        second.expect("the peer has taken bytes in each timeout");
        Some(())
    });
}

/// Ensures that a timeout fires once per idle period: exactly once in a silence of several timeouts, and again only
/// after new activity.
#[test]
fn a_timeout_fires_once_per_idle_period() {
    const TIMER: Duration = Duration::from_millis(20);
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let (tell, fired) = mpsc::channel();
        let tape = watch(&accepted, move |socket, event| match event {
            SocketEvent::Data(bytes) => {
                // Here, so that there is no silence before the first byte.
                socket.set_timeout(TIMER);
                socket.write_all(bytes)
            }
            SocketEvent::Timeout => tell.send(()).map_err(io::Error::other),
            _ => Ok(()),
        });
        for _ in 0..2 {
            client.write_all("x").expect("it is connected");
            client.read_exact(&mut [0]).expect("the echo comes back");
            fired.recv_timeout(HANG).expect("silence fires it");
            idle_times(5, TIMER);
        }
        client.end().expect("it is connected");
        assert_eq!(words(tape), ["data", "timeout", "data", "timeout", "end", "close false"], "once in each silence");
    });
}

/// Ensures that a timeout that was delivered is not delivered again because the connection is paused, resumed, or ended by
/// its peer.
#[test]
fn a_pause_and_an_end_deliver_no_timeout_again() {
    const TIMER: Duration = Duration::from_millis(20);
    each_ip(|at| {
        let half_open = ServerOptions::new().allow_half_open(true);
        let (_server, client, accepted) = pair_with(at, half_open, SocketOptions::new());
        let (tell, fired) = mpsc::channel();
        accepted.set_timeout(TIMER);
        let tape = watch(&accepted, move |socket, event| match event {
            SocketEvent::Timeout => {
                socket.pause();
                tell.send(()).map_err(io::Error::other)
            }
            _ => Ok(()),
        });
        fired.recv_timeout(HANG).expect("silence is a timeout");
        idle_times(5, TIMER);
        accepted.resume();
        idle_times(5, TIMER);
        client.end().expect("it is connected");
        eventually("the end is read", || accepted.ready_state() == ReadyState::WriteOnly);
        idle_times(5, TIMER);
        accepted.end().expect("it is connected");
        assert_eq!(words(tape), ["timeout", "end", "close false"], "no byte has moved since the timeout");
    });
}

/// Ensures that `each` and a channel tell it too, once.
#[cfg(feature = "channel")]
#[test]
fn each_and_channels_tell_a_timeout() {
    const TIMER: Duration = Duration::from_millis(40);
    let options = ServerOptions::new().timeout(TIMER);
    let start = Instant::now();
    let (_server, client, accepted) = pair_with(AT, options.clone(), SocketOptions::new());
    assert_eq!(accepted.timeout(), Some(TIMER), "the server's option holds for its sockets");
    let running = thread::spawn(move || {
        accepted.each(|socket, event| match event {
            SocketEvent::Timeout => socket.write_all("t"),
            _ => Ok(()),
        })
    });
    // A write of the handler is activity, and the silence after it an idle period of its own.
    let reader = client.clone();
    within("it is told three times", move || reader.read_exact(&mut [0; 3])).expect("it is connected");
    assert!(start.elapsed() >= 3 * TIMER, "once in each silence: three in {:?}", start.elapsed());
    client.end().expect("it is connected");
    within("each returns", || running.join()).expect("it does not panic").expect("a timeout is no error");

    let (_server, client, accepted) = pair_with(AT, options, SocketOptions::new());
    let events = accepted.events(16).expect("a thread can be started");
    assert!(matches!(events.recv_timeout(HANG), Ok(SocketEvent::Timeout)), "the channel tells it");
    idle_times(3, TIMER);
    client.end().expect("it is connected");
    let next = events.recv_timeout(HANG).expect("the end is told");
    assert!(matches!(next, SocketEvent::End), "once, and then {next:?}");
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
        |s| s.read_all().map(|all| all.len()),
        |s| s.pipe(s).map(|()| 0),
    ];
    for call in calls {
        let socket = accepted.clone();
        let (kind, time) = timed(move || call(&socket));
        assert_eq!(kind, ErrorKind::TimedOut, "on every system");
        assert!(time >= millis(30), "each call waits for a whole time: {time:?}");
    }
    let mut lines = accepted.buffered().expect("it is the first").lines();
    for piece in ["on", "e\ntw", "o\n"] {
        let step = lines.next().expect("the peer has not ended");
        assert_eq!(step.expect_err("no line is whole").kind(), ErrorKind::TimedOut, "before {piece:?}");
        client.write_all(piece).expect("a timeout closes nothing");
        if piece.contains('\n') {
            // It may take longer to arrive.
            accepted.set_timeout(None);
            let line = lines.next().expect("the peer has not ended").expect("a whole line");
            assert_eq!(line, if piece.starts_with('e') { "one" } else { "two" }, "no part of it was lost");
            accepted.set_timeout(millis(30));
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
        |s| s.buffered()?.lines().try_for_each(|line| line.map(drop)),
        |s| s.read_all().map(drop),
    ];
    some_round("each ends at the deadline", millis(400), |deadline| {
        let running = readers.map(|reader| {
            let (server, client, accepted) = pair(AT);
            let (tell, over) = mpsc::channel::<()>();
            let start = Instant::now();
            accepted.set_deadline(start + deadline);
            let reading = thread::spawn(move || {
                let result = reader(&accepted);
                drop(tell);
                (result, start.elapsed())
            });
            thread::spawn(move || {
                // Not a bound: the pace of the client.
                while over.recv_timeout(deadline / 4) == Err(mpsc::RecvTimeoutError::Timeout) {
                    // It may be closed just now.
                    let _: io::Result<()> = client.write_all("x");
                }
                drop(server);
                reading.join().expect("it does not panic")
            })
        });
        let times = running.map(|reading| {
            let (result, time) = within("the deadline ends it", || reading.join()).expect("it does not panic");
            assert_eq!(result.expect_err("the deadline is an error").kind(), ErrorKind::TimedOut, "of this kind");
            assert!(time >= deadline, "not before the deadline: {time:?} of {deadline:?}");
            time
        });
        times.iter().all(|time| *time < deadline * 2).then_some(())
    });
}

/// Ensures that a client's `deadline` is a lifetime of its connection, from when that is made.
#[test]
fn a_clients_deadline_ends_its_connection() {
    let options = SocketOptions::new().deadline(millis(300));
    let (_server, client, _accepted) = pair_with(AT, ServerOptions::new(), options);
    let end = client.deadline().expect("it has one");
    let error = client.read(&mut [0; 8]).expect_err("the peer sends nothing");
    assert!(!landline::Error::is_tick(&error) && error.kind() == ErrorKind::TimedOut, "it is an end: {error}");
    assert!(Instant::now() >= end, "and not before its time");
}

/// Ensures that a server's `deadline` is a lifetime of each of its connections, and that its end frees the slot.
#[test]
fn a_servers_deadline_ends_each_connection() {
    let options = ServerOptions::new().deadline(millis(300));
    let (server, client, accepted) = pair_with(AT, options, SocketOptions::new());
    assert!(accepted.deadline().is_some(), "each connection gets one");
    let tape = watch(&accepted, |_, _| Ok(()));
    client.set_timeout(HANG);
    assert_eq!(client.read_all().expect("an orderly end"), b"", "the client sees the end");
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

/// Ensures that a deadline a few milliseconds away ends the first call of a connection, whose kernel has no timeout yet.
#[test]
fn a_deadline_a_few_milliseconds_away_ends_the_first_call() {
    // Parts of a millisecond too, so that each whole number of milliseconds can be what is left when the call blocks.
    for micros in (500..6_000).step_by(500) {
        let (_server, _client, accepted) = pair(AT);
        let at = Instant::now() + Duration::from_micros(micros);
        accepted.set_deadline(at);
        let (kind, _) = timed(move || accepted.read(&mut [0]));
        assert!(Instant::now() >= at, "a call does not end before its deadline");
        assert_eq!(kind, ErrorKind::TimedOut, "the deadline ends a call");
    }
}

/// Ensures that a write to a peer that never reads ends by the deadline, and that `bytes_written` is what the peer can then
/// read.
#[test]
fn a_write_ends_by_the_deadline_and_tells_how_far_it_came() {
    each_ip(|at| {
        some_round("the write ends at the deadline", millis(200), |deadline| {
            let (_server, client, accepted) = pair(at);
            let start = Instant::now();
            accepted.set_deadline(start + deadline);
            let writer = accepted.clone();
            let (kind, _) = timed(move || writer.write_all(vec![0; 64 << 20]));
            let time = start.elapsed();
            assert_eq!(kind, ErrorKind::TimedOut, "of this kind");
            assert!(time >= deadline, "not before the deadline: {time:?} of {deadline:?}");
            let written = accepted.bytes_written();
            accepted.destroy();
            let read = within("the end comes", move || client.read_all()).expect("an orderly end");
            assert_eq!(read.len() as u64, written, "what was counted as written arrives, and no more");
            // A write that began after the deadline has written nothing.
            (written > 0 && time < deadline * 2).then_some(())
        });
    });
}

/// Ensures that timers fail no read where the system refuses to set them, as macOS does once neither direction is open:
/// what has arrived is read, then the end. If the call does block, it still ends by its timer.
#[test]
#[cfg(target_os = "linux")]
fn a_read_works_where_its_timer_is_refused() {
    // strace counts for each thread by itself.
    let refuse = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setsockopt"];
    let wrapper = [&refuse[..], &["-e", "inject=setsockopt:error=EINVAL:when=200+"]].concat();
    in_child(this_test!(), &wrapper, || {
        let (_server, client, accepted) = pair(AT);
        let (_other_server, _other_client, quiet) = pair(AT);
        client.write_end("reply").expect("it is connected");
        accepted.end().expect("it is connected");
        within("the reads return", move || {
            // Not a bound: the timers are what is tested.
            quiet.set_read_timeout(millis(10)).expect("it is open");
            quiet.read(&mut [0]).expect_err("nothing arrives");
            let set = || accepted.with_raw(|fd| socket2::SockRef::from(&fd).set_recv_buffer_size(100_000));
            let refused = std::iter::repeat_with(|| set().expect("it is open")).take(300).any(|result| result.is_err());
            assert!(refused, "the premise: settings are refused from here on");

            accepted.set_read_timeout(HANG).expect("it is open");
            assert_eq!(accepted.read_text().expect("an end"), "reply", "what has arrived is read, then the end");

            let (timer, start) = (millis(100), Instant::now());
            // Not a bound: as above.
            quiet.set_read_timeout(timer).expect("it is open");
            let error = quiet.read(&mut [0]).expect_err("nothing arrives");
            assert!(landline::Error::is_tick(&error), "the call ends by its timer: {error}");
            assert!(start.elapsed() >= timer, "and not before");
        });
    });
}

/// Ensures that with both, whichever of timeout and deadline is over first counts.
#[test]
fn the_first_of_timeout_and_deadline_counts() {
    const FIRST: Duration = Duration::from_millis(100);
    const HOUR: Duration = Duration::from_secs(3_600);
    for (idle, deadline) in [(FIRST, HOUR), (HOUR, FIRST)] {
        let (_server, _client, accepted) = pair(AT);
        let start = Instant::now();
        accepted.set_timeout(idle);
        accepted.set_deadline(start + deadline);
        let (kind, _) = timed(move || accepted.read(&mut [0]));
        let time = start.elapsed();
        assert_eq!(kind, ErrorKind::TimedOut, "either has this kind");
        assert!(time >= FIRST, "timeout {idle:?}, deadline {deadline:?}: not before the first, but after {time:?}");
    }
}

/// Ensures that a server whose handler returns the timeout as an error gets rid of a silent client after it, and not
/// before.
#[test]
fn a_silent_clients_slot_is_free_after_the_timeout() {
    const TIMER: Duration = Duration::from_millis(200);
    let server = ServerOptions::new().timeout(TIMER).listen(AT).expect("port 0 can be listened on");
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
    let end = within("the client is disconnected", move || client.read_all());
    assert_eq!(end.expect("an orderly end"), b"", "by an end");
    let time = start.elapsed();
    assert!(time >= TIMER, "not before the timeout: {time:?}");
    assert_eq!(server.connections(), 0, "the slot is free before the client can know");
    server.close();
    within("serve returns", || running.join()).expect("one client's timeout is not the server's");
}

/// Ensures that a call that a signal interrupts goes on with the time that is left: neither failing nor starting anew. A
/// stop and a continue interrupt it on Linux, although there is no handler.
#[test]
fn an_interrupted_call_goes_on_with_the_time_that_is_left() {
    type Call = (&'static str, fn(&Socket) -> io::Result<()>);
    if differs_on_windows("there are no signals") {
        return;
    }
    const CALLS: [Call; 3] = [
        ("timeout", |s| s.read(&mut [0]).map(drop)),
        ("deadline", |s| s.read(&mut [0]).map(drop)),
        ("deadline of a write", |s| s.write_all(vec![0; 64 << 20])),
    ];
    in_child(this_test!(), &[], || {
        some_round("each is interrupted and ends at its time, not anew", millis(500), |timer| {
            let running = CALLS.map(|(what, call)| {
                let (server, client, accepted) = pair(AT);
                let start = Instant::now();
                match what {
                    "timeout" => accepted.set_timeout(timer),
                    _ => accepted.set_deadline(start + timer),
                }
                (what, server, client, blocked(move || (call(&accepted), start.elapsed())))
            });
            // Without a time it just goes on.
            let (_server, client, accepted) = pair(AT);
            let endless = blocked(move || accepted.read(&mut [0]));
            // std's read tells of the signal.
            let (_other_server, _other_client, other) = pair(AT);
            // Not a bound: the control's.
            kernel(&other, |raw| raw.set_read_timeout(Some(timer)));
            let std = other.clone();
            let mut byte = [std::mem::MaybeUninit::uninit()];
            let told =
                blocked(move || std.with_raw(|fd| socket2::SockRef::from(&fd).recv(&mut byte)).expect("it is open"));

            let script = format!("sleep {}; kill -STOP $0; sleep 0.05; kill -CONT $0", timer.as_secs_f64() * 0.6);
            let mut interrupting = Command::new("sh")
                .args(["-c", &script, &std::process::id().to_string()])
                .spawn()
                .expect("there is a shell");
            let told = within("std's read ends", || told.join()).expect("no panic").expect_err("nobody writes to it");
            let is_interrupted = told.kind() == ErrorKind::Interrupted || cfg!(not(target_os = "linux"));
            let times = running.map(|(what, _server, _client, calling)| {
                let (result, time) = within("the call ends", || calling.join()).expect("it does not panic");
                let kind = result.expect_err("its time is up").kind();
                assert_eq!(kind, ErrorKind::TimedOut, "{what}: a signal is no error");
                assert!(time >= timer, "{what}: not early: {time:?} of {timer:?}");
                time
            });
            assert!(interrupting.wait().expect("it was started").success(), "the signals were sent");
            client.write_all("x").expect("it is connected");
            let read = within("the read returns", || endless.join()).expect("it does not panic");
            assert_eq!(read.expect("a signal is no error"), 1, "the byte arrives");
            // Anew would be 1.6 times the time.
            (is_interrupted && times.iter().all(|time| *time < timer * 3 / 2)).then_some(())
        });
    });
}

/// Ensures that a byte extends the idle time of a blocked write, even if the read that got it began before the timeout
/// was set.
#[test]
fn a_byte_of_a_read_that_began_before_the_timeout_was_set_counts() {
    each_ip(|at| {
        let early = some_round("the byte is sent in time", millis(500), |idle| {
            let (_server, client, accepted) = pair(at);
            let reader = accepted.clone();
            let reading = blocked(move || (reader.read(&mut [0]), Instant::now()));
            let begun = Instant::now();
            accepted.set_timeout(idle);
            let writer = accepted.clone();
            let writing = thread::spawn(move || {
                let error = writer.write_all(vec![0; 64 << 20]).expect_err("the peer reads nothing");
                (error, Instant::now())
            });
            pass(idle * 3 / 4);
            let sent = Instant::now();
            client.write_all("x").expect("it is connected");
            let (read, arrived) = within("the byte arrives", || reading.join()).expect("nothing panicked");
            let (error, failed) = within("the write fails", || writing.join()).expect("nothing panicked");
            let is_in_time = read.is_ok() && arrived - begun < idle;
            is_in_time.then(|| {
                assert_eq!(error.kind(), ErrorKind::TimedOut, "the connection is idle then");
                idle.saturating_sub(failed - sent)
            })
        });
        assert_eq!(early, Duration::ZERO, "the idle time begins at the byte");
    });
}
