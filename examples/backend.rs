//! A server behind a load balancer, which answers each line with the real address of the client.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --release --example backend 127.0.0.1:4001
//! listening on 127.0.0.1:4001
//! ...
//! ```
//!
//! Terminal 2, which plays the load balancer, where `>` marks what is typed (`-C` makes nc end its lines as the
//! header's must end):
//!
//! ```text
//! $ nc -C 127.0.0.1 4001
//! > PROXY TCP4 192.0.2.7 192.0.2.1 5555 80
//! > hello
//! 192.0.2.7:5555 said "hello" to 192.0.2.1:80, by way of 127.0.0.1:40001, at 127.0.0.1:4001
//! ```
//!
//! HAProxy is a real one. Start it by `haproxy -f backends.cfg`, with a second server on port 4002 and this file as
//! `backends.cfg`. Its clients connect to port 3000.
//!
//! ```text
//! defaults
//!     mode tcp
//!     timeout connect 2s
//!     timeout client 1h
//!     timeout server 1h
//!     retries 3
//!     option redispatch 1              # a connect that fails is tried again, at another server
//! listen lines
//!     bind 127.0.0.1:3000
//!     balance roundrobin
//!     default-server check inter 1s fall 2 rise 2 send-proxy-v2
//!     server one 127.0.0.1:4001
//!     server two 127.0.0.1:4002
//! ```
//!
//! Each new `nc` goes to the other server in turn. End one server, and all go to the other. The connections that fail
//! with `read ECONNRESET` on standard error are HAProxy's checks, which it resets.
//!
//! Lesson: a load balancer spreads clients over several machines, but to each server every connection comes from the
//! balancer. The PROXY protocol sends the client's address in a header before the client's first byte. The header is
//! believed only from addresses that are named here, since any client could send one.

use std::io::{self, Write};

use landline::BlockList;
use landline::net::ServerOptions;

fn main() -> Result<(), landline::Error> {
    let at = std::env::args().nth(1).unwrap_or("127.0.0.1:4001".into());
    let balancers = BlockList::new();
    balancers.add_cidrs(["127.0.0.0/8", "::1/128"])?;
    let options = ServerOptions::new().proxy_protocol(&balancers).report(|report| eprintln!("{report}"));
    let server = options.listen(at)?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}", server.address()).and_then(|()| out.flush())?;
    server.serve(|socket| {
        let (from, to) = (socket.remote_address(), socket.local_address());
        let way = socket.proxy_address().map(|proxy| format!(", by way of {proxy}")).unwrap_or_default();
        let mut client = socket.buffered()?;
        while let Some(line) = client.next_line()? {
            writeln!(client, "{from} said {line:?} to {to}{way}, at {}", server.address())?;
        }
        Ok(())
    })?;
    Ok(())
}
