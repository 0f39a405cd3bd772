//! Reading a connection by way of `Buffered`.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read};
use std::iter;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::Error;
use landline::net::{Buffered, Socket};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::{cut, inputs};

/// Only what never comes takes as long.
const SOON: Duration = Duration::from_secs(60);

/// One way to read on.
#[derive(Debug, Clone)]
enum Step {
    Line,
    LineBytes,
    /// By `BufRead::read_line`, with its end.
    ReadLine,
    Until(u8),
    Read(usize),
    Exact(usize),
    /// By `fill_buf` and `consume`, of as many as there are.
    Fill(usize),
    /// A new reader, or none, behind what the old one has left.
    Anew,
    /// From the socket, behind a reader that was dropped.
    Straight(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![4 => 0..20_usize, 1 => 8_000..9_000_usize];
    prop_oneof![
        3 => Just(Step::Line),
        1 => Just(Step::LineBytes),
        1 => Just(Step::ReadLine),
        1 => select(vec![b'\n', b'\r', b'a', b'0']).prop_map(Step::Until),
        1 => size().prop_map(Step::Read),
        1 => size().prop_map(Step::Exact),
        1 => size().prop_map(Step::Fill),
        1 => Just(Step::Anew),
        1 => size().prop_map(Step::Straight),
    ]
}

/// What the peer sends: the bytes, and how they are cut.
fn sent() -> impl Strategy<Value = (Vec<u8>, Vec<Index>)> {
    let words: Vec<&[u8]> = vec![b"\n", b"\r\n", b"\r", b"a", "grün".as_bytes(), b"12345678", b"\xff", &[b'0'; 5000]];
    (vec(select(words), 0..40).prop_map(|words| words.concat()), vec(any::<Index>(), 0..6))
}

/// What is left of the bytes, and what reading gives of them.
struct Model {
    rest: VecDeque<u8>,
    limit: usize,
}

impl Model {
    fn take(&mut self, n: usize) -> Vec<u8> {
        self.rest.drain(..n).collect()
    }

    /// The length of the next part that ends with `byte`, or of all.
    fn until(&self, byte: u8) -> usize {
        self.rest.iter().position(|other| *other == byte).map_or(self.rest.len(), |at| at + 1)
    }

    /// The next line, with its end and without; nothing is taken of one that is too long.
    fn line(&mut self) -> Result<(Vec<u8>, Vec<u8>), ErrorKind> {
        let whole: Vec<u8> = self.rest.iter().copied().take(self.until(b'\n')).collect();
        let bare = match whole.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None => &whole,
        };
        if bare.len() > self.limit {
            return Err(ErrorKind::InvalidData);
        }
        self.take(whole.len());
        Ok((bare.to_vec(), whole))
    }
}

fn text(bytes: Vec<u8>) -> Result<String, ErrorKind> {
    String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData)
}

/// Both ends of a connection, which fail at the end of their time.
fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be bound");
    let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it is listened on");
    let ends = (Socket::from(client), Socket::from(listener.accept().expect("a client waits").0));
    let end = Instant::now() + SOON;
    ends.0.set_deadline(end);
    ends.1.set_deadline(end);
    ends
}

fn reader(socket: &Socket, limit: usize) -> Buffered {
    let mut reader = socket.buffered().expect("it is open, and has no other");
    reader.set_line_limit(limit);
    reader
}

/// What a step gives: bytes, or none at the end.
type Given<E> = Result<Option<Vec<u8>>, E>;

/// What stands before what a call appends.
const BEFORE: &str = "before, ";

/// Takes a step.
fn take(socket: &Socket, reading: &mut Option<Buffered>, limit: usize, step: &Step) -> Given<io::Error> {
    if matches!(step, Step::Anew | Step::Straight(_)) {
        *reading = None;
    }
    let mut buffer = match *step {
        Step::Read(size) | Step::Exact(size) | Step::Straight(size) => vec![0; size],
        _ => Vec::new(),
    };
    if let Step::Straight(_) = step {
        return socket.read(&mut buffer).map(|n| Some(buffer[..n].to_vec()));
    }
    let reader = reading.get_or_insert_with(|| reader(socket, limit));
    match *step {
        Step::Line => reader.next_line().map(|line| line.map(|line| line.as_bytes().to_vec())),
        Step::LineBytes => reader.next_line_bytes().map(|line| line.map(<[u8]>::to_vec)),
        Step::ReadLine => {
            let mut line = String::from(BEFORE);
            reader.read_line(&mut line).map(|_| Some(line.into_bytes()))
        }
        Step::Until(byte) => {
            let mut part = BEFORE.as_bytes().to_vec();
            reader.read_until(byte, &mut part).map(|_| Some(part))
        }
        Step::Read(_) => reader.read(&mut buffer).map(|n| Some(buffer[..n].to_vec())),
        Step::Exact(_) => reader.read_exact(&mut buffer).map(|()| Some(buffer)),
        Step::Fill(size) => {
            let bytes = reader.fill_buf()?;
            let bytes = bytes[..size.min(bytes.len())].to_vec();
            reader.consume(bytes.len());
            Ok(Some(bytes))
        }
        Step::Anew | Step::Straight(_) => Ok(None),
    }
}

/// What the step must give, of which `got` says how much is there.
fn expected(model: &mut Model, step: &Step, got: &Given<ErrorKind>) -> Given<ErrorKind> {
    let is_over = model.rest.is_empty();
    let appended = |bytes: &[u8]| Some([BEFORE.as_bytes(), bytes].concat());
    match *step {
        Step::Line => model.line().and_then(|(line, _)| text(line)).map(|line| (!is_over).then(|| line.into_bytes())),
        Step::LineBytes => model.line().map(|(line, _)| (!is_over).then_some(line)),
        Step::ReadLine => model.line().and_then(|(_, line)| text(line)).map(|line| appended(line.as_bytes())),
        Step::Until(byte) => Ok(appended(&model.take(model.until(byte)))),
        Step::Exact(size) if model.rest.len() < size => Err(ErrorKind::UnexpectedEof),
        Step::Exact(size) => Ok(Some(model.take(size))),
        // Some of what is to come; nothing only at the end, or where there is no room.
        Step::Read(size) | Step::Fill(size) | Step::Straight(size) => {
            let there = got.as_ref().ok().and_then(Option::as_ref).map_or(0, Vec::len);
            Ok(Some(model.take(there.max(size.min(1)).min(model.rest.len()))))
        }
        Step::Anew => Ok(None),
    }
}

proptest! {
    #![proptest_config(inputs(100))]

    /// Ensures that every way to read a connection by way of a buffer, in any turns, gives its bytes in their order, each
    /// once, in whatever pieces they come, with ticks between the pieces, and whatever the limit of lines.
    #[test]
    fn every_way_to_read_gives_the_bytes_in_their_order(
        (sent, cuts) in sent(),
        limit in prop_oneof![0..40_usize, Just(64 * 1024)],
        steps in vec(step(), 0..60),
    ) {
        let (client, accepted) = pair();
        accepted.set_read_timeout(Duration::from_millis(1)).expect("it is open");
        thread::scope(|scope| {
            let (tick, ticks) = mpsc::channel();
            let sent = &sent;
            scope.spawn(move || {
                for piece in cut(sent, &cuts) {
                    // Each comes when the reader has waited for it in vain; at once, if that has failed or is done.
                    let _ = ticks.recv();
                    let _ = client.write_all(piece);
                }
                let _ = client.end();
            });
            let mut model = Model { rest: sent.iter().copied().collect(), limit };
            let mut reading = None;
            let to_the_end = iter::repeat_n(&Step::Read(65_536), sent.len() + 1);
            for step in steps.iter().chain(to_the_end) {
                let got = loop {
                    match take(&accepted, &mut reading, limit, step) {
                        Err(error) if Error::is_tick(&error) => {
                            let _ = tick.send(());
                        }
                        got => break got.map_err(|error| error.kind()),
                    }
                };
                let expected = expected(&mut model, step, &got);
                prop_assert_eq!(got, expected, "by {:?}, before {:?}", step, &model.rest);
            }
            prop_assert!(model.rest.is_empty(), "all of it was read");
            Ok(())
        })?;
    }

    /// Ensures that the lines of a connection are those of the whole of its bytes, in whatever pieces they come, and
    /// whatever the limit.
    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut((sent, cuts) in sent(), limit in 0..40_usize) {
        let mut model = Model { rest: sent.iter().copied().collect(), limit };
        let mut expected = Vec::new();
        while !model.rest.is_empty() {
            let line = model.line();
            let is_too_long = line.is_err();
            expected.push(line.and_then(|(line, _)| text(line)));
            if is_too_long {
                break;
            }
        }
        let (client, accepted) = pair();
        let lines: Vec<_> = thread::scope(|scope| {
            scope.spawn(|| {
                for piece in cut(&sent, &cuts) {
                    // A reader that has met a line that is too long may be gone.
                    let _ = client.write_all(piece);
                }
                let _ = client.end();
            });
            let lines = reader(&accepted, limit).lines().map(|line| line.map_err(|error| error.kind())).collect();
            accepted.destroy();
            lines
        });
        prop_assert_eq!(lines, expected, "of {:?}", sent);
    }
}
