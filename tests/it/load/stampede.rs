//! A thousand clients of every kind at once, of which somebody is killed every 10 ms: who is not killed is not harmed, and
//! afterwards everything is as it was before.

use std::collections::HashSet;
use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Socket, Stats};

use crate::support::Whole;
use crate::support::clients::{ask, at, client, echo, leave, stop};
use crate::support::{
    HANG, OtherSide, descriptors, eventually, has_proc, in_child_for, other_side, start_other_side, status, threads,
};

/// How many clients, and for how many seconds, where it is not as in every run.
const CLIENTS: &str = "LANDLINE_TEST_CLIENTS";
const SECONDS: &str = "LANDLINE_TEST_SECONDS";
/// Bounds a whole test in its process, beside the time that the clients come.
const LONG: Duration = Duration::from_secs(1000);

fn number(name: &str, usual: usize) -> usize {
    env::var(name).map_or(usual, |number| number.parse().expect("a number"))
}

/// What a client does. It says so with its first byte.
const IDLE: u8 = 0;
const ECHOING: u8 = 1;
/// The server writes without end, and it reads nothing: the handler is in the middle of a write.
const MID_WRITE: u8 = 2;
const SLOW_READER: u8 = 3;
const RESETTING: u8 = 4;
/// Has ended, and waits for what the server still has to say.
const HALF_CLOSED: u8 = 5;
/// Its handler panics.
const PANICKING: u8 = 6;
const KINDS: usize = 7;

/// Numbers that look random: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// One client's life: it connects, does as its kind does until the connection is over, and comes again.
struct Life<'a> {
    to: SocketAddr,
    over: &'a AtomicBool,
    echoes: &'a AtomicU64,
}

impl Life<'_> {
    fn live(&self, number: usize) {
        let kind = (number % KINDS) as u8;
        let mut dice = Dice(number as u64 + 1);
        while !self.over.load(SeqCst) {
            let start = Instant::now();
            if let Ok(one) = TcpStream::connect(self.to) {
                // An error is the end of this connection, killed or refused, and no more.
                let _ = self.act(&one, kind, &mut dice);
            }
            // Who is refused comes again, but not at once.
            let refused = start.elapsed() < Duration::from_millis(100);
            self.pause(if refused { 200 + dice.roll(800) } else { dice.roll(50) });
        }
    }

    fn pause(&self, milliseconds: u64) {
        // Not a bound: the pace of the client.
        thread::park_timeout(Duration::from_millis(milliseconds));
    }

    fn act(&self, mut one: &TcpStream, kind: u8, dice: &mut Dice) -> io::Result<()> {
        // Not a bound: each looks now and then whether it is over.
        one.set_read_timeout(Some(Duration::from_millis(500)))?;
        one.write_all(&[kind])?;
        // Some are not seen to be killed: by who does not read, or reads slowly what is still to come. So they end themselves.
        let end = match kind {
            IDLE | ECHOING => None,
            MID_WRITE | SLOW_READER => Some(Instant::now() + Duration::from_millis(500 + dice.roll(4000))),
            _ => Some(Instant::now() + Duration::from_millis(200 + dice.roll(800))),
        };
        let goes_on = || !self.over.load(SeqCst) && end.is_none_or(|end| Instant::now() < end);
        match kind {
            ECHOING | RESETTING => {
                one.set_read_timeout(Some(HANG))?;
                for n in 0.. {
                    let message = [n as u8; 64];
                    let mut answer = [0; 64];
                    one.write_all(&message)?;
                    one.read_exact(&mut answer)?;
                    assert_eq!(answer, message, "an echo is what was sent");
                    self.echoes.fetch_add(1, SeqCst);
                    self.pause(20 + dice.roll(80));
                    if !goes_on() {
                        break;
                    }
                }
                if kind == RESETTING { socket2::SockRef::from(one).set_linger(Some(Duration::ZERO)) } else { Ok(()) }
            }
            MID_WRITE => {
                while goes_on() {
                    self.pause(100);
                }
                Ok(())
            }
            PANICKING => {
                while goes_on() {
                    self.pause(50);
                }
                one.write_all(b"!")?;
                one.read(&mut [0]).map(drop)
            }
            _ => {
                if kind == HALF_CLOSED {
                    one.shutdown(Shutdown::Write)?;
                }
                let mut buffer = [0; 1024];
                while kind == HALF_CLOSED || goes_on() {
                    match one.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(_) if kind == SLOW_READER => self.pause(20),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }
}

/// The process of the clients: they live twice, the first time for one second.
fn clients(to: SocketAddr, count: usize) {
    for _ in 0..2 {
        io::stdin().read_line(&mut String::new()).expect("the server says when");
        let (over, echoes) = (AtomicBool::new(false), AtomicU64::new(0));
        let life = Life { to, over: &over, echoes: &echoes };
        thread::scope(|scope| {
            for number in 0..count {
                let life = &life;
                let builder = thread::Builder::new().stack_size(128 * 1024);
                builder.spawn_scoped(scope, move || life.live(number)).expect("a thread can be started");
            }
            println!("\nstarted");
            io::stdin().read_line(&mut String::new()).expect("the server says when");
            over.store(true, SeqCst);
        });
        println!("\nechoes {}", echoes.load(SeqCst));
    }
}

/// Whom somebody has killed, and how many have ended otherwise who should not have.
#[derive(Default)]
struct Victims {
    killed: Mutex<HashSet<landline::ConnectionId>>,
    harmed: AtomicUsize,
    over: AtomicBool,
}

impl Victims {
    fn handler(&self, socket: &Socket) -> io::Result<()> {
        let mut first = [0];
        socket.read_exact(&mut first)?;
        let [kind] = first;
        let result = match kind {
            IDLE => socket.read_all().map(drop),
            ECHOING | RESETTING => echo(socket),
            MID_WRITE | SLOW_READER => loop {
                if let Err(error) = socket.write_all([7; 16 * 1024]) {
                    break Err(error);
                }
            },
            HALF_CLOSED => socket.read_all().and_then(|_| {
                (0..20).try_for_each(|_| {
                    // Not a bound: in pieces, so that many are in between.
                    thread::park_timeout(Duration::from_millis(50));
                    socket.write_all([7; 100])
                })
            }),
            // Silent, unlike `panic!`: there are hundreds.
            _ => socket.read_exact(&mut first).and_then(|()| resume_unwind(Box::new("a handler panics"))),
        };
        let is_over = self.over.load(SeqCst);
        let killed = self.killed.lock().expect("nobody panics here").contains(&socket.id());
        if matches!(kind, IDLE | ECHOING) && !killed && !is_over {
            self.harmed.fetch_add(1, SeqCst);
        }
        result
    }

    fn kill(&self, server: &Server, dice: &mut Dice) {
        let sockets = server.sockets();
        if sockets.is_empty() {
            return;
        }
        let victim = &sockets[dice.roll(sockets.len() as u64) as usize];
        self.killed.lock().expect("nobody panics here").insert(victim.id());
        if dice.roll(2) == 0 {
            victim.destroy();
        } else {
            // It may be gone already.
            let _ = victim.reset_and_destroy();
        }
    }
}

#[track_caller]
fn assert_balanced(stats: Stats) {
    let Stats { accepted, open, ended, failed, panicked, .. } = stats;
    assert_eq!(accepted, open + ended + failed + panicked, "the accounts balance at every instant: {stats:?}");
}

/// Threads, descriptors, memory in KiB.
fn size() -> (usize, usize, usize) {
    (threads(), descriptors(), status("VmRSS:"))
}

/// Kills somebody every 10 ms for so long. Gives the memory, in KiB, after a tenth of the time and at the end.
fn rush(server: &Server, victims: &Victims, length: Duration, limit: usize, tell: bool) -> (usize, usize) {
    let (start, mut kills, mut dice, mut memories) = (Instant::now(), 0, Dice(42), Vec::new());
    while memories.len() < 10 {
        // Not a bound: the pace of the killing.
        thread::park_timeout(Duration::from_millis(10));
        victims.kill(server, &mut dice);
        kills += 1;
        assert_balanced(server.stats());
        assert!(server.connections() <= limit, "never more than the limit");
        if start.elapsed() >= length * (memories.len() as u32 + 1) / 10 {
            let ((threads, descriptors, memory), open) = (size(), server.connections());
            memories.push(memory);
            if tell {
                println!(
                    "\nmeasured: after {:.1?}, {kills} killed: {open} open, {threads} threads, {descriptors} descriptors, \
                     {memory} KiB resident",
                    start.elapsed(),
                );
            }
        }
    }
    (memories[0], memories[9])
}

/// Waits until all have left, and all their threads but those that wait for clients.
fn are_gone(server: &Server) {
    eventually("all have left", || server.connections() == 0);
    eventually("their threads have left", || threads() <= 20);
}

/// Runs so many clients for so long against a server that lets in so many at once; `wrapper` may say how many and how long.
fn stampede(test: &str, wrapper: &[&str], (usual, seconds): (usize, usize), limit: impl Fn(usize) -> usize) {
    let (count, length) = (number(CLIENTS, usual), Duration::from_secs(number(SECONDS, seconds) as u64));
    if let Some(to) = other_side() {
        return clients(to, count);
    }
    in_child_for(length + LONG, test, wrapper, || {
        let limit = limit(count);
        let server = ServerOptions::new().max_connections(limit).listen("127.0.0.1:0").expect("port 0 is free");
        let victims = Arc::new(Victims::default());
        let handling = Arc::clone(&victims);
        let serving = server.spawn(move |socket| handling.handler(socket)).expect("a thread can be started");
        let mut others = start_other_side(test, at(&server));
        let rush = |others: &mut OtherSide, length: Duration, tell: bool| {
            others.tell();
            others.expect("started");
            let most = count.min(limit) * 3 / 4;
            eventually("most are there", || server.connections() >= most);
            rush(&server, &victims, length, limit, tell)
        };
        // What a process of this many threads keeps for the next time is had once: sixteen arenas of the allocator, for one,
        // which grow to some 240 KiB each.
        rush(&mut others, length.min(Duration::from_secs(30)), false);
        victims.over.store(true, SeqCst);
        others.tell();
        others.expect("echoes");
        are_gone(&server);
        victims.over.store(false, SeqCst);
        let before = size();
        let (early, late) = rush(&mut others, length, true);
        let harmed = victims.harmed.load(SeqCst);
        // A place for one more, wherever the limit stood.
        server.set_max_connections(limit + 100);
        let greet = |when: &str| {
            let start = Instant::now();
            let mut one = client(server.address());
            one.write_all(&[ECHOING]).expect("the server is there");
            ask(&one).expect("a new client is served");
            println!("\nmeasured: a new client is served {when} within {:?}", start.elapsed());
            one
        };
        let during = greet("while all are there");
        let stats = server.stats();
        println!("measured: {stats:?}");
        victims.over.store(true, SeqCst);
        others.tell();
        println!("measured: {} echoes came back", others.expect("echoes"));
        leave(during);
        leave(greet("when all are gone"));
        others.join();
        are_gone(&server);
        // The two by which the other side was told. A slot is free before its descriptor is closed.
        eventually("descriptors are back where they were", || descriptors() + 2 <= before.1);
        let after = size();
        println!("measured: threads, descriptors, KiB resident before {before:?}, after {after:?}");
        assert_eq!(harmed, 0, "who is not killed is not harmed");
        assert_balanced(server.stats());
        assert!(stats.ended > 0 && stats.failed > 0 && stats.panicked > 0, "the premise: all ends happened: {stats:?}");
        // Of so little, what the allocator happens to keep is more than a tenth, and so is a quarter of the clients.
        let slack = |of: usize| (of / 10).max(2048);
        assert!(late <= early + slack(early), "memory is level while it lasts: {early} KiB, {late} KiB");
        assert!(after.2 <= before.2 + slack(before.2), "memory is back within a tenth, or 2 MiB");
        stop(&server, serving);
        eventually("no thread is left but the test's own", || threads() == 2);
        assert_eq!(server.stats().open, 0, "nobody is open");
    });
}

/// Ensures that of two hundred clients of every kind only those are harmed that are killed, and that nothing is left of them.
#[test]
fn of_two_hundred_clients_of_every_kind_only_the_killed_are_harmed() {
    if !has_proc() {
        return;
    }
    let test = this_test!();
    stampede(test, &[], (200, 1), |count| count + 100);
}

/// The same with a thousand, for half a minute.
#[test]
#[ignore = "takes 70 s, and a machine of its own"]
fn of_a_thousand_clients_of_every_kind_only_the_killed_are_harmed() {
    let test = this_test!();
    stampede(test, &[], (1000, 30), |count| count + 100);
}

/// The same for as long as one likes, at the limit: one of five clients is refused, and comes again. A minute, or as many
/// seconds as `LANDLINE_TEST_SECONDS` says.
#[test]
#[ignore = "takes 100 s, and a machine of its own"]
fn soak() {
    stampede(this_test!(), &[], (500, 60), |count| count * 4 / 5);
}
