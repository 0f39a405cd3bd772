//! The example `select_loop`: many clients on one thread, some of which never read.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::{Program, Server};
use crate::support::{HANG, eventually};

/// The memory of a program, in KiB.
fn memory(program: &Program) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// Sends some 20,000 datagrams a second until it `is_over`; gives how many were sent.
fn flood(at: SocketAddr, is_over: Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("port 0 can be bound");
        let mut sent = 0;
        while !is_over.load(SeqCst) {
            for _ in 0..20 {
                sent += u64::from(socket.send_to(&[b'u'; 64], at).is_ok());
            }
            // Not a bound: the pace of the sender.
            thread::park_timeout(Duration::from_millis(1));
        }
        sent
    })
}

const CLIENTS: usize = 195;

/// Runs clients that talk, so many rounds each, 5 that only write, and a flood of datagrams against the example.
fn talk_and_flood(rounds: usize) {
    let Server { mut program, address: at } = Server::start("select_loop", &["127.0.0.1:0"]);
    let start = Instant::now();
    let connect = || {
        let client = TcpStream::connect(at).expect("the example listens");
        client.set_read_timeout(Some(HANG)).expect("it can be set");
        client
    };
    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..5 {
        let (mut client, dropped) = (connect(), Arc::clone(&dropped));
        thread::spawn(move || {
            while client.write_all(&[b'x'; 65_536]).is_ok() {}
            dropped.fetch_add(1, SeqCst);
        });
    }
    let (tell, times) = mpsc::channel();
    for number in 0..CLIENTS {
        let (mut client, tell) = (connect(), tell.clone());
        thread::spawn(move || {
            let mut answer = [0; 6 * size_of::<usize>()];
            for count in 0..rounds {
                // Not a bound: the pace of the client.
                thread::park_timeout(Duration::from_millis(20));
                let message = [number.to_be_bytes(), count.to_be_bytes()].concat().repeat(3);
                let start = Instant::now();
                client.write_all(&message).and_then(|()| client.read_exact(&mut answer)).expect("the echo comes back");
                tell.send(start.elapsed()).expect("the test waits");
                assert_eq!(answer[..], message, "every byte, in its order");
            }
        });
    }
    drop(tell);
    let is_over = Arc::new(AtomicBool::new(false));
    let flooding = flood(at, Arc::clone(&is_over));
    let mut echoes: Vec<_> = times.iter().take(CLIENTS * rounds / 2).collect();
    eventually("those that do not read are dropped", || dropped.load(SeqCst) == 5);
    let half_way = memory(&program);
    echoes.extend(times);
    let at_the_end = memory(&program);
    is_over.store(true, SeqCst);
    echoes.sort_unstable();
    let percentile = |n: usize| echoes[(echoes.len() - 1) * n / 100];
    let datagrams = flooding.join().expect("nothing panicked");
    println!(
        "measured: {} echoes and {datagrams} datagrams in {:?}, p50 {:?}, p99 {:?}, longest {:?}, memory {half_way} KiB half-way, {at_the_end} KiB",
        echoes.len(),
        start.elapsed(),
        percentile(50),
        percentile(99),
        percentile(100),
    );
    assert_eq!(echoes.len(), CLIENTS * rounds, "those that read are served");
    assert!(at_the_end < half_way + 16 * 1024, "memory stays level: {half_way} KiB half-way, {at_the_end} KiB");
    program.end_input();
    assert!(program.status().success(), "it ends in order at the end of its input");
}

/// Ensures that clients that write without end and never read are dropped, and that all others are served meanwhile.
#[test]
fn clients_that_never_read_are_dropped_and_hold_up_no_other() {
    talk_and_flood(20);
}

/// The same for longer.
#[test]
#[ignore = "takes 30 s: memory stays level for longer than it takes to fill it"]
fn clients_that_never_read_are_dropped_and_hold_up_no_other_for_long() {
    talk_and_flood(1_000);
}

/// Ensures that the example does what its header says: echo, a tick a second, typed lines, a clean end.
#[test]
fn one_loop_has_clients_a_clock_and_a_keyboard() {
    let Server { mut program, address } = Server::start("select_loop", &["127.0.0.1:0"]);
    assert_eq!(program.line(), "0 open", "a tick");
    let mut client = TcpStream::connect(address).expect("the example listens");
    client.set_read_timeout(Some(HANG)).expect("it can be set");
    let mut answer = [0; 3];
    client.write_all(b"hi\n").and_then(|()| client.read_exact(&mut answer)).expect("the echo comes back");
    assert_eq!(&answer, b"hi\n", "what was sent");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("port 0 can be bound");
    socket.set_read_timeout(Some(HANG)).expect("it can be set");
    socket.send_to(b"hi", address).expect("it is bound");
    let (n, _) = socket.recv_from(&mut answer).expect("the echo comes back");
    assert_eq!(&answer[..n], b"hi", "over UDP too");
    program.type_in("hello\n");
    assert_eq!(program.line_with("typed"), "you typed hello, 1 open", "a line");
    assert_eq!(program.rest().last().map(String::as_str), Some("closed"), "and the end");
    assert!(program.status().success(), "in order");
    assert_eq!(client.read(&mut answer).unwrap_or(0), 0, "its clients see it");
}
