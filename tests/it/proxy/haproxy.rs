//! Behind HAProxy: it tells whose each connection is, looks whether servers are well, and tries another one when one is
//! gone. Each test has a network of its own, where that is permitted: no other program gets its ports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use landline::Report;
use landline::net::Socket;

use crate::header::behind;
use crate::support::Whole;
use crate::support::fixtures::{Served, port_of_no_client};
use crate::support::process::{Program, Server};
use crate::support::{Folder, HANG, eventually, in_child, tool};

/// A HAProxy with a configuration of its own, stopped with the test.
struct HaProxy {
    _program: Program,
    /// Removed after the program has ended.
    _folder: Folder,
}

impl HaProxy {
    /// Starts it with what every configuration here begins with, and waits until it answers. `None` if this machine has none.
    fn start(config: &str) -> Option<HaProxy> {
        let haproxy = tool("haproxy")?;
        let folder = Folder::new();
        let file = folder.file("haproxy.cfg");
        // With `noreuseport`, since two HAProxies share a port by default, and the clients are divided between them.
        // It binds all its ports before it answers on one. None of the tests' own is tried: that would be a client.
        let ready = port_of_no_client();
        let common = format!(
            "global\n    max-spread-checks 10ms\n    noreuseport\ndefaults\n    mode tcp\n    timeout connect 1h\n    \
             timeout check 1h\n    timeout client 1h\n    timeout server 1h\nfrontend ready\n    bind 127.0.0.1:{ready}\n    \
             tcp-request connection reject\n"
        );
        fs::write(&file, format!("{common}{config}")).expect("it can be written");
        let program = Program::start(haproxy, &["-db", "-f", &file.to_string_lossy()]);
        let this = HaProxy { _program: program, _folder: folder };
        eventually("HAProxy listens", || {
            // It closes what it accepts.
            TcpStream::connect(("127.0.0.1", ready)).is_ok_and(|mut stream| {
                stream.set_read_timeout(Some(HANG)).expect("a read timeout can be set");
                !stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            })
        });
        Some(this)
    }
}

fn answer(socket: &Socket) -> io::Result<()> {
    let said = socket.read_text()?;
    let proxy = socket.proxy_address().is_some();
    socket.write_end(format!("{} to {}, passed on: {proxy}, {said}", socket.remote_address(), socket.local_address()))
}

/// Ensures that a server sees the client behind HAProxy, and not HAProxy: by version 1, version 2, and version 2 with a
/// checksum and more, over IPv4, IPv6 and IPv4 on a listener for both.
#[test]
fn the_client_is_seen_behind_haproxy() {
    in_child(this_test!(), &[], || {
        let ways = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"];
        let (reports, reported) = mpsc::channel();
        let options = behind().report(move |report| {
            if let Report::Accepted { .. } | Report::Refused { .. } | Report::Failed { .. } = report {
                reports.send(report.to_string()).expect("the test waits");
            }
        });
        let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        for way in ways {
            let served = Served::start("127.0.0.1:0", &options, answer);
            let (v4, both) = (port_of_no_client(), port_of_no_client());
            let bind = if has_v6 { format!("    bind [::]:{both} v4v6\n") } else { String::new() };
            let config =
                format!("listen l\n    bind 127.0.0.1:{v4}\n{bind}    server s {} {way}\n", served.server.address());
            let Some(_haproxy) = HaProxy::start(&config) else {
                return served.stop();
            };
            let mut targets = vec![SocketAddr::from(([127, 0, 0, 1], v4))];
            if has_v6 {
                targets.push(([127, 0, 0, 1], both).into());
                targets.push((std::net::Ipv6Addr::LOCALHOST, both).into());
            }
            for target in targets {
                let client = Socket::connect(target).expect("HAProxy listens");
                client.set_deadline(Instant::now() + HANG);
                client.write_end("PROXY TCP4 is what the client says").expect("it is connected");
                let said = client.read_text().expect("it is answered");
                let ends = (client.local_address(), client.remote_address());
                let expected = format!("{} to {}, passed on: true, PROXY TCP4 is what the client says", ends.0, ends.1);
                assert_eq!(said, expected, "{way}, over {target}");
                let accepted = format!(" {} -> {} accepted, ", ends.0, ends.1);
                eventually("its report names the client", || {
                    reported.try_iter().any(|report| report.contains(&accepted))
                });
            }
            assert_eq!(served.server.stats().refused_total(), 0, "{way}: no header of HAProxy's is refused");
            served.stop();
        }
    });
}

/// Ensures that HAProxy's own checks are let in, as connections of its own, and that it takes the server for well.
#[test]
fn haproxys_checks_are_let_in() {
    in_child(this_test!(), &[], || {
        for way in ["send-proxy", "send-proxy-v2"] {
            let (reports, reported) = mpsc::channel();
            let options = behind().report(move |report| {
                if let Report::Refused { .. } = report {
                    reports.send(report.to_string()).expect("the test waits");
                }
            });
            let (seen, checks) = mpsc::channel();
            let served = Served::start("127.0.0.1:0", &options, move |socket| {
                let mut lines = socket.buffered()?.lines();
                while let Some(line) = lines.next().transpose()? {
                    socket.write_all("pong\n")?;
                    let is_over = lines.next().is_none_or(|next| next.is_err());
                    let (proxy, remote) = (socket.proxy_address().cloned(), socket.remote_address().clone());
                    seen.send((line, proxy, remote, is_over)).expect("it waits");
                }
                Ok(())
            });
            let port = port_of_no_client();
            let config = format!(
                "listen l\n    bind 127.0.0.1:{port}\n    option tcp-check\n    tcp-check connect send-proxy\n    tcp-check \
             send-lf ping\\n\n    tcp-check expect string pong\n    default-server check inter 1h fall 1 {way}\n    \
             server-template s 1-5 {}\n",
                served.server.address()
            );
            let Some(_haproxy) = HaProxy::start(&config) else {
                return served.stop();
            };
            // Each of five names of the server is checked once. Were one check not answered, or too late for a timer of HAProxy's,
            // that name would be down.
            for _ in 0..5 {
                let (line, proxy, remote, is_over) = checks.recv_timeout(HANG).expect("a check comes, and is answered");
                assert_eq!((line.as_str(), is_over), ("ping", true), "{way}");
                // Version 2 says that the connection is its own; version 1 has addresses for that, which are those of the
                // connection.
                assert!(proxy.is_none_or(|proxy| proxy == remote), "{way}: the check is HAProxy's own");
            }
            // By all five, in turn.
            for _ in 0..5 {
                let client = Socket::connect(("127.0.0.1", port)).expect("HAProxy listens");
                client.set_deadline(Instant::now() + HANG);
                client.write_all("client\n").expect("it is connected");
                let mut pong = [0; 5];
                client.read_exact(&mut pong).expect("a server that is well gets the client");
            }
            assert!(reported.try_iter().next().is_none(), "{way}: nobody is refused");
            drop(_haproxy);
            served.stop();
        }
    });
}

/// One attempt of a client's.
struct Attempt {
    start: Instant,
    took: Duration,
    /// Which server has answered.
    by: io::Result<SocketAddr>,
}

/// Connects, sends a line, and reads the answer, which names the client.
fn attempt(port: u16) -> Attempt {
    let start = Instant::now();
    let by = || -> io::Result<SocketAddr> {
        let client = Socket::connect(("127.0.0.1", port))?;
        client.set_deadline(start + HANG);
        client.write_end("hello\n")?;
        let said = client.read_text()?;
        let mine = format!("{} said \"hello\" to {}, by way of ", client.local_address(), client.remote_address());
        let by = said.strip_prefix(&mine).and_then(|rest| rest.trim_end().rsplit_once(", at "));
        let by = by.and_then(|(_, by)| by.parse().ok());
        // An answer that ends early, or names another client, is no answer.
        by.ok_or_else(|| io::Error::other(format!("not an answer: {said:?}")))
    };
    let by = by();
    Attempt { start, took: start.elapsed(), by }
}

/// Ensures that of two servers behind HAProxy one can be killed without a loss: every request that begins after is
/// served by the other one; of those that were under way, none is lost but with the server that was killed. When it is
/// started again, it is given clients again.
#[test]
fn killing_one_of_two_servers_loses_nothing_the_other_could_serve() {
    in_child(this_test!(), &[], || {
        const CLIENTS: usize = 4;
        if tool("haproxy").is_none() {
            return;
        }
        for way in ["send-proxy", "send-proxy-v2"] {
            let start = |at: &str| Server::start("backend", &[at]);
            // A port that is still free when it is wanted again.
            let at = || format!("127.0.0.1:{}", port_of_no_client());
            let (one, two) = (start(&at()), start(&at()));
            let (victim, survivor) = (one.address, two.address);
            let port = port_of_no_client();
            let config = format!(
                "listen l\n    bind 127.0.0.1:{port}\n    balance roundrobin\n    retries 3\n    option redispatch 1\n    \
             default-server check inter 1h fastinter 100ms downinter 100ms fall 2 rise 2 observe layer4 error-limit 1 {way}\n    server one {victim}\n    server two {survivor}\n"
            );
            let haproxy = HaProxy::start(&config).expect("it is on this machine");
            let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
            let (victims_last, victims, survivors) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            let (mut attempts, mut killing, mut killed) = (Vec::new(), Instant::now(), Instant::now());
            let (mut back_after, mut again) = (Duration::ZERO, None);
            thread::scope(|scope| {
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|_| {
                        scope.spawn(|| {
                            let mut all = Vec::new();
                            while !stop.load(SeqCst) {
                                let attempt = attempt(port);
                                let n = done.fetch_add(1, SeqCst) + 1;
                                match attempt.by {
                                    Ok(by) if by == victim => {
                                        victims_last.fetch_max(n, SeqCst);
                                        victims.fetch_add(1, SeqCst);
                                    }
                                    Ok(by) if by == survivor => _ = survivors.fetch_add(1, SeqCst),
                                    _ => {}
                                }
                                all.push(attempt);
                                // Not a bound: not as fast as it goes, since each leaves two ports in TIME_WAIT.
                                thread::park_timeout(Duration::from_millis(4));
                            }
                            all
                        })
                    })
                    .collect();
                let more = |n: u64| {
                    let enough = done.load(SeqCst) + n;
                    eventually("the clients get on", || done.load(SeqCst) >= enough);
                };
                // No check takes a server for down before the kill: each may take an hour, and as long as connects
                // succeed, none but the first is due.
                eventually("both are given clients", || victims.load(SeqCst) >= 50 && survivors.load(SeqCst) >= 50);
                // SIGKILL, and it is over when this has returned. Meanwhile a process that is dying may still take clients.
                killing = Instant::now();
                drop(one);
                killed = Instant::now();
                more(300);
                let (restarted, before) = (Instant::now(), done.load(SeqCst));
                again = Some(start(&victim.to_string()));
                eventually("it is given clients again", || victims_last.load(SeqCst) > before);
                back_after = restarted.elapsed();
                more(100);
                stop.store(true, SeqCst);
                attempts = clients.into_iter().flat_map(|client| client.join().expect("it does not panic")).collect();
            });
            drop(haproxy);
            let (before, after): (Vec<_>, Vec<_>) = attempts
                .iter()
                .filter(|attempt| !(killing..killed).contains(&attempt.start))
                .partition(|attempt| attempt.start < killing);
            let errors = |attempts: &[&Attempt]| -> Vec<String> {
                attempts.iter().filter_map(|attempt| attempt.by.as_ref().err()).map(ToString::to_string).collect()
            };
            let (lost_before, lost_after) = (errors(&before), errors(&after));
            let is_survivors = |attempt: &&&Attempt| attempt.by.as_ref().is_ok_and(|by| *by == survivor);
            let slowest = after.iter().map(|attempt| attempt.took).max().unwrap_or_default();
            println!(
                "measured: {way}: {} requests before the kill, {} of them lost with the server; {} after it, {} lost, the \
             slowest {slowest:.1?}; the server has clients again {back_after:.1?} after its start",
                before.len(),
                lost_before.len(),
                after.len(),
                lost_after.len()
            );
            assert!(lost_before.len() <= CLIENTS, "only what was under way with the victim is lost: {lost_before:?}");
            assert!(lost_after.is_empty(), "nothing is lost that the other server could serve: {lost_after:?}");
            assert!(after.iter().filter(is_survivors).count() >= 300, "and it has served it");
            drop((again, two));
        }
    });
}

/// Ensures that the example's header holds the configuration it was tried with: HAProxy takes it, and passes clients
/// on.
#[test]
fn the_configuration_in_the_examples_header_works() {
    in_child(this_test!(), &[], || {
        let source =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/backend.rs")).expect("it is there");
        let mut blocks = source.split("//! ```text\n").skip(1).filter_map(|rest| rest.split("//! ```").next());
        let code = blocks.find(|block| block.contains("send-proxy")).expect("a block is the configuration");
        let mut config: String = code
            .lines()
            .map(|line| format!("{}\n", line.strip_prefix("//!").unwrap_or(line).trim_start_matches(' ')))
            .collect();
        let (one, two) = (Server::start("backend", &["127.0.0.1:0"]), Server::start("backend", &["127.0.0.1:0"]));
        let port = port_of_no_client();
        for (written, real) in [
            ("127.0.0.1:3000", format!("127.0.0.1:{port}")),
            ("127.0.0.1:4001", one.address.to_string()),
            ("127.0.0.1:4002", two.address.to_string()),
        ] {
            assert!(config.contains(written), "the header names {written}");
            config = config.replace(written, &real);
        }
        // Sections are told by their words, so the indents do not matter.
        let Some(_haproxy) = HaProxy::start(&config) else {
            return;
        };
        let mut seen = Vec::new();
        for _ in 0..4 {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("HAProxy listens");
            stream.set_read_timeout(Some(HANG)).expect("a read timeout can be set");
            (&stream).write_all(b"hello\n").expect("it is connected");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("it is answered");
            let own = stream.local_addr().expect("it is connected");
            assert!(
                line.starts_with(&format!("{own} said \"hello\" to 127.0.0.1:{port}, by way of 127.0.0.1:")),
                "{line}"
            );
            seen.push(line.trim_end().rsplit(' ').next().map(String::from));
        }
        assert!(
            seen.contains(&Some(one.address.to_string())) && seen.contains(&Some(two.address.to_string())),
            "{seen:?}"
        );
    });
}
