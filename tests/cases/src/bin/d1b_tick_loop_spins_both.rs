//! A reader takes `TimedOut` for a tick, as the documentation of `lines` suggests. It spins when the system gives the
//! connection up (ETIMEDOUT), and when the connection's deadline has passed.
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::Socket;

/// The last error, if lines have not ended after two seconds.
fn spins(socket: &Socket) -> Option<String> {
    let (start, before, mut ticks) = (Instant::now(), cases::cpu(), 0_u64);
    for line in socket.buffered().unwrap().lines() {
        let error = line.err()?;
        if error.kind() != ErrorKind::TimedOut {
            return None;
        }
        ticks += 1;
        if start.elapsed() > Duration::from_secs(2) {
            return Some(format!("{ticks} steps in 2 s, {:?} of processor time: {error}", cases::cpu() - before));
        }
    }
    None
}

fn main() {
    let (_peer, socket) = cases::pair();
    socket.set_user_timeout(Duration::from_millis(300)).unwrap();
    socket.set_timeout(Duration::from_millis(100));
    let writer = socket.clone();
    thread::spawn(
        move || while writer.write_all(vec![0; 1 << 20]).is_err_and(|error| error.kind() == ErrorKind::TimedOut) {},
    );
    while socket.bytes_written() == 0 {
        thread::yield_now();
    }
    let given_up = spins(&socket);
    socket.destroy();

    let (_peer, socket) = cases::pair();
    socket.set_deadline(Instant::now() + Duration::from_millis(200));
    let late = spins(&socket);
    let good = given_up.is_none() && late.is_none();
    cases::verdict(good, format!("given up by the system: {given_up:?}; after the deadline: {late:?}"))
}
