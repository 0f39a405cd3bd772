//! Waiting until no client has been connected for a time.

use std::io::{Read, Write, read_to_string};
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions};

use crate::support::clients::{ask, client, echo, is_turned_away, leave, stop};
use crate::support::time::some_round;
use crate::support::{HANG, blocked, each_ip, eventually, in_child, within};

/// Ensures that a server without clients is idle after the time and not before, whether it is served or not, and at once where
/// the time is zero.
#[test]
fn a_server_without_clients_is_idle_after_the_time() {
    within("the server is idle", || {
        each_ip(|place| {
            let server = Server::listen(place).expect("the server listens");
            for is_served in [false, true] {
                let serving = is_served.then(|| server.spawn(echo).expect("a thread can be started"));
                let start = Instant::now();
                assert!(
                    server.wait_idle(Duration::from_millis(30)).expect("this thread acts for nothing"),
                    "it is idle"
                );
                assert!(start.elapsed() >= Duration::from_millis(30), "the server has been idle for the time");
                assert!(server.wait_idle(Duration::ZERO).expect("this thread acts for nothing"), "it is idle now");
                serving.into_iter().for_each(|serving| stop(&server, serving));
            }
            assert!(
                !server.wait_idle(Duration::ZERO).expect("this thread acts for nothing"),
                "a closed one is not idle"
            );
        });
    });
}

/// Ensures that a server is not idle while a client is connected, and that the time runs from the end of the last one.
#[test]
fn the_time_runs_from_the_end_of_the_last_connection() {
    each_ip(|place| {
        let time = Duration::from_millis(20);
        let server = Server::listen(place).expect("the server listens");
        let serving = server.spawn(echo).expect("a thread can be started");
        let [one, other] = [(); 2].map(|()| client(server.address()));
        ask(&one).and(ask(&other)).expect("the server is served");
        let waits = server.clone();
        let waiting = blocked(move || (waits.wait_idle(time), Instant::now()));
        leave(one);
        let control = Server::listen(place).expect("the server listens");
        assert!(control.wait_idle(time * 3).expect("this thread acts for nothing"), "the premise: the time is up");
        assert!(!waiting.is_finished(), "a client is connected");
        let before = Instant::now();
        leave(other);
        let (idle, at) = within("the server is idle", || waiting.join().expect("no panic"));
        assert!(idle.expect("that thread acts for nothing"), "it is idle");
        assert!(at - before >= time, "the time runs from the last end");
        stop(&server, serving);
    });
}

/// Ensures that each client begins the time anew, also one that is refused, however shortly it is there.
#[test]
fn each_client_begins_the_time_anew() {
    for max in [0, 1] {
        let server = ServerOptions::new().max_connections(max).listen("127.0.0.1:0").expect("the server listens");
        let serving = server.spawn(|_| Ok(())).expect("a thread can be started");
        let counted = || server.stats().refused_total() + server.stats().ended;
        some_round("a client comes before the time is up", Duration::from_millis(40), |time| {
            let waits = server.clone();
            let waiting = blocked(move || (waits.wait_idle(time), Instant::now()));
            let before = (Instant::now(), counted());
            assert!(is_turned_away(&client(server.address())), "it ends at once");
            eventually("the client is counted", || counted() > before.1);
            let came_in_time = !waiting.is_finished();
            let (idle, at) = within("the server is idle", || waiting.join().expect("no panic"));
            assert!(idle.expect("that thread acts for nothing"), "it is idle");
            came_in_time.then(|| assert!(at - before.0 >= time, "the client began the time anew"))
        });
        stop(&server, serving);
    }
}

/// Ensures that failures of accept(2) do not restart the time, because no client came: a server at the limit of
/// descriptors becomes idle.
#[test]
fn failures_to_accept_do_not_restart_the_time() {
    in_child(this_test!(), &["prlimit", "--nofile=64"], || {
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let spare: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let serving = server.spawn(echo).expect("a thread can be started");
        let waits = server.clone();
        // Longer than the longest pause between two failures.
        let idle = within("the server is idle", move || waits.wait_idle(Duration::from_secs(2)));
        assert!(idle.expect("that thread acts for nothing"), "a server that no client has reached is idle");
        assert!(server.stats().accept_errors > 1, "the premise: accepting failed during the time");
        drop(spare);
        stop(&server, serving);
    });
}

/// Ensures that closing ends the wait, with clients and without.
#[test]
fn closing_ends_the_wait() {
    each_ip(|place| {
        for has_client in [false, true] {
            let server = Server::listen(place).expect("the server listens");
            let serving = server.spawn(echo).expect("a thread can be started");
            let one = has_client.then(|| client(server.address()));
            one.iter().for_each(|one| ask(one).expect("the server is served"));
            let waits = server.clone();
            let waiting = blocked(move || waits.wait_idle(HANG * 60));
            server.close();
            let idle = within("the wait ends", || waiting.join().expect("no panic"));
            assert!(!idle.expect("that thread acts for nothing"), "a server that is closed is not idle");
            drop(one);
            stop(&server, serving);
        }
    });
}

/// Ensures that a handler's own connection is left out: it sees the server idle once all others have left.
#[test]
fn a_handler_waits_for_all_connections_but_its_own() {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    let waits = server.clone();
    let serving = server.spawn(move |socket| {
        let mut first = [0];
        socket.read_exact(&mut first)?;
        if &first != b"w" {
            socket.write_all(first)?;
            return echo(socket);
        }
        socket.write_all("w")?;
        let idle = waits.wait_idle(Duration::ZERO)?;
        socket.write_end(format!("{idle} {}", waits.connections()))
    });
    let other = client(server.address());
    ask(&other).expect("the server is served");
    let mut waiting = client(server.address());
    waiting.write_all(b"w").and_then(|()| waiting.read_exact(&mut [0])).expect("the handler is about to wait");
    leave(other);
    assert_eq!(read_to_string(&waiting).expect("the handler goes on"), "true 1", "its own connection is left out");
    drop(waiting);
    stop(&server, serving.expect("a thread can be started"));
}
