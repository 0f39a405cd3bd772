//! A control port over tiny_http: each command is the body of a request, on four threads.

use std::io::{self, Read};
use std::thread;

use tiny_http::{Response, Server};

#[path = "../../settings.rs"]
mod settings;
use settings::Settings;

fn main() -> io::Result<()> {
    let server = Server::http("127.0.0.1:3000").map_err(io::Error::other)?;
    println!("listening on {}", server.server_addr());
    let settings = Settings::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for mut request in server.incoming_requests() {
                    let mut line = String::new();
                    let read = request.as_reader().take(65_536).read_to_string(&mut line);
                    let answer = read.ok().and_then(|_| settings.answer(&line)).unwrap_or_default();
                    let _ = request.respond(Response::from_string(answer));
                }
            });
        }
    });
    Ok(())
}
