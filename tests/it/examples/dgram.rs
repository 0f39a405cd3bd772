//! The examples, started and talked to: by this crate, by socat, nc and Node. Each of those as client and as server.

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Output};

use landline::dgram::Socket;

use crate::support::dgram::{Running, example};
use crate::support::{HANG, families, tool, within};

/// An example that echoes, started, and where it listens.
fn echo_server(name: &str, at: &str) -> (Running, String) {
    let server = Running::start(Command::new(example(name)).arg(at));
    let line = server.line();
    let address = line.strip_prefix("listening on ").expect("it says where it listens").to_owned();
    (server, address)
}

/// Runs a program that ends by itself, with this as its input, and gives what it printed.
fn answer(mut command: Command, input: &str) -> Output {
    let input = input.to_owned();
    within("the program ends", move || {
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program that was found starts");
        let mut stdin = child.stdin.take().expect("it was asked for");
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("it can be waited for")
    })
}

fn client(address: &str, message: &str) -> Output {
    let mut command = Command::new(example("udp_client"));
    command.args([address, message]);
    answer(command, "")
}

/// Where an address is split for programs that take host and port apart; the host without its brackets.
fn split(address: &str) -> (&str, &str) {
    let (host, port) = address.rsplit_once(':').expect("an address has a port");
    (host.trim_matches(['[', ']']), port)
}

/// A port that was free a moment ago.
fn free_port(at: &str) -> String {
    UdpSocket::bind(at).unwrap().local_addr().unwrap().to_string()
}

/// Ensures that both echo servers and the client do what their texts say.
#[test]
fn echo_servers_and_client_talk_to_each_other() {
    for name in ["udp_echo_server", "udp_std"] {
        for at in families() {
            let (server, address) = echo_server(name, at);
            let output = client(&address, "hello");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "the client prints the reply");
            let line = server.line();
            assert!(line.starts_with(&split(at).0.replace("::1", "[::1]")), "the sender is printed: {line}");
            assert!(line.ends_with(": hello"), "the message is printed: {line}");
        }
    }
}

/// Ensures that a client without a reply fails and says so.
#[test]
fn client_without_a_reply_fails_and_says_so() {
    for at in families() {
        let silent = Socket::bind(at).unwrap();
        let output = client(&silent.address().to_string(), "hello");
        assert_eq!(output.status.code(), Some(1), "it exits with 1");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(&format!("no reply from {} in 2 s", silent.address())), "it says so: {error}");
    }
}

/// Ensures that socat gets its bytes back from the server, and the client from socat.
#[test]
fn socat_talks_to_server_and_client() {
    if tool("socat").is_none() {
        return;
    }
    for at in families() {
        let kind = if at.starts_with('[') { "UDP6" } else { "UDP4" };
        let (server, address) = echo_server("udp_echo_server", at);
        let mut command = Command::new("socat");
        command.args(["-t1", "-", &format!("{kind}:{address}")]);
        assert_eq!(String::from_utf8_lossy(&answer(command, "from socat\n").stdout), "from socat\n");
        assert!(server.line().ends_with(": from socat"));

        let address = free_port(at);
        let (host, port) = split(&address);
        let listen = format!("{kind}-RECVFROM:{port},bind={},fork", address.rsplit_once(':').unwrap().0);
        let _server = Running::start(Command::new("socat").args([&*listen, "EXEC:cat"]));
        assert_eq!(until_reply(&address), "hello\n", "socat at {host} answers");
    }
}

/// Ensures that `nc -u` gets its bytes back from the server, and the client from `nc -u -l`.
#[test]
fn nc_talks_to_server_and_client() {
    if tool("nc").is_none() {
        return;
    }
    for at in families() {
        let (server, address) = echo_server("udp_echo_server", at);
        let (host, port) = split(&address);
        let mut nc = Running::start(Command::new("nc").args(["-u", host, port]));
        writeln!(nc.child.stdin.as_mut().unwrap(), "from nc").unwrap();
        assert_eq!(nc.line(), "from nc");
        assert!(server.line().ends_with(": from nc"));

        let address = free_port(at);
        let (host, port) = split(&address);
        let mut nc = Running::start(Command::new("nc").args(["-u", "-l", host, port]));
        let client = Socket::bind(at).unwrap();
        // It takes its time to start, and until then nobody is told of a datagram.
        let talked = (0..100).any(|_| {
            client.send_to(b"hello\n", &address).unwrap();
            client.recv_timeout(&mut [0; 10], std::time::Duration::from_millis(1)).is_ok() || bound(&address)
        });
        assert!(talked, "nc listens");
        client.send_to(b"hello\n", &address).unwrap();
        assert_eq!(nc.line(), "hello");
        writeln!(nc.child.stdin.as_mut().unwrap(), "back").unwrap();
        let (bytes, _) = crate::support::dgram::receive(&client);
        assert_eq!(bytes, b"back\n");
    }
}

/// Ensures that Node's dgram gets its bytes back from the server, and the client from Node's dgram.
#[test]
fn node_talks_to_server_and_client() {
    if tool("node").is_none() {
        return;
    }
    for at in families() {
        let kind = if at.starts_with('[') { "udp6" } else { "udp4" };
        let (server, address) = echo_server("udp_echo_server", at);
        let (host, port) = split(&address);
        let script = format!(
            "const s = require('dgram').createSocket('{kind}');
             s.on('message', (m, r) => {{ console.log(`${{m}} from ${{r.address}} ${{r.port}}`); s.close(); }});
             s.send('from node', {port}, '{host}');"
        );
        let mut command = Command::new("node");
        command.args(["-e", &script]);
        let expected = format!("from node from {host} {port}\n");
        assert_eq!(String::from_utf8_lossy(&answer(command, "").stdout), expected, "node sees the server's address");
        assert!(server.line().ends_with(": from node"));

        let (host, _) = split(at);
        let script = format!(
            "const s = require('dgram').createSocket('{kind}');
             s.on('message', (m, r) => s.send(m, r.port, r.address));
             s.bind(0, '{host}', () => console.log(s.address().port));"
        );
        let node = Running::start(Command::new("node").args(["-e", &script]));
        let address = at.replace(":0", "") + ":" + &node.line();
        let address = address.replace("[:", "[::").replace(":::", "::");
        let output = client(&address, "hello");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Ensures that a member of a group gets what is sent to it, on loopback.
#[test]
fn multicast_receives_what_it_sends() {
    let receiver = Running::start(Command::new(example("multicast")).arg("receive"));
    assert_eq!(receiver.line(), "listening on 239.255.13.7:3001 by 127.0.0.1");
    let sent = Command::new(example("multicast")).args(["send", "hello"]).status().unwrap();
    assert!(sent.success());
    let line = receiver.line();
    assert!(line.starts_with("127.0.0.1:") && line.ends_with(": hello"), "{line}");
}

/// Whether somebody has the address.
fn bound(address: &str) -> bool {
    Socket::bind(address).is_err()
}

/// What the client prints once the server it talks to has started.
fn until_reply(address: &str) -> String {
    let started = std::time::Instant::now();
    loop {
        let output = client(address, "hello");
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).into_owned();
        }
        assert!(started.elapsed() < HANG, "{}", String::from_utf8_lossy(&output.stderr));
    }
}
