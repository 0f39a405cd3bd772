//! Threads that read, write, set timers, pause, end and destroy one connection at random, against what must come out.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::Error;
use landline::net::{Socket, SocketEvent};
use socket2::SockRef;

/// Only a lost wake-up takes as long.
const HANG: Duration = Duration::from_secs(60);

/// A linear congruential generator, Knuth's numbers: the same schedule again for the same seed, as far as threads let it.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// The pace of a thread, not a bound on anything.
    fn pause(&mut self) {
        if self.one_in(3) {
            thread::sleep(Duration::from_micros(self.below(1500)));
        }
    }
}

/// How the peer stops sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stops {
    /// By its FIN, after everything.
    Ends,
    Resets,
    /// Not before we do.
    Stays,
}

/// What ends the connection on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closes {
    /// Our FIN, once everything was read and written.
    Ends,
    Destroys,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    seed: u64,
    /// Whether one thread has the events, instead of two that read.
    by_events: bool,
    stops: Stops,
    closes: Closes,
    messages: u8,
    bytes: usize,
}

impl Schedule {
    fn of(seed: u64) -> Schedule {
        let mut random = Random(seed);
        let stops = [Stops::Ends, Stops::Ends, Stops::Resets, Stops::Stays][random.below(4) as usize];
        let closes = [Closes::Ends, Closes::Destroys][random.below(2) as usize];
        // A peer that stays is only let go by us.
        let closes = if stops == Stops::Stays { Closes::Destroys } else { closes };
        Schedule {
            seed,
            by_events: random.one_in(2),
            stops,
            closes,
            messages: random.below(20) as u8,
            bytes: random.below(3000) as usize,
        }
    }
}

/// What was read: how often each byte, since two readers share the order.
#[derive(Debug, PartialEq, Eq)]
struct Tally([usize; 251]);

impl Tally {
    fn new() -> Tally {
        Tally([0; 251])
    }

    fn add(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0[usize::from(*byte)] += 1);
    }

    fn len(&self) -> usize {
        self.0.iter().sum()
    }
}

fn sent(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// A message of a writer: who writes, how long it is, and so many bytes of the writer's.
fn message(writer: u8, length: u8) -> Vec<u8> {
    let mut message = vec![writer, length];
    message.resize(2 + usize::from(length), writer);
    message
}

/// Reads until an end, in every way, and gives what ended it. After an end come ends, and no tick.
fn read_all(socket: &Socket, random: &mut Random, tally: &Mutex<Tally>) -> Result<(), ErrorKind> {
    let one = |random: &mut Random| -> io::Result<usize> {
        let (mut buf, mut more) = ([0; 300], [0; 7]);
        let size = 1 + random.below(299) as usize;
        let n = match random.below(5) {
            0 => {
                let mut both = [IoSliceMut::new(&mut more), IoSliceMut::new(&mut buf[..size])];
                let n = (&mut &*socket).read_vectored(&mut both)?;
                tally.lock().expect("no thread panics with it").add(&more[..n.min(7)]);
                tally.lock().expect("no thread panics with it").add(&buf[..n.saturating_sub(7)]);
                return Ok(n);
            }
            1 => {
                socket.peek(&mut buf[..size])?;
                return Ok(1);
            }
            2 => match socket.available()? {
                Some(0) => return Ok(0),
                _ => return Ok(1),
            },
            3 => {
                let filled = socket.read_exact(&mut buf[..4]).map(|()| 4);
                match filled {
                    // What was there is read by the others.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(1),
                    filled => filled?,
                }
            }
            _ => socket.read(&mut buf[..size])?,
        };
        tally.lock().expect("no thread panics with it").add(&buf[..n]);
        Ok(n)
    };
    loop {
        let end = match one(random) {
            Ok(0) => Ok(()),
            Ok(_) => continue,
            Err(error) if Error::is_tick(&error) => continue,
            Err(error) => Err(error.kind()),
        };
        let mut ends = 0;
        while ends < 3 {
            let mut buf = [0; 10];
            match socket.read(&mut buf) {
                // What another reader's `read_exact` has put back.
                Ok(n) if n > 0 => tally.lock().expect("no thread panics with it").add(&buf[..n]),
                Ok(_) => {
                    assert_eq!(end, Ok(()), "after an error comes no clean end");
                    ends += 1;
                }
                Err(error) => {
                    assert!(!Error::is_tick(&error), "no tick comes after an end: {error} after {end:?}");
                    let is_closed = error.kind() == ErrorKind::NotConnected;
                    assert!(is_closed || end == Err(error.kind()), "an end stays what it is: {error} after {end:?}");
                    ends += 1;
                }
            }
        }
        return end;
    }
}

/// The same by events.
fn take_events(socket: &Socket, tally: &Mutex<Tally>) -> Result<(), ErrorKind> {
    let mut is_over = false;
    let result = socket.each(|_, event| {
        match event {
            SocketEvent::Data(bytes) => tally.lock().expect("no thread panics with it").add(bytes),
            SocketEvent::Timeout => assert!(!is_over, "no tick comes after an end"),
            SocketEvent::End | SocketEvent::Error(_) => is_over = true,
            _ => {}
        }
        Ok(())
    });
    result.map_err(|error| error.kind())
}

/// What the peer got: whole messages, each writer's in order. Gives how many of each, and whether the end was clean.
fn messages(mut bytes: &[u8], is_cut: bool) -> [Vec<u8>; 2] {
    let mut lengths = [vec![], vec![]];
    while let [writer, length, rest @ ..] = bytes {
        let length = usize::from(*length);
        if rest.len() < length && is_cut {
            break;
        }
        assert!(rest.len() >= length, "a message is whole");
        assert!(rest[..length].iter().all(|byte| byte == writer), "no other bytes come between those of a message");
        lengths[usize::from(*writer)].push(length as u8);
        bytes = &rest[length..];
    }
    lengths
}

fn run(schedule: Schedule) {
    let Schedule { seed, by_events, stops, closes, messages: count, bytes } = schedule;
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be bound");
    let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it is listened on");
    let socket = Socket::from(listener.accept().expect("a client waits").0);
    let to_send = Arc::new(peer);
    let to_receive = Arc::clone(&to_send);
    let tally = Mutex::new(Tally::new());
    let (is_over, may_close) = (AtomicBool::new(false), AtomicBool::new(false));
    let data = sent(bytes);
    let random = |n: u64| Random(seed ^ n << 32);
    thread::scope(|scope| {
        let data = &data;
        scope.spawn(move || {
            let (mut random, mut rest) = (random(1), &data[..]);
            while !rest.is_empty() {
                let piece = rest.len().min(1 + random.below(700) as usize);
                if (&*to_send).write_all(&rest[..piece]).is_err() {
                    break;
                }
                rest = &rest[piece..];
                random.pause();
            }
            if stops == Stops::Ends {
                let _ = to_send.shutdown(Shutdown::Write);
            }
        });
        let received = scope.spawn(move || {
            let mut all = Vec::new();
            if stops == Stops::Resets {
                let mut random = random(2);
                thread::sleep(Duration::from_micros(random.below(4000)));
                // The RST is sent by the thread that drops the stream last.
                SockRef::from(&*to_receive).set_linger(Some(Duration::ZERO)).expect("it is a socket");
                return (all, true);
            }
            let result = (&*to_receive).read_to_end(&mut all);
            (all, result.is_err())
        });
        let readers: Vec<_> = (0..if by_events { 1 } else { 2 })
            .map(|n| {
                let (socket, tally, mut random) = (&socket, &tally, random(3 + n));
                scope.spawn(move || match by_events {
                    true => take_events(socket, tally),
                    false => read_all(socket, &mut random, tally),
                })
            })
            .collect();
        let writers: Vec<_> = [0, 1]
            .map(|writer| {
                let (socket, mut random) = (&socket, random(7 + u64::from(writer)));
                scope.spawn(move || {
                    let mut lengths = Vec::new();
                    for _ in 0..count {
                        let length = random.below(200) as u8;
                        let message = message(writer, length);
                        let result = match random.below(3) {
                            0 => {
                                let parts = [IoSlice::new(&message[..1]), IoSlice::new(&message[1..])];
                                (&*socket)
                                    .write_vectored(&parts)
                                    .map(|n| assert_eq!(n, message.len(), "a write is whole"))
                            }
                            1 if random.one_in(2) => socket.outbox().send(message.clone()).map_err(io::Error::from),
                            _ => socket.write_all(&message),
                        };
                        match result {
                            Ok(()) => lengths.push(length),
                            Err(error) => {
                                assert!(!Error::is_tick(&error), "the buffers have room: {error}");
                                break;
                            }
                        }
                        random.pause();
                    }
                    lengths
                })
            })
            .into_iter()
            .collect();
        let setter = scope.spawn(|| {
            let mut random = random(11);
            while !is_over.load(SeqCst) {
                let time = [None, Some(Duration::from_millis(1 + random.below(8)))][random.below(2) as usize];
                match random.below(6) {
                    0 => drop(socket.set_read_timeout(time)),
                    1 => socket.set_timeout(time),
                    2 => drop(socket.set_write_timeout(time.map(|time| time + HANG))),
                    3 => socket.set_deadline(time.map(|time| Instant::now() + time + HANG)),
                    4 => socket.pause(),
                    _ => socket.resume(),
                }
                random.pause();
            }
            socket.resume();
        });
        let _guard = Stop(&is_over, &may_close);
        let closer = scope.spawn(|| {
            let mut random = random(12);
            if closes == Closes::Destroys {
                thread::sleep(Duration::from_micros(random.below(6000)));
                socket.destroy();
                return;
            }
            while !may_close.load(SeqCst) {
                thread::park_timeout(Duration::from_millis(1));
            }
            // A peer that has reset the connection is gone, which is no error; nor is a loop that has closed it.
            let _ = socket.end();
        });
        let written: Vec<_> =
            writers.into_iter().map(|writer| writer.join().expect("a writer does not fail")).collect();
        may_close.store(true, SeqCst);
        closer.join().expect("closing does not fail");
        let ends: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("a reader does not fail")).collect();
        is_over.store(true, SeqCst);
        setter.join().expect("setting timers does not fail");
        socket.destroy();
        let (got, is_cut) = received.join().expect("the peer does not fail");
        check(schedule, &socket, &tally, &ends, &written, &got, is_cut);
    });
}

fn check(
    schedule: Schedule,
    socket: &Socket,
    tally: &Mutex<Tally>,
    ends: &[Result<(), ErrorKind>],
    written: &[Vec<u8>],
    got: &[u8],
    is_cut: bool,
) {
    let tally = tally.lock().expect("no thread panics with it");
    if schedule.closes == Closes::Ends && schedule.stops == Stops::Ends {
        assert!(ends.iter().all(Result::is_ok), "an orderly connection ends in order: {ends:?}");
        let mut whole = Tally::new();
        whole.add(&sent(schedule.bytes));
        assert_eq!(*tally, whole, "every byte is read once");
        assert_eq!(socket.bytes_read(), tally.len() as u64, "every byte is counted once");
        let received = messages(got, is_cut);
        assert!(!is_cut, "the peer reads an end");
        assert_eq!(received.as_slice(), written, "every message that was written arrives");
    } else {
        assert!(tally.len() <= schedule.bytes, "no byte is read twice");
        messages(got, true);
    }
}

/// How many schedules.
fn count() -> u64 {
    std::env::var("LANDLINE_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

/// Ensures that bytes are exact, that no tick comes after an end, and that no thread is left waiting, however threads
/// that read, write, set timers, pause, end and destroy one connection come after each other.
#[test]
fn bytes_are_exact_and_no_tick_follows_an_end() {
    const AT_A_TIME: u64 = 4;
    let count = count();
    let first = std::env::var("LANDLINE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
        u64::from(now.subsec_nanos())
    });
    let workers = (0..AT_A_TIME).map(|worker| {
        thread::spawn(move || {
            for n in (0..count).filter(|n| n % AT_A_TIME == worker) {
                let schedule = Schedule::of(first + n);
                let (done, is_done) = mpsc::channel();
                let running = thread::spawn(move || {
                    run(schedule);
                    let _ = done.send(());
                });
                match is_done.recv_timeout(HANG) {
                    Err(mpsc::RecvTimeoutError::Timeout) => panic!("a thread is left waiting: {schedule:?}"),
                    _ => assert!(running.join().is_ok(), "it failed: {schedule:?}"),
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.join().expect("every schedule comes out as it must");
    }
}

/// How long this thread has used a processor.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("/proc is there");
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("it begins with nanoseconds"))
}

/// Ensures that threads that wait use hardly any processor time, whatever is done to the timers: by reads, whose ticks
/// they pass over, and by events.
#[test]
fn waiting_takes_no_processor_time() {
    if !std::path::Path::new("/proc/thread-self/schedstat").exists() {
        println!("skipped: no /proc/thread-self/schedstat");
        return;
    }
    const LONG: Duration = Duration::from_secs(1);
    let (mut used_in_all, mut waited) = (Duration::ZERO, Duration::ZERO);
    for by_events in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be bound");
        let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it is listened on");
        let socket = Socket::from(listener.accept().expect("a client waits").0);
        thread::scope(|scope| {
            let readers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let (begun, before) = (Instant::now(), used());
                    match by_events {
                        true => drop(socket.each(|_, _| Ok(()))),
                        false => while socket.read(&mut [0]).is_err_and(|error| Error::is_tick(&error)) {},
                    }
                    (used() - before, begun.elapsed())
                })
            });
            let (begun, mut random) = (Instant::now(), Random(1));
            while begun.elapsed() < LONG {
                let time = Duration::from_millis(5 + random.below(10));
                socket.set_read_timeout(time).expect("it is open");
                socket.set_timeout(if random.one_in(2) { Some(time * 2) } else { None });
                thread::sleep(Duration::from_millis(random.below(5)));
            }
            drop(peer);
            for reader in readers {
                let (used, time) = reader.join().expect("a reader does not fail");
                used_in_all += used;
                waited += time;
            }
        });
    }
    assert!(used_in_all * 20 < waited, "waiting for {waited:?} took {used_in_all:?} of a processor");
}

/// Lets the threads end that wait for the others, also when one of these fails.
struct Stop<'a>(&'a AtomicBool, &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        self.1.store(true, SeqCst);
    }
}
