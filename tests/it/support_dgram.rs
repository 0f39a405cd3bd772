//! What the tests of datagrams share.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, panic, thread};

use landline::dgram::{RemoteInfo, Socket};

/// How long anything may take that should not take long, on a machine that is busy with other things.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Loopback of both families, port 0; of IPv4 alone where there is no IPv6.
pub(crate) fn families() -> Vec<&'static str> {
    let mut families = vec!["127.0.0.1:0"];
    match UdpSocket::bind("[::1]:0") {
        Ok(_) => families.push("[::1]:0"),
        Err(error) => println!("skipped: IPv6: {error}"),
    }
    families
}

/// Runs `work` on a thread of its own and gives what it gives, or fails if that takes too long.
pub(crate) fn within<T: Send + 'static>(limit: Duration, what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = done.send(work());
    });
    match result.recv_timeout(limit) {
        Ok(value) => {
            thread.join().expect("the thread has given its result");
            value
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} within {limit:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panicked) => panic::resume_unwind(panicked),
            Ok(()) => unreachable!("the thread gives its result or panics"),
        },
    }
}

/// The next datagram, which has to arrive soon.
pub(crate) fn receive(socket: &Socket) -> (Vec<u8>, RemoteInfo) {
    let mut buffer = vec![0; 65_535];
    let received = socket.recv_timeout(&mut buffer, SOON).expect("a datagram arrives");
    let (bytes, from) = received.expect("the socket is open");
    (bytes.to_vec(), from)
}

/// Whether this program is there. Where tests are run for everybody, it has to be.
pub(crate) fn has(program: &str) -> bool {
    let found =
        env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        skip(&format!("{program} not found"));
    }
    found
}

/// Says that a test does not run, and why, which must not happen where tests are run for everybody.
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
    assert!(env::var_os("CI").is_none(), "with CI set nothing is skipped: {why}");
}

/// Set in a child that runs a single test of this binary.
const CHILD: &str = "LANDLINE_TEST_CHILD";

/// Whether this is such a child.
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Runs the calling test again, alone in a process of its own, and gives `true` in that process. In this one it waits
/// and fails if the other has failed. For what concerns a whole process: its descriptors, its threads, its network.
pub(crate) fn in_own_process(test: &str, wrapper: &[&str]) -> bool {
    if is_child() {
        return true;
    }
    let binary = env::current_exe().expect("the binary's path is known");
    let mut command = match wrapper {
        [] => Command::new(&binary),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(&binary);
            command
        }
    };
    let output = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().expect("a child starts");
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} in a process of its own:\n{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// The same, in a network namespace of its own with nothing in it but a loopback interface that is down.
#[cfg(target_os = "linux")]
pub(crate) fn in_own_network(test: &str) -> bool {
    if is_child() {
        return true;
    }
    if !has("unshare") || !has("ip") {
        return false;
    }
    for wrapper in [&["unshare", "-n"][..], &["unshare", "-rn"]] {
        let tried = Command::new(wrapper[0]).args(&wrapper[1..]).args(["ip", "link"]).output();
        if tried.is_ok_and(|output| output.status.success()) {
            return in_own_process(test, wrapper);
        }
    }
    skip("no network namespace may be made here");
    false
}

/// Runs a program to its end, which has to be a good one.
pub(crate) fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("it starts");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that runs beside the test and is gone with it.
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
        self.lines.recv_timeout(SOON).expect("the program prints a line")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An example of this crate, built.
pub(crate) fn example(name: &str) -> PathBuf {
    let binary = env::current_exe().expect("the binary's path is known");
    let folder = binary.parent().and_then(|deps| deps.parent()).expect("it lies in target/PROFILE/deps");
    let path = folder.join("examples").join(name).with_extension(env::consts::EXE_EXTENSION);
    if !path.exists() {
        // As when this binary was asked for alone.
        run(&format!("{} build --quiet --example {name}", env!("CARGO")));
    }
    path
}
