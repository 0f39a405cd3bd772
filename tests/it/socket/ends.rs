//! Orderly ends: each direction by itself, half-open or not, and that no reply is lost on the way.

use std::io::{self, ErrorKind, IoSliceMut, Read};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use landline::Error;
use landline::net::{ReadyState, Server, ServerOptions, Socket, SocketEvent, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{Served, pair, pair_with, watch, watch_only, watch_running, words};
use crate::support::{HANG, blocked, descriptors, differs_on_windows, each_ip, eventually, in_child, threads, within};

/// Ensures that a peer's end is told as end, then close, and nothing else (net-end-close.js).
#[test]
fn the_end_comes_before_the_close() {
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (theirs, ours) = (watch_only(&client), watch_only(&accepted));
            accepted.end().expect("it is connected");
            assert_eq!(words(theirs), ["end", "close false"], "end, then close");
            assert_eq!(words(ours), ["end", "close false"], "the side that ended first gets the answering end");
        });
    });
}

/// Ensures that a socket is not closed yet while its end is told (net-end-destroyed.js).
#[test]
fn a_socket_is_open_while_its_end_is_told() {
    within("both sides close", || {
        each_ip(|at| {
            let (server, client, accepted) = pair(at);
            let (tell, told) = mpsc::channel();
            let inside = server.clone();
            let tape = watch(&accepted, move |socket, event| {
                if let SocketEvent::End = event {
                    tell.send((socket.ready_state(), inside.connections())).expect("the test waits");
                }
                Ok(())
            });
            client.end().expect("it is connected");
            let told = told.recv().expect("the end is told");
            assert_eq!(told, (ReadyState::WriteOnly, 1), "inside the end we may still write, and count as open");
            assert_eq!(words(tape), ["end", "close false"], "then it is closed");
            assert_eq!(accepted.ready_state(), ReadyState::Closed, "and says so");
            assert_eq!(server.connections(), 0, "and counts no more");
        });
    });
}

/// Ensures that without half-open a peer's end is answered by ours after all that is written in answer to it is out, and
/// that the close follows (net-allow-half-open.js).
#[test]
fn an_end_is_answered_when_what_was_written_is_out() {
    const REPLY: usize = 3_000_000;
    within("the reply arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let tape = watch(&accepted, |socket, event| match event {
                // More than the buffers between hold: it is not out when the call begins.
                SocketEvent::End => socket.write_all(vec![b'r'; REPLY]),
                _ => Ok(()),
            });
            client.write_end("request").expect("it is connected");
            assert_eq!(client.ready_state(), ReadyState::ReadOnly, "we have ended and may still read");
            let reply = client.read_all().expect("no reset");
            assert_eq!(reply.len(), REPLY, "the whole reply arrives, then our end's answer");
            assert_eq!(words(tape), ["data", "end", "close false"], "end before close");
            assert_eq!(client.ready_state(), ReadyState::Closed, "both directions have ended");
        });
    });
}

/// Ensures that the answering end waits for another thread's write that is under way (net-allow-half-open.js).
#[test]
fn an_end_is_answered_after_another_threads_write() {
    const REPLY: usize = 16 << 20;
    within("the reply arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let writer = accepted.clone();
            let writing = thread::spawn(move || writer.write_all(vec![b'r'; REPLY]));
            client.peek(&mut [0; 1]).expect("the write is under way");
            let tape = watch_only(&accepted);
            client.end().expect("it is connected");
            assert_eq!(client.read_all().expect("no reset").len(), REPLY, "the write is not cut off by the end");
            writing.join().expect("no panic").expect("it was written whole");
            assert_eq!(words(tape), ["end", "close false"], "then the end is answered and the socket closed");
        });
    });
}

/// Ensures that with half-open on both sides a client may write after the server has ended, that each side is told of one
/// end and one close, and the server's close of six clients once (net-connect-options-allowhalfopen.js).
#[test]
fn half_open_clients_write_after_the_servers_end() {
    within("everything closes", || {
        each_ip(|at| {
            let options = ServerOptions::new().allow_half_open(true);
            let server = options.listen(at).expect("port 0 can be listened on");
            let (tell, told) = mpsc::channel();
            let (closed, tapes) = (tell.clone(), tell);
            let running = server
                .on()
                .connection(move |socket| {
                    socket.write_end("first")?;
                    let mut tape = String::new();
                    socket.each(|_, event| {
                        match event {
                            SocketEvent::Data(bytes) => tape += &String::from_utf8_lossy(bytes),
                            event => tape += &format!(" {event:?}"),
                        }
                        Ok(())
                    })?;
                    tapes.send(tape).map_err(io::Error::other)
                })
                .close(move || closed.send("server".into()).expect("the test waits"))
                .spawn()
                .expect("a thread can be started");
            for _ in 0..6 {
                let options = SocketOptions::new().allow_half_open(true);
                let client = options.connect(server.address()).expect("it listens");
                let (end, ended) = mpsc::channel();
                let tape = watch(&client, move |socket, event| match event {
                    SocketEvent::End => end.send(socket.ready_state()).map_err(io::Error::other),
                    _ => Ok(()),
                });
                let state = ended.recv().expect("the server's end is told");
                assert_eq!(state, ReadyState::WriteOnly, "not readable, but writable");
                assert_eq!(client.read(&mut [0; 1]).expect("an end is no error"), 0, "there is nothing more to read");
                assert_eq!(client.ready_state(), ReadyState::WriteOnly, "nothing ends our side but we");
                client.write_all("last").expect("our direction is open");
                client.end().expect("our direction is open");
                assert_eq!(words(tape), ["data", "end", "close false"], "one end and one close");
                let theirs: String = told.recv().expect("the handler returns");
                assert_eq!(theirs, "last End Close { had_error: false }", "what was written after the end arrives");
            }
            server.close();
            running.join().expect("it was closed in order");
            assert_eq!(told.iter().collect::<Vec<_>>(), ["server"], "the server's close is told once");
        });
    });
}

/// Ensures that with half-open our direction stays open after the peer's end until somebody ends it, however long that is
/// after the callback has returned.
#[test]
fn a_half_open_socket_waits_for_our_end() {
    within("both sides close", || {
        each_ip(|at| {
            let options = ServerOptions::new().allow_half_open(true);
            let (server, client, accepted) = pair_with(at, options, SocketOptions::new());
            let (tell, told) = mpsc::channel();
            let tape = watch(&accepted, move |_, event| match event {
                SocketEvent::End => tell.send(()).map_err(io::Error::other),
                _ => Ok(()),
            });
            client.end().expect("it is connected");
            told.recv().expect("the end is told");
            for round in 0..3 {
                writeln_to(&accepted, round);
                let mut line = [0; 2];
                client.read_exact(&mut line).expect("the peer may read on");
                assert_eq!(line[0], b'0' + round, "what is written after the peer's end arrives");
            }
            assert_eq!(server.connections(), 1, "it is open");
            assert!(!tape.is_finished(), "each goes on until our end");
            accepted.end().expect("our direction is open");
            assert_eq!(words(tape), ["end", "close false"], "our end ends it");
            assert_eq!(client.read(&mut [0; 1]).expect("no reset"), 0, "the peer reads our end");
        });
    });
}

fn writeln_to(socket: &Socket, number: u8) {
    writeln!(socket, "{number}").expect("our direction is open");
}

/// Ensures that writing after the peer's end was answered fails, and reaches nobody (socket-write-after-fin-error.js).
///
/// The answer and the close that follows it are one step for whoever watches: the error is that of an ended or, mostly, of
/// a closed socket.
#[test]
fn a_write_after_the_answered_end_fails_and_reaches_nobody() {
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let tape = watch_only(&accepted);
            let writer = accepted.clone();
            client.end().expect("it is connected");
            assert_eq!(client.read_text().expect("no reset"), "", "the client reads our end and nothing else");
            let error = writer.write_all("late").expect_err("our direction has ended");
            let text = error.to_string();
            match error.kind() {
                ErrorKind::BrokenPipe => assert_eq!(text, "This socket has been ended by the other party"),
                ErrorKind::NotConnected => assert_eq!(text, "Cannot call write after a stream was destroyed"),
                other => panic!("{other:?}: {text}"),
            }
            assert_eq!(words(tape), ["end", "close false"], "a failed write is no event");
            assert_eq!(client.read(&mut [0; 1]).expect("no reset"), 0, "nothing came after the end");
        });
    });
}

/// Ensures that a write after both sides have ended says that the other party ended the socket, one after our end alone
/// `write after end`, and both are `BrokenPipe` (net-write-after-end-nt.js).
#[test]
fn a_write_after_the_end_says_who_ended() {
    within("every call returns", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.end().expect("it is connected");
            for result in [client.write_all("x"), client.write_all(""), client.write_end("x")] {
                let error = result.expect_err("we have ended");
                assert_eq!(error.kind(), ErrorKind::BrokenPipe, "as std has it");
                assert_eq!(error.to_string(), "write after end", "Node's text");
                let code = Error::of(&error).expect("a landline error is inside").code();
                assert_eq!(code, "ERR_STREAM_WRITE_AFTER_END", "Node's code");
            }
            assert_eq!(accepted.read(&mut [0; 1]).expect("no reset"), 0, "nothing was written");
            accepted.write_end("still open").expect("reading the end closes nothing");
            let error = accepted.write_all("x").expect_err("both have ended");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "as std has it");
            assert_eq!(error.to_string(), "This socket has been ended by the other party", "Node's text");
            assert_eq!(Error::of(&error).expect("a landline error is inside").code(), "EPIPE", "Node's code");
            assert_eq!(client.read_text().expect("no reset"), "still open", "what was written before arrives");
        });
    });
}

/// Ensures that ending, with and without data, succeeds, and ending again is harmless (net-socket-end-callback.js).
#[test]
fn ending_succeeds_with_and_without_data_and_twice() {
    within("every end arrives", || {
        each_ip(|at| {
            let served = Served::start(at, &ServerOptions::new(), |socket| socket.pipe(socket));
            type End = fn(&Socket) -> io::Result<()>;
            let ends: [(End, &str); 4] = [
                (Socket::end, ""),
                (|socket| socket.write_end("asd"), "asd"),
                (|socket| socket.write_end(*b"bytes"), "bytes"),
                (|socket| socket.write_end(String::from("grün")), "grün"),
            ];
            for (end, expected) in ends {
                let client = served.connect();
                end(&client).expect("it is connected");
                client.end().expect("a second end is harmless");
                assert_eq!(client.read_text().expect("no reset"), expected, "what was given to end arrives");
            }
            served.stop();
        });
    });
}

/// Ensures that `ready_state` is open during data, write-only in end and closed in close on one side, and on the other
/// open, then read-only after its own end while data still arrives (pummel/net-pingpong.js).
#[test]
fn ready_state_follows_both_directions() {
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            assert_eq!(client.remote_address().ip(), accepted.local_address().ip(), "the host that was used");
            let (tell, told) = mpsc::channel();
            let tape = watch(&accepted, move |socket, event| {
                tell.send(socket.ready_state().to_string()).expect("the test waits");
                match event {
                    SocketEvent::Data(_) => socket.write_all("PONG"),
                    SocketEvent::End => socket.write_all("BYE"),
                    _ => Ok(()),
                }
            });
            assert_eq!(client.ready_state().to_string(), "open", "a new socket is open");
            client.write_all("PING").expect("it is connected");
            let mut pong = [0; 4];
            client.read_exact(&mut pong).expect("the answer arrives");
            client.end().expect("it is connected");
            assert_eq!(client.ready_state().to_string(), "readOnly", "we have ended");
            let mut bye = [0; 3];
            client.read_exact(&mut bye).expect("data still arrives after our end");
            assert_eq!(client.ready_state().to_string(), "readOnly", "the peer's end was not read yet");
            assert_eq!(client.read(&mut [0; 1]).expect("no reset"), 0, "the peer's end");
            assert_eq!(client.ready_state().to_string(), "closed", "both have ended");
            let states: Vec<_> = told.iter().collect();
            assert_eq!(states, ["open", "writeOnly", "closed"], "in data, end and close");
            assert_eq!(words(tape), ["data", "end", "close false"], "no error");
        });
    });
}

/// Ensures that whatever call comes to the peer's end makes `ready_state` know it, and none before; and that only closing
/// makes a socket a destroyed one.
#[test]
fn the_peers_end_is_known_once_a_call_has_come_to_it() {
    type Call = fn(&Socket) -> bool;
    let calls: [(&str, Call); 3] = [
        ("read", |socket| socket.read(&mut [0; 8]).is_ok_and(|n| n == 0)),
        ("peek", |socket| socket.peek(&mut [0; 8]).is_ok_and(|n| n == 0)),
        ("available", |socket| socket.available().is_ok_and(|n| n == Some(0))),
    ];
    for (name, call) in calls {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.write_end("x").expect("it is connected");
            eventually("the byte is there", || accepted.available().is_ok_and(|n| n == Some(1)));
            assert_eq!(accepted.ready_state(), ReadyState::Open, "before {name} has come to the end");
            accepted.read_exact(&mut [0]).expect("it is there");
            eventually("the end is there", || call(&accepted));
            assert_eq!(accepted.ready_state(), ReadyState::WriteOnly, "after {name} has");
            accepted.write_end("y").expect("our direction is open");
            assert_eq!(
                (accepted.ready_state(), accepted.is_destroyed()),
                (ReadyState::Closed, false),
                "both have ended"
            );
            assert_eq!(client.read_text().expect("no reset"), "y", "it was sent");
            accepted.destroy();
            assert_eq!((accepted.ready_state(), accepted.is_destroyed()), (ReadyState::Closed, true), "it is closed");
        });
    }
}

/// Ensures that the default, which is not half-open, takes nothing from blocking calls: a handler that reads to the end
/// and then replies is heard.
#[test]
fn a_reply_after_the_end_was_read_is_heard() {
    within("the reply arrives", || {
        each_ip(|at| {
            let served = Served::start(at, &ServerOptions::new(), |socket| {
                let request = socket.read_text()?;
                assert_eq!(socket.ready_state(), ReadyState::WriteOnly, "reading the end closes nothing");
                socket.write_all(request.repeat(100_000))
            });
            let client = served.connect();
            client.write_end("0123456789").expect("it is connected");
            assert_eq!(client.read_all().expect("no reset").len(), 1_000_000, "the whole reply is heard");
            served.stop();
        });
    });
}

/// Ensures that a handler which writes a reply and returns, with a megabyte of its client's input unread, is heard by each
/// of fifty clients.
#[test]
fn a_reply_arrives_although_the_clients_input_was_not_read() {
    within("every reply arrives", || {
        for unread in [1, 100_000, 1 << 20] {
            let served = Served::start("127.0.0.1:0", &ServerOptions::new(), |socket| socket.write_all("reply"));
            let heard = thread::scope(|scope| {
                let clients: Vec<_> = (0..50)
                    .map(|_| {
                        scope.spawn(|| {
                            let client = served.connect();
                            client.write_all(vec![b'i'; unread])?;
                            client.read_text()
                        })
                    })
                    .collect();
                let replies = clients.into_iter().map(|client| client.join().expect("no panic"));
                replies.filter(|reply| reply.as_ref().is_ok_and(|reply| reply == "reply")).count()
            });
            assert_eq!(heard, 50, "each of 50 clients that sent {unread} bytes hears the reply");
            served.stop();
        }
    });
}

/// Ensures that while a client that does not end keeps a finished handler's connection lingering, its slot is free.
#[test]
fn a_lingering_connection_holds_no_slot() {
    within("the second client is served", || {
        let options = ServerOptions::new().max_connections(1).lingering_close(HANG);
        let served = Served::start("127.0.0.1:0", &options, |socket| socket.write_all("reply"));
        let first = served.connect();
        assert_eq!(first.read_text().expect("no reset"), "reply", "the reply and the end arrive");
        // It has not ended, so its thread lingers.
        let second = served.connect();
        assert_eq!(second.read_text().expect("no reset"), "reply", "the slot is free while the first lingers");
        drop((first, second));
        served.stop();
    });
}

/// Ensures that a server whose connections are not lingered for closes them at once.
#[test]
fn no_linger_closes_at_once() {
    within("the client is told", || {
        let options = ServerOptions::new().lingering_close(None);
        let (tell, told) = mpsc::channel::<()>();
        let told = std::sync::Mutex::new(told);
        let served = Served::start("127.0.0.1:0", &options, move |socket| {
            socket.peek(&mut [0; 1])?;
            told.lock().expect("one at a time").recv().expect("the test tells");
            Ok(())
        });
        let client = served.connect();
        client.write_all("unread").expect("it is connected");
        tell.send(()).expect("the handler waits");
        let error = client.read(&mut [0; 1]).expect_err("closing with input unread resets");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "as the kernel has it");
        served.stop();
    });
}

/// Ensures that dropping the last handle of a connection closes it in order, and only the last.
#[test]
fn a_dropped_socket_ends_in_order() {
    within("the client is told", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let client = Socket::connect(server.address()).expect("it listens");
            let accepted = crate::support::fixtures::accept(&server);
            let clone = accepted.clone();
            accepted.write_all("bye").expect("it is connected");
            drop(accepted);
            assert_eq!(server.connections(), 1, "a handle is left");
            drop(clone);
            assert_eq!(server.connections(), 0, "the last handle closed it");
            assert_eq!(client.read_text().expect("no reset"), "bye", "what was written arrives, then the end");
        });
    });
}

/// Ensures that of connections which ended in every way no thread and no descriptor is left once the server is.
#[test]
fn ended_connections_leave_no_thread_and_no_descriptor() {
    in_child(this_test!(), &[], || {
        let before = (threads(), descriptors());
        for _ in 0..2 {
            let served = Served::start("127.0.0.1:0", &ServerOptions::new(), |socket| {
                let mut word = [0; 4];
                socket.read_exact(&mut word)?;
                match &word {
                    b"each" => socket.each(|_, _| Ok(())),
                    b"fail" => Err(io::Error::other("as asked")),
                    b"boom" => panic!("as asked"),
                    b"rset" => Ok(socket.reset_and_destroy()?),
                    _ => socket.pipe(socket),
                }
            });
            // Clones that are forgotten hold nothing.
            let mut kept = Vec::new();
            for word in ["each", "fail", "boom", "rset", "pipe"].repeat(10) {
                let client = served.connect();
                client.write_all(word).expect("it is connected");
                kept.push(client.clone());
                kept.extend(served.server.sockets());
                client.end().expect("it is connected");
                // Over, one way or the other.
                let _ = client.read_all();
                client.destroy();
            }
            served.stop();
            assert_eq!(descriptors(), before.1, "no descriptor is left, though {} handles are", kept.len());
            eventually("every thread ends", || threads() == before.0);
        }
    });
}

/// Ensures that `end_reading` ends a blocked read and every later one, whatever arrives, and no write.
#[test]
fn end_reading_ends_every_read_and_no_write() {
    within("every read ends", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let reading = blocked({
                let socket = accepted.clone();
                move || socket.read(&mut [0; 8])
            });
            accepted.end_reading();
            assert_eq!(reading.join().expect("no panic").expect("no error"), 0, "a blocked read is at the end");
            assert_eq!(accepted.ready_state(), ReadyState::WriteOnly, "reading has ended");

            client.write_all("late").expect("the system takes it");
            accepted.set_read_timeout(HANG).expect("it is open");
            assert_eq!(accepted.read(&mut [0; 8]).expect("no error"), 0, "read");
            assert_eq!(
                (&accepted).read_vectored(&mut [IoSliceMut::new(&mut [0; 8])]).expect("no error"),
                0,
                "vectored"
            );
            assert_eq!(accepted.peek(&mut [0; 8]).expect("no error"), 0, "peek");
            assert_eq!(accepted.available().expect("no error"), Some(0), "available");
            assert_eq!(accepted.read_all().expect("no error"), b"", "read_to_end");
            let error = accepted.read_exact(&mut [0; 8]).expect_err("there is nothing");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "read_exact");
            let mut lines = accepted.buffered().expect("it is the first");
            assert_eq!(lines.next_line().expect("no error"), None, "next_line");
            drop(lines);
            assert_eq!(accepted.bytes_read(), 0, "nothing was read");

            accepted.write_all("writing ").expect("our direction is open");
            accepted.end_reading();
            accepted.write_end("goes on").expect("our direction is open");
            assert_eq!(client.read_text().expect("no reset"), "writing goes on", "the peer reads all of it");
            assert_eq!((accepted.ready_state(), accepted.is_destroyed()), (ReadyState::Closed, false), "both ended");
            accepted.destroy();
            accepted.end_reading();
            let error = accepted.read(&mut [0; 8]).expect_err("it is closed");
            assert_eq!(error.kind(), ErrorKind::NotConnected, "closed counts more than ended");
        });
    });
}

/// Ensures that what was read and put back is not read either once reading has ended.
#[test]
fn end_reading_forgets_what_was_put_back() {
    let (_server, client, accepted) = pair("127.0.0.1:0");
    client.write_all("xy").expect("it is connected");
    // Not a bound: the time that puts them back.
    accepted.set_read_timeout(Duration::from_millis(100)).expect("it is open");
    let error = accepted.read_exact(&mut [0; 8]).expect_err("two bytes are no eight");
    assert!(Error::is_tick(&error), "they are put back: {error}");
    accepted.end_reading();
    assert_eq!(accepted.available().expect("no error"), Some(0), "they are not available");
    assert_eq!(accepted.read(&mut [0; 8]).expect("no error"), 0, "and not read");
}

/// Ensures that `each` and a channel tell `End` when reading is ended, with what follows from it: the close, or with
/// half-open and in a channel a connection that can be written until it is ended.
#[cfg(feature = "channel")]
#[test]
fn end_reading_is_told_as_the_end() {
    within("both loops end", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let tape = watch_running(&accepted, &client);
            accepted.end_reading();
            assert_eq!(words(tape), ["data", "end", "close false"], "it is closed then");
            assert_eq!(client.read_text().expect("no reset"), "", "in order");

            let half_open = ServerOptions::new().allow_half_open(true);
            let (_server, client, accepted) = pair_with(at, half_open, SocketOptions::new());
            let tape = watch_running(&accepted, &client);
            accepted.end_reading();
            client.write_all("late").expect("the system takes it");
            accepted.write_all("writing ").expect("our direction is open");
            assert_eq!(client.read_exact(&mut [0; 8]).map_err(|error| error.kind()), Ok(()), "it arrives");
            accepted.write_end("goes on").expect("our direction is open");
            assert_eq!(client.read_text().expect("no reset"), "goes on", "until our end");
            assert_eq!(words(tape), ["data", "end", "close false"], "it is closed then");

            let (_server, client, accepted) = pair(at);
            let events = accepted.events(8).expect("a thread can be started");
            accepted.end_reading();
            assert!(matches!(events.recv_timeout(HANG), Ok(SocketEvent::End)), "a channel tells the end");
            accepted.outbox().try_send("bye").expect("our direction is open");
            accepted.outbox().end().expect("our direction is open");
            assert_eq!(client.read_text().expect("no reset"), "bye", "and can be written");
        });
    });
}

/// Ensures that a handler that ends reading is heard, though its client goes on sending: its reply is not destroyed by an
/// answer to that.
#[test]
fn a_reply_after_end_reading_is_heard() {
    const LENGTH: usize = 300_000;
    within("the replies arrive", || {
        each_ip(|at| {
            let serve: [fn(&Socket) -> io::Result<()>; 2] = [
                |socket| {
                    socket.read_exact(&mut [0; 1])?;
                    socket.end_reading();
                    socket.write_all(vec![7; LENGTH])
                },
                |socket| {
                    socket.each(|socket, event| match event {
                        SocketEvent::Data(_) => {
                            socket.end_reading();
                            Ok(())
                        }
                        SocketEvent::End => socket.write_all(vec![7; LENGTH]),
                        _ => Ok(()),
                    })
                },
            ];
            for handler in serve {
                let served = Served::start(at, &ServerOptions::new(), handler);
                for _ in 0..4 {
                    let client = served.connect();
                    client.write_all("x").expect("it is connected");
                    let sending = client.clone();
                    let sending = thread::spawn(move || (0..50).try_for_each(|_| sending.write_all([0; 1000])));
                    assert_eq!(client.read_all().expect("no reset").len(), LENGTH, "the whole reply arrives");
                    // It may go on when the connection has long ended.
                    let _ = sending.join().expect("no panic");
                }
                served.stop();
            }
        });
    });
}

/// Ensures what the documentation of `end_reading` says of Linux: over TCP the peer's writes are taken, and reset once both
/// directions have ended; over a Unix socket they fail at once.
#[test]
#[cfg(target_os = "linux")]
fn what_linux_does_with_what_comes_after_end_reading() {
    if differs_on_windows("leaves the system's reading side open, so the peer is not reset") {
        return;
    }
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        accepted.end_reading();
        (0..10).for_each(|_| client.write_all([0; 1000]).expect("TCP takes what the peer sends"));
        accepted.end().expect("it is open");
        eventually("TCP resets the peer once both directions have ended", || {
            client.write_all("x").is_err_and(|error| error.kind() != ErrorKind::TimedOut)
        });
    });
    let (one, two) = std::os::unix::net::UnixStream::pair().expect("a pair can be had");
    let (one, two) = (Socket::from(one), Socket::from(two));
    one.end_reading();
    let error = two.write_all("x").expect_err("a Unix socket tells the peer");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "by its next write");
    one.write_end("y").expect("our direction is open");
    assert_eq!(two.read_text().expect("no reset"), "y", "and it can be written to");
}

/// Ensures that `available` in one thread never takes an end of reading in another for the peer's end: a write says afterwards
/// that it is we who have ended, not the other party.
#[test]
#[cfg(unix)]
fn end_reading_is_never_taken_for_the_peers_end() {
    use std::os::unix::net::UnixStream;
    let (give, taken) = mpsc::sync_channel::<Socket>(0);
    let (tell, told) = mpsc::channel();
    let asking = thread::spawn(move || {
        for socket in taken {
            while socket.available().expect("it is open").is_none() {}
            tell.send(()).expect("the test waits");
        }
    });
    for round in 0..1000 {
        let (ours, _peer) = UnixStream::pair().expect("a pair can be had");
        let socket = Socket::from(ours);
        give.send(socket.clone()).expect("the thread runs");
        // It comes at any moment of the other thread's call.
        (0..round % 500).for_each(|_| std::hint::spin_loop());
        socket.end_reading();
        told.recv_timeout(HANG).expect("the other thread sees the end");
        socket.end().expect("it is open");
        let error = socket.write_all("x").expect_err("our direction has ended");
        assert_eq!(error.to_string(), "write after end", "nothing was heard of the peer's end");
    }
    drop(give);
    asking.join().expect("no panic");
}
