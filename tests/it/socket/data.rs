//! Bytes: that they arrive, all of them and unchanged, and that both sides count them alike.

use std::io::{self, IoSliceMut, Read};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::RefusedBy;
use landline::net::{ReadyState, ServerOptions, Socket, SocketEvent, relay};

use crate::support::Whole;
use crate::support::fixtures::{Served, accept, noise, pair};
use crate::support::{HANG, each_ip, eventually, numbered, until_asleep, within};

fn echo(at: &str) -> Served {
    Served::start(at, &ServerOptions::new(), |socket| socket.pipe(socket))
}

/// Ensures that all 256 byte values come back from an echo unchanged and in order (net-binary.js).
#[test]
fn all_256_byte_values_survive_an_echo() {
    within("the echo ends", || {
        each_ip(|at| {
            let served = echo(at);
            let all: Vec<u8> = (0..=255).collect();
            let client = served.connect();
            for byte in &all {
                client.write_all([*byte]).expect("it is connected");
                let mut back = [!byte];
                client.read_exact(&mut back).expect("the echo arrives");
                assert_eq!(back, [*byte], "one at a time");
            }
            client.write_end(&all).expect("it is connected");
            assert_eq!(client.read_all().expect("no reset"), all, "and all at once");
            served.stop();
        });
    });
}

/// Ensures that 64 MiB of noise come back from an echo unchanged, and that both sides count them alike, while the
/// connection is open and after it is closed.
#[test]
fn noise_of_64_mib_survives_an_echo_and_is_counted() {
    // Again and again the same, of a length that no buffer has: making 64 MiB takes longer than sending them.
    const PIECE: usize = (1 << 20) + 7;
    const SIZE: usize = 64 * PIECE;
    let (tell, told) = mpsc::channel();
    let served = Served::start("127.0.0.1:0", &ServerOptions::new(), move |socket| {
        socket.pipe(socket)?;
        tell.send(socket.clone()).map_err(io::Error::other)
    });
    let client = served.connect();
    let began = Instant::now();
    within("the echo ends", move || {
        let sent = noise(PIECE, 42);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                (0..64).try_for_each(|_| client.write_all(&sent))?;
                client.end()
            });
            let (mut back, mut buf) = (0, vec![0; 256 * 1024]);
            loop {
                let n = client.read(&mut buf).expect("no reset");
                if n == 0 {
                    break;
                }
                let mut came = &buf[..n];
                while !came.is_empty() {
                    let expected = &sent[back % PIECE..];
                    let (part, rest) = came.split_at(came.len().min(expected.len()));
                    assert!(expected.starts_with(part), "the bytes from {back} on come back unchanged");
                    back += part.len();
                    came = rest;
                }
            }
            assert_eq!(back, SIZE, "all of them come back");
            writing.join().expect("no panic").expect("it was written whole");
        });
        let theirs = told.recv_timeout(HANG).expect("the handler returns");
        let size = SIZE as u64;
        eventually("the server's side closes", || theirs.with_raw(|_| ()).is_err());
        client.destroy();
        for socket in [&client, &theirs] {
            let counted = (socket.bytes_read(), socket.bytes_written());
            assert_eq!(counted, (size, size), "both sides count alike, after the close too");
        }
    });
    println!("measured: 64 MiB echoed in {:?}", began.elapsed());
    served.stop();
}

/// Ensures that 40,960 characters of three bytes arrive whole, though pieces split them (net-large-string.js).
#[test]
fn characters_of_three_bytes_survive_being_split() {
    within("the text arrives", || {
        each_ip(|at| {
            let text = "あ".repeat(40_960);
            let served = echo(at);
            let client = served.connect();
            client.write_end(&text).expect("it is connected");
            assert_eq!(client.read_text().expect("no reset"), text, "as a whole");
            served.stop();

            let (_server, client, accepted) = pair(at);
            let sent = text.clone();
            let writing = thread::spawn(move || {
                // Pieces of a prime length: most characters are split.
                sent.as_bytes().chunks(1009).try_for_each(|piece| client.write_all(piece))?;
                client.write_end("\n")
            });
            let mut buffered = accepted.buffered().expect("it is the first");
            buffered.set_line_limit(text.len());
            let line = buffered.lines().next().expect("there is a line").expect("it is UTF-8");
            assert_eq!(line, text, "as a line");
            writing.join().expect("no panic").expect("it was written whole");
        });
    });
}

/// Ensures that `bytes_read` grows with each piece of a mebibyte, is that at the end, and stays so after the close
/// (net-bytes-read.js).
#[test]
fn bytes_read_grows_with_each_piece_and_stays() {
    const SIZE: u64 = 1 << 20;
    within("all of it arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let writing = thread::spawn(move || accepted.write_end(vec![b'x'; SIZE as usize]));
            let mut last = 0;
            let result = client.each(|socket, event| {
                match event {
                    SocketEvent::Data(bytes) => {
                        assert_eq!(socket.bytes_read(), last + bytes.len() as u64, "it grows with each piece");
                        last = socket.bytes_read();
                    }
                    _ => assert_eq!(socket.bytes_read(), SIZE, "it is the whole in the end and in the close"),
                }
                Ok(())
            });
            result.expect("no reset");
            assert_eq!(client.bytes_read(), SIZE, "it stays after the close");
            writing.join().expect("no panic").expect("it was written whole");
        });
    });
}

/// Ensures that counters begin anew with each connection (net-bytes-stats.js).
///
/// Here a second connection is a second value.
#[test]
fn counters_begin_anew_with_each_connection() {
    within("both connections end", || {
        each_ip(|at| {
            let served = echo(at);
            let (mut read, mut written) = (0, 0);
            for _ in 0..2 {
                let client = served.connect();
                assert_eq!((client.bytes_read(), client.bytes_written()), (0, 0), "nothing is counted yet");
                client.write_end("hello\n").expect("it is connected");
                client.read_all().expect("no reset");
                assert_eq!((client.bytes_read(), client.bytes_written()), (6, 6), "the bytes of this one");
                read += client.bytes_read();
                written += client.bytes_written();
            }
            assert_eq!((read, written), (12, 12), "twelve in all");
            served.stop();
        });
    });
}

/// Ensures that writing several buffers counts their bytes (net-socket-byteswritten.js).
#[test]
fn a_vectored_write_counts_bytes() {
    within("the text arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.write_slices(&[b"one", "twø".as_bytes()]).expect("it is connected");
            assert_eq!(client.bytes_written(), 3 + 4, "bytes, not characters");
            client.write_end("three").expect("it is connected");
            assert_eq!(accepted.read_text().expect("no reset"), "onetwøthree", "in order");
            client.destroy();
            assert_eq!((client.bytes_written(), accepted.bytes_read()), (12, 12), "both sides count alike, also after");
        });
    });
}

/// Ensures that a vectored read finds the first buffer with room, behind more empty ones than one system call takes.
#[test]
fn a_vectored_read_passes_over_empty_buffers() {
    within("the text arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            for empty in [1024, 3000] {
                client.write_all("four").expect("it is connected");
                let mut text = [0; 4];
                let mut buffers: Vec<_> = (0..empty).map(|_| IoSliceMut::new(&mut [])).collect();
                buffers.push(IoSliceMut::new(&mut text));
                let n = (&accepted).read_vectored(&mut buffers).expect("no reset");
                assert_eq!((n, &text), (4, b"four"), "what has arrived is read behind {empty} empty buffers");
                assert_eq!(accepted.ready_state(), ReadyState::Open, "and is not taken for the end of the stream");
            }
        });
    });
}

/// Ensures that `bytes_written` counts bytes and not characters, and that a write and a write with the end arrive as one
/// text (net-connect-buffer.js, net-connect-buffer2.js).
///
/// `pending` has no counterpart: a socket is connected from the beginning.
#[test]
fn bytes_written_counts_bytes_of_utf_8() {
    within("the text arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let (first, second) = ("L'État, c'est ", "moi");
            client.write_all(first).expect("it is connected");
            assert_eq!(client.bytes_written(), 15, "14 characters are 15 bytes");
            client.write_end(second).expect("it is connected");
            assert_eq!(client.bytes_written(), 18, "and 3 more");
            assert_eq!(accepted.read_text().expect("no reset"), "L'État, c'est moi", "one exact text");
            assert_eq!(client.bytes_read(), 0, "nothing came back");
        });
    });
}

/// Ensures that what is written to a reader that takes its time all arrives (net-write-slow.js).
#[test]
fn a_slow_reader_gets_everything() {
    const PIECES: usize = 10;
    const PIECE: usize = 200_000;
    within("all of it arrives", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let writing = thread::spawn(move || {
                for _ in 0..PIECES {
                    client.write_all(vec![b's'; PIECE])?;
                }
                client.end()
            });
            let (mut total, mut buf) = (0, vec![0; 64 * 1024]);
            loop {
                let n = accepted.read(&mut buf).expect("no reset");
                if n == 0 {
                    break;
                }
                total += n;
                // Not a bound: what makes it slow.
                thread::park_timeout(Duration::from_millis(5));
            }
            assert_eq!(total, PIECES * PIECE, "all of it arrives");
            writing.join().expect("no panic").expect("no write failed meanwhile");
        });
    });
}

/// Ensures that a writer waits for its reader: what the peer does not take is not taken from the writer either.
#[test]
fn a_writer_waits_for_its_reader() {
    const SIZE: usize = 64 << 20;
    within("all of it arrives", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let writer = client.clone();
        let (writing, id) = numbered(move || writer.write_end(vec![b'x'; SIZE]));
        accepted.peek(&mut [0; 1]).expect("the write is under way");
        until_asleep(id.as_slice());
        assert!(!writing.is_finished(), "64 MiB fit into no buffer, so the writer waits");
        assert!(client.bytes_written() < SIZE as u64, "and what waits is not taken");
        let read = accepted.read_all().expect("no reset");
        assert_eq!(read.len(), SIZE, "all of it arrives");
        writing.join().expect("no panic").expect("it was written whole");
        assert_eq!(client.bytes_written(), SIZE as u64, "it is counted when it was taken");
    });
}

/// Ensures that fifty clients at a time with three connections each get all their bytes, without an error, over 150
/// connections (pummel/net-many-clients.js).
#[test]
fn many_clients_get_all_their_bytes() {
    const SIZE: usize = 40_960;
    within("all clients are served", || {
        let served = Served::start("127.0.0.1:0", &ServerOptions::new(), |socket| socket.write_end(vec![b'C'; SIZE]));
        thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let client = served.connect();
                        let mut total = 0;
                        let result = client.each(|_, event| {
                            match event {
                                SocketEvent::Data(bytes) => {
                                    assert!(bytes.iter().all(|byte| *byte == b'C'), "the bytes are the server's");
                                    total += bytes.len();
                                }
                                SocketEvent::Close { had_error } => assert!(!had_error, "no error"),
                                _ => {}
                            }
                            Ok(())
                        });
                        result.expect("no error");
                        assert_eq!(total, SIZE, "every client gets all bytes");
                    }
                });
            }
        });
        eventually("every connection ends", || served.server.connections() == 0);
        let stats = served.server.stats();
        assert_eq!((stats.accepted, stats.ended), (150, 150), "150 connections came and ended in order");
        assert_eq!(
            (stats.failed, stats.panicked, stats.refused(RefusedBy::Full)),
            (0, 0, 0),
            "and nothing else happened"
        );
        served.stop();
    });
}

/// Ensures that `peek` leaves what it shows, counts nothing, and that `read` and `read_exact` then give it.
#[test]
fn peek_leaves_what_it_shows() {
    within("every read returns", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            client.write_all("abcdef").expect("it is connected");
            let mut buf = [0; 6];
            for _ in 0..2 {
                assert_eq!(accepted.peek(&mut buf[..3]).expect("there is something"), 3, "as much as is asked for");
                assert_eq!(&buf[..3], b"abc", "it is there each time");
            }
            assert_eq!(accepted.bytes_read(), 0, "nothing was read");
            assert_eq!(accepted.peek(&mut []).expect("an empty look is no end"), 0, "nothing is asked for");
            assert_eq!(accepted.read(&mut []).expect("an empty read is no end"), 0, "nothing is asked for");
            assert_eq!(accepted.ready_state().to_string(), "open", "so it is no end");
            accepted.read_exact(&mut buf).expect("it is there");
            assert_eq!((&buf, accepted.bytes_read()), (b"abcdef", 6), "what was shown is read");
            client.end().expect("it is connected");
            assert_eq!(accepted.peek(&mut buf).expect("no reset"), 0, "the end can be looked at");
            assert_eq!(accepted.ready_state().to_string(), "writeOnly", "it is known, and can be read still");
            assert_eq!(accepted.read(&mut buf).expect("no reset"), 0, "then it is read");
            assert_eq!(accepted.ready_state().to_string(), "writeOnly", "and known");
        });
    });
}

/// Ensures that `read_exact` waits for the last byte, and that an end before it is `UnexpectedEof`.
#[test]
fn read_exact_waits_for_the_last_byte() {
    within("every read returns", || {
        each_ip(|at| {
            let (_server, client, accepted) = pair(at);
            let reader = accepted.clone();
            let reading = thread::spawn(move || {
                let mut buf = [0; 6];
                reader.read_exact(&mut buf).map(|()| buf)
            });
            client.write_all("abc").expect("it is connected");
            eventually("the first half is taken", || accepted.bytes_read() == 3);
            assert!(!reading.is_finished(), "half is not enough");
            client.write_end("def-").expect("it is connected");
            assert_eq!(&reading.join().expect("no panic").expect("all came"), b"abcdef", "both halves");
            let error = accepted.read_exact(&mut [0; 2]).expect_err("one byte is left before the end");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "as std has it");
        });
    });
}

/// Ensures that `read_to_string` says so when the bytes are not UTF-8.
#[test]
fn text_that_is_not_utf_8_is_invalid_data() {
    within("the read returns", || {
        let (_server, client, accepted) = pair("127.0.0.1:0");
        client.write_end([0xff, 0xfe]).expect("it is connected");
        let error = accepted.read_text().expect_err("these bytes are no text");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "as std has it");
    });
}

/// Ensures that a socket reads and writes by the traits of std, owned and by reference.
#[test]
fn a_socket_is_a_reader_and_a_writer_of_stds() {
    within("the copy ends", || {
        each_ip(|at| {
            let (_server, client, mut accepted) = pair(at);
            let copied = io::copy(&mut &b"hello "[..], &mut &client).expect("it is connected");
            assert_eq!(copied, 6, "written by reference");
            let mut owned = client.clone();
            io::Write::write_all(&mut owned, b"world").expect("written by value");
            io::Write::flush(&mut owned).expect("there is nothing held back");
            client.end().expect("it is connected");
            let (mut by_reference, mut by_value) = (String::new(), String::new());
            (&accepted).take(6).read_to_string(&mut by_reference).expect("read by reference");
            Read::read_to_string(&mut accepted, &mut by_value).expect("read by value");
            assert_eq!((by_reference.as_str(), by_value.as_str()), ("hello ", "world"), "all of it arrives");
        });
    });
}

/// Ensures that `pipe` carries everything to another socket and passes the end on, and nothing back.
#[test]
fn pipe_carries_everything_and_passes_the_end_on() {
    const SIZE: usize = 2_000_000;
    within("the pipe ends", || {
        each_ip(|at| {
            let (_server, from, middle_in) = pair(at);
            let (_server, middle_out, to) = pair(at);
            let sent = noise(SIZE, 7);
            let expected = sent.clone();
            let writing = thread::spawn(move || from.write_end(&sent).map(|()| from));
            let (pipe_in, pipe_out) = (middle_in.clone(), middle_out.clone());
            let piping = thread::spawn(move || pipe_in.pipe(&pipe_out));
            assert!(to.read_all().expect("no reset") == expected, "everything arrives unchanged, then the end");
            piping.join().expect("no panic").expect("no error");
            let from = writing.join().expect("no panic").expect("it was written whole");
            assert_eq!((middle_in.bytes_read(), middle_out.bytes_written()), (SIZE as u64, SIZE as u64), "counted");
            middle_in.write_end("back").expect("the other direction is open");
            assert_eq!(from.read_text().expect("no reset"), "back", "nothing was closed");
        });
    });
}

/// Ensures that `relay` carries both directions at once, passes each end on as it comes, and that
/// the sockets count what it carried.
#[test]
fn relay_carries_both_directions() {
    const SIZE: usize = 1_000_000;
    within("the relay ends", || {
        each_ip(|at| {
            let (_server, one, a) = pair(at);
            let (_server, b, two) = pair(at);
            let (left, right) = (a.clone(), b.clone());
            let relaying = thread::spawn(move || relay(&left, &right));
            let (to, back) = (noise(SIZE, 1), noise(SIZE / 2, 2));
            thread::scope(|scope| {
                scope.spawn(|| one.write_end(&to).expect("it is connected"));
                scope.spawn(|| assert!(two.read_all().expect("no reset") == to, "one direction, whole"));
            });
            assert!(!relaying.is_finished(), "the other direction is open");
            thread::scope(|scope| {
                scope.spawn(|| two.write_end(&back).expect("its own direction is open"));
                scope.spawn(|| assert!(one.read_all().expect("no reset") == back, "the other direction, whole"));
            });
            relaying.join().expect("no panic").expect("no error");
            let counted = |socket: &Socket| (socket.bytes_read(), socket.bytes_written());
            assert_eq!(counted(&a), (SIZE as u64, SIZE as u64 / 2), "what came from `a`, and what went there");
            assert_eq!(counted(&b), (SIZE as u64 / 2, SIZE as u64), "the same of `b`");
        });
    });
}

/// Ensures that a direction of `relay` that fails resets the other side, gives its error, and closes both sockets.
#[test]
fn relay_resets_the_other_side_when_one_direction_fails() {
    within("the relay ends", || {
        each_ip(|at| {
            let (_server, one, a) = pair(at);
            let (_server, b, two) = pair(at);
            let (left, right) = (a.clone(), b.clone());
            let relaying = thread::spawn(move || relay(&left, &right));
            one.write_all("x").expect("it is connected");
            two.read_exact(&mut [0; 1]).expect("the relay runs");
            one.reset_and_destroy().expect("it is connected");
            let error = relaying.join().expect("no panic").expect_err("one direction failed");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "its own error, not that of being closed");
            let seen = two.read(&mut [0; 1]).expect_err("half a conversation is no whole one");
            assert_eq!(seen.kind(), io::ErrorKind::ConnectionReset, "the other side sees a reset");
            let closed = [a, b].map(|socket| socket.ready_state().to_string());
            assert_eq!(closed, ["closed", "closed"], "both are closed");
        });
    });
}

/// Ensures that a server's `accept` gives sockets that talk, the third way to serve.
#[test]
fn accepted_sockets_talk() {
    within("the answer arrives", || {
        each_ip(|at| {
            let server = ServerOptions::new().listen(at).expect("port 0 can be listened on");
            let client = Socket::connect(server.address()).expect("it listens");
            let accepted = accept(&server);
            client.write_end("question").expect("it is connected");
            assert_eq!(accepted.read_text().expect("no reset"), "question", "there");
            accepted.write_end("answer").expect("our direction is open");
            assert_eq!(client.read_text().expect("no reset"), "answer", "and back");
        });
    });
}
