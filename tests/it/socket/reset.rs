//! What becomes of a connection that the peer has reset.

use std::io;

use landline::net::{Server, Socket, SocketEvent};

use crate::support::fixtures::pair;
use crate::support::{blocked, eventually, in_child, within};

/// A connection that the peer has reset, and that has been told so by a write.
fn told_by_a_write() -> io::Result<Socket> {
    let server = Server::listen("127.0.0.1:0")?;
    let socket = Socket::connect(server.address())?;
    let peer = server.accept()?.expect("the server is open");
    peer.reset_and_destroy()?;
    let mut told = None;
    eventually("a write fails", || {
        told = socket.write_all("x").err();
        told.is_some()
    });
    assert_eq!(told.map(|error| error.to_string()), Some("write ECONNRESET".into()), "the write is told of the reset");
    Ok(socket)
}

/// Ensures that a read does not take the peer for ended in order when a write was told of the reset before it.
#[test]
fn a_reset_that_a_write_met_fails_the_next_read() -> io::Result<()> {
    let socket = told_by_a_write()?;
    let error = within("the read returns", move || socket.read(&mut [0; 1])).expect_err("the connection is reset");
    assert_eq!(error.to_string(), "read ECONNRESET");
    Ok(())
}

/// Ensures that the events say so too: an error, close(true), and no end.
#[test]
fn a_reset_that_a_write_met_is_no_end() -> io::Result<()> {
    let socket = told_by_a_write()?;
    let events = within("each returns", move || {
        let mut events = Vec::new();
        let result = socket.each(|_, event| {
            events.push(match event {
                SocketEvent::Error(error) => error.to_string(),
                SocketEvent::Close { had_error } => format!("close({had_error})"),
                event => format!("{event:?}"),
            });
            Ok(())
        });
        assert!(result.is_err(), "each returns the error");
        events
    });
    assert_eq!(events, ["read ECONNRESET", "close(true)"]);
    Ok(())
}

/// Ensures that a read does not take a reset for the end of the stream while a write beside it has received the error and
/// not returned yet, however long that takes.
#[test]
#[cfg(target_os = "linux")]
fn a_reset_that_a_write_is_about_to_return_fails_a_read_beside_it() {
    // Each send returns half a second late.
    let slow =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", "inject=sendto:delay_exit=500000"];
    in_child(this_test!(), &slow, || {
        for round in 0..3 {
            let (_server, client, accepted) = pair("127.0.0.1:0");
            let writer = accepted.clone();
            let writing = blocked(move || writer.write_all(vec![0; 64 << 20]));
            client.reset_and_destroy().expect("it is connected");
            // The call that was blocked returns what it has sent, and the next one the error. Without /proc, the first
            // may not have been blocked.
            eventually("the reset arrives", || accepted.bytes_written() > 0 || writing.is_finished());
            let error = accepted.read(&mut [0; 10]).expect_err("a reset is no end");
            assert_eq!(error.to_string(), "read ECONNRESET", "round {round}: the read returns the reset too");
            within("the write returns", || writing.join()).expect("no panic").expect_err("the connection is reset");
        }
    });
}
