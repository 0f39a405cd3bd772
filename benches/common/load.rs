//! The clients, on threads that block. A process of its own, so that the processor time they take can be told apart.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::case::{Case, LIMIT, Load};
use super::{load_udp, proc};

/// What the load needs to know of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) at: SocketAddr,
    pub(crate) process: u32,
    /// Where a proxy carries its clients' bytes to.
    pub(crate) behind: Option<SocketAddr>,
    /// Whether no thread of it ends while it is measured.
    pub(crate) keeps_threads: bool,
}

impl Target {
    /// The processor time that the server has used so far, and how often the system switched to it: 0 where that is not
    /// known.
    pub(crate) fn used(&self) -> Option<(Duration, u64)> {
        let exact = if self.keeps_threads { proc::threads_time(Some(self.process)) } else { None };
        exact.or_else(|| Some((proc::cpu_time(self.process)?, 0)))
    }
}

/// Figures by their keys. `client` and `server` are how many processors each end kept busy. `server_switches` is how
/// often a second the system switched to a thread of the server, or 0 where its threads do not last.
pub(crate) type Outcome = Vec<(&'static str, f64)>;

/// How long everything runs before it counts.
const WARM_UP: Duration = Duration::from_millis(150);
/// After this nobody answers any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a burst may take; a server that needs longer is not waited for.
pub(crate) const BURST_PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(case: &Case, target: Target, time: Duration) -> io::Result<Outcome> {
    let at = target.at;
    match case.load {
        Load::Echo { connections, size } => repeat(connections, target, time, || {}, |_| echo(at, size)),
        Load::EchoPolled { .. }
        | Load::Scale { .. }
        | Load::FanOut { .. }
        | Load::RedisBenchmark { .. }
        | Load::Wrk { .. }
        | Load::Dnsperf { .. } => Err(io::Error::new(io::ErrorKind::Unsupported, "this load takes more than std")),
        Load::Bulk { connections } => bulk(connections, target, time),
        Load::Churn { clients } => repeat(clients, target, time, || {}, |_| Ok(move || churn(at))),
        Load::Burst { connects, at_once } => burst(at, connects, at_once),
        Load::Refusals { clients } => refusals(clients, target, time),
        Load::Idle { connections } => idle(connections, target),
        Load::Window { clients, window } => repeat(clients, target, time, || {}, |_| load_udp::window(at, window)),
        Load::Flood { rate } => load_udp::flood(target, rate),
        Load::Through { connections } => through(connections, target, time),
    }
}

/// What threads have done, each in its own cache line.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Count(pub(crate) AtomicU64);

/// Runs `n` threads, each repeating the step that `make` gives it; counts what their steps give, in so many seconds.
/// `stop` ends those that may block for ever.
pub(crate) fn repeat<S>(
    n: usize,
    target: Target,
    time: Duration,
    stop: impl FnOnce(),
    make: impl Fn(usize) -> io::Result<S> + Send,
) -> io::Result<Outcome>
where
    S: FnMut() -> io::Result<u64>,
{
    let (over, ready) = (AtomicBool::new(false), Barrier::new(n + 1));
    let counts: Vec<Count> = (0..n).map(|_| Count::default()).collect();
    // One after the other: that a backlog is short is the business of another case.
    let make = Mutex::new(make);
    let (over, ready, make) = (&over, &ready, &make);
    let work = |i: usize, count: &Count| -> io::Result<()> {
        let step = make.lock().expect("no load panics")(i);
        ready.wait();
        let (mut step, mut done) = (step?, 0);
        while !over.load(Relaxed) {
            match step() {
                Ok(more) => done += more,
                Err(_) if over.load(Relaxed) => break,
                Err(error) => return Err(error),
            }
            count.0.store(done, Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (i, count) in counts.iter().enumerate() {
            threads.push(thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, move || work(i, count))?);
        }
        ready.wait();
        let outcome = measure(target, None, time, || Ok(counts.iter().map(|count| count.0.load(Relaxed)).sum()));
        over.store(true, Relaxed);
        stop();
        for thread in threads {
            thread.join().expect("no load panics")?;
        }
        outcome
    })
}

/// What is counted in so many seconds, and the processor time that the server and the clients' process take for it:
/// this one where none is given.
pub(crate) fn measure(
    target: Target,
    clients: Option<u32>,
    time: Duration,
    mut count: impl FnMut() -> io::Result<u64>,
) -> io::Result<Outcome> {
    let mut look = || io::Result::Ok((Instant::now(), count()?, proc::threads_time(clients), target.used()));
    thread::sleep(WARM_UP);
    let before = look()?;
    thread::sleep(time);
    let after = look()?;
    let seconds = (after.0 - before.0).as_secs_f64();
    let used = |before: Option<(Duration, u64)>, after: Option<(Duration, u64)>| {
        let (before, after) = before.zip(after)?;
        Some(((after.0 - before.0).as_secs_f64() / seconds, (after.1 - before.1) as f64 / seconds))
    };
    let mut outcome = vec![("rate", (after.1 - before.1) as f64 / seconds)];
    outcome.extend(used(before.2, after.2).map(|(busy, _)| ("client", busy)));
    if let Some((busy, switches)) = used(before.3, after.3) {
        outcome.extend([("server", busy), ("server_switches", switches)]);
    }
    Ok(outcome)
}

pub(crate) fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Bytes that show when some of them are missing or come twice.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8).collect()
}

/// A message there and back, looked at.
pub(crate) fn check(stream: &mut TcpStream, size: usize) -> io::Result<()> {
    let (message, mut answer) = (pattern(size), vec![0; size]);
    stream.write_all(&message)?;
    stream.read_exact(&mut answer)?;
    if message == answer { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "it is no echo")) }
}

fn echo(at: SocketAddr, size: usize) -> io::Result<impl FnMut() -> io::Result<u64>> {
    let mut stream = connect(at)?;
    check(&mut stream, size)?;
    let (message, mut answer) = (pattern(size), vec![0; size]);
    Ok(move || {
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        Ok(1)
    })
}

fn churn(at: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect(at)?;
    stream.write_all(&[7; 64])?;
    stream.read_exact(&mut [0; 64])?;
    Ok(1)
}

/// Half of the threads write, half read.
fn bulk(connections: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = connect(target.at)?;
        check(&mut stream, 65536)?;
        streams.push(stream);
    }
    let stop = || streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    megabytes(repeat(2 * connections, target, time, stop, |i| Ok(stream_step(&streams[i / 2], i % 2 == 0))))
}

/// Half of the threads write to a proxy, half read what comes out of it.
fn through(connections: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    let behind = target.behind.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let listener = TcpListener::bind(behind)?;
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut writer = connect(target.at)?;
        let (mut reader, _) = listener.accept()?;
        reader.set_read_timeout(Some(PATIENCE))?;
        let (message, mut came) = (pattern(200_000), vec![0; 200_000]);
        let sent = thread::scope(|scope| {
            let sent = scope.spawn(|| writer.write_all(&message));
            reader.read_exact(&mut came).and(sent.join().expect("writing does not panic"))
        });
        sent?;
        if message != came {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy changes what it carries"));
        }
        streams.push(writer);
        streams.push(reader);
    }
    let stop = || streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    megabytes(repeat(2 * connections, target, time, stop, |i| Ok(stream_step(&streams[i], i % 2 == 0))))
}

/// One piece written, or one read and counted. Where the kernel can, it throws away what is read instead of copying it:
/// the first bytes were looked at, and clients that have as much to do as the server would be what limits it.
fn stream_step(stream: &TcpStream, writes: bool) -> impl FnMut() -> io::Result<u64> {
    const PIECE: usize = 256 * 1024;
    let message = vec![7; if writes { PIECE } else { 0 }];
    let mut buffer = vec![MaybeUninit::uninit(); if writes { 0 } else { PIECE }];
    let socket = SockRef::from(stream);
    move || {
        if writes {
            return (&*socket).write_all(&message).map(|()| 0);
        }
        match socket.recv_with_flags(&mut buffer, DISCARD)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n as u64),
        }
    }
}

/// MSG_TRUNC, which of TCP's bytes gives the number only: tcp(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
const DISCARD: i32 = 0x20;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const DISCARD: i32 = 0;

fn megabytes(outcome: io::Result<Outcome>) -> io::Result<Outcome> {
    let mut outcome = outcome?;
    outcome[0].1 /= 1e6;
    Ok(outcome)
}

/// Seconds until so many connections are open and answered; those of each thread one after the other.
fn burst(at: SocketAddr, connects: usize, at_once: usize) -> io::Result<Outcome> {
    let together = Barrier::new(at_once + 1);
    let work = |end: &Mutex<Option<Instant>>| -> io::Result<()> {
        together.wait();
        let end = end.lock().ok().and_then(|end| *end).unwrap_or_else(Instant::now);
        let left = || Some(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        let mut streams = Vec::new();
        for _ in 0..connects / at_once {
            let mut stream = TcpStream::connect_timeout(&at, left().unwrap_or_default())?;
            stream.write_all(b"?")?;
            streams.push(stream);
        }
        for stream in &mut streams {
            stream.set_read_timeout(left())?;
            stream.read_exact(&mut [0])?;
        }
        Ok(())
    };
    let end = Mutex::new(None);
    let start = thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..at_once {
            threads.push(thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, || work(&end))?);
        }
        let start = Instant::now();
        *end.lock().expect("nobody panics with it") = Some(start + BURST_PATIENCE);
        together.wait();
        for thread in threads {
            match thread.join().expect("no load panics") {
                Err(error) if !matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        io::Result::Ok(start)
    })?;
    Ok(vec![("seconds", start.elapsed().min(BURST_PATIENCE).as_secs_f64())])
}

/// Refusals a second, and how long those wait for their answers who were admitted.
fn refusals(clients: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    let at = target.at;
    let waits: Vec<Mutex<Vec<f64>>> = (0..LIMIT).map(|_| Mutex::default()).collect();
    let mut admitted = Vec::new();
    for _ in 0..LIMIT {
        let mut stream = connect(at)?;
        check(&mut stream, 64)?;
        admitted.push(stream);
    }
    let admitted = |i: usize| {
        let (mut stream, waits, mut next) = (&admitted[i], &waits[i], Instant::now());
        move || {
            next = Instant::now().max(next + Duration::from_millis(1));
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let asked = Instant::now();
            stream.write_all(&[7; 64])?;
            stream.read_exact(&mut [0; 64])?;
            waits.lock().expect("nobody panics with it").push(asked.elapsed().as_secs_f64() * 1e6);
            Ok(0)
        }
    };
    let refused = || match connect(at)?.read(&mut [0; 64]) {
        Ok(0) => Ok(1),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(1),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "who is refused is told nothing")),
    };
    let mut outcome = repeat(
        LIMIT + clients,
        target,
        time,
        || {},
        |i| {
            let mut admitted = (i < LIMIT).then(|| admitted(i));
            Ok(move || admitted.as_mut().map_or_else(refused, |step| step()))
        },
    )?;
    let waits = waits.into_iter().flat_map(|waits| waits.into_inner().expect("nobody panicked with it"));
    let [median, most] = median_and_99(waits.collect());
    outcome.extend([("p50", median), ("p99", most)]);
    Ok(outcome)
}

pub(crate) fn median_and_99(mut waits: Vec<f64>) -> [f64; 2] {
    waits.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|of| waits.get((waits.len() as f64 * of) as usize).copied().unwrap_or(f64::NAN))
}

/// Bytes resident, of page tables and of kernel stacks, and threads. The stacks are those of the whole machine.
pub(crate) fn memory(target: Target) -> io::Result<[f64; 4]> {
    let status = |field| proc::status(target.process, field).ok_or(io::ErrorKind::Unsupported);
    let stacks = proc::memory_of_all("KernelStack:").ok_or(io::ErrorKind::Unsupported)?;
    Ok([status("VmRSS:")?, status("VmPTE:")?, stacks, status("Threads:")?])
}

/// What each of the connections costs that were opened between two looks at the memory.
pub(crate) fn memory_each(before: [f64; 4], after: [f64; 4], connections: usize) -> Outcome {
    let each = |i: usize| (after[i] - before[i]) / connections as f64;
    let (resident, tables, stack) = (each(0), each(1), each(2));
    let sum = resident + tables + stack;
    vec![("resident", resident), ("tables", tables), ("stack", stack), ("sum", sum), ("threads", after[3])]
}

/// What each of many connections costs the server that has answered once on each and then waits.
fn idle(connections: usize, target: Target) -> io::Result<Outcome> {
    let before = memory(target)?;
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = connect(target.at)?;
        check(&mut stream, 64)?;
        streams.push(stream);
    }
    let after = memory(target)?;
    drop(streams);
    // Until the server has seen all ends: it has fewer threads then, or it had none for them.
    let end = Instant::now() + Duration::from_secs(3);
    let (mut now, mut quiet) = (memory(target)?, 0);
    while Instant::now() < end && quiet < 3 {
        thread::sleep(Duration::from_millis(100));
        let next = memory(target)?;
        quiet = if next == now { quiet + 1 } else { 0 };
        now = next;
    }
    let mut outcome = memory_each(before, after, connections);
    outcome.extend([("threads_left", now[3]), ("resident_left", now[0] - before[0])]);
    Ok(outcome)
}
