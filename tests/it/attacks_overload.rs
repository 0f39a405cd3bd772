//! Attacks on a full server and on one that closes: hooks that close it again, backlogs that are never empty, clients that
//! hear nothing and say nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, WhenFull};
use landline::{RefusedBy, Report};

use crate::clients::{ask, at, client, echo, is_turned_away};
use crate::fixtures::Served;
use crate::support::{SOON, descriptors, each_ip, eventually, in_child, threads, within};

const GOODBYE: &str = "server busy\n";

fn reply() -> ServerOptions {
    ServerOptions::new().when_full(WhenFull::Reply(GOODBYE.into()))
}

/// A server whose `report` hook has it.
fn listen_with_hook(options: ServerOptions, hook: impl Fn(&Server, &Report) + Send + Sync + 'static) -> Server {
    let itself = Arc::new(OnceLock::<Server>::new());
    let options = options.report({
        let itself = Arc::clone(&itself);
        move |report| {
            if let Some(server) = itself.get() {
                hook(server, report);
            }
        }
    });
    let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
    itself.set(server.clone()).expect("it is set once");
    server
}

/// Ensures that a hook that closes the server again at each client that `close` answers is no call within a call within a
/// call, which would use up the stack.
#[test]
fn closing_again_while_the_queue_is_answered_does_not_pile_up() {
    in_child("attacks_overload::closing_again_while_the_queue_is_answered_does_not_pile_up", &[], || {
        let server = listen_with_hook(reply().answer_queued(true), |server, report| {
            if let Report::Refused { by: RefusedBy::Closing, .. } = report {
                server.close();
            }
        });
        let queued: Vec<_> = (0..400).map(|_| client(server.address())).collect();
        let closing = thread::Builder::new().stack_size(128 * 1024).spawn({
            let server = server.clone();
            move || server.close()
        });
        within(SOON, "close() returns", move || closing.expect("a thread can be started").join()).expect("no panic");
        assert_eq!(server.stats().refused.closing, 400, "each is answered, once");
        for mut one in queued {
            let mut said = String::new();
            one.read_to_string(&mut said).expect("the goodbye comes, and then the end");
            assert_eq!(said, GOODBYE, "the goodbye is whole");
        }
    });
}

/// Ensures that a backlog that is quite full is answered to the last client: the kernel keeps one more than it is told.
#[test]
fn the_last_client_of_a_full_backlog_is_answered_too() {
    for backlog in [0, 1, 8] {
        let server = reply().backlog(backlog).answer_queued(true).listen("127.0.0.1:0").expect("the server listens");
        let queued: Vec<_> = (0..=backlog).map(|_| client(server.address())).collect();
        if cfg!(target_os = "linux") {
            assert_eq!(server.queued(), Some(queued.len()), "all of them are in the backlog of {backlog}");
        }
        server.close();
        for (n, mut one) in queued.into_iter().enumerate() {
            let mut said = String::new();
            let heard = one.read_to_string(&mut said);
            assert!(heard.is_ok(), "client {n} of a full backlog of {backlog} is answered, not reset: {heard:?}");
            assert_eq!(said, GOODBYE, "the goodbye is whole");
        }
        within(SOON, "all of it ends", move || server.wait()).expect("in order");
    }
}

/// Ensures that clients who come as fast as they are answered do not keep `close` from returning, however long a backlog was
/// asked for.
#[test]
fn a_queue_that_is_never_empty_does_not_keep_close_from_returning() {
    in_child("attacks_overload::a_queue_that_is_never_empty_does_not_keep_close_from_returning", &[], || {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux says what it cuts it to");
        let most: u64 = most.trim().parse().expect("a number");
        let server = listen_with_hook(ServerOptions::new().backlog(u32::MAX).answer_queued(true), |server, report| {
            if let Report::Refused { by: RefusedBy::Closing, .. } = report {
                drop(TcpStream::connect(at(server)));
            }
        });
        let first = client(server.address());
        within(SOON * 12, "close() returns", {
            let server = server.clone();
            move || server.close()
        });
        assert!(is_turned_away(&first), "who was queued is turned away");
        let answered = server.stats().refused.closing;
        assert!(answered <= most + 1, "no more than the backlog can hold, {most} and one, but {answered}");
    });
}

/// Ensures that dropping the events of a server, which ends its connections, ends its goodbyes too and waits for no client.
#[test]
fn dropping_the_events_ends_the_goodbyes() {
    each_ip(|place| {
        for linger in [Duration::from_secs(60), Duration::MAX] {
            let server = reply().max_connections(0).linger(linger).listen(place).expect("the server listens");
            let events = server.events(100).expect("a thread can be started");
            let silent: Vec<_> = (0..10).map(|_| client(server.address())).collect();
            silent.iter().for_each(|one| assert_eq!(one.peek(&mut [0]).expect("the goodbye comes"), 1, "it is there"));
            within(SOON, "dropping the events returns", move || drop(events));
            within(SOON, "and so does wait()", move || server.wait()).expect("in order");
        }
    });
}
