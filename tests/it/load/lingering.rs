//! Clients that keep their side open after our end, that send what no handler reads, or that are refused by the
//! thousand: how many threads and descriptors a server has for them, and that each reply arrives whole.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use landline::RefusedBy;
use landline::net::{Server, ServerOptions, Socket, WhenFull};

use crate::support::clients::{ask, at, echo, measured, stop};
use crate::support::fixtures::{Served, noise};
use crate::support::process::assert_same;
use crate::support::{
    HANG, OtherSide, differs, each_ip, eventually, has_proc, in_child_for, other_side, start_other_side, status,
};

/// Bounds a whole test in its process.
const LONG: Duration = Duration::from_secs(1000);
const SHORT: Duration = Duration::from_secs(1);
const FULL: Duration = Duration::from_secs(10);
/// How many polite clients there are at least, however busy the machine is. If each kept a thread or a descriptor of
/// the server, that would be more than the tests allow.
const ENOUGH: usize = 500;

/// Requests. The handler reads one and nothing behind it.
const HELLO: &[u8; 16] = b"hello, please   ";
const PAGES: &[u8; 16] = b"pages, please   ";
const ECHOES: &[u8; 16] = b"echoes, please  ";

/// Longer than what a client that does not read has room for.
static REPLY: LazyLock<Vec<u8>> = LazyLock::new(|| noise(300_000, 1));
/// What the handler does not read.
static UNREAD: LazyLock<Vec<u8>> = LazyLock::new(|| noise(1 << 20, 2));

fn answer(socket: &Socket) -> io::Result<()> {
    let mut request = [0; 16];
    socket.read_exact(&mut request)?;
    match &request {
        HELLO => socket.write_all("hello"),
        PAGES => socket.write_all(&*REPLY),
        _ => echo(socket),
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let one = TcpStream::connect_timeout(&to, HANG).expect("the server listens");
    one.set_read_timeout(Some(HANG)).expect("a timeout can be set");
    one.set_write_timeout(Some(HANG)).expect("a timeout can be set");
    one
}

/// A client that is served and ends nothing: it has its whole reply and has seen our end.
fn polite(to: SocketAddr) -> TcpStream {
    let (mut one, mut reply) = (connect(to), Vec::new());
    one.write_all(HELLO).and_then(|()| one.read_to_end(&mut reply)).expect("a polite client is served in order");
    assert_eq!(reply, b"hello", "a polite client has its whole reply");
    one
}

/// Connects 1,000 times a second, or less often on a busy machine, and waits for nothing. The last 500 connections are
/// held. Stops after `time`, or when the other end of `over` is dropped. Gives how many there were.
fn connect_a_thousand_times_a_second(
    to: SocketAddr,
    from: Option<IpAddr>,
    time: Duration,
    over: &Receiver<()>,
) -> usize {
    /// How many are begun without a pause at most. To make up for more would keep a busy machine from all else.
    const AT_ONCE: usize = 100;
    let (start, mut held, mut count, mut missed) = (Instant::now(), VecDeque::new(), 0, 0);
    let one = || {
        let one = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
        one.set_nonblocking(true)?;
        if let Some(from) = from {
            one.bind(&SocketAddr::from((from, 0)).into())?;
        }
        // In progress, or done.
        let _ = one.connect(&to.into());
        io::Result::Ok(one)
    };
    while start.elapsed() < time && is_running(over, Duration::from_millis(5)) {
        let due = start.elapsed().as_millis() as usize - missed - count;
        missed += due.saturating_sub(AT_ONCE);
        for _ in 0..due.min(AT_ONCE) {
            held.push_back(one().expect("a socket can be had"));
            held.drain(..held.len().saturating_sub(500));
            count += 1;
        }
    }
    count
}

/// Waits for so long; whether the other end of the channel is there still.
fn is_running(over: &Receiver<()>, pause: Duration) -> bool {
    // Not a bound: the pace of what is repeated.
    over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
}

/// Looks every 5 ms at the process that started this one, until the sender is dropped, and once after that. Gives the
/// most threads and descriptors that it had at one look.
fn watch_the_server() -> (Sender<()>, JoinHandle<[usize; 2]>) {
    let (over, is_over) = mpsc::channel();
    let server = status("PPid:");
    let watch = thread::spawn(move || {
        let entries = |kind| fs::read_dir(format!("/proc/{server}/{kind}")).map_or(0, Iterator::count);
        let mut most = [0; 2];
        loop {
            let is_last = !is_running(&is_over, Duration::from_millis(5));
            most = [most[0].max(entries("task")), most[1].max(entries("fd"))];
            if is_last {
                return most;
            }
        }
    });
    (over, watch)
}

/// The clients' process: watches the server while `clients` are there, and says what was seen. They are counted, and
/// what they hold is dropped after the last look.
fn clients<T>(clients: impl FnOnce() -> (usize, T)) {
    let (over, watch) = watch_the_server();
    let (count, held) = clients();
    drop(over);
    let [threads, descriptors] = watch.join().expect("nothing panicked");
    drop(held);
    println!("\nmost {threads} {descriptors} {count}");
}

/// The server's process: waits for what its clients' process saw. Most threads, most descriptors, and how many clients.
fn most(test: &str, server: &Server, meanwhile: impl FnOnce(&mut OtherSide)) -> [usize; 3] {
    let mut others = start_other_side(test, at(server));
    meanwhile(&mut others);
    let most: Vec<_> = others.expect("most").split(' ').map(|number| number.parse().expect("a number")).collect();
    others.join();
    if most[0] == 0 {
        println!("\nskipped: /proc does not show the threads of another process");
    }
    most.try_into().expect("three numbers")
}

/// The limit of descriptors of this process.
fn descriptor_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

/// How many connections may linger under a limit of connections.
fn cap(limit: usize) -> usize {
    limit.min(1024).min(descriptor_limit() / 8)
}

/// One polite client after the other, for `time` and until there were enough. While they come, the server's process
/// opens and closes 1,000 files or more.
fn one_polite_client_after_the_other(test: &str, wrapper: &[&str], time: Duration, options: &ServerOptions) {
    if let Some(to) = other_side() {
        // The server's limit of descriptors is inherited, and these clients are to hold more.
        let this = std::process::id().to_string();
        let _ = Command::new("prlimit").args(["--pid", &this, "--nofile=4200:"]).status();
        let hold = 4000.min(descriptor_limit().saturating_sub(100));
        return clients(|| {
            let (start, mut held, mut count) = (Instant::now(), VecDeque::new(), 0);
            while start.elapsed() < time || count < ENOUGH {
                held.push_back(polite(to));
                held.drain(..held.len().saturating_sub(hold));
                count += 1;
            }
            (count, held)
        });
    }
    in_child_for(LONG, test, wrapper, || {
        each_ip(|at| {
            let server = options.listen(at).expect("port 0 is free");
            let limit = server.max_connections();
            let serving = server.spawn(answer).expect("a thread can be started");
            let mut failed = 0;
            let [threads, descriptors, count] = most(test, &server, |_| {
                let mut open = || {
                    failed += usize::from(File::open("/dev/null").is_err());
                    // Not a bound: the pace of what else the process does.
                    thread::park_timeout(time / 1000);
                    failed > 0
                };
                (0..1000).for_each(|_| _ = open());
                eventually("enough clients come", || open() || server.stats().accepted >= ENOUGH as u64);
            });
            println!(
                "\nmeasured: {count} polite clients one after the other, limit {limit}, cap {}: {threads} threads, \
                 {descriptors} descriptors, {failed} files of 1000 or more could not be opened",
                cap(limit)
            );
            stop(&server, serving);
            assert_eq!(failed, 0, "clients that hold their connections leave the process its descriptors");
            assert!(threads <= 24, "one client at a time needs no more than 24 threads, but {threads}");
            let most = limit + cap(limit) + 20;
            assert!(descriptors <= most, "the limit and the cap bound descriptors to {most}, but {descriptors}");
        });
    });
}

fn with_a_limit_of_four(test: &str, time: Duration) {
    one_polite_client_after_the_other(test, &[], time, &ServerOptions::new().max_connections(4));
}

/// Ensures that clients which have their replies and hold their connections do not make threads and descriptors grow
/// beyond the limit of connections, as another process sees it.
#[test]
fn polite_clients_that_hold_on_need_few_threads() {
    with_a_limit_of_four(this_test!(), SHORT);
}

/// The same for 10 s in each family.
#[test]
#[ignore = "takes 22 s"]
fn polite_clients_that_hold_on_need_few_threads_for_long() {
    with_a_limit_of_four(this_test!(), FULL);
}

fn with_few_descriptors(test: &str, time: Duration) {
    if differs("knows no limit of descriptors, so there the default limit of connections and the cap do not follow it")
    {
        return;
    }
    one_polite_client_after_the_other(test, &["prlimit", "--nofile=128:"], time, &ServerOptions::new());
}

/// Ensures that under a limit of 128 descriptors and the default limit of connections, clients that hold their
/// connections leave the process descriptors of its own: at least 1,000 files are opened and closed one after the
/// other, and none fails.
#[test]
fn polite_clients_that_hold_on_leave_a_process_its_descriptors() {
    if !has_proc() {
        return;
    }
    with_few_descriptors(this_test!(), SHORT);
}

/// The same for 10 s in each family.
#[test]
#[ignore = "takes 22 s"]
fn polite_clients_that_hold_on_leave_a_process_its_descriptors_for_long() {
    with_few_descriptors(this_test!(), FULL);
}

fn with_a_limit_for_each_address(test: &str, time: Duration) {
    let options = ServerOptions::new().max_connections(200).max_connections_per_address(2);
    one_polite_client_after_the_other(test, &[], time, &options);
}

/// Ensures that the clients of one address, which may have two connections, are all served one after the other, and
/// need few threads, while they hold the connections that have ended.
#[test]
fn polite_clients_of_one_address_need_few_threads() {
    with_a_limit_for_each_address(this_test!(), SHORT);
}

/// The same for 10 s in each family.
#[test]
#[ignore = "takes 22 s"]
fn polite_clients_of_one_address_need_few_threads_for_long() {
    with_a_limit_for_each_address(this_test!(), FULL);
}

/// 1,000 clients a second are refused for `time`, and until the hook, which takes 300 ms for each, was called for more
/// than there may be threads.
fn refused_with_a_slow_hook(test: &str, time: Duration) {
    const LIMIT: usize = 4;
    const MOST: usize = LIMIT + 18 + 2;
    if let Some(to) = other_side() {
        let admitted: Vec<_> = (0..LIMIT).map(|_| connect(to)).collect();
        for mut one in &admitted {
            one.write_all(ECHOES).and_then(|()| ask(one)).expect("as many as the limit are admitted");
        }
        return clients(|| {
            let (running, over) = mpsc::channel();
            thread::spawn(move || {
                // Until the server's process says so, or has ended.
                let _ = io::stdin().read(&mut [0]);
                drop(running);
            });
            let count = connect_a_thousand_times_a_second(to, None, LONG, &over);
            admitted.iter().for_each(|one| ask(one).expect("a client that was admitted is served still"));
            (count, admitted)
        });
    }
    in_child_for(LONG, test, &[], || {
        each_ip(|at| {
            static IS_OVER: AtomicBool = AtomicBool::new(false);
            static HOOKS: AtomicUsize = AtomicUsize::new(0);
            IS_OVER.store(false, SeqCst);
            HOOKS.store(0, SeqCst);
            let server = ServerOptions::new().max_connections(LIMIT).listen(at).expect("port 0 is free");
            let hook = |_: &_| {
                HOOKS.fetch_add(1, SeqCst);
                if !IS_OVER.load(SeqCst) {
                    // Not a bound: what the hook takes.
                    thread::sleep(Duration::from_millis(300));
                }
            };
            let serving = server.on().connection(answer).refused(hook).spawn().expect("a thread can be started");
            let [threads, descriptors, count] = most(test, &server, |others| {
                let is_called = |times| move || HOOKS.load(SeqCst) >= times;
                eventually("the hook is called", is_called(1));
                // Not a bound: how long clients come.
                thread::park_timeout(time);
                eventually("the hook is called for more clients than there may be threads", is_called(2 * MOST));
                others.tell();
            });
            let hooks = HOOKS.load(SeqCst);
            IS_OVER.store(true, SeqCst);
            println!(
                "\nmeasured: {count} clients refused in {time:?} or more, limit {LIMIT}, {hooks} hooks of 300 ms had \
                 begun: {threads} threads, {descriptors} descriptors"
            );
            stop(&server, serving);
            assert!(threads <= MOST, "slow hooks need no more than {MOST} threads, but {threads}");
            assert!(descriptors <= MOST + 20, "nor more than {} descriptors, but {descriptors}", MOST + 20);
        });
    });
}

/// Ensures that 1,000 refused clients a second do not make threads grow, where a hook takes 300 ms for each.
#[test]
fn refused_clients_with_a_slow_hook_need_few_threads() {
    refused_with_a_slow_hook(this_test!(), SHORT);
}

/// The same for 10 s in each family.
#[test]
#[ignore = "takes 22 s"]
fn refused_clients_with_a_slow_hook_need_few_threads_for_long() {
    refused_with_a_slow_hook(this_test!(), FULL);
}

/// Asks for a reply and sends what the handler does not read; gives what came of the reply.
type Behaviour = fn(&TcpStream, &[u8]) -> io::Result<Vec<u8>>;
const BEHAVIOURS: [(&str, Behaviour); 3] = [
    ("writes all, then reads", |mut one, message| {
        one.write_all(message)?;
        let mut reply = Vec::new();
        one.read_to_end(&mut reply).map(|_| reply)
    }),
    ("reads while it writes", |mut one, message| {
        let mut reply = Vec::new();
        thread::scope(|scope| {
            let mut writer = one;
            let writing = scope.spawn(move || writer.write_all(message));
            let read = one.read_to_end(&mut reply);
            writing.join().expect("nothing panicked").and(read)
        })?;
        Ok(reply)
    }),
    ("writes slowly, ends, and reads late and slowly", |mut one, message| {
        // Not a bound: the pace of the client.
        let pause = |ms| thread::park_timeout(Duration::from_millis(ms));
        for part in message.chunks(64 * 1024) {
            one.write_all(part)?;
            pause(5);
        }
        one.shutdown(Shutdown::Write)?;
        pause(50);
        let (mut reply, mut part) = (Vec::new(), [0; 8 * 1024]);
        loop {
            match one.read(&mut part)? {
                0 => return Ok(reply),
                n => reply.extend(&part[..n]),
            }
            pause(1);
        }
    }),
];

/// So many clients of each behaviour, of which `at_once` are there at once; each has its whole reply.
fn replies_are_whole(to: SocketAddr, count: usize, at_once: usize, when: &str) {
    let message = [&PAGES[..], &UNREAD].concat();
    for (name, behaviour) in BEHAVIOURS {
        let (begun, whole, torn) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while begun.fetch_add(1, SeqCst) < count {
                match behaviour(&connect(to), &message) {
                    Ok(reply) if reply.len() == REPLY.len() => {
                        assert_same(&reply, &REPLY, name);
                        whole.fetch_add(1, SeqCst);
                    }
                    other => torn.lock().expect("nothing panicked").push(other.map(|reply| reply.len())),
                }
            }
        };
        thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(work))));
        let (whole, torn) = (whole.into_inner(), torn.into_inner().expect("nothing panicked"));
        println!("\nmeasured: {when}, a client {name}: {whole} of {count} replies whole {torn:?}");
        assert_eq!(whole, count, "each reply arrives whole {when}, where a client {name}: {torn:?}");
    }
}

/// A server that waits for its peers as long as they take: what a busy machine delays is not cut.
fn patient(limit: usize) -> ServerOptions {
    ServerOptions::new().max_connections(limit).lingering_close(HANG)
}

fn alone(count: usize) {
    each_ip(|ip| {
        let served = Served::start(ip, &patient(16), answer);
        replies_are_whole(at(&served.server), count, 8, "alone");
        served.stop();
    });
}

/// Ensures that a client which sends 1 MiB that the handler does not read has its whole reply, however it writes and
/// reads.
#[test]
fn replies_are_whole_where_much_is_unread() {
    alone(10);
}

/// The same with 50 clients of each behaviour.
#[test]
#[ignore = "takes 5 s"]
fn fifty_replies_are_whole_where_much_is_unread() {
    alone(50);
}

fn while_twice_the_cap_lingers(test: &str, count: usize) {
    const LIMIT: usize = 4;
    in_child_for(LONG, test, &[], || {
        each_ip(|ip| {
            // No polite client and no other is refused: they wait for each other.
            let served = Served::start(ip, &patient(LIMIT).when_full(WhenFull::Wait), answer);
            let to = at(&served.server);
            let (over, is_over) = mpsc::channel();
            let (tell, told) = mpsc::channel();
            let flood = thread::spawn(move || {
                let (mut held, mut count) = (VecDeque::new(), 0);
                while is_running(&is_over, Duration::ZERO) {
                    held.push_back(polite(to));
                    if held.len() > 2 * cap(LIMIT) {
                        held.pop_front();
                        let _ = tell.send(());
                    }
                    count += 1;
                }
                count
            });
            told.recv_timeout(HANG).expect("the flood is there");
            let start = Instant::now();
            replies_are_whole(to, count, 8, "while twice the cap lingers");
            drop(over);
            let polite: usize = flood.join().expect("each polite client has its whole reply");
            println!("measured: {polite} polite clients meanwhile, in {:?}", start.elapsed());
            served.stop();
        });
    });
}

/// Ensures the same while polite clients, which hold their connections, keep twice as many lingering as are waited for.
#[test]
fn replies_are_whole_while_twice_the_cap_lingers() {
    while_twice_the_cap_lingers(this_test!(), 10);
}

/// The same with 50 clients of each behaviour.
#[test]
#[ignore = "takes 5 s"]
fn fifty_replies_are_whole_while_twice_the_cap_lingers() {
    while_twice_the_cap_lingers(this_test!(), 50);
}

fn while_a_thousand_a_second_are_refused(test: &str, count: usize) {
    // With so few descriptors, clients that hold on after the goodbye take all the places of the process.
    in_child_for(LONG, test, &["prlimit", "--nofile=2000:"], || {
        each_ip(|ip| {
            for when_full in [WhenFull::Refuse, WhenFull::RefuseWith("busy".into())] {
                while_a_flood_gets(when_full, ip, count);
            }
        });
    });
}

/// 1,000 clients a second are refused since too many of their address are there, and get what `when_full` says.
fn while_a_flood_gets(when_full: WhenFull, ip: &str, count: usize) {
    /// What the flood's address may have, and the others'.
    const EACH: usize = 8;
    // On the wildcard address IPv4 reaches an IPv6 server too, so that the flood has an address of its own.
    let ip = if ip.starts_with('[') { "[::]:0" } else { ip };
    let when = format!(
        "while 1,000 clients a second get {}",
        if when_full == WhenFull::Refuse { "an end" } else { "a goodbye" }
    );
    let options = patient(4 * EACH).max_connections_per_address(EACH).when_full(when_full);
    let served = Served::start(ip, &options, answer);
    let to = at(&served.server);
    let of_the_flood = Ipv4Addr::new(127, 0, 0, 2).into();
    let flooded = SocketAddr::from((Ipv4Addr::LOCALHOST, to.port()));
    let to = if to.is_ipv6() { SocketAddr::from((Ipv6Addr::LOCALHOST, to.port())) } else { to };
    let (over, is_over) = mpsc::channel();
    let flood = thread::spawn(move || {
        let start = Instant::now();
        let admitted: Vec<_> = (0..EACH).map(|_| connect_from(of_the_flood, flooded)).collect();
        let count = connect_a_thousand_times_a_second(flooded, Some(of_the_flood), LONG, &is_over);
        drop(admitted);
        (count, start.elapsed())
    });
    let refused = || served.server.stats().refused(RefusedBy::PerAddress);
    eventually("the flood is refused, more of it than may linger", || refused() > cap(usize::MAX) as u64);
    replies_are_whole(to, count, EACH / 2, &when);
    let refused = refused();
    drop(over);
    let (flooding, took) = flood.join().expect("nothing panicked");
    println!("measured: {refused} of {flooding} refused meanwhile, in {took:?}");
    served.stop();
}

fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let one = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None);
    let one = one.expect("a socket can be had");
    one.bind(&SocketAddr::from((from, 0)).into()).expect("all of 127.0.0.0/8 is this machine");
    one.connect(&to.into()).expect("the server listens");
    let mut one = TcpStream::from(one);
    one.write_all(ECHOES).and_then(|()| ask(&one)).expect("it is admitted");
    one
}

/// Ensures the same while 1,000 clients a second are refused.
#[test]
fn replies_are_whole_while_a_thousand_a_second_are_refused() {
    while_a_thousand_a_second_are_refused(this_test!(), 4);
}

/// The same with 50 clients of each behaviour.
#[test]
#[ignore = "takes 10 s"]
fn fifty_replies_are_whole_while_a_thousand_a_second_are_refused() {
    while_a_thousand_a_second_are_refused(this_test!(), 50);
}

/// Begins `count` clients which, once they have their reply, send one byte every 50 ms until they are cut, and come
/// again; the first byte after `first`. They stop when what is given is dropped.
fn drip(to: SocketAddr, count: usize, first: Duration) -> (Vec<Sender<()>>, Vec<JoinHandle<()>>) {
    let one = |_| {
        let (over, is_over) = mpsc::channel();
        let peer = thread::spawn(move || {
            while is_running(&is_over, Duration::ZERO) {
                let (mut one, mut pause) = (polite(to), first);
                while is_running(&is_over, pause) && one.write_all(b".").is_ok() {
                    pause = Duration::from_millis(50);
                }
            }
        });
        (over, peer)
    };
    (0..count).map(one).unzip()
}

/// Measures what it costs to wait for peers that keep on sending after our end. There are as many as may linger and be
/// served at once. Each sends one byte every 50 ms, and connects again once it is cut. A peer whose first byte comes
/// late is given up before, when others need its place.
#[test]
#[ignore = "takes 40 s; prints figures alone"]
fn what_peers_that_drip_cost_others() {
    const NOW: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_millis(50);
    in_child_for(LONG, this_test!(), &[], || {
        for limit in [4, 64] {
            let all = limit + cap(limit);
            for (count, first) in [(0, NOW), (all, LATER), (all, NOW)] {
                let options = ServerOptions::new().max_connections(limit).when_full(WhenFull::Wait);
                let served = Served::start("127.0.0.1:0", &options, answer);
                let to = at(&served.server);
                let (over, peers) = drip(to, count, first);
                // Not a bound: until all drip.
                thread::sleep(Duration::from_secs(1));
                let (start, before, mut waits) = (Instant::now(), served.server.stats().accepted, Vec::new());
                while start.elapsed() < Duration::from_secs(5) {
                    let start = Instant::now();
                    drop(polite(to));
                    waits.push(start.elapsed());
                }
                let accepted = (served.server.stats().accepted - before) as f64 / start.elapsed().as_secs_f64();
                println!(
                    "\nmeasured: limit {limit}, {count} peers drip after {first:?}: {accepted:.0} accepts a second"
                );
                measured("the wait of an honest client", waits);
                drop(over);
                peers.into_iter().for_each(|one| one.join().expect("each that drips is served too"));
                served.stop();
            }
        }
    });
}
