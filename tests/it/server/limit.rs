//! The limit of connections: exact, and no slot is ever lost.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::thread;

use landline::net::{Refused, Server, ServerOptions};
use landline::{RefusedBy, Report};

use crate::support::Whole;
use crate::support::clients::{Closes, ask, client, echo, is_turned_away, leave, stop};
use crate::support::{HANG, each_ip, eventually, within};

/// Ensures that a client that has seen the server's end finds its slot free where `each` answers the client's end, so that one
/// that comes again at once is never refused.
#[test]
fn who_sees_the_end_that_each_sends_finds_the_slot_free() {
    each_ip(|place| {
        let server = ServerOptions::new().max_connections(1).listen(place).expect("the server listens");
        let serving = server.spawn(|socket| socket.each(|_, _| Ok(()))).expect("a thread can be started");
        for _ in 0..100 {
            leave(client(server.address()));
        }
        let stats = server.stats();
        assert_eq!(
            (stats.accepted, stats.refused(RefusedBy::Full)),
            (100, 0),
            "who comes after the end finds the slot free"
        );
        stop(&server, serving);
    });
}

/// Ensures that of clients that come one after the other exactly as many are served as the limit allows, that the others
/// see their connect succeed and then the end, and that one that leaves makes room for exactly one.
#[test]
fn as_many_are_served_as_the_limit_allows_and_one_that_leaves_frees_one() {
    each_ip(|place| {
        let server = ServerOptions::new().max_connections(3).listen(place).expect("the server listens");
        let serving = server.spawn(echo).expect("a thread can be started");
        let mut served = Vec::new();
        for n in 0..20 {
            let mut one = client(server.address());
            if n < 3 {
                ask(&one).expect("there is room for three");
                served.push(one);
                continue;
            }
            if n % 2 == 0 {
                // May fail already: then the refusal was faster.
                let _ = one.write_all(b"let me in");
            }
            assert!(is_turned_away(&one), "client {n} comes while three are served");
            assert_eq!(server.connections(), 3, "a refused client is never counted as open");
        }
        let stats = server.stats();
        assert_eq!(
            (stats.accepted, stats.open, stats.refused(RefusedBy::Full)),
            (3, 3, 17),
            "3 are served and 17 refused"
        );

        leave(served.remove(0));
        let newcomer = client(server.address());
        ask(&newcomer).expect("a client that has seen its end has given its slot back");
        assert!(is_turned_away(&client(server.address())), "one that leaves makes room for one, not for two");
        for one in &served {
            ask(one).expect("those that were served go on");
        }
        assert_eq!(server.stats().peak, 3, "there were never more than three");
        drop((served, newcomer));
        stop(&server, serving);
        assert_eq!(server.connections(), 0, "every slot comes back");
    });
}

/// Ensures that lowering the limit under the number of open connections closes none, and keeps clients out until enough
/// have left.
#[test]
fn lowering_the_limit_closes_nobody() {
    let server = ServerOptions::new().max_connections(4).listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    let mut served: Vec<_> = (0..4).map(|_| client(server.address())).collect();
    served.iter().for_each(|one| ask(one).expect("there is room for four"));

    server.set_max_connections(2);
    assert_eq!((server.max_connections(), server.connections()), (2, 4), "the limit is lower, the connections stay");
    for _ in 0..2 {
        served.iter().for_each(|one| ask(one).expect("a lower limit closes nobody"));
        assert!(is_turned_away(&client(server.address())), "as many are open as the lower limit allows, or more");
        leave(served.remove(0));
    }
    assert!(is_turned_away(&client(server.address())), "two are open and two allowed");
    leave(served.remove(0));
    let newcomer = client(server.address());
    ask(&newcomer).expect("one is open and two allowed");

    server.set_max_connections(3);
    let another = client(server.address());
    ask(&another).expect("a higher limit counts from the next client on");
    drop((served, newcomer, another));
    stop(&server, serving);
}

/// Ensures that a limit of 0 refuses everybody, served or accepted, and that raising it lets clients in.
#[test]
fn a_limit_of_0_refuses_everybody() {
    let server = ServerOptions::new().max_connections(0).listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    for _ in 0..5 {
        assert!(is_turned_away(&client(server.address())), "0 lets nobody in");
    }
    assert_eq!(server.stats().refused(RefusedBy::Full), 5, "each is counted as refused");
    server.set_max_connections(1);
    let first = client(server.address());
    ask(&first).expect("one is allowed now");
    drop(first);
    stop(&server, serving);

    let server = ServerOptions::new().max_connections(0).listen("127.0.0.1:0").expect("the server listens");
    let acceptor = thread::spawn({
        let server = server.clone();
        move || server.accept()
    });
    for _ in 0..5 {
        assert!(is_turned_away(&client(server.address())), "0 lets nobody in");
    }
    server.close();
    let got = within("accept() returns after close()", || acceptor.join().expect("accept() does not panic"));
    assert!(got.expect("closing is no error").is_none(), "accept() gave none of the refused clients");
}

/// Ensures that `refused` is told both addresses, canonical ones, while as many are open as allowed, and that the client
/// need not wait for it.
#[test]
fn refused_is_told_both_addresses_and_the_client_does_not_wait_for_it() {
    for (place, host) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), (":0", "127.0.0.1")] {
        let Ok(server) = ServerOptions::new().max_connections(1).listen(place) else {
            println!("skipped for {place}: it cannot be listened on");
            continue;
        };
        let (tell, told) = mpsc::sync_channel::<(Refused, usize)>(0);
        let (go_on, wait) = mpsc::sync_channel::<()>(0);
        let wait = std::sync::Mutex::new(wait);
        let serving = server
            .on()
            .connection(echo)
            .refused({
                let server = server.clone();
                move |refused| {
                    let _ = tell.send((refused.clone(), server.connections()));
                    let _ = wait.lock().expect("nobody panics here").recv();
                }
            })
            .spawn()
            .expect("a thread can be started");

        let port = server.address().port();
        let connect = || {
            let one = TcpStream::connect((host, port)).expect("the client connects");
            one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
            one
        };
        let first = connect();
        ask(&first).expect("there is room for one");
        let second = connect();
        let (refused, open) = told.recv_timeout(HANG).expect("`refused` is told of the second client");
        assert_eq!(open, 1, "as many are open as allowed, and the refused client is not counted");
        assert_eq!(refused.by, RefusedBy::Full, "the cause is the limit");
        let end = |at: std::io::Result<std::net::SocketAddr>| at.expect("the client has addresses").to_string();
        assert_eq!(refused.remote.to_string(), end(second.local_addr()), "the other end is the client's own");
        assert_eq!(refused.local.to_string(), end(second.peer_addr()), "our end is what the client connected to");

        assert!(is_turned_away(&second), "it is closed before `refused` has returned");
        leave(first);
        ask(&connect()).expect("another thread accepts meanwhile");
        // The thread of the first is counted a moment longer than its connection.
        eventually("the thread that is in `refused` is counted, and no other", || server.stats().in_hooks == 1);
        go_on.send(()).expect("`refused` waits");
        stop(&server, serving);
    }
}

/// Eight threads share the accepting. Clients come in waves, and between waves some leave: so it is known of each wave how
/// many must be let in.
fn waves(server: &Server, held: &AtomicUsize) {
    const WAVES: usize = 10;
    const WAVE: usize = 25;
    let limit = server.max_connections();
    let (mut inside, mut refused) = (Vec::new(), 0);
    for wave in 0..WAVES {
        let start = Barrier::new(WAVE);
        let before = inside.len();
        let came: Vec<_> = thread::scope(|scope| {
            let come = || {
                start.wait();
                let mut one = client(server.address());
                match one.read(&mut [0]) {
                    Ok(1) => Some(one),
                    Ok(_) => None,
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
                    Err(error) => panic!("a client is let in or turned away, but: {error}"),
                }
            };
            let clients: Vec<_> = (0..WAVE).map(|_| scope.spawn(come)).collect();
            clients.into_iter().filter_map(|one| one.join().expect("the client comes to know")).collect()
        });
        assert_eq!(
            came.len(),
            WAVE.min(limit - before),
            "wave {wave}: with {before} inside, exactly as many are let in as there are free slots"
        );
        refused += WAVE - came.len();
        inside.extend(came);
        assert_eq!(server.connections(), inside.len(), "the count is that of the clients inside");
        // Another number each time, all of them once, none at all once.
        let leaving = [1, 64, 0, 20, 33, 7, 25, 2, 49, 13][wave % 10].min(inside.len());
        inside.drain(..leaving).for_each(leave);
        assert_eq!(server.connections(), inside.len(), "who has seen the end has given the slot back");
    }
    assert_eq!(held.load(SeqCst), inside.len(), "as many are held as are inside");
    inside.into_iter().for_each(leave);
    let stats = server.stats();
    assert_eq!(stats.refused(RefusedBy::Full) as usize, refused, "each refused client is counted once");
    assert_eq!(stats.accepted as usize, WAVES * WAVE - refused, "each other one as accepted");
    assert!(refused > 0, "the premise: the waves pass the limit");
    assert_eq!(stats.peak as usize, limit, "the limit was reached and never passed");
}

/// Counts in `held` for as long as it lives, and remembers the most.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(held: &'a AtomicUsize, most: &AtomicUsize) -> Held<'a> {
        most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
        Held(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Ensures that eight threads in `accept()` never let in more than the limit, and never refuse while a slot is free.
#[test]
fn eight_acceptors_let_in_exactly_as_many_as_there_are_slots() {
    each_ip(|place| {
        let server = ServerOptions::new().max_connections(64).listen(place).expect("the server listens");
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while let Some(socket) = server.accept().expect("the listener is sound") {
                        let held = Held::new(&held, &most);
                        scope.spawn(move || {
                            socket.write_all("!").expect("the client is there");
                            let _ = socket.read_all();
                            // Before the slot is given back, or the next one is counted before this one has gone.
                            drop(held);
                        });
                    }
                });
            }
            let closes = Closes(&server);
            waves(&server, &held);
            drop(closes);
        });
        assert!(most.load(SeqCst) <= 64, "at no instant more than the limit, but {most:?}");
    });
}

/// Ensures the same of a server that is served.
#[test]
fn serving_lets_in_exactly_as_many_as_there_are_slots() {
    each_ip(|place| {
        let server = ServerOptions::new().max_connections(64).listen(place).expect("the server listens");
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                server.serve(|socket| {
                    let _held = Held::new(&held, &most);
                    socket.write_all("!")?;
                    socket.read_all().map(drop)
                })
            });
            let closes = Closes(&server);
            waves(&server, &held);
            drop(closes);
            serving.join().expect("serving does not panic").expect("serving ends well");
        });
        assert!(most.load(SeqCst) <= 64, "at no instant more than the limit, but {most:?}");
    });
}

/// Ensures that as many clients as there are slots, each of which comes again as soon as it has seen its end, are never
/// refused: the slot is free before the client can know.
#[test]
fn a_client_that_has_seen_its_end_finds_its_slot_free() {
    for max in [1, 8] {
        let server = ServerOptions::new()
            .max_connections(max)
            .report(|report| assert!(!matches!(report, Report::Refused { .. }), "{report}"))
            .listen("127.0.0.1:0")
            .expect("the server listens");
        let serving = server
            .spawn(|socket| match socket.id().get() % 3 {
                0 => Ok(()),
                1 => echo(socket),
                _ => {
                    socket.destroy();
                    Ok(())
                }
            })
            .expect("a thread can be started");
        thread::scope(|scope| {
            for _ in 0..max {
                scope.spawn(|| (0..400 / max).for_each(|_| leave(client(server.address()))));
            }
        });
        let stats = server.stats();
        assert_eq!(
            (stats.refused(RefusedBy::Full), stats.accepted),
            (0, 400 / max as u64 * max as u64),
            "nobody is refused"
        );
        stop(&server, serving);
    }
}

/// Ensures that the limit holds while it changes all the time, and that every slot comes back.
#[test]
fn a_limit_that_changes_all_the_time_is_never_passed_at_its_highest() {
    let server = ServerOptions::new().max_connections(8).listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let one = client(server.address());
                        let _ = ask(&one);
                    }
                })
            })
            .collect();
        let mut limit = 0;
        while !clients.iter().all(|one| one.is_finished()) {
            limit = (limit + 3) % 9;
            server.set_max_connections(limit);
            assert!(server.connections() <= 8, "never more than the highest limit");
            thread::yield_now();
        }
    });
    assert!(server.stats().peak <= 8, "never more than the highest limit, but {}", server.stats().peak);
    eventually("every slot comes back", || server.connections() == 0);
    stop(&server, serving);
    let stats = server.stats();
    assert_eq!(stats.accepted + stats.refused(RefusedBy::Full), 800, "each client was let in or refused, once");
}
