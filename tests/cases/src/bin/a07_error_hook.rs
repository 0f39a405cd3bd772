//! The `error` callback of a connection runs on the connection's thread, but does not count as its handler: a shutdown
//! in it waits for itself for the whole grace, and a wait in it never returns.
use std::io;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use landline::net::{Server, Socket};

fn main() {
    let mut wrong = Vec::new();
    for what in ["shutdown in the handler", "shutdown in error", "wait in error"] {
        let server = Server::listen("127.0.0.1:0").unwrap();
        let (in_handler, in_error) = (server.clone(), server.clone());
        let (tell, told) = channel();
        let tell_error = tell.clone();
        let serving = server
            .on()
            .connection(move |_| {
                if what == "shutdown in the handler" {
                    tell.send(in_handler.shutdown(Duration::from_secs(3)).still_running).unwrap();
                    return Ok(());
                }
                Err(io::Error::other("the database is gone"))
            })
            .error(move |_, _| match what {
                "shutdown in error" => {
                    tell_error.send(in_error.shutdown(Duration::from_secs(3)).still_running).unwrap()
                }
                "wait in error" => {
                    in_error.close();
                    in_error.wait().unwrap();
                    tell_error.send(0).unwrap();
                }
                _ => {}
            });
        let _running = serving.spawn().unwrap();
        let client = Socket::connect(server.address()).unwrap();
        thread::spawn(move || cases::all(&client));
        match told.recv_timeout(Duration::from_secs(6)) {
            Ok(0) => {}
            Ok(running) => wrong.push(format!("{what}: {running} still running")),
            Err(_) => wrong.push(format!("{what}: not over after 6 s")),
        }
    }
    cases::verdict(wrong.is_empty(), format!("{wrong:?}"))
}
