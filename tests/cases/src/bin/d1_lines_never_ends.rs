//! `lines`: "any other error is the last step". But ETIMEDOUT, by which the system says that the peer is gone, comes for
//! ever. A loop that takes `TimedOut` for a tick, as the documentation suggests, spins. In std a read of 0 bytes
//! follows.
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    // The peer never reads, as one whose cable is cut.
    let (_peer, socket) = cases::pair();
    // Keep-alive leads to the same error, later.
    socket.set_user_timeout(Duration::from_millis(300)).unwrap();
    socket.set_timeout(Duration::from_millis(100));
    let writer = socket.clone();
    thread::spawn(
        move || while writer.write_all(vec![0; 1 << 20]).is_err_and(|error| error.kind() == ErrorKind::TimedOut) {},
    );

    let (start, mut ticks, mut dead) = (Instant::now(), 0, 0);
    for line in socket.buffered().unwrap().lines() {
        if let Err(error) = line
            && error.kind() == ErrorKind::TimedOut
        {
            ticks += 1;
            dead += u64::from(error.to_string() == "read ETIMEDOUT");
        }
        if start.elapsed() > Duration::from_secs(2) {
            cases::verdict(false, format!("not ended: {ticks} steps in 2 s, {dead} of them `read ETIMEDOUT`"))
        }
    }
    cases::verdict(true, format!("ended after {ticks} steps"))
}
