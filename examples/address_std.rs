//! The twin of `address` in plain std.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example address_std
//! listening on 127.0.0.1:3000
//! the size of message is 69
//! data is hello
//! the size of data is 6
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! server address is {"address":"127.0.0.1","family":"IPv4","port":3000}
//! > hello
//! ```
//!
//! Lesson: std is enough for a server like this. Every number is counted by hand, though. A failed accept or spawn ends
//! this server, and `echo_std` shows how to prevent that.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, thread};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let json = format!(r#"{{"address":"{}","family":"{family}","port":{}}}"#, address.ip(), address.port());
    for stream in listener.incoming() {
        let (stream, json) = (stream?, json.clone());
        thread::Builder::new().spawn(move || serve(&stream, &json))?;
    }
    Ok(())
}

fn serve(mut stream: &TcpStream, json: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let message = format!("server address is {json}");
    stream.write_all(message.as_bytes())?;
    println!("the size of message is {}", message.len());
    let (mut buffer, mut total) = (vec![0; 64 * 1024], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                total += n;
                println!("data is {}", String::from_utf8_lossy(&buffer[..n]).trim_end());
                println!("the size of data is {total}");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
