//! A client that a call of `try_accept` kept, because its PROXY header was incomplete, was forgotten when the server began
//! to be served at that moment.
use std::io::ErrorKind;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, Socket};
use landline::{BlockList, Error};

fn main() {
    let trusted = BlockList::new();
    trusted.add_cidr("127.0.0.0/8").unwrap();
    let end = Instant::now() + Duration::from_secs(25);
    let (mut servers, mut forgotten) = (0_u64, 0);
    while Instant::now() < end {
        servers += 1;
        let server = ServerOptions::new().proxy_protocol(&trusted).listen("127.0.0.1:0").unwrap();
        let client = Socket::connect(server.address()).unwrap();
        let (caller, ours) = (server.clone(), Arc::new(Barrier::new(2)));
        let theirs = Arc::clone(&ours);
        let trying = thread::spawn(move || {
            theirs.wait();
            while caller.try_accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {}
        });
        ours.wait();
        for _ in 0..(servers % 60) * 40 {
            std::hint::spin_loop();
        }
        let serving = server.spawn(|socket| socket.write_end("hello")).unwrap();
        client.write_all("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n").unwrap();
        client.set_read_timeout(Duration::from_secs(3)).unwrap();
        // The caller may have got the client and dropped it, which ends it.
        let result = client.read(&mut [0; 5]);
        forgotten += u64::from(result.is_err_and(|error| Error::is_tick(&error)));
        drop(client);
        server.close();
        trying.join().unwrap();
        serving.join().unwrap();
    }
    cases::verdict(servers > 100 && forgotten == 0, format!("{servers} servers, {forgotten} clients not served in 3 s"))
}
