//! The clients that take more than std: those that poll, and programs of others.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::case::{Case, Load};
use crate::common::load::{self, Outcome, PATIENCE, Target};
use crate::common::proc;
use crate::polled::{self, Clients};
use crate::{fan_out, scale};

pub(crate) fn run(case: &Case, target: Target, time: Duration) -> io::Result<Outcome> {
    if case.is_of_a_protocol() && !matches!(case.load, Load::Dnsperf { .. }) {
        drop(connect(target.at)?);
    }
    let mut outcome = match case.load {
        Load::EchoPolled { connections, size } => {
            let clients = Mutex::new(Clients::open(target.at, connections, size)?);
            load::repeat(1, target, time, || {}, |_| polled::echo(&clients))
        }
        Load::Scale { connections } => scale::run(connections, target, time),
        Load::FanOut { subscribers, rate } => fan_out::run(subscribers, rate, target, time),
        Load::RedisBenchmark { clients, pipeline } => redis_benchmark(clients, pipeline, target, time),
        Load::Wrk { connections } => wrk(connections, target, time),
        Load::Dnsperf { clients } => dnsperf(clients, target, time),
        _ => load::run(case, target, time),
    }?;
    let of = |key| outcome.iter().find(|figure| figure.0 == key).map(|figure| figure.1);
    if case.measures.iter().any(|measure| measure.key == "cost") {
        let cost = of("server").zip(of("rate")).map(|(server, rate)| ("cost", 1e6 * server / rate));
        let switches = of("server_switches").zip(of("rate")).map(|(switches, rate)| ("switches", switches / rate));
        outcome.extend(cost.into_iter().chain(switches));
    }
    Ok(outcome)
}

/// A connection, as soon as something listens.
pub(crate) fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let end = Instant::now() + PATIENCE;
    loop {
        match load::connect(at) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < end => {
                thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A program that is killed when this is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It fails if the program has ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Increments one key for as long as it runs, so that the key says how many requests there were. So what is counted and
/// the processor time for it are of the same moments, while all connections are open.
fn redis_benchmark(clients: usize, pipeline: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$20\r\ncounter:__rand_int__\r\n";
    let mut asking = BufReader::new(connect(target.at)?);
    let mut count = || {
        asking.get_mut().write_all(GET)?;
        let mut line = String::new();
        asking.read_line(&mut line)?;
        if line != "$-1\r\n" {
            line.clear();
            asking.read_line(&mut line)?;
        }
        io::Result::Ok(line.trim_end().parse::<u64>().unwrap_or(0))
    };
    let before = count()?;
    let (ip, port) = (target.at.ip().to_string(), target.at.port().to_string());
    let (clients, pipeline) = (clients.to_string(), pipeline.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args(["-q", "-t", "incr", "-n", "2000000000", "-h", &ip, "-p", &port, "-c", &clients, "-P", &pipeline]);
    let benchmark = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let end = Instant::now() + PATIENCE;
    while count()? == before {
        if Instant::now() > end {
            return Err(wrong("redis-benchmark increments nothing"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    load::measure(target, Some(benchmark.0.id()), time, count)
}

/// Runs a program to its end, which says how many answers it had in how many seconds; `parse` finds that.
fn whole_run(
    command: &mut Command,
    target: Target,
    time: Duration,
    parse: impl Fn(&str) -> Option<(f64, f64)>,
) -> io::Result<Outcome> {
    let before = target.used();
    let mut started = Started(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let start = Instant::now();
    // It cannot be asked once it has ended.
    thread::sleep(time * 4 / 5);
    let client =
        proc::threads_time(Some(started.0.id())).map(|(used, _)| used.as_secs_f64() / start.elapsed().as_secs_f64());
    let mut text = String::new();
    started.0.stdout.take().expect("it is piped").read_to_string(&mut text)?;
    started.0.wait()?;
    let used = target.used().zip(before).map(|(after, before)| (after.0 - before.0).as_secs_f64());
    let (count, seconds) = parse(&text).ok_or_else(|| wrong(format!("{command:?} says {text}")))?;
    let mut outcome = vec![("rate", count / seconds)];
    outcome.extend(client.map(|busy| ("client", busy)));
    outcome.extend(used.map(|used| ("server", used / seconds)));
    Ok(outcome)
}

/// The number that follows a word.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = text.split_once(word)?.1.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())].parse().ok()
}

/// wrk counts in whole seconds.
fn wrk(connections: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    let seconds = time.as_secs_f64().ceil();
    let mut command = Command::new("wrk");
    command.args(["-t", "2", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
    command.arg(format!("http://{}/", target.at));
    whole_run(&mut command, target, Duration::from_secs_f64(seconds), |said| {
        let (before, after) = said.split_once(" requests in ")?;
        let count = before.rsplit(char::is_whitespace).next()?.parse().ok()?;
        let has_failed = said.contains("Socket errors") || said.contains("Non-2xx");
        Some((count, number_after(after, "")?)).filter(|_| !has_failed)
    })
}

/// What is lost takes dnsperf 5 s, and is seen in its rate.
fn dnsperf(clients: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    let questions = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/questions.txt");
    let mut command = Command::new("dnsperf");
    command.args(["-s", &target.at.ip().to_string(), "-p", &target.at.port().to_string()]);
    command.args(["-c", &clients.to_string(), "-l", &time.as_secs_f64().to_string(), "-d"]).arg(questions);
    whole_run(&mut command, target, time, |said| {
        let are_right = said.contains("NOERROR") && !said.contains("NXDOMAIN") && !said.contains("SERVFAIL");
        let completed = number_after(said, "Queries completed:")?;
        Some((completed, number_after(said, "Run time (s):")?)).filter(|_| are_right)
    })
}
