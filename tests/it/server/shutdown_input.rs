//! What a client still sends, or has sent, when the server shuts down.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, Socket, SocketEvent};

use crate::support::clients::client;
use crate::support::fixtures::{Served, words};
use crate::support::{HANG, each_ip, eventually, has_proc, numbered, threads_named, until_asleep, within};

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A timer that no test reaches.
const HOUR: Duration = Duration::from_secs(3600);

/// A server that has seen nothing for some 100 ms takes a client to have paused. One that sends must be quicker.
const PAUSE: Duration = Duration::from_millis(90);

/// Sends pieces at a pace of 5 ms from `start` on, and then the end, and calls `sent` after each piece; gives whether it
/// has never paused, as a busy machine may make it do, and what it reads. One that has paused may see a reset.
fn send_on(mut client: &TcpStream, start: Instant, sent: impl Fn(usize)) -> (bool, io::Result<String>) {
    let (mut last, mut longest) = (start, Duration::ZERO);
    let mut send = || {
        for piece in 0..40 {
            let before = Instant::now();
            client.write_all(&[7; 100])?;
            // From before the last write.
            longest = longest.max(last.elapsed());
            last = before;
            sent(piece);
            // It does not count any more, and on such a machine the rest may take a minute.
            if longest >= PAUSE && piece > 3 {
                break;
            }
            // Not a bound: the pace of the client.
            thread::park_timeout(millis(5));
        }
        client.shutdown(Shutdown::Write)
    };
    let result = send();
    longest = longest.max(last.elapsed());
    let mut said = String::new();
    (longest < PAUSE, result.and_then(|()| client.read_to_string(&mut said)).map(|_| said))
}

/// Ensures that a client that goes on sending while the server shuts down reads its goodbye and then the end, without an
/// error in any of its writes: no RST comes between.
#[test]
fn a_client_that_still_sends_gets_the_goodbye_without_a_reset() {
    each_ip(|at| {
        eventually("a client is never kept from sending", || {
            let served = Served::start(at, &ServerOptions::new().lingering_close(HOUR), |socket| {
                let error = loop {
                    match socket.read(&mut [0; 1024]) {
                        // The machine let it send all before the shutdown came to this connection.
                        Ok(0) => return socket.write_all("all"),
                        Ok(_) => {}
                        Err(error) => break error,
                    }
                };
                socket.write_all("goodbye")?;
                Err(error)
            });
            let clients: Vec<_> = (0..5).map(|_| client(served.server.address())).collect();
            eventually("all are served", || served.server.sockets().len() == 5);
            let clients = clients.into_iter().map(|client| {
                let (tell, sending) = mpsc::channel();
                let server = served.server.clone();
                let client = thread::spawn(move || {
                    let still_sends = Cell::new(false);
                    let (counts, said) = send_on(&client, Instant::now(), |piece| match piece {
                        3 => tell.send(()).expect("the test waits"),
                        20 => still_sends.set(!server.is_listening()),
                        _ => {}
                    });
                    (counts && still_sends.get(), said)
                });
                (client, sending)
            });
            let clients: Vec<_> = clients.collect();
            for (_, sending) in &clients {
                sending.recv_timeout(HANG).expect("the client sends");
            }
            let server = served.server.clone();
            let report = within("the shutdown ends", move || server.shutdown(HOUR));
            println!("measured: shutdown over 5 clients that go on sending for 0.2 s: {report}");
            assert_eq!((report.forced, report.still_running), (0, 0), "all in order: {report}");
            let mut judged = 0;
            for (client, _) in clients {
                let (counts, said) = within("the client ends", || client.join()).expect("it does not panic");
                if counts {
                    let said = said.expect("no write fails, and no reset comes");
                    if said != "all" {
                        judged += 1;
                        assert_eq!(said, "goodbye", "it arrives");
                    }
                }
            }
            served.stop();
            assert!((judged..=5).contains(&report.finished), "what was open is finished: {report}");
            judged > 0
        });
    });
}

/// Ensures that a second shutdown does not make a goodbye forgotten that a handler has written since the first: a client
/// that sends again a moment later still reads the end behind it, and no reset.
#[test]
fn a_goodbye_survives_a_second_shutdown() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        eventually("the client is never kept from sending", || {
            let (tell, written) = mpsc::channel();
            let (go_on, gone_on) = mpsc::channel::<()>();
            let gone_on = std::sync::Mutex::new(gone_on);
            let served = Served::start(at, &ServerOptions::new().lingering_close(HOUR), move |socket| {
                let error = socket.read_exact(&mut [0; 1024]).expect_err("the server shuts down");
                socket.write_all("goodbye")?;
                tell.send(()).expect("the test waits");
                gone_on.lock().expect("it is not poisoned").recv().expect("the test says so");
                Err(error)
            });
            let client = client(served.server.address());
            eventually("it is served", || served.server.sockets().len() == 1);
            let server = served.server.clone();
            let first = thread::spawn(move || server.shutdown(HOUR));
            written.recv_timeout(HANG).expect("the handler was woken");
            let server = served.server.clone();
            let (second, id) = numbered(move || server.shutdown(HOUR));
            // It nudges before it waits.
            until_asleep(id.as_slice());
            let start = Instant::now();
            go_on.send(()).expect("the handler waits");
            let (counts, said) = send_on(&client, start, |_| {});
            for shutdown in [first, second] {
                let report = within("the shutdown ends", || shutdown.join()).expect("it does not panic");
                assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0), "{report}");
            }
            served.stop();
            if counts {
                assert_eq!(said.expect("no write fails, and no reset comes"), "goodbye", "it arrives");
            }
            counts
        });
    });
}

/// Ensures that a shutdown does not make an answer forgotten that a handler has written since it ended reading: a client
/// that sends again a moment later still reads the end behind it, and no reset.
#[test]
fn an_answer_after_end_reading_survives_a_shutdown() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        eventually("the client is never kept from sending", || {
            let (tell, written) = mpsc::channel();
            let (go_on, gone_on) = mpsc::channel::<()>();
            let gone_on = std::sync::Mutex::new(gone_on);
            let served = Served::start(at, &ServerOptions::new().lingering_close(HOUR), move |socket| {
                socket.end_reading();
                socket.write_all("answer")?;
                tell.send(()).expect("the test waits");
                gone_on.lock().expect("it is not poisoned").recv().expect("the test says so");
                Ok(())
            });
            let client = client(served.server.address());
            written.recv_timeout(HANG).expect("the handler was called");
            let server = served.server.clone();
            let (shutdown, id) = numbered(move || server.shutdown(HOUR));
            // It nudges before it waits.
            until_asleep(id.as_slice());
            let start = Instant::now();
            go_on.send(()).expect("the handler waits");
            let (counts, said) = send_on(&client, start, |_| {});
            let report = within("the shutdown ends", || shutdown.join()).expect("it does not panic");
            assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0), "{report}");
            served.stop();
            if counts {
                assert_eq!(said.expect("no write fails, and no reset comes"), "answer", "it arrives");
            }
            counts
        });
    });
}

/// Ensures that clients that say nothing do not hold a shutdown up, neither for the time they have to end nor for its
/// own: an hour each.
#[test]
fn silent_clients_do_not_hold_a_shutdown_up() {
    each_ip(|at| {
        let options = ServerOptions::new().lingering_close(HOUR);
        let served = Served::start(at, &options, |socket| socket.read_exact(&mut [0]));
        let clients: Vec<_> = (0..20).map(|_| served.connect()).collect();
        eventually("all are served", || served.server.sockets().len() == 20);
        let server = served.server.clone();
        let report = within("the shutdown ends", move || server.shutdown(HOUR));
        println!("measured: shutdown over 20 silent clients: {report}");
        assert_eq!((report.finished, report.still_running), (20, 0), "all in order: {report}");
        drop(clients);
        served.stop();
    });
}

/// Ensures that a client that goes on sending now and then cannot hold a shutdown up, although it would have an
/// hour to end.
#[test]
fn a_client_that_goes_on_sending_cannot_hold_a_shutdown_up() {
    each_ip(|at| {
        let options = ServerOptions::new().lingering_close(HOUR);
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
        // Again where the machine is too busy for the thread to notice in the last moment that a shutdown gives it.
        eventually("the thread has noticed", || served.server.shutdown(Duration::ZERO).still_running == 0);
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
        let served =
            Served::start(at, &ServerOptions::new().pause_on_connect(true).thread_name("held"), move |socket| {
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
            let found = || served.server.sockets().into_iter().find(|socket| matches!(socket.available(), Ok(Some(4))));
            eventually("it is held back", || found().is_some());
            found().expect("it was there a moment ago")
        };
        let server = served.server.clone();
        let (shutting_down, id) = numbered(move || server.shutdown(HANG));
        eventually("the shutdown has begun", || !served.server.is_listening());
        until_asleep(id.as_slice());
        until_asleep(&threads_named("held "));
        assert!(told.try_recv().is_err(), "it is paused, so nothing is given out and nothing ends");
        socket.resume();
        let tape = told.recv_timeout(HANG).expect("once it is resumed, it ends");
        assert_eq!(words(thread::spawn(|| tape)), ["data", "close false"], "what was held back comes first");
        let report = within("the shutdown ends", || shutting_down.join()).expect("it does not panic");
        assert_eq!((report.finished, report.forced), (1, 0), "in order: {report}");
        served.stop();
    });
}
