//! Shows the kernel's states of a port's TCP connections, with every change as it happens.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example echo
//! listening on 127.0.0.1:3000
//! ```
//!
//! Terminal 2, where `>` marks what is typed once terminal 3 shows both ends (`-N` makes nc end its side at the end of
//! its input):
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > Ctrl+D
//! ```
//!
//! Terminal 3, which is never at rest:
//!
//! ```text
//! $ cargo run --example states 3000
//! watching port 3000
//! listener 127.0.0.1:3000: LISTEN
//! client 127.0.0.1:40001: ESTABLISHED
//! server for 127.0.0.1:40001: ESTABLISHED
//! ...
//! ```
//!
//! Then the last lines of terminal 3 say that the client, which has ended first, is in TIME_WAIT for a minute, and that
//! the server's end is gone.
//!
//! Lesson: a connection has two ends, each with a state of its own. If both ends are on this machine, both are shown.
//! States that last less than a millisecond or two, as on the way to TIME_WAIT here, are often missed, since the
//! program can only look again and again. docs/lessons/04-who-says-goodbye.md explains the states.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::{env, fs, io, process, thread, time::Duration};

/// In the order of their numbers in /proc/net/tcp. The last is a connection that the kernel has not accepted yet.
const STATES: &str = "? ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN \
                      CLOSING SYN_RECV";

fn main() -> io::Result<()> {
    let Some(port) = env::args().nth(1).and_then(|port| port.parse().ok()) else {
        eprintln!("usage: states PORT");
        process::exit(2);
    };
    let mut before = states(port)?;
    println!("watching port {port}");
    before.iter().for_each(|((_, end), state)| println!("{end}: {state}"));
    loop {
        thread::sleep(Duration::from_millis(1));
        let now = states(port)?;
        for (key @ (_, end), state) in &now {
            match before.remove(key) {
                None => println!("{end}: {state}"),
                Some(old) if old != *state => println!("{end}: {old} -> {state}"),
                Some(_) => {}
            }
        }
        before.iter().for_each(|((_, end), old)| println!("{end}: {old} -> gone"));
        before = now;
    }
}

/// The ends of the port's connections and their states, listeners first.
fn states(port: u16) -> io::Result<BTreeMap<(bool, String), &'static str>> {
    let mut table = fs::read_to_string("/proc/net/tcp").map_err(|error| {
        io::Error::new(error.kind(), format!("/proc/net/tcp, where Linux tells of its sockets: {error}"))
    })?;
    table += &fs::read_to_string("/proc/net/tcp6").unwrap_or_default(); // missing where IPv6 is switched off
    let rows = table.lines().filter_map(|row| {
        let mut cells = row.split_whitespace().skip(1);
        let (local, remote) = (address(cells.next()?)?, address(cells.next()?)?);
        let state = STATES.split(' ').nth(usize::from_str_radix(cells.next()?, 16).ok()?)?;
        match (local.port() == port, remote.port() == port) {
            (true, _) if state == "LISTEN" => Some(((false, format!("listener {local}")), state)),
            (true, _) => Some(((true, format!("server for {remote}")), state)),
            (_, true) => Some(((true, format!("client {local}")), state)),
            _ => None,
        }
    });
    Ok(rows.collect())
}

/// Reads `0100007F:0BB8`, which has 32 bits at a time as the machine has them in memory.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |i| u32::from_str_radix(ip.get(8 * i..8 * i + 8)?, 16).ok().map(u32::to_ne_bytes);
    let bytes = (0..ip.len() / 8).map(word).collect::<Option<Vec<_>>>()?.concat();
    let v4 = <[u8; 4]>::try_from(&*bytes).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(&*bytes).map(IpAddr::from)).ok()?;
    Some((ip.to_canonical(), u16::from_str_radix(port, 16).ok()?).into())
}
