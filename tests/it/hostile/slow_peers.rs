//! Slow and hostile peers: those that send a byte now and then, and those that read little or nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use landline::Error;
use landline::net::{ServerOptions, Socket};

use crate::support::Whole;
use crate::support::fixtures::{accept, kernel, pair};
use crate::support::time::some_round;
use crate::support::{HANG, each_ip, eventually, families, within};

const fn millis(n: u64) -> Duration {
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

fn code(error: &io::Error) -> String {
    Error::of(error).map_or_else(|| error.to_string(), |error| error.code().to_owned())
}

/// A connection accepted by a server with these options, and its peer, which is std's and does as it likes.
fn accepted_with(at: &str, options: ServerOptions) -> (landline::net::Server, TcpStream, Socket) {
    let server = options.listen(at).expect("port 0 can be listened on");
    let at = server.address().socket_addr().expect("it is TCP");
    let peer = TcpStream::connect(at).expect("the server listens");
    let accepted = accept(&server);
    (server, peer, accepted)
}

/// How the peers of a round fared that feed a timeout.
#[derive(Default)]
struct Round {
    /// The longest time between two signs of life of any of them.
    longest_pause: Duration,
    /// Those that were cut all the same.
    cut: Vec<String>,
}

impl Round {
    /// Fails if one was cut, unless the machine has kept one of them waiting for long: such a round says nothing. `signs` is
    /// how many signs of life it takes at most until bytes move again.
    #[track_caller]
    fn judge(self, timer: Duration, signs: u32) -> Option<()> {
        let Round { longest_pause, cut } = self;
        if cut.is_empty() {
            return Some(());
        }
        println!("with a timer of {timer:?}, a peer was late by {longest_pause:?}: {cut:?}");
        assert!(longest_pause >= timer / signs, "a peer that feeds a timeout of {timer:?} is not cut, but {cut:?}");
        None
    }
}

// ---- slowloris

type Work = fn(&Socket, &Socket) -> io::Result<()>;

/// Ways to read from the first socket; the second takes what is carried on.
const READERS: [(&str, Work); 5] = [
    ("read", |s, _| {
        loop {
            s.read(&mut [0; 64])?;
        }
    }),
    ("read_exact", |s, _| s.read_exact(&mut [0; 4096])),
    ("lines", |s, _| s.buffered()?.lines().try_for_each(|line| line.map(drop))),
    ("each", |s, _| s.each(|_, _| Ok(()))),
    ("pipe", |s, to| s.pipe(to)),
];

/// A reader whose peer sends a byte each sixth of the timer, once they are done with each other.
struct Slowloris {
    /// What ended the reader, and when; nothing, if it had not ended after three times the timer.
    outcome: Option<(String, Duration)>,
    /// The peer's longest time between two bytes.
    longest_pause: Duration,
}

fn slowloris(at: &str, options: ServerOptions, timer: Duration, is_ended: bool, work: Work) -> Slowloris {
    let start = Instant::now();
    let (_server, mut peer, accepted) = accepted_with(at, options);
    let (_upstream, _far, to) = pair(at);
    let (over, is_over) = mpsc::channel::<()>();
    let (tell, ended) = mpsc::channel();
    let trickling = thread::spawn(move || {
        let (mut longest, mut last) = (Duration::ZERO, start);
        while peer.write_all(b"x").is_ok() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            // Not a bound: the pace of the peer.
            if is_over.recv_timeout(timer / 6) != Err(mpsc::RecvTimeoutError::Timeout) {
                break;
            }
        }
        longest.max(last.elapsed())
    });
    let socket = accepted.clone();
    let reading = thread::spawn(move || {
        // The loops take a destroy for an end in order. Nobody waits for it any more, then.
        let code = work(&socket, &to).map_or_else(|error| code(&error), |()| "an end".to_owned());
        let _ = tell.send((code, start.elapsed()));
    });
    let outcome = if is_ended {
        // The bytes go on: a limit that they prolong is never met.
        ended.recv_timeout(HANG).ok()
    } else {
        pass(timer * 3);
        ended.try_recv().ok()
    };
    drop(over);
    let longest_pause = within("the peer ends", move || trickling.join()).expect("it does not panic");
    accepted.destroy();
    within("the reader ends", move || reading.join()).expect("it does not panic");
    Slowloris { outcome, longest_pause }
}

/// Ensures that a byte each sixth of the timeout outlives that, since it is idle time, and that a deadline ends it at
/// its time, whatever reads.
#[test]
fn a_trickle_is_ended_by_the_deadline() {
    type Guard = (&'static str, Option<&'static str>, fn(Duration) -> ServerOptions);
    const GUARDS: [Guard; 2] = [
        ("timeout", None, |timer| ServerOptions::new().timeout(timer)),
        ("deadline", Some("ERR_SOCKET_DEADLINE"), |timer| ServerOptions::new().deadline(timer)),
    ];
    some_round("no peer is late", millis(300), |timer| {
        let mut rows = Vec::new();
        for at in families() {
            for (guard_name, expected, guard) in GUARDS {
                for (reader, work) in READERS {
                    let row = move || slowloris(at, guard(timer), timer, expected.is_some(), work);
                    rows.push((format!("{at}, {reader}, {guard_name}"), expected, thread::spawn(row)));
                }
            }
        }
        let mut round = Round::default();
        for (what, expected, row) in rows {
            let Slowloris { outcome, longest_pause } = row.join().expect("it does not panic");
            round.longest_pause = round.longest_pause.max(longest_pause);
            if let (None, Some((code, time))) = (expected, &outcome) {
                round.cut.push(format!("{what}: {code} after {time:?}"));
                continue;
            }
            assert_eq!(outcome.as_ref().map(|(code, _)| &**code), expected, "{what}, {timer:?}: what ends it");
            if let Some((_, time)) = outcome {
                assert!(time >= timer, "{what}: not before its time, {timer:?}, but after {time:?}");
            }
        }
        round.judge(timer, 4)
    });
}

// ---- slow readers

/// Writes until it fails, or, of a queue, until there is none any more; gives the error and when, counted from `start`.
type Writing = JoinHandle<(String, Duration)>;

fn writing(socket: &Socket, start: Instant, work: impl FnOnce(&Socket) -> io::Result<()> + Send + 'static) -> Writing {
    let socket = socket.clone();
    thread::spawn(move || {
        let code = work(&socket).map_or_else(|error| code(&error), |()| "nothing is left".to_owned());
        (code, start.elapsed())
    })
}

/// A peer with 8 KB of buffers on both sides, so that what it reads is felt soon.
fn narrow(at: &str, options: ServerOptions) -> (landline::net::Server, TcpStream, Socket) {
    let server = options.listen(at).expect("port 0 can be listened on");
    let at = server.address().socket_addr().expect("it is TCP");
    let peer = socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::STREAM, None);
    let peer = peer.expect("a socket can be had");
    // Before it connects: the window that it offers goes by this.
    peer.set_recv_buffer_size(8 * 1024).expect("any size is taken");
    peer.connect(&at.into()).expect("the server listens");
    let accepted = accept(&server);
    kernel(&accepted, |raw| raw.set_send_buffer_size(8 * 1024));
    (server, peer.into(), accepted)
}

/// Reads that much each `pause` until it is told that it is over; then all that is left. Gives how much it was, and its longest
/// time between two reads.
fn slow_reader(mut peer: TcpStream, piece: usize, pause: Duration, over: Receiver<()>) -> JoinHandle<(u64, Duration)> {
    thread::spawn(move || {
        let (mut total, mut buffer) = (0, vec![0; piece]);
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        // Not a bound: the pace of the peer.
        while over.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
            total += peer.read(&mut buffer).expect("what was written arrives") as u64;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest = longest.max(last.elapsed());
        peer.set_read_timeout(Some(HANG)).expect("it is open");
        (total + io::copy(&mut peer, &mut io::sink()).expect("an orderly end"), longest)
    })
}

/// More than any buffers between take, some 4 MB.
const MUCH: usize = 16 << 20;

/// What a writer is limited by, in a time that is the test's, and the error that it ends with, if it does.
type Limit = (&'static str, Option<&'static str>, fn(Duration) -> ServerOptions);

/// Ensures that a peer that reads 4 KB now and then outlives a timeout, and that a deadline ends the write at its
/// time, `bytes_written` being what the peer can then read.
#[test]
fn a_slow_reader_is_ended_by_the_deadline() {
    type Write = fn(&Socket) -> io::Result<()>;
    const WRITERS: [(&str, Write); 4] = [
        ("write_all", |s| s.write_all(vec![0; MUCH])),
        ("write_vectored", |s| s.write_slices(&[&vec![0; MUCH / 2], &vec![0; MUCH / 2]])),
        ("outbox flush", |s| {
            s.outbox().set_limit(MUCH);
            s.outbox().try_send(vec![0; MUCH])?;
            s.outbox().flush()
        }),
        ("io::copy", |s| io::copy(&mut io::repeat(7), &mut { s }).map(drop)),
    ];
    const LIMITS: [Limit; 3] = [
        ("default", None, |_| ServerOptions::new()),
        ("timeout", None, |timer| ServerOptions::new().timeout(timer)),
        ("deadline", Some("ERR_SOCKET_DEADLINE"), |timer| ServerOptions::new().deadline(timer)),
    ];
    some_round("no peer is late", millis(500), |timer| {
        let mut rows = Vec::new();
        for at in families() {
            for (limit_name, expected, limit) in LIMITS {
                for (name, work) in WRITERS {
                    let start = Instant::now();
                    let (server, peer, accepted) = narrow(at, limit(timer));
                    let (over, is_over) = mpsc::channel();
                    // With such buffers room comes every second piece at most.
                    let reading = slow_reader(peer, 4096, timer / 20, is_over);
                    let writing = writing(&accepted, start, work);
                    let what = format!("{at}, {name}, {limit_name}, {timer:?}");
                    rows.push((what, expected, accepted, over, reading, writing, server));
                }
            }
        }
        pass(timer * 2);
        let mut round = Round::default();
        for (what, expected, accepted, over, reading, writing, server) in rows {
            // The peer reads on: a limit that this prolongs is never met.
            if expected.is_some() {
                eventually(&format!("{what}: it ends"), || writing.is_finished());
            }
            let is_ended = writing.is_finished();
            // Destroyed before the peer reads on, so that no more is written.
            accepted.destroy();
            drop(over);
            let (code, time) = within("the write ends", || writing.join()).expect("it does not panic");
            let (read, longest_pause) =
                within("the peer reads the rest", || reading.join()).expect("it does not panic");
            round.longest_pause = round.longest_pause.max(longest_pause);
            assert_eq!(read, accepted.bytes_written(), "{what}: what was counted arrives, and no more");
            if let Some(expected) = expected {
                // The writer thread of an outbox may meet its time first, and then the connection is closed.
                let closed = ["ERR_STREAM_DESTROYED", "nothing is left"].contains(&&*code);
                let by_writer = what.contains("outbox flush") && closed;
                assert!(code == expected || by_writer, "{what}: {code}");
                assert!(time >= timer, "{what}: not before its time, but after {time:?}");
            } else if is_ended {
                round.cut.push(format!("{what}: {code} after {time:?}"));
            }
            drop(server);
        }
        round.judge(timer, 4)
    });
}

/// Ensures that a write to a peer that never reads blocks with the default options, ends by timeout and by deadline,
/// each not before its time, and that `bytes_written` is what the peer can then read.
#[test]
fn a_peer_that_never_reads_is_ended_by_each_limit() {
    const TIMER: Duration = millis(300);
    const LIMITS: [Limit; 3] = [
        ("timeout", Some("ERR_SOCKET_TIMEOUT"), |timer| ServerOptions::new().timeout(timer)),
        ("deadline", Some("ERR_SOCKET_DEADLINE"), |timer| ServerOptions::new().deadline(timer)),
        // The last, so that the others have ended when it is looked at.
        ("default", None, |_| ServerOptions::new()),
    ];
    let mut rows = Vec::new();
    for limit in LIMITS {
        for at in families() {
            let (limit_name, expected, limit) = limit;
            let start = Instant::now();
            let (server, peer, accepted) = accepted_with(at, limit(TIMER));
            let (over, is_over) = mpsc::channel();
            let reading = slow_reader(peer, 1, HANG * 60, is_over);
            let writing = writing(&accepted, start, |s| s.write_all(vec![0; MUCH]));
            rows.push((format!("{at}, {limit_name}"), expected, accepted, over, reading, writing, server));
        }
    }
    for (what, expected, accepted, over, reading, writing, server) in rows {
        match expected {
            Some(_) => eventually(&format!("{what}: it ends"), || writing.is_finished()),
            None => assert!(!writing.is_finished(), "{what}: nothing ends it"),
        }
        accepted.destroy();
        drop(over);
        let (code, time) = within("the write ends", || writing.join()).expect("it does not panic");
        let written = accepted.bytes_written();
        if let Some(expected) = expected {
            println!("measured: never reads, {what}, {TIMER:?}: cut after {time:.3?}, {written} bytes written");
            assert_eq!(code, expected, "{what}: what ends it");
            assert!(time >= TIMER, "{what}: not before its time, but after {time:?}");
        }
        let (read, _) = within("the peer reads", || reading.join()).expect("it does not panic");
        assert_eq!(read, written, "{what}: what was counted arrives, and no more");
        drop(server);
    }
}

/// Ensures that a connection whose peer reads a little at a time is not idle to whoever waits for its bytes, though one write
/// takes longer than the timeout: as in a relay, where that would end both directions.
#[test]
fn a_peer_that_reads_slowly_is_not_idle_to_a_reader() {
    some_round("no peer is late", millis(1_000), |timer| {
        let mut rows = Vec::new();
        for at in families() {
            for (buffers, piece, pause) in [("8 KB buffers", 3_000, 20), ("the system's buffers", 40_000, 10)] {
                let options = ServerOptions::new().timeout(timer);
                let (server, peer, accepted) =
                    if buffers == "8 KB buffers" { narrow(at, options) } else { accepted_with(at, options) };
                let (over, is_over) = mpsc::channel();
                let taking = slow_reader(peer, piece, millis(pause), is_over);
                let giving = writing(&accepted, Instant::now(), |s| {
                    loop {
                        s.write_all(vec![0; MUCH])?;
                    }
                });
                let waiting = writing(&accepted, Instant::now(), |s| s.read(&mut [0]).map(drop));
                rows.push((format!("{at}, {buffers}"), server, accepted, over, taking, giving, waiting));
            }
        }
        pass(timer * 5 / 2);
        let mut round = Round::default();
        for (what, server, accepted, over, taking, giving, waiting) in rows {
            let is_cut = (giving.is_finished(), waiting.is_finished());
            accepted.destroy();
            drop(over);
            let (code, time) = within("the read ends", || waiting.join()).expect("it does not panic");
            within("the write ends", || giving.join()).expect("it does not panic");
            let (_, longest_pause) = within("the peer reads", || taking.join()).expect("it does not panic");
            round.longest_pause = round.longest_pause.max(longest_pause);
            if is_cut != (false, false) {
                round.cut.push(format!("{what}, though bytes went out all the time: {code} after {time:?}"));
            }
            drop(server);
        }
        // The kernel has room again when a third of its 4 MB is free, 35 of the larger pieces, and makes it known in steps.
        round.judge(timer, 64)
    });
}

// ---- the lifetime

/// Ensures that a server's deadline ends what is queued in an outbox, and whoever waits behind it.
#[test]
fn the_lifetime_covers_what_is_queued() {
    each_ip(|at| {
        let options = ServerOptions::new().deadline(millis(500)).outbox_limit(MUCH);
        let start = Instant::now();
        let (server, _peer, accepted) = accepted_with(at, options);
        accepted.outbox().try_send(vec![0; MUCH]).expect("it fits");
        let behind = accepted.clone();
        let behind = thread::spawn(move || behind.write_all("behind it"));
        let flushed = within("the queued write is given up", move || accepted.outbox().flush());
        flushed.expect_err("it is not written");
        within("the write behind it ends", || behind.join()).expect("it does not panic").expect_err("it is over");
        let time = start.elapsed();
        println!("measured: lifetime 0.5 s, outbox and a write behind it: ended after {time:.3?}");
        // Nothing else would end it.
        assert!(time >= millis(500), "not before the deadline: {time:?}");
        eventually("and the connection with it", || server.connections() == 0);
    });
}

/// Ensures that a server's deadline ends the throwing away of a peer's input after the handler has returned.
#[test]
fn the_lifetime_covers_the_lingering_end() {
    each_ip(|at| {
        let options = ServerOptions::new().deadline(millis(600)).lingering_close(HANG * 60);
        let server = options.listen(at).expect("port 0 can be listened on");
        let running = server.spawn(|socket| socket.write_all("bye")).expect("a thread can be started");
        let start = Instant::now();
        // Neither ends nor sends.
        let mut peer = TcpStream::connect(server.address().socket_addr().expect("TCP")).expect("it listens");
        peer.read_exact(&mut [0; 3]).expect("the reply arrives");
        eventually("it lingers no longer", || server.stats().ended == 1 && server.stats().lingering == 0);
        let time = start.elapsed();
        println!("measured: lifetime 0.6 s, linger an hour, a peer that never ends: over after {time:.3?}");
        assert!(time >= millis(600), "not before the deadline: {time:?}");
        server.close();
        within("serve returns", || running.join()).expect("in order");
    });
}
