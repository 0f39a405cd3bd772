//! A server that ends when its guard is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions};

use crate::support::clients::{ask, client, echo};
use crate::support::{HANG, each_ip, eventually, in_child, threads, within};

/// A time that a test does not wait for.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// Ensures that a scope in which a server is served ends when its closure panics or returns early, also before the server's
/// thread has come to accept, and also while a client that outlives the scope is connected.
#[test]
fn a_scope_ends_when_its_closure_panics_or_returns_early() {
    within("the scopes end", || {
        each_ip(|place| {
            for (panics, connects) in [(true, true), (true, false), (false, true), (false, false)] {
                let server = Server::listen(place).expect("the server listens");
                let outside = connects.then(|| client(server.address()));
                let scoped = catch_unwind(AssertUnwindSafe(|| {
                    thread::scope(|scope| {
                        let _ends = server.shutdown_on_drop(AN_HOUR);
                        scope.spawn(|| server.serve(echo));
                        if let Some(outside) = &outside {
                            ask(outside).expect("the server is served");
                        }
                        assert!(!panics, "of the test");
                    });
                }));
                assert_eq!(scoped.is_err(), panics, "a panic goes on behind the scope");
                assert!(!server.is_listening(), "the guard has ended the server");
                assert_eq!(server.connections(), 0, "and its connections");
            }
        });
    });
}

/// Ensures that the guard gives connections their time and then cuts them, that it returns although a handler does not, and that
/// it is the server otherwise.
#[test]
fn a_guard_shuts_the_server_down_within_its_time() {
    within("the guards return", || {
        let (go_on, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let wait = std::sync::Mutex::new(wait);
        let server = ServerOptions::new().max_connections(7).listen("127.0.0.1:0").expect("the server listens");
        let serving = server.spawn(move |_| {
            let _ = tell.send(());
            let _ = wait.lock().expect("no panic").recv_timeout(HANG);
            Ok(())
        });
        let guard = server.shutdown_on_drop(Duration::from_millis(50));
        assert_eq!(guard.max_connections(), 7, "a guard is the server");
        let _client = client(guard.address());
        told.recv_timeout(HANG).expect("the handler runs");
        let start = Instant::now();
        drop(guard);
        assert!(start.elapsed() >= Duration::from_millis(50), "the handler has its time");
        assert_eq!((server.connections(), server.stats().ended), (0, 1), "then its connection is destroyed");
        go_on.send(()).expect("the handler waits");
        serving.expect("a thread can be started").join().expect("serving ends well");
        drop(server.shutdown_on_drop(AN_HOUR));
    });
}

/// Ensures that a server with a guard leaves no thread, whether it is spawned, accepted from, or never used.
#[test]
fn a_server_with_a_guard_leaves_no_thread() {
    in_child(this_test!(), &[], || {
        let before = threads();
        within("the guards return", || {
            for _ in 0..20 {
                let spawned = Server::listen("127.0.0.1:0").expect("the server listens").shutdown_on_drop(AN_HOUR);
                drop(spawned.spawn(echo).expect("a thread can be started"));
                ask(&client(spawned.address())).expect("the server is served");
                let accepted = Server::listen("127.0.0.1:0").expect("the server listens").shutdown_on_drop(AN_HOUR);
                let of_it = accepted.clone();
                let accepting = thread::spawn(move || of_it.accept());
                drop(accepted);
                let got = accepting.join().expect("no panic").expect("closing is no error");
                assert!(got.is_none(), "a blocked accept returns");
            }
        });
        eventually("as many threads as before", || threads() <= before);
    });
}
