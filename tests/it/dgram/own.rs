//! A socket that was given by value and that this program alone has, and the family that a socket has.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use landline::dgram::{Socket, SocketOptions};
use landline::{Error, Family};
use socket2::SockRef;

use crate::support::dgram::receive;
use crate::support::{Told, blocked, eventually, families, within};

type Own = fn(UdpSocket) -> Socket;

/// The ways to give a socket: from std's type, to options, as a bare descriptor.
fn ways() -> [(&'static str, Own); 3] {
    [
        ("From", Socket::from),
        ("own", |socket| SocketOptions::new().own(socket).expect("it is bound")),
        ("OwnedFd", |socket| SocketOptions::new().own(OwnedFd::from(socket)).expect("it is bound")),
    ]
}

/// Ensures that a socket of one's own receives and sends whatever mode and timeouts it was left in, that a blocked receive
/// waits, and that close wakes it and frees the port, also where others may have the address.
#[test]
fn a_socket_is_used_in_whatever_mode_it_was_left() {
    for at in families() {
        for (way, own) in ways() {
            let std = UdpSocket::bind(at).expect("port 0 is free");
            let bound = std.local_addr().expect("it is bound");
            std.set_nonblocking(true).expect("it is a socket");
            // Not a bound: what the giver has left.
            std.set_read_timeout(Some(Duration::from_millis(1))).expect("it is a socket");
            // Not a bound: the same.
            std.set_write_timeout(Some(Duration::from_millis(1))).expect("it is a socket");
            SockRef::from(&std).set_reuse_address(true).expect("it is a socket");
            let socket = own(std);
            assert_eq!(socket.address(), bound, "{way}: its address is the socket's");
            let raw = socket.with_raw(|fd| {
                Ok::<_, std::io::Error>((SockRef::from(&fd).nonblocking()?, SockRef::from(&fd).write_timeout()?))
            });
            let raw = raw.expect("it is open").expect("it can be asked");
            assert_eq!(raw, (false, None), "{way}: it blocks, and for as long as it takes");
            let receiving = blocked({
                let socket = socket.clone();
                move || socket.recv(&mut [0; 10]).map(|received| received.map(|(bytes, from)| (bytes.to_vec(), from)))
            });
            let other = Socket::bind(at).expect("port 0 is free");
            other.send_to(b"x", socket.address()).expect("it is on this machine");
            let (bytes, from) = within("receive returns", move || receiving.join())
                .expect("no panic")
                .expect("a datagram arrives")
                .expect("the socket is open");
            assert_eq!(bytes, b"x", "{way}: a receive waits for a datagram");
            socket.send_to(b"y", from).expect("it is on this machine");
            assert_eq!(receive(&other).0, b"y", "{way}: it sends");
            let receiving = blocked({
                let socket = socket.clone();
                move || socket.recv(&mut [0; 10]).map(|received| received.is_none())
            });
            within("close returns", move || socket.close());
            let ended = within("receive returns", move || receiving.join()).expect("no panic").expect("no error");
            assert!(ended, "{way}: close ends a receive");
            // A program that another test starts has a copy of the socket until it runs.
            eventually("the port is free", || UdpSocket::bind(bound).is_ok());
        }
    }
}

/// Ensures that a peer that the socket came with is kept, that one is given to it by connect(2), and that such a socket is not
/// made anew by a disconnect, since what its giver has set would be lost.
#[test]
fn a_peer_is_the_systems() {
    for at in families() {
        let peer = Socket::bind(at).expect("port 0 is free");
        let to = peer.address();
        let came = UdpSocket::bind(at).expect("port 0 is free");
        came.connect(to).expect("it is on this machine");
        let came = Socket::from(came);
        let got = Socket::from(UdpSocket::bind(at).expect("port 0 is free"));
        got.connect(peer.address()).expect("it has no peer yet");
        for socket in [came, got] {
            assert_eq!(socket.remote_address().expect("it has a peer"), peer.address(), "the peer is known");
            let known = socket.with_raw(|fd| SockRef::from(&fd).peer_addr()).expect("it is open");
            assert_eq!(known.expect("it is connected").as_socket(), Some(to), "to the system too");
            socket.send(b"x").expect("it has a peer");
            assert_eq!(receive(&peer).0, b"x", "what is sent goes there");
            let error = socket.disconnect().expect_err("it cannot be made anew");
            assert_eq!((error.told().syscall(), error.told().code()), (Some("disconnect"), "ENOTSUP"), "{error}");
            within("close returns", move || socket.close());
        }
    }
}

/// Ensures that what is no UDP socket, is not bound, or is not of the family of the options is an error that says so.
#[test]
fn what_cannot_be_owned_is_an_error() {
    let code = |result: std::io::Result<Socket>| {
        let error = result.expect_err("it cannot be owned");
        (Error::of(&error).map(|error| error.code().to_owned()).expect("it is of the library"), error.to_string())
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    assert_eq!(code(SocketOptions::new().own(OwnedFd::from(listener))).0, "ERR_INVALID_FD_TYPE");
    let file = std::fs::File::open("/dev/null").expect("it is there");
    let unknown = ("ERR_INVALID_FD_TYPE".to_owned(), "Unsupported fd type: UNKNOWN".to_owned());
    assert_eq!(code(SocketOptions::new().own(OwnedFd::from(file))), unknown, "a file is no socket");
    let unbound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("one can be had");
    assert_eq!(code(SocketOptions::new().own(OwnedFd::from(unbound))).0, "ERR_INVALID_ARG_VALUE");
    let v4 = || UdpSocket::bind("127.0.0.1:0").expect("port 0 is free");
    let (owned, text) = code(SocketOptions::udp6().own(v4()));
    assert_eq!(owned, "ERR_INVALID_ARG_VALUE", "{text}");
    assert!(text.contains("IPv4") && text.contains("IPv6"), "both families are named: {text}");
    let adopted = SocketOptions::udp6().adopt(v4()).expect_err("the family is another one");
    assert_eq!(adopted.to_string(), text, "adopt says the same");
}

/// Ensures that options without a family take that of what is bound or given.
#[test]
fn options_without_a_family_take_what_comes() {
    for at in families() {
        let family = if at.starts_with('[') { Family::Ipv6 } else { Family::Ipv4 };
        let options = SocketOptions::new();
        let std = || UdpSocket::bind(at).expect("port 0 is free");
        let bound = options.bind(at).expect("port 0 is free");
        let adopted = options.adopt(std()).expect("it is bound");
        let owned = options.own(std()).expect("it is bound");
        for socket in [bound, adopted, owned] {
            assert_eq!(socket.address().is_ipv6(), family == Family::Ipv6, "the family is the socket's");
        }
    }
    // Where IPv6 is switched off, or the loopback interface has no address of it, there is such a socket all the same.
    let of_both = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())
    };
    let bare = SocketOptions::new().bind(0).expect("a port is free");
    assert_eq!(bare.address().is_ipv6(), of_both().is_ok(), "a bare port is of both families where a socket can be");
    let named = SocketOptions::new().bind(("localhost", 0)).expect("every machine has it");
    assert!(named.address().is_ipv4(), "a name that has an address of IPv4");
    let error = SocketOptions::udp4().bind("[::1]:0").expect_err("udp4 is for IPv4");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}
