//! What a server does with connections that come through a load balancer: limits, lists, reports, its end, and every
//! way to serve.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "channel")]
use landline::net::ServerEvent;
use landline::net::WhenFull;
use landline::{Address, RefusedBy, Report};

use crate::header::{
    AN_HOUR, assert_balanced, balancer, behind, binary, dribble, line, list, long_header, passed_on, rest, tell,
};
use crate::support::Whole;
use crate::support::fixtures::{Served, accept, kernel};
use crate::support::time::some_round;
use crate::support::{Folder, HANG, Told, descriptors, each_ip, eventually, in_child, threads, within};

/// Ensures that load balancers that send nothing, or half a header, hold up nobody, but take slots; and that each is
/// counted once when it is over.
#[test]
fn a_balancer_that_sends_nothing_holds_up_nobody() {
    each_ip(|at| {
        let served = Served::start(at, &behind().proxy_timeout(None), tell);
        let silent: Vec<_> = (0..20).map(|_| balancer(&served.server)).collect();
        let halves: Vec<_> = (0..20).map(|_| passed_on(&served.server, b"PROXY TCP4 192.0")).collect();
        eventually("each takes a slot", || served.server.connections() == 40);
        let start = Instant::now();
        let clients: Vec<_> = (0..100).map(|n| passed_on(&served.server, &line(&format!("192.0.2.{n}")))).collect();
        for (n, client) in clients.into_iter().enumerate() {
            client.shutdown(Shutdown::Write).expect("it is connected");
            let said = String::from_utf8(rest(client)).expect("it is text");
            assert!(said.starts_with(&format!("192.0.2.{n}:1000 to")), "the others are served: {said}");
        }
        println!("measured: 100 clients beside 40 without a header: {:.1?}", start.elapsed());
        assert_eq!(served.server.stats().accepted, 100, "who has not said whose it is is not accepted yet");
        assert!(served.server.sockets().iter().all(|socket| socket.proxy_address().is_some()), "nor among the open");
        // Some say it at last.
        for mut half in halves {
            half.write_all(b".2.7 192.0.2.1 1000 443\r\n").expect("it is connected");
            half.shutdown(Shutdown::Write).expect("it is connected");
            assert!(rest(half).starts_with(b"192.0.2.7:1000 to"), "it is served");
        }
        drop(silent);
        assert_balanced(&served.server, 140);
        assert_eq!(served.server.stats().refused(RefusedBy::ProxyHeader), 20, "the others ended before their header");
        served.stop();
    });
}

/// Ensures that a server that is full of connections without a header refuses the next one as full.
#[test]
fn a_connection_without_its_header_takes_a_slot() {
    let options = behind().max_connections(1).when_full(WhenFull::RefuseWith("full\n".into()));
    let served = Served::start("127.0.0.1:0", &options, tell);
    let silent = balancer(&served.server);
    eventually("it takes a slot", || served.server.connections() == 1);
    assert_eq!(rest(balancer(&served.server)), b"full\n", "the next one is refused, and hears why");
    drop(silent);
    eventually("the slot is free", || served.server.connections() == 0);
    // One whose header is wrong does not hear the goodbye: it may speak another protocol.
    assert_eq!(rest(passed_on(&served.server, b"hello\n")), b"");
    let stats = served.server.stats();
    assert_eq!(
        (stats.refused(RefusedBy::Full), stats.refused(RefusedBy::ProxyHeader), stats.peak),
        (1, 2, 0),
        "{stats:?}"
    );
    assert_balanced(&served.server, 3);
    served.stop();
}

/// Ensures that the time for the header is over with it: a client may be silent for longer, and the socket has no
/// timeout.
#[test]
fn the_time_of_the_header_does_not_bind_the_client() {
    let round = |at: &str, time: Duration| {
        let (started, start) = mpsc::channel();
        let served = Served::start(at, &behind().proxy_timeout(time), move |socket| {
            let timeouts = (kernel(socket, |raw| raw.read_timeout()), socket.timeout(), socket.deadline());
            started.send(timeouts).expect("the test waits");
            tell(socket)
        });
        let mut client = balancer(&served.server);
        // The connection may be over by now.
        let _ = client.write_all(&line("192.0.2.7"));
        let mut timeouts = None;
        eventually("the handler runs, or the header was late", || {
            timeouts = start.try_recv().ok();
            timeouts.is_some() || served.server.stats().refused(RefusedBy::ProxyTimeout) == 1
        });
        if timeouts.is_some() {
            assert_eq!(timeouts, Some((None, None, None)), "nothing of the header's deadline is left");
            // Not a bound: longer than the time for the header.
            thread::park_timeout(time * 2);
            client.write_all(b"late").expect("it is connected");
            client.shutdown(Shutdown::Write).expect("it is connected");
            assert!(rest(client).ends_with(b", 4 read: late"), "the client was waited for");
        }
        served.stop();
        timeouts
    };
    each_ip(|at| {
        some_round("the header comes in time", Duration::from_millis(100), |time| round(at, time));
    });
}

/// Ensures that the limit for each address counts the addresses in the headers, and not the load balancer's.
#[test]
fn the_limit_per_address_counts_clients() {
    let served = Served::start("127.0.0.1:0", &behind().max_connections_per_address(2), |socket| {
        socket.write_all("in\n")?;
        socket.read_all().map(drop)
    });
    let open = |header: &[u8]| {
        let mut stream = passed_on(&served.server, header);
        let mut said = [0; 3];
        // None if it is refused: its end, or a reset.
        stream.read_exact(&mut said).is_ok().then_some(stream)
    };
    let many: Vec<_> = (0..20).map(|n| open(&line(&format!("192.0.2.{n}")))).collect();
    assert!(many.iter().all(Option::is_some), "twenty clients come by one load balancer");
    let second = open(&line("192.0.2.7"));
    assert!(second.is_some(), "each has two connections");
    assert!(open(&line("192.0.2.7")).is_none(), "and not three");
    // One /64 of IPv6 is one client.
    let six = |last: &str| open(format!("PROXY TCP6 2001:db8::{last} ::1 1 2\r\n").as_bytes());
    let (one, two, three) = (six("1"), six("2"), six("3"));
    assert_eq!((one.is_some(), two.is_some(), three.is_some()), (true, true, false));
    let own: Vec<_> = (0..5).map(|_| open(b"PROXY UNKNOWN\r\n")).collect();
    assert!(own.iter().all(Option::is_some), "what is not a client's is not limited");
    assert_eq!(served.server.stats().refused(RefusedBy::PerAddress), 2, "they are counted");
    drop((many, second, one, two, own));
    eventually("all slots are free", || served.server.connections() == 0);
    assert!(open(&line("192.0.2.7")).is_some(), "a slot comes back");
    assert_balanced(&served.server, 31);
    served.stop();
}

/// Ensures that the block list is for the clients in the headers, and for no load balancer.
#[test]
fn the_block_list_is_for_clients() {
    let (reports, reported) = mpsc::channel();
    let options = behind().block_list(&list(&["192.0.2.0/24", "127.0.0.0/8"])).report(move |report| {
        if let Report::Refused { by, remote, local, .. } = report {
            reports.send((*by, remote.to_string(), local.to_string())).expect("the test waits");
        }
    });
    let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
    let (tell_refused, refused) = mpsc::channel();
    let running = server
        .on()
        .connection(tell)
        .refused(move |client| tell_refused.send(client.by).expect("the test waits"))
        .spawn()
        .expect("a thread can be started");
    for (header, is_served) in [
        (line("198.51.100.7"), true),
        (line("192.0.2.7"), false),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 1 2\r\n".to_vec(), false),
        (b"PROXY UNKNOWN\r\n".to_vec(), true),
    ] {
        let stream = passed_on(&server, &header);
        stream.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(!rest(stream).is_empty(), is_served, "{}", header.escape_ascii());
    }
    let blocked = |remote: &str, local: &str| (RefusedBy::Blocked, remote.into(), local.into());
    // Each is told after its client has seen the end, so the second may be told first.
    let mut told = [(); 2].map(|()| reported.recv_timeout(HANG).expect("both are reported"));
    told.sort_by(|a, b| a.1.cmp(&b.1));
    let expected = [blocked("192.0.2.7:1000", "192.0.2.1:443"), blocked("192.0.2.8:1", "[::1]:2")];
    assert_eq!(told, expected, "by the client's name");
    assert!(refused.try_recv().is_err(), "nobody else is told");
    assert_balanced(&server, 4);
    server.close();
    within("run returns", || running.join()).expect("all went well");
}

/// Ensures that reports tell of the client.
#[test]
fn reports_name_the_client() {
    let (reports, reported) = mpsc::channel();
    let options = behind().report(move |report| reports.send(report.to_string()).expect("the test waits"));
    let served = Served::start("127.0.0.1:0", &options, tell);
    let stream = passed_on(&served.server, &line("192.0.2.7"));
    stream.shutdown(Shutdown::Write).expect("it is connected");
    rest(stream);
    for end in [" 192.0.2.7:1000 -> 192.0.2.1:443 accepted, 1 open", " written"] {
        let report = reported.recv_timeout(HANG).expect("it is reported");
        assert!(report.contains(" 192.0.2.7:1000 -> 192.0.2.1:443 ") && report.ends_with(end), "{report}");
    }
    served.stop();
}

/// Ensures that a shutdown waits for no header: what has arrived of one is not enough, and the connection is refused at
/// once; one that trickles is no better. Nothing is left of them, and the report is true.
#[test]
fn shutdown_does_not_wait_for_headers() {
    in_child(this_test!(), &[], || {
        let before = (threads(), descriptors());
        each_ip(|at| {
            let served = Served::start(at, &behind().proxy_timeout(None), |socket| socket.read_all().map(drop));
            let open = passed_on(&served.server, &line("192.0.2.7"));
            eventually("a client is served", || served.server.stats().open == 1);
            let silent: Vec<_> = (0..10).map(|_| balancer(&served.server)).collect();
            let halves: Vec<_> = (0..10).map(|_| passed_on(&served.server, b"PROXY TCP4 192.0")).collect();
            let trickling = balancer(&served.server);
            eventually("they take slots", || served.server.connections() == 22);
            let trickler = thread::spawn(move || dribble(&trickling, &long_header()));
            let server = served.server.clone();
            let report = within("shutdown returns", move || server.shutdown(AN_HOUR));
            assert_eq!((report.finished, report.forced, report.still_running), (1, 0, 0), "{report}");
            for stream in silent.into_iter().chain(halves) {
                assert_eq!(rest(stream), b"", "it sees the end");
            }
            drop(open);
            let sent = within("the trickler is cut off", || trickler.join()).expect("it does not panic");
            assert!(sent < long_header().len(), "its header is not waited for");
            let stats = served.server.stats();
            assert_eq!(stats.refused(RefusedBy::Closing), 21, "each is counted, as what it was: {stats:?}");
            served.stop();
        });
        eventually("nothing is left", || (threads(), descriptors()) == before);
    });
}

/// Ensures that `close` leaves a connection the time for its header: the client, who is connected already, is not lost.
#[test]
fn close_leaves_a_header_its_time() {
    each_ip(|at| {
        let served = Served::start(at, &behind(), tell);
        let (mut late, never) = (balancer(&served.server), balancer(&served.server));
        eventually("both take slots", || served.server.connections() == 2);
        served.server.close();
        late.write_all(&line("192.0.2.7")).expect("it is connected");
        late.shutdown(Shutdown::Write).expect("it is connected");
        assert!(rest(late).starts_with(b"192.0.2.7:1000 to"), "it is served");
        eventually("the other still has time", || served.server.connections() == 1);
        never.shutdown(Shutdown::Write).expect("it is connected");
        assert_balanced(&served.server, 2);
        served.stop();
    });
}

/// Ensures that `accept` gives sockets whose header was read, and passes over those whose header is wrong or late.
#[test]
fn accept_reads_the_header_too() {
    let round = |at: &str, time: Duration| {
        let server = behind().proxy_timeout(time).listen(at).expect("port 0 can be listened on");
        let (wrong, silent) = (passed_on(&server, b"hello"), balancer(&server));
        let right = passed_on(&server, &[&line("192.0.2.7"), b"hello".as_slice()].concat());
        let accepting = thread::spawn({
            let server = server.clone();
            move || server.accept()
        });
        eventually("a client is accepted, or its header was read too late", || {
            accepting.is_finished() || server.stats().refused(RefusedBy::ProxyTimeout) >= 2
        });
        if !accepting.is_finished() {
            server.close();
            within("accept returns", || accepting.join()).expect("it does not panic").expect("no error");
            return None;
        }
        let socket = accepting.join().expect("it does not panic").expect("no error").expect("the server is open");
        assert_eq!(socket.remote_address().to_string(), "192.0.2.7:1000");
        assert_eq!(socket.proxy_address().map(Address::port), right.local_addr().map(|own| own.port()).ok());
        let mut first = [0; 5];
        socket.read_exact(&mut first).expect("the client is connected");
        assert_eq!(&first, b"hello");
        assert_eq!((rest(wrong), rest(silent)), (Vec::new(), Vec::new()));
        let stats = server.stats();
        let refused = (stats.refused(RefusedBy::ProxyHeader), stats.refused(RefusedBy::ProxyTimeout));
        drop(socket);
        assert_balanced(&server, 3);
        // The wrong one may have been read too late as well.
        (refused != (0, 2)).then(|| assert_eq!(refused, (1, 1), "each is counted as what it was"))
    };
    each_ip(|at| {
        some_round("the header is read in time", Duration::from_millis(100), |time| round(at, time));
        // Shutdown ends one that blocks for a header.
        let server = behind().listen(at).expect("port 0 can be listened on");
        let blocked = balancer(&server);
        let accepting = thread::spawn({
            let server = server.clone();
            move || server.accept()
        });
        eventually("it is accepted", || server.connections() == 1);
        let report = within("shutdown returns", {
            let server = server.clone();
            move || server.shutdown(AN_HOUR)
        });
        assert_eq!((report.finished, report.forced, report.still_running), (0, 0, 0), "{report}");
        let accepted = within("accept returns", move || accepting.join()).expect("it does not panic");
        assert!(accepted.expect("no error").is_none(), "the server is closed");
        drop(blocked);
    });
}

/// Ensures that the report of a connection counts those that are open when its header has come, and not those that were
/// open when it connected.
#[test]
fn the_open_connections_are_counted_when_the_header_has_come() {
    let (tell, told) = mpsc::channel();
    let options = behind().report(move |report| {
        if let Report::Accepted { open, .. } = report {
            let _ = tell.send(*open);
        }
    });
    let served = Served::start("127.0.0.1:0", &options, |socket| socket.read_all().map(drop));
    let mut first = balancer(&served.server);
    eventually("it takes a slot", || served.server.connections() == 1);
    let mut opened = Vec::new();
    let mut others = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2"] {
        others.push(passed_on(&served.server, &line(client)));
        opened.push(told.recv_timeout(HANG).expect("it is reported"));
    }
    first.write_all(&line("192.0.2.3")).expect("it is connected");
    opened.push(told.recv_timeout(HANG).expect("it is reported"));
    assert_eq!(opened, [2, 3, 3], "the first to connect is the last to be admitted, and all three are open then");
    drop((first, others));
    assert_balanced(&served.server, 3);
    served.stop();
}

/// Ensures that the events of a server come as they do without a load balancer: a connection, or a refusal with its
/// cause.
#[cfg(feature = "channel")]
#[test]
fn a_channel_brings_clients_and_refusals() {
    let server = behind().listen("127.0.0.1:0").expect("port 0 can be listened on");
    let events = server.events(8).expect("a thread can be started");
    let wrong = passed_on(&server, b"hello");
    match events.recv_timeout(HANG) {
        Ok(ServerEvent::Refused(client)) => {
            let own = Address::from(wrong.local_addr().expect("it is connected"));
            assert_eq!((client.by, client.remote), (RefusedBy::ProxyHeader, own));
        }
        other => panic!("a refusal comes first: {other:?}"),
    }
    let right = passed_on(&server, &line("192.0.2.7"));
    match events.recv_timeout(HANG) {
        Ok(ServerEvent::Connection(socket)) => assert_eq!(socket.remote_address().to_string(), "192.0.2.7:1000"),
        other => panic!("then a connection: {other:?}"),
    }
    drop(right);
}

/// Ensures that dropping the events of a server does not wait for headers, which may never come.
#[cfg(feature = "channel")]
#[test]
fn dropping_the_events_does_not_wait_for_headers() {
    each_ip(|at| {
        let server = behind().proxy_timeout(None).listen(at).expect("port 0 can be listened on");
        let events = server.events(8).expect("a thread can be started");
        let (silent, half) = (balancer(&server), passed_on(&server, b"PROXY TCP4 192.0"));
        eventually("both take slots", || server.connections() == 2);
        within("the drop returns", move || drop(events));
        assert_eq!((rest(silent), rest(half)), (Vec::new(), Vec::new()), "they see the end");
        assert_balanced(&server, 2);
        assert_eq!(server.stats().refused(RefusedBy::Closing), 2, "as what they were");
    });
}

/// Ensures that an adopted listener reads headers too.
#[test]
fn an_adopted_listener_reads_headers_too() {
    each_ip(|at| {
        let listener = TcpListener::bind(at).expect("port 0 can be listened on");
        let server = behind().adopt(listener).expect("it can be adopted");
        let running = server.spawn(tell).expect("a thread can be started");
        let stream = passed_on(&server, &line("192.0.2.7"));
        stream.shutdown(Shutdown::Write).expect("it is connected");
        assert!(rest(stream).starts_with(b"192.0.2.7:1000 to 192.0.2.1:443"), "it is served");
        assert_eq!(rest(passed_on(&server, b"hello")), b"", "it is not");
        assert_balanced(&server, 2);
        server.close();
        within("serve returns", || running.join()).expect("all went well");
    });
}

/// Ensures that what can be set on a socket goes by the socket, and not by the family that its header tells of.
#[test]
fn settings_go_by_the_socket_and_not_by_its_header() {
    let server = behind().listen("127.0.0.1:0").expect("port 0 can be listened on");
    let names = [b"/run/a".as_slice(), &[0; 102], b"/run/b", &[0; 102]].concat();
    let mut stream = passed_on(&server, &binary(1, 0x31, &names));
    let socket = accept(&server);
    assert_eq!(socket.remote_address().path().and_then(|path| path.to_str()), Some("/run/a"));
    socket.set_no_delay(false).expect("it is TCP");
    socket.set_type_of_service(0x10).expect("it is TCP");
    assert!(!kernel(&socket, |raw| raw.tcp_nodelay()), "it was set");
    socket.reset_and_destroy().expect("it is TCP");
    let error = stream.read(&mut [0]).expect_err("it was reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Ensures that on a Unix socket whoever may connect is believed, and has to send a header too.
#[cfg(unix)]
#[test]
fn on_a_unix_socket_the_rights_of_the_file_are_the_list() {
    use std::os::unix::net::UnixStream;

    let folder = Folder::new();
    let path = folder.file("socket");
    let served = Served::start(path.as_path(), &behind(), |socket| {
        socket.set_no_delay(false)?;
        let error = socket.reset_and_destroy().expect_err("a Unix socket has no reset");
        assert_eq!(error.told().code(), "ERR_INVALID_HANDLE_TYPE");
        tell(socket)
    });
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&path).expect("the server listens");
        stream.set_read_timeout(Some(HANG)).expect("a read timeout can be set");
        stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).expect("it is connected");
        let mut said = String::new();
        stream.read_to_string(&mut said).map(|_| said)
    };
    let said = say(&[&line("192.0.2.7"), b"hello".as_slice()].concat()).expect("it is served");
    assert_eq!(said, "192.0.2.7:1000 to 192.0.2.1:443 by , 5 read: hello");
    // With bytes unread the end is a reset there too.
    assert_eq!(say(b"hello").unwrap_or_default(), "", "one without a header is refused");
    assert_balanced(&served.server, 2);
    served.stop();
}
