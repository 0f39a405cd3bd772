//! The ceiling on threads leaves 4,000 mappings to the rest of the program, however many it has. When the system's
//! number of mappings is reached in the start of a thread, the process ends. It depends on the number whether that is
//! inside the library, which then rejects the client, or in what std does for the new thread.
use std::process::{Command, Stdio};

use landline::net::{Server, Socket};

fn main() {
    if let Some(rest) = std::env::args().nth(1) {
        return serve(rest.parse().unwrap());
    }
    let most: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if most > 100_000 {
        cases::skip(format!("this system allows {most} mappings"));
    }
    let ends = (5500..5504).map(|rest| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.arg((most - rest).to_string()).stderr(Stdio::null()).status().unwrap()
    });
    let ends: Vec<_> = ends.map(|status| status.to_string()).collect();
    let good = ends.iter().all(|end| end == "exit status: 0");
    cases::verdict(good, format!("four processes with some 5500 mappings left: {ends:?}"))
}

/// Serves beside so many mappings, as a database that maps many files.
fn serve(mappings: usize) {
    for i in 0..mappings {
        let protection = if i % 2 == 0 { libc::PROT_READ } else { libc::PROT_NONE };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
    }
    let server = Server::listen("127.0.0.1:0").unwrap();
    let _running = server.spawn(|socket| socket.pipe(socket)).unwrap();
    let mut kept = Vec::new();
    for _ in 0..2000 {
        let client = Socket::connect(server.address()).unwrap();
        let _ = client.write_all("x").and_then(|()| client.read(&mut [0]));
        kept.push(client);
    }
    println!(
        "{} connections, rejected {:?}",
        server.connections(),
        server.stats().refused(landline::RefusedBy::NoThread)
    );
}
