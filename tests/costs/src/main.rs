//! What landline costs, counted and not timed: instructions, system calls, allocations, memory, size.
//! `tests/costs/run` builds and starts this program, which starts itself again for what it counts.

mod allocations;
mod calls;
mod client;
mod instructions;
mod memory;
mod numbers;
mod process;
mod size;
mod ways;

use std::process::ExitCode;
use std::{env, io};

use numbers::{Figure, Record};

/// Counts; `None` if a tool is missing.
type Measure = fn() -> io::Result<Option<Vec<Figure>>>;

const PARTS: [(&str, Measure); 5] = [
    ("allocations", allocations::measure),
    ("calls", calls::measure),
    ("instructions", instructions::measure),
    ("memory", memory::measure),
    ("size", size::measure),
];

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["exchange", name, messages] => child(|| instructions::exchange(name, messages)),
        ["serve", name] => child(|| calls::serve(name)),
        ["allocate", name] => child(|| allocations::allocate(name)),
        ["hold", name] => child(|| memory::hold(name)),
        ["--update", ref parts @ ..] => run(parts, true),
        ref parts => run(parts, false),
    }
}

/// What a process does that is counted.
fn child(work: impl FnOnce() -> io::Result<()>) -> io::Result<ExitCode> {
    process::limit();
    work().map(|()| ExitCode::SUCCESS)
}

fn run(wanted: &[&str], update: bool) -> io::Result<ExitCode> {
    if wanted.iter().any(|name| !PARTS.iter().any(|(part, _)| part == name)) {
        println!("usage: tests/costs/run [--update] [PART…], of the parts {:?}", PARTS.map(|(part, _)| part));
        return Ok(ExitCode::from(2));
    }
    let record = Record::load()?;
    let (mut parts, mut now) = (Vec::new(), Vec::new());
    for (part, measure) in PARTS {
        let is_wanted = wanted.is_empty() || wanted.contains(&part);
        if let Some(figures) = if is_wanted { measure()? } else { None } {
            parts.push(part);
            now.extend(figures);
        }
    }
    let is_held = record.compare(&parts, &now)?;
    if update {
        record.update(&parts, now)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !is_held {
        println!("if the cost is meant: run tests/costs/run --update, and say why in the commit");
    }
    Ok(if is_held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
