//! The example `states` shows what the kernel does, and lesson 4 shows what it shows.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use crate::lessons::built;
use crate::support::fixtures::port_of_no_client;
use crate::support::pages::{blocks, read};
use crate::support::process::{Program, example, run};
use crate::support::{each_ip, has_proc, in_child};

/// Starts `states` and waits until it watches.
fn watch(port: u16) -> Program {
    let states = Program::start(example("states"), &[&port.to_string()]);
    assert_eq!(states.line(), format!("watching port {port}"));
    states
}

/// Reads on until each of these ends was shown to have reached this state, in whatever order.
fn shown(states: &Program, wanted: &[(&str, &str)]) {
    let mut wanted = wanted.to_vec();
    while !wanted.is_empty() {
        let line = states.line();
        let is = |end, state| line.starts_with(&format!("{end}: ")) && line.ends_with(&format!(" {state}"));
        wanted.retain(|(end, state)| !is(*end, *state));
    }
}

/// Ensures that each state of a connection is shown at both ends as it is reached, over both families.
#[test]
fn every_state_that_lasts_is_shown() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        let mut at: SocketAddr = at.parse().expect("an address");
        at.set_port(port_of_no_client());
        let states = watch(at.port());
        let listener = TcpListener::bind(at).expect("the port is free");
        shown(&states, &[(&format!("listener {at}"), "LISTEN")]);
        let connected = || {
            let client = TcpStream::connect(at).expect("somebody listens");
            let (server, own) = listener.accept().expect("the client is there");
            let ends = (format!("client {own}"), format!("server for {own}"));
            shown(&states, &[(&ends.0, "ESTABLISHED"), (&ends.1, "ESTABLISHED")]);
            (client, server, ends)
        };

        let (client, mut server, ends) = connected();
        client.shutdown(Shutdown::Write).expect("it is connected");
        shown(&states, &[(&ends.0, "FIN_WAIT2"), (&ends.1, "CLOSE_WAIT")]);
        server.write_all(b"late").expect("one direction is open");
        drop(server);
        shown(&states, &[(&ends.0, "TIME_WAIT"), (&ends.1, "gone")]);

        let (client, server, ends) = connected();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("it is a socket");
        drop(client);
        shown(&states, &[(&ends.0, "gone"), (&ends.1, "gone")]);
        drop((server, listener));
    });
}

/// What became of each end, without what is over too soon to be seen each time, and without the ports.
fn courses(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    const SHORT: [&str; 6] = ["SYN_SENT", "SYN_RECV", "FIN_WAIT1", "LAST_ACK", "CLOSING", "CLOSE"];
    let (mut courses, mut ports) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::new());
    for line in lines {
        let (end, change) = line.split_once(": ").expect("an end and its state");
        let (end, port) = end.rsplit_once(':').expect("an address ends in a port");
        // Where the system does not wake threads a server calls itself as it closes: later, from other ports.
        if *ports.entry(end).or_insert(port) != port {
            continue;
        }
        let state = change.rsplit(" -> ").next().expect("there is a last part");
        if !SHORT.contains(&state) {
            courses.entry(end.to_owned()).or_default().push(state.to_owned());
        }
    }
    courses
}

/// Ensures that lesson 4 shows what `states` shows while the program of that lesson runs.
#[test]
fn lesson_4_shows_the_states_of_its_own_program() {
    if !has_proc() {
        return;
    }
    // In a network of its own, where no connection of another test is in TIME_WAIT at the same port.
    in_child(this_test!(), &[], || {
        let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lessons/04-who-says-goodbye.md"));
        let block = blocks(&page).into_iter().find(|block| block.text.starts_with("$ cargo run --example states"));
        let session = block.expect("the lesson shows a session with `states`").text;
        let expected: Vec<String> = session.lines().skip(2).map(str::to_owned).collect();

        // On a machine that is busy enough, `states` looks too seldom to see each state. What it sees is in the lesson, in the
        // lesson's order, in every run, and in all runs together it is all of it. Runs are counted, since a run takes as long
        // as the machine is busy.
        let expected = courses(&expected);
        let mut missing = expected.clone();
        let is_all_seen = (0..30).any(|_| {
            let seen = courses(&lines_of_the_program());
            for (end, states) in &seen {
                let mut shown = expected.get(end).into_iter().flatten();
                let is_in_order = states.iter().all(|state| shown.any(|other| other == state));
                assert!(is_in_order, "the lesson shows what {end} goes through: {states:?}");
                missing.entry(end.clone()).or_default().retain(|state| !states.contains(state));
            }
            missing.values().all(Vec::is_empty)
        });
        assert!(is_all_seen, "each state of the lesson is seen in one of 30 runs: {missing:?}");
    });
}

/// What `states` shows while lesson 4's first program runs.
fn lines_of_the_program() -> Vec<String> {
    let port = port_of_no_client();
    let states = watch(port);
    let said = run(built(), &[&format!("127.0.0.1:{port}"), "04_1"], &Arc::from([]));
    assert!(said.status.success(), "{said:?}");
    // Nothing is left now but the client's TIME_WAIT. A listener of ours that begins and ends is a mark: once both are
    // shown, `states` has looked, and what it saw of the program is shown too.
    let mark = format!("listener 127.0.0.2:{port}: ");
    let mut seen = Vec::new();
    let mut read_until = |line: String| {
        while *seen.last().unwrap_or(&String::new()) != line {
            seen.push(states.line());
        }
    };
    let listener = TcpListener::bind(("127.0.0.2", port)).expect("the address is free");
    read_until(format!("{mark}LISTEN"));
    drop(listener);
    read_until(format!("{mark}LISTEN -> gone"));
    seen.retain(|line| !line.starts_with(&mark));
    seen
}

/// Ensures that arguments that make no sense get a usage line.
#[test]
fn it_says_what_it_takes() {
    for args in [&[][..], &["http"], &["70000"]] {
        let said = run(example("states"), args, &Arc::from([]));
        assert_eq!((said.status.code(), said.err.as_str()), (Some(2), "usage: states PORT\n"), "{args:?}");
    }
}
