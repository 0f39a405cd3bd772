//! Every example starts, says what its header promises, and does it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::fixtures::Refusing;
use crate::support::process::{Program, Server, example, run};
use crate::support::time::some_round;
use crate::support::{HANG, each_ip, eventually};

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(to).expect("the example listens");
    client.set_read_timeout(Some(HANG)).expect("a read timeout can be set");
    client
}

/// Sends a message and waits for it to come back.
#[track_caller]
fn echo(mut client: &TcpStream, message: &[u8]) {
    let mut answer = vec![0; message.len()];
    client.write_all(message).and_then(|()| client.read_exact(&mut answer)).expect("the server answers");
    assert_eq!(answer, message, "an echo server sends back what it got");
}

/// Whether the server has turned the client away: the end, or a reset if it had written.
fn is_turned_away(mut client: &TcpStream) -> bool {
    match client.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn nothing() -> Arc<[u8]> {
    Arc::from([])
}

/// Ensures that the README's first program is the example `echo`, which the next test starts.
#[test]
fn the_first_program_of_the_readme_is_the_example_echo() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code =
        |text: &str| text.lines().filter(|line| !line.contains("Server::listen(")).collect::<Vec<_>>().join("\n");
    let readme = fs::read_to_string(root.join("README.md")).expect("the README can be read");
    let first = readme.split("```rust").nth(1).and_then(|rest| rest.split_once('\n')).expect("the README has code");
    let first = first.1.split("```").next().expect("the code ends");
    let example = fs::read_to_string(root.join("examples/echo.rs")).expect("the example can be read");
    let example = example.split_once("\n\n").expect("an empty line ends the header").1;
    assert_eq!(code(first).trim(), code(example).trim(), "but for where they listen, both are the same program");
}

/// Ensures that `echo` sends back what it gets, to several clients at once.
#[test]
fn echo_sends_back_what_it_gets() {
    each_ip(|at| {
        let server = Server::start("echo", &[at]);
        let clients = [connect(server.address), connect(server.address)];
        for client in &clients {
            echo(client, b"hello\n");
        }
    });
}

/// Ensures that `echo_server` prints a line for a client that comes, is refused, and ends, with what a reader wants to
/// know of each.
#[test]
fn echo_server_prints_a_line_for_whatever_happens() {
    each_ip(|at| {
        let server = Server::start("echo_server", &[at, "--max-connections", "1"]);
        let (address, client) = (server.address, connect(server.address));
        echo(&client, b"hello\n");
        let (peer, refused) = (client.local_addr().expect("it is connected"), connect(address));
        assert_eq!(server.program.line(), format!("#1 {peer} -> {address} accepted, 1 open"));
        assert!(is_turned_away(&refused), "one is as many as may be connected");
        let refused = refused.local_addr().expect("it was connected");
        assert_eq!(server.program.line(), format!("refused {refused} -> {address}: full"));
        drop(client);
        let ended = server.program.line();
        let time = ended.strip_prefix(&format!("#1 {peer} -> {address} finished after "));
        let time = time.and_then(|rest| rest.strip_suffix(" s, 6 read, 6 written"));
        assert!(time.is_some_and(|time| time.parse::<f64>().is_ok()), "{ended}");
    });
}

/// Ensures that with `--timeout 1` a client that is silent for a second is cut off and told of, and that its slot is free
/// by the time it can know; a client that says something in time is not.
#[test]
fn a_silent_clients_slot_is_free_within_the_timeout() {
    some_round("a client that talks in time is not cut off", Duration::from_secs(1), |timeout| {
        let seconds = timeout.as_secs().to_string();
        let server = Server::start("echo_server", &["127.0.0.1:0", "--max-connections", "2", "--timeout", &seconds]);
        let address = server.address;
        let mut last = Instant::now();
        let talking = connect(address);
        let silence = Instant::now();
        let silent = connect(address);
        let other = thread::spawn(move || {
            let end = (&silent).read(&mut [0]).expect("an end in order");
            assert_eq!(end, 0, "nothing is said to it");
            let time = silence.elapsed();
            assert!(time >= timeout, "a timeout of {timeout:?} takes as long: {time:?}");
            // The client that talks has the other slot. This one may be late in its turn.
            let start = Instant::now();
            let is_served = talks(&connect(address));
            assert!(is_served || start.elapsed() >= timeout, "the slot of the silent client is free");
            (time, is_served)
        });
        // For longer than the timeout. A client that is late itself is cut off rightly, and the round does not count.
        let mut is_talking = true;
        while is_talking && (silence.elapsed() < timeout * 5 / 4 || !other.is_finished()) {
            let before = std::mem::replace(&mut last, Instant::now());
            is_talking = talks(&talking);
            assert!(is_talking || before.elapsed() >= timeout, "a client that talks in time is not cut off");
            // Not a bound: the pace of the client.
            thread::park_timeout(timeout / 8);
        }
        let (time, is_served) = other.join().expect("the other client gets what it should");
        println!(
            "measured: with --timeout {seconds}, a silent client's slot is free after {:.3} s",
            time.as_secs_f64()
        );
        let line = server.program.line_with("failed: ");
        assert!(line.ends_with(" failed: silent for too long"), "its line says so: {line}");
        (is_talking && is_served).then_some(())
    });
}

/// Whether the server answers a byte.
fn talks(mut client: &TcpStream) -> bool {
    client.write_all(b"x").and_then(|()| client.read_exact(&mut [0])).is_ok()
}

/// Ensures that of 20 clients that come one after the other, three are served and 17 turned away, and that one who goes
/// makes room for one, in `echo_server` and in its twin.
#[test]
fn of_twenty_clients_three_are_served() {
    for name in ["echo_server", "echo_std"] {
        let server = Server::start(name, &["127.0.0.1:0", "--max-connections", "3"]);
        let mut served = Vec::new();
        for _ in 0..20 {
            let client = connect(server.address);
            if served.len() < 3 {
                echo(&client, b"let in");
                served.push(client);
            } else {
                assert!(is_turned_away(&client), "{name} is full");
                server.program.line_with("refused ");
            }
        }
        served.pop();
        eventually("one who goes makes room for one", || {
            let client = connect(server.address);
            let mut answer = [0; 6];
            (&client).write_all(b"let in").and_then(|()| (&client).read_exact(&mut answer)).is_ok()
        });
        for client in &served {
            echo(client, b"still here");
        }
    }
}

/// Ensures that with `--until-eof` both servers close at the end of their input, and end with their last connection.
#[test]
fn the_end_of_its_input_closes_the_server() {
    for name in ["echo_server", "echo_std"] {
        let mut server = Server::start(name, &["127.0.0.1:0", "--until-eof"]);
        let client = connect(server.address);
        echo(&client, b"before");
        server.program.end_input();
        eventually("nobody listens any more", || TcpStream::connect(server.address).is_err());
        echo(&client, b"after");
        drop(client);
        assert!(server.program.status().success(), "{name} ends when its last connection has");
    }
}

/// Ensures that `echo_server` tells of its closing and of its end, in this order and last of all.
#[test]
fn the_log_ends_with_closing_and_closed() {
    for _ in 0..20 {
        let mut server = Server::start("echo_server", &["127.0.0.1:0", "--until-eof"]);
        let (closing, closed) = (format!("{} closing", server.address), format!("{} closed", server.address));
        assert_eq!(server.program.rest(), [closing, closed], "the log is complete when the server has ended");
    }
}

/// Ensures that without `--until-eof` the end of its input, or none at all, does not end the server.
#[test]
fn a_server_started_without_input_runs_on() {
    let mut server = Server::start("echo_server", &["127.0.0.1:0"]);
    server.program.end_input();
    for _ in 0..10 {
        echo(&connect(server.address), b"still here");
    }
}

/// Ensures that `address` tells where it listens, in Node's JSON, and counts what goes both ways.
#[test]
fn address_tells_where_it_listens_and_counts() {
    each_ip(|at| {
        let server = Server::start("address", &[at]);
        let (ip, port) = (server.address.ip(), server.address.port());
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let message = format!(r#"server address is {{"address":"{ip}","family":"{family}","port":{port}}}"#);
        let mut client = connect(server.address);
        let mut got = vec![0; message.len()];
        client.read_exact(&mut got).expect("it sends its message to everybody");
        assert_eq!(String::from_utf8_lossy(&got), message);
        assert_eq!(server.program.line(), format!("the size of message is {}", message.len()));
        client.write_all(b"hello\n").expect("it listens to what is sent");
        assert_eq!(server.program.line(), "data is hello");
        assert_eq!(server.program.line(), "the size of data is 6");
        client.shutdown(std::net::Shutdown::Write).expect("it is connected");
        assert_eq!(client.read(&mut [0; 64]).expect("no error"), 0, "it ends when its client has, and says no more");
    });
}

/// Ensures that `echo_client` sends its input, prints what comes back, and ends with 0 when the server has ended.
#[test]
fn echo_client_talks_to_echo_server() {
    each_ip(|at| {
        let server = Server::start("echo_server", &[at]);
        let input: Arc<[u8]> = Arc::from(*b"one\ntwo");
        let said = run(example("echo_client"), &[&server.address.to_string()], &input);
        assert_eq!(said.out, *input, "what was typed comes back");
        assert!(said.status.success() && said.err.is_empty(), "nothing went wrong: {said:?}");
        let ended = server.program.line_with("finished");
        assert!(ended.ends_with(", 7 read, 7 written"), "both sides count the same: {ended}");
    });
}

/// Ensures that `echo_client` shows what comes at once, not line by line, and ends with the server though its own input
/// goes on.
#[test]
fn echo_client_ends_when_the_server_does() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let mut client = Program::start(example("echo_client"), &[&address]);
    let (mut server, _) = listener.accept().expect("the client comes");
    client.type_in("a line\n");
    let mut line = [0; 7];
    server.read_exact(&mut line).expect("what is typed comes");
    server.write_all(b"no line end").expect("the client reads");
    drop(server);
    assert_eq!(client.line(), "no line end");
    assert!(client.status().success(), "an end in order is no error");
}

/// Ensures that `echo_client` ends with 1, and the error's text, when the server resets the connection.
#[test]
fn echo_client_tells_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let mut client = Program::start(example("echo_client"), &[&address]);
    let (server, _) = listener.accept().expect("the client comes");
    client.type_in("unread");
    let mut some = [0; 1];
    while server.peek(&mut some).expect("the client writes") == 0 {}
    drop(server);
    assert_eq!(client.errors(), ["Error: read ECONNRESET"]);
    assert_eq!(client.status().code(), Some(1));
}

/// Ensures that the examples print Node's texts when they cannot listen or connect.
#[test]
fn errors_are_printed_in_nodes_words() {
    let server = Server::start("echo_server", &["127.0.0.1:0"]);
    let at = server.address.to_string();
    for name in ["echo_server", "address"] {
        let said = run(example(name), &[&at], &nothing());
        assert_eq!(said.err, format!("Error: listen EADDRINUSE: address already in use {at}\n"));
        assert_eq!(said.status.code(), Some(1), "{name} fails");
    }
    let said = run(example("echo"), &[&at], &nothing());
    assert!(said.err.contains(&format!("listen EADDRINUSE: address already in use {at}")), "{}", said.err);

    let refusing = Refusing::at("127.0.0.1:0");
    let at = refusing.address.to_string();
    let said = run(example("echo_client"), &[&at], &nothing());
    assert_eq!((said.err, said.status.code()), (format!("Error: connect ECONNREFUSED {at}\n"), Some(1)));

    // Without a network the resolver may not be able to say more than that it does not know.
    let said = run(example("echo_client"), &["no-such-host.invalid:1"], &nothing());
    let is_told = said.err == "Error: getaddrinfo ENOTFOUND no-such-host.invalid\n"
        || said.err.starts_with("Error: getaddrinfo EAI_AGAIN no-such-host.invalid: ");
    assert!(is_told, "an unknown host is told by its name: {}", said.err);
    assert_eq!(said.status.code(), Some(1));
}

/// Ensures that arguments that make no sense get a usage line on standard error, and status 2.
#[test]
fn bad_arguments_get_a_usage_line() {
    let bad: [(&str, &[&[&str]]); 4] = [
        (
            "echo_server",
            &[
                &["--max-connections"],
                &["--max-connections", "many"],
                &["--timeout"],
                &["--timeout", "-1"],
                &["--what"],
                &["1", "2"],
            ],
        ),
        ("echo_std", &[&["--max-connections", "-1"], &["--what"], &["1", "2"]]),
        ("echo_client", &[&["--what"], &["1", "2"]]),
        ("address", &[&["--what"], &["1", "2"]]),
    ];
    thread::scope(|scope| {
        for (name, all) in bad {
            scope.spawn(move || {
                for args in all {
                    let said = run(example(name), args, &nothing());
                    assert!(said.err.starts_with(&format!("usage: {name} [ADDRESS]")), "{args:?}: {}", said.err);
                    assert_eq!(said.err.lines().count(), 1, "one line is enough");
                    assert_eq!((said.status.code(), said.out.len()), (Some(2), 0), "{name} {args:?}");
                }
            });
        }
    });
}
