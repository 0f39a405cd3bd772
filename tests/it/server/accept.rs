//! The workers, and connections that others end: nobody stops accepting, nothing is given back twice or never.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Socket};
use landline::{Outcome, Report};
use socket2::SockRef;

use crate::support::Whole;
use crate::support::clients::{ask, at, client, echo, is_turned_away, leave, stop};
use crate::support::fixtures::{is_nonblocking, kernel};
use crate::support::process::Program;
use crate::support::time::once_below;
use crate::support::{
    HANG, descriptors, differs_on_windows, each_ip, eventually, has_proc, in_child, numbered, threads, threads_named,
    tool, until_asleep, within,
};

/// Ensures that threads are used again: 10,000 connections one after the other, from sixteen clients at a time, are
/// served by few threads, and leave no more than sixteen that wait, and no descriptor.
#[test]
fn ten_thousand_connections_leave_no_more_threads_than_may_wait() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let serving = server.spawn({
            let seen = Arc::clone(&seen);
            move |socket| {
                seen.lock().expect("nobody panics here").insert(thread::current().id());
                echo(socket)
            }
        });
        let serving = serving.expect("a thread can be started");
        let before = (threads(), descriptors());
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..625 {
                        let one = client(server.address());
                        ask(&one).expect("the server serves");
                        leave(one);
                    }
                });
            }
        });
        eventually("every connection ends", || server.connections() == 0);
        let seen = seen.lock().expect("nobody panics here").len();
        println!("\nmeasured 10,000 connections: {before:?} before, {seen} threads served, {} after", threads());
        assert!(seen <= 1000, "threads are used again, but {seen} have served");
        eventually("sixteen wait at most", || threads() <= before.0 + 16);
        eventually("no descriptor is left", || descriptors() <= before.1);
        assert_eq!(server.stats().accepted, 10_000, "every client is served");
        stop(&server, serving);
        eventually("no thread is left", || threads() < before.0);
    });
}

/// Ensures that after a peak the threads beyond those that may wait end.
#[test]
fn the_threads_of_a_peak_end() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let serving = server.spawn(echo).expect("a thread can be started");
        let before = threads();
        for _ in 0..2 {
            let clients: Vec<_> = (0..100).map(|_| client(server.address())).collect();
            clients.iter().for_each(|one| ask(one).expect("the server serves"));
            assert!(threads() >= before + 100, "the premise: each connection has a thread");
            clients.into_iter().for_each(leave);
            eventually("sixteen wait at most", || threads() <= before + 16);
        }
        stop(&server, serving);
    });
}

/// Ensures that a server is claimed when a call that serves it has returned, so that `accept()` is an error from then on,
/// and takes no client from the handler.
#[test]
fn accept_on_a_server_that_is_served_is_an_error() {
    each_ip(|place| {
        for _ in 0..20 {
            let server = Server::listen(place).expect("the server listens");
            let serving = server.spawn(|socket| socket.write_end("served")).expect("a thread can be started");
            for _ in 0..5 {
                let error = server.accept().expect_err("it is served");
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "the error says so: {error}");
                let mut answer = String::new();
                client(server.address()).read_to_string(&mut answer).expect("each client is answered");
                assert_eq!(answer, "served", "each client is the handler's");
            }
            stop(&server, serving);
            assert!(server.accept().expect("closing is no error").is_none(), "a closed server accepts none");
        }
    });
}

/// Ensures that a thread that was in `accept()` when the server was claimed leaves it, and is not taken for a worker.
#[test]
fn a_server_that_is_claimed_while_a_thread_accepts_goes_on_accepting() {
    each_ip(|place| {
        let server = ServerOptions::new().max_connections(0).listen(place).expect("the server listens");
        let accepting = server.clone();
        let (acceptor, id) = numbered(move || accepting.accept().map(drop));
        until_asleep(&id.into_iter().collect::<Vec<_>>());
        let serving = server.spawn(|socket| socket.read_all().map(drop)).expect("a thread can be started");
        eventually("accept() leaves at the first client that comes to it", || {
            assert!(is_turned_away(&client(server.address())), "there is no room");
            acceptor.is_finished()
        });
        server.set_max_connections(8);
        let clients: Vec<_> = (0..6).map(|_| client(server.address())).collect();
        eventually("each is served", || server.connections() == 6);
        let left = acceptor.join().expect("it does not panic");
        assert_eq!(left.expect_err("the server is served").kind(), ErrorKind::AlreadyExists, "it says why");
        drop(clients);
        stop(&server, serving);
    });
}

/// Ensures that on a listener that does not block, as its giver made it before or makes it later, one thread looks for
/// clients, clients make no threads that stay, `close` leaves no call of ours in the queue, and the mode stays the
/// giver's.
#[test]
fn one_thread_looks_for_the_clients_of_a_listener_that_does_not_block() {
    if differs_on_windows("it does not tell whether a listener blocks, so a call of ours may be left in the queue") {
        return;
    }
    in_child(this_test!(), &[], || {
        for is_set_before in [true, false] {
            eventually("the thread returns in time", || {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
                let twin = listener.try_clone().expect("a descriptor is free");
                twin.set_nonblocking(is_set_before).expect("the mode can be set");
                let server = ServerOptions::new().lingering_close(None).adopt(listener).expect("it listens");
                twin.set_nonblocking(true).expect("the mode can be set");
                let before = threads();
                let serving = server.spawn(|socket| socket.read_all().map(drop)).expect("a thread can be started");
                for _ in 0..100 {
                    let mut one = client(server.address());
                    one.shutdown(Shutdown::Write).expect("it is connected");
                    one.read_to_end(&mut Vec::new()).expect("in order");
                }
                eventually("one after the other, the clients leave few threads", || threads() <= before + 4);
                let start = Instant::now();
                stop(&server, serving);
                let is_in_time = start.elapsed() < Duration::from_millis(1500);
                let nothing = twin.accept().map(drop).map_err(|error| error.kind());
                assert!(
                    !is_in_time || nothing == Err(ErrorKind::WouldBlock),
                    "no call of ours is left, and the mode is the giver's: {nothing:?}"
                );
                is_in_time
            });
        }
    });
}

/// Ensures that what `accept()` gave outlives the server, and gives its slot back to what is left of it.
#[test]
fn a_socket_from_accept_outlives_the_server() {
    let ended = Arc::new(AtomicUsize::new(0));
    let options = ServerOptions::new().report({
        let ended = Arc::clone(&ended);
        move |report| {
            ended.fetch_add(usize::from(matches!(report, Report::Ended { .. })), SeqCst);
        }
    });
    let server = options.listen("127.0.0.1:0").expect("the server listens");
    let one = client(server.address());
    let socket = server.accept().expect("accept() works").expect("the server is open");
    drop(server);
    let echoing = thread::spawn(move || echo(&socket));
    ask(&one).expect("the connection is open");
    assert_eq!(ended.load(SeqCst), 0, "it has not ended");
    leave(one);
    within("the echo ends", move || echoing.join()).expect("no panic").expect("no error");
    assert_eq!(ended.load(SeqCst), 1, "its end is told once");
}

/// Ensures that an accepted socket blocks without a time limit, whatever its listener was used for.
#[test]
fn an_accepted_socket_blocks_without_a_time_limit() {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    let _one = client(server.address());
    let socket = server.accept().expect("accept() works").expect("the server is open");
    assert_eq!(kernel(&socket, |raw| raw.read_timeout()), None, "reads have no time limit");
    assert_eq!(kernel(&socket, |raw| raw.write_timeout()), None, "writes have no time limit");
    assert!(!kernel(&socket, is_nonblocking), "it blocks");
    assert_eq!(kernel(&socket, |raw| raw.linger()), None, "close(2) does not block");
}

/// Ensures that a child process inherits neither the listener nor a connection: the port is free and the peer sees the end.
#[test]
fn a_child_process_inherits_nothing() {
    // Alone: a child that another test starts has the listener until it runs its program.
    in_child(this_test!(), &[], || {
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let one = client(server.address());
        let socket = server.accept().expect("accept() works").expect("the server is open");
        if tool("sleep").is_none() {
            return;
        }
        let child = Program::start("sleep", &["3600"]);
        let place = at(&server);
        socket.destroy();
        drop(server);
        // Until the child runs its program, it has them too.
        eventually("no child has the listener", || Server::listen(place).is_ok());
        assert!(is_turned_away(&one), "no child has the connection");
        drop(child);
    });
}

/// Ensures that `destroy()` from another thread ends a blocked read and a blocked write, frees the slot before it returns,
/// and is no failure of the handler's.
#[test]
fn destroy_from_another_thread_ends_blocked_calls() {
    let options = ServerOptions::new().max_connections(1).thread_name("destroyed");
    let server = options.listen("127.0.0.1:0").expect("the server listens");
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let serving = server.spawn(move |socket| {
        let mut word = [0];
        socket.read_exact(&mut word)?;
        let result = match word[0] {
            b'r' => socket.read(&mut word).map(drop),
            _ => loop {
                if let Err(error) = socket.write_all([0; 65536]) {
                    break Err(error);
                }
            },
        };
        let kind = result.as_ref().map_err(io::Error::kind).copied();
        tell.lock().expect("nobody panics here").send(kind).expect("the test waits");
        result
    });
    let serving = serving.expect("a thread can be started");
    for n in 0..20 {
        let mut one = client(server.address());
        one.write_all(if n % 2 == 0 { b"r" } else { b"w" }).expect("the server is there");
        let mut sockets = Vec::new();
        eventually("the client is served", || {
            sockets = server.sockets();
            sockets.len() == 1 && sockets[0].bytes_read() == 1
        });
        // Every other time as soon as they may block, otherwise when they do: the buffers between are full then.
        if n % 4 < 2 {
            until_asleep(&threads_named("destroyed"));
        }
        sockets[0].destroy();
        assert_eq!(server.connections(), 0, "the slot is free when destroy() returns");
        let got = told.recv_timeout(HANG).expect("destroy() wakes whoever is blocked");
        assert_eq!(got, Err(ErrorKind::NotConnected), "the call says that the socket is closed");
        let _ = one.read_to_end(&mut Vec::new());
    }
    stop(&server, serving);
    assert_eq!((server.stats().ended, server.stats().failed), (20, 0), "being destroyed is no failure");
}

/// Ensures that `reset_and_destroy()` sends RST though a thread of ours is blocked in a read or a write of the socket.
#[test]
fn reset_and_destroy_resets_the_peer_though_a_call_is_blocked() {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    for writes in [false, true] {
        for n in 0..20 {
            let mut one = client(server.address());
            let socket = server.accept().expect("accept() works").expect("the server is open");
            let (blocked, id) = numbered({
                let socket = socket.clone();
                move || match writes {
                    true => loop {
                        if let Err(error) = socket.write_all([0; 65536]) {
                            break error;
                        }
                    },
                    false => socket.read(&mut [0]).expect_err("nothing was sent"),
                }
            });
            if writes {
                // Blocked or about to be: either way it is ended, and no FIN is seen.
                eventually("the write has begun", || socket.bytes_written() >= 65536);
            }
            if n % 2 == 0 {
                until_asleep(id.as_slice());
            }
            socket.reset_and_destroy().expect("it was open");
            let error = within("the blocked call returns", move || blocked.join().expect("it does not panic"));
            assert_eq!(error.kind(), ErrorKind::NotConnected, "the call says that the socket is closed");
            let error = one.read_to_end(&mut Vec::new()).expect_err("the peer sees a reset and no end");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the peer sees a reset and no end");
            socket.reset_and_destroy().expect_err("it is closed");
        }
    }
}

/// Ensures that a `pipe` from a socket ends when the socket is closed, although its peer goes on sending.
#[test]
fn closing_ends_a_pipe_whose_peer_goes_on_sending() {
    type Close = fn(&Socket);
    let closes: [Close; 2] = [|socket| socket.destroy(), |socket| socket.reset_and_destroy().expect("it was open")];
    // In 64 KB there is no more than a pipe takes at once.
    for (close, buffer) in closes.into_iter().flat_map(|close| [(close, None), (close, Some(64 * 1024))]) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        if let Some(size) = buffer {
            // Before anybody connects: the window that is offered goes by this.
            SockRef::from(&listener).set_recv_buffer_size(size).expect("any size is taken");
        }
        let server = ServerOptions::new().adopt(listener).expect("a listener can be adopted");
        let accept = || {
            let one = client(server.address());
            (one, server.accept().expect("accept() works").expect("the server is open"))
        };
        let ((mut sender, from), (mut receiver, to)) = (accept(), accept());
        let (sending, its_id) = numbered(move || while sender.write_all(&[0; 65536]).is_ok() {});
        let (piping, id) = numbered({
            let (from, to) = (from.clone(), to.clone());
            move || from.pipe(&to).expect_err("the socket was closed")
        });
        eventually("the pipe has begun", || to.bytes_written() > 0);
        // Both block: the buffers between are full.
        until_asleep(&[its_id, id].into_iter().flatten().collect::<Vec<_>>());
        close(&from);
        // Slowly, so that there would always be more to be carried.
        let receiving = thread::spawn(move || {
            while receiver.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {
                // Not a bound: the pace of a slow receiver.
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        let error = within("the pipe ends", move || piping.join().expect("it does not panic"));
        assert_eq!(error.kind(), ErrorKind::NotConnected, "it says that the socket is closed");
        within("the sender is told", move || sending.join()).expect("it does not panic");
        to.destroy();
        within("the receiver is told", move || receiving.join()).expect("it does not panic");
    }
}

/// Ensures that connections that are destroyed at any moment, by several threads at once, while their handlers read, write,
/// return and panic, are each ended once, and no slot is given back twice or never.
#[test]
fn destroying_at_any_moment_gives_each_slot_back_once() {
    let ended = Arc::new(AtomicUsize::new(0));
    let options = ServerOptions::new().max_connections(16).report({
        let ended = Arc::clone(&ended);
        move |report| {
            ended.fetch_add(usize::from(matches!(report, Report::Ended { .. })), SeqCst);
        }
    });
    let server = options.listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(|socket| match socket.id().get() % 5 {
        0 => Ok(()),
        1 => echo(socket),
        2 => socket.write_end("bye"),
        3 => std::panic::resume_unwind(Box::new("a handler panics")),
        _ => socket.each(|socket, _| socket.write_all("!")),
    });
    let serving = serving.expect("a thread can be started");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let destroyers: Vec<_> = (0..3)
            .map(|n| {
                let (server, over) = (&server, &over);
                scope.spawn(move || {
                    while !over.load(SeqCst) {
                        for socket in server.sockets() {
                            match n {
                                0 => drop(socket.reset_and_destroy()),
                                _ => socket.destroy(),
                            }
                        }
                        let open = server.connections();
                        assert!(open <= 16, "a slot given back twice makes the count wrap: {open}");
                        thread::yield_now();
                    }
                })
            })
            .collect();
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..300 {
                        // A client that is reset at once may see that in its connect already.
                        let Ok(mut one) = TcpStream::connect(at(&server)) else { continue };
                        one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
                        let _ = one.write_all(b"hello");
                        let _ = one.shutdown(Shutdown::Write);
                        let _ = one.read_to_end(&mut Vec::new());
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|one| one.join().expect("a client does not panic"));
        over.store(true, SeqCst);
        destroyers.into_iter().for_each(|one| one.join().expect("the count is right"));
    });
    stop(&server, serving);
    let stats = server.stats();
    assert_eq!(server.connections(), 0, "every slot comes back");
    assert_eq!(stats.accepted, stats.ended + stats.failed + stats.panicked, "the accounts balance: {stats:?}");
    assert_eq!(ended.load(SeqCst) as u64, stats.accepted, "each end is told once");
}

/// Ensures that a handler's return frees the slot and its thread at once, though the client never ends, or goes on sending,
/// and that such a client is waited for only a second.
#[test]
fn a_client_that_never_ends_lingers_for_a_second_without_thread_or_slot() {
    for sends in [false, true] {
        once_below("the lingering takes a second", Duration::from_millis(2500), || {
            let took = a_client_that_never_ends(sends);
            assert!(
                sends || took >= Duration::from_secs(1),
                "the premise: it waits for the client's end, but {took:?}"
            );
            took
        });
    }
}

/// Serves a client that never ends, and another one meanwhile; gives the time until none lingers.
fn a_client_that_never_ends(sends: bool) -> Duration {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    // As many linger as may be connected.
    let options = ServerOptions::new().max_connections(2).report(move |report| {
        if let Report::Ended { outcome, .. } = report {
            let _ = tell.lock().expect("nobody panics here").send(*outcome);
        }
    });
    let server = options.listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(|socket| socket.write_all("bye")).expect("a thread can be started");
    let start = Instant::now();
    let mut one = client(server.address());
    let mut bye = [0; 3];
    one.read_exact(&mut bye).expect("the reply arrives");
    assert_eq!(one.read(&mut bye).expect("the end arrives"), 0, "the handler has returned");
    assert_eq!(server.connections(), 0, "the slot is free when the client sees the end");
    let sending = thread::spawn(move || {
        while sends && one.write_all(&[0; 1000]).is_ok() {}
        one
    });
    let mut next = client(server.address());
    next.read_exact(&mut bye).expect("the next client is served meanwhile");
    drop(next);
    for _ in 0..2 {
        let how = told.recv_timeout(HANG).expect("both connections end");
        assert_eq!(how, Outcome::Finished, "in order");
    }
    eventually("none lingers", || server.stats().lingering == 0);
    let took = start.elapsed();
    stop(&server, serving);
    within("the client comes to know", move || sending.join()).expect("it does not panic");
    took
}

/// Ensures that a server is served once: a second time is an error, and the first goes on.
#[test]
fn serving_twice_is_an_error() {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    let one = client(server.address());
    ask(&one).expect("the server is served");
    let again = server.clone();
    let error = within("the second serve() returns", move || again.serve(echo)).expect_err("one is enough");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "it says so");
    let (again, told) = (server.clone(), Arc::new(AtomicBool::new(false)));
    let close = Arc::clone(&told);
    let run = move || again.on().close(|| close.store(true, SeqCst)).run();
    within("the second run() returns", run).expect_err("one is enough");
    assert!(!told.load(SeqCst), "the server is not closed");
    ask(&one).expect("the first goes on");
    leave(one);
    stop(&server, serving);
}

/// Ensures that there is a worker for each client however many come at once, since each of these handlers waits for all the
/// others.
#[test]
fn there_is_a_worker_for_each_client_that_is_let_in() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
    let server = ServerOptions::new().adopt(listener).expect("a listener can be adopted");
    let together = Arc::new(Barrier::new(24));
    let serving = server.spawn({
        let together = Arc::clone(&together);
        move |socket| {
            together.wait();
            socket.write_all("!")
        }
    });
    let serving = serving.expect("a thread can be started");
    for _ in 0..50 {
        let mut clients: Vec<_> = (0..24).map(|_| client(server.address())).collect();
        for one in &mut clients {
            one.read_exact(&mut [0]).expect("all are served at once, or none is");
        }
        clients.into_iter().for_each(leave);
    }
    stop(&server, serving);
    assert_eq!(server.stats().ended, 24 * 50, "each client was served");
}
