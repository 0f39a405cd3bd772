//! A write timeout ends a write to a peer that takes nothing at all, also if that peer sends something now and then. The
//! idle timeout, which was the only one, did not.
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

fn main() {
    let (client, socket) = cases::pair();
    // It never reads.
    thread::spawn(move || {
        while client.write_all("x").is_ok() {
            // The pace of the peer.
            thread::sleep(Duration::from_millis(50));
        }
    });
    let reader = socket.clone();
    thread::spawn(move || while reader.read(&mut [0; 100]).is_ok_and(|n| n > 0) {});
    socket.set_write_timeout(Duration::from_millis(300)).unwrap();
    let (tell, told) = channel();
    let writer = socket.clone();
    thread::spawn(move || tell.send(writer.write_all(vec![0; 64 << 20])));
    let ended = told.recv_timeout(Duration::from_secs(3));
    let text = format!("after 3 s: {ended:?}, {} of {} bytes written", socket.bytes_written(), 64 << 20);
    cases::verdict(ended.is_ok_and(|written| written.is_err()), text)
}
