//! Abrupt ends: destroy, reset, peers that vanish, and what the other side and later calls are told.

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use landline::net::{ReadyState, Server, ServerOptions, Socket, SocketEvent, SocketOptions};
use landline::{Error, RefusedBy, Report};

use crate::support::Whole;
use crate::support::fixtures::{Served, accept, pair, pair_with, watch_only, watch_running, words};
use crate::support::{HANG, Told, blocked, each_ip, eventually, tool, within};

/// What an error says and its code.
#[track_caller]
fn said<T: std::fmt::Debug>(result: std::io::Result<T>) -> (ErrorKind, String, String) {
    let error = result.expect_err("the connection is gone");
    let code = Error::of(&error).map_or_else(String::new, |error| error.code().into());
    (error.kind(), code, error.to_string())
}

fn reset() -> (ErrorKind, String, String) {
    (ErrorKind::ConnectionReset, "ECONNRESET".into(), "read ECONNRESET".into())
}

fn destroyed(call: &str) -> (ErrorKind, String, String) {
    let text = format!("Cannot call {call} after a stream was destroyed");
    (ErrorKind::NotConnected, "ERR_STREAM_DESTROYED".into(), text)
}

/// Ensures that the peer of a socket that was reset reads `ECONNRESET` and no end, while our side closes without an error
/// (net-connect-reset-until-connected.js).
#[test]
fn a_reset_is_an_error_for_the_peer_and_none_for_us() {
    within("both sides close", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (ours, theirs) = (watch_running(&client, &accepted), watch_only(&accepted));
            client.reset_and_destroy().expect("it is connected");
            assert_eq!(words(ours), ["data", "close false"], "who resets is told of the close alone");
            assert_eq!(words(theirs), ["error read ECONNRESET", "close true"], "the peer is told of no end");
        });
    });
}

/// Ensures that `destroy` after a reset is harmless, a second reset says `Socket is closed`, and a later write that the
/// stream was destroyed (net-connect-reset-after-destroy.js).
#[test]
fn a_reset_socket_can_be_destroyed_and_says_so_to_later_calls() {
    within("the peer is reset", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.reset_and_destroy().expect("it is connected");
            client.destroy();
            let again = client.reset_and_destroy().expect_err("it is closed");
            assert_eq!(
                (again.told().code(), again.kind()),
                ("ERR_SOCKET_CLOSED", ErrorKind::NotConnected),
                "no second reset"
            );
            assert_eq!(again.to_string(), "Socket is closed", "Node's text");
            assert_eq!(said(client.write_all("x")), destroyed("write"), "nothing can be written");
            assert_eq!(said(accepted.read(&mut [0; 1])), reset(), "the peer is reset all the same");
        });
    });
}

/// Ensures that what holds of a client's reset holds of one by the server's side too (net-socket-reset-send.js).
#[test]
fn a_reset_by_the_server_is_an_error_for_the_client() {
    within("the client is reset", || {
        each_ip(|at| {
            let (server, client, accepted) = pair(at);
            let theirs = watch_only(&client);
            accepted.reset_and_destroy().expect("it is connected");
            assert_eq!(server.connections(), 0, "its slot is free");
            accepted.destroy();
            assert_eq!(said(accepted.write_all("x")), destroyed("write"), "nothing can be written");
            assert_eq!(words(theirs), ["error read ECONNRESET", "close true"], "the client is reset");
        });
    });
}

/// Ensures that a reset reaches the peer as one also while a thread of ours is blocked in a read, and wakes that thread.
#[test]
fn a_reset_wakes_our_reader_and_is_still_a_reset() {
    within("reader and peer are told", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let reader = client.clone();
            let reading = blocked(move || reader.read(&mut [0; 1]));
            client.reset_and_destroy().expect("it is connected");
            assert_eq!(said(reading.join().expect("no panic")), destroyed("read"), "the reader is told");
            assert_eq!(said(accepted.read(&mut [0; 1])), reset(), "the peer is reset");
        });
    });
}

/// Ensures that a closed server can reset its connections: both clients are reset, both sockets close, then the server
/// does (net-server-reset.js).
#[test]
fn a_closed_server_resets_its_connections_and_then_is_over() {
    within("everything closes", || {
        each_ip(|at| {
            let server = Server::listen(at).expect("port 0 can be listened on");
            let (tell, told) = mpsc::channel();
            let (open, opened) = mpsc::channel();
            let over = tell.clone();
            let running = server
                .on()
                .connection(move |socket| {
                    socket.each(|socket, event| match event {
                        SocketEvent::Data(_) => open.send(socket.clone()).map_err(std::io::Error::other),
                        SocketEvent::Close { had_error } => {
                            tell.send(format!("close {had_error}")).map_err(std::io::Error::other)
                        }
                        _ => Ok(()),
                    })
                })
                .close(move || over.send("server".into()).expect("the test waits"))
                .spawn()
                .expect("a thread can be started");
            let clients = [0, 1].map(|_| Socket::connect(server.address()).expect("it listens"));
            for client in &clients {
                client.write_all("x").expect("it is connected");
            }
            let sockets = [0, 1].map(|_| opened.recv().expect("both are served"));
            server.close();
            for socket in &sockets {
                socket.reset_and_destroy().expect("it is open");
            }
            for client in &clients {
                assert_eq!(said(client.read(&mut [0; 1])), reset(), "each client is reset");
            }
            running.join().expect("it was closed in order");
            let order: Vec<_> = told.iter().collect();
            assert_eq!(order, ["close false", "close false", "server"], "sockets close first, then the server");
        });
    });
}

/// Ensures that a connection which breaks while one thread writes and another reads tells one error, never two
/// (net-error-twice.js).
#[test]
fn a_client_that_is_destroyed_during_a_write_leads_to_one_error() {
    within("the server's side closes", || {
        each_ip(|at| {
            let (tell, told) = mpsc::channel();
            let options = ServerOptions::new().report(move |report| tell.send(report.clone()).expect("the test waits"));
            let (server, client, accepted) = pair_with(at, options, SocketOptions::new());
            let tape = watch_only(&accepted);
            let writer = accepted.clone();
            let writing = thread::spawn(move || writer.write_all(vec![b'x'; 10 << 20]));
            client.read(&mut [0; 1]).expect("the write is under way");
            // Much of it is unread, so this is a reset.
            client.destroy();
            let error = writing.join().expect("no panic").expect_err("10 MiB fit into no buffer");
            let broken = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected];
            assert!(broken.contains(&error.kind()), "the writer is told: {error}");
            assert_eq!(words(tape), ["error read ECONNRESET", "close true"], "one error, directly before the close");
            server.close();
            drop((server, accepted));
            let failed = told.iter().filter(|report| matches!(report, Report::Failed { .. })).count();
            assert_eq!(failed, 1, "one error is reported");
        });
    });
}

/// Ensures that a client which goes away after the first piece of a long transfer ends it with an error, at once
/// (net-stream.js).
#[test]
fn a_client_that_leaves_early_ends_a_long_write_with_an_error() {
    within("the transfer ends", || {
        each_ip(|at| {
            let (tell, told) = mpsc::channel();
            let server = Server::listen(at).expect("port 0 can be listened on");
            let (errors, ends) = (tell.clone(), tell);
            let counted = server.clone();
            let running = server
                .on()
                .connection(|socket| socket.write_all(vec![b'x'; 20 << 20]))
                .error(move |error, connection| {
                    assert!(connection.is_some(), "it is about a connection");
                    errors.send(format!("{} {}", error.code(), counted.connections())).expect("the test waits");
                })
                .close(move || ends.send("server".into()).expect("the test waits"))
                .spawn()
                .expect("a thread can be started");
            let client = Socket::connect(server.address()).expect("it listens");
            client.read(&mut [0; 4096]).expect("the transfer is under way");
            client.destroy();
            let first: String = told.recv().expect("the error is told");
            assert!(["ECONNRESET 0", "EPIPE 0"].contains(&&*first), "the error is told when the slot is free: {first}");
            server.close();
            running.join().expect("it was closed in order");
            assert_eq!(told.iter().collect::<Vec<_>>(), ["server"], "one error and nothing else");
        });
    });
}

/// Ensures that a write to a client whose process is killed neither hangs nor harms the server (sequential/net-GH-5504.js).
#[test]
fn a_client_process_that_is_killed_ends_a_long_write() {
    let Some(nc) = tool("nc") else { return };
    let (tell, told) = mpsc::channel();
    let served = Served::start("127.0.0.1:0", &ServerOptions::new(), move |socket| {
        let result = socket.write_all(vec![b'x'; 64 << 20]);
        tell.send(result.as_ref().map_err(std::io::Error::kind).copied()).expect("the test waits");
        result
    });
    let port = served.server.address().port().to_string();
    let mut client = Command::new(nc)
        .args(["127.0.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nc can be started");
    // Its output stands in a pipe that nobody reads from here on, so it stops reading.
    let mut out = client.stdout.take().expect("it is piped");
    out.read_exact(&mut [0; 1]).expect("the transfer is under way");
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    let error = told.recv_timeout(HANG).expect("the write ends").expect_err("64 MiB fit into no buffer");
    assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error), "the writer is told: {error}");
    served.stop();
}

/// Ensures that every read after a reset says so again: none pretends that the peer has ended in order.
///
/// The kernel tells the reset once, to whichever call comes first: a read, a peek or a write.
#[test]
fn every_read_after_a_reset_says_so_again() {
    type First = fn(&Socket);
    let firsts: [(&str, First); 3] = [
        ("read", |socket| assert_eq!(said(socket.read(&mut [0; 1])), reset(), "the first read says it")),
        ("peek", |socket| assert_eq!(said(socket.peek(&mut [0; 1])), reset(), "a peek says it")),
        ("write", |socket| {
            let (_, _, text) = said(socket.write_all("x"));
            assert_eq!(text, "write ECONNRESET", "a write says it");
        }),
    ];
    within("every read returns", move || {
        each_ip(|at| {
            for (name, first) in firsts {
                let (_server, client, accepted) = pair(at);
                client.reset_and_destroy().expect("it is connected");
                // Until the reset has arrived: it shows in poll(2), which here is the state that ss would show.
                eventually("the reset arrives", || {
                    accepted.with_raw(|fd| socket2::SockRef::from(&fd).peer_addr().is_err()).expect("it is open")
                });
                first(&accepted);
                for _ in 0..3 {
                    assert_eq!(said(accepted.read(&mut [0; 1])), reset(), "every read after a {name} says it");
                    assert_eq!(said(accepted.peek(&mut [0; 1])), reset(), "every peek after a {name} says it");
                }
                assert_eq!(said(accepted.read_all()), reset(), "nothing looks like a whole transfer");
                let line = accepted.buffered().expect("it is open").lines().next().expect("no end is pretended");
                assert_eq!(said(line), reset(), "lines say it");
                assert_eq!(watch_only(&accepted).join().expect("no panic").0, ["error read ECONNRESET", "close true"]);
            }
        });
    });
}

/// Ensures that every call on any clone of a socket that was closed gives `NotConnected`, and that what is known of the
/// connection is known still.
#[test]
fn clones_of_a_closed_socket_are_not_connected() {
    within("every call returns", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let clone = client.clone();
            client.write_all("abc").expect("it is connected");
            accepted.read_exact(&mut [0; 3]).expect("the bytes arrive");
            let (local, remote) = (client.local_address().clone(), client.remote_address().clone());
            client.destroy();
            client.destroy();
            for socket in [&client, &clone] {
                let mut mutable = socket;
                let closed = ErrorKind::NotConnected;
                assert_eq!(said(socket.read(&mut [0; 1])), destroyed("read"), "read");
                assert_eq!(said(socket.peek(&mut [0; 1])).0, closed, "peek");
                assert_eq!(said(socket.read_exact(&mut [0; 1])).0, closed, "read_exact");
                assert_eq!(said(socket.read_all()).0, closed, "read_to_end");
                assert_eq!(said(socket.read_text()).0, closed, "read_to_string");
                assert_eq!(said(socket.buffered()).0, closed, "buffered");
                assert_eq!(said(socket.available()).0, closed, "available");
                assert_eq!(said(socket.read(&mut [])).0, closed, "an empty read");
                assert_eq!(said(socket.peek(&mut [])).0, closed, "an empty peek");
                assert_eq!(said(socket.read_exact(&mut [])).0, closed, "an empty read_exact");
                assert_eq!(said(socket.set_read_timeout(None)).0, closed, "set_read_timeout");
                assert_eq!(said(socket.write_timeout()).0, closed, "write_timeout");
                assert_eq!(said(mutable.flush()).0, closed, "flush");
                assert_eq!(said(socket.write_all("x")), destroyed("write"), "write_all");
                assert_eq!(said(socket.write_all("")).0, closed, "an empty write_all");
                assert_eq!(said(mutable.write(b"x")), destroyed("write"), "Write::write");
                assert_eq!(said(socket.write_fmt(format_args!("{}", 1))).0, closed, "write_fmt");
                assert_eq!(said(socket.write_slices(&[b"x", b"y"])).0, closed, "write_vectored");
                assert_eq!(said(socket.write_end("x")).0, closed, "write_end");
                assert_eq!(said(socket.pipe(&accepted)).0, closed, "pipe");
                assert_eq!(said(socket.with_raw(|_| ())).0, closed, "with_raw");
                assert_eq!(socket.set_no_delay(false).expect_err("it is closed").kind(), closed, "set_no_delay");
                assert_eq!(socket.set_keep_alive(true).expect_err("it is closed").kind(), closed, "set_keep_alive");
                let mut told = Vec::new();
                let each = socket.each(|_, event| {
                    told.push(format!("{event:?}"));
                    Ok(())
                });
                assert_eq!(said(each).0, closed, "each");
                assert!(told.is_empty(), "no event is told of a socket that is closed already, but {told:?}");
                socket.end().expect("there is nothing left to end, which is no error");
                assert_eq!(socket.ready_state(), ReadyState::Closed, "it is closed");
                assert_eq!((socket.local_address(), socket.remote_address()), (&local, &remote), "addresses are kept");
                assert_eq!((socket.bytes_read(), socket.bytes_written()), (0, 3), "counters are kept");
            }
            assert_eq!(accepted.read(&mut [0; 1]).expect("no data was unread"), 0, "the peer sees an end");
        });
    });
}

/// Ensures that `destroy` wakes a blocked reader and a blocked writer, and that the peer sees the end then, clones or
/// not.
#[test]
fn destroy_wakes_a_blocked_reader_and_a_blocked_writer() {
    within("both return", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (reader, writer) = (client.clone(), client.clone());
            let reading = blocked(move || reader.read(&mut [0; 1]));
            let writing = blocked(move || writer.write_all(vec![0; 64 << 20]));
            accepted.peek(&mut [0; 1]).expect("the writer runs");
            client.destroy();
            assert_eq!(said(reading.join().expect("no panic")), destroyed("read"), "the reader is told");
            assert_eq!(said(writing.join().expect("no panic")), destroyed("write"), "the writer is told");
            // Both ways are closed although `client` and its clones are still there.
            let mut rest = 0;
            loop {
                match accepted.read(&mut [0; 65536]) {
                    Ok(0) => break,
                    Ok(n) => rest += n,
                    Err(error) => panic!("no input was unread, so the peer sees an end, not {error}"),
                }
            }
            assert_eq!(rest as u64, client.bytes_written(), "what was written before arrives");
        });
    });
}

/// Ensures that `destroy` with input unread shows as a reset to the peer, as the kernel has it, and that our side still
/// gives its slot back before anything else.
#[test]
fn destroy_gives_the_slot_back_before_the_peer_can_know() {
    within("every client gets in", || {
        each_ip(|at| {
            let server = ServerOptions::new().max_connections(1).listen(at).expect("port 0 can be listened on");
            for _ in 0..50 {
                let client = Socket::connect(server.address()).expect("it listens");
                let accepted = accept(&server);
                let destroying = thread::spawn(move || accepted.destroy());
                // Whoever sees the end and comes again finds the slot free.
                assert_eq!(client.read(&mut [0; 1]).expect("an end"), 0, "the client sees an end");
                assert_eq!(server.connections(), 0, "the slot was free before the end was sent");
                destroying.join().expect("no panic");
            }
            assert_eq!(server.stats().refused(RefusedBy::Full), 0, "nobody was refused");
        });
    });
}
