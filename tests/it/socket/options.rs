//! Options: each one's default and what setting it does, read back from the kernel.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use landline::net::{KeepAlive, Server, ServerOptions, Socket, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{Served, accept, is_nonblocking, kernel, pair, pair_with, port_of_no_client};
use crate::support::{PORTABLE, Told, differs_on_windows, each_ip, has_proc, in_child, tool, within};

fn no_delay(socket: &Socket) -> bool {
    kernel(socket, |raw| raw.tcp_nodelay())
}

/// Keep-alive as it is asked for. Windows does not tell its numbers.
fn numbers(time: u64, interval: u64, count: u32) -> (bool, u64, u64, u32) {
    if cfg!(windows) { system(true) } else { (true, time, interval, count) }
}

/// Keep-alive as the kernel has it: whether, after how long, how often, how many times.
#[cfg(windows)]
fn keep_alive(socket: &Socket) -> (bool, u64, u64, u32) {
    (kernel(socket, |raw| raw.keepalive()), 0, 0, 0)
}
#[cfg(not(windows))]
fn keep_alive(socket: &Socket) -> (bool, u64, u64, u32) {
    kernel(socket, |raw| {
        let (time, interval) = (raw.tcp_keepalive_time()?.as_secs(), raw.tcp_keepalive_interval()?.as_secs());
        Ok((raw.keepalive()?, time, interval, raw.tcp_keepalive_retries()?))
    })
}

/// What the kernel has by default.
fn system(on: bool) -> (bool, u64, u64, u32) {
    if cfg!(windows) {
        return (on, 0, 0, 0);
    }
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?.trim().parse().ok();
    let default = |name, number| read(name).unwrap_or(number);
    let (time, interval) = (default("tcp_keepalive_time", 7200), default("tcp_keepalive_intvl", 75));
    (on, time, interval, default("tcp_keepalive_probes", 9) as u32)
}

/// Ensures that no-delay is on by default and off when asked for, on clients (net-connect-nodelay.js) and on accepted
/// sockets.
#[test]
fn no_delay_is_on_unless_it_is_turned_off() {
    each_ip(|at| {
        for on in [None, Some(true), Some(false)] {
            let (mut server, mut client) = (ServerOptions::new(), SocketOptions::new());
            if let Some(on) = on {
                (server, client) = (server.no_delay(on), client.no_delay(on));
            }
            let (_server, client, accepted) = pair_with(at, server, client);
            for (side, socket) in [("client", client), ("server", accepted)] {
                assert_eq!(no_delay(&socket), on.unwrap_or(true), "the {side}'s, set to {on:?}");
                assert_eq!(socket.no_delay(), on.unwrap_or(true), "and what it says of itself");
            }
        }
    });
}

/// Ensures that `set_no_delay` reaches the kernel when it changes something, and only then (net-socket-setnodelay.js).
#[test]
fn set_no_delay_reaches_the_kernel_if_it_changes_something() {
    each_ip(|at| {
        let (_server, client, _accepted) = pair(at);
        for on in [false, true, true, false] {
            client.set_no_delay(on).expect("it is connected");
            assert_eq!((no_delay(&client), client.no_delay()), (on, on), "the kernel's and ours");
        }
        // Behind our back: the same value again is not set again.
        kernel(&client, |raw| raw.set_tcp_nodelay(true));
        client.set_no_delay(false).expect("it is connected");
        assert!(no_delay(&client), "what was set last is not set again");
        client.set_no_delay(true).expect("it is connected");
        client.set_no_delay(false).expect("it is connected");
        assert!(!no_delay(&client), "what changes is set");
    });
}

/// Ensures that keep-alive on connect is off unless asked for, and that its delay is cut to whole seconds
/// (net-connect-keepalive.js).
///
/// Times are `Duration`s, so none is negative.
#[test]
fn keep_alive_on_connect_is_what_was_asked_for() {
    let delays = [(123, system(true)), (500, system(true)), (5000, numbers(5, 1, 10)), (456_123, numbers(456, 1, 10))];
    each_ip(|at| {
        let client = |options: SocketOptions| pair_with(at, ServerOptions::new(), options).1;
        assert_eq!(keep_alive(&client(SocketOptions::new())), system(false), "off by default");
        assert_eq!(keep_alive(&client(SocketOptions::new().keep_alive(false))), system(false), "off when off");
        let on = client(SocketOptions::new().keep_alive(true));
        assert_eq!(keep_alive(&on), system(true), "on, the times the system's");
        for (delay, expected) in delays {
            let socket = client(SocketOptions::new().keep_alive(Duration::from_millis(delay)));
            assert_eq!(keep_alive(&socket), expected, "a delay of {delay} ms");
        }
        let all = KeepAlive::new().delay(Duration::from_secs(5)).interval(Duration::from_secs(2)).count(3);
        assert_eq!(keep_alive(&client(SocketOptions::new().keep_alive(all))), numbers(5, 2, 3), "all three numbers");
        // Rounded down to whole seconds, the longest that Linux takes.
        let longest = Duration::from_millis(32_767_999);
        let all = KeepAlive::new().delay(longest).interval(longest).count(3);
        assert_eq!(
            keep_alive(&client(SocketOptions::new().keep_alive(all))),
            numbers(32_767, 32_767, 3),
            "the longest"
        );
        let longer = KeepAlive::new().delay(longest + Duration::from_millis(1));
        let error = SocketOptions::new().keep_alive(longer).connect(9).map(drop).expect_err("one second too many");
        assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "{error}");
        let without = KeepAlive::new().interval(Duration::from_secs(2)).count(3);
        let socket = client(SocketOptions::new().keep_alive(without));
        assert_eq!(keep_alive(&socket), system(true), "interval and count count with a delay only");
    });
}

/// Ensures that a server's keep-alive holds for each accepted socket, and that on a socket the same again is skipped and
/// another delay set (net-server-keepalive.js).
#[test]
fn a_servers_keep_alive_holds_for_each_accepted_socket() {
    each_ip(|at| {
        let options = ServerOptions::new().keep_alive(Duration::from_secs(5));
        let (server, _client, first) = pair_with(at, options, SocketOptions::new());
        let _second_client = Socket::connect(server.address()).expect("it listens");
        let second = accept(&server);
        for socket in [&first, &second] {
            assert_eq!(keep_alive(socket), numbers(5, 1, 10), "each accepted socket has it");
        }
        kernel(&first, |raw| raw.set_keepalive(false));
        first.set_keep_alive(Duration::from_secs(5)).expect("it is connected");
        assert!(!keep_alive(&first).0, "the same again is not set again");
        first.set_keep_alive(Duration::from_secs(6)).expect("it is connected");
        assert_eq!(keep_alive(&first), numbers(6, 1, 10), "another delay is");
        first.set_keep_alive(false).expect("it is connected");
        assert!(!keep_alive(&first).0, "and so is off");
        assert_eq!(keep_alive(&second), numbers(5, 1, 10), "the other socket keeps its own");

        let (_server, _client, plain) = pair(at);
        assert_eq!(keep_alive(&plain), system(false), "off by default");
        let (_server, _client, off) = pair_with(at, ServerOptions::new().keep_alive(false), SocketOptions::new());
        assert_eq!(keep_alive(&off), system(false), "off when off");
    });
}

/// Ensures that `set_keep_alive` leaves the numbers Node leaves.
#[test]
fn set_keep_alive_leaves_the_numbers_node_leaves() {
    let all = KeepAlive::new().delay(Duration::from_secs(5)).interval(Duration::from_secs(2)).count(3);
    let cases: [(KeepAlive, _); 4] = [
        (true.into(), system(true)),
        (Duration::from_millis(500).into(), system(true)),
        (Duration::from_millis(5000).into(), numbers(5, 1, 10)),
        (all, numbers(5, 2, 3)),
    ];
    for (asked, expected) in cases {
        let (_server, client, _accepted) = pair("127.0.0.1:0");
        client.set_keep_alive(asked).expect("it is connected");
        assert_eq!(keep_alive(&client), expected, "{asked:?}");
    }
    let (_server, client, _accepted) = pair("127.0.0.1:0");
    client.set_keep_alive(Duration::from_secs(30)).expect("it is connected");
    client.set_keep_alive(true).expect("it is connected");
    assert_eq!(keep_alive(&client), numbers(30, 1, 10), "without a delay the numbers stay as they are");
    if differs_on_windows("it takes any delay") {
        return;
    }
    let error = client.set_keep_alive(Duration::from_secs(40_000)).expect_err("Linux takes 32,767 s at most");
    assert_eq!(
        (error.told().syscall(), error.told().code()),
        (Some("setKeepAlive"), "EINVAL"),
        "the call and the system's code"
    );
    assert_eq!(error.to_string(), "setKeepAlive EINVAL", "Node's text");
    client.set_keep_alive(Duration::from_secs(5)).expect("what failed is not taken for set");
    assert_eq!(keep_alive(&client), numbers(5, 1, 10), "the next one is");
}

/// Ensures that keep-alive can be set back after a call that failed half-way, when the system had switched it on already.
#[test]
fn keep_alive_can_be_set_back_after_a_call_that_failed() {
    if differs_on_windows("it takes any delay") {
        return;
    }
    each_ip(|at| {
        let (_server, client, _accepted) = pair(at);
        let half = KeepAlive::new().delay(Duration::from_secs(7)).interval(Duration::from_secs(40_000));
        client.set_keep_alive(Duration::from_secs(5)).expect("it is connected");
        client.set_keep_alive(half).expect_err("Linux takes 32,767 s at most");
        client.set_keep_alive(Duration::from_secs(5)).expect("it is connected");
        assert_eq!(keep_alive(&client), numbers(5, 1, 10), "the same numbers are set again");
        client.set_keep_alive(false).expect("it is connected");
        client.set_keep_alive(half).expect_err("Linux takes 32,767 s at most");
        assert!(keep_alive(&client).0, "the premise: the call that failed has switched it on");
        client.set_keep_alive(false).expect("it is connected");
        assert!(!keep_alive(&client).0, "it is switched off again");
    });
}

/// Ensures that keep-alive numbers that no kernel takes are an error that names the option, from `listen` and `connect`.
#[test]
fn keep_alive_out_of_range_is_an_error_that_names_it() {
    let too_long = Duration::from_secs(40_000);
    for (what, wrong) in [
        ("delay", KeepAlive::new().delay(too_long)),
        ("interval", KeepAlive::new().delay(Duration::from_secs(1)).interval(too_long)),
        ("count", KeepAlive::new().delay(Duration::from_secs(1)).count(128)),
    ] {
        let listen = ServerOptions::new().keep_alive(wrong).listen("127.0.0.1:0").map(drop);
        let connect = SocketOptions::new().keep_alive(wrong).connect("127.0.0.1:1").map(drop);
        for result in [listen, connect] {
            let error = result.expect_err("it cannot be set");
            assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "before the system is asked");
            assert!(error.to_string().contains(&format!("keep_alive {what}")), "{error} names it");
        }
    }
}

/// Ensures that with keep-alive on both ends of a connection nobody uses are open (net-keepalive.js).
#[test]
fn with_keep_alive_an_idle_connection_stays_open() {
    within("the answer arrives", || {
        each_ip(|at| {
            let on = Duration::from_secs(1);
            let (_server, client, accepted) =
                pair_with(at, ServerOptions::new().keep_alive(on), SocketOptions::new().keep_alive(on));
            // Not a bound: the idle time itself, as in Node's test.
            thread::park_timeout(Duration::from_millis(100));
            let states = [&client, &accepted].map(|socket| socket.ready_state().to_string());
            assert_eq!(states, ["open", "open"], "both ends are open");
            client.write_end("still here").expect("it is connected");
            assert_eq!(accepted.read_text().expect("no reset"), "still here", "and work");
        });
    });
}

/// Ensures that the backlog is what was asked for, by default 4,096, or what the system cuts it to.
#[test]
fn the_backlog_is_what_was_asked_for() {
    if !has_proc() {
        return;
    }
    let Some(ss) = tool("ss") else { return };
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("this is Linux");
    let most: u32 = most.trim().parse().expect("a number");
    for (asked, expected) in [(None, 4096), (Some(7), 7), (Some(127), 127), (Some(u32::MAX), u32::MAX)] {
        let mut options = ServerOptions::new();
        if let Some(backlog) = asked {
            options = options.backlog(backlog);
        }
        let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
        let port = server.address().port();
        let output = Command::new(&ss).args(["-Hltn", &format!("sport = :{port}")]).output().expect("ss can be run");
        let line = String::from_utf8(output.stdout).expect("ss prints text");
        let backlog: u32 = line.split_whitespace().nth(2).and_then(|n| n.parse().ok()).expect("the third column");
        assert_eq!(backlog, expected.min(most), "asked for {asked:?}: {line}");
    }
}

/// Ensures that a server on `::` takes IPv4 too unless `ipv6_only`, which leaves the port's IPv4 side free.
#[test]
fn ipv6_only_leaves_ipv4_alone() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6");
        return;
    }
    within("the clients are told", || {
        let both = Server::listen("[::]:0").expect("every interface can be listened on");
        let _client = Socket::connect(("127.0.0.1", both.address().port())).expect("IPv4 is taken by default");
        accept(&both);

        // Somebody else may be faster with the port; then another is tried.
        let (six, four) = (0..20)
            .find_map(|_| {
                let six = ServerOptions::new().ipv6_only(true).listen(("::", port_of_no_client())).ok()?;
                Server::listen(("0.0.0.0", six.address().port())).ok().map(|four| (six, four))
            })
            .expect("the IPv4 side is free");
        let port = six.address().port();
        let _client = Socket::connect(("::1", port)).expect("IPv6 is taken");
        accept(&six);
        let _client = Socket::connect(("127.0.0.1", port)).expect("it listens");
        accept(&four);
        four.close();
        Socket::connect(("127.0.0.1", port)).expect_err("IPv4 is not taken by the other one");

        let bare = ServerOptions::new().ipv6_only(true).listen(0).expect("a bare port is IPv6 then");
        assert_eq!(bare.address().family(), landline::Family::Ipv6, "it says so");
    });
}

/// Ensures that a port is shared by servers that all ask for it, and by no others.
#[test]
fn reuse_port_shares_a_port_among_those_that_ask() {
    if cfg!(windows) {
        let error = ServerOptions::new().reuse_port(true).listen(0).expect_err("there is no such thing");
        assert_eq!(error.told().code(), "ENOTSUP", "it is refused on Windows");
        return;
    }
    each_ip(|at| {
        let sharing = ServerOptions::new().reuse_port(true);
        let first = sharing.listen(at).expect("port 0 can be listened on");
        let second = sharing.listen(first.address()).expect("both ask for it");
        assert_eq!(first.address(), second.address(), "it is one address");
        let error = Server::listen(first.address()).expect_err("this one does not ask");
        assert_eq!(error.told().code(), "EADDRINUSE", "so the port is in use for it");
        let plain = Server::listen(at).expect("port 0 can be listened on");
        let error = sharing.listen(plain.address()).expect_err("that one did not ask");
        assert_eq!(error.told().code(), "EADDRINUSE", "by default a port is one server's");
    });
}

/// Ensures that a port whose last connections are in TIME_WAIT can be listened on again, unless that is turned off.
#[test]
fn reuse_address_takes_a_port_whose_connections_wait() {
    if differs_on_windows("a connection in TIME_WAIT keeps no port, and the option is never set") {
        return;
    }
    each_ip(|at| {
        let (server, client, accepted) = pair(at);
        // Who ends first waits: the server's side.
        accepted.destroy();
        assert_eq!(client.read(&mut [0; 1]).expect("an orderly end"), 0, "the server has ended");
        client.destroy();
        let address = server.address().clone();
        server.close();
        let error = ServerOptions::new().reuse_address(false).listen(&address).expect_err("a connection waits");
        assert_eq!(error.told().code(), "EADDRINUSE", "the premise: the port is not free");
        Server::listen(&address).expect("by default it can be listened on");
    });
}

/// A stack of 307 pages, which nothing else has.
const ODD: usize = 1_257_472;

/// How many stacks of this process are of that size: every stack of a thread is a mapping of its own, with a guard page below
/// it.
fn odd_stacks() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("this is Linux");
    let size = |line: &str| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        Some(usize::from_str_radix(end, 16).ok()? - usize::from_str_radix(start, 16).ok()?)
    };
    let anonymous = maps.lines().filter(|line| line.contains("rw-p") && line.trim_end().ends_with(" 0"));
    anonymous.filter_map(size).filter(|size| (ODD..ODD + 32_768).contains(size)).count()
}

/// Ensures that each worker has the stack that was asked for, and std's otherwise.
#[test]
fn the_stack_size_is_what_was_asked_for() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        assert_eq!(odd_stacks(), 0, "the premise: no mapping is that large by itself");
        let options = ServerOptions::new().stack_size(ODD);
        let served = Served::start("127.0.0.1:0", &options, |socket| socket.pipe(socket));
        let clients = [0, 1, 2].map(|_| served.connect());
        for client in &clients {
            client.write_all("x").expect("it is connected");
            client.read_exact(&mut [0; 1]).expect("it is served");
        }
        assert!(odd_stacks() >= 4, "three that serve and one that waits: {}", odd_stacks());
        drop(clients);
        served.stop();
    });
}

/// Ensures that the thread which a client's socket starts has the stack that was asked for, and that one which a panic would
/// overflow is an error.
#[cfg(feature = "channel")]
#[test]
fn a_clients_thread_has_the_stack_that_was_asked_for() {
    in_child(this_test!(), &[], || {
        let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
        let options = SocketOptions::new().stack_size(ODD);
        let socket = options.connect(server.address()).expect("it listens");
        if !has_proc() {
            return;
        }
        assert_eq!(odd_stacks(), 0, "the premise: no mapping is that large by itself");
        let events = socket.events(1).expect("a thread can be started");
        assert_eq!(odd_stacks(), 1, "the one that reads");
        drop(events);
        let error = options.stack_size(1000).connect(server.address()).expect_err("a panic would overflow it");
        assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "less than 64 KiB is refused: {error}");
    });
}

/// Ensures that an accepted socket blocks and has no timeout, whatever was set on an adopted listener, and that its
/// options are those asked for.
#[test]
fn sockets_of_an_adopted_listener_have_the_options_asked_for() {
    within("the client is accepted", || {
        each_ip(|at| {
            let listener = TcpListener::bind(at).expect("port 0 can be listened on");
            listener.set_nonblocking(true).expect("it is a socket");
            socket2::SockRef::from(&listener).set_linger(Some(Duration::ZERO)).expect("it is a socket");
            let options = ServerOptions::new().keep_alive(Duration::from_secs(5));
            let server = options.adopt(listener.try_clone().expect("it can be cloned")).expect("it listens");
            let _client = Socket::connect(server.address()).expect("it listens");
            let accepted = accept(&server);
            assert!(no_delay(&accepted), "no-delay is on by default");
            assert_eq!(keep_alive(&accepted), numbers(5, 1, 10), "keep-alive as asked for");
            assert!(!kernel(&accepted, is_nonblocking), "it blocks");
            let timeouts = kernel(&accepted, |raw| Ok((raw.read_timeout()?, raw.write_timeout()?)));
            assert_eq!(timeouts, (None, None), "it has no timeouts");
            assert_eq!(kernel(&accepted, |raw| raw.linger()), None, "closing it neither waits nor resets");

            let error = ServerOptions::new().adopt(TcpStream::connect(at_of(&listener)).expect("it listens"));
            let error = error.expect_err("a connection is no listener");
            assert_eq!(error.to_string(), "listen EINVAL: invalid argument", "Node's text");
        });
    });
}

/// Ensures that an option that is off is off on the connections of a listener that had it on, which an accepted socket of
/// Linux inherits, and that an option that was not given leaves what the listener had.
#[test]
fn options_that_are_off_are_off_on_connections_of_a_given_listener() {
    within("the clients are accepted", || {
        each_ip(|at| {
            for is_owned in [true, false] {
                let give = |options: ServerOptions| {
                    let listener = TcpListener::bind(at).expect("port 0 can be listened on");
                    let raw = socket2::SockRef::from(&listener);
                    raw.set_tcp_nodelay(true).expect("it is TCP");
                    raw.set_keepalive(true).expect("it is a socket");
                    #[cfg(target_os = "linux")]
                    raw.set_tcp_user_timeout(Some(Duration::from_secs(7))).expect("it is TCP");
                    let given = if is_owned { options.own(listener) } else { options.adopt(listener) };
                    let server = given.expect("it listens");
                    let client = Socket::connect(server.address()).expect("it listens");
                    (accept(&server), client, server)
                };
                let off = ServerOptions::new().no_delay(false).keep_alive(false).user_timeout(Duration::ZERO);
                let (socket, _client, _server) = give(off);
                assert!(!no_delay(&socket), "no-delay is off, owned: {is_owned}");
                assert!(!socket.no_delay(), "and the socket says so");
                assert!(!keep_alive(&socket).0, "keep-alive is off, owned: {is_owned}");
                #[cfg(target_os = "linux")]
                if !PORTABLE {
                    let time = kernel(&socket, |raw| raw.tcp_user_timeout());
                    assert_eq!(time, None, "the user timeout is off, owned: {is_owned}");
                }

                let (socket, _client, _server) = give(ServerOptions::new());
                assert!(no_delay(&socket), "no-delay is on by default");
                #[cfg(target_os = "linux")]
                {
                    let left = kernel(&socket, |raw| Ok((raw.keepalive()?, raw.tcp_user_timeout()?)));
                    let had = (true, Some(Duration::from_secs(7)));
                    assert_eq!(left, had, "an option that was not given leaves the listener's");
                }
            }
        });
    });
}

fn at_of(listener: &TcpListener) -> std::net::SocketAddr {
    listener.local_addr().expect("it is bound")
}

/// Ensures that a connection of std's can be taken over, with its settings as they are, and works like any other.
#[test]
fn a_connection_of_stds_can_be_taken_over() {
    within("the answer arrives", || {
        each_ip(|at| {
            let listener = TcpListener::bind(at).expect("port 0 can be listened on");
            for on in [false, true] {
                let stream = TcpStream::connect(at_of(&listener)).expect("it listens");
                stream.set_nodelay(on).expect("it is TCP");
                stream.set_nonblocking(true).expect("it is a socket");
                let (local, remote) = (stream.local_addr().expect("bound"), stream.peer_addr().expect("connected"));
                let socket = Socket::from(stream);
                let peer = Socket::from(listener.accept().expect("it is connected").0);
                assert_eq!((socket.no_delay(), no_delay(&socket)), (on, on), "its settings are left as they are");
                assert_eq!(socket.local_address().socket_addr(), Some(local), "its address is known");
                assert_eq!(socket.remote_address().socket_addr(), Some(remote), "the peer's too");
                let reading = thread::spawn(move || socket.read_text().map(|text| (text, socket)));
                peer.write_end("hello").expect("it is connected");
                let (text, socket) = reading.join().expect("no panic").expect("it blocks until the end");
                assert_eq!(text, "hello", "it works like any other");
                socket.write_end("back").expect("our direction is open");
                assert_eq!(peer.read_text().expect("no reset"), "back", "both ways");
            }
        });
    });
}
