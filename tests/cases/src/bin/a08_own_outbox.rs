//! A handler's own connection does not count in its shutdown and its wait, but the thread that writes its outbox does.
use std::sync::mpsc::channel;
use std::time::Duration;

use landline::net::{Server, Socket};

fn main() {
    let mut wrong = Vec::new();
    for what in ["shutdown", "wait"] {
        let server = Server::listen("127.0.0.1:0").unwrap();
        let inner = server.clone();
        let (tell, told) = channel();
        let _running = server
            .spawn(move |socket| {
                // A last long answer, to a client that does not read yet.
                socket.outbox().set_limit(64 << 20);
                socket.outbox().try_send(vec![0; 32 << 20])?;
                if what == "shutdown" {
                    tell.send(inner.shutdown(Duration::from_secs(2)).still_running).unwrap();
                } else {
                    inner.close();
                    inner.wait()?;
                    tell.send(0).unwrap();
                }
                socket.destroy();
                Ok(())
            })
            .unwrap();
        let _client = Socket::connect(server.address()).unwrap();
        match told.recv_timeout(Duration::from_secs(5)) {
            Ok(0) => {}
            Ok(running) => wrong.push(format!("{what}: {running} still running")),
            Err(_) => wrong.push(format!("{what}: not over after 5 s")),
        }
    }
    cases::verdict(wrong.is_empty(), format!("{wrong:?}"))
}
