//! What landline adds to a build, with the feature `channel` and without: the lines of its unoptimised code in LLVM's
//! language, which most of its build time goes by, and the size of a small program.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::numbers::Figure;

/// How much more a number may be. A small change has no cause worth a decision.
const TOLERANCE: f64 = 0.02;

pub fn measure() -> io::Result<Option<Vec<Figure>>> {
    let target = env::var_os("CARGO_TARGET_DIR").ok_or_else(|| io::Error::other("see the file run"))?;
    let mut figures = Vec::new();
    for (name, features) in [("", &[][..]), ("-channel", &["--no-default-features"])] {
        // Directories of their own: what cargo has built before, it does not write again.
        let code = PathBuf::from(&target).join(format!("ir{name}"));
        let emit = format!("--emit=llvm-ir={}", code.join("landline.ll").display());
        let options = ["--", &emit, "-Cno-prepopulate-passes", "-Ccodegen-units=1"];
        cargo(&code, &[&["--lib"], features, &options].concat())?;
        let lines = lines_in_functions(&code.join("landline.ll"))?;
        figures.push(Figure::new(&format!("size/ir{name}"), lines, "lines").within(lines * TOLERANCE));

        let program = PathBuf::from(&target).join(format!("program{name}"));
        cargo(&program, &[&["--example", "echo_server"], features, &["--", "-Cstrip=symbols"]].concat())?;
        let size = fs::metadata(program.join("release/examples/echo_server"))?.len() as f64;
        let size = Figure::new(&format!("size/echo_server{name}"), size, "bytes, stripped").within(size * TOLERANCE);
        figures.push(size);
    }
    Ok(Some(figures))
}

/// Compiles a part of the library's own crate.
fn cargo(target: &Path, options: &[&str]) -> io::Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["rustc", "--quiet", "--locked", "--release", "--target-dir"]).arg(target).args(options);
    let status = cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{cargo:?}: {status}"))) }
}

/// From each `define` to its `}`.
fn lines_in_functions(file: &Path) -> io::Result<f64> {
    let (mut count, mut inside) = (0, false);
    for line in BufReader::new(fs::File::open(file)?).lines() {
        let line = line?;
        inside |= line.starts_with("define ");
        count += u32::from(inside);
        inside &= line != "}";
    }
    Ok(count.into())
}
