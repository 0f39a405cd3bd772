//! The examples, started and talked to: by this crate, by socat, nc and Node. Each of those as client and as server.

use std::net::UdpSocket;
use std::thread;

use landline::dgram::Socket;

use crate::ports::hold_fixed;
use crate::support::process::{Program, Said, Server, example, run};
use crate::support::{eventually, families, in_child, tool};

/// An example that echoes, started, and where it listens.
fn echo_server(name: &str, at: &str) -> (Program, String) {
    let Server { program, address } = Server::start(name, &[at]);
    (program, address.to_string())
}

fn udp_client(address: &str, message: &str) -> Said {
    run(example("udp_client"), &[address, message], &[].into())
}

/// Where an address is split for programs that take host and port apart; the host without its brackets.
fn split(address: &str) -> (&str, &str) {
    let (_, port) = address.rsplit_once(':').expect("an address has a port");
    (host(address).trim_matches(['[', ']']), port)
}

/// The host of an address, in brackets if it has them.
fn host(address: &str) -> &str {
    address.rsplit_once(':').expect("an address has a port").0
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
            let output = udp_client(&address, "hello");
            assert!(output.status.success(), "{}", output.err);
            assert_eq!(output.out, b"hello\n", "the client prints the reply");
            let line = server.line();
            assert!(line.starts_with(&split(at).0.replace("::1", "[::1]")), "the sender is printed: {line}");
            assert!(line.ends_with(": hello"), "the message is printed: {line}");
        }
    }
}

/// Ensures that a client without a reply fails and says so.
#[test]
fn client_without_a_reply_fails_and_says_so() {
    let fails = |at| {
        let silent = Socket::bind(at).unwrap();
        let output = udp_client(&silent.address().to_string(), "hello");
        assert_eq!(output.status.code(), Some(1), "it exits with 1");
        let says_so = format!("no reply from {} in 5 s", silent.address());
        assert!(output.err.contains(&says_so), "it says so: {}", output.err);
    };
    // Both families at once, for it waits for 5 s.
    thread::scope(|scope| families().into_iter().for_each(|at| drop(scope.spawn(move || fails(at)))));
}

/// Ensures that socat gets its bytes back from the server, and the client from socat.
#[test]
fn socat_talks_to_server_and_client() {
    let Some(socat) = tool("socat") else {
        return;
    };
    in_child(this_test!(), &[], || {
        for at in families() {
            let kind = if at.starts_with('[') { "UDP6" } else { "UDP4" };
            let (server, address) = echo_server("udp_echo_server", at);
            let mut client = Program::start(&socat, &["-", &format!("{kind}:{address}")]);
            client.type_in("from socat\n");
            assert_eq!(client.line(), "from socat");
            assert!(server.line().ends_with(": from socat"));

            let address = free_port(at);
            let listen = format!("{kind}-RECVFROM:{},bind={},fork", split(&address).1, host(&address));
            let server = Program::start(&socat, &["-d", "-d", &listen, "EXEC:cat"]);
            server.error_line_with("receiving on");
            // On a busy machine the client gives up before socat has started `cat`.
            eventually(&format!("socat at {address} answers"), || udp_client(&address, "hello").out == b"hello\n");
        }
    });
}

/// Ensures that `nc -u` gets its bytes back from the server, and the client from `nc -u -l`.
#[test]
fn nc_talks_to_server_and_client() {
    let Some(nc) = tool("nc") else {
        return;
    };
    for at in families() {
        let (server, address) = echo_server("udp_echo_server", at);
        let (ip, port) = split(&address);
        let mut client = Program::start(&nc, &["-u", ip, port]);
        client.type_in("from nc\n");
        assert_eq!(client.line(), "from nc");
        assert!(server.line().ends_with(": from nc"));

        let mut server = Program::start(&nc, &["-u", "-l", "-n", "-v", ip, "0"]);
        let port = server.port_after("Bound on");
        let client = Socket::bind(at).unwrap();
        client.send_to(b"hello\n", format!("{}:{port}", host(at))).unwrap();
        assert_eq!(server.line(), "hello");
        server.type_in("back\n");
        let (bytes, _) = crate::support::dgram::receive(&client);
        assert_eq!(bytes, b"back\n");
    }
}

/// Ensures that Node's dgram gets its bytes back from the server, and the client from Node's dgram.
#[test]
fn node_talks_to_server_and_client() {
    let Some(node) = tool("node") else {
        return;
    };
    for at in families() {
        let kind = if at.starts_with('[') { "udp6" } else { "udp4" };
        let (server, address) = echo_server("udp_echo_server", at);
        let (ip, port) = split(&address);
        let script = format!(
            "const s = require('dgram').createSocket('{kind}');
             s.on('message', (m, r) => {{ console.log(`${{m}} from ${{r.address}} ${{r.port}}`); s.close(); }});
             s.send('from node', {port}, '{ip}');"
        );
        let said = run(&node, &["-e", &script], &[].into());
        let expected = format!("from node from {ip} {port}\n");
        assert_eq!(String::from_utf8_lossy(&said.out), expected, "node sees the server's address");
        assert!(server.line().ends_with(": from node"));

        let script = format!(
            "const s = require('dgram').createSocket('{kind}');
             s.on('message', (m, r) => s.send(m, r.port, r.address));
             s.bind(0, '{ip}', () => console.log(s.address().port));"
        );
        let server = Program::start(&node, &["-e", &script]);
        let output = udp_client(&format!("{}:{}", host(at), server.line()), "hello");
        assert_eq!(output.out, b"hello\n", "{}", output.err);
    }
}

/// Ensures that a member of a group gets what is sent to it, on loopback.
#[test]
fn multicast_receives_what_it_sends() {
    in_child(this_test!(), &[], || {
        let Some(_held) = hold_fixed(3001) else {
            return;
        };
        let receiver = Program::start(example("multicast"), &["receive"]);
        assert_eq!(receiver.line(), "listening on 239.255.13.7:3001 by 127.0.0.1");
        let sent = run(example("multicast"), &["send", "hello"], &[].into());
        assert!(sent.status.success(), "{}", sent.err);
        let line = receiver.line();
        assert!(line.starts_with("127.0.0.1:") && line.ends_with(": hello"), "{line}");
    });
}
