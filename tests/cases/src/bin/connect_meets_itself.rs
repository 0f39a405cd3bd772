//! A connect to a wildcard (a server's own `address()` when it listens on every interface) or to an address with a zone
//! can meet itself, since landline compares with the address that was asked for and not with the one that was reached.
//! A client that connects again to a server that is gone is then connected to itself, and holds the server's port.
use landline::net::Socket;

fn main() {
    // Few local ports, so that it happens soon.
    cases::inside("ip link set lo up; echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range");
    for host in ["0.0.0.0", "::", "::1%1"] {
        for _ in 0..2000 {
            if let Ok(socket) = Socket::connect((host, 40_004)) {
                let (local, remote) = (socket.local_address(), socket.remote_address());
                cases::verdict(
                    false,
                    format!("no server is on port 40004, and {host} is connected: {local} to {remote}"),
                )
            }
        }
    }
    cases::verdict(true, "no connect to a port without a server succeeds")
}
