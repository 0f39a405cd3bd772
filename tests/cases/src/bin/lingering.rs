//! Clients that hold their connection after the reply. The slot is free at once, the thread and the descriptor are not:
//! how many of these does a limit allow? With 128 descriptors (so the default limit is 64), with `max_connections(4)`,
//! and with a limit for each address.
//!
//! lingering limit | files | address

use cases::{child, descriptors, stdin_fd, threads, verdict};
use landline::net::ServerOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

fn main() {
    match cases::mode().as_str() {
        "serve" => serve(None),
        "serve4" => serve(Some(4)),
        "serve_address" => serve_with(ServerOptions::new().max_connections(200).max_connections_per_address(2)),
        what => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let at = listener.local_addr().unwrap();
            let (arg, before): (_, &[&str]) = match what {
                "files" => ("serve", &["prlimit", "--nofile=128:128"]),
                "address" => ("serve_address", &[]),
                _ => ("serve4", &[]),
            };
            let mut server = child(arg, listener.into(), before).stdout(Stdio::piped()).spawn().unwrap();
            let mut out = server.stdout.take().unwrap();
            out.read_exact(&mut [0; 6]).unwrap();
            // One client after the other; each has read its whole reply before the next one comes, and never closes.
            let mut held = Vec::new();
            let (start, mut worst) = (Instant::now(), Duration::ZERO);
            while start.elapsed() < Duration::from_millis(2700) && held.len() < 3000 {
                let begin = Instant::now();
                let Ok(mut client) = TcpStream::connect(at) else { break };
                client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                let _ = client.write_all(b"GET");
                let mut reply = String::new();
                let _ = client.read_to_string(&mut reply);
                worst = worst.max(begin.elapsed());
                held.push((client, reply.len()));
            }
            let unserved = held.iter().filter(|(_, n)| *n == 0).count();
            println!("{} clients one after the other, {unserved} without a reply, slowest {worst:?}", held.len());
            std::io::stdout().flush().unwrap();
            drop(server.stdin.take());
            let mut rest = String::new();
            out.read_to_string(&mut rest).unwrap();
            print!("{rest}");
            std::process::exit(server.wait().unwrap().code().unwrap_or(1));
        }
    }
}

fn serve(limit: Option<usize>) {
    let options = ServerOptions::new();
    serve_with(match limit {
        Some(limit) => options.max_connections(limit),
        None => options,
    })
}

fn serve_with(options: ServerOptions) {
    let paused = Arc::new(AtomicUsize::new(0));
    let counter = paused.clone();
    let server = options
        .report(move |r| {
            if let landline::Report::AcceptPaused { .. } = r {
                counter.fetch_add(1, SeqCst);
            }
        })
        .adopt(stdin_fd())
        .unwrap();
    let limit = server.max_connections();
    let _serving = server.spawn(|socket| socket.write_all("reply")).unwrap();
    println!("ready");
    let (mut most_threads, mut most_fds, mut host_failed) = (0, 0, 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(4000) {
        match std::fs::File::open("/dev/null") {
            Err(_) => host_failed += 1,
            Ok(_) => {
                most_threads = most_threads.max(threads());
                most_fds = most_fds.max(descriptors());
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let stats = server.stats();
    verdict(
        most_threads <= limit + 40 && host_failed == 0,
        format!(
            "limit {limit}, peak by stats {}, but {most_threads} threads and {most_fds} descriptors at once; the \
             program could not open a file {host_failed} times, accepting paused {} times",
            stats.peak,
            paused.load(SeqCst)
        ),
    );
}
