//! System calls a connection, a message and a datagram: what [`MANY`] of them take more than [`FEW`], so that the
//! start and the end of a server are out of it. The server is a process of its own, under strace, and its clients are
//! here.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};
use std::time::Duration;
use std::{env, fs, process as this};

use landline::net::{Server, Socket};

use crate::client::{Client, connect};
use crate::numbers::Figure;
use crate::process;
use crate::ways::{self, MESSAGE, SIZE, Serving, Way, server_options};

const FEW: usize = 100;
const MANY: usize = 1100;

/// A server that ends takes a call more or less, as when one more of its threads is inside accept(2).
const TOLERANCE: f64 = 0.1;

/// So many connections are open at once before any is counted: there are workers then for all that follow, and none is
/// started because another one is late.
const CROWD: usize = 17;

/// Calls by which threads wait for each other. How many depends on which thread is first, so they are in no number.
/// Where one comes each time it is named; not so with channels, where it may come or not.
const WAITING: [&str; 2] = ["futex", "sched_yield"];

/// How a connection ends:
/// - first: the client ends it, then the server does.
/// - last: the server ends it, by another thread than the one that serves it. Then the client does.
/// - never: the client does not end it. The server destroys it, by another thread too.
///
/// The handler `return` returns at once: then the server ends the connection before it looks for the client's end.
const ENDS: [&str; 3] = ["first", "last", "never"];

/// How a thread gets its clients itself. The last is `accept` on a server on which there was a call with a time.
const ACCEPTS: [&str; 3] = ["accept", "accept_timeout", "accept_after_a_time"];

pub fn measure() -> io::Result<Option<Vec<Figure>>> {
    if !process::has("strace")? {
        return Ok(None);
    }
    let mut figures = Vec::new();
    for setting in ["", "+hook"] {
        for end in ENDS {
            for handler in ["read", "each", "pipe", "return"] {
                let name = format!("connection/{end}/{handler}{setting}");
                figures.push(figure(&name, "a connection", |at, count| connections(end, handler, at, count))?);
            }
        }
    }
    for call in ACCEPTS {
        figures.push(figure(&format!("connection/{call}"), "a connection", |at, count| {
            one_by_one("first", "read", at, count)
        })?);
    }
    for name in ways::names() {
        figures.push(figure(&name, "a message", |at, count| Client::of(&name, at)?.ask(count))?);
    }
    Ok(Some(figures))
}

fn figure(name: &str, unit: &'static str, client: impl Fn(SocketAddr, usize) -> io::Result<()>) -> io::Result<Figure> {
    let (few, many) = (count(name, FEW, &client)?, count(name, MANY, &client)?);
    let mut total = 0.0;
    let mut made_of = Vec::new();
    for (call, count) in &many {
        let each = (count - few.get(call).unwrap_or(&0.0)) / (MANY - FEW) as f64;
        let is_waiting = WAITING.contains(&call.as_str());
        if !is_waiting {
            total += each;
        }
        // What comes for some only is in the number.
        match (each + TOLERANCE).floor() as i64 {
            ..=0 => {}
            _ if is_waiting && name.contains("events") => {}
            1 => made_of.push(call.clone()),
            times => made_of.push(format!("{times}*{call}")),
        }
    }
    Ok(Figure::new(&format!("calls/{name}"), total, unit).within(tolerance(name)).made_of(made_of.join(" ")))
}

/// Where a handler returns while the client is there, the server looks for the client's end: once more if it comes late,
/// as it does beside other work.
fn tolerance(name: &str) -> f64 {
    if name.starts_with("connection/last/return") { 1.0 } else { TOLERANCE }
}

/// All system calls of a server to which `client` does something so many times.
fn count(
    name: &str,
    count: usize,
    client: impl Fn(SocketAddr, usize) -> io::Result<()>,
) -> io::Result<BTreeMap<String, f64>> {
    let log = env::temp_dir().join(format!("landline-costs-{}", this::id()));
    let log_name = log.to_str().expect("the path is text");
    let strace = ["strace", "-f", "-c", "-U", "calls,name", "-qq", "-o", log_name];
    let mut server = process::start(&strace, &["serve", name])?;
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().expect("it is a pipe")).read_line(&mut line)?;
    let done = match line.trim().parse() {
        Ok(at) => client(at, count),
        Err(_) => Err(io::Error::other(format!("{name}: the server does not listen"))),
    };
    process::end(server)?;
    done?;
    let table = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    // Lines of a number and a name, between others; the last is the sum.
    let rows = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    });
    Ok(rows.filter(|(_, call)| call != "total").map(|(count, call)| (call, count)).collect())
}

/// The other process: serves until its input ends.
pub fn serve(name: &str) -> io::Result<()> {
    let serving = match name.strip_prefix("connection/") {
        Some(call) if ACCEPTS.contains(&call) => accept_connections(call)?,
        Some(rest) => serve_connections(rest)?,
        None => Serving::start(name)?,
    };
    println!("{}", serving.address);
    io::stdin().read_to_end(&mut Vec::new())?;
    serving.end()
}

fn accept_connections(call: &str) -> io::Result<Serving> {
    const LONG: Duration = Duration::from_secs(3600);
    let next: fn(&Server) -> io::Result<Option<Socket>> = match call {
        "accept_timeout" => |server| server.accept_timeout(LONG),
        _ => |server| server.accept(),
    };
    let has_had_a_time = call == "accept_after_a_time";
    Serving::tcp("", move |server| {
        if has_had_a_time {
            // Whether the first client is there already or not.
            if let Ok(Some(socket)) = server.try_accept() {
                ways::read(&socket)?;
            }
        }
        while let Some(socket) = next(server)? {
            ways::read(&socket)?;
        }
        Ok(())
    })
}

fn serve_connections(name: &str) -> io::Result<Serving> {
    let (name, setting) = name.split_once('+').unwrap_or((name, ""));
    let (end, handler) = name.split_once('/').expect("it is an end and a handler");
    let mut options = server_options(setting);
    if name == "never/return" {
        // Otherwise the server waits for the client's end.
        options = options.lingering_close(None);
    }
    let way = ways::WAYS.iter().find(|(way, _)| way.strip_prefix("tcp/") == Some(handler));
    let handler = match way {
        Some((_, Way::Handler(handler))) => *handler,
        _ => |_: &Socket| Ok(()),
    };
    let end: fn(&Socket) -> io::Result<()> = match end {
        "first" => |_| Ok(()),
        "last" => Socket::end,
        _ => |socket| {
            socket.destroy();
            Ok(())
        },
    };
    Serving::with(&options, move |server| {
        let (count, crowd, open) = (AtomicUsize::new(0), Barrier::new(CROWD), Mutex::new(VecDeque::new()));
        server.serve(|socket| {
            if count.fetch_add(1, Relaxed) < CROWD {
                crowd.wait();
                return Ok(());
            }
            let ending = push(&mut open.lock().expect("no handler panics"), socket.clone());
            ending.as_ref().map_or(Ok(()), end)?;
            handler(socket)
        })
    })
}

/// Takes one out that has been open for a while, so that its thread waits in a read by now.
fn push<T>(open: &mut VecDeque<T>, new: T) -> Option<T> {
    const OPEN: usize = 8;
    open.push_back(new);
    if open.len() > OPEN { open.pop_front() } else { None }
}

fn connections(end: &str, handler: &str, at: SocketAddr, count: usize) -> io::Result<()> {
    let crowd = (0..CROWD).map(|_| connect(at)).collect::<io::Result<Vec<_>>>()?;
    for mut stream in crowd {
        stream.read_to_end(&mut Vec::new())?;
    }
    one_by_one(end, handler, at, count)
}

fn one_by_one(end: &str, handler: &str, at: SocketAddr, count: usize) -> io::Result<()> {
    let mut open = VecDeque::new();
    for _ in 0..count {
        let mut stream = connect(at)?;
        if handler != "return" {
            let mut answer = [0; SIZE];
            stream.write_all(&MESSAGE)?;
            stream.read_exact(&mut answer)?;
            assert_eq!(answer, MESSAGE, "what was sent comes back");
        }
        if end == "first" {
            stream.shutdown(Shutdown::Write)?;
        }
        // Its end is seen before the next one begins, or when a later one has begun, which ends it.
        let ending = if end == "first" || handler == "return" { Some(stream) } else { push(&mut open, stream) };
        if let Some(mut stream) = ending {
            assert_eq!(stream.read_to_end(&mut Vec::new())?, 0, "nothing comes before the end");
        }
    }
    Ok(())
}
