//! What the cases share: the verdict, a network namespace, and what this process looks like from outside.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio, exit};
use std::sync::{Arc, Barrier, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use landline::Running;
use landline::dgram::{self, RemoteInfo};
use landline::net::{Server, Socket};

/// Says how a case went, and ends the process with the status that `run` reads: 0 right, 1 wrong.
pub fn verdict(good: bool, text: impl Display) -> ! {
    end(if good { 0 } else { 1 }, &format!("{}: {text}", if good { "right" } else { "WRONG" }))
}

/// Ends the process: something that the case needs is missing here.
pub fn skip(text: impl Display) -> ! {
    end(2, &format!("skipped: {text}"))
}

fn end(status: i32, text: &str) -> ! {
    println!("{text}");
    let _ = io::stdout().flush();
    exit(status)
}

/// Ends the process as wrong if it still runs after this time.
pub fn watchdog(time: Duration, text: &'static str) {
    thread::spawn(move || {
        // The bound itself.
        thread::sleep(time);
        verdict(false, format!("after {time:?}: {text}"))
    });
}

/// Starts this program again in a network and mount namespace of its own, after the shell commands in `setup`, and ends
/// with its status. Returns only in the process that is inside.
pub fn inside(setup: &str) {
    if std::env::var_os("INSIDE").is_some() {
        return;
    }
    // Where root may not make a namespace, one with a user namespace may still be possible.
    let possible = ["-nm", "-rnm"].into_iter().find(|flags| {
        let tried =
            Command::new("unshare").args([flags, "ip", "link"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    let Some(flags) = possible else { skip("no network namespace can be made here, or ip is not found") };
    let failed = "trap 'echo skipped: the namespace cannot be set up; exit 2' EXIT";
    let script = format!("{failed}\nset -e\n{setup}\ntrap - EXIT\nexec \"$@\"");
    let exe = std::env::current_exe().expect("an executable");
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-c", &script, "sh"]).arg(exe).args(std::env::args().skip(1)).env("INSIDE", "1");
    exit(command.status().expect("unshare runs").code().unwrap_or(1));
}

/// This program with another first argument and `fd` as its standard input, started by the command `before`.
pub fn child(arg: &str, fd: OwnedFd, before: &[&str]) -> Command {
    let exe = std::env::current_exe().expect("an executable");
    let mut command = match before {
        [] => Command::new(exe),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(exe);
            command
        }
    };
    command.arg(arg).stdin(Stdio::from(fd));
    command
}

/// The standard input, as a descriptor of its own.
pub fn stdin_fd() -> OwnedFd {
    io::stdin().as_fd().try_clone_to_owned().expect("a standard input")
}

/// The first argument of the program: which of its cases is to run.
pub fn mode() -> String {
    std::env::args().nth(1).expect("a mode; see the program's first lines")
}

/// Both ends of a connection: the client's and the server's.
pub fn pair() -> (Socket, Socket) {
    let server = Server::listen("127.0.0.1:0").expect("it listens");
    let client = Socket::connect(server.address()).expect("it connects");
    (client, server.accept().expect("it accepts").expect("the server is open"))
}

/// Everything until the peer's end.
pub fn all(mut socket: &Socket) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).map(|_| bytes)
}

/// Receives on a thread of its own until the socket closes.
pub fn receiving(
    socket: &dgram::Socket,
    mut message: impl FnMut(&[u8], &RemoteInfo) + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    let socket = socket.clone();
    thread::spawn(move || {
        socket.each(|_, event| {
            if let dgram::SocketEvent::Message(bytes, from) = event {
                message(bytes, &from);
            }
            Ok(())
        })
    })
}

/// Runs `work` on a thread of its own. Gives what it returned and how long it took, or `None` if it still runs after
/// `time`.
pub fn within<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<(T, Duration)> {
    let (tell, told) = mpsc::channel();
    let start = Instant::now();
    thread::spawn(move || {
        let value = work();
        let _ = tell.send((value, start.elapsed()));
    });
    told.recv_timeout(time).ok()
}

/// Processor time of this process so far.
pub fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The part of one core that this process uses during `time`, in percent.
pub fn load(time: Duration) -> f64 {
    let (before, start) = (cpu(), Instant::now());
    // The time over which the load is measured.
    thread::sleep(time);
    (cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0
}

pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count())
}

/// Waits until all other threads of this process sleep: two looks find none that runs or is about to, and none has been
/// on a processor between them.
pub fn until_others_sleep() {
    let own = std::fs::read_link("/proc/thread-self").expect("proc");
    let look = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("proc").flatten().map(|task| task.path());
        let others = tasks.filter(|task| task.file_name() != own.file_name());
        // A thread that has ended in between has no file.
        let read = |task: &PathBuf, file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let runs = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['R', 'D']));
        others.map(|task| (runs(&read(&task, "stat")), read(&task, "schedstat"))).collect::<Vec<_>>()
    };
    let (mut before, start) = (look(), Instant::now());
    loop {
        assert!(start.elapsed() < Duration::from_secs(60), "the other threads sleep: {before:?}");
        thread::sleep(Duration::from_millis(1));
        let now = look();
        if now == before && !now.iter().any(|(runs, _)| *runs) {
            return;
        }
        before = now;
    }
}

/// The names of this process's threads.
pub fn thread_names() -> BTreeSet<String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| Some(std::fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned())).collect()
}

pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() - 1)
}

/// Memory of this process, in bytes.
pub fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("proc");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}

/// Lets this process open no more than so many files.
pub fn limit_descriptors(to: u64) {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Opens files until there is no descriptor left.
pub fn all_descriptors() -> Vec<std::fs::File> {
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}

/// Calls `try_accept` on another thread until it gives something else than `WouldBlock`, and begins to serve beside it,
/// after so many turns of a loop. Both threads end when the server is closed.
pub fn try_accept_and_serve(server: &Server, turns: u64) -> (JoinHandle<()>, Running) {
    let (caller, ours) = (server.clone(), Arc::new(Barrier::new(2)));
    let theirs = Arc::clone(&ours);
    let trying = thread::spawn(move || {
        theirs.wait();
        while caller.try_accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {}
    });
    ours.wait();
    (0..turns).for_each(|_| std::hint::spin_loop());
    (trying, server.spawn(|socket| socket.write_end("hello")).unwrap())
}
