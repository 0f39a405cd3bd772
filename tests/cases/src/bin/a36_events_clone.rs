//! Several threads receive from clones of the receiver, as with crossbeam's channels, and the thread that made the
//! clones waits for the server. That thread counts as the receiver, so its wait takes the channel from the others.
use std::io;
use std::thread;
use std::time::Duration;

use landline::net::{Server, ServerEvent, Socket, SocketEvent};

fn main() {
    let server = Server::listen("127.0.0.1:0").unwrap();
    let events = server.events(64).unwrap();
    for _ in 0..4 {
        let receiver = events.receiver().clone();
        thread::spawn(move || {
            for event in receiver.iter() {
                match event {
                    ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => drop(socket.outbox().try_send(bytes)),
                    ServerEvent::Socket(socket, SocketEvent::End) => drop(socket.outbox().end()),
                    _ => {}
                }
            }
        });
    }
    let address = server.address().clone();
    let ask = move || {
        let client = Socket::connect(&address)?;
        client.write_end("hello")?;
        io::read_to_string(&client)
    };
    let before = ask();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        let during = ask();
        let good = [&before, &during].map(|answer| answer.as_ref().is_ok_and(|text| text == "hello"));
        cases::verdict(good == [true; 2], format!("a client is answered {before:?}, and during the wait {during:?}"))
    });
    let _ = server.wait();
    thread::sleep(Duration::from_secs(60));
}
