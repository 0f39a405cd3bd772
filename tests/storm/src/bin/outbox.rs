//! `outbox ROUNDS [SEED]`: one connection a round, whose outbox several threads use at random, and what may end it.
//!
//! In each round the peer gets whole messages, those of a thread in their order and none twice; after an orderly end, all
//! that was taken. What `flush` says to be out is written. No thread is left. Status 1: something was wrong.

#[path = "../random.rs"]
#[allow(dead_code, reason = "the other program uses the rest")]
mod random;

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use landline::net::{Server, Socket};
use socket2::SockRef;

use random::Random;

/// A round that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);
const SENDERS: u8 = 3;
/// What a message begins with: the thread, the number, the length of the rest.
const HEAD: usize = 9;

/// What threads of a round share.
struct Round {
    socket: Socket,
    /// Messages were thrown away.
    loses: AtomicBool,
    /// A blocking write has failed, so part of a message may be out, and others may have written behind it.
    tears: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

impl Round {
    fn wrong(&self, text: String) {
        self.wrong.lock().expect("no panic").push(text);
    }
}

#[derive(Default)]
struct Counts {
    in_order: u64,
    taken: usize,
    refused: usize,
}

fn main() {
    let number = |n: usize| env::args().nth(n).map(|text| text.parse::<u64>().expect("a number"));
    let (rounds, first) = (number(1).expect("outbox ROUNDS [SEED]"), number(2).unwrap_or(1));
    let (mut failed, mut sum) = (0, Counts::default());
    for seed in first..first + rounds {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || done.send(run(seed)));
        let Ok((wrong, counts)) = is_done.recv_timeout(HANG) else {
            println!("seed {seed}: HANGS, or has panicked");
            process::exit(1);
        };
        wrong.iter().for_each(|text| println!("seed {seed}: {text}"));
        failed += u64::from(!wrong.is_empty());
        sum.in_order += counts.in_order;
        sum.taken += counts.taken;
        sum.refused += counts.refused;
    }
    let Counts { in_order, taken, refused } = sum;
    println!(
        "{rounds} rounds, {failed} failed; {in_order} ended in order; {taken} messages were taken, {refused} not; \
         injected {}",
        injected()
    );
    process::exit(i32::from(failed > 0));
}

/// How many thread starts were made to fail.
fn injected() -> u64 {
    #[cfg(landline_inject)]
    return landline::Running::injected();
    #[cfg(not(landline_inject))]
    0
}

fn run(seed: u64) -> (Vec<String>, Counts) {
    let mut random = Random::new(seed);
    let server = Server::listen(random.one_of(&["127.0.0.1:0", "[::1]:0"])).expect("a port is free");
    let peer = Socket::connect(server.address()).expect("it listens");
    let socket = server.accept().expect("accepting works").expect("it is open");
    for socket in [&peer, &socket] {
        let narrow =
            |raw: &SockRef<'_>| raw.set_send_buffer_size(16_384).and_then(|()| raw.set_recv_buffer_size(16_384));
        socket.with_raw(|fd| narrow(&SockRef::from(&fd))).expect("it is open").expect("small buffers");
    }
    socket.outbox().set_limit(random.one_of(&[0, 1000, 20_000, 200_000]));
    let round = Arc::new(Round {
        socket,
        loses: AtomicBool::new(false),
        tears: AtomicBool::new(false),
        wrong: Mutex::default(),
    });
    let thread = |random: &mut Random| (Arc::clone(&round), random.fork());

    let (_, its) = thread(&mut random);
    let reader = thread::spawn(move || read(&peer, its));
    let senders: Vec<_> = (0..SENDERS)
        .map(|who| {
            let (round, random) = thread(&mut random);
            thread::spawn(move || send(&round, who, random))
        })
        .collect();
    let (its, its_random) = thread(&mut random);
    let meddler = thread::spawn(move || meddle(&its, its_random));
    let sent: Vec<_> = senders.into_iter().map(|sender| sender.join().expect("no panic")).collect();
    meddler.join().expect("no panic");

    let socket = &round.socket;
    // A start of a thread that fails, or a time that is up, ends it out of order.
    let ended = if random.one_in(2) { socket.end() } else { socket.outbox().end() };
    let flushed = ended.and_then(|()| socket.outbox().flush());
    if flushed.is_err() {
        socket.destroy();
    }
    let (came, has_ended) = reader.join().expect("no panic");
    let in_order = flushed.is_ok() && has_ended;
    if socket.outbox().pending() > 0 {
        round.wrong(format!("{} are pending at the end", socket.outbox().pending()));
    }
    if !round.tears.load(SeqCst) {
        check(&round, &came, &sent, in_order && !round.loses.load(SeqCst));
    }
    let start = Instant::now();
    let mut left = threads();
    while left.len() > 2 && start.elapsed() < HANG / 2 {
        thread::sleep(Duration::from_millis(1));
        left = threads();
    }
    if left.len() > 2 {
        round.wrong(format!("beside the main thread and that of the round there are threads: {left:?}"));
    }
    let counts = Counts {
        in_order: u64::from(in_order),
        taken: sent.iter().map(|sent| sent.taken.len()).sum(),
        refused: sent.iter().map(|sent| sent.refused).sum(),
    };
    let wrong = std::mem::take(&mut *round.wrong.lock().expect("no panic"));
    (wrong, counts)
}

/// Reads until the end; whether there was one.
fn read(peer: &Socket, mut random: Random) -> (Vec<u8>, bool) {
    let (mut came, mut part) = (Vec::new(), vec![0; 20_000]);
    let is_slow = random.one_in(2);
    loop {
        match peer.read(&mut part) {
            Ok(0) => return (came, true),
            Ok(n) => came.extend_from_slice(&part[..n]),
            Err(_) => return (came, false),
        }
        if is_slow && random.one_in(8) {
            thread::sleep(random.millis(3));
        }
        if random.one_in(500) {
            let _ = peer.reset_and_destroy();
        }
    }
}

/// What a thread has sent.
#[derive(Default)]
struct Sent {
    /// The numbers of the messages that were taken.
    taken: Vec<u32>,
    refused: usize,
}

fn send(round: &Round, who: u8, mut random: Random) -> Sent {
    let (mut sent, mut bytes, socket, outbox) = (Sent::default(), 0, &round.socket, round.socket.outbox());
    for number in 0..random.below(40) as u32 {
        let length = random.one_of(&[0, 1, 30, 1000, 9000, 30_000]);
        let head = [&[who][..], &number.to_be_bytes(), &(length as u32).to_be_bytes()].concat();
        let body = vec![who; length];
        let whole = [&head[..], &body].concat();
        let (is_taken, is_over) = match random.below(7) {
            choice @ 0..4 => {
                let result = if choice < 2 { outbox.try_send(&*whole) } else { outbox.send(&*whole) };
                let is_over = result.as_ref().is_err_and(|refused| !refused.is_full());
                let is_taken = result.map_err(|refused| {
                    if *refused.into_message() != *whole {
                        round.wrong("another message came back".to_owned());
                    }
                });
                (is_taken.is_ok(), is_over)
            }
            4 | 5 => match outbox.try_send_all(&[head.into(), body.into()]) {
                Ok(()) => (true, false),
                Err(error) => (false, error.kind() != ErrorKind::WouldBlock),
            },
            _ => {
                let result = socket.write_all(&whole);
                if result.is_err() {
                    round.tears.store(true, SeqCst);
                    socket.destroy();
                }
                (result.is_ok(), result.is_err())
            }
        };
        if is_taken {
            sent.taken.push(number);
            bytes += whole.len() as u64;
        } else {
            sent.refused += 1;
        }
        if is_over {
            break;
        }
        if random.one_in(20) && outbox.flush().is_ok() {
            let out = socket.bytes_written();
            if out < bytes && !round.loses.load(SeqCst) {
                round.wrong(format!("flush says that all is out, and of {bytes} bytes there are {out}"));
            }
        }
    }
    sent
}

/// What else may happen to a connection.
fn meddle(round: &Round, mut random: Random) {
    let (socket, outbox) = (&round.socket, round.socket.outbox());
    for _ in 0..random.below(4) {
        thread::sleep(random.millis(5));
        match random.below(16) {
            0 => {
                round.loses.store(true, SeqCst);
                outbox.clear();
            }
            1 => drop(outbox.end()),
            2 => drop(socket.end()),
            3..6 => outbox.set_limit(random.below(100_000)),
            6 => drop(outbox.flush()),
            7 => socket.destroy(),
            8 => drop(socket.reset_and_destroy()),
            9 => socket.set_deadline(Instant::now() + random.millis(8)),
            10 => socket.set_timeout(random.millis(5) + Duration::from_millis(1)),
            _ => {}
        }
    }
}

fn check(round: &Round, mut came: &[u8], sent: &[Sent], is_whole: bool) {
    let mut next: Vec<_> = sent.iter().map(|sent| sent.taken.iter()).collect();
    while let Some((head, rest)) = came.split_first_chunk::<HEAD>() {
        let [who, a, b, c, d, e, f, g, h] = *head;
        let (number, length) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]) as usize);
        if who >= SENDERS || rest.iter().take(length).any(|byte| *byte != who) {
            let text = format!("message {number} of thread {who} is torn, {} bytes before the end", came.len());
            return round.wrong(text);
        }
        if rest.len() < length {
            break;
        }
        // Where messages are lost, those that come are in order still.
        let is_known = match is_whole {
            true => next[usize::from(who)].next() == Some(&number),
            false => next[usize::from(who)].any(|taken| *taken == number),
        };
        if !is_known {
            return round.wrong(format!("message {number} of thread {who} is out of order, twice, or was not taken"));
        }
        came = &rest[length..];
    }
    let missing: Vec<Vec<_>> = next.into_iter().map(Iterator::collect).collect();
    if is_whole && (!came.is_empty() || missing.iter().any(|missing| !missing.is_empty())) {
        round.wrong(format!("after an orderly end, {} bytes are left, and missing are {missing:?}", came.len()));
    }
}

/// The names of all threads. A thread that has just started does not have its own name yet.
fn threads() -> Vec<String> {
    let threads = fs::read_dir("/proc/self/task").expect("Linux has it");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    threads.flatten().flat_map(name).map(|name| name.trim_end().to_owned()).collect()
}
