//! An adopted listener with `WhenFull::Wait`: the report `Closed` may be made while the turn to accept is held, and an
//! accept in the report hook then waits for itself.
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use landline::Report;
use landline::net::{Server, ServerOptions, WhenFull};

fn main() {
    let rounds = Arc::new(AtomicUsize::new(0));
    let watched = Arc::clone(&rounds);
    thread::spawn(move || {
        let mut last = 0;
        loop {
            thread::sleep(Duration::from_secs(5));
            let now = watched.load(SeqCst);
            if now == last {
                cases::verdict(false, format!("round {now} hangs"))
            }
            last = now;
        }
    });
    for _ in 0..3000 {
        rounds.fetch_add(1, SeqCst);
        let slot: Arc<OnceLock<Server>> = Arc::default();
        let in_hook = Arc::clone(&slot);
        let hook = move |report: &Report| {
            if let Report::Closed { .. } = report {
                // Takes what is left, as `while let Some(..) = server.accept()` does.
                let _ = in_hook.get().unwrap().accept();
            }
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ServerOptions::new().when_full(WhenFull::Wait).report(hook).adopt(listener).unwrap();
        let _ = slot.set(server.clone());
        let running = server.spawn(|_| Ok(())).unwrap();
        thread::sleep(Duration::from_millis(2));
        server.close();
        running.join().unwrap();
    }
    cases::verdict(true, format!("no hang in {} rounds", rounds.load(SeqCst)))
}
