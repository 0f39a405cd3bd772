//! A container with Docker's usual setting: IPv6 is in the kernel, but no interface has an address of it, not even the
//! loopback (`net.ipv6.conf.all.disable_ipv6=1`). A bare port listens on `::` there, and clients of IPv4 are served.
//!
//! no_ipv6_address connect | adopt | udp | udp_adopt | localhost | send

use cases::{verdict, within};
use landline::dgram;
use landline::net::{Server, ServerOptions, Socket};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

fn main() {
    cases::inside(
        "ip link set lo up; sysctl -qw net.ipv6.conf.all.disable_ipv6=1
        printf '127.0.0.1 localhost\\n::1 localhost ip6-localhost\\n' > /tmp/hosts.$$
        mount --bind /tmp/hosts.$$ /etc/hosts; rm /tmp/hosts.$$",
    );
    match cases::mode().as_str() {
        // README and lesson 1: what a server says is where a client of the same program connects.
        "connect" => {
            let server = Server::listen(0).unwrap();
            println!("listening on {}", server.address());
            let _serving = server.spawn(|socket| socket.write_end("hello")).unwrap();
            let by_port = Socket::connect(server.address().port()).and_then(io::read_to_string);
            let by_address = Socket::connect(server.address()).and_then(io::read_to_string);
            println!("by port {by_port:?}, by server.address() {by_address:?}");
            verdict(by_address.is_ok(), "connecting to server.address()");
        }
        "adopt" => {
            let listener = TcpListener::bind("[::]:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = ServerOptions::new().adopt(listener).unwrap();
            let serving = server.spawn(|socket| socket.write_end("hello")).unwrap();
            TcpStream::connect(("127.0.0.1", port)).expect("IPv4 clients are served");
            std::thread::sleep(Duration::from_millis(200));
            let start = Instant::now();
            server.close();
            let took = start.elapsed();
            let joined = within(Duration::from_secs(5), move || serving.join()).is_some();
            verdict(joined, format!("close took {took:?}, serve returned: {joined}"));
        }
        "udp" => {
            let mut worst = Duration::ZERO;
            for _ in 0..4 {
                let socket = dgram::SocketOptions::udp6().bind(0).unwrap();
                let running = cases::receiving(&socket, |_, _| {});
                std::thread::sleep(Duration::from_millis(100));
                let start = Instant::now();
                socket.close();
                worst = worst.max(start.elapsed());
                running.join().unwrap().unwrap();
            }
            verdict(
                worst < Duration::from_millis(50),
                format!("close of a dual-stack UDP socket took {worst:?} at worst"),
            );
        }
        "udp_adopt" => {
            let socket = UdpSocket::bind("[::]:0").unwrap();
            let socket = dgram::SocketOptions::new().adopt(socket).unwrap();
            let running = cases::receiving(&socket, |_, _| {});
            std::thread::sleep(Duration::from_millis(100));
            let start = Instant::now();
            socket.close();
            let took = start.elapsed();
            let joined = within(Duration::from_secs(5), move || running.join()).is_some();
            verdict(joined, format!("close took {took:?}, the loop returned: {joined}"));
        }
        "localhost" => {
            let tcp = Server::listen("localhost:0");
            let udp = dgram::Socket::bind("localhost:0");
            println!("listen(\"localhost:0\") {tcp:?}, bind(\"localhost:0\") {udp:?}");
            let connected = tcp.as_ref().map(|server| Socket::connect(("localhost", server.address().port())));
            verdict(tcp.is_ok() && udp.is_ok() && connected.unwrap().is_ok(), "a server on localhost");
        }
        "send" => {
            let socket = dgram::SocketOptions::udp6().bind(0).unwrap();
            let by_port = socket.send_to(b"x", socket.address().port());
            let by_address = socket.send_to(b"x", socket.address());
            let by_v4 = socket.send_to(b"x", ([127, 0, 0, 1], socket.address().port()));
            let by_name = socket.send_to(b"x", ("localhost", socket.address().port()));
            println!("to its port {by_port:?}, its address {by_address:?}, by name {by_name:?}, 127.0.0.1 {by_v4:?}");
            verdict(by_port.is_ok() && by_address.is_ok() && by_name.is_ok(), "sending to oneself");
        }
        other => panic!("{other}?"),
    }
}
