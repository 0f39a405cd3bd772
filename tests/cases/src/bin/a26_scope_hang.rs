//! `serve` in a scope, as the documentation of `Server::shutdown_on_drop` shows it: an error between the spawn and the close
//! never came out, since the scope waited for a server that was not closed.
use std::time::Duration;
use std::{io, thread};

use landline::net::{Server, Socket};

fn main() {
    cases::watchdog(Duration::from_secs(4), "the error has not come out");
    let server = Server::listen("127.0.0.1:0").unwrap();
    let result: io::Result<()> = thread::scope(|scope| {
        let _ends = server.shutdown_on_drop(Duration::from_secs(1));
        scope.spawn(|| server.serve(|socket| socket.write_end("hello\n")));
        // The wrong port.
        io::read_to_string(&Socket::connect("127.0.0.1:1")?)?;
        server.close();
        Ok(())
    });
    cases::verdict(result.is_err(), format!("{result:?}"))
}
