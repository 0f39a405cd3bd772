//! Ten thousand connections at once, and a hundred thousand one after the other: what each costs, and what is left.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions};

use crate::support::clients::{ask, at, echo, measured, stop};
use crate::support::{
    HANG, descriptors, eventually, has_proc, in_child_for, other_side, start_other_side, status, threads,
};

/// How many connections, where it is not as many as in every run.
const COUNT: &str = "LANDLINE_TEST_COUNT";
const TALKERS: usize = 100;
/// How often each of them asks.
const ROUNDS: usize = 25;
/// Long enough for a slow machine.
const LONG: Duration = Duration::from_secs(1000);

fn count(usual: usize) -> usize {
    env::var(COUNT).map_or(usual, |count| count.parse().expect("a number"))
}

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(to).expect("the server listens");
    client.set_read_timeout(Some(HANG)).expect("a timeout can be set");
    client
}

/// The clients of [`hold`]: so many that say nothing, and while these are there, a hundred that talk. At last the silent ones
/// ask too.
fn many_idle_clients(to: SocketAddr, count: usize) {
    let idle: Vec<_> = (0..count).map(|_| connect(to)).collect();
    let talkers: Vec<_> = (0..TALKERS).map(|_| connect(to)).collect();
    talkers.iter().for_each(|one| ask(one).expect("each is served"));
    println!("\nready");
    io::stdin().read_line(&mut String::new()).expect("the server says when");
    let times: Vec<Duration> = thread::scope(|scope| {
        let talk = |mut one: &TcpStream| {
            let (mut times, mut answer) = (Vec::new(), [0; 64]);
            while times.len() < ROUNDS {
                let start = Instant::now();
                let message = [times.len() as u8; 64];
                one.write_all(&message).and_then(|()| one.read_exact(&mut answer)).expect("the echo comes back");
                assert_eq!(answer, message, "byte for byte");
                times.push(start.elapsed());
                // Not a bound: the pace of the client.
                thread::park_timeout(Duration::from_millis(20));
            }
            times
        };
        let talking: Vec<_> = talkers.iter().map(|one| scope.spawn(move || talk(one))).collect();
        talking.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
    });
    measured(&format!("echoes of {TALKERS} among {count} idle"), times);
    let start = Instant::now();
    idle.iter().for_each(|one| ask(one).expect("who was idle is served all the same"));
    println!("\nmeasured: each of the {count} asked once and was answered, in {:?}", start.elapsed());
    println!("\nasked");
    io::stdin().read_line(&mut String::new()).expect("the server says when");
}

/// Kernel stacks of the whole system, in KiB.
fn kernel_stacks() -> usize {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = memory.lines().find_map(|line| line.strip_prefix("KernelStack:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// Holds so many idle connections while others talk; `wrapper` may say how many.
fn hold(test: &str, wrapper: &[&str]) {
    let count = count(1000);
    if let Some(to) = other_side() {
        return many_idle_clients(to, count);
    }
    in_child_for(LONG, test, wrapper, || {
        let all = count + TALKERS;
        let server = ServerOptions::new().max_connections(all).listen("127.0.0.1:0").expect("port 0 is free");
        let serving = server.spawn(echo).expect("a thread can be started");
        let memory = || [status("VmRSS:"), status("VmPTE:"), kernel_stacks(), status("VmSize:")];
        let (before, threads_before, descriptors_before) = (memory(), threads(), descriptors());
        let mut clients = start_other_side(test, at(&server));
        clients.expect("ready");
        eventually("all are there", || server.connections() == all);
        let each: Vec<_> = memory().iter().zip(before).map(|(now, then)| now.saturating_sub(then) / all).collect();
        println!(
            "\nmeasured: {all} connections, {} threads, {} descriptors; for each connection {} KiB resident, {} KiB of \
             page tables, {} KiB of kernel stack, {} KiB of address space",
            threads(),
            descriptors(),
            each[0],
            each[1],
            each[2],
            each[3],
        );
        assert!(each[0] < 20, "an idle connection costs some 10 KiB, but {} KiB", each[0]);
        assert!(threads() <= threads_before + all + 1, "one thread for each, and one that waits");
        clients.tell();
        for _ in 0..2 {
            println!("measured {}", clients.expect("measured").trim_start_matches(": "));
        }
        clients.expect("asked");
        assert_eq!(server.connections(), all, "nobody was lost");
        clients.tell();
        clients.join();
        eventually("all have left", || server.connections() == 0);
        stop(&server, serving);
        eventually("no thread is left", || threads() < threads_before);
        assert!(descriptors() < descriptors_before, "no descriptor is left");
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.ended, stats.peak), (all as u64, all as u64, all as u64), "{stats:?}");
    });
}

/// Ensures that a thousand idle connections cost some 10 KiB each, and disturb nobody.
#[test]
fn a_thousand_idle_clients_do_not_disturb_a_hundred_that_talk() {
    if !has_proc() {
        return;
    }
    hold(this_test!(), &[]);
}

/// The same with ten thousand.
#[test]
#[ignore = "needs 10,200 descriptors twice and as many threads"]
fn ten_thousand_idle_clients_do_not_disturb_a_hundred_that_talk() {
    let test = this_test!();
    hold(test, &["env", &format!("{COUNT}=10000")]);
}

/// The clients of [`in_sequence`]: one after the other asks, ends and sees the end. Stops at 10, 50 and 100 of a hundred.
fn one_after_the_other(to: SocketAddr, count: usize) {
    for n in 1..=count {
        let mut one = connect(to);
        ask(&one).expect("each is served");
        one.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(one.read(&mut [0]).expect("no reset"), 0, "each sees the end");
        if [10, 50, 100].iter().any(|part| n == count * part / 100) {
            println!("\nserved {n}");
            io::stdin().read_line(&mut String::new()).expect("the server says when");
        }
    }
}

/// Serves so many connections one after the other; `wrapper` may say how many.
fn in_sequence(test: &str, wrapper: &[&str]) {
    let count = count(5000);
    if let Some(to) = other_side() {
        return one_after_the_other(to, count);
    }
    in_child_for(LONG, test, wrapper, || {
        let server = Server::listen("127.0.0.1:0").expect("port 0 is free");
        let serving = server.spawn(echo).expect("a thread can be started");
        let one_worker = threads();
        let mut clients = start_other_side(test, at(&server));
        let start = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let served = clients.expect("served");
            let most = seen.first().map_or(usize::MAX, |first: &(usize, usize, usize)| first.1);
            // Its slot is free before its descriptor is closed.
            eventually("the last one has left, and there is no growth in descriptors", || {
                server.connections() == 0 && descriptors() <= most
            });
            // A handler that is still returning when the next client comes costs one worker more, which then waits.
            // On a loaded machine several return at once, and up to sixteen workers wait for good.
            eventually("no more workers than may wait", || threads() <= one_worker + 16);
            let now = (threads(), descriptors(), status("VmRSS:"));
            println!(
                "\nmeasured: after {served} connections, {:?}: {} threads, {} descriptors, {} KiB resident",
                start.elapsed(),
                now.0,
                now.1,
                now.2
            );
            seen.push(now);
            clients.tell();
        }
        clients.join();
        let (first, last) = (seen[0], seen[2]);
        // Each worker more has touched some pages of its stack.
        let of_workers = 32 * last.0.saturating_sub(first.0);
        assert!(last.2 <= first.2 + first.2 / 10 + of_workers, "no growth in memory");
        stop(&server, serving);
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.ended), (count as u64, count as u64), "each was served: {stats:?}");
    });
}

/// Ensures that thousands of connections one after the other leave nothing.
#[test]
fn five_thousand_connections_in_sequence_leave_nothing() {
    in_sequence(this_test!(), &[]);
}

/// The same with a hundred thousand.
#[test]
#[ignore = "takes a minute, and a machine of its own"]
fn a_hundred_thousand_connections_in_sequence_leave_nothing() {
    let test = this_test!();
    in_sequence(test, &["env", &format!("{COUNT}=100000")]);
}
