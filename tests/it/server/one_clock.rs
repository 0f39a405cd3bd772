//! Several servers and channels that end under one clock: `begin_shutdown` of each returns at once.

use std::io::read_to_string;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ReadyState, Server, ServerEvent, Socket, SocketEvent};
use landline::{Events, dgram};

use crate::support::clients::{client, echo};
use crate::support::fixtures::pair;
use crate::support::{HANG, each_ip, eventually, in_child, threads, within};

/// A time that a test does not wait for.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// What a connection's channel gives until it is disconnected; `answer` is called at the shutdown.
fn words(events: &Events<SocketEvent>, answer: impl Fn()) -> Vec<String> {
    let mut words = Vec::new();
    while let Ok(event) = events.recv_timeout(HANG) {
        words.push(match event {
            SocketEvent::Data(bytes) => format!("data {}", String::from_utf8_lossy(&bytes)),
            SocketEvent::Close { had_error, .. } => format!("close {had_error}"),
            SocketEvent::ShuttingDown => {
                answer();
                "shutting down".into()
            }
            other => format!("{other:?}"),
        });
    }
    words
}

/// Ensures that a server with a handler, one with a channel of events, one with a channel of connections, a connection's
/// channel and a datagram socket's all end, each begun before the first has ended, and that none waits for the others' time.
#[test]
fn servers_and_channels_of_every_kind_end_under_one_clock() {
    within("all of them end", || {
        each_ip(|place| {
            let servers = [(); 3].map(|()| Server::listen(place).expect("the server listens"));
            let serving = servers[0].spawn(echo).expect("a thread can be started");
            let events = servers[1].events(4).expect("a thread can be started");
            let incoming = servers[2].incoming(4).expect("a thread can be started");
            let (_server, ours, _theirs) = pair(place);
            let connection = ours.events(4).expect("a thread can be started");
            let udp =
                dgram::Socket::bind(place).expect("the socket is bound").events(4).expect("a thread can be started");
            let clients = servers.each_ref().map(|server| client(server.address()));
            let accepted = incoming.recv_timeout(HANG).expect("the client comes");
            assert!(matches!(events.recv_timeout(HANG), Ok(ServerEvent::Connection(_))), "the client comes");
            eventually("the handler has its client", || servers[0].connections() == 1);

            servers[0].begin_shutdown(AN_HOUR).expect("a thread can be started");
            events.begin_shutdown(AN_HOUR).expect("a thread can be started");
            incoming.begin_shutdown(AN_HOUR).expect("a thread can be started");
            connection.begin_shutdown(AN_HOUR).expect("a thread can be started");
            udp.begin_shutdown(AN_HOUR).expect("nothing can fail");

            assert!(servers.iter().all(|server| !server.is_listening()), "each server has begun to close");
            for event in &events {
                if let ServerEvent::Socket(socket, SocketEvent::ShuttingDown) = event {
                    socket.outbox().end().expect("it is open");
                }
            }
            assert!(accepted.read(&mut [0]).is_err(), "a connection of `incoming` is interrupted");
            drop(accepted);
            assert!(incoming.recv().is_err(), "no connection comes after the shutdown");
            let end = || ours.outbox().end().expect("it is open");
            assert_eq!(words(&connection, end), ["shutting down", "close false"], "a client's channel is told too");
            assert!(matches!(udp.recv(), Ok(dgram::SocketEvent::Close)), "a datagram socket is closed");
            assert!(udp.recv().is_err(), "and that is its last event");
            serving.join().expect("serving ends well");
            for server in &servers {
                server.wait().expect("this thread acts for nothing");
                let report = server.report().expect("it was begun by begin_shutdown");
                assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0), "{report}");
            }
            drop(clients);
        });
    });
}

/// Ensures that the shutdown of a connection's channel comes behind the data that had arrived, and that what is sent before our
/// end reaches the peer.
#[test]
fn a_channel_that_shuts_down_gives_what_had_arrived_and_sends_what_is_queued() {
    within("the channel ends", || {
        each_ip(|place| {
            let (_server, ours, theirs) = pair(place);
            theirs.write_all("request").expect("it is connected");
            eventually("the request has arrived", || matches!(ours.available(), Ok(Some(7))));
            ours.pause();
            let events = ours.events(4).expect("a thread can be started");
            events.begin_shutdown(AN_HOUR).expect("a thread can be started");
            ours.resume();
            let answer = || {
                ours.outbox().try_send(*b"answer").expect("there is room");
                ours.outbox().end().expect("it is open");
            };
            let words = words(&events, answer);
            assert_eq!(words, ["data request", "shutting down", "close false"], "what had arrived comes first");
            assert_eq!(read_to_string(&theirs).expect("the end is in order"), "answer", "what was queued arrives");
        });
    });
}

/// Ensures that a connection which is not ended is destroyed when the time is up, and not before, also while the channel is full.
#[test]
fn a_connection_that_is_not_ended_is_destroyed_when_the_time_is_up() {
    const GRACE: Duration = Duration::from_millis(100);
    within("the channel ends", || {
        each_ip(|place| {
            for room in [0, 4] {
                let (_server, ours, theirs) = pair(place);
                let events = ours.events(room).expect("a thread can be started");
                let start = Instant::now();
                events.begin_shutdown(GRACE).expect("a thread can be started");
                assert_eq!(read_to_string(&theirs).expect("the end is in order"), "", "the peer sees the end");
                assert!(start.elapsed() >= GRACE, "the connection has its time");
                let words = words(&events, || ());
                assert_eq!(words.last().map(String::as_str), Some("close false"), "the close is the last event");
            }
        });
    });
}

/// Ensures that `begin_shutdown` on the thread that receives returns, and dropping the channel after it too, whatever waits for
/// room in it, and that no thread is left.
#[test]
fn a_channel_that_is_dropped_in_its_shutdown_leaves_no_thread() {
    in_child(this_test!(), &[], || {
        let before = threads();
        within("dropping returns", || {
            let (server, ours, theirs) = pair("127.0.0.1:0");
            theirs.write_all("x").expect("it is connected");
            let udp = dgram::Socket::bind("127.0.0.1:0").expect("the socket is bound");
            udp.send_to(b"x", udp.address()).expect("it is sent");
            let (tcp, udp) = (ours.events(0), udp.events(0));
            let (tcp, udp) = (tcp.expect("a thread can be started"), udp.expect("a thread can be started"));
            for _ in 0..3 {
                tcp.begin_shutdown(AN_HOUR).expect("a thread can be started");
                udp.begin_shutdown(AN_HOUR).expect("nothing can fail");
            }
            drop((tcp, udp));
            assert_eq!(ours.ready_state(), ReadyState::Closed, "dropping the channel destroys the connection");
            drop((server, theirs));
        });
        eventually("as many threads as before", || threads() <= before);
    });
}

/// Ensures that a channel whose connection has ended before takes a shutdown, and that the channel of an accepted connection is
/// hears of its server's shutdown too.
#[test]
fn a_shutdown_of_what_has_ended_is_harmless() {
    within("all of them end", || {
        let (_server, ours, theirs) = pair("127.0.0.1:0");
        let events = ours.events(4).expect("a thread can be started");
        ours.destroy();
        assert_eq!(words(&events, || ()), ["close false"], "it has ended");
        drop(theirs);
        events.begin_shutdown(AN_HOUR).expect("a thread can be started");

        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let other = Socket::connect(server.address()).expect("the server listens");
        let socket = server.accept().expect("the listener is sound").expect("the server is open");
        let events = socket.events(4).expect("a thread can be started");
        let receiving = thread::spawn(move || words(&events, || socket.outbox().end().expect("it is open")));
        let report = server.shutdown(AN_HOUR);
        assert_eq!((report.finished, report.forced), (1, 0), "{report}");
        assert_eq!(
            receiving.join().expect("no panic"),
            ["shutting down", "close false"],
            "the server's shutdown is told"
        );
        drop(other);
    });
}
