//! What it costs to build a small program, a control port, over landline and over what else there is in Rust.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use crate::common::case::Measure;
use crate::common::figures::{Figure, Figures};
use crate::common::run::this_program;

pub(crate) const NAME: &str = "builds";
pub(crate) const TITLE: &str = "A clean release build of a control port";
pub(crate) const MEASURES: &[Measure] = &[
    Measure { key: "build", unit: "s of processor to build", less_is_better: true },
    Measure { key: "crates", unit: "crates", less_is_better: true },
    Measure { key: "size", unit: "bytes, stripped", less_is_better: true },
    Measure { key: "hint-build", unit: "s with the hint", less_is_better: true },
    Measure { key: "hint-size", unit: "bytes with the hint", less_is_better: true },
];
pub(crate) const OTHERS: &[&str] = &[TOKIO, "mio", "tiny_http", "message-io"];

pub(crate) const TOKIO: &str = "tokio (rt, net, io-util)";

/// The name, the program, and the features that it is built with.
const PROGRAMS: [(&str, &str, &[&str]); 8] = [
    ("landline", "landline", &["--features", "channel"]),
    ("landline without channel", "landline", &[]),
    ("std", "std", &[]),
    ("mio", "mio", &[]),
    ("tiny_http", "tiny_http", &[]),
    (TOKIO, "tokio", &[]),
    ("tokio (rt-multi-thread, net, io-util, macros, sync, time)", "tokio", &["--features", "six"]),
    ("message-io", "message-io", &[]),
];

/// What docs/benchmarks.md tells those who want half of it again.
const HINT: [&str; 4] = ["--config", "profile.release.codegen-units=1", "--config", "profile.release.opt-level=\"s\""];

pub(crate) fn run(rounds: usize, figures: &mut Figures) -> io::Result<()> {
    let place = this_program().with_file_name("builds");
    let mut programs = PROGRAMS;
    for round in 0..rounds {
        for (name, folder, features) in programs {
            let control = Path::new(env!("CARGO_MANIFEST_DIR")).join("builds/control");
            let manifest = control.join(folder).join("Cargo.toml");
            let mut add = |key: &str, value: f64| {
                figures.0.push(Figure { case: NAME.into(), server: name.into(), round, key: key.into(), value });
            };
            if round == 0 {
                cargo(&["fetch", "--locked"], &manifest)?;
            }
            let (seconds, crates, size) = build(&manifest, &place, features)?;
            add("build", seconds);
            add("crates", crates as f64);
            add("size", size as f64);
            let (seconds, _, size) = build(&manifest, &place, &[features, &HINT].concat())?;
            add("hint-build", seconds);
            add("hint-size", size as f64);
        }
        programs.reverse();
    }
    let _ = fs::remove_dir_all(&place);
    Ok(())
}

/// Seconds of the processor, crates, and the size of the program.
fn build(manifest: &Path, place: &Path, options: &[&str]) -> io::Result<(f64, usize, u64)> {
    let _ = fs::remove_dir_all(place);
    let place_name = place.to_string_lossy();
    let before = seconds_of_children()?;
    let strip = "profile.release.strip=true";
    let mut args = vec!["build", "--release", "--offline", "--locked", "--config", strip, "--target-dir", &place_name];
    args.extend(options);
    let said = cargo(&args, manifest)?;
    let seconds = seconds_of_children()? - before;
    let crates = said.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count();
    Ok((seconds, crates, fs::metadata(place.join("release/control"))?.len()))
}

/// Of those that have ended, and of theirs, in user and system mode: proc_pid_stat(5). A tick is a hundredth of a second;
/// the kernel scales the two by the exact time.
fn seconds_of_children() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

fn cargo(args: &[&str], manifest: &Path) -> io::Result<String> {
    let output = Command::new("cargo").args(args).arg("--manifest-path").arg(manifest).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(io::Error::other(format!("cargo {args:?}: {said}"))) }
}
