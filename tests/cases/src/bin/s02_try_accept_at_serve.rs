//! `try_accept` blocked without end when the server began to be served between its look and accept(2).
use std::thread;
use std::time::{Duration, Instant};

use landline::net::Server;

fn main() {
    let end = Instant::now() + Duration::from_secs(20);
    let (mut servers, mut is_blocked) = (0_u64, false);
    while Instant::now() < end && !is_blocked {
        servers += 1;
        let server = Server::listen("127.0.0.1:0").unwrap();
        let (trying, serving) = cases::try_accept_and_serve(&server, servers % 40 * 20);
        let until = Instant::now() + Duration::from_secs(30);
        while !trying.is_finished() && Instant::now() < until {
            thread::park_timeout(Duration::from_micros(100));
        }
        is_blocked = !trying.is_finished();
        server.close();
        trying.join().unwrap();
        serving.join().unwrap();
    }
    cases::verdict(!is_blocked, format!("{servers} servers; try_accept blocked on the last for 30 s: {is_blocked}"))
}
