//! The servers as one writes them by hand over std: a thread for each connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use socket2::{Domain, Socket, Type};

use super::case::LIMIT;

/// What a careful author adds, system call by system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) no_delay: bool,
    pub(crate) buffer: usize,
    /// Otherwise std's, 128.
    pub(crate) backlog: Option<i32>,
    /// Of receiving datagrams; otherwise the system's.
    pub(crate) receive_buffer: Option<usize>,
}

/// What std gives by itself, with the buffer that most programs have.
pub(crate) const PLAIN: Tuning = Tuning { no_delay: false, buffer: 16 * 1024, backlog: None, receive_buffer: None };

/// The same with one option.
pub(crate) const NO_DELAY: Tuning = Tuning { no_delay: true, ..PLAIN };

/// The system calls and sizes that landline has, but for the 256 KiB of its `pipe` and `relay`.
pub(crate) const TUNED: Tuning =
    Tuning { no_delay: true, buffer: 64 * 1024, backlog: Some(4096), receive_buffer: Some(4 << 20) };

pub(crate) fn tcp(mode: &str, target: Option<SocketAddr>, tuning: Tuning) -> io::Result<()> {
    let listener = match tuning.backlog {
        None => TcpListener::bind("127.0.0.1:0")?,
        Some(backlog) => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
            socket.listen(backlog)?;
            socket.into()
        }
    };
    println!("listening on {}", listener.local_addr()?.port());
    let open = Arc::new(AtomicUsize::new(0));
    let limit = if mode == "limit" { LIMIT } else { usize::MAX };
    for stream in listener.incoming() {
        let stream = stream?;
        if open.load(SeqCst) >= limit {
            continue;
        }
        open.fetch_add(1, SeqCst);
        let open = Arc::clone(&open);
        thread::spawn(move || {
            let _ = match target {
                None => echo(&stream, tuning),
                Some(target) => relay(&stream, target, tuning),
            };
            open.fetch_sub(1, SeqCst);
        });
    }
    Ok(())
}

fn echo(stream: &TcpStream, tuning: Tuning) -> io::Result<()> {
    if tuning.no_delay {
        stream.set_nodelay(true)?;
    }
    carry(stream, stream, tuning.buffer)
}

fn relay(client: &TcpStream, target: SocketAddr, tuning: Tuning) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    if tuning.no_delay {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
    }
    thread::scope(|scope| {
        scope.spawn(|| carry(&server, client, tuning.buffer).and_then(|()| client.shutdown(Shutdown::Write)));
        carry(client, &server, tuning.buffer).and_then(|()| server.shutdown(Shutdown::Write))
    })
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

pub(crate) fn udp(mode: &str, tuning: Tuning) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    if let Some(size) = tuning.receive_buffer {
        socket2::SockRef::from(&socket).set_recv_buffer_size(size)?;
    }
    println!("listening on {}", socket.local_addr()?.port());
    let (mut buffer, mut count) = (vec![0; 65_535], 0_u64);
    loop {
        let (size, from) = socket.recv_from(&mut buffer)?;
        match (mode, size) {
            ("sink", 1) => drop(socket.send_to(count.to_string().as_bytes(), from)?),
            ("sink", _) => count += 1,
            _ => drop(socket.send_to(&buffer[..size], from)?),
        }
    }
}
