//! `flush` of an outbox said that something was lost, when the connection closed right after the kernel had taken the
//! last byte. The peer had all of it.
use std::thread;
use std::time::{Duration, Instant};

use landline::net::Message;

fn main() {
    let message = Message::from(vec![0; 4 << 20]);
    let length = message.len();
    let end = Instant::now() + Duration::from_secs(20);
    let (mut rounds, mut wrong) = (0_u64, 0_u64);
    while Instant::now() < end {
        rounds += 1;
        let (client, socket) = cases::pair();
        let reading = thread::spawn(move || {
            client.read_exact(&mut vec![0; length]).unwrap();
            client.write_all("all of it came").unwrap();
            let _ = client.read(&mut [0]);
        });
        let outbox = socket.outbox();
        outbox.try_send(message.clone()).unwrap();
        let closing = thread::spawn({
            let socket = socket.clone();
            move || {
                socket.read_exact(&mut [0]).unwrap();
                socket.destroy();
            }
        });
        let is_lost = outbox.flush().is_err();
        assert!(is_lost || socket.bytes_written() == length as u64, "what is out is counted");
        wrong += u64::from(is_lost);
        reading.join().unwrap();
        closing.join().unwrap();
    }
    cases::verdict(
        wrong == 0,
        format!("{rounds} messages that arrived, {wrong} of which `flush` said that they were lost"),
    )
}
