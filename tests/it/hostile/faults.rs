//! Handlers that fail, hooks that panic, and a system that runs out of everything: nobody else is harmed.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Stats};
use landline::{RefusedBy, Report};

use crate::support::clients::{ask, at, client, echo, is_turned_away, leave, stop};
use crate::support::process::{Program, example};
use crate::support::{
    Folder, HANG, descriptors, differs_on_windows, eventually, has_proc, in_child, is_child, threads, tool, within,
};

/// What panics once more when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // Silent, unlike `panic!`: there are thousands. A second panic while the first unwinds would end the process.
        if !thread::panicking() {
            resume_unwind(Box::new("a payload panics when it is dropped"));
        }
    }
}

/// An error that panics when it is shown, or when it is dropped.
#[derive(Debug)]
struct Spiteful {
    when_dropped: Option<Bomb>,
}

impl std::fmt::Display for Spiteful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.when_dropped {
            Some(_) => f.write_str("spiteful"),
            None => resume_unwind(Box::new("an error panics when it is shown")),
        }
    }
}

impl std::error::Error for Spiteful {}

impl std::fmt::Debug for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bomb")
    }
}

#[track_caller]
fn assert_balanced(stats: Stats) {
    let Stats { accepted, open, ended, failed, panicked, .. } = stats;
    assert_eq!(accepted, open + ended + failed + panicked, "the accounts balance at every instant: {stats:?}");
}

/// Ensures that of 10,000 connections that end well, badly and worse at random nobody else is harmed, that the accounts
/// balance at every instant, and that every slot comes back: then exactly as many are let in as before.
#[test]
fn ten_thousand_random_ends_cost_no_slot_and_harm_nobody() {
    in_child(this_test!(), &[], || {
        const LIMIT: usize = 8;
        const CLIENTS: usize = 16;
        const EACH: usize = 625;
        let server = ServerOptions::new().max_connections(LIMIT).listen("127.0.0.1:0").expect("the server listens");
        let before = (threads(), descriptors());
        let serving = server
            .spawn(|socket| {
                let mut what = [0];
                socket.read_exact(&mut what)?;
                match what[0] {
                    0 => Ok(()),
                    1 => Err(io::ErrorKind::Other.into()),
                    2 => Err(io::Error::other("of my own")),
                    3 => resume_unwind(Box::new("text")),
                    4 => resume_unwind(Box::new(Bomb)),
                    5 => {
                        socket.destroy();
                        Ok(())
                    }
                    6 => {
                        socket.destroy();
                        resume_unwind(Box::new(17))
                    }
                    7 => socket.reset_and_destroy(),
                    8 => socket.read_exact(&mut [0; 2]),
                    9 => Err(io::Error::other(Spiteful { when_dropped: None })),
                    10 => Err(io::Error::other(Spiteful { when_dropped: Some(Bomb) })),
                    11 => socket.write_end("well\n"),
                    _ => echo(socket),
                }
            })
            .expect("a thread can be started");
        let good = client(server.address());
        good.try_clone().expect("a descriptor is free").write_all(&[99]).expect("the server is there");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut clients = Vec::new();
            for n in 0..CLIENTS {
                let server = &server;
                clients.push(scope.spawn(move || {
                    // Any numbers will do, the same each time.
                    let mut random = n as u32 + 1;
                    for _ in 0..EACH {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let mut one = client(server.address());
                        // Refused by no fault of anybody's, some of these fail.
                        let _ = one.write_all(&[(random >> 24) as u8 % 14]);
                        let _ = one.shutdown(std::net::Shutdown::Write);
                        let _ = one.read_to_end(&mut Vec::new());
                    }
                }));
            }
            let sampler = scope.spawn(|| {
                let mut samples = 0;
                while !over.load(SeqCst) {
                    assert_balanced(server.stats());
                    assert!(server.connections() <= LIMIT, "never more than the limit");
                    samples += 1;
                }
                samples
            });
            while !clients.iter().all(|one| one.is_finished()) {
                ask(&good).expect("a connection goes on whatever happens to others");
            }
            over.store(true, SeqCst);
            let samples: usize = sampler.join().expect("the accounts balance");
            println!("\nmeasured {samples} samples of the accounts, all balanced");
            clients.into_iter().for_each(|one| one.join().expect("a client does not panic"));
        });
        eventually("every connection but one ends", || server.connections() == 1);
        let stats = server.stats();
        println!("measured {stats:?}");
        assert_balanced(stats);
        let all = (CLIENTS * EACH + 1) as u64;
        assert_eq!(stats.accepted + stats.refused(RefusedBy::Full), all, "each client was let in or refused, once");
        assert!(stats.panicked > 500 && stats.failed > 500 && stats.ended > 500, "the premise: all ends happened");

        let again: Vec<_> = (1..LIMIT)
            .map(|_| {
                let one = client(server.address());
                (&one).write_all(&[99]).expect("the server is there");
                ask(&one).expect("exactly as many are let in as there are free slots");
                one
            })
            .collect();
        assert!(is_turned_away(&client(server.address())), "and no more");
        drop((again, good));
        stop(&server, serving);
        eventually("no thread and no descriptor is left", || {
            let listener = 1;
            threads() <= before.0 && descriptors() <= before.1.saturating_sub(listener)
        });
    });
}

/// Ensures that an error that panics while it is looked at, or dropped, ends its own connection and not the serving thread.
#[test]
fn an_error_that_panics_itself_ends_its_own_connection_only() {
    let server = Server::listen("127.0.0.1:0").expect("the server listens");
    let serving = server
        .spawn(|socket| {
            let mut what = [0];
            socket.read_exact(&mut what)?;
            match what[0] {
                0 => Err(io::Error::other(Spiteful { when_dropped: None })),
                1 => Err(io::Error::other(Spiteful { when_dropped: Some(Bomb) })),
                _ => echo(socket),
            }
        })
        .expect("a thread can be started");
    for what in [0, 1, 0, 1] {
        let mut one = client(server.address());
        one.write_all(&[what]).expect("the server is there");
        assert!(is_turned_away(&one), "the connection ends");
    }
    let one = client(server.address());
    (&one).write_all(&[2]).expect("the server is there");
    ask(&one).expect("the server serves on");
    leave(one);
    stop(&server, serving);
    let stats = server.stats();
    assert_balanced(stats);
    assert_eq!(stats.failed + stats.panicked, 4, "each spiteful one has failed or panicked: {stats:?}");
}

/// Ensures that hooks that panic, even with something that panics again when it is dropped, harm nobody: the server goes on
/// accepting, and every slot comes back.
#[test]
fn hooks_that_panic_harm_nobody() {
    let options = ServerOptions::new().max_connections(1).report(|_| resume_unwind(Box::new(Bomb)));
    let server = options.listen("127.0.0.1:0").expect("the server listens");
    let serving = server
        .on()
        .connection(|socket| {
            echo(socket)?;
            Err(io::Error::other("for the `error` callback"))
        })
        .refused(|_| resume_unwind(Box::new(Bomb)))
        .error(|_, _| resume_unwind(Box::new(Bomb)))
        .spawn()
        .expect("a thread can be started");
    for _ in 0..20 {
        let one = client(server.address());
        ask(&one).expect("the server serves, whatever its hooks do");
        assert!(is_turned_away(&client(server.address())), "there is room for one");
        leave(one);
    }
    stop(&server, serving);
    let stats = server.stats();
    assert_balanced(stats);
    assert_eq!(
        (stats.accepted, stats.failed, stats.refused(RefusedBy::Full)),
        (20, 20, 20),
        "nothing is lost or counted twice"
    );
}

/// Ensures that a panic's text is reported, and what is no text is reported as well.
#[test]
fn a_panic_is_reported_with_its_text() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let options = ServerOptions::new().report(move |report| {
        if let Report::Panicked { message, connection, .. } = report {
            let _ = tell.lock().expect("nobody panics here").send((message.clone(), connection.remote.clone()));
        }
    });
    let server = options.listen("127.0.0.1:0").expect("the server listens");
    let serving = server.spawn(|socket| {
        let mut what = [0];
        socket.read_exact(&mut what)?;
        match what[0] {
            0 => resume_unwind(Box::new("a text")),
            1 => resume_unwind(Box::new(String::from("a text of its own"))),
            _ => resume_unwind(Box::new(Bomb)),
        }
    });
    let serving = serving.expect("a thread can be started");
    for (what, text) in [(0, "a text"), (1, "a text of its own"), (2, "(no text)")] {
        let mut one = client(server.address());
        one.write_all(&[what]).expect("the server is there");
        let (message, remote) = told.recv_timeout(HANG).expect("the panic is reported");
        assert_eq!(message, text, "with its text");
        let own = one.local_addr().expect("the client has an address");
        assert_eq!(remote.socket_addr(), Some(own), "and with its client");
        assert!(is_turned_away(&one), "its connection ends");
    }
    stop(&server, serving);
    assert_eq!(server.stats().panicked, 3, "each is counted");
}

/// What a server says of its accepting.
#[derive(Debug, PartialEq)]
enum Told {
    Paused(String),
    Resumed,
}

fn telling() -> (ServerOptions, mpsc::Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let options = ServerOptions::new().report(move |report| {
        let what = match report {
            Report::AcceptPaused { error, .. } => Told::Paused(error.code().into()),
            Report::Resumed { .. } => Told::Resumed,
            _ => return,
        };
        let _ = tell.lock().expect("nobody panics here").send(what);
    });
    (options, told)
}

/// Runs in a child under strace, which has the first two accept4(2) of each worker fail. Each client stays, so each has a
/// worker of its own.
fn survives(test: &str, error: &str, pauses: bool) {
    const CLIENTS: usize = 10;
    let inject = format!("inject=accept4:error={error}:when=1..2");
    in_child(test, &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4", "-e", &inject], || {
        let (options, told) = telling();
        let server = options.listen("127.0.0.1:0").expect("the server listens");
        let serving = server.spawn(echo).expect("a thread can be started");
        let mut clients = Vec::new();
        for n in 0..CLIENTS {
            clients.push(client(server.address()));
            ask(&clients[n]).expect("each client is served all the same");
        }
        clients.into_iter().for_each(leave);
        stop(&server, serving);
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.ended), (CLIENTS as u64, CLIENTS as u64), "no client is lost: {stats:?}");
        assert!(stats.accept_errors >= 2 * CLIENTS as u64, "each worker fails twice: {stats:?}");
        let mut told: Vec<_> = told.try_iter().collect();
        println!("\nmeasured {error}: {} failures, {} reports", stats.accept_errors, told.len());
        if !pauses {
            assert!(told.is_empty(), "a client that is gone again is no reason to pause: {told:?}");
            return;
        }
        assert!(told.len() >= 2, "failures are told: {told:?}");
        if told.len() % 2 == 1 {
            assert_eq!(told.pop(), Some(Told::Paused(error.into())), "no client came after the last failures");
        }
        for pair in told.chunks(2) {
            assert_eq!(pair, [Told::Paused(error.into()), Told::Resumed], "each shortage is followed by its end");
        }
    });
}

/// Ensures that a client that is gone before it is accepted costs nothing.
#[test]
fn econnaborted_is_survived_without_a_pause() {
    survives(this_test!(), "ECONNABORTED", false);
}

/// Ensures that a client that is gone before it is accepted costs nothing on a listener that is polled either, however
/// often that was polled before without a client.
#[test]
fn econnaborted_is_survived_without_a_pause_after_many_polls() {
    let test = this_test!();
    let inject = "inject=accept4:error=ECONNABORTED:when=60";
    in_child(test, &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4", "-e", inject], || {
        let (options, told) = telling();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the listener listens");
        listener.set_nonblocking(true).expect("it is a socket");
        let server = options.adopt(listener).expect("a listener can be adopted");
        let serving = server.spawn(echo).expect("a thread can be started");
        eventually("the sixtieth accept fails", || server.stats().accept_errors > 0);
        let one = client(server.address());
        ask(&one).expect("the client is served");
        leave(one);
        stop(&server, serving);
        let told: Vec<_> = told.try_iter().collect();
        assert!(told.is_empty(), "polls that find no client count for no pause: {told:?}");
    });
}

/// Ensures that a shortage of descriptors in the process is survived.
#[test]
fn emfile_is_survived() {
    survives(this_test!(), "EMFILE", true);
}

/// Ensures that a shortage of descriptors in the system is survived.
#[test]
fn enfile_is_survived() {
    survives(this_test!(), "ENFILE", true);
}

/// Ensures that a shortage of buffers is survived.
#[test]
fn enobufs_is_survived() {
    survives(this_test!(), "ENOBUFS", true);
}

/// Ensures that a shortage of memory is survived.
#[test]
fn enomem_is_survived() {
    survives(this_test!(), "ENOMEM", true);
}

/// Ensures that a protocol error is survived.
#[test]
fn eproto_is_survived() {
    survives(this_test!(), "EPROTO", true);
}

/// Ensures that a firewall's refusal is survived.
#[test]
fn eperm_is_survived() {
    survives(this_test!(), "EPERM", true);
}

/// Ensures that a shortage is told once, however many failures and however many acceptors it meets, and that its end is
/// told when the first of them succeeds.
#[test]
fn a_shortage_that_many_acceptors_meet_is_told_once_and_so_is_its_end() {
    let test = this_test!();
    in_child(test, &["prlimit", "--nofile=64"], || {
        let (options, told) = telling();
        let server = options.max_connections(10).listen("127.0.0.1:0").expect("the server listens");
        let mut spare: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let (tell, accepted) = mpsc::channel();
        let (gate, passed) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
        for _ in 0..4 {
            let (server, tell, gate, passed) = (server.clone(), tell.clone(), Arc::clone(&gate), Arc::clone(&passed));
            thread::spawn(move || {
                while let Some(socket) = server.accept().expect("a shortage is no error") {
                    tell.send(socket).expect("the test waits");
                    drop(gate.lock());
                    passed.fetch_add(1, SeqCst);
                }
            });
        }
        eventually("all fail", || server.stats().accept_errors >= 20);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [Told::Paused("EMFILE".into())], "one shortage is told once");
        spare.clear();
        let one = client(server.address());
        let socket = accepted.recv_timeout(HANG).expect("the client is accepted");
        assert_eq!(told.recv_timeout(HANG).ok(), Some(Told::Resumed), "the first success is the end of the shortage");
        drop((one, socket));
        eventually("who has taken it accepts again", || passed.load(SeqCst) == 1);
        // A second one is told again. Each takes a client, after its pause at the latest, and is held then, so that nobody has
        // set a descriptor aside when there is none left.
        let held = gate.lock().expect("nobody panics");
        let take = |_| (client(server.address()), accepted.recv_timeout(HANG).expect("the client is accepted"));
        let served: Vec<_> = (0..4).map(take).collect();
        spare.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
        assert!(told.try_recv().is_err(), "nobody has failed yet");
        drop(held);
        let again = told.recv_timeout(HANG).expect("the next shortage is told");
        assert_eq!(again, Told::Paused("EMFILE".into()), "the next shortage is told");
        drop((served, spare));
        server.close();
    });
}

/// Ensures that a listener that has become useless ends the serving, with an error, and closes the server.
#[test]
fn einval_ends_serving_with_an_error() {
    if differs_on_windows("a listener cannot be shut down by those who have it too") {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the listener listens");
    let giver = listener.try_clone().expect("a descriptor is free");
    let server = ServerOptions::new().adopt(listener).expect("a listener can be adopted");
    let serving = server.spawn(echo).expect("a thread can be started");
    let one = client(server.address());
    ask(&one).expect("the server serves");
    socket2::SockRef::from(&giver).shutdown(std::net::Shutdown::Both).expect("its giver shuts it down");
    eventually("the server is closed", || !server.is_listening());
    ask(&one).expect("its connections go on");
    leave(one);
    let error = within("serving ends", move || serving.join()).expect_err("it says why");
    assert_eq!(error.to_string(), "accept EINVAL", "it says why");
    within("wait() returns", move || server.wait()).expect("the server is closed");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the listener listens");
    let giver = listener.try_clone().expect("a descriptor is free");
    let server = ServerOptions::new().adopt(listener).expect("a listener can be adopted");
    socket2::SockRef::from(&giver).shutdown(std::net::Shutdown::Both).expect("its giver shuts it down");
    let error = server.accept().expect_err("calling again is pointless");
    assert_eq!(error.to_string(), "accept EINVAL", "it says why");
}

/// The processor time this process has used, in ticks of 10 ms. The file is opened while there are descriptors.
fn ticks(mut file: &std::fs::File) -> u64 {
    let mut stat = String::new();
    io::Seek::rewind(&mut file).expect("/proc/self/stat can be read again");
    file.read_to_string(&mut stat).expect("/proc/self/stat can be read");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("there is a name").split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Sixty clients, as a process of their own: they connect, and when told to, forty leave and the others ask.
fn sixty_clients(port: &str) {
    let place = format!("127.0.0.1:{port}");
    let clients: Vec<_> = (0..60).map(|_| TcpStream::connect(&place).expect("the kernel takes them all")).collect();
    println!("\nready");
    io::stdin().read_line(&mut String::new()).expect("the test says when");
    clients.iter().take(40).for_each(|one| one.shutdown(std::net::Shutdown::Both).expect("it was connected"));
    clients.iter().skip(40).for_each(|one| ask(one).expect("each is served"));
    println!("served");
    io::stdin().read_line(&mut String::new()).expect("the test says when");
}

/// Ensures that a second at the limit of descriptors costs less than a twentieth of a core, since the pauses between two
/// attempts grow, and that everybody is served once there are some again.
#[test]
fn the_descriptor_limit_costs_no_time_and_is_recovered_from() {
    if !has_proc() {
        return;
    }
    const PORT: &str = "LANDLINE_TEST_PORT";
    let test = this_test!();
    if let Ok(port) = std::env::var(PORT) {
        return sixty_clients(&port);
    }
    // Raised again for the clients: the limit is meant for the server.
    in_child(test, &["prlimit", "--nofile=40:1000"], || {
        let server = ServerOptions::new().max_connections(1000).listen("127.0.0.1:0").expect("the server listens");
        let serving = server.spawn(echo).expect("a thread can be started");
        let stat = std::fs::File::open("/proc/self/stat").expect("Linux has /proc");
        let mut clients = std::process::Command::new("prlimit")
            .arg("--nofile=1000:1000")
            .arg(crate::support::this_program())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(PORT, at(&server).port().to_string())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the test program starts again");
        let mut say = clients.stdin.take().expect("it was asked for");
        let mut lines = io::BufRead::lines(io::BufReader::new(clients.stdout.take().expect("it was asked for")));
        let mut expect = |word: &str| lines.any(|line| line.expect("it can be read") == word);
        assert!(expect("ready"), "the clients connect");
        eventually("the limit is reached", || server.stats().accept_errors > 0);
        let used = ticks(&stat);
        let (failed, start) = (server.stats().accept_errors, Instant::now());
        // Not a bound: the time at the limit whose cost is measured, in which the attempts are counted.
        thread::park_timeout(Duration::from_secs(1));
        let (used, time) = (ticks(&stat) - used, start.elapsed());
        let failed = server.stats().accept_errors - failed;
        println!("\nmeasured {time:?} at the descriptor limit: {used} ticks of 10 ms, {failed} attempts");
        assert!(
            used < 5 * (1 + time.as_secs()),
            "less than a twentieth of a core, but {used} ticks of 10 ms in {time:?}"
        );
        assert!(failed < 100 * (1 + time.as_secs()), "the pauses grow, but there were {failed} attempts in {time:?}");
        assert!(server.connections() < 40, "the premise: not all clients are served");

        let start = Instant::now();
        say.write_all(b"\n").expect("the clients listen");
        assert!(expect("served"), "the other clients are served");
        println!("measured full service again after {:?}", start.elapsed());
        drop(say);
        assert!(clients.wait().expect("the clients end").success(), "each client that asked was served");
        stop(&server, serving);
        assert_eq!(server.stats().accepted, 60, "every client was served in the end");
    });
}

/// What a program has mapped before its first line: as many pages as `MAPPINGS` says, no two neighbours alike.
const MAPPED: &str = "
#include <stdlib.h>
#include <sys/mman.h>
__attribute__((constructor)) static void map(void) {
    for (long i = 0; i < MAPPINGS; i++)
        if (mmap(0, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) abort();
}
";

/// Writes a library that maps so many pages into the program that loads it.
fn write_mapping_library(path: &Path, mappings: usize) {
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", &format!("-DMAPPINGS={mappings}"), "-x", "c", "-", "-o"]).arg(path);
    let mut cc = cc.stdin(Stdio::piped()).spawn().expect("cc starts");
    cc.stdin.take().expect("it is piped").write_all(MAPPED.as_bytes()).expect("it is read");
    assert!(cc.wait().expect("cc ends").success(), "the library is built");
}

/// Ensures that in a program that has mapped nearly as much memory as it may, as a database that maps its files, clients
/// are refused once there is no room for their threads, and that the program lives: when the last mapping is taken in the
/// start of a thread, the system ends the process.
#[test]
fn threads_leave_room_beside_the_programs_own_mappings() {
    const LEFT: usize = 6_500;
    let test = this_test!();
    let most = fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|most| most.trim().parse().ok());
    let mappings = || fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    let Some(most) = most.filter(|most: &usize| (2 * LEFT..200_000).contains(most)) else {
        println!("skipped: vm.max_map_count is {most:?}");
        return;
    };
    let mut wrapper = Vec::new();
    let folder = Folder::new();
    if !is_child(test) {
        if tool("cc").is_none() {
            return;
        }
        let library = folder.file("mappings.so");
        write_mapping_library(&library, most - LEFT);
        // A static program, as of musl, loads none.
        let loads = Command::new(crate::support::this_program()).arg("--list").env("LD_PRELOAD", &library).output();
        let said = String::from_utf8_lossy(&loads.expect("the test program starts again").stderr).into_owned();
        if cfg!(target_feature = "crt-static") || said.contains("cannot be preloaded") {
            println!("skipped: cc does not compile for this program's kind of system {}", said.trim());
            return;
        }
        wrapper = vec!["env".to_owned(), format!("LD_PRELOAD={}", library.display())];
    }
    in_child(test, &wrapper.iter().map(String::as_str).collect::<Vec<_>>(), || {
        assert!(mappings() >= most - LEFT, "the premise: the program has mapped much");
        let server = ServerOptions::new().stack_size(64 * 1024).listen("127.0.0.1:0").expect("the server listens");
        let serving = server.spawn(echo).expect("there is room for a thread");
        let mut served = Vec::new();
        while server.stats().refused(RefusedBy::NoThread) == 0 && served.len() < LEFT / 4 {
            let one = client(server.address());
            if ask(&one).is_ok() {
                served.push(one);
            }
        }
        let left = most - mappings().min(most);
        println!("measured {} connections, and {left} mappings left", served.len());
        assert!(served.len() >= 16, "there was room for some threads: {}", served.len());
        assert!(left >= 2_000, "room is left to the program, so clients are refused before: {left}");

        served.clear();
        eventually("when threads have ended, clients are served again", || ask(&client(server.address())).is_ok());
        stop(&server, serving);
    });
}

/// Ensures that a thread that cannot be started refuses one client and harms nobody else.
#[test]
fn a_thread_that_cannot_be_started_refuses_its_client_only() {
    let test = this_test!();
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3"];
    // strace counts for each thread by itself: whatever one starts first fails. So the worker that fails for one client
    // succeeds for the next, and its successor fails for the one after that.
    let inject = ["-e", "inject=clone,clone3:error=EAGAIN:when=1+2"];
    let wrapper: Vec<_> = strace.into_iter().chain(inject).collect();
    in_child(test, &wrapper, || {
        let refused = Arc::new(AtomicUsize::new(0));
        let failed = Arc::new(AtomicUsize::new(0));
        let options = ServerOptions::new().report({
            let (refused, failed) = (Arc::clone(&refused), Arc::clone(&failed));
            move |report| match report {
                Report::Refused { by: RefusedBy::NoThread, .. } => {
                    refused.fetch_add(1, SeqCst);
                }
                Report::Refused { .. } => panic!("nobody is refused for another cause: {report}"),
                Report::Failed { connection: None, error, .. } => {
                    assert_eq!(error.code(), "EAGAIN", "the cause is told");
                    failed.fetch_add(1, SeqCst);
                }
                _ => {}
            }
        });
        let server = options.listen("127.0.0.1:0").expect("the server listens");
        // Whether this thread has started one before is the test program's affair.
        let serving = server.spawn(echo).or_else(|_| server.spawn(echo));
        let serving = serving.expect("of two attempts one succeeds, and the server is as it was before");
        let mut served = Vec::new();
        let mut outcome = String::new();
        for _ in 0..10 {
            let one = client(server.address());
            match ask(&one) {
                Ok(()) => {
                    outcome.push('s');
                    served.push(one);
                }
                Err(_) => outcome.push('r'),
            }
            served.iter().for_each(|one| ask(one).expect("the others are not harmed"));
            assert_eq!(server.connections(), served.len(), "a client refused for want of a thread holds no slot");
        }
        println!("\nmeasured with every other thread failing: {outcome}");
        let refused = refused.load(SeqCst);
        assert!((4..=6).contains(&refused), "every second one is refused: {outcome}");
        assert_eq!(refused + served.len(), 10, "each client is served or refused: {outcome}");
        assert_eq!(server.stats().refused(RefusedBy::NoThread) as usize, refused, "it is counted under its cause");
        assert_eq!(failed.load(SeqCst), refused, "the failure is reported each time");
        drop(served);
        server.close();
        // Not with a bound of its own: that takes a thread.
        serving.join().expect("serving ends without an error");
        assert_eq!(server.connections(), 0, "every slot comes back");
    });
}

/// Ensures that a first thread that cannot be started is the error of `spawn` itself, and leaves the server as it was.
#[test]
fn a_first_thread_that_cannot_be_started_is_spawns_own_error() {
    in_child(this_test!(), &[], || {
        let server = ServerOptions::new()
            .stack_size(crate::support::NO_STACK)
            .listen("127.0.0.1:0")
            .expect("the server listens");
        let error = server.spawn(echo).expect_err("no stack is that large");
        // Windows has a number for it that std has no kind for.
        assert!(cfg!(windows) || error.kind() == io::ErrorKind::WouldBlock, "it is the system's error: {error:?}");
        server.on().connection(echo).spawn().expect_err("no stack is that large");
        assert!(server.is_listening(), "the server is as it was");

        // Served on this thread, it has no other to accept after the first client: that one is refused, and each after
        // it.
        thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(echo));
            for _ in 0..3 {
                assert!(is_turned_away(&client(server.address())), "there is no thread to accept after this client");
            }
            server.close();
            serving.join().expect("serving does not panic").expect("serving ends without an error");
        });
        let stats = server.stats();
        assert_eq!(
            (stats.refused(RefusedBy::NoThread), stats.accepted, stats.open),
            (3, 0, 0),
            "all are counted: {stats:?}"
        );
        TcpStream::connect(at(&server)).expect_err("the server is closed");
    });
}

/// Ensures that threads that find no descriptor to set aside are no shortage while others wait for clients with one: a server
/// that is idle after a rush does not say that it is paused.
#[test]
fn an_idle_server_is_not_short_of_descriptors() {
    if tool("sh").is_none() {
        return;
    }
    let run = format!(
        "ulimit -n 20; exec {} 127.0.0.1:0 --max-connections 1000 --until-eof",
        example("echo_server").display()
    );
    let mut program = Program::start("sh", &["-c", &run]);
    let at: std::net::SocketAddr = program.line()["listening on ".len()..].parse().expect("it says where it listens");
    // More at once than it has descriptors for, so that as many threads are left as may wait.
    let clients: Vec<_> = (0..40).map(|_| TcpStream::connect(at).expect("the backlog has room")).collect();
    // Told once all that wait have met the shortage; it lasts, since nobody leaves.
    program.line_with(" paused ");
    drop(clients);
    let ends = |line: &str| line.contains(" finished after ") || line.contains(" failed after ");
    (0..40).for_each(|_| while !ends(&program.line()) {});
    // What was short in the rush is over when the threads have settled, each after its longest pause, and a client comes.
    // Not a bound: after so long each thread has met what it meets again and again; later is as good.
    let longest_pause = || thread::park_timeout(Duration::from_millis(1100));
    longest_pause();
    drop(TcpStream::connect(at).expect("it listens"));
    program.line_with("accepted, 1 open");
    while !ends(&program.line()) {}
    longest_pause();
    let idle = program.rest();
    assert!(!idle.iter().any(|line| line.contains(" paused ")), "idle is not short: {idle:?}");
}
