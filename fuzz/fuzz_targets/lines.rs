//! Lines out of bytes that come in any pieces, with timeouts between them, read by lines and by bytes in turn.
//!
//! `src/net/socket/lines.rs` itself, over a socket that gives the pieces one by one.
#![no_main]

use std::io::{BufRead, ErrorKind, Read};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

use lines::Lines;
use net::socket::{Piece, Socket};

#[allow(dead_code, reason = "the limit that the library's own callers use")]
#[path = "../../src/net/socket/lines.rs"]
mod lines;

mod net {
    pub(crate) mod socket {
        use std::cell::RefCell;
        use std::collections::VecDeque;
        use std::io;

        #[derive(arbitrary::Arbitrary, Clone, Debug)]
        pub(crate) enum Piece {
            Bytes(Vec<u8>),
            Timeout,
        }

        #[derive(Clone, Debug)]
        pub(crate) struct Socket(pub(crate) RefCell<VecDeque<Piece>>);

        impl Socket {
            pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
                let mut pieces = self.0.borrow_mut();
                match pieces.pop_front() {
                    None => Ok(0),
                    Some(Piece::Timeout) => Err(io::ErrorKind::TimedOut.into()),
                    Some(Piece::Bytes(mut bytes)) => {
                        let n = bytes.len().min(buf.len());
                        buf[..n].copy_from_slice(&bytes[..n]);
                        let rest = bytes.split_off(n);
                        if !rest.is_empty() {
                            pieces.push_front(Piece::Bytes(rest));
                        }
                        Ok(n)
                    }
                }
            }
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Line,
    Read(u8),
    Fill(u8),
}

#[derive(Arbitrary, Debug)]
struct Input {
    max: u8,
    pieces: Vec<Piece>,
    steps: Vec<Step>,
}

/// What the next line must be: the line without its end, how many bytes of `rest` it takes, and whether it is the last step.
fn expected(rest: &[u8], max: usize) -> (Option<Result<&str, ErrorKind>>, usize, bool) {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        let line = (!rest.is_empty()).then(|| text(rest, max));
        return (line, rest.len(), true);
    };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    (Some(text(line, max)), end + 1, line.len() > max)
}

fn text(line: &[u8], max: usize) -> Result<&str, ErrorKind> {
    if line.len() > max {
        Err(ErrorKind::InvalidData)
    } else {
        str::from_utf8(line).map_err(|_| ErrorKind::InvalidData)
    }
}

fuzz_target!(|input: Input| {
    let Input { max, pieces, steps } = input;
    let max = usize::from(max);
    // A piece without bytes would be the end.
    let mut pieces: std::collections::VecDeque<_> = pieces.into();
    pieces.retain(|piece| !matches!(piece, Piece::Bytes(bytes) if bytes.is_empty()));
    let all: Vec<u8> =
        pieces.iter().flat_map(|p| if let Piece::Bytes(b) = p { b.as_slice() } else { &[] }).copied().collect();
    let timeouts = pieces.iter().filter(|piece| matches!(piece, Piece::Timeout)).count();
    let (mut rest, mut over, mut timed_out) = (&all[..], false, 0);
    let mut lines = Lines::new(Socket(pieces.into()), max);
    let to_the_end = (0..=all.len() + timeouts).map(|_| Step::Line);
    for step in steps.into_iter().chain(to_the_end) {
        match step {
            Step::Line => match lines.next() {
                Some(Err(error)) if error.kind() == ErrorKind::TimedOut => timed_out += 1,
                line if over => assert!(line.is_none(), "after the last step nothing comes: {line:?}"),
                line => {
                    let (expected, taken, last) = expected(rest, max);
                    let line = line.map(|line| line.map_err(|error| error.kind()));
                    let line = line.as_ref().map(|line| line.as_deref().map_err(|kind| *kind));
                    assert_eq!(line, expected, "of {rest:?}");
                    let too_long = expected == Some(Err(ErrorKind::InvalidData)) && last;
                    rest = if too_long { &[] } else { &rest[taken..] };
                    over = last;
                    if too_long {
                        // How much of it was taken in is nobody's business.
                        return;
                    }
                }
            },
            Step::Read(n) => {
                let mut buffer = vec![0; usize::from(n)];
                match lines.read(&mut buffer) {
                    Ok(n) => {
                        assert_eq!(buffer[..n], rest[..n], "each byte in its place");
                        assert!(n > 0 || buffer.is_empty() || rest.is_empty(), "0 is the end");
                        rest = &rest[n..];
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TimedOut);
                        timed_out += 1;
                    }
                }
            }
            Step::Fill(n) => match lines.fill_buf() {
                Ok(bytes) => {
                    assert!(rest.starts_with(bytes), "each byte in its place");
                    assert!(!bytes.is_empty() || rest.is_empty(), "nothing is the end");
                    let n = usize::from(n).min(bytes.len());
                    lines.consume(n);
                    rest = &rest[n..];
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    timed_out += 1;
                }
            },
        }
    }
    assert!(rest.is_empty(), "nothing is lost: {rest:?}");
    assert_eq!(timed_out, timeouts, "each timeout is told, once");
});
