//! The filter, which sees a client before it counts.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

#[cfg(feature = "channel")]
use landline::net::ServerEvent;
use landline::net::{Server, ServerOptions, Socket, WhenFull};
use landline::{Address, BlockList, RefusedBy, Report};

use crate::support::clients::{are_queued, client, is_turned_away, stop};
use crate::support::fixtures::Served;
use crate::support::{HANG, descriptors, differs, each_ip, eventually, in_child, threads, within};

const HELLO: &[u8] = b"hello";

fn hello(socket: &Socket) -> io::Result<()> {
    socket.write_end(HELLO)
}

/// Whether the client is served; otherwise it sees the end or a reset alone.
#[track_caller]
fn is_served(mut client: &TcpStream) -> bool {
    let mut all = Vec::new();
    match client.read_to_end(&mut all) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("the connection ends: {error}"),
        _ => {}
    }
    // A channel keeps a connection until both sides have ended.
    let _ = client.shutdown(Shutdown::Write);
    assert!(all.is_empty() || all == HELLO, "nothing but the handler's answer arrives: {all:?}");
    !all.is_empty()
}

fn own(client: &TcpStream) -> Address {
    client.local_addr().expect("it is connected").into()
}

fn everybody() -> BlockList {
    let list = BlockList::new();
    list.add_cidrs(&["127.0.0.0/8", "::1/128"]).expect("they are subnets");
    list
}

/// A filter that says which clients it is called about, and gives the same answer about all.
fn noting(lets_in: bool) -> (impl Fn(&Address) -> bool + Send + Sync + 'static, Receiver<Address>) {
    let (tell, told) = mpsc::channel();
    let filter = move |client: &Address| {
        tell.send(client.clone()).expect("the test waits");
        lets_in
    };
    (filter, told)
}

/// A filter that keeps its first client until it is released, with an answer, and lets all others in.
struct Slow {
    entered: Receiver<()>,
    answer: Sender<bool>,
}

fn slow() -> (impl Fn(&Address) -> bool + Send + Sync + 'static, Slow) {
    let (enter, entered) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let (is_first, answered) = (AtomicBool::new(true), Mutex::new(answered));
    let filter = move |_: &Address| {
        if !is_first.swap(false, SeqCst) {
            return true;
        }
        enter.send(()).expect("the test waits");
        answered.lock().expect("no test panics with it").recv_timeout(HANG).expect("the test answers")
    };
    (filter, Slow { entered, answer })
}

impl Slow {
    /// Returns once the first client is in the filter.
    fn wait(&self) {
        self.entered.recv_timeout(HANG).expect("the first client is asked about");
    }

    fn release(&self, lets_in: bool) {
        self.answer.send(lets_in).expect("the filter waits");
    }
}

/// Ensures that a client which the filter refuses sees its end and no goodbye, takes no slot, and is counted and
/// reported as filtered, and by the report alone; and that the filter is called once for each client, with its
/// address.
#[test]
fn a_client_that_the_filter_refuses_only_sees_the_end() {
    each_ip(|place| {
        let lets_in = Arc::new(AtomicBool::new(false));
        let ((seen, calls), (tell, told), (hear, heard)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let answer = Arc::clone(&lets_in);
        let options = ServerOptions::new().when_full(WhenFull::RefuseWith("goodbye".into()));
        let options = options.filter(move |client| {
            seen.send(client.clone()).expect("the test waits");
            answer.load(SeqCst)
        });
        let options = options.report(move |report| {
            let _ = tell.send(report.clone());
        });
        let server = options.listen(place).expect("port 0 can be listened on");
        let on = server.on().connection(hello).refused(move |client| hear.send(client.by).expect("the test waits"));
        let serving = on.spawn().expect("a thread can be started");

        let refused = client(server.address());
        assert!(!is_served(&refused), "a client that is refused sees nothing but the end");
        let first = told.recv_timeout(HANG).expect("it is reported");
        let Report::Refused { local, remote, by, .. } = first else { panic!("no other report: {first:?}") };
        assert_eq!(by, RefusedBy::Filtered, "it is reported as filtered");
        assert_eq!((&remote, &local), (&own(&refused), server.address()), "with both addresses");
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.peak), (0, 0), "it was never a connection");
        assert_eq!((stats.refused(RefusedBy::Filtered), stats.refused_total()), (1, 1), "it is counted as filtered");

        lets_in.store(true, SeqCst);
        let served = client(server.address());
        assert!(is_served(&served), "a client that is let in is served");
        server.set_max_connections(0);
        let full = client(server.address());
        assert_eq!(io::read_to_string(&full).expect("it ends in order"), "goodbye", "the limit comes after the filter");
        stop(&server, serving);
        let clients = [&refused, &served, &full].map(own);
        assert_eq!(
            calls.try_iter().collect::<Vec<_>>(),
            clients,
            "the filter is called once for each, with its address"
        );
        assert_eq!(
            heard.try_iter().collect::<Vec<_>>(),
            [RefusedBy::Full],
            "`refused` is not called for a filtered one"
        );
        assert_eq!(RefusedBy::Filtered.to_string(), "filtered", "so it stands in a log");
    });
}

/// Ensures that no event of a channel is about a client which the filter refuses.
#[cfg(feature = "channel")]
#[test]
fn a_channel_has_no_event_of_a_client_that_the_filter_refuses() {
    each_ip(|place| {
        let options = ServerOptions::new().filter(|_| false);
        let server = options.listen(place).expect("port 0 can be listened on");
        let events = server.events(8).expect("a thread can be started");
        assert!(is_turned_away(&client(server.address())), "it is refused");
        eventually("it is counted", || server.stats().refused(RefusedBy::Filtered) == 1);
        server.close();
        assert!(matches!(events.recv_timeout(HANG), Ok(ServerEvent::Close)), "the close is the first event");
    });
}

/// Ensures that the filter is not called for clients on the block list, and is called before the limits are asked, of
/// the server and of an address.
#[test]
fn the_filter_comes_after_the_block_list_and_before_the_limits() {
    each_ip(|place| {
        let rows = [
            (ServerOptions::new().block_list(&everybody()), RefusedBy::Blocked, 0),
            (ServerOptions::new().max_connections(0), RefusedBy::Full, 1),
            (ServerOptions::new().max_connections_per_address(0), RefusedBy::PerAddress, 1),
        ];
        for (options, by, times) in rows {
            let (filter, calls) = noting(true);
            let served = Served::start(place, &options.filter(filter), hello);
            assert!(is_turned_away(&client(served.server.address())), "{by}");
            eventually("it is counted", || served.server.stats().refused(by) == 1);
            served.stop();
            assert_eq!(calls.try_iter().count(), times, "{by}: so often the filter is called");
        }
    });
}

/// A way to serve, on so many threads, until the server is closed.
type Way = (&'static str, usize, fn(&Server) -> io::Result<()>);

const WAYS: &[Way] = &[
    ("serve", 1, |server| server.serve(hello)),
    #[cfg(feature = "channel")]
    ("events", 1, |server| {
        for event in &server.events(8)? {
            if let ServerEvent::Connection(socket) = event {
                socket.outbox().try_send(HELLO)?;
                socket.outbox().end()?;
            }
        }
        Ok(())
    }),
    ("accept", 2, |server| serve_by(|| server.accept())),
    ("accept_timeout", 2, |server| serve_by(|| server.accept_timeout(Duration::from_secs(1)))),
    ("try_accept", 2, |server| {
        serve_by(|| {
            // Not a bound: the pace of the calls.
            thread::park_timeout(Duration::from_millis(1));
            server.try_accept()
        })
    }),
];

/// Serves what `accept` gives, one client after the other.
fn serve_by(accept: impl Fn() -> io::Result<Option<Socket>>) -> io::Result<()> {
    loop {
        match accept() {
            Ok(Some(socket)) => hello(&socket)?,
            Ok(None) => return Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serves in that way until what this gives is joined, after the server was closed.
fn serve_in(way: Way, server: &Server) -> Vec<JoinHandle<io::Result<()>>> {
    let start = |_| {
        let server = server.clone();
        thread::spawn(move || way.2(&server))
    };
    (0..way.1).map(start).collect()
}

#[track_caller]
fn join(serving: Vec<JoinHandle<io::Result<()>>>) {
    for thread in serving {
        within("serving ends", || thread.join()).expect("it does not panic").expect("it ends without an error");
    }
}

/// Ensures that a client in a filter that blocks holds neither a slot nor anything that other threads need to accept:
/// with a limit of one another client is served while it runs, and the server can be closed; also where clients wait for
/// a slot.
#[test]
fn a_client_in_the_filter_holds_no_slot_and_no_other_thread_up() {
    for &way in WAYS {
        for when_full in [WhenFull::Refuse, WhenFull::Wait] {
            each_ip(|place| {
                let what = format!("{} with {when_full:?}, {place}", way.0);
                let (filter, slow) = slow();
                let options = ServerOptions::new().max_connections(1).when_full(when_full.clone()).filter(filter);
                let server = options.listen(place).expect("port 0 can be listened on");
                let serving = serve_in(way, &server);
                let held = client(server.address());
                slow.wait();
                assert_eq!(server.connections(), 0, "{what}: a client in the filter has no slot");
                assert_eq!(server.stats().in_hooks, 1, "{what}: its thread counts as being in a callback");
                for _ in 0..3 {
                    assert!(is_served(&client(server.address())), "{what}: another client is served while it runs");
                    eventually("its slot is free", || server.connections() == 0);
                }
                let closing = server.clone();
                within("close() does not wait for the filter", move || closing.close());
                slow.release(true);
                assert!(!is_served(&held), "{what}: a client that is let in after the close is refused");
                join(serving);
                let stats = server.stats();
                assert_eq!((stats.accepted, stats.refused_total()), (3, 1), "{what}: each client counts once");
                assert_eq!(stats.refused(RefusedBy::Closing), 1, "{what}: since the server is closing");
                assert_eq!((stats.in_hooks, server.connections()), (0, 0), "{what}: nothing is left");
            });
        }
    }
}

/// Ensures that a client which the filter lets in after the close is served where it was accepted on an adopted listener,
/// since no other process could be given it, and behind a load balancer, since it has its slot.
#[test]
fn a_client_of_an_adopted_listener_or_a_load_balancer_is_served_though_the_server_was_closed_meanwhile() {
    each_ip(|place| {
        for is_behind in [false, true] {
            let (filter, slow) = slow();
            let server = if is_behind {
                behind().filter(filter).listen(place)
            } else {
                let listener = TcpListener::bind(place).expect("port 0 can be listened on");
                ServerOptions::new().filter(filter).adopt(listener)
            };
            let server = server.expect("it listens");
            let serving = server.spawn(hello).expect("a thread can be started");
            let mut held = client(server.address());
            if is_behind {
                held.write_all(header("192.0.2.7").as_bytes()).expect("it is connected");
            }
            slow.wait();
            let closing = server.clone();
            within("close() does not wait for the filter", move || closing.close());
            slow.release(true);
            assert!(is_served(&held), "it was accepted before the close, behind a load balancer: {is_behind}");
            stop(&server, serving);
        }
    });
}

/// Ensures that where clients wait for a slot, one that is in the filter while another takes the last slot waits for
/// the next, and is asked about once.
#[test]
fn a_client_that_finds_no_slot_after_the_filter_waits_for_one() {
    for &way in WAYS {
        each_ip(|place| {
            let what = format!("{}, {place}", way.0);
            let (slow_filter, slow) = slow();
            let calls = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&calls);
            let options = ServerOptions::new().max_connections(1).when_full(WhenFull::Wait).filter(move |client| {
                counted.fetch_add(1, SeqCst);
                slow_filter(client)
            });
            let server = options.listen(place).expect("port 0 can be listened on");
            let serving = serve_in(way, &server);
            let held = client(server.address());
            slow.wait();
            server.set_max_connections(0);
            slow.release(true);
            eventually("the filter is over", || server.stats().in_hooks == 0);
            assert_eq!(server.stats().refused_total(), 0, "{what}: the client waits");
            server.set_max_connections(1);
            assert!(is_served(&held), "{what}: it is served when a slot is free");
            server.close();
            join(serving);
            assert_eq!(calls.load(SeqCst), 1, "{what}: the filter is called once");
        });
    }
}

/// Ensures that a client which is kept for the next call, since its caller's time was over before there was a slot,
/// is asked about once, whether a caller or a handler gets it at last.
#[test]
fn a_client_that_is_kept_for_the_next_call_is_asked_about_once() {
    type Accept = fn(&Server) -> io::Result<Option<Socket>>;
    let accepts: [Accept; 2] =
        [|server| server.try_accept(), |server| server.accept_timeout(Duration::from_millis(20))];
    for (accept, is_served_at_last) in accepts.into_iter().flat_map(|accept| [(accept, false), (accept, true)]) {
        each_ip(|place| {
            let (calls, inside) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::<Server>::new()));
            let (counted, limited) = (Arc::clone(&calls), Arc::clone(&inside));
            let options = ServerOptions::new().max_connections(1).when_full(WhenFull::Wait).filter(move |_| {
                counted.fetch_add(1, SeqCst);
                limited.get().expect("it listens").set_max_connections(0);
                true
            });
            let server = options.listen(place).expect("port 0 can be listened on");
            inside.set(server.clone()).expect("it is set once");
            let one = client(server.address());
            eventually("the client is asked about", || {
                accept(&server).expect_err("there is no slot");
                calls.load(SeqCst) == 1
            });
            accept(&server).expect_err("there is still no slot");
            server.set_max_connections(1);
            if is_served_at_last {
                let serving = server.spawn(hello).expect("a thread can be started");
                assert!(is_served(&one), "the handler gets it");
                stop(&server, serving);
            } else {
                let socket = accept(&server).expect("a slot is free").expect("the server is open");
                assert_eq!(*socket.remote_address(), own(&one), "the next call gives it");
            }
            server.close();
            assert_eq!(calls.load(SeqCst), 1, "the filter is called once");
            assert_eq!(server.stats().refused_total(), 0, "it is not refused");
        });
    }
}

/// What a load balancer sends first, about a client.
fn header(client: &str) -> String {
    format!("PROXY {} {client} {client} 1000 443\r\n", if client.contains(':') { "TCP6" } else { "TCP4" })
}

/// Options of a server behind load balancers on this machine, which may be as slow as the machine is.
fn behind() -> ServerOptions {
    ServerOptions::new().proxy_protocol(&everybody()).proxy_timeout(None)
}

/// Ensures that behind a load balancer the filter is called once, with the client's address, when the header is
/// complete, while the connection has its slot; whichever way the client is accepted, also if it is kept for the next
/// call while it runs.
#[test]
fn behind_a_load_balancer_the_filter_sees_the_clients_own_address() {
    for &way in WAYS {
        each_ip(|place| {
            let what = format!("{}, {place}", way.0);
            let (tell, calls) = mpsc::channel();
            let inside = Arc::new(OnceLock::<Server>::new());
            let server = Arc::clone(&inside);
            let options = behind().max_connections(1).filter(move |client| {
                let slots = server.get().expect("it listens").connections();
                tell.send((client.to_string(), slots)).expect("the test waits");
                true
            });
            let server = options.listen(place).expect("port 0 can be listened on");
            inside.set(server.clone()).expect("it is set once");
            let serving = serve_in(way, &server);
            for (ip, address) in [("192.0.2.7", "192.0.2.7:1000"), ("2001:db8::7", "[2001:db8::7]:1000")] {
                let header = header(ip);
                let (half, rest) = header.split_at(15);
                let mut one = client(server.address());
                one.write_all(half.as_bytes()).expect("it is connected");
                eventually("it has its slot", || server.connections() == 1);
                assert!(calls.try_recv().is_err(), "{what}: not before the header is complete");
                one.write_all(rest.as_bytes()).expect("it is connected");
                let call = calls.recv_timeout(HANG).expect("the filter is called");
                assert_eq!(call, (address.to_owned(), 1), "{what}: with the client's address, while it has its slot");
                assert!(is_served(&one), "{what}: it is served");
                eventually("its slot is free", || server.connections() == 0);
            }
            server.close();
            join(serving);
            assert!(calls.try_recv().is_err(), "{what}: once for each client");
        });
    }
}

/// Ensures that a client behind a load balancer which the filter refuses gives its slot back, and is reported by its
/// own address; that one on the block list is not asked about; nor is a load balancer that names no client.
#[test]
fn behind_a_load_balancer_a_client_is_refused_by_its_own_address() {
    each_ip(|place| {
        let (filter, calls) = noting(false);
        let (tell, told) = mpsc::channel();
        let blocked = BlockList::new();
        blocked.add_cidr("198.51.100.0/24").expect("it is a subnet");
        let options = behind().block_list(&blocked).filter(filter).report(move |report| {
            if let Report::Refused { remote, by, .. } = report {
                tell.send((remote.to_string(), *by)).expect("the test waits");
            }
        });
        let served = Served::start(place, &options, hello);
        let send = |bytes: &[u8]| {
            let mut one = client(served.server.address());
            one.write_all(bytes).expect("it is connected");
            is_served(&one)
        };
        assert!(!send(header("192.0.2.7").as_bytes()), "it is refused");
        assert_eq!(
            told.recv_timeout(HANG),
            Ok(("192.0.2.7:1000".to_owned(), RefusedBy::Filtered)),
            "by its own address"
        );
        assert!(!send(header("198.51.100.7").as_bytes()), "it is on the block list");
        assert_eq!(told.recv_timeout(HANG), Ok(("198.51.100.7:1000".to_owned(), RefusedBy::Blocked)), "by the list");
        assert!(send(b"PROXY UNKNOWN\r\n"), "a load balancer that names no client is served");
        assert_eq!(calls.try_iter().map(|client| client.to_string()).collect::<Vec<_>>(), ["192.0.2.7:1000"]);
        eventually("the slots are free", || served.server.connections() == 0);
        served.stop();
    });
}

/// Ensures that a panic in the filter refuses its client as filtered, and leaves no thread, descriptor, slot or lock
/// behind.
#[test]
fn a_panic_in_the_filter_refuses_the_client_and_leaves_nothing() {
    in_child(this_test!(), &[], || {
        let before = (threads(), descriptors());
        for &way in WAYS {
            for options in [ServerOptions::new(), ServerOptions::new().when_full(WhenFull::Wait), behind()] {
                each_ip(|place| {
                    let is_behind = format!("{options:?}").contains("trusted: Some");
                    let is_first = AtomicBool::new(true);
                    let (tell, told) = mpsc::channel();
                    let options = options.clone().max_connections(1).filter(move |_| {
                        assert!(!is_first.swap(false, SeqCst), "the filter is to panic");
                        true
                    });
                    let options = options.report(move |report| {
                        if let Report::Refused { by, .. } = report {
                            tell.send(*by).expect("the test waits");
                        }
                    });
                    let server = options.listen(place).expect("port 0 can be listened on");
                    let serving = serve_in(way, &server);
                    for n in 0..3 {
                        let mut one = client(server.address());
                        if is_behind {
                            one.write_all(header("192.0.2.7").as_bytes()).expect("it is connected");
                        }
                        assert_eq!(is_served(&one), n > 0, "{}: the first is refused, and no other", way.0);
                        eventually("its slot is free", || server.connections() == 0);
                    }
                    server.close();
                    join(serving);
                    assert_eq!(told.try_iter().collect::<Vec<_>>(), [RefusedBy::Filtered], "it is reported");
                    let stats = server.stats();
                    assert_eq!((stats.accepted, stats.refused(RefusedBy::Filtered)), (3 - 1, 1), "and counted");
                    assert_eq!((stats.in_hooks, stats.panicked), (0, 0), "it is no panic of a handler");
                });
            }
        }
        eventually("no thread and no descriptor is left", || (threads(), descriptors()) == before);
    });
}

/// Ensures that filters that block have at most sixteen threads beyond the limit; that it is then reported, once, that
/// accepting is held up; and that it goes on when they return.
#[test]
fn filters_that_block_have_at_most_sixteen_threads_beyond_the_limit() {
    each_ip(|place| {
        const LIMIT: usize = 2;
        let (release, released) = mpsc::channel::<()>();
        let (released, held_up) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&held_up);
        let options = ServerOptions::new().max_connections(LIMIT).filter(move |_| {
            // Disconnected when all are to return.
            let _ = released.lock().expect("it does not panic").recv_timeout(HANG);
            false
        });
        let options = options.report(move |report| {
            counted.fetch_add(usize::from(matches!(report, Report::AcceptHeldUp { .. })), SeqCst);
        });
        let served = Served::start(place, &options, hello);
        let server = &served.server;
        let clients: Vec<_> = (0..LIMIT + 20).map(|_| client(server.address())).collect();
        eventually("all threads that there may be are in filters", || server.stats().in_hooks == (LIMIT + 16) as u64);
        eventually("it is reported", || held_up.load(SeqCst) == 1);
        are_queued(server, 4);
        assert_eq!(server.queued().unwrap_or(4), 4, "the other clients wait in the backlog");
        drop(release);
        assert!(clients.iter().all(is_turned_away), "each client is asked about");
        assert_eq!(held_up.load(SeqCst), 1, "it is reported once");
        eventually("all are counted", || server.stats().refused(RefusedBy::Filtered) == clients.len() as u64);
        served.stop();
    });
}

/// Ensures that `shutdown` waits for a filter as long as its time is, and counts it as still running then; and that
/// the server is over when the filter has returned.
#[test]
fn a_filter_that_outlasts_a_shutdown_is_still_running() {
    for options in [ServerOptions::new(), behind()] {
        each_ip(|place| {
            let is_behind = format!("{options:?}").contains("trusted: Some");
            let (filter, slow) = slow();
            let served = Served::start(place, &options.clone().filter(filter), hello);
            let mut held = client(served.server.address());
            if is_behind {
                held.write_all(header("192.0.2.7").as_bytes()).expect("it is connected");
            }
            slow.wait();
            let ending = served.server.clone();
            let report = within("shutdown returns", move || ending.shutdown(Duration::ZERO));
            assert_eq!((report.finished, report.forced, report.still_running), (0, 0, 1), "the filter runs");
            assert!(!served.server.wait_timeout(Duration::ZERO).expect("it is called from outside"), "it is not over");
            slow.release(false);
            assert!(is_turned_away(&held), "its client is refused");
            served.stop();
        });
    }
}

/// Ensures that the filter may wait for other servers: here it accepts a client of another one, by whose word it
/// decides.
#[test]
fn the_filter_may_accept_clients_of_another_server() {
    each_ip(|place| {
        let judge = Server::listen(place).expect("port 0 can be listened on");
        let asked = judge.clone();
        let options = ServerOptions::new().filter(move |_| {
            let word = asked.accept().and_then(|judge| {
                let mut word = [0];
                judge.expect("the other server is open").read_exact(&mut word).map(|()| word)
            });
            word.expect("the other server's client says it") == *b"y"
        });
        let served = Served::start(place, &options, hello);
        for (word, expected) in [(b"y", true), (b"n", false)] {
            let one = client(served.server.address());
            client(judge.address()).write_all(word).expect("it is connected");
            assert_eq!(is_served(&one), expected, "as the other server's client says");
        }
        served.stop();
    });
}

/// Ensures that clients in the backlog, which a closing server answers, are refused since it is closing, without
/// being asked about: no code of the program's runs before the listener is gone.
#[test]
fn clients_in_the_backlog_of_a_closing_server_are_not_asked_about() {
    each_ip(|place| {
        let (filter, calls) = noting(false);
        let options = ServerOptions::new().answer_queued(true).filter(filter);
        let server = options.listen(place).expect("port 0 can be listened on");
        let clients: Vec<_> = (0..3).map(|_| client(server.address())).collect();
        are_queued(&server, 3);
        server.close();
        assert!(clients.iter().all(is_turned_away), "each is refused");
        assert_eq!(server.stats().refused(RefusedBy::Closing), 3, "since the server is closing");
        assert_eq!(calls.try_iter().count(), 0, "the filter is not called");
    });
}

/// Ensures that the filter sees the path of a client of a Unix socket, which is empty where the client has none.
#[cfg(unix)]
#[test]
fn the_filter_sees_the_path_of_a_client_of_a_unix_socket() {
    use landline::net::SocketOptions;

    let folder = crate::support::Folder::new();
    let (at, from) = (folder.file("server"), folder.file("client"));
    let (filter, calls) = noting(true);
    let served = Served::start(at.as_path(), &ServerOptions::new().filter(filter), hello);
    for options in [SocketOptions::new(), SocketOptions::new().local_path(&from)] {
        let socket = options.connect(at.as_path()).expect("the server listens");
        assert_eq!(io::read_to_string(&socket).expect("it ends in order").as_bytes(), HELLO, "it is served");
    }
    served.stop();
    let paths: Vec<_> = calls.try_iter().map(|client| client.path().map(|path| path.to_owned())).collect();
    assert_eq!(paths[..2], [Some(Default::default()), Some(from)], "the filter sees the client's path");
    if !differs("the calls by which `close` wakes threads have no name, and are taken for clients") {
        assert_eq!(paths.len(), 2, "and no call of the server's own");
    }
}
