//! `shutdown(grace)`: who is asked to end, who is forced to, and that the report says what happened and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, ShutdownReport, Socket, SocketEvent, relay};
use landline::{Outcome, RefusedBy, Report};

use crate::support::Whole;
use crate::support::clients::{are_queued, ask, at, client, echo, is_turned_away, is_turned_away_by_close};
use crate::support::fixtures::{Served, accept};
use crate::support::process;
use crate::support::time::some_round;
use crate::support::{HANG, descriptors, each_ip, eventually, in_child, threads, within};

#[track_caller]
fn shut_down(server: &Server, grace: Duration) -> ShutdownReport {
    let server = server.clone();
    within("shutdown returns", move || server.shutdown(grace))
}

fn counts(report: ShutdownReport) -> (usize, usize, usize) {
    (report.finished, report.forced, report.still_running)
}

/// Ensures that the report of a shutdown that another thread has begun is there when `serve` returns, so that a `main` that
/// serves can print it.
#[test]
fn the_report_of_a_begun_shutdown_is_there_when_serve_returns() {
    each_ip(|place| {
        for round in 0..40 {
            let server = Server::listen(place).expect("port 0 can be listened on");
            let serving = server.clone();
            let main = thread::spawn(move || serving.serve(echo).map(|()| serving.report()));
            let clients: Vec<_> = (0..round % 4).map(|_| client(server.address())).collect();
            eventually("all are served", || server.connections() == clients.len());
            let ending = server.clone();
            let begun = thread::spawn(move || ending.begin_shutdown(HANG));
            within("begin_shutdown returns", move || begun.join()).expect("no panic").expect("a thread starts");
            let report = within("serve returns", move || main.join()).expect("no panic").expect("in order");
            assert_eq!(report.map(counts), Some((clients.len(), 0, 0)), "round {round}: it says how it went");
        }
    });
}

/// Ensures that `wait` returns on the thread of a begun shutdown, in the `Drop` of a thread-local that a report has left
/// there.
#[test]
fn the_thread_of_a_begun_shutdown_waits_for_no_end_of_its_own() {
    struct Waits(Server, mpsc::Sender<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.wait().expect("it is in no handler");
            let _ = self.1.send(());
        }
    }
    thread_local!(static LEFT: std::cell::RefCell<Option<Waits>> = const { std::cell::RefCell::new(None) });
    if cfg!(windows) {
        return println!("differs by design: a destructor may wait for no thread");
    }
    // A panic there would end the process.
    in_child(this_test!(), &[], || {
        let (tell, told) = mpsc::channel();
        let known = Arc::new(OnceLock::<Server>::new());
        let (of_hook, tell) = (Arc::clone(&known), Mutex::new(Some(tell)));
        let options = ServerOptions::new().report(move |report| {
            if let (Report::Closing { .. }, Some(server)) = (report, of_hook.get()) {
                let tell = tell.lock().expect("no panic").take().expect("a server closes once");
                LEFT.set(Some(Waits(server.clone(), tell)));
            }
        });
        let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
        known.set(server.clone()).expect("it is set once");
        let client = Socket::connect(server.address()).expect("it listens");
        // The shutdown ends after this socket, so `begin_shutdown` has returned by then.
        let socket = accept(&server);
        server.begin_shutdown(HANG).expect("a thread can be started");
        drop((socket, client));
        told.recv_timeout(HANG).expect("`wait` returns on the thread of the shutdown");
        within("wait returns", move || server.wait()).expect("in order");
    });
}

/// Ensures that a shutdown over 200 clients of every kind returns in its time, and that its report is what happened: who
/// waits for its peer ends at once, who writes to a slow one ends when that has read it all, who writes to one that does not
/// read is cut off, and who computes is told of as still running.
#[test]
fn a_shutdown_of_200_clients_returns_in_time_with_a_true_report() {
    const FIRST: Duration = Duration::from_millis(500);
    in_child(this_test!(), &[], || {
        each_ip(|place| {
            some_round("it returns soon after the grace, and idle and slow ones end in it", FIRST, |grace| {
                let before = (threads(), descriptors());
                let (computing, entered) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
                let ends = Arc::new(Mutex::new(Vec::new()));
                let options = ServerOptions::new().report({
                    let ends = Arc::clone(&ends);
                    move |report| {
                        if let Report::Ended { outcome, .. } = report {
                            ends.lock().expect("nobody panics").push(*outcome);
                        }
                    }
                });
                let served = Served::start(place, &options, {
                    let (computing, entered) = (Arc::clone(&computing), Arc::clone(&entered));
                    move |socket| {
                        let mut kind = [0];
                        socket.read_exact(&mut kind)?;
                        entered.fetch_add(1, SeqCst);
                        match &kind {
                            b"w" => loop {
                                socket.write_all(vec![0; 1 << 20])?;
                            },
                            b"s" => socket.write_all(vec![0; 8 << 20]),
                            b"c" => {
                                drop(computing.lock());
                                Ok(())
                            }
                            _ => echo(socket),
                        }
                    }
                });
                let busy = computing.lock().expect("nobody panics");
                let kinds = [(b"i", 85), (b"w", 20), (b"s", 5), (b"c", 90)];
                let clients: [Vec<_>; 4] = kinds.map(|(kind, count)| {
                    let connect = |_| {
                        let mut one = client(served.server.address());
                        one.write_all(kind).expect("it is connected");
                        one
                    };
                    (0..count).map(connect).collect()
                });
                eventually("all handlers are at it", || entered.load(SeqCst) == 200);
                let [idle, unread, slow, computed] = clients;
                let reading = thread::spawn({
                    let server = served.server.clone();
                    move || {
                        eventually("the shutdown begins", || !server.is_listening());
                        read_by_turns(slow)
                    }
                });

                let began = Instant::now();
                let report = shut_down(&served.server, grace);
                let took = began.elapsed();
                println!("\nmeasured shutdown of 200, {place}: {report}");
                let read = reading.join().expect("they are read");
                let in_time = took < 2 * grace && read == 5 * (8 << 20) && report.finished == 90;
                if in_time {
                    assert_eq!(report.forced, 110, "idle and slow ones end, 110 are cut off");
                    assert!(report.still_running >= 90, "90 of these compute on: {report}");
                    assert!(report.elapsed >= grace, "those who were busy had their time");
                    let count = |how| ends.lock().expect("nobody panics").iter().filter(|other| **other == how).count();
                    assert_eq!(
                        (count(Outcome::Finished), count(Outcome::Forced)),
                        (90, 110),
                        "the reports say the same"
                    );
                }

                // Again where the machine is too busy for the others to notice in the last moment of a shutdown.
                eventually("only those who compute run on", || {
                    let again = shut_down(&served.server, Duration::ZERO);
                    let nobody_is_left = (again.finished, again.forced) == (0, 0);
                    assert!(nobody_is_left || !in_time, "a second shutdown has nobody left to end: {again}");
                    again.still_running == 90
                });
                drop(busy);
                let last = shut_down(&served.server, HANG);
                assert_eq!(counts(last), (0, 0, 0), "they have returned, and nothing runs any more");
                drop((idle, unread, computed));
                served.stop();
                eventually("no thread and no descriptor is left", || {
                    threads() <= before.0 && descriptors() == before.1
                });
                in_time.then_some(())
            });
        });
    });
}

/// Reads a piece of each in turn, so that none is read fast; gives how much it was in all. One that is cut off has
/// ended too.
fn read_by_turns(mut clients: Vec<TcpStream>) -> usize {
    let (mut total, mut piece) = (0, vec![0; 64 * 1024]);
    while !clients.is_empty() {
        clients.retain_mut(|one| {
            let n = one.read(&mut piece).unwrap_or(0);
            total += n;
            n > 0
        });
    }
    total
}

/// Ensures that half an upload does not look whole to a handler that reads to the end, and that what had arrived is read.
#[test]
fn a_handler_that_reads_to_the_end_is_not_told_of_an_end_by_a_shutdown() {
    each_ip(|place| {
        let (tell, told) = mpsc::channel();
        let served = Served::start(place, &ServerOptions::new(), move |socket| {
            let mut whole = vec![0; 5];
            socket.read_exact(&mut whole)?;
            tell.send(Ok(whole)).expect("the test waits");
            let rest = socket.read_all();
            tell.send(rest.as_ref().map_err(|error| error.kind()).cloned()).expect("the test waits");
            rest.map(drop)
        });
        let mut uploading = client(served.server.address());
        uploading.write_all(b"first").expect("it is connected");
        assert_eq!(told.recv_timeout(HANG), Ok(Ok(b"first".to_vec())), "what arrives is read");
        let report = shut_down(&served.server, HANG);
        assert_eq!(
            told.recv_timeout(HANG),
            Ok(Err(ErrorKind::ConnectionAborted)),
            "an upload that was cut is no whole one"
        );
        assert_eq!(counts(report), (1, 0, 0), "and its handler, which returned the error, has ended in order");
        served.stop();
    });
}

/// Ensures that a handler may shut its own server down: the others end, its own connection is left out and goes on.
#[test]
fn a_handler_may_shut_its_server_down() {
    each_ip(|place| {
        let (tell, told) = mpsc::channel();
        let its_server = Arc::new(OnceLock::<Server>::new());
        let own_server = its_server.clone();
        let served = Served::start(place, &ServerOptions::new(), move |socket| {
            let mut kind = [0];
            socket.read_exact(&mut kind)?;
            if &kind == b"!" {
                let report = own_server.get().expect("the test gives it").shutdown(HANG);
                tell.send(report).expect("the test waits");
                return socket.write_all("down");
            }
            socket.write_all(kind)?;
            echo(socket)
        });
        let _ = its_server.set(served.server.clone());
        let others: Vec<_> = (0..10).map(|_| client(served.server.address())).collect();
        others.iter().for_each(|one| ask(one).expect("it is served"));
        let own = Socket::connect(served.server.address()).expect("the server listens");
        own.write_all("!").expect("it is connected");
        let report = told.recv_timeout(HANG).expect("shutdown returns");
        assert_eq!(counts(report), (10, 0, 0), "the others end, and the own handler is not waited for");
        let answer = within("the answer comes", move || own.read_text()).expect("it is still connected");
        assert_eq!(answer, "down", "the own connection goes on");
        served.stop();
    });
}

/// Ensures that shutdowns at the same time agree, none counting as finished what the other one forced.
#[test]
fn two_shutdowns_at_once_report_the_same() {
    let round = |grace| {
        let (hold, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let (tell, told) = mpsc::channel();
        let served = Served::start("127.0.0.1:0", &ServerOptions::new(), move |socket| {
            let mut kind = [0];
            socket.read_exact(&mut kind)?;
            tell.send(()).expect("the test waits");
            if &kind == b"c" {
                let _ = held.lock().expect("nobody panics").recv();
                return Ok(());
            }
            echo(socket)
        });
        let clients: Vec<_> = [b"i", b"i", b"c"]
            .map(|kind| {
                let mut one = client(served.server.address());
                one.write_all(kind).expect("it is connected");
                one
            })
            .into();
        (0..3).for_each(|_| told.recv_timeout(HANG).expect("all are served"));
        let start = std::sync::Barrier::new(2);
        let reports = thread::scope(|scope| {
            let one = || {
                start.wait();
                counts(served.server.shutdown(grace))
            };
            [scope.spawn(one), scope.spawn(one)].map(|one| one.join().expect("it does not panic"))
        });
        drop(hold);
        drop(clients);
        served.stop();
        // The later of the two may find the idle ones gone already.
        let none_counts_twice = reports.iter().all(|(finished, forced, _)| *finished <= 2 && finished + forced <= 3);
        assert!(none_counts_twice, "two may end by themselves, and the third is forced, but: {reports:?}");
        let saw_the_same = reports.iter().all(|(_, forced, still_running)| (*forced, *still_running) == (1, 1));
        saw_the_same.then_some(())
    };
    for _ in 0..8 {
        some_round("each sees that one was forced and still computes", Duration::from_millis(50), round);
    }
}

/// Ensures that a server that is not served yet can be shut down, that serving it then returns at once, and that who was
/// queued is let go.
#[test]
fn a_shutdown_before_serving_has_begun_ends_it_all_the_same() {
    each_ip(|place| {
        let server = Server::listen(place).expect("the server listens");
        let queued = client(server.address());
        are_queued(&server, 1);
        let report = shut_down(&server, HANG);
        assert_eq!(counts(report), (0, 0, 0), "nobody was connected");
        assert!(is_turned_away(&queued), "who was queued is let go");
        within("serve returns", move || server.serve(|_| Ok(()))).expect("a closed server is served to its end");
    });
}

/// Ensures that a shutdown at the limit, with refused clients coming all the time, ends those who are connected.
#[test]
fn a_shutdown_at_the_limit_returns() {
    // The clients come until the port is free. Where there are network namespaces, no other test gets it then.
    in_child(this_test!(), &[], || {
        each_ip(|place| {
            let served = Served::start(place, &ServerOptions::new().max_connections(3), echo);
            let inside: Vec<_> = (0..3).map(|_| client(served.server.address())).collect();
            inside.iter().for_each(|one| ask(one).expect("there is room for three"));
            let to = at(&served.server);
            let coming = thread::spawn(move || {
                while let Ok(one) = TcpStream::connect_timeout(&to, HANG) {
                    one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
                    assert!(is_turned_away_by_close(&one), "the limit is reached");
                }
            });
            eventually("clients are refused", || served.server.stats().refused(RefusedBy::Full) > 0);
            let report = shut_down(&served.server, HANG);
            assert_eq!(counts(report), (3, 0, 0), "all three end by themselves");
            within("no client comes any more", move || coming.join()).expect("each is turned away");
            served.stop();
        });
    });
}

/// Ensures that a shutdown while accepting pauses for want of descriptors does not wait for the pause.
#[test]
fn a_shutdown_during_a_shortage_of_descriptors_returns() {
    in_child(this_test!(), &["sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"], || {
        let (tell, told) = mpsc::channel();
        let options = ServerOptions::new().report(move |report| {
            if let Report::AcceptPaused { .. } = report {
                let _ = tell.send(());
            }
        });
        let served = Served::start("127.0.0.1:0", &options, echo);
        let inside = client(served.server.address());
        ask(&inside).expect("it is served");
        let mut files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        // One for the client's end; its other end cannot be had.
        files.pop();
        let waiting = client(served.server.address());
        told.recv_timeout(HANG).expect("accepting pauses");
        // The thread that accepts may have set a descriptor aside before they were all taken.
        let open = served.server.connections();
        let report = shut_down(&served.server, HANG);
        assert_eq!(counts(report), (open, 0, 0), "who is inside ends, long before the grace is over");
        drop((files, waiting));
        served.stop();
    });
}

/// Ensures that a shutdown with a backlog full of clients returns, and that none of them is served after it.
#[test]
fn a_shutdown_with_a_full_backlog_returns() {
    for adopted in [false, true] {
        let options = ServerOptions::new().max_connections(1).backlog(8).when_full(landline::net::WhenFull::Wait);
        let giver = TcpListener::bind("127.0.0.1:0").expect("port 0 can be listened on");
        let server = match adopted {
            true => options.adopt(giver.try_clone().expect("a descriptor")),
            false => options.listen("127.0.0.1:0"),
        }
        .expect("the server listens");
        let serving = server.spawn(echo).expect("a thread can be started");
        let inside = client(server.address());
        ask(&inside).expect("there is room for one");
        let queued: Vec<_> = (0..8).map(|_| client(server.address())).collect();
        let report = shut_down(&server, HANG);
        assert_eq!(counts(report), (1, 0, 0), "who is inside ends, adopted: {adopted}");
        within("serving ends", move || serving.join()).expect("in order");
        if !adopted {
            queued.iter().for_each(|one| assert!(is_turned_away_by_close(one), "no queued client is served after it"));
        }
    }
}

/// What a client has seen of a relay that was shut down.
struct Relayed {
    report: ShutdownReport,
    read: Vec<u8>,
    end: std::io::Result<()>,
    /// The longest time between two of its reads. The last one is that of its end or error.
    longest: Duration,
}

/// Serves a proxy by `relay` to a backend whose handler is `answer`; gives what its client reads while a shutdown of `grace`
/// runs, which begins when the client has read a byte.
fn relayed(
    at: &str,
    grace: Duration,
    answer: impl Fn(&Socket) -> std::io::Result<()> + Send + Sync + 'static,
) -> Relayed {
    let backend = Served::start(at, &ServerOptions::new(), answer);
    let to = backend.server.address().clone();
    let proxy = Server::listen(at).expect("port 0 can be listened on");
    let serving = proxy.spawn(move |client| relay(client, &Socket::connect(&to)?)).expect("a thread");
    let client = Socket::connect(proxy.address()).expect("it listens");
    // From here on, since the answer may be late before the shutdown begins.
    let last = Instant::now();
    client.write_all("?").expect("it is connected");
    let mut read = vec![0; 1];
    client.read_exact(&mut read).expect("the answer begins");
    let reading = thread::spawn(move || read_on(&client, read, last));
    let report = shut_down(&proxy, grace);
    let reading = within("the client comes to an end", move || reading.join());
    let (read, end, longest) = reading.expect("it does not panic");
    within("serving ends", move || serving.join()).expect("in order");
    backend.stop();
    Relayed { report, read, end, longest }
}

/// Reads to the end or an error, after `read`, whose last byte came no earlier than `last`; gives the longest time
/// between two reads too.
fn read_on(client: &Socket, mut read: Vec<u8>, mut last: Instant) -> (Vec<u8>, std::io::Result<()>, Duration) {
    let (mut buffer, mut longest) = (vec![0; 1 << 16], Duration::ZERO);
    loop {
        let result = client.read(&mut buffer);
        longest = longest.max(last.elapsed());
        last = Instant::now();
        match result {
            Ok(0) => return (read, Ok(()), longest),
            Ok(n) => read.extend(&buffer[..n]),
            Err(error) => return (read, Err(error), longest),
        }
    }
}

/// Writes so many pieces of 1,000 bytes.
fn paced(pace: Duration, count: usize, socket: &Socket) -> std::io::Result<()> {
    for _ in 0..count {
        socket.write_all([b'x'; 1000])?;
        // Not a bound: the pace of the download.
        thread::sleep(pace);
    }
    Ok(())
}

/// Repeats a round until its claim holds. In a round in which it does not, the machine must have been late. A shutdown
/// takes a relay for idle when no byte has passed for 45 ms. The backend, a thread of the relay or the client may have
/// been late; in each case the client has waited for long. Had it waited less than 15 ms each time, the last two of its
/// reads before the end would have had bytes that passed in those 45 ms.
fn unless_late(mut round: impl FnMut() -> Relayed, holds: impl Fn(&Relayed) -> bool) {
    for _ in 0..50 {
        let seen = round();
        if holds(&seen) {
            return;
        }
        let (report, end, longest) = (seen.report, &seen.end, seen.longest);
        let said = format!("{} bytes, then {end:?} in {longest:?} at most: {report}", seen.read.len());
        assert!(longest >= Duration::from_millis(15), "nothing was late, and it does not hold: {said}");
        println!("late: {said}");
    }
    panic!("it holds in none of 50 rounds");
}

/// Ensures that a shutdown lets a relay run while bytes pass in one direction, although none pass in the other.
#[test]
fn a_shutdown_lets_a_download_by_relay_run_to_its_end() {
    each_ip(|at| {
        unless_late(
            || relayed(at, HANG, |socket| paced(Duration::from_millis(5), 40, socket)),
            // All of it came, and the end is the backend's own.
            |seen| seen.end.is_ok() && (seen.read.len(), seen.report.forced) == (40_000, 0),
        );
    });
}

/// Ensures that a shutdown lets a relay run of which one direction passes bytes and the other has yet to begin.
#[test]
#[cfg(target_os = "linux")]
fn a_shutdown_lets_a_relay_run_that_has_just_begun() {
    // Each start of a thread returns late, so the thread's direction passes bytes before the other has begun.
    let slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3"];
    let slow = [&slow[..], &["-e", "inject=clone,clone3:delay_exit=300000"]].concat();
    in_child(this_test!(), &slow, || {
        let round = || {
            let backend = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
            let to = backend.local_addr().expect("it is bound");
            // It answers without starting a thread first.
            let answering = thread::spawn(move || paced(Duration::from_millis(5), 200, &backend.accept()?.0.into()));
            let proxy = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
            let serving = proxy.spawn(move |client| relay(client, &Socket::connect(to)?)).expect("a thread");
            let (tell, told) = mpsc::channel();
            let at = proxy.address().clone();
            let reading = thread::spawn(move || {
                let client = Socket::connect(at).expect("it listens");
                let mut read = vec![0; 1];
                client.read_exact(&mut read).expect("the answer begins");
                let last = Instant::now();
                tell.send(()).expect("the test waits");
                read_on(&client, read, last)
            });
            told.recv_timeout(HANG).expect("the answer begins");
            let report = proxy.shutdown(HANG);
            let reading = within("the client comes to an end", move || reading.join());
            let (read, end, longest) = reading.expect("no panic");
            within("serving ends", move || serving.join()).expect("in order");
            let _ = within("the backend ends", move || answering.join());
            Relayed { report, read, end, longest }
        };
        unless_late(round, |seen| seen.end.is_ok() && (seen.read.len(), seen.report.forced) == (200_000, 0));
    });
}

/// Ensures that a relay that a shutdown cuts, in the middle or for want of bytes, ends by a reset: half is no whole.
#[test]
fn a_relay_that_a_shutdown_cuts_ends_by_a_reset() {
    let is_reset = |seen: &Relayed| seen.end.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    each_ip(|at| {
        unless_late(
            || relayed(at, Duration::from_millis(200), |socket| paced(Duration::from_millis(1), usize::MAX, socket)),
            |seen| {
                assert!(is_reset(seen), "half an answer, in the middle or because it was late: {:?}", seen.end);
                // It does not end by itself.
                seen.report.forced == 1
            },
        );

        let seen = relayed(at, HANG, |socket| {
            socket.write_all("x")?;
            // Until the relay has gone.
            socket.read_all().map(drop)
        });
        let report = seen.report;
        assert_eq!((seen.read.len(), report.forced), (1, 0), "it is idle, and does not take the whole time: {report}");
        assert!(is_reset(&seen), "cut for want of bytes: {:?}", seen.end);
    });
}

/// Ensures that a pipe whose reader is slow is not taken for idle while it waits for that reader.
#[test]
fn a_shutdown_lets_a_pipe_run_whose_reader_is_slow() {
    const SIZE: usize = 5 << 20;
    each_ip(|at| {
        let source = Served::start(at, &ServerOptions::new(), |socket| socket.write_end(vec![b'x'; SIZE]));
        let from = source.server.address().clone();
        let server = Server::listen(at).expect("port 0 can be listened on");
        let serving = server.spawn(move |socket| Socket::connect(&from)?.pipe(socket)).expect("a thread");
        let client = Socket::connect(server.address()).expect("it listens");
        client.read_exact(&mut [0]).expect("the download begins");
        let reading = thread::spawn(move || {
            let (mut buffer, mut total) = (vec![0; 1 << 17], 1);
            loop {
                match client.read(&mut buffer) {
                    Ok(0) => return total,
                    Ok(n) => total += n,
                    Err(error) => panic!("after {total} bytes: {error}"),
                }
                // Not a bound: the pace of the reader.
                thread::sleep(Duration::from_millis(50));
            }
        });
        let report = shut_down(&server, HANG);
        assert_eq!(report.forced, 0, "it comes to its end: {report}");
        assert_eq!(within("the download ends", move || reading.join()).expect("no reset"), SIZE, "all of it came");
        within("serving ends", move || serving.join()).expect("in order");
        source.stop();
    });
}

/// Ensures that a pipe into a connection that a shutdown cuts ends with it, although its source is silent.
#[test]
fn a_pipe_into_a_connection_that_is_cut_ends() {
    each_ip(|at| {
        let silent = Served::start(at, &ServerOptions::new(), |socket| socket.read_all().map(drop));
        let from = silent.server.address().clone();
        let server = Server::listen(at).expect("port 0 can be listened on");
        let (tell, told) = mpsc::channel();
        let (go, going) = mpsc::channel::<()>();
        let going = Mutex::new(going);
        let serving = server.spawn(move |socket| {
            let _ = tell.send(());
            let _ = going.lock().expect("nobody panics here").recv();
            Socket::connect(&from)?.pipe(socket)
        });
        let serving = serving.expect("a thread can be started");
        let _client = client(server.address());
        told.recv_timeout(HANG).expect("it is served");
        let shutting = server.clone();
        let shutdown = thread::spawn(move || shutting.shutdown(Duration::from_millis(200)));
        eventually("it has begun", || !server.is_listening());
        go.send(()).expect("the handler waits");
        let report = within("the shutdown ends", move || shutdown.join()).expect("it does not panic");
        assert_eq!((report.finished + report.forced), 1, "the connection has ended: {report}");
        within("serving ends", move || serving.join()).expect("in order");
        silent.stop();
    });
}

/// Ensures that a handler's error that has the interruption of a shutdown as its source is none.
#[test]
fn an_interrupted_read_is_in_order_also_as_the_source_of_an_error() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let serving = server
        .spawn(|socket| match socket.read(&mut [0]) {
            Err(error) => Err(std::io::Error::other(std::io::Error::other(error))),
            Ok(_) => Ok(()),
        })
        .expect("a thread can be started");
    let _idle = client(server.address());
    eventually("it is served", || server.connections() == 1);
    let report = shut_down(&server, HANG);
    assert_eq!(counts(report), (1, 0, 0), "it ends in order");
    within("serving ends", move || serving.join()).expect("in order");
    assert_eq!((server.stats().ended, server.stats().failed), (1, 0), "and is no failure");
}

/// A handler that calls `work` with its socket: at once, or in the closure of `each`.
fn calls(
    in_each: bool,
    work: impl Fn(&Socket) -> std::io::Result<()> + Send + Sync + 'static,
) -> impl Fn(&Socket) -> std::io::Result<()> + Send + Sync {
    move |socket| match in_each {
        false => work(socket),
        true => socket.each(|socket, event| match event {
            SocketEvent::Data(_) => work(socket),
            _ => Ok(()),
        }),
    }
}

/// Ensures that the shutdown of one server does not make the handler of another end in order: a handler that returns
/// the error of a socket of the first has failed, and the error is reported.
#[test]
fn the_shutdown_of_another_server_is_an_error_here() {
    for in_each in [false, true] {
        let other = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
        let _its_client = Socket::connect(other.address()).expect("it listens");
        let its_socket = accept(&other);
        let (tell, told) = mpsc::channel();
        let options = ServerOptions::new().report(move |report| {
            if let Report::Failed { error, .. } = report {
                let _ = tell.send(error.code().to_owned());
            }
        });
        let read = its_socket.clone();
        let served = Served::start("127.0.0.1:0", &options, calls(in_each, move |_| read.read(&mut [0]).map(drop)));
        let client = served.connect();
        client.write_all("x").expect("it is connected");
        eventually("it is served", || served.server.connections() == 1);
        other.begin_shutdown(HANG).expect("a thread can be started");
        eventually("the handler has ended", || served.server.connections() == 0);
        let stats = served.server.stats();
        assert_eq!((stats.failed, stats.ended), (1, 0), "in each: {in_each}: another server's shutdown is a failure");
        let code = told.recv_timeout(HANG).expect("it is reported");
        assert_eq!(code, "ERR_SERVER_SHUTTING_DOWN", "in each: {in_each}: the report has the error");
        served.stop();
        its_socket.destroy();
        within("the other server ends", move || other.wait()).expect("it was shut down");
    }
}

/// Ensures that a handler ends in order if it returns the error of another connection of its server that a shutdown has
/// interrupted, although its own is not interrupted: a shutdown leaves out the connection whose handler calls it.
#[test]
fn the_shutdown_is_in_order_by_the_error_of_another_connection() {
    for in_each in [false, true] {
        let (server, first) = (Arc::new(OnceLock::<Server>::new()), Arc::new(OnceLock::<Socket>::new()));
        let (its_server, other) = (server.clone(), first.clone());
        let (tell, told) = mpsc::channel();
        let told = Mutex::new(told);
        let work = move |socket: &Socket| {
            if other.set(socket.clone()).is_ok() {
                told.lock().expect("nothing panicked").recv_timeout(HANG).expect("the read returns");
                return Ok(());
            }
            let other = other.get().expect("it is set");
            thread::scope(|scope| {
                let reading = scope.spawn(|| {
                    let result = other.read_exact(&mut [0; 2]);
                    tell.send(()).expect("the other handler waits");
                    result
                });
                let report = its_server.get().expect("the test gives it").shutdown(HANG);
                assert_eq!(counts(report), (1, 0, 0), "the other one ends in order");
                reading.join().expect("it does not panic")
            })
        };
        let served = Served::start("127.0.0.1:0", &ServerOptions::new(), calls(in_each, work));
        let _ = server.set(served.server.clone());
        let clients = [served.connect(), served.connect()];
        clients[0].write_all("x").expect("it is connected");
        eventually("the first is served", || first.get().is_some());
        clients[1].write_all("x").expect("it is connected");
        let ends = || (served.server.stats().failed, served.server.stats().ended);
        eventually("both have ended", || ends().0 + ends().1 == 2);
        assert_eq!(ends(), (0, 2), "in each: {in_each}: the own server's shutdown is no failure");
        served.stop();
    }
}

/// Ensures that handlers that shut their server down at the same time do not cut each other off when the time is up.
#[test]
fn handlers_that_shut_down_at_once_do_not_cut_each_other() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let (shut, count, start) = (server.clone(), AtomicUsize::new(0), std::sync::Barrier::new(3));
        let (tell, told) = mpsc::channel();
        let (go, going) = mpsc::channel::<()>();
        let going = Mutex::new(going);
        let serving = server.spawn(move |socket| {
            let is_busy = count.fetch_add(1, SeqCst) == 2;
            start.wait();
            if is_busy {
                // Keeps the shutdowns for their whole time.
                let _ = going.lock().expect("nobody panics here").recv();
                return Ok(());
            }
            let _ = shut.shutdown(Duration::from_millis(100));
            let _ = tell.send(());
            socket.write_end("bye")
        });
        let serving = serving.expect("a thread can be started");
        let mut clients: Vec<_> = (0..3).map(|_| client(server.address())).collect();
        for _ in 0..2 {
            told.recv_timeout(HANG).expect("both shutdowns return");
        }
        drop(go);
        let mut answers = 0;
        for one in &mut clients {
            let mut answer = String::new();
            let _ = one.read_to_string(&mut answer);
            answers += usize::from(answer == "bye");
        }
        assert_eq!(answers, 2, "each of the two has answered its own client");
        within("serving ends", move || serving.join()).expect("in order");
    });
}

/// Ensures that a handler that shuts its server down, and answers then, is heard whole by a client whose input is unread.
#[test]
fn a_handler_that_has_shut_its_server_down_still_lingers() {
    each_ip(|at| {
        let server = Server::listen(at).expect("port 0 can be listened on");
        let ended = server.clone();
        let serving = server
            .spawn(move |socket| {
                socket.read_exact(&mut [0])?;
                let _ = ended.shutdown(Duration::ZERO);
                socket.write_all("answered")
            })
            .expect("a thread can be started");
        let (other, mut asking) = (client(server.address()), client(server.address()));
        eventually("both are served", || server.connections() == 2);
        asking.write_all(&vec![0; 1 << 20]).expect("it is taken in although the handler does not read it");
        let mut answer = String::new();
        asking.read_to_string(&mut answer).expect("no reset");
        assert_eq!(answer, "answered", "the answer is whole");
        drop((other, asking));
        within("serving ends", move || serving.join()).expect("in order");
    });
}

/// Ensures that the example drains at Enter, idle clients at once, and prints the report.
#[test]
fn the_example_shuts_down_at_enter() {
    each_ip(|at| {
        let mut example = process::Server::start("shutdown", &[at]);
        assert_eq!(example.program.line(), "Enter shuts it down", "it says what to do");
        let mut idle = TcpStream::connect(example.address).expect("the example listens");
        ask(&idle).expect("it echoes");
        example.program.type_in("\n");
        assert_eq!(idle.read(&mut [0]).expect("the end comes in order"), 0, "the client sees the end");
        drop(idle);
        let said = example.program.rest();
        let report = said.last().expect("it says how it went");
        assert!(report.starts_with("1 finished, 0 forced, 0 still running, after "), "{said:?}");
        assert!(example.program.status().success(), "and ends well");
    });
}
