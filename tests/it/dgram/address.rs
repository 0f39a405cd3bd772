//! Binding, addresses, adopting, closing.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use landline::Endpoint;
use landline::dgram::{Socket, SocketOptions};

use crate::support::dgram::{receive, receiving};
use crate::support::{HANG, Told, eventually, families, has_proc, in_child};

/// Ensures that the address is what was bound, with the port the system chose. Node's `getsockname EBADF` of an unbound
/// socket cannot happen: there is none.
#[test]
fn address_is_the_bound_one_and_there_is_no_unbound_socket() {
    for at in families() {
        let socket = Socket::bind(at).unwrap();
        let asked: SocketAddr = at.parse().unwrap();
        assert_eq!(socket.address().ip(), asked.ip(), "the address is the one that was asked for");
        assert_ne!(socket.address().port(), 0, "the system has chosen a port");
    }
}

/// Ensures that a bare port is on every interface, of both families where the system has them, and of one family where the
/// options say so.
#[test]
fn a_bare_port_is_on_every_interface_of_both_families() {
    let v4 = SocketOptions::udp4().bind(0).unwrap();
    assert_eq!(v4.address().ip(), "0.0.0.0".parse::<IpAddr>().unwrap(), "udp4 is bound to 0.0.0.0");
    assert_ne!(v4.address().port(), 0, "the system has chosen a port");
    let both = Socket::bind(0).unwrap();
    let port = both.address().port();
    for at in families() {
        let client = Socket::bind(at).unwrap();
        client.send_to(b"PING", port).unwrap();
        let (ping, from) = receive(&both);
        assert_eq!((&*ping, from.address()), (&b"PING"[..], client.address()), "a client of {at} is heard");
        both.send_to(b"PONG", from).unwrap();
        assert_eq!(receive(&client).0, b"PONG", "and is answered");
    }
    if families().len() > 1 {
        for socket in [both, SocketOptions::udp6().bind(0).unwrap()] {
            assert_eq!(socket.address().to_string(), format!("[::]:{}", socket.address().port()), "it is bound to ::");
        }
    }
}

/// Ensures that a bare port is IPv4's alone where the system has no IPv6, and that other errors of binding are told.
#[test]
#[cfg(target_os = "linux")]
fn a_bare_port_is_of_ipv4_where_there_is_no_ipv6() {
    let inject = "inject=socket:error=EAFNOSUPPORT:when=1";
    in_child(this_test!(), &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=socket", "-e", inject], || {
        let socket = Socket::bind(0).unwrap();
        assert_eq!(socket.address().to_string(), format!("0.0.0.0:{}", socket.address().port()), "IPv4's");
        if families().len() > 1 {
            let taken = SocketOptions::udp6().bind(0).unwrap();
            let error = Socket::bind(taken.address().port()).unwrap_err();
            assert_eq!(
                error.told().code(),
                "EADDRINUSE",
                "a port that is taken in one family is not bound in the other"
            );
        }
    });
}

/// Ensures that a socket that was bound without a family sends to IPv4 first, on which most programs listen, and to what it
/// cannot reach so by IPv6: to a bare port and to a name that has both.
#[test]
fn a_socket_of_no_chosen_family_sends_by_ipv4_first() {
    let (socket, receiver) = (Socket::bind(0).unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    let port = receiver.address().port();
    for to in [landline::Endpoint::from(port), ("localhost", port).into(), ([127, 0, 0, 1], port).into()] {
        socket.send_to(b"four", to.clone()).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(receive(&receiver).0, b"four", "{to} is sent by IPv4");
    }
    socket.connect(port).unwrap();
    assert_eq!(socket.remote_address().unwrap(), receiver.address(), "and connected by it");
    if families().len() > 1 {
        let v6 = Socket::bind("[::1]:0").unwrap();
        Socket::bind(0).unwrap().send_to(b"six", v6.address()).unwrap();
        assert_eq!(receive(&v6).0, b"six", "an address of IPv6 is sent to by IPv6");
    }
}

/// Ensures that a PING to a server that is bound to a name, or to no host at all, is answered with a PONG.
#[test]
fn ping_to_a_server_at_localhost_or_without_host_is_answered() {
    for socket in [Socket::bind(("localhost", 0)).unwrap(), Socket::bind(0).unwrap()] {
        let client = Socket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"PING", ("localhost", socket.address().port())).unwrap();
        let (ping, from) = receive(&socket);
        assert_eq!(ping, b"PING");
        socket.send_to(b"PONG", from).unwrap();
        assert_eq!(receive(&client).0, b"PONG", "the answer comes back");
    }
}

/// Ensures that a socket is bound exactly once, by `bind` having returned; Node's ERR_SOCKET_ALREADY_BOUND cannot
/// happen. What can is that two sockets want one address.
#[test]
fn bind_gives_a_bound_socket_and_the_address_is_then_taken() {
    for at in families() {
        let socket = Socket::bind(at).unwrap();
        let error = Socket::bind(socket.address()).unwrap_err();
        let (ip, port) = (socket.address().ip(), socket.address().port());
        assert_eq!(error.to_string(), format!("bind EADDRINUSE {ip}:{port}"), "it prints what Node prints");
        assert_eq!((error.told().syscall(), error.told().code()), (Some("bind"), "EADDRINUSE"));
        assert_eq!(error.told().address(), Some(&socket.address().into()), "the error has the address");
        assert!(error.told().raw_os_error().is_some(), "the error has the system's number");
    }
}

/// Ensures that a failed bind leaves nothing behind: it may be repeated, and works once the port is free.
#[test]
fn bind_to_a_taken_port_may_be_repeated() {
    let first = Socket::bind("127.0.0.1:0").unwrap();
    for _ in 0..20 {
        assert_eq!(
            Socket::bind(first.address()).unwrap_err().told().code(),
            "EADDRINUSE",
            "each attempt has one error"
        );
    }
    first.close();
    // A program that another test starts has a copy of the socket until it runs.
    eventually("the port is free", || Socket::bind(first.address()).is_ok());
}

/// Ensures that an address this machine has not is an error that names it, without the port when that is 0.
#[test]
fn bind_to_a_foreign_address_is_eaddrnotavail() {
    let error = Socket::bind("1.1.1.1:0").unwrap_err();
    assert_eq!(error.to_string(), "bind EADDRNOTAVAIL 1.1.1.1", "it prints what Node prints");
    assert_eq!(error.told().code(), "EADDRNOTAVAIL");
    assert_eq!(error.told().address().unwrap().ip(), Some("1.1.1.1".parse().unwrap()));

    let error = Socket::bind("[111::1]:0").unwrap_err();
    let codes = ["EADDRNOTAVAIL", "EAFNOSUPPORT", "EPROTONOSUPPORT"];
    assert!(codes.contains(&error.told().code()), "{error}: IPv6 may be off");
    assert_eq!(error.to_string(), format!("bind {} 111::1", error.told().code()));
}

/// Ensures that an IPv6-only socket leaves IPv4's port alone, and that another one takes it and hears IPv4.
#[test]
fn ipv6_only_leaves_the_port_free_for_ipv4() {
    if families().len() < 2 {
        return;
    }
    // Another test may be faster with the port; then another is tried.
    let (v6, v4) = (0..20)
        .find_map(|_| {
            let v6 = SocketOptions::udp6().ipv6_only(true).bind(0).unwrap();
            SocketOptions::udp4().bind(v6.address().port()).ok().map(|v4| (v6, v4))
        })
        .expect("the port is free in IPv4");
    assert_eq!(v4.address().port(), v6.address().port());

    let dual = SocketOptions::udp6().bind(0).unwrap();
    let error = SocketOptions::udp4().bind(dual.address().port()).unwrap_err();
    assert_eq!(error.told().code(), "EADDRINUSE", "a dual-stack socket has the port in both");
    let client = Socket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"four", dual.address().port()).unwrap();
    let (bytes, from) = receive(&dual);
    assert_eq!((&*bytes, from.address()), (&b"four"[..], client.address()), "an IPv4 peer has its IPv4 address");
    assert!(from.address().is_ipv4());
    dual.send_to(b"back", from).unwrap();
    assert_eq!(receive(&client).0, b"back", "an IPv4 address can be sent to from a dual-stack socket");
}

/// Ensures that a socket's options decide its family, and not silently the address.
#[test]
fn bind_to_an_address_of_the_other_family_is_einval() {
    let error = SocketOptions::udp4().bind("[::1]:0").unwrap_err();
    assert_eq!(error.to_string(), "bind EINVAL ::1", "it prints what Node prints");
    let error = SocketOptions::udp6().bind("127.0.0.1:0").unwrap_err();
    assert_eq!(error.to_string(), "bind EINVAL 127.0.0.1");
}

/// Ensures that of a list the first address that can be bound is, of either family unless the options say one.
#[test]
fn a_list_binds_the_first_address_that_can_be_had() {
    for at in families() {
        let first = Socket::bind(at).unwrap();
        let taken = first.address();
        let free: SocketAddr = at.parse().unwrap();
        let second = Socket::bind([taken, free]).unwrap();
        assert_eq!(second.address().ip(), free.ip(), "the first is taken, so it is the second");
        let error = Socket::bind([taken, second.address()]).unwrap_err();
        assert_eq!((error.told().code(), error.told().causes().len()), ("EADDRINUSE", 2), "both are taken: {error}");
        first.close();
        // A program that another test starts has a copy of the socket until it runs.
        eventually("the first is free again", || Socket::bind([taken, free]).unwrap().address() == first.address());
    }
    let both: [SocketAddr; 2] = ["[::1]:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let v4 = SocketOptions::udp4().bind(both).unwrap();
    assert!(v4.address().is_ipv4(), "the first of the family that the options say");
    let error = SocketOptions::udp4().bind([both[0], "[::2]:0".parse().unwrap()]).unwrap_err();
    assert_eq!(error.to_string(), "bind EINVAL 2 addresses ([::1]:0 EINVAL, [::2]:0 EINVAL)", "none is of it");
    let first = Socket::bind(both).unwrap();
    let is_first = first.address().ip() == both[0].ip();
    assert_eq!(is_first, families().len() > 1, "the first that this machine has, of either family");
}

/// Ensures that what is no address is an error that says so. Node's ERR_SOCKET_BAD_TYPE cannot happen: there is
/// `udp4()` and there is `udp6()`.
#[test]
fn bind_to_what_is_no_address_is_an_error() {
    assert_eq!(
        Socket::bind("127.0.0.1:70000").unwrap_err().told().code(),
        "ERR_SOCKET_BAD_PORT",
        "no port wraps around"
    );
    assert_eq!(Socket::bind("nonsense").unwrap_err().told().code(), "ERR_INVALID_ARG_VALUE");
    assert_eq!(Socket::bind(std::path::Path::new("/tmp/socket")).unwrap_err().told().code(), "ERR_INVALID_ARG_VALUE");
    let error = Socket::bind(("name.invalid", 0)).unwrap_err();
    assert!(["ENOTFOUND", "EAI_AGAIN"].contains(&error.told().code()), "{error}");
    assert_eq!((error.told().syscall(), error.told().host()), (Some("getaddrinfo"), Some("name.invalid")));
}

/// Ensures that `reuse_address` and `reuse_port` let two sockets have one address, and that each needs both to ask.
#[cfg(unix)]
#[test]
fn reuse_address_and_reuse_port_let_two_sockets_share() {
    for options in [SocketOptions::udp4().reuse_address(true), SocketOptions::udp4().reuse_port(true)] {
        let first = options.bind("127.0.0.1:0").unwrap();
        let second = options.bind(first.address()).expect("both have asked for it");
        assert_eq!(first.address(), second.address());
        assert_eq!(Socket::bind(first.address()).unwrap_err().told().code(), "EADDRINUSE", "the third has not");
    }
}

/// Ensures that `bind` takes an address with a zone, which is one of IPv6, also where it stands apart from its port; and
/// that the form in which IPv6 writes an address of IPv4 means that address.
#[test]
fn bind_takes_zones_and_knows_an_ipv4_address_in_any_form() {
    let v4 = Socket::bind("[::ffff:127.0.0.1]:0").unwrap();
    assert_eq!(v4.address().to_string(), format!("127.0.0.1:{}", v4.address().port()));
    Socket::bind("127.0.0.1:0").unwrap().send_to(b"x", v4.address()).unwrap();
    let (_, from) = receive(&v4);
    v4.send_to(b"y", (from.address().ip(), from.address().port())).expect("it is a socket of IPv4");
    SocketOptions::udp4().bind("[::ffff:127.0.0.1]:0").expect("and it is one for a socket of IPv4");
    if SocketOptions::udp6().bind("[::1]:0").is_err() {
        return println!("skipped: no IPv6");
    }
    // Elsewhere loopback has a different name.
    let zones = if cfg!(target_os = "linux") { &["1", "lo"][..] } else { &["1"] };
    for host in zones.iter().map(|zone| format!("::1%{zone}")) {
        let at = (host.as_str(), 0);
        for zoned in [Socket::bind(at), Socket::bind(format!("[{host}]:0")), SocketOptions::udp6().bind(at)] {
            let zoned = zoned.unwrap_or_else(|error| panic!("{host}: {error}"));
            assert_eq!(zoned.address().ip(), "::1".parse::<IpAddr>().unwrap());
            let to = (host.as_str(), zoned.address().port());
            SocketOptions::udp6().bind(0).unwrap().send_to(b"x", to).unwrap();
            assert_eq!(receive(&zoned).0, b"x", "{host} is sent to as well");
        }
    }
}

/// Ensures that a socket of std's can be taken over, as it is.
#[test]
fn adopted_socket_has_its_own_address_and_settings() {
    for at in families() {
        let std = UdpSocket::bind(at).unwrap();
        std.set_ttl(7).or(if at.starts_with('[') { Ok(()) } else { Err("IPv4 has a TTL") }).unwrap();
        let giver = std.try_clone().unwrap();
        let socket = SocketOptions::new().adopt(std).unwrap();
        assert_eq!(socket.address(), giver.local_addr().unwrap(), "the address is the socket's");
        if at.starts_with('1') {
            assert_eq!(giver.ttl().unwrap(), 7, "what was not asked for is left");
            socket.set_ttl(9).unwrap();
            assert_eq!(giver.ttl().unwrap(), 9, "what is set is set for all");
        }
        giver.send_to(b"self", giver.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&socket).0, b"self");
    }
}

/// Ensures that the giver of an adopted socket goes on with it after `close`.
#[test]
fn adopted_socket_stays_open_for_its_giver() {
    if !has_proc() {
        return;
    }
    for at in families() {
        let giver = UdpSocket::bind(at).unwrap();
        giver.set_read_timeout(Some(HANG)).unwrap();
        let socket = SocketOptions::new().adopt(giver.try_clone().unwrap()).unwrap();
        let loops = receiving(&socket, |_, _, _| Ok(()));
        // Not a bound: it sets a timeout that is to be taken off again.
        assert!(socket.recv_timeout(&mut [0; 10], Duration::from_millis(1)).is_err());
        socket.close();
        loops.join().unwrap().unwrap();
        assert_eq!(giver.read_timeout().unwrap(), Some(HANG), "its timeout is as it was");
        let mut buffer = [0; 100];
        // One that woke the loop may be left.
        giver.set_nonblocking(true).unwrap();
        let error = (0..100).find_map(|_| giver.recv_from(&mut buffer).err()).expect("there are not many");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "the socket was not shut down: {error}");
        giver.set_nonblocking(false).unwrap();
        let client = Socket::bind(at).unwrap();
        client.send_to(b"still here", giver.local_addr().unwrap()).unwrap();
        let (size, _) = giver.recv_from(&mut buffer).expect("the giver receives");
        assert_eq!(&buffer[..size], b"still here");
    }
}

/// Ensures that only a UDP socket that blocks and is bound can be adopted.
#[cfg(unix)]
#[test]
fn adopting_anything_else_is_an_error() {
    let error = SocketOptions::new().adopt(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap_err();
    assert_eq!(error.told().code(), "ERR_INVALID_FD_TYPE");
    assert_eq!(error.to_string(), "Unsupported fd type: TCP", "it prints what Node prints");
    let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
    assert_eq!(SocketOptions::new().adopt(unix).unwrap_err().told().code(), "ERR_INVALID_FD_TYPE");
    let nonblocking = UdpSocket::bind("127.0.0.1:0").unwrap();
    nonblocking.set_nonblocking(true).unwrap();
    assert_eq!(SocketOptions::new().adopt(nonblocking).unwrap_err().told().code(), "ERR_INVALID_ARG_VALUE");
}

/// Ensures that after `close` the address is still known, that everything else says so, and that closing again does
/// nothing. (In Node that is an error; here closing is done when it is called, so a second call is harmless.)
#[test]
fn closed_socket_is_not_running_and_closing_again_is_harmless() {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    let other = Socket::bind("127.0.0.1:0").unwrap();
    let clone = socket.clone();
    clone.close();
    socket.close();
    assert_ne!(socket.address().port(), 0, "the address stays known");
    let error = socket.send_to(b"late", other.address()).unwrap_err();
    assert_eq!(error.to_string(), "Not running", "it prints what Node prints");
    let not_running = [
        error,
        socket.send(b"late").unwrap_err(),
        socket.connect(other.address()).unwrap_err(),
        socket.disconnect().unwrap_err(),
        socket.remote_address().unwrap_err(),
        socket.set_ttl(1).unwrap_err(),
        socket.set_broadcast(true).unwrap_err(),
        socket.set_multicast_ttl(1).unwrap_err(),
        socket.set_multicast_loop(true).unwrap_err(),
        socket.set_multicast_interface("127.0.0.1").unwrap_err(),
        socket.join_multicast("239.255.13.9", "127.0.0.1").unwrap_err(),
        socket.set_recv_buffer_size(1000).unwrap_err(),
        socket.recv_buffer_size().unwrap_err(),
        socket.send_buffer_size().unwrap_err(),
    ];
    for error in not_running {
        assert_eq!(error.told().code(), "ERR_SOCKET_DGRAM_NOT_RUNNING", "{error}");
    }
    assert!(socket.recv(&mut [0; 10]).unwrap().is_none(), "a receive ends at once");
    assert!(socket.try_recv(&mut [0; 10]).unwrap().is_none());
}

/// Ensures that the last handle closes the socket.
#[test]
fn dropping_the_last_handle_closes() {
    let socket = Socket::bind("127.0.0.1:0").unwrap();
    let address = socket.address();
    let clone = socket.clone();
    drop(socket);
    assert_eq!(Socket::bind(address).unwrap_err().told().code(), "EADDRINUSE", "a clone keeps it open");
    drop(clone);
    // A program that another test starts has a copy of the socket until it runs.
    eventually("the port is free when the last handle is gone", || Socket::bind(address).is_ok());
}

/// Ensures that a socket of IPv6 that is bound to an address of IPv4 reaches IPv4 alone.
#[test]
fn a_socket_of_ipv6_at_an_address_of_ipv4_reaches_ipv4_alone() {
    let Ok(socket) = SocketOptions::udp6().bind("[::ffff:127.0.0.1]:0") else {
        return println!("skipped: no IPv6 that reaches IPv4");
    };
    let receiver = Socket::bind("127.0.0.1:0").unwrap();
    let port = receiver.address().port();
    for to in [Endpoint::from(port), ("::", port).into(), ("localhost", port).into()] {
        socket.send_to(b"x", to.clone()).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(receive(&receiver).0, b"x", "{to} is this machine's address of IPv4");
    }
    let list = [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)), ([127, 0, 0, 1], port).into()];
    socket.send_to(b"y", list).expect("the list has an address of IPv4");
    assert_eq!(receive(&receiver).0, b"y", "the address that can be reached is used");
    let error = socket.send_to(b"x", ("::1", port)).unwrap_err();
    assert_eq!(error.told().code(), "EINVAL", "no address of IPv6 is reached: {error}");
}
