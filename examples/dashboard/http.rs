//! As much of HTTP/1.1 as the page needs, which is one request for each connection, without a body. `http_hello` shows
//! more of it.

use std::io;
use std::net::SocketAddr;

use landline::net::Socket;

/// Nothing is loaded from elsewhere, and no other page can show this one in a frame to have its buttons clicked.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; frame-ancestors 'none'";

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// A host name could belong to another site, which points it at this machine to read the page.
    pub(crate) has_numeric_host: bool,
    pub(crate) is_of_same_origin: bool,
}

/// A malformed request gets an empty path or no numeric host, so it is refused.
pub(crate) fn receive(socket: &Socket) -> io::Result<Request> {
    let mut client = socket.buffered()?;
    client.set_line_limit(4096);
    let mut lines = Vec::new();
    while let Some(line) = client.next_line()?.filter(|line| !line.is_empty() && lines.len() < 100) {
        lines.push(line);
    }
    let field = |name: &str| {
        let mut fields = lines.iter().filter_map(|line| line.split_once(':'));
        fields.find(|field| field.0.eq_ignore_ascii_case(name)).map_or("", |field| field.1.trim())
    };
    let (host, origin) = (field("host"), field("origin"));
    let mut words = lines.first().map_or("", String::as_str).split(' ').map(str::to_owned);
    Ok(Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        has_numeric_host: host.parse::<SocketAddr>().is_ok() || host.starts_with("localhost:"),
        is_of_same_origin: origin == format!("http://{host}"),
    })
}

pub(crate) fn send(socket: &Socket, status: &str, kind: &str, body: &str) -> io::Result<()> {
    socket.write_all(head(status, kind) + body)
}

/// Without a length, so the end of the connection ends the answer.
pub(crate) fn head(status: &str, kind: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: {POLICY}\r\nConnection: close\r\n\r\n"
    )
}
