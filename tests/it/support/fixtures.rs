//! Fixtures of connections: a connected pair, a running server, a port that refuses, a record of events.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};

use landline::net::{Server, ServerOptions, Socket, SocketEvent, SocketOptions};
use landline::{Endpoint, Running};
use socket2::SockRef;

use crate::support::{HANG, within};

/// A server, a client of it, and the server's end of that client's connection.
pub(crate) fn pair(at: &str) -> (Server, Socket, Socket) {
    pair_with(at, ServerOptions::new(), SocketOptions::new())
}

/// As [`pair`], with options for both sides.
pub(crate) fn pair_with(at: &str, server: ServerOptions, client: SocketOptions) -> (Server, Socket, Socket) {
    let server = server.listen(at).expect("port 0 can be listened on");
    let client = client.connect(server.address()).expect("the server listens");
    let accepted = accept(&server);
    (server, client, accepted)
}

/// What a call says of a socket's descriptor, or does to it.
pub(crate) fn kernel<R>(socket: &Socket, call: impl FnOnce(&SockRef<'_>) -> io::Result<R>) -> R {
    socket.with_raw(|fd| call(&SockRef::from(&fd))).expect("it is open").expect("the system does it")
}

/// Whether a socket is non-blocking. Windows does not say.
pub(crate) fn is_nonblocking(raw: &SockRef<'_>) -> io::Result<bool> {
    #[cfg(unix)]
    return raw.nonblocking();
    #[cfg(not(unix))]
    {
        let _ = raw;
        Ok(false)
    }
}

/// The server's next client.
pub(crate) fn accept(server: &Server) -> Socket {
    let server = server.clone();
    within("accept returns", move || server.accept()).expect("accepting works").expect("the server is open")
}

/// A server with a running handler, until it is stopped.
pub(crate) struct Served {
    pub(crate) server: Server,
    running: Running,
}

impl Served {
    pub(crate) fn start(
        at: impl Into<Endpoint>,
        options: &ServerOptions,
        handler: impl Fn(&Socket) -> io::Result<()> + Send + Sync + 'static,
    ) -> Served {
        let server = options.listen(at).expect("port 0 can be listened on");
        let running = server.spawn(handler).expect("a thread can be started");
        Served { server, running }
    }

    pub(crate) fn connect(&self) -> Socket {
        Socket::connect(self.server.address()).expect("the server listens")
    }

    /// Closes the server and waits until its last thread has ended.
    #[track_caller]
    pub(crate) fn stop(self) {
        let Served { server, running } = self;
        within("the server's threads end", move || {
            server.close();
            running.join()
        })
        .expect("serving ended in order");
    }
}

/// A port of this machine that refuses. It is bound, so that no other program gets it, but does not listen.
pub(crate) struct Refusing {
    _bound: socket2::Socket,
    pub(crate) address: SocketAddr,
}

impl Refusing {
    pub(crate) fn at(ip: &str) -> Refusing {
        let address: SocketAddr = ip.parse().expect("an address");
        let bound = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)
            .expect("a socket can be had");
        bound.bind(&address.into()).expect("port 0 can be bound");
        let address = bound.local_addr().expect("it is bound").as_socket().expect("it is TCP");
        Refusing { _bound: bound, address }
    }
}

/// What happened, in order, as words. Pieces of data in a row are one word.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tape(pub(crate) Vec<String>);

impl Tape {
    pub(crate) fn add(&mut self, event: &SocketEvent<&[u8]>) {
        let word = match event {
            SocketEvent::Data(_) => "data".into(),
            SocketEvent::End => "end".into(),
            SocketEvent::Timeout => "timeout".into(),
            SocketEvent::Error(error) => format!("error {error}"),
            SocketEvent::Close { had_error } => format!("close {had_error}"),
            other => format!("{other:?}"),
        };
        if word != "data" || self.0.last() != Some(&word) {
            self.0.push(word);
        }
    }
}

/// Runs `each`, notes every event and lets `f` answer it.
pub(crate) fn record(socket: &Socket, mut f: impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()>) -> Tape {
    let mut tape = Tape::default();
    // The events have the result of `each` too.
    let _ = socket.each(|socket, event| {
        tape.add(&event);
        f(socket, event)
    });
    tape
}

/// As [`record`], on a thread of its own.
pub(crate) fn watch(
    socket: &Socket,
    f: impl FnMut(&Socket, SocketEvent<&[u8]>) -> io::Result<()> + Send + 'static,
) -> JoinHandle<Tape> {
    let socket = socket.clone();
    thread::spawn(move || record(&socket, f))
}

/// As [`watch`], without answers.
pub(crate) fn watch_only(socket: &Socket) -> JoinHandle<Tape> {
    watch(socket, |_, _| Ok(()))
}

/// As [`watch_only`], but returns once `each` runs, after a byte of the peer's, which is the first word.
pub(crate) fn watch_running(socket: &Socket, peer: &Socket) -> JoinHandle<Tape> {
    let (tell, told) = mpsc::channel();
    let tape = watch(socket, move |_, event| {
        if let SocketEvent::Data(_) = event {
            tell.send(()).expect("the test waits");
        }
        Ok(())
    });
    peer.write_all("x").expect("it is connected");
    told.recv_timeout(HANG).expect("the byte arrives");
    tape
}

/// What was recorded, after the last event.
#[track_caller]
pub(crate) fn words(tape: JoinHandle<Tape>) -> Vec<String> {
    within("the last event comes", || tape.join()).expect("nothing panicked").0
}

/// Bytes without a pattern that a fault could hide behind, by xorshift.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A port that is free at this moment on every address, and that the system does not give to clients. Thousands of
/// closed connections may hold those for a minute. No other test of this network gets it while this process runs, also
/// when it is free again: a UDP socket with the same number claims it. Another program may still take it first.
pub(crate) fn port_of_no_client() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let start = (std::process::id() % 10_000) as u16;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let is_free = |ip: &str| TcpListener::bind((ip, port)).is_ok();
        if let Some(claim) = UdpSocket::bind(("127.0.0.1", port)).ok().filter(|_| is_free("0.0.0.0") && is_free("::")) {
            CLAIMS.lock().expect("nothing panics here").push(claim);
            return port;
        }
        assert!(NEXT.load(Ordering::Relaxed) < 10_000, "one port of ten thousand is free");
    }
}

/// Calls that read or write everything.
pub(crate) trait Whole {
    /// What arrives until the peer's end.
    fn read_all(&self) -> io::Result<Vec<u8>>;

    /// The same, as text.
    fn read_text(&self) -> io::Result<String>;

    /// Several buffers as one message.
    fn write_slices(&self, slices: &[&[u8]]) -> io::Result<()>;
}

impl Whole for Socket {
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        io::Read::read_to_end(&mut &*self, &mut all)?;
        Ok(all)
    }

    fn read_text(&self) -> io::Result<String> {
        io::read_to_string(self)
    }

    fn write_slices(&self, slices: &[&[u8]]) -> io::Result<()> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let slices: Vec<_> = slices.iter().map(|slice| io::IoSlice::new(slice)).collect();
        match io::Write::write_vectored(&mut &*self, &slices)? {
            n if n == length => Ok(()),
            // An error came in between. The next call returns it.
            _ => self.write_all("never whole").and(Err(io::Error::other("a write was not whole, without an error"))),
        }
    }
}
