//! Loops: `each`.

use std::io;

use landline::dgram::{Socket, SocketEvent, SocketOptions};

use crate::support::dgram::{receive, receiving};
use crate::support::{eventually, families, within};

/// Ensures that handles may go anywhere and be printed.
#[test]
fn handles_are_clone_send_sync_and_debug() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    check::<Socket>();
    check::<SocketOptions>();
    check::<SocketEvent>();
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    assert_eq!(format!("{socket:?}"), format!("Socket {{ address: {}, closed: false }}", socket.address()));
}

/// Ensures that one closure with plain state sees everything, `Close` last and once, and nothing after it.
#[test]
fn each_hands_over_every_event_and_ends_with_close() {
    for at in families() {
        let (socket, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        for text in ["one", "", "three"] {
            sender.send_to(text.as_bytes(), socket.address()).unwrap();
        }
        let from = sender.address();
        let events = within("the loop ends", move || {
            let mut events = Vec::new();
            socket
                .each(|socket, event| {
                    events.push(match event {
                        SocketEvent::Message(bytes, info) => {
                            assert_eq!((info.address(), info.size()), (from, bytes.len()));
                            String::from_utf8(bytes.to_vec()).unwrap()
                        }
                        other => format!("{other:?}"),
                    });
                    if events.len() == 3 {
                        socket.close();
                    }
                    Ok(())
                })
                .unwrap();
            events
        });
        assert_eq!(events, ["one", "", "three", "Close"]);
    }
}

/// Ensures that what the closure returns as an error ends the loop, closes the socket and is given back; and that the
/// closure hears of the end.
#[test]
fn error_of_the_closure_closes_the_socket_and_is_returned() {
    let (socket, sender) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    sender.send_to(b"x", socket.address()).unwrap();
    sender.send_to(b"y", socket.address()).unwrap();
    let mut events = 0;
    let error = socket
        .each(|_, event| {
            events += 1;
            match event {
                SocketEvent::Message(..) => Err(io::Error::other("enough")),
                _ => Ok(()),
            }
        })
        .unwrap_err();
    assert_eq!((error.to_string(), events), ("enough".into(), 2), "one message, then the end");
    // A program that another test starts has a copy of the socket until it runs.
    eventually("the socket is closed", || Socket::bind(socket.address()).is_ok());

    let socket = Socket::bind("127.0.0.1:0").unwrap();
    let running = receiving(&socket, |_, _, _| Err(io::ErrorKind::InvalidData.into()));
    let other = receiving(&socket, |_, _, _| Ok(()));
    // Which of the two gets it is not said; in the end the first does.
    eventually("the first loop gets one", || {
        let _ = sender.send_to(b"x", socket.address());
        running.is_finished()
    });
    let error = within("the loop ends", || running.join().unwrap().unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "the loop returns what its closure did");
    within("the other loop ends too", || other.join().unwrap().expect("it was none of its doing"));
}

/// Ensures that a loop on a thread of its own answers, and that what it serves stays open without another handle.
#[test]
fn a_loop_on_a_thread_serves_until_close() {
    for at in families() {
        let socket = Socket::bind(at).unwrap();
        let address = socket.address();
        let running = receiving(&socket, |socket, bytes, from| match bytes {
            b"close" => {
                socket.close();
                Ok(())
            }
            _ => socket.send_to(bytes, from).map(drop),
        });
        drop(socket);
        let client = Socket::bind(at).unwrap();
        for _ in 0..3 {
            client.send_to(b"hello", address).unwrap();
            assert_eq!(receive(&client).0, b"hello");
        }
        client.send_to(b"close", address).unwrap();
        within("the loop ends", || running.join().unwrap().unwrap());
    }
}

/// Ensures that a panic in a closure does not leave a socket that nobody serves, and that the panic goes on.
#[test]
fn panic_in_a_closure_closes_the_socket() {
    let (socket, sender) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    let running = receiving(&socket, |_, _, _| panic!("on purpose"));
    sender.send_to(b"x", socket.address()).unwrap();
    let panic = within("the thread ends", || running.join().map_err(drop));
    assert_eq!(panic.unwrap_err(), (), "the thread has panicked");
    assert!(socket.recv(&mut [0; 10]).unwrap().is_none(), "the socket is closed");
}

/// Ensures that a loop on a closed socket is told so, and that is all.
#[test]
fn loop_on_a_closed_socket_ends_at_once() {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    socket.close();
    let mut events = Vec::new();
    let each = |_: &Socket, event: SocketEvent<&[u8]>| {
        events.push(format!("{event:?}"));
        Ok(())
    };
    socket.each(each).unwrap();
    assert_eq!(events, ["Close"]);
}
