//! What a client still sends, or has sent, when the server shuts down.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use landline::net::{ServerOptions, Socket, SocketEvent};

use crate::support::fixtures::{Served, words};
use crate::support::{HANG, blocked, each_ip, eventually, threads_named, until_asleep, within};

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Ensures that a client that goes on sending while the server shuts down reads its goodbye and then the end, without an
/// error in any of its writes: no RST comes between.
#[test]
fn a_client_that_still_sends_gets_the_goodbye_without_a_reset() {
    each_ip(|at| {
        let served = Served::start(at, &ServerOptions::new(), |socket| {
            let error = loop {
                if let Err(error) = socket.read(&mut [0; 1024]) {
                    break error;
                }
            };
            socket.write_all("goodbye")?;
            Err(error)
        });
        let at = served.server.address().socket_addr().expect("it is TCP");
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let mut client = TcpStream::connect(at).expect("the server listens");
                let (tell, sending) = mpsc::channel();
                let client = thread::spawn(move || {
                    for piece in 0..60 {
                        if let Err(error) = client.write_all(&[7; 100]) {
                            panic!("write {piece} of a client that still sends: {error}");
                        }
                        if piece == 20 {
                            tell.send(()).expect("the test waits");
                        }
                        // Not a bound: the pace of the client.
                        thread::park_timeout(millis(5));
                    }
                    client.shutdown(std::net::Shutdown::Write).expect("it is connected");
                    let mut said = String::new();
                    client.set_read_timeout(Some(HANG)).expect("it is open");
                    client.read_to_string(&mut said).expect("an orderly end, and no reset");
                    said
                });
                (client, sending)
            })
            .collect();
        for (_, sending) in &clients {
            sending.recv_timeout(HANG).expect("the client sends");
        }
        let server = served.server.clone();
        let report = within("the shutdown ends", move || server.shutdown(HANG));
        println!("measured: shutdown over 5 clients that go on sending for 0.2 s: {report}");
        assert_eq!((report.finished, report.forced, report.still_running), (5, 0, 0), "all in order: {report}");
        for (client, _) in clients {
            let said = within("the client ends", || client.join()).expect("none of its writes failed");
            assert_eq!(said, "goodbye", "it arrives");
        }
        served.stop();
    });
}

/// Ensures that a second shutdown does not make a goodbye forgotten that a handler has written since the first: a client
/// that sends again a moment later still reads the end behind it, and no reset.
#[test]
fn a_goodbye_survives_a_second_shutdown() {
    each_ip(|at| {
        let (tell, written) = mpsc::channel();
        let (go_on, gone_on) = mpsc::channel::<()>();
        let gone_on = std::sync::Mutex::new(gone_on);
        let served = Served::start(at, &ServerOptions::new(), move |socket| {
            let error = socket.read_exact(&mut [0; 1024]).expect_err("the server shuts down");
            socket.write_all("goodbye")?;
            tell.send(()).expect("the test waits");
            gone_on.lock().expect("nobody panics").recv().expect("the test says so");
            Err(error)
        });
        let client = served.connect();
        eventually("it is served", || served.server.sockets().len() == 1);
        let server = served.server.clone();
        let first = thread::spawn(move || server.shutdown(HANG));
        written.recv_timeout(HANG).expect("the handler was woken");
        let server = served.server.clone();
        let second = blocked(move || server.shutdown(HANG));
        go_on.send(()).expect("the handler waits");
        for _ in 0..5 {
            // Not a bound: the pace of the client.
            thread::park_timeout(millis(10));
            client.write_all("more").expect("no reset comes");
        }
        client.end().expect("it is connected");
        let said = client.read_to_string().expect("an orderly end, and no reset");
        assert_eq!(said, "goodbye", "it arrives");
        for shutdown in [first, second] {
            let report = within("the shutdown ends", || shutdown.join()).expect("it does not panic");
            assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0), "{report}");
        }
        served.stop();
    });
}

/// Ensures that clients that say nothing do not hold a shutdown up, which would wait an hour.
#[test]
fn silent_clients_do_not_hold_a_shutdown_up() {
    each_ip(|at| {
        let served = Served::start(at, &ServerOptions::new(), |socket| socket.read_exact(&mut [0]));
        let clients: Vec<_> = (0..20).map(|_| served.connect()).collect();
        eventually("all are served", || served.server.sockets().len() == 20);
        let server = served.server.clone();
        let report = within("the shutdown ends", move || server.shutdown(HANG * 60));
        println!("measured: shutdown over 20 silent clients: {report}");
        assert_eq!((report.finished, report.still_running), (20, 0), "all in order: {report}");
        drop(clients);
        served.stop();
    });
}

/// Ensures that a client that never stops sending cannot hold a shutdown up beyond its time, though the lingering time is
/// an hour.
#[test]
fn a_client_that_never_stops_sending_is_cut_at_the_end_of_the_time() {
    each_ip(|at| {
        let options = ServerOptions::new().lingering_close(HANG * 60);
        let served = Served::start(at, &options, |socket| {
            loop {
                socket.read(&mut [0; 1024])?;
            }
        });
        let client = served.connect();
        let sending = thread::spawn(move || {
            while client.write_all("x").is_ok() {
                // Not a bound: the pace of the client.
                thread::park_timeout(millis(5));
            }
        });
        eventually("it is served", || served.server.sockets().iter().any(|socket| socket.bytes_read() > 3));
        let server = served.server.clone();
        let report = within("the shutdown ends", move || server.shutdown(millis(400)));
        println!("measured: shutdown(0.4 s) over a client that never stops sending: {report}");
        assert_eq!(report.still_running, 0, "the thread has noticed: {report}");
        within("the client sees its end", || sending.join()).expect("it does not panic");
        served.stop();
    });
}

/// Ensures that what a paused connection holds back when the server shuts down is given out once it is resumed, and not
/// lost.
#[test]
fn a_paused_connection_loses_nothing_to_a_shutdown() {
    each_ip(|at| {
        let (tell, told) = mpsc::channel();
        let served = Served::start(at, &ServerOptions::new().pause_on_connect(true), move |socket| {
            let mut tape = crate::support::fixtures::Tape::default();
            let result = socket.each(|_, event| {
                tape.add(&event);
                if let SocketEvent::Data(bytes) = event {
                    assert_eq!(bytes, b"held", "what was sent");
                }
                Ok(())
            });
            tell.send(tape).expect("the test waits");
            result
        });
        let client = served.connect();
        client.write_all("held").expect("it is connected");
        let socket: Socket = {
            let found = || served.server.sockets().into_iter().find(|socket| socket.bytes_read() == 4);
            eventually("it is held back", || found().is_some());
            found().expect("it was there a moment ago")
        };
        let server = served.server.clone();
        let shutting_down = blocked(move || server.shutdown(HANG));
        until_asleep(&threads_named("landline "));
        assert!(told.try_recv().is_err(), "it is paused, so nothing is given out and nothing ends");
        socket.resume();
        let tape = told.recv_timeout(HANG).expect("once it is resumed, it ends");
        assert_eq!(words(thread::spawn(|| tape)), ["data", "close false"], "what was held back comes first");
        let report = within("the shutdown ends", || shutting_down.join()).expect("it does not panic");
        assert_eq!((report.finished, report.forced), (1, 0), "in order: {report}");
        served.stop();
    });
}
