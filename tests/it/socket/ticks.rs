//! What each timer does to each way of reading and writing.

use std::io::{self, BufRead, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::Error;
use landline::net::{Buffered, Socket, SocketEvent};

use crate::support::fixtures::pair;
use crate::support::{HANG, WHOLE, WINDOWS, blocked, each_ip, eventually, families, within, within_for};

/// The time of every timer here.
const TIME: Duration = Duration::from_millis(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Read,
    Write,
    Idle,
    Deadline,
}

const TIMERS: [Timer; 4] = [Timer::Read, Timer::Write, Timer::Idle, Timer::Deadline];

impl Timer {
    fn set(self, socket: &Socket, time: Option<Duration>) {
        match self {
            // Not a bound: the timer that is tested.
            Timer::Read => socket.set_read_timeout(time).expect("it is open"),
            // Not a bound: the timer that is tested.
            Timer::Write => socket.set_write_timeout(time).expect("it is open"),
            Timer::Idle => socket.set_timeout(time),
            Timer::Deadline => socket.set_deadline(time.map(|time| Instant::now() + time)),
        }
    }
}

/// A call that blocks until the peer does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Peek,
    ReadExact,
    ReadVectored,
    Line,
    Until,
    Pipe,
    WriteAll,
    Write,
    WriteVectored,
    Format,
    Flush,
    PipeInto,
    Send,
}

const READS: [Way; 7] = [Way::Read, Way::Peek, Way::ReadExact, Way::ReadVectored, Way::Line, Way::Until, Way::Pipe];
const WRITES: [Way; 7] =
    [Way::WriteAll, Way::Write, Way::WriteVectored, Way::Format, Way::Flush, Way::PipeInto, Way::Send];

/// What a timer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    /// The call fails; the next one goes on, and fails again if nothing has happened.
    Tick,
    /// Every call fails until the timer is changed.
    End,
}

fn effect(timer: Timer, way: Way) -> Effect {
    match timer {
        Timer::Deadline => Effect::End,
        Timer::Idle => Effect::Tick,
        Timer::Read if READS.contains(&way) => Effect::Tick,
        Timer::Write if WRITES.contains(&way) => Effect::Tick,
        Timer::Read | Timer::Write => Effect::None,
    }
}

/// A connection and what the ways need besides.
struct Ends {
    socket: Socket,
    peer: Socket,
    buffered: Option<Buffered>,
    /// Another connection, from which or to which is piped.
    other: Socket,
    other_peer: Socket,
}

/// Writes until the buffers of both systems are full: until nothing was taken three times. A write that is polled finds room
/// for a few bytes that would not wake a blocked one. The system makes some when it asks the peer for it, after 200 ms and
/// 400 ms more.
fn fill(socket: &Socket) {
    let (begun, least) = (Instant::now(), Duration::from_millis(if WINDOWS { 700 } else { 0 }));
    // Not a bound: how long nothing is taken.
    socket.set_write_timeout(Duration::from_millis(20)).expect("it is open");
    let mut full = 0;
    while full < 3 || begun.elapsed() < least {
        let before = socket.bytes_written();
        // Where each write is three system calls, single bytes would take a minute.
        let sizes: &[usize] = if WINDOWS { &[1 << 16, 1 << 8] } else { &[1 << 16, 1 << 8, 1] };
        for &size in sizes {
            while socket.write_all(vec![b'.'; size]).is_ok() {}
        }
        full = if socket.bytes_written() == before { full + 1 } else { 0 };
    }
    socket.set_write_timeout(None).expect("it is open");
}

/// One call; it ends when the peer has sent a line, or reads.
fn call(way: Way, ends: &mut Ends) -> io::Result<()> {
    let socket = &ends.socket;
    let (mut buf, mut more) = ([0; 4], [0; 4]);
    match way {
        Way::Read => socket.read(&mut buf).map(drop),
        Way::Peek => socket.peek(&mut buf).map(drop),
        Way::ReadExact => socket.read_exact(&mut buf),
        Way::ReadVectored => {
            let mut both = [IoSliceMut::new(&mut buf), IoSliceMut::new(&mut more)];
            (&mut &*socket).read_vectored(&mut both).map(drop)
        }
        Way::Line => ends.buffered.as_mut().expect("it was made").next_line().map(drop),
        Way::Until => ends.buffered.as_mut().expect("it was made").read_until(b'\n', &mut Vec::new()).map(drop),
        Way::Pipe => socket.pipe(&ends.other),
        Way::WriteAll => socket.write_all("more"),
        Way::Write => (&mut &*socket).write(b"more").map(drop),
        Way::WriteVectored => (&mut &*socket).write_vectored(&[IoSlice::new(b"mo"), IoSlice::new(b"re")]).map(drop),
        Way::Format => write!(socket, "{}{}", "more".len(), 0),
        Way::Flush => ends.buffered.as_mut().expect("it was made").flush(),
        Way::PipeInto => {
            // What a pipe has read before its write fails is lost, so it is given something for each call.
            let _ = ends.other_peer.write_all([b'.'; 1000]);
            ends.other.pipe(socket)
        }
        Way::Send => socket.outbox().send(*b"more").map_err(io::Error::from),
    }
}

fn prepare(way: Way, at: &str) -> Ends {
    let ((_, peer, socket), (_, other_peer, other)) = (pair(at), pair(at));
    let mut ends = Ends { socket, peer, buffered: None, other, other_peer };
    if WRITES.contains(&way) {
        fill(&ends.socket);
    }
    match way {
        Way::Line | Way::Until => ends.buffered = Some(ends.socket.buffered().expect("it is the first")),
        Way::Flush => {
            let mut buffered = ends.socket.buffered().expect("it is the first");
            buffered.write_all(b"more").expect("it is kept");
            ends.buffered = Some(buffered);
        }
        Way::Send => {
            ends.socket.outbox().set_limit(4);
            ends.socket.outbox().try_send(*b"full").expect("there is room");
        }
        _ => {}
    }
    ends
}

/// Lets the call end: the peer sends, or reads.
fn release(way: Way, ends: &Ends) {
    if READS.contains(&way) {
        ends.peer.write_end("a line\n").expect("it is connected");
    } else {
        let peer = ends.peer.clone();
        ends.other_peer.end().expect("it is connected");
        thread::spawn(move || while peer.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {});
    }
}

/// Waits as long as a connection like this takes to tick twice.
fn two_ticks() {
    let (_server, _peer, control) = pair("127.0.0.1:0");
    // Not a bound: the control's timer.
    control.set_read_timeout(TIME).expect("it is open");
    for _ in 0..2 {
        assert!(control.read(&mut [0]).is_err_and(|error| Error::is_tick(&error)), "the control ticks");
    }
}

fn try_cell(timer: Timer, way: Way, at: &str) {
    let cell = format!("{timer:?} × {way:?} at {at}");
    let mut ends = prepare(way, at);
    let begun = Instant::now();
    timer.set(&ends.socket, Some(TIME));
    match effect(timer, way) {
        Effect::None => {
            let (done, is_done) = mpsc::channel();
            let socket = ends.socket.clone();
            let (to_end, peer) = (way, Ends { socket, buffered: None, ..clone(&ends) });
            let calling = blocked(move || {
                let _ = done.send(call(way, &mut ends));
                ends
            });
            two_ticks();
            assert!(is_done.try_recv().is_err(), "{cell}: the timer has no part in it");
            release(to_end, &peer);
            let result = is_done.recv_timeout(HANG).expect("the call ends");
            assert!(result.is_ok(), "{cell}: it ends as the peer lets it, not by {result:?}");
            peer.socket.destroy();
            calling.join().expect("the thread does not fail");
        }
        Effect::Tick => {
            for n in 1..=2 {
                let error = call(way, &mut ends).expect_err(&cell);
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{cell}: a tick is of this kind: {error}");
                assert!(Error::is_tick(&error), "{cell}: the predicate says so: {error}");
                assert!(begun.elapsed() >= TIME * n, "{cell}: it is never early");
            }
            timer.set(&ends.socket, None);
            release(way, &ends);
            let result = call(way, &mut ends);
            assert!(result.is_ok(), "{cell}: after a tick the next call goes on: {result:?}");
        }
        Effect::End => {
            for _ in 0..2 {
                let error = call(way, &mut ends).expect_err(&cell);
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{cell}: a deadline is of this kind: {error}");
                assert!(!Error::is_tick(&error), "{cell}: a deadline is no tick: {error}");
                assert!(begun.elapsed() >= TIME, "{cell}: it is never early");
            }
            if way == Way::Send {
                // What is queued was given up, and the connection with it.
                return;
            }
            timer.set(&ends.socket, None);
            release(way, &ends);
            let result = call(way, &mut ends);
            assert!(result.is_ok(), "{cell}: a deadline that is taken off lets calls go on: {result:?}");
        }
    }
}

fn clone(ends: &Ends) -> Ends {
    let Ends { socket, peer, other, other_peer, .. } = ends;
    let [socket, peer, other, other_peer] = [socket, peer, other, other_peer].map(Socket::clone);
    Ends { socket, peer, buffered: None, other, other_peer }
}

/// Ensures that each timer does to each call what the table says: nothing, a tick, or an end.
#[test]
fn each_timer_does_to_each_call_what_it_is_for() {
    let cells = families().into_iter().flat_map(|at| TIMERS.map(|timer| (at, timer)));
    for (at, timer) in cells {
        thread::scope(|scope| {
            for way in READS.into_iter().chain(WRITES) {
                scope.spawn(move || {
                    let what = format!("{timer:?} × {way:?} at {at} is over");
                    within_for(WHOLE, &what, move || try_cell(timer, way, at));
                });
            }
        });
    }
}

/// How often a loop tells `Timeout` before it is asked to stop, and how it ends.
#[cfg(feature = "channel")]
fn told(timer: Timer, by_channel: bool, at: &str) -> (usize, io::Result<()>) {
    let (_server, peer, socket) = pair(at);
    let begun = Instant::now();
    timer.set(&socket, Some(TIME));
    let (tell, told) = mpsc::channel();
    let looping = socket.clone();
    let running = thread::spawn(move || {
        let tell_one = |event: &dyn Fn() -> bool| {
            if event() {
                tell.send(begun.elapsed()).expect("the test waits")
            }
        };
        if !by_channel {
            return looping.each(|_, event| {
                tell_one(&|| matches!(event, SocketEvent::Timeout));
                Ok(())
            });
        }
        let events = looping.events(4)?;
        let mut result = Ok(());
        for event in events.iter() {
            tell_one(&|| matches!(event, SocketEvent::Timeout));
            match event {
                SocketEvent::Error(error) => result = Err(error.into()),
                SocketEvent::End => looping.destroy(),
                _ => {}
            }
        }
        result
    });
    let expected = match timer {
        // Each time anew.
        Timer::Read => 3,
        Timer::Idle => 1,
        Timer::Write | Timer::Deadline => 0,
    };
    for n in 1..=expected {
        let after = told.recv_timeout(HANG).expect("it is told");
        assert!(after >= TIME * n, "never early");
    }
    two_ticks();
    two_ticks();
    let count = expected as usize + told.try_iter().count();
    // A deadline ends the loop by itself. An end of the peer that comes before the loop runs again is read, though.
    if timer != Timer::Deadline {
        peer.end().expect("it is connected");
    }
    let result = within("the loop ends", move || running.join().expect("it does not fail"));
    (count, result)
}

/// Ensures that loops tell `Timeout` each time for the read timeout, once for the idle timeout, never for the write
/// timeout, and that a deadline ends them.
#[cfg(feature = "channel")]
#[test]
fn loops_tell_of_each_timer_what_it_is_for() {
    each_ip(|at| {
        for by_channel in [false, true] {
            assert!(told(Timer::Read, by_channel, at).1.is_ok(), "read timeouts end no loop");
            assert_eq!(told(Timer::Idle, by_channel, at).0, 1, "an idle time is told once");
            let (count, result) = told(Timer::Write, by_channel, at);
            assert!(count == 0 && result.is_ok(), "a loop that waits writes nothing");
            let (count, result) = told(Timer::Deadline, by_channel, at);
            let error = result.expect_err("a deadline ends the loop");
            assert!(count == 0 && !Error::is_tick(&error), "a deadline is no tick: {error}");
        }
    });
}

/// Ensures that what another thread writes does not put off the read timeout, unlike the idle timeout.
#[test]
fn writes_do_not_put_off_the_read_timeout() {
    each_ip(|at| {
        let (_server, peer, socket) = pair(at);
        // Not a bound: the timer that is tested.
        socket.set_read_timeout(TIME).expect("it is open");
        let sink = thread::spawn(move || while peer.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
        let writer = socket.clone();
        let (stop, is_stopped) = mpsc::channel::<()>();
        let writing = thread::spawn(move || {
            // Not a bound: the pace of the other side.
            while let Err(mpsc::RecvTimeoutError::Timeout) = is_stopped.recv_timeout(TIME / 20) {
                writer.write_all("news\n").expect("the peer reads");
            }
        });
        eventually("something is written", || socket.bytes_written() > 0);
        let reader = socket.clone();
        let error = within("the read ends", move || reader.read(&mut [0])).expect_err("the peer is silent");
        assert!(Error::is_tick(&error), "the time of a read is that of what arrives: {error}");
        drop(stop);
        writing.join().expect("writing goes on");
        socket.destroy();
        sink.join().expect("the peer does not fail");
    });
}

/// Ensures that what the peer sends does not put off the write timeout.
#[test]
fn reads_do_not_put_off_the_write_timeout() {
    each_ip(|at| {
        let (_server, peer, socket) = pair(at);
        fill(&socket);
        // Not a bound: the timer that is tested.
        socket.set_write_timeout(TIME).expect("it is open");
        let reader = socket.clone();
        let reading = thread::spawn(move || while reader.read(&mut [0; 100]).is_ok_and(|n| n > 0) {});
        let (stop, is_stopped) = mpsc::channel::<()>();
        let talking = thread::spawn(move || {
            // Not a bound: the pace of the other side.
            while let Err(mpsc::RecvTimeoutError::Timeout) = is_stopped.recv_timeout(TIME / 20) {
                peer.write_all("still here\n").expect("it is read");
            }
            peer
        });
        let writer = socket.clone();
        let error = within("the write ends", move || writer.write_all("more")).expect_err("the peer takes nothing");
        assert!(Error::is_tick(&error), "the time of a write is that of what is taken: {error}");
        drop(stop);
        drop(talking.join().expect("the peer does not fail"));
        socket.destroy();
        reading.join().expect("reading does not fail");
    });
}
