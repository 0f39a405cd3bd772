//! `outbox().end()` returns `Ok` and does nothing while an `end()` of another thread is under way. When that one fails
//! by the idle timeout it takes the end back, and the end that `Ok` promised never comes.
use std::thread;
use std::time::Duration;

const TRIALS: u64 = 40;

fn main() {
    let (mut lost, mut text) = (0, String::new());
    for trial in 0..TRIALS {
        let (client, socket) = cases::pair();
        socket.set_timeout(Duration::from_millis(60));
        socket.outbox().set_limit(64 << 20);
        // The peer does not read yet.
        socket.outbox().try_send(vec![7; 8 << 20]).unwrap();
        let (direct, queued) = thread::scope(|scope| {
            let ending = scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                socket.end()
            });
            thread::sleep(Duration::from_millis(20 + 7 * trial));
            let queued = socket.outbox().end();
            (ending.join().unwrap(), queued)
        });
        socket.set_timeout(None);
        client.set_timeout(Duration::from_secs(1));
        let read = cases::all(&client);
        if queued.is_ok() && read.is_err() {
            lost += 1;
            text = format!(
                "end() {direct:?}, outbox().end() {queued:?}, the peer reads {:?}",
                read.map(|bytes| bytes.len())
            );
        }
    }
    cases::verdict(lost == 0, format!("lost in {lost} of {TRIALS} trials {text}"))
}
