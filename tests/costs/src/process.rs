//! This program again, as the process that is counted, under a tool or alone.

use std::process::{Child, Command, Stdio};
use std::{env, io, thread};

use crate::ways::PATIENCE;

/// Whether the tool is there. Without it a part is skipped, and under CI fails.
pub fn has(tool: &str) -> io::Result<bool> {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: {tool} not found");
        if env::var_os("CI").is_some() {
            return Err(io::Error::other(format!("under CI, {tool} must be there")));
        }
    }
    Ok(found)
}

/// Starts this program with `args`, by the command line that `tool` is; its input and output are pipes.
pub fn start(tool: &[&str], args: &[&str]) -> io::Result<Child> {
    let this = env::current_exe()?;
    let mut command = match tool {
        [] => Command::new(&this),
        [tool, options @ ..] => {
            let mut command = Command::new(tool);
            command.args(options).arg(&this);
            command
        }
    };
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Closes its input and waits for its end: the rest of its output, and what it said on standard error.
pub fn end(child: Child) -> io::Result<(String, String)> {
    let output = child.wait_with_output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() {
        Ok((out, errors))
    } else {
        Err(io::Error::other(format!("{}: {out}{errors}", output.status)))
    }
}

/// Called first by each process that was started so: it ends when it takes too long, and so no wait for it is endless.
///
/// The thread has a second use: the C library's calls cost less in a process that has only one, which no server is.
pub fn limit() {
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        eprintln!("it takes longer than {PATIENCE:?}");
        std::process::exit(1)
    });
}
