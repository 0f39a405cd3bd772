//! Blocking calls can read from a paused socket, by its documentation. But the loop of the channel has taken the first
//! piece ahead. It matters to a program that wants its clients by the channel, and the bytes of each by blocking calls.
use std::thread;
use std::time::Duration;

use landline::net::{ServerEvent, ServerOptions, Socket};

fn main() {
    let server = ServerOptions::new().pause_on_connect(true).listen("127.0.0.1:0").unwrap();
    let events = server.events(16).unwrap();
    let client = Socket::connect(server.address()).unwrap();
    let Ok(ServerEvent::Connection(socket)) = events.recv_timeout(Duration::from_secs(60)) else {
        panic!("a connection is the first event");
    };
    assert!(socket.is_paused());
    for piece in ["first", "second"] {
        client.write_all(piece).unwrap();
        // The pace of the client: the pieces do not come together.
        thread::sleep(Duration::from_millis(100));
    }
    let mut buffer = [0; 20];
    let n = socket.read(&mut buffer).unwrap();
    cases::verdict(buffer.starts_with(b"first"), format!("read gives {:?}", String::from_utf8_lossy(&buffer[..n])))
}
