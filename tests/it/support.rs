//! What the tests share: bounds on waits, both address families, child processes, peers that may be missing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The bound on a wait that ends at once if all is well.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Runs `work` on a thread of its own and gives what it gives; fails if that takes longer than `time`.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(time: Duration, what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let worker = thread::spawn(move || done.send(work()));
    match result.recv_timeout(time) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} within {time:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("the worker sends before it ends"),
        },
    }
}

/// Looks again and again until `condition` holds; fails if it does not within `time`.
#[track_caller]
pub(crate) fn eventually(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while !condition() {
        assert!(Instant::now() < end, "{what} within {time:?}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Runs `test` with a place to listen on, port 0, for each address family this machine has.
pub(crate) fn each_ip(test: impl Fn(&str)) {
    test("127.0.0.1:0");
    match std::net::TcpListener::bind("[::1]:0") {
        Ok(_) => test("[::1]:0"),
        Err(error) => println!("skipped for IPv6: {error}"),
    }
}

/// Runs `body` in a process of its own, so that it can count threads and descriptors, be limited, or be interfered with.
///
/// `test` is the path of the calling test, `module::name`. `wrapper` is put before the command, such as `strace …`; when
/// its first word is no program of this machine, the test is skipped.
#[track_caller]
pub(crate) fn in_child(test: &str, wrapper: &[&str], body: impl FnOnce()) {
    const MARK: &str = "LANDLINE_TEST_CHILD";
    if std::env::var_os(MARK).is_some_and(|name| name == test) {
        return body();
    }
    if let Some(program) = wrapper.first() {
        if tool(program).is_none() {
            return;
        }
    }
    let this = std::env::current_exe().expect("the test program has a path");
    let mut command: Vec<_> = network_of_its_own().iter().chain(wrapper).map(std::ffi::OsString::from).collect();
    command.push(this.into());
    let child = Command::new(&command[0])
        .args(&command[1..])
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test program starts again");
    let output = within(Duration::from_secs(120), "the child process ends", move || child.wait_with_output());
    let output = output.expect("the child's output can be read");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in a process of its own: {}\n{out}{err}", output.status);
    assert!(out.contains("1 passed"), "the child ran the test {test}\n{out}{err}");
    // What the child says of itself, figures above all. Its first line comes behind the name of the test.
    let lines = out.lines().map(|line| line.split_once(" ... ").map_or(line, |(_, said)| said));
    for line in lines.filter(|line| line.starts_with("skipped") || line.starts_with("measured")) {
        println!("{line}");
    }
}

/// What runs a command with a loopback interface of its own, where that is permitted. Thousands of connections leave as many
/// ports in TIME_WAIT for a minute; they would be missing elsewhere.
pub(crate) fn network_of_its_own() -> &'static [&'static str] {
    const AS_ROOT: &[&str] = &["unshare", "-n", "--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    const AS_USER: &[&str] = &["unshare", "-rn", "--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    static WAY: OnceLock<&[&str]> = OnceLock::new();
    WAY.get_or_init(|| {
        let works = |way: &&[&str]| {
            let tried = Command::new(way[0]).args(&way[1..]).arg("true").stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        [AS_ROOT, AS_USER].into_iter().find(works).unwrap_or(&[])
    })
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// The path of a program that a test needs. Where it is missing, says so; under CI, which installs it, that is a failure.
#[track_caller]
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: {name} not found");
        assert!(std::env::var_os("CI").is_none(), "{name} is installed under CI");
    }
    found
}
