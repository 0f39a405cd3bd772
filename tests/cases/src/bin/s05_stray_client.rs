//! `close` connected to its own address when its threads had not stopped after 20 ms. By then shutdown(2) had freed the
//! port, and another server got a client that no program had made.
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::ServerOptions;

fn main() {
    let (mut rounds, mut strays, mut longest) = (0, 0, Duration::ZERO);
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end && strays == 0 {
        rounds += 1;
        let options = ServerOptions::new().reuse_port(true);
        let closed = options.listen("127.0.0.1:0").unwrap();
        let other = options.listen(closed.address()).unwrap();
        let serving = other.spawn(|_| Ok(())).unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let accepting = [(); 16].map(|()| scope.spawn(|| closed.accept().map(|socket| socket.is_none())));
            // They are in accept(2) by then; one that is not changes nothing.
            thread::sleep(Duration::from_millis(200));
            // More threads than processors, so that the accepting threads wait for one.
            let busy = 16 * thread::available_parallelism().map_or(1, usize::from);
            (0..busy).for_each(|_| {
                scope.spawn(|| while !is_over.load(SeqCst) {});
            });
            thread::sleep(Duration::from_millis(100));
            let start = Instant::now();
            closed.close();
            longest = longest.max(start.elapsed());
            is_over.store(true, SeqCst);
            accepting.into_iter().for_each(|thread| assert!(thread.join().unwrap().unwrap(), "it is closed"));
        });
        strays = other.stats().accepted;
        other.close();
        serving.join().unwrap();
    }
    cases::verdict(
        strays == 0,
        format!("{rounds} rounds, the longest close {longest:?}, {strays} clients of no program"),
    )
}
