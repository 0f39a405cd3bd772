//! What the figures were taken on, and with what.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::run::{self, Effort};
use crate::peers::{Peer, said};
use crate::programs::{self, PROGRAMS, Program};

pub(crate) fn describe(peers: &[Peer], effort: Effort) -> Vec<String> {
    let file = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let number =
        |name: &str| file(&format!("/proc/sys/{name}")).map_or("unknown".into(), |text| text.replace('\t', " "));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut lines = vec![
        format!(
            "Machine: {processors} processors, {}, {} of memory; {} {}",
            field("/proc/cpuinfo", "model name").unwrap_or("unknown".into()),
            field("/proc/meminfo", "MemTotal").unwrap_or("unknown".into()),
            std::env::consts::OS,
            // Who built it, and how often, says nothing here.
            file("/proc/sys/kernel/osrelease").unwrap_or_default().split('-').next().unwrap_or_default()
        ),
        format!(
            "Network: loopback, congestion control {}, somaxconn {}, rmem_max {}, tcp_rmem {}, tcp_wmem {}",
            number("net/ipv4/tcp_congestion_control"),
            number("net/core/somaxconn"),
            number("net/core/rmem_max"),
            number("net/ipv4/tcp_rmem"),
            number("net/ipv4/tcp_wmem")
        ),
        format!("Effort: {} rounds of {} ms for each server", effort.rounds, effort.time.as_millis()),
    ];
    let mut versions = vec![said("rustc", &["--version"]).unwrap_or("rustc unknown".into())];
    for peer in peers {
        let program = &peer.command[0];
        let text = match peer.name {
            "Go" => said("go", &["version"]),
            "POCO" => said(program, &["version"]),
            _ => said(program, &["--version"]),
        };
        let text = text.unwrap_or("unknown".into());
        versions.push(if text.starts_with(|c: char| c.is_ascii_alphabetic() && c != 'v') {
            text
        } else {
            format!("{} {text}", peer.name)
        });
    }
    versions.extend(["tokio", "mio", "tiny_http", "hyper"].map(|name| format!("{name} {}", locked(name))));
    versions.extend(PROGRAMS.iter().filter_map(|program| Some(format!("{} {}", program.name, version(program)?))));
    lines.push(format!("Versions: {}", versions.join("; ")));
    let load = file("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse::<f64>().ok()).unwrap_or_default();
    let busy = if load > 0.5 { ": not quiet, so the figures say little" } else { "" };
    lines.push(format!("Load average at the start: {load}{busy}"));
    if run::pinning().is_none() {
        lines.push("taskset not found, so nothing was pinned (Debian: util-linux)".into());
    }
    if run::network_of_its_own().is_empty() {
        lines.push(
            "unshare not found or not permitted, so the cases share a network (Debian: util-linux iproute2)".into(),
        );
    }
    lines
}

/// The first thing a program says that looks like a version.
fn version(program: &Program) -> Option<String> {
    let output = Command::new(programs::path(program.name)?).arg(program.version).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    numbers.find(|number| number.contains('.') && number.starts_with(|c: char| c != '.')).map(str::to_owned)
}

/// The version of a dependency, as this program was built.
fn locked(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let start = format!("name = \"{name}\"\nversion = \"");
    lock.split_once(&start).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown")
}
