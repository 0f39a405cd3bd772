//! A group on an interface that is named: one without an IPv4 address; one whose address has changed since (DHCP);
//! where /proc cannot be read (a chroot).
//!
//! multicast bare | renumbered | noproc | two

use cases::verdict;
use landline::dgram::{Interface, SocketOptions};
use std::net::Ipv4Addr;
use std::process::Command;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

fn sh(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{script}");
}

/// The number of an interface in this namespace.
fn index_of(name: &str) -> u32 {
    let output = Command::new("ip").args(["-o", "link", "show", "dev", name]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(':').next().unwrap().parse().unwrap()
}

fn main() {
    let what = cases::mode();
    cases::inside("ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up");
    let socket = SocketOptions::udp4().reuse_address(true).bind(7777).unwrap();
    match what.as_str() {
        "bare" => {
            sh("ip addr add 10.1.1.1/24 dev v1; ip route add default via 10.1.1.2");
            let by_number = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
                let interface = socket2::InterfaceIndexOrAddress::Index(index_of("v0"));
                socket2::SockRef::from(&socket).join_multicast_v4_n(&GROUP, &interface)
            });
            let joined = socket.join_multicast(GROUP, Interface::name("v0"));
            println!("the system, by number: {by_number:?}; landline, by name: {joined:?}");
            verdict(joined.is_ok(), "joining on an interface without an IPv4 address");
        }
        "renumbered" => {
            sh("ip addr add 10.1.1.1/24 dev v0");
            socket.join_multicast(GROUP, Interface::name("v0")).unwrap();
            sh("ip addr del 10.1.1.1/24 dev v0; ip addr add 10.2.2.2/24 dev v0");
            let again = socket.join_multicast(GROUP, Interface::name("v0"));
            let left = socket.leave_multicast(GROUP, Interface::name("v0"));
            let after = socket.join_multicast(GROUP, Interface::name("v0"));
            println!("join again {again:?}, leave {left:?}, then join {after:?}");
            verdict(left.is_ok(), "leaving a group after the interface's address has changed");
        }
        "noproc" => {
            sh("ip addr add 10.1.1.1/24 dev v0");
            sh("mount -t tmpfs none /proc");
            let v4 = socket.join_multicast(GROUP, Interface::name("v0"));
            let by_address = socket.join_multicast(GROUP, Interface::address(Ipv4Addr::new(10, 1, 1, 1)));
            println!("by name {v4:?}, by address {by_address:?}, lost {:?}", socket.lost());
            verdict(v4.is_ok(), "joining by name without /proc");
        }
        // Two interfaces with one address, as with bridges, VRFs and VPNs.
        "two" => {
            sh("ip addr add 10.1.1.1/24 dev v0; ip addr add 10.1.1.1/24 dev v1");
            for name in ["v1", "v0"] {
                let socket = SocketOptions::udp4().reuse_address(true).bind(7777).unwrap();
                let joined = socket.join_multicast(GROUP, Interface::name(name));
                let index = index_of(name);
                let table = std::fs::read_to_string("/proc/net/igmp").unwrap();
                let mut inside = false;
                let mut found = Vec::new();
                for line in table.lines() {
                    let mut fields = line.split_whitespace();
                    if let Some(Ok(n)) = fields.next().map(|first| first.parse::<u32>()) {
                        inside = n == index;
                    }
                    if line.contains("030201EF") {
                        found.push(inside);
                    }
                }
                println!("join on {name} {joined:?}; the group is on {name}: {found:?}");
                if joined.is_err() || found != [true] {
                    verdict(false, format!("joining on {name}, one of two interfaces with the same address"));
                }
            }
            verdict(true, "joining on either of two interfaces with the same address");
        }
        other => panic!("{other}?"),
    }
}
