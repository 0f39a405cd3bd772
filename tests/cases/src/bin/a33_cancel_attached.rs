//! "A socket that is closed or dropped has forgotten" its `Cancel`.
use landline::Cancel;
use landline::net::{Server, ServerOptions, SocketOptions};

fn main() {
    let server = Server::listen("127.0.0.1:0").unwrap();
    let cancel = Cancel::new();
    let (fresh, mut seen) = (format!("{cancel:?}"), Vec::new());
    let socket = SocketOptions::new().cancel(&cancel).connect(server.address()).unwrap();
    socket.destroy();
    seen.push(("destroyed", format!("{cancel:?}")));
    drop(socket);
    seen.push(("dropped", format!("{cancel:?}")));
    let other = ServerOptions::new().cancel(&cancel).listen("127.0.0.1:0").unwrap();
    other.close();
    seen.push(("server closed", format!("{cancel:?}")));
    cases::verdict(seen.iter().all(|(_, now)| *now == fresh), format!("{seen:?}"))
}
