//! Reports: what is told of a server and its connections, in which order, and in what words.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use landline::net::{Server, ServerOptions, Socket, SocketOptions};
use landline::{ConnectionId, Outcome, Report, dgram};

use crate::support::Whole;
use crate::support::clients::{client, stop};
use crate::support::fixtures::{Served, accept};
use crate::support::{HANG, WHOLE, each_ip, eventually, within, within_for};

/// Options that tell everything to the test.
fn reporting() -> (ServerOptions, Receiver<Report>) {
    let (tell, told) = mpsc::channel();
    let options = ServerOptions::new().report(move |report| {
        // The last reports come when the test is over.
        let _ = tell.send(report.clone());
    });
    (options, told)
}

/// The connection a report is about.
fn about(report: &Report) -> Option<ConnectionId> {
    match report {
        Report::Accepted { connection, .. }
        | Report::Ended { connection, .. }
        | Report::Panicked { connection, .. } => Some(connection.id),
        Report::Failed { connection, .. } => connection.as_ref().map(|connection| connection.id),
        _ => None,
    }
}

/// Ensures that of each connection the first report is that it was accepted, the last that it has ended, each once,
/// however it ends; that a failure or a panic is told between; that a panic after the end is told after it; and that
/// the counters and the cause are right.
#[test]
fn accepted_is_the_first_report_and_ended_the_last() {
    within("every connection is reported", || {
        each_ip(|at| {
            let (options, told) = reporting();
            let served = Served::start(at, &options, |socket| {
                let mut word = [0; 4];
                socket.read_exact(&mut word)?;
                match &word {
                    b"done" => socket.write_all("bye"),
                    b"fail" => Err(io::Error::other("as asked")),
                    b"each" => socket.each(|_, _| Err(io::Error::other("in each"))),
                    b"boom" => panic!("on purpose"),
                    b"cut " => {
                        socket.destroy();
                        Ok(())
                    }
                    b"cutw" => {
                        socket.destroy();
                        socket.write_all("too late")
                    }
                    b"cutp" => {
                        socket.destroy();
                        panic!("after the end")
                    }
                    b"rset" => Ok(socket.reset_and_destroy()?),
                    _ => socket.read_all().map(drop),
                }
            });
            let cases: [(&str, u64, Outcome, Option<&str>); 9] = [
                ("done", 3, Outcome::Finished, None),
                ("fail", 0, Outcome::Failed, Some("failed: as asked")),
                ("each", 0, Outcome::Failed, Some("failed: in each")),
                ("boom", 0, Outcome::Panicked, Some("panicked: on purpose")),
                ("cut ", 0, Outcome::Destroyed, None),
                ("cutw", 0, Outcome::Destroyed, None),
                ("cutp", 0, Outcome::Destroyed, None),
                ("rset", 0, Outcome::Reset, None),
                ("rest", 0, Outcome::Finished, None),
            ];
            for (word, expected_written, expected_how, between) in cases {
                let client = served.connect();
                client.write_all(word).expect("it is connected");
                if word == "each" {
                    client.write_all("x").expect("it is connected");
                }
                client.end().expect("it is connected");
                // Over, one way or the other.
                let _ = client.read_all();
                let mut reports = Vec::new();
                while !matches!(reports.last(), Some(Report::Ended { .. })) {
                    reports.push(told.recv_timeout(HANG).expect("the end is reported"));
                }
                let Some(Report::Accepted { connection, open, .. }) = reports.first() else {
                    panic!("{word}: accepted is first, not {reports:?}");
                };
                assert_eq!(connection.remote, *client.local_address(), "{word}: the client's end");
                assert_eq!(connection.local, *client.remote_address(), "{word}: the server's end");
                assert_eq!(*open, 1, "{word}: how many are open, with this one");
                let name = connection.to_string();
                let Some(Report::Ended { read, written, outcome, .. }) = reports.last() else { unreachable!() };
                let expected_read = 4 + u64::from(word == "each");
                assert_eq!((*read, *written, *outcome), (expected_read, expected_written, expected_how), "{word}");
                let middle: Vec<_> = reports[1..reports.len() - 1].iter().map(Report::to_string).collect();
                let expected: Vec<_> = between.iter().map(|text| format!("{name} {text}")).collect();
                assert_eq!(middle, expected, "{word}: between the two");
                let ids: Vec<_> = reports.iter().map(about).collect();
                assert!(ids.iter().all(|id| *id == Some(connection.id)), "{word}: all about this connection");
                if word == "cutp" {
                    let panicked = told.recv_timeout(HANG).expect("the panic is reported").to_string();
                    assert_eq!(panicked, format!("{name} panicked: after the end"), "a panic after the end comes last");
                }
            }
            let address = served.server.address().clone();
            let stats = served.server.stats();
            assert_eq!((stats.accepted, stats.ended, stats.failed, stats.panicked), (9, 6, 2, 1), "the accounts agree");
            served.stop();
            let rest: Vec<_> = told.try_iter().map(|report| report.to_string()).collect();
            assert_eq!(rest, [format!("{address} closing"), format!("{address} closed")], "then the server's end");
        });
    });
}

/// Ensures that also a connection which somebody else destroys as soon as it can be found is reported as accepted before
/// it is reported as ended.
#[test]
fn a_connection_that_is_destroyed_at_once_was_accepted_first() {
    const CLIENTS: usize = 50;
    within_for(WHOLE, "every connection is reported", || {
        let (tell, told) = mpsc::channel();
        let options = ServerOptions::new().report(move |report| {
            let word = match report {
                Report::Accepted { .. } => "accepted",
                Report::Ended { .. } => "ended",
                _ => return,
            };
            if word == "accepted" {
                // Gives whoever is faster every chance.
                thread::yield_now();
            }
            tell.send((about(report), word)).expect("the test waits");
        });
        let served = Served::start("127.0.0.1:0", &options, |socket| socket.read_all().map(drop));
        let (server, stop) = (served.server.clone(), Arc::new(Mutex::new(false)));
        let stopped = Arc::clone(&stop);
        let hunting = thread::spawn(move || {
            while !*stopped.lock().expect("no panic") {
                server.sockets().iter().for_each(Socket::destroy);
                // Else it would take all the time from the others, where there is one processor for all.
                thread::yield_now();
            }
        });
        for _ in 0..CLIENTS {
            let client = served.connect();
            let _ = client.read(&mut [0; 1]);
        }
        let mut reports = Vec::new();
        while reports.len() < 2 * CLIENTS {
            reports.push(told.recv_timeout(HANG).expect("each is reported twice"));
        }
        *stop.lock().expect("no panic") = true;
        hunting.join().expect("no panic");
        served.stop();
        let ids: Vec<_> = reports.iter().filter(|(_, word)| *word == "accepted").map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), CLIENTS, "each was accepted once");
        for id in ids {
            let words: Vec<_> = reports.iter().filter(|(about, _)| *about == id).map(|(_, word)| *word).collect();
            assert_eq!(words, ["accepted", "ended"], "accepted, then ended, once each");
        }
    });
}

/// Ensures that refused clients, and the end of a server, are reported in words that say who and why.
#[test]
fn refusals_and_the_servers_end_are_reported() {
    within("everything is reported", || {
        each_ip(|at| {
            let (options, told) = reporting();
            let server = options.max_connections(0).listen(at).expect("port 0 can be listened on");
            let address = server.address().clone();
            let accepting = {
                let server = server.clone();
                thread::spawn(move || server.accept())
            };
            let client = Socket::connect(&address).expect("the kernel connects it");
            let text = told.recv_timeout(HANG).expect("the refusal is reported").to_string();
            assert_eq!(text, format!("refused {} -> {address}: full", client.local_address()), "who, where and why");
            server.close();
            server.close();
            assert!(accepting.join().expect("no panic").expect("no error").is_none(), "accept ends");
            let rest: Vec<_> = told.try_iter().map(|report| report.to_string()).collect();
            assert_eq!(rest, [format!("{address} closing"), format!("{address} closed")], "each once");
        });
    });
}

/// Ensures that the server is reported closed only after its last connection has ended, whoever holds that.
#[test]
fn closed_is_reported_after_the_last_connection_has_ended() {
    within("everything is reported", || {
        each_ip(|at| {
            let (options, told) = reporting();
            let server = options.listen(at).expect("port 0 can be listened on");
            let client = Socket::connect(server.address()).expect("it listens");
            let accepted = accept(&server);
            server.close();
            let words = |count: usize| -> Vec<String> {
                let next = || told.recv_timeout(HANG).expect("it is reported").to_string();
                (0..count).map(|_| next().rsplit(' ').next().unwrap_or_default().to_owned()).collect()
            };
            assert_eq!(words(2), ["open", "closing"], "accepted (1 open), then closing");
            assert!(told.try_recv().is_err(), "nothing more while a connection is open");
            drop(accepted);
            assert_eq!(words(2), ["written", "closed"], "ended (… written), then closed");
            drop(client);
        });
    });
}

/// Ensures that reports of a server and of a datagram socket with the same address are told apart, by their lines and by a
/// field.
#[test]
fn reports_of_a_datagram_socket_say_that_it_is_one() {
    within("both are closed", || {
        each_ip(|at| {
            let (options, told) = reporting();
            let server = options.listen(at).expect("port 0 can be listened on");
            let address = server.address();
            let (tell, told_of_udp) = mpsc::channel();
            let options = dgram::SocketOptions::new().report(move |report| {
                // The last reports come when the test is over.
                let _ = tell.send(report.clone());
            });
            // The port may be taken, and then another one does.
            let place = address.socket_addr().expect("it has an IP");
            let socket = options.bind(place).or_else(|_| options.bind(at)).expect("port 0 is free");
            let its_address = socket.address();
            server.close();
            socket.close();
            let (of_tcp, of_udp): (Vec<_>, Vec<_>) = (told.try_iter().collect(), told_of_udp.try_iter().collect());
            let lines = |reports: &[Report]| reports.iter().map(Report::to_string).collect::<Vec<_>>();
            assert_eq!(lines(&of_tcp), [format!("{address} closing"), format!("{address} closed")], "of TCP as ever");
            let with_word = [format!("udp {its_address} closing"), format!("udp {its_address} closed")];
            assert_eq!(lines(&of_udp), with_word, "the line of a datagram socket begins with `udp`");
            let is_udp = |report: &Report| {
                matches!(report, Report::Closing { udp: true, .. } | Report::Closed { udp: true, .. })
            };
            assert!(of_udp.iter().all(is_udp) && !of_tcp.iter().any(is_udp), "and so says its field");
        });
    });
}

/// Ensures that a hook may call the server, and that one that panics harms nobody.
#[test]
fn a_hook_may_call_the_server_and_may_panic() {
    within("the client is served", || {
        let shared: Arc<Mutex<Option<Server>>> = Arc::default();
        let inside = Arc::clone(&shared);
        let options = ServerOptions::new().report(move |report| {
            let server = inside.lock().expect("not poisoned: it is let go before the panic").clone();
            if let Some(server) = server {
                let open = (server.connections(), server.sockets().len(), server.stats().open);
                assert!(open.0 <= 1, "{report}: {open:?}");
                panic!("{report}");
            }
        });
        let served = Served::start("127.0.0.1:0", &options, |socket| socket.write_all("served"));
        *shared.lock().expect("no panic") = Some(served.server.clone());
        for _ in 0..3 {
            assert_eq!(served.connect().read_text().expect("no reset"), "served", "nobody is harmed");
            eventually("the slot comes back", || served.server.connections() == 0);
        }
        served.stop();
        shared.lock().expect("no panic").take();
    });
}

/// Ensures that a printed report is one line, whatever text of a peer, a handler or a resolver is in it, so that none
/// can forge a line of a log or move a terminal's cursor; that all other text stays as it is, and that the error itself
/// is not changed.
#[test]
fn a_printed_report_is_one_line_whatever_text_is_in_it() {
    let texts = [
        ("no such command: x\r\n#99 accepted", "no such command: x\\r\\n#99 accepted"),
        ("\u{1b}[2J\u{7}\u{9b}1A\0\t\u{7f}\u{85}", "\\u{1b}[2J\\u{7}\\u{9b}1A\\0\\t\\u{7f}\\u{85}"),
        ("one\u{2028}two\u{2029}\u{202e}three\u{2066}", "one\\u{2028}two\\u{2029}\\u{202e}three\\u{2066}"),
        ("\n", "\\n"),
        (
            "\"no\" 'such' C:\\file, na\u{ef}ve nai\u{308}ve 文件 👩\u{200d}💻",
            "\"no\" 'such' C:\\file, na\u{ef}ve nai\u{308}ve 文件 👩\u{200d}💻",
        ),
    ];
    let (options, told) = reporting();
    let served = Served::start("127.0.0.1:0", &options, |socket| {
        let text = socket.read_text()?;
        match text.strip_prefix("panic:") {
            Some(text) => panic!("{text}"),
            None => Err(io::Error::other(text)),
        }
    });
    let next = |what: &str, is_it: fn(&Report) -> bool| loop {
        let report = told.recv_timeout(HANG).unwrap_or_else(|_| panic!("it is reported as {what}"));
        if is_it(&report) {
            return report;
        }
    };
    for (text, printed) in texts {
        let send = |text: &str| served.connect().write_end(text).expect("it is connected");
        send(text);
        let report = next("failed", |report| matches!(report, Report::Failed { .. }));
        assert!(report.to_string().ends_with(&format!(" failed: {printed}")), "an error is one line: {report}");
        let Report::Failed { error, .. } = report else { unreachable!("it was asked for") };
        assert_eq!(error.to_string(), text, "the error itself keeps its text");

        send(&format!("panic:{text}"));
        let report = next("panicked", |report| matches!(report, Report::Panicked { .. }));
        assert!(report.to_string().ends_with(&format!(" panicked: {printed}")), "a panic is one line: {report}");

        let (tell, told) = mpsc::channel();
        let options = SocketOptions::new().report(move |report| drop(tell.send(report.to_string())));
        let options = options.lookup(move |_, _| Err::<Vec<IpAddr>, _>(io::Error::other(text)));
        options.connect("a.name:1").expect_err("the resolver fails");
        let reports: Vec<_> = told.try_iter().collect();
        assert!(reports.iter().any(|report| report.contains(printed)), "a resolver's error is in it: {reports:?}");
        assert!(!reports.iter().any(|report| report.contains(char::is_control)), "and is one line: {reports:?}");
    }
    served.stop();
}

/// Ensures that a handler's error which says that another socket was destroyed is told: it has ended this connection.
#[test]
fn an_error_about_another_destroyed_socket_is_told() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let options = ServerOptions::new().report(move |report| {
        if let Report::Failed { connection: Some(_), error, .. } = report {
            let _ = tell.lock().expect("nobody panics here").send(error.code().to_owned());
        }
    });
    let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
    let other = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let to = other.address().clone();
    let serving = server.spawn(move |_| {
        let socket = Socket::connect(&to)?;
        socket.destroy();
        socket.write_all("x")
    });
    let serving = serving.expect("a thread can be started");
    drop(client(server.address()));
    assert_eq!(told.recv_timeout(HANG).expect("it is told"), "ERR_STREAM_DESTROYED", "with its code");
    stop(&server, serving);
    assert_eq!(server.stats().failed, 1, "and is counted");
}
