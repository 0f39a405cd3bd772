//! Lines: where they end, how long they may be, and that nothing is lost between them.

use std::io::{BufRead, ErrorKind, Read};
use std::thread;
use std::time::Duration;

use landline::net::{Lines, Server, Socket};

use crate::support::fixtures::pair;
use crate::support::{each_ip, within};

/// The lines of what a peer sends before it ends.
fn lines_of(at: &str, sent: &[u8], max: Option<usize>) -> Vec<Result<String, ErrorKind>> {
    let (_server, client, accepted) = pair(at);
    client.write_end(sent).expect("it is connected");
    let lines = match max {
        Some(max) => accepted.lines_max(max),
        None => accepted.lines(),
    };
    lines.map(|line| line.map_err(|error| error.kind())).collect()
}

/// Ensures that a line ends with LF or CRLF, neither of which it contains, and that the last may end with the peer.
#[test]
fn a_line_ends_with_lf_or_crlf_or_the_end() {
    let cases: [(&[u8], &[&str]); 9] = [
        (b"", &[]),
        (b"\n", &[""]),
        (b"\r\n", &[""]),
        (b"\n\n", &["", ""]),
        (b"one\ntwo\r\nthree", &["one", "two", "three"]),
        (b"one\r\ntwo\r\n", &["one", "two"]),
        (b"a\rb\r\r\n", &["a\rb\r"]),
        ("grün\nあ\n".as_bytes(), &["grün", "あ"]),
        (b"\0\n", &["\0"]),
    ];
    within("the lines end", move || {
        each_ip(|at| {
            for (sent, expected) in cases {
                let expected: Vec<_> = expected.iter().map(|line| Ok(String::from(*line))).collect();
                assert_eq!(lines_of(at, sent, None), expected, "the lines of {sent:?}");
            }
        });
    });
}

/// Ensures that lines which arrive byte by byte are the same.
#[test]
fn lines_that_arrive_byte_by_byte_are_the_same() {
    within("the lines end", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let sending = thread::spawn(move || {
                "grün\r\nzwei\n\r\nlast".bytes().try_for_each(|byte| client.write_all([byte])).map(|()| client.end())
            });
            let lines: Result<Vec<_>, _> = accepted.lines().collect();
            assert_eq!(lines.expect("no error"), ["grün", "zwei", "", "last"], "whatever the pieces");
            sending.join().expect("no panic").expect("it was written").expect("it was ended");
        });
    });
}

/// Ensures that a line may be as long as the limit, which does not count its end, and that a longer one is `InvalidData`
/// and the last: also one that never ends, which is not waited for.
#[test]
fn a_line_longer_than_the_limit_is_invalid_and_the_last() {
    within("the lines end", || {
        each_ip(|at| {
            let (ok, long) = (|text: &str| Ok(String::from(text)), Err(ErrorKind::InvalidData));
            assert_eq!(lines_of(at, b"12345\n12345\r\n1234", Some(5)), [ok("12345"), ok("12345"), ok("1234")]);
            assert_eq!(lines_of(at, b"1\n123456\n2\n", Some(5)), [ok("1"), long.clone()], "nothing follows");
            assert_eq!(lines_of(at, b"123456", Some(5)), vec![long.clone()], "with the end of the peer as its end");
            assert_eq!(
                lines_of(at, b"12345\r", Some(5)),
                vec![long.clone()],
                "a CR that no LF follows is part of the line"
            );
            assert_eq!(lines_of(at, b"1234\r", Some(5)), [ok("1234\r")], "and is counted");
            assert_eq!(lines_of(at, b"\n\r\nx\n", Some(0)), [ok(""), ok(""), long.clone()], "a limit of 0");

            let most = 64 * 1024;
            let (fits, over) = ("x".repeat(most), "x".repeat(most + 1));
            assert_eq!(lines_of(at, format!("{fits}\r\n{over}\n").as_bytes(), None), [Ok(fits), long], "64 KiB");

            let (_server, client, accepted) = pair(at);
            client.write_all("123456").expect("it is connected");
            let mut lines = accepted.lines_max(5);
            let error = lines.next().expect("there is a line").expect_err("it is too long already");
            assert_eq!(error.to_string(), "a line is longer than 5 bytes", "the limit is named");
            assert!(lines.next().is_none(), "there is nothing to go on with");
        });
    });
}

/// Ensures that a line which is not UTF-8 is `InvalidData`, and that the next one follows.
#[test]
fn a_line_that_is_not_utf_8_is_invalid_and_the_next_follows() {
    within("the lines end", || {
        each_ip(|at| {
            let lines = lines_of(at, b"one\n\xff\xfe\nthree\n", None);
            assert_eq!(lines, [Ok("one".into()), Err(ErrorKind::InvalidData), Ok("three".into())], "one bad line");
        });
    });
}

const IMPATIENT: Duration = Duration::from_millis(20);

/// A connection of which reads time out.
fn impatient() -> (Server, Socket, Socket) {
    let (server, client, accepted) = pair("127.0.0.1:0");
    client.set_timeout(IMPATIENT);
    (server, client, accepted)
}

/// Ensures that a step that timed out has lost nothing: the next one goes on where it stopped, in the middle of a line and
/// of a character.
#[test]
fn a_step_that_timed_out_loses_nothing() {
    within("the lines end", || {
        let (_server, socket, peer) = impatient();
        let mut lines = socket.lines();
        let parts: [&[u8]; 5] = [b"", b"gr\xc3", b"\xbcn\r", b"\nzw", b"ei"];
        let timed_out = |lines: &mut Lines| {
            let error = lines.next().expect("a timeout is no end").expect_err("there is no whole line");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "on every system: {error}");
        };
        for part in &parts[..3] {
            peer.write_all(part).expect("it is connected");
            timed_out(&mut lines);
            timed_out(&mut lines);
        }
        // What completes a line may take longer to arrive.
        socket.set_timeout(None);
        peer.write_all(parts[3]).expect("it is connected");
        assert_eq!(lines.next().expect("a line").expect("it is whole"), "grün", "nothing was lost");
        socket.set_timeout(IMPATIENT);
        timed_out(&mut lines);
        socket.set_timeout(None);
        peer.write_end(parts[4]).expect("it is connected");
        assert_eq!(lines.next().expect("a line").expect("the end ends it"), "zwei", "and nothing given twice");
        assert!(lines.next().is_none(), "the end");
        assert!(lines.next().is_none(), "stays the end");
    });
}

/// Ensures that every read that times out is `TimedOut`, and that the bytes come with the next one.
#[test]
fn a_read_that_timed_out_loses_nothing() {
    within("the reads return", || {
        let (_server, socket, peer) = impatient();
        let mut buf = [0; 4];
        assert_eq!(socket.read(&mut buf).expect_err("nothing came").kind(), ErrorKind::TimedOut, "read");
        assert_eq!(socket.peek(&mut buf).expect_err("nothing came").kind(), ErrorKind::TimedOut, "peek");
        assert_eq!(socket.read_exact(&mut buf).expect_err("nothing came").kind(), ErrorKind::TimedOut, "read_exact");
        assert_eq!(socket.ready_state().to_string(), "open", "nothing is closed by that");
        peer.write_all("abcd").expect("it is connected");
        let got = loop {
            match socket.read(&mut buf) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                got => break got.expect("no error"),
            }
        };
        assert_eq!(&buf[..got], b"abcd", "the bytes come");
    });
}

/// Ensures that what was received beyond a line is read on from the lines, as from any buffered reader.
#[test]
fn lines_are_a_buffered_reader_of_what_follows() {
    within("everything is read", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.write_end("length 5\r\nhello\nrest: 1\nmore").expect("it is connected");
            let mut lines = accepted.lines();
            assert_eq!(lines.next().expect("a line").expect("it is whole"), "length 5", "a head");
            let mut body = [0; 5];
            lines.read_exact(&mut body).expect("the body is there");
            assert_eq!(&body, b"hello", "a body of bytes");
            let mut line = String::new();
            assert_eq!(lines.read_line(&mut line).expect("no error"), 1, "the end of that line");
            assert_eq!(lines.next().expect("a line").expect("it is whole"), "rest: 1", "lines again");
            assert_eq!(lines.fill_buf().expect("no error"), b"more", "the buffer can be looked at");
            lines.consume(2);
            assert_eq!(lines.next().expect("a line").expect("it is whole"), "re", "and consumed in part");
            assert!(lines.next().is_none(), "the end");
            assert_eq!(lines.fill_buf().expect("no error"), b"", "for every way to read");
        });
    });
}

/// Ensures that many lines in one piece are all given, each once.
#[test]
fn many_lines_in_one_piece_are_all_given() {
    within("the lines end", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let text: String = (0..20_000).map(|n| format!("{n}\n")).collect();
        let sending = thread::spawn(move || client.write_end(text));
        let numbers = accepted.lines().map(|line| line.expect("no error").parse::<usize>().expect("a number"));
        assert!(numbers.eq(0..20_000), "every line, once, in order");
        sending.join().expect("no panic").expect("it was written whole");
    });
}
