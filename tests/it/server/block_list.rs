//! A server's block list.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;

#[cfg(feature = "channel")]
use landline::net::ServerEvent;
use landline::net::{ServerOptions, Socket};
use landline::{BlockList, RefusedBy, Report};

use crate::support::Whole;
use crate::support::fixtures::Served;
use crate::support::{HANG, each_ip, eventually, within};

fn list(rules: &[&str]) -> BlockList {
    let list = BlockList::new();
    list.add_cidrs(rules).expect("they are subnets");
    list
}

/// What a client of the server sees: whether it got anything, and that it is over.
fn is_served(server: &landline::net::Server) -> bool {
    let client = Socket::connect(server.address()).expect("the connect itself succeeds");
    within("the connection ends", move || client.read_all()).is_ok_and(|all| !all.is_empty())
}

/// Ensures that a client on the list is closed without a handler: it only sees the end. Mirrors net-server-blocklist.js.
#[test]
fn a_blocked_client_only_sees_the_end() {
    each_ip(|at| {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let (tell, told) = mpsc::channel();
        let blocked = list(&["127.0.0.0/8", "::1/128"]);
        let options = ServerOptions::new().block_list(&blocked).report(move |report| {
            if let Report::Refused { by, remote, .. } = report {
                tell.send((*by, remote.ip())).expect("the test waits");
            }
        });
        let served = Served::start(at, &options, move |socket| {
            counted.fetch_add(1, SeqCst);
            socket.write_end("served")
        });
        assert!(!is_served(&served.server), "nothing but the end");
        let (by, ip) = told.recv_timeout(HANG).expect("it is reported");
        assert_eq!((by, ip.is_some_and(|ip| blocked.check(ip))), (RefusedBy::Blocked, true), "with its address");
        let stats = served.server.stats();
        assert_eq!((calls.load(SeqCst), stats.accepted, stats.peak), (0, 0, 0), "no handler, and never counted");
        assert_eq!((stats.refused(RefusedBy::Blocked), stats.refused(RefusedBy::Full)), (1, 0), "but in the accounts");

        // A clone is the same list, so the rules can change while the server runs.
        blocked.clear();
        assert!(is_served(&served.server), "the next client is let in");
        assert!(list(&["0.0.0.0/0", "::/0"]).check(served.server.address().ip().expect("it is TCP")), "control");
        served.stop();
    });
}

/// Ensures that a blocked client is not told of as refused, by callbacks or by a channel, even when the server is full.
#[cfg(feature = "channel")]
#[test]
fn a_blocked_client_is_nobodys_business() {
    let blocked = list(&["127.0.0.0/8"]);
    let options = ServerOptions::new().block_list(&blocked).max_connections(0);
    let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
    let (tell, told) = mpsc::channel();
    let running = server
        .on()
        .refused(move |client| tell.send(client.by).expect("the test waits"))
        .spawn()
        .expect("a thread can be started");
    assert!(!is_served(&server), "it is closed");
    blocked.clear();
    assert!(!is_served(&server), "the server is full");
    assert_eq!(told.recv_timeout(HANG), Ok(RefusedBy::Full), "the one that was full is told of");
    assert!(told.try_recv().is_err(), "the one that was blocked is not");
    server.close();
    within("run returns", || running.join()).expect("all went well");

    let options = ServerOptions::new().block_list(&list(&["127.0.0.0/8"]));
    let server = options.listen("127.0.0.1:0").expect("port 0 can be listened on");
    let events = server.events(8).expect("a thread can be started");
    assert!(!is_served(&server), "it is closed");
    eventually("it is counted", || server.stats().refused(RefusedBy::Blocked) == 1);
    server.close();
    assert!(matches!(events.recv_timeout(HANG), Ok(ServerEvent::Close)), "the close is the first event");
}

/// Ensures that a rule for IPv4 matches a client that comes to a dual-stack server over IPv4.
#[test]
fn an_ipv4_rule_matches_on_a_dual_stack_server() {
    let blocked = list(&["127.0.0.1/32"]);
    let served = Served::start(0, &ServerOptions::new().block_list(&blocked), |socket| socket.write_end("served"));
    let port = served.server.address().port();
    let connect = |at: (&str, u16)| Socket::connect(at).expect("the connect itself succeeds").read_all();
    assert_eq!(connect(("127.0.0.1", port)).unwrap_or_default(), b"", "blocked");
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(connect(("::1", port)).expect("in order"), b"served", "another address is not");
    }
    served.stop();
}
