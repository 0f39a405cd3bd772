//! Buffered: where lines end and how long they may be, that nothing is lost between reads, when what is written leaves,
//! and how a failed flush is told.

use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use landline::net::{Buffered, Server, ServerOptions, Socket};
use landline::{Error, Report};

use crate::support::fixtures::{noise, pair};
use crate::support::{Whole, each_ip, within};

fn buffered(socket: &Socket) -> Buffered {
    socket.buffered().expect("it is the only one")
}

/// The lines of what a peer sends before it ends.
fn lines_of(at: &str, sent: &[u8], max: Option<usize>) -> Vec<Result<String, ErrorKind>> {
    let (_server, client, accepted) = pair(at);
    client.write_end(sent).expect("it is connected");
    let mut buffered = buffered(&accepted);
    if let Some(max) = max {
        buffered.set_line_limit(max);
    }
    buffered.lines().map(|line| line.map_err(|error| error.kind())).collect()
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
            let lines: Result<Vec<_>, _> = buffered(&accepted).lines().collect();
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
            let mut lines = buffered(&accepted);
            lines.set_line_limit(5);
            let mut lines = lines.lines();
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
        let mut lines = buffered(&socket).lines();
        let parts: [&[u8]; 5] = [b"", b"gr\xc3", b"\xbcn\r", b"\nzw", b"ei"];
        let timed_out = |lines: &mut dyn Iterator<Item = io::Result<String>>| {
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
            let mut lines = buffered(&accepted);
            assert_eq!(lines.next_line().expect("no error").as_deref(), Some("length 5"), "a head");
            let mut body = [0; 5];
            lines.read_exact(&mut body).expect("the body is there");
            assert_eq!(&body, b"hello", "a body of bytes");
            let mut line = String::new();
            assert_eq!(lines.read_line(&mut line).expect("no error"), 1, "the end of that line");
            assert_eq!(lines.next_line().expect("no error").as_deref(), Some("rest: 1"), "lines again");
            assert_eq!(lines.fill_buf().expect("no error"), b"more", "the buffer can be looked at");
            lines.consume(2);
            assert_eq!(lines.next_line_bytes().expect("no error"), Some(&b"re"[..]), "and consumed in part");
            assert_eq!(lines.next_line().expect("no error"), None, "the end");
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
        let numbers =
            buffered(&accepted).lines().map(|line| line.expect("no error").parse::<usize>().expect("a number"));
        assert!(numbers.eq(0..20_000), "every line, once, in order");
        sending.join().expect("no panic").expect("it was written whole");
    });
}

/// Ensures that what is written is kept until the read buffer must be filled again, and leaves by itself then, and that
/// pipelined requests are answered together.
#[test]
fn what_is_written_leaves_before_a_read_waits() {
    within("the answers come", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let mut served = buffered(&accepted);
            client.write_all("one\ntwo\n").expect("it is connected");
            for request in ["one", "two"] {
                assert_eq!(served.next_line().expect("no error").as_deref(), Some(request), "requests come in order");
                writeln!(served, "{request}!").expect("it is kept");
                assert_eq!(accepted.bytes_written(), 0, "nothing leaves while a request is there");
            }
            let serving = thread::spawn(move || {
                let more = served.next_line();
                (more, served)
            });
            let mut answers = [0; 10];
            client.read_exact(&mut answers).expect("the answers come without a flush");
            assert_eq!(&answers, b"one!\ntwo!\n", "together");
            client.end().expect("it is connected");
            let (more, _served) = serving.join().expect("no panic");
            assert_eq!(more.expect("no error"), None, "the end");
        });
    });
}

/// Ensures that a Buffered that is full writes what it keeps and the rest as one, in order, with several buffers too, and
/// that dropping it flushes.
#[test]
fn everything_that_is_written_arrives_in_order() {
    within("everything arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let reading = thread::spawn(move || client.read_all());
            let mut writer = buffered(&accepted);
            let mut sent = Vec::new();
            for n in 0..200_usize {
                let piece = vec![n as u8; n * 97 % 5000];
                match n % 3 {
                    0 => writer.write_all(&piece).expect("the peer reads"),
                    1 => write!(writer, "{}", "x".repeat(piece.len())).expect("the peer reads"),
                    _ => {
                        let (mut rest, half) = (&piece[..], piece.len() / 2);
                        while !rest.is_empty() {
                            let (a, b) = rest.split_at(half.min(rest.len()));
                            let n = writer.write_vectored(&[IoSlice::new(a), IoSlice::new(b)]).expect("the peer reads");
                            rest = &rest[n..];
                        }
                    }
                }
                sent.extend(if n % 3 == 1 { vec![b'x'; piece.len()] } else { piece });
            }
            drop(writer);
            accepted.end().expect("it is connected");
            let came = reading.join().expect("no panic").expect("no reset");
            assert!(came == sent, "{} of {} bytes, in order", came.len(), sent.len());
        });
    });
}

/// Ensures that `read_exact`, `read_until`, `read_line` and std's own lines lose nothing at a tick, whatever buffer the
/// next call is given.
#[test]
fn no_way_to_read_loses_anything_at_a_tick() {
    type Way = fn(&mut Buffered) -> io::Result<String>;
    let ways: [(&str, Way); 4] = [
        ("read_exact", |socket| {
            let mut buf = [0; 6];
            socket.read_exact(&mut buf)?;
            Ok(String::from_utf8_lossy(&buf).into_owned())
        }),
        ("read_until", |socket| {
            let mut line = Vec::new();
            socket.read_until(b'\n', &mut line)?;
            Ok(String::from_utf8_lossy(&line).into_owned())
        }),
        ("read_line", |socket| {
            let mut line = String::new();
            socket.read_line(&mut line)?;
            Ok(line)
        }),
        ("std's lines", |socket| Ok(BufRead::lines(socket).next().expect("no end")? + "\n")),
    ];
    within("it is read", move || {
        for (name, way) in ways {
            let (_server, socket, peer) = impatient();
            let mut reader = buffered(&socket);
            for piece in ["gr\u{fc}".as_bytes(), b"n"] {
                // A byte a time, so that a character is cut.
                for byte in piece {
                    peer.write_all([*byte]).expect("it is connected");
                    let error = way(&mut reader).expect_err("it is not whole");
                    assert!(Error::is_tick(&error), "{name}: {error}");
                }
            }
            socket.set_timeout(None);
            peer.write_all("\n").expect("it is connected");
            assert_eq!(way(&mut reader).expect("it is whole"), "gr\u{fc}n\n", "{name} has lost nothing");
        }
    });
}

/// Ensures that large messages of a known length are read whole too, and that nothing of one that is cut by the end or by
/// a tick is lost.
#[test]
fn a_large_message_is_read_whole_or_put_back() {
    const SIZE: usize = 100_000;
    within("it is read", || {
        let (_server, socket, peer) = impatient();
        let mut reader = buffered(&socket);
        peer.write_all(vec![b'a'; SIZE / 2]).expect("it is connected");
        let mut buf = vec![0; SIZE];
        let error = reader.read_exact(&mut buf).expect_err("half of it is missing");
        assert!(Error::is_tick(&error), "{error}");
        socket.set_timeout(None);
        peer.write_end(vec![b'b'; SIZE]).expect("it is connected");
        reader.read_exact(&mut buf).expect("it is whole");
        assert!(buf[..SIZE / 2].iter().all(|byte| *byte == b'a'), "the first half first");
        assert!(buf[SIZE / 2..].iter().all(|byte| *byte == b'b'), "then the second");
        let error = reader.read_exact(&mut buf).expect_err("the rest is shorter");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "the end comes before");
        let mut rest = Vec::new();
        assert_eq!(reader.read_to_end(&mut rest).expect("no error"), SIZE / 2, "what is there is kept");
    });
}

/// Ensures that a connection has one Buffered at a time, and that what one has received and not given is the first that
/// the next one gives, or any other read, or `pipe`.
#[test]
fn what_was_received_stays_with_the_connection() {
    within("it is read", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.write_all("CONNECT\nrest").expect("it is connected");
            let mut head = buffered(&accepted);
            assert_eq!(head.next_line().expect("no error").as_deref(), Some("CONNECT"), "the head");
            assert_eq!(head.buffer(), b"rest", "came with it");
            let error = accepted.buffered().expect_err("there is one");
            assert_eq!(error.kind(), ErrorKind::ResourceBusy, "two would each have a part: {error}");
            assert_eq!(head.available().expect("no error"), Some(4), "what is held counts");
            drop(head);
            assert_eq!(accepted.available().expect("no error"), Some(4), "also afterwards");
            let mut next = buffered(&accepted);
            let mut byte = [0; 1];
            next.read_exact(&mut byte).expect("it is there");
            let socket = next.into_inner().expect("nothing is kept to be written");
            let mut peeked = [0; 9];
            assert_eq!(socket.peek(&mut peeked).expect("no error"), 3, "the rest can be looked at");
            let (_other_server, to, reads) = pair(at);
            client.write_end(" and more").expect("it is connected");
            socket.pipe(&to).expect("both are connected");
            assert_eq!(reads.read_text().expect("no reset"), "est and more", "a pipe begins with it");
        });
    });
}

/// Ensures that a client that has sent two requests and gone away has its second one read, and that the failed flush
/// between is told by the next write.
#[test]
fn a_failed_flush_is_told_by_the_next_write() {
    within("it is read", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.write_all("one\ntwo\nthree").expect("it is connected");
            let mut served = buffered(&accepted);
            assert_eq!(served.next_line().expect("no error").as_deref(), Some("one"), "the first");
            // Its answers cannot be written any more.
            writeln!(served, "1").expect("it is kept");
            accepted.end().expect("it is connected");
            client.write_end("\n").expect("it is connected");
            assert_eq!(served.next_line().expect("no error").as_deref(), Some("two"), "the second");
            assert_eq!(
                served.next_line().expect("reading goes on").as_deref(),
                Some("three"),
                "although a flush has failed"
            );
            let error = served.write_all(b"3").expect_err("the failure is told");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "as what it was: {error}");
        });
    });
}

/// Ensures that a failed flush is told at the end of reading, if nothing is written or flushed before, and once.
#[test]
fn a_failed_flush_is_told_at_the_end() {
    within("it is read", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let mut served = buffered(&accepted);
            served.write_all(b"answer").expect("it is kept");
            accepted.end().expect("it is connected");
            client.write_end("one\n").expect("it is connected");
            assert_eq!(served.next_line().expect("reading goes on").as_deref(), Some("one"), "what came is read");
            let error = served.next_line().expect_err("the failure is told in place of the end");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "as what it was: {error}");
            assert_eq!(served.next_line().expect("it was told"), None, "then comes the end");
        });
    });
}

/// Ensures that a write timeout in a flush before a read is told by that read, and keeps the rest.
#[test]
fn a_tick_in_a_flush_keeps_the_rest() {
    within("everything arrives", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let mut served = buffered(&accepted);
        // Not a bound: the timer that is tested.
        accepted.set_write_timeout(IMPATIENT).expect("it is open");
        // Not a bound: the timer that is tested.
        accepted.set_read_timeout(IMPATIENT).expect("it is open");
        let mut sent = Vec::new();
        loop {
            let error = loop {
                // Less than a buffer each, so that each is taken whole or not at all.
                let piece = [sent.len() as u8; 5000];
                match served.write(&piece) {
                    Ok(n) => sent.extend(&piece[..n]),
                    Err(error) => break error,
                }
            };
            assert!(Error::is_tick(&error), "the client reads nothing: {error}");
            let error = served.next_line().expect_err("no line comes");
            assert!(Error::is_tick(&error), "a tick of the flush, or of the read: {error}");
            // The system may have made room for the rest, and the read was reached.
            if error.to_string().starts_with("write timed out") {
                break;
            }
        }
        accepted.set_write_timeout(None).expect("it is open");
        let reading = thread::spawn(move || client.read_all());
        served.end().expect("the client reads");
        let came = reading.join().expect("no panic").expect("no reset");
        assert!(came == sent, "{} of {} bytes", came.len(), sent.len());
    });
}

/// Ensures that what a dropped Buffered cannot write is reported, and that nothing is written while the thread panics.
#[test]
fn dropping_reports_a_failure_and_is_silent_in_a_panic() {
    within("it is reported", || {
        each_ip(|at| {
            let (reports, reported) = mpsc::channel();
            let options = ServerOptions::new().report(move |report| {
                if let Report::Failed { connection: Some(_), error, .. } = report {
                    let _ = reports.send(error.to_string());
                }
            });
            let server = options.listen(at).expect("port 0 can be listened on");
            let client = Socket::connect(server.address()).expect("it listens");
            let accepted = server.accept().expect("no error").expect("it is open");
            let mut served = buffered(&accepted);
            served.write_all(b"never").expect("it is kept");
            accepted.end().expect("it is connected");
            drop(served);
            assert_eq!(reported.try_iter().count(), 1, "what could not be written is reported");
            assert_eq!(server.connections(), 1, "and the connection stays open");

            let socket = client.clone();
            let panicked = thread::spawn(move || {
                let mut writer = buffered(&socket);
                writer.write_all(b"half").expect("it is kept");
                panic!("as asked");
            });
            panicked.join().expect_err("it panicked");
            client.write_end("whole").expect("it is connected");
            assert_eq!(accepted.read_text().expect("no reset"), "whole", "half an answer is none");
        });
    });
}

/// Ensures that a vectored write writes everything, behind kept data too, and of more buffers than one system call takes.
#[test]
fn a_vectored_write_writes_everything() {
    within("everything arrives", || {
        each_ip(|at| {
            for kept in [&b""[..], b"kept"] {
                for count in [63, 64, 100, 3000] {
                    let (_server, client, accepted) = pair(at);
                    let reading = thread::spawn(move || accepted.read_all());
                    let bytes = noise(200 * count, 5);
                    let buffers: Vec<_> = bytes.chunks(200).flat_map(|piece| [piece, &[]]).map(IoSlice::new).collect();
                    let mut writer = buffered(&client);
                    writer.write_all(kept).expect("it is kept");
                    let n = writer.write_vectored(&buffers).expect("the peer reads");
                    assert_eq!(n, bytes.len(), "all of {count} buffers is written, behind {} bytes", kept.len());
                    writer.end().expect("it is connected");
                    let all = reading.join().expect("no panic").expect("no reset");
                    assert!(all == [kept, &bytes].concat(), "{count} buffers arrive in order");
                }
            }
        });
    });
}

/// Ensures that a line without an end costs not much more memory than the limit, and that a vectored write finds its bytes
/// behind any number of empty buffers.
#[test]
fn buffers_are_bounded_and_empty_ones_are_passed_over() {
    within("it is refused", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let sending = thread::spawn(move || client.write_all(vec![b'x'; 1 << 20]));
        let mut reader = buffered(&accepted);
        let error = reader.next_line().expect_err("it is too long");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert!(reader.buffer().len() <= 65_536 + 2, "what is taken in: {}", reader.buffer().len());
        accepted.destroy();
        drop(reader);
        let _ = sending.join();

        let (_server, client, accepted) = pair("127.0.0.1:0");
        let (empty, large) = (IoSlice::new(&[]), vec![b'y'; 20_000]);
        let mut many = vec![empty; 3000];
        many.push(IoSlice::new(&large));
        let reading = thread::spawn(move || accepted.read_all());
        assert_eq!((&client).write_vectored(&many).expect("the peer reads"), large.len(), "by the socket");
        let mut writer = buffered(&client);
        assert_eq!(writer.write_vectored(&many).expect("the peer reads"), large.len(), "by a Buffered");
        writer.end().expect("it is connected");
        assert_eq!(reading.join().expect("no panic").expect("no reset").len(), 2 * large.len(), "it all arrives");
    });
}
