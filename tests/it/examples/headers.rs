//! The header of every example is played: its terminals are opened, what it says is typed is typed, and every line must come
//! that it shows.
//!
//! A header has this shape; `tests/it/examples/headers.rs` is the only reader of it besides people:
//!
//! ```text
//! //! What it shows, in a sentence.
//! //!
//! //! Terminal 1, and whatever there is to say of it:
//! //!
//! //! ```text
//! //! $ the command
//! //! a line that it prints
//! //! > a line that is typed
//! //! > Ctrl+D
//! //! ...
//! //! ```
//! //!
//! //! Lesson: what is to be learned.
//! ```
//!
//! - Terminals are opened in their order. What is typed is typed when nothing more comes, as a person does, and in the last
//!   terminal first.
//! - `> Ctrl+D` ends the input, `> Ctrl+C` interrupts, `> Enter` is an empty line.
//! - `...` stands for any lines, and at the end of a block for all that may follow.
//! - A port from 40000 to 49999 stands for one that the system chose: the same number, the same port.
//! - A decimal number before ` s` is a time that was measured, and may be any.
//! - Everything else comes letter by letter; the ports 3000 and so on are free, since every test has a loopback interface of
//!   its own where that is permitted. `cargo run --example NAME` and `target/release/examples/NAME` are what `cargo test` has built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::pages::{code_lines, root, sources};
use crate::support::process::example;
use crate::support::{in_child, network_of_its_own, tool};

/// Makes a test for each example.
macro_rules! played {
    ($($name:ident: $tools:expr;)*) => {
        const PLAYED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                play_alone(stringify!($name), &$tools);
            }
        )*
    };
}

played! {
    address: ["nc"];
    address_std: ["nc"];
    backend: ["nc"];
    chat: ["nc"];
    chat_std: ["nc"];
    discover: [];
    echo: ["nc"];
    echo_client: [];
    echo_client_std: [];
    echo_server: ["nc"];
    echo_std: ["nc"];
    game_loop: [];
    http_hello: ["curl"];
    json_lines: [];
    length_prefix: ["curl"];
    lines: [];
    multicast: [];
    multicast_std: [];
    proxy: ["nc"];
    proxy_std: ["nc"];
    reconnect: ["nc"];
    select_loop: ["nc"];
    shutdown: ["nc"];
    states: ["nc"];
    systemd: ["nc", "systemd-socket-activate"];
    udp_client: [];
    udp_client_std: [];
    udp_echo_server: ["nc"];
    udp_std: [];
    c_host: ["nc", "cc", "make"];
    signals: ["nc"];
    tls: ["curl"];
}

/// The longest that a header waits for a line, its program's start included.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must come before somebody types. If a header fails with the first, the next is tried: on a machine that
/// is busy a person would wait for longer, too.
const QUIET: [Duration; 3] = [Duration::from_millis(150), Duration::from_millis(700), Duration::from_secs(3)];

/// As many lines as an example may have, without comments and empty ones.
const LONGEST: usize = 60;

/// Ensures that every example is played, and nothing else.
#[test]
fn every_example_is_played() {
    let sources: BTreeSet<_> = sources().into_keys().collect();
    let played: BTreeSet<_> = PLAYED.iter().map(|name| name.to_string()).collect();
    assert_eq!(sources, played, "each example has a header that is played, and is in the list of this file");
}

/// Ensures that every example is short, and can be read: it begins with what it shows and has a lesson.
#[test]
fn every_example_is_short_and_has_a_lesson() {
    for (name, path) in sources() {
        let source = fs::read_to_string(path).expect("an example can be read");
        let length = code_lines(&source);
        assert!(length <= LONGEST, "{name} has at most {LONGEST} lines of code: {length}");
        assert!(source.contains("\n//! Lesson: "), "{name} says what is to be learned");
        assert!(source.contains("Result<()> {") || name == "c_host", "{name}'s main returns its error");
    }
}

/// Ensures that the reader of headers reads every part of one.
#[test]
fn a_header_is_read() {
    let header = "//! Shows.\n//!\n//! Terminal 1, first:\n//!\n//! ```text\n//! $ a b\n//! one\n//! > two\n//! ...\n//! ```\n//!\n\
                  //! Terminal 2:\n//!\n//! ```text\n//! $ c\n//! > Ctrl+D\n//! > Enter\n//! > Ctrl+C\n//! ```\n//!\n//! Prose:\n//!\n\
                  //! ```text\n//! not a terminal\n//! ```\n";
    let first = [Step::Run("a b".into()), Step::Line("one".into()), Step::Type("two\n".into()), Step::Any];
    let second = [Step::Run("c".into()), Step::EndInput, Step::Type("\n".into()), Step::Interrupt];
    assert_eq!(terminals(header), Ok(vec![first.to_vec(), second.to_vec()]));
    for (wrong, why) in [
        ("//! Shows.\n", "a header has a terminal"),
        ("//! A.\n//!\n//! Terminal 2:\n//!\n//! ```text\n//! $ a\n//! ```\n", "terminals are numbered"),
        ("//! A.\n//!\n//! Terminal 1:\n//!\n//! ```text\n//! a\n//! ```\n", "a terminal begins with a command"),
        ("//! A.\n//!\n//! Terminal 1: `a`\n//!\n", "the terminal's block follows"),
    ] {
        assert!(terminals(wrong).is_err_and(|error| error.contains(why)), "{why}: {:?}", terminals(wrong));
    }
}

/// Ensures that a line is compared to the letter, but for ports that the system chose and times that were measured.
#[test]
fn a_line_is_compared_to_the_letter() {
    let mut ports = BTreeMap::new();
    assert!(
        is_same("#1 127.0.0.1:40001 after 9.120 s", "#1 127.0.0.1:51234 after 0.002 s", &mut ports),
        "any port and time"
    );
    assert!(is_same("40002 40001 40002", "51235 51234 51235", &mut ports), "the same number is the same port");
    for (shown, came) in [
        ("127.0.0.1:40001", "127.0.0.1:51235"),
        ("127.0.0.1:40003", "127.0.0.1:51234"),
        ("127.0.0.1:3000", "127.0.0.1:3001"),
        ("HTTP/1.1 200", "HTTP/1.0 200"),
        ("after 9.120 s", "after 9 s"),
        ("#1 joined", "#2 joined"),
        ("hello", "hello "),
        ("a", ""),
    ] {
        assert!(!is_same(shown, came, &mut ports), "{came} is not {shown}");
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Run(String),
    Line(String),
    Any,
    Type(String),
    EndInput,
    Interrupt,
}

/// What happens in each terminal, as the header says.
fn terminals(source: &str) -> Result<Vec<Vec<Step>>, String> {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<&str> = header.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let mut terminals = Vec::new();
    let mut rest = &lines[..];
    while let Some(at) = rest.iter().position(|line| line.starts_with("Terminal")) {
        let number = terminals.len() + 1;
        rest = &rest[at..];
        if !rest[0]
            .strip_prefix(&format!("Terminal {number}"))
            .is_some_and(|rest| rest.starts_with([',', ':', ';', ' ']))
        {
            return Err(format!("terminals are numbered, and this is the {number}.: {}", rest[0]));
        }
        let end = rest.iter().position(|line| line.is_empty()).unwrap_or(rest.len());
        let heading = rest[..end].join(" ");
        let Some([_, "```text", block @ ..]) = rest.get(end..).filter(|_| heading.ends_with(':')) else {
            return Err(format!("the terminal's block follows: {heading}"));
        };
        let end = block.iter().position(|line| *line == "```").ok_or("a block ends")?;
        let steps: Vec<_> = block[..end].iter().map(|line| step(line)).collect();
        if !matches!(steps.first(), Some(Step::Run(_))) {
            return Err(format!("a terminal begins with a command: {heading}"));
        }
        terminals.push(steps);
        rest = &block[end..];
    }
    if terminals.is_empty() { Err("a header has a terminal".into()) } else { Ok(terminals) }
}

fn step(line: &str) -> Step {
    match (line.strip_prefix("$ "), line.strip_prefix("> ")) {
        (Some(command), _) => Step::Run(command.into()),
        (_, Some("Ctrl+D")) => Step::EndInput,
        (_, Some("Ctrl+C")) => Step::Interrupt,
        (_, Some("Enter")) => Step::Type("\n".into()),
        (_, Some(text)) => Step::Type(format!("{text}\n")),
        _ if line == "..." => Step::Any,
        _ => Step::Line(line.into()),
    }
}

/// Whether `came` is what the header shows. `ports` is what each number in it stands for.
fn is_same(shown: &str, came: &str, ports: &mut BTreeMap<String, String>) -> bool {
    let (shown, came) = (numbers(shown), numbers(came));
    let is_port = |text: &str| text.len() == 5 && text.starts_with('4');
    let is_time = |text: &str| text.matches('.').count() == 1 && !text.starts_with('.') && !text.ends_with('.');
    shown.len() == came.len()
        && shown.iter().zip(&came).enumerate().all(|(i, (shown_part, came_part))| {
            if is_port(shown_part) && came_part.parse::<u16>().is_ok() {
                // Each port has one number.
                let is_new = !ports.contains_key(*shown_part) && !ports.values().any(|port| port == came_part);
                if is_new {
                    ports.insert((*shown_part).into(), (*came_part).into());
                }
                return ports.get(*shown_part).is_some_and(|port| port == came_part);
            }
            let is_measured = shown.get(i + 1).is_some_and(|unit| unit.starts_with(" s"));
            shown_part == came_part || is_measured && is_time(shown_part) && is_time(came_part)
        })
}

/// The text, cut before and after every run of digits and points.
fn numbers(text: &str) -> Vec<&str> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (mut parts, mut start, mut within) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        if within.is_some_and(|within| within != is_number(c)) {
            parts.push(&text[start..at]);
            start = at;
        }
        within = Some(is_number(c));
    }
    parts.push(&text[start..]);
    parts
}

/// Plays the header of an example with a loopback interface of its own, or one header after the other.
fn play_alone(name: &str, tools: &[&str]) {
    static TURN: Mutex<()> = Mutex::new(());
    if tools.iter().any(|name| tool(name).is_none()) {
        return;
    }
    let source = sources().remove(name).expect("the list is of examples");
    let is_nested = !source.starts_with(root().join("examples").join(format!("{name}.rs")));
    if is_nested && !is_built(name) {
        return;
    }
    let _turn = network_of_its_own().is_empty().then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    in_child(&format!("headers::{name}"), &[], || {
        let source = fs::read_to_string(source).expect("an example can be read");
        let terminals = terminals(&source).unwrap_or_else(|error| panic!("the header of {name}: {error}"));
        let mut failures = QUIET.iter().map_while(|quiet| Play::new(&terminals, *quiet).run().err());
        if let (Some(_), Some(_), Some(last)) = (failures.next(), failures.next(), failures.next()) {
            panic!("the header of {name} is played: {last}");
        }
    });
}

/// Where the crates in folders of `examples` are built.
pub(crate) fn nested_target() -> PathBuf {
    root().join("target/nested")
}

/// Builds an example that is a crate of its own: under CI, and where that was done before. It may download what it depends
/// on, which a mere `cargo test` should not.
pub(crate) fn is_built(name: &str) -> bool {
    if std::env::var_os("LANDLINE_TEST_CHILD").is_some() {
        return true;
    }
    let manifest = root().join("examples").join(name).join("Cargo.toml");
    let target = nested_target();
    if std::env::var_os("CI").is_none() && !target.is_dir() {
        println!("skipped: {name} is not built; CI=1 cargo test builds it, or mkdir {}", target.display());
        return false;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest).env("CARGO_TARGET_DIR", target);
    assert!(cargo.status().expect("cargo starts").success(), "examples/{name} is built");
    true
}

/// A header that is being played.
struct Play<'a> {
    terminals: Vec<Terminal<'a>>,
    ports: BTreeMap<String, String>,
    quiet: Duration,
}

struct Terminal<'a> {
    steps: &'a [Step],
    /// Any lines may come before the next one that the header shows.
    skips: bool,
    has_printed: bool,
    program: Option<Shell>,
    /// A line that has not come to its end.
    partial: Vec<u8>,
}

impl<'a> Play<'a> {
    fn new(terminals: &'a [Vec<Step>], quiet: Duration) -> Play<'a> {
        let open = |steps: &'a Vec<Step>| Terminal {
            steps,
            skips: false,
            has_printed: false,
            program: None,
            partial: Vec::new(),
        };
        Play { terminals: terminals.iter().map(open).collect(), ports: BTreeMap::new(), quiet }
    }

    fn run(mut self) -> Result<(), String> {
        let mut since = Instant::now();
        loop {
            if self.listen()? {
                since = Instant::now();
            } else if since.elapsed() >= self.quiet {
                if self.act()? {
                    since = Instant::now();
                } else if self.terminals.iter().all(|terminal| terminal.steps.is_empty()) {
                    return Ok(());
                } else if since.elapsed() > PATIENCE {
                    return Err(self.missing());
                }
            }
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Takes what has come; whether it was something that the header shows.
    fn listen(&mut self) -> Result<bool, String> {
        let mut went_on = false;
        for (number, terminal) in (1..).zip(&mut self.terminals) {
            terminal.pass_any();
            while let Some(line) = terminal.next_line() {
                went_on |=
                    terminal.take(&line, &mut self.ports).map_err(|error| format!("terminal {number} {error}"))?;
            }
        }
        Ok(went_on)
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
        // One terminal after the other, each when the one before has said its first word.
        for terminal in &mut self.terminals {
            if let Some(Step::Run(command)) = terminal.steps.first() {
                if terminal.program.as_mut().is_some_and(|program| !program.is_over()) {
                    continue;
                }
                terminal.program = Some(Shell::start(command));
                terminal.steps = &terminal.steps[1..];
                return Ok(true);
            }
            if !terminal.has_printed && matches!(terminal.steps.first(), Some(Step::Line(_))) {
                break;
            }
        }
        // Clients first: whoever ends the server does it last.
        for terminal in self.terminals.iter_mut().rev() {
            let Some((step @ (Step::Type(_) | Step::EndInput | Step::Interrupt), rest)) = terminal.steps.split_first()
            else {
                continue;
            };
            terminal.program.as_mut().ok_or("somebody types before there is a program")?.act(step)?;
            terminal.steps = rest;
            return Ok(true);
        }
        Ok(false)
    }

    /// What the header shows and did not come.
    fn missing(&self) -> String {
        let missing = (1..).zip(&self.terminals).filter_map(|(number, terminal)| {
            terminal.steps.first().map(|step| format!("terminal {number} comes to {step:?}"))
        });
        missing.collect::<Vec<_>>().join(", ")
    }
}

impl Terminal<'_> {
    fn next_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            self.partial.extend(self.program.as_ref()?.output.try_recv().ok()?);
        }
    }

    fn pass_any(&mut self) {
        while let Some((Step::Any, rest)) = self.steps.split_first() {
            (self.steps, self.skips) = (rest, true);
        }
    }

    /// Whether the header goes on.
    fn take(&mut self, line: &str, ports: &mut BTreeMap<String, String>) -> Result<bool, String> {
        match self.steps.split_first() {
            Some((Step::Line(shown), rest)) if is_same(shown, line, ports) => {
                (self.steps, self.skips, self.has_printed) = (rest, false, true);
                self.pass_any();
                Ok(true)
            }
            _ if self.skips => Ok(false),
            next => Err(format!("prints {line:?} where the header has {:?}", next.map(|(step, _)| step))),
        }
    }
}

/// A command under way; what it leaves behind is ended with it.
struct Shell {
    child: Child,
    input: Option<ChildStdin>,
    output: mpsc::Receiver<Vec<u8>>,
}

impl Shell {
    fn start(command: &str) -> Shell {
        // What started the tests in the background may have had interrupts ignored, and a shell cannot undo that.
        let env = ["env", "--default-signal=INT"];
        let undoes = Command::new(env[0]).args([env[1], "true"]).stderr(Stdio::null()).status();
        let shell: &[&str] = if undoes.is_ok_and(|status| status.success()) { &env } else { &["env"] };
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["sh", "-c", &resolved(command)])
            .current_dir(root())
            .env("CARGO_TARGET_DIR", nested_target())
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let (sender, output) = mpsc::channel();
        let (out, err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        forward(out, sender.clone());
        forward(err, sender);
        Shell { input: child.stdin.take(), child, output }
    }

    fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    fn act(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Type(text) => {
                let input = self.input.as_mut().ok_or("somebody types after Ctrl+D")?;
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

    fn signal(&self, name: &str) -> Result<(), String> {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().expect("a shell starts");
        if status.success() { Ok(()) } else { Err(format!("{kill} fails")) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The end of its input ends what it may have started; it fails if it has ended by itself, which is as good.
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(mut from: impl Read + Send + 'static, to: mpsc::Sender<Vec<u8>>) {
    // Ends with the program, whose end closes the pipe.
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let _ = to.send(buffer[..n].to_vec());
        }
    });
}

/// The command with what `cargo test` has built in the place of `cargo run`. The shell becomes the program, so that a signal
/// reaches it.
fn resolved(command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let at = words.iter().position(|word| *word == "--example");
    match (&*words, at) {
        (["cargo", "run", ..], Some(at)) => {
            let args = words[at + 2..].iter().filter(|word| **word != "--").copied().collect::<Vec<_>>().join(" ");
            format!("exec {} {args}", example(words[at + 1]).display())
        }
        _ if command.contains("target/release/examples/") => {
            let built = example("echo").with_file_name("");
            format!("exec {}", command.replace("target/release/examples/", &built.to_string_lossy()))
        }
        (["cargo", "run", rest @ ..], None) => format!("exec cargo run --quiet {}", rest.join(" ")),
        // At a terminal it would show no progress either.
        (["curl", rest @ ..], _) => format!("curl --no-progress-meter {}", rest.join(" ")),
        _ => format!("exec {command}"),
    }
}
