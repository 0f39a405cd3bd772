//! An echo server over landline.

use landline::net::Server;

fn main() -> std::io::Result<()> {
    let server = Server::listen("127.0.0.1:3000")?;
    println!("listening on {}", server.address());
    server.serve(|socket| socket.pipe(socket))
}
