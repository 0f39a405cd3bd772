//! A client that reconnects. After a failure it tries again, with growing pauses, until the server is there.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example reconnect
//! start a server: nc -l 127.0.0.1 3000
//! connect ECONNREFUSED 127.0.0.1:3000, again in 0.087 s
//! ...
//! connected to 127.0.0.1:3000
//! the server says: hello
//! ended by the server, again in 0.094 s
//! ...
//! connect ECONNREFUSED 127.0.0.1:3000, again in 0.171 s
//! ...
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ nc -N -l 127.0.0.1 3000
//! > hello
//! > Ctrl+D
//! ```
//!
//! Lesson: a thousand clients that all try again at once keep a server down. So the pause doubles, up to a bound, and a
//! part of it is random. It is reset only when the server has sent something. A full server accepts a client and then
//! ends, and a client that took that for success would come back at once, for ever.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;
use std::{env, io, thread};

use landline::net::SocketOptions;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let to = env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    println!("start a server: nc -l {}", to.replace(':', " "));
    let mut pause = SHORTEST;
    loop {
        let why = match talk(&to, &mut pause) {
            Ok(()) => "ended by the server".into(),
            Err(error) => error.to_string(),
        };
        let wait = pause.mul_f64(0.75 + chance() / 4.0);
        println!("{why}, again in {:.3} s", wait.as_secs_f64());
        thread::sleep(wait);
        pause = (pause * 2).min(LONGEST);
    }
}

fn talk(to: &str, pause: &mut Duration) -> io::Result<()> {
    let socket = SocketOptions::new().connect_timeout(Duration::from_secs(5)).connect(to)?;
    println!("connected to {}", socket.remote_address());
    for line in socket.buffered()?.lines() {
        println!("the server says: {}", line?);
        *pause = SHORTEST;
    }
    Ok(())
}

/// A number from 0 to 1. std has random numbers for its hash tables only.
fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
