//! A server that sends each client its address, and counts the bytes in both directions.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example address
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
//! Lesson: a Node tutorial shows `server.address()`, `bytesWritten` and `bytesRead` like this, and the words are the
//! same here. `write_all` needs no callback. When it returns, the bytes are written. TCP has no messages, so `data is`
//! shows what arrived together, which may be half a line or three.

use std::{env, process};

use landline::net::{Server, SocketEvent};

fn main() -> Result<(), landline::Error> {
    let mut args = env::args().skip(1);
    let at = args.next().unwrap_or("127.0.0.1:3000".into());
    if at.starts_with('-') || args.next().is_some() {
        eprintln!("usage: address [ADDRESS]");
        process::exit(2);
    }
    let server = Server::listen(at)?;
    println!("listening on {}", server.address());
    server.serve(|socket| {
        socket.write_all(format!("server address is {}", server.address().to_json()))?;
        println!("the size of message is {}", socket.bytes_written());
        socket.each(|socket, event| {
            if let SocketEvent::Data(bytes) = event {
                println!("data is {}", String::from_utf8_lossy(bytes).trim_end());
                println!("the size of data is {}", socket.bytes_read());
            }
            Ok(())
        })
    })?;
    Ok(())
}
