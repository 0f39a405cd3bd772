//! A page over HTTP/1.1 for a browser, for curl, and for `wrk`, which measures servers.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --release --example http_hello
//! listening on 127.0.0.1:3000
//! then: curl --include http://127.0.0.1:3000/
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ curl --include http://127.0.0.1:3000/
//! HTTP/1.1 200 OK
//! Content-Type: text/html
//! Content-Length: 79
//! Allow: GET, HEAD
//! Connection: keep-alive
//!
//! <!doctype html><title>landline</title><h1>Hello over a socket that blocks</h1>
//! ```
//!
//! Terminal 3, an address without a page, and a request with a body:
//!
//! ```text
//! $ curl --silent --show-error --fail http://127.0.0.1:3000/nothing
//! curl: (22) The requested URL returned error: 404
//! $ curl --silent --data x http://127.0.0.1:3000/
//! 413 Content Too Large
//! ```
//!
//! `wrk -c 64 -d 5 http://127.0.0.1:3000/` counts how many requests it serves a second.
//!
//! Lesson: a connection is a loop of requests, and each step has a limit. A head has 8 KiB, a request and the wait
//! before it have 10 s, and there is no body. If the server read a body or a header differently from what the sender
//! meant, it could take one request for two. So it refuses everything that it does not understand exactly, and ends the
//! connection. It leaves out a date, chunks and compression, which a real server has.

use std::io::{self, BufRead, Read, Write};
use std::time::{Duration, Instant};

use landline::net::Server;

const PAGE: &str = "<!doctype html><title>landline</title><h1>Hello over a socket that blocks</h1>";
const LONGEST_HEAD: usize = 8 * 1024;
const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";

fn main() -> io::Result<()> {
    let server = Server::listen(std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    println!("listening on {0}\nthen: curl --include http://{0}/", server.address());
    server.serve(|socket| {
        let (mut client, mut goes_on) = (socket.buffered()?, true);
        while goes_on {
            // Not a timeout, which a client that trickles its bytes would restart for ever.
            socket.set_deadline(Instant::now() + Duration::from_secs(10));
            let head = head(&mut client)?;
            if head.is_empty() {
                return Ok(());
            }
            let bad = if head.len() < LONGEST_HEAD { "400 Bad Request" } else { "431 Request Header Fields Too Large" };
            let status;
            (status, goes_on) = judge(&head).unwrap_or((bad, false));
            let body = if status == "200 OK" { PAGE } else { status };
            let connection = if goes_on { "keep-alive" } else { "close" };
            write!(client, "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n", body.len() + 1)?;
            write!(client, "Allow: GET, HEAD\r\nConnection: {connection}\r\n\r\n")?;
            if !head.starts_with("HEAD ") {
                writeln!(client, "{body}")?;
            } // all of it leaves before the next read waits
        }
        Ok(()) // what is left of a request is taken in and thrown away, so that the answer arrives
    })
}

/// Everything up to an empty line. It is less if a line does not end in CR LF, if it is too long, or if the client has
/// ended.
fn head(from: &mut impl BufRead) -> io::Result<String> {
    let (mut head, mut from) = (Vec::new(), from.take(LONGEST_HEAD as u64));
    while from.read_until(b'\n', &mut head)? > 0 && head.ends_with(b"\r\n") && !head.ends_with(b"\r\n\r\n") {}
    Ok(String::from_utf8_lossy(head.strip_prefix(b"\r\n").unwrap_or(&head)).into_owned())
}

/// The answer's status, and whether another request may follow. `None` if it is not a request.
fn judge(head: &str) -> Option<(&'static str, bool)> {
    let head = head.strip_suffix("\r\n\r\n")?;
    let token = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || MARKS.contains(&b));
    let mut lines = head.split("\r\n");
    let [method, target, version] = *lines.next()?.split(' ').collect::<Vec<_>>() else { return None };
    let fields: Vec<_> = lines.map(|l| l.split_once(':').filter(|f| token(f.0))).collect::<Option<_>>()?;
    let values = |name| fields.iter().filter(move |f| f.0.eq_ignore_ascii_case(name)).map(|f| f.1.trim());
    let mut options = values("connection").flat_map(|value| value.split(','));
    let goes_on = version == "HTTP/1.1" && !options.any(|option| option.trim().eq_ignore_ascii_case("close"));
    let has_body = values("content-length").any(|n| n != "0") || values("transfer-encoding").next().is_some();
    let has_host = matches!((version, values("host").count()), ("HTTP/1.1", 1) | ("HTTP/1.0", 0 | 1));
    let is_text = !head.replace("\r\n", "").contains(|c: char| c.is_ascii_control() && c != '\t');
    let path = target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    Some(match (method, path.split('?').next()?) {
        _ if !token(method) || target.is_empty() || !has_host || !is_text => return None,
        _ if has_body => ("413 Content Too Large", false),
        ("GET" | "HEAD", "/") => ("200 OK", goes_on),
        ("GET" | "HEAD", _) => ("404 Not Found", goes_on),
        _ => ("405 Method Not Allowed", goes_on),
    })
}
