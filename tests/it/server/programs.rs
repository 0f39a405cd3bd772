//! Small whole programs that people ask for: each is one function, and the test says what it does.

use std::io::{self, Read, read_to_string};
use std::net::TcpListener;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

#[cfg(feature = "channel")]
use landline::Events;
#[cfg(feature = "channel")]
use landline::channel::{Receiver, bounded, select};
use landline::net::{Server, ServerOptions, ShutdownOnDrop, ShutdownReport, Socket, SocketEvent, SocketOptions, relay};
use landline::{Address, Cancel, Endpoint, Error, Limit, Running, dgram};

use crate::support::clients::{ask, client, echo, is_turned_away, leave};
use crate::support::fixtures::pair;
use crate::support::time::some_round;
use crate::support::{Folder, HANG, each_ip, eventually, families, in_child, within};

/// Ends a server for its next version: no new clients, the idle ones at once, the others within `grace`; and says how it went, and
/// whether all its code has ended.
fn deploy(server: &Server, serving: &mut Running, grace: Duration) -> io::Result<(ShutdownReport, bool)> {
    let report = server.shutdown(grace);
    Ok((report, serving.join_timeout(grace)?))
}

/// Ensures that a deployment answers the request that is under way and ends the idle client, and that a handler which computes on
/// holds it up no longer than it is told.
#[test]
fn a_deployment_is_told_whether_all_has_ended() {
    for computes_on in [false, true] {
        let (tell, told) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let handler = move |socket: &Socket| {
            let mut client = socket.buffered()?;
            while client.next_line()?.is_some() {
                tell.send(()).map_err(io::Error::other)?;
                let _ = wait.lock().expect("no panic").recv();
                io::Write::write_all(&mut client, b"answer\n")?;
            }
            Ok(())
        };
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let mut serving = server.spawn(handler).expect("a thread can be started");
        let (idle, busy) = (client(server.address()), Socket::connect(server.address()).expect("the server listens"));
        busy.write_all("request\n").expect("it is connected");
        told.recv_timeout(HANG).expect("the request is under way");
        eventually("the idle client is served too", || server.connections() == 2);
        if !computes_on {
            let (server, go_on) = (server.clone(), go_on.clone());
            std::thread::spawn(move || {
                eventually("the idle client has ended", || server.connections() == 1);
                let _ = go_on.send(());
            });
        }
        let grace = if computes_on { Duration::from_millis(10) } else { HANG * 60 };
        let (report, is_clean) = deploy(&server, &mut serving, grace).expect("serving ends well");
        assert_eq!(is_clean, !computes_on, "it says whether all has ended");
        assert!(is_turned_away(&idle), "the idle client sees the end");
        if computes_on {
            assert!(report.forced >= 1 && report.still_running >= 1, "it says that a handler is left: {report}");
            assert!(!serving.is_finished(), "the handler computes on");
            go_on.send(()).expect("the handler waits");
        } else {
            assert_eq!((report.finished, report.forced, report.still_running), (2, 0, 0), "{report}");
            assert_eq!(read_to_string(&busy).expect("the end is in order"), "answer\n", "the request is answered");
        }
        within("serving ends", move || serving.join()).expect("serving ends well");
    }
}

/// Sends each client a line now and then, until the program ends.
fn telemetry(server: &Server, every: Duration, ends: &Cancel) -> io::Result<Running> {
    let ends = ends.clone();
    server.spawn(move |socket| {
        socket.write_all("up\n")?;
        // Not a bound: the pace of the lines.
        while !ends.wait_timeout(every) {
            socket.write_all("up\n")?;
        }
        socket.write_end("bye\n")
    })
}

/// Ensures that a handler which sleeps between its lines ends with the server, in order.
#[test]
fn a_handler_that_sleeps_hears_of_the_end() {
    within("the server ends", || {
        let (server, cancel) = (Server::listen("127.0.0.1:0").expect("the server listens"), Cancel::new());
        let serving = telemetry(&server, HANG * 60, &cancel).expect("a thread can be started");
        let client = Socket::connect(server.address()).expect("the server listens");
        client.read_exact(&mut [0; 3]).expect("the first line comes at once");
        cancel.cancel();
        let report = server.shutdown(HANG * 60);
        assert_eq!((report.forced, report.still_running, server.stats().ended), (0, 0, 1), "{report}");
        assert_eq!(
            read_to_string(&client).expect("the end is in order"),
            "bye\n",
            "the handler has said the last line"
        );
        serving.join().expect("serving ends well");
    });
}

/// A test's server, which ends with the test.
fn test_server() -> io::Result<ShutdownOnDrop> {
    let server = Server::listen("127.0.0.1:0")?;
    drop(server.spawn(echo)?);
    Ok(server.shutdown_on_drop(Duration::from_secs(1)))
}

/// Ensures that a test's server ends with the test when that fails.
#[test]
fn a_tests_server_ends_with_the_test() {
    let (tell, told) = mpsc::channel();
    let failed = std::panic::catch_unwind(move || {
        let server = test_server().expect("the server listens");
        let client = client(server.address());
        ask(&client).expect("the server is served");
        tell.send((*server).clone()).expect("the other end is there");
        panic!("of the test");
    });
    assert!(failed.is_err(), "the premise: the test fails");
    let server = told.recv().expect("it was sent");
    assert!(server.wait_timeout(HANG).expect("this thread acts for nothing"), "the server has ended");
    assert!(!server.is_listening(), "its port is free");
}

/// A helper that a service manager starts with a listener when a client comes: it ends when no client has been there for `idle`.
fn activated(listener: TcpListener, idle: Duration) -> io::Result<()> {
    let server = ServerOptions::new().adopt(listener)?;
    let serving = server.spawn(echo)?;
    server.wait_idle(idle)?;
    server.close();
    serving.join()
}

/// Ensures that a helper serves the client that waits and ends when it has been idle, so that the next client starts it again.
#[test]
fn an_activated_helper_ends_when_it_is_idle() {
    within("the helpers end", || {
        each_ip(|place| {
            let manager = TcpListener::bind(place).expect("the listener is made");
            let at = Address::from(manager.local_addr().expect("it has an address"));
            for _ in 0..2 {
                let waits = client(&at);
                let asking = std::thread::spawn(move || {
                    ask(&waits).expect("a helper serves the client that waits");
                    leave(waits);
                });
                // One that comes to accept late finds itself idle, and a manager starts the next: the client still waits.
                while !asking.is_finished() {
                    let listener = manager.try_clone().expect("a descriptor is free");
                    activated(listener, Duration::from_millis(20)).expect("the helper ends well");
                }
                asking.join().expect("the client was served");
            }
        });
    });
}

/// Sessions of a datagram socket, each with a slot of its peer's address; gives how many began.
fn sessions(socket: &dgram::Socket, limit: &Limit, datagrams: usize) -> io::Result<usize> {
    let (mut sessions, mut buffer) = (std::collections::HashMap::new(), [0; 1500]);
    for _ in 0..datagrams {
        let Some((_, from)) = socket.recv(&mut buffer)? else { break };
        if let Ok(slot) = limit.try_acquire(from.address().ip()) {
            sessions.insert(from.address().to_string(), slot);
        }
    }
    Ok(sessions.len())
}

/// Ensures that sessions of datagrams and connections from one address count together.
#[test]
fn an_address_has_so_many_sessions_and_connections_together() {
    let limit = Limit::new(100).per_address(4);
    let server = ServerOptions::new().shared_limit(&limit).listen("127.0.0.1:0").expect("the server listens");
    let guard = server.shutdown_on_drop(HANG);
    drop(guard.spawn(echo).expect("a thread can be started"));
    let one = client(guard.address());
    ask(&one).expect("the server is served");
    let socket = dgram::Socket::bind("127.0.0.1:0").expect("the socket is bound");
    let peers: Vec<_> = (0..6).map(|_| dgram::Socket::bind("127.0.0.1:0").expect("the socket is bound")).collect();
    for peer in &peers {
        peer.send_to(b"x", socket.address()).expect("it is sent");
    }
    let its = limit.clone();
    let count = within("all datagrams are received", move || sessions(&socket, &its, 6));
    assert_eq!(count.expect("receiving works"), 3, "one of four slots is the connection's");
    assert_eq!(limit.in_use(), 1, "sessions that are dropped give their slots back");
}

/// Starts one service at several addresses, with one handler.
fn start(at: Vec<Endpoint>, options: &ServerOptions) -> io::Result<Vec<Server>> {
    let servers: Vec<_> = at.into_iter().map(|at| options.listen(at)).collect::<Result<_, _>>()?;
    for server in &servers {
        drop(server.spawn(echo)?);
    }
    Ok(servers)
}

/// Ends it under one clock.
fn end(servers: &[Server], grace: Duration) -> io::Result<()> {
    servers.iter().try_for_each(|server| server.begin_shutdown(grace))?;
    servers.iter().try_for_each(Server::wait)
}

/// Ensures that a service at several addresses, a path among them, counts its clients together and ends at once.
#[test]
fn a_service_at_several_addresses_has_one_limit_and_one_end() {
    let folder = Folder::new();
    let mut places: Vec<_> = families().into_iter().map(Endpoint::from).collect();
    if cfg!(unix) {
        places.push(folder.file("socket").into());
    }
    let limit = Limit::new(2);
    let service = start(places, &ServerOptions::new().shared_limit(&limit)).expect("all of it listens");
    let connect = |n: usize| Socket::connect(service[n % service.len()].address()).expect("the server listens");
    let served = |socket: &Socket| socket.write_all("x").and_then(|()| socket.read_exact(&mut [0])).is_ok();
    let clients: Vec<_> = (0..6).map(connect).collect();
    assert_eq!(clients.iter().filter(|client| served(client)).count(), 2, "two of six are served, wherever they come");
    within("the service ends", move || end(&service, HANG * 60)).expect("all of it ends well");
    assert!(!clients.iter().any(served), "every connection has ended");
    assert_eq!(limit.in_use(), 0, "every slot comes back");
}

/// One client, or none in `time`; then nothing listens any more.
fn one_client(server: &Server, time: Duration) -> io::Result<Option<Socket>> {
    let client = server.accept_timeout(time);
    server.close();
    client
}

/// Ensures that a program which waits for one client, for some time at most, has freed its port either way, and that the client
/// it got is served after that.
#[test]
fn a_program_waits_for_one_client_and_frees_its_port() {
    in_child(this_test!(), &[], || {
        within("both ways end", || {
            each_ip(|place| {
                let server = Server::listen(place).expect("the server listens");
                let error = one_client(&server, Duration::from_millis(1)).expect_err("no client comes");
                assert!(Error::is_tick(&error), "the time was up: {error}");
                let server = Server::listen(server.address()).expect("the port is free when the time was up");
                let client = Socket::connect(server.address()).expect("the server listens");
                let socket = one_client(&server, HANG).expect("a client is there").expect("the server was open");
                drop(Server::listen(server.address()).expect("the port is free while the client is served"));
                client.write_end("the token").expect("it is connected");
                assert_eq!(read_to_string(&socket).expect("no reset"), "the token", "the client is served");
            });
        });
    });
}

/// What an instrument sends until it is silent for `time`.
fn until_silent(socket: &Socket, time: Duration) -> io::Result<Vec<u8>> {
    // Not a bound: the silence that ends an answer.
    socket.set_read_timeout(time)?;
    let mut answer = Vec::new();
    match (&mut &*socket).read_to_end(&mut answer) {
        Err(error) if !Error::is_tick(&error) => Err(error),
        _ => Ok(answer),
    }
}

/// Ensures that an answer whose end is silence is had whole, not before the silence has lasted, and that the next one follows.
#[test]
fn an_answer_ends_by_silence() {
    const SILENCE: Duration = Duration::from_millis(50);
    within("the answers end", || {
        each_ip(|place| {
            let (_server, instrument, socket) = pair(place);
            for text in ["one", "two"] {
                instrument.write_all(text).expect("it is connected");
                let begin = Instant::now();
                let answer = until_silent(&socket, SILENCE).expect("silence is no error");
                assert_eq!(answer, text.as_bytes(), "all that came before the silence, and nothing else");
                assert!(begin.elapsed() >= SILENCE, "the silence has lasted");
            }
            instrument.end().expect("it is connected");
            assert_eq!(until_silent(&socket, HANG).expect("an end is no error"), b"", "an end is one at once");
        });
    });
}

/// A proxy that gives up a pair on which nothing moves for `time`.
fn proxy(place: &str, target: &Address, time: Duration) -> io::Result<Server> {
    let (options, target) = (SocketOptions::new().timeout(time), target.clone());
    let server = ServerOptions::new().timeout(time).listen(place)?;
    drop(server.spawn(move |socket| relay(socket, &options.connect(&target)?))?);
    Ok(server)
}

/// Ensures that a proxy gives up a pair that is idle, and carries a download to its end that takes longer and during which its
/// client sends nothing.
#[test]
fn a_proxy_gives_up_an_idle_pair_and_no_download() {
    const PIECES: usize = 20;
    for place in families() {
        some_round("a download outlives the time of a pair", Duration::from_millis(40), |time| {
            let behind = Server::listen(place).expect("the server listens");
            let serving = behind.spawn(move |socket| {
                socket.read_exact(&mut [0])?;
                for _ in 0..PIECES {
                    socket.write_all("x")?;
                    // Not a bound: the pace of the download.
                    std::thread::sleep(time / 8);
                }
                // From here on the pair is idle.
                socket.read(&mut [0]).map(drop)
            });
            drop(serving.expect("a thread can be started"));
            let _behind = behind.shutdown_on_drop(HANG);
            let proxy = proxy(place, behind.address(), time).expect("the proxy listens").shutdown_on_drop(HANG);
            let client = Socket::connect(proxy.address()).expect("the proxy listens");
            // On a busy machine it comes too late.
            client.write_all("?").ok()?;
            let mut download = Vec::new();
            let error = (&client).read_to_end(&mut download).expect_err("an idle pair is given up by a reset");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "its client sees no whole conversation");
            (download.len() == PIECES).then_some(())
        });
    }
}

/// The next event of a connection, or `None` if `called_off` says something before.
#[cfg(feature = "channel")]
fn next_unless(called_off: &Receiver<()>, events: &Events<SocketEvent>) -> Option<SocketEvent> {
    select! {
        recv(events.receiver()) -> event => event.ok(),
        recv(called_off) -> _ => None,
    }
}

/// Ensures that a thread which waits for a connection's next bytes can be woken, and that the connection goes on and has lost
/// nothing.
#[cfg(feature = "channel")]
#[test]
fn a_wait_for_bytes_is_called_off_and_the_connection_goes_on() {
    within("the waits end", || {
        each_ip(|place| {
            let (_server, peer, socket) = pair(place);
            let (events, (call_off, called_off)) = (socket.events(4).expect("a thread can be started"), bounded(1));
            let waiting = std::thread::spawn(move || {
                let woken = next_unless(&called_off, &events).is_none();
                (woken, called_off, events)
            });
            call_off.send(()).expect("the thread waits");
            let (woken, called_off, events) = waiting.join().expect("no panic");
            assert!(woken, "the wait is called off, and no byte has come");
            peer.write_all("late").expect("the connection is open");
            let next = next_unless(&called_off, &events);
            assert!(matches!(&next, Some(SocketEvent::Data(bytes)) if bytes == b"late"), "it goes on: {next:?}");
            socket.write_all("answer").expect("our direction is open");
            peer.read_exact(&mut [0; 6]).expect("and so is the other");
        });
    });
}
