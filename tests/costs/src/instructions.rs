//! Instructions a message: the slope between [`FEW`] and [`MANY`] of them, so that the start is out of it. Both ends
//! are on one thread, so nothing else on the machine changes the count. Ways that need a second thread (`pipe`,
//! `relay`, channels) are not here.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use landline::dgram;
use landline::net::{self, Socket};

use crate::numbers::Figure;
use crate::process;
use crate::ways::{MESSAGE, PATIENCE, SIZE, datagram_options, in_three, server_options};

const FEW: usize = 1000;
const MANY: usize = 11 * FEW;

/// By the processor, the C library chooses how it copies and fills memory. With these it chooses the same on all.
const TUNABLES: &str =
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// Sends and receives so many messages, one after the other; gives the bytes that came.
type Exchange = fn(usize) -> io::Result<usize>;

/// Each message is written by `write_all` and read as the name says, or written as it says and read by `read`;
/// datagrams by `send_to` and as it says. Below `std/` are the same over std.
const EXCHANGES: &[(&str, Exchange)] = &[
    ("std/tcp/read", |n| std_tcp(n, |mut stream, buffer| stream.read(buffer))),
    ("tcp/read", |n| Ends::new("")?.read(n)),
    ("tcp/read+hook", |n| Ends::new("hook")?.read(n)),
    ("tcp/read+timeout", |n| Ends::new("timeout")?.read(n)),
    ("tcp/read+deadline", |n| Ends::new("deadline")?.read(n)),
    ("tcp/write+timeout", |n| Ends::new("timeout")?.write(n)),
    ("tcp/write+deadline", |n| Ends::new("deadline")?.write(n)),
    ("tcp/read_exact", |n| Ends::new("")?.read_by(n, |served, buffer| served.read_exact(buffer).map(|()| SIZE))),
    ("std/tcp/peek", |n| std_tcp(n, |mut stream, buffer| stream.peek(buffer).and_then(|_| stream.read(buffer)))),
    ("tcp/peek", |n| Ends::new("")?.read_by(n, |served, buffer| served.peek(buffer).and_then(|_| served.read(buffer)))),
    ("std/tcp/read_line", |n| {
        let (mut reader, mut line) = (None, String::new());
        std_tcp(n, |stream, _| {
            let reader = reader.get_or_insert_with(|| BufReader::new(stream.try_clone().expect("it is open")));
            line.clear();
            reader.read_line(&mut line)
        })
    }),
    ("tcp/next_line", |n| {
        let ends = Ends::new("")?;
        let mut buffered = ends.served.buffered()?;
        // With its end.
        ends.read_by(n, |_, _| Ok(buffered.next_line()?.expect("it does not end").len() + 1))
    }),
    ("tcp/read_line", |n| {
        let ends = Ends::new("")?;
        let (mut buffered, mut line) = (ends.served.buffered()?, String::new());
        ends.read_by(n, |_, _| {
            line.clear();
            buffered.read_line(&mut line)
        })
    }),
    ("tcp/each", |n| each("", n)),
    ("tcp/each+hook", |n| each("hook", n)),
    ("tcp/each+timeout", |n| each("timeout", n)),
    ("tcp/write!", |n| {
        let text = str::from_utf8(&MESSAGE).expect("it is text");
        Ends::new("")?.write_by(n, |client| write!(client, "{text}"))
    }),
    ("tcp/write_vectored", |n| {
        Ends::new("")?.write_by(n, |mut client| client.write_vectored(&in_three(&MESSAGE)).map(drop))
    }),
    ("tcp/outbox.try_send", |n| {
        let message: Arc<[u8]> = MESSAGE.into();
        Ends::new("")?.write_by(n, |client| Ok(client.outbox().try_send(Arc::clone(&message))?))
    }),
    ("tcp/outbox.send", |n| {
        let message: Arc<[u8]> = MESSAGE.into();
        Ends::new("")?.write_by(n, |client| Ok(client.outbox().send(Arc::clone(&message))?))
    }),
    ("std/udp/recv", |n| {
        let [sender, receiver] = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
        let (at, mut buffer) = (receiver.local_addr()?, vec![0; 65_535]);
        add(n, || {
            sender.send_to(&MESSAGE, at)?;
            receiver.recv_from(&mut buffer).map(|(n, _)| n)
        })
    }),
    ("udp/recv", |n| recv("", n)),
    ("udp/recv+hook", |n| recv("hook", n)),
    ("udp/recv_small", |n| datagrams("", n, |socket, buffer| socket.recv(&mut buffer[..100]))),
    ("udp/try_recv", |n| datagrams("", n, |socket, buffer| socket.try_recv(buffer))),
    ("udp/recv_timeout", |n| datagrams("", n, |socket, buffer| socket.recv_timeout(buffer, PATIENCE))),
    ("udp/each", datagrams_each),
];

/// How much more a number may be: less than the clone of an `Arc` costs, which is 7. Whatever else the machine does,
/// the numbers stay the same, but for 1.
fn tolerance(number: f64) -> f64 {
    (number * 0.005).max(3.0)
}

pub fn measure() -> io::Result<Option<Vec<Figure>>> {
    if !process::has("valgrind")? {
        return Ok(None);
    }
    let slope = |(name, _): &(&str, Exchange)| {
        let each = (count(name, MANY)? - count(name, FEW)?) / (MANY - FEW) as f64;
        Ok(Figure::new(&format!("instructions/{name}"), each, "a message").within(tolerance(each)))
    };
    EXCHANGES.iter().map(slope).collect::<io::Result<_>>().map(Some)
}

/// The instructions of this program while it exchanges so many messages.
fn count(name: &str, messages: usize) -> io::Result<f64> {
    let valgrind = ["env", TUNABLES, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let (_, log) = process::end(process::start(&valgrind, &["exchange", name, &messages.to_string()])?)?;
    let collected = log.split("Collected : ").nth(1).and_then(|rest| rest.split_whitespace().next());
    collected.and_then(|count| count.parse().ok()).ok_or_else(|| io::Error::other(format!("no count in {log}")))
}

/// What is counted.
pub fn exchange(name: &str, messages: &str) -> io::Result<()> {
    let messages = messages.parse().map_err(io::Error::other)?;
    let (_, exchange) = EXCHANGES.iter().find(|(other, _)| *other == name).expect("it is listed");
    assert_eq!(exchange(messages)?, messages * SIZE, "{name}: every byte goes this way");
    Ok(())
}

/// The bytes of so many steps.
fn add(messages: usize, mut step: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    (0..messages).try_fold(0, |received, _| Ok(received + step()?))
}

/// Calls `run`, which hands the size of each message to its second argument; that one sends the next by `send`, or
/// `end`s.
fn chain(
    messages: usize,
    send: impl Fn() -> io::Result<()>,
    end: impl Fn() -> io::Result<()>,
    run: impl FnOnce(&dyn Fn(usize) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<usize> {
    let (left, received) = (Cell::new(messages - 1), Cell::new(0));
    send()?;
    run(&|bytes| {
        received.set(received.get() + bytes);
        if left.get() == 0 {
            return end();
        }
        left.set(left.get() - 1);
        send()
    })?;
    Ok(received.get())
}

/// Both ends of a connection. The served one has the setting.
struct Ends {
    client: Socket,
    served: Socket,
}

impl Ends {
    fn new(setting: &str) -> io::Result<Ends> {
        let server = server_options(setting).listen("127.0.0.1:0")?;
        let client = Socket::connect(server.address())?;
        Ok(Ends { client, served: server.accept()?.expect("the server is open") })
    }

    fn read(&self, messages: usize) -> io::Result<usize> {
        self.read_by(messages, Socket::read)
    }

    fn read_by(
        &self,
        messages: usize,
        mut read: impl FnMut(&Socket, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut buffer = [0; SIZE];
        add(messages, || {
            self.client.write_all(MESSAGE)?;
            read(&self.served, &mut buffer)
        })
    }

    /// The served one writes.
    fn write(self, messages: usize) -> io::Result<usize> {
        let Ends { client, served } = self;
        Ends { client: served, served: client }.write_by(messages, |served| served.write_all(MESSAGE))
    }

    fn write_by(&self, messages: usize, mut write: impl FnMut(&Socket) -> io::Result<()>) -> io::Result<usize> {
        let mut buffer = [0; SIZE];
        add(messages, || {
            write(&self.client)?;
            self.served.read(&mut buffer)
        })
    }
}

fn each(setting: &str, messages: usize) -> io::Result<usize> {
    let Ends { client, served } = Ends::new(setting)?;
    let run = |next: &dyn Fn(usize) -> io::Result<()>| {
        served.each(|_, event| match event {
            net::SocketEvent::Data(bytes) => next(bytes.len()),
            _ => Ok(()),
        })
    };
    chain(messages, || client.write_all(MESSAGE), || client.end(), run)
}

fn std_tcp(messages: usize, mut read: impl FnMut(&TcpStream, &mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (served, _) = listener.accept()?;
    let mut buffer = [0; SIZE];
    add(messages, || {
        client.write_all(&MESSAGE)?;
        read(&served, &mut buffer)
    })
}

type Received<'a> = io::Result<Option<(&'a [u8], dgram::RemoteInfo)>>;

fn recv(setting: &str, messages: usize) -> io::Result<usize> {
    datagrams(setting, messages, |socket, buffer| socket.recv(buffer))
}

fn datagrams(
    setting: &str,
    messages: usize,
    receive: impl for<'a> Fn(&dgram::Socket, &'a mut [u8]) -> Received<'a>,
) -> io::Result<usize> {
    let (sender, receiver) = (dgram::Socket::bind("127.0.0.1:0")?, datagram_options(setting).bind("127.0.0.1:0")?);
    let mut buffer = vec![0; 65_535];
    add(messages, || {
        sender.send_to(MESSAGE, receiver.address())?;
        let (bytes, _) = receive(&receiver, &mut buffer)?.expect("it is open");
        Ok(bytes.len())
    })
}

fn datagrams_each(messages: usize) -> io::Result<usize> {
    let (sender, receiver) = (dgram::Socket::bind("127.0.0.1:0")?, dgram::Socket::bind("127.0.0.1:0")?);
    let send = || sender.send_to(MESSAGE, receiver.address()).map(drop);
    let end = || {
        receiver.close();
        Ok(())
    };
    let run = |next: &dyn Fn(usize) -> io::Result<()>| {
        receiver.each(|_, event| match event {
            dgram::SocketEvent::Message(bytes, _) => next(bytes.len()),
            _ => Ok(()),
        })
    };
    chain(messages, send, end, run)
}
