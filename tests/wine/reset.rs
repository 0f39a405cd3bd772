//! Wine tells a read of a peer's reset as its orderly end: the read gives 0 bytes, where Windows fails by WSAECONNRESET.
//!
//! A socket that is closed with input unread resets its peer, on Windows and Linux alike.
//!
//! - `accept::reset_and_destroy_resets_the_peer_though_a_call_is_blocked`
//! - `channel::a_reset_is_told_before_the_close`
//! - `server::settings_go_by_the_socket_and_not_by_its_header`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

fn main() -> ExitCode {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let mut as_reset = true;
    for is_blocked in [false, true] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).expect("it listens");
        let (server, _) = listener.accept().expect("a client has come");
        client.write_all(b"unread").expect("it is connected");
        sleep(Duration::from_millis(200));
        let closing = std::thread::spawn(move || {
            if is_blocked {
                sleep(Duration::from_millis(300));
            }
            drop(server);
        });
        if !is_blocked {
            sleep(Duration::from_millis(300));
        }
        let read = client.read(&mut [0]);
        closing.join().unwrap();
        println!("a read {} a reset gives {read:?}", if is_blocked { "during" } else { "behind" });
        as_reset &= read.is_err();
    }
    if as_reset { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
