//! An echo server for which systemd listens. It is started at the first client, and restarted without refusing one.
//!
//! Terminal 1, after `cargo build --release --example systemd`, as systemd would start it at the first client:
//!
//! ```text
//! $ systemd-socket-activate -l 127.0.0.1:3000 --inetd target/release/examples/systemd target/control
//! Listening on 127.0.0.1:3000 as 3.
//! Communication attempt on fd 3.
//! ...
//! listening on 127.0.0.1:3000
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 accepted, 1 open
//! 127.0.0.1:3000 closing
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 9.120 s, 6 read, 6 written
//! 127.0.0.1:3000 closed
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ nc -N 127.0.0.1 3000
//! > hello
//! hello
//! > Ctrl+D
//! ```
//!
//! Terminal 3, which ends the server before Ctrl+D in terminal 2. The server admits no more clients, waits at most 60 s
//! for those that are connected, and says how many it has accepted in all:
//!
//! ```text
//! $ target/release/examples/systemd target/control stop
//! 1 served
//! ```
//!
//! In production it takes two files in /etc/systemd/system, and `systemctl enable --now echo.socket`. First
//! `echo.socket`, which owns the port:
//!
//! ```ini
//! [Socket]
//! ListenStream=127.0.0.1:3000
//!
//! [Install]
//! WantedBy=sockets.target
//! ```
//!
//! Then `echo.service`, where `echo_service` is a copy of target/release/examples/systemd. `Accept=` is off by default,
//! so the service gets the listening socket as its standard input, and not one connection for each client:
//!
//! ```ini
//! [Service]
//! Type=notify
//! StandardInput=socket
//! StandardOutput=journal
//! StandardError=journal
//! RuntimeDirectory=echo
//! ExecStart=/usr/local/bin/echo_service /run/echo/control
//! ExecStop=/usr/local/bin/echo_service /run/echo/control stop
//! ```
//!
//! Lesson: the listening socket belongs to systemd, so clients that come during `systemctl restart` wait in its queue,
//! and the next process serves them. `close` never shuts an adopted listener down. By SIGTERM alone the program would
//! die with its clients, so `ExecStop=` asks it to end first. With `shutdown(60 s)` in place of `close`, a client with
//! a request still on its way would get no answer.

use std::{env, io, process};

#[cfg(target_os = "linux")]
fn main() -> Result<(), landline::Error> {
    use std::os::fd::AsFd;
    use std::path::PathBuf;
    use std::thread;
    use std::time::Duration;

    use landline::net::{ServerOptions, Socket};

    let mut args = env::args_os().skip(1);
    let control = match (args.next(), args.next()) {
        (Some(path), None) => ServerOptions::new().remove_stale(true).listen(PathBuf::from(path))?,
        (Some(path), Some(word)) if word == "stop" => {
            eprint!("{}", io::read_to_string(Socket::connect(PathBuf::from(path))?)?);
            return Ok(());
        }
        _ => usage(),
    };
    // A copy, since standard input stays open. A program that is started from here must get another input.
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    let server = ServerOptions::new().report(|report| eprintln!("{report}")).adopt(listener)?;
    eprintln!("listening on {}", server.address());
    let serving = server.spawn(|socket| socket.pipe(socket))?;
    notify("READY=1")?;

    let caller = control.accept()?; // until somebody says stop
    notify("STOPPING=1")?;
    server.close();
    thread::spawn({
        let server = server.clone();
        move || {
            thread::sleep(Duration::from_secs(60));
            eprintln!("{}", server.shutdown(Duration::ZERO));
        }
    });
    serving.join()?;
    if let Some(caller) = caller {
        caller.write_end(format!("{} served\n", server.stats().accepted))?;
    }
    Ok(())
}

/// Sends systemd the state of the service in one datagram, sd_notify(3).
#[cfg(target_os = "linux")]
fn notify(state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::{ffi::OsStrExt, net};

    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let at = match socket.as_bytes() {
        [b'@', name @ ..] => net::SocketAddr::from_abstract_name(name)?,
        _ => net::SocketAddr::from_pathname(&socket)?,
    };
    net::UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &at).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    usage()
}

fn usage() -> ! {
    eprintln!("usage, on Linux, with a listening socket as standard input: systemd CONTROL [stop]");
    process::exit(2)
}
