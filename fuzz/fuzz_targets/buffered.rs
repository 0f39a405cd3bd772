//! A connection whose bytes come in any pieces, read by way of a `Buffered`, by lines and by bytes in turn.
//!
//! The peer sends a piece whenever a read would wait for one. So that this costs no time, the connection is non-blocking,
//! and says `WouldBlock` where it otherwise waits; like a tick, that must lose nothing.
#![no_main]

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use arbitrary::Arbitrary;
use landline::net::{Buffered, Socket};
use libfuzzer_sys::fuzz_target;
use socket2::SockRef;

#[derive(Arbitrary, Debug)]
enum Step {
    Line,
    ReadLine,
    Until(u8),
    Read(u16),
    Exact(u16),
    Fill(u8),
    /// A new reader, behind what the old one has left.
    Anew,
}

#[derive(Arbitrary, Debug)]
struct Input {
    limit: u8,
    pieces: Vec<Vec<u8>>,
    steps: Vec<Step>,
}

/// The length of the next line with its end, and the line without; an error if it is too long.
fn line(rest: &[u8], limit: usize) -> Result<(usize, &[u8]), ErrorKind> {
    let length = until(rest, b'\n');
    let line = &rest[..length];
    let line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if line.len() > limit { Err(ErrorKind::InvalidData) } else { Ok((length, line)) }
}

fn until(rest: &[u8], byte: u8) -> usize {
    rest.iter().position(|other| *other == byte).map_or(rest.len(), |at| at + 1)
}

fn text(line: &[u8]) -> Result<&str, ErrorKind> {
    str::from_utf8(line).map_err(|_| ErrorKind::InvalidData)
}

fn buffered(socket: &Socket, limit: usize) -> Buffered {
    let mut reader = socket.buffered().expect("it is open, and has no other");
    reader.set_line_limit(limit);
    reader
}

/// Takes a step again and again, and lets a piece `come` each time that it would wait.
fn again<T>(
    reader: &mut Buffered,
    mut come: impl FnMut(),
    mut step: impl FnMut(&mut Buffered) -> io::Result<T>,
) -> Result<T, ErrorKind> {
    loop {
        match step(reader) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => come(),
            result => return result.map_err(|error| error.kind()),
        }
    }
}

fuzz_target!(|input: Input| {
    let Input { limit, pieces, steps } = input;
    let limit = usize::from(limit);
    let all = pieces.concat();
    let (mut peer, ours) = UnixStream::pair().expect("a descriptor is free");
    let socket = Socket::from(ours);
    let set = socket.with_raw(|fd| SockRef::from(&fd).set_nonblocking(true));
    set.expect("it is open").expect("it can be");
    let mut pieces = VecDeque::from(pieces);
    let mut come = || match pieces.pop_front() {
        Some(piece) => peer.write_all(&piece).expect("there is room"),
        None => peer.shutdown(Shutdown::Write).expect("it is connected"),
    };
    let (mut reader, mut rest) = (Some(buffered(&socket, limit)), &all[..]);
    let to_the_end = (0..=all.len()).map(|_| Step::Read(u16::MAX));
    for step in steps.into_iter().chain(to_the_end) {
        if let Step::Anew = step {
            reader = None;
        }
        let reader = reader.get_or_insert_with(|| buffered(&socket, limit));
        match step {
            Step::Line => {
                let got = again(reader, &mut come, |reader| reader.next_line());
                match line(rest, limit) {
                    Ok((length, line)) => {
                        let expected = text(line).map(|line| (length > 0).then(|| line.to_owned()));
                        assert_eq!(got, expected, "of {rest:?}");
                        rest = &rest[length..];
                    }
                    Err(error) => assert_eq!(got, Err(error), "of {rest:?}"),
                }
            }
            Step::ReadLine => {
                let mut part = String::new();
                let got = again(reader, &mut come, |reader| reader.read_line(&mut part));
                match line(rest, limit) {
                    Ok((length, _)) => {
                        assert_eq!(got.map(|_| &*part), text(&rest[..length]), "of {rest:?}");
                        rest = &rest[length..];
                    }
                    Err(error) => assert_eq!(got, Err(error), "of {rest:?}"),
                }
            }
            Step::Until(byte) => {
                let mut part = Vec::new();
                let got = again(reader, &mut come, |reader| reader.read_until(byte, &mut part));
                let (expected, left) = rest.split_at(until(rest, byte));
                assert_eq!(got.map(|_| &*part), Ok(expected), "of {rest:?}");
                rest = left;
            }
            Step::Read(size) => {
                let mut buffer = vec![0; usize::from(size)];
                let n = again(reader, &mut come, |reader| reader.read(&mut buffer)).expect("it is no error");
                assert_eq!(buffer[..n], rest[..n], "each byte in its place");
                assert!(n > 0 || buffer.is_empty() || rest.is_empty(), "0 is the end");
                rest = &rest[n..];
            }
            Step::Exact(size) => {
                let mut buffer = vec![0; usize::from(size)];
                let got = again(reader, &mut come, |reader| reader.read_exact(&mut buffer));
                match rest.split_at_checked(buffer.len()) {
                    Some((expected, left)) => {
                        assert_eq!(got.map(|()| &*buffer), Ok(expected), "of {rest:?}");
                        rest = left;
                    }
                    None => assert_eq!(got, Err(ErrorKind::UnexpectedEof), "of {rest:?}"),
                }
            }
            Step::Fill(size) => {
                let bytes = again(reader, &mut come, |reader| reader.fill_buf().map(<[u8]>::to_vec));
                let bytes = bytes.expect("it is no error");
                assert!(rest.starts_with(&bytes), "each byte in its place");
                assert!(!bytes.is_empty() || rest.is_empty(), "nothing is the end");
                let n = usize::from(size).min(bytes.len());
                reader.consume(n);
                rest = &rest[n..];
            }
            Step::Anew => {}
        }
    }
    assert!(rest.is_empty(), "nothing is lost: {rest:?}");
});
