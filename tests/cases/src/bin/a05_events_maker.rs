//! One thread makes the channel of events and waits for the server; another one receives, and begins more than a second
//! later. By then the channel was dropped, and each client is destroyed.
use std::io;
use std::thread;
use std::time::Duration;

use landline::net::{Server, ServerEvent, Socket, SocketEvent};

fn main() {
    let server = Server::listen("127.0.0.1:0").unwrap();
    let events = server.events(64).unwrap();
    let address = server.address().clone();
    thread::spawn(move || {
        // As long as it takes to open a database.
        thread::sleep(Duration::from_millis(1500));
        for event in &events {
            match event {
                ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => drop(socket.outbox().try_send(bytes)),
                ServerEvent::Socket(socket, SocketEvent::End) => drop(socket.outbox().end()),
                _ => {}
            }
        }
    });
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        let client = Socket::connect(&address).unwrap();
        let answer = client.write_end("hello").and_then(|()| io::read_to_string(&client));
        cases::verdict(answer.as_ref().is_ok_and(|text| text == "hello"), format!("a client is answered {answer:?}"))
    });
    let _ = server.wait();
    cases::verdict(false, "the wait for the server has returned")
}
