//! Peers that are gone without a word: found by keep-alive while the connection is idle, by TCP_USER_TIMEOUT while something
//! is under way. Between two network namespaces, whose link swallows everything from a given moment on.

use std::io::{self, ErrorKind};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{KeepAlive, ServerOptions, Socket, SocketOptions};

use crate::support::fixtures::{accept, pair, pair_with};
use crate::support::time::some_round;
use crate::support::{
    Folder, Told, differs, each_ip, eventually, has_network_of_its_own, has_proc, in_child, tool, within,
};

const AT: &str = "127.0.0.1:0";

fn seconds(n: f64) -> Duration {
    Duration::from_secs_f64(n)
}

/// Ends a child when the test ends, however that happens.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other end of a link, in a namespace of its own, which lives as long as a process in it.
struct Far(Ends);

impl Far {
    /// Makes the link; `None`, and a word of why, where that cannot be.
    fn new() -> Option<Far> {
        let mut command = Command::new("unshare");
        // Not a bound: how long the namespace lives, unless the test ends before.
        command.args(["-n", "sleep", "1000"]).stdin(Stdio::null());
        let far = Far(Ends(command.spawn().expect("unshare starts")));
        let pid = far.0.0.id().to_string();
        // Until it is in its own namespace.
        let own = std::fs::read_link("/proc/self/ns/net").expect("Linux tells its namespaces");
        let there = format!("/proc/{pid}/ns/net");
        eventually("the far namespace is there", || std::fs::read_link(&there).is_ok_and(|there| there != own));
        let move_there = format!("link set far netns {pid}");
        for command in ["link add near type veth peer name far", &move_there] {
            run(&mut ip(command))?;
        }
        for command in
            ["link set lo up", "addr add 10.9.8.2/24 dev far", "addr add fd09::2/64 dev far nodad", "link set far up"]
        {
            run(far.inside("ip").args(command.split(' ')))?;
        }
        for command in ["addr add 10.9.8.1/24 dev near", "addr add fd09::1/64 dev near nodad", "link set near up"] {
            run(&mut ip(command))?;
        }
        Some(far)
    }

    /// A command in the far namespace.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net=/proc/{}/ns/net", self.0.0.id()), program]);
        command
    }

    /// A client over there that reads everything and says nothing.
    fn connect_to(&self, to: &landline::Address) -> Ends {
        let at = to.socket_addr().expect("it is TCP");
        let mut command = self.inside("nc");
        command.args([at.ip().to_string(), at.port().to_string()]);
        Ends(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("nsenter starts"))
    }

    /// From here on nothing reaches the other end: its link address is wrong.
    fn vanish(&self) {
        for address in ["10.9.8.2", "fd09::2"] {
            let command = format!("neigh replace {address} lladdr 02:00:00:00:00:99 dev near nud permanent");
            run(&mut ip(&command)).expect("the link is there");
        }
    }

    fn come_back(&self) {
        for address in ["10.9.8.2", "fd09::2"] {
            run(&mut ip(&format!("neigh del {address} dev near"))).expect("the link is there");
        }
    }
}

fn ip(arguments: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    command
}

fn run(command: &mut Command) -> Option<()> {
    let output = command.output().expect("it starts");
    if !output.status.success() {
        println!("skipped: {command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        assert!(std::env::var_os("CI").is_none(), "networks may be set up under CI");
        return None;
    }
    Some(())
}

type Wait = fn(&Socket) -> io::Result<()>;

/// Probes of keep-alive, if it is on; whether there is a user timeout; a call; and the number of steps of the time that
/// is set before which it does not end, if it ends.
type Row = (Option<u32>, bool, &'static str, Wait, Option<f64>);

/// How calls end whose peer has vanished, in steps of a second or more: those with a time end with `ETIMEDOUT`, and not
/// before it.
///
/// | options | call | ended by |
/// |---|---|---|
/// | keep-alive 1, 1, once | read, nothing under way | keep-alive, after 1 + 1 |
/// | keep-alive 1, 1, once | write, or read with data unacknowledged | nothing: no probes are sent |
/// | user timeout 1.5 | the same | the user timeout |
/// | user timeout 1.5 | read, nothing under way | nothing: there is nothing to be acknowledged |
/// | both | all | either |
/// | keep-alive 1, 1, twice | read, nothing under way | keep-alive, a step after all the others |
const ROWS: [Row; 10] = [
    (Some(1), false, "idle read", idle_read, Some(1.0)),
    (Some(1), false, "blocked write", blocked_write, None),
    (Some(1), false, "read after a write", read_after_write, None),
    (None, true, "idle read", idle_read, None),
    (None, true, "blocked write", blocked_write, Some(1.0)),
    (None, true, "read after a write", read_after_write, Some(1.0)),
    (Some(1), true, "idle read", idle_read, Some(0.7)),
    (Some(1), true, "blocked write", blocked_write, Some(1.0)),
    (Some(1), true, "read after a write", read_after_write, Some(1.0)),
    (Some(2), false, "idle read", idle_read, Some(2.0)),
];

fn idle_read(socket: &Socket) -> io::Result<()> {
    socket.read_exact(&mut [0])
}

fn blocked_write(socket: &Socket) -> io::Result<()> {
    socket.write_all("the first byte does not block")?;
    socket.write_all(vec![0; 64 << 20])
}

fn read_after_write(socket: &Socket) -> io::Result<()> {
    socket.write_all("are you there?")?;
    socket.read_exact(&mut [0])
}

/// Waits until nothing that was sent in this network is unacknowledged.
fn until_acknowledged() {
    eventually("everything is acknowledged", || {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        let tables = tables.map(|table| std::fs::read_to_string(table).expect("Linux tells its sockets"));
        let sockets = tables.iter().flat_map(|table| table.lines().skip(1));
        // The fifth column says what is unacknowledged, and what is unread.
        sockets.filter_map(|line| line.split_whitespace().nth(4)).all(|queues| queues.starts_with("00000000:"))
    });
}

/// Ensures that a peer that is gone without a word is found by keep-alive when the connection is idle, and by the user
/// timeout when data of ours is unacknowledged, not before the time that was set, on sockets that inherit both from
/// their listener. Neither does the other's work: what only the other would find is not found while all the rest are.
#[test]
#[cfg(target_os = "linux")]
fn a_peer_that_vanished_is_found() {
    if !has_proc() {
        return;
    }
    for name in ["unshare", "ip", "nsenter", "nc"] {
        if tool(name).is_none() {
            return;
        }
    }
    if !has_network_of_its_own() {
        return;
    }
    in_child(this_test!(), &[], || {
        let Some(far) = Far::new() else { return };
        some_round("each call begins before its peer is found", seconds(1.0), |timer| {
            let result = vanish_in(&far, timer);
            far.come_back();
            result
        });
    });
}

/// Lets the peers of calls in every row vanish, with keep-alive in steps of this time, and looks how the calls end.
/// `None` if the machine was so slow that keep-alive has found a peer before the call began that was to keep it from that.
fn vanish_in(far: &Far, timer: Duration) -> Option<()> {
    let rows = ["10.9.8.1:0", "[fd09::1]:0"].into_iter().flat_map(|at| ROWS.map(|row| (at, row)));
    let rows = rows.filter(|(_, row)| !row.1 || !has_no_user_timeout());
    let connected: Vec<_> = rows
        .map(|(at, row)| {
            let (probes, has_user_timeout, ..) = row;
            let mut server = ServerOptions::new();
            if let Some(probes) = probes {
                server = server.keep_alive(KeepAlive::new().delay(timer).interval(timer).count(probes));
            }
            if has_user_timeout {
                server = server.user_timeout(timer * 3 / 2);
            }
            let server = server.listen(at).expect("the address is there");
            let client = far.connect_to(server.address());
            (at, row, accept(&server), server, client)
        })
        .collect();
    // The system counts from here on, or from a call's first byte.
    let last_heard_of = Instant::now();
    for (_, _, accepted, ..) in &connected {
        accepted.write_all("hello").expect("the peer is there");
    }
    // The peers are idle then.
    until_acknowledged();
    far.vanish();
    let calls = connected.into_iter().map(|(at, row, accepted, server, client)| {
        let (start, socket, wait) = (Instant::now(), accepted.clone(), row.3);
        let calling = thread::spawn(move || (wait(&socket), start.elapsed(), last_heard_of.elapsed()));
        (at, row, accepted, calling, server, client)
    });
    let calls: Vec<_> = calls.collect();
    let writes = calls.iter().filter(|(_, row, ..)| row.2 != "idle read");
    eventually("the calls have written", || {
        writes.clone().all(|(_, _, accepted, calling, ..)| accepted.bytes_written() > 5 || calling.is_finished())
    });
    if last_heard_of.elapsed() >= timer * 2 {
        calls.iter().for_each(|(_, _, accepted, ..)| accepted.destroy());
        return None;
    }
    let finds = calls.iter().filter(|(_, row, ..)| row.4.is_some());
    eventually("all are found that can be", || finds.clone().all(|(_, _, _, calling, ..)| calling.is_finished()));
    for (at, (probes, has_user_timeout, call, _, expected), accepted, calling, _server, _client) in calls {
        let what = format!("{at}, {timer:?}, probes {probes:?}, user timeout {has_user_timeout}, {call}");
        let is_found = calling.is_finished();
        accepted.destroy();
        let (result, time, silent) = within("the call ends", || calling.join()).expect("it does not panic");
        let error = result.expect_err("the peer is gone");
        let Some(earliest) = expected else {
            assert!(!is_found, "{what}: it is not found: {error} after {time:?}");
            continue;
        };
        println!("measured: {what}: {error} after {time:.3?}");
        assert_eq!(
            error.kind(),
            ErrorKind::ConnectionAborted,
            "{what}: no timeout of a call, after which a loop would go on"
        );
        assert!(error.to_string().ends_with(" ETIMEDOUT"), "the system's own: {error}");
        assert!(silent > timer.mul_f64(earliest), "{what}: not too early, but after {silent:?}");
    }
    Some(())
}

/// Whether there is no such option here.
fn has_no_user_timeout() -> bool {
    differs("the system has no TCP_USER_TIMEOUT")
}

/// Ensures that a user timeout ends a connection too whose peer lives and does not read: the price of it.
#[test]
#[cfg(target_os = "linux")]
fn a_user_timeout_ends_a_living_peer_that_does_not_read() {
    if has_no_user_timeout() {
        return;
    }
    each_ip(|at| {
        let options = ServerOptions::new().user_timeout(seconds(0.5));
        let (_server, client, accepted) = pair_with(at, options, SocketOptions::new());
        let writer = accepted.clone();
        let start = Instant::now();
        let result = within("the write ends", move || writer.write_all(vec![0; 64 << 20]));
        let (error, time) = (result.expect_err("the client does not read"), start.elapsed());
        println!("measured: never reads, user timeout 0.5 s: {error} after {time:.3?}");
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
        assert!(time > seconds(0.45), "not before its time: {time:?}");
        drop(client);
    });
}

/// Ensures that the user timeout is an option of both sides and a setter, read back from the system, off by default and by
/// `None` and zero, rounded up to milliseconds, and nothing on a Unix socket.
#[test]
#[cfg(target_os = "linux")]
fn a_user_timeout_can_be_set_and_read_back() {
    let ms = Duration::from_millis;
    if has_no_user_timeout() {
        let (_server, client, _accepted) = pair("127.0.0.1:0");
        assert_eq!(client.user_timeout().expect_err("there is none").kind(), ErrorKind::Unsupported, "read");
        assert_eq!(client.set_user_timeout(ms(5)).expect_err("there is none").kind(), ErrorKind::Unsupported, "set");
        client.set_user_timeout(None).expect("off is what it is");
        return;
    }
    each_ip(|at| {
        let (_server, client, accepted) = pair(at);
        for socket in [&client, &accepted] {
            assert_eq!(socket.user_timeout().expect("it is open"), None, "there is none unless it is set");
        }
        let both = (ServerOptions::new().user_timeout(ms(1_234)), SocketOptions::new().user_timeout(ms(4_321)));
        let (_server, client, accepted) = pair_with(at, both.0, both.1);
        assert_eq!(accepted.user_timeout().expect("it is open"), Some(ms(1_234)), "inherited from the listener");
        assert_eq!(client.user_timeout().expect("it is open"), Some(ms(4_321)), "the client's own");
        client.set_user_timeout(Duration::from_micros(1)).expect("any time up to 24 days can be set");
        assert_eq!(client.user_timeout().expect("it is open"), Some(ms(1)), "rounded up, not down to off");
        for off in [None, Some(Duration::ZERO)] {
            client.set_user_timeout(ms(5)).expect("it can be set");
            client.set_user_timeout(off).expect("it can be taken back");
            assert_eq!(client.user_timeout().expect("it is open"), None, "{off:?} is off");
        }
        client.destroy();
        assert_eq!(client.set_user_timeout(ms(5)).expect_err("it is closed").kind(), ErrorKind::NotConnected, "closed");
        assert_eq!(client.user_timeout().expect_err("it is closed").kind(), ErrorKind::NotConnected, "closed");
    });
    let folder = Folder::new();
    let path = folder.file("socket");
    let server = ServerOptions::new().user_timeout(ms(100)).listen(path.as_path()).expect("a path can be listened on");
    let client = SocketOptions::new().user_timeout(ms(100)).connect(path.as_path()).expect("the server listens");
    client.set_user_timeout(ms(50)).expect("on a Unix socket it does nothing");
    assert_eq!(client.user_timeout().expect_err("there is no such thing").told().code(), "ENOTSUP", "said so");
    drop(server);
}

/// Ensures that a time no system takes is an error of listen, connect and the setter that names the option.
#[test]
fn a_user_timeout_out_of_range_is_an_error_that_names_the_option() {
    let (server, client, _accepted) = pair(AT);
    let long = Duration::from_millis(1 << 31);
    let errors = [
        ServerOptions::new().user_timeout(long).listen(AT).map(drop),
        SocketOptions::new().user_timeout(long).connect(server.address()).map(drop),
        client.set_user_timeout(Duration::MAX),
    ];
    for error in errors.map(|result| result.expect_err("it is out of range")) {
        assert_eq!(error.told().code(), "ERR_OUT_OF_RANGE", "{error}");
        let text = "The value of \"user_timeout\" is out of range. It must be <= 2147483.647s. Received";
        assert!(error.to_string().starts_with(text), "{error}");
    }
    if let Err(error) = ServerOptions::new().user_timeout(Duration::from_millis((1 << 31) - 1)).listen(AT) {
        assert_ne!(error.told().code(), "ERR_OUT_OF_RANGE", "the longest time is in range: {error}");
    }
}
