//! What the tests share, such as the bound on waits, both address families, child processes and programs that may be
//! missing.

// Each test binary has this module and uses a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

pub(crate) mod clients;
pub(crate) mod dgram;
pub(crate) mod fixtures;
pub(crate) mod folder;
pub(crate) mod pages;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod time;

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use fixtures::Whole;
pub(crate) use folder::Folder;
pub(crate) use proc::{blocked, descriptors, has_proc, numbered, status, threads, threads_named, until_asleep};

/// The bound on every wait. Only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// The bound on a child process that runs a whole test, and on a thread that does as much. Each of its waits has
/// [`HANG`], so only a hang elsewhere reaches it. A test of some hundred steps takes minutes on a machine that is
/// loaded fifty times over.
pub(crate) const WHOLE: Duration = Duration::from_secs(600);

/// Whether the code for systems other than Linux runs. That is on such a system, or on Linux by `--cfg
/// landline_portable` (macOS and the BSDs) or `--cfg landline_windows`. A test asserts what differs by design, or says
/// so and returns, by [`differs`].
pub(crate) const PORTABLE: bool =
    cfg!(any(landline_portable, landline_windows)) || !cfg!(any(target_os = "linux", target_os = "android"));

/// Whether the code for Windows runs, there or on Linux.
pub(crate) const WINDOWS: bool = cfg!(any(windows, landline_windows));

/// More than is free in the address space, so that a thread with this stack cannot be started. musl takes no larger one.
pub(crate) const NO_STACK: usize = if usize::BITS > 32 { usize::MAX / 4 } else { 3 << 30 };

/// The library's error inside an error.
pub(crate) trait Told {
    #[track_caller]
    fn told(&self) -> &landline::Error;
}

impl Told for io::Error {
    fn told(&self) -> &landline::Error {
        landline::Error::of(self).unwrap_or_else(|| panic!("each error of the library has a code: {self:?}"))
    }
}

/// Prints why the rest of the calling test does not hold on systems other than Linux. Returns whether this is one of
/// them.
pub(crate) fn differs(why: &str) -> bool {
    if PORTABLE {
        println!("differs by design: {} {why}", thread::current().name().unwrap_or("a test:"));
    }
    PORTABLE
}

/// The same for what does not hold on Windows.
pub(crate) fn differs_on_windows(why: &str) -> bool {
    WINDOWS && differs(why)
}

/// Runs `work` on a thread of its own and returns its result. Fails if it hangs.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    within_for(HANG, what, work)
}

/// As [`within`], for work with another bound, such as [`WHOLE`] for work of hundreds of steps.
#[track_caller]
pub(crate) fn within_for<T: Send + 'static>(
    time: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = done.send(work());
    });
    match result.recv_timeout(time) {
        Ok(value) => {
            worker.join().expect("the thread has given its result");
            value
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} within {time:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the thread gives its result or panics"),
        },
    }
}

/// Checks again and again until `condition` holds. Fails if it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + HANG;
    while !condition() {
        assert!(Instant::now() < end, "{what} within {HANG:?}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Loopback of each address family that this machine has, with port 0.
pub(crate) fn families() -> Vec<&'static str> {
    let mut families = vec!["127.0.0.1:0"];
    match std::net::TcpListener::bind("[::1]:0") {
        Ok(_) => families.push("[::1]:0"),
        Err(error) => println!("skipped for IPv6: {error}"),
    }
    families
}

/// Runs `test` with each of the [`families`].
pub(crate) fn each_ip(test: impl Fn(&str)) {
    families().into_iter().for_each(test);
}

/// The path of the calling test in its program, `module::name`.
macro_rules! this_test {
    () => {{
        fn here() {}
        $crate::support::test_of(std::any::type_name_of_val(&here))
    }};
}

/// The test that a function within it belongs to, by that function's full name.
pub(crate) fn test_of(inner: &'static str) -> &'static str {
    let path = inner.strip_suffix("::here").expect("it is the function of this_test!");
    let path = path.trim_end_matches("::{{closure}}");
    path.split_once("::").expect("the name of the program comes first").1
}

/// The path of the test program, or of a script that runs it in an emulator, as tools/xrun-linux says. Without /proc it
/// is the one it was started by, which is in full from Cargo, and from the current folder otherwise.
pub(crate) fn this_program() -> PathBuf {
    if let Some(script) = std::env::var_os("LANDLINE_TEST_PROGRAM") {
        return script.into();
    }
    std::env::current_exe().unwrap_or_else(|_| {
        let started_by = std::env::args_os().next().expect("a program has a name");
        std::path::absolute(started_by).expect("there is a current folder")
    })
}

/// The path of the one test that a child runs.
const CHILD: &str = "LANDLINE_TEST_CHILD";

/// Runs `body` in a process of its own, so that it can count threads and descriptors, be limited, or be interfered
/// with.
///
/// `test` is the path of the calling test, by `this_test!`. `wrapper` is put before the command, such as `strace …`. If
/// its first word is not a program of this machine, the test is skipped.
#[track_caller]
pub(crate) fn in_child(test: &str, wrapper: &[&str], body: impl FnOnce()) {
    in_child_for(WHOLE, test, wrapper, body);
}

/// As [`in_child`], for a body that may take long.
#[track_caller]
pub(crate) fn in_child_for(time: Duration, test: &str, wrapper: &[&str], body: impl FnOnce()) {
    if is_child(test) {
        return body();
    }
    if wrapper.first().is_none_or(|program| tool(program).is_some()) {
        run_child(time, test, &[network_of_its_own(), wrapper].concat());
    }
}

/// Whether this is the child in which the body of `test` runs.
pub(crate) fn is_child(test: &str) -> bool {
    std::env::var_os(CHILD).is_some_and(|name| name == test)
}

/// Runs `test` in a child that `wrapper` starts, and fails if it does.
#[track_caller]
pub(crate) fn run_child(time: Duration, test: &str, wrapper: &[&str]) {
    let mut command: Vec<_> = wrapper.iter().map(std::ffi::OsString::from).collect();
    command.push(this_program().into());
    let child = Command::new(&command[0])
        .args(&command[1..])
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test program starts again");
    let (status, out, err) = ended(time, child);
    assert!(status.success(), "in a process of its own: {status}\n{out}{err}");
    assert!(out.contains("1 passed"), "the child ran the test {test}\n{out}{err}");
    // The child's own output, such as figures. Its first line follows the name of the test.
    let lines = out.lines().map(|line| line.split_once(" ... ").map_or(line, |(_, said)| said));
    for line in lines.filter(|line| ["skipped", "measured", "differs"].iter().any(|word| line.starts_with(word))) {
        println!("{line}");
    }
}

/// How a child ended whose output is piped, and what it printed. One that does not end is killed, and the test fails.
#[track_caller]
pub(crate) fn ended(time: Duration, mut child: Child) -> (ExitStatus, String, String) {
    let out = Printed::by(child.stdout.take().expect("it is piped"));
    let err = Printed::by(child.stderr.take().expect("it is piped"));
    let end = Instant::now() + time;
    let status = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break status,
            None if Instant::now() < end => thread::park_timeout(Duration::from_millis(5)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the child process ends within {time:?}\n{}{}", out.so_far(), err.so_far());
            }
        }
    };
    (status, out.whole(), err.whole())
}

/// What a child process prints.
struct Printed {
    text: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Printed {
    fn by(mut pipe: impl io::Read + Send + 'static) -> Printed {
        let text = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&text);
        let reading = thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut part) {
                all.lock().expect("nothing panics here").extend(&part[..n]);
            }
        });
        Printed { text, reading }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("nothing panics here")).into_owned()
    }

    /// All of it, once the child has ended.
    fn whole(self) -> String {
        let Printed { text, reading } = self;
        within("the child's output ends", move || reading.join()).expect("the reading thread does not panic");
        String::from_utf8_lossy(&text.lock().expect("nothing panics here")).into_owned()
    }
}

/// A command that gives a program a loopback interface of its own, if that is permitted. Thousands of connections leave
/// as many ports in TIME_WAIT for a minute, which would be missing elsewhere.
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

/// Whether a network namespace may be made. If not, says so. Under CI on Linux, where it may be, that is a
/// failure.
#[track_caller]
pub(crate) fn has_network_of_its_own() -> bool {
    let has = !network_of_its_own().is_empty();
    if !has {
        println!("skipped: no network namespace may be made here");
        assert!(!is_linux_ci(), "network namespaces may be made under CI");
    }
    has
}

/// Runs `body` in a process of its own, with a network and mounts of its own. `script` sets them up by `ip` and
/// `mount`. If they may not be made, the test is skipped. Under CI on Linux, where they may be, that is a failure.
#[track_caller]
pub(crate) fn in_surroundings(test: &str, script: &str, body: impl FnOnce()) {
    if is_child(test) {
        return body();
    }
    let script = format!("set -e; {script}; exec \"$@\"");
    let wrapper = [network_of_its_own(), &["unshare", "-m", "--", "sh", "-c", &script, "sh"]].concat();
    if !has_network_of_its_own() || tool("ip").is_none() {
        return;
    }
    let tried = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output().expect("unshare starts");
    if tried.status.success() {
        return run_child(WHOLE, test, &wrapper);
    }
    println!("skipped: surroundings: {}", String::from_utf8_lossy(&tried.stderr).trim());
    assert!(!is_linux_ci(), "networks and mounts may be made under CI");
}

fn is_linux_ci() -> bool {
    cfg!(target_os = "linux") && std::env::var_os("CI").is_some()
}

/// Gives the server's address to the process that plays its clients.
const OTHER_SIDE: &str = "LANDLINE_TEST_OTHER_SIDE";

/// Starts `test` in another process, which plays the other side. There [`other_side`] returns this address. Its input
/// and output are piped, and dropping the handle kills it.
pub(crate) fn start_other_side(test: &str, at: SocketAddr) -> OtherSide {
    let mut child = Command::new(this_program())
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(OTHER_SIDE, at.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test program starts again");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    OtherSide { child, lines }
}

/// In the process of the other side, the address to connect to.
pub(crate) fn other_side() -> Option<SocketAddr> {
    std::env::var(OTHER_SIDE).ok().map(|at| at.parse().expect("an address"))
}

/// A process that [`start_other_side`] has started.
pub(crate) struct OtherSide {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl OtherSide {
    /// Waits until it prints a line that begins with `word`, and returns the rest.
    pub(crate) fn expect(&mut self, word: &str) -> String {
        for line in self.lines.by_ref() {
            let line = line.expect("it prints text");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
        panic!("the other side prints {word:?} before it ends");
    }

    /// Ends a wait for its input.
    pub(crate) fn tell(&mut self) {
        self.child.stdin.as_mut().expect("it is piped").write_all(b"\n").expect("it waits");
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn join(mut self) {
        let rest: Vec<_> = self.lines.by_ref().map_while(Result::ok).collect();
        assert!(self.child.wait().expect("it was started").success(), "all is well on the other side: {rest:?}");
    }
}

impl Drop for OtherSide {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of a program that a test needs. If it is missing, says so. Under CI, which installs it, that is a failure.
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
