//! An echo server with a limit, a log and a shutdown.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --release --example echo_server -- --max-connections 1
//! listening on 127.0.0.1:3000
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 accepted, 1 open
//! refused 127.0.0.1:40002 -> 127.0.0.1:3000: full
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 9.120 s, 6 read, 6 written
//! ```
//!
//! Terminal 2; what is typed stands behind `>`, once terminal 3 is open (`-N`: nc ends its side at the end of its input):
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! Terminal 3, which ends at once, since one client is as many as may be connected:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! ```
//!
//! The server runs until it is killed; with `--until-eof` it closes at the end of its own input, Ctrl+D, and ends with
//! its last connection. With `--timeout 60` a client that is silent for 60 s is cut off, and its lines say so:
//!
//! ```text
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 failed: silent for too long
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 failed after 60.004 s, 6 read, 6 written
//! ```
//!
//! Lesson: what the server does is a dozen lines; the log is one, since every report prints itself. `--half-open`
//! leaves ending our direction to the program. Take out the line with `End` and try `printf x | nc -N 127.0.0.1 3000`
//! with the option and without: now nc waits for an end that the library sends only without it.

use std::time::Duration;
use std::{env, io, process};

use landline::net::{ServerOptions, SocketEvent};

const USAGE: &str =
    "usage: echo_server [ADDRESS] [--max-connections N] [--timeout SECONDS] [--half-open] [--until-eof]";

fn main() -> Result<(), landline::Error> {
    let Some((at, options, until_eof)) = arguments() else {
        eprintln!("{USAGE}");
        process::exit(2);
    };
    let server = options.report(|report| println!("{report}")).listen(at)?;
    println!("listening on {}", server.address());
    let serving = server.spawn(|socket| {
        socket.each(|socket, event| match event {
            SocketEvent::Data(bytes) => socket.write_all(bytes),
            SocketEvent::End => socket.end(),
            // An end alone would go on waiting for the client's; an error destroys the connection.
            SocketEvent::Timeout => Err(io::Error::new(io::ErrorKind::TimedOut, "silent for too long")),
            _ => Ok(()),
        })
    })?;
    if until_eof {
        io::copy(&mut io::stdin(), &mut io::sink())?;
        server.close();
    }
    serving.join()?;
    Ok(())
}

fn arguments() -> Option<(String, ServerOptions, bool)> {
    let (mut at, mut options, mut until_eof) = (None, ServerOptions::new(), false);
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--max-connections" => options = options.max_connections(args.next()?.parse::<usize>().ok()?),
            "--timeout" => {
                let time = Duration::try_from_secs_f64(args.next()?.parse().ok()?).ok()?;
                options = options.timeout(time);
            }
            "--half-open" => options = options.allow_half_open(true),
            "--until-eof" => until_eof = true,
            _ if arg.starts_with('-') || at.is_some() => return None,
            _ => at = Some(arg),
        }
    }
    Some((at.unwrap_or("127.0.0.1:3000".into()), options, until_eof))
}
