//! A read timeout counts what arrives, as in std: what another thread writes does not put it off. The idle timeout, which
//! was the only one, was put off, so a thread that published to a silent peer hid the silence; a deadline ended the
//! publisher too.
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let (client, socket) = cases::pair();
    // It takes everything and says nothing.
    thread::spawn(move || cases::all(&client));
    let publisher = socket.clone();
    let publishing = thread::spawn(move || {
        (0..40).try_for_each(|_| {
            thread::sleep(Duration::from_millis(50));
            publisher.write_all("news\n")
        })
    });
    socket.set_read_timeout(Duration::from_millis(300)).unwrap();
    let begun = Instant::now();
    let read = socket.read(&mut [0; 10]);
    let (took, published) = (begun.elapsed(), publishing.join().unwrap());
    let text = format!("a read with a timeout of 300 ms: {read:?} after {took:?}; the publisher {published:?}");
    cases::verdict(took < Duration::from_millis(1500) && published.is_ok(), text)
}
