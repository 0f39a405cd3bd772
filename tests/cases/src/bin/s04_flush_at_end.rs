//! `flush` of an outbox said that something was lost, when the connection closed right after a queued end was sent.
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Message, SocketEvent};

fn main() {
    let message = Message::from(vec![0; 4 << 20]);
    let end = Instant::now() + Duration::from_secs(20);
    let (mut rounds, mut wrong) = (0_u64, 0_u64);
    while Instant::now() < end {
        rounds += 1;
        let (client, closing) = cases::pair();
        client.end().unwrap();
        let events = closing.events(4).unwrap();
        // From here on the thread of the events waits for our end, and then closes the connection.
        while !matches!(events.recv(), Ok(SocketEvent::End)) {}
        let outbox = closing.outbox();
        outbox.try_send(message.clone()).unwrap();
        outbox.end().unwrap();
        let reading = thread::spawn(move || cases::all(&client).unwrap().len());
        let is_lost = outbox.flush().is_err();
        let came = reading.join().unwrap();
        assert_eq!(came, message.len(), "every byte arrives");
        wrong += u64::from(is_lost);
    }
    cases::verdict(wrong == 0, format!("{rounds} ends of an outbox, {wrong} of which `flush` said that they were lost"))
}
