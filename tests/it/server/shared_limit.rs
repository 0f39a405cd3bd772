//! A limit that several servers share, and other things that take its slots.

use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use landline::net::{Server, ServerOptions, WhenFull};
use landline::{BlockList, Limit, RefusedBy};

use crate::support::clients::{Closes, ask, client, echo, is_turned_away, leave, stop};
use crate::support::{Told, each_ip};

/// Two servers that share `limit`.
fn two(limit: &Limit, place: &str) -> [Server; 2] {
    let options = ServerOptions::new().shared_limit(limit);
    [(); 2].map(|()| options.listen(place).expect("the server listens"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Ensures that servers that share a limit never have more connections together than it allows, that each counts its own, and
/// that a client which leaves one of them makes room for exactly one at the other.
#[test]
fn servers_that_share_a_limit_have_as_many_connections_together_as_it_allows() {
    each_ip(|place| {
        let limit = Limit::new(3);
        let servers = two(&limit, place);
        let serving = servers.each_ref().map(|server| server.spawn(echo).expect("a thread can be started"));
        let [first, second] = &servers;
        let mut served: Vec<_> = [first, second, first].map(|server| client(server.address())).into();
        served.iter().for_each(|one| ask(one).expect("there is room for three"));
        for server in &servers {
            assert!(is_turned_away(&client(server.address())), "three are served, wherever the fourth comes");
            assert_eq!((server.max_connections(), limit.max()), (3, 3), "the limit is the shared one");
        }
        let counts = (limit.in_use(), first.connections(), second.connections());
        assert_eq!(counts, (3, 2, 1), "the limit counts all, and each server its own");

        leave(served.remove(0));
        let newcomer = client(second.address());
        ask(&newcomer).expect("a client that has left the first server makes room at the second");
        assert!(is_turned_away(&client(first.address())), "it makes room for one, not for one at each");
        let refused = [first, second].map(|server| server.stats().refused(RefusedBy::Full));
        assert_eq!(refused, [2, 1], "each server counts the clients that it has refused");
        drop((served, newcomer));
        servers.iter().zip(serving).for_each(|(server, serving)| stop(server, serving));
        assert_eq!(limit.in_use(), 0, "every slot comes back");
    });
}

/// Ensures that of as many threads as there are slots, at two servers and beside them, none is ever denied one, and that there are
/// never more than that.
#[test]
fn no_slot_of_a_shared_limit_is_denied_while_one_is_free() {
    let limit = Limit::new(6);
    let servers = two(&limit, "127.0.0.1:0");
    let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let closes = servers.each_ref().map(Closes);
        for server in &servers {
            scope.spawn(|| {
                server.serve(|socket| {
                    most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                    let result = echo(socket);
                    held.fetch_sub(1, SeqCst);
                    result
                })
            });
        }
        thread::scope(|scope| {
            for server in &servers {
                for _ in 0..2 {
                    scope.spawn(|| (0..100).for_each(|_| leave(client(server.address()))));
                }
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let slot = limit.try_acquire(None).expect("six threads share six slots: one is free");
                        most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                        held.fetch_sub(1, SeqCst);
                        drop(slot);
                    }
                });
            }
        });
        drop(closes);
    });
    for server in &servers {
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.refused_total()), (200, 0), "a client that has left finds its slot free");
    }
    assert!(most.load(SeqCst) <= 6, "never more than the limit, but {most:?}");
    assert_eq!(limit.in_use(), 0, "every slot comes back");
}

/// Ensures that an address without a slot is refused because there is no slot, and not because of its own limit, while
/// another thread asks for the same address.
#[test]
fn an_address_without_a_slot_has_not_reached_its_limit() {
    let limit = Limit::new(1).per_address(1);
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let _only = limit.try_acquire(address("192.0.2.1")).expect("it is free");
    let wrong: usize = thread::scope(|scope| {
        let asking = [(); 2].map(|()| {
            let ask = || limit.try_acquire(address("192.0.2.2")).expect_err("there is one slot");
            scope.spawn(move || (0..100_000).filter(|_| ask() != RefusedBy::Full).count())
        });
        asking.into_iter().map(|asking| asking.join().expect("nothing panicked")).sum()
    });
    assert_eq!(wrong, 0, "of 200,000 refusals none is for the address's limit");
}

/// Ensures that slots which other parts of the program hold are taken from the servers, and come back when they are dropped.
#[test]
fn a_slot_of_the_programs_counts_like_a_connection() {
    let limit = Limit::new(1);
    let server = ServerOptions::new().shared_limit(&limit).listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(echo).expect("a thread can be started");
    let slot = limit.clone().try_acquire(None).expect("it is free");
    assert_eq!(limit.try_acquire(None).err(), Some(RefusedBy::Full), "the only slot is taken");
    assert_eq!((limit.in_use(), server.connections()), (1, 0), "it is no connection of the server's");
    assert!(is_turned_away(&client(server.address())), "the only slot is taken");
    drop(slot);
    let one = client(server.address());
    ask(&one).expect("a slot that is dropped comes back");
    drop(one);
    stop(&server, serving);
}

/// Ensures that closing one server closes no other that shares its limit, and that the connections which the closed one still
/// has keep their slots until they end.
#[test]
fn closing_a_server_leaves_the_others_and_its_own_connections() {
    each_ip(|place| {
        let limit = Limit::new(2);
        let [first, second] = two(&limit, place);
        let serving = [&first, &second].map(|server| server.spawn(echo).expect("a thread can be started"));
        let stays = client(first.address());
        ask(&stays).expect("there is room for two");
        first.close();
        ask(&stays).expect("closing ends no connection");

        let one = client(second.address());
        ask(&one).expect("one of two slots is free");
        assert!(is_turned_away(&client(second.address())), "the connection of the closed server has its slot");
        leave(stays);
        let another = client(second.address());
        ask(&another).expect("it has given its slot back");
        drop((one, another));
        let [its, others] = serving;
        stop(&first, its);
        stop(&second, others);
        assert_eq!(limit.in_use(), 0, "every slot comes back");
    });
}

/// Ensures that an address has as many slots as the limit allows each, over all servers and whatever else counts.
#[test]
fn an_address_has_its_slots_over_all_that_share_the_limit() {
    let limit = Limit::new(None).per_address(2);
    let [first, second] = two(&limit, "127.0.0.1:0");
    let serving = [&first, &second].map(|server| server.spawn(echo).expect("a thread can be started"));
    let one = client(first.address());
    ask(&one).expect("its address has two slots");
    let session = limit.try_acquire(ip("::ffff:127.0.0.1")).expect("its address has two slots");
    assert!(is_turned_away(&client(second.address())), "the third of one address is refused, whatever the others are");
    assert_eq!(second.stats().refused(RefusedBy::PerAddress), 1, "and counted by its cause");
    assert_eq!(limit.try_acquire(ip("127.0.0.1")).err(), Some(RefusedBy::PerAddress), "here too");
    assert_eq!(limit.in_use(), 2, "what is refused holds no slot");
    drop(limit.try_acquire(ip("127.0.0.2")).expect("another address has slots of its own"));
    drop(limit.try_acquire(None).expect("what has no address counts in all alone"));

    drop(session);
    let another = client(second.address());
    ask(&another).expect("a slot that is dropped comes back to its address");
    drop((one, another));
    [first, second].iter().zip(serving).for_each(|(server, serving)| stop(server, serving));
}

/// Ensures that behind a load balancer the client's address counts, and the load balancer's does not.
#[test]
fn the_address_of_a_proxy_header_counts() {
    let balancers = BlockList::new();
    balancers.add_address([127, 0, 0, 1]);
    let limit = Limit::new(2).per_address(1);
    let options = ServerOptions::new().shared_limit(&limit).proxy_protocol(&balancers);
    let servers = [(); 2].map(|()| options.listen("127.0.0.1:0").expect("the server listens"));
    let serving = servers.each_ref().map(|server| server.spawn(echo).expect("a thread can be started"));
    let passed = |server: &Server, from: &str| {
        let mut one = client(server.address());
        write!(one, "PROXY TCP4 {from} 192.0.2.1 56324 443\r\n").expect("it can be written");
        one
    };
    let one = passed(&servers[0], "192.0.2.7");
    ask(&one).expect("its address has one slot");
    assert!(is_turned_away(&passed(&servers[1], "192.0.2.7")), "the address has its slot at the other server");
    assert_eq!(limit.in_use(), 1, "a client that is refused after its header gives its slot back");
    let other = passed(&servers[1], "192.0.2.8");
    ask(&other).expect("another address has its own");
    drop((one, other));
    servers.iter().zip(serving).for_each(|(server, serving)| stop(server, serving));
    assert_eq!(limit.in_use(), 0, "every slot comes back");
}

/// Ensures that the limit changes for all that share it, from wherever it is changed, and that lowering it closes nothing.
#[test]
fn a_shared_limit_changes_for_all() {
    let limit = Limit::new(0);
    let [first, second] = two(&limit, "127.0.0.1:0");
    let serving = [&first, &second].map(|server| server.spawn(echo).expect("a thread can be started"));
    assert!(is_turned_away(&client(first.address())), "0 lets no client in");
    second.set_max_connections(1);
    assert_eq!((limit.max(), first.max_connections()), (1, 1), "one server changes it for the others");
    let one = client(first.address());
    ask(&one).expect("one is allowed");
    limit.set_max(0);
    ask(&one).expect("a lower limit closes no connection");
    assert_eq!((second.max_connections(), limit.in_use()), (0, 1), "the servers see the new limit");
    assert!(is_turned_away(&client(second.address())), "a lower limit counts from the next client on");
    drop(one);
    [first, second].iter().zip(serving).for_each(|(server, serving)| stop(server, serving));
}

/// Ensures that options which a shared limit excludes are an error when the server listens or adopts, that names both, and that
/// nothing listens then.
#[test]
fn options_that_a_shared_limit_excludes_are_an_error() {
    let limit = Limit::new(1);
    let options = ServerOptions::new().shared_limit(&limit);
    let excluded = [
        ("when_full(WhenFull::Wait)", options.clone().when_full(WhenFull::Wait)),
        ("max_connections", options.clone().max_connections(5)),
        ("max_connections", options.clone().max_connections(None)),
        ("max_connections_per_address", options.clone().max_connections_per_address(5)),
    ];
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let at = port.local_addr().expect("it has an address");
    for (name, options) in excluded {
        // The port is taken, so a server that came to listen would say that.
        let error = options.listen(at).expect_err("the options exclude each other");
        assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "{error}");
        assert!(error.to_string().contains("shared_limit excludes ") && error.to_string().contains(name), "{error}");
        let adopted = options.adopt(port.try_clone().expect("a descriptor is free"));
        assert_eq!(adopted.expect_err("they exclude each other").told().code(), "ERR_INVALID_ARG_VALUE", "{name}");
    }
    let refuses = options.when_full(WhenFull::RefuseWith("full".into())).listen("127.0.0.1:0").expect("it listens");
    let serving = refuses.spawn(echo).expect("a thread can be started");
    let slot = limit.try_acquire(None).expect("it is free");
    let told = std::io::read_to_string(client(refuses.address())).expect("the goodbye arrives");
    assert_eq!(told, "full", "a goodbye is no matter of the limit's");
    drop(slot);
    stop(&refuses, serving);
}

/// Ensures that a connection which its handler's panic ends, and one that is destroyed, give their slots back.
#[test]
fn every_end_of_a_connection_gives_its_shared_slot_back() {
    let limit = Limit::new(1).per_address(1);
    let servers = two(&limit, "127.0.0.1:0");
    let serving = servers.each_ref().map(|server| {
        let handler = |socket: &landline::net::Socket| match socket.id().get() % 4 {
            0 => panic!("of the test"),
            1 => Err(std::io::Error::other("of the test")),
            2 => {
                socket.destroy();
                Ok(())
            }
            _ => Ok(()),
        };
        server.spawn(handler).expect("a thread can be started")
    });
    for n in 0..40 {
        assert!(is_turned_away(&client(servers[n % 2].address())), "each way ends the connection without a byte");
    }
    let stats = servers.each_ref().map(|server| (server.stats().accepted, server.stats().refused_total()));
    assert_eq!(stats, [(20, 0); 2], "a client that has seen its end has given its slot back");
    servers.iter().zip(serving).for_each(|(server, serving)| stop(server, serving));
    assert_eq!(limit.in_use(), 0, "every slot comes back");
    assert!(limit.try_acquire(ip("127.0.0.1")).is_ok(), "that of the address too");
}
