//! A line protocol with an idle timeout. Clients store words and ask for them, and silent clients are disconnected.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example lines 127.0.0.1:3000 5
//! listening on 127.0.0.1:3000, for clients that say something every 5 s
//! then: cargo run --example echo_client 127.0.0.1:3000
//! ```
//!
//! Terminal 2, where `>` marks what is typed, and the last line comes by itself:
//!
//! ```text
//! $ cargo run --example echo_client 127.0.0.1:3000
//! > set colour green
//! ok
//! > get colour
//! green
//! > get size
//! error: there is no size
//! > sing
//! error: set KEY VALUE, get KEY or quit
//! bye: nothing was said for 5 s
//! ```
//!
//! Lesson: the protocol is one loop over lines. A client's own state is in local variables, and the common state is
//! behind a lock. A line is limited to 1,000 bytes, since a line without an end would take all memory. A timeout loses
//! nothing and ends nothing, so it can be answered. Returning ends the connection. Answers are kept and leave together
//! before the next read waits, so a client may send many lines at once.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{env, io};

use landline::Error;
use landline::net::ServerOptions;

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let at = args.next().unwrap_or("127.0.0.1:3000".into());
    let seconds = args.next().map_or(Ok(60), |seconds| seconds.parse()).map_err(io::Error::other)?;
    let server = ServerOptions::new().timeout(Duration::from_secs(seconds)).listen(at)?;
    println!("listening on {}, for clients that say something every {seconds} s", server.address());
    println!("then: cargo run --example echo_client {}", server.address());
    let words = Mutex::new(HashMap::new());
    server.serve(|socket| {
        let mut client = socket.buffered()?;
        client.set_line_limit(1000);
        loop {
            let line = match client.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error) if Error::is_tick(&error) => {
                    return writeln!(client, "bye: nothing was said for {seconds} s");
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return writeln!(client, "bye: {error}"),
                Err(error) => return Err(error),
            };
            let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = match *line.splitn(3, ' ').collect::<Vec<_>>() {
                ["set", key, value] => {
                    words.insert(key.to_owned(), value.to_owned());
                    "ok".into()
                }
                ["get", key] => words.get(key).cloned().unwrap_or_else(|| format!("error: there is no {key}")),
                ["quit"] => return Ok(()),
                _ => "error: set KEY VALUE, get KEY or quit".into(),
            };
            drop(words); // nobody waits for this client
            writeln!(client, "{answer}")?;
        }
    })
}
