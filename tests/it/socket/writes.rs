//! Writes are whole: no other writer's bytes come between those of one call, whichever call it is.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::thread;

use landline::net::Socket;

use crate::support::Whole;
use crate::support::fixtures::{noise, pair};
use crate::support::{each_ip, within};

/// A text that comes in many pieces, as `write!` gets it from a type with fields.
struct Pieces<'a>(&'a str);

impl fmt::Display for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.as_bytes().chunks(7) {
            f.write_str(std::str::from_utf8(piece).expect("ASCII"))?;
        }
        Ok(())
    }
}

/// Ensures that the messages of eight threads which write at the same time, each in another way, arrive whole and each
/// thread's in its order.
#[test]
fn messages_of_eight_writers_arrive_whole() {
    type Way = fn(&Socket, &str) -> io::Result<()>;
    const WAYS: [Way; 8] = [
        |socket, text| socket.write_all(text),
        |socket, text| write!(socket, "{}", Pieces(text)),
        |mut socket, text| Write::write_fmt(&mut socket, format_args!("{}", Pieces(text))),
        |socket, text| write!(socket, "{:<1}{}", &text[..1], Pieces(&text[1..])),
        |socket, text| socket.write_slices(&text.as_bytes().chunks(500).collect::<Vec<_>>()),
        |mut socket, text| Write::write_all(&mut socket, text.as_bytes()),
        |mut socket, text| match Write::write(&mut socket, text.as_bytes())? {
            n if n == text.len() => Ok(()),
            n => Err(io::Error::other(format!("{n} of {} bytes written", text.len()))),
        },
        |socket, text| Write::write_all(&mut socket.clone(), text.as_bytes()),
    ];
    const MESSAGES: usize = 20;
    within("every message arrives", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let client = client.clone();
                thread::spawn(move || {
                    for number in 0..MESSAGES {
                        // Every tenth is larger than the socket's buffers mostly have room for.
                        let length = if number % 10 == writer { 400_000 } else { 1 + number * 37 };
                        let letter = char::from(b'a' + writer as u8).to_string();
                        let text = format!("{writer} {number} {}\n", letter.repeat(length));
                        WAYS[writer](&client, &text)?;
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        let mut next = [0; 8];
        let mut lines = accepted.buffered().expect("it is the first");
        lines.set_line_limit(1_000_000);
        let mut lines = lines.lines();
        for _ in 0..8 * MESSAGES {
            let line = lines.next().expect("there are more messages").expect("a message is a line");
            let mut parts = line.split(' ');
            let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok()).expect("a number");
            let (writer, number) = (number(), number());
            assert_eq!(number, next[writer], "the messages of one writer arrive in its order");
            next[writer] += 1;
            let length = if number % 10 == writer { 400_000 } else { 1 + number * 37 };
            let fill = parts.next().expect("the fill");
            assert_eq!(fill.len(), length, "message {number} of writer {writer} is whole");
            let its = char::from(b'a' + writer as u8).to_string().repeat(length);
            assert!(fill == its, "and only its own: {number} of {writer}");
        }
        for writer in writers {
            writer.join().expect("no panic").expect("every write succeeds");
        }
        assert_eq!(next, [MESSAGES; 8], "none is missing");
    });
}

/// Ensures that the end that `write_end` sends comes after its data and after every write that was under way before.
#[test]
fn write_end_comes_after_writes_under_way() {
    const SIZE: usize = 16 << 20;
    within("the end arrives", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let writer = client.clone();
        let writing = thread::spawn(move || writer.write_all(vec![b'x'; SIZE]));
        accepted.peek(&mut [0; 1]).expect("the write is under way");
        let ender = client.clone();
        let ending = thread::spawn(move || ender.write_end("bye"));
        let all = accepted.read_all().expect("no reset");
        assert_eq!(all.len(), SIZE + 3, "nothing is cut off");
        assert_eq!(&all[SIZE..], b"bye", "the last bytes are the end's");
        writing.join().expect("no panic").expect("it was written whole");
        ending.join().expect("no panic").expect("it was written whole");
    });
}

/// Ensures that vectored writes arrive in order, with empty buffers between, more buffers than one call takes, and more
/// bytes than the peer's buffer has room for.
#[test]
fn vectored_writes_arrive_in_order() {
    within("everything arrives", || {
        each_ip(|at| {
            let bytes = noise(3_000_000, 3);
            let some = bytes.chunks(1000).take(10).flat_map(|piece| [piece, &[]]).collect::<Vec<_>>();
            let lists: [Vec<&[u8]>; 6] = [
                vec![],
                vec![b"", b""],
                vec![b"", b"one", b"", b"two", b""],
                some,
                // Over IOV_MAX, 1,024.
                bytes.chunks(7).take(5000).collect(),
                bytes.chunks(1_000_000).collect(),
            ];
            for list in lists {
                let (_server, client, accepted) = pair(at);
                let (expected, buffers) = (list.concat(), list.len());
                thread::scope(|scope| {
                    scope.spawn(|| {
                        client.write_slices(&list).unwrap_or_else(|error| panic!("{buffers} buffers: {error}"));
                        client.end().expect("it is connected");
                    });
                    let all = accepted.read_all().expect("no reset");
                    assert!(all == expected, "{} bytes of {buffers} buffers arrive in order", expected.len());
                });
                assert_eq!(client.bytes_written(), expected.len() as u64, "they are counted");
            }
        });
    });
}

/// A text that cannot be put together.
struct Fails;

impl fmt::Display for Fails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        panic!("as asked");
    }
}

/// A text that writes another one while it is put together.
struct Nests<'a>(&'a Socket);

impl fmt::Display for Nests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(self.0, "{}", Pieces("inner")).expect("it is connected");
        f.write_str("outer")
    }
}

/// Ensures that a message that cannot be put together is not written at all, not even in part, and that the next one is
/// whole.
#[test]
fn a_message_that_cannot_be_composed_is_not_written() {
    within("the text arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            writeln!(client, "{}", Pieces("first")).expect("it is connected");
            let panicking = client.clone();
            thread::spawn(move || write!(panicking, "{}", Fails)).join().expect_err("it panicked");
            // Composing one message while composing another needs a buffer of its own.
            writeln!(client, "{}", Nests(&client)).expect("it is connected");
            client.write_end("zzz").expect("it is connected");
            assert_eq!(accepted.read_text().expect("no reset"), "first\ninner\nouter\nzzz", "and nothing of the half");
        });
    });
}

/// Ensures that the macros of std write what they format, as they do to any writer.
#[test]
fn the_macros_of_std_write_what_they_format() {
    within("the text arrives", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        write!(client, "{} {}", 1, Pieces("two")).expect("it is connected");
        write!(client, " three").expect("a text without fields will do");
        writeln!(client).expect("an empty line will do");
        let writer: &mut dyn Write = &mut client.clone();
        writeln!(writer, "{:>5}", 4).expect("and so will the trait");
        client.end().expect("it is connected");
        assert_eq!(accepted.read_text().expect("no reset"), "1 two three\n    4\n", "nothing more and nothing less");
    });
}

/// Ensures that a write to a peer that is gone fails, and that just what succeeded is counted.
#[test]
fn writing_to_a_peer_that_is_gone_fails() {
    within("a write fails", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            accepted.destroy();
            assert_eq!(client.read(&mut [0; 1]).expect("an orderly end"), 0, "the peer is gone");
            // The first is taken by the kernel, and answered by a reset.
            client.write_all("first").expect("the kernel takes it");
            let mut taken = 0;
            let error = loop {
                match client.write_all("next") {
                    Ok(()) => taken += 1,
                    Err(error) => break error,
                }
            };
            assert!([ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()), "{error}");
            assert!(["write EPIPE", "write ECONNRESET"].contains(&&*error.to_string()), "Node's text: {error}");
            assert_eq!(client.bytes_written(), 5 + 4 * taken, "5 bytes and as many times 4 as succeeded");
        });
    });
}
