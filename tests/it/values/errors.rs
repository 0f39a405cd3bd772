//! What an error keeps: its code, operation and address, and what caused it.

use std::error::Error as _;
use std::net::IpAddr;
use std::{fmt, io};

use landline::net::{Server, Socket, SocketEvent, SocketOptions};
use landline::{Error, dgram};

use crate::support::Told;
use crate::support::fixtures::{Refusing, pair};

/// An error of the program's own.
#[derive(Debug, PartialEq)]
struct Mine(u32);

impl fmt::Display for Mine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mine, {}", self.0)
    }
}

impl std::error::Error for Mine {}

/// Ensures that the system's error is the source of the error of a call, on TCP and UDP alike.
#[test]
fn what_the_system_said_is_the_source() {
    let refusing = Refusing::at("127.0.0.1:0");
    let connect = Socket::connect(refusing.address).expect_err("nothing listens there");
    let bound = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
    let bind = dgram::Socket::bind(bound.address()).expect_err("the port is taken");
    for error in [connect, bind] {
        let source = error.told().source().and_then(|source| source.downcast_ref::<io::Error>());
        let number = source.and_then(io::Error::raw_os_error);
        assert!(number.is_some() && number == error.told().raw_os_error(), "the source has the number: {source:?}");
        assert_eq!(error.source().map(ToString::to_string), source.map(ToString::to_string), "`source` passes it on");
    }
}

/// Ensures that what a resolver of the program's own returns is the source of the connect's error, which has its text.
#[test]
fn a_resolvers_error_is_the_source() {
    let resolver = |_: &str, _| Err::<Vec<IpAddr>, _>(io::Error::other(Mine(1)));
    let error = SocketOptions::new().lookup(resolver).connect("x.example:1").expect_err("the resolver fails");
    let source = error.source().and_then(|source| source.downcast_ref::<Mine>());
    assert_eq!((source, error.told().host()), (Some(&Mine(1)), Some("x.example")), "the error itself, and the name");
    assert_eq!(error.to_string(), "mine, 1", "the text is the resolver's");
}

/// Ensures that an error of the program's own passes through `each` as it is, while its events and hooks see it as the
/// source.
#[test]
fn a_handlers_error_comes_out_as_it_went_in() {
    let (_server, client, accepted) = pair("127.0.0.1:0");
    client.write_end("x").expect("the server reads");
    let mut seen = None;
    let returned = accepted.each(|_, event| match event {
        SocketEvent::Data(_) => Err(io::Error::other(Mine(2))),
        SocketEvent::Error(error) => {
            seen = error.source().and_then(|source| source.downcast_ref::<Mine>()).map(|mine| mine.0);
            Ok(())
        }
        _ => Ok(()),
    });
    let returned = returned.expect_err("the closure failed");
    assert_eq!(returned.get_ref().and_then(|error| error.downcast_ref::<Mine>()), Some(&Mine(2)), "it comes back");
    assert_eq!(seen, Some(2), "the event has it as its source");

    let kept = Error::from(io::Error::other(Mine(3)));
    let told = io::Error::from(kept.clone());
    let source = told.source().and_then(|source| source.downcast_ref::<Mine>());
    assert_eq!(source, Some(&Mine(3)), "where the event's error is kept, what comes back has it as its source");
}

/// Ensures that the error hook of a server, which gets a handler's error, can tell which error it is.
#[test]
fn an_error_hook_has_the_handlers_error_as_the_source() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 is free");
    let (tell, told) = std::sync::mpsc::channel();
    let its = server.clone();
    let running = server
        .on()
        .connection(|_| Err(io::Error::other(Mine(4))))
        .error(move |error, _| {
            let _ = tell.send(error.source().is_some_and(|source| source.is::<Mine>()));
            its.close();
        })
        .spawn()
        .expect("a thread can be started");
    let _client = Socket::connect(server.address()).expect("the server listens");
    assert_eq!(told.recv_timeout(crate::support::HANG), Ok(true), "the source is the handler's error");
    running.join().expect("the server was closed");
}

/// Ensures that errors are equal when code, operation and address are, whatever caused them.
#[test]
fn errors_are_equal_by_code_operation_and_address() {
    let server = Server::listen("127.0.0.1:0").expect("port 0 is free");
    let other = Server::listen("127.0.0.1:0").expect("port 0 is free");
    let taken = |server: &Server| Error::from(Server::listen(server.address()).expect_err("the port is taken"));
    assert_eq!(taken(&server), taken(&server), "the same failure");
    assert_ne!(taken(&server), taken(&other), "another address");
    let bind = Error::from(
        SocketOptions::new()
            .local_address("127.0.0.1")
            .local_port(server.address().port())
            .connect(other.address())
            .expect_err("the port is taken"),
    );
    assert_ne!(taken(&server), bind, "another operation");
}

/// Ensures that an error of the library is found inside errors that the program has made of it, and that a tick among them
/// stays one.
#[test]
fn an_error_is_found_behind_the_programs_own() {
    #[derive(Debug)]
    struct While(&'static str, io::Error);
    impl fmt::Display for While {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "while {}: {}", self.0, self.1)
        }
    }
    impl std::error::Error for While {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.1)
        }
    }

    let (_server, client, _accepted) = pair("127.0.0.1:0");
    // Not a bound: it is to run out.
    client.set_read_timeout(std::time::Duration::from_millis(1)).expect("it is open");
    let tick = client.read(&mut [0]).expect_err("nothing comes");
    let wrapped = io::Error::new(tick.kind(), While("reading", tick));
    let twice = io::Error::other(While("serving", wrapped));
    assert_eq!(Error::of(&twice).map(Error::code), Some("ERR_SOCKET_TIMEOUT"), "it is found: {twice}");
    assert!(Error::is_tick(&twice), "and is a tick");
    assert!(Error::of(&io::Error::other(While("nothing", io::Error::other("else")))).is_none(), "none is made up");
}

/// Ensures that an error that is its own source is looked at and left, and not followed for ever.
#[test]
fn an_error_that_is_its_own_source_is_not_followed_for_ever() {
    #[derive(Debug)]
    struct Circle;
    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a circle")
        }
    }
    impl std::error::Error for Circle {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(self)
        }
    }

    let found = crate::support::within("it is looked at", || Error::of(&io::Error::other(Circle)).is_some());
    assert!(!found, "none of the library's is in it");
}
