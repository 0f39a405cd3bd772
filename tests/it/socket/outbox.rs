//! Queued writes.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Message, Server, ServerOptions, Socket, SocketEvent, SocketOptions};

use crate::support::Whole;
use crate::support::fixtures::{Served, kernel, noise, pair_with, watch, words};
use crate::support::{
    HANG, blocked, descriptors, each_ip, eventually, has_proc, in_child, numbered, threads, until_asleep, within,
};

const AT: &str = "127.0.0.1:0";
/// More than the kernel takes of a connection with small buffers.
const MUCH: usize = 256 * 1024;

/// A server, a client, and the server's end, with buffers so small that the kernel takes little.
fn narrow_pair(at: &str) -> (Server, Socket, Socket) {
    let (server, client, accepted) = pair_with(at, ServerOptions::new(), SocketOptions::new());
    narrow(&client);
    narrow(&accepted);
    (server, client, accepted)
}

fn narrow(socket: &Socket) {
    kernel(socket, |raw| raw.set_send_buffer_size(32_768).and_then(|()| raw.set_recv_buffer_size(32_768)));
}

/// All that a peer sends until its end.
fn all(peer: &Socket) -> Vec<u8> {
    let peer = peer.clone();
    within("the end comes", move || peer.read_all()).expect("an orderly end")
}

/// Ensures that what the kernel takes is not queued.
#[test]
fn what_the_kernel_takes_is_not_queued() {
    each_ip(|at| {
        let (_server, client, accepted) = narrow_pair(at);
        accepted.outbox().try_send(*b"one ").expect("there is room");
        accepted.outbox().try_send("two").expect("there is room");
        assert_eq!(accepted.outbox().pending(), 0, "nothing is queued");
        assert_eq!(accepted.bytes_written(), 7, "both are counted");
        accepted.end().expect("it is connected");
        assert_eq!(all(&client), b"one two", "both arrive");
    });
}

/// Ensures that messages of one thread, by whatever call, arrive in their order, and our end after them.
#[test]
fn every_way_to_write_keeps_the_order() {
    each_ip(|at| {
        let (_server, client, accepted) = narrow_pair(at);
        let reader = thread::spawn(move || all(&client));
        let (outbox, mut sent) = (accepted.outbox(), Vec::new());
        for (round, piece) in noise(600_000, 4).chunks(20_000).enumerate() {
            match round % 4 {
                0 => outbox.try_send(piece).expect("the limit is far"),
                1 => accepted.write_all(piece).expect("somebody reads"),
                2 => outbox.send(piece).expect("somebody reads"),
                _ => accepted.write_slices(&[&piece[..7], &piece[7..]]).expect("somebody reads"),
            }
            sent.extend_from_slice(piece);
        }
        outbox.try_send(vec![1; MUCH]).expect("the limit is far");
        sent.extend(vec![1; MUCH]);
        accepted.write_end("end").expect("somebody reads");
        sent.extend(b"end");
        let came = reader.join().expect("nothing panicked");
        assert!(came == sent, "every byte in its order: {} of {}", came.len(), sent.len());
    });
}

/// Ensures that messages of several threads, by whatever call, arrive whole, each thread's in their order, none lost and none
/// twice, and that `end` comes after all that was taken.
#[test]
fn messages_of_several_threads_arrive_whole_and_in_order() {
    const EACH: u32 = 150;
    let (_server, client, accepted) = narrow_pair(AT);
    accepted.outbox().set_limit(20_000);
    let writers: Vec<_> = (0..6_u8)
        .map(|who| {
            let socket = accepted.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    // Who, number, length, and as many bytes.
                    let length = 1 + (number * 37 + u32::from(who) * 101) % 3_000;
                    let mut message = vec![who];
                    message.extend(number.to_be_bytes());
                    message.extend(length.to_be_bytes());
                    message.resize(9 + length as usize, who);
                    let message: Arc<[u8]> = message.into();
                    match who % 3 {
                        0 => eventually("room comes", || socket.outbox().try_send(Arc::clone(&message)).is_ok()),
                        1 => socket.outbox().send(message).expect("somebody reads"),
                        _ => socket.write_all(&message).expect("somebody reads"),
                    }
                }
            })
        })
        .collect();
    let reader = thread::spawn(move || all(&client));
    for writer in writers {
        within("writing ends", || writer.join()).expect("nothing panicked");
    }
    accepted.end().expect("somebody reads");
    let came = reader.join().expect("nothing panicked");
    let (mut rest, mut next) = (&came[..], [0_u32; 6]);
    while let [who, a, b, c, d, e, f, g, h, tail @ ..] = rest {
        let (number, length) = (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]) as usize);
        assert_eq!(number, next[*who as usize], "the messages of thread {who} are in order");
        next[*who as usize] += 1;
        assert!(tail.len() >= length && tail[..length].iter().all(|byte| byte == who), "a message is whole");
        rest = &tail[length..];
    }
    assert!(rest.is_empty() && next == [EACH; 6], "none is lost and none comes twice: {next:?}");
}

/// Ensures that whatever `try_send` has taken arrives, however close an `end` on another thread comes.
#[test]
fn what_was_taken_before_an_end_arrives() {
    for round in 0..40 {
        let (_server, client, accepted) = pair_with(AT, ServerOptions::new(), SocketOptions::new());
        if round % 2 == 0 {
            narrow(&accepted);
            accepted.outbox().try_send(vec![0; MUCH]).expect("the limit is far");
        }
        let writer = accepted.clone();
        let sending = thread::spawn(move || (0..).take_while(|_| writer.outbox().try_send(*b"x").is_ok()).count());
        let reading = thread::spawn(move || all(&client));
        if round % 4 < 2 {
            accepted.outbox().end().expect("it is connected")
        } else {
            accepted.end().expect("it is open")
        }
        let taken = within("the end stops it", || sending.join()).expect("nothing panicked");
        let came = reading.join().expect("nothing panicked").iter().filter(|byte| **byte == b'x').count();
        assert_eq!(came, taken, "round {round}: nothing that was taken is lost");
    }
}

/// Ensures that a message that does not fit is not taken at all, and that the error says whether to try again.
#[test]
fn full_means_that_nothing_was_taken() {
    let (_server, client, accepted) = narrow_pair(AT);
    let outbox = accepted.outbox();
    assert_eq!(outbox.limit(), 1024 * 1024, "the default");
    outbox.set_limit(MUCH);
    outbox.try_send(vec![2; MUCH]).expect("just the limit");
    let pending = outbox.pending();
    assert!(pending > 10_000, "the kernel did not take all: {pending}");
    let full = outbox.try_send(vec![3; MUCH - pending + 1]).expect_err("one byte too many");
    assert!(full.is_full() && io::Error::from(full).kind() == ErrorKind::WouldBlock, "to be tried again");
    assert_eq!(outbox.pending(), pending, "nothing of it was queued");
    outbox.try_send([]).expect("nothing always fits");
    outbox.try_send(vec![4; MUCH - pending]).expect("the last byte of room");
    accepted.outbox().end().expect("it is connected");
    let full = outbox.try_send([5]).expect_err("our end is queued");
    assert!(!full.is_full() && full.to_string() == "write after end", "no use trying: {full}");
    outbox.end().expect("twice is harmless");

    let came = all(&client);
    assert_eq!(came.iter().filter(|byte| **byte == 2).count(), MUCH, "what was taken arrives");
    assert_eq!(came.len(), 2 * MUCH - pending, "and nothing else");
    accepted.destroy();
    let full = outbox.try_send([6]).expect_err("it is closed");
    assert!(!full.is_full() && io::Error::from(full).kind() == ErrorKind::NotConnected, "no use trying");
    let error = outbox.try_send([]).expect_err("it is closed");
    assert_eq!(error.error().code(), "ERR_STREAM_DESTROYED", "an empty message is told so too");
    outbox.end().expect("ending what is closed is no error");
}

/// Ensures that a message that was not taken comes back in the error, the same and not a copy, from `try_send` and from
/// `send`.
#[test]
fn what_was_not_taken_comes_back() {
    let (_server, client, accepted) = narrow_pair(AT);
    let (outbox, message) = (accepted.outbox(), Arc::<[u8]>::from([7; 100]));
    outbox.set_limit(0);
    outbox.try_send(vec![1; MUCH]).expect("nothing is queued");
    let full = outbox.try_send(Arc::clone(&message)).expect_err("more than the limit is queued");
    assert!(full.is_full() && full.into_message().as_ptr() == message.as_ptr(), "it comes back from try_send");
    accepted.set_timeout(Duration::from_millis(50));
    let sent = Arc::clone(&message);
    let sender = outbox.clone();
    let late = within("the timeout ends it", move || sender.send(sent)).expect_err("the peer does not read");
    assert!(!late.is_full() && late.error().kind() == ErrorKind::TimedOut, "by its time: {late}");
    assert!(late.into_message().as_ptr() == message.as_ptr(), "it comes back from send");
    assert_eq!(Arc::strong_count(&message), 1, "and is kept nowhere");
    accepted.set_timeout(None);
    let reader = client.clone();
    within("it comes", move || reader.read_exact(&mut vec![0; MUCH])).expect("nothing was lost by the timeout");
    within("nothing is queued any more", move || outbox.flush()).expect("it is out");
    assert_eq!(accepted.bytes_written(), MUCH as u64, "nothing of what came back was written");
}

/// Ensures that a message longer than the limit is taken while nothing is queued, so that trying again comes to an end.
#[test]
fn a_message_longer_than_the_limit_is_taken_where_nothing_is_queued() {
    let (_server, client, accepted) = narrow_pair(AT);
    let outbox = accepted.outbox();
    outbox.set_limit(10);
    let reading = thread::spawn(move || all(&client));
    let again = outbox.clone();
    for _ in 0..2 {
        let again = again.clone();
        eventually("it is taken", move || again.try_send(vec![1; MUCH]).is_ok());
    }
    outbox.end().expect("it is open");
    assert_eq!(reading.join().expect("nothing panicked").len(), 2 * MUCH, "both arrive");
}

/// Ensures that text and bytes of every form are sent as they are, and that those which are shared are not copied.
#[test]
fn text_and_bytes_of_every_form_are_sent() {
    let (_server, client, accepted) = narrow_pair("127.0.0.1:0");
    let (text, bytes) = ("7".to_owned(), b"8".to_vec());
    let (shared, shared_text): (Arc<[u8]>, Arc<str>) = (Arc::from(*b"9"), Arc::from("a"));
    let forms: [Message; 14] = [
        "1".into(),
        String::from("2").into(),
        String::from_utf8_lossy(b"3").into(),
        (&b"4"[..]).into(),
        b"5".into(),
        (*b"6").into(),
        (&text).into(),
        (&bytes).into(),
        (&shared).into(),
        Arc::clone(&shared_text).into(),
        vec![b'b'].into(),
        Box::<[u8]>::from(*b"c").into(),
        Arc::clone(&shared).into(),
        (&Message::from("d")).into(),
    ];
    for shares in [8, 12] {
        assert_eq!(forms[shares].as_ptr(), shared.as_ptr(), "shared bytes are not copied");
    }
    assert_eq!(forms[9].as_ptr(), shared_text.as_ptr(), "nor is shared text");
    let outbox = accepted.outbox();
    forms.iter().for_each(|form| outbox.try_send(form).expect("there is room"));
    outbox.send("blocking ").expect("there is room");
    outbox.try_send_all(&["to".into(), shared.into()]).expect("there is room");
    accepted.end().expect("it is connected");
    assert_eq!(String::from_utf8_lossy(&all(&client)), "123456789abc9dblocking to9", "all of it arrives");
}

/// Ensures that messages given together arrive together, all or none, whether they are queued or not.
#[test]
fn messages_given_together_stay_together() {
    each_ip(|at| {
        let (_server, client, accepted) = narrow_pair(at);
        let outbox = accepted.outbox();
        let group = |byte: u8| [vec![byte; 10].into(), "".into(), vec![byte; 40_000].into(), vec![byte; 5].into()];
        let writing: Vec<_> = (1..=4)
            .map(|byte| {
                let outbox = outbox.clone();
                thread::spawn(move || {
                    (0..20).for_each(|_| eventually("room comes", || outbox.try_send_all(&group(byte)).is_ok()));
                })
            })
            .collect();
        let reading = thread::spawn(move || all(&client));
        for writer in writing {
            within("writing ends", || writer.join()).expect("nothing panicked");
        }
        outbox.end().expect("it is open");
        let came = reading.join().expect("nothing panicked");
        assert_eq!(came.len(), 4 * 20 * 40_015, "all of it comes");
        assert!(came.chunks(40_015).all(|group| group.iter().all(|byte| *byte == group[0])), "no group is torn");

        let (_server, _client, accepted) = narrow_pair(at);
        let outbox = accepted.outbox();
        outbox.try_send(vec![0; MUCH]).expect("nothing is queued");
        outbox.set_limit(outbox.pending() + 100);
        let pending = outbox.pending();
        let error = outbox.try_send_all(&[vec![0; 64].into(), vec![0; 64].into()]).expect_err("one has room, not both");
        assert_eq!((error.kind(), outbox.pending()), (ErrorKind::WouldBlock, pending), "none is taken");
        outbox.try_send_all(&[]).expect("nothing always fits");
        accepted.destroy();

        let (_server, client, accepted) = narrow_pair(at);
        let outbox = accepted.outbox();
        outbox.try_send_all(&[vec![1; MUCH].into(), vec![2; 100_000].into()]).expect("nothing is queued");
        outbox.try_send_all(&[vec![3; 10].into(), vec![4; 10].into()]).expect("the limit is far");
        outbox.clear();
        outbox.end().expect("it is open");
        let came = all(&client);
        let count = |byte| came.iter().filter(|other| **other == byte).count();
        assert_eq!([1, 2, 3, 4].map(count), [MUCH, 100_000, 0, 0], "what follows a begun message is not cleared");
    });
}

/// Ensures that messages with more bytes than can be counted are refused whole. Clones share the bytes of a message, so
/// memory has room for them.
#[test]
#[cfg(target_pointer_width = "32")]
fn more_bytes_than_can_be_counted_are_refused() {
    let (_server, _client, accepted) = narrow_pair(AT);
    let outbox = accepted.outbox();
    outbox.set_limit(usize::MAX);
    let clones = vec![Message::from(vec![0; 64 << 20]); 64];
    let error = outbox.try_send_all(&clones).expect_err("4 GiB are no number of 32 bits");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "they have no room: {error}");
    assert_eq!((accepted.bytes_written(), outbox.pending()), (0, 0), "none of them is taken");
    outbox.try_send_all(&clones[..2]).expect("nothing is queued");
    let error = outbox.try_send_all(&clones[1..]).expect_err("it would be more than 4 GiB");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "nor have they room beside what is queued: {error}");
    accepted.destroy();
}

/// Ensures that a blocking write does not come between messages that were given together, when the queue was cleared
/// after the write had counted the messages before it.
#[test]
fn a_write_that_has_counted_comes_not_between_messages_given_together() {
    each_ip(|at| {
        let (_server, client, accepted) = narrow_pair(at);
        let outbox = accepted.outbox();
        outbox.set_limit(3 * MUCH);
        for byte in [0, 1] {
            outbox.try_send(vec![byte; MUCH]).expect("the limit is far");
        }
        outbox.try_send("counted").expect("the limit is far");
        let writer = accepted.clone();
        let writing = blocked(move || writer.write_all("blocking"));
        client.read_exact(&mut vec![0; MUCH + 1]).expect("the first message is whole");
        outbox.clear();
        outbox.try_send_all(&["head".into(), "body".into()]).expect("there is room");
        let reader = thread::spawn(move || all(&client));
        within("the write ends", || writing.join()).expect("nothing panicked").expect("it is connected");
        accepted.end().expect("it is connected");
        let came = within("the end comes", || reader.join()).expect("nothing panicked");
        let rest = String::from_utf8_lossy(&came[MUCH - 1..]);
        assert!(rest.contains("headbody"), "nothing comes between the two: {rest:?}");
    });
}

/// Ensures that `pending` is never above the limit while several threads send at once and nothing else is queued first.
#[test]
fn pending_is_at_most_the_limit() {
    let (_server, client, accepted) = narrow_pair(AT);
    let (outbox, is_over) = (accepted.outbox(), Arc::new(AtomicBool::new(false)));
    outbox.set_limit(50_000);
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (outbox, is_over) = (outbox.clone(), Arc::clone(&is_over));
            thread::spawn(move || {
                while !is_over.load(SeqCst) {
                    let _ = outbox.try_send(vec![0; 20_000]);
                }
            })
        })
        .collect();
    let mut most = 0;
    let mut part = vec![0; 10_000];
    for _ in 0..2_000 {
        client.read_exact(&mut part).expect("the senders go on");
        most = most.max(outbox.pending());
    }
    is_over.store(true, SeqCst);
    accepted.destroy();
    senders.into_iter().for_each(|sender| sender.join().expect("nothing panicked"));
    assert!(most > 0 && most <= outbox.limit(), "of 50,000 bytes that may be queued there were {most}");
}

/// Ensures that `flush` honours the deadline while another thread's write, which began before the deadline was set, has
/// the turn to write.
#[test]
fn a_flush_behind_a_blocked_write_honours_the_deadline() {
    if !has_proc() {
        return;
    }
    each_ip(|at| {
        let (_server, client, accepted) = narrow_pair(at);
        let writer = accepted.clone();
        let writing = blocked(move || writer.write_all(vec![0; 32 << 20]));
        let mut sent = 32 << 20;
        eventually("the writer has the turn", || {
            accepted.outbox().try_send(*b"behind").expect("there is room");
            sent += 6;
            accepted.outbox().pending() > 0
        });
        accepted.set_deadline(Instant::now() + Duration::from_millis(50));
        let outbox = accepted.outbox();
        let error = within("flush returns", move || outbox.flush()).expect_err("the peer does not read");
        assert_eq!(io::Error::kind(&error), ErrorKind::TimedOut, "by the deadline: {error}");
        assert!(!writing.is_finished(), "while the write goes on");
        accepted.set_deadline(None);
        let outbox = accepted.outbox();
        let flushing = blocked(move || outbox.flush());
        let reading = thread::spawn(move || all(&client));
        within("flush returns", || flushing.join()).expect("nothing panicked").expect("the peer reads");
        within("the write returns", || writing.join()).expect("nothing panicked").expect("the peer reads");
        accepted.end().expect("it is open");
        assert_eq!(reading.join().expect("nothing panicked").len(), sent, "nothing was lost by the deadline");
    });
}

/// Ensures that a message that the outbox takes during a `write_end` arrives, after its data and before the end.
#[test]
fn a_message_taken_during_a_write_end_comes_before_the_end() {
    each_ip(|at| {
        let (_server, client, accepted) = narrow_pair(at);
        let (data, writer) = (noise(8 << 20, 6), accepted.clone());
        let its = data.clone();
        let writing = thread::spawn(move || writer.write_end(its));
        let (outbox, mut expected) = (accepted.outbox(), Vec::new());
        eventually("the writer has the turn", || {
            outbox.try_send(*b"message").expect("there is room");
            let is_queued = outbox.pending() > 0;
            if !is_queued {
                expected.extend(b"message");
            }
            is_queued
        });
        expected.extend([&data[..], b"message"].concat());
        let came = all(&client);
        within("write_end returns", || writing.join()).expect("nothing panicked").expect("the peer reads");
        assert!(came == expected, "the data, the message, the end: {} of {}", came.len(), expected.len());
        let late = outbox.try_send("late").expect_err("our direction has ended");
        assert_eq!(late.error().code(), "ERR_STREAM_WRITE_AFTER_END", "nothing comes behind the end: {late}");
    });
}

/// Ensures that a blocking write is not held up for good by a queue that threads keep filling.
#[test]
fn a_blocking_write_is_not_starved_by_the_queue() {
    let (_server, client, accepted) = narrow_pair(AT);
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = thread::spawn(move || {
        let mut part = vec![0; 65_536];
        while client.read(&mut part).is_ok_and(|n| n > 0) {}
    });
    let (outbox, stop) = (accepted.outbox(), Arc::clone(&is_over));
    outbox.set_limit(200_000);
    let filling = thread::spawn(move || {
        let message: Arc<[u8]> = vec![0; 10_000].into();
        while !stop.load(SeqCst) {
            let _ = outbox.try_send(Arc::clone(&message));
        }
    });
    let writer = accepted.clone();
    within("200 writes come to an end", move || (0..200).try_for_each(|_| writer.write_all([1; 100])))
        .expect("the peer reads");
    is_over.store(true, SeqCst);
    filling.join().expect("nothing panicked");
    accepted.end().expect("the peer reads");
    reading.join().expect("nothing panicked");
}

/// Ensures that an end that the outbox has promised comes, also when a blocking `end` that was under way is ended by the
/// timeout.
#[test]
fn a_promised_end_outlives_an_end_that_fails() {
    each_ip(|at| {
        let (_server, client, accepted) = narrow_pair(at);
        accepted.set_timeout(Duration::from_millis(100));
        accepted.outbox().try_send(vec![1; MUCH]).expect("nothing is queued");
        let ender = accepted.clone();
        let ending = blocked(move || ender.end());
        accepted.outbox().end().expect("a thread can be started");
        let error = within("end returns", || ending.join()).expect("nothing panicked").expect_err("it is late");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "the peer did not read in time");
        accepted.set_timeout(None);
        let full = accepted.outbox().try_send([2]).expect_err("our end is promised");
        assert_eq!(full.error().code(), "ERR_STREAM_WRITE_AFTER_END", "nothing comes behind it: {full}");
        assert_eq!(all(&client).len(), MUCH, "what was queued arrives, and the end");
    });
}

/// Ensures that tiny messages are bounded by the limit too, since each takes memory, and that empty ones take none.
#[test]
fn tiny_messages_are_bounded() {
    let (_server, client, accepted) = narrow_pair(AT);
    let outbox = accepted.outbox();
    outbox.set_limit(100_000);
    outbox.try_send(vec![0; MUCH]).expect("nothing is queued");
    outbox.set_limit(outbox.pending() + 64_000);
    let taken = (0..).take_while(|_| outbox.try_send([1]).is_ok()).count();
    assert_eq!(taken, 1000, "a message counts as 64 bytes at least");
    let pending = outbox.pending();
    (0..1000).for_each(|_| outbox.try_send([]).expect("nothing always fits"));
    assert_eq!(outbox.pending(), pending, "empty messages count nothing");
    outbox.end().expect("it is open");
    assert_eq!(all(&client).len(), MUCH + 1000, "all arrive");
}

/// Ensures that `outbox_limit` is the limit, on both sides.
#[test]
fn the_limit_is_an_option_of_both_sides() {
    let options = (ServerOptions::new().outbox_limit(10), SocketOptions::new().outbox_limit(20));
    let (_server, client, accepted) = pair_with(AT, options.0, options.1);
    assert_eq!((accepted.outbox().limit(), client.outbox().limit()), (10, 20), "as asked for");
}

/// Ensures that `send` waits for room, takes a message longer than the limit when nothing is queued, and does not wait until
/// its own message is written.
#[test]
fn send_waits_for_room() {
    let (_server, client, accepted) = narrow_pair(AT);
    accepted.outbox().set_limit(50_000);
    let sender = accepted.outbox();
    within("send returns", move || sender.send(vec![1; MUCH])).expect("nothing was queued");
    let sender = accepted.outbox();
    let sending = blocked(move || sender.send(vec![2; 10]));
    assert!(!sending.is_finished(), "while more than the limit is queued, it waits");
    let reading = thread::spawn(move || all(&client));
    let sent = within("room comes when the peer reads", || sending.join()).expect("nothing panicked");
    sent.expect("it was taken");
    accepted.end().expect("somebody reads");
    let came = reading.join().expect("nothing panicked");
    assert_eq!((came.len(), came.ends_with(&[2; 10])), (MUCH + 10, true), "everything in its order");
}

/// Ensures that a `send` that waits for room is ended by a destroy, by the peer's reset, by the deadline, and by `clear`.
#[test]
fn a_send_that_waits_is_ended() {
    type End = (&'static str, fn(&Socket, &Socket), Result<(), ErrorKind>);
    let ends: [End; 4] = [
        ("destroy", |ours, _| ours.destroy(), Err(ErrorKind::NotConnected)),
        ("reset", |_, peer| peer.reset_and_destroy().expect("it is open"), Err(ErrorKind::ConnectionReset)),
        ("deadline", |_, _| {}, Err(ErrorKind::TimedOut)),
        ("clear", |ours, _| ours.outbox().clear(), Ok(())),
    ];
    for (what, end, expected) in ends {
        let (_server, client, accepted) = narrow_pair(AT);
        accepted.outbox().set_limit(2 * MUCH);
        // The first is begun, so that clear leaves it; the second is not.
        accepted.outbox().try_send(vec![1; MUCH]).expect("there is room");
        accepted.outbox().try_send(vec![2; MUCH]).expect("there is room");
        if what == "deadline" {
            accepted.set_deadline(Instant::now() + Duration::from_millis(200));
        }
        let sender = accepted.outbox();
        let sending = blocked(move || sender.send(vec![3; MUCH]));
        assert!(what == "deadline" || !sending.is_finished(), "{what}: it waits for room");
        end(&accepted, &client);
        let result = within(&format!("{what} ends it"), || sending.join()).expect("nothing panicked");
        assert_eq!(result.map_err(|error| error.error().kind()), expected, "{what}");
        accepted.destroy();
    }
}

/// Ensures that `flush` says what became of what was queued: written once the peer has read, or why not.
#[test]
fn flush_says_what_became_of_the_queue() {
    use ErrorKind::{ConnectionReset, NotConnected};
    type End = (&'static str, fn(&Socket, &Socket), Result<(), ErrorKind>);
    let ends: [End; 4] = [
        ("read", |_, peer| peer.read_exact(&mut vec![0; 4 * MUCH]).expect("all of it comes"), Ok(())),
        ("destroyed", |ours, _| ours.destroy(), Err(NotConnected)),
        ("reset by us", |ours, _| ours.reset_and_destroy().expect("it is open"), Err(NotConnected)),
        ("reset by the peer", |_, peer| peer.reset_and_destroy().expect("it is open"), Err(ConnectionReset)),
    ];
    for (what, end, expected) in ends {
        let (_server, client, accepted) = narrow_pair(AT);
        for _ in 0..4 {
            accepted.outbox().try_send(vec![1; MUCH]).expect("the limit is far");
        }
        let flushed = accepted.outbox();
        let flushing = blocked(move || flushed.flush());
        end(&accepted, &client);
        let result = within(&format!("{what} ends it"), || flushing.join()).expect("nothing panicked");
        assert_eq!(result.map_err(|error| error.kind()), expected, "{what}");
        eventually(&format!("{what}: nothing is queued"), || accepted.outbox().pending() == 0);
        accepted.destroy();
    }
}

/// Ensures that when the outbox's thread finds that the connection has failed, `each` ends with that error, although it
/// reads nothing at that moment: it is paused, or its closure runs. A `destroy` after a failed write is no error.
#[test]
fn each_ends_with_an_error_that_the_outboxs_thread_has_found() {
    type Fail = fn(&Socket, &Socket);
    let queued: Fail = |ours, peer| {
        ours.outbox().try_send(vec![1; MUCH]).expect("the limit is far");
        peer.reset_and_destroy().expect("it is open");
    };
    let destroyed: Fail = |ours, peer| {
        peer.reset_and_destroy().expect("it is open");
        eventually("a write fails", || ours.write_all("x").is_err());
        ours.destroy();
    };
    for (what, fail, pauses, failed) in [
        ("paused", queued, true, 1),
        ("in its closure", queued, false, 1),
        ("paused, destroyed", destroyed, true, 0),
        ("in its closure, destroyed", destroyed, false, 0),
    ] {
        let (server, client, accepted) = narrow_pair(AT);
        let (tell, told) = mpsc::channel();
        let watched = watch(&accepted, move |socket, event| {
            if let SocketEvent::Data(_) = event {
                tell.send(()).expect("the test waits");
                match pauses {
                    true => socket.pause(),
                    false => eventually("the connection is closed", || socket.is_destroyed()),
                }
            }
            Ok(())
        });
        client.write_all("x").expect("it is connected");
        told.recv_timeout(HANG).expect("the byte arrives");
        fail(&accepted, &client);
        let words = words(watched);
        match failed {
            0 => assert_eq!(words, ["data", "close false"], "{what}: the close alone"),
            _ => assert!(
                matches!(&words[..], [_, error, close] if error.starts_with("error write E") && close == "close true"),
                "{what}: the error of the write, then the close: {words:?}"
            ),
        }
        let stats = server.stats();
        assert_eq!((stats.failed, stats.ended), (failed, 1 - failed), "{what}: the server counts the same");
    }
}

/// Ensures that a channel gets the error that the outbox's thread has found, although the thread that reads waits for
/// room in the channel.
#[cfg(feature = "channel")]
#[test]
fn a_channel_gets_an_error_that_the_outboxs_thread_has_found() {
    let (_server, client, accepted) = narrow_pair(AT);
    let events = accepted.events(0).expect("a thread can be started");
    client.write_all("x").expect("it is connected");
    eventually("the byte is read", || accepted.bytes_read() == 1);
    accepted.outbox().try_send(vec![1; MUCH]).expect("the limit is far");
    client.reset_and_destroy().expect("it is open");
    eventually("the failure closes the connection", || accepted.is_destroyed());
    let events: Vec<_> = std::iter::from_fn(|| events.recv_timeout(HANG).ok()).collect();
    assert!(
        matches!(&events[..], [.., SocketEvent::Error(error), SocketEvent::Close { had_error: true }]
            if error.syscall() == Some("write")),
        "the error of the write, then the close: {events:?}"
    );
}

/// Ensures that `clear` drops what no thread has begun to write, and tears nothing.
#[test]
fn clear_drops_what_is_not_begun() {
    let (_server, client, accepted) = narrow_pair(AT);
    let outbox = accepted.outbox();
    for byte in [1, 2, 3] {
        outbox.try_send(vec![byte; MUCH]).expect("the limit is far");
    }
    outbox.clear();
    assert!(outbox.pending() <= MUCH, "only what is begun is left: {}", outbox.pending());
    outbox.try_send(vec![4; 10]).expect("there is room again");
    outbox.end().expect("it is connected");
    outbox.clear();
    let came = all(&client);
    assert_eq!(came, vec![1; MUCH], "what was begun is whole, what was cleared is not there, and the end is kept");
}

/// Ensures that `end` comes after everything queued, however slowly the peer reads: 3,000,000 bytes. Mirrors what Node's
/// documentation says of destroySoon().
#[test]
fn an_end_comes_after_everything_queued() {
    let sent = noise(3_000_000, 7);
    each_ip(|at| {
        for blocking in [false, true] {
            let (_server, client, accepted) = narrow_pair(at);
            accepted.outbox().set_limit(3_000_000);
            accepted.outbox().try_send(&*sent).expect("just the limit");
            let ender = accepted.clone();
            let ending = move || if blocking { ender.end() } else { ender.outbox().end() };
            let ending = thread::spawn(ending);
            let came = all(&client);
            assert!(came == sent, "every byte before the end: {}", came.len());
            within("end returns", || ending.join()).expect("nothing panicked").expect("it is connected");
        }
    });
}

/// Ensures that 100 messages of 1 KiB, a stall, one byte and the end arrive in full. Mirrors sequential/net-response-size.js.
#[test]
fn a_stall_before_the_end_loses_nothing() {
    let (_server, client, accepted) = pair_with(AT, ServerOptions::new(), SocketOptions::new());
    let reader = client.clone();
    let (reading, thread) = numbered(move || reader.read_all());
    for _ in 0..100 {
        accepted.outbox().try_send([b'x'; 1024]).expect("there is room");
    }
    eventually("all of it is read", || client.bytes_read() == 102_400);
    until_asleep(thread.as_slice());
    accepted.outbox().try_send([b'y']).expect("there is room");
    accepted.outbox().end().expect("it is open");
    let came = within("the end comes", || reading.join()).expect("nothing panicked").expect("an orderly end");
    assert_eq!(came.len(), 102_401, "every byte");
}

/// Ensures that what a handler has queued is written before its connection ends.
#[test]
fn what_a_handler_has_queued_is_written_before_the_end() {
    let server = Server::listen(AT).expect("port 0 can be listened on");
    let sent: Arc<[u8]> = noise(900_000, 9).into();
    let message = Arc::clone(&sent);
    let running = server
        .spawn(move |socket| {
            narrow(socket);
            Ok(socket.outbox().try_send(Arc::clone(&message))?)
        })
        .expect("a thread can be started");
    let client = Socket::connect(server.address()).expect("the server listens");
    let came = all(&client);
    assert!(*came == *sent, "every byte before the end: {}", came.len());
    server.close();
    within("serve returns", || running.join()).expect("all went well");
    assert_eq!(server.stats().ended, 1, "it ended in order");
}

/// Ensures that a message is refused from the moment at which its connection begins to end, though the connection still
/// waits for a place to linger, and that what was taken before is written whole.
#[test]
fn a_connection_that_waits_for_a_place_to_linger_takes_no_message() {
    let sent: Arc<[u8]> = noise(900_000, 10).into();
    let (ends_by_itself, ends_in_each) = (b"h", b"e");
    each_ip(|at| {
        for (kind, queues) in [(ends_by_itself, false), (ends_by_itself, true), (ends_in_each, false)] {
            let (tell, told) = mpsc::channel();
            let (tell, message) = (Mutex::new(tell), queues.then(|| Arc::clone(&sent)));
            let taken = if queues { &*sent } else { &[] };
            // As many linger as may be connected.
            let options = ServerOptions::new().max_connections(1).lingering_close(HANG);
            let served = Served::start(at, &options, move |socket| {
                narrow(socket);
                let mut first = [0; 1];
                socket.peek(&mut first)?;
                if let Some(message) = &message {
                    socket.outbox().try_send(Arc::clone(message))?;
                }
                tell.lock().expect("no panic").send(socket.clone()).expect("the test waits");
                if &first == ends_by_itself {
                    return Ok(());
                }
                socket.end_reading();
                socket.each(|_, _| Ok(()))
            });
            let lingers = served.connect();
            // The handler leaves the byte unread, so the connection is not closed to make room.
            lingers.write_all(ends_by_itself).expect("it is connected");
            told.recv_timeout(HANG).expect("it is served");
            assert_eq!(all(&lingers).len(), taken.len(), "the premise: it has seen our end");

            let waits = served.connect();
            waits.write_all(kind).expect("it is connected");
            let socket = told.recv_timeout(HANG).expect("the slot is free");
            let reader = waits.clone();
            let reading = thread::spawn(move || all(&reader));
            let outbox = socket.outbox();
            // An empty message sends nothing.
            eventually("the connection begins to end", || outbox.try_send("").is_err());
            for (call, error) in [("try_send", outbox.try_send("more")), ("send", outbox.send("more"))] {
                let error = error.expect_err("nothing is taken any more");
                assert_eq!(error.error().code(), "ERR_STREAM_WRITE_AFTER_END", "{call} is told so as after `end`");
            }
            assert!(!socket.is_destroyed(), "the premise: the connection waits for a place");
            drop(lingers);
            let came = within("the end comes", || reading.join()).expect("nothing panicked");
            assert!(came == taken, "what was taken, and nothing else: {}", came.len());
            outbox.flush().expect("nothing that was taken is lost");
            drop((waits, socket));
            served.stop();
        }
    });
}

/// Ensures that a writer thread lives only while something is queued, whatever ends that, and leaves no descriptor.
#[test]
fn a_writer_thread_lives_only_while_something_is_queued() {
    if !has_proc() {
        return;
    }
    in_child(this_test!(), &[], || {
        let server = Server::listen(AT).expect("port 0 can be listened on");
        let before = (threads(), descriptors());
        type End = (&'static str, fn(&Socket, &Socket));
        let ends: [End; 5] = [
            ("read", |ours, peer| {
                ours.outbox().end().expect("it is open");
                while peer.read(&mut [0; 4096]).expect("an orderly end") > 0 {}
            }),
            ("destroy", |ours, _| ours.destroy()),
            ("reset by us", |ours, _| ours.reset_and_destroy().expect("it is open")),
            ("reset by the peer", |_, peer| peer.reset_and_destroy().expect("it is open")),
            ("clear and end", |ours, peer| {
                ours.outbox().clear();
                ours.outbox().end().expect("it is open");
                while peer.read(&mut [0; 4096]).expect("an orderly end") > 0 {}
            }),
        ];
        for (what, end) in ends {
            let client = Socket::connect(server.address()).expect("the server listens");
            let accepted = server.accept().expect("accepting works").expect("the server is open");
            narrow(&client);
            narrow(&accepted);
            accepted.outbox().try_send(*b"x").expect("there is room");
            assert_eq!(threads(), before.0, "{what}: what the kernel takes at once needs no thread");
            for _ in 0..3 {
                accepted.outbox().try_send(vec![0; MUCH]).expect("there is room");
            }
            assert_eq!(threads(), before.0 + 1, "{what}: one thread for whatever is queued");
            end(&accepted, &client);
            eventually(&format!("{what}: the thread is gone"), || threads() <= before.0);
            assert_eq!(accepted.outbox().pending(), 0, "{what}: nothing is queued");
            accepted.destroy();
            client.destroy();
            assert_eq!(descriptors(), before.1, "{what}: no descriptor is left");
        }
    });
}

/// Ensures that a client that does not read slows nobody who writes to it by `try_send`, and that the rest are served.
#[test]
fn try_send_never_blocks() {
    let (_server, client, accepted) = narrow_pair(AT);
    let writer = accepted.clone();
    let blocked = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&blocked);
    let writing = thread::spawn(move || {
        let result = writer.write_all(vec![0; 32 << 20]);
        flag.store(false, SeqCst);
        result
    });
    let outbox = accepted.outbox();
    eventually("the writer has the turn", || {
        outbox.try_send([0]).expect("there is room");
        outbox.pending() > 0
    });
    let free = outbox.limit() - outbox.pending();
    let sent = within("try_send returns", move || (0..).take_while(|_| outbox.try_send([0; 1024]).is_ok()).count());
    assert_eq!(sent, free / 1024, "a limit's worth is queued behind a blocked write, and then it is full");
    assert!(blocked.load(SeqCst), "all that while a write was blocked");
    accepted.destroy();
    let error = within("the write ends", || writing.join()).expect("nothing panicked").expect_err("destroyed");
    assert_eq!(error.kind(), ErrorKind::NotConnected, "by the destroy");
    drop(client);
}

/// Ensures that an `end` which waits until the queue is written does not say that it is, when the connection was closed before
/// that, by either end.
#[test]
fn an_end_that_waits_for_the_queue_tells_that_it_was_lost() {
    // Without /proc it is not seen that `end` waits.
    if !has_proc() {
        return;
    }
    type Close = fn(&Socket, Socket);
    let closes: [(Close, &[ErrorKind]); 3] = [
        (|ours, _| ours.destroy(), &[ErrorKind::NotConnected]),
        (|ours, _| ours.reset_and_destroy().expect("it is open"), &[ErrorKind::NotConnected]),
        // The system tells a reset once. If it has told the outbox's thread, a write of `end` gets EPIPE.
        (
            |_, theirs| theirs.reset_and_destroy().expect("it is open"),
            &[ErrorKind::ConnectionReset, ErrorKind::BrokenPipe],
        ),
    ];
    each_ip(|at| {
        for (close, kinds) in closes {
            let (_server, ours, theirs) = narrow_pair(at);
            ours.outbox().send(vec![0; MUCH]).expect("there is room");
            theirs.peek(&mut [0]).expect("the writer has begun");
            let ending = ours.clone();
            let ending = blocked(move || ending.end());
            close(&ours, theirs);
            let error = within("end returns", || ending.join()).expect("no panic").expect_err("the queue is lost");
            assert!(kinds.contains(&error.kind()), "it is the error of the close: {error}");
            // Of a reset, the thread of the outbox may yet have to hear.
            eventually("it is closed", || ours.is_destroyed());
            ours.end().expect("once it is closed, there is nothing to end");
        }
    });
}

/// Ensures that `flush` does not say that all is out when the connection was closed before it was, by either end, and says
/// so when it was.
#[test]
fn a_flush_after_the_close_tells_whether_all_was_out() {
    each_ip(|at| {
        let (_server, ours, theirs) = narrow_pair(at);
        ours.outbox().send(vec![0; MUCH]).expect("there is room");
        ours.destroy();
        let error = ours.outbox().flush().expect_err("nobody has read what was queued");
        assert_eq!(error.kind(), ErrorKind::NotConnected, "the connection was closed before all was out: {error}");
        drop(theirs);

        let (_server, ours, theirs) = narrow_pair(at);
        ours.set_deadline(Instant::now() + Duration::from_millis(100));
        ours.outbox().send(vec![0; MUCH]).expect("there is room");
        eventually("the writer ends the connection", || ours.outbox().pending() == 0);
        let error = ours.outbox().flush().expect_err("nobody has read what was queued");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "it was the deadline that closed it: {error}");
        drop(theirs);

        let (_server, ours, theirs) = narrow_pair(at);
        ours.outbox().send(*b"all").expect("there is room");
        ours.outbox().flush().expect("it is out");
        ours.destroy();
        ours.outbox().flush().expect("nothing was given up");
        drop(theirs);
    });
}
