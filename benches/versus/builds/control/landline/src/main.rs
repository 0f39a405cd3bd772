//! A control port over landline.

use landline::net::ServerOptions;

#[path = "../../settings.rs"]
mod settings;

fn main() -> std::io::Result<()> {
    let settings = settings::Settings::default();
    let server = ServerOptions::new().max_connections(64).listen("127.0.0.1:3000")?;
    println!("listening on {}", server.address());
    server.serve(|socket| {
        let mut lines = socket.buffered()?;
        while let Some(line) = lines.next_line()? {
            let Some(answer) = settings.answer(&line) else { break };
            socket.write_all(answer)?;
        }
        Ok(())
    })
}
