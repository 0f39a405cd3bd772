//! The ports that the headers name, and others in their place where those may be taken.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::headers::{Step, numbers};
use crate::processes::connections;
use crate::support::{eventually, network_of_its_own};

/// The ports that an example gets from its arguments, the first one being the default.
const REPLACED: [&str; 3] = ["3000", "4000", "4001"];

/// The ports that are written into `multicast` and `discover`.
const FIXED: [&str; 2] = ["3001", "3002"];

/// The ports of a header that is played, which no other one has at the same time.
pub(crate) struct Ports {
    chosen: BTreeMap<String, u16>,
    /// Keeps other tests away: each is bound to the port, at an address that no example uses, and does not listen.
    _held: Vec<socket2::Socket>,
}

impl Ports {
    /// The very ports in a network of its own, others elsewhere. Waits for another test that has the same fixed one; none
    /// if another program has it.
    pub(crate) fn new(terminals: &[Vec<Step>]) -> Option<Ports> {
        let text = format!("{terminals:?}");
        let named = |port: &&&str| numbers(&text).contains(*port);
        let mut ports = Ports { chosen: BTreeMap::new(), _held: Vec::new() };
        let has_its_own_network = !network_of_its_own().is_empty();
        for name in REPLACED.iter().chain(&FIXED).filter(named) {
            let mut port: u16 = name.parse().expect("a port is a number");
            if FIXED.contains(name) {
                ports._held.push(hold_fixed(port)?);
            } else if !has_its_own_network {
                // Four digits, as in the headers. Another run of the tests begins elsewhere.
                let start = (std::process::id() % 5000) as u16;
                let mut others = (0..5000).map(|i| 5000 + (start + i) % 5000);
                let (other, held) = others.find_map(|port| Some((port, hold(port)?))).expect("a port is free");
                port = other;
                ports._held.push(held);
            }
            ports.chosen.insert((*name).into(), port);
        }
        Some(ports)
    }

    pub(crate) fn numbers(&self) -> Vec<u16> {
        self.chosen.values().copied().collect()
    }

    /// What the header says, with these ports. Where it runs an example at its default port, the port is named.
    pub(crate) fn put_into(&self, terminals: Vec<Vec<Step>>) -> Vec<Vec<Step>> {
        let put = |text: &str| numbers(text).into_iter().map(|part| self.other(part)).collect::<String>();
        let step = |step| match step {
            Step::Run(command) => Step::Run(put(&self.with_default(&command))),
            Step::Line(line) => Step::Line(put(&line)),
            other => other,
        };
        terminals.into_iter().map(|steps| steps.into_iter().map(step).collect()).collect()
    }

    fn other(&self, part: &str) -> String {
        self.chosen.get(part).map_or(part.into(), u16::to_string)
    }

    fn with_default(&self, command: &str) -> String {
        let is_named = numbers(command).iter().any(|part| self.chosen.contains_key(*part));
        let [default, ..] = REPLACED;
        if is_named || !command.starts_with("cargo run ") || self.chosen.get(default).is_none_or(|port| *port == 3000) {
            return command.into();
        }
        let mut words: Vec<_> = command.split(' ').filter(|word| *word != "--").collect();
        let at = words.iter().position(|word| ["--example", "--manifest-path"].contains(word));
        let address = format!("127.0.0.1:{default}");
        words.insert(at.expect("a header runs an example") + 2, &address);
        words.join(" ")
    }
}

/// Holds a port for datagrams that is written into an example; none if another program has it. A port for connections of the
/// same number stands for it among the tests.
pub(crate) fn hold_fixed(port: u16) -> Option<socket2::Socket> {
    let mut held = None;
    eventually("another test gives the port back", || {
        held = bind(Ipv4Addr::LOCALHOST, port);
        held.is_some()
    });
    if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_err() {
        println!("skipped: port {port} is taken, and no network of its own may be made");
        return None;
    }
    held
}

/// Holds a port if it is free, and was: connections of the minute before are still in the kernel's table.
fn hold(port: u16) -> Option<socket2::Socket> {
    let held = bind(Ipv4Addr::new(127, 77, 0, 1), port)?;
    let here = (Ipv4Addr::LOCALHOST, port);
    let is_free = TcpListener::bind(here).is_ok() && UdpSocket::bind(here).is_ok();
    (is_free && connections(&[port]).is_empty()).then_some(held)
}

/// A socket that has this address and does not listen, so that the kernel's table of connections does not show it.
fn bind(ip: Ipv4Addr, port: u16) -> Option<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::from((ip, port)).into()).ok()?;
    Some(socket)
}

/// Ensures that where others have the header's ports, free ones stand for them in all that it says and runs, its examples'
/// default port among them.
#[test]
fn other_ports_stand_for_the_headers_own() {
    let chosen = [("3000", 5001), ("4000", 5002)].map(|(name, port)| (name.to_owned(), port)).into();
    let ports = Ports { chosen, _held: Vec::new() };
    let run = |command: &str| Step::Run(command.into());
    for (shown, played) in [
        (run("cargo run --example echo"), run("cargo run --example echo 127.0.0.1:5001")),
        (run("cargo run --release --example a -- --b 1"), run("cargo run --release --example a 127.0.0.1:5001 --b 1")),
        (run("cargo run --example a 127.0.0.1:4000 b"), run("cargo run --example a 127.0.0.1:5002 b")),
        (run("nc -N 127.0.0.1 3000"), run("nc -N 127.0.0.1 5001")),
        (run("systemd target/control stop"), run("systemd target/control stop")),
        (Step::Line("\"port\":3000, 127.0.0.1:40001".into()), Step::Line("\"port\":5001, 127.0.0.1:40001".into())),
        (Step::Type("3000\n".into()), Step::Type("3000\n".into())),
    ] {
        assert_eq!(ports.put_into(vec![vec![shown]]), [[played]], "the port is another one");
    }
    let own = Ports { chosen: [("3000".to_owned(), 3000)].into(), _held: Vec::new() };
    let as_shown = vec![vec![run("cargo run --example echo"), run("nc 127.0.0.1 3000")]];
    assert_eq!(own.put_into(as_shown.clone()), as_shown, "in a network of its own a header is played as it is");
}
