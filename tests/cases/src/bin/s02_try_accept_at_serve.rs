//! `try_accept` blocked without end when the server began to be served between its look and accept(2).
use std::io::ErrorKind;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::Server;

fn main() {
    let end = Instant::now() + Duration::from_secs(20);
    let (mut servers, mut blocked) = (0_u64, 0);
    while Instant::now() < end {
        servers += 1;
        let server = Server::listen("127.0.0.1:0").unwrap();
        let (caller, ours) = (server.clone(), Arc::new(Barrier::new(2)));
        let theirs = Arc::clone(&ours);
        let trying = thread::spawn(move || {
            theirs.wait();
            while caller.try_accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {}
        });
        ours.wait();
        for _ in 0..(servers % 40) * 20 {
            std::hint::spin_loop();
        }
        let serving = server.spawn(|socket| socket.write_end("hello")).unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        while !trying.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_micros(100));
        }
        blocked += u64::from(!trying.is_finished());
        server.close();
        trying.join().unwrap();
        serving.join().unwrap();
    }
    cases::verdict(
        servers > 100 && blocked == 0,
        format!("{servers} servers, {blocked} on which try_accept blocked for 2 s"),
    )
}
