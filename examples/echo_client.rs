//! A small telnet. What is typed goes to the server, and what the server sends is printed.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example echo_server
//! listening on 127.0.0.1:3000
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 accepted, 1 open
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 9.120 s, 6 read, 6 written
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ cargo run --example echo_client
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! At the end of its input the client ends its side of the connection. It exits when the server has ended, with status
//! 0, or with 1 and the error's text if the connection failed. Without a server it prints `Error: connect ECONNREFUSED
//! 127.0.0.1:3000`. With `--connect-timeout 2` it gives up after 2 s, look-up of the name included.
//!
//! Lesson: two directions are two threads, each a plain loop. One thread reads from the socket and the other writes to
//! it. A clone of the socket is another handle to the same connection.

use std::io::{self, Read, Write};
use std::time::Duration;
use std::{env, process, thread};

use landline::net::{Socket, SocketEvent, SocketOptions};

fn main() -> Result<(), landline::Error> {
    let (to, options) = arguments().unwrap_or_else(|| {
        eprintln!("usage: echo_client [ADDRESS] [--connect-timeout SECONDS]");
        process::exit(2);
    });
    let socket = options.connect(to)?;
    let writer = socket.clone();
    thread::spawn(move || send_input(&writer));
    let mut output = io::stdout();
    socket.each(|_, event| match event {
        SocketEvent::Data(bytes) => output.write_all(bytes).and_then(|()| output.flush()),
        _ => Ok(()),
    })?;
    Ok(())
}

fn arguments() -> Option<(String, SocketOptions)> {
    let (mut to, mut options) = (None, SocketOptions::new());
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--connect-timeout" => {
                let time = Duration::try_from_secs_f64(args.next()?.parse().ok()?).ok()?;
                options = options.connect_timeout(time);
            }
            _ if arg.starts_with('-') || to.is_some() => return None,
            _ => to = Some(arg),
        }
    }
    Some((to.unwrap_or("127.0.0.1:3000".into()), options))
}

fn send_input(socket: &Socket) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::stdin().read(&mut buffer) {
            Ok(0) => return socket.end(),
            Ok(n) => socket.write_all(&buffer[..n])?, // the thread that reads is told what is wrong, too
            Err(error) => {
                eprintln!("Error: standard input: {error}");
                process::exit(1);
            }
        }
    }
}
