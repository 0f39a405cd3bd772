//! The ways to serve messages of [`SIZE`] bytes. Each sends back what comes, until the peer or the server ends it.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use landline::dgram;
use landline::net::{self, Server, ServerEvent, ServerOptions, Socket};

pub const SIZE: usize = 64;

/// A message is a line, so that it can be read as one.
pub const MESSAGE: [u8; SIZE] = *b"A message of 64 bytes, which is 63 and a line end, for lines().\n";

/// The one bound on every wait. Only a hang can reach it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What serves.
#[derive(Clone, Copy)]
pub enum Way {
    Handler(fn(&Socket) -> io::Result<()>),
    Server(fn(&Server) -> io::Result<()>),
    Datagrams(fn(&dgram::Socket) -> io::Result<()>),
}

use Way::{Datagrams, Handler};

/// The ways to serve, by name.
pub const WAYS: &[(&str, Way)] = &[
    ("tcp/read", Handler(read)),
    ("tcp/read_exact", Handler(read_exact)),
    ("tcp/peek", Handler(peek)),
    ("tcp/next_line", Handler(next_line)),
    ("tcp/read_line", Handler(read_line)),
    ("tcp/each", Handler(each)),
    ("tcp/pipe", Handler(pipe)),
    ("tcp/relay", Handler(relay)),
    ("tcp/events", Handler(events)),
    ("tcp/server.events", Way::Server(server_events)),
    ("tcp/write!", Handler(write_formatted)),
    ("tcp/write_vectored", Handler(write_vectored)),
    ("tcp/outbox.try_send", Handler(outbox_try_send)),
    ("tcp/outbox.send", Handler(outbox_send)),
    ("udp/recv", Datagrams(recv)),
    ("udp/recv_small", Datagrams(recv_small)),
    ("udp/recv_timeout", Datagrams(recv_timeout)),
    ("udp/each", Datagrams(datagrams_each)),
    ("udp/events", Datagrams(datagrams_events)),
];

/// What of these is counted with each setting too: `tcp/read+hook` and so on.
pub const SETTINGS: &[&str] = &["hook", "timeout", "deadline"];

/// The names of all that is counted a message.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = WAYS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for way in ["tcp/read", "tcp/each", "tcp/pipe"] {
        names.extend(SETTINGS.iter().map(|setting| format!("{way}+{setting}")));
    }
    names.extend(["udp/recv+hook", "udp/each+hook"].map(String::from));
    names
}

pub fn server_options(setting: &str) -> ServerOptions {
    let long = Duration::from_secs(3600);
    match setting {
        "" => ServerOptions::new(),
        "hook" => ServerOptions::new().report(|_| {}),
        "timeout" => ServerOptions::new().timeout(long),
        "deadline" => ServerOptions::new().deadline(long),
        _ => panic!("no setting is called {setting}"),
    }
}

pub fn datagram_options(setting: &str) -> dgram::SocketOptions {
    match setting {
        "" => dgram::SocketOptions::udp4(),
        "hook" => dgram::SocketOptions::udp4().report(|_| {}),
        _ => panic!("no setting of datagrams is called {setting}"),
    }
}

/// Something that serves on a thread of its own.
pub struct Serving {
    pub address: SocketAddr,
    close: Box<dyn Fn()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Serving {
    pub fn start(name: &str) -> io::Result<Serving> {
        let (name, setting) = name.split_once('+').unwrap_or((name, ""));
        let way = WAYS.iter().find(|(other, _)| *other == name).expect("the way is listed").1;
        match way {
            Way::Handler(handler) => Serving::tcp(setting, move |server| server.serve(handler)),
            Way::Server(serve) => Serving::tcp(setting, serve),
            Way::Datagrams(serve) => {
                let socket = datagram_options(setting).bind("127.0.0.1:0")?;
                let address = socket.address();
                let served = socket.clone();
                let thread = thread::spawn(move || serve(&served));
                Ok(Serving { address, close: Box::new(move || socket.close()), thread })
            }
        }
    }

    pub fn tcp(setting: &str, serve: impl FnOnce(&Server) -> io::Result<()> + Send + 'static) -> io::Result<Serving> {
        Serving::with(&server_options(setting), serve)
    }

    pub fn with(
        options: &ServerOptions,
        serve: impl FnOnce(&Server) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Serving> {
        let server = options.listen("127.0.0.1:0")?;
        let address = server.address().socket_addr().expect("it is a TCP server");
        let served = server.clone();
        let thread = thread::spawn(move || serve(&served));
        Ok(Serving { address, close: Box::new(move || server.close()), thread })
    }

    pub fn end(self) -> io::Result<()> {
        (self.close)();
        self.thread.join().expect("it does not panic")
    }
}

pub fn read(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => socket.write_all(&buffer[..n])?,
        }
    }
}

fn read_exact(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; SIZE];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.write_all(buffer)?;
    }
    Ok(())
}

fn peek(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match socket.peek(&mut buffer)? {
            0 => return Ok(()),
            n => {
                socket.read_exact(&mut buffer[..n])?;
                socket.write_all(&buffer[..n])?;
            }
        }
    }
}

fn next_line(socket: &Socket) -> io::Result<()> {
    let mut buffered = socket.buffered()?;
    while let Some(line) = buffered.next_line()? {
        writeln!(socket, "{line}")?;
    }
    Ok(())
}

/// What is written is kept until the next line must be waited for.
fn read_line(socket: &Socket) -> io::Result<()> {
    let (mut buffered, mut line) = (socket.buffered()?, String::new());
    while buffered.read_line(&mut line)? > 0 {
        buffered.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn each(socket: &Socket) -> io::Result<()> {
    socket.each(|socket, event| match event {
        net::SocketEvent::Data(bytes) => socket.write_all(bytes),
        _ => Ok(()),
    })
}

fn pipe(socket: &Socket) -> io::Result<()> {
    socket.pipe(socket)
}

/// To a target over std in the same process, whose read and write are counted too.
fn relay(socket: &Socket) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let target = Socket::connect(listener.local_addr()?)?;
    let (mut stream, _) = listener.accept()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut buffer = [0; 1024];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                n => stream.write_all(&buffer[..n])?,
            }
        }
    });
    net::relay(socket, &target)?;
    echo.join().expect("it does not panic")
}

/// Answers as a thread that receives events must: without blocking.
fn events(socket: &Socket) -> io::Result<()> {
    for event in &socket.events(16)? {
        match event {
            net::SocketEvent::Data(bytes) => socket.outbox().try_send(bytes)?,
            net::SocketEvent::End => socket.outbox().end()?,
            _ => {}
        }
    }
    Ok(())
}

fn server_events(server: &Server) -> io::Result<()> {
    for event in &server.events(16)? {
        match event {
            ServerEvent::Socket(socket, net::SocketEvent::Data(bytes)) => socket.outbox().try_send(bytes)?,
            ServerEvent::Socket(socket, net::SocketEvent::End) => socket.outbox().end()?,
            _ => {}
        }
    }
    Ok(())
}

/// What is formatted is composed in a buffer of the connection's own, which it keeps.
fn write_formatted(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; SIZE];
    while socket.read_exact(&mut buffer).is_ok() {
        let text = str::from_utf8(&buffer).map_err(io::Error::other)?;
        write!(socket, "{text}")?;
    }
    Ok(())
}

fn write_vectored(mut socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; SIZE];
    while socket.read_exact(&mut buffer).is_ok() {
        let written = socket.write_vectored(&in_three(&buffer))?;
        assert_eq!(written, SIZE, "a write hands over all of the buffers");
    }
    Ok(())
}

/// A message as it is often put together: of a head, a body and an end.
pub fn in_three(message: &[u8; SIZE]) -> [IoSlice<'_>; 3] {
    [&message[..8], &message[8..SIZE - 1], &message[SIZE - 1..]].map(IoSlice::new)
}

/// What the kernel takes at once is not copied.
fn outbox_try_send(socket: &Socket) -> io::Result<()> {
    let message: Arc<[u8]> = MESSAGE.into();
    let mut buffer = [0; SIZE];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.outbox().try_send(Arc::clone(&message))?;
    }
    Ok(())
}

fn outbox_send(socket: &Socket) -> io::Result<()> {
    let message: Arc<[u8]> = MESSAGE.into();
    let mut buffer = [0; SIZE];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.outbox().send(Arc::clone(&message))?;
    }
    Ok(())
}

fn recv(socket: &dgram::Socket) -> io::Result<()> {
    let mut buffer = vec![0; 65_535];
    while let Some((bytes, from)) = socket.recv(&mut buffer)? {
        socket.send_to(bytes, from)?;
    }
    Ok(())
}

/// A buffer that may be too small is received into by way of another one, which is kept.
fn recv_small(socket: &dgram::Socket) -> io::Result<()> {
    let mut buffer = [0; 100];
    while let Some((bytes, from)) = socket.recv(&mut buffer)? {
        socket.send_to(bytes, from)?;
    }
    Ok(())
}

fn recv_timeout(socket: &dgram::Socket) -> io::Result<()> {
    let mut buffer = vec![0; 65_535];
    while let Some((bytes, from)) = socket.recv_timeout(&mut buffer, PATIENCE)? {
        socket.send_to(bytes, from)?;
    }
    Ok(())
}

fn datagrams_each(socket: &dgram::Socket) -> io::Result<()> {
    socket.each(|socket, event| match event {
        dgram::SocketEvent::Message(bytes, from) => Ok(socket.send_to(bytes, from).map(drop)?),
        _ => Ok(()),
    })
}

fn datagrams_events(socket: &dgram::Socket) -> io::Result<()> {
    for event in &socket.events(16)? {
        if let dgram::SocketEvent::Message(bytes, from) = event {
            socket.send_to(&bytes, from)?;
        }
    }
    Ok(())
}
