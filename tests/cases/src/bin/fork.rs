//! A host that forks without exec: a snapshot in a child (redis), Python's multiprocessing, a daemon, a pre-forking
//! server. The child has a copy of every descriptor.
//!
//! fork destroy | drop | reset | each | handler | error | child_drops | child_file | daemon | close | child_closes |
//! child_closes_lent | drop_queued

use cases::verdict;
use landline::net::{Server, ServerOptions, Socket};
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

/// A child that lives for a while and does `work` first.
fn forked(work: impl FnOnce()) -> libc::pid_t {
    match unsafe { libc::fork() } {
        0 => {
            work();
            unsafe {
                libc::sleep(3);
                libc::_exit(0)
            }
        }
        pid => pid,
    }
}

/// What the peer sees within a second.
fn seen(mut peer: &TcpStream) -> String {
    peer.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    match peer.read(&mut [0; 10]) {
        Ok(0) => "the end".into(),
        Ok(n) => format!("{n} bytes"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn main() {
    match cases::mode().as_str() {
        what @ ("destroy" | "drop" | "reset") => {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let peer = TcpStream::connect(server.address().socket_addr().unwrap()).unwrap();
            let socket: Socket = server.accept().unwrap().unwrap();
            forked(|| {});
            match what {
                "destroy" => socket.destroy(),
                "reset" => socket.reset_and_destroy().unwrap(),
                _ => drop(socket),
            }
            let seen = seen(&peer);
            // Dropping is close(2), as documented and as in std.
            verdict(seen != "WouldBlock" || what == "drop", format!("after {what} the peer sees {seen}"));
        }
        // The peer has ended; the loop answers its end and closes.
        what @ ("each" | "handler" | "error") => {
            let mode = what;
            let what = what.to_string();
            let server = Server::listen("127.0.0.1:0").unwrap();
            let peer = TcpStream::connect(server.address().socket_addr().unwrap()).unwrap();
            let _serving = server
                .spawn(move |socket| match what.as_str() {
                    "each" => socket.each(|_, _| Ok(())),
                    "error" => cases::all(socket).and(Err(std::io::Error::other("no"))),
                    _ => cases::all(socket).map(drop),
                })
                .unwrap();
            std::thread::sleep(Duration::from_millis(200));
            forked(|| {});
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            let seen = seen(&peer);
            // Where both sides had ended, only close(2) is left, as docs/embedding.md says.
            verdict(
                seen != "WouldBlock" || mode != "error",
                format!("after its own end, which was answered, the peer sees {seen}"),
            );
        }
        // A pre-forking server: one child drops the handle it has inherited, and lives on.
        "child_drops" => {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let std_like = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let at = std_like.local_addr().unwrap();
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                drop(std_like);
                drop(server);
                unsafe { libc::_exit(0) }
            }
            std::thread::sleep(Duration::from_millis(300));
            let std_works = TcpStream::connect(at).is_ok();
            let works = TcpStream::connect(server.address().socket_addr().unwrap());
            verdict(
                works.is_ok(),
                format!("after a child dropped its handle: std's listener {std_works}, ours {works:?}"),
            );
        }
        "child_file" => {
            let path = std::env::temp_dir().join(format!("landline-fork-{}.sock", std::process::id()));
            let server = ServerOptions::new().listen(path.as_path()).unwrap();
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                drop(server);
                unsafe { libc::_exit(0) }
            }
            std::thread::sleep(Duration::from_millis(300));
            let there = path.exists();
            server.close();
            verdict(there, format!("after a child dropped its handle the parent's socket file is there: {there}"));
        }
        // A daemon: listen, so that errors are seen; fork; the parent returns from main; the child serves.
        "daemon" => {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let at = server.address().socket_addr().unwrap();
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let closer = server.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(2));
                    closer.close();
                });
                let served = server.serve(|socket| socket.write_end("hello"));
                eprintln!("  the child's serve: {served:?}");
                unsafe { libc::_exit(0) }
            }
            drop(server); // as returning from main does
            std::thread::sleep(Duration::from_millis(300));
            let works = TcpStream::connect(at);
            verdict(works.is_ok(), format!("connecting to the daemon: {works:?}"));
        }
        // The process that listened closes: the port is given up, though a child has a copy.
        "close" => {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let at = server.address().socket_addr().unwrap();
            forked(|| {});
            server.close();
            let (refused, free) = (TcpStream::connect(at), std::net::TcpListener::bind(at));
            verdict(
                refused.is_err() && free.is_ok(),
                format!("after close, with a copy in a child: a client {refused:?}, listening again {free:?}"),
            );
        }
        // One child of a pre-forking server closes what it serves: its siblings and parent go on.
        "child_closes" => {
            let path = std::env::temp_dir().join(format!("landline-fork-{}.sock", std::process::id()));
            for at in [landline::Endpoint::from("127.0.0.1:0"), path.as_path().into()] {
                let server = ServerOptions::new().answer_queued(true).listen(at).unwrap();
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    let serving = server.spawn(|socket| socket.write_end("child")).unwrap();
                    Socket::connect(server.address()).unwrap().read(&mut [0; 9]).unwrap();
                    server.close();
                    let ended = serving.join().is_ok();
                    unsafe { libc::_exit(if ended { 0 } else { 1 }) }
                }
                let mut status = 0;
                unsafe { libc::waitpid(pid, &mut status, 0) };
                let serving = server.spawn(|socket| socket.write_end("parent")).unwrap();
                let text = Socket::connect(server.address()).map(|client| {
                    let mut text = String::new();
                    std::io::Read::read_to_string(&mut &client, &mut text).map(|_| text)
                });
                server.close();
                let ended = serving.join();
                if status != 0 || !matches!(&text, Ok(Ok(text)) if text == "parent") || ended.is_err() {
                    verdict(false, format!("the child's close {status}, then a client got {text:?}, {ended:?}"));
                }
            }
            verdict(true, "a child closed what it served, and its parent goes on, over TCP and a path");
        }
        // A child closes its server while another thread of its own has the listener's descriptor.
        "child_closes_lent" => {
            let server = Server::listen("127.0.0.1:0").unwrap();
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let (lend, lent) = (server.clone(), std::sync::mpsc::channel());
                std::thread::spawn(move || {
                    lend.with_raw(|_| {
                        lent.0.send(()).unwrap();
                        std::thread::sleep(Duration::from_secs(60));
                    })
                });
                lent.1.recv().unwrap();
                server.close();
                unsafe { libc::_exit(0) }
            }
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            let works = TcpStream::connect(server.address().socket_addr().unwrap());
            verdict(works.is_ok(), format!("after a child closed a listener that it had lent: {works:?}"));
        }
        // The parent of a daemon drops its handle: who is queued is the child's, and its listener goes on blocking.
        "drop_queued" => {
            let server = ServerOptions::new().answer_queued(true).listen("127.0.0.1:0").unwrap();
            let queued = TcpStream::connect(server.address().socket_addr().unwrap()).unwrap();
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                std::thread::sleep(Duration::from_millis(300));
                let _ = server.serve(|socket| socket.write_end("hello"));
                unsafe { libc::_exit(0) }
            }
            drop(server);
            let seen = seen(&queued);
            unsafe { libc::kill(pid, libc::SIGKILL) };
            verdict(seen == "5 bytes", format!("a client that was queued when the parent dropped its handle: {seen}"));
        }
        other => panic!("{other}?"),
    }
}
