//! What /proc says of this process and its threads.

use std::fs;
use std::thread::{self, JoinHandle};

use super::eventually;

/// Whether there is /proc, by which a test sees threads, descriptors and the system's counts. If it is missing, says
/// so. Under CI, which has it, that is a failure.
#[track_caller]
pub(crate) fn has_proc() -> bool {
    if !is_there() {
        println!("skipped: /proc not found");
        assert!(std::env::var_os("CI").is_none(), "/proc is mounted under CI");
    }
    is_there()
}

/// Whether there is /proc, for a test that differs without it. Under Wine it is that of Wine's own process.
pub(crate) fn is_there() -> bool {
    !cfg!(windows) && fs::exists("/proc/self").unwrap_or(false)
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    if is_there() { fs::read_dir("/proc/self/task").map_or(0, Iterator::count) } else { 0 }
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    if is_there() { fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) } else { 0 }
}

/// A number from /proc/self/status, such as `VmRSS:` in KiB.
pub(crate) fn status(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// Starts a thread and returns once it sleeps, which is in a call that blocks. Without /proc it returns at once. Then
/// the call may begin after the test's next step, and the test holds in that order too.
#[track_caller]
pub(crate) fn blocked<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (thread, id) = numbered(work);
    until_asleep(id.as_slice());
    thread
}

/// Starts a thread, and returns its number for [`until_asleep`] too. Without /proc it has none.
pub(crate) fn numbered<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> (JoinHandle<T>, Option<u32>) {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let id = if is_there() { fs::read_link("/proc/thread-self").ok() } else { None };
        let _ = tell.send(id.and_then(|path| path.file_name()?.to_str()?.parse::<u32>().ok()));
        work()
    });
    (thread, told.recv_timeout(super::HANG).ok().flatten())
}

/// Waits until all these threads of this process sleep. None runs or is about to, in two looks between which none has
/// been on a processor. A thread that has ended counts as asleep.
#[track_caller]
pub(crate) fn until_asleep(threads: &[u32]) {
    let look = || threads.iter().map(|id| state(*id)).collect::<Vec<_>>();
    let mut before = look();
    eventually("the threads sleep", || {
        let now = look();
        let is_asleep = now == before && now.iter().all(|state| state.0 != 'R');
        before = now;
        is_asleep
    });
}

/// The threads of this process with names that begin with `name`, of which the kernel keeps 15 bytes.
pub(crate) fn threads_named(name: &str) -> Vec<u32> {
    let name = &name[..name.len().min(15)];
    let tasks = is_there().then(|| fs::read_dir("/proc/self/task").ok()).flatten().into_iter().flatten().flatten();
    let is_named = |id: &u32| {
        fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|comm| comm.trim_end().starts_with(name))
    };
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).filter(is_named).collect()
}

/// How often a thread of this process has gone to sleep.
pub(crate) fn sleeps(thread: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("the thread runs");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("Linux tells it").trim().parse().expect("it is a number")
}

/// Whether a thread runs (R), sleeps (S) or has ended (X), and how often it has been on a processor.
fn state(thread: u32) -> (char, u64) {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).unwrap_or_default();
    let state = read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('X');
    let times = read("schedstat").split_whitespace().nth(2).and_then(|times| times.parse().ok()).unwrap_or(0);
    (state, times)
}
