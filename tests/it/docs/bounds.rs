//! The tests themselves: every wait has the one bound, and no sleep stands for a signal.

use crate::support::pages::{files, read, root};

/// Calls that wait for a time.
const WAITS: [&str; 9] = [
    "recv_timeout(",
    "recv_deadline(",
    "set_read_timeout(",
    "set_write_timeout(",
    "wait_timeout(",
    "wait_timeout_while(",
    "park_timeout(",
    // Not our option of that name, which is a timer like any other.
    "TcpStream::connect_timeout(",
    "sleep(",
];

/// What a line says whose time is the subject of the test, or the pace of a peer, and bounds no wait.
const REASON: &str = "// Not a bound: ";

/// The lines of a file that wait for another time than `HANG`, without a reason.
fn wrong(source: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = source.lines().collect();
    let waits = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        WAITS.iter().any(|call| {
            let before = |at: usize| {
                code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') || code[..at].ends_with("fn ")
            };
            let is_allowed = |rest: &str| {
                ["HANG", "Some(HANG)", "Duration::ZERO", "None"].iter().any(|time| {
                    let argument = rest.split_once(')').map_or(rest, |(argument, _)| argument);
                    argument.ends_with(time.trim_end_matches(')'))
                })
            };
            code.match_indices(call).any(|(at, _)| !before(at) && !is_allowed(&code[at + call.len()..]))
        })
    };
    let has_reason = |at: usize| lines[at.saturating_sub(1)..=at].iter().any(|line| line.contains(REASON));
    let found = lines.iter().enumerate().filter(|(at, line)| waits(line) && !has_reason(*at));
    found.map(|(at, line)| (at + 1, line.trim())).collect()
}

/// Ensures that no test waits for another time than `HANG`, which only a hang reaches. A line whose time is something else,
/// such as the timer that is tested or the pace of a slow peer, says so in a comment.
#[test]
fn every_wait_has_the_one_bound() {
    let mut all = Vec::new();
    for file in files(&root().join("tests/it")).expect("there are tests") {
        // The bound itself, and this reader.
        if file.ends_with("support/mod.rs") || file.ends_with("docs/bounds.rs") {
            continue;
        }
        let name = file.strip_prefix(root()).expect("it is in the project").display().to_string();
        all.extend(wrong(&read(&file)).into_iter().map(|(line, text)| format!("{name}:{line}: {text}")));
    }
    assert!(all.is_empty(), "these wait for another time than HANG, and do not say why:\n{}", all.join("\n"));
}

/// Ensures that the reader sees a wait with another bound, and takes a reason.
#[test]
fn another_bound_is_seen() {
    assert_eq!(wrong("let a = rx.recv_timeout(ms(50));"), [(1, "let a = rx.recv_timeout(ms(50));")]);
    assert_eq!(wrong("thread::sleep(ms(5));").len(), 1, "a sleep is a wait");
    for right in [
        "rx.recv_timeout(HANG)",
        "socket.recv_timeout(&mut buffer, HANG)",
        "one.set_read_timeout(Some(HANG))",
        "rx.recv_timeout(Duration::ZERO)",
        "fn sleep(time: Duration) {",
        "SocketOptions::new().connect_timeout(ms(50))",
        "// Not a bound: the timer that is tested.\nsocket.set_read_timeout(Some(ms(50)))",
    ] {
        assert_eq!(wrong(right), [], "{right}");
    }
}
