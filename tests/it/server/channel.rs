//! Events through one channel.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerEvent, ServerOptions, Socket, SocketEvent, SocketOptions};
use landline::{Error, Events, RefusedBy, Report};

use crate::support::Whole;
use crate::support::clients::{are_queued, client};
use crate::support::fixtures::{noise, pair, pair_with};
use crate::support::time::some_round;
use crate::support::{
    HANG, blocked, descriptors, differs_on_windows, each_ip, eventually, in_child, threads, threads_named,
    until_asleep, within,
};

const AT: &str = "127.0.0.1:0";

/// The next event, which comes soon.
#[track_caller]
fn next<T>(events: &Events<T>) -> T {
    events.recv_timeout(HANG).expect("an event comes")
}

/// An event as a word.
fn word(event: &ServerEvent) -> String {
    match event {
        ServerEvent::Connection(_) => "connection".into(),
        ServerEvent::Socket(_, event) => socket_word(event),
        ServerEvent::Refused(client) => format!("refused {}", client.by),
        ServerEvent::Error(error) => format!("server error {error}"),
        ServerEvent::Close => "server close".into(),
        other => format!("{other:?}"),
    }
}

fn socket_word(event: &SocketEvent) -> String {
    match event {
        SocketEvent::Data(bytes) => format!("data {}", String::from_utf8_lossy(bytes)),
        SocketEvent::End => "end".into(),
        SocketEvent::Timeout => "timeout".into(),
        SocketEvent::Error(error) => format!("error {}", error.code()),
        SocketEvent::Close { had_error } => format!("close {had_error}"),
        other => format!("{other:?}"),
    }
}

/// A server that echoes every event's data until it is closed, on a thread; gives the number of connections.
fn echo(events: Events<ServerEvent>) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let mut connections = 0;
        for event in &events {
            match event {
                ServerEvent::Connection(_) => connections += 1,
                ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => {
                    socket.outbox().try_send(bytes).unwrap_or_else(|_| socket.destroy());
                }
                ServerEvent::Socket(socket, SocketEvent::End | SocketEvent::ShuttingDown) => {
                    socket.outbox().end().expect("a thread can be had")
                }
                _ => {}
            }
        }
        connections
    })
}

/// Clients that write without end until they are cut off.
fn flood(server: &Server, clients: usize) -> Vec<thread::JoinHandle<()>> {
    let at = server.address().socket_addr().expect("it is TCP");
    let flooding = (0..clients).map(|_| {
        let mut client = TcpStream::connect(at).expect("the server listens");
        thread::spawn(move || while client.write_all(&[0; 4096]).is_ok() {})
    });
    flooding.collect()
}

fn join_all(flooding: Vec<thread::JoinHandle<()>>) {
    for client in flooding {
        within("the client is cut off", || client.join()).expect("nothing panicked");
    }
}

/// Ensures that everything of a connection comes in order, and the server's close last of all.
#[test]
fn everything_comes_in_order_and_close_last() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let events = server.events(16).expect("a thread can be started");
        let client = Socket::connect(server.address()).expect("the server listens");
        let connection = next(&events);
        let ServerEvent::Connection(socket) = &connection else { panic!("a connection comes first: {connection:?}") };
        assert_eq!(server.connections(), 1, "and is counted by then");
        client.write_all("hello").expect("it is connected");
        assert_eq!(word(&next(&events)), "data hello", "what it sends");
        client.end().expect("it is connected");
        assert_eq!(word(&next(&events)), "end", "its end");
        assert!(events.try_recv().is_err(), "the connection waits for our end");
        socket.outbox().try_send(*b"bye").expect("it is open");
        socket.outbox().end().expect("it is open");
        assert_eq!(word(&next(&events)), "close false", "then both have ended");
        assert_eq!((client.read_text().expect("an orderly end"), server.connections()), ("bye".into(), 0));
        server.close();
        assert_eq!(word(&next(&events)), "server close", "the server's close");
        assert!(events.recv_timeout(HANG).is_err_and(|error| error.is_disconnected()), "and nothing after it");
    });
}

/// Ensures that with room for one event, or for none, everything comes just the same.
#[test]
fn a_channel_with_room_for_none_or_one_does() {
    for n in [0, 1] {
        let server = Server::listen(AT).expect("port 0 can be listened on");
        let serving = echo(server.events(n).expect("a thread can be started"));
        let clients: Vec<_> = (0..8_u64)
            .map(|seed| {
                let client = Socket::connect(server.address()).expect("the server listens");
                thread::spawn(move || {
                    let sent = noise(100_000, seed);
                    thread::scope(|scope| {
                        scope.spawn(|| client.write_end(&sent).expect("the server reads"));
                        client.read_all().expect("an orderly end") == sent
                    })
                })
            })
            .collect();
        for client in clients {
            let same = within("the echo ends", || client.join()).expect("nothing panicked");
            assert!(same, "n = {n}: every byte comes back");
        }
        server.close();
        assert_eq!(within("the last event comes", || serving.join()).expect("nothing panicked"), 8, "n = {n}");
    }
}

/// Ensures that a consumer that does not take events pushes back on the peer, and that nothing is lost when it goes on.
#[test]
fn a_slow_consumer_pushes_back_and_loses_nothing() {
    let (_server, client, accepted) = pair(AT);
    let events = accepted.events(2).expect("a thread can be started");
    let sent = noise(16 << 20, 3);
    let expected = sent.clone();
    let writing = blocked(move || client.write_end(&sent));
    eventually("the channel is full", || events.receiver().is_full());
    assert!(!writing.is_finished(), "the peer waits");
    assert!(accepted.bytes_read() < 1 << 20, "no more is read than there is room for: {}", accepted.bytes_read());
    let (mut came, mut words) = (Vec::new(), Vec::new());
    for event in &events {
        match event {
            SocketEvent::Data(bytes) => came.extend(bytes),
            other => {
                if matches!(other, SocketEvent::End) {
                    accepted.outbox().end().expect("it is open");
                }
                words.push(socket_word(&other));
            }
        }
    }
    assert!(came == expected, "every byte in its order: {}", came.len());
    assert_eq!(words, ["end", "close false"], "then the end, and the close last");
    within("the write ends", || writing.join()).expect("nothing panicked").expect("and all was taken");
}

/// Ensures that each connection is told of once, closed once, and all of it before the server's close.
#[test]
fn every_connection_is_told_of_and_closed_once() {
    let server = ServerOptions::new().max_connections(20).listen(AT).expect("port 0 can be listened on");
    let events = server.events(3).expect("a thread can be started");
    let closer = server.clone();
    let clients = thread::spawn(move || {
        let clients: Vec<_> = (0..30).map(|_| Socket::connect(closer.address()).expect("the server listens")).collect();
        eventually("all were accepted", || closer.stats().accepted + closer.stats().refused(RefusedBy::Full) == 30);
        closer.close();
        clients.iter().step_by(2).for_each(|client| client.write_end("x").unwrap_or_default());
        drop(clients);
    });
    let mut words = Vec::new();
    for event in &events {
        if let ServerEvent::Socket(socket, SocketEvent::End) = &event {
            socket.outbox().end().expect("a thread can be had");
        }
        words.push(word(&event));
    }
    clients.join().expect("nothing panicked");
    let count = |start: &str| words.iter().filter(|word| word.starts_with(start)).count();
    assert_eq!((count("connection"), count("close"), count("refused full")), (20, 20, 10), "{words:?}");
    assert_eq!((count("server close"), words.last().map(String::as_str)), (1, Some("server close")), "once, and last");
}

/// Ensures that a reset is told as an error directly before the close.
#[test]
fn a_reset_is_told_before_the_close() {
    let (_server, client, accepted) = pair(AT);
    let events = accepted.events(8).expect("a thread can be started");
    client.reset_and_destroy().expect("it is open");
    let words: Vec<_> = events.iter().map(|event| socket_word(&event)).collect();
    assert_eq!(words, ["error ECONNRESET", "close true"], "in this order, and nothing else");
}

/// Ensures that a server's events can be had once.
#[test]
fn a_server_is_served_once() {
    let server = Server::listen(AT).expect("port 0 can be listened on");
    let events = server.events(1).expect("a thread can be started");
    eventually("it is served", || server.events(1).is_err());
    let error = server.events(1).expect_err("it is served already");
    assert_eq!(Error::of(&error).map(Error::code), Some("ERR_SERVER_ALREADY_LISTEN"), "{error}");
    drop(events);
    let (_server, _client, accepted) = pair(AT);
    accepted.destroy();
    assert_eq!(accepted.events(1).expect_err("it is closed").kind(), ErrorKind::NotConnected, "closed is closed");
}

/// Ensures that dropping the receiver, at whatever moment, closes the server and its connections, and leaves no thread and no
/// descriptor: with clients that flood a full channel, that are silent, and that are just connecting.
#[test]
fn dropping_the_events_closes_everything() {
    in_child(this_test!(), &[], || {
        // Before the first thread of ours: one that is about to end would be counted.
        let threads_before = threads();
        // What the standard library opens on first use.
        drop(pair(AT));
        let before = (threads_before, descriptors());
        for round in 0..6 {
            let server = Server::listen(AT).expect("port 0 can be listened on");
            let events = server.events(round % 3).expect("a thread can be started");
            let at = server.address().socket_addr().expect("it is TCP");
            let flooding = flood(&server, 3);
            let silent = TcpStream::connect(at).expect("the server listens");
            // Each leaves by a reset, so that no port is kept busy after it.
            let connecting = thread::spawn(move || {
                while let Ok(client) = TcpStream::connect(at) {
                    let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
                }
            });
            for _ in 0..round {
                next(&events);
            }
            within("the drop returns", move || drop(events));
            assert!(!server.is_listening(), "the server is closed");
            assert_eq!(server.connections(), 0, "and so are its connections");
            join_all(flooding);
            within("connecting fails", || connecting.join()).expect("nothing panicked");
            drop(silent);
        }
        eventually("no thread is left", || threads() <= before.0);
        eventually("no descriptor is left", || descriptors() == before.1);
    });
}

/// Ensures that dropping a full channel does not leave a thread waiting for room while the `report` hook, which waits for the
/// server, is called.
#[test]
fn dropping_a_full_channel_frees_its_threads_before_the_hook_is_called() {
    within("the channel is dropped", || {
        each_ip(|place| {
            let server = Arc::new(OnceLock::<Server>::new());
            let its = Arc::clone(&server);
            let hook = move |report: &Report| {
                if matches!(report, Report::Closing { .. }) {
                    its.get().expect("it was set before the close").wait().expect("this thread may wait");
                }
            };
            let options = ServerOptions::new().report(hook);
            let server = server.get_or_init(|| options.listen(place).expect("port 0 can be listened on"));
            let events = server.events(1).expect("a thread can be started");
            // The connection fills the channel, and its data waits for room.
            client(server.address()).write_all(b"x").expect("the server reads");
            eventually("its byte is read", || server.sockets().iter().any(|socket| socket.bytes_read() == 1));
            drop(events);
            assert_eq!(server.connections(), 0, "nothing of the server is left");
        });
    });
}

/// Ensures that dropping a socket's events destroys it, although its reader waits for room.
#[test]
fn dropping_a_sockets_events_destroys_it() {
    let (_server, client, accepted) = pair(AT);
    let events = accepted.events(0).expect("a thread can be started");
    client.write_all("x").expect("it is connected");
    eventually("its byte is read", || accepted.bytes_read() == 1);
    within("the drop returns", move || drop(events));
    assert_eq!(accepted.read(&mut [0]).expect_err("it is closed").kind(), ErrorKind::NotConnected, "closed");
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "the peer sees it");
}

/// Ensures that a shutdown that the receiving thread begins is over when the channel is, although it is full of events of
/// clients that flood it, and that its report is there by then.
#[test]
fn a_shutdown_that_the_receiver_begins_is_reported_when_the_channel_is_over() {
    for n in [0, 1, 4] {
        some_round("the report is asked for within the grace", Duration::from_millis(100), |grace| {
            let server = Server::listen(AT).expect("port 0 can be listened on");
            let ended = server.clone();
            let flooding = flood(&server, 4);
            let was_in_time = within("the channel is over", move || {
                let events = ended.events(n).expect("a thread can be started");
                next(&events);
                eventually("all are connected", || ended.connections() == 4);
                let began = Instant::now();
                ended.begin_shutdown(grace).expect("a thread can be started");
                let early = ended.report();
                let was_in_time = began.elapsed() < grace;
                assert!(early.is_none() || !was_in_time, "n = {n}: no report while clients flood it: {early:?}");
                let last = events.iter().last().expect("there are events");
                assert!(matches!(last, ServerEvent::Close), "n = {n}: the close comes last: {last:?}");
                let report = ended.report().expect("it is there before the channel is over");
                let cut = (report.forced, ended.connections());
                assert_eq!(cut, (4, 0), "n = {n}: clients that flood are cut: {report}");
                was_in_time
            });
            join_all(flooding);
            was_in_time.then_some(())
        });
    }
}

/// Ensures that `wait` on another thread loses nothing, wherever the receiver was made.
#[test]
fn wait_on_another_thread_loses_nothing() {
    within("it is all over", || {
        let server = Server::listen(AT).expect("port 0 can be listened on");
        // Made here, received elsewhere, waited for here, perhaps before the other has begun.
        let events = server.events(1).expect("a thread can be started");
        let closer = server.clone();
        let client = thread::spawn(move || {
            let client = Socket::connect(closer.address()).expect("the server listens");
            eventually("it is accepted", || closer.connections() == 1);
            closer.close();
            client.write_end(noise(2 << 20, 5)).expect("somebody reads");
            client.read_all().expect("an orderly end").len()
        });
        let (go, begin) = mpsc::channel();
        let receiving = thread::spawn(move || {
            begin.recv_timeout(HANG).expect("the test goes on");
            let (mut bytes, mut last) = (0, String::new());
            for event in &events {
                match &event {
                    ServerEvent::Socket(_, SocketEvent::Data(data)) => bytes += data.len(),
                    ServerEvent::Socket(socket, SocketEvent::End) => socket.outbox().end().expect("it is open"),
                    _ => {}
                }
                last = word(&event);
            }
            (bytes, last)
        });
        go.send(()).expect("it waits");
        server.wait().expect("it waits");
        let (bytes, last) = within("the last event comes", || receiving.join()).expect("nothing panicked");
        assert_eq!((bytes, last.as_str()), (2 << 20, "server close"), "every byte, and the close last");
        assert_eq!(client.join().expect("nothing panicked"), 0, "an orderly end");
    });
}

/// Ensures that a shutdown answers what had arrived, also where the receiver is slower than it is told of events, and ends in
/// order once the receiver has ended each connection.
#[test]
fn a_shutdown_answers_what_had_arrived_in_the_channel() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let events = server.events(64).expect("a thread can be started");
        let clients: Vec<_> = (0..20).map(|_| Socket::connect(server.address()).expect("the server listens")).collect();
        clients.iter().for_each(|client| client.write_all("request").expect("it is connected"));
        eventually("all is read", || events.receiver().len() == 2 * clients.len());
        server.begin_shutdown(HANG).expect("a thread can be started");
        within("the channel is over", move || {
            for event in &events {
                match event {
                    ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => {
                        // Not a bound: what an answer takes.
                        thread::sleep(Duration::from_millis(3));
                        socket.outbox().try_send(bytes).expect("it is open until it is answered");
                    }
                    ServerEvent::Socket(socket, SocketEvent::ShuttingDown) => {
                        socket.outbox().end().expect("it is open");
                    }
                    ServerEvent::Socket(_, SocketEvent::End) => panic!("no client has ended"),
                    _ => {}
                }
            }
        });
        let report = server.report().expect("the channel is over");
        assert_eq!((report.finished, report.forced, report.still_running), (20, 0, 0), "all end in order: {report}");
        for client in &clients {
            assert_eq!(client.read_text().expect("in order"), "request", "each is answered, and sees the end");
        }
    });
}

/// Ensures that a connection that is destroyed as soon as it is told of is told to be closed too.
#[test]
fn each_connection_is_told_to_be_closed_also_if_it_is_destroyed_at_once() {
    let server = Server::listen(AT).expect("port 0 can be listened on");
    let events = server.events(4).expect("a thread can be started");
    let connecting = thread::spawn({
        let at = server.address().clone();
        move || (0..200).for_each(|_| drop(Socket::connect(&at)))
    });
    let mut open = std::collections::HashSet::new();
    let mut came = 0;
    while came < 200 || !open.is_empty() {
        match next(&events) {
            ServerEvent::Connection(socket) => {
                socket.destroy();
                came += 1;
                open.insert(socket.id());
            }
            ServerEvent::Socket(socket, SocketEvent::Close { .. }) => {
                assert!(open.remove(&socket.id()), "each is told once");
            }
            _ => {}
        }
    }
    connecting.join().expect("it does not panic");
}

/// Ensures that a channel that nobody receives from can be dropped, also where a clone of its receiver is kept, which gives
/// what had been sent and is then disconnected.
#[test]
fn dropping_a_full_channel_returns_although_a_clone_of_its_receiver_is_kept() {
    for n in [0, 1, 4] {
        let server = Server::listen(AT).expect("port 0 can be listened on");
        let flooding = flood(&server, 2);
        within("dropping returns", move || {
            let events = server.events(n).expect("a thread can be started");
            let clone = events.receiver().clone();
            eventually("both are connected", || server.connections() == 2);
            eventually("the channel is full", || events.receiver().is_full());
            drop(events);
            assert!(!server.is_listening() && server.connections() == 0, "n = {n}: what feeds it is closed");
            assert_eq!(clone.iter().count(), n, "n = {n}: what had been sent is there, and then it is disconnected");
        });
        join_all(flooding);
    }
}

/// Ensures that a destroyed connection does not wait for room, and that its close is told when there is.
#[test]
fn destroy_frees_a_reader_that_waits_for_room() {
    // So that its reader, which is seen to wait, is the only one.
    in_child(this_test!(), &[], || {
        let (server, client, accepted) = pair_with(AT, ServerOptions::new(), SocketOptions::new());
        let events = accepted.events(1).expect("a thread can be started");
        // The first fills the channel, and the second waits for room.
        for n in 1..=2 {
            client.write_all("x").expect("it is connected");
            eventually("it is read", || accepted.bytes_read() == n);
        }
        let reader = threads_named("landline socket");
        until_asleep(&reader);
        client.write_all("x").expect("it is connected");
        accepted.destroy();
        assert_eq!(server.connections(), 0, "its slot is free");
        until_asleep(&reader);
        let words: Vec<_> = events.iter().map(|event| socket_word(&event)).collect();
        // Where it is not seen, there may be room by the time it is freed.
        let is_freed = reader.is_empty() || words.len() == 2;
        assert!(is_freed, "what waited for room when there was none is dropped: {words:?}");
        assert_eq!(words.last().map(String::as_str), Some("close false"), "the close is told when there is: {words:?}");
    });
}

/// Ensures that a panic in any callback of a spawned server ends nothing but its own connection.
#[test]
fn a_panic_in_a_spawned_servers_callbacks_harms_nobody_else() {
    let server = ServerOptions::new().max_connections(1).listen(AT).expect("port 0 can be listened on");
    let running = server
        .on()
        .connection(|socket| {
            let mut first = [0];
            socket.read_exact(&mut first)?;
            match &first {
                b"p" => panic!("on purpose: connection"),
                b"e" => Err(io::Error::other("on purpose: an error")),
                _ => socket.write_end("fine"),
            }
        })
        .refused(|_| panic!("on purpose: refused"))
        .error(|_, _| panic!("on purpose: error"))
        .close(|| panic!("on purpose: close"))
        .spawn()
        .expect("a thread can be started");
    let connect = || Socket::connect(server.address()).expect("the server listens");
    for byte in ["p", "e"] {
        let client = connect();
        eventually("it is admitted", || server.connections() == 1);
        assert_eq!(connect().read_all().unwrap_or_default(), b"", "the second is refused, panic or not");
        client.write_all(byte).expect("it is connected");
        assert_eq!(client.read_all().unwrap_or_default(), b"", "its connection is over");
    }
    let client = connect();
    client.write_all("x").expect("it is connected");
    assert_eq!(client.read_text().expect("an orderly end"), "fine", "the server goes on");
    server.close();
    let error = within("the thread ends", || running.join()).expect_err("the close panicked");
    assert_eq!(error.to_string(), "callback panicked: on purpose: close", "join tells it");
    let stats = server.stats();
    assert_eq!(
        (stats.panicked, stats.failed, stats.ended, stats.refused(RefusedBy::Full)),
        (1, 1, 1, 2),
        "and the accounts balance"
    );
}

/// Ensures that clients which come and go faster than the receiver takes their events are all told of, and leave nothing:
/// a hundred threads wait for room at once.
#[test]
fn a_crowd_that_waits_for_room_gets_through() {
    in_child(this_test!(), &[], || {
        const CLIENTS: usize = 200;
        let before = (threads(), descriptors());
        let server = Server::listen(AT).expect("port 0 can be listened on");
        let events = server.events(1).expect("a thread can be started");
        let at = server.address().socket_addr().expect("it is TCP");
        let coming = thread::spawn(move || {
            for _ in 0..CLIENTS {
                let mut client = TcpStream::connect(at).expect("the server listens");
                client.write_all(b"x").expect("it is connected");
            }
        });
        within("every client comes", || coming.join()).expect("nothing panicked");
        eventually("they wait for room", || server.connections() > CLIENTS / 2);
        let (mut came, mut gone, mut most) = (0, 0, 0);
        while gone < CLIENTS {
            most = most.max(server.connections());
            match events.recv_timeout(HANG).expect("there are events to come") {
                ServerEvent::Connection(_) => came += 1,
                ServerEvent::Socket(socket, SocketEvent::End) => socket.destroy(),
                ServerEvent::Socket(_, SocketEvent::Close { .. }) => gone += 1,
                _ => {}
            }
        }
        println!("measured {CLIENTS} clients, {most} open at once at most");
        assert_eq!(came, CLIENTS, "each was told of");
        eventually("no slot is taken", || server.connections() == 0);
        within("the drop returns", move || drop(events));
        eventually("no thread and no descriptor is left", || threads() <= before.0 && descriptors() <= before.1);
    });
}

/// The addresses of connections, as their clients know them.
fn remotes<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Vec<Option<std::net::SocketAddr>> {
    sockets.into_iter().map(|socket| socket.remote_address().socket_addr()).collect()
}

/// Ensures that a channel of connections gives a handle for each client, in the order they came, reads nothing of them, ends
/// when the server is closed, and leaves them open.
#[test]
fn a_channel_of_connections_gives_each_client_once_and_ends_at_close() {
    each_ip(|at| {
        for n in [0, 1, 16] {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let incoming = server.incoming(n).expect("a thread can be started");
            let error = server.incoming(n).expect_err("it is served");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "the channel has the clients");
            let mut clients: Vec<_> = (0..8)
                .map(|_| TcpStream::connect(server.address().socket_addr().expect("TCP")).expect("it listens"))
                .collect();
            clients.iter_mut().for_each(|client| client.write_all(b"hello").expect("it is connected"));
            let sockets: Vec<_> = (0..8).map(|_| next(&incoming)).collect();
            let expected: Vec<_> = clients.iter().map(|client| client.local_addr().ok()).collect();
            assert_eq!(remotes(&sockets), expected, "each comes once, in order");
            assert!(sockets.iter().all(|socket| socket.bytes_read() == 0), "nothing of them is read");
            assert!(incoming.try_recv().is_err(), "and no more");
            server.close();
            assert!(incoming.recv_timeout(HANG).is_err_and(|error| error.is_disconnected()), "the channel ends");
            drop(incoming);
            for (socket, client) in sockets.iter().zip(&mut clients) {
                let mut word = [0; 5];
                socket.read_exact(&mut word).expect("it is open");
                assert_eq!(&word, b"hello", "the connections live on");
                socket.write_all("x").expect("it is open");
                io::Read::read_exact(client, &mut [0]).expect("it is open");
            }
        }
    });
}

/// Ensures that while a channel of connections is full, the clients wait in the backlog, but for one in hand.
#[test]
fn a_full_channel_of_connections_lets_the_others_wait() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let incoming = server.incoming(2).expect("a thread can be started");
        let clients: Vec<_> = (0..8).map(|_| Socket::connect(server.address()).expect("it listens")).collect();
        eventually("the channel is full, and one is in hand", || server.connections() == 3);
        are_queued(&server, 5);
        assert!(server.queued().is_none_or(|queued| queued == 5), "the others have not been accepted");
        let sockets: Vec<_> = (0..8).map(|_| next(&incoming)).collect();
        assert_eq!(server.stats().accepted, 8, "then each is");
        drop((sockets, clients));
    });
}

/// Ensures that dropping a channel of connections closes the server and destroys those that were not received, also where a
/// clone of the receiver is left; those that were live on, and no thread or descriptor is left.
#[test]
fn dropping_a_channel_of_connections_destroys_those_not_received() {
    in_child(this_test!(), &[], || {
        let before = (threads(), descriptors());
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let incoming = server.incoming(2).expect("a thread can be started");
            let clone = incoming.receiver().clone();
            let clients: Vec<_> = (0..4).map(|_| Socket::connect(server.address()).expect("it listens")).collect();
            let first = next(&incoming);
            eventually("one is received, two in the channel, and one in hand", || server.connections() == 4);
            within("the threads end", move || drop(incoming));
            assert!(!server.is_listening(), "the server is closed");
            assert_eq!(server.connections(), 1, "those that were not received are over");
            assert!(clone.try_recv().is_err(), "a clone gives none of them");
            first.write_end("hello").expect("it is open");
            let mut answers = clients.iter().map(|client| client.read_text().unwrap_or_default());
            assert_eq!(answers.next(), Some("hello".into()), "one that was received lives on");
            assert!(answers.all(|answer| answer.is_empty()), "the others have ended");
            drop(first);
            within("the server is over", move || server.wait()).expect("it ends");
        });
        eventually("no thread and no descriptor is left", || threads() <= before.0 && descriptors() <= before.1);
    });
}

/// Ensures that a shutdown that the receiver begins interrupts the connections of a channel, those in it included, and is
/// reported.
#[test]
fn a_shutdown_interrupts_the_connections_of_a_channel() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let incoming = server.incoming(4).expect("a thread can be started");
        let _clients: Vec<_> = (0..3).map(|_| Socket::connect(server.address()).expect("it listens")).collect();
        eventually("all are accepted", || server.connections() == 3);
        let first = next(&incoming);
        server.begin_shutdown(HANG).expect("a thread can be started");
        let others: Vec<_> = incoming.iter().collect();
        assert_eq!(others.len(), 2, "those in the channel are received, and then it ends");
        for socket in others.iter().chain([&first]) {
            let error = socket.read(&mut [0]).expect_err("it is interrupted");
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "the server is shutting down: {error}");
        }
        drop((first, others));
        let waiting = server.clone();
        within("the server is over", move || waiting.wait()).expect("it ends");
        let report = server.report().expect("the shutdown is over");
        assert_eq!((report.finished, report.forced, report.still_running), (3, 0, 0), "all ended in order");
    });
}

/// Ensures that a client whose PROXY header is late holds up no other client of a channel of connections.
#[test]
fn a_late_header_holds_up_no_other_connection_of_a_channel() {
    each_ip(|at| {
        let balancers = landline::BlockList::new();
        let options = ServerOptions::new().proxy_protocol(&balancers).proxy_timeout(None);
        let server = options.listen(at).expect("port 0 can be listened on");
        balancers.add_address(server.address().ip().expect("it is TCP"));
        let incoming = server.incoming(4).expect("threads can be started");
        let late = Socket::connect(server.address()).expect("it listens");
        eventually("its header is awaited", || server.connections() == 1);
        let other = Socket::connect(server.address()).expect("it listens");
        other.write_all("PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n").expect("it is connected");
        assert_eq!(next(&incoming).remote_address().to_string(), "192.0.2.7:56324", "the other one comes");
        within("no thread waits for the header", move || drop(incoming));
        assert_eq!(server.stats().refused(RefusedBy::Closing), 1, "the late one is refused");
        drop(late);
    });
}

/// Ensures that the error that ends accepting for a channel of connections is reported once, and before the server is
/// reported closed, whichever of the accepting threads meets it.
#[test]
fn the_error_that_ends_a_channel_of_connections_is_reported_once_and_before_closed() {
    if differs_on_windows("a listener cannot be shut down by those who have it too") {
        return;
    }
    let balancers = landline::BlockList::new();
    for options in [ServerOptions::new(), ServerOptions::new().proxy_protocol(&balancers)] {
        for _ in 0..20 {
            let (tell, told) = mpsc::channel();
            let options = options.clone().report(move |report| drop(tell.send(report.to_string())));
            let listener = std::net::TcpListener::bind(AT).expect("port 0 can be listened on");
            let giver = listener.try_clone().expect("a descriptor is free");
            let server = options.adopt(listener).expect("it listens");
            let incoming = server.incoming(1).expect("threads can be started");
            socket2::SockRef::from(&giver).shutdown(std::net::Shutdown::Both).expect("its giver shuts it down");
            assert!(incoming.recv_timeout(HANG).is_err_and(|error| error.is_disconnected()), "the channel ends");
            let waiting = server.clone();
            within("the server is over", move || waiting.wait()).expect("it ends");
            let told: Vec<_> = told.try_iter().collect();
            let address = server.address();
            let expected = [format!("{address} closing"), "failed: accept EINVAL".into(), format!("{address} closed")];
            assert_eq!(told, expected, "the error is reported once, and Closed is the last report");
        }
    }
}
