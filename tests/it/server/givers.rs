//! Listeners of every kind that a giver keeps, while the service that adopts them is killed, and where no call reaches
//! them.
#![cfg(target_os = "linux")]

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use landline::net::ServerOptions;
use socket2::SockRef;

use crate::support::dgram::{in_own_network, run};
use crate::support::process::Program;
use crate::support::{Folder, HANG, blocked, differs, proc, this_program, within};

/// Set in a service that a test starts, whose standard input is the listener: what it does with it.
const SERVICE: &str = "LANDLINE_TEST_SERVICE";

/// The receive timeout of a listener that no call of ours reaches, as `adopt` says.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// A listener as others give it.
struct Given {
    kind: &'static str,
    listener: socket2::Socket,
    /// What a client gets that comes to it.
    ask: Box<dyn Fn() -> io::Result<String>>,
    /// Whether a call from the service is expected to reach it, where there is /proc.
    is_reached: bool,
    /// Whether the service runs in another network.
    is_foreign: bool,
}

/// A TCP listener: `prepare` makes its settings before it is bound.
fn tcp(kind: &'static str, at: &str, is_reached: bool, prepare: impl FnOnce(&socket2::Socket)) -> Given {
    let at: SocketAddr = at.parse().unwrap();
    let listener = socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::STREAM, None).unwrap();
    prepare(&listener);
    listener.bind(&at.into()).unwrap();
    listener.listen(16).unwrap();
    let at = listener.local_addr().unwrap().as_socket().unwrap();
    let ask = move || {
        let stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(HANG))?;
        io::read_to_string(stream)
    };
    Given { kind, listener, ask: Box::new(ask), is_reached, is_foreign: false }
}

/// A listener on a path that is gone, to which clients come by another name of it.
fn unlinked() -> Given {
    let folder = Folder::new();
    let path = folder.file("socket");
    let listener = UnixListener::bind(&path).unwrap();
    fs::hard_link(&path, folder.file("link")).unwrap();
    fs::remove_file(&path).unwrap();
    let ask = move || {
        let stream = UnixStream::connect(folder.file("link"))?;
        stream.set_read_timeout(Some(HANG))?;
        io::read_to_string(stream)
    };
    let listener = OwnedFd::from(listener).into();
    Given { kind: "of a path that is gone", listener, ask: Box::new(ask), is_reached: false, is_foreign: false }
}

/// A listener with an abstract name, which is of one network.
fn named(kind: &'static str, is_foreign: bool) -> Given {
    // The system's table has it as it is, and it need not be UTF-8.
    let name = [format!("landline {kind} {}", std::process::id()).as_bytes(), b"\xFF"].concat();
    let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let listener = OwnedFd::from(UnixListener::bind_addr(&name).unwrap()).into();
    let ask = move || {
        let stream = UnixStream::connect_addr(&name)?;
        stream.set_read_timeout(Some(HANG))?;
        io::read_to_string(stream)
    };
    Given { kind, listener, ask: Box::new(ask), is_reached: !is_foreign, is_foreign }
}

/// Each kind of listener. The network is one of this process's own.
fn kinds() -> Vec<Given> {
    run("ip link set lo up");
    let foreign = "192.0.2.1:0";
    let mut freebound = tcp("of a foreign address", foreign, false, |socket| socket.set_freebind_v4(true).unwrap());
    // A client reaches it while the machine has the address.
    let ask = freebound.ask;
    freebound.ask = Box::new(move || {
        run("ip address add 192.0.2.1/32 dev lo");
        let text = ask();
        run("ip address del 192.0.2.1/32 dev lo");
        text
    });
    vec![
        tcp("that is reached", "127.0.0.1:0", true, |_| {}),
        tcp("that does not block", "127.0.0.1:0", true, |socket| socket.set_nonblocking(true).unwrap()),
        freebound,
        tcp("that shares its port", "127.0.0.1:0", false, |socket| socket.set_reuse_port(true).unwrap()),
        tcp("behind a device", "127.0.0.1:0", false, |socket| socket.bind_device(Some(b"lo")).unwrap()),
        Given { is_foreign: true, ..tcp("of another network", "127.0.0.1:0", false, |_| {}) },
        named("with a name", false),
        named("with a name of another network", true),
        unlinked(),
    ]
}

/// The command of a service that has the listener on its standard input.
fn service(given: &Given, test: &str, work: &str) -> Command {
    let mut command = Command::new(if given.is_foreign { "unshare".into() } else { this_program() });
    if given.is_foreign {
        command.arg("-n").arg(this_program());
    }
    let listener = OwnedFd::from(given.listener.try_clone().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(SERVICE, work).stdin(Stdio::from(listener));
    command
}

/// In a service: the listener.
fn handed_over() -> OwnedFd {
    io::stdin().as_fd().try_clone_to_owned().unwrap()
}

/// Ensures that a listener of each kind whose service is killed 20 times is adopted and served by the next one each
/// time, that its giver's own accept(2) has no timeout where a call reaches the listener, and has one of 500 ms where
/// none does. Without /proc a listener cannot be seen to be of this network, so that no call counts as reaching it.
#[test]
fn the_next_service_adopts_a_listener_whose_service_was_killed() {
    if differs("accept(2) knows no timeout, so there is none where no call reaches the listener") {
        return;
    }
    in_own_network(this_test!(), || {
        if env::var_os(SERVICE).is_some() {
            let server = ServerOptions::new().adopt(handed_over()).unwrap();
            println!("\nadopted");
            return server.serve(|socket| socket.write_end("served")).unwrap();
        }
        for given in kinds() {
            let (kind, is_blocking) = (given.kind, !given.listener.nonblocking().unwrap());
            let is_reached = given.is_reached && proc::is_there();
            for round in 0..20 {
                let mut program = Program::of(service(&given, this_test!(), "killed"));
                program.line_with("adopted");
                assert_eq!((given.ask)().unwrap(), "served", "a listener {kind} is served in round {round}");
                program.kill();
                let left = given.listener.read_timeout().unwrap();
                let expected = if is_reached { None } else { Some(LOOK_AROUND) };
                assert_eq!(left, expected, "the timeout of a listener {kind} after a kill");
                assert_eq!(!given.listener.nonblocking().unwrap(), is_blocking, "the mode of a listener {kind} stays");
                if is_reached && is_blocking {
                    let giver = given.listener.try_clone().unwrap();
                    let accepting = blocked(move || giver.accept().map(drop));
                    assert_eq!((given.ask)().unwrap(), "", "the giver accepts, and closes");
                    within("the giver accepts", || accepting.join().unwrap()).expect("the giver never sees EAGAIN");
                }
            }
        }
    });
}

/// Ensures that the close of a listener of each kind returns, that serving ends, and that a shutdown says that nothing
/// is left running.
#[test]
fn an_adopted_listener_of_each_kind_is_closed() {
    if differs("nothing but a call wakes accept(2)") {
        return;
    }
    in_own_network(this_test!(), || {
        if let Ok(kind) = env::var(SERVICE) {
            for _ in 0..2 {
                let server = ServerOptions::new().adopt(handed_over()).unwrap();
                let serving = server.spawn(|_| Ok(())).unwrap();
                let begun = Instant::now();
                let report = within("shutdown returns", move || server.shutdown(HANG));
                println!("measured: closing a listener {kind} takes {:?}", begun.elapsed());
                within("serving ends", || serving.join()).unwrap();
                assert_eq!((report.forced, report.still_running), (0, 0), "nothing is left: {report}");
            }
            return println!("\nclosed");
        }
        for given in kinds() {
            let mut program = Program::of(service(&given, this_test!(), given.kind));
            println!("{}", program.line_with("measured"));
            program.line_with("closed");
            assert!(program.status().success(), "a listener {} is closed", given.kind);
            assert!(SockRef::from(&given.listener).is_listener().unwrap(), "a listener {} listens on", given.kind);
        }
    });
}
