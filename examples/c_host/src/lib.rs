//! A server inside a C program. `host.c` starts and stops it by two functions, and knows nothing else of Rust.
//!
//! Terminal 1, where `>` marks what is typed once the client below has its answer:
//!
//! ```text
//! $ make --silent --directory examples/c_host run PORT=3000
//! listening on 127.0.0.1:3000
//! then: nc 127.0.0.1 3000, and Enter here
//! > Enter
//! stopped, still running: 0
//! ```
//!
//! Terminal 2:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! > hello
//! hello
//! ```
//!
//! Lesson: in a C program SIGPIPE has its default, which kills the program when a client has gone before its answer. No
//! write of landline's raises it, and the host's signals are left as they are. `stop` returns how many handlers have
//! not returned. Until it is 0, the host must not unload their code. Since Rust 2024, the attribute that gives a
//! function its C name is written `unsafe`. The library itself has no such word.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use landline::Running;
use landline::net::Server;

static SERVER: Mutex<Option<(Server, Running)>> = Mutex::new(None);

/// Starts the server on this port of 127.0.0.1, 0 for any free one, and returns the port. Returns -1 if it cannot, or
/// if it runs already.
#[unsafe(no_mangle)]
pub extern "C" fn landline_echo_start(port: u16) -> i32 {
    let mut running = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if running.is_some() {
        return -1;
    }
    let Ok(server) = Server::listen((Ipv4Addr::LOCALHOST, port)) else { return -1 };
    let Ok(serving) = server.spawn(|socket| socket.pipe(socket)) else { return -1 };
    let port = i32::from(server.address().port());
    *running = Some((server, serving));
    port
}

/// Shuts the server down, within ten seconds, and returns how many of its handlers have not returned.
#[unsafe(no_mangle)]
pub extern "C" fn landline_echo_stop() -> u32 {
    let Some((server, serving)) = SERVER.lock().unwrap_or_else(PoisonError::into_inner).take() else { return 0 };
    let report = server.shutdown(Duration::from_secs(10));
    if report.still_running == 0 && serving.join().is_err() {
        return 1;
    }
    u32::try_from(report.still_running).unwrap_or(u32::MAX)
}
