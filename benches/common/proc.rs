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

/// Processor time of the threads that a process, or this one, has, which the scheduler counts in nanoseconds, and how
/// often it switched to one of them. Threads that have ended are missing.
pub(crate) fn threads_time(process: Option<u32>) -> Option<(Duration, u64)> {
    let of = |task: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
    };
    let tasks = fs::read_dir(place(process, "task")).ok()?.filter_map(of);
    let (time, switches) = tasks.fold((0, 0), |sum, task| (sum.0 + task.0, sum.1 + task.1));
    (time > 0).then_some((Duration::from_nanos(time), switches))
}

/// A number of /proc/PID/status: in bytes where it has a unit.
pub(crate) fn status(process: u32, field: &str) -> Option<f64> {
    number(&read(process, "status")?, field)
}

/// A number of /proc/meminfo, of the whole machine, in bytes.
pub(crate) fn memory_of_all(field: &str) -> Option<f64> {
    number(&fs::read_to_string("/proc/meminfo").ok()?, field)
}

fn number(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let mut words = line.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    Some(if words.next() == Some("kB") { number * 1024.0 } else { number })
}
