//! Requests that have arrived whole before a shutdown are answered by a handler, but not by the receiver of a channel.
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use landline::net::{Server, ServerEvent, Socket, SocketEvent};

fn main() {
    let [handler, channel] = [false, true].map(answered);
    cases::verdict(channel >= handler, format!("answered by handlers {handler} of 20, by a channel {channel} of 20"))
}

fn answered(channel: bool) -> usize {
    let server = Server::listen("127.0.0.1:0").unwrap();
    let serving = server.clone();
    let begun = Arc::new(AtomicBool::new(false));
    let answering = Arc::clone(&begun);
    let worker = thread::spawn(move || {
        if channel {
            for event in &serving.events(64).unwrap() {
                if let ServerEvent::Socket(socket, SocketEvent::Data(bytes)) = event {
                    answering.store(true, SeqCst);
                    // What the answer takes.
                    thread::sleep(Duration::from_millis(3));
                    let _ = socket.outbox().try_send(bytes);
                }
            }
            return;
        }
        let handler = |socket: &Socket| {
            socket.each(|socket, event| match event {
                SocketEvent::Data(bytes) => {
                    answering.store(true, SeqCst);
                    // What the answer takes.
                    thread::sleep(Duration::from_millis(60));
                    socket.write_all(bytes)
                }
                _ => Ok(()),
            })
        };
        serving.serve(handler).unwrap();
    });
    let clients: Vec<_> = (0..20).map(|_| Socket::connect(server.address()).unwrap()).collect();
    while server.connections() < clients.len() {
        thread::yield_now();
    }
    for client in &clients {
        client.write_all("request").unwrap();
    }
    // The shutdown comes while the answers are being made.
    while !begun.load(SeqCst) {
        thread::yield_now();
    }
    let report = server.shutdown(Duration::from_secs(10));
    println!("by a channel: {channel}: {report}");
    worker.join().unwrap();
    clients.iter().filter(|client| client.read_exact(&mut [0; 7]).is_ok()).count()
}
