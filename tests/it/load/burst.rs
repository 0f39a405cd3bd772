//! Many clients at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::Server;

use crate::support::clients::{at, echo, stop};

const CLIENTS: usize = 3000;
const BURST: usize = 100;

/// Opens connections in bursts, keeps them, and asks on each of them once; gives the time until all are answered. The
/// burst's threads connect at the same time.
fn burst(at: SocketAddr) -> Duration {
    let start = Instant::now();
    let together = Barrier::new(BURST);
    let work = || {
        together.wait();
        let mut clients: Vec<_> = (0..CLIENTS / BURST)
            .map(|_| {
                let mut one = TcpStream::connect(at).expect("every client of a burst gets its connection");
                one.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
                one.write_all(b"?").expect("the server is there");
                one
            })
            .collect();
        clients.iter_mut().for_each(|one| one.read_exact(&mut [0]).expect("every client of a burst is answered"));
    };
    thread::scope(|scope| {
        let builder = || thread::Builder::new().stack_size(128 * 1024);
        (0..BURST).for_each(|_| drop(builder().spawn_scoped(scope, work).expect("a thread can be started")));
    });
    start.elapsed()
}

/// What one writes with std alone: a thread for each connection, and the backlog std gives.
fn with_std() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
    let at = listener.local_addr().expect("the listener has an address");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming() {
                if over.load(SeqCst) {
                    return;
                }
                let mut stream = stream.expect("accept works");
                scope.spawn(move || {
                    let mut buffer = [0; 1024];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        stream.write_all(&buffer[..n]).expect("the client is there");
                    }
                });
            }
        });
        let took = burst(at);
        over.store(true, SeqCst);
        let _ = TcpStream::connect(at);
        took
    })
}

fn with_landline() -> Duration {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    let took = burst(at(&server));
    stop(&server, serving);
    let stats = server.stats();
    assert_eq!(
        (stats.accepted as usize, stats.ended as usize),
        (CLIENTS, CLIENTS),
        "every client is served: {stats:?}"
    );
    took
}

/// Ensures that 3,000 clients in bursts of 100 are all served, and much sooner than by a server written with std: its
/// backlog of 128 overflows, and whoever is dropped there tries again after a second.
#[test]
fn a_burst_is_served_whole_and_sooner_than_with_std() {
    crate::support::in_child(this_test!(), &[], || {
        // Theirs takes ten seconds and more, so once will do.
        let mut ours = vec![with_landline(), with_landline()];
        let theirs = with_std();
        ours.push(with_landline());
        let best = ours.iter().min().expect("there were rounds");
        let ratio = best.as_secs_f64() / theirs.as_secs_f64();
        println!("\nmeasured {CLIENTS} connects in bursts of {BURST}: {ours:?}, with std {theirs:?}, ratio {ratio:.3}");
        assert!(ratio < 0.1, "less than a tenth of what std needs, but {ratio:.3}");
    });
}
