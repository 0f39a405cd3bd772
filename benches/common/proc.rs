//! What the system tells of processes, in /proc. Elsewhere there is none, and nothing of it is shown.

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

fn place(process: Option<u32>, file: &str) -> PathBuf {
    let process = process.map_or("self".into(), |id| id.to_string());
    ["/proc", &process, file].iter().collect()
}

fn read(process: u32, file: &str) -> Option<String> {
    fs::read_to_string(place(Some(process), file)).ok()
}

/// Processor time that a process has used so far, in steps of 10 ms.
pub(crate) fn cpu_time(process: u32) -> Option<Duration> {
    let stat = read(process, "stat")?;
    // The name, in parentheses, may have spaces in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis(10 * (user + system)))
}

/// Processor time of the threads that a process, or this one, has, which the scheduler counts in nanoseconds. Threads
/// that have ended are missing.
pub(crate) fn threads_time(process: Option<u32>) -> Option<Duration> {
    let of = |task: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let sum: u64 = fs::read_dir(place(process, "task")).ok()?.filter_map(of).sum();
    (sum > 0).then_some(Duration::from_nanos(sum))
}

/// A number of /proc/PID/status: in bytes where it has a unit.
pub(crate) fn status(process: u32, field: &str) -> Option<f64> {
    number(&read(process, "status")?, field)
}

/// The kernel's stacks of all threads of the machine, in bytes.
pub(crate) fn kernel_stacks() -> Option<f64> {
    number(&fs::read_to_string("/proc/meminfo").ok()?, "KernelStack:")
}

fn number(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let mut words = line.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    Some(if words.next() == Some("kB") { number * 1024.0 } else { number })
}
