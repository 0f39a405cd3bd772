//! What a message costs in allocations: nothing, on the blocking calls and on the callbacks. A test program of its own, for
//! the allocator counts everything that the process does.

use std::alloc::System;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use landline::dgram;
use landline::net::{Server, Socket, SocketEvent};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 1000;

type Handler = fn(&Socket) -> io::Result<()>;
type Receiver = fn(&dgram::Socket) -> io::Result<()>;

/// Allocations during so many messages there and back, after as many for a start.
fn allocations(mut once: impl FnMut() -> io::Result<()>) -> io::Result<usize> {
    for _ in 0..MESSAGES {
        once()?;
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..MESSAGES {
        once()?;
    }
    let change = region.change();
    Ok(change.allocations + change.reallocations)
}

fn of_tcp(handler: Handler) -> io::Result<usize> {
    let server = Server::listen("127.0.0.1:0")?;
    let serving = server.spawn(handler)?;
    let mut stream = TcpStream::connect(server.address().socket_addr().expect("it is a TCP server"))?;
    let mut answer = [0; 64];
    let count = allocations(|| {
        stream.write_all(&[7; 64])?;
        stream.read_exact(&mut answer)
    })?;
    drop(stream);
    server.close();
    serving.join()?;
    Ok(count)
}

fn of_udp(work: Receiver) -> io::Result<usize> {
    let socket = dgram::Socket::bind("127.0.0.1:0")?;
    let at: SocketAddr = socket.address().socket_addr().expect("it is a UDP socket");
    let serving = {
        let socket = socket.clone();
        std::thread::spawn(move || work(&socket))
    };
    let client = UdpSocket::bind("127.0.0.1:0")?;
    let mut answer = [0; 64];
    let count = allocations(|| {
        client.send_to(&[7; 64], at)?;
        client.recv(&mut answer).map(drop)
    })?;
    socket.close();
    serving.join().expect("it does not panic")?;
    Ok(count)
}

fn read_and_write(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => socket.write_all(&buffer[..n])?,
        }
    }
}

/// `writeln!` composes in a buffer of the connection's own, which it keeps.
fn read_and_format(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; 64];
    while socket.read_exact(&mut buffer).is_ok() {
        write!(socket, "{:064}", buffer[0])?;
    }
    Ok(())
}

fn by_events(socket: &Socket) -> io::Result<()> {
    socket.each(|socket, event| match event {
        SocketEvent::Data(bytes) => socket.write_all(bytes),
        _ => Ok(()),
    })
}

fn by_callbacks(socket: &Socket) -> io::Result<()> {
    socket.on().data(|socket, bytes| socket.write_all(bytes)).run()
}

fn by_piping(socket: &Socket) -> io::Result<()> {
    socket.pipe(socket).map(drop)
}

/// A writer that does not block: what the kernel takes at once is not copied.
fn to_the_outbox(socket: &Socket) -> io::Result<()> {
    let message: std::sync::Arc<[u8]> = [7; 64].into();
    let mut buffer = [0; 64];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.outbox().try_send(std::sync::Arc::clone(&message)).map_err(io::Error::other)?;
    }
    Ok(())
}

fn datagrams(socket: &dgram::Socket) -> io::Result<()> {
    let mut buffer = vec![0; 65_535];
    while let Some((bytes, from)) = socket.recv(&mut buffer)? {
        socket.send_to(bytes, &from)?;
    }
    Ok(())
}

/// A buffer that may be too small is received into by way of another one, which is kept.
fn datagrams_into_a_small_buffer(socket: &dgram::Socket) -> io::Result<()> {
    let mut buffer = [0; 100];
    while let Some((bytes, from)) = socket.recv(&mut buffer)? {
        socket.send_to(bytes, &from)?;
    }
    Ok(())
}

fn datagrams_by_events(socket: &dgram::Socket) -> io::Result<()> {
    socket.on().message(|socket, bytes, from| Ok(socket.send_to(bytes, from).map(drop)?)).run()
}

/// Ensures that neither blocking calls nor callbacks allocate for a message, TCP or UDP. One test, for tests beside it would be
/// counted too.
#[test]
fn a_message_allocates_nothing() -> io::Result<()> {
    let tcp: [(&str, Handler); 6] = [
        ("read and write_all", read_and_write),
        ("read_exact and write!", read_and_format),
        ("each", by_events),
        ("on().data", by_callbacks),
        ("pipe", by_piping),
        ("outbox().try_send", to_the_outbox),
    ];
    for (way, handler) in tcp {
        assert_eq!(of_tcp(handler)?, 0, "{way}: {MESSAGES} messages allocate nothing");
    }
    let udp: [(&str, Receiver); 3] = [
        ("recv and send_to", datagrams),
        ("recv into a small buffer", datagrams_into_a_small_buffer),
        ("on().message", datagrams_by_events),
    ];
    for (way, work) in udp {
        assert_eq!(of_udp(work)?, 0, "{way}: {MESSAGES} datagrams allocate nothing");
    }
    // What is given away has to be allocated: the counting works.
    let by_copying = |socket: &Socket| {
        socket.each(|socket, event| match event.into_owned() {
            SocketEvent::Data(bytes) => socket.write_all(bytes),
            _ => Ok(()),
        })
    };
    assert!(of_tcp(by_copying)? >= MESSAGES, "a copy of each message is counted");
    Ok(())
}
