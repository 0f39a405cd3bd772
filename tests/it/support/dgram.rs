//! What the tests of datagrams share.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::{env, thread};

use landline::dgram::{RemoteInfo, Socket, SocketEvent};

use super::{HANG, WHOLE, is_child, run_child};

/// The next datagram, which has to arrive soon.
pub(crate) fn receive(socket: &Socket) -> (Vec<u8>, RemoteInfo) {
    let mut buffer = vec![0; 65_535];
    let received = socket.recv_timeout(&mut buffer, HANG).expect("a datagram arrives");
    let (bytes, from) = received.expect("the socket is open");
    (bytes.to_vec(), from)
}

/// A port of this machine that refuses datagrams. A socket that hears itself alone has it, so that no other program
/// gets it, until it is connected to another.
pub(crate) fn refusing(at: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(at).expect("port 0 can be bound");
    let address = socket.local_addr().expect("it is bound");
    socket.connect(address).expect("it is on this machine");
    socket.set_read_timeout(Some(HANG)).expect("it is open");
    (socket, address)
}

/// Receives on a thread of its own until the socket closes.
pub(crate) fn receiving(
    socket: &Socket,
    mut message: impl FnMut(&Socket, &[u8], &RemoteInfo) -> io::Result<()> + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    let socket = socket.clone();
    thread::spawn(move || {
        socket.each(|socket, event| match event {
            SocketEvent::Message(bytes, from) => message(socket, bytes, &from),
            _ => Ok(()),
        })
    })
}

/// Runs `body` in a process and a network namespace of its own, in which there is nothing but a loopback interface that
/// is down. Where no namespace may be made, says so.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn in_own_network(test: &str, body: impl FnOnce()) {
    if is_child(test) {
        return body();
    }
    for wrapper in [&["unshare", "-n"][..], &["unshare", "-rn"]] {
        let tried = Command::new(wrapper[0]).args(&wrapper[1..]).args(["ip", "link"]).output();
        if tried.is_ok_and(|output| output.status.success()) {
            return run_child(WHOLE, test, wrapper);
        }
    }
    println!("skipped: no network namespace may be made here, or ip is not found");
    assert!(env::var_os("CI").is_none(), "namespaces may be made under CI");
}

/// Runs a program to its end, which must be a success.
pub(crate) fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("it starts");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that runs beside the test and is killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program that was found starts");
        let stdout = child.stdout.take().expect("it was asked for");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Running { child, lines }
    }

    /// The next line it prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(HANG).expect("the program prints a line")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
