//! Whether other processes are blocked, and whether anything is under way to them, by /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use socket2::SockRef;

use crate::support::eventually;

/// A thread, its state, and how often it was switched out: a thread that has run between two looks differs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    path: String,
    state: char,
    switches: Vec<String>,
}

/// Whether there is a /proc to look at.
pub(crate) fn can_be_seen() -> bool {
    let is_there = fs::metadata("/proc/thread-self/children").is_ok();
    if !is_there {
        println!("skipped: no /proc");
    }
    is_there
}

/// Whether every thread of these processes and of their descendants is blocked. If one of the processes may have a TCP
/// connection, also whether none of these ports is between two states.
///
/// Two looks that agree say that there was a moment between them at which all threads were blocked at once. What a packet
/// wakes later is seen in the kernel's table of connections: there its bytes are not acknowledged yet. A look is short, so
/// that it catches a process that wakes now and then by a clock of its own. The kernel takes 10 ms to write that table, and on
/// a busy machine a second and more, so it is read only for processes that may have a connection.
pub(crate) fn are_at_rest(processes: &[u32], ports: &[u16]) -> bool {
    let first = threads(processes);
    let is_blocked = |thread: &Thread| thread.state == 'S';
    let is_quiet = || !may_have_connections(&first) || !is_under_way(ports);
    first.iter().all(is_blocked) && is_quiet() && threads(processes) == first
}

/// The threads of these processes and of their descendants, without those that have ended.
pub(crate) fn threads(processes: &[u32]) -> Vec<Thread> {
    let mut left: Vec<_> = processes.iter().map(u32::to_string).collect();
    let mut threads = Vec::new();
    while let Some(process) = left.pop() {
        let tasks = format!("/proc/{process}/task");
        for path in names(&tasks).into_iter().map(|task| format!("{tasks}/{task}")) {
            let children = fs::read_to_string(format!("{path}/children")).unwrap_or_default();
            left.extend(children.split_whitespace().map(String::from));
            // One that ends meanwhile is missing, which the next look sees.
            let status = fs::read_to_string(format!("{path}/status")).unwrap_or_default();
            let state = status.lines().find_map(|line| line.strip_prefix("State:")?.trim().chars().next());
            let switches = status.lines().filter(|line| line.contains("ctxt_switches")).map(String::from).collect();
            if let Some(state) = state.filter(|state| !['Z', 'X'].contains(state)) {
                threads.push(Thread { path, state, switches });
            }
        }
    }
    threads
}

/// Whether the process of one of these threads has a socket that is neither for datagrams nor of the family Unix.
fn may_have_connections(threads: &[Thread]) -> bool {
    // The tables, and the column of each that has the number of a socket.
    let tables = [("udp", 9), ("udp6", 9), ("unix", 6)];
    let others = tables.into_iter().flat_map(|(table, column)| {
        let rows = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let number = |row: &str| Some(format!("socket:[{}]", row.split_whitespace().nth(column)?));
        rows.lines().filter_map(number).collect::<Vec<_>>()
    });
    let others: BTreeSet<_> = others.collect();
    // By a thread that is left: a process whose first thread has ended shows no files.
    let processes: BTreeMap<_, _> =
        threads.iter().filter_map(|thread| Some((thread.path.split_once("/task/")?.0, &thread.path))).collect();
    processes.into_values().any(|thread| {
        let Ok(files) = fs::read_dir(format!("{thread}/fd")) else { return true };
        let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let targets = targets.map(|target| target.to_string_lossy().into_owned());
        targets.into_iter().any(|target| target.starts_with("socket:") && !others.contains(&target))
    })
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Whether a connection of one of these ports has sent what is not acknowledged, or is between two states.
fn is_under_way(ports: &[u16]) -> bool {
    connections(ports).iter().any(|row| {
        let cells: Vec<_> = row.split_whitespace().collect();
        // SYN_SENT, SYN_RECV, FIN_WAIT1, LAST_ACK, CLOSING, NEW_SYN_RECV: the other side's kernel has the next word.
        ["02", "03", "04", "09", "0B", "0C"].contains(&cells[3]) || !cells[4].starts_with("00000000:")
    })
}

/// The rows of the kernel's tables of connections that have one of these ports at either end.
pub(crate) fn connections(ports: &[u16]) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let ports: Vec<_> = ports.iter().map(|port| format!(":{port:04X} ")).collect();
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter(|row| ports.iter().any(|port| row.contains(port))).map(String::from).collect()
}

/// Ensures that processes are at rest when all of them are blocked, and not while a child of a blocked one runs.
#[cfg(unix)]
#[test]
fn processes_are_at_rest_when_all_are_blocked() {
    use std::os::unix::process::CommandExt;
    if !can_be_seen() {
        return;
    }
    let with_child = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("sh -c '{script}'; exit 3")]).process_group(0).stdin(Stdio::piped());
        shell.spawn().expect("a shell starts")
    };
    let mut blocked = with_child("read line");
    eventually("a shell and its child are blocked", || {
        threads(&[blocked.id()]).len() == 2 && are_at_rest(&[blocked.id()], &[])
    });
    drop(blocked.stdin.take());
    assert_eq!(blocked.wait().expect("it was started").code(), Some(3), "it ends");
    assert!(threads(&[blocked.id()]).is_empty(), "nothing is left of it");

    let mut busy = with_child("read line; while read line; do :; done </dev/zero");
    busy.stdin.as_mut().expect("it is piped").write_all(b"\n").expect("it reads");
    let both = [busy.id()];
    eventually("the child runs", || threads(&both).iter().any(|thread| thread.state == 'R'));
    let rests = (0..100).filter(|_| are_at_rest(&both, &[])).count();
    let killed = Command::new("sh").args(["-c", &format!("kill -KILL -{}", busy.id())]).status();
    assert!(killed.expect("a shell starts").success() && busy.wait().is_ok(), "it runs until it is killed");
    assert_eq!(rests, 0, "a child that runs is not at rest");
}

/// Ensures that a connection with bytes that its peer's kernel has not taken is under way, and an idle one is not.
#[test]
fn what_is_not_acknowledged_is_under_way() {
    if !can_be_seen() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 can be bound");
    let at = listener.local_addr().expect("it is bound");
    SockRef::from(&listener).set_recv_buffer_size(4096).expect("it can be set");
    let (mut client, peer) =
        (TcpStream::connect(at).expect("it listens"), listener.accept().expect("a client comes").0);
    SockRef::from(&client).set_send_buffer_size(4096).expect("it can be set");
    eventually("an idle connection is not under way", || !is_under_way(&[at.port()]));
    client.set_nonblocking(true).expect("it can be set");
    while client.write(&[b'x'; 65_536]).is_ok() {}
    assert!(is_under_way(&[at.port()]), "what the peer's buffer has no room for is not acknowledged");
    assert!(!connections(&[at.port()]).is_empty(), "the table has the connection");
    drop((client, peer));
}

/// Ensures that a process with a socket of TCP may have connections, and one with other sockets has none.
#[cfg(unix)]
#[test]
fn only_a_process_with_a_socket_of_tcp_may_have_connections() {
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    if !can_be_seen() {
        return;
    }
    let udp = UdpSocket::bind("127.0.0.1:0").expect("port 0 can be bound");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("port 0 can be bound");
    let pair = UnixDatagram::pair().expect("two descriptors can be had");
    let sockets: [(&str, OwnedFd, bool); 3] = [
        ("one for datagrams has none", udp.into(), false),
        ("one of TCP may have some", tcp.into(), true),
        ("one of a pair has none", pair.0.into(), false),
    ];
    for (kind, socket, may_have) in sockets {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read line"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(socket);
        let mut blocked = shell.spawn().expect("a shell starts");
        // Until it runs its program it has our sockets too.
        eventually("the shell reads", || are_at_rest(&[blocked.id()], &[]));
        // Other tests open and close sockets while the tables are read, so that a look may miss one.
        eventually(kind, || may_have_connections(&threads(&[blocked.id()])) == may_have);
        drop(blocked.stdin.take());
        blocked.wait().expect("it was started");
    }
}
