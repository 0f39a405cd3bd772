//! The page of defaults says what the library does.

use std::fs;

use landline::dgram;
use landline::net::{Server, ServerOptions, SocketOptions};

use crate::support::pages::{read, root};

/// The cells of the page's rows.
fn rows(page: &str) -> Vec<[&str; 3]> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>().try_into().expect("a row has three cells"));
    rows.filter(|cells: &[&str; 3]| cells[0] != "what").collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The value of a field in what `Debug` prints.
fn field(debug: &str, name: &str) -> String {
    let (_, value) = debug.split_once(&format!(" {name}: ")).unwrap_or_else(|| panic!("{name} is in {debug}"));
    let value = value.split([',', ' ', '}']).next().expect("there is a first part");
    value.trim_start_matches("Some(").trim_end_matches(')').to_owned()
}

/// What a `const` of a source file is, as `Debug` would print it: a number, a product, a power of two, or a duration.
fn constant(file: &str, name: &str) -> String {
    let source = read(&root().join(file));
    let (_, rest) = source.split_once(&format!("const {name}: ")).unwrap_or_else(|| panic!("{name} is in {file}"));
    let (_, value) = rest.split_once(" = ").expect("a const has a value");
    let value = value.split(';').next().expect("it ends").replace('_', "");
    if let Some(time) = value.strip_prefix("Duration::from") {
        let unit = if time.starts_with("millis(") { "ms" } else { "s" };
        let number = time.trim_matches(|c: char| !c.is_ascii_digit());
        return format!("{number}{unit}");
    }
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_else(|error| panic!("{name} = {value}: {error}"));
    match value.split_once("<<") {
        Some((n, bits)) => (number(n) << number(bits)).to_string(),
        None => value.split('*').map(number).product::<u64>().to_string(),
    }
}

/// A value as the page says it.
fn said(value: &str, unit: Unit) -> String {
    let words = [("true", "yes"), ("false", "no"), ("None", "none")];
    if let Some((_, word)) = words.iter().find(|(code, _)| *code == value) {
        return (*word).to_owned();
    }
    match (value.parse::<u64>(), unit) {
        (Ok(n), Unit::Bytes) if n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        (Ok(n), Unit::Bytes) if n % 1024 == 0 => format!("{} KiB", n >> 10),
        (Ok(n), Unit::Bytes) => format!("{},{:03} bytes", n / 1000, n % 1000),
        (Ok(n), Unit::None) => n.to_string(),
        (Err(_), _) => match value.find(|c: char| !c.is_ascii_digit()) {
            Some(end) if end > 0 => format!("{} {}", &value[..end], &value[end..]),
            _ => value.to_owned(),
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    None,
    Bytes,
}

/// How many descriptors a process may have, where /proc tells.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

/// Every default that is set by an option, and what it is.
fn options() -> Vec<(&'static str, String)> {
    let (server, socket) = (format!("{:?}", ServerOptions::new()), format!("{:?}", SocketOptions::new()));
    let datagram = format!("{:?}", dgram::SocketOptions::udp4());
    let server = |name, unit| said(&field(&server, name), unit);
    let socket = |name, unit| said(&field(&socket, name), unit);
    let flag = Unit::None;
    assert_eq!(server("stack_size", flag), "none", "std decides about stacks");
    assert_eq!(field(&datagram, "recv_buffer_size"), "None", "then the library asks for RECV_BUFFER");
    vec![
        ("ServerOptions::when_full", server("when_full", flag)),
        ("ServerOptions::backlog", server("backlog", flag)),
        ("ServerOptions::max_connections_per_address", server("max_per_address", flag)),
        ("ServerOptions::answer_queued", server("answer_queued", flag)),
        ("ServerOptions::linger", server("linger", flag)),
        ("ServerOptions::ipv6_only", server("ipv6_only", flag)),
        ("ServerOptions::reuse_address", server("reuse_address", flag)),
        ("ServerOptions::reuse_port", server("reuse_port", flag)),
        ("ServerOptions::no_delay", server("no_delay", flag)),
        ("SocketOptions::no_delay", socket("no_delay", flag)),
        ("ServerOptions::keep_alive", server("keep_alive", flag)),
        ("SocketOptions::keep_alive", socket("keep_alive", flag)),
        ("ServerOptions::allow_half_open", server("allow_half_open", flag)),
        ("SocketOptions::allow_half_open", socket("allow_half_open", flag)),
        ("ServerOptions::timeout", server("timeout", flag)),
        ("SocketOptions::timeout", socket("timeout", flag)),
        ("ServerOptions::deadline", server("deadline", flag)),
        ("ServerOptions::min_rate", server("min_rate", flag)),
        ("SocketOptions::min_rate", socket("min_rate", flag)),
        ("ServerOptions::user_timeout", server("user_timeout", flag)),
        ("SocketOptions::user_timeout", socket("user_timeout", flag)),
        ("ServerOptions::proxy_timeout", server("proxy_timeout", flag)),
        ("ServerOptions::outbox_limit", server("outbox_limit", Unit::Bytes)),
        ("SocketOptions::outbox_limit", socket("outbox_limit", Unit::Bytes)),
        ("ServerOptions::stack_size", "std's".into()),
        ("ServerOptions::thread_name", server("thread_name", flag)),
        ("dgram::SocketOptions::thread_name", said(&field(&datagram, "thread_name"), flag)),
        ("SocketOptions::connect_timeout", socket("connect_timeout", flag)),
        ("SocketOptions::auto_select_family", socket("auto_select_family", flag)),
        ("SocketOptions::attempt_timeout", socket("attempt_timeout", flag)),
        ("dgram::SocketOptions::recv_buffer_size", said(&constant("src/dgram/options.rs", "RECV_BUFFER"), Unit::Bytes)),
        ("dgram::SocketOptions::reuse_address", said(&field(&datagram, "reuse_address"), flag)),
    ]
}

/// Ensures that each default on the page is the one the library has, and that none is missing there.
#[test]
fn the_page_of_defaults_is_right() {
    let page = read(&root().join("docs/defaults.md"));
    let mut options = options();
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    for [what, stated, by] in rows(&page) {
        let begins = |with: &str| {
            stated.strip_prefix(with).is_some_and(|rest| rest.is_empty() || rest.starts_with([',', ';', ' ']))
        };
        let named = quoted(by);
        match *named {
            ["ServerOptions::max_connections"] => {
                let number = stated.split(' ').next().expect("it begins with a number").replace(',', "");
                let number: usize = number.parse().expect("it begins with a number");
                assert_eq!(server.max_connections(), number.min(descriptors().saturating_sub(64)), "{what}: {stated}");
            }
            [name, file] if by.contains("` in `") => {
                let name = name.rsplit("::").next().expect("there is a last part");
                let unit = if name == "WAITING_AT_MOST" { Unit::None } else { Unit::Bytes };
                assert_eq!(stated, said(&constant(file, name), unit), "{what}: {name}");
            }
            _ => {
                for name in named {
                    let at = options.iter().position(|(known, _)| *known == name);
                    let (_, real) = options.remove(at.unwrap_or_else(|| panic!("{name} is no option, or there twice")));
                    assert!(begins(&real), "{what}: {name} is {real}, and the page says {stated}");
                }
            }
        }
    }
    assert_eq!(options, [], "every default is on the page");
}
