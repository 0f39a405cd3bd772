//! Loops: `each`, `on`, `run`, `spawn`.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use landline::dgram::{Socket, SocketEvent, SocketOptions};

use crate::support::dgram::receive;
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
        let from = sender.address().clone();
        let events = within("the loop ends", move || {
            let mut events = Vec::new();
            socket
                .each(|socket, event| {
                    events.push(match event {
                        SocketEvent::Message(bytes, info) => {
                            assert_eq!((info.address(), info.size()), (&from, bytes.len()));
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
    Socket::bind(socket.address()).expect("the socket is closed");

    let (socket, running) = {
        let socket = Socket::bind("127.0.0.1:0").unwrap();
        let running = socket.on().message(|_, _, _| Err(io::ErrorKind::InvalidData.into())).spawn().unwrap();
        (socket, running)
    };
    let other = socket.on().spawn().unwrap();
    // Which of the two gets it is not said; in the end the first does.
    eventually("the first loop gets one", || {
        let _ = sender.send_to(b"x", socket.address());
        running.is_finished()
    });
    let error = within("the loop ends", || running.join().unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "join gives what the loop has ended with");
    within("the other loop ends too", || other.join().expect("it was none of its doing"));
}

/// Ensures that the closures may borrow and share state, since they run on the calling thread and never at once.
#[test]
fn on_sorts_the_events_and_run_may_borrow() {
    let (socket, sender) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    sender.send_to(b"one", socket.address()).unwrap();
    sender.send_to(b"two", socket.address()).unwrap();
    let (count, log) = (Cell::new(0), RefCell::new(Vec::new()));
    socket
        .on()
        .message(|socket, bytes, from| {
            log.borrow_mut().push(format!("{} {}", String::from_utf8_lossy(bytes), from.size()));
            count.set(count.get() + 1);
            if count.get() == 2 {
                socket.close();
            }
            Ok(())
        })
        .error(|_, error| log.borrow_mut().push(error.to_string()))
        .close(|socket| log.borrow_mut().push(format!("closed {}", socket.address())))
        .run()
        .unwrap();
    assert_eq!(*log.borrow(), ["one 3".to_owned(), "two 3".into(), format!("closed {}", socket.address())]);
}

/// Ensures that a server in the background answers, that what it serves stays open without a handle, that its thread
/// has a name, and that each loop hears of the end once.
#[test]
fn spawn_serves_until_close() {
    for at in families() {
        let socket = Socket::bind(at).unwrap();
        let address = socket.address().clone();
        let closed = Arc::new(AtomicUsize::new(0));
        let (control, seen) = (socket.clone(), closed.clone());
        let running = socket
            .on()
            .message(|socket, bytes, from| {
                let name = thread::current().name().unwrap_or_default().to_owned();
                assert_eq!(name, format!("landline recv {}", socket.address()), "the thread has a name");
                socket.send_to(bytes, from)?;
                Ok(())
            })
            .close(move |_| {
                seen.fetch_add(1, Ordering::SeqCst);
            })
            .spawn()
            .unwrap();
        drop(socket);
        let client = Socket::bind(at).unwrap();
        for _ in 0..3 {
            client.send_to(b"hello", &address).unwrap();
            assert_eq!(receive(&client).0, b"hello");
        }
        assert_eq!(closed.load(Ordering::SeqCst), 0);
        control.close();
        within("the loop ends", || running.join().unwrap());
        assert_eq!(closed.load(Ordering::SeqCst), 1, "close is told once");
    }
}

/// Ensures that a panic in a closure does not leave a socket that nobody serves, and that `join` tells of it.
#[test]
fn panic_in_a_closure_closes_the_socket() {
    let (socket, sender) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    let running = socket.on().message(|_, _, _| panic!("on purpose")).spawn().unwrap();
    sender.send_to(b"x", socket.address()).unwrap();
    let error = within("the thread ends", || running.join().unwrap_err());
    assert_eq!(error.to_string(), "callback panicked: on purpose");
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
