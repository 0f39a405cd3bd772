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
//! - Terminals are opened in their order, and what is typed is typed in the last terminal first: each when every program is
//!   blocked and all that it printed was taken, by a look at /proc. What a program prints later, by a clock of its own, is
//!   waited for where the header shows it. A terminal that by its heading is `never at rest` is waited for until it has come
//!   to a `...`.
//! - `> Ctrl+D` ends the input, `> Ctrl+C` interrupts, `> Enter` is an empty line.
//! - `...` stands for any lines, and at the end of a block for all that may follow.
//! - A port from 40000 to 49999 stands for one that the system chose: the same number, the same port.
//! - A decimal number before ` s` is a time that was measured, and may be any.
//! - Everything else comes letter by letter. The ports 3000 and so on are free, since every test has a loopback interface of
//!   its own; where that is not permitted, others stand for them. `cargo run` and `target/release/examples/NAME` are what
//!   `cargo test` has built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

#[cfg(unix)]
use crate::player::Play;
#[cfg(unix)]
use crate::ports::Ports;
use crate::processes::can_be_seen;
use crate::support::pages::{code_lines, root, sources};
use crate::support::process::target;
use crate::support::{has_proc, in_child, tool};

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
    dashboard: ["curl"];
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
    redis: ["nc"];
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
        // The test of the dashboard says how long that may be.
        assert!(length <= LONGEST || name == "dashboard", "{name} has at most {LONGEST} lines of code: {length}");
        assert!(source.contains("\n//! Lesson: "), "{name} says what is to be learned");
        assert!(
            source.contains("fn main() -> Result<(), landline::Error> {")
                || source.contains("Result<()> {")
                || name == "c_host",
            "{name}'s main returns its error"
        );
    }
}

/// Ensures that the reader of headers reads every part of one.
#[test]
fn a_header_is_read() {
    let header = "//! Shows.\n//!\n//! Terminal 1, first:\n//!\n//! ```text\n//! $ a b\n//! one\n//! > two\n//! ...\n//! ```\n//!\n\
                  //! Terminal 2, never at rest:\n//!\n//! ```text\n//! $ c\n//! > Ctrl+D\n//! > Enter\n//! > Ctrl+C\n//! ```\n//!\n//! Prose:\n//!\n\
                  //! ```text\n//! not a terminal\n//! ```\n";
    let first = [Step::Run("a b".into()), Step::Line("one".into()), Step::Type("two\n".into()), Step::Any];
    let second = [Step::Run("c".into()), Step::NeverAtRest, Step::EndInput, Step::Type("\n".into()), Step::Interrupt];
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

/// A line of a terminal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Run(String),
    NeverAtRest,
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
        let mut steps: Vec<_> = block[..end].iter().map(|line| step(line)).collect();
        if !matches!(steps.first(), Some(Step::Run(_))) {
            return Err(format!("a terminal begins with a command: {heading}"));
        }
        if heading.contains("never at rest") {
            steps.insert(1, Step::NeverAtRest);
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
pub(crate) fn is_same(shown: &str, came: &str, ports: &mut BTreeMap<String, String>) -> bool {
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
pub(crate) fn numbers(text: &str) -> Vec<&str> {
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

/// Plays the header of an example with a loopback interface of its own, or at ports that are free.
fn play_alone(name: &str, tools: &[&str]) {
    if !can_be_seen() || tools.iter().any(|name| tool(name).is_none()) {
        return;
    }
    #[cfg(unix)]
    let source = sources().remove(name).expect("the list is of examples");
    let is_nested = root().join("examples").join(name).join("Cargo.toml").is_file();
    if is_nested && !is_built(name) {
        return;
    }
    #[cfg(unix)]
    in_child(&format!("headers::{name}"), &[], || {
        let source = fs::read_to_string(source).expect("an example can be read");
        let terminals = terminals(&source).unwrap_or_else(|error| panic!("the header of {name}: {error}"));
        let Some(ports) = Ports::new(&terminals) else {
            return;
        };
        let terminals = ports.put_into(terminals);
        let played = (0..20).any(|_| {
            let played = Play::new(&terminals, &ports.numbers()).run();
            played.unwrap_or_else(|error| panic!("the header of {name} is played: {error}"))
        });
        assert!(played, "in one of twenty plays of {name} the machine is faster than the clocks of the programs");
    });
}

/// Where the crates in folders of `examples` are built: all in one place, so that what they share is compiled once. One build
/// waits for the other, but each keeps all processors busy.
pub(crate) fn nested_target() -> PathBuf {
    target().join("nested")
}

/// What Cargo, or what starts it, is told there: without what a debugger needs, it is done in four fifths of the time.
pub(crate) fn building_nested(command: &mut Command) -> &mut Command {
    command.env("CARGO_TARGET_DIR", nested_target()).env("CARGO_PROFILE_DEV_DEBUG", "0")
}

/// Builds an example that is a crate of its own: under CI, and where that was done before. It may download what it depends
/// on, which a mere `cargo test` should not.
pub(crate) fn is_built(name: &str) -> bool {
    if std::env::var_os("LANDLINE_TEST_CHILD").is_some() {
        return true;
    }
    // Cargo needs it.
    if !has_proc() {
        return false;
    }
    let manifest = root().join("examples").join(name).join("Cargo.toml");
    let target = nested_target();
    if std::env::var_os("CI").is_none() && !target.is_dir() {
        println!("skipped: {name} is not built; CI=1 cargo test builds it, or mkdir {}", target.display());
        return false;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest);
    assert!(building_nested(&mut cargo).status().expect("cargo starts").success(), "examples/{name} is built");
    if name == "c_host" {
        link_host();
    }
    true
}

/// Links the C program of `c_host`, once. It is whole at once, for another run of the tests.
fn link_host() {
    static LINKED: OnceLock<()> = OnceLock::new();
    LINKED.get_or_init(|| {
        let target = nested_target();
        let new = target.join(format!("c_host-{}", std::process::id()));
        let mut make = Command::new("make");
        make.args(["--silent", "host", "--directory"]).arg(root().join("examples/c_host"));
        make.arg(format!("HOST={}", new.display()));
        assert!(building_nested(&mut make).status().expect("make starts").success(), "the host is built");
        fs::rename(new, target.join("debug/c_host")).expect("target can be written");
    });
}
