//! Connections that linger: what their handlers and other threads wait for.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, SocketEvent};

use crate::support::Whole;
use crate::support::fixtures::Served;
use crate::support::time::once_below;
use crate::support::{HANG, blocked, differs_on_windows, each_ip, eventually, within};

const HOUR: Duration = Duration::from_secs(3600);

/// Less than the first second of lingering, after which a blocked read would still wait.
const SOON: Duration = Duration::from_secs(1);

/// Ensures that a read on another thread ends once its handler has returned and the connection no longer lingers, though
/// the peer stays connected and sends nothing.
#[test]
fn a_read_of_another_thread_does_not_outlast_the_handler() {
    each_ip(|at| {
        let (tell, told) = mpsc::channel();
        // Not a bound: the time that is over in the end.
        let options = ServerOptions::new().lingering_close(Duration::from_millis(50));
        let served = Served::start(at, &options, move |socket| {
            let reader = socket.clone();
            tell.send(blocked(move || reader.read(&mut [0; 8]))).expect("the test waits");
            socket.write_all("reply")
        });
        let client = served.connect();
        let reading = told.recv_timeout(HANG).expect("the client is served");
        let reader = client.clone();
        let reply = within("our end arrives", move || reader.read_text()).expect("no reset");
        assert_eq!(reply, "reply", "the peer gets all that was written, then the end");
        let error = within("the read ends", || reading.join()).expect("no panic").expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::NotConnected, "a read ends when another thread closes its socket");
        drop(client);
        served.stop();
    });
}

/// Ensures that `destroy` on a connection that lingers ends a read of another thread at once.
#[test]
fn destroy_ends_a_read_of_a_connection_that_lingers() {
    if differs_on_windows("looks twice a second whether the connection is closed") {
        return;
    }
    each_ip(|at| {
        let (tell, told) = mpsc::channel();
        let served = Served::start(at, &ServerOptions::new().lingering_close(HOUR), move |socket| {
            let reader = socket.clone();
            let reading = blocked(move || reader.read(&mut [0; 8]));
            tell.send((socket.clone(), reading, Instant::now())).expect("the test waits");
            Ok(())
        });
        once_below("a destroyed connection's read ends", SOON, || {
            let client = served.connect();
            let (socket, reading, start) = told.recv_timeout(HANG).expect("the client is served");
            eventually("the handler's end closes the connection", || socket.is_destroyed());
            socket.destroy();
            let error = within("the read ends", || reading.join()).expect("no panic").expect_err("it is closed");
            let took = start.elapsed();
            assert_eq!(error.kind(), ErrorKind::NotConnected, "a read ends when another thread closes its socket");
            drop(client);
            took
        });
        served.stop();
    });
}

/// Ensures that dropping the events of a connection that lingers does not wait for its peer.
#[cfg(feature = "channel")]
#[test]
fn dropping_events_does_not_wait_for_the_peer_of_a_connection_that_lingers() {
    use crate::support::{in_child, threads_named, until_asleep};

    if differs_on_windows("looks twice a second whether the connection is closed") {
        return;
    }
    in_child(this_test!(), &[], || {
        each_ip(|at| {
            let (tell, told) = mpsc::channel();
            let served = Served::start(at, &ServerOptions::new().lingering_close(HOUR), move |socket| {
                let events = socket.events(8)?;
                assert!(matches!(events.recv_timeout(HANG), Ok(SocketEvent::Data(_))), "the thread reads");
                until_asleep(&threads_named("landline socket"));
                tell.send((events, socket.clone(), Instant::now())).expect("the test waits");
                Ok(())
            });
            once_below("events are dropped", SOON, || {
                let client = served.connect();
                client.write_all("x").expect("it is connected");
                let (events, socket, start) = told.recv_timeout(HANG).expect("the client is served");
                eventually("the handler's end closes the connection", || socket.is_destroyed());
                within("the drop returns", move || drop(events));
                let took = start.elapsed();
                drop(client);
                took
            });
            served.stop();
        });
    });
}

/// Ensures that `destroy` cuts no reply short if no thread is in a read: the peer may send something while the reply of a
/// connection that lingers is on its way.
#[test]
fn destroy_does_not_cut_a_reply_short_if_no_thread_reads() {
    const REPLY: usize = 700_000;
    each_ip(|at| {
        let (tell, told) = mpsc::channel();
        let options = ServerOptions::new().lingering_close(HOUR).send_buffer_size(2 * REPLY);
        let served = Served::start(at, &options, move |socket| {
            let (begin, begun) = mpsc::channel();
            let other = socket.clone();
            let other = thread::spawn(move || {
                other.each(|socket, event| {
                    if let SocketEvent::Data(_) = event {
                        begin.send(()).expect("the handler waits");
                        eventually("the handler's end closes the connection", || socket.is_destroyed());
                        socket.destroy();
                    }
                    Ok(())
                })
            });
            begun.recv_timeout(HANG).expect("the request arrives");
            socket.write_all(vec![b'r'; REPLY])?;
            tell.send(other).expect("the test waits");
            Ok(())
        });
        let address = served.server.address().socket_addr().expect("it is TCP");
        let client = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
        let client = client.expect("a socket can be made");
        // The reply is on its way for as long as the client does not read.
        client.set_recv_buffer_size(16 * 1024).expect("the size is possible");
        client.connect(&address.into()).expect("it listens");
        let mut client = std::net::TcpStream::from(client);
        client.write_all(b"request").expect("it is connected");
        let other = told.recv_timeout(HANG).expect("it is served");
        within("the callback returns", || other.join()).expect("no panic").expect("it ends in order");
        client.write_all(b"more").expect("it is connected");
        client.set_read_timeout(Some(HANG)).expect("a time can be set");
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).expect("no reset");
        assert_eq!(reply.len(), REPLY, "the reply arrives whole");
        drop(client);
        served.stop();
    });
}

/// Ensures that a connection which waits for a place to linger is closed at its deadline, though no place is free.
#[test]
fn a_wait_for_a_place_to_linger_ends_at_the_deadline() {
    each_ip(|at| {
        let (tell, told) = mpsc::channel();
        // As many linger as may be connected.
        let options = ServerOptions::new().max_connections(1).lingering_close(HOUR);
        let served = Served::start(at, &options, move |socket| {
            let mut first = [0; 1];
            socket.peek(&mut first)?;
            let deadline = Instant::now() + Duration::from_millis(100);
            if &first == b"d" {
                socket.set_deadline(deadline);
            }
            tell.send((socket.clone(), deadline)).expect("the test waits");
            Ok(())
        });
        let lingers = served.connect();
        // The handler leaves the byte unread, so the connection is not closed to make room.
        lingers.write_all("x").expect("it is connected");
        let (socket, _) = told.recv_timeout(HANG).expect("it is served");
        eventually("the first connection lingers", || socket.is_destroyed());

        let waits = served.connect();
        waits.write_all("d").expect("it is connected");
        let (socket, deadline) = told.recv_timeout(HANG).expect("the slot is free");
        eventually("a connection lasts no longer than its deadline", || socket.is_destroyed());
        assert!(Instant::now() >= deadline, "the premise: until then it waits for a place");
        assert_eq!(served.server.connections(), 0, "its slot is free");
        assert_eq!(served.server.stats().lingering, 1, "the first still has the only place");
        drop((lingers, waits));
        served.stop();
    });
}
