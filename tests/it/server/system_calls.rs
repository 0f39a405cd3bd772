//! What a connection, a message and a datagram cost in system calls, so that nobody adds one unnoticed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, fs};

use landline::dgram;
use landline::net::{Server, Socket, SocketEvent};

use crate::support::process::Program;
use crate::support::tool;

/// Set in the process that serves; says by what.
const SERVE: &str = "LANDLINE_TEST_SERVE";

const TEST: &str = "system_calls::the_process_that_is_counted";

/// The other process: serves until its input ends.
#[test]
fn the_process_that_is_counted() {
    let Ok(what) = env::var(SERVE) else { return };
    if let Some(what) = what.strip_prefix("udp ") {
        let socket = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
        let serving = socket.clone();
        println!("\nlistening on {}", socket.address());
        let by_receiving = what == "recv";
        let serving = std::thread::spawn(move || echo_datagrams(&serving, by_receiving));
        let _ = io::stdin().read_to_end(&mut Vec::new());
        socket.close();
        return serving.join().expect("it does not panic").expect("the socket works");
    }
    let server = Server::listen("127.0.0.1:0").expect("port 0 is free");
    let serving = match what.as_str() {
        "read" => server.spawn(by_reading),
        "each" => server.spawn(by_events),
        _ => server.spawn(|socket| socket.pipe(socket).map(drop)),
    };
    println!("\nlistening on {}", server.address());
    let _ = io::stdin().read_to_end(&mut Vec::new());
    server.close();
    serving.and_then(landline::Running::join).expect("it serves to the end");
}

fn by_reading(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => socket.write_all(&buffer[..n])?,
        }
    }
}

fn by_events(socket: &Socket) -> io::Result<()> {
    socket.each(|socket, event| match event {
        SocketEvent::Data(bytes) => socket.write_all(bytes),
        _ => Ok(()),
    })
}

fn echo_datagrams(socket: &dgram::Socket, by_receiving: bool) -> io::Result<()> {
    if by_receiving {
        let mut buffer = vec![0; 65_535];
        while let Some((bytes, from)) = socket.recv(&mut buffer)? {
            socket.send_to(bytes, &from)?;
        }
        return Ok(());
    }
    socket.each(|socket, event| match event {
        dgram::SocketEvent::Message(bytes, from) => Ok(socket.send_to(bytes, &from).map(drop)?),
        _ => Ok(()),
    })
}

/// All system calls of a server that so many are done to, one after the other.
#[track_caller]
fn calls(what: &str, count: usize, client: fn(SocketAddr, usize) -> io::Result<()>) -> BTreeMap<String, usize> {
    let this = env::current_exe().expect("the test program has a path");
    let this = this.to_str().expect("the path is text");
    static LOGS: AtomicUsize = AtomicUsize::new(0);
    let name = format!("landline-calls-{}-{}", std::process::id(), LOGS.fetch_add(1, Relaxed));
    let log = env::temp_dir().join(name);
    let log_name = log.to_str().expect("the path is text");
    let serve = format!("{SERVE}={what}");
    let strace = [&serve, "strace", "-f", "-qq", "-o", log_name, this, TEST, "--exact", "--nocapture"];
    let mut server = Program::start("env", &strace);
    let line = server.line_with("listening on ");
    let at = line.rsplit(' ').next().and_then(|at| at.parse().ok()).expect("it says where it listens");
    client(at, count).expect("the server is there");
    let rest = server.rest();
    assert!(server.status().success(), "the server ends well: {rest:?}");
    let text = fs::read_to_string(&log).expect("strace writes its log");
    fs::remove_file(&log).expect("it is ours");
    let mut calls = BTreeMap::new();
    // A call that another one interrupts has a second line, which begins with "<...".
    for line in text.lines().filter_map(|line| line.split_once(' ')) {
        if let Some((name, _)) = line.1.trim_start().split_once('(').filter(|(name, _)| !name.contains(' ')) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

/// Ensures that each of what `client` does costs just these calls: those of a thousand more, so that what a server's
/// start and end cost is out of it. A thread that is started meanwhile may add some.
#[track_caller]
fn each_costs(what: &str, client: fn(SocketAddr, usize) -> io::Result<()>, expected: &[(&str, f64)]) {
    if tool("strace").is_none() {
        return;
    }
    let (few, many) = (calls(what, 100, client), calls(what, 1100, client));
    let mut each: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, count) in &many {
        let count = *count as f64 - few.get(name).copied().unwrap_or_default() as f64;
        each.insert(name, count / 1000.0);
    }
    each.retain(|_, count| *count != 0.0);
    if cfg!(debug_assertions) {
        // Without optimisation std looks at each descriptor before it closes it.
        each.remove("fcntl");
    }
    println!("measured for {what}: {:.3} calls, {each:?}", each.values().sum::<f64>());
    for (name, wanted) in expected {
        let count = each.remove(name).unwrap_or_default();
        assert!((count - wanted).abs() < 0.1, "{what}: {wanted} times {name}, and not {count}");
    }
    let others: f64 = each.values().sum();
    assert!(others < 0.2, "{what}: no other call than {expected:?}, but {each:?}");
}

/// The client waits for the server's end, so that one connection is over before the next.
fn connect(at: SocketAddr, count: usize) -> io::Result<()> {
    for _ in 0..count {
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(&[7; 64])?;
        stream.read_exact(&mut [0; 64])?;
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn ask(at: SocketAddr, count: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect(at)?;
    for _ in 0..count {
        stream.write_all(&[7; 64])?;
        stream.read_exact(&mut [0; 64])?;
    }
    Ok(())
}

fn send(at: SocketAddr, count: usize) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for _ in 0..count {
        socket.send_to(&[7; 64], at)?;
        socket.recv(&mut [0; 64])?;
    }
    Ok(())
}

const CONNECTION: &[(&str, f64)] = &[("accept4", 1.0), ("recvfrom", 2.0), ("sendto", 1.0), ("close", 1.0)];
const MESSAGE: &[(&str, f64)] = &[("recvfrom", 1.0), ("sendto", 1.0)];

/// Ensures that a connection costs an accept, a read, a write, the read of the end, and a close.
#[test]
fn a_connection_costs_five_calls() {
    each_costs("read", connect, CONNECTION);
    each_costs("each", connect, CONNECTION);
}

/// Ensures that `pipe`, which passes the end on before it returns, adds the one call that does so.
#[test]
fn a_piped_connection_costs_six_calls() {
    each_costs("pipe", connect, &[CONNECTION, &[("shutdown", 1.0)]].concat());
}

/// Ensures that a message costs a read and a write, whichever way it is read.
#[test]
fn a_message_costs_two_calls() {
    for way in ["read", "each", "pipe"] {
        each_costs(way, ask, MESSAGE);
    }
}

/// Ensures that a datagram costs a receive and a send.
#[test]
fn a_datagram_costs_two_calls() {
    each_costs("udp recv", send, MESSAGE);
    each_costs("udp each", send, MESSAGE);
}
