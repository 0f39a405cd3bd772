//! Runs programs, both our examples and other programs as their peers.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;

use crate::support::{HANG, eventually, this_program, within};

/// A program that runs beside the test. It is killed and waited for when the test ends, however that ends.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    /// The lines of its standard output.
    out: mpsc::Receiver<String>,
    /// The lines of its standard error.
    err: mpsc::Receiver<String>,
}

impl Program {
    pub(crate) fn start(program: impl AsRef<OsStr>, args: &[&str]) -> Program {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped());
        Program::of(command)
    }

    /// Starts a program. The caller sets its input and environment.
    pub(crate) fn of(mut command: Command) -> Program {
        let mut child = spawn(&mut command);
        let input = child.stdin.take();
        let out = lines(child.stdout.take().expect("standard output is piped"));
        let err = lines(child.stderr.take().expect("standard error is piped"));
        Program { child, input, out, err }
    }

    /// Its process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line it prints.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        next(&self.out, "a line")
    }

    /// The next line it prints that has `text` in it.
    #[track_caller]
    pub(crate) fn line_with(&self, text: &str) -> String {
        loop {
            let line = next(&self.out, text);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The next line on standard error that has `text` in it.
    #[track_caller]
    pub(crate) fn error_line_with(&self, text: &str) -> String {
        loop {
            let line = next(&self.err, text);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The number at the end of the first line on standard error that has `text` in it, such as a server's port.
    #[track_caller]
    pub(crate) fn port_after(&self, text: &str) -> u16 {
        let line = self.error_line_with(text);
        let digits = line.trim_end_matches(|c: char| !c.is_ascii_digit()).rsplit(|c: char| !c.is_ascii_digit());
        digits.into_iter().next().and_then(|port| port.parse().ok()).expect("the line ends in a port")
    }

    /// Everything else it prints until it ends.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.end_input();
        self.status();
        self.out.iter().collect()
    }

    /// All of its standard error, once it has ended.
    #[track_caller]
    pub(crate) fn errors(&mut self) -> Vec<String> {
        self.status();
        self.err.iter().collect()
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let input = self.input.as_mut().expect("its input has not ended");
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).expect("it takes input");
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Ends it at once, as SIGKILL does.
    pub(crate) fn kill(&mut self) {
        stop(&mut self.child);
    }

    /// How it ended.
    #[track_caller]
    pub(crate) fn status(&mut self) -> ExitStatus {
        wait_for(&mut self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// An example that serves, and where.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts the example and waits until it listens.
    #[track_caller]
    pub(crate) fn start(name: &str, args: &[&str]) -> Server {
        let program = Program::start(example(name), args);
        let line = program.line();
        let address = line.strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{name} says where it listens, and not: {line}"));
        Server { program, address }
    }
}

/// The path of an example, which `cargo test` has built.
#[track_caller]
pub(crate) fn example(name: &str) -> PathBuf {
    let path = built().join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "{} is there: `cargo test`, without a target, builds it", path.display());
    path
}

/// Where `cargo test` builds and its runs leave files, usually `target`.
pub(crate) fn target() -> PathBuf {
    built().with_file_name("")
}

/// The folder of a profile in there.
fn built() -> PathBuf {
    let this = this_program();
    this.ancestors().nth(2).expect("the test program is in target/…/deps").to_owned()
}

/// The output of a program that got all its input at once.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
    pub(crate) status: ExitStatus,
}

/// Runs a program to its end, feeding it `input` while its output is taken.
#[track_caller]
pub(crate) fn run(program: impl AsRef<OsStr>, args: &[&str], input: &Arc<[u8]>) -> Said {
    struct Stopped(Child);
    impl Drop for Stopped {
        fn drop(&mut self) {
            stop(&mut self.0);
        }
    }
    let program = program.as_ref();
    let mut child = Stopped(spawn(Command::new(program).args(args).stdin(Stdio::piped())));
    let (mut stdin, input) = (child.0.stdin.take().expect("standard input is piped"), Arc::clone(input));
    // A program may end before it has read everything.
    thread::spawn(move || stdin.write_all(&input));
    let mut stdout = child.0.stdout.take().expect("standard output is piped");
    let mut stderr = child.0.stderr.take().expect("standard error is piped");
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    let out = within(&format!("{program:?} ends"), move || {
        let mut out = Vec::new();
        stdout.read_to_end(&mut out).map(|_| out)
    });
    let status = wait_for(&mut child.0);
    let err = errors.join().expect("the reading thread does not panic").expect("standard error can be read");
    Said { out: out.expect("standard output can be read"), err, status }
}

/// Fails if the bytes differ, saying where rather than showing them.
#[track_caller]
pub(crate) fn assert_same(came: &[u8], sent: &[u8], what: &str) {
    let first = || came.iter().zip(sent).position(|(came, sent)| came != sent);
    assert!(
        came == sent,
        "{what}: all that is sent comes back; {} of {} bytes, the first difference: {:?}",
        came.len(),
        sent.len(),
        first()
    );
}

/// Bytes without a pattern, the same on every run (splitmix64).
pub(crate) fn random(length: usize) -> Arc<[u8]> {
    let mut state = 0x1a_5d11_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{:?} starts: {error}", command.get_program()))
}

#[track_caller]
fn wait_for(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("the program ends", || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    status.expect("it has ended")
}

fn stop(child: &mut Child) {
    // It fails if the program has ended by itself, which is as good.
    let _ = child.kill();
    let _ = child.wait();
}

fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    // Ends with the program, which closes the pipe.
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
    receiver
}

#[track_caller]
fn next(lines: &mpsc::Receiver<String>, what: &str) -> String {
    lines.recv_timeout(HANG).unwrap_or_else(|error| panic!("the program prints {what} within {HANG:?}: {error}"))
}
