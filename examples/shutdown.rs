//! An echo server that shuts down in order. It serves until a line is typed, then drains its connections and prints the
//! result.
//!
//! Terminal 1, where `>` marks what is typed once the client below has its answer:
//!
//! ```text
//! $ cargo run --release --example shutdown
//! listening on 127.0.0.1:3000
//! Enter shuts it down
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 accepted, 1 open
//! > Enter
//! 127.0.0.1:3000 closing
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 4.210 s, 6 read, 6 written
//! 127.0.0.1:3000 closed
//! 1 finished, 0 forced, 0 still running, after 0.051 s
//! ```
//!
//! Terminal 2, which is left alone after `hello`:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! > hello
//! hello
//! ```
//!
//! nc sees the end, and ends too at the next Enter.
//!
//! Lesson: a shutdown admits no more clients and wakes the handlers that wait for their client. Handlers that are busy
//! have 20 s. A client that does not read its answers is disconnected then. Try `yes >/dev/tcp/127.0.0.1/3000` in bash,
//! and after a few seconds Enter.

use std::time::Duration;
use std::{env, io};

use landline::net::ServerOptions;

fn main() -> io::Result<()> {
    let at = env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let server = ServerOptions::new().report(|report| println!("{report}")).listen(at)?;
    println!("listening on {}\nEnter shuts it down", server.address());
    let serving = server.spawn(|socket| socket.pipe(socket))?;

    io::stdin().read_line(&mut String::new())?;
    let report = server.shutdown(Duration::from_secs(20));
    println!("{report}");
    if report.still_running == 0 { serving.join() } else { Err(io::Error::other("a handler has not returned")) }
}
