//! What this process looks like from outside, and what its threads are doing: for a hang, and for what is left over.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use crate::{HANG, lock};

/// What each thread of ours is doing, by its number in the kernel; the innermost last.
static PHASES: Mutex<BTreeMap<u64, Vec<&'static str>>> = Mutex::new(BTreeMap::new());

/// Says what the calling thread is doing until it is dropped.
pub struct Phase(u64);

pub fn phase(text: &'static str) -> Phase {
    // Without a destructor, since a thread's last words come while its variables are dropped.
    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });
    if NUMBER.get() == 0 {
        let link = fs::read_link("/proc/thread-self").expect("/proc");
        let number = link.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        NUMBER.set(number.expect("the number of a thread"));
    }
    lock(&PHASES).entry(NUMBER.get()).or_default().push(text);
    Phase(NUMBER.get())
}

impl Drop for Phase {
    fn drop(&mut self) {
        let mut phases = lock(&PHASES);
        if let Some(texts) = phases.get_mut(&self.0) {
            texts.pop();
            if texts.is_empty() {
                phases.remove(&self.0);
            }
        }
    }
}

/// Prints each thread: its name, what we know of it, where it is in the kernel, and where gdb is installed its stack.
pub fn print_threads() {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let number = task.file_name().to_string_lossy().into_owned();
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default().trim().to_owned();
        let phases = number.parse().ok().and_then(|number: u64| lock(&PHASES).get(&number).cloned());
        println!("thread {number} {:?}: {}", read("comm"), phases.unwrap_or_default().join(" > "));
        println!("  wchan {}, syscall {}", read("wchan"), read("syscall"));
        for line in read("stack").lines() {
            println!("  {line}");
        }
    }
    let pid = std::process::id().to_string();
    // Bounded, since a debugger may wait for a process that another one holds.
    let gdb = ["-k", "5", "60", "gdb", "-p", &pid, "-batch", "-nx", "-ex", "thread apply all bt 40"];
    match Command::new("timeout").args(gdb).output() {
        Ok(output) if output.status.success() => println!("{}", String::from_utf8_lossy(&output.stdout)),
        _ => println!("no stacks: gdb is not installed, or may not look"),
    }
}

/// The names of the threads that the library has started.
pub fn library_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("landline")).collect()
}

/// The descriptors of this process and what they are, such as `7 socket:[1234]`. Those of /proc are our own looking.
pub fn descriptors() -> Vec<String> {
    let all = fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let named = all.filter_map(|fd| Some((fd.file_name(), fs::read_link(fd.path()).ok()?)));
    named
        .map(|(number, target)| format!("{} {}", number.to_string_lossy(), target.display()))
        .filter(|text| !text.contains(" /proc/"))
        .collect()
}

/// Asks until nothing is left; gives what is left when only a hang can have taken so long.
///
/// The kernel ends a thread a moment after std has joined it.
pub fn left_over(look: impl Fn() -> Vec<String>) -> Vec<String> {
    let start = Instant::now();
    loop {
        let left = look();
        if left.is_empty() || start.elapsed() > HANG / 2 {
            return left;
        }
        // Asks again; nothing tells when the kernel is done.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
