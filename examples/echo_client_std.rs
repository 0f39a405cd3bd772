//! The twin of `echo_client` in plain std.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example echo
//! listening on 127.0.0.1:3000
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ cargo run --example echo_client_std
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! Lesson: for a client std is nearly enough. Against `echo_client`, three things are missing. There is no deadline for
//! the look-up and all addresses together, since `connect_timeout` takes one address and no name. Addresses do not
//! race. An error does not say what failed, and reads `Connection refused (os error 111)` without an address.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;
use std::{env, process, thread};

fn main() -> io::Result<()> {
    let Some((to, timeout)) = arguments() else {
        eprintln!("usage: echo_client_std [ADDRESS] [--connect-timeout SECONDS]");
        process::exit(2);
    };
    let stream = connect(&to, timeout)?;
    stream.set_nodelay(true)?;
    let writer = stream.try_clone()?;
    thread::spawn(move || {
        // The thread that reads gets the connection's error too.
        let _ = io::copy(&mut io::stdin(), &mut &writer);
        writer.shutdown(Shutdown::Write)
    });
    let mut output = io::stdout();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut &stream, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => output.write_all(&buffer[..n]).and_then(|()| output.flush())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn connect(to: &str, timeout: Option<Duration>) -> io::Result<TcpStream> {
    let Some(timeout) = timeout else { return TcpStream::connect(to) };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in to.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error, // and the next one has all the time again
        }
    }
    Err(last)
}

fn arguments() -> Option<(String, Option<Duration>)> {
    let (mut to, mut timeout, mut args) = (None, None, env::args().skip(1));
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--connect-timeout" => timeout = Some(Duration::try_from_secs_f64(args.next()?.parse().ok()?).ok()?),
            _ if arg.starts_with('-') || to.is_some() => return None,
            _ => to = Some(arg),
        }
    }
    Some((to.unwrap_or("127.0.0.1:3000".into()), timeout))
}
