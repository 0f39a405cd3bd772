//! A socket that a thread in another network namespace made. `close` floods a stranger that has the same port here, and
//! `disconnect` makes a new socket here, which hears nothing.
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use landline::dgram::Socket;

/// Runs `work` on a thread in a network namespace of its own, where loopback is up.
fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let there = thread::spawn(move || {
        let network = || std::fs::metadata("/proc/thread-self/ns/net").map(|network| network.ino());
        let before = network().unwrap_or_else(|error| cases::skip(error));
        // SAFETY: it changes the namespace of this thread alone.
        let made = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
        if !made || network().ok() == Some(before) {
            cases::skip("no network namespace can be made here");
        }
        // A child has the namespace of the thread that starts it.
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
        assert!(up.success(), "loopback is up");
        work()
    });
    there.join().expect("no panic")
}

fn close() {
    let socket = elsewhere(|| Socket::bind("127.0.0.1:0").unwrap());
    let stranger = UdpSocket::bind(socket.address()).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let running = cases::receiving(&socket, |_, _| {});
    cases::until_others_sleep();
    socket.close();
    let ended = cases::within(Duration::from_secs(3), move || running.join()).is_some();
    let strays = std::iter::from_fn(|| stranger.recv_from(&mut [0; 10]).ok()).count();
    cases::verdict(ended && strays == 0, format!("the receiver has returned: {ended}; a stranger got {strays}"))
}

fn disconnect() {
    let (socket, peer) = elsewhere(|| (Socket::bind("127.0.0.1:0").unwrap(), Socket::bind("127.0.0.1:0").unwrap()));
    socket.connect(peer.address()).unwrap();
    let said = socket.disconnect().map_or_else(|error| error.to_string(), |()| "Ok".into());
    peer.send_to("x", socket.address()).unwrap();
    let heard = socket.recv_timeout(&mut [0; 10], Duration::from_secs(1)).is_ok();
    let is_as_before = socket.remote_address().ok() == Some(peer.address());
    let good = heard && said.starts_with("disconnect ENOTSUP") && is_as_before;
    cases::verdict(good, format!("{said}; hears its peer: {heard}; keeps its peer: {is_as_before}"))
}

fn main() {
    cases::inside("ip link set lo up");
    match std::env::args().nth(1).as_deref() {
        Some("close") => close(),
        _ => disconnect(),
    }
}
