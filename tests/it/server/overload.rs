//! More clients than are let in: the goodbye that arrives, clients that wait, and no address that takes everything.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{ServerOptions, WhenFull};
use landline::{BlockList, RefusedBy, Report};

use crate::support::clients::{are_queued, ask, at, client, echo, is_turned_away, leave, measured};
use crate::support::fixtures::Served;
use crate::support::{
    HANG, Told, descriptors, differs, each_ip, eventually, has_proc, in_child, threads, threads_named, until_asleep,
    within,
};

const GOODBYE: &str = "server busy\n";

/// A timer that the test must not reach.
const HOUR: Duration = Duration::from_secs(3600);

/// What a client does before it reads what the server has to say.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Silent,
    WritesOnce,
    /// Again and again, which fails once the server has reset the connection; it gives up reading then, as most do.
    WritesOnThenReads,
}

const MANNERS: [Manner; 3] = [Manner::Silent, Manner::WritesOnce, Manner::WritesOnThenReads];

/// What a client of that manner reads, to its end.
fn hear(to: SocketAddr, manner: Manner) -> io::Result<String> {
    let mut one = TcpStream::connect_timeout(&to, HANG)?;
    one.set_read_timeout(Some(HANG))?;
    match manner {
        Manner::Silent => {}
        Manner::WritesOnce => one.write_all(&[b'x'; 100_000])?,
        Manner::WritesOnThenReads => {
            one.write_all(b"first")?;
            // So that a server that resets has done so when the next writes come: it has ended its side by now.
            one.peek(&mut [0])?;
            for _ in 0..10 {
                one.write_all(b"next")?;
                thread::yield_now();
            }
        }
    }
    let mut all = String::new();
    one.read_to_string(&mut all)?;
    Ok(all)
}

/// Ensures that every refused client gets the goodbye and then the end, whatever it does first: 100 at once, five times.
#[test]
fn every_refused_client_reads_the_goodbye() {
    in_child(this_test!(), &[], || {
        each_ip(|place| {
            let before = (threads(), descriptors());
            let options = ServerOptions::new().max_connections(1).when_full(WhenFull::RefuseWith(GOODBYE.into()));
            let served = Served::start(place, &options.lingering_close(HOUR), echo);
            let inside = client(served.server.address());
            ask(&inside).expect("there is room for one");
            let to = at(&served.server);
            let (mut heard, mut times) = (0, Vec::new());
            for round in 0..5 {
                let start = Instant::now();
                thread::scope(|scope| {
                    let clients: Vec<_> =
                        (0..100).map(|n| scope.spawn(move || (n, hear(to, MANNERS[n % 3])))).collect();
                    for one in clients {
                        let (n, said) = one.join().expect("the client does not panic");
                        let manner = MANNERS[n % 3];
                        let said =
                            said.unwrap_or_else(|error| panic!("round {round}, {manner:?}: no goodbye: {error}"));
                        assert_eq!(said, GOODBYE, "round {round}, {manner:?}: the whole goodbye and nothing else");
                        heard += 1;
                    }
                });
                times.push(start.elapsed());
                ask(&inside).expect("whoever is inside is served all the time");
            }
            assert_eq!(heard, 500, "all of them");
            measured(&format!("100 goodbyes at once, {place}"), times);
            let stats = served.server.stats();
            assert_eq!(
                (stats.refused(RefusedBy::Full), stats.open),
                (500, 1),
                "each is counted as refused, none as open"
            );
            drop(inside);
            served.stop();
            eventually("no thread and no descriptor is left", || threads() <= before.0 && descriptors() == before.1);
        });
    });
}

/// Ensures that clients that never end are let go of after the linger time, and that the thread that waits for them ends then.
#[test]
fn goodbyes_end_after_the_linger_time() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        let before = threads();
        let options = ServerOptions::new().max_connections(0).when_full(WhenFull::RefuseWith(GOODBYE.into()));
        let server =
            options.lingering_close(Duration::from_millis(200)).listen("127.0.0.1:0").expect("the server listens");
        let acceptor = thread::spawn({
            let server = server.clone();
            move || server.accept()
        });
        let mut clients: Vec<_> = (0..20).map(|_| client(server.address())).collect();
        for one in &mut clients {
            let mut said = String::new();
            one.read_to_string(&mut said).expect("the goodbye and the end arrive");
            assert_eq!(said, GOODBYE, "the goodbye is whole");
        }
        eventually("the thread that waits for them ends", || threads() == before + 1);
        // The server has closed by now, so whatever is sent comes back as a reset.
        for one in &mut clients {
            eventually("a client that stays is cut off", || one.write_all(b"x").is_err());
        }
        server.close();
        let got = within("accept() returns", || acceptor.join().expect("accept() does not panic"));
        assert!(got.expect("closing is no error").is_none(), "nobody was let in");
    });
}

/// Ensures that a client that sends without end is cut off by size, which its time of an hour would not do.
#[test]
fn a_refused_client_that_floods_is_cut_off() {
    let options = ServerOptions::new().max_connections(0).when_full(WhenFull::RefuseWith(GOODBYE.into()));
    let served = Served::start("127.0.0.1:0", &options.lingering_close(HOUR), echo);
    let mut flooder = client(served.server.address());
    let mut sent = 0;
    let error = loop {
        match flooder.write(&[0; 64 * 1024]) {
            Ok(n) => sent += n,
            Err(error) => break error,
        }
        assert!(sent < 512 << 20, "at most 1 MiB is taken in, and what the kernel holds");
    };
    let is_cut_off = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    assert!(is_cut_off, "the size ends it, and not that it is not read: {error}");
    served.stop();
}

/// Ensures that a client that reads nothing and ends nothing holds up neither the others' goodbyes nor a shutdown.
#[test]
fn a_shutdown_does_not_wait_longer_for_goodbyes_than_it_may() {
    let options = ServerOptions::new().max_connections(0).when_full(WhenFull::RefuseWith(GOODBYE.into()));
    let server = options.lingering_close(HOUR).listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    let mut silent: Vec<_> = (0..9).map(|_| client(server.address())).collect();
    // A peer's time begins with its goodbye, which may be long before the shutdown.
    let last = Instant::now();
    silent.push(client(server.address()));
    silent.iter().for_each(|one| assert_eq!(one.peek(&mut [0]).expect("the goodbye comes"), 1, "it is there"));
    let report = within("shutdown returns", {
        let server = server.clone();
        move || server.shutdown(Duration::from_millis(100))
    });
    assert_eq!((report.finished, report.forced), (0, 0), "refused clients are no connections");
    let waited = last.elapsed();
    // Again where the machine is too busy for the refuser to end in the last moment that a shutdown gives it.
    eventually("and none of them is left", || server.shutdown(Duration::ZERO).still_running == 0);
    assert!(waited >= Duration::from_millis(100), "they had the time that there was, not {waited:?}");
    within("serving ends", move || serving.join()).expect("in order");
}

/// Ensures that above the number of goodbyes at once the oldest is closed, whose goodbye is out, and that no client inside
/// notices.
#[test]
fn the_number_of_goodbyes_at_once_is_bounded() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &["sh", "-c", "ulimit -n 2048; exec \"$@\"", "sh"], || {
        let options = ServerOptions::new().when_full(WhenFull::RefuseWith(GOODBYE.into()));
        let defaults = options.listen("127.0.0.1:0").expect("the server listens");
        if differs("the limit of descriptors is unknown, so that no default depends on it") {
            assert_eq!(defaults.max_connections(), 10_000, "the default without a known limit");
            return;
        }
        assert_eq!(defaults.max_connections(), 2048 - 64 - 256, "the default leaves descriptors for goodbyes");
        drop(defaults);

        let options = options.max_connections(1).lingering_close(HOUR);
        let served = Served::start("127.0.0.1:0", &options, echo);
        let inside = client(served.server.address());
        ask(&inside).expect("there is room for one");
        let before = descriptors();
        let silent: Vec<_> = (0..400).map(|_| client(served.server.address())).collect();
        let said = silent.iter().filter(|one| one.peek(&mut [0]).is_ok_and(|n| n == 1)).count();
        assert_eq!(said, 400, "each hears the goodbye");
        assert_eq!(descriptors(), before + 400 + 256, "an eighth of the descriptors is for goodbyes");
        let stats = served.server.stats();
        assert_eq!((stats.lingering, stats.cut_short), (256, 400 - 256), "the others have made room");
        ask(&inside).expect("whoever is inside is served all the time");
        served.server.close();
        // Again where the machine is too busy for the handler to return in the last moment that a shutdown gives it.
        eventually("a shutdown ends them all", || served.server.shutdown(Duration::ZERO).still_running == 0);
        served.stop();
    });
}

/// Ensures that a goodbye that is too long is an error that names the option.
#[test]
fn a_goodbye_that_is_too_long_is_an_error() {
    let options = ServerOptions::new().when_full(WhenFull::RefuseWith(vec![0; 64 * 1024 + 1]));
    let error = options.listen("127.0.0.1:0").expect_err("it is one byte too long");
    assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "it is out of range");
    assert!(error.to_string().contains("when_full message"), "the option is named: {error}");
}

/// Ensures that clients above the limit wait in the backlog, lose nothing, and are served as slots become free.
#[test]
fn clients_wait_for_a_slot_and_lose_nothing() {
    each_ip(|place| {
        let options = ServerOptions::new().max_connections(2).when_full(WhenFull::Wait);
        let options = options.report(|report| assert!(!matches!(report, Report::Refused { .. }), "{report}"));
        let served = Served::start(place, &options, echo);
        let mut inside: Vec<_> = (0..2).map(|_| client(served.server.address())).collect();
        inside.iter().for_each(|one| ask(one).expect("there is room for two"));
        let mut waiting: Vec<_> = (0..20u8).map(|_| client(served.server.address())).collect();
        for (n, one) in waiting.iter_mut().enumerate() {
            one.write_all(&[n as u8]).expect("the kernel takes it");
        }
        let is_told = !differs("the system keeps no table that tells how many clients are queued") && has_proc();
        if cfg!(target_os = "linux") && is_told {
            eventually("they are in the backlog", || served.server.queued() == Some(20));
        }
        for (n, mut one) in waiting.into_iter().enumerate() {
            one.set_nonblocking(true).expect("the mode can be set");
            let error = one.read(&mut [0]).expect_err("two are inside");
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "it is neither served nor turned away");
            one.set_nonblocking(false).expect("the mode can be set");
            leave(inside.remove(0));
            let mut said = [0];
            one.read_exact(&mut said).expect("one that leaves makes room for the next");
            assert_eq!(usize::from(said[0]), n, "in the order they came, and with what they wrote");
            inside.push(one);
        }
        let stats = served.server.stats();
        assert_eq!((stats.peak, stats.accepted), (2, 22), "never more than two at once, and all of them in the end");
        drop(inside);
        served.stop();
    });
}

/// Ensures that raising the limit lets waiting clients in, that lowering it to 0 keeps everybody waiting, and that `close`
/// wakes the thread that waits.
#[test]
fn changing_the_limit_and_closing_wake_the_thread_that_waits_for_a_slot() {
    let options = ServerOptions::new().max_connections(1).when_full(WhenFull::Wait).thread_name("waits");
    let served = Served::start("127.0.0.1:0", &options, echo);
    let first = client(served.server.address());
    ask(&first).expect("there is room for one");
    let second = client(served.server.address());
    served.server.set_max_connections(2);
    ask(&second).expect("there is room for two now");
    served.server.set_max_connections(0);
    let third = client(served.server.address());
    leave(first);
    leave(second);
    eventually("the slots come back", || served.server.connections() == 0);
    (&third).write_all(b"?").expect("the kernel takes it");
    until_asleep(&threads_named("waits "));
    third.set_nonblocking(true).expect("the mode can be set");
    let error = (&third).read(&mut [0]).expect_err("0 lets nobody in");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "but it turns nobody away");
    served.stop();

    let adopted = std::net::TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
    let server = options.adopt(adopted.try_clone().expect("a descriptor")).expect("it listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    let first = client(server.address());
    ask(&first).expect("there is room for one");
    let mut waiting = client(server.address());
    drop(first);
    ask(&waiting).expect("its turn has come");
    let next = client(server.address());
    within("an adopted server closes while its acceptor waits", {
        let server = server.clone();
        move || server.close()
    });
    waiting.shutdown(Shutdown::Write).expect("it is connected");
    waiting.read_to_end(&mut Vec::new()).expect("it is served to its end");
    within("serving ends", move || serving.join()).expect("in order");
    let (mut accepted, from) = adopted.accept().expect("the giver's listener is whole");
    assert_eq!(from, next.local_addr().expect("it is connected"), "who waited is the giver's next client");
    accepted.write_all(b"!").expect("it is connected");
}

/// Ensures that under a limit that jumps about, with clients that come and go, all are served, and none twice or never.
#[test]
fn all_who_wait_are_served_whatever_the_limit_does() {
    let options = ServerOptions::new().max_connections(4).when_full(WhenFull::Wait);
    let served = Served::start("127.0.0.1:0", &options, echo);
    let server = &served.server;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let one = client(server.address());
                        ask(&one).expect("everybody's turn comes");
                    }
                })
            })
            .collect();
        let mut limit = 0;
        while !clients.iter().all(|one| one.is_finished()) {
            limit = (limit + 3) % 7;
            server.set_max_connections(limit);
            // Not a bound: the pace at which the limit changes.
            thread::park_timeout(Duration::from_micros(200));
        }
    });
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.refused(RefusedBy::Full)), (800, 0), "all are served, none refused");
    assert!(stats.peak <= 6, "never more than the highest limit, but {}", stats.peak);
    served.stop();
}

/// Ensures that an address has its own limit, in whichever form it comes, beside the server's, and that others are let in.
#[test]
fn an_address_has_a_limit_of_its_own() {
    let (tell, told) = mpsc::channel();
    let options = ServerOptions::new().max_connections_per_address(2).report(move |report| {
        if let Report::Refused { by, .. } = report {
            let _ = tell.send(*by);
        }
    });
    // IPv4 clients come to a listener of both families in IPv6's form.
    for place in ["127.0.0.1:0", ":0"] {
        let served = Served::start(place, &options, echo);
        let to = SocketAddr::from(([127, 0, 0, 1], served.server.address().port()));
        let from = |ip: [u8; 4]| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            socket.bind(&SocketAddr::from((ip, 0)).into()).expect("all of 127/8 is this machine's");
            // With a timeout it is an error on Windows if the server has turned the client away by then.
            socket.connect(&to.into()).expect("the client connects");
            let one = TcpStream::from(socket);
            one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
            one
        };
        let mut greedy: Vec<_> = (0..2).map(|_| from([127, 0, 0, 1])).collect();
        greedy.iter().for_each(|one| ask(one).expect("each may have two"));
        for _ in 0..5 {
            assert!(is_turned_away(&from([127, 0, 0, 1])), "an address may have two and not three");
            assert_eq!(told.recv_timeout(HANG), Ok(RefusedBy::PerAddress), "the cause is the address's limit");
        }
        let others = [from([127, 0, 0, 2]), from([127, 0, 0, 3])];
        others.iter().for_each(|one| ask(one).expect("another address has a limit of its own"));
        leave(greedy.remove(0));
        let again = from([127, 0, 0, 1]);
        ask(&again).expect("one that leaves makes room for one of the same address");
        let stats = served.server.stats();
        assert_eq!(
            (stats.refused(RefusedBy::PerAddress), stats.refused(RefusedBy::Full), stats.accepted),
            (5, 0, 5),
            "the accounts know why"
        );
        drop((greedy, others, again));
        eventually("all leave", || served.server.connections() == 0);
        served.stop();
    }
}

/// Ensures that clients that are in the backlog when the server closes are told so if it is asked for, and reset if not.
#[test]
fn who_is_queued_when_the_server_closes_gets_an_answer_if_asked_for() {
    in_child(this_test!(), &[], || {
        each_ip(|place| {
            let options =
                ServerOptions::new().when_full(WhenFull::RefuseWith("closing down\n".into())).answer_queued(true);
            let server = options.listen(place).expect("the server listens");
            let queued: Vec<_> = (0..50).map(|_| client(server.address())).collect();
            queued.iter().for_each(|mut one| one.write_all(b"let me in").expect("the kernel takes it"));
            are_queued(&server, 50);
            server.close();
            for mut one in queued {
                let mut said = String::new();
                one.read_to_string(&mut said).expect("the goodbye comes, and then the end");
                assert_eq!(said, "closing down\n", "the goodbye is whole");
            }
            let refused = TcpStream::connect(at(&server)).expect_err("no server listens any more");
            assert_eq!(
                refused.kind(),
                ErrorKind::ConnectionRefused,
                "a client that comes later is refused by the system"
            );
            assert_eq!(server.stats().refused(RefusedBy::Closing), 50, "each is counted");
            within("all of it ends", move || server.wait()).expect("in order");

            let server = ServerOptions::new().listen(place).expect("the server listens");
            let mut queued = client(server.address());
            are_queued(&server, 1);
            server.close();
            let error = queued.read(&mut [0]).expect_err("it is reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "as in Node, unless more was asked for");
        });
    });
}

/// Ensures that clients in the backlog whom a list shuts out are only closed when the server answers the others: no goodbye
/// tells them that anybody is there, and they are counted as what they are.
#[test]
fn who_is_queued_and_shut_out_by_a_list_hears_no_goodbye() {
    let this_machine = BlockList::new();
    this_machine.add_cidrs(["127.0.0.0/8", "::1/128"]).expect("they are subnets");
    each_ip(|place| {
        let reply =
            || ServerOptions::new().when_full(WhenFull::RefuseWith("closing down\n".into())).answer_queued(true);
        for (options, by) in [
            (reply().block_list(&this_machine), RefusedBy::Blocked),
            (reply().proxy_protocol(&BlockList::new()), RefusedBy::Untrusted),
        ] {
            let server = options.listen(place).expect("the server listens");
            let mut queued = client(server.address());
            are_queued(&server, 1);
            server.close();
            let mut said = String::new();
            queued.read_to_string(&mut said).expect("the end comes");
            assert_eq!(said, "", "{by}: no goodbye");
            let stats = server.stats();
            let counts = [RefusedBy::Blocked, RefusedBy::Untrusted, RefusedBy::Closing].map(|by| stats.refused(by));
            let is = |one: RefusedBy| u64::from(one == by);
            assert_eq!(counts, [is(RefusedBy::Blocked), is(RefusedBy::Untrusted), 0], "counted by its cause");
            within("all of it ends", move || server.wait()).expect("in order");
        }
    });
}
