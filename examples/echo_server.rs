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
//! Terminal 2, where `>` marks what is typed once terminal 3 is open (`-N` makes nc end its side at the end of its
//! input):
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! Terminal 3, which ends at once, since the limit is one client:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! ```
//!
//! The server runs until it is killed. With `--until-eof` it closes at the end of its own input, Ctrl+D, and ends with
//! its last connection. With `--timeout 60` a client that is silent for 60 s is disconnected, as these lines say:
//!
//! ```text
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 failed: silent for too long
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 failed after 60.004 s, 6 read, 6 written
//! ```
//!
//! Lesson: the server is a dozen lines, and the log is one, since every report prints itself. With `--half-open`, the
//! program ends our direction itself. Take out the line with `End` and try `printf x | nc -N 127.0.0.1 3000` with the
//! option and without. With it nc now waits for an end that never comes. Without it the library sends the end.

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
            // An end alone would still wait for the client's end. An error destroys the connection.
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
