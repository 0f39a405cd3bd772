//! The example `redis`: what its clients get, over raw bytes and by Redis's own programs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;

use crate::support::process::Server;
use crate::support::{HANG, each_ip, tool};

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(to).expect("the example listens");
    client.set_read_timeout(Some(HANG)).and_then(|()| client.set_nodelay(true)).expect("they can be set");
    client
}

/// A request in the protocol's form.
fn request(words: &[&str]) -> String {
    let bulks: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{bulks}", words.len())
}

/// Reads as many bytes as `expected` has.
#[track_caller]
fn expect(mut client: &TcpStream, expected: &str, what: &str) {
    let mut came = vec![0; expected.len()];
    client.read_exact(&mut came).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(String::from_utf8_lossy(&came), expected, "{what}");
}

/// Every command, and what is answered.
const TALK: [(&[&str], &str); 14] = [
    (&["PING"], "+PONG\r\n"),
    (&["ping", "a\r\nb"], "$4\r\na\r\nb\r\n"),
    (&["ECHO", ""], "$0\r\n\r\n"),
    (&["GET", "colour"], "$-1\r\n"),
    (&["SET", "colour", "green"], "+OK\r\n"),
    (&["GET", "colour"], "$5\r\ngreen\r\n"),
    (&["INCR", "visits"], ":1\r\n"),
    (&["INCR", "visits"], ":2\r\n"),
    (&["INCR", "colour"], "-ERR value is not an integer or out of range\r\n"),
    (&["SET", "visits", "9223372036854775807"], "+OK\r\n"),
    (&["INCR", "visits"], "-ERR value is not an integer or out of range\r\n"),
    (&["DEL", "colour", "visits", "size"], ":2\r\n"),
    (&["SING"], "-ERR unknown command\r\n"),
    (&["PUBLISH", "news", "hello"], ":0\r\n"),
];

/// Ensures that requests that come in one piece, or byte by byte, are answered in their order, and that the answers to what
/// came before a client's end reach it.
#[test]
fn pipelined_and_dribbled_requests_are_answered_in_order() {
    let requests: String = TALK.iter().map(|(words, _)| request(words)).collect();
    let answers: String = TALK.iter().map(|(_, answer)| *answer).collect();
    each_ip(|at| {
        let server = Server::start("redis", &[at]);
        let mut whole = connect(server.address);
        whole.write_all(requests.repeat(100).as_bytes()).expect("the server reads");
        expect(&whole, &answers.repeat(100), "1,400 requests in one piece have their answers, in order");
        let mut dribbled = connect(server.address);
        for byte in requests.bytes() {
            dribbled.write_all(&[byte]).expect("the server reads");
        }
        dribbled.shutdown(Shutdown::Write).expect("it is connected");
        expect(&dribbled, &answers, "a byte at a time is as good");
        assert_eq!(dribbled.read(&mut [0]).expect("the server ends"), 0, "nothing follows the last answer");
    });
}

/// Ensures that what is no request ends its connection, and no other, before anything is allocated for it.
#[test]
fn what_is_no_request_ends_its_connection_alone() {
    let server = Server::start("redis", &["127.0.0.1:0"]);
    let other = connect(server.address);
    for wrong in
        ["*x\r\n", "*99999999999\r\n", "*1\r\nPING\r\n", "*1\r\n$-1\r\n", "*1\r\n$1048577\r\n", "*2\r\n$4\r\nPI"]
    {
        let mut client = connect(server.address);
        client.write_all(wrong.as_bytes()).expect("it is connected");
        if wrong.ends_with("PI") {
            client.shutdown(Shutdown::Write).expect("it is connected"); // in the middle of a word
        }
        let end = client.read(&mut [0]);
        let is_ended =
            matches!(&end, Ok(0)) || end.as_ref().is_err_and(|error| error.kind().to_string().contains("reset"));
        assert!(is_ended, "{wrong:?} gets no answer and the end: {end:?}");
    }
    (&other).write_all(b"ping\r\n").expect("the server reads");
    expect(
        &other,
        "+PONG\r\n",
        "a line that is typed is a request, and the others' mistakes end their own connections",
    );
}

/// Ensures that each message comes to every subscriber, in order, between whole answers, and that a subscriber that never
/// reads is dropped and holds up no other.
#[test]
fn a_subscriber_that_never_reads_is_dropped_and_holds_up_no_other() {
    let server = Server::start("redis", &["127.0.0.1:0"]);
    let subscribe = || {
        let mut client = connect(server.address);
        client.write_all(request(&["SUBSCRIBE", "news"]).as_bytes()).expect("the server reads");
        expect(&client, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n", "the subscription is confirmed");
        client
    };
    let (_silent, reading, mut publisher) = (subscribe(), subscribe(), connect(server.address));
    // The kernel's buffers and the outbox of the one that never reads are full after some megabytes.
    let mut told = 0;
    for n in 0.. {
        let text = format!("{n:05}{}", "x".repeat(100_000));
        publisher.write_all(request(&["PUBLISH", "news", &text]).as_bytes()).expect("the server reads");
        let message = format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$100005\r\n{text}\r\n");
        expect(&reading, &message, "the one that reads gets every message");
        let mut answer = [0; 4];
        publisher.read_exact(&mut answer).expect("publishing waits for no subscriber");
        told = n;
        if &answer == b":1\r\n" {
            break;
        }
        assert_eq!(&answer, b":2\r\n", "both have room still");
        assert!(n < 5_000, "half a gigabyte fits into no buffer");
    }
    println!("measured: the subscriber that never reads was dropped at message {told} of 100 kB");
}

/// Ensures that what is published together comes to each subscriber in order, each channel's alone, and at once: a request
/// that is not whole yet holds up none before it, and one that makes no sense neither.
#[test]
fn what_is_published_together_is_sent_before_the_server_waits() {
    let server = Server::start("redis", &["127.0.0.1:0"]);
    let (mut subscriber, mut publisher) = (connect(server.address), connect(server.address));
    subscriber.write_all(request(&["SUBSCRIBE", "news"]).as_bytes()).expect("the server reads");
    expect(&subscriber, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n", "the subscription is confirmed");
    let publish = |channel, text| request(&["PUBLISH", channel, text]);
    let message = |text: &str| format!("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\n{text}\r\n");
    let last = publish("news", "e");
    for cut in 1..last.len() {
        let whole = [publish("news", "a"), publish("news", "b"), publish("old", "c"), "PING\r\n".into()].concat();
        let sent = [&whole, &publish("news", "d"), &last[..cut]].concat();
        publisher.write_all(sent.as_bytes()).expect("the server reads");
        expect(&subscriber, &["a", "b", "d"].map(message).concat(), "what is whole comes, in order");
        expect(&publisher, ":1\r\n:1\r\n:0\r\n+PONG\r\n:1\r\n", "it is answered, in order");
        publisher.write_all(&last.as_bytes()[cut..]).expect("the server reads");
        expect(&subscriber, &message("e"), "the rest makes the last whole");
        expect(&publisher, ":1\r\n", "and it is answered");
    }
    publisher.write_all([publish("news", "f"), "*nonsense\r\n".into()].concat().as_bytes()).expect("the server reads");
    expect(&subscriber, &message("f"), "what was whole before comes");
}

/// Ensures that redis-cli is answered, and redis-benchmark too, with requests one at a time and sixteen at once.
#[test]
fn redis_own_programs_are_answered() {
    let (Some(cli), Some(benchmark)) = (tool("redis-cli"), tool("redis-benchmark")) else { return };
    let server = Server::start("redis", &["127.0.0.1:0"]);
    let port = server.address.port().to_string();
    let run = |program, args: &[&str]| {
        let output = Command::new(program).args(["-p", &port]).args(args).output().expect("it starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (words, answer) in
        [(&["SET", "colour", "green"][..], "OK\n"), (&["GET", "colour"], "green\n"), (&["DEL", "colour"], "1\n")]
    {
        assert_eq!(run(&cli, words), answer, "redis-cli shows the answer to {words:?}");
    }
    for pipeline in ["1", "16"] {
        let said = run(&benchmark, &["-t", "set,get,incr", "-n", "2000", "-P", pipeline, "-c", "10", "--csv"]);
        for test in ["SET", "GET", "INCR"] {
            assert!(said.contains(&format!("\"{test}\",")), "redis-benchmark ends its {test}: {said}");
        }
        println!("measured: {pipeline} at once: {}", said.lines().skip(1).collect::<Vec<_>>().join(" "));
    }
}
