//! The header of the PROXY protocol, whole, in pieces, and with a client's bytes behind it.
//!
//! `src/net/proxy/header.rs` itself, over a source that gives the pieces one by one.
#![no_main]
#![allow(dead_code, reason = "what the library's other files use of these")]

use std::collections::VecDeque;
use std::io;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use header::{Header, Source, parse, receive};

#[path = "../../src/address.rs"]
mod address;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/net/proxy/header.rs"]
mod header;
#[path = "../../src/one_line.rs"]
mod one_line;
#[path = "../../src/sys.rs"]
mod sys;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// How long each piece is; the last one is the rest.
    pieces: [u8; 4],
    bytes: &'a [u8],
}

/// What a stream is that arrives in pieces: a look never sees beyond the piece that has arrived.
struct Pieces<'a>(VecDeque<&'a [u8]>);

impl Source for Pieces<'_> {
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let seen = self.0.front().map_or(0, |piece| piece.len().min(buf.len()));
        buf[..seen].copy_from_slice(self.0.front().map_or(&[][..], |piece| &piece[..seen]));
        Ok(seen)
    }

    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let seen = self.peek(buf)?;
        if let Some(piece) = self.0.front_mut() {
            *piece = &piece[seen..];
        }
        self.0.retain(|piece| !piece.is_empty());
        Ok(seen)
    }
}

fuzz_target!(|input: Input<'_>| {
    let Input { pieces, bytes } = input;
    let whole = parse(bytes);
    let length = match &whole {
        Ok(Some((_, length))) => *length,
        _ => bytes.len(),
    };
    assert!(length <= bytes.len() && length <= 4096, "a header is no longer than what there is, nor than 4 KiB");
    let mut wrong = false;
    for end in 0..length {
        match parse(&bytes[..end]) {
            Ok(None) => assert!(!wrong, "what is wrong once is wrong for good"),
            Ok(Some(header)) => panic!("{end} bytes are a header, {header:?}, but more of them are another"),
            Err(_) => wrong = true,
        }
    }
    assert!(!wrong || whole.is_err(), "what is wrong once is wrong for good");
    if let Ok(Some((header, _))) = &whole {
        let again = parse(&bytes[..length]).expect("it is a header").expect("all of it");
        assert_eq!(&again.0, header, "what follows a header does not change it");
        if let Header::Passed { client, reached } = header {
            // Not of one family: of two IPv6 addresses one may stand for an IPv4 address.
            assert_eq!(client.path().is_some(), reached.path().is_some(), "both ends are of one kind");
        }
    }

    let (mut stream, mut rest) = (Pieces(VecDeque::new()), bytes);
    for length in pieces {
        let (piece, after) = rest.split_at(usize::from(length).min(rest.len()));
        stream.0.push_back(piece);
        rest = after;
    }
    stream.0.push_back(rest);
    stream.0.retain(|piece| !piece.is_empty());
    match (receive(&mut stream), whole) {
        (Ok(received), Ok(Some((header, length)))) => {
            assert_eq!(received, header, "in pieces it is the same header");
            let left: Vec<u8> = stream.0.into_iter().flatten().copied().collect();
            assert_eq!(left, bytes[length..], "not a byte of the client's is taken");
        }
        (Err(error), Ok(None)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}"),
        (Err(error), Err(_)) => assert!(error.to_string().starts_with("The PROXY header is wrong: "), "{error}"),
        (received, whole) => panic!("in pieces {received:?}, at once {whole:?}"),
    }
});
