//! Resident memory of a connection that has had one message and waits, counted in a process of its own: pages of its
//! thread's stack, and the heap. Its other end costs the process a descriptor.

use std::{fs, io};

use crate::client::Client;
use crate::numbers::Figure;
use crate::process;
use crate::ways::Serving;

const CONNECTIONS: usize = 300;
/// Before the first count, so that the allocator has made what it makes once.
const FIRST: usize = 50;

/// A page more of each stack, or a kilobyte of each heap, is too much.
const TOLERANCE: f64 = 700.0;

pub fn measure() -> io::Result<Option<Vec<Figure>>> {
    if resident().is_err() {
        println!("skipped: /proc/self/smaps_rollup not found");
        return Ok(None);
    }
    let figure = |name: &str| {
        let (bytes, _) = process::end(process::start(&[], &["hold", name])?)?;
        let bytes: f64 = bytes.trim().parse().map_err(io::Error::other)?;
        Ok(Figure::new(&format!("memory/{name}"), bytes, "bytes, waiting").within(TOLERANCE))
    };
    ["tcp/read", "tcp/each", "tcp/pipe", "tcp/each+hook"].into_iter().map(figure).collect::<io::Result<_>>().map(Some)
}

/// Prints the resident bytes of a connection.
pub fn hold(name: &str) -> io::Result<()> {
    let serving = Serving::start(name)?;
    let connect = || {
        let mut client = Client::of(name, serving.address)?;
        client.ask(1).map(|()| client)
    };
    let first = (0..FIRST).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    let before = resident()?;
    let clients = (0..CONNECTIONS).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    let after = resident()?;
    drop((first, clients));
    serving.end()?;
    println!("{}", (after - before) / CONNECTIONS as f64);
    Ok(())
}

/// In bytes. The field of /proc/self/status is not exact.
fn resident() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or(io::ErrorKind::InvalidData)?;
    let kilobytes: f64 = line.trim_end_matches("kB").trim().parse().map_err(io::Error::other)?;
    Ok(kilobytes * 1024.0)
}
