//! A connection that is cancelled while a client makes it is reported as ended before it is reported as connected.
use std::sync::{Arc, Mutex};
use std::{hint, thread};

use landline::net::{Server, SocketOptions};
use landline::{Cancel, Report};

const ROUNDS: u32 = 20_000;

fn main() {
    let server = Server::listen("127.0.0.1:0").unwrap();
    let accepting = server.clone();
    thread::spawn(move || while let Ok(Some(_)) = accepting.accept() {});
    let mut seen = 0;
    for round in 0..ROUNDS {
        let (cancel, log) = (Cancel::new(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&log);
        let options = SocketOptions::new().cancel(&cancel).report(move |report| match report {
            Report::Connected { .. } => kept.lock().unwrap().push("connected"),
            Report::Ended { .. } => kept.lock().unwrap().push("ended"),
            _ => {}
        });
        let cancelling = thread::spawn(move || {
            (0..round % 400 * 20).for_each(|_| hint::spin_loop());
            cancel.cancel();
        });
        drop(options.connect(server.address()));
        cancelling.join().unwrap();
        seen += u32::from(*log.lock().unwrap() == ["ended", "connected"]);
    }
    cases::verdict(seen == 0, format!("ended before connected: {seen} of {ROUNDS}"))
}
