//! Ctrl+C or SIGTERM shuts the server down in order. A second one ends it at once.
//!
//! Terminal 1, where `>` marks what is typed once the client below has its answer:
//!
//! ```text
//! $ cargo run --manifest-path examples/signals/Cargo.toml
//! listening on 127.0.0.1:3000
//! then: nc 127.0.0.1 3000, and Ctrl+C here
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 accepted, 1 open
//! > Ctrl+C
//! 127.0.0.1:3000 closing
//! #1 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 1.203 s, 6 read, 6 written
//! 127.0.0.1:3000 closed
//! 1 finished, 0 forced, 0 still running, after 0.001 s
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
//! Lesson: a signal's handler may do almost nothing, and not call `shutdown`. So the handler only wakes a thread that
//! waits for it, here the main one, and that thread may do anything. The library installs no handlers, since they
//! belong to the program. The crate that does is a dependency of the program's.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{env, io};

use landline::net::ServerOptions;
use signal_hook::consts::TERM_SIGNALS;
use signal_hook::flag;
use signal_hook::iterator::Signals;

fn main() -> io::Result<()> {
    let options = ServerOptions::new().report(|report| println!("{report}"));
    let server = options.listen(env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    println!("listening on {}", server.address());
    println!("then: nc {}, and Ctrl+C here", server.address().to_string().replace(':', " "));

    let is_second = Arc::new(AtomicBool::new(false));
    for signal in TERM_SIGNALS {
        // In this order, so that the first signal finds the flag down and raises it.
        flag::register_conditional_shutdown(*signal, 1, Arc::clone(&is_second))?;
        flag::register(*signal, Arc::clone(&is_second))?;
    }
    let mut signals = Signals::new(TERM_SIGNALS)?;
    let serving = server.spawn(|socket| socket.pipe(socket))?;
    signals.forever().next();
    let report = server.shutdown(Duration::from_secs(10));
    serving.join()?;
    println!("{report}");
    Ok(())
}
