//! Plays a header: runs what its terminals run, types what is typed in them, and compares what they print.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::headers::{Step, is_same, nested_target};
use crate::processes::{are_at_rest, threads};
use crate::support::pages::root;
use crate::support::process::example;
use crate::support::{Folder, HANG};

/// A header that is being played.
pub(crate) struct Play<'a> {
    terminals: Vec<Terminal<'a>>,
    /// What each of the header's numbers of ports that the system chooses stands for.
    chosen: BTreeMap<String, String>,
    /// The ports at which its programs listen.
    ports: &'a [u16],
    folder: Folder,
}

struct Terminal<'a> {
    steps: &'a [Step],
    /// Any lines may come before the next one that the header shows.
    skips: bool,
    is_never_at_rest: bool,
    has_printed: bool,
    program: Option<Shell>,
    /// When something was last done in it.
    acted: Instant,
    /// Whether something was typed long after that.
    was_late: bool,
    /// A line that has not come to its end.
    partial: Vec<u8>,
}

impl<'a> Play<'a> {
    pub(crate) fn new(terminals: &'a [Vec<Step>], ports: &'a [u16]) -> Play<'a> {
        let open = |steps: &'a Vec<Step>| Terminal {
            steps,
            skips: false,
            is_never_at_rest: false,
            has_printed: false,
            program: None,
            acted: Instant::now(),
            was_late: false,
            partial: Vec::new(),
        };
        let terminals = terminals.iter().map(open).collect();
        Play { terminals, chosen: BTreeMap::new(), ports, folder: checkout() }
    }

    /// Returns `false` if the machine was too slow: a program with a clock of its own ended before something was typed.
    pub(crate) fn run(mut self) -> Result<bool, String> {
        match self.play() {
            Err(_) if self.terminals.iter().any(Terminal::is_late) => Ok(false),
            played => played.map(|()| true),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        let mut since = Instant::now();
        loop {
            if self.listen()? {
                since = Instant::now();
            } else if self.is_at_rest() {
                // What was printed before the look is there by now.
                if self.listen()? || self.act()? {
                    since = Instant::now();
                    continue;
                }
                if self.terminals.iter().all(|terminal| terminal.steps.is_empty()) {
                    return Ok(());
                }
            }
            if since.elapsed() > HANG {
                return Err(self.missing());
            }
            // Not a bound: a program is at work, or waits for a clock of its own. A look takes time that it may need.
            thread::park_timeout((since.elapsed() / 8).clamp(Duration::from_millis(1), Duration::from_millis(50)));
        }
    }

    /// Whether no program will print anything before something is typed, but for what waits for a clock.
    fn is_at_rest(&self) -> bool {
        // One that is to print nothing more ends, or is blocked.
        let is_restless =
            |terminal: &&Terminal| terminal.is_never_at_rest && (terminal.skips || !terminal.steps.is_empty());
        let (restless, others): (Vec<_>, Vec<_>) = self.terminals.iter().partition(is_restless);
        let programs = others.iter().filter_map(|terminal| Some(terminal.program.as_ref()?.child.id()));
        restless.iter().all(|terminal| terminal.skips) && are_at_rest(&programs.collect::<Vec<_>>(), self.ports)
    }

    /// Takes what was printed; whether it was something that the header shows.
    fn listen(&mut self) -> Result<bool, String> {
        let mut was_shown = false;
        for (number, terminal) in (1..).zip(&mut self.terminals) {
            terminal.pass_over();
            while let Some(line) = terminal.next_line() {
                was_shown |=
                    terminal.take(&line, &mut self.chosen).map_err(|error| format!("terminal {number} {error}"))?;
            }
        }
        Ok(was_shown)
    }

    /// Does what comes next, if nothing has to come before.
    fn act(&mut self) -> Result<bool, String> {
        for terminal in &mut self.terminals {
            // What a program prints before something is typed need not end its line.
            if !terminal.partial.is_empty() {
                terminal.partial.push(b'\n');
                return Ok(true);
            }
        }
        // One terminal after the other, each when the one before has printed its first line.
        for terminal in &mut self.terminals {
            if let Some(Step::Run(command)) = terminal.steps.first() {
                if terminal.program.as_mut().is_some_and(|program| !program.is_over()) {
                    continue;
                }
                terminal.program = Some(Shell::start(command, self.folder.path()));
                (terminal.steps, terminal.acted) = (&terminal.steps[1..], Instant::now());
                return Ok(true);
            }
            if !terminal.has_printed && matches!(terminal.steps.first(), Some(Step::Line(_))) {
                break;
            }
        }
        // Clients first: what ends the server comes last.
        for terminal in self.terminals.iter_mut().rev() {
            let Some((step @ (Step::Type(_) | Step::EndInput | Step::Interrupt), rest)) = terminal.steps.split_first()
            else {
                continue;
            };
            terminal.was_late = terminal.is_late();
            terminal.program.as_mut().ok_or("something is typed before there is a program")?.act(step)?;
            (terminal.steps, terminal.acted) = (rest, Instant::now());
            return Ok(true);
        }
        Ok(false)
    }

    /// What the header shows and did not come, and what each program does.
    fn missing(&self) -> String {
        let missing = (1..).zip(&self.terminals).filter_map(|(number, terminal)| {
            terminal.steps.first().map(|step| format!("terminal {number} comes to {step:?} within {HANG:?}"))
        });
        let programs = self.terminals.iter().filter_map(|terminal| Some(terminal.program.as_ref()?.child.id()));
        let threads = threads(&programs.collect::<Vec<_>>());
        format!("{}; threads: {threads:?}", missing.collect::<Vec<_>>().join(", "))
    }
}

impl Terminal<'_> {
    /// Whether something should have been typed long ago, or was typed too late. The clocks of programs count seconds.
    fn is_late(&self) -> bool {
        let is_typed = matches!(self.steps.first(), Some(Step::Type(_) | Step::EndInput | Step::Interrupt));
        self.was_late || is_typed && self.acted.elapsed() >= Duration::from_secs(1)
    }

    fn next_line(&mut self) -> Option<String> {
        let program = self.program.as_mut()?;
        program.output.read_to_end(&mut self.partial).expect("a file can be read");
        let end = self.partial.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.partial.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    fn pass_over(&mut self) {
        while let Some((step @ (Step::Any | Step::NeverAtRest), rest)) = self.steps.split_first() {
            self.steps = rest;
            self.skips |= *step == Step::Any;
            self.is_never_at_rest |= *step == Step::NeverAtRest;
        }
    }

    /// Whether the line is the next one that the header shows.
    fn take(&mut self, line: &str, chosen: &mut BTreeMap<String, String>) -> Result<bool, String> {
        match self.steps.split_first() {
            Some((Step::Line(shown), rest)) if is_same(shown, line, chosen) => {
                (self.steps, self.skips, self.has_printed) = (rest, false, true);
                self.pass_over();
                Ok(true)
            }
            _ if self.skips => Ok(false),
            next => Err(format!("prints {line:?} where the header has {:?}", next.map(|(step, _)| step))),
        }
    }
}

/// Where the commands of a header run, and may leave files: not in the checkout, which may be read-only. It has what the
/// headers name of a checkout.
fn checkout() -> Folder {
    let folder = Folder::new();
    let built = example("echo").with_file_name("");
    let made = fs::create_dir_all(folder.file("target/release"))
        .and_then(|()| symlink(built, folder.file("target/release/examples")))
        .and_then(|()| symlink(root().join("examples"), folder.file("examples")));
    made.expect("a temporary folder can be written");
    folder
}

/// A command under way, the leader of a process group, as in a terminal; the group is ended with it.
struct Shell {
    child: Child,
    input: Option<ChildStdin>,
    /// The file to which it prints: nothing is between its end and ours, so what was printed can be read at once.
    output: File,
}

impl Shell {
    fn start(command: &str, folder: &Path) -> Shell {
        let printed = folder.join("printed");
        let out = File::create(&printed).expect("a file can be written");
        let output = File::open(&printed).and_then(|file| fs::remove_file(&printed).map(|()| file));
        let err = out.try_clone().expect("a descriptor can be had");
        let shell = shell();
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &resolved(command)])
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", nested_target())
            .env("CARGO_NET_OFFLINE", "true")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("a shell starts");
        Shell { input: child.stdin.take(), child, output: output.expect("a file can be read") }
    }

    fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    fn act(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Type(text) => {
                let input = self.input.as_mut().ok_or("something is typed after Ctrl+D")?;
                input.write_all(text.as_bytes()).map_err(|error| format!("{text:?} cannot be typed: {error}"))
            }
            Step::EndInput => {
                self.input = None;
                Ok(())
            }
            Step::Interrupt => self.signal("INT"),
            _ => Ok(()),
        }
    }

    /// Sends a signal to the whole group.
    fn signal(&self, name: &str) -> Result<(), String> {
        let kill = format!("kill -{name} -{}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().expect("a shell starts");
        if status.success() { Ok(()) } else { Err(format!("{kill} fails")) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if !self.is_over() {
            // It fails if the last of the group has just ended, which is as good.
            let _ = self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

/// A shell in which an interrupt does what it does at a terminal: what started the tests in the background may have had it
/// ignored, and a shell cannot undo that.
fn shell() -> &'static [&'static str] {
    static SHELL: OnceLock<&[&str]> = OnceLock::new();
    SHELL.get_or_init(|| {
        let env: &[&str] = &["env", "--default-signal=INT", "sh"];
        let undoes = Command::new(env[0]).args(&env[1..]).args(["-c", "true"]).stderr(Stdio::null()).status();
        if undoes.is_ok_and(|status| status.success()) { env } else { &["sh"] }
    })
}

/// The command with what is built already in the place of `cargo run`. The shell becomes the program.
fn resolved(command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let args = |from: usize| words[from..].iter().filter(|word| **word != "--").copied().collect::<Vec<_>>().join(" ");
    match &*words {
        ["cargo", "run", ..] => {
            let at = words.iter().position(|word| ["--example", "--manifest-path"].contains(word));
            let at = at.expect("a header runs an example");
            let program = match words[at + 1].strip_prefix("examples/") {
                Some(manifest) => {
                    let name = manifest.trim_end_matches("/Cargo.toml");
                    nested_target().join("debug").join(name)
                }
                None => example(words[at + 1]),
            };
            format!("exec '{}' {}", program.display(), args(at + 2))
        }
        // At a terminal it would show no progress either.
        ["curl", ..] => format!("curl --no-progress-meter {}", args(1)),
        ["make", ..] => format!("exec make --assume-old=host {}", args(1)),
        _ => format!("exec {command}"),
    }
}
