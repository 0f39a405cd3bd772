//! Many clients at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions};

use crate::support::clients::{at, echo, stop};
use crate::support::{HANG, in_child, network_of_its_own};

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
                one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
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
    // The default limit follows the limit of descriptors. That is taken for 1,024 without /proc, whatever it is.
    let server = ServerOptions::new().max_connections(CLIENTS).listen("127.0.0.1:0").expect("the server listens");
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

/// How many connects found a backlog full, and were dropped for a second, in this network.
fn dropped() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/netstat").ok()?;
    let mut rows = table.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, numbers) = (rows.next()?.split(' '), rows.next()?.split(' '));
    names.zip(numbers).find(|(name, _)| *name == "ListenOverflows")?.1.parse().ok()
}

/// Ensures that 3,000 clients in bursts of 100 are all served, and that no connect is dropped, so that a client would try again
/// after a second: they have room in the backlog even while nobody accepts. A fifth of them has none in that of std.
#[test]
fn a_burst_is_served_whole_and_nothing_of_it_is_dropped() {
    in_child(this_test!(), &[], || {
        println!("\nmeasured {CLIENTS} connects in bursts of {BURST}: {:?}", with_landline());
        let Some(before) = dropped().filter(|_| !network_of_its_own().is_empty()) else {
            return println!("skipped: no network of its own whose drops could be counted");
        };
        assert_eq!(before, 0, "no connect of a burst is dropped");
        let connect = |to: SocketAddr, count: usize| -> Vec<_> {
            let one = || {
                let one = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
                one.set_nonblocking(true)?;
                // In progress, or done.
                let _ = one.connect(&to.into());
                std::io::Result::Ok(one)
            };
            (0..count).map(|_| one().expect("a socket can be had")).collect()
        };
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let waiting = connect(at(&server), CLIENTS);
        assert_eq!(dropped(), Some(0), "{CLIENTS} clients wait in the backlog until they are accepted");
        let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
        let others = connect(listener.local_addr().expect("the listener has an address"), CLIENTS / 5);
        assert!(dropped() > Some(0), "the premise: connects that a backlog has no room for are counted");
        drop((waiting, others));
    });
}

/// Ensures that 3,000 clients in bursts of 100 are served much sooner than by a server written with std: its backlog of 128
/// overflows, and a client that is dropped there tries again after a second.
#[test]
#[ignore = "takes 20 s"]
fn a_burst_is_served_sooner_than_with_std() {
    in_child(this_test!(), &[], || {
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
