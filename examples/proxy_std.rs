//! The twin of `proxy` in plain std.
//!
//! Terminal 1, some echo server:
//!
//! ```text
//! $ cargo run --example echo 127.0.0.1:4000
//! listening on 127.0.0.1:4000
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ cargo run --example proxy_std 127.0.0.1:3000 127.0.0.1:4000
//! listening on 127.0.0.1:3000
//! 127.0.0.1:40001: 6 bytes there, 6 back
//! ```
//!
//! Terminal 3, where `>` marks what is typed (`-N` makes nc end its side at the end of its input):
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! Lesson: `io::copy` is half of it. When one direction fails, nothing wakes the other unless both streams are shut
//! down by hand. Against `proxy`, three things are missing: one deadline over the look-up and all addresses of the
//! target, which are tried one after the other here, for minutes each, a limit of clients, and a way to end the proxy.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::{env, thread};

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let listener = TcpListener::bind(args.next().unwrap_or("127.0.0.1:3000".into()))?;
    let target = args.next().unwrap_or("127.0.0.1:4000".into());
    println!("listening on {}", listener.local_addr()?);
    thread::scope(|scope| {
        loop {
            let (client, peer) = match listener.accept() {
                Ok(client) => client,
                Err(error) => {
                    eprintln!("accept: {error}"); // no descriptors left, most likely: neither end nor spin
                    thread::sleep(std::time::Duration::from_millis(5));
                    continue;
                }
            };
            let target = &target;
            // thread::spawn would panic without a free thread, and end the server.
            let started = thread::Builder::new().spawn_scoped(scope, move || match relay(&client, target) {
                Ok((there, back)) => println!("{peer}: {there} bytes there, {back} back"),
                Err(error) => eprintln!("{peer}: {error}"),
            });
            if let Err(error) = started {
                eprintln!("refused {peer}: {error}");
            }
        }
    })
}

fn relay(client: &TcpStream, target: &str) -> io::Result<(u64, u64)> {
    let server = &TcpStream::connect(target)?;
    server.set_nodelay(true).and_then(|()| client.set_nodelay(true))?;
    let carry = |mut from: &TcpStream, mut to: &TcpStream| {
        let result = io::copy(&mut from, &mut to).and_then(|n| to.shutdown(Shutdown::Write).map(|()| n));
        if result.is_err() {
            // Otherwise the other direction would wait for ever.
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        }
        result
    };
    thread::scope(|scope| {
        let back = thread::Builder::new().spawn_scoped(scope, move || carry(server, client))?;
        let there = carry(client, server);
        let back = back.join().unwrap_or_else(|_| Err(io::Error::other("panicked")));
        Ok((there?, back?))
    })
}
