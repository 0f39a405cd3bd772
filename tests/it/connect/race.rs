//! Connecting: which address, in which order, for how long, and what it says when it fails.
//!
//! An address that never answers, a black hole, is made of a listener whose queue is full: Linux then drops what comes.

// Black holes are made on Linux alone, and so are the tests that need them.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, Socket, SocketOptions};
use landline::{Address, BlockList, Endpoint, Error, Family, Report};
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::support::fixtures::{accept, port_of_no_client};
use crate::support::time::some_round;
use crate::support::{
    HANG, PORTABLE, Told, Whole, blocked, descriptors, differs, each_ip, eventually, has_network_of_its_own, has_proc,
    in_child, in_surroundings, network_of_its_own, threads, tool, within,
};

const STAGGER: Duration = Duration::from_millis(250);

/// A timer that no test waits for.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

/// An address whose attempts are neither answered nor refused.
pub(crate) struct Hole {
    listener: socket2::Socket,
    queued: Vec<TcpStream>,
    pub(crate) at: SocketAddr,
}

impl Hole {
    pub(crate) fn at(at: SocketAddr) -> io::Result<Hole> {
        let listener = socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        listener.set_reuse_address(true)?;
        listener.bind(&SockAddr::from(at))?;
        listener.listen(0)?;
        let at = listener.local_addr()?.as_socket().expect("it is TCP");
        // A queue of 0 has room for one.
        let mut queued = vec![TcpStream::connect_timeout(&at, HANG)?];
        // Not a bound: how long it is looked whether there is more room, which there is not.
        while let Ok(stream) = TcpStream::connect_timeout(&at, ms(10)) {
            queued.push(stream);
            assert!(queued.len() < 64, "a queue of 0 is full soon");
        }
        Ok(Hole { listener, queued, at })
    }

    pub(crate) fn new() -> Hole {
        Hole::at(([127, 0, 0, 1], 0).into()).expect("port 0 can be listened on")
    }
}

fn bound(at: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SockAddr::from(at))?;
    Ok(socket)
}

/// A port that is a black hole on 127.0.0.2 and on 127.0.0.3, and on which 127.0.0.1 listens.
pub(crate) struct Place {
    pub(crate) port: u16,
    _live: TcpListener,
    _holes: [Hole; 2],
}

impl Place {
    pub(crate) fn new() -> Place {
        let make = || -> io::Result<Place> {
            let port = port_of_no_client();
            let live = TcpListener::bind(("127.0.0.1", port))?;
            let hole = |last| Hole::at(([127, 0, 0, last], port).into());
            Ok(Place { port, _live: live, _holes: [hole(2)?, hole(3)?] })
        };
        // The port may be taken on another address.
        let mut tries = 0..20;
        loop {
            match make() {
                Ok(place) => return place,
                Err(error) => assert!(tries.next().is_some(), "one of 20 ports is free on three addresses: {error}"),
            }
        }
    }

    /// Takes what has connected off the queue, on a thread that ends with the place.
    fn accept_all(&self) -> AcceptAll {
        let listener = self._live.try_clone().expect("a listener can be cloned");
        let stop = listener.local_addr().expect("it is bound");
        AcceptAll {
            stop,
            thread: Some(thread::spawn(move || {
                while let Ok((_, from)) = listener.accept() {
                    if from.port() == stop.port() || from.ip() == ip("127.0.0.9") {
                        return;
                    }
                }
            })),
        }
    }
}

struct AcceptAll {
    stop: SocketAddr,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for AcceptAll {
    fn drop(&mut self) {
        let call = bound(([127, 0, 0, 9], 0).into()).expect("every address of 127/8 is this machine's");
        call.connect(&self.stop.into()).expect("the listener is open");
        self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Options whose every name has these addresses.
pub(crate) fn named(addresses: &[&str]) -> SocketOptions {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| ip(text)).collect();
    SocketOptions::new().lookup(move |_, _| Ok(addresses.clone()))
}

/// Runs `call` and says how long it took.
pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = call();
    (result, start.elapsed())
}

/// A port on which every address of this machine, of both families where there are two, refuses.
pub(crate) struct Refusing {
    _bound: socket2::Socket,
    pub(crate) port: u16,
}

impl Refusing {
    pub(crate) fn new() -> Refusing {
        let v6 = SocketAddr::from(([0; 16], 0));
        let socket = socket2::Socket::new(Domain::IPV6, Type::STREAM, None).and_then(|socket| {
            socket.set_only_v6(false)?;
            socket.bind(&v6.into())?;
            Ok(socket)
        });
        let bound = socket.or_else(|_| bound(([0, 0, 0, 0], 0).into())).expect("port 0 can be bound");
        let port = bound.local_addr().ok().and_then(|at| at.as_socket()).expect("it is TCP").port();
        Refusing { _bound: bound, port }
    }
}

/// What a report hook was told, one line each.
#[derive(Clone, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<String>>>);

impl Tape {
    pub(crate) fn hook(&self) -> impl Fn(&Report) + Send + Sync + 'static {
        let tape = self.clone();
        move |report| {
            let line = match report {
                Report::LookedUp { host, addresses, .. } => format!("looked up {host}: {addresses:?}"),
                Report::Attempt { address, .. } => format!("attempt {address}"),
                Report::AttemptFailed { address, error, .. } => format!("failed {address} {}", error.code()),
                Report::AttemptTimedOut { address, .. } => format!("timed out {address}"),
                Report::Connected { connection, .. } => format!("connected {}", connection.remote),
                Report::Failed { error, .. } => format!("error {}", error.code()),
                Report::Ended { .. } => "ended".to_owned(),
                other => format!("{other:?}"),
            };
            tape.0.lock().expect("no hook panics").push(line);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no hook panics").clone()
    }
}

fn texts(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(Address::to_string).collect()
}

// ---- racing

/// Ensures that a first address which never answers costs the stagger, by default 250 ms, and not another one, until
/// the second address is connected.
#[test]
#[cfg(target_os = "linux")]
fn a_black_holed_first_address_costs_one_stagger() {
    let place = Place::new();
    let connect = |options: SocketOptions, stagger: Duration| {
        let (socket, time) = timed(|| options.connect(("name", place.port)));
        let socket = socket.expect("the second address answers");
        assert_eq!(socket.remote_address().ip(), Some(ip("127.0.0.1")), "the one that answers has won");
        let tried = [format!("127.0.0.2:{}", place.port), format!("127.0.0.1:{}", place.port)];
        assert_eq!(texts(socket.attempted_addresses()), tried, "both were tried, in order");
        println!("measured: black hole first, stagger {stagger:?}, connected after {time:?}");
        assert!(time >= stagger, "the second address has to wait for its turn: {time:?} of {stagger:?}");
        time
    };
    let options = named(&["127.0.0.2", "127.0.0.1"]);
    connect(options.clone(), STAGGER);
    some_round("connected within two staggers", ms(50), |stagger| {
        (connect(options.clone().attempt_timeout(stagger), stagger) < stagger * 2).then_some(())
    });
}

/// Ensures that a first address which answers wins at once, without a thread, whatever the others would do.
#[test]
#[cfg(target_os = "linux")]
fn a_live_first_address_wins_at_once_and_without_a_thread() {
    in_child(this_test!(), &[], || {
        let place = Place::new();
        let before = threads();
        let seen = Arc::new(AtomicUsize::new(0));
        let most = seen.clone();
        // With a stagger of an hour, what waits for it hangs.
        let options = named(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]).attempt_timeout(HOUR);
        let options = options.report(move |_| _ = most.fetch_max(threads(), SeqCst));
        for _ in 0..5 {
            let socket = options.connect(("name", place.port)).expect("the first address answers");
            let tried = [format!("127.0.0.1:{}", place.port)];
            assert_eq!(texts(socket.attempted_addresses()), tried, "no other was tried");
        }
        assert_eq!(seen.load(SeqCst), before, "an attempt that is decided within the stagger needs no thread");
    });
}

/// Ensures that an attempt goes on when the next one begins, and may still be the first to succeed.
#[test]
#[cfg(target_os = "linux")]
fn an_attempt_goes_on_while_later_ones_are_made() {
    let (first, second) = (0..20)
        .find_map(|_| {
            let first = Hole::at(([127, 0, 0, 1], port_of_no_client()).into()).ok()?;
            let second = Hole::at(([127, 0, 0, 2], first.at.port()).into()).ok()?;
            Some((first, second))
        })
        .expect("one of 20 ports is free on two addresses");
    let (begun, has_begun) = mpsc::channel();
    let options = named(&["127.0.0.1", "127.0.0.2"]).attempt_timeout(ms(20)).report(move |report| match report {
        Report::Attempt { address, .. } if address.ip() == Some(ip("127.0.0.2")) => _ = begun.send(()),
        _ => {}
    });
    let port = second.at.port();
    let connecting = thread::spawn(move || options.connect(("name", port)));
    has_begun.recv_timeout(HANG).expect("the second attempt begins");
    // Its queue is emptied, so the first address answers when the kernel asks again, after a second.
    for _ in &first.queued {
        first.listener.accept().expect("there is a client in the queue");
    }
    let socket = within("connecting ends", move || connecting.join()).expect("no panic");
    let socket = socket.expect("the first address answers at last");
    assert_eq!(socket.remote_address().ip(), Some(ip("127.0.0.1")), "an attempt is not given up after its turn");
    assert_eq!(socket.attempted_addresses().len(), 2, "the second was tried meanwhile");
    socket.write_all("x").expect("the connection that has won is usable");
}

/// Ensures that with nothing but black holes the error comes at the deadline, not before it and not a stagger later, is
/// `TimedOut` and names each address.
#[test]
#[cfg(target_os = "linux")]
fn black_holes_alone_end_exactly_at_the_deadline() {
    let place = Place::new();
    some_round("the error comes at the deadline", ms(200), |deadline| {
        let stagger = deadline / 2;
        let options = named(&["127.0.0.2", "127.0.0.3"]).attempt_timeout(stagger).connect_timeout(deadline);
        let (result, time) = timed(|| options.connect(("name", place.port)));
        let error = result.expect_err("no address answers");
        assert_eq!(
            (error.kind(), error.told().code()),
            (io::ErrorKind::TimedOut, "ETIMEDOUT"),
            "the deadline is the error"
        );
        println!("measured: deadline {deadline:?}, black holes only: {time:?}");
        assert!(time >= deadline, "not before the deadline: {time:?} of {deadline:?}");
        if error.told().causes().len() < 2 {
            // It was delayed for so long that the deadline came before the second attempt.
            return None;
        }
        let each = format!("127.0.0.2:{0} ETIMEDOUT, 127.0.0.3:{0} ETIMEDOUT", place.port);
        assert_eq!(error.to_string(), format!("connect ETIMEDOUT name:{} ({each})", place.port), "and names each");
        (time < deadline + stagger).then_some(())
    });
}

/// Ensures that one address which never answers ends at the deadline, with the plain error of that address.
#[test]
#[cfg(target_os = "linux")]
fn one_black_hole_ends_at_the_deadline() {
    let hole = Hole::new();
    for options in [SocketOptions::new(), SocketOptions::new().local_address("127.0.0.1")] {
        some_round("it ends at the deadline", ms(100), |deadline| {
            let (result, time) = timed(|| options.clone().connect_timeout(deadline).connect(hole.at));
            let error = result.expect_err("the address does not answer");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "the deadline is over");
            assert_eq!(error.to_string(), format!("connect ETIMEDOUT {}", hole.at), "it names what was waited for");
            assert!(error.told().causes().is_empty(), "a single address is no list");
            println!("measured: deadline {deadline:?}, one black hole: {time:?}");
            assert!(time >= deadline, "not before the deadline: {time:?} of {deadline:?}");
            (time < deadline * 3 / 2).then_some(())
        });
    }
}

/// Ensures that a connect whose time is over before it has tried an address names the first.
#[test]
fn a_time_that_is_over_at_once_names_the_first_address() {
    // Not a bound: the timer that is tested.
    let options = SocketOptions::new().connect_timeout(Duration::from_nanos(1));
    let error = options.connect(9).map(drop).expect_err("no address was tried");
    assert_eq!(error.to_string(), "connect ETIMEDOUT 127.0.0.1:9", "it names an address, although none was tried");
    assert!(error.told().address().is_some(), "it has the address too");
}

/// Ensures that a deadline or a handle that is never used changes nothing.
#[test]
fn a_limit_that_is_not_reached_changes_nothing() {
    let cancel = landline::Cancel::new();
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        for options in [
            SocketOptions::new().connect_timeout(HANG),
            SocketOptions::new().connect_timeout(Duration::MAX),
            SocketOptions::new().connect_timeout(Duration::ZERO),
            SocketOptions::new().cancel(&cancel),
            SocketOptions::new().cancel(&cancel).connect_timeout(HANG),
        ] {
            let socket = options.connect(server.address()).expect("the server listens");
            assert_eq!(socket.remote_address(), server.address(), "it is connected to the server");
            assert!(socket.attempted_addresses().is_empty(), "one address leaves no list");
            socket.write_end("x").expect("the socket is blocking again and open");
        }
    });
}

/// Ensures that a client is connected, and reads what the server has sent, though the server has ended the connection by
/// then, with a limit and without.
#[test]
fn an_end_at_once_is_no_failure_to_connect() {
    const CLIENTS: usize = 200;
    each_ip(|at| {
        let listener = TcpListener::bind(at).expect("port 0 can be listened on");
        let to = listener.local_addr().expect("it is bound");
        let serving = thread::spawn(move || {
            for _ in 0..2 * CLIENTS {
                let (mut client, _) = listener.accept().expect("a client comes");
                io::Write::write_all(&mut client, b"bye").expect("it is connected");
            }
        });
        for options in [SocketOptions::new().connect_timeout(HANG), SocketOptions::new()] {
            for _ in 0..CLIENTS {
                let socket = options.connect(to).expect("the server has accepted the client");
                socket.set_read_timeout(HANG).expect("it is open");
                assert_eq!(socket.read_all().expect("the server has ended in order"), b"bye", "all is read");
            }
        }
        within("each client was served", move || serving.join()).expect("no panic");
    });
}

/// Ensures that a server which resets each client at once is told as that: by the connect, or by the first read if
/// connecting was over by then.
#[test]
fn a_reset_at_once_is_told_as_one() {
    const CLIENTS: usize = 200;
    each_ip(|at| {
        let listener = TcpListener::bind(at).expect("port 0 can be listened on");
        let to = listener.local_addr().expect("it is bound");
        let serving = thread::spawn(move || {
            for _ in 0..CLIENTS {
                let (client, _) = listener.accept().expect("a client comes");
                socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("the option can be set");
            }
        });
        let options = SocketOptions::new().connect_timeout(HANG);
        for _ in 0..CLIENTS {
            let read = options.connect(to).and_then(|socket| {
                socket.set_read_timeout(HANG)?;
                socket.read(&mut [0])
            });
            let error = read.expect_err("the server ends no connection in order");
            assert_eq!(error.told().code(), "ECONNRESET", "the connection was reset: {error}");
        }
        within("each client was served", move || serving.join()).expect("no panic");
    });
}

/// Ensures that an address which fails hands over to the next at once.
#[test]
fn the_next_attempt_begins_at_once_when_one_fails() {
    let live = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let port = live.local_addr().expect("it is bound").port();
    // With a stagger of an hour, what waits for it hangs.
    let options = named(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]).attempt_timeout(HOUR);
    let (socket, time) = within("connecting ends", move || timed(|| options.connect(("name", port))));
    let socket = socket.expect("the last address listens");
    assert_eq!(socket.attempted_addresses().len(), 3, "all were tried");
    println!("measured: two refusals, then connected: {time:?}");
}

/// Ensures the order of RFC 8305: the families take turns beginning with the first answer's, and duplicates count once.
/// When all fail there is one error with each address's own, in order, and the code of the first.
#[test]
fn families_take_turns_and_every_failure_is_kept() {
    let refusing = Refusing::new();
    let port = refusing.port;
    let tape = Tape::default();
    let options = named(&["127.0.0.2", "127.0.0.3", "127.0.0.2", "::1", "127.0.0.4"]).report(tape.hook());
    let error = options.connect(("name", port)).expect_err("everybody refuses");
    let order = [
        format!("127.0.0.2:{port}"),
        format!("[::1]:{port}"),
        format!("127.0.0.3:{port}"),
        format!("127.0.0.4:{port}"),
    ];
    let tried: Vec<_> =
        error.told().causes().iter().map(|cause| cause.address().expect("each has one").to_string()).collect();
    assert_eq!(tried, order, "IPv4 first as in the answer, then in turn, each once");
    assert_eq!(error.told().code(), "ECONNREFUSED", "the code is the first one's");
    assert_eq!(error.told().address().map(Address::to_string), Some(order[0].clone()), "and so is the address");
    assert!(
        error
            .to_string()
            .starts_with(&format!("connect ECONNREFUSED name:{port} (127.0.0.2:{port} ECONNREFUSED, [::1]:{port} "))
    );
    assert!(error.told().causes()[0].causes().is_empty(), "each is a plain error");

    let told = tape.lines();
    assert!(told[0].starts_with("looked up name: "), "first the look-up is told: {told:?}");
    let expected: Vec<_> = error
        .told()
        .causes()
        .iter()
        .zip(&order)
        .flat_map(|(cause, at)| [format!("attempt {at}"), format!("failed {at} {}", cause.code())])
        .chain(["error ECONNREFUSED".into()])
        .collect();
    assert_eq!(told[1..], expected, "then each attempt and its failure, then the error");
}

/// Ensures that the notifications of an address that never answers are its attempt and, at the deadline, its timeout.
#[test]
#[cfg(target_os = "linux")]
fn an_attempt_that_exceeds_the_time_is_told_of() {
    let place = Place::new();
    some_round("both addresses are tried before the deadline", ms(100), |deadline| {
        let (tape, port) = (Tape::default(), place.port);
        let options = named(&["127.0.0.2", "127.0.0.3"]).attempt_timeout(deadline / 5).connect_timeout(deadline);
        options.report(tape.hook()).connect(("name", port)).expect_err("no address answers");
        let hole = |last, what| format!("{what} 127.0.0.{last}:{port}");
        let mut lines = tape.lines();
        if !lines.contains(&hole(3, "attempt")) {
            return None;
        }
        if PORTABLE {
            // Each ends by its own clock, on its own thread.
            lines[3..5].sort();
        }
        let attempts = [hole(2, "attempt"), hole(3, "attempt")];
        let ends = [hole(2, "timed out"), hole(3, "timed out"), "error ETIMEDOUT".into()];
        assert_eq!(lines[1..], [&attempts[..], &ends].concat(), "each attempt, then the end of each");
        Some(())
    });
}

/// Ensures that a single address tells of its attempt too, and that literals are not looked up.
#[test]
fn a_single_address_tells_of_its_attempt() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let (tape, at) = (Tape::default(), server.address());
    drop(SocketOptions::new().report(tape.hook()).connect(at).expect("the server listens"));
    assert_eq!(tape.lines(), [format!("attempt {at}"), format!("connected {at}"), "ended".into()], "in this order");

    let (tape, refusing) = (Tape::default(), Refusing::new());
    SocketOptions::new().report(tape.hook()).connect(("127.0.0.1", refusing.port)).expect_err("nobody listens");
    let at = format!("127.0.0.1:{}", refusing.port);
    let expected = [format!("attempt {at}"), format!("failed {at} ECONNREFUSED"), "error ECONNREFUSED".into()];
    assert_eq!(tape.lines(), expected, "in this order");
}

/// Ensures that `family`, `local_address` and the switch leave the first address alone to be tried, as in Node: no list of
/// attempts and a plain error.
#[test]
fn selection_is_off_with_family_local_address_or_the_switch() {
    let live = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let port = live.local_addr().expect("it is bound").port();
    let name = || named(&["127.0.0.2", "127.0.0.1"]);
    let off = [name().auto_select_family(false), name().family(Family::Ipv4), name().local_address("127.0.0.1")];
    for options in off {
        let error = options.connect(("name", port)).expect_err("the first address refuses");
        assert_eq!(
            error.to_string(),
            format!("connect ECONNREFUSED 127.0.0.2:{port}"),
            "the first address alone is tried"
        );
        assert!(error.told().causes().is_empty(), "a plain error");
    }
    let socket = name().auto_select_family(true).connect(("name", port)).expect("the second address listens");
    assert_eq!(socket.attempted_addresses().len(), 2, "on is the default's other name");
    let socket = named(&["127.0.0.1", "127.0.0.2"]).auto_select_family(false).connect(("name", port));
    let socket = socket.expect("the first address listens");
    assert!(socket.attempted_addresses().is_empty(), "no list without a selection");
}

/// Ensures that a local port, which only one attempt at a time can have, still lets every address be tried.
#[test]
#[cfg(target_os = "linux")]
fn with_a_local_port_addresses_are_tried_one_after_the_other() {
    let place = Place::new();
    // A port that is free may be taken by another program in the next moment.
    let (own, socket, time) = (0..20)
        .find_map(|_| {
            let own = port_of_no_client();
            let options = named(&["127.0.0.2", "127.0.0.1"]).attempt_timeout(ms(50)).local_port(own);
            let (socket, time) = timed(|| options.connect_timeout(HANG).connect(("name", place.port)));
            match socket {
                Ok(socket) => Some((own, socket, time)),
                Err(error) => {
                    assert_eq!(
                        (error.told().syscall(), error.told().code()),
                        (Some("bind"), "EADDRINUSE"),
                        "no other error"
                    );
                    None
                }
            }
        })
        .expect("the second address answers");
    assert_eq!(socket.local_address().port(), own, "from the port that was asked for");
    assert_eq!(socket.attempted_addresses().len(), 2, "after the first was given up");
    assert!(time >= ms(50), "each but the last has its time: {time:?}");
}

/// Ensures that less than 10 ms between attempts is an error that names the option, to whatever one connects, and that 10 ms
/// are taken as they are.
#[test]
#[cfg(target_os = "linux")]
fn attempts_are_at_least_ten_milliseconds_apart() {
    let place = Place::new();
    let options = named(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]);
    for (time, shown) in [(Duration::ZERO, "0ns"), (ms(10) - Duration::from_nanos(1), "9.999999ms")] {
        for host in ["name", "127.0.0.1"] {
            let error = options.clone().attempt_timeout(time).connect((host, place.port)).map(drop);
            let error = error.expect_err("it is less than 10 ms");
            assert_eq!(
                (error.told().code(), error.kind()),
                ("ERR_OUT_OF_RANGE", io::ErrorKind::InvalidInput),
                "bad input"
            );
            let text =
                format!("The value of \"attempt_timeout\" is out of range. It must be >= 10ms. Received {shown}");
            assert_eq!(error.to_string(), text, "it names the option");
        }
    }
    let options = options.attempt_timeout(ms(10));
    let (socket, time) = timed(|| options.connect(("name", place.port)));
    assert_eq!(socket.expect("the last answers").attempted_addresses().len(), 3, "all were tried");
    println!("measured: two black holes at the least stagger: {time:?}");
    assert!(time >= ms(20), "two addresses that do not answer have 10 ms each: {time:?}");
}

/// Ensures that where no thread can be started the addresses have their turn one after the other.
#[test]
#[cfg(target_os = "linux")]
fn without_threads_the_addresses_are_tried_in_turn() {
    let name = this_test!();
    let refuse = "inject=clone,clone3:error=EAGAIN";
    in_child(name, &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3", "-e", refuse], || {
        let place = Place::new();
        assert!(thread::Builder::new().spawn(|| ()).is_err(), "no thread can be started here");
        let tape = Tape::default();
        let options = named(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]).attempt_timeout(ms(50)).report(tape.hook());
        let (socket, time) = timed(|| options.connect(("name", place.port)));
        let socket = socket.expect("that no thread can be had is no error");
        assert_eq!(socket.remote_address().ip(), Some(ip("127.0.0.1")), "the one that answers is connected");
        println!("measured: two black holes in turn, 50 ms each, without threads: {time:?}");
        assert!(time >= ms(100), "each that does not answer has its turn: {time:?}");
        let timeouts = tape.lines().iter().filter(|line| line.starts_with("timed out")).count();
        assert_eq!(timeouts, 2, "the others were given up after their turn: {:?}", tape.lines());
        let error = named(&["127.0.0.2", "127.0.0.3"]).connect_timeout(HOUR).connect(("name", place.port));
        assert_eq!(
            error.expect_err("it cannot be had").told().code(),
            "EAGAIN",
            "a look-up with a deadline needs its thread"
        );
    });
}

/// Ensures that signals, which interrupt what waits for a connection, neither end it nor give it more time.
#[test]
#[cfg(target_os = "linux")]
fn a_signal_ends_no_connect() {
    // Every other poll(2), and the first connect(2) of each thread, is interrupted.
    let interrupt = ["-e", "inject=poll:error=EINTR:when=1+2", "-e", "inject=connect:error=EINTR:when=1"];
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=poll,connect"];
    let wrapper: Vec<_> = strace.into_iter().chain(interrupt).collect();
    in_child(this_test!(), &wrapper, || {
        let refusing = Refusing::new();
        let first = bound(([127, 0, 0, 1], 0).into()).expect("port 0 can be bound");
        let first = first.connect(&SocketAddr::from(([127, 0, 0, 1], refusing.port)).into());
        assert_eq!(first.map_err(|error| error.kind()), Err(io::ErrorKind::Interrupted), "the premise of this test");
        let place = Place::new();
        let options = named(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]).attempt_timeout(ms(20)).connect_timeout(HANG);
        let socket = options.connect(("name", place.port)).expect("the last address answers");
        assert_eq!(socket.attempted_addresses().len(), 3, "none failed before");
        some_round("it ends at the deadline", ms(200), |deadline| {
            let options = SocketOptions::new().connect_timeout(deadline);
            let (result, time) = timed(|| options.connect(("127.0.0.2", place.port)));
            assert_eq!(result.expect_err("the address does not answer").kind(), io::ErrorKind::TimedOut);
            println!("measured: deadline {deadline:?}, interrupted: {time:?}");
            assert!(time >= deadline, "not before the deadline: {time:?} of {deadline:?}");
            (time < deadline * 2).then_some(())
        });
    });
}

/// Ensures that a thousand races leave neither a thread nor a descriptor, whoever won and however many were under way.
#[test]
#[cfg(target_os = "linux")]
fn a_thousand_races_leave_nothing() {
    in_child(this_test!(), &[], || {
        let place = Place::new();
        let accepting = place.accept_all();
        let (threads_before, descriptors_before) = (threads(), descriptors());
        let options = named(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]).attempt_timeout(ms(10)).connect_timeout(HANG);
        let ((), time) = timed(|| {
            thread::scope(|scope| {
                for _ in 0..40 {
                    scope.spawn(|| {
                        for _ in 0..25 {
                            let socket = options.connect(("name", place.port)).expect("the third address answers");
                            assert_eq!(socket.attempted_addresses().len(), 3, "three raced");
                        }
                    });
                }
            });
        });
        if differs("a connect under way cannot be called off: its thread stays until its time is over") {
            return;
        }
        // pthread_join(3) returns a moment before the thread has left /proc.
        eventually("no thread is left", || threads() <= threads_before);
        // One of them may be a connection that the accepting thread is about to close.
        eventually("no descriptor is left", || descriptors() <= descriptors_before);
        println!("measured: 1,000 races of three, 2,000 losers, in {time:?}; threads and descriptors as before");
        drop(accepting);
    });
}

/// Ensures that an address on the other side of a link that swallows everything is as black a hole as a full queue.
#[test]
#[cfg(target_os = "linux")]
fn a_neighbour_that_never_answers_costs_one_stagger() {
    let Some(ip_tool) = tool("ip") else { return };
    if !has_network_of_its_own() {
        return;
    }
    in_child(this_test!(), &[], || {
        for command in [
            "link add near type veth peer name far",
            "addr add 10.9.9.1/24 dev near",
            "link set near up",
            "link set far up",
            "neigh add 10.9.9.2 lladdr 02:00:00:00:00:99 dev near nud permanent",
        ] {
            let output = Command::new(&ip_tool).args(command.split(' ')).output().expect("ip starts");
            if !output.status.success() {
                println!("skipped: ip {command}: {}", String::from_utf8_lossy(&output.stderr).trim());
                return;
            }
        }
        let live = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let port = live.local_addr().expect("it is bound").port();
        let (threads_before, descriptors_before) = (threads(), descriptors());
        let options = named(&["10.9.9.2", "127.0.0.1"]);
        some_round("connected within two staggers", ms(50), |stagger| {
            let (socket, time) = timed(|| options.clone().attempt_timeout(stagger).connect(("name", port)));
            assert_eq!(socket.expect("one answers").attempted_addresses().len(), 2, "both were tried");
            println!("measured: veth black hole first, stagger {stagger:?}, connected after {time:?}");
            assert!(time >= stagger, "not before its turn: {time:?} of {stagger:?}");
            (time < stagger * 2).then_some(())
        });
        some_round("it ends at the deadline", ms(100), |deadline| {
            let (result, time) = timed(|| options.clone().connect_timeout(deadline).connect(("10.9.9.2", port)));
            let error = result.expect_err("the address does not answer");
            assert_eq!(error.to_string(), format!("connect ETIMEDOUT 10.9.9.2:{port}"));
            println!("measured: veth black hole alone, deadline {deadline:?}: {time:?}");
            assert!(time >= deadline, "not before the deadline: {time:?} of {deadline:?}");
            (time < deadline * 3 / 2).then_some(())
        });

        let cancel = landline::Cancel::new();
        let options = SocketOptions::new().cancel(&cancel);
        let connecting = blocked(move || options.connect(("10.9.9.2", port)));
        let (result, time) = timed(|| {
            cancel.cancel();
            within("a blocked connect is woken", move || connecting.join())
        });
        assert_eq!(result.expect("no panic").expect_err("it was cancelled").told().code(), "ABORT_ERR");
        println!("measured: veth black hole, cancelled after {time:?}");
        if differs("a connect under way cannot be called off: its thread stays until it has failed") {
            return;
        }
        eventually("no thread is left", || threads() <= threads_before);
        eventually("no descriptor is left", || descriptors() <= descriptors_before);
    });
}

/// Ensures that of a hundred addresses that never answer eight at most are dialled at a time, in turn, so that the last one is
/// reached; and that a deadline ends them all.
#[test]
#[cfg(target_os = "linux")]
fn a_hundred_black_holes_are_dialled_a_few_at_a_time() {
    if !has_proc() {
        return;
    }
    // Nothing behind the link answers, and no address of it is looked for.
    let script = "ip link add near type veth peer name far; ip link set near arp off; ip addr add 10.9.9.1/24 dev near; \
        ip link set near up; ip link set far up";
    in_surroundings(this_test!(), script, || {
        let live = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let port = live.local_addr().expect("it is bound").port();
        let mut addresses: Vec<String> = (2..102).map(|last| format!("10.9.9.{last}")).collect();
        let holes = addresses.iter().map(String::as_str).collect::<Vec<_>>();
        let (threads_before, most) = (threads(), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let tape = Tape::default();
        let hook = Arc::new(tape.hook());
        let report = move |report: &Report| {
            seen.fetch_max(threads(), SeqCst);
            hook(report);
        };
        let options = named(&holes).attempt_timeout(ms(10));
        let error = options.connect_timeout(ms(60)).report(report.clone()).connect(("name", port));
        let error = error.expect_err("none answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "the deadline ends it: {error}");

        addresses.push("127.0.0.1".into());
        let all = addresses.iter().map(String::as_str).collect::<Vec<_>>();
        let begun = tape.lines().len();
        let options = named(&all).attempt_timeout(ms(10)).report(report);
        let socket = within("connecting ends", move || options.connect(("name", port)));
        let socket = socket.expect("the last address answers");
        assert_eq!(socket.attempted_addresses().len(), 101, "each has its turn");
        let given_up = tape.lines()[begun..].iter().filter(|line| line.starts_with("timed out")).count();
        assert!(given_up >= 92, "the oldest of eight gives way to the next: {given_up}");
        let most = most.load(SeqCst) - threads_before;
        println!("measured: 100 black holes, {most} threads");
        // The thread of one that was given up may still be about to end.
        assert!((1..=8 + 4).contains(&most), "eight are dialled at a time, not {most}");
        if differs("a connect under way cannot be called off: its thread stays until it has failed") {
            return;
        }
        eventually("no thread is left", || threads() <= threads_before);
    });
}

/// Ensures that a client never takes a connection to itself, which TCP makes when it happens to get the port that it
/// calls as its own, for somebody listening there.
#[test]
#[cfg(target_os = "linux")]
fn a_connection_to_itself_is_a_refusal() {
    in_child(this_test!(), &[], || {
        // In a network of its own clients may be given few ports. Elsewhere the kernel goes through some 14,000 nearly
        // in turn, so std mostly meets itself, but not always.
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        let are_few = !network_of_its_own().is_empty() && std::fs::write(range, "40000 40199").is_ok();
        let tries = if are_few { 1_000 } else { 40_000 };
        // Clients are given ports as even as the range's first (the others are for bind), so these have to be even.
        let mut even = (40_000..60_000).step_by(2).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut closed = || even.find(|at| bound(*at).is_ok()).expect("an even port is free");
        let at = closed();
        let meets = (0..tries).find(|_| TcpStream::connect(at).is_ok());
        println!("measured: std's connect met itself at attempt {meets:?} of {tries}");
        assert!(meets.is_some() || !are_few, "the premise: std meets itself");
        for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
            let at = closed();
            for _ in 0..tries {
                match options.connect(at) {
                    Ok(socket) => panic!("{at} was connected to by {}, but nobody listens", socket.local_address()),
                    Err(error) => assert_eq!(error.told().code(), "ECONNREFUSED", "nothing listens"),
                }
            }
        }
    });
}

// ---- look-ups

/// Ensures that a resolver which does not return is abandoned at the deadline, and that the error names the look-up.
#[test]
fn a_stuck_resolver_ends_at_the_deadline() {
    some_round("the error comes at the deadline", ms(100), |deadline| {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let options = SocketOptions::new().connect_timeout(deadline).lookup(move |_, _| {
            // Until the test lets it go, however that ends.
            let _ = released.lock().expect("no panic").recv();
            Ok([[127, 0, 0, 1]])
        });
        let (result, time) = within("connecting ends", move || timed(|| options.connect("slow.example:80")));
        let error = result.expect_err("the resolver has not answered");
        drop(release);
        println!("measured: deadline {deadline:?}, resolver that does not return: {time:?}");
        assert_eq!(error.to_string(), "getaddrinfo ETIMEDOUT slow.example", "it names what was waited for");
        assert_eq!((error.kind(), error.told().host()), (io::ErrorKind::TimedOut, Some("slow.example")));
        assert!(time >= deadline, "not before the deadline: {time:?} of {deadline:?}");
        (time < deadline * 3 / 2).then_some(())
    });
}

/// Ensures that at most 16 look-ups are stuck at once, that the next says so, and that it works again when they return.
#[test]
fn at_most_sixteen_lookups_are_stuck() {
    in_child(this_test!(), &[], || {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
        let options = {
            let (inside, most, gate) = (inside.clone(), most.clone(), gate.clone());
            SocketOptions::new().lookup(move |name, _| {
                if name != "stuck" {
                    return Ok(vec![]);
                }
                most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                let open = gate.0.lock().expect("no panic");
                drop(gate.1.wait_while(open, |open| !*open));
                inside.fetch_sub(1, SeqCst);
                Ok(vec![[127, 0, 0, 1]])
            })
        };
        let before = threads();
        let codes: Vec<_> = thread::scope(|scope| {
            let options = options.clone().connect_timeout(ms(100));
            let ask =
                move || options.connect("stuck:80").expect_err("the resolver does not answer").told().code().to_owned();
            let asking: Vec<_> = (0..40).map(|_| scope.spawn(ask.clone())).collect();
            asking.into_iter().map(|asking| asking.join().expect("no panic")).collect()
        });
        let timed_out = codes.iter().filter(|code| *code == "ETIMEDOUT").count();
        assert!(timed_out >= 16 && codes.iter().all(|code| code == "ETIMEDOUT" || code == "EAI_AGAIN"), "{codes:?}");
        eventually("16 resolvers are asked, and no more threads are left", || {
            inside.load(SeqCst) >= 16 && threads() <= before + 16
        });
        assert_eq!(most.load(SeqCst), 16, "no more than 16 resolvers were asked");
        // What waits for a place hangs.
        let options = options.connect_timeout(HOUR);
        let error = options.connect("other:80").expect_err("there is no place for another");
        assert_eq!(error.to_string(), "getaddrinfo EAI_AGAIN other: 16 look-ups are stuck, the most allowed");

        *gate.0.lock().expect("no panic") = true;
        gate.1.notify_all();
        eventually("the stuck look-ups end", || inside.load(SeqCst) == 0 && threads() == before);
        assert_eq!(
            options.connect("other:80").expect_err("no such name").told().code(),
            "ENOTFOUND",
            "others are asked again"
        );
    });
}

/// Ensures that more look-ups than places wait for each other and all succeed.
#[test]
fn lookups_beyond_sixteen_wait_their_turn() {
    in_child(this_test!(), &[], || {
        let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
        let port = server.address().port();
        let (inside, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let (seen, sixteen) = (most.clone(), Barrier::new(16));
        let options = SocketOptions::new().connect_timeout(HANG).lookup(move |_, _| {
            seen.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
            // Four times sixteen meet here, so that each waits for others.
            sixteen.wait();
            inside.fetch_sub(1, SeqCst);
            Ok([[127, 0, 0, 1]])
        });
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| options.connect(("name", port)).expect("a look-up that must wait is no error"));
            }
        });
        assert_eq!(most.load(SeqCst), 16, "sixteen at once, and never more");
    });
}

/// Ensures that IP addresses, in whatever form and with a zone too, never reach the resolver.
#[test]
fn an_ip_literal_never_reaches_the_resolver() {
    let options = SocketOptions::new().lookup(|name, _| -> io::Result<[IpAddr; 0]> { panic!("asked for {name}") });
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let (ip, port) = (server.address().ip().expect("it is TCP"), server.address().port());
        let forms: [Endpoint; 4] = [
            server.address().into(),
            server.address().to_string().into(),
            (ip, port).into(),
            (ip.to_string(), port).into(),
        ];
        for form in forms {
            options.connect(form).expect("an address needs no look-up");
        }
        if ip.is_ipv4() {
            options.connect(port).expect("a bare port needs no look-up");
        } else {
            // Whether the system takes a zone here is its own affair.
            let _ = options.connect(format!("[::1%lo]:{port}"));
        }
    });
}

/// Ensures that a resolver of the caller's gets the name and the family, and that its answers are used.
#[test]
fn a_resolver_of_the_callers_own_is_asked() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let (port, its) = (server.address().port(), server.address().ip().expect("it is TCP"));
        let family = server.address().family();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let tape = Tape::default();
        let options = {
            let asked = asked.clone();
            SocketOptions::new().family(family).report(tape.hook()).lookup(move |name, family| {
                asked.lock().expect("no panic").push((name.to_owned(), family));
                Ok([its])
            })
        };
        for limited in [options.clone(), options.connect_timeout(HANG)] {
            let socket = limited.connect(("some.name", port)).expect("the resolver's answer leads to the server");
            assert_eq!(socket.remote_address(), server.address(), "with the port that was asked for");
        }
        let expected = ("some.name".to_owned(), Some(family));
        assert_eq!(*asked.lock().expect("no panic"), [expected.clone(), expected], "once for each connect");
        let its = Address::from(SocketAddr::from((its, 0)));
        assert_eq!(tape.lines()[0], format!("looked up some.name: [{its}]"), "the look-up is told of");
    });
}

/// Ensures that an answer of a family that was not asked for is refused with Node's code.
#[test]
fn an_answer_of_another_family_is_refused() {
    for limited in [false, true] {
        let time = limited.then_some(HANG);
        let options =
            SocketOptions::new().connect_timeout(time).family(Family::Ipv6).lookup(|_, _| Ok([[127, 0, 0, 1]]));
        let error = options.connect("localhost:0").expect_err("that is the other family");
        assert_eq!(error.told().code(), "ERR_INVALID_ADDRESS_FAMILY");
        assert_eq!(error.to_string(), "Invalid address family: IPv4 localhost:0", "it shows the answer");
        assert_eq!(error.told().host(), Some("localhost"), "and which name was asked for");
    }
}

/// Ensures that what the resolver says is what the caller gets: no such name, its own error, its panic.
#[test]
fn the_resolvers_failure_is_the_connects() {
    for time in [None, Some(HANG)] {
        let answer = |answer: fn() -> io::Result<Vec<IpAddr>>| {
            SocketOptions::new().connect_timeout(time).lookup(move |_, _| answer()).connect("some.name:80")
        };
        for none in [|| Ok(vec![]), || Err(io::ErrorKind::NotFound.into())] as [fn() -> io::Result<Vec<IpAddr>>; 2] {
            let error = answer(none).expect_err("there is no such name");
            assert_eq!(error.to_string(), "getaddrinfo ENOTFOUND some.name", "Node's text");
            assert_eq!((error.told().code(), error.told().syscall()), ("ENOTFOUND", Some("getaddrinfo")));
            assert_eq!(
                (error.told().host(), error.told().address()),
                (Some("some.name"), None),
                "the name, and no address"
            );
        }
        let error =
            answer(|| Err(io::Error::new(io::ErrorKind::InvalidData, "the zone is broken"))).expect_err("broken");
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::InvalidData, "the zone is broken"));
        let panic = std::panic::catch_unwind(|| answer(|| std::panic::panic_any("resolver")));
        let panic = panic.expect_err("the resolver's panic is the caller's, on whatever thread it ran");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"resolver"));
    }
}

/// Ensures that a name which cannot exist is told as such, before any connect is tried.
#[test]
fn a_label_too_long_is_not_found_and_nothing_is_tried() {
    let tape = Tape::default();
    let name = "n".repeat(64);
    for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(Duration::from_secs(60))] {
        let error = options.report(tape.hook()).connect((name.as_str(), 80)).expect_err("no label has 64 characters");
        assert!(["ENOTFOUND", "EAI_FAIL", "EAI_AGAIN"].contains(&error.told().code()), "{error}");
        assert_eq!((error.told().syscall(), error.told().host()), (Some("getaddrinfo"), Some(name.as_str())));
    }
    assert!(tape.lines().iter().all(|line| line.starts_with("error ")), "only the error is told: {:?}", tape.lines());
}

// ---- block lists

/// Ensures that a blocked address is never connected to: alone it is the error, among several it is one failed attempt.
#[test]
fn a_blocked_address_is_one_failed_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let port = listener.local_addr().expect("it is bound").port();
    let list = BlockList::new();
    list.add_address([127, 0, 0, 2]);
    for (options, time) in [(SocketOptions::new(), None), (SocketOptions::new().local_address("127.0.0.1"), Some(HANG))]
    {
        let error = options.connect_timeout(time).block_list(&list).connect(("127.0.0.2", port)).expect_err("blocked");
        assert_eq!(error.told().code(), "ERR_IP_BLOCKED");
        assert_eq!(error.to_string(), "IP(127.0.0.2) is blocked by net.BlockList", "Node's text");
    }
    let tape = Tape::default();
    let options = named(&["127.0.0.2", "127.0.0.1"]).block_list(&list).report(tape.hook());
    let socket = options.connect(("name", port)).expect("the second address is not blocked");
    assert_eq!(socket.attempted_addresses().len(), 2, "the blocked one counts as tried");
    assert_eq!(tape.lines()[2], format!("failed 127.0.0.2:{port} ERR_IP_BLOCKED"), "and as failed");

    list.add_address([127, 0, 0, 1]);
    let error = options.connect(("name", port)).expect_err("now both are blocked");
    let codes: Vec<_> = error.told().causes().iter().map(Error::code).collect();
    assert_eq!(
        (error.told().code(), codes),
        ("ERR_IP_BLOCKED", vec!["ERR_IP_BLOCKED"; 2]),
        "each is an attempt of its own"
    );
}

// ---- refusals, ports, forms

/// Ensures that 50 connects at once to a port that nobody listens on are refused, each of them, five times over, and
/// leave nothing open (sequential/net-connect-econnrefused.js), nor do connects from a local address.
#[test]
fn fifty_parallel_connects_to_a_closed_port_are_all_refused() {
    in_child(this_test!(), &[], || {
        let refusing = Refusing::new();
        let (threads_before, descriptors_before) = (threads(), descriptors());
        let plain = SocketOptions::new();
        for options in [plain.clone(), plain.clone().connect_timeout(HANG)] {
            for _ in 0..5 {
                thread::scope(|scope| {
                    for _ in 0..50 {
                        scope.spawn(|| {
                            let error = options.connect(("127.0.0.1", refusing.port)).expect_err("nobody listens");
                            assert_eq!(error.told().code(), "ECONNREFUSED", "each one is refused");
                        });
                    }
                });
            }
        }
        let refused = plain.clone().local_address("127.0.0.1").connect(("127.0.0.1", refusing.port));
        assert_eq!(refused.expect_err("no server listens").told().code(), "ECONNREFUSED", "a bound one is refused");
        let unbound = plain.local_address("1.1.1.1").connect(1).expect_err("1.1.1.1 is not ours");
        let said = (unbound.told().syscall(), unbound.told().code());
        assert_eq!(said, (Some("bind"), "EADDRNOTAVAIL"), "one cannot be bound");
        assert_eq!(descriptors(), descriptors_before, "no socket is left");
        eventually("no thread is left", || threads() <= threads_before);
        println!("measured: 2 x 5 rounds of 50 connects, all ECONNREFUSED, nothing left");
    });
}

/// Ensures that a port out of range is refused before its host is looked up.
#[test]
fn a_port_out_of_range_is_refused_up_front() {
    let asked = Arc::new(AtomicUsize::new(0));
    let options = {
        let asked = asked.clone();
        SocketOptions::new().lookup(move |_, _| {
            asked.fetch_add(1, SeqCst);
            Ok([[127, 0, 0, 1]])
        })
    };
    for bad in ["localhost:65536", "localhost:99999999999999999999"] {
        let error = options.connect(bad).expect_err("there is no such port");
        assert_eq!(error.told().code(), "ERR_SOCKET_BAD_PORT", "{bad}");
    }
    assert_eq!(asked.load(SeqCst), 0, "the port is looked at before the name is looked up");
}

/// Ensures that the address a server gives can be connected to, that of a wildcard too.
#[test]
fn the_address_that_a_server_gives_can_be_connected_to() {
    for at in ["0.0.0.0:0", "[::]:0", ":0"] {
        match Server::listen(at) {
            Ok(server) => drop(Socket::connect(server.address()).expect("the server listens on every interface")),
            Err(error) => println!("skipped for {at}: {error}"),
        }
    }
}

/// Ensures that the local port that was asked for is the one both ends see (sequential/net-localport.js).
#[test]
fn the_local_port_is_what_the_server_sees() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        for time in [None, Some(HANG)] {
            // A port that is free may be taken by somebody else in the next moment.
            let (own, socket) = (0..20)
                .find_map(|_| {
                    let own = port_of_no_client();
                    let options = SocketOptions::new().connect_timeout(time).local_port(own);
                    match options.connect(server.address()) {
                        Ok(socket) => Some((own, socket)),
                        Err(error) => {
                            assert_eq!(
                                (error.told().syscall(), error.told().code()),
                                (Some("bind"), "EADDRINUSE"),
                                "no other error"
                            );
                            None
                        }
                    }
                })
                .expect("one of 20 ports is free");
            let accepted = accept(&server);
            assert_eq!((socket.local_address().port(), accepted.remote_address().port()), (own, own), "both see it");
            socket.reset_and_destroy().expect("no TIME_WAIT is left");
        }
    });
}

// ---- cost

/// Ensures that connecting to one address costs less than twice what std's calls for the same cost: connect, no-delay,
/// the local address. The fastest of each is compared. The medians, and what the last two calls cost beside a bare
/// connect, are printed too.
#[test]
fn one_address_costs_what_std_costs() {
    const ROUNDS: usize = 1000;
    in_child(this_test!(), &[], || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let at = listener.local_addr().expect("it is bound");
        // By RST, so that thousands of connections leave no TIME_WAIT to other tests.
        let reset = |stream: TcpStream| {
            let linger = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            linger.expect("an open socket can be set to linger");
            drop((stream, listener.accept()));
        };
        let bare = || {
            let (stream, time) = timed(|| TcpStream::connect(at));
            reset(stream.expect("the listener is open"));
            time
        };
        let same = || {
            let call = || -> io::Result<_> {
                let stream = TcpStream::connect(at)?;
                stream.set_nodelay(true)?;
                Ok((stream.local_addr()?, stream))
            };
            let (stream, time) = timed(call);
            reset(stream.expect("the listener is open").1);
            time
        };
        let ours = |options: &SocketOptions| {
            let (socket, time) = timed(|| options.connect(at));
            let socket = socket.expect("the listener is open");
            socket.reset_and_destroy().expect("it is open");
            drop((socket, listener.accept()));
            time
        };
        let (default, delay) = (SocketOptions::new(), SocketOptions::new().no_delay(false));
        let calls: [&dyn Fn() -> Duration; 4] = [&bare, &same, &|| ours(&default), &|| ours(&delay)];
        let (mut times, mut whole): ([Vec<Duration>; 4], [Vec<Duration>; 4]) = Default::default();
        for round in 0..ROUNDS {
            // In turn, and each in each place as often as the others.
            for place in 0..4 {
                let which = (round + place) % 4;
                let (time, all) = timed(calls[which]);
                times[which].push(time);
                whole[which].push(all);
            }
        }
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        println!("measured: one address ({build} build), medians of {ROUNDS} and the middle half:");
        let names = ["std connect", "std connect, no-delay, local address", "landline", "landline without no-delay"];
        for ((name, times), whole) in names.into_iter().zip(&mut times).zip(&mut whole) {
            times.sort();
            whole.sort();
            let (middle, from, to, whole) =
                (times[ROUNDS / 2], times[ROUNDS / 4], times[ROUNDS * 3 / 4], whole[ROUNDS / 2]);
            println!("measured:   {name}: {middle:?} ({from:?} to {to:?}), {whole:?} with accept and reset");
        }
        let ratio_at = |at: usize, a: usize, b: usize| times[a][at].as_secs_f64() / times[b][at].as_secs_f64();
        let ratio = |a, b| ratio_at(ROUNDS / 2, a, b);
        let (like, over, least) = (ratio(2, 1), ratio(2, 0), ratio(3, 0));
        let in_all = whole[2][ROUNDS / 2].as_secs_f64() / whole[0][ROUNDS / 2].as_secs_f64();
        println!("measured:   landline to the same calls {like:.3}, without no-delay to a bare connect {least:.3}");
        println!("measured:   landline to a bare connect {over:.3}, with accept and reset {in_all:.3}");
        let fastest = ratio_at(0, 2, 1);
        assert!(fastest < 2.0, "connecting costs what its system calls cost: {fastest:.3} of the fastest");
    });
}
