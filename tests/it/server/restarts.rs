//! A listener that outlives its servers: a service manager's, handed over as standard input.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use landline::net::{ServerOptions, Socket};
use socket2::SockRef;

use crate::support::clients::Over;
use crate::support::fixtures::port_of_no_client;
use crate::support::process::{Program, example, run};
use crate::support::time::once_below;
use crate::support::{Folder, HANG, eventually, in_child, tool, within};

/// How long the example waits for those who are connected when it is told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Where a service tells how it is doing, as systemd would listen for it.
struct Notified {
    socket: UnixDatagram,
    /// What NOTIFY_SOCKET says.
    name: String,
}

impl Notified {
    fn at_path(folder: &Folder) -> Notified {
        let path = folder.file("notify");
        let socket = UnixDatagram::bind(&path).expect("the path is free");
        Notified { socket, name: path.display().to_string() }
    }

    fn at_abstract_name() -> Notified {
        let name = format!("landline-restarts-{}", process::id());
        let at = UnixAddress::from_abstract_name(&name).expect("the name is short");
        Notified { socket: UnixDatagram::bind_addr(&at).expect("the name is free"), name: format!("@{name}") }
    }

    #[track_caller]
    fn expect(&self, state: &str) {
        self.socket.set_read_timeout(Some(HANG)).expect("a timeout can be set");
        let mut buffer = [0; 100];
        let n = self.socket.recv(&mut buffer).expect("the service says how it is doing");
        assert_eq!(String::from_utf8_lossy(&buffer[..n]), state, "in the words of sd_notify(3)");
    }
}

/// The example, with a listener of ours as its standard input.
struct Service {
    program: Program,
    control: PathBuf,
}

impl Service {
    fn start(listener: &TcpListener, control: PathBuf, notified: &Notified) -> Service {
        let listener = OwnedFd::from(listener.try_clone().expect("a descriptor is free"));
        let mut command = Command::new(example("systemd"));
        command.arg(&control).stdin(Stdio::from(listener)).env("NOTIFY_SOCKET", &notified.name);
        let service = Service { program: Program::of(command), control };
        notified.expect("READY=1");
        service
    }

    /// Has it drain and end; gives what it has said meanwhile.
    #[track_caller]
    fn stop(mut self, notified: &Notified) -> Log {
        let control = self.control.display().to_string();
        let said = run(example("systemd"), &[&control, "stop"], &[].into());
        assert!(said.status.success(), "it is stopped: {}", said.err);
        notified.expect("STOPPING=1");
        assert!(self.program.status().success(), "it ends in order");
        let log = Log::of(&self.program.errors());
        assert_eq!(said.err, format!("{} served\n", log.accepted), "it tells whom it served");
        log
    }
}

/// What the lines of a service come to.
#[derive(Debug, Default)]
struct Log {
    accepted: usize,
    /// Clients that ended at once: calls of ours that the process before has left in the queue.
    calls: usize,
    /// Connections that did not end in order.
    failed: usize,
}

impl Log {
    fn of(lines: &[String]) -> Log {
        let count = |wanted: &dyn Fn(&&String) -> bool| lines.iter().filter(wanted).count();
        let ended_well = |line: &&String| line.contains(" finished after ");
        Log {
            accepted: count(&|line| line.contains(" accepted, ")),
            calls: count(&|line| ended_well(line) && line.ends_with(" 0 read, 0 written")),
            failed: count(&|line| line.contains(" after ") && !ended_well(line)),
        }
    }

    fn add(&mut self, other: &Log) {
        self.accepted += other.accepted;
        self.calls += other.calls;
        self.failed += other.failed;
    }
}

/// How clients fared that came one after the other.
#[derive(Debug, Default, Clone, Copy)]
struct Fared {
    answered: usize,
    /// Connected, and then not answered.
    lost: usize,
    longest: Duration,
}

const CLIENTS: usize = 3;

/// One request; `None` if it is not answered. A client that cannot connect, or gets a wrong answer, fails the test.
fn ask(place: SocketAddr) -> Option<()> {
    let mut client = TcpStream::connect(place).expect("no connect is refused: somebody listens all the time");
    client.set_read_timeout(Some(HANG)).expect("a timeout can be set");
    let mut answer = Vec::new();
    let asked = client.write_all(b"ping").and_then(|()| client.shutdown(std::net::Shutdown::Write));
    let ended = asked.and_then(|()| client.read_to_end(&mut answer));
    match (ended, &answer[..]) {
        (_, b"ping") => Some(()),
        (Ok(_), b"") => None,
        (Err(error), b"") if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => None,
        (Err(error), b"") if error.kind() == io::ErrorKind::NotConnected => None,
        (ended, answer) => panic!("an answer is whole or not there: {answer:?}, {ended:?}"),
    }
}

/// Runs `work` while clients come all the time; it is given a wait for some more of them to be answered.
fn with_clients(place: SocketAddr, work: impl FnOnce(&dyn Fn())) -> Fared {
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let come_on_and_on = || {
            let mut fared = Fared::default();
            while !over.load(SeqCst) {
                let start = Instant::now();
                match ask(place) {
                    Some(()) => fared.answered += 1,
                    None => fared.lost += 1,
                }
                fared.longest = fared.longest.max(start.elapsed());
                answers.fetch_add(1, SeqCst);
            }
            fared
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(come_on_and_on)).collect();
        let is_over = Over(&over);
        work(&|| {
            let before = answers.load(SeqCst);
            eventually("clients are answered", || answers.load(SeqCst) >= before + 30);
        });
        drop(is_over);
        clients.into_iter().fold(Fared::default(), |all, client| {
            let one = client.join().expect("no client is refused");
            Fared {
                answered: all.answered + one.answered,
                lost: all.lost + one.lost,
                longest: all.longest.max(one.longest),
            }
        })
    })
}

/// Fails if the parent's listener is harmed.
#[track_caller]
fn still_listens(listener: &TcpListener) {
    assert!(SockRef::from(listener).is_listener().expect("it is a socket"), "the listener is its giver's, and listens");
    let place = listener.local_addr().expect("the listener has an address");
    let mut client = TcpStream::connect(place).expect("a client can connect");
    client.write_all(b"?").expect("the kernel takes it");
    let listener = listener.try_clone().expect("a descriptor is free");
    within("the giver accepts", move || {
        // Calls of ours may wait before it.
        while listener.accept().expect("it listens").0.read(&mut [0]).expect("the client is sound") == 0 {}
    });
}

/// Ensures that a service that is stopped and started 20 times by a parent that holds the listener refuses no client and
/// loses no request, and that the parent's listener listens on.
#[test]
fn twenty_restarts_lose_no_client() {
    // Who is not served for so long may be cut off: on a machine that stood still, it is tried again.
    in_child(this_test!(), &[], || once_below("each request takes less than a service drains", DRAIN, twenty_restarts));
}

/// Gives how long the longest request took.
fn twenty_restarts() -> Duration {
    let (folder, start) = (Folder::new(), Instant::now());
    let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
    let place = listener.local_addr().expect("the listener has an address");
    let notified = [Notified::at_path(&folder), Notified::at_abstract_name()];
    let mut log = Log::default();
    let mut last = None;
    let fared = with_clients(place, |answered| {
        for round in 0..=20 {
            let notified = &notified[round % 2];
            let service = Service::start(&listener, folder.file("control"), notified);
            answered();
            if round == 20 {
                last = Some((service, notified));
            } else {
                log.add(&service.stop(notified));
            }
        }
    });
    let (service, told) = last.expect("it was started");
    log.add(&service.stop(told));
    println!(
        "measured 20 restarts in {:.1} s: {} requests, {} lost, the longest took {:?}; calls left in the queue: {}",
        start.elapsed().as_secs_f64(),
        fared.answered,
        fared.lost,
        fared.longest,
        log.calls
    );
    still_listens(&listener);
    if fared.longest >= DRAIN {
        return fared.longest;
    }
    assert_eq!(fared.lost, 0, "a request that was taken is answered, by the one process or the next");
    assert_eq!(log.failed, 0, "no connection of any process was cut");
    assert_eq!(log.accepted - log.calls, fared.answered, "each client is served once, and every other is our call");
    fared.longest
}

/// Ensures that killing the service 20 times refuses no client either: only those it had in hand are lost.
#[test]
fn twenty_kills_refuse_no_client() {
    in_child(this_test!(), &[], || {
        let folder = Folder::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
        let place = listener.local_addr().expect("the listener has an address");
        let notified = Notified::at_path(&folder);
        let mut last = None;
        let fared = with_clients(place, |answered| {
            for round in 0..=20 {
                // What a killed process leaves behind is the file of its control socket.
                let mut service = Service::start(&listener, folder.file(&format!("control {round}")), &notified);
                answered();
                if round == 20 {
                    last = Some(service);
                } else {
                    service.program.kill();
                }
            }
        });
        drop(last);
        println!(
            "measured 20 kills: {} requests, {} lost, the longest took {:?}",
            fared.answered, fared.lost, fared.longest
        );
        assert!(fared.lost <= 20 * CLIENTS, "a kill loses what was in hand, and no client twice: {fared:?}");
        still_listens(&listener);
    });
}

/// Ensures that a server in this process that is shut down 20 times, each time followed by the next on the same listener,
/// refuses no client; a request that is on its way when the shutdown begins may stay without an answer.
#[test]
fn twenty_shutdowns_refuse_no_client() {
    in_child(this_test!(), &[], || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the listener listens");
        let place = listener.local_addr().expect("the listener has an address");
        let mut last = None;
        let fared = with_clients(place, |answered| {
            let start = || {
                let ours = listener.try_clone().expect("a descriptor is free");
                let server = ServerOptions::new().adopt(ours).expect("it listens");
                let serving = server.spawn(|socket: &Socket| socket.pipe(socket)).expect("a thread starts");
                (server, serving)
            };
            let mut running = start();
            for _ in 0..20 {
                answered();
                let (server, serving) = std::mem::replace(&mut running, start());
                let report = server.shutdown(HANG);
                assert_eq!((report.forced, report.still_running), (0, 0), "clients end by themselves: {report}");
                serving.join().expect("serving ended in order");
            }
            answered();
            last = Some(running);
        });
        let (server, serving) = last.expect("it was started");
        server.close();
        serving.join().expect("serving ended in order");
        println!("measured 20 shutdowns: {} requests, {} lost", fared.answered, fared.lost);
        assert!(fared.lost <= 20 * CLIENTS, "a shutdown ends whom it finds waiting, and no client twice: {fared:?}");
        still_listens(&listener);
    });
}

/// Ensures that the example serves what systemd itself hands over: started at the first client, stopped in order.
#[test]
fn systemd_hands_its_listener_over() {
    let Some(activate) = tool("systemd-socket-activate") else { return };
    let folder = Folder::new();
    let (control, notified) = (folder.file("control"), Notified::at_path(&folder));
    let at = SocketAddr::from(([127, 0, 0, 1], port_of_no_client()));
    let mut command = Command::new(activate);
    command.args(["-l", &at.to_string(), "--inetd", "-E", &format!("NOTIFY_SOCKET={}", notified.name)]);
    command.arg(example("systemd")).arg(&control).stdin(Stdio::null());
    let program = Program::of(command);
    program.error_line_with("Listening on");
    ask(at).expect("the client that wakes the service is served by it");
    notified.expect("READY=1");
    let log = Service { program, control }.stop(&notified);
    assert_eq!((log.accepted, log.failed), (1, 0), "one client came: {log:?}");
}

/// Ensures that systemd takes the unit files that the example's header shows.
#[test]
fn systemd_understands_the_unit_files() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/systemd.rs")).expect("it is there");
    let units = source.split("//! ```ini\n").skip(1).map(|rest| rest.split("//! ```").next().unwrap_or_default());
    let plain = units.map(|unit| unit.lines().map(|line| line.trim_start_matches("//!").trim()).collect::<Vec<_>>());
    let units: Vec<_> = plain.map(|lines| lines.join("\n")).collect();
    let folder = Folder::new();
    let files = [folder.file("echo.socket"), folder.file("echo.service")];
    assert_eq!(units.len(), files.len(), "the header has a socket and a service");
    let program = example("systemd").display().to_string();
    let verify = |units: [String; 2]| {
        for (file, unit) in files.iter().zip(units) {
            fs::write(file, unit).expect("the folder is ours");
        }
        let args = [files[0].display().to_string(), files[1].display().to_string()];
        run(&analyze, &["verify", "--man=no", &args[0], &args[1]], &[].into()).err
    };
    let service = units[1].replace("/usr/local/bin/echo_service", &program);
    assert_eq!(verify([units[0].clone(), service.clone()]), "", "systemd has nothing to say of them");
    let wrong = service.replace("StandardInput=socket", "StandardInput=sockets");
    assert!(verify([units[0].clone(), wrong]).contains("ignoring: sockets"), "the premise: it reads them");
}
