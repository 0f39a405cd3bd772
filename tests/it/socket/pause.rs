//! Holding events back.

use std::sync::mpsc;
use std::time::Duration;

use landline::Encoding;
#[cfg(feature = "channel")]
use landline::net::ServerEvent;
use landline::net::{Buffered, ReadyState, Server, ServerOptions, Socket, SocketEvent, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{pair, pair_with, record, watch, words};
use crate::support::{HANG, blocked, each_ip, eventually, has_proc, numbered, until_asleep, within};

const AT: &str = "127.0.0.1:0";

fn has_some(socket: &Socket) -> bool {
    socket.available().expect("it is connected").is_some_and(|n| n > 0)
}

/// Ensures that while paused no byte is delivered, and after `resume` everything is: 200 bytes in 20 pieces. Mirrors
/// pummel/net-pause.js.
#[test]
fn while_paused_nothing_is_delivered_and_then_everything() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let (tell, told) = mpsc::channel();
        let socket = accepted.clone();
        let (tape, reader) = numbered(move || {
            record(&socket, |_, event| {
                if let SocketEvent::Data(bytes) = event {
                    tell.send(bytes.len()).expect("the test waits");
                }
                Ok(())
            })
        });
        let mut total = 0;
        for round in 0..4 {
            if round % 2 == 1 {
                accepted.pause();
            }
            assert_eq!(accepted.is_paused(), round % 2 == 1, "it says so");
            for _ in 0..5 {
                client.write_all("0123456789").expect("it is connected");
            }
            if round % 2 == 1 {
                eventually("a piece arrives", || has_some(&accepted));
                until_asleep(reader.as_slice());
                assert!(told.try_recv().is_err(), "no byte while it is paused");
                accepted.resume();
            }
            while total < 50 * (round + 1) {
                total += told.recv_timeout(HANG).expect("after it, everything");
            }
        }
        client.end().expect("it is connected");
        assert_eq!(words(tape), ["data", "end", "close false"], "and the end");
        assert_eq!(total, 200, "each byte once");
    });
}

/// Ensures that a paused socket makes its peer wait instead of filling our memory.
#[test]
fn a_paused_socket_pushes_back() {
    let (_server, client, accepted) = pair(AT);
    accepted.pause();
    let socket = accepted.clone();
    let (tape, reader) = numbered(move || record(&socket, |_, _| Ok(())));
    let writing = blocked(move || client.write_end(vec![0; 32 << 20]));
    until_asleep(reader.as_slice());
    assert!(!writing.is_finished(), "the peer waits");
    assert!(accepted.bytes_read() <= 65_536, "one piece at most is taken in: {}", accepted.bytes_read());
    accepted.resume();
    within("the write ends", || writing.join()).expect("no panic").expect("all is taken");
    assert_eq!(words(tape), ["data", "end", "close false"], "in order");
    assert_eq!(accepted.bytes_read(), 32 << 20, "and all of it");
}

/// Ensures that with `pause_on_connect` nothing is told until `resume`, by callbacks, by `each` and by a channel. Mirrors
/// Node's pauseOnConnect.
#[cfg(feature = "channel")]
#[test]
fn with_pause_on_connect_nothing_is_told_until_resume() {
    let options = ServerOptions::new().pause_on_connect(true);
    let (_server, client, accepted) = pair_with(AT, options.clone(), SocketOptions::new());
    assert!(accepted.is_paused() && !client.is_paused(), "the accepted side alone");
    let (tell, told) = mpsc::channel();
    let socket = accepted.clone();
    let (tape, reader) = numbered(move || record(&socket, |_, _| tell.send(()).map_err(std::io::Error::other)));
    client.write_end("x").expect("it is connected");
    eventually("the byte arrives", || has_some(&accepted));
    until_asleep(reader.as_slice());
    assert!(told.try_recv().is_err(), "neither byte nor end is told");
    assert_eq!(accepted.bytes_read(), 0, "nothing is read");
    accepted.resume();
    assert_eq!(words(tape), ["data", "end", "close false"], "everything after it");

    let server = options.listen(AT).expect("port 0 can be listened on");
    let events = server.events(8).expect("a thread can be started");
    let [(_first_client, first), (_second_client, second)] = [(); 2].map(|()| {
        let client = Socket::connect(server.address()).expect("the server listens");
        client.write_end("x").expect("it is connected");
        match events.recv_timeout(HANG) {
            Ok(ServerEvent::Connection(socket)) => (client, socket),
            other => panic!("the connection is told of, and nothing of those before it: {other:?}"),
        }
    });
    eventually("the first one's byte arrives", || has_some(&first));
    assert_eq!(first.bytes_read(), 0, "nothing is read");
    for socket in [second, first] {
        socket.resume();
        let data = events.recv_timeout(HANG).expect("after it, everything");
        assert!(
            matches!(&data, ServerEvent::Socket(its, SocketEvent::Data(bytes)) if *its == socket && bytes == b"x"),
            "of the one that was resumed: {data:?}"
        );
        let end = events.recv_timeout(HANG).expect("after it, everything");
        assert!(matches!(&end, ServerEvent::Socket(its, SocketEvent::End) if *its == socket), "and no other: {end:?}");
    }
}

/// Ensures that a pause inside the closure holds back the next event, and that another thread can resume.
#[test]
fn a_closure_can_pause() {
    let (_server, client, accepted) = pair(AT);
    let (tell, told) = mpsc::channel();
    let socket = accepted.clone();
    let (running, reader) = numbered(move || {
        socket.each(|socket, event| match event {
            SocketEvent::Data(bytes) => {
                socket.pause();
                tell.send(bytes.len()).map_err(std::io::Error::other)
            }
            _ => Ok(()),
        })
    });
    for round in 0..3 {
        client.write_all("abc").expect("it is connected");
        assert_eq!(told.recv_timeout(HANG), Ok(3), "round {round}");
        client.write_all("def").expect("it is connected");
        eventually("it arrives", || has_some(&accepted));
        until_asleep(reader.as_slice());
        assert!(told.try_recv().is_err(), "it is paused");
        assert_eq!(accepted.bytes_read(), 6 * round + 3, "nothing is read");
        accepted.resume();
        assert_eq!(told.recv_timeout(HANG), Ok(3), "and now it is not");
        accepted.resume();
    }
    client.end().expect("it is connected");
    accepted.resume();
    within("run returns", || running.join()).expect("no panic").expect("all went well");
}

/// Ensures that a paused loop is ended by `destroy`, tells a timeout, and leaves blocking reads alone.
#[test]
fn a_paused_loop_can_be_destroyed_and_times_out() {
    if !has_proc() {
        return;
    }
    let (_server, client, accepted) = pair(AT);
    accepted.pause();
    client.write_all("x").expect("it is connected");
    assert_eq!(accepted.read(&mut [0; 8]).expect("a byte is there"), 1, "blocking reads are not held back");
    let socket = accepted.clone();
    let (tape, reader) = numbered(move || record(&socket, |_, _| Ok(())));
    client.write_all("y").expect("it is connected");
    eventually("it arrives", || has_some(&accepted));
    until_asleep(reader.as_slice());
    accepted.destroy();
    assert_eq!(words(tape), ["close false"], "nothing is delivered any more");

    let (_server, client, accepted) = pair(AT);
    accepted.pause();
    let socket = accepted.clone();
    let (tape, reader) = numbered(move || record(&socket, |_, _| Ok(())));
    client.end().expect("it is connected");
    eventually("it arrives", || accepted.available().expect("it is connected") == Some(0));
    until_asleep(reader.as_slice());
    assert_eq!(accepted.ready_state(), ReadyState::WriteOnly, "the end is known, and not answered");
    accepted.resume();
    assert_eq!(words(tape), ["end", "close false"], "until it is not");

    let (_server, client, accepted) = pair(AT);
    accepted.set_timeout(Duration::from_millis(50));
    accepted.pause();
    client.write_all("y").expect("it is connected");
    let tape = watch(&accepted, |socket, event| {
        if let SocketEvent::Timeout = event {
            // Once: the client's end may take longer.
            socket.set_timeout(None);
            socket.resume();
        }
        Ok(())
    });
    client.end().expect("it is connected");
    assert_eq!(words(tape), ["timeout", "data", "end", "close false"], "the time goes on, and is told");
}

/// Ensures that a decoder in `each` gives a character whole whose bytes come in two pieces, and marks what is not valid. Mirrors the
/// setEncoding of net-large-string.js.
#[test]
fn text_gives_whole_characters() {
    let server = Server::listen(AT).expect("port 0 can be listened on");
    let running = server
        .spawn(|socket| {
            let mut decoder = landline::Decoder::new(Encoding::Utf8);
            socket.each(|socket, event| match event {
                SocketEvent::Data(bytes) => socket.write_all(decoder.push(bytes).to_uppercase()),
                SocketEvent::End => socket.write_all(decoder.finish().to_uppercase() + "."),
                _ => Ok(()),
            })
        })
        .expect("a thread can be started");
    let client = Socket::connect(server.address()).expect("the server listens");
    let text = "aé漢🦀".repeat(100);
    for piece in text.as_bytes().chunks(3) {
        client.write_all(piece).expect("it is connected");
    }
    client.write_end([b'!', 0xE6, 0xBC]).expect("it is connected");
    let came = client.read_text().expect("whole characters are UTF-8");
    assert_eq!(came, format!("{}!\u{FFFD}.", text.to_uppercase()), "all of it, the torn end marked, before the end");
    server.close();
    within("serve returns", || running.join()).expect("all went well");
}

/// Ensures that blocking reads of a paused connection get every byte in order, also those that a loop was reading when the
/// pause began.
#[test]
fn blocking_reads_of_a_paused_connection_get_every_byte_in_order() {
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let socket = accepted.clone();
        let (tape, reader) = numbered(move || record(&socket, |_, _| Ok(())));
        until_asleep(reader.as_slice());
        accepted.pause();
        client.write_all("first").expect("it is connected");
        // The loop, which was in a read, has taken it and put it back.
        eventually("it arrives", || has_some(&accepted));
        client.write_all(" second").expect("it is connected");
        let mut all = [0; 12];
        let reading = accepted.clone();
        let all = within("it is read", move || reading.read_exact(&mut all).map(|()| all)).expect("no error");
        assert_eq!(&all, b"first second", "in order");
        assert_eq!(accepted.bytes_read(), 12, "each byte is counted once");
        client.end().expect("it is connected");
        accepted.resume();
        assert_eq!(words(tape), ["end", "close false"], "none is told twice");
    });
}

/// Ensures that bytes that another thread puts back during a pause are delivered before the end of the stream, though the
/// loop has come to that end before.
#[test]
fn bytes_put_back_during_a_pause_come_before_the_end() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        let buffered = holds_rest(&client, &accepted);
        let socket = accepted.clone();
        let (tell, told) = mpsc::channel();
        let (tape, reader) = numbered(move || {
            record(&socket, |_, event| match event {
                SocketEvent::Data(bytes) => tell.send(bytes.to_vec()).map_err(std::io::Error::other),
                _ => Ok(()),
            })
        });
        until_asleep(reader.as_slice());
        accepted.pause();
        client.end().expect("it is connected");
        eventually("the loop has read the end", || accepted.ready_state() == ReadyState::WriteOnly);
        drop(buffered);
        accepted.resume();
        assert_eq!(words(tape), ["data", "end", "close false"], "the end comes last");
        assert_eq!(told.recv(), Ok(b"rest".to_vec()), "every byte, in order");
    });
}

/// Ensures that bytes that another thread puts back during a pause are delivered before a shutdown, though the loop was
/// interrupted before, and that the connection is not closed during the pause.
#[cfg(feature = "channel")]
#[test]
fn bytes_put_back_during_a_pause_come_before_the_shutdown() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        for by_channel in [false, true] {
            let (server, client, accepted) = pair(at);
            let buffered = holds_rest(&client, &accepted);
            let (tell, told) = mpsc::channel();
            let socket = accepted.clone();
            let events = by_channel.then(|| accepted.events(8).expect("a thread can be started"));
            let looping = (!by_channel).then(|| {
                numbered(move || socket.each(|_, event| tell.send(event.into_owned()).map_err(std::io::Error::other)))
            });
            until_asleep(looping.and_then(|(_, reader)| reader).as_slice());
            accepted.pause();
            let shutdown = std::thread::spawn(move || server.shutdown(HANG));
            // The loop has the turn to read until it is interrupted.
            let reading = accepted.clone();
            within("the read ends", move || reading.read(&mut [0])).expect_err("the server shuts down");
            drop(buffered);
            assert!(!accepted.is_destroyed(), "the connection stays open during the pause");
            accepted.resume();
            let next = || match &events {
                Some(events) => events.recv_timeout(HANG).ok(),
                None => told.recv_timeout(HANG).ok(),
            };
            let data = next();
            assert!(matches!(&data, Some(SocketEvent::Data(bytes)) if bytes == b"rest"), "every byte first: {data:?}");
            if by_channel {
                let end = next();
                assert!(matches!(end, Some(SocketEvent::ShuttingDown)), "then the shutdown: {end:?}");
                accepted.outbox().end().expect("it is open");
                client.end().expect("it is connected");
            }
            let close = next();
            assert!(matches!(close, Some(SocketEvent::Close { had_error: false })), "the close comes last: {close:?}");
            let report = within("shutdown returns", move || shutdown.join()).expect("nothing panicked");
            assert_eq!(report.forced, 0, "nothing is cut off: {report:?}");
        }
    });
}

/// What holds the bytes "rest", which have arrived behind a line.
fn holds_rest(client: &Socket, accepted: &Socket) -> Buffered {
    client.write_all("line\nrest").expect("it is connected");
    eventually("both arrive", || accepted.available().expect("it is connected") == Some(9));
    let mut buffered = accepted.buffered().expect("it has none");
    assert_eq!(buffered.next_line().expect("no error").as_deref(), Some("line"), "the premise: the line is read");
    assert_eq!(buffered.buffer(), b"rest", "the premise: the rest is held");
    buffered
}
