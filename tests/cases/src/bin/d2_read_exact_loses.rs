//! README: "a timeout ... loses nothing". `read_exact`, of `Socket` and of its lines, loses the part that it had read
//! when the time was up.
use std::thread;
use std::time::Duration;

fn main() {
    let (client, socket) = cases::pair();
    socket.set_timeout(Duration::from_millis(100));
    thread::spawn(move || {
        client.write_all([0, 0]).unwrap();
        thread::sleep(Duration::from_millis(250));
        client.write_all([0, 3, b'a', b'b', b'c']).unwrap();
        thread::sleep(Duration::from_secs(1));
    });
    let mut length = [0; 4];
    while socket.read_exact(&mut length).is_err() {}
    let length = u32::from_be_bytes(length);
    cases::verdict(length == 3, format!("the length is 3, and read_exact gives {length}"))
}
