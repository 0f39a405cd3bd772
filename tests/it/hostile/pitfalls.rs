//! Where servers of this kind are known to break, as far as no other file has it: who is queued at a port that two share, the
//! address an answer comes from, and every order of beginning and ending.

use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use landline::dgram::{self, RemoteInfo};
use landline::net::{Server, ServerOptions, Socket, WhenFull};

use crate::support::clients::{client, echo};
use crate::support::{HANG, descriptors, differs, eventually, has_proc, in_child, threads, within};

/// How many clients are told goodbye, and how many are reset, of two hundred that wait at a port two servers share, when one of
/// the two closes.
fn close_one_of_two(options: &ServerOptions) -> (usize, usize) {
    let options = options.clone().reuse_port(true).when_full(WhenFull::RefuseWith("elsewhere\n".into()));
    let leaving = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
    let staying = options.listen(leaving.address()).expect("both ask to share it");
    let mut clients: Vec<_> = (0..200).map(|_| client(staying.address())).collect();
    let mut shares = [0, 0];
    eventually("all are in one of the two backlogs", || {
        shares = [&leaving, &staying].map(|server| server.queued().unwrap_or(0));
        shares.iter().sum::<usize>() == 200
    });
    assert!(shares[0] > 20, "the premise: both have some: {shares:?}");
    leaving.close();
    let serving = staying.spawn(|socket| socket.write_all("served\n")).expect("a thread can be started");
    let (mut told, mut reset) = (0, 0);
    for one in &mut clients {
        let mut said = String::new();
        match one.read_to_string(&mut said) {
            Ok(_) if said == "elsewhere\n" => told += 1,
            Ok(_) => assert_eq!(said, "served\n", "who is queued at the server that stays is served"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "nothing else happens to them");
                reset += 1;
            }
        }
    }
    // A server waits for clients that have still to hang up.
    drop(clients);
    assert_eq!(told + reset, shares[0], "just those are concerned who were queued at the server that left");
    staying.close();
    within("serving ends", move || serving.join()).expect("in order");
    (told, reset)
}

/// Ensures that of clients that are queued at a server that shares its port, none is reset when it closes, if it is asked to
/// answer them; and that the kernel resets them otherwise, as the option says.
#[test]
fn who_is_queued_at_a_shared_port_is_answered_or_reset() {
    if !has_proc() {
        return;
    }
    if differs("the system keeps no table that tells how many clients are queued, nor shares a port's clients out") {
        return;
    }
    let (told, reset) = close_one_of_two(&ServerOptions::new().answer_queued(true));
    println!("measured: of 200 at a shared port, {told} were told goodbye, and {reset} reset, when one server closed");
    assert_eq!(reset, 0, "each is answered");
    let (told, reset) = close_one_of_two(&ServerOptions::new());
    println!("measured: without that, {told} were told goodbye, and {reset} reset");
    assert_eq!(told, 0, "nobody is answered");
}

/// Ensures that a datagram to one of several addresses is answered from it by a socket that is bound to it, and that a socket
/// on every interface answers from the address the system prefers.
#[test]
fn a_socket_bound_to_one_address_answers_from_it() {
    for (bound, from) in [("127.0.0.2:0", "127.0.0.2"), ("0.0.0.0:0", "127.0.0.1")] {
        let socket = dgram::Socket::bind(bound).expect("Linux has all of 127.0.0.0/8");
        let asking = UdpSocket::bind("127.0.0.1:0").expect("port 0 can be bound");
        asking.set_read_timeout(Some(HANG)).expect("it can be set");
        asking.send_to(b"?", ("127.0.0.2", socket.address().port())).expect("somebody is there");
        let mut buffer = [0; 8];
        let (bytes, info): (&[u8], RemoteInfo) =
            socket.recv_timeout(&mut buffer, HANG).expect("it arrives").expect("the socket is open");
        socket.send_to(bytes, info).expect("it can be answered");
        let (_, answered) = asking.recv_from(&mut [0; 8]).expect("the answer arrives");
        assert_eq!(answered.ip().to_string(), from, "a socket bound to {bound}");
    }
}

const ORDERS: usize = 250;

/// What one of the threads of an order does.
fn act(server: &Server, what: u32) {
    match what {
        // A second one says that the server is being served already.
        0 | 1 => drop(server.serve(|socket| {
            let mut first = [0];
            socket.read_exact(&mut first)?;
            match first[0] {
                b'c' => server.close(),
                b's' => drop(server.shutdown(Duration::from_millis(10))),
                b'w' => server.wait()?,
                _ => return echo(socket),
            }
            Ok(())
        })),
        2 => drop(server.clone()),
        3 => server.wait().expect("it is closed"),
        4 => drop(server.shutdown(Duration::from_millis(10))),
        _ => {
            // It may be closed by now, or before it has heard all of this.
            if let Ok(one) = Socket::connect(server.address()) {
                let _ = one.write_end([b"cswe"[what as usize % 4]]);
                let _ = one.read(&mut [0]);
            }
        }
    }
}

/// Lets five threads act, each after a while of its own, and closes the server.
fn one_order(acts: [(u32, u32); 5], until_close: u32) {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let spin = |times| (0..times).for_each(|_| std::hint::spin_loop());
    thread::scope(|scope| {
        for (what, when) in acts {
            let server = &server;
            scope.spawn(move || {
                spin(when);
                act(server, what);
            });
        }
        spin(until_close);
        server.close();
    });
    server.wait().expect("it is closed");
    let stats = server.stats();
    assert_eq!(stats.accepted, stats.ended + stats.failed, "the accounts balance: {stats:?}");
    assert_eq!((stats.open, server.connections()), (0, 0), "nobody is left: {stats:?}");
}

/// Ensures that whatever order serving, closing, shutting down, waiting and connecting happen in, from outside and from
/// handlers, everything returns, the accounts balance and nothing is left: some hundred random orders.
#[test]
fn every_order_of_serving_and_closing_ends() {
    in_child(this_test!(), &[], || {
        let (before, start) = ((threads(), descriptors()), Instant::now());
        let mut random = 1_u32;
        let mut roll = move |below| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        let mut longest = Duration::ZERO;
        for _ in 0..ORDERS {
            let acts: [(u32, u32); 5] = std::array::from_fn(|_| (roll(9), roll(20_000)));
            let (what, until_close, start) = (format!("everything returns: {acts:?}"), roll(40_000), Instant::now());
            within(&what, move || one_order(acts, until_close));
            longest = longest.max(start.elapsed());
        }
        println!("\nmeasured: {ORDERS} orders in {:?}, the longest in {longest:?}", start.elapsed());
        eventually("no thread and no descriptor is left", || (threads(), descriptors()) == before);
    });
}
