//! What it costs to build an echo server over landline, and over what else there is in Rust.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::case::Measure;
use crate::common::figures::{Figure, Figures};
use crate::common::run::this_program;

pub(crate) const NAME: &str = "builds";
pub(crate) const TITLE: &str = "A clean release build of an echo server";
pub(crate) const MEASURES: &[Measure] = &[
    Measure { key: "build", unit: "s to build", less_is_better: true },
    Measure { key: "crates", unit: "crates", less_is_better: true },
    Measure { key: "size", unit: "bytes of program", less_is_better: true },
    Measure { key: "small", unit: "bytes stripped, opt-level z", less_is_better: true },
];
pub(crate) const OTHERS: &[&str] = &["tokio", "mio", "message-io"];

pub(crate) fn run(rounds: usize, figures: &mut Figures) -> io::Result<()> {
    let place = this_program().with_file_name("builds");
    let mut names = vec!["landline", "std", "mio", "tokio", "message-io"];
    for round in 0..rounds {
        for name in &names {
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("builds").join(name).join("Cargo.toml");
            let mut add = |key: &str, value: f64| {
                figures.0.push(Figure { case: NAME.into(), server: (*name).into(), round, key: key.into(), value });
            };
            if round == 0 {
                cargo(&["fetch", "--locked"], &manifest)?;
            }
            let (seconds, crates, size) = build(&manifest, &place, &[])?;
            add("build", seconds);
            add("crates", crates as f64);
            add("size", size as f64);
            if round == 0 {
                let small = ["--config", "profile.release.opt-level=\"z\"", "--config", "profile.release.strip=true"];
                add("small", build(&manifest, &place, &small)?.2 as f64);
            }
        }
        names.reverse();
    }
    let _ = std::fs::remove_dir_all(&place);
    Ok(())
}

/// Seconds, crates, and the size of the program.
fn build(manifest: &Path, place: &Path, options: &[&str]) -> io::Result<(f64, usize, u64)> {
    let _ = std::fs::remove_dir_all(place);
    let place_name = place.to_string_lossy();
    let start = Instant::now();
    let mut args = vec!["build", "--release", "--offline", "--locked", "--target-dir", &place_name];
    args.extend(options);
    let said = cargo(&args, manifest)?;
    let seconds = start.elapsed().as_secs_f64();
    let crates = said.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count();
    Ok((seconds, crates, std::fs::metadata(place.join("release/echo"))?.len()))
}

fn cargo(args: &[&str], manifest: &Path) -> io::Result<String> {
    let output = Command::new("cargo").args(args).arg("--manifest-path").arg(manifest).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(io::Error::other(format!("cargo {args:?}: {said}"))) }
}
