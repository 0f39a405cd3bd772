//! Sending without a peer.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use landline::dgram::{Socket, SocketOptions};

use crate::support::dgram::receive;
use crate::support::{HANG, Told, families, within};

/// Ensures that a client needs nothing but a bound socket: Node's implicit bind at the first of two sends is the `bind`
/// that every socket begins with, so both have the same sender.
#[test]
fn two_sends_come_from_the_one_port_that_bind_has_chosen() {
    let receiver = Socket::bind("127.0.0.1:0").unwrap();
    let sender = Socket::bind(0).unwrap();
    for text in ["one", "two"] {
        sender.send_to(text.as_bytes(), receiver.address()).unwrap();
        let (bytes, from) = receive(&receiver);
        assert_eq!(bytes, text.as_bytes());
        assert_eq!(from.address().port(), sender.address().port(), "the sender's port is the bound one");
    }
}

/// Ensures that text and sender arrive and the answer comes from the server's address.
#[test]
fn echo_shows_both_addresses() {
    for at in families() {
        let (server, client) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        client.send_to(b"hello", server.address()).unwrap();
        let (bytes, from) = receive(&server);
        assert_eq!((&*bytes, from.address()), (&b"hello"[..], client.address()), "the receiver sees the sender");
        assert_eq!((from.size(), from.address().port(), from.is_truncated()), (5, client.address().port(), false));
        server.send_to(&bytes, from).unwrap();
        let (bytes, from) = receive(&client);
        assert_eq!((&*bytes, from.address()), (&b"hello"[..], server.address()), "the answer is the server's");
    }
}

/// Ensures that sends give the number of bytes: to a name, an address, a bare port, and part of a buffer as a slice.
#[test]
fn send_gives_the_number_of_bytes() {
    let receiver = Socket::bind("127.0.0.1:0").unwrap();
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let port = receiver.address().port();
    let buffer = [7; 256];
    assert_eq!(sender.send_to(buffer, ("localhost", port)).unwrap(), 256, "to a name");
    assert_eq!(sender.send_to(buffer, ("127.0.0.1", port)).unwrap(), 256, "to an address");
    assert_eq!(sender.send_to(&buffer[20..256], ("127.0.0.1", port)).unwrap(), 236, "from an offset on");
    assert_eq!(sender.send_to(buffer, port).unwrap(), 256, "to a bare port");
    assert_eq!(sender.send_to(&buffer[20..256], port).unwrap(), 236, "from an offset on, to a bare port");
    for size in [256, 256, 236, 256, 236] {
        assert_eq!(receive(&receiver).1.size(), size, "what was sent has arrived");
    }
    assert_eq!(sender.send_to("äöü", port).unwrap(), 6, "bytes count, not characters");
}

/// Ensures that text and bytes, owned or not, are datagrams alike, to an address and to the peer.
#[test]
fn text_and_bytes_are_sent_alike() {
    let (receiver, sender) = (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap());
    let to = receiver.address();
    sender.send_to("four", to).unwrap();
    sender.send_to(String::from("four"), to).unwrap();
    sender.send_to(b"four", to).unwrap();
    sender.send_to(Vec::from(b"four"), to).unwrap();
    sender.connect(to).unwrap();
    sender.send("four").unwrap();
    sender.send(&b"fourteen"[..4]).unwrap();
    for _ in 0..6 {
        assert_eq!(receive(&receiver).0, b"four", "each is a datagram of these bytes");
    }
}

/// Ensures that several buffers are one datagram, in order, and count together.
#[test]
fn slices_are_one_datagram() {
    for at in families() {
        let (receiver, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let (a, b) = ([1; 256], [2; 256]);
        let both = [IoSlice::new(&a), IoSlice::new(&b)];
        assert_eq!(sender.send_vectored_to(&both, receiver.address()).unwrap(), 512, "the sizes are added");
        assert_eq!(receive(&receiver).0, [a, b].concat());
        assert_eq!(sender.send_vectored_to(&both, receiver.address().port()).unwrap(), 512, "to a bare port too");
        assert_eq!(receive(&receiver).0.len(), 512);

        let words = ["foo", "bar", "baz"].map(|word| IoSlice::new(word.as_bytes()));
        assert_eq!(sender.send_vectored_to(&words, receiver.address()).unwrap(), 9);
        assert_eq!(receive(&receiver).0, b"foobarbaz", "the order is kept");
    }
}

/// Ensures that what has no bytes is a datagram all the same: an empty slice, and a list of none.
#[test]
fn empty_slice_and_empty_list_are_empty_datagrams() {
    for at in families() {
        let (receiver, sender) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        assert_eq!(sender.send_to(b"", receiver.address()).unwrap(), 0);
        let (bytes, from) = receive(&receiver);
        assert_eq!((bytes.len(), from.size(), from.address()), (0, 0, sender.address()), "an empty slice arrives");
        assert_eq!(sender.send_vectored_to(&[], receiver.address()).unwrap(), 0);
        assert_eq!(receive(&receiver).0, b"", "an empty list arrives");
    }
}

/// Ensures that without a host, and to the wildcard `::`, every form goes to loopback by the socket's family, also to a socket on
/// every interface.
#[test]
fn without_host_it_goes_to_this_machine_by_the_sockets_family() {
    let mut sockets = vec![(Socket::bind(0).unwrap(), Socket::bind("127.0.0.1:0").unwrap())];
    if families().len() > 1 {
        sockets.push((SocketOptions::udp6().bind(0).unwrap(), SocketOptions::udp6().bind(0).unwrap()));
        sockets.push((Socket::bind(0).unwrap(), SocketOptions::udp6().ipv6_only(true).bind(0).unwrap()));
    }
    for (receiver, sender) in sockets {
        let port = receiver.address().port();
        let mut sent = sender.send_to(b"four", port).unwrap();
        sent += sender.send_to(b"four", format!(":{port}")).unwrap();
        sent += sender.send_to(b"four", port.to_string()).unwrap();
        sent += sender.send_vectored_to(&[IoSlice::new(b"fo"), IoSlice::new(b"ur")], port).unwrap();
        sent += sender.send_to(b"four", receiver.address()).unwrap();
        let received: usize = (0..5).map(|_| receive(&receiver).1.size()).sum();
        assert_eq!((received, sent), (20, 20), "as many bytes arrive as were sent");
    }
}

/// Ensures that every form of an address is taken and goes to the same place; what is none is an error and sends
/// nothing.
#[test]
fn every_form_of_an_address_is_taken() {
    let receiver = Socket::bind("127.0.0.1:0").unwrap();
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = receiver.address();
    let (at, port): (SocketAddr, u16) = (address, address.port());
    let reference = &at;
    let ip: IpAddr = at.ip();
    for sent in [
        sender.send_to(b"four", address),
        sender.send_to(b"four", address),
        sender.send_to(b"four", at),
        sender.send_to(b"four", reference),
        sender.send_to(b"four", (ip, port)),
        sender.send_to(b"four", ([127, 0, 0, 1], port)),
        sender.send_to(b"four", ("127.0.0.1", port)),
        sender.send_to(b"four", at.to_string()),
        sender.send_to(b"four", &*format!("localhost:{port}")),
        // An IPv4 address as IPv6 writes it, on an IPv4 socket.
        sender.send_to(b"four", &*format!("[::ffff:127.0.0.1]:{port}")),
    ] {
        assert_eq!(sent.unwrap(), 4);
        assert_eq!(receive(&receiver).0, b"four");
    }
    for wrong in ["", "127.0.0.1", "127.0.0.1:70000", "a b:1"] {
        let error = sender.send_to(b"four", wrong).unwrap_err();
        assert!(error.told().code().starts_with("ERR_"), "{error}");
    }
    let mut buffer = [0; 10];
    assert!(receiver.try_recv(&mut buffer).is_err(), "nothing was sent");
}

/// Ensures that of a list the first address of the socket's family is sent to, and connected to, and that it is an error if
/// there is none.
#[test]
fn of_a_list_the_first_of_the_sockets_family_is_sent_to() {
    let other: SocketAddr = "[::1]:9".parse().unwrap();
    let v4 = [Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap()];
    let at = v4.each_ref().map(|socket| socket.address());
    v4[0].send_to(b"four", [other, at[1], at[0]]).unwrap();
    assert_eq!(receive(&v4[1]).0, b"four", "the first of IPv4");
    v4[0].connect([other, at[1], at[0]]).unwrap();
    assert_eq!(v4[0].remote_address().unwrap(), v4[1].address(), "so it is by connect");
    let error = v4[1].send_to(b"four", [other, "[::1]:10".parse().unwrap()]).unwrap_err();
    assert_eq!(error.to_string(), "send EINVAL ::1:9", "the first, where none is of the family");
    if families().len() > 1 {
        let v6 = Socket::bind("[::1]:0").unwrap();
        let to = v6.address();
        for options in [SocketOptions::udp6().ipv6_only(true), SocketOptions::udp6()] {
            let sender = options.bind(0).unwrap();
            sender.send_to(b"six", [to, at[1]]).unwrap();
            assert_eq!(receive(&v6).0, b"six", "the first that the socket can send to");
        }
        SocketOptions::udp6().bind(0).unwrap().send_to(b"four", [at[1], to]).unwrap();
        assert_eq!(receive(&v4[1]).0, b"four", "of a socket of both families the first at all");
    }
}

/// Ensures that the largest datagrams go whole there and back, and that one byte more is an error that names the
/// address.
#[test]
fn largest_datagrams_go_whole_and_one_byte_more_is_emsgsize() {
    for (at, most) in families().into_iter().zip([65_507, 65_527]) {
        let (server, client) = (Socket::bind(at).unwrap(), Socket::bind(at).unwrap());
        let data: Vec<u8> = (0..=most).map(|i| (i % 251) as u8).collect();
        assert_eq!(client.send_to(&data[..most], server.address()).unwrap(), most);
        let (bytes, from) = receive(&server);
        assert!(bytes == data[..most] && from.size() == most, "{most} bytes arrive whole");
        server.send_to(&bytes, from).unwrap();
        assert!(receive(&client).0 == data[..most], "{most} bytes come back whole");

        let error = client.send_to(&data, server.address()).unwrap_err();
        let (ip, port) = (server.address().ip(), server.address().port());
        assert_eq!(error.to_string(), format!("send EMSGSIZE {ip}:{port}"), "one byte more is refused");
        assert!(server.try_recv(&mut [0; 10]).is_err(), "and nothing of it was sent");
    }
}

/// Ensures that a send that fails has the code, the number, the operation and the address of it, in Node's words.
#[test]
fn failed_send_tells_everything() {
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let error = sender.send_to(vec![0; 256 * 1024], "127.0.0.1:12345").unwrap_err();
    assert_eq!(error.to_string(), "send EMSGSIZE 127.0.0.1:12345");
    assert_eq!((error.told().code(), error.told().syscall()), ("EMSGSIZE", Some("send")));
    assert_eq!(error.told().address().unwrap().to_string(), "127.0.0.1:12345");
    assert!(error.told().raw_os_error().is_some());

    let error = sender.send_to(b"x", ("name.invalid", 1)).unwrap_err();
    assert!(["ENOTFOUND", "EAI_AGAIN"].contains(&error.told().code()), "a look-up that fails is the caller's: {error}");
    assert_eq!((error.told().syscall(), error.told().host()), (Some("getaddrinfo"), Some("name.invalid")));
}

/// Ensures that the destination is looked at before anything is sent: port 0, and an address of the other family.
#[test]
fn port_0_and_the_other_family_are_refused() {
    let v4 = Socket::bind("127.0.0.1:0").unwrap();
    for to in ["127.0.0.1:0", ":0", "localhost:0"] {
        let error = v4.send_to(b"x", to).unwrap_err();
        assert_eq!(error.told().code(), "ERR_SOCKET_BAD_PORT");
        assert_eq!(error.to_string(), "Port should be > 0 and < 65536. Received 0.");
    }
    assert_eq!(v4.send_to(b"x", "[::1]:9").unwrap_err().to_string(), "send EINVAL ::1:9");
    if families().len() > 1 {
        let v6 = SocketOptions::udp6().ipv6_only(true).bind("[::1]:0").unwrap();
        assert_eq!(v6.send_to(b"x", "127.0.0.1:9").unwrap_err().to_string(), "send EINVAL 127.0.0.1:9");
    }
}

/// Ensures that a broadcast address needs to be allowed, and then reaches every socket that shares the port.
#[test]
fn broadcast_is_eacces_until_it_is_allowed() {
    let receivers: Vec<Socket> = (0..3)
        .scan(0, |port, _| {
            let socket = SocketOptions::udp4().reuse_address(true).bind(*port).unwrap();
            *port = socket.address().port();
            Some(socket)
        })
        .collect();
    let to = ("127.255.255.255", receivers[0].address().port());
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let error = sender.send_to(b"all", to).unwrap_err();
    assert_eq!(error.to_string(), format!("send EACCES 127.255.255.255:{}", to.1), "it is forbidden at first");
    if cfg!(target_os = "linux") {
        let error = sender.connect(to).unwrap_err();
        assert_eq!(error.to_string(), format!("connect EACCES 127.255.255.255:{}", to.1), "as a peer too");
    }
    sender.set_broadcast(true).unwrap();
    for _ in 0..4 {
        sender.send_to(b"all", to).unwrap();
    }
    for receiver in &receivers {
        for _ in 0..4 {
            assert_eq!(receive(receiver).0, b"all", "each gets each");
        }
    }
    sender.set_broadcast(false).unwrap();
    assert_eq!(sender.send_to(b"all", to).unwrap_err().told().code(), "EACCES", "it is forbidden again");
    assert!(SocketOptions::udp4().broadcast(true).bind("127.0.0.1:0").unwrap().send_to(b"all", to).is_ok());
}

/// Ensures that nobody is told of a port that was closed, neither by this send nor by the next, nor by a receive.
#[test]
fn sends_to_a_closed_port_never_fail() {
    for at in families() {
        let gone = Socket::bind(at).unwrap();
        gone.close();
        let sender = Socket::bind(at).unwrap();
        for data in [&b"hello"[..], b"", &b"hello"[2..2], b"hello"] {
            sender.send_to(data, gone.address()).expect("an unconnected socket hears of no refusal");
        }
        assert!(sender.try_recv(&mut [0; 10]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
        let echo = Socket::bind(at).unwrap();
        echo.send_to(b"here", sender.address()).unwrap();
        assert_eq!(receive(&sender).0, b"here", "the socket is as before");
    }
}

/// Ensures that a send followed at once by `close` arrives: the call has done it when it returns.
#[test]
fn what_was_sent_before_close_arrives() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(HANG)).unwrap();
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"last", receiver.local_addr().unwrap()).unwrap();
    sender.close();
    let mut buffer = [0; 10];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 4);
}

/// Ensures that a handle may be used by many threads at once, to send and to receive.
#[test]
fn threads_send_by_one_socket() {
    let receiver = Socket::bind("127.0.0.1:0").unwrap();
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let to = receiver.address();
    within("all threads send", move || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| assert_eq!(sender.send_to(b"x", to).unwrap(), 1)));
            }
        });
    });
    for _ in 0..400 {
        assert_eq!(receive(&receiver).0, b"x");
    }
}
