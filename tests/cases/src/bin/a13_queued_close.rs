//! When `close` has returned, the port is free; but not while another thread is in `queued`, which holds the listener.
//! It is seen with `reuse_address(false)`.
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use landline::net::{Server, ServerOptions};

const ROUNDS: usize = 2000;

fn main() {
    let port = Server::listen("127.0.0.1:0").unwrap().address().port();
    let (alone, watched) = (failures(port, false), failures(port, true));
    let text = format!("listening again failed {alone} of {ROUNDS} times, and {watched} times beside `queued`");
    cases::verdict(watched <= alone, text)
}

fn failures(port: u16, watch: bool) -> usize {
    let options = ServerOptions::new().reuse_address(false);
    let current: Mutex<Option<Server>> = Mutex::default();
    let stop = AtomicBool::new(false);
    let mut failed = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while watch && !stop.load(SeqCst) {
                let server = current.lock().unwrap().clone();
                let _ = server.and_then(|server| server.queued());
            }
        });
        for _ in 0..ROUNDS {
            let Ok(server) = options.listen(("127.0.0.1", port)) else {
                failed += 1;
                // The pace at which a port that is taken is tried again.
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            *current.lock().unwrap() = Some(server.clone());
            // How long each server lives beside the looks at its queue.
            thread::sleep(Duration::from_micros(300));
            server.close();
        }
        stop.store(true, SeqCst);
    });
    failed
}
