//! No write raises SIGPIPE, also in a program that has left the signal at its default, as programs in C do.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, UdpSocket};
use std::path::PathBuf;
use std::thread;

use landline::net::{ServerOptions, Socket, WhenFull, relay};
use landline::{Endpoint, RefusedBy, dgram};

use crate::support::Whole;
use crate::support::fixtures::{Served, pair};
use crate::support::{Folder, Told, eventually, has_proc, in_child, within};

/// std's start of every Rust program ignores the signal. Here it is kept from doing that: its call is answered by strace
/// and never made.
const WRAPPER: [&str; 9] =
    ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rt_sigaction", "-e", "inject=rt_sigaction:retval=0"];

/// What the process does with signals: those it ignores, those it catches, those this thread holds back. Not those the main
/// thread holds back: that is all of them while it starts a thread.
fn masks() -> [u64; 3] {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("this is Linux");
    ["SigIgn:", "SigCgt:", "SigBlk:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells");
        u64::from_str_radix(line.trim(), 16).expect("a mask")
    })
}

fn assert_default() {
    const SIGPIPE: u64 = 1 << 12;
    let masks = masks();
    assert!(masks.iter().all(|mask| mask & SIGPIPE == 0), "the premise: the signal is at its default: {masks:x?}");
}

/// Every way to write to a connection. `each`, `on` and the channel have none of their own.
type Way = fn(&Socket) -> io::Result<()>;
const WAYS: [(&str, Way); 15] = [
    ("write_all", |socket| socket.write_all("x")),
    ("write_fmt", |socket| write!(socket, "{}", 1)),
    ("Buffered", |socket| {
        let mut buffered = socket.buffered()?;
        buffered.write_all(b"x")?;
        buffered.flush()
    }),
    ("a Buffered that is full", |socket| socket.buffered()?.write_all(&[0; 100_000])),
    ("write_end", |socket| socket.write_end("x")),
    ("Write::write", |mut socket| Write::write(&mut socket, b"x").map(drop)),
    ("Write::write of an owned one", |socket| Write::write(&mut socket.clone(), b"x").map(drop)),
    ("Write::write_all", |socket| Write::write_all(&mut socket.clone(), b"x")),
    ("Write::write_fmt", |socket| Write::write_fmt(&mut socket.clone(), format_args!("{}", 1))),
    ("Write::write_vectored", |mut socket| {
        Write::write_vectored(&mut socket, &[IoSlice::new(b"x"), IoSlice::new(b"y")]).map(drop)
    }),
    ("Write::write_vectored of an owned one", |socket| {
        Write::write_vectored(&mut socket.clone(), &[IoSlice::new(b"x"), IoSlice::new(b"y")]).map(drop)
    }),
    ("Outbox::try_send", |socket| socket.outbox().try_send(*b"x").map_err(io::Error::from)),
    ("Outbox::send", |socket| Ok(socket.outbox().send(*b"x")?)),
    ("pipe", |socket| {
        let (_server, from, to) = pair("127.0.0.1:0");
        from.write_end("x")?;
        to.pipe(socket)
    }),
    ("relay", |socket| {
        let (_server, from, to) = pair("127.0.0.1:0");
        from.write_end("x")?;
        relay(&to, socket)
    }),
];

/// Where to listen: TCP, and a Unix socket.
fn places(folder: &Folder) -> [String; 2] {
    ["127.0.0.1:0".into(), folder.file("socket").display().to_string()]
}

fn connected(place: &str) -> (landline::net::Server, Socket, Socket) {
    if !place.starts_with('/') {
        return pair(place);
    }
    let server = landline::net::Server::listen(std::path::Path::new(place)).expect("the path is free");
    let client = Socket::connect(server.address()).expect("the server listens");
    let accepted = server.accept().expect("accepting works").expect("the server is open");
    (server, client, accepted)
}

/// Ensures that each way to write to a peer that is gone gives an error and not the signal that ends the process, over TCP
/// and Unix sockets, and that no handler of signals was installed for it.
#[test]
fn no_write_raises_sigpipe() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &WRAPPER, || {
        assert_default();
        let before = masks();
        for place in places(&Folder::new()) {
            for (name, way) in WAYS {
                let (_server, client, accepted) = connected(&place);
                // The peer is gone, and the kernel knows. Of TCP: a reset came, and the read met it.
                let is_path = place.starts_with('/');
                if is_path {
                    accepted.destroy();
                } else {
                    accepted.reset_and_destroy().expect("it is connected");
                }
                let told = client.read(&mut [0; 1]).map_err(|error| error.kind());
                let gone = if is_path { Ok(0) } else { Err(io::ErrorKind::ConnectionReset) };
                assert_eq!(told, gone, "{name}: the premise");
                let error = way(&client).expect_err("the peer is gone");
                // The other direction of a relay reads, which says the reset again: the first error of the two is
                // given.
                let told_first = name == "relay" && error.kind() == io::ErrorKind::ConnectionReset;
                let is_epipe = error.kind() == io::ErrorKind::BrokenPipe;
                assert!(is_epipe || told_first, "{name}: EPIPE, without its signal: {error}");
            }
        }
        assert_eq!(masks(), before, "the library leaves all signals as they were");
    });
}

/// Ensures the same of writes that wait for their peer when their own socket is destroyed: the kernel ends those with EPIPE
/// too. The thread that writes what is queued is among them.
#[test]
fn no_write_that_is_cut_raises_sigpipe() {
    if !has_proc() {
        return;
    }
    type Blocking = fn(&Socket, &[u8]) -> io::Result<()>;
    let ways: [(&str, Blocking); 3] = [
        ("write_all", |socket, data| socket.write_all(data)),
        ("write_vectored", |socket, data| socket.write_slices(&[data, data])),
        ("outbox", |socket, data| {
            socket.outbox().send(data)?;
            socket.outbox().flush()
        }),
    ];
    in_child(this_test!(), &WRAPPER, move || {
        assert_default();
        let data = vec![0; 32 << 20];
        for place in places(&Folder::new()) {
            for (name, way) in ways {
                let (_server, client, unread) = connected(&place);
                let (writer, data) = (client.clone(), data.clone());
                let writing = thread::spawn(move || way(&writer, &data));
                // More than the kernel takes: once the first byte is there, the write is under way and does not end.
                unread.read_exact(&mut [0]).expect("the write has begun");
                client.destroy();
                let result = within("the write ends", move || writing.join()).expect("nothing panicked");
                assert!(result.is_err(), "{name}: it was cut");
            }
        }
    });
}

/// Ensures the same of datagrams, which fail with EPIPE where the giver of an adopted socket has shut it down.
#[test]
fn no_datagram_raises_sigpipe() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &WRAPPER, || {
        assert_default();
        let adopted = || {
            let giver = UdpSocket::bind("127.0.0.1:0").expect("port 0 can be bound");
            let ours = giver.try_clone().expect("a descriptor is free");
            (giver, dgram::SocketOptions::new().adopt(ours).expect("it is a datagram socket"))
        };
        let peer = dgram::Socket::bind("127.0.0.1:0").expect("port 0 can be bound");
        let slices = [IoSlice::new(b"x"), IoSlice::new(b"y")];
        for connected in [false, true] {
            let (giver, socket) = adopted();
            if connected {
                socket.connect(peer.address()).expect("a peer can be set");
            }
            // An unconnected one says that it is not connected, and is shut down all the same.
            let _ = socket2::SockRef::from(&giver).shutdown(Shutdown::Write);
            let sent = if connected {
                [socket.send(b"x"), socket.send_vectored(&slices)]
            } else {
                [socket.send_to(b"x", peer.address()), socket.send_vectored_to(&slices, peer.address())]
            };
            for error in sent.map(|sent| sent.expect_err("it is shut down")) {
                assert_eq!(error.told().code(), "EPIPE", "without its signal: {error}");
            }
        }
    });
}

/// Ensures the same of goodbyes to clients that are gone before they are said.
#[test]
fn no_goodbye_raises_sigpipe() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &WRAPPER, || {
        assert_default();
        let reply = WhenFull::RefuseWith(vec![b'x'; 64 * 1024]);
        let options = ServerOptions::new().max_connections(0).when_full(reply);
        for place in places(&Folder::new()) {
            let at = if place.starts_with('/') { PathBuf::from(&place).into() } else { Endpoint::from(&place) };
            let full = Served::start(at, &options, |_| Ok(()));
            for n in 1..=100 {
                // Half of them have gone when they are accepted, the others soon after.
                let client = full.connect();
                if n % 2 == 0 {
                    eventually("the client is refused", || full.server.stats().refused(RefusedBy::Full) == n);
                }
                if client.reset_and_destroy().is_err() {
                    client.destroy();
                }
            }
            eventually("all are refused", || full.server.stats().refused(RefusedBy::Full) == 100);
            full.stop();
        }
    });
}
