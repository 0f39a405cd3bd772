//! TLS with rustls over a landline socket, and a certificate made at the start.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --manifest-path examples/tls/Cargo.toml 127.0.0.1:3000 target/localhost.pem
//! listening on 127.0.0.1:3000
//! then: curl --cacert target/localhost.pem https://localhost:3000/
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ curl --cacert target/localhost.pem https://localhost:3000/
//! hello over TLSv1_3
//! ```
//!
//! Terminal 3, a client that does not know the certificate and does not trust it:
//!
//! ```text
//! $ curl --silent --output target/nothing https://localhost:3000/ || echo refused
//! refused
//! ```
//!
//! Lesson: code that works on `Read + Write` works on a socket, and rustls asks for no more. The handshake runs in the
//! handler, on the connection's own thread, so a slow client delays no other, and the deadline ends it. This is a crate
//! of its own, so that the library's dependencies stay as they are.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use landline::net::Server;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let server = Server::listen(args.next().unwrap_or("127.0.0.1:3000".into()))?;
    let file = args.next().unwrap_or("localhost.pem".into());
    let config = Arc::new(configure(&file)?);
    println!("listening on {}", server.address());
    println!("then: curl --cacert {file} https://localhost:{}/", server.address().port());
    server.serve(|mut socket| {
        socket.set_deadline(Instant::now() + Duration::from_secs(10));
        let mut connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut tls = Stream::new(&mut connection, &mut socket);
        // The request, up to its empty line. http_hello shows how to read one properly.
        for line in BufReader::new(&mut tls).take(8 * 1024).lines() {
            if line?.is_empty() {
                break;
            }
        }
        let version = tls.conn.protocol_version().ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = format!("hello over {version:?}\n");
        write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
        tls.conn.send_close_notify(); // or the client could not tell our end from a stranger's
        tls.flush()
    })
}

/// A self-signed certificate for this machine. Clients that should trust it read the file.
fn configure(file: &str) -> io::Result<ServerConfig> {
    let names = ["localhost".into(), "127.0.0.1".into()];
    let own = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    fs::write(file, own.cert.pem())?;
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key);
    config.map_err(io::Error::other)
}
