//! How long it takes to wake a thread that is blocked in a call, on the system it runs on: the figures of docs/platforms.md.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, net};

use landline::dgram;
use landline::net::{Server, Socket};

use crate::support::fixtures::accept;
use crate::support::{blocked, within};

/// How often each is measured.
const ROUNDS: usize = 25;

/// How long it takes from `end` until the call that `wait` makes on a thread of its own returns.
fn woken<T: Send + 'static>(
    wait: impl FnOnce() -> T + Send + 'static,
    end: impl FnOnce() + Send + 'static,
) -> Duration {
    let waiting: JoinHandle<T> = blocked(wait);
    // Not a bound: where no thread can be seen to sleep, this one is in its call by now.
    thread::sleep(Duration::from_millis(30));
    let began = Instant::now();
    within("the call returns", move || {
        end();
        waiting.join().map(drop)
    })
    .expect("no panic");
    began.elapsed()
}

/// A connection to a server: its socket and the peer.
fn connection() -> (Server, Socket, net::TcpStream) {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let peer = net::TcpStream::connect(server.address().socket_addr().expect("it is of IP")).expect("it listens");
    let socket = accept(&server);
    (server, socket, peer)
}

fn of_accept() -> Duration {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let accepting = server.clone();
    woken(move || accepting.accept().map(drop), move || server.close())
}

fn of_read() -> Duration {
    let (_server, socket, _peer) = connection();
    let reading = socket.clone();
    woken(move || reading.read(&mut [0]), move || socket.destroy())
}

fn of_write() -> Duration {
    let (_server, socket, _peer) = connection();
    let writing = socket.clone();
    let all = vec![0; 16 << 20];
    woken(move || writing.write_all(&all), move || socket.destroy())
}

fn of_receive() -> Duration {
    let socket = dgram::Socket::bind("127.0.0.1:0").expect("port 0 can be bound");
    let receiving = socket.clone();
    woken(move || -> io::Result<()> { receiving.recv(&mut [0; 100]).map(drop) }, move || socket.close())
}

/// Prints the median and the maximum of each.
#[test]
#[ignore = "takes 20 s; prints figures alone"]
fn what_it_takes_to_wake_a_blocked_call() {
    print("close of a blocked accept", of_accept);
    print("destroy of a blocked read", of_read);
    print("destroy of a blocked write", of_write);
    print("close of a blocked receive of datagrams", of_receive);
}

fn print(what: &str, measure: fn() -> Duration) {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| measure()).collect();
    times.sort();
    println!("measured: {what}: median {:.1?}, maximum {:.1?}", times[ROUNDS / 2], times[ROUNDS - 1]);
}
