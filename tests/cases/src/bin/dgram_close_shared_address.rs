//! Two sockets share an address, as the members of a group on one machine do (docs/lessons/09, examples/multicast), or
//! as a pool with SO_REUSEPORT. Closing one whose receiver waits sends its wake-ups to the other. That one, which may
//! be another program, gets some 70 empty datagrams for each waiting thread, and `close` takes up to a second.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use landline::dgram::SocketOptions;

fn main() {
    let (mut strays, mut longest) = (0, Duration::ZERO);
    for options in [SocketOptions::udp4().reuse_address(true), SocketOptions::udp4().reuse_port(true)] {
        for _ in 0..3 {
            let a = options.bind("127.0.0.1:0").unwrap();
            let b = options.bind(a.address()).unwrap();
            let count = Arc::new(AtomicUsize::new(0));
            let counting = Arc::clone(&count);
            let of_b = cases::receiving(&b, move |_, _| {
                counting.fetch_add(1, SeqCst);
            });
            let of_a = cases::receiving(&a, |_, _| {});
            cases::until_others_sleep();
            let begun = Instant::now();
            a.close();
            longest = longest.max(begun.elapsed());
            of_a.join().unwrap().unwrap();
            cases::until_others_sleep();
            b.close();
            of_b.join().unwrap().unwrap();
            strays += count.load(SeqCst);
        }
    }
    let text =
        format!("6 closes, the longest {longest:?}; the neighbours received {strays} datagrams that no program sent");
    cases::verdict(strays == 0 && longest < Duration::from_millis(500), text)
}
