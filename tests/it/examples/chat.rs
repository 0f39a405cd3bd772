//! The example `chat`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::support::process::Server;
use crate::support::{HANG, eventually};

const READERS: usize = 90;
const SPEAKERS: usize = 5;
const LINES: usize = 60;
/// How many lines a speaker is ahead of the slowest reader at most. So nobody is dropped for being slow who does read.
const AHEAD: usize = 10;

/// A client with a small receive buffer, so that one that does not read is noticed soon.
fn narrow(at: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("one can be had");
    socket.set_recv_buffer_size(4096).and_then(|()| socket.connect(&at.into())).expect("the example listens");
    socket.into()
}

/// Ensures that of 100 clients, 10 of which never read, the other 90 get every line of everybody else, in one order, and that
/// the 10 are dropped.
#[test]
fn ninety_of_a_hundred_get_every_line_in_order() {
    let server = Server::start("chat", &["127.0.0.1:0"]);
    let silent: Vec<_> = (0..10).map(|_| narrow(server.address)).collect();
    let clients: Vec<_> = (0..READERS)
        .map(|_| {
            let client = TcpStream::connect(server.address).expect("the example listens");
            client.set_read_timeout(Some(HANG)).expect("it can be set");
            client
        })
        .collect();
    for _ in 0..100 {
        server.program.line_with("joined");
    }
    let read: Arc<Vec<_>> = Arc::new((0..READERS).map(|_| AtomicUsize::new(0)).collect());
    let readers: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(me, client)| {
            let (client, read) = (client.try_clone().expect("a handle can be had"), Arc::clone(&read));
            // A speaker does not hear himself.
            let count = LINES * (SPEAKERS - usize::from(me < SPEAKERS));
            thread::spawn(move || {
                let (mut next, mut order) = ([0; SPEAKERS], Vec::new());
                for line in BufReader::new(client).lines().take(count) {
                    let line = line.expect("every line comes");
                    let mut words = line.split(' ').skip(1).map_while(|word| word.parse::<usize>().ok());
                    let (who, number) = (words.next().expect("who"), words.next().expect("which"));
                    assert_eq!(number, next[who], "the lines of one speaker are in order");
                    assert!(line.ends_with(&"x".repeat(16_000)), "a line is whole");
                    assert_ne!(who, me, "nobody hears himself");
                    next[who] += 1;
                    order.push(who);
                    read[me].fetch_add(1, SeqCst);
                }
                order
            })
        })
        .collect();
    let speakers: Vec<_> = (0..SPEAKERS)
        .map(|who| {
            let (mut client, read) = (clients[who].try_clone().expect("a handle can be had"), Arc::clone(&read));
            thread::spawn(move || {
                for number in 0..LINES {
                    eventually("everybody has read most of it", || {
                        let slowest = read[SPEAKERS..].iter().map(|read| read.load(SeqCst)).min().unwrap_or_default();
                        number * SPEAKERS <= slowest + AHEAD * SPEAKERS
                    });
                    writeln!(client, "{who} {number} {}", "x".repeat(16_000)).expect("the server reads");
                }
            })
        })
        .collect();
    for speaker in speakers {
        speaker.join().expect("everything was said");
    }
    let orders: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("every line came")).collect();
    assert!(orders[SPEAKERS..].iter().all(|order| *order == orders[SPEAKERS]), "all hear the same order");
    assert_eq!(orders[SPEAKERS].len(), LINES * SPEAKERS, "all of it");
    for _ in 0..10 {
        server.program.line_with("left");
    }
    for (mut client, what) in silent.into_iter().zip(0..) {
        client.set_read_timeout(Some(HANG)).expect("it can be set");
        let end = std::io::copy(&mut client, &mut std::io::sink());
        assert!(end.is_err() || end.is_ok_and(|n| n < (LINES * SPEAKERS * 16_000) as u64), "{what} was dropped");
    }
}
