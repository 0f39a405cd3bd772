//! Servers, clients, options and calls at random, and what must hold at the end of each round: every slot is free, each
//! connection is reported once, no thread or file is left.
//!
//! storm [SECONDS [SEED]]
use landline::net::{Server, ServerEvent, ServerOptions, Socket, SocketEvent, SocketOptions, WhenFull, relay};
use landline::{Cancel, Report};
use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone)]
struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn chance(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn fork(&mut self) -> Rng {
        Rng(self.next() | 1)
    }
}

static STEP: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);

fn ms(r: &mut Rng, n: u64) -> Duration {
    Duration::from_micros(r.below(n * 1000) + 1)
}

fn act(socket: &Socket, r: &mut Rng, others: &Mutex<Vec<Socket>>, server: &Server, depth: u32) -> io::Result<()> {
    let n = 1 + r.below(6);
    for _ in 0..n {
        match r.below(23) {
            0 | 1 => {
                let mut b = [0; 512];
                if socket.read(&mut b)? == 0 {
                    return Ok(());
                }
            }
            2 => socket.write_all(vec![1; r.below(3000) as usize])?,
            3 => {
                let _ = socket.outbox().try_send(vec![2; r.below(200_000) as usize]);
            }
            4 => {
                let _ = socket.outbox().end();
            }
            5 => {
                let _ = socket.end();
            }
            6 => {
                socket.destroy();
            }
            7 => {
                let _ = socket.reset_and_destroy();
            }
            8 => {
                socket.set_timeout(ms(r, 20));
            }
            9 => {
                socket.set_deadline(Instant::now() + ms(r, 40));
            }
            10 => {
                socket.pause();
                let s = socket.clone();
                let d = ms(r, 10);
                thread::spawn(move || {
                    thread::sleep(d);
                    s.resume()
                });
            }
            14 if depth == 0 => {
                let mut r2 = r.fork();
                return socket.each(|s, e| {
                    if let SocketEvent::Close { .. } = e {
                        return Ok(());
                    }
                    if r2.chance(40) {
                        panic!("in each")
                    }
                    if r2.chance(6) {
                        s.outbox().try_send(vec![5; r2.below(60_000) as usize])?;
                    }
                    if r2.chance(20) {
                        s.destroy();
                    }
                    if r2.chance(20) {
                        return Err(io::Error::other("mine"));
                    }
                    Ok(())
                });
            }
            15 if depth == 0 => return socket.pipe(socket),
            13 if r.chance(3) => panic!("handler"),
            14 if r.chance(3) => return Err(io::Error::other("handler's")),
            15 => {
                let all: Vec<_> = others.lock().unwrap().clone();
                if !all.is_empty() {
                    let o = &all[r.below(all.len() as u64) as usize];
                    match r.below(4) {
                        0 => o.destroy(),
                        1 => {
                            let _ = o.outbox().try_send(vec![6; r.below(3000) as usize]);
                        }
                        2 => o.outbox().clear(),
                        _ => {
                            let _ = o.reset_and_destroy();
                        }
                    }
                }
            }
            16 => others.lock().unwrap().push(socket.clone()),
            17 => {
                let _ = socket.outbox().flush();
            }
            18 => {
                let _ = { socket }.write_vectored(&[IoSlice::new(b"abc"), IoSlice::new(&[7; 1000]), IoSlice::new(b"")]);
            }
            22 if depth == 0 => {
                if let Ok(other) =
                    SocketOptions::new().connect_timeout(Duration::from_millis(200)).connect(server.address())
                {
                    let _ = relay(socket, &other);
                }
                return Ok(());
            }
            20 => {
                for s in server.sockets() {
                    if r.chance(8) {
                        s.destroy();
                    }
                }
            }
            21 => {
                let _ = socket.write_end("end");
            }
            25 if depth == 0 && r.chance(2) => {
                if let Ok(ev) = socket.events(r.below(3) as usize) {
                    let until = Instant::now() + ms(r, 30);
                    while Instant::now() < until {
                        match ev.recv_timeout(Duration::from_millis(3)) {
                            Ok(SocketEvent::Close { .. }) => break,
                            Ok(SocketEvent::End) => {
                                let _ = socket.outbox().end();
                            }
                            _ => {}
                        }
                    }
                }
            }
            _ => thread::sleep(ms(r, 3)),
        }
    }
    Ok(())
}

fn client(at: std::net::SocketAddr, mut r: Rng) {
    let Ok(mut c) = TcpStream::connect(at) else { return };
    let _ = c.set_read_timeout(Some(Duration::from_millis(50)));
    let _ = c.set_write_timeout(Some(Duration::from_millis(50)));
    for _ in 0..r.below(8) {
        match r.below(6) {
            0 => {
                let _ = c.write(&vec![9; r.below(2000) as usize]);
            }
            1 => {
                let mut b = vec![0; 1 + r.below(100_000) as usize];
                let _ = c.read(&mut b);
            }
            2 => {
                let _ = c.shutdown(std::net::Shutdown::Write);
            }
            3 => thread::sleep(ms(&mut r, 8)),
            4 if r.chance(4) => {
                let _ = socket2::SockRef::from(&c).set_linger(Some(Duration::ZERO));
                return;
            }
            _ => {}
        }
    }
    if r.chance(3) {
        let _ = c.shutdown(std::net::Shutdown::Write);
        let mut b = vec![0; 65536];
        while c.read(&mut b).is_ok_and(|n| n > 0) {}
    }
}

#[derive(Default)]
struct Book {
    started: HashMap<u64, u32>,
    ended: HashMap<u64, u32>,
    closed: u32,
    late: Vec<String>,
    refused: u64,
}

fn round(seed: u64) {
    SEED.store(seed, SeqCst);
    let mut r = Rng(seed.wrapping_mul(0x9E3779B97F4A7C15) | 1);
    for _ in 0..5 {
        r.next();
    }
    let book: Arc<Mutex<Book>> = Arc::default();
    let b = book.clone();
    let hook_rng = Mutex::new(r.fork());
    let slot: Arc<Mutex<Option<Server>>> = Arc::default();
    let sl = slot.clone();
    let limit = r.below(12) as usize;
    let cancel = Cancel::new();
    let adopt = r.chance(3);
    let when = match r.below(3) {
        0 => WhenFull::Refuse,
        1 => WhenFull::RefuseWith(vec![b'!'; r.below(60_000) as usize]),
        _ => WhenFull::Wait,
    };
    let mut options = ServerOptions::new()
        .max_connections(limit.max(1))
        .when_full(when)
        .lingering_close(ms(&mut r, 40))
        .cancel(&cancel)
        .answer_queued(r.chance(2))
        .pause_on_connect(r.chance(15))
        .allow_half_open(r.chance(3))
        .stack_size(256 * 1024);
    if r.chance(3) {
        options = options.timeout(ms(&mut r, 50));
    }
    if r.chance(3) {
        options = options.deadline(ms(&mut r, 80));
    }
    if r.chance(4) {
        options = options.max_connections_per_address(1 + r.below(5) as usize);
    }
    let options = options.report(move |rep| {
        let mut k = {
            let mut g = hook_rng.lock().unwrap();
            g.fork()
        };
        {
            let mut b = b.lock().unwrap();
            if b.closed > 0 && !matches!(rep, Report::Closing { .. }) {
                let t = format!("{rep}");
                b.late.push(t);
            }
            match rep {
                Report::Accepted { connection, .. } | Report::Connected { connection, .. } => {
                    if b.ended.contains_key(&connection.id.get()) {
                        let t = format!("ended before it began: {rep}");
                        b.late.push(t);
                    }
                    *b.started.entry(connection.id.get()).or_default() += 1
                }
                Report::Ended { connection, .. } => *b.ended.entry(connection.id.get()).or_default() += 1,
                Report::Closed { .. } => b.closed += 1,
                Report::Refused { .. } => b.refused += 1,
                _ => {}
            }
        }
        let server = sl.lock().unwrap().clone();
        if let Some(server) = server {
            match k.below(40) {
                0 => panic!("hook"),
                1 => {
                    for s in server.sockets() {
                        s.destroy();
                    }
                }
                2 => {
                    server.set_max_connections(1 + k.below(10) as usize);
                }
                3 => thread::sleep(ms(&mut k, 2)),
                4 => {
                    let _ = (server.stats(), server.queued());
                }
                5 if k.chance(8) => server.close(),
                _ => {}
            }
        }
    });
    let server = if adopt {
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        options.adopt(l).unwrap()
    } else {
        options.listen("127.0.0.1:0").unwrap()
    };
    *slot.lock().unwrap() = Some(server.clone());
    let at = server.address().socket_addr().unwrap();
    let others: Arc<Mutex<Vec<Socket>>> = Arc::default();
    let hr = Arc::new(Mutex::new(r.fork()));
    let handlers = Arc::new(AtomicUsize::new(0));
    let mode = r.below(5);
    let stop = Arc::new(AtomicBool::new(false));
    let mut joins: Vec<thread::JoinHandle<()>> = Vec::new();
    let over_early = r.chance(2);
    {
        let (server, others, hr, handlers) = (server.clone(), others.clone(), hr.clone(), handlers.clone());
        let stop2 = stop.clone();
        let mut rr = r.fork();
        joins.push(thread::spawn(move || {
            let handler = |socket: &Socket| {
                handlers.fetch_add(1, SeqCst);
                struct Out<'a>(&'a AtomicUsize);
                impl Drop for Out<'_> {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, SeqCst);
                    }
                }
                let _out = Out(&handlers);
                let mut r = hr.lock().unwrap().fork();
                if r.chance(12) && over_early {
                    match r.below(4) {
                        0 => server.close(),
                        1 => {
                            let _ = server.shutdown(ms(&mut r, 20));
                        }
                        2 => {
                            server.close();
                            server.wait().unwrap();
                        }
                        _ => {}
                    }
                }
                act(socket, &mut r, &others, &server, 0)
            };
            match mode {
                0 | 1 => {
                    let _ = server.serve(handler);
                }
                2 => {
                    let e = server.clone();
                    let _ = server
                        .on()
                        .connection(handler)
                        .refused(|_| {
                            STEP.fetch_add(1, SeqCst);
                        })
                        .error(move |_, _| {
                            e.sockets().iter().take(1).for_each(Socket::destroy);
                        })
                        .close(|| {})
                        .run();
                }
                3 => {
                    // accept
                    thread::scope(|s| {
                        for _ in 0..2 {
                            s.spawn(|| {
                                while let Ok(Some(socket)) = server.accept() {
                                    let handler = &handler;
                                    s.spawn(move || {
                                        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                                            handler_accept(&socket, handler)
                                        }));
                                    });
                                }
                            });
                        }
                    });
                }
                _ => {
                    let Ok(events) = server.events(rr.below(4) as usize) else { return };
                    let begun = Instant::now();
                    let cut = rr.chance(3);
                    loop {
                        match events.recv_timeout(Duration::from_millis(5)) {
                            Ok(ServerEvent::Socket(s, SocketEvent::Data(d))) => {
                                let _ = s.outbox().try_send(d);
                                if rr.chance(10) {
                                    s.destroy();
                                }
                            }
                            Ok(ServerEvent::Socket(s, SocketEvent::End)) => {
                                let _ = s.outbox().end();
                            }
                            Ok(ServerEvent::Close) => break,
                            Ok(_) => {}
                            Err(landline::channel::RecvTimeoutError::Disconnected) => break,
                            Err(_) => {}
                        }
                        if cut && begun.elapsed() > Duration::from_millis(60) {
                            break;
                        }
                        if stop2.load(SeqCst) && rr.chance(30) {
                            let _ = server.shutdown(Duration::from_millis(20));
                        }
                    }
                    drop(events);
                }
            }
        }));
    }
    let n = 4 + r.below(40);
    let mut clients = Vec::new();
    for _ in 0..n {
        let rr = r.fork();
        clients.push(thread::spawn(move || client(at, rr)));
        if r.chance(4) {
            thread::sleep(ms(&mut r, 3));
        }
    }
    thread::sleep(ms(&mut r, 60));
    // The end, in some order.
    for _ in 0..1 + r.below(3) {
        let (server, cancel) = (server.clone(), cancel.clone());
        let mut rr = r.fork();
        joins.push(thread::spawn(move || {
            thread::sleep(ms(&mut rr, 10));
            match rr.below(5) {
                0 => server.close(),
                1 => {
                    let _ = server.shutdown(ms(&mut rr, 50));
                }
                2 => cancel.cancel(),
                3 => {
                    let _ = server.shutdown(Duration::ZERO);
                }
                _ => {
                    server.close();
                }
            }
        }));
    }
    for c in clients {
        c.join().unwrap();
    }
    stop.store(true, SeqCst);
    server.close();
    let end = Instant::now();
    while end.elapsed() < Duration::from_millis(300) && server.connections() > 0 {
        thread::sleep(Duration::from_millis(5));
    }
    let report = server.shutdown(Duration::from_millis(200));
    let _ = report;
    for o in others.lock().unwrap().drain(..) {
        o.destroy();
    }
    server.wait().unwrap();
    for j in joins {
        j.join().unwrap();
    }
    let stats = server.stats();
    assert_eq!(server.connections(), 0, "seed {seed}: slots");
    assert_eq!(stats.open, 0, "seed {seed}: open {stats:?}");
    assert_eq!(stats.accepted, stats.ended + stats.failed + stats.panicked, "seed {seed}: {stats:?}");
    let b = book.lock().unwrap();
    assert_eq!(b.started.len() as u64, stats.accepted, "seed {seed}: accepted reports");
    for id in b.started.keys() {
        assert_eq!(b.ended.get(id), Some(&1), "seed {seed}: ended reports of {id}");
        assert_eq!(b.started[id], 1);
    }
    assert_eq!(b.closed, 1, "seed {seed}: closed reports");
    assert_eq!(stats.refused_total(), b.refused, "seed {seed}: refused");
    if !b.late.is_empty() {
        println!("seed {seed}: late {:?}", b.late);
    }
    drop(b);
    slot.lock().unwrap().take();
}

fn handler_accept(socket: &Socket, handler: &impl Fn(&Socket) -> io::Result<()>) -> io::Result<()> {
    let r = handler(socket);
    socket.destroy();
    r
}

fn main() {
    std::panic::set_hook(Box::new(|i| {
        let t = i.to_string();
        if !["hook", "in each", "\nhandler"].iter().any(|s| t.contains(s)) {
            eprintln!("PANIC {t}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
    let secs = std::env::args().nth(1).map_or(60, |text| text.parse().unwrap());
    let mut seed: u64 = std::env::args().nth(2).map_or(1, |text| text.parse().unwrap());
    thread::spawn(|| {
        let mut last = (0, Instant::now());
        loop {
            thread::sleep(Duration::from_secs(1));
            let seed = SEED.load(SeqCst);
            if seed != last.0 {
                last = (seed, Instant::now());
            } else if last.1.elapsed() > Duration::from_secs(25) {
                cases::verdict(false, format!("seed {seed} hangs"))
            }
        }
    });
    let begun = Instant::now();
    round(0);
    round(0);
    thread::sleep(Duration::from_millis(200));
    let (threads, files) = (cases::threads(), cases::descriptors());
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(secs) {
        seed += 1;
        rounds += 1;
        round(seed);
    }
    let are_left = || cases::threads() > threads + 1 || cases::descriptors() > files;
    let wait = Instant::now();
    while are_left() && wait.elapsed() < Duration::from_secs(3) {
        thread::sleep(Duration::from_millis(20));
    }
    let text = format!(
        "{rounds} rounds, last seed {seed}; {} threads (before {threads}), {} files (before {files}): {:?}",
        cases::threads(),
        cases::descriptors(),
        cases::thread_names()
    );
    cases::verdict(!are_left(), text)
}
