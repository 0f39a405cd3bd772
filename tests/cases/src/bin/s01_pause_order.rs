//! A piece that `each` had read when another thread paused it was put back after that thread had read what follows.
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let (client, paused) = cases::pair();
    paused.set_read_timeout(Duration::from_millis(300)).unwrap();
    let reader = paused.clone();
    thread::spawn(move || reader.each(|_, _| Ok(())));
    thread::spawn(move || {
        let mut number = 0_u32;
        while client.write_all(number.to_be_bytes()).is_ok() {
            number += 1;
            if number.is_multiple_of(8) {
                // The pace of the client.
                thread::sleep(Duration::from_micros(50));
            }
        }
    });
    let end = Instant::now() + Duration::from_secs(20);
    let (mut rounds, mut wrong) = (0_u64, 0);
    while Instant::now() < end {
        paused.pause();
        rounds += 1;
        let mut part = [0; 256];
        if paused.read_exact(&mut part).is_ok() {
            // It may begin inside a number.
            let is_in_order = (0..4).any(|first| {
                let (numbers, _) = part[first..].as_chunks::<4>();
                numbers.windows(2).all(|two| u32::from_be_bytes(two[1]) == u32::from_be_bytes(two[0]).wrapping_add(1))
            });
            wrong += u64::from(!is_in_order);
        }
        paused.resume();
        if rounds.is_multiple_of(3) {
            // How long the loop reads between two pauses.
            thread::sleep(Duration::from_micros(rounds % 97));
        }
    }
    paused.destroy();
    cases::verdict(rounds > 100 && wrong == 0, format!("{rounds} reads during a pause, {wrong} out of order"))
}
