//! A client with a local port that closes first cannot connect again for a minute, not even to another server: bind
//! EADDRINUSE. Node can, since libuv sets SO_REUSEADDR before it binds.
use landline::net::{Server, SocketOptions};

fn main() {
    let (one, other) = (Server::listen("127.0.0.1:0").unwrap(), Server::listen("127.0.0.1:0").unwrap());
    let free = Server::listen("127.0.0.1:0").unwrap().address().port();
    let options = SocketOptions::new().local_port(free);
    let client = options.connect(one.address()).unwrap();
    let accepted = one.accept().unwrap().expect("it is open");
    client.end().unwrap();
    cases::all(&accepted).unwrap();
    accepted.end().unwrap();
    cases::all(&client).unwrap();
    drop((client, accepted));
    let again = options.connect(other.address()).map(drop);
    cases::verdict(again.is_ok(), format!("from the same port to another server: {again:?}"))
}
