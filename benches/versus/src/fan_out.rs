//! One client that publishes at a given rate, and many that subscribe, on a thread that polls.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::common::load::{self, Outcome, Target};
use crate::loads::connect;

const SIZE: usize = 1024;

/// What is sent in a protocol, and how many bytes each answer to it has.
struct Words {
    subscribe: Vec<u8>,
    subscribed: usize,
    greet: Vec<u8>,
    greeted: usize,
    publish: Vec<u8>,
    published: usize,
    delivery: usize,
}

impl Words {
    /// Those of the server's protocol. A broker of MQTT takes Redis's PING for a packet that must not be the first, and
    /// closes the connection once it has the whole of it.
    fn of(at: SocketAddr, subscribers: usize) -> io::Result<Words> {
        let mut stream = connect(at)?;
        stream.write_all(format!("PING {:x<100}\r\n", "").as_bytes())?;
        let is_redis = matches!(stream.read(&mut [0]), Ok(1));
        Ok(if is_redis { Words::redis(subscribers) } else { Words::mqtt() })
    }

    fn redis(subscribers: usize) -> Words {
        let array = |words: &[&[u8]]| {
            let bulk = |word: &&[u8]| [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat();
            [format!("*{}\r\n", words.len()).into_bytes(), words.iter().flat_map(bulk).collect()].concat()
        };
        Words {
            subscribe: array(&[b"SUBSCRIBE", b"news"]),
            subscribed: array(&[b"subscribe", b"news"]).len() + b":1\r\n".len(),
            greet: Vec::new(),
            greeted: 0,
            publish: array(&[b"PUBLISH", b"news", &[b'x'; SIZE]]),
            published: format!(":{subscribers}\r\n").len(),
            delivery: array(&[b"message", b"news", &[b'x'; SIZE]]).len(),
        }
    }

    /// MQTT 3.1.1, at most once.
    fn mqtt() -> Words {
        let topic = [&[0, 4][..], b"news"].concat();
        let connect = b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0".to_vec();
        let length = topic.len() + SIZE;
        let head = [0x30, (length % 128) as u8 | 0x80, (length / 128) as u8];
        let publish = [&head[..], &topic, &[b'x'; SIZE]].concat();
        Words {
            subscribe: [&connect[..], b"\x82\x09\0\x01", &topic, &[0]].concat(),
            subscribed: 4 + 5,
            greet: connect,
            greeted: 4,
            published: 0,
            delivery: publish.len(),
            publish,
        }
    }
}

pub(crate) fn run(subscribers: usize, rate: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    let words = Words::of(target.at, subscribers)?;
    let mut outcome = load::repeat(
        2,
        target,
        time,
        || {},
        |i| {
            io::Result::Ok(if i == 0 {
                Box::new(receive(target.at, &words, subscribers)?) as Box<dyn FnMut() -> io::Result<u64>>
            } else {
                Box::new(publish(target.at, &words, rate)?)
            })
        },
    )?;
    outcome[0].1 /= words.delivery as f64;
    Ok(outcome)
}

/// A step publishes what is due by then, and waits for the answers.
fn publish(at: SocketAddr, words: &Words, rate: usize) -> io::Result<impl FnMut() -> io::Result<u64>> {
    let mut stream = connect(at)?;
    stream.write_all(&words.greet)?;
    stream.read_exact(&mut vec![0; words.greeted])?;
    let (mut start, mut sent) = (None, 0);
    Ok(move || {
        let start = *start.get_or_insert_with(Instant::now);
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        if due == sent {
            let next = start + Duration::from_secs_f64((sent + 1) as f64 / rate as f64);
            thread::sleep(next.saturating_duration_since(Instant::now()));
            return Ok(0);
        }
        stream.write_all(&words.publish.repeat(due - sent))?;
        stream.read_exact(&mut vec![0; words.published * (due - sent)])?;
        sent = due;
        Ok(0)
    })
}

/// A step reads what has come to any of them; gives the bytes.
fn receive(at: SocketAddr, words: &Words, subscribers: usize) -> io::Result<impl FnMut() -> io::Result<u64>> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let (mut buffer, mut streams) = (vec![0; 256 * 1024], Vec::new());
    for i in 0..subscribers {
        let mut stream = connect(at)?;
        stream.write_all(&words.subscribe)?;
        stream.read_exact(&mut vec![0; words.subscribed])?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(i), Interest::READABLE)?;
        streams.push(stream);
    }
    Ok(move || {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        let mut bytes = 0;
        for event in &events {
            loop {
                match streams[event.token().0].read(&mut buffer) {
                    Ok(0) => return Err(io::Error::other("a subscriber was disconnected")),
                    Ok(n) => bytes += n as u64,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(bytes)
    })
}
