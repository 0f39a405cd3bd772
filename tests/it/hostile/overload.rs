//! Attacks on a full server and on one that closes: hooks that close it again, backlogs that are never empty, clients that
//! hear nothing and say nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use landline::net::{Server, ServerOptions, WhenFull};
use landline::{RefusedBy, Report};

use crate::support::clients::{are_queued, ask, at, client, echo, is_turned_away};
use crate::support::fixtures::Served;
use crate::support::time::some_round;
use crate::support::{
    HANG, descriptors, differs, each_ip, eventually, has_proc, in_child, in_surroundings, threads, within,
};

const GOODBYE: &str = "server busy\n";

fn reply() -> ServerOptions {
    ServerOptions::new().when_full(WhenFull::RefuseWith(GOODBYE.into()))
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
    in_child(this_test!(), &[], || {
        let server = listen_with_hook(reply().answer_queued(true), |server, report| {
            if let Report::Refused { by: RefusedBy::Closing, .. } = report {
                server.close();
            }
        });
        let queued: Vec<_> = (0..400).map(|_| client(server.address())).collect();
        are_queued(&server, 400);
        let closing = thread::Builder::new().stack_size(128 * 1024).spawn({
            let server = server.clone();
            move || server.close()
        });
        within("close() returns", move || closing.expect("a thread can be started").join()).expect("no panic");
        assert_eq!(server.stats().refused(RefusedBy::Closing), 400, "each is answered, once");
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
    if !has_proc() {
        return;
    }
    for backlog in [0, 1, 8] {
        let server = reply().backlog(backlog).answer_queued(true).listen("127.0.0.1:0").expect("the server listens");
        let queued: Vec<_> = (0..=backlog).map(|_| client(server.address())).collect();
        are_queued(&server, queued.len());
        if cfg!(target_os = "linux") {
            let is_unknown = differs("the system keeps no table that tells how many clients are queued");
            let all = (!is_unknown).then_some(queued.len());
            eventually("the server says that all of them are in the backlog", || server.queued() == all);
        }
        server.close();
        for (n, mut one) in queued.into_iter().enumerate() {
            let mut said = String::new();
            let heard = one.read_to_string(&mut said);
            assert!(heard.is_ok(), "client {n} of a full backlog of {backlog} is answered, not reset: {heard:?}");
            assert_eq!(said, GOODBYE, "the goodbye is whole");
        }
        within("all of it ends", move || server.wait()).expect("in order");
    }
}

/// Ensures that clients who come as fast as they are answered do not keep `close` from returning, however long a backlog was
/// asked for.
#[test]
fn a_queue_that_is_never_empty_does_not_keep_close_from_returning() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux says what it cuts it to");
        let most: u64 = most.trim().parse().expect("a number");
        let server = listen_with_hook(ServerOptions::new().backlog(u32::MAX).answer_queued(true), |server, report| {
            if let Report::Refused { by: RefusedBy::Closing, .. } = report {
                drop(TcpStream::connect(at(server)));
            }
        });
        let first = client(server.address());
        are_queued(&server, 1);
        within("close() returns", {
            let server = server.clone();
            move || server.close()
        });
        assert!(is_turned_away(&first), "who was queued is turned away");
        let answered = server.stats().refused(RefusedBy::Closing);
        assert!(answered <= most + 1, "no more than the backlog can hold, {most} and one, but {answered}");
    });
}

/// Ensures that dropping the events of a server, which ends its connections, ends its goodbyes too and waits for no client.
#[cfg(feature = "channel")]
#[test]
fn dropping_the_events_ends_the_goodbyes() {
    each_ip(|place| {
        for linger in [Duration::from_secs(60), Duration::MAX] {
            let server = reply().max_connections(0).lingering_close(linger).listen(place).expect("the server listens");
            let events = server.events(100).expect("a thread can be started");
            let silent: Vec<_> = (0..10).map(|_| client(server.address())).collect();
            silent.iter().for_each(|one| assert_eq!(one.peek(&mut [0]).expect("the goodbye comes"), 1, "it is there"));
            within("dropping the events returns", move || drop(events));
            within("and so does wait()", move || server.wait()).expect("in order");
        }
    });
}

/// Ensures that a refused client that writes all it has before it reads gets a goodbye that the kernel does not take at once.
#[test]
fn a_goodbye_that_is_taken_in_pieces_does_not_wait_for_a_client_that_writes_first() {
    in_surroundings(this_test!(), "echo 4096 4096 8192 >/proc/sys/net/ipv4/tcp_wmem", || {
        let long: Vec<u8> = (0..64 * 1024).map(|n| n as u8).collect();
        let options = ServerOptions::new().when_full(WhenFull::RefuseWith(long.clone())).max_connections(0);
        let served = Served::start("127.0.0.1:0", &options.lingering_close(Duration::from_secs(60)), echo);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(2048).expect("as small as it gets");
        socket.connect(&at(&served.server).into()).expect("the server listens");
        let mut one = TcpStream::from(socket);
        one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
        one.set_write_timeout(Some(HANG)).expect("a timeout can be set");
        one.write_all(&vec![b'x'; 900_000]).expect("what it sends is taken in while it does not read");
        let mut said = vec![0; long.len()];
        one.read_exact(&mut said).expect("then it reads the goodbye");
        assert!(said == long, "the goodbye is whole");
        drop(one);
        served.stop();
    });
}

/// Ensures that the stack of the thread that waits for clients is the one asked for, and that where no thread can be had,
/// clients are told the goodbye and closed at once.
#[test]
fn where_no_thread_can_be_had_clients_are_not_waited_for() {
    // No address space is that large.
    let server = reply()
        .max_connections(0)
        .stack_size(crate::support::NO_STACK)
        .listen("127.0.0.1:0")
        .expect("the server listens");
    let accepting = thread::spawn({
        let server = server.clone();
        move || server.accept()
    });
    for _ in 0..3 {
        let (mut one, mut said) = (client(server.address()), String::new());
        one.read_to_string(&mut said).expect("the goodbye and the end arrive");
        assert_eq!(said, GOODBYE, "the goodbye is whole");
        eventually("the client is closed at once", || one.write_all(b"x").is_err());
    }
    eventually("all are counted", || server.stats().refused(RefusedBy::Full) == 3);
    server.close();
    let last = within("accept() returns", move || accepting.join()).expect("no panic");
    assert!(last.expect("closing is no error").is_none(), "nobody was let in");
}

thread_local!(static LAST_WORD: LastWord = const { LastWord });
static LAST_WORD_SAID: AtomicBool = AtomicBool::new(false);

/// What a thread has left to do when its work is done.
struct LastWord;

impl Drop for LastWord {
    fn drop(&mut self) {
        // Not a bound: a thread that nobody waits for is seen to be late.
        thread::park_timeout(Duration::from_millis(100));
        LAST_WORD_SAID.store(true, SeqCst);
    }
}

/// Ensures that the hook that is told of the end by the refuser's own thread may call anything of the server's, and that
/// others wait for that thread all the same.
#[test]
fn the_hook_on_the_refusers_thread_may_call_anything() {
    let (tell, told) = mpsc::channel();
    let options = reply().max_connections(0).lingering_close(HANG * 60).answer_queued(true);
    let server = listen_with_hook(options, move |server, report| {
        if let Report::Closed { .. } = report {
            LAST_WORD.with(|_| ());
            server.close();
            server.wait().expect("waiting fails never");
            let report = server.shutdown(Duration::from_secs(60));
            server.set_max_connections(5);
            let (stats, sockets) = (server.stats(), server.sockets().len());
            assert!(matches!(server.accept(), Ok(None)), "it is closed");
            let name = thread::current().name().unwrap_or_default().to_owned();
            tell.send((name, report, stats.refused(RefusedBy::Closing), sockets, server.queued()))
                .expect("the test waits");
        }
    });
    let silent = client(server.address());
    are_queued(&server, 1);
    server.close();
    // The goodbye lasts until its client leaves, so after `close` has returned.
    drop(silent);
    let (name, report, refused, sockets, queued) = told.recv_timeout(HANG).expect("the hook returns");
    assert!(name.starts_with("landline linger"), "the last to leave was a goodbye, but {name}");
    assert_eq!((report.finished, report.forced, report.still_running), (0, 0, 0), "nobody is left to be ended");
    assert_eq!((refused, sockets, queued), (1, 0, None), "one client was there, and was answered");
    within("wait() returns elsewhere too", move || server.wait()).expect("in order");
    assert!(LAST_WORD_SAID.load(SeqCst), "it has waited for the refuser's thread");
}

/// Ensures that hooks of the accepting thread may end the server, panic, and change the limit, with clients that wait.
#[test]
fn hooks_that_panic_and_close_harm_nobody() {
    for when_full in [WhenFull::Refuse, WhenFull::RefuseWith(GOODBYE.into()), WhenFull::Wait] {
        let grace = Duration::from_millis(50);
        some_round("the idle one ends within the grace", grace, |grace| {
            let (tell, told) = mpsc::channel();
            let asked = AtomicBool::new(false);
            let options = ServerOptions::new().when_full(when_full.clone()).max_connections_per_address(1);
            let server =
                listen_with_hook(options.lingering_close(Duration::ZERO), move |server, report| match report {
                    Report::Refused { .. } if !asked.swap(true, SeqCst) => {
                        server.set_max_connections(7);
                        let report = server.shutdown(grace);
                        tell.send(report).expect("the test waits");
                        panic!("a hook of the test's that panics");
                    }
                    _ => {}
                });
            let serving = server.spawn(echo).expect("a thread can be started");
            let inside = client(server.address());
            ask(&inside).expect("there is room for one");
            let outside = client(server.address());
            let report = told.recv_timeout(HANG).expect("the hook's shutdown returns");
            within("serving ends", move || serving.join()).expect("in order");
            if report.finished == 0 {
                // It was forced: the machine has stood still, or on Windows it looks less often than that.
                return None;
            }
            assert_eq!(report.still_running, 0, "{when_full:?}: the client that the hook is told of is left out");
            let stats = server.stats();
            assert_eq!(
                (stats.accepted, stats.ended, stats.refused(RefusedBy::PerAddress)),
                (1, 1, 1),
                "{when_full:?}: it balances"
            );
            drop((inside, outside));
            Some(())
        });
    }
}

/// Ensures that in a storm of every kind of client, with a limit that jumps about, the accounts balance, whoever is inside is
/// served, and nothing is left.
#[test]
fn a_storm_leaves_nothing_behind() {
    in_child(this_test!(), &[], || {
        for when_full in [WhenFull::Refuse, WhenFull::RefuseWith(GOODBYE.into()), WhenFull::Wait] {
            let before = (threads(), descriptors());
            let (told, ended) = (Arc::new(Mutex::new(0u64)), Arc::new(Mutex::new(0u64)));
            let options = ServerOptions::new().max_connections(4).when_full(when_full.clone()).report({
                let (told, ended) = (Arc::clone(&told), Arc::clone(&ended));
                move |report| match report {
                    Report::Refused { .. } => *told.lock().expect("nobody panics") += 1,
                    Report::Ended { .. } => *ended.lock().expect("nobody panics") += 1,
                    _ => {}
                }
            });
            let options =
                options.max_connections_per_address(5).answer_queued(true).lingering_close(Duration::from_millis(50));
            let served = Served::start("127.0.0.1:0", &options, echo);
            let (server, to) = (&served.server, at(&served.server));
            thread::scope(|scope| {
                let storm: Vec<_> =
                    (0..8).map(|kind| scope.spawn(move || (0..40).for_each(|_| storm_client(to, kind)))).collect();
                let mut limit = 0;
                while !storm.iter().all(|clients| clients.is_finished()) {
                    limit = (limit + 3) % 7;
                    server.set_max_connections(limit);
                    // Not a bound: the pace of the changes.
                    thread::park_timeout(Duration::from_micros(200));
                }
                let stats = server.stats();
                let over = stats.open + stats.ended + stats.failed + stats.panicked;
                assert_eq!(stats.accepted, over, "{when_full:?}: the accounts balance at any moment");
                server.set_max_connections(100);
            });
            let server = served.server.clone();
            let report = within("shutdown returns", {
                let server = server.clone();
                move || server.shutdown(HANG)
            });
            assert_eq!(report.still_running, 0, "{when_full:?}: nobody is left");
            served.stop();
            let stats = server.stats();
            assert_eq!(stats.accepted, stats.ended + stats.failed, "{when_full:?}: all have ended");
            assert_eq!(stats.accepted, *ended.lock().expect("nobody panics"), "{when_full:?}: each end is told once");
            assert_eq!(
                stats.refused_total(),
                *told.lock().expect("nobody panics"),
                "{when_full:?}: each refusal is told once"
            );
            assert_eq!((server.connections(), stats.open), (0, 0), "{when_full:?}: every slot came back");
            eventually("no thread is left", || threads() <= before.0);
            eventually("no descriptor is left", || descriptors() == before.1);
        }
    });
}

/// One of a kind that comes and goes.
fn storm_client(to: SocketAddr, kind: usize) {
    let Ok(mut one) = TcpStream::connect_timeout(&to, HANG) else { return };
    // Not a bound: the patience of a client that is kept waiting.
    let _ = one.set_read_timeout(Some(Duration::from_millis(20)));
    match kind % 4 {
        0 => {}
        1 => drop(one.write_all(&[b'x'; 10_000])),
        2 => {
            let _ = one.write_all(b"?");
            let _ = one.read(&mut [0; 64]);
        }
        _ => {
            let _ = socket2::SockRef::from(&one).set_linger(Some(Duration::ZERO));
        }
    }
}
