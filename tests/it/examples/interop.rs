//! Programs that other people wrote, as clients of `echo_server` and as servers of `echo_client`.

use std::sync::Arc;
use std::time::Instant;

use crate::support::process::{Program, Server, assert_same, example, random, run};
use crate::support::{each_ip, tool};

const NODE_CLIENT: &str = "
    const [host, port] = process.argv.slice(1);
    const socket = require('net').connect(port, host);
    process.stdin.pipe(socket).pipe(process.stdout);
";

const NODE_SERVER: &str = "
    const server = require('net').createServer(socket => { socket.pipe(socket); server.close(); });
    server.listen(0, process.argv[1], () => console.error('listening on', server.address().port));
";

/// How a program is told to be a client of `server`: what it reads it sends, its end of input included, and it prints
/// what comes back until that ends.
fn client(name: &str, server: &Server) -> Option<(std::path::PathBuf, Vec<String>)> {
    let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
    let args = match name {
        "nc" => vec!["-N".into(), ip, port],
        // It waits for 0.5 s only after the end of its input unless told to wait longer.
        "socat" => vec!["-t60".into(), "-".into(), format!("TCP:{}", server.address)],
        "node" => vec!["-e".into(), NODE_CLIENT.into(), ip, port],
        "echo_client" => return Some((example(name), vec![server.address.to_string()])),
        _ => unreachable!("{name} is one of ours"),
    };
    Some((tool(name)?, args))
}

/// Sends `input` through a client and an echo server and back; gives the seconds it took.
#[track_caller]
fn round_trip(name: &str, server: &Server, input: &Arc<[u8]>) -> Option<f64> {
    let (program, args) = client(name, server)?;
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let start = Instant::now();
    let said = run(program, &args, input);
    let time = start.elapsed().as_secs_f64();
    assert_same(&said.out, input, name);
    assert!(said.status.success(), "{name}: {} {}", said.status, said.err);
    let ended = server.program.line_with("finished");
    let counts = format!(", {0} read, {0} written", input.len());
    assert!(ended.ends_with(&counts), "{name} and we count the same: {ended}");
    Some(time)
}

/// Ensures that a client gets back all 256 values of a byte, over IPv4 and IPv6, and that nothing is as good as something.
fn every_byte_comes_back(name: &str) {
    let all: Arc<[u8]> = (0..=255).chain((0..=255).rev()).collect();
    each_ip(|at| {
        let server = Server::start("echo_server", &[at]);
        round_trip(name, &server, &all);
        round_trip(name, &server, &Arc::from([]));
    });
}

/// Ensures that 16 MiB of random bytes come back as they were sent.
fn much_comes_back(name: &str) {
    let server = Server::start("echo_server", &["127.0.0.1:0"]);
    if let Some(seconds) = round_trip(name, &server, &random(16 << 20)) {
        println!("measured: 16 MiB through {name} and back in {seconds:.2} s");
    }
}

#[test]
fn every_byte_comes_back_to_nc() {
    every_byte_comes_back("nc");
}

#[test]
fn every_byte_comes_back_to_socat() {
    every_byte_comes_back("socat");
}

#[test]
fn every_byte_comes_back_to_node() {
    every_byte_comes_back("node");
}

#[test]
fn every_byte_comes_back_to_echo_client() {
    every_byte_comes_back("echo_client");
}

#[test]
fn much_comes_back_to_nc() {
    much_comes_back("nc");
}

#[test]
fn much_comes_back_to_socat() {
    much_comes_back("socat");
}

#[test]
fn much_comes_back_to_node() {
    much_comes_back("node");
}

#[test]
fn much_comes_back_to_echo_client() {
    much_comes_back("echo_client");
}

/// Ensures that a person at a telnet gets each line back as it is typed.
#[test]
fn telnet_gets_its_lines_back() {
    let Some(telnet) = tool("telnet") else {
        return;
    };
    each_ip(|at| {
        let server = Server::start("echo_server", &[at]);
        let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
        let mut telnet = Program::start(&telnet, &[&ip, &port]);
        telnet.line_with("Escape character");
        for word in ["hello", "again"] {
            telnet.type_in(&format!("{word}\n"));
            assert_eq!(telnet.line(), word, "a line comes back before the next is typed");
        }
        telnet.end_input();
        server.program.line_with(" read, ");
    });
}

/// Ensures that a client that has ended its side at once still gets its answer and then the end, whether the library
/// answers the end or, with `--half-open`, the program.
#[test]
fn a_client_that_has_ended_gets_its_answer() {
    let Some(nc) = tool("nc") else {
        return;
    };
    for options in [&[][..], &["--half-open"]] {
        each_ip(|at| {
            let server = Server::start("echo_server", &[&[at], options].concat());
            let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
            for _ in 0..20 {
                let said = run(&nc, &["-N", &ip, &port], &Arc::from(*b"x"));
                assert_eq!(said.out, b"x", "{options:?}: the answer comes after the client's end");
                let ended = server.program.line_with("finished");
                assert!(ended.ends_with(", 1 read, 1 written"), "{options:?}: {ended}");
            }
        });
    }
}

/// Ensures that a refused nc sees its connection end, and that it prints nothing.
#[test]
fn nc_is_turned_away_by_a_full_server() {
    let Some(nc) = tool("nc") else {
        return;
    };
    let server = Server::start("echo_server", &["127.0.0.1:0", "--max-connections", "0"]);
    let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
    let said = run(&nc, &[&ip, &port], &Arc::from([]));
    assert!(said.out.is_empty() && said.status.success(), "it was connected, and then came the end: {said:?}");
    server.program.line_with("refused ");
}

/// Ensures that `echo_client` is a client like any other to a server that nc makes: what each says, the other hears.
/// A listening nc is over when its client has ended, so here it is nc that ends first.
#[test]
fn echo_client_talks_to_nc() {
    let Some(nc) = tool("nc") else {
        return;
    };
    each_ip(|at| {
        let ip = at.trim_end_matches(":0");
        let mut server = Program::start(&nc, &["-l", "-n", "-v", "-N", ip.trim_matches(['[', ']']), "0"]);
        let port = server.port_after("Listening on");
        let mut client = Program::start(example("echo_client"), &[&format!("{ip}:{port}")]);
        client.type_in("from us\n");
        assert_eq!(server.line(), "from us");
        server.type_in("from nc\n");
        assert_eq!(client.line(), "from nc");
        server.end_input();
        assert!(client.status().success(), "{:?}", client.errors());
        assert!(server.status().success(), "{:?}", server.errors());
    });
}

/// Ensures that 1 MiB of random bytes goes through an echo server of somebody else's and back.
fn echo_client_talks_to(name: &str, args: impl Fn(&str) -> Vec<String>) {
    let Some(program) = tool(name) else {
        return;
    };
    let input = random(1 << 20);
    each_ip(|at| {
        let ip = at.trim_end_matches(":0");
        let args = args(ip);
        let mut server = Program::start(&program, &args.iter().map(String::as_str).collect::<Vec<_>>());
        let port = server.port_after("listening on");
        let said = run(example("echo_client"), &[&format!("{ip}:{port}")], &input);
        assert_same(&said.out, &input, name);
        assert!(said.status.success() && said.err.is_empty(), "{name}: {} {}", said.status, said.err);
        assert!(server.status().success(), "{name} sees an end in order");
    });
}

#[test]
fn echo_client_talks_to_socat() {
    echo_client_talks_to("socat", |ip| {
        let listen = if ip.starts_with('[') { "TCP6-LISTEN" } else { "TCP4-LISTEN" };
        ["-d", "-d", "-t60", &format!("{listen}:0,bind={ip}"), "EXEC:cat"].map(String::from).to_vec()
    });
}

#[test]
fn echo_client_talks_to_node() {
    echo_client_talks_to("node", |ip| ["-e", NODE_SERVER, ip.trim_matches(['[', ']'])].map(String::from).to_vec());
}
