//! A queued write for each of very many clients at once.

use std::env;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use landline::net::{ServerOptions, Socket};

use crate::support::clients::at;
use crate::support::fixtures::kernel;
use crate::support::{descriptors, eventually, has_proc, in_child_for, other_side, start_other_side, status, threads};

/// Bounds a whole test in its process.
const LONG: Duration = Duration::from_secs(1000);
const COUNT: &str = "LANDLINE_TEST_COUNT";
const TEST: &str = "crowd::five_hundred_clients_with_a_queued_write_each";
/// What each client is sent.
const LENGTH: usize = 256 * 1024;

/// The other process: so many clients with a small buffer each, which read only when told to, and then count.
fn clients(at: SocketAddr, count: usize) {
    let mut clients: Vec<TcpStream> = (0..count)
        .map(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("one can be had");
            socket.set_recv_buffer_size(4096).and_then(|()| socket.connect(&at.into())).expect("the server listens");
            socket.into()
        })
        .collect();
    std::io::stdin().read_exact(&mut [0]).expect("the server says when");
    for client in &mut clients {
        // With a small one the thread that writes is woken for every few KiB.
        socket2::SockRef::from(&*client).set_recv_buffer_size(LENGTH).expect("buffers can be large");
        let mut all = Vec::with_capacity(LENGTH);
        client.read_to_end(&mut all).expect("an orderly end");
        assert_eq!(all.len(), LENGTH, "every byte");
    }
}

/// Queues one write for each of many clients, of which none reads, then lets them read. `wrapper` is put before the process it
/// runs in, and may say how many.
fn queue_for_each(wrapper: &[&str]) {
    let count = env::var(COUNT).map_or(500, |count| count.parse().expect("a number"));
    if let Some(at) = other_side() {
        return clients(at, count);
    }
    in_child_for(LONG, TEST, wrapper, || {
        let server = ServerOptions::new().max_connections(count).listen("127.0.0.1:0").expect("port 0 is free");
        let before = (threads(), descriptors(), status("VmRSS:"));
        let mut crowd = start_other_side(TEST, at(&server));
        let sockets: Vec<Socket> = (0..count)
            .map(|_| server.accept().expect("accepting works").expect("the server is open"))
            .inspect(|socket| {
                kernel(socket, |raw| raw.set_send_buffer_size(4096));
            })
            .collect();
        let message: Arc<[u8]> = vec![7; LENGTH].into();
        for socket in &sockets {
            socket.outbox().try_send(Arc::clone(&message)).expect("a thread can be started for each");
        }
        let queued = sockets.iter().filter(|socket| socket.outbox().pending() > 0).count();
        println!(
            "\nmeasured: {queued} of {count} clients with a queued write: {} threads, {} KiB resident, {} KiB before",
            threads(),
            status("VmRSS:"),
            before.2
        );
        assert_eq!(queued, count, "each has something queued");
        assert_eq!(threads(), before.0 + count, "one thread for each");
        crowd.tell();
        for socket in &sockets {
            socket.outbox().end().expect("it is open");
        }
        crowd.join();
        eventually("every thread is gone", || threads() <= before.0);
        drop(sockets);
        assert_eq!((server.connections(), descriptors()), (0, before.1), "nothing is left");
    });
}

/// Ensures that a queued write for each of very many clients at once aborts nothing, loses nothing and leaves nothing.
#[test]
fn five_hundred_clients_with_a_queued_write_each() {
    if !has_proc() {
        return;
    }
    queue_for_each(&[]);
}

/// The same with as many as a server takes by default.
#[test]
#[ignore = "needs 10,000 descriptors twice and as many threads"]
fn ten_thousand_clients_with_a_queued_write_each() {
    queue_for_each(&["env", &format!("{COUNT}=10000")]);
}
