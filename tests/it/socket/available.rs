//! `available`: what a read would do now, asked without waiting and without an effect on others.

use std::io::ErrorKind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use landline::net::{ServerOptions, Socket};

use crate::support::fixtures::{Served, kernel, pair};
use crate::support::{HANG, WINDOWS, blocked, each_ip, eventually, has_proc, within};

/// Ensures that it tells nothing yet, bytes, and the end apart, that it takes nothing, and that bytes that were put back
/// count.
#[test]
fn it_tells_what_a_read_would_do() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        assert_eq!(accepted.available().expect("no error"), None, "a read would wait");
        client.write_all("hello").expect("it is connected");
        eventually("the bytes arrive", || accepted.available().expect("no error") == Some(5));
        assert_eq!(accepted.available().expect("no error"), Some(5), "none was taken");
        assert_eq!(accepted.bytes_read(), 0, "nor counted");
        let reader = accepted.clone();
        accepted.set_timeout(Duration::from_millis(1));
        within("the read ends", move || reader.read_exact(&mut [0; 9])).expect_err("four more do not come");
        assert_eq!(accepted.available().expect("no error"), Some(5), "what was put back is there");
        assert_eq!(accepted.bytes_read(), 0, "and not read");
        client.write_end(vec![0; 100_000]).expect("it is connected");
        accepted.set_timeout(None);
        let mut all = vec![0; 100_005];
        accepted.read_exact(&mut all[..5]).expect("they are there");
        eventually("much arrives", || accepted.available().expect("no error") == Some(16 * 1024));
        accepted.read_exact(&mut all[5..]).expect("they come");
        eventually("the end arrives", || accepted.available().expect("no error") == Some(0));
        assert_eq!(accepted.read(&mut all).expect("in order"), 0, "so says a read");
        accepted.destroy();
        let error = accepted.available().expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::NotConnected, "a closed socket says so");
    });
}

/// Ensures that it neither waits for a thread that reads nor changes that one's timeout.
#[test]
fn it_leaves_other_threads_alone() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        // Not a bound: it is not to be over.
        accepted.set_read_timeout(Duration::from_secs(3600)).expect("it is open");
        let reader = accepted.clone();
        let reading = blocked(move || reader.read(&mut [0; 10]));
        for _ in 0..100 {
            assert_eq!(accepted.available().expect("no error"), None, "it does not wait");
        }
        let timeout = kernel(&accepted, |raw| raw.read_timeout());
        let time = if WINDOWS { Duration::from_millis(500) } else { Duration::from_secs(3600) };
        assert_eq!(timeout, Some(time), "the kernel has the reader's time, or the slice after which it looks");
        client.write_all("x").expect("it is connected");
        assert_eq!(
            within("the read ends", || reading.join()).expect("no panic").expect("a byte"),
            1,
            "it is the reader's"
        );
    });
}

/// Ensures that of a reset all are told, a thread that reads, one that asks again and again, and one that comes later: none is
/// told a clean end.
#[test]
fn a_reset_is_no_clean_end_for_any_thread() {
    const ROUNDS: usize = 100;
    each_ip(|at| {
        for _ in 0..ROUNDS {
            let (_server, client, accepted) = pair(at);
            within("the round ends", move || {
                let (reader, poller) = (accepted.clone(), accepted.clone());
                let reading = thread::spawn(move || reader.read(&mut [0; 10]).map(drop));
                let polling = thread::spawn(move || {
                    loop {
                        match poller.available() {
                            Ok(None) => {}
                            end => return end.map(drop),
                        }
                    }
                });
                client.reset_and_destroy().expect("it is connected");
                let ends = [reading, polling].map(|thread| thread.join().expect("no panic"));
                for end in ends.into_iter().chain([accepted.read(&mut [0; 10]).map(drop)]) {
                    assert_eq!(end.expect_err("a reset is no end").kind(), ErrorKind::ConnectionReset, "each is told");
                }
            });
        }
    });
}

/// Ensures that an interruption by a shutdown is not told as the peer's end.
#[test]
fn a_shutdown_is_not_the_peers_end() {
    each_ip(|at| {
        let (tell, told) = std::sync::mpsc::channel();
        let served = Served::start(at, &landline::net::ServerOptions::new(), move |socket: &Socket| {
            let error = socket.read(&mut [0]).expect_err("it is interrupted");
            tell.send(socket.available().map_err(|error| error.kind())).expect("the test waits");
            Err(error)
        });
        let client = served.connect();
        eventually("it is served", || served.server.connections() == 1);
        let server = served.server.clone();
        let _ = within("shutdown returns", move || server.shutdown(crate::support::HANG));
        assert_eq!(
            told.recv_timeout(crate::support::HANG),
            Ok(Err(ErrorKind::ConnectionAborted)),
            "it says what it was"
        );
        drop(client);
        served.stop();
    });
}

/// Ensures that threads which look at connections while these end do not hold the ends up: a client that neither sends
/// nor ends is waited for as long as the server says.
#[test]
fn threads_that_look_while_a_connection_ends_do_not_hold_it_up() {
    let (tell, told) = mpsc::channel();
    let options = ServerOptions::new().lingering_close(Duration::from_millis(20));
    let served = Served::start("127.0.0.1:0", &options, move |socket| {
        for _ in 0..3 {
            let copy = socket.clone();
            let looking = thread::spawn(move || while copy.available().is_ok() {});
            tell.send(looking).expect("the test waits for the threads");
        }
        // Not a bound: the end comes in the middle of their looks.
        thread::park_timeout(Duration::from_micros(300));
        Ok(())
    });
    for _ in 0..20 {
        let clients: Vec<_> = (0..16).map(|_| served.connect()).collect();
        for _ in 0..3 * clients.len() {
            within("the looks end with the connection", {
                let looking = told.recv_timeout(HANG).expect("each handler starts its threads");
                || looking.join()
            })
            .expect("no look panics");
        }
        eventually("no connection lingers on while its client is silent", || served.server.stats().lingering == 0);
        drop(clients);
    }
    served.stop();
}
