//! What landline adds to a build: the lines of its unoptimised code in LLVM's language, and the size of a small
//! program.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::numbers::Figure;

/// Whether more lines than recorded fail. To be set when the weight of the library has been settled.
const HOLD_LINES: bool = false;

pub fn measure() -> io::Result<Option<Vec<Figure>>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = PathBuf::from(env::var_os("CARGO_TARGET_DIR").ok_or_else(|| io::Error::other("see the file run"))?);

    // A directory of its own, for the same library is built with other options.
    let code = target.join("ir");
    let emit = format!("--emit=llvm-ir={}", code.join("landline.ll").display());
    let options = ["--", &emit, "-Cno-prepopulate-passes", "-Ccodegen-units=1"];
    cargo(&here.join("../.."), &code, &["rustc", "--lib"], &options)?;
    let lines = Figure::new("size/ir", lines_in_functions(&code.join("landline.ll"))?, "lines");

    cargo(here, &target, &["rustc", "--example", "echo_server"], &["--", "-Cstrip=symbols"])?;
    let size = fs::metadata(target.join("release/examples/echo_server"))?.len();
    let size = Figure::new("size/echo_server", size as f64, "bytes, stripped").only_printed();
    Ok(Some(vec![if HOLD_LINES { lines } else { lines.only_printed() }, size]))
}

fn cargo(at: &Path, target: &Path, command: &[&str], options: &[&str]) -> io::Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(command).args(["--quiet", "--locked", "--release", "--target-dir"]).arg(target).args(options);
    let status = cargo.current_dir(at).status()?;
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
