//! `close()` from everywhere: nobody stays blocked, nothing is left, and nobody else is harmed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions};
use landline::{RefusedBy, Report};

use crate::support::clients::{are_queued, ask, at, client, echo, is_turned_away, leave, measured, stop};
use crate::support::time::once_below;
use crate::support::{
    HANG, PORTABLE, blocked, descriptors, each_ip, eventually, in_child, numbered, threads, threads_named,
    until_asleep, within,
};

/// Clients that connect all the time, served or not, from an address of their own: one that shared the server's could be
/// given the server's port while that is free.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(at: SocketAddr) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let connect = move || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into())?;
            socket.connect_timeout(&at.into(), Duration::from_millis(20))
        };
        let work = || {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(SeqCst) {
                    // While the server is closed it fails.
                    let _ = connect();
                }
            })
        };
        Load { threads: vec![work(), work()], over }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a client does not panic"));
    }
}

/// Some microseconds more or less, in which others are a step further. Not a sleep: on a busy machine that would be long.
fn spin(steps: usize) {
    (0..steps * 200).for_each(|_| std::hint::spin_loop());
}

/// From where a server is closed.
#[derive(Debug, Clone, Copy)]
enum Way {
    Thread,
    Handler,
    Refused,
    Report,
}

/// Makes a server with `make`, has it closed in the `way`, by the first client that comes where that takes one, and waits
/// until all is over; gives the time from the close to that. Under load there are clients enough.
fn cycle(way: Way, n: usize, loaded: bool, make: &dyn Fn(ServerOptions) -> Server) -> Duration {
    let options = ServerOptions::new();
    let start = Arc::new(OnceLock::new());
    let close = {
        let start = Arc::clone(&start);
        move |server: &Server| {
            start.get_or_init(Instant::now);
            server.close();
        }
    };
    let (server, serving) = match way {
        Way::Thread => {
            let server = make(options);
            let acceptors: Vec<_> = (0..2)
                .map(|_| {
                    let server = server.clone();
                    thread::spawn(move || while server.accept().expect("closing is no error").is_some() {})
                })
                .collect();
            // So that some cycles close before the acceptors are there, and some after.
            spin(n % 8);
            close(&server);
            acceptors.into_iter().for_each(|acceptor| acceptor.join().expect("accept() does not panic"));
            return start.get().expect("it was closed").elapsed();
        }
        Way::Handler => {
            let server = make(options);
            let inside = server.clone();
            let serving = server.spawn(move |_| {
                close(&inside);
                Ok(())
            });
            (server, serving)
        }
        Way::Refused => {
            let server = make(options.max_connections(0));
            let inside = server.clone();
            let serving = server.on().refused(move |_| close(&inside)).spawn();
            (server, serving)
        }
        Way::Report => {
            let inside = Arc::new(Mutex::new(None::<Server>));
            let hook = Arc::clone(&inside);
            let server = make(options.report(move |report| {
                let accepted = matches!(report, Report::Accepted { .. });
                // Outside the lock: `close` reports too.
                let server = if accepted { hook.lock().expect("nobody panics here").take() } else { None };
                if let Some(server) = server {
                    close(&server);
                }
            }));
            *inside.lock().expect("nobody panics here") = Some(server.clone());
            let serving = server.spawn(|_| Ok(()));
            (server, serving)
        }
    };
    let serving = serving.expect("a thread can be started");
    if !loaded {
        drop(client(server.address()));
    }
    serving.join().expect("serving ends without an error");
    assert!(!server.is_listening(), "it is closed");
    start.get().expect("it was closed").elapsed()
}

/// Runs cycles, idle and then under load, and proves that each comes to its end and that they leave nothing.
fn cycles(what: &str, way: Way, at: SocketAddr, make: &(dyn Fn(ServerOptions) -> Server + Sync)) {
    const COUNT: usize = 50;
    // What the first use of anything allocates for good is no leak.
    cycle(way, 0, false, make);
    for (load, name) in [(false, "idle"), (true, "under load")] {
        let before = (threads(), descriptors());
        let clients = load.then(|| Load::on(at));
        let mut times = Vec::new();
        for n in 0..COUNT {
            times.push(cycle(way, n, load, make));
        }
        drop(clients);
        measured(&format!("close from {way:?}, {what}, {name}"), times);
        // Before, a thread of the last cycle may not have been quite gone.
        eventually("no thread and no descriptor is left", || threads() <= before.0 && descriptors() <= before.1);
    }
}

/// Cycles that listen, each time on the same port: it is free at once.
fn listened(way: Way) {
    let port = Server::listen("127.0.0.1:0").expect("the server listens").address().port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    cycles("listened", way, at, &|options| options.listen(at).expect("the port of a closed server is free at once"));
}

/// Cycles that adopt a listener, each time the same: it is never shut down.
fn adopted(way: Way) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
    let at = listener.local_addr().expect("the listener has an address");
    cycles("adopted", way, at, &|options| {
        options.adopt(listener.try_clone().expect("a descriptor is free")).expect("a listener can be adopted")
    });
}

/// Ensures that `close()` from another thread wakes blocked `accept()`s, frees the port at once and leaves nothing.
#[test]
fn close_from_another_thread_wakes_accept() {
    in_child(this_test!(), &[], || listened(Way::Thread));
}

/// Ensures that `close()` from inside a handler ends the serving.
#[test]
fn close_from_inside_a_handler_ends_serving() {
    in_child(this_test!(), &[], || listened(Way::Handler));
}

/// Ensures that `close()` from inside the `refused` callback ends the serving.
#[test]
fn close_from_inside_the_refused_callback_ends_serving() {
    in_child(this_test!(), &[], || listened(Way::Refused));
}

/// Ensures that `close()` from inside the report hook ends the serving.
#[test]
fn close_from_inside_the_report_hook_ends_serving() {
    in_child(this_test!(), &[], || listened(Way::Report));
}

/// Ensures the same where shutdown(2) is not used to wake anybody, as on an adopted listener.
#[test]
fn close_of_an_adopted_listener_wakes_accept() {
    in_child(this_test!(), &[], || adopted(Way::Thread));
}

/// Ensures that `close()` wakes a thread that was in accept(2) before the giver made the listener non-blocking.
#[test]
fn close_wakes_accept_though_its_listener_was_made_non_blocking_since() {
    each_ip(|place| {
        let listener = TcpListener::bind(place).expect("the listener listens");
        let ours = listener.try_clone().expect("a descriptor is free");
        let server = ServerOptions::new().adopt(ours).expect("a listener can be adopted");
        let acceptor = server.clone();
        let accepting = blocked(move || acceptor.accept());
        listener.set_nonblocking(true).expect("the mode can be set");
        within("it is closed", move || server.close());
        let socket = within("accept() returns", move || accepting.join()).expect("no panic").expect("no error");
        assert!(socket.is_none(), "a closed server has no client");
    });
}

/// Ensures that `close()` lets a thread return by itself that polls an adopted listener, and leaves no call in its queue, unless
/// that takes longer than 1.5 s.
#[test]
fn close_leaves_no_call_at_a_listener_that_does_not_block() {
    // Each accept4(2) returns half a second late.
    let slow =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4", "-e", "inject=accept4:delay_exit=500000"];
    in_child(this_test!(), &slow, || {
        eventually("the thread returns in time", || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
            listener.set_nonblocking(true).expect("the mode can be set");
            let ours = listener.try_clone().expect("a descriptor is free");
            let server = ServerOptions::new().adopt(ours).expect("a listener can be adopted");
            let serving = server.spawn(|socket| socket.pipe(socket)).expect("a thread can be started");
            leave(client(server.address()));
            eventually("a client is accepted, and a thread waits for the next", || server.stats().accepted == 1);
            let start = Instant::now();
            server.close();
            let is_in_time = start.elapsed() < Duration::from_millis(1500);
            within("serving ends", || serving.join()).expect("closing is no error");
            let nothing = listener.accept().map(drop).map_err(|error| error.kind());
            assert!(!is_in_time || nothing == Err(ErrorKind::WouldBlock), "no call of ours is left: {nothing:?}");
            is_in_time
        });
    });
}

/// Ensures the same from inside a handler.
#[test]
fn close_of_an_adopted_listener_from_inside_a_handler_ends_serving() {
    in_child(this_test!(), &[], || adopted(Way::Handler));
}

/// Ensures the same from inside the `refused` callback and from inside the report hook.
#[test]
fn close_of_an_adopted_listener_from_inside_a_hook_ends_serving() {
    in_child(this_test!(), &[], || {
        adopted(Way::Refused);
        adopted(Way::Report);
    });
}

/// Makes a server, and gives the listener that it has adopted, if it has.
type Make<'a> = dyn Fn() -> (Server, Option<TcpListener>) + 'a;

/// What makes a server of each kind, listening and adopted.
fn each_maker(options: &ServerOptions, test: impl Fn(&Make<'_>)) {
    each_ip(|place| {
        test(&|| (options.listen(place).expect("the server listens"), None));
        test(&|| {
            let listener = TcpListener::bind(place).expect("the listener listens");
            let ours = listener.try_clone().expect("a descriptor is free");
            (options.adopt(ours).expect("a listener can be adopted"), Some(listener))
        });
    });
}

/// A server of each kind, listening and adopted, and the listener that was adopted.
fn each_kind(options: &ServerOptions, test: impl Fn(Server, Option<TcpListener>)) {
    each_maker(options, |make| {
        let (server, listener) = make();
        test(server, listener);
    });
}

/// Starts threads that serve what `accept()` gives them; gives their numbers too.
fn acceptors(server: &Server, count: usize) -> (Vec<JoinHandle<()>>, Vec<u32>) {
    let start = |_| {
        let server = server.clone();
        numbered(move || {
            while let Some(socket) = server.accept().expect("closing is no error") {
                echo(&socket).expect("the client is sound");
            }
        })
    };
    let (threads, ids): (Vec<_>, Vec<_>) = (0..count).map(start).unzip();
    (threads, ids.into_iter().flatten().collect())
}

/// Ensures that one `close()` wakes sixteen threads in `accept()`.
#[test]
fn close_wakes_sixteen_acceptors() {
    each_kind(&ServerOptions::new(), |server, _| {
        let (acceptors, ids) = acceptors(&server, 16);
        leave(client(server.address()));
        until_asleep(&ids);
        server.close();
        for acceptor in acceptors {
            within("close() wakes every acceptor", move || acceptor.join()).expect("accept() does not panic");
        }
    });
}

/// Ensures that acceptors that sleep in `accept()` are woken by what `close()` does first, and not after its first pause of
/// 20 ms.
#[test]
fn close_wakes_acceptors_before_its_first_pause() {
    let shutdown_wakes = cfg!(target_os = "linux") && !PORTABLE;
    each_maker(&ServerOptions::new(), |make| {
        if make().1.is_none() && !shutdown_wakes {
            println!("skipped for a listener of its own: it is called only after the first pause");
            return;
        }
        // Each pause is at least as long, so that one round which is shorter shows that there was none.
        eventually("one close takes less than the first pause", || {
            let (server, _listener) = make();
            let (acceptors, ids) = acceptors(&server, 2);
            until_asleep(&ids);
            let start = Instant::now();
            server.close();
            let took = start.elapsed();
            acceptors.into_iter().for_each(|acceptor| acceptor.join().expect("accept() does not panic"));
            took < Duration::from_millis(20)
        });
    });
}

/// Ensures that `close()` of a listener of its own only waits for threads that shutdown(2) has woken, however long they take
/// to return: another server at the port gets no client that no program has made.
#[test]
fn close_waits_for_woken_acceptors_and_calls_no_other_server() {
    if PORTABLE || !cfg!(target_os = "linux") {
        println!("skipped: shutdown(2) wakes no thread here, so close() calls them");
        return;
    }
    // Each accept4(2) returns four seconds late.
    let slow =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4", "-e", "inject=accept4:delay_exit=4000000"];
    in_child(this_test!(), &slow, || {
        let options = ServerOptions::new().reuse_port(true);
        let server = options.listen("127.0.0.1:0").expect("port 0 is free");
        let accepting = server.clone();
        let accepting = blocked(move || accepting.accept().map(|socket| socket.is_none()));
        let other = options.listen(server.address()).expect("both have asked for it");
        within("close() returns", move || server.close());
        let is_closed = within("accept() returns", move || accepting.join()).expect("no panic").expect("no error");
        assert!(is_closed, "a closed server has no client");
        let nothing = other.try_accept().map(|socket| socket.is_some()).expect_err("no call reaches another server");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "no call reaches another server");
    });
}

/// Ensures that `close()` wakes a thread in accept(2), and frees the port, also where the system refuses shutdown(2).
#[test]
fn close_wakes_accept_where_shutdown_is_refused() {
    let refused =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=shutdown", "-e", "inject=shutdown:error=EPERM"];
    in_child(this_test!(), &refused, || {
        each_ip(|place| {
            let options = ServerOptions::new().reuse_address(false);
            let server = options.listen(place).expect("port 0 is free");
            let accepting = server.clone();
            let accepting = blocked(move || accepting.accept().map(|socket| socket.is_none()));
            let closing = server.clone();
            within("close() returns", move || closing.close());
            let is_closed = within("accept() returns", move || accepting.join()).expect("no panic").expect("no error");
            assert!(is_closed, "a closed server has no client");
            assert!(options.listen(server.address()).is_ok(), "the port is free when close() has returned");
        });
    });
}

/// Ensures that `close()` returns and frees the port while another thread asks how many clients are queued, however long
/// the system takes to tell: here it takes three seconds to open a table of sockets.
#[test]
fn close_frees_the_port_while_another_thread_reads_the_queue() {
    // musl calls open(2), which not every processor has.
    let strace =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=?open,openat", "-P", "/proc/thread-self/net/tcp"];
    in_child(this_test!(), &[&strace[..], &["-e", "inject=?open,openat:delay_enter=3000000"]].concat(), || {
        let options = ServerOptions::new().reuse_address(false);
        each_ip(|at| {
            eventually("close() returns while another thread is in queued()", || {
                let server = options.listen(at).expect("port 0 can be listened on");
                let asked = server.clone();
                let (asking, id) = numbered(move || asked.queued());
                until_asleep(id.as_slice());
                let closing = server.clone();
                within("close() returns beside queued()", move || closing.close());
                let again = options.listen(server.address());
                assert!(again.is_ok(), "the port is free when close() has returned: {again:?}");
                assert_eq!(server.queued(), None, "a closed server has no queue");
                let counts = !asking.is_finished() || PORTABLE || id.is_none();
                within("queued() returns", || asking.join()).expect("no panic");
                counts
            });
        });
    });
}

/// Ensures that `close()` returns and leaves nobody blocked when the backlog is full and nobody takes from it.
#[test]
fn close_with_a_full_backlog_returns() {
    let filled = |server: &Server| {
        let connect = |_| {
            let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            client.set_nonblocking(true).expect("the mode can be set");
            // The last ones only begin to.
            let _ = client.connect(&at(server).into());
            client
        };
        let clients: Vec<_> = (0..5).map(connect).collect();
        if cfg!(target_os = "linux") {
            // The kernel keeps one more than it is told.
            are_queued(server, 2);
        }
        clients
    };
    let options = ServerOptions::new().backlog(1);
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("port 0 is free");
    listener.listen(1).expect("it listens");
    let ours = TcpListener::from(listener.try_clone().expect("a descriptor is free"));
    for server in [options.listen("127.0.0.1:0").expect("the server listens"), options.adopt(ours).expect("it listens")]
    {
        // Nobody accepts at all.
        let clients = filled(&server);
        let closing = server.clone();
        within("close() with a full backlog returns", move || closing.close());
        assert!(server.accept().expect("closing is no error").is_none(), "a closed server accepts nobody");
        drop(clients);
    }

    // All threads that may accept are kept in callbacks meanwhile.
    let server = options.clone().max_connections(0).listen("127.0.0.1:0").expect("the server listens");
    let (tell, told) = mpsc::channel::<()>();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let serving = server
        .on()
        .refused(move |_| {
            let _ = tell.send(());
            let _ = wait.lock().expect("nobody panics here").recv();
        })
        .spawn()
        .expect("a thread can be started");
    let refuse = |_| {
        let refused = client(server.address());
        told.recv_timeout(HANG).expect("the client is refused");
        refused
    };
    let refused: Vec<_> = (0..16).map(refuse).collect();
    let clients = filled(&server);
    let closing = server.clone();
    within("close() with a full backlog returns", move || closing.close());
    drop(go_on);
    within("serving ends", move || serving.join()).expect("serving ends without an error");
    drop((refused, clients));
}

/// Ensures that `close()` wakes the acceptor of a server at its limit, and that serving ends with the last handler.
#[test]
fn close_at_the_limit_leaves_the_connections() {
    each_kind(&ServerOptions::new().max_connections(2), |server, _| {
        let serving = server.spawn(echo).expect("a thread can be started");
        let (one, two) = (client(server.address()), client(server.address()));
        ask(&one).expect("there is room for two");
        ask(&two).expect("there is room for two");
        let closing = server.clone();
        within("close() at the limit returns", move || closing.close());
        assert!(!server.is_listening(), "a closed server does not listen");
        ask(&one).expect("closing closes no connection");
        assert!(!serving.is_finished(), "serving goes on until the last handler has returned");
        leave(one);
        ask(&two).expect("closing closes no connection");
        leave(two);
        within("serving ends with the last handler", move || serving.join()).expect("without an error");
        assert_eq!(server.connections(), 0, "every slot comes back");
    });
}

/// Takes every descriptor this process may still have.
fn take_all() -> Vec<std::fs::File> {
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

/// Ensures that `close()` cuts the pause short that a shortage of descriptors makes.
#[test]
fn close_cuts_the_pause_of_a_shortage_short() {
    // The pauses are 5, 10, 20, … ms long, and after the seventh failure 320 ms.
    const FAILURES: u64 = 7;
    const PAUSE: Duration = Duration::from_millis(320);
    in_child(this_test!(), &["prlimit", "--nofile=64"], || {
        each_maker(&ServerOptions::new(), |make| {
            once_below("close() cuts the pause short", PAUSE, || {
                let (server, _listener) = make();
                let all = take_all();
                let (tell, told) = mpsc::channel();
                for _ in 0..3 {
                    let (server, tell) = (server.clone(), tell.clone());
                    thread::spawn(move || tell.send(server.accept()));
                }
                // Before the last failure, so the pause after that ends later than this by its length.
                let mut start = Instant::now();
                eventually("the pauses are long", || {
                    let now = Instant::now();
                    let are_long = server.stats().accept_errors >= 3 * FAILURES;
                    start = if are_long { start } else { now };
                    are_long
                });
                server.close();
                for _ in 0..3 {
                    let got = told.recv_timeout(HANG).expect("close() wakes an acceptor that pauses");
                    assert!(got.expect("a shortage is no error").is_none(), "there was no client");
                }
                drop(all);
                start.elapsed()
            });
        });
    });
}

/// Ensures that acceptors that blocked before the descriptors ran out are woken too, although connecting to the server
/// needs one.
#[test]
fn close_without_a_free_descriptor_wakes_accept() {
    in_child(this_test!(), &["prlimit", "--nofile=64"], || {
        each_kind(&ServerOptions::new(), |server, _| {
            let (tell, told) = mpsc::channel();
            let start = |_| {
                let (server, tell) = (server.clone(), tell.clone());
                let accept = move || {
                    let first = server.accept();
                    let _ = tell.send(first.map(|socket| socket.is_some()));
                    let second = server.accept();
                    let _ = tell.send(second.map(|socket| socket.is_some()));
                };
                numbered(accept).1
            };
            let ids: Vec<_> = (0..4).filter_map(start).collect();
            for _ in 0..4 {
                drop(client(server.address()));
                let first = told.recv_timeout(HANG).expect("a client is accepted");
                assert!(first.expect("accept() works"), "accept() gives a client");
            }
            // In accept(2), before which a descriptor is set aside.
            until_asleep(&ids);
            let all = take_all();
            let closing = server.clone();
            let closer = thread::spawn(move || closing.close());
            for _ in 0..4 {
                let second = told.recv_timeout(HANG).expect("close() wakes an acceptor");
                assert!(!second.expect("closing is no error"), "there was no second client");
            }
            closer.join().expect("close() does not panic");
            drop(all);
        });
    });
}

/// Ensures that closing twice, and from eight threads at once, is harmless, that each call returns only when the server is
/// closed, and that no connection by which a thread is woken counts as a client.
#[test]
fn closing_twice_and_from_eight_threads_at_once_is_harmless() {
    let close_from_eight = |(adopt, answer): (bool, bool)| {
        for n in 0..20 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
            let options = ServerOptions::new().answer_queued(answer);
            let server = if adopt { options.adopt(listener) } else { options.listen("127.0.0.1:0") };
            let server = server.expect("the server listens");
            let acceptor = thread::spawn({
                let server = server.clone();
                let serving = (n % 2 == 0).then(|| server.spawn(echo).expect("a thread can be started"));
                move || match serving {
                    Some(serving) => serving.join().expect("serving ends without an error"),
                    None => while server.accept().expect("closing is no error").is_some() {},
                }
            });
            let start = Arc::new(Barrier::new(8));
            let closers: Vec<_> = (0..8)
                .map(|_| {
                    let (server, start) = (server.clone(), Arc::clone(&start));
                    thread::spawn(move || {
                        start.wait();
                        server.close();
                        if !adopt {
                            TcpStream::connect(at(&server)).expect_err("after close() has returned nobody listens");
                        }
                    })
                })
                .collect();
            within("eight close()s at once return", move || {
                closers.into_iter().for_each(|closer| closer.join().expect("close() does not panic"));
            });
            server.close();
            within("accepting ends", move || acceptor.join()).expect("it does not panic");
            let stats = server.stats();
            assert_eq!((stats.accepted, stats.refused_total()), (0, 0), "no call of our own counts as a client");
            within("wait() returns", move || server.wait()).expect("wait() has no errors");
        }
    };
    // With a network of its own, so that no other test is given a port that has just become free.
    in_child(this_test!(), &[], || {
        [(false, false), (false, true), (true, false)].into_iter().for_each(close_from_eight)
    });
}

/// Ensures that after `close()` has returned the descriptor is closed, so that the port can be had without SO_REUSEADDR,
/// whatever an acceptor was about to do.
#[test]
fn the_port_is_free_without_reuse_address_once_close_has_returned() {
    in_child(this_test!(), &[], || {
        let options = ServerOptions::new().reuse_address(false);
        let mut at = SocketAddr::from(([127, 0, 0, 1], 0));
        for n in 0..50 {
            let server = options.listen(at).expect("the descriptor of a closed server is closed");
            at = self::at(&server);
            let accept = |server: Server| thread::spawn(move || assert!(server.accept().expect("no error").is_none()));
            let acceptors = [accept(server.clone()), accept(server.clone())];
            spin(n % 5);
            server.close();
            let again = options.listen(at).expect("the descriptor of a closed server is closed");
            drop(again);
            acceptors.into_iter().for_each(|acceptor| acceptor.join().expect("accept() returns none"));
        }
    });
}

/// Ensures that a server closed before it is served serves nobody and says so at once.
#[test]
fn serving_a_closed_server_returns_at_once() {
    each_kind(&ServerOptions::new(), |server, _| {
        server.close();
        let (tell, told) = mpsc::channel();
        let serving = server.clone();
        within("serve() of a closed server returns", move || {
            serving.on().connection(|_| panic!("there is no client")).close(|| tell.send(()).expect("it waits")).run()
        })
        .expect("a closed server is no error");
        told.try_recv().expect("the `close` callback runs all the same");
        within("wait() returns", move || server.wait()).expect("wait() has no errors");
    });
}

/// Ensures that dropping the last handle closes the server: the port is free and waiting clients see the end.
#[test]
fn dropping_the_last_handle_closes_the_server() {
    in_child(this_test!(), &[], || {
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let place = at(&server);
        let other = server.clone();
        let waiting = client(server.address());
        are_queued(&server, 1);
        drop(server);
        assert!(other.is_listening(), "a server lives as long as one of its handles");
        drop(other);
        assert!(is_turned_away(&waiting), "a client that was not accepted is reset");
        TcpStream::connect(place).expect_err("no server listens any more");
        Server::listen(place).expect("the port is free at once");
    });
}

/// Ensures that a handler can close the server and wait for the other connections, its own left out.
#[test]
fn a_handler_may_close_and_then_wait() {
    each_kind(&ServerOptions::new(), |server, _| {
        let inside = server.clone();
        let serving = server.spawn(move |socket| {
            let mut word = [0];
            while socket.read(&mut word)? == 1 {
                if word == *b"c" {
                    inside.close();
                    inside.wait()?;
                    return socket.write_all("alone");
                }
                socket.write_all(word)?;
            }
            Ok(())
        });
        let serving = serving.expect("a thread can be started");
        let (mut closer, other) = (client(server.address()), client(server.address()));
        ask(&other).expect("the server serves");
        ask(&closer).expect("the server serves");
        closer.write_all(b"c").expect("the server is there");
        eventually("the server is closed", || !server.is_listening());
        closer.set_nonblocking(true).expect("the mode can be set");
        ask(&other).expect("the other connection is open");
        closer.read(&mut [0]).expect_err("the other connection is open, so wait() goes on");
        closer.set_nonblocking(false).expect("the mode can be set");
        leave(other);
        let mut text = String::new();
        closer.read_to_string(&mut text).expect("wait() returns once only its own connection is left");
        assert_eq!(text, "alone", "the handler goes on after wait()");
        drop(closer);
        within("serving ends", move || serving.join()).expect("serving ends without an error");
    });
}

/// Ensures that two handlers that wait do not wait for each other, although the first to be let go keeps its connection
/// until the second one has been let go too.
#[test]
fn two_handlers_may_wait_at_once() {
    for _ in 0..50 {
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let inside = server.clone();
        let both = Barrier::new(2);
        let serving = server.spawn(move |socket| {
            let mut word = [0];
            socket.read_exact(&mut word)?;
            socket.write_all(word)?;
            socket.read_exact(&mut word)?;
            inside.close();
            inside.wait()?;
            both.wait();
            socket.write_all("!")
        });
        let serving = serving.expect("a thread can be started");
        let mut clients = [client(server.address()), client(server.address())];
        clients.iter().for_each(|one| ask(one).expect("the server serves"));
        clients.iter_mut().for_each(|one| one.write_all(b"c").expect("the server is there"));
        for mut one in clients {
            let mut end = String::new();
            one.read_to_string(&mut end).expect("both handlers are let go");
            assert_eq!(end, "!", "both handlers are let go");
        }
        within("serving ends", move || serving.join()).expect("serving ends without an error");
    }
}

/// Ensures that `wait()` outside waits for handlers too that wait themselves: they are let go and still have to end.
#[test]
fn wait_outside_waits_for_handlers_that_wait_too() {
    for _ in 0..20 {
        let server = Server::listen("127.0.0.1:0").expect("the server listens");
        let inside = server.clone();
        let (tell, told) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let serving = server.spawn(move |socket| {
            let mut word = [0];
            while socket.read(&mut word)? == 1 {
                if word == *b"w" {
                    tell.send(()).expect("the test waits");
                    inside.wait()?;
                    tell.send(()).expect("the test waits");
                    let _ = wait.lock().expect("nobody panics here").recv();
                    return Ok(());
                }
                socket.write_all(word)?;
            }
            Ok(())
        });
        let serving = serving.expect("a thread can be started");
        let (mut one, other) = (client(server.address()), client(server.address()));
        ask(&other).expect("the server serves");
        one.write_all(b"w").expect("the server is there");
        told.recv_timeout(HANG).expect("the handler is about to wait");
        let over = Arc::new(AtomicBool::new(false));
        let (outside, id) = numbered({
            let (server, over) = (server.clone(), Arc::clone(&over));
            move || {
                server.wait().expect("wait() has no errors");
                assert!(over.load(SeqCst), "wait() returns when the last connection has ended, not before");
            }
        });
        server.close();
        leave(other);
        told.recv_timeout(HANG).expect("the handler is let go: its own connection is the last");
        until_asleep(id.as_slice());
        assert!(!outside.is_finished(), "wait() returns when the last connection has ended, not before");
        over.store(true, SeqCst);
        drop((go_on, one));
        within("wait() returns", move || outside.join()).expect("it returns after the end");
        within("serving ends", move || serving.join()).expect("serving ends without an error");
    }
}

/// Ensures that `wait()` never returns while a client that was admitted still has its handler to come.
#[test]
fn wait_never_misses_a_client_that_was_just_admitted() {
    each_ip(|place| {
        let mut served = 0;
        for n in 0..60 {
            let server = Server::listen(place).expect("the server listens");
            let over = Arc::new(AtomicBool::new(false));
            let late = Arc::new(AtomicUsize::new(0));
            let serving = server.spawn({
                let (over, late) = (Arc::clone(&over), Arc::clone(&late));
                move |_| {
                    late.fetch_add(usize::from(over.load(SeqCst)), SeqCst);
                    Ok(())
                }
            });
            let serving = serving.expect("a thread can be started");
            drop(client(server.address()));
            spin(n % 30);
            if n % 30 == 29 {
                eventually("the client is admitted", || server.stats().accepted == 1);
            }
            server.close();
            server.wait().expect("wait() has no errors");
            over.store(true, SeqCst);
            within("serving ends", move || serving.join()).expect("serving ends without an error");
            assert_eq!(late.load(SeqCst), 0, "no handler starts after wait() has returned");
            served += server.stats().accepted;
        }
        assert!(served > 0, "the premise: some clients are admitted");
    });
}

/// Ensures that the `close` callback comes after the end of a connection too that `accept()` has given to somebody.
#[test]
fn the_close_callback_comes_after_the_last_connection_accept_gave_too() {
    let options = ServerOptions::new().thread_name("last");
    let server = options.listen("127.0.0.1:0").expect("the server listens");
    let one = client(server.address());
    let socket = server.accept().expect("accept() works").expect("the server is open");
    let (tell, told) = mpsc::channel();
    let serving = server.on().connection(echo).close(move || tell.send(()).expect("the test waits")).spawn();
    let serving = serving.expect("a thread can be started");
    ask(&client(server.address())).expect("the server is served");
    server.close();
    until_asleep(&threads_named("last "));
    assert!(told.try_recv().is_err(), "a connection is open, so it is not over");
    socket.destroy();
    told.recv_timeout(HANG).expect("the last connection has ended");
    within("run() returns", move || serving.join()).expect("it ends without an error");
    drop(one);
}

/// A giver's turn: accepts until it has answered a client. Calls of ours that woke nobody, since their acceptor was on its
/// way out already, may wait there too; they have ended.
fn answer_one(listener: &TcpListener, answer: &[u8]) -> SocketAddr {
    loop {
        let (mut stream, from) = listener.accept().expect("the listener listens still");
        if stream.read(&mut [0]).expect("the client is sound") > 0 {
            stream.write_all(answer).expect("the client is there");
            return from;
        }
    }
}

/// Ensures that a listener that a parent keeps is not harmed: after our `close()` it accepts the parent's next client.
#[test]
fn the_giver_of_an_adopted_listener_accepts_its_next_client() {
    each_ip(|place| {
        for n in 0..20 {
            let listener = TcpListener::bind(place).expect("the listener listens");
            let server = ServerOptions::new().adopt(listener.try_clone().expect("a descriptor is free"));
            let server = server.expect("a listener can be adopted");
            let serving = server.spawn(echo).expect("a thread can be started");
            if n % 2 == 0 {
                let one = client(server.address());
                ask(&one).expect("the server serves");
                leave(one);
            }
            stop(&server, serving);
            let mut next = client(server.address());
            next.write_all(b"?").expect("the kernel takes it");
            let from = within("the giver accepts", move || answer_one(&listener, b"!"));
            assert_eq!(from, next.local_addr().expect("the client has an address"), "it is the client that came next");
            next.read_exact(&mut [0]).expect("it is answered");
        }
    });
}

/// Ensures that clients who come all the time while a listener is adopted and closed again and again, its giver accepting
/// in between, are all answered, by the one or the other.
#[test]
fn no_client_of_an_adopted_listener_is_lost_while_it_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
    let place = listener.local_addr().expect("the listener has an address");
    let over = AtomicBool::new(false);
    let (by_us, by_giver) = thread::scope(|scope| {
        let ask_on_and_on = || {
            let mut answers = Vec::new();
            while !over.load(SeqCst) {
                let mut one = TcpStream::connect(place).expect("somebody listens all the time");
                one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
                one.write_all(b"?").expect("nobody resets the connection");
                let mut answer = [0];
                one.read_exact(&mut answer).expect("every client is answered");
                answers.push(answer[0]);
            }
            answers
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(ask_on_and_on)).collect();
        for n in 0..50 {
            let server = ServerOptions::new().adopt(listener.try_clone().expect("a descriptor is free"));
            let server = server.expect("a listener can be adopted");
            let serving = server.spawn(|socket| {
                // What has ended at once is a call that woke nobody when the listener was closed last.
                if socket.read(&mut [0])? > 0 { socket.write_all("s") } else { Ok(()) }
            });
            let serving = serving.expect("a thread can be started");
            eventually("clients come", || server.stats().accepted >= n % 4);
            stop(&server, serving);
            let stats = server.stats();
            assert_eq!(stats.accepted, stats.ended, "each client that was accepted was served: {stats:?}");
            assert_eq!(
                stats.refused(RefusedBy::Closing),
                0,
                "nobody is turned away because the server is being closed"
            );
            answer_one(&listener, b"p");
        }
        over.store(true, SeqCst);
        listener.set_nonblocking(true).expect("the mode can be set");
        eventually("the last clients are answered", || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.read(&mut [0]);
                let _ = stream.write_all(b"p");
            }
            clients.iter().all(|client| client.is_finished())
        });
        let answers: Vec<_> = clients.into_iter().flat_map(|one| one.join().expect("all are answered")).collect();
        let by_us = answers.iter().filter(|answer| **answer == b's').count();
        (by_us, answers.len() - by_us)
    });
    println!("measured answers over 50 adoptions: {by_us} by the server, {by_giver} by the giver");
    assert!(by_us > 0 && by_giver > 0, "the premise: both have answered");
}
