//! A proxy by `relay` turns a reset of its backend into an orderly end: the client takes half an answer for the whole.
use std::thread;
use std::time::Duration;

use landline::net::{Server, Socket, relay};

fn main() {
    let backend = Server::listen("127.0.0.1:0").unwrap();
    let _backend = backend.spawn(|socket| {
        socket.write_all(vec![7; 100_000])?;
        thread::sleep(Duration::from_millis(100));
        socket.reset_and_destroy()
    });
    let proxy = Server::listen("127.0.0.1:0").unwrap();
    let to = backend.address().clone();
    let _proxy = proxy.spawn(move |client| relay(client, &Socket::connect(&to)?));
    let read = |server: &Server| cases::all(&Socket::connect(server.address()).unwrap()).map(|bytes| bytes.len());
    let (straight, relayed) = (read(&backend), read(&proxy));
    cases::verdict(straight.is_err() && relayed.is_err(), format!("straight {straight:?}, by relay {relayed:?}"))
}
