//! A client that has to come from a port or an address of its own.
//!
//! local_port again | two | ports

use cases::verdict;
use landline::net::{Server, Socket, SocketOptions};
use std::time::Duration;

fn main() {
    cases::inside("ip link set lo up; sysctl -qw net.ipv4.ip_local_port_range='40000 40009'");
    let server = || {
        let server = Server::listen("127.0.0.1:0").unwrap();
        let _ = server.spawn(|socket| cases::all(socket).map(drop)).unwrap();
        server
    };
    match cases::mode().as_str() {
        // The client ends first, so its port is in TIME_WAIT; then it connects again.
        "again" => {
            let (one, other) = (server(), server());
            let options = SocketOptions::new().local_port(5555);
            let talk = |to: &Server| -> Result<(), landline::Error> {
                let socket: Socket = options.connect(to.address())?;
                socket.end()?;
                cases::all(&socket)?;
                Ok(())
            };
            let first = talk(&one);
            std::thread::sleep(Duration::from_millis(100));
            let (second, third) = (talk(&other), talk(&one));
            println!("first {first:?}, then to another server {second:?}, to the same {third:?}");
            verdict(second.is_ok(), "connecting from the same port again");
        }
        // One local port, two servers at the same time.
        "two" => {
            let (one, other) = (server(), server());
            let options = SocketOptions::new().local_port(5556);
            let first = options.connect(one.address());
            let second = options.connect(other.address());
            println!("{first:?} {second:?}");
            verdict(second.is_ok(), "two peers from one local port");
        }
        // Ten ports, ten connections to each of several servers.
        "ports" => {
            let servers: Vec<_> = (0..3)
                .map(|i| {
                    let server = Server::listen(("127.0.0.1", 20_000 + i)).unwrap();
                    let _ = server.spawn(|socket| cases::all(socket).map(drop)).unwrap();
                    server
                })
                .collect();
            let count = |options: SocketOptions| {
                let mut held = Vec::new();
                let mut last = None;
                for server in servers.iter().cycle().take(60) {
                    match options.connect(server.address()) {
                        Ok(socket) => held.push(socket),
                        Err(error) => last = Some(error),
                    }
                }
                let n = held.len();
                for socket in held {
                    socket.reset_and_destroy().unwrap();
                }
                (n, last)
            };
            let free = count(SocketOptions::new());
            let bound = count(SocketOptions::new().local_address("127.0.0.1"));
            println!("without local_address {free:?}, with {bound:?}");
            verdict(bound.0 == free.0, format!("{} connections without, {} with local_address", free.0, bound.0));
        }
        other => panic!("{other}?"),
    }
}
