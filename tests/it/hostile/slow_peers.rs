//! Slow and hostile peers: those that send a byte now and then, and those that read little or nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use landline::Error;
use landline::net::{ServerOptions, Socket, SocketOptions};
use socket2::SockRef;

use crate::support::fixtures::{accept, pair, pair_with, watch, words};
use crate::support::time::some_round;
use crate::support::{HANG, each_ip, eventually, families, in_child, within};

const AT: &str = "127.0.0.1:0";

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

/// Sends a piece each `pause` until it is told that it is over, or is cut off; gives the connection back.
fn trickle(mut peer: TcpStream, piece: Vec<u8>, pause: Duration, over: Receiver<()>) -> JoinHandle<TcpStream> {
    thread::spawn(move || {
        // Not a bound: the pace of the peer.
        while peer.write_all(&piece).is_ok() && over.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {}
        peer
    })
}

/// Sends that many bytes a second by the clock, in a piece each `pause`, until it is told that it is over.
fn send_at_rate(mut peer: TcpStream, rate: u32, pause: Duration, over: Receiver<()>) -> JoinHandle<()> {
    thread::spawn(move || {
        let (start, mut sent) = (Instant::now(), 0);
        // Not a bound: the pace of the peer.
        while over.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
            let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as usize;
            peer.write_all(&vec![7; due - sent]).expect("it is not cut");
            sent = due;
        }
    })
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
    /// Fails if one was cut, unless the machine has kept one of them waiting for long: such a round says nothing. It takes
    /// several signs of life until the kernel has room again.
    #[track_caller]
    fn judge(self, timer: Duration) -> Option<()> {
        let Round { longest_pause, cut } = self;
        if cut.is_empty() {
            return Some(());
        }
        println!("with a timer of {timer:?}, a peer was late by {longest_pause:?}: {cut:?}");
        assert!(longest_pause >= timer / 4, "a peer that feeds a timeout of {timer:?} is not cut, but {cut:?}");
        None
    }
}

// ---- slowloris

type Work = fn(&Socket, &Socket) -> io::Result<()>;

/// Ways to read from the first socket; the second takes what is carried on.
const READERS: [(&str, Work); 6] = [
    ("read", |s, _| {
        loop {
            s.read(&mut [0; 64])?;
        }
    }),
    ("read_exact", |s, _| s.read_exact(&mut [0; 4096])),
    ("lines", |s, _| s.lines().try_for_each(|line| line.map(drop))),
    ("each", |s, _| s.each(|_, _| Ok(()))),
    ("on", |s, _| s.on().run()),
    ("pipe", |s, to| s.pipe(to).map(drop)),
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
        longest
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

/// Ensures that a byte each sixth of the timeout outlives that, since it is idle time, and that a deadline and a minimum rate
/// end it at their time, whatever reads.
#[test]
fn a_trickle_is_ended_by_the_deadline_and_by_the_minimum_rate() {
    type Guard = (&'static str, Option<&'static str>, fn(Duration) -> ServerOptions);
    const GUARDS: [Guard; 3] = [
        ("timeout", None, |timer| ServerOptions::new().timeout(timer)),
        ("deadline", Some("ERR_SOCKET_DEADLINE"), |timer| ServerOptions::new().deadline(timer)),
        ("100 B/s", Some("ERR_SOCKET_MIN_RATE"), |timer| ServerOptions::new().min_rate(100, timer)),
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
        round.judge(timer)
    });
}

/// Ensures that the error names the rate and what is required, that `each` tells it as the end, and that the slot is free.
#[test]
#[ignore = "takes 1 s"]
fn a_minimum_rate_ends_each_as_an_error_that_names_the_rates() {
    each_ip(|at| {
        let options = ServerOptions::new().min_rate(1_000, millis(300));
        let (server, mut peer, accepted) = accepted_with(at, options);
        assert_eq!(accepted.min_rate(), Some((1_000, millis(300))), "each connection gets it");
        let tape = watch(&accepted, |_, _| Ok(()));
        peer.write_all(b"GET").expect("it is connected");
        peer.set_read_timeout(Some(HANG)).expect("it is open");
        assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0, "the client sees the end");
        let words = words(tape);
        assert_eq!((words.len(), &*words[0], &*words[2]), (3, "data", "close true"), "it is an error: {words:?}");
        let (start, end) =
            ("error read timed out: 0 bytes in 0.3", " are 0.0 bytes per second, and at least 1000 are required");
        assert!(words[1].starts_with(start) && words[1].ends_with(end), "it names both rates: {}", words[1]);
        assert_eq!(server.connections(), 0, "the slot is free");
    });
}

/// Ensures the arithmetic: a stalled peer is cut after the grace, one at half the rate after twice the grace.
#[test]
#[ignore = "takes 4 s"]
fn half_the_rate_lasts_twice_the_grace() {
    let cut = |at: &str, piece: usize, pause: Duration| {
        let (_server, peer, accepted) = accepted_with(at, ServerOptions::new().min_rate(10_000, millis(600)));
        let (over, is_over) = mpsc::channel();
        let trickling = trickle(peer, vec![7; piece], pause, is_over);
        accepted.read_exact(&mut vec![0; piece]).expect("the first piece arrives");
        let start = Instant::now();
        let reader = accepted.clone();
        let result = within("it is cut", move || reader.read_exact(&mut [0; 1 << 20]));
        let time = start.elapsed();
        drop(over);
        assert_eq!(code(&result.expect_err("it is too slow")), "ERR_SOCKET_MIN_RATE", "for its rate");
        trickling.join().expect("it does not panic");
        time
    };
    each_ip(|at| {
        let stalled = cut(at, 1_000, HANG);
        println!("measured: 10,000 B/s, grace 0.6 s, a peer that stalls: cut after {stalled:.3?}");
        assert!((millis(600)..millis(1_100)).contains(&stalled), "a stall lasts as long as the grace: {stalled:?}");
        let half = cut(at, 500, millis(100));
        println!("measured: 10,000 B/s, grace 0.6 s, a peer at 5,000 B/s: cut after {half:.3?}");
        assert!((millis(1_000)..millis(2_200)).contains(&half), "half the rate lasts twice that: {half:?}");
    });
}

/// Ensures that a client at twice the minimum rate is never cut, in small pieces, in large ones with pauses, and in bursts.
#[test]
#[ignore = "takes 8 s"]
fn an_honest_sender_is_never_cut() {
    each_ip(|at| {
        let rows: Vec<_> = [10, 100, 500]
            .map(|pause| {
                let (server, peer, accepted) = accepted_with(at, ServerOptions::new().min_rate(20_000, millis(1_000)));
                let (over, is_over) = mpsc::channel();
                let sending = send_at_rate(peer, 40_000, millis(pause), is_over);
                let reading = watch(&accepted, |_, _| Ok(()));
                (pause, server, accepted, over, sending, reading)
            })
            .into();
        pass(millis(4_000));
        for (pause, server, accepted, over, sending, reading) in rows {
            drop(over);
            sending.join().expect("it does not panic");
            assert_eq!(words(reading), ["data", "end", "close false"], "40,000 B/s, each {pause} ms: not cut");
            let read = accepted.bytes_read();
            println!("measured: 20,000 B/s asked, a piece each {pause} ms: {read} bytes in 4 s, not cut");
            assert!(read > 80_000, "premise: it kept the rate: {read}");
            drop(server);
        }
    });
}

/// Ensures that a client may be idle between requests for many graces, and that a request once begun has to be finished.
#[test]
#[ignore = "takes 6 s"]
fn between_requests_a_peer_owes_nothing() {
    each_ip(|at| {
        let (_server, mut peer, accepted) = accepted_with(at, ServerOptions::new().min_rate(1_000, millis(200)));
        let (tell, ended) = mpsc::channel();
        thread::spawn(move || {
            let result = accepted.lines().try_for_each(|line| accepted.write_all(format!("{}\n", line?)));
            tell.send(result.map_err(|error| code(&error))).expect("the test waits");
        });
        for _ in 0..3 {
            // Not a bound: the idle time that is tested.
            assert!(ended.recv_timeout(millis(700)).is_err(), "idle for more than three graces, and not cut");
            peer.write_all(b"a line\n").expect("it is connected");
            peer.read_exact(&mut [0; 7]).expect("it is answered");
        }
        // Not a bound: the idle time that is tested.
        assert!(ended.recv_timeout(millis(700)).is_err(), "idle after an answer, and not cut");
        let start = Instant::now();
        peer.write_all(b"a li").expect("it is connected");
        let result = ended.recv_timeout(HANG).expect("a request that was begun is cut");
        let time = start.elapsed();
        println!("measured: 1,000 B/s, grace 0.2 s, a line begun after an idle time: cut after {time:.3?}");
        assert_eq!(result, Err("ERR_SOCKET_MIN_RATE".to_owned()), "for its rate");
        assert!((millis(200)..millis(1_200)).contains(&time), "after the grace: {time:?}");
    });
}

/// Ensures that an echo of single bytes, somebody who types, is not cut: each byte is answered.
#[test]
#[ignore = "takes 2 s"]
fn who_is_answered_each_time_owes_nothing() {
    let (_server, peer, accepted) = accepted_with(AT, ServerOptions::new().min_rate(1_000, millis(150)));
    let (over, is_over) = mpsc::channel();
    let typing = trickle(peer, b"x".to_vec(), millis(300), is_over);
    let echo = thread::spawn(move || accepted.pipe(&accepted));
    pass(millis(1_500));
    drop(over);
    let mut peer = typing.join().expect("it does not panic");
    peer.shutdown(std::net::Shutdown::Write).expect("it is connected");
    let mut echoed = Vec::new();
    peer.read_to_end(&mut echoed).expect("an orderly end");
    let count = within("the echo ends", || echo.join()).expect("it does not panic").expect("it was not cut");
    assert_eq!(echoed.len() as u64, count, "everything came back");
    assert!(count >= 3, "premise: it typed: {count}");
}

/// Ensures that time in which nobody reads, or in which the socket is paused, costs the peer nothing, and that what came
/// meanwhile counts before anybody is cut.
#[test]
#[ignore = "takes 6 s"]
fn our_own_time_costs_the_peer_nothing() {
    each_ip(|at| {
        let (_server, mut peer, accepted) = accepted_with(at, ServerOptions::new().min_rate(1_000, millis(400)));
        peer.write_all(b"x").expect("it is connected");
        accepted.read_exact(&mut [0]).expect("it arrives");
        for _ in 0..3 {
            pass(millis(600));
            let reader = accepted.clone();
            let read = thread::spawn(move || reader.read_exact(&mut [0; 100]));
            pass(millis(50));
            peer.write_all(&[7; 100]).expect("it is connected");
            read.join().expect("it does not panic").expect("of 650 ms the peer was waited for 50");
        }
        accepted.pause();
        let tape = watch(&accepted, |_, _| Ok(()));
        peer.write_all(b"y").expect("it is connected");
        pass(millis(900));
        accepted.resume();
        drop(peer);
        assert_eq!(words(tape), ["data", "end", "close false"], "paused for more than two graces");
    });
}

/// Ensures that a peer that is always ahead of us is not cut for the time that our calls take by themselves, which is more
/// than single bytes are worth at a high rate.
#[test]
#[ignore = "takes 2 s"]
fn small_pieces_cost_the_peer_nothing() {
    each_ip(|at| {
        let fast = || ServerOptions::new().min_rate(10_000_000, millis(300));
        let (_server, mut peer, accepted) = accepted_with(at, fast());
        let reading = thread::spawn(move || {
            let (mut buf, mut read) = (vec![0; 64 * 1024], 0);
            while let Some(n) = peer.read(&mut buf).ok().filter(|n| *n > 0) {
                read += n;
            }
            read
        });
        let start = Instant::now();
        for n in 0..100_000 {
            accepted.write_all("x").unwrap_or_else(|error| panic!("write {n} to a peer that reads all: {error}"));
        }
        println!("measured: 10 MB/s, grace 0.3 s: 100,000 writes of a byte in {:.3?}, not cut", start.elapsed());
        accepted.end().expect("it is open");
        drop(accepted);
        assert_eq!(within("the peer reads", || reading.join()).expect("it does not panic"), 100_000);

        let (_server, mut peer, accepted) = accepted_with(at, fast());
        let sending = thread::spawn(move || while peer.write_all(&[7; 64 * 1024]).is_ok() {});
        let start = Instant::now();
        for n in 0..600_000 {
            accepted.read_exact(&mut [0]).unwrap_or_else(|error| panic!("read {n} of a peer far ahead: {error}"));
        }
        println!("measured: the same, 600,000 reads of a byte in {:.3?}, not cut", start.elapsed());
        accepted.destroy();
        within("the peer sees the end", || sending.join()).expect("it does not panic");
    });
}

/// Ensures that two threads that wait at once cost the peer the time once.
#[test]
#[ignore = "takes 1 s"]
fn two_readers_cost_the_peer_the_time_once() {
    let (_server, mut peer, accepted) = accepted_with(AT, ServerOptions::new().min_rate(1_000, millis(1_000)));
    peer.write_all(b"x").expect("it is connected");
    accepted.read_exact(&mut [0]).expect("it arrives");
    let readers: Vec<_> = (0..2).map(|_| accepted.clone()).map(|s| thread::spawn(move || s.read(&mut [0]))).collect();
    pass(millis(650));
    peer.write_all(b"ab").expect("it is connected");
    for reader in readers {
        let read = within("a reader gets its byte", || reader.join()).expect("it does not panic");
        assert_eq!(read.expect("after 650 of 1000 ms nobody is cut"), 1, "a byte each");
    }
    let reader = accepted.clone();
    let read = thread::spawn(move || reader.read(&mut [0]));
    pass(millis(150));
    peer.write_all(b"c").expect("it is connected");
    let read = within("it gets the byte", || read.join()).expect("it does not panic");
    assert_eq!(read.expect("800 of 1000 ms, not 1450"), 1, "the time counts once");
}

/// Ensures that the call after the error has a whole grace again, that nothing is lost, and that a rate can be set, set
/// again and taken back.
#[test]
fn after_the_error_a_new_account_begins() {
    let (_server, mut peer, accepted) = accepted_with(AT, ServerOptions::new());
    assert_eq!(accepted.min_rate(), None, "there is none unless it is set");
    accepted.set_min_rate(1_000, millis(200)).expect("these are in range");
    peer.write_all(b"x").expect("it is connected");
    accepted.read_exact(&mut [0]).expect("it arrives");
    for _ in 0..2 {
        let start = Instant::now();
        let error = accepted.read(&mut [0]).expect_err("nothing comes");
        assert_eq!((error.kind(), &*code(&error)), (ErrorKind::TimedOut, "ERR_SOCKET_MIN_RATE"), "of this kind");
        assert!(start.elapsed() >= millis(200), "each has a whole grace: {:?}", start.elapsed());
    }
    peer.write_all(b"y").expect("nothing was closed");
    assert_eq!(accepted.read(&mut [0]).expect("nothing was lost"), 1, "the byte is there");
    // Setting it anew forgets what was owed.
    accepted.set_min_rate(1_000, millis(200)).expect("these are in range");
    accepted.set_timeout(millis(700));
    assert_eq!(code(&accepted.read(&mut [0]).expect_err("idle")), "ERR_SOCKET_TIMEOUT", "nothing is owed any more");
    for off in [Some(0), None] {
        accepted.set_min_rate(1_000, millis(200)).expect("these are in range");
        accepted.set_min_rate(off, Duration::ZERO).expect("off needs no grace");
        assert_eq!(accepted.min_rate(), None, "{off:?} is off");
    }
}

/// Ensures that a grace outside its range is an error of listen, connect and the setter that names the option.
#[test]
fn a_grace_out_of_range_is_an_error_that_names_the_option() {
    let (server, client, _accepted) = pair(AT);
    for grace in [Duration::ZERO, millis(9), Duration::from_secs(86_401), Duration::MAX] {
        let errors = [
            ServerOptions::new().min_rate(100, grace).listen(AT).map(drop),
            SocketOptions::new().min_rate(100, grace).connect(server.address()).map(drop),
            client.set_min_rate(100, grace),
        ];
        for error in errors.map(|result| result.expect_err("it is out of range")) {
            assert_eq!(error.code(), "ERR_OUT_OF_RANGE", "{error}");
            let text = "The value of \"min_rate grace\" is out of range. It must be >= 10ms and <= 86400s. Received";
            assert!(error.to_string().starts_with(text), "{error}");
        }
        ServerOptions::new().min_rate(0, grace).listen(AT).expect("without a rate the grace says nothing");
    }
    client.set_min_rate(u64::MAX, Duration::from_secs(86_400)).expect("any rate can be asked for");
}

/// Ensures that a minimum rate costs no system call per message: in 2,000 echoes in two pieces each, those that set the
/// timeouts can be counted on the fingers.
#[test]
#[cfg(target_os = "linux")]
fn a_minimum_rate_costs_no_system_call_per_message() {
    const TEST: &str = "slow_peers::a_minimum_rate_costs_no_system_call_per_message";
    let counts = std::env::temp_dir().join(format!("landline-min-rate-{}", std::process::id()));
    let path = counts.to_str().expect("a path of ours is text").to_owned();
    let mut ran_here = false;
    in_child(TEST, &["strace", "-f", "-qq", "-o", &path, "-e", "trace=setsockopt"], || {
        ran_here = true;
        let options = ServerOptions::new().min_rate(1_000, HANG);
        let (_server, client, accepted) = pair_with(AT, options, SocketOptions::new());
        let echo = thread::spawn(move || -> io::Result<()> {
            let mut message = [0; 20];
            for _ in 0..2_000 {
                accepted.read_exact(&mut message[..10])?;
                accepted.read_exact(&mut message[10..])?;
                accepted.write_all(message)?;
            }
            Ok(())
        });
        for _ in 0..2_000 {
            client.write_all([1; 10]).expect("it is connected");
            client.write_all([2; 10]).expect("it is connected");
            client.read_exact(&mut [0; 20]).expect("the echo comes");
        }
        within("the echo ends", || echo.join()).expect("it does not panic").expect("nobody was slow");
    });
    if ran_here {
        return;
    }
    let Ok(log) = std::fs::read_to_string(&counts) else { return };
    let _ = std::fs::remove_file(&counts);
    let calls = log.lines().filter(|line| line.contains("TIMEO")).count();
    println!("measured: 2,000 messages under a minimum rate: {calls} calls that set a timeout");
    assert!((1..20).contains(&calls), "no call per message: {calls}\n{log}");
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
    let raw = accepted.raw().expect("it is open");
    SockRef::from(&raw).set_send_buffer_size(8 * 1024).expect("any size is taken");
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
        peer.set_read_timeout(Some(HANG)).expect("it is open");
        (total + io::copy(&mut peer, &mut io::sink()).expect("an orderly end"), longest)
    })
}

/// More than any buffers between take, some 4 MB.
const MUCH: usize = 16 << 20;

/// What a writer is limited by, in a time that is the test's, and the error that it ends with, if it does.
type Limit = (&'static str, Option<&'static str>, fn(Duration) -> ServerOptions);

/// Ensures that a peer that reads 4 KB now and then outlives a timeout, and that deadline and minimum rate end the write at
/// their time, `bytes_written` being what the peer can then read.
#[test]
fn a_slow_reader_is_ended_by_the_deadline_and_by_the_minimum_rate() {
    type Write = fn(&Socket) -> io::Result<()>;
    const WRITERS: [(&str, Write); 4] = [
        ("write_all", |s| s.write_all(vec![0; MUCH])),
        ("write_all_vectored", |s| s.write_all_vectored(&[&vec![0; MUCH / 2], &vec![0; MUCH / 2]])),
        ("outbox flush", |s| {
            s.outbox().set_limit(MUCH);
            s.outbox().try_send(vec![0; MUCH])?;
            s.outbox().flush()
        }),
        ("io::copy", |s| io::copy(&mut io::repeat(7), &mut { s }).map(drop)),
    ];
    const LIMITS: [Limit; 4] = [
        ("default", None, |_| ServerOptions::new()),
        ("timeout", None, |timer| ServerOptions::new().timeout(timer)),
        ("deadline", Some("ERR_SOCKET_DEADLINE"), |timer| ServerOptions::new().deadline(timer)),
        ("1 MB/s", Some("ERR_SOCKET_MIN_RATE"), |timer| ServerOptions::new().min_rate(1_000_000, timer)),
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
        round.judge(timer)
    });
}

/// Ensures that a write to a peer that never reads blocks with the default options, ends by timeout, deadline and minimum
/// rate, each not before its time, and that `bytes_written` is what the peer can then read.
#[test]
fn a_peer_that_never_reads_is_ended_by_each_limit() {
    const TIMER: Duration = millis(300);
    const LIMITS: [Limit; 4] = [
        ("timeout", Some("ERR_SOCKET_TIMEOUT"), |timer| ServerOptions::new().timeout(timer)),
        ("deadline", Some("ERR_SOCKET_DEADLINE"), |timer| ServerOptions::new().deadline(timer)),
        ("1,000 B/s", Some("ERR_SOCKET_MIN_RATE"), |timer| ServerOptions::new().min_rate(1_000, timer)),
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

/// Ensures that a peer that reads at twice the minimum rate is never cut, with small buffers and with the system's own.
#[test]
#[ignore = "takes 16 s"]
fn an_honest_reader_is_never_cut() {
    each_ip(|at| {
        let rows: Vec<_> = [("8 KB buffers", 20_000, 4_000, 100), ("the system's buffers", 400_000, 40_000, 50)]
            .map(|(buffers, rate, piece, pause)| {
                let options = ServerOptions::new().min_rate(rate, millis(2_500));
                let (server, peer, accepted) =
                    if buffers == "8 KB buffers" { narrow(at, options) } else { accepted_with(at, options) };
                let (over, is_over) = mpsc::channel();
                let reading = slow_reader(peer, piece, millis(pause), is_over);
                (
                    buffers,
                    rate,
                    server,
                    writing(&accepted, Instant::now(), |s| s.write_all(vec![0; MUCH])),
                    accepted,
                    over,
                    reading,
                )
            })
            .into();
        pass(millis(8_000));
        for (buffers, rate, server, writing, accepted, over, reading) in rows {
            let is_cut = writing.is_finished();
            accepted.destroy();
            drop(over);
            let (code, time) = within("the write ends", || writing.join()).expect("it does not panic");
            let (read, _) = within("the peer reads", || reading.join()).expect("it does not panic");
            println!("measured: {rate} B/s asked, {buffers}: {read} bytes, ended by {code} after {time:.3?}");
            assert!(!is_cut, "twice the rate is enough, {buffers}: {code} after {time:?}");
            drop(server);
        }
    });
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
        round.judge(timer)
    });
}

/// Ensures that an outbox whose peer takes nothing ends the connection by its minimum rate, and frees the slot.
#[test]
fn an_outbox_that_is_not_taken_ends_the_connection() {
    each_ip(|at| {
        let (tell, failed) = mpsc::channel();
        let options = ServerOptions::new().min_rate(1_000, millis(300)).outbox_limit(MUCH).report(move |report| {
            if let landline::Report::Failed { error, .. } = report {
                // The test may be over.
                let _ = tell.send(error.code().to_owned());
            }
        });
        let (server, _peer, accepted) = accepted_with(at, options);
        let start = Instant::now();
        accepted.outbox().try_send(vec![0; MUCH]).expect("it fits");
        assert_eq!(failed.recv_timeout(HANG).as_deref(), Ok("ERR_SOCKET_MIN_RATE"), "it is told");
        let time = start.elapsed();
        println!("measured: never reads, outbox, 1,000 B/s, grace 0.3 s: cut after {time:.3?}");
        assert!(time >= millis(300), "after the grace: {time:?}");
        eventually("the slot is free", || server.connections() == 0);
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
        let (tell, told) = mpsc::channel();
        let then = move |result: io::Result<()>| tell.send(result.is_err()).expect("the test waits");
        accepted.outbox().try_send_then(vec![0; MUCH], then).expect("it fits");
        let behind = accepted.clone();
        let behind = thread::spawn(move || behind.write_all("behind it"));
        assert_eq!(told.recv_timeout(HANG), Ok(true), "the queued write is given up");
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
        let options = ServerOptions::new().deadline(millis(600)).linger(HANG * 60);
        let server = options.listen(at).expect("port 0 can be listened on");
        let running = server.spawn(|socket| socket.write_all("bye")).expect("a thread can be started");
        let start = Instant::now();
        // Neither ends nor sends.
        let mut peer = TcpStream::connect(server.address().socket_addr().expect("TCP")).expect("it listens");
        peer.read_exact(&mut [0; 3]).expect("the reply arrives");
        server.close();
        within("serve returns", || running.join()).expect("in order");
        let time = start.elapsed();
        println!("measured: lifetime 0.6 s, linger an hour, a peer that never ends: over after {time:.3?}");
        assert!(time >= millis(600), "not before the deadline: {time:?}");
    });
}
