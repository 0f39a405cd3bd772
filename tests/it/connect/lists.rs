//! Connecting to a list of addresses.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;

use landline::net::{Server, Socket, SocketOptions};
use landline::{Endpoint, Family, Report};

use crate::support::fixtures::{Refusing, accept};
use crate::support::{HANG, Told, each_ip, families, within};

/// A server, and an address that refuses.
fn server_and_refusing(at: &str) -> (Server, SocketAddr, Refusing) {
    let server = Server::listen(at).expect("port 0 can be listened on");
    let served = server.address().socket_addr().expect("it is an IP address");
    (server, served, Refusing::at(at))
}

/// Ensures that a list connects to the first of its addresses that answers, in each form of a list, with a limit on the time
/// and without, and that a list of one is that address.
#[test]
fn a_list_connects_to_the_first_address_that_answers() {
    within("every connect returns", || {
        each_ip(|at| {
            let (server, served, refusing) = server_and_refusing(at);
            let list = [refusing.address, served];
            let forms: [Endpoint; 6] = [
                list.into(),
                (&list).into(),
                list.as_slice().into(),
                list.to_vec().into(),
                (&list.to_vec()).into(),
                list.as_slice().to_socket_addrs().expect("it is a list").collect::<Vec<_>>().into(),
            ];
            for form in forms {
                for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                    let client = options.connect(form.clone()).unwrap_or_else(|error| panic!("{form}: {error}"));
                    assert_eq!(client.remote_address(), server.address(), "the first refuses, the second answers");
                    assert_eq!(client.attempted_addresses(), list.map(Into::into), "both were tried, in turn");
                    assert_eq!(accept(&server).remote_address(), client.local_address(), "it is our client");
                }
            }
            for one in [vec![served], vec![served, served]] {
                let client = Socket::connect(one).expect("the server listens");
                assert_eq!(client.attempted_addresses(), [], "one address is no choice, also when it is there twice");
                assert_eq!(accept(&server).remote_address(), client.local_address(), "it is our client");
            }
        });
    });
}

/// Ensures that when no address of a list answers, the error has the code of the first and the errors of all.
#[test]
fn the_error_of_a_list_has_the_errors_of_all() {
    within("every connect returns", || {
        each_ip(|at| {
            let refusing = [Refusing::at(at), Refusing::at(at)];
            let list = refusing.each_ref().map(|refusing| refusing.address);
            for options in [SocketOptions::new(), SocketOptions::new().connect_timeout(HANG)] {
                let error = options.connect(list).map(drop).expect_err("no program listens there");
                assert_eq!(
                    (error.told().code(), error.kind()),
                    ("ECONNREFUSED", ErrorKind::ConnectionRefused),
                    "the first's"
                );
                let [first, second] = list;
                let text = format!("connect ECONNREFUSED 2 addresses ({first} ECONNREFUSED, {second} ECONNREFUSED)");
                assert_eq!(error.to_string(), text, "it says what was tried");
                let causes: Vec<_> =
                    error.told().causes().iter().filter_map(|cause| cause.address()?.socket_addr()).collect();
                assert_eq!(causes, list, "it has the error of each, in their order");
            }
            let error = Socket::connect([list[0]]).map(drop).expect_err("no program listens there");
            assert_eq!(error.told().causes().len(), 0, "a list of one is that address: {error}");
        });
    });
}

/// Ensures that an empty list is an error that says so, before anything is done.
#[test]
fn an_empty_list_is_an_error_before_anything_is_done() {
    let none: [SocketAddr; 0] = [];
    let (tell, told) = mpsc::channel();
    let options = SocketOptions::new().report(move |report: &Report| tell.send(report.to_string()).expect("it waits"));
    let errors = [
        options.connect(none).map(drop).expect_err("there is no address"),
        Server::listen(none).map(drop).expect_err("there is no address"),
        landline::dgram::Socket::bind(Vec::new()).map(drop).expect_err("there is no address"),
    ];
    for error in errors {
        assert_eq!(error.to_string(), "The list of addresses is empty", "it says so");
        assert_eq!(
            (error.told().code(), error.kind()),
            ("ERR_INVALID_ARG_VALUE", ErrorKind::InvalidInput),
            "bad input"
        );
    }
    let reports: Vec<_> = told.try_iter().collect();
    assert_eq!(reports, ["failed: The list of addresses is empty"], "no attempt was made");
}

/// Ensures that a list is used as the addresses of a name are: in turns of the families, of one family if that is asked for,
/// and the first alone if no others are to be tried.
#[test]
fn a_list_is_used_as_the_addresses_of_a_name() {
    within("every connect returns", || {
        let (server, served, refusing) = server_and_refusing("127.0.0.1:0");
        let first_only = SocketOptions::new().auto_select_family(false);
        let error = first_only.connect([refusing.address, served]).map(drop).expect_err("the first refuses");
        assert_eq!(error.to_string(), format!("connect ECONNREFUSED {}", refusing.address), "it alone was tried");
        first_only.connect([served, refusing.address]).expect("the first answers");

        let wrong = SocketOptions::new().family(Family::Ipv6).connect([served, refusing.address]).map(drop);
        let error = wrong.expect_err("none is of the family");
        assert_eq!(error.told().code(), "ERR_INVALID_ADDRESS_FAMILY", "it says why");
        assert_eq!(error.to_string(), format!("Invalid address family: IPv4 {served}"), "and names the first");
        drop(server);

        if families().len() < 2 {
            return println!("skipped for IPv6");
        }
        let (_server, served6, refusing6) = server_and_refusing("[::1]:0");
        let other = Refusing::at("127.0.0.1:0");
        let client = Socket::connect([refusing.address, other.address, refusing6.address, served6]);
        let tried: Vec<_> = client.expect("the last answers").attempted_addresses().to_vec();
        let turns = [refusing.address, refusing6.address, other.address, served6].map(Into::into);
        assert_eq!(tried, turns, "the families take turns");
        for options in [SocketOptions::new().family(Family::Ipv6), SocketOptions::new().local_address("::1")] {
            let client = options.connect([refusing.address, served6]).expect("one is of the family, and answers");
            assert_eq!(client.remote_address().socket_addr(), Some(served6), "only the family asked for is used");
        }
    });
}

/// Ensures that a wildcard in a list means this machine, as it does alone: `::` in both families, by IPv4 last.
#[test]
fn a_wildcard_in_a_list_is_this_machine() {
    within("every connect returns", || {
        each_ip(|at| {
            let (server, mut served, refusing) = server_and_refusing(at);
            served.set_ip(if served.is_ipv4() { [0; 4].into() } else { [0; 16].into() });
            let client = Socket::connect([refusing.address, served]).expect("the server listens");
            assert_eq!(client.remote_address(), server.address(), "it is reached over loopback");
        });
        let (server, served, refusing) = server_and_refusing("127.0.0.1:0");
        let everywhere = SocketAddr::from(([0; 16], served.port()));
        for list in [[everywhere, refusing.address], [refusing.address, everywhere]] {
            let client = Socket::connect(list).expect("the server listens on this machine's address of IPv4");
            assert_eq!(client.remote_address(), server.address(), "it is reached, although `::1` comes first");
            assert_eq!(client.attempted_addresses().last(), Some(server.address()), "it was tried after the others");
        }
        let from = SocketOptions::new().local_address("127.0.0.1");
        let client = from.connect([everywhere, everywhere]).expect("it is this machine in the family of our end too");
        assert_eq!(client.remote_address(), server.address());
        let client = from.connect([everywhere, refusing.address]).expect("the first is used");
        assert_eq!(client.remote_address(), server.address(), "an address of our end's family is meant");
    });
}
