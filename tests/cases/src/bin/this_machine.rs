//! A server on `::1` alone, as dev servers are since Node 17, and a client that was given a bare port.

use cases::verdict;
use landline::net::{Server, Socket};

fn main() {
    cases::inside(
        "ip link set lo up; printf '127.0.0.1 localhost\\n::1 localhost ip6-localhost\\n' > /tmp/hosts.$$; \
        mount --bind /tmp/hosts.$$ /etc/hosts; rm /tmp/hosts.$$",
    );
    let server = Server::listen("[::1]:0").unwrap();
    let port = server.address().port();
    let _serving = server.spawn(|socket| socket.write_end("hello")).unwrap();
    let by_port = Socket::connect(port).map(drop);
    let by_name = Socket::connect(("localhost", port)).map(drop);
    println!("connect({port}) {by_port:?}; connect((\"localhost\", {port})) {by_name:?}");
    verdict(by_port.is_ok(), "a bare port, this machine");
}
