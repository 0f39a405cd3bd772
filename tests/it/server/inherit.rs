//! Programs that are started while sockets are open get none of them.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use landline::dgram;
use landline::net::{Server, ServerOptions, Socket, SocketOptions};

use crate::support::{Folder, eventually, has_proc, in_child, tool};

/// A program that does nothing, for a minute at most; ended when dropped.
struct Idle(Child);

impl Idle {
    fn start(program: &PathBuf) -> Idle {
        let mut command = Command::new(program);
        command.arg("60").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let idle = Idle(command.spawn().expect("the program starts"));
        // Between fork and exec it has all that we have.
        let name = |child: &str| fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        let pid = idle.0.id().to_string();
        eventually("the program runs", || name(&pid).trim() == "sleep");
        idle
    }

    /// What sockets it has.
    fn sockets(&self) -> Vec<String> {
        let folder = format!("/proc/{}/fd", self.0.id());
        let files = fs::read_dir(folder).expect("it runs").map(|file| file.expect("it can be listed").path());
        let targets = files.filter_map(|file| fs::read_link(file).ok()).map(|to| to.display().to_string());
        targets.filter(|to| to.starts_with("socket:")).collect()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A listener or socket that programs we start would inherit, as those of a service manager are.
fn inheritable<T: Into<socket2::Socket> + From<socket2::Socket>>(socket: T) -> T {
    let socket = socket.into();
    socket.set_cloexec(false).expect("the flag can be cleared");
    socket.into()
}

/// Ensures that a program that is started while servers, connections and datagram sockets of every kind are open, made here
/// and taken over, has no socket, so that the port is free once the server is gone.
#[test]
fn no_socket_is_inherited() {
    if !has_proc() {
        return;
    }
    let Some(sleep) = tool("sleep") else { return };
    in_child(this_test!(), &[], || {
        let given = inheritable(TcpListener::bind("127.0.0.1:0").expect("port 0 is free"));
        assert_eq!(Idle::start(&sleep).sockets().len(), 1, "the premise: a socket that is not closed on exec is seen");
        let folder = Folder::new();

        let server = Server::listen("127.0.0.1:0").expect("port 0 is free");
        let serving = server.spawn(|socket| socket.pipe(socket)).expect("a thread starts");
        let adopted = ServerOptions::new().adopt(given).expect("it listens");
        let on_path = Server::listen(folder.file("socket")).expect("the path is free");
        let mut open = Vec::new();
        for server in [&server, &adopted, &on_path] {
            // The second way to connect: with a deadline, racing on threads.
            let options = SocketOptions::new().connect_timeout(crate::support::HANG);
            open.push(Socket::connect(server.address()).expect("it listens"));
            open.push(options.connect(server.address()).expect("it listens"));
        }
        for server in [&adopted, &on_path] {
            open.extend((0..2).map(|_| server.accept().expect("it works").expect("it is open")));
        }
        let named = SocketOptions::new().connect_timeout(crate::support::HANG);
        open.push(named.connect(("localhost", server.address().port())).expect("it listens"));
        let plain =
            std::net::TcpStream::connect(server.address().socket_addr().expect("it is TCP")).expect("it listens");
        open.push(Socket::from(inheritable(plain)));

        let datagrams = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
        let connected = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
        connected.connect(datagrams.address()).expect("a peer can be set");
        let again = dgram::Socket::bind("127.0.0.1:0").expect("port 0 is free");
        again.connect(datagrams.address()).and_then(|()| again.disconnect()).expect("it is a socket made anew");
        let given = inheritable(UdpSocket::bind("127.0.0.1:0").expect("port 0 is free"));
        let given = dgram::SocketOptions::new().adopt(given).expect("it is bound");
        let received = given.events(0).expect("a thread starts");

        let idle = Idle::start(&sleep);
        let ours = fs::read_dir("/proc/self/fd").expect("this is Linux").count();
        assert!(ours > 20, "the premise: many sockets are open here: {ours} descriptors");
        assert_eq!(idle.sockets(), Vec::<String>::new(), "nothing of the library's is inherited");

        let place = server.address().clone();
        drop(open);
        server.close();
        serving.join().expect("serving ended in order");
        drop(server);
        drop(adopted);
        given.close();
        assert!(matches!(received.iter().last(), Some(dgram::SocketEvent::Close)), "receiving ended in order");
        drop(Server::listen(&place).expect("the port is free, though the program still runs"));
        drop(idle);
    });
}
