//! A host that forks without exec: the child has a copy of a datagram socket. What it does with its handle leaves the
//! parent's as it is: dropping it, and dropping or closing one that was adopted.
//!
//! dgram_fork drop | adopted_drop | adopted_close

use std::net::UdpSocket;
use std::time::Duration;

use cases::verdict;
use landline::dgram::{Socket, SocketOptions};

/// Runs `work` in a child, and waits for its end.
fn in_child(work: impl FnOnce()) {
    match unsafe { libc::fork() } {
        0 => {
            work();
            unsafe { libc::_exit(0) }
        }
        pid => {
            let mut status = 0;
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        }
    }
}

fn main() {
    let mode = cases::mode();
    let giver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = match mode.as_str() {
        "drop" => Socket::bind("127.0.0.1:0").unwrap(),
        _ => SocketOptions::new().adopt(giver.try_clone().unwrap()).unwrap(),
    };
    let sender = Socket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 100];
    sender.send_to(b"first", socket.address()).unwrap();
    assert!(socket.recv_timeout(&mut buffer, Duration::from_millis(50)).is_ok());
    in_child(|| {
        if mode == "adopted_close" {
            socket.close();
        }
        // The child's copy of the parent's handle, the only one.
        drop(unsafe { std::ptr::read(&raw const socket) });
    });
    let timed_out = cases::within(Duration::from_secs(10), {
        let socket = socket.clone();
        move || socket.recv_timeout(&mut [0; 100], Duration::from_millis(50)).is_err()
    });
    sender.send_to(b"second", socket.address()).unwrap();
    let received =
        socket.recv_timeout(&mut buffer, Duration::from_secs(5)).map(|got| got.map(|(bytes, _)| bytes.len()));
    verdict(
        timed_out.is_some_and(|(timed_out, _)| timed_out) && matches!(received, Ok(Some(6))),
        format!("after the child: a timeout of 50 ms {timed_out:?}, then {received:?}"),
    )
}
