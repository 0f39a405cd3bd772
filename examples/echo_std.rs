//! The twin of `echo_server` in plain std, with the same limit, counts and shutdown.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --release --example echo_std -- --max-connections 1
//! listening on 127.0.0.1:3000
//! 127.0.0.1:40001 accepted, 1 open
//! refused 127.0.0.1:40002: full
//! 127.0.0.1:40001 ended, bytes: Ok(6)
//! ```
//!
//! Terminal 2, where `>` marks what is typed once terminal 3 is open (`-N` makes nc end its side at the end of its
//! input):
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! Terminal 3, which ends at once, since the limit is one client:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! ```
//!
//! Lesson: each comment below marks a trap, and not all are avoided. Against `echo_server`, these are missing: a
//! backlog above std's own (try 3,000 clients at once), threads that serve more than one client, a reliable shutdown,
//! counts that survive an error, and a way to end one connection or all from outside.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::SeqCst};
use std::{env, io, process, thread, time::Duration};

fn main() -> io::Result<()> {
    let Some((at, limit, until_eof)) = arguments() else {
        eprintln!("usage: echo_std [ADDRESS] [--max-connections N] [--until-eof]");
        process::exit(2);
    };
    // Each connection holds a clone of `open`, which even a panic drops. A slot that is lost once is lost for good.
    let (open, closing, listener) = (Arc::new(()), AtomicBool::new(false), TcpListener::bind(at)?);
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let serve = |stream: TcpStream, slot: Arc<()>| {
        let result = stream.set_nodelay(true).and_then(|()| io::copy(&mut &stream, &mut &stream));
        drop((slot, stream)); // in this order: a client that saw the end and comes again finds the slot free
        result // after an error nobody knows how many bytes it were
    };
    thread::scope(|scope| {
        if until_eof {
            scope.spawn(|| {
                let _ = io::copy(&mut io::stdin(), &mut io::sink());
                closing.store(true, SeqCst);
                let _ = TcpStream::connect(address); // std has no other way to wake accept(); it may fail
            });
        }
        loop {
            let (stream, peer) = match listener.accept() {
                _ if closing.load(SeqCst) => return drop(listener), // it may have been a real client
                Ok(client) => client,
                Err(error) => {
                    eprintln!("accept: {error}"); // no descriptors left, most likely: neither end nor spin
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
            };
            if Arc::strong_count(&open) > limit {
                println!("refused {peer}: full"); // exact only as long as nobody else accepts
                continue;
            }
            let slot = Arc::clone(&open);
            println!("{peer} accepted, {} open", Arc::strong_count(&open) - 1);
            let work = move || println!("{peer} ended, bytes: {:?}", serve(stream, slot));
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                eprintln!("refused {peer}: {error}"); // thread::spawn would have panicked
            }
        }
    });
    Ok(())
}

fn arguments() -> Option<(String, usize, bool)> {
    let (mut at, mut limit, mut until_eof, mut args) = (None, 10_000, false, env::args().skip(1));
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--max-connections" => limit = args.next()?.parse().ok()?,
            "--until-eof" => until_eof = true,
            _ if arg.starts_with('-') || at.is_some() => return None,
            _ => at = Some(arg),
        }
    }
    Some((at.unwrap_or("127.0.0.1:3000".into()), limit, until_eof))
}
