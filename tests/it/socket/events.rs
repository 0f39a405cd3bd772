//! The order of events, on both sides, and what is counted when: Node's table, row by row.

use std::io;
use std::sync::mpsc::{self, Receiver};

use landline::net::{ReadyState, Server, ServerOptions, Socket, SocketEvent, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{pair, pair_with, watch, watch_only, watch_running, words};
use crate::support::{HANG, each_ip, within};

/// Ensures that after `write_end` we are told of end and close, and the peer of data, end and close.
#[test]
fn write_end_is_told_as_end_and_close_to_both() {
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (ours, theirs) = (watch_only(&accepted), watch_only(&client));
            accepted.write_end("bye").expect("it is connected");
            assert_eq!(words(theirs), ["data", "end", "close false"], "the peer reads, then ends");
            assert_eq!(words(ours), ["end", "close false"], "the peer's answering end, then the close");
        });
    });
}

/// Ensures that after `destroy` we are told of the close alone, and the peer of end and close.
#[test]
fn destroy_is_told_as_the_close_alone() {
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (ours, theirs) = (watch_running(&accepted, &client), watch_only(&client));
            accepted.destroy();
            assert_eq!(words(ours), ["data", "close false"], "no end and no error");
            assert_eq!(words(theirs), ["end", "close false"], "the peer sees an orderly end");
        });
    });
}

/// Ensures that `destroy` inside each event is told as the close alone too, also when the closure then returns the error of
/// a call that it cut off.
#[test]
fn destroy_inside_an_event_is_told_as_the_close_alone() {
    within("both sides close", || {
        each_ip(|at| {
            for in_end in [false, true] {
                let (_server, client, accepted) = pair(at);
                let ours = watch(&accepted, move |socket, event| match event {
                    SocketEvent::End if in_end => {
                        socket.destroy();
                        Ok(())
                    }
                    SocketEvent::Data(_) if !in_end => {
                        socket.destroy();
                        socket.write_all("cut off")
                    }
                    _ => Ok(()),
                });
                let theirs = watch_only(&client);
                client.write_all("x").expect("it is connected");
                if in_end {
                    client.end().expect("it is connected");
                    assert_eq!(words(ours), ["data", "end", "close false"], "in the end");
                } else {
                    assert_eq!(words(ours), ["data", "close false"], "in the data");
                }
                assert_eq!(words(theirs), ["end", "close false"], "the peer sees an orderly end");
            }
        });
    });
}

/// Ensures that an error of the closure is told as error and close(true), destroys the connection, and that the peer sees
/// an orderly end.
#[test]
fn an_error_of_the_closure_is_told_directly_before_the_close() {
    within("both sides close", || {
        each_ip(|at| {
            for in_end in [false, true] {
                let (server, client, accepted) = pair(at);
                let (tell, told) = mpsc::channel();
                let counted = server.clone();
                let ours = watch(&accepted, move |socket, event| match event {
                    SocketEvent::Data(_) if !in_end => Err(io::Error::other("enough")),
                    SocketEvent::End => Err(io::Error::other("enough")),
                    SocketEvent::Error(_) => {
                        let state = (counted.connections(), socket.ready_state() != ReadyState::Closed);
                        tell.send(state).expect("the test waits");
                        Err(io::Error::other("passed over"))
                    }
                    _ => Ok(()),
                });
                let theirs = watch_only(&client);
                client.write_all("x").expect("it is connected");
                let expected: &[_] = if in_end {
                    client.end().expect("it is connected");
                    &["data", "end", "error enough", "close true"]
                } else {
                    &["data", "error enough", "close true"]
                };
                assert_eq!(words(ours), expected, "the error, once, directly before the close");
                assert_eq!(told.recv(), Ok((1, true)), "it is open and counted while the error is told");
                assert_eq!(words(theirs), ["end", "close false"], "the peer sees an orderly end");
                assert_eq!(server.stats().failed, 1, "it counts as failed");
            }
        });
    });
}

/// Ensures that `destroy` with input unread is a reset for the peer, which is what the kernel sends then.
#[test]
fn destroy_with_input_unread_is_a_reset_for_the_peer() {
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.write_all("unread").expect("it is connected");
            accepted.peek(&mut [0; 1]).expect("it arrives");
            accepted.destroy();
            assert_eq!(words(watch_only(&client)), ["error read ECONNRESET", "close true"], "a reset, not an end");
        });
    });
}

/// Ensures that a half-open server whose client ends first is told of the end, may write, and after its own end of the
/// close; the client of data, end and close.
#[test]
fn a_half_open_server_writes_after_the_end_it_is_told_of() {
    within("both sides close", || {
        each_ip(|at| {
            let options = ServerOptions::new().allow_half_open(true);
            let (_server, client, accepted) = pair_with(at, options, SocketOptions::new());
            let ours = watch(&accepted, |socket, event| match event {
                SocketEvent::End => {
                    assert_eq!(socket.ready_state(), ReadyState::WriteOnly, "the peer has ended, we have not");
                    socket.write_all("later")?;
                    socket.end()
                }
                _ => Ok(()),
            });
            let theirs = watch_only(&client);
            client.end().expect("it is connected");
            assert_eq!(words(theirs), ["data", "end", "close false"], "what is written after the end arrives");
            assert_eq!(words(ours), ["end", "close false"], "our own end closes it");
        });
    });
}

/// Ensures that the end is told only when every byte before it was given.
#[test]
fn the_end_comes_after_the_last_byte() {
    const SIZE: usize = 3_000_000;
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (tell, told) = mpsc::channel();
            let mut got = 0;
            let tape = watch(&accepted, move |socket, event| {
                match event {
                    SocketEvent::Data(bytes) => {
                        assert!(!bytes.is_empty() && bytes.len() <= 64 * 1024, "a piece is 1 byte to 64 KiB");
                        got += bytes.len();
                    }
                    SocketEvent::End => tell.send((got, socket.bytes_read())).expect("the test waits"),
                    _ => {}
                }
                Ok(())
            });
            client.write_end(vec![b'x'; SIZE]).expect("it is connected");
            assert_eq!(told.recv(), Ok((SIZE, SIZE as u64)), "all of it was given before the end");
            assert_eq!(words(tape), ["data", "end", "close false"], "in this order");
        });
    });
}

/// Ensures that `each` returns what ended the connection: nothing after an end or a destroy, otherwise the error; and what
/// the closure returns from the close if there is none.
#[test]
fn each_returns_what_ended_the_connection() {
    within("each returns", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        client.end().expect("it is connected");
        accepted.each(|_, _| Ok(())).expect("an end is no error");

        let (_server, client, accepted) = pair("127.0.0.1:0");
        client.write_all("x").expect("it is connected");
        let result = accepted.each(|socket, _| {
            socket.destroy();
            Ok(())
        });
        result.expect("our own destroy is no error");

        let (_server, client, accepted) = pair("127.0.0.1:0");
        client.reset_and_destroy().expect("it is connected");
        let error = accepted.each(|_, _| Ok(())).expect_err("a reset is an error");
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::ConnectionReset, "read ECONNRESET".into()));

        let (_server, client, accepted) = pair("127.0.0.1:0");
        client.end().expect("it is connected");
        let result = accepted.each(|_, event| match event {
            SocketEvent::End => Err(io::Error::new(io::ErrorKind::InvalidData, "first")),
            SocketEvent::Close { .. } => Err(io::Error::other("second")),
            _ => Ok(()),
        });
        let error = result.expect_err("the closure's error is");
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidData, "first".into()), "the first counts");

        let (_server, client, accepted) = pair("127.0.0.1:0");
        client.end().expect("it is connected");
        let result = accepted.each(|_, event| match event {
            SocketEvent::Close { .. } => Err(io::Error::other("late")),
            _ => Ok(()),
        });
        assert_eq!(
            result.expect_err("there is none before").to_string(),
            "late",
            "an error from the close is returned"
        );
    });
}

/// Ensures that the error of a call on another socket, one that was destroyed, ends this one like any error.
#[test]
fn another_sockets_destroy_is_an_error_here() {
    within("both sides close", || {
        each_ip(|at| {
            let (_other_server, other, _other_accepted) = pair(at);
            other.destroy();
            let (server, client, accepted) = pair(at);
            let ours = watch(&accepted, move |_, event| match event {
                SocketEvent::Data(bytes) => other.write_all(bytes),
                _ => Ok(()),
            });
            client.write_all("x").expect("it is connected");
            let text = "error Cannot call write after a stream was destroyed";
            assert_eq!(words(ours), ["data", text, "close true"], "it is told and closes this connection");
            assert_eq!(server.connections(), 0, "the slot is free");
            assert_eq!(client.read(&mut [0; 1]).expect("no reset"), 0, "the peer sees the end");
        });
    });
}

fn next(told: &Receiver<String>) -> String {
    told.recv_timeout(HANG).expect("there is more to tell")
}

/// Ensures that the count is 1 inside the handler and in the end, 0 in the close, and still true after the server was
/// closed.
#[test]
fn the_count_is_up_in_the_handler_and_down_in_the_close() {
    within("everything closes", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            assert_eq!(server.connections(), 0, "nobody has connected");
            let (tell, told) = mpsc::channel();
            let counted = server.clone();
            let running = server
                .spawn(move |socket| {
                    let note = |word| tell.send(format!("{word} {}", counted.connections())).expect("the test waits");
                    note("handler");
                    socket.each(|_, event| {
                        match event {
                            SocketEvent::Data(_) => note("data"),
                            SocketEvent::End => note("end"),
                            SocketEvent::Close { .. } => note("close"),
                            _ => {}
                        }
                        Ok(())
                    })
                })
                .expect("a thread can be started");
            let client = Socket::connect(server.address()).expect("it listens");
            assert_eq!(next(&told), "handler 1", "a connection counts before its handler runs");
            client.write_all("x").expect("it is connected");
            assert_eq!(next(&told), "data 1", "and while it is open");
            server.close();
            assert_eq!(server.connections(), 1, "a closed server counts what is open");
            client.end().expect("it is connected");
            assert_eq!(next(&told), "end 1", "and in the end");
            assert_eq!(next(&told), "close 0", "but no more in the close");
            running.join().expect("it was closed in order");
        });
    });
}

/// Ensures that a refused client is told of, never gets to the handler and is not counted, that it is closed without
/// waiting for the callback, and that the server's close comes once, last.
#[test]
fn refused_is_told_and_the_client_does_not_wait_for_it() {
    within("everything closes", || {
        each_ip(|at| {
            let server = ServerOptions::new().max_connections(1).listen(at).expect("port 0 can be listened on");
            let (tell, told) = mpsc::channel();
            let (go, going) = mpsc::channel::<()>();
            let going = std::sync::Mutex::new(going);
            let (refused, closed, counted) = (tell.clone(), tell.clone(), server.clone());
            let running = server
                .on()
                .connection(move |socket| {
                    tell.send(format!("connection {}", socket.remote_address())).expect("the test waits");
                    socket.read_all().map(drop)
                })
                .refused(move |client| {
                    let count = counted.connections();
                    refused.send(format!("refused {} {} {count}", client.remote, client.by)).expect("the test waits");
                    going.lock().expect("one at a time").recv().expect("the test tells");
                })
                .close(move || closed.send("close".into()).expect("the test waits"))
                .spawn()
                .expect("a thread can be started");
            let first = Socket::connect(server.address()).expect("it listens");
            assert_eq!(next(&told), format!("connection {}", first.local_address()), "the first is served");
            let second = Socket::connect(server.address()).expect("the kernel connects it before it is refused");
            let text = format!("refused {} full 1", second.local_address());
            assert_eq!(next(&told), text, "the second is refused, by whom and why, and is not counted");
            assert_eq!(second.read(&mut [0; 1]).expect("no reset"), 0, "it is closed while refused is told");
            go.send(()).expect("the callback waits");
            first.end().expect("it is connected");
            assert_eq!(first.read(&mut [0; 1]).expect("no reset"), 0, "the first ends in order");
            server.close();
            running.join().expect("it was closed in order");
            assert_eq!(told.iter().collect::<Vec<_>>(), ["close"], "the close comes once and last");
        });
    });
}

/// Ensures that a handler's error is told to the server's `error` with its connection, when that is closed and its slot
/// free, and that the server goes on.
#[test]
fn a_handlers_error_is_told_when_its_slot_is_free() {
    within("everything closes", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let (tell, told) = mpsc::channel();
            let counted = server.clone();
            let running = server
                .on()
                .connection(|_| Err(io::Error::new(io::ErrorKind::InvalidData, "nonsense")))
                .error(move |error, connection| {
                    let remote = &connection.expect("it is about a connection").remote;
                    let text = format!("{error} {remote} {}", counted.connections());
                    tell.send(text).expect("the test waits");
                })
                .spawn()
                .expect("a thread can be started");
            for _ in 0..3 {
                let client = Socket::connect(server.address()).expect("the server goes on");
                let text = format!("nonsense {} 0", client.local_address());
                assert_eq!(next(&told), text, "error, connection and the count");
                assert_eq!(client.read(&mut [0; 1]).expect("no reset"), 0, "the connection is closed");
            }
            server.close();
            running.join().expect("it was closed in order");
            assert_eq!(server.stats().failed, 3, "each is booked as failed");
        });
    });
}
