//! Wine does not end a receive of a connected datagram socket when nothing listens where it sends. Windows does, by
//! WSAECONNRESET. The next call is told.
//!
//! - `connected::refusal_is_an_event_and_the_loop_goes_on`
//! - `connected::refusal_is_told_once_and_the_socket_works_once_the_peer_is_there`

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("port 0 is free");
    let gone = UdpSocket::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("port 0 is free");
    socket.connect(gone).expect("it is this machine's");
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.send(b"hello").expect("it is connected");
    let received = socket.recv(&mut [0; 16]).expect_err("nothing has sent anything");
    println!(
        "a receive behind a send to a closed port gives {received:?}, the next one {:?}",
        socket.recv(&mut [0; 16])
    );
    let is_told = received.kind() != ErrorKind::TimedOut;
    if is_told { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
