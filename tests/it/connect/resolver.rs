//! What a look-up that fails says, and what a resolver may answer.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddrV6};

use landline::dgram;
use landline::net::{Server, SocketOptions};

use crate::race::Tape;
use crate::support::{HANG, Told, in_child, in_surroundings, within};

/// Looks a name up in every way there is: for a connect, without a limit and with one, to listen, to bind and to send.
fn in_every_way(host: &'static str) -> Vec<io::Error> {
    within("the look-ups return", move || {
        let sender = dgram::Socket::bind("127.0.0.1:0").expect("port 0 can be bound");
        vec![
            SocketOptions::new().connect((host, 80)).map(drop).expect_err("no connect"),
            SocketOptions::new().connect_timeout(HANG).connect((host, 80)).map(drop).expect_err("no connect"),
            Server::listen((host, 0)).map(drop).expect_err("no server"),
            dgram::Socket::bind((host, 0)).map(drop).expect_err("no socket"),
            sender.send_to(b"x", (host, 80)).map(drop).expect_err("nothing is sent"),
        ]
    })
}

/// Ensures that a resolver which cannot be asked now is no proof that there is no such name: its failure is `EAI_AGAIN`, of
/// the kind `Other`, with the text of the system.
#[test]
#[cfg(target_os = "linux")]
fn a_name_server_that_cannot_be_reached_is_eai_again() {
    let script = "printf 'nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n' >/tmp/resolv.$$; \
        mount --bind /tmp/resolv.$$ /etc/resolv.conf; rm /tmp/resolv.$$";
    in_surroundings(this_test!(), script, || {
        for error in in_every_way("landline.example") {
            assert_eq!(
                (error.told().code(), error.kind()),
                ("EAI_AGAIN", ErrorKind::Other),
                "not now is not never: {error}"
            );
            assert_eq!(
                (error.told().syscall(), error.told().host()),
                (Some("getaddrinfo"), Some("landline.example")),
                "call and name"
            );
            let begin = "getaddrinfo EAI_AGAIN landline.example: ";
            assert!(error.to_string().len() > begin.len() && error.to_string().starts_with(begin), "and text: {error}");
        }
    });
}

/// Ensures that a look-up for which there is no descriptor has the code of that, and never says that the name is unknown.
#[test]
#[cfg(target_os = "linux")]
fn a_look_up_without_a_descriptor_is_not_an_unknown_name() {
    in_child(this_test!(), &["prlimit", "--nofile=64"], || {
        // What the C library reads once, it has read then.
        let _ = SocketOptions::new().connect("localhost:1");
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            held.push(file);
        }
        let error = SocketOptions::new().connect("landline.example:80").map(drop).expect_err("no descriptor is left");
        drop(held);
        if error.told().code() == "ENOTFOUND" {
            println!("skipped: the C library itself says that there is no such name");
            return;
        }
        assert_eq!((error.told().code(), error.kind()), ("EMFILE", ErrorKind::Other), "{error}");
        assert!(error.told().raw_os_error().is_some(), "the number of the system is kept");
    });
}

/// Ensures that an interface that does not exist is an unknown name, whatever it is given to.
#[test]
fn a_zone_of_no_interface_is_not_found() {
    for error in [
        SocketOptions::new().connect("[fe80::1%no-interface]:80").map(drop).expect_err("no interface"),
        SocketOptions::new().connect_timeout(HANG).connect("[fe80::1%no-interface]:80").map(drop).expect_err("none"),
        Server::listen("[fe80::1%no-interface]:80").map(drop).expect_err("no interface"),
    ] {
        assert_eq!((error.told().code(), error.kind()), ("ENOTFOUND", ErrorKind::NotFound), "{error}");
        assert_eq!(error.to_string(), "getaddrinfo ENOTFOUND fe80::1%no-interface", "it names the zone");
    }
}

/// Ensures that a name that is not ASCII is refused before a resolver is asked, by an error that says what to give instead;
/// and that a resolver of the caller's own gets it as it is.
#[test]
fn a_name_that_is_not_ascii_is_refused() {
    for host in ["b\u{fc}cher.example", "\u{ff11}27.0.0.1", "ex\u{e4}mple%lo"] {
        for error in in_every_way(host) {
            assert_eq!(
                (error.told().code(), error.kind()),
                ("ERR_INVALID_ARG_VALUE", ErrorKind::InvalidInput),
                "{error}"
            );
            assert_eq!(error.told().host(), Some(host), "it names the host");
            assert!(error.to_string().contains("xn--"), "and says what to give: {error}");
        }
    }
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let own = SocketOptions::new().lookup(|name, _| match name {
        "b\u{fc}cher.example" => Ok(vec![[127, 0, 0, 1]]),
        other => panic!("{other}?"),
    });
    own.connect(("b\u{fc}cher.example", server.address().port())).expect("its own resolver knows the name");
}

/// Ensures that the zone of an address that a resolver answers is kept, in reports too, and that an IPv4-mapped answer is the
/// IPv4 address.
#[test]
fn what_a_resolver_answers_is_kept_whole() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let port = server.address().port();
    let mapped = SocketOptions::new().lookup(|_, _| Ok([Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1)]));
    let client = mapped.connect(("name", port)).expect("it is the address of the server");
    assert_eq!(client.remote_address(), server.address(), "the mapped address means the IPv4 one");

    let tape = Tape::default();
    let zoned = SocketOptions::new().report(tape.hook());
    let zoned =
        zoned.lookup(|_, _| Ok([SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 9, 0, 4_000_000)]));
    let error = zoned.connect(("name", 80)).map(drop).expect_err("there are not so many interfaces");
    assert_eq!(
        error.to_string(),
        format!("connect {} fe80::1%4000000:80", error.told().code()),
        "the error has the zone"
    );
    let lines = tape.lines();
    assert_eq!(lines[0], "looked up name: [[fe80::1%4000000]:0]", "the report too, and the port is the one asked for");
    assert_eq!(lines[1], "attempt [fe80::1%4000000]:80", "of the attempt as well");
}
