//! The table of what zero and `None` mean is whole and right.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind::Unsupported};
use std::time::{Duration, Instant};

use landline::net::{KeepAlive, Server, ServerOptions, Socket, SocketOptions};
use landline::{Cancel, Error, Limit, dgram};

use crate::defaults::ZERO;
use crate::support::pages::{public_names, quoted, read, root};
use crate::support::{Told, each_ip, eventually, within};

/// The calls that the first cells of the table name.
fn on_page() -> BTreeSet<String> {
    let page = read(&root().join("docs/defaults.md"));
    let (_, table) = page.split_once(ZERO).expect("the page has the table");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(quoted).map(str::to_owned).collect()
}

/// Every public call that takes a time, or a size that is no buffer's offset.
fn takers() -> BTreeSet<String> {
    let api = read(&root().join("docs/public-api.txt"));
    let methods = api.lines().filter_map(|line| line.strip_prefix("pub fn landline::")?.split_once('('));
    let takers = methods.filter_map(|(name, rest)| {
        let taken = rest.split_once(") -> ").map_or(rest, |(taken, _)| taken);
        let is_taker = ["Duration", "usize", "Option<std::time::Instant>", "Option<core::time::"].iter();
        let name = name.strip_prefix("net::").unwrap_or(name).replace("<T>", "");
        let name = name.split('<').next().unwrap_or_default().to_owned();
        (is_taker.clone().any(|word| taken.contains(word)) && name != "Buffered::consume").then_some(name)
    });
    takers.collect()
}

/// Ensures that each call that takes a time or a size has its row.
#[test]
fn every_time_and_size_has_a_row() {
    let (page, takers) = (on_page(), takers());
    assert!(takers.len() > 40, "the calls are read: {takers:?}");
    let missing: Vec<_> = takers.difference(&page).collect();
    assert_eq!(missing, Vec::<&String>::new(), "these take a time or a size, and the page does not say what zero is");
    let public = public_names();
    let gone: Vec<_> = page.difference(&public).collect();
    assert_eq!(gone, Vec::<&String>::new(), "these are named on the page, and are no calls");
}

fn code<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    result.expect_err("it is refused").told().code().to_owned()
}

/// Ensures that zero is refused where the page says so, by the code it says.
#[test]
fn zero_is_refused_where_the_page_says_so() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let socket = Socket::connect(server.address()).expect("it listens");
    let connect = |options: SocketOptions| code(options.connect(server.address()));
    let listen = |options: ServerOptions| code(options.listen("127.0.0.1:0"));
    let bind = |options: dgram::SocketOptions| code(options.bind("127.0.0.1:0"));
    let udp = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
    for (call, told) in [
        ("set_read_timeout", code(socket.set_read_timeout(Duration::ZERO))),
        ("set_write_timeout", code(socket.set_write_timeout(Duration::ZERO))),
        ("attempt_timeout", connect(SocketOptions::new().attempt_timeout(Duration::ZERO))),
        ("stack_size of a client", connect(SocketOptions::new().stack_size(0))),
        ("stack_size of a server", listen(ServerOptions::new().stack_size(0))),
        ("stack_size of a datagram socket", bind(dgram::SocketOptions::new().stack_size(0))),
        ("recv_buffer_size of a client", connect(SocketOptions::new().recv_buffer_size(0))),
        ("send_buffer_size of a client", connect(SocketOptions::new().send_buffer_size(0))),
        ("ttl of a datagram socket", bind(dgram::SocketOptions::new().ttl(0))),
        ("recv_buffer_size of a server", listen(ServerOptions::new().recv_buffer_size(0))),
        ("send_buffer_size of a server", listen(ServerOptions::new().send_buffer_size(0))),
    ] {
        assert_eq!(told, "ERR_OUT_OF_RANGE", "{call}");
    }
    for (call, told) in [
        ("recv_buffer_size", bind(dgram::SocketOptions::new().recv_buffer_size(0))),
        ("send_buffer_size", bind(dgram::SocketOptions::new().send_buffer_size(0))),
        ("set_recv_buffer_size", code(udp.set_recv_buffer_size(0))),
        ("set_send_buffer_size", code(udp.set_send_buffer_size(0))),
    ] {
        assert_eq!(told, "ERR_SOCKET_BAD_BUFFER_SIZE", "{call} of a datagram socket");
    }
    assert_eq!(code(udp.set_ttl(0)), "EINVAL", "set_ttl");
}

/// Ensures that zero switches off, or leaves to the system, what the page says.
#[test]
fn zero_is_none_where_the_page_says_so() {
    within("everything goes on as without a limit", || {
        each_ip(|place| {
            let keep_alive = KeepAlive::new().delay(Duration::ZERO).interval(Duration::ZERO).count(0);
            let options = ServerOptions::new()
                .timeout(Duration::ZERO)
                .user_timeout(Duration::ZERO)
                .proxy_timeout(Duration::ZERO)
                .lingering_close(Duration::ZERO)
                .keep_alive(keep_alive);
            let server = options.listen(place).expect("zero is taken");
            let socket = SocketOptions::new()
                .connect_timeout(Duration::ZERO)
                .timeout(Duration::ZERO)
                .user_timeout(Duration::ZERO)
                .connect(server.address())
                .expect("there is no limit");
            let accepted = server.accept().expect("in order").expect("the server is open");
            for one in [&socket, &accepted] {
                assert_eq!((one.timeout(), one.deadline()), (None, None), "no timer is on");
                let has_none =
                    one.user_timeout().map_or_else(|error| error.kind() == Unsupported, |time| time.is_none());
                assert!(has_none, "it is the system's, where there is one");
            }
            socket.set_timeout(Duration::from_secs(1));
            socket.set_timeout(Duration::ZERO);
            assert_eq!(socket.timeout(), None, "zero switches it off");
            // Its own limit of one message at a time takes a message of any size.
            socket.outbox().set_limit(0);
            socket.outbox().try_send("hello\n").expect("nothing is queued");
            let mut lines = accepted.buffered().expect("it is open");
            lines.set_line_limit(0);
            assert_eq!(lines.next_line().expect_err("it is not empty").kind(), io::ErrorKind::InvalidData, "no room");
        });
    });
}

/// Ensures that with zero the calls with a time take what is there and do not wait, and that a deadline of zero has passed.
#[test]
fn zero_does_not_wait_where_the_page_says_so() {
    within("no call waits", || {
        each_ip(|place| {
            let server = Server::listen(place).expect("port 0 can be listened on");
            let udp = dgram::Socket::bind(place).expect("port 0 is free");
            let nothing = server.accept_timeout(Duration::ZERO).map(drop).expect_err("no client is there");
            assert!(Error::is_tick(&nothing), "accept_timeout: {nothing}");
            let nothing = udp.recv_timeout(&mut [0; 10], Duration::ZERO).map(drop).expect_err("nothing is there");
            assert!(Error::is_tick(&nothing), "recv_timeout: {nothing}");
            assert!(!server.wait_timeout(Duration::ZERO).expect("in order"), "wait_timeout: it is open");
            assert!(!Cancel::new().wait_timeout(Duration::ZERO), "Cancel::wait_timeout: it is not cancelled");
            assert!(server.wait_idle(Duration::ZERO).expect("in order"), "wait_idle: no client is connected");

            let over = SocketOptions::new().deadline(Duration::ZERO).connect(server.address()).expect("it listens");
            assert_eq!(code(over.read(&mut [0])), "ERR_SOCKET_DEADLINE", "deadline");
            assert!(over.deadline().is_some_and(|at| at <= Instant::now()), "it is over at once");
            let kept = server.accept().expect("in order").expect("the server is open");
            drop((over, kept));

            let mut serving = server.spawn(|socket| socket.pipe(socket)).expect("a thread can be started");
            assert!(!serving.join_timeout(Duration::ZERO).expect("in order"), "join_timeout: it serves");
            let client = Socket::connect(server.address()).expect("it listens");
            client.write_all("x").expect("it is connected");
            client.read_exact(&mut [0]).expect("it is served");
            assert_eq!(server.shutdown(Duration::ZERO).forced, 1, "shutdown: the connection is destroyed");
            serving.join().expect("in order");
        });
    });
}

/// Ensures that a number of zero lets no client in.
#[test]
fn zero_places_are_none() {
    within("every client is refused", || {
        each_ip(|place| {
            let none = [
                ServerOptions::new().max_connections(0),
                ServerOptions::new().max_connections_per_address(0),
                ServerOptions::new().shared_limit(&Limit::new(0)),
                ServerOptions::new().shared_limit(&Limit::new(None).per_address(0)),
            ];
            for options in none {
                let server = options.listen(place).expect("zero is taken");
                let serving = server.spawn(|socket| socket.write_end("in")).expect("a thread can be started");
                let client = Socket::connect(server.address()).expect("it listens");
                assert_ne!(io::read_to_string(&client).ok().as_deref(), Some("in"), "it is refused: {options:?}");
                eventually("it is counted as refused", || server.stats().refused_total() == 1);
                assert_eq!(server.stats().accepted, 0, "none is let in: {options:?}");
                server.close();
                serving.join().expect("in order");
            }
        });
    });
}
