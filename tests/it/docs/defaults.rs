//! The page of defaults and the documentation of each setter say what the library does.

use std::collections::BTreeMap;
use std::fs;

use landline::dgram;
use landline::net::{KeepAlive, Server, ServerOptions, Socket, SocketOptions};

use crate::support::pages::{files, read, root, word};

/// The heading of the table that `docs::zero` reads.
pub(crate) const ZERO: &str = "\n## What zero and `None` mean\n";

/// The cells of the rows of the first two tables.
fn rows(page: &str) -> Vec<[&str; 3]> {
    let (page, _) = page.split_once(ZERO).expect("the page has its last section");
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

/// How many descriptors a process may have: on Linux as /proc tells, or as the page says where it does not.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(if cfg!(target_os = "linux") { 1024 } else { usize::MAX })
}

/// Setters whose field has another name.
const RENAMED: [(&str, &str); 6] = [
    ("limit", "outbox_limit"),
    ("lookup", "resolver"),
    ("max_connections_per_address", "max_per_address"),
    ("pause_on_connect", "paused"),
    ("proxy_protocol", "trusted"),
    ("report", "reporter"),
];

/// What holds where an option is not set, unless that is "none".
const UNSET: [(&str, &str); 13] = [
    ("broadcast", "no"),
    ("delay", "the system's"),
    ("family", "any"),
    ("local_address", "the system's choice"),
    ("lookup", "the system's resolver"),
    ("multicast_loop", "yes"),
    ("multicast_ttl", "1"),
    ("recv_buffer_size", "the system's"),
    ("send_buffer_size", "the system's"),
    ("stack_size", "std's"),
    ("ttl", "the system's"),
    ("type_of_service", "0"),
    ("user_timeout", "the system's"),
];

/// The default that a setter changes, as the code has it: the field of new options.
fn real(setter: &str) -> String {
    let (owner, name) = setter.rsplit_once("::").expect("a setter has an owner");
    let name = name.strip_prefix("set_").unwrap_or(name);
    let debug = match owner {
        "ServerOptions" | "Server" => format!("{:?}", ServerOptions::new()),
        "SocketOptions" | "Socket" | "Outbox" => format!("{:?}", SocketOptions::new()),
        "dgram::SocketOptions" | "dgram::Socket" => format!("{:?}", dgram::SocketOptions::udp4()),
        "KeepAlive" => format!("{:?}", KeepAlive::new()),
        _ => panic!("this test does not know the fields of {owner}"),
    };
    let of = |table: &[(&str, &'static str)]| table.iter().find(|(known, _)| *known == name).map(|(_, other)| *other);
    let value = match setter {
        // Without a limit of descriptors, which the test of the page takes into account.
        "ServerOptions::max_connections" | "Server::set_max_connections" => return "10,000".into(),
        // No options: a new connection is asked.
        "Socket::set_read_timeout" => return said(&debug_of_new(Socket::read_timeout), Unit::None),
        "Socket::set_write_timeout" => return said(&debug_of_new(Socket::write_timeout), Unit::None),
        // Not of the options: the system's own.
        "dgram::Socket::set_multicast_interface" => return "ANY".into(),
        "dgram::SocketOptions::recv_buffer_size" | "dgram::Socket::set_recv_buffer_size" => {
            assert_eq!(field(&debug, name), "None", "then the library asks for RECV_BUFFER");
            constant("src/dgram/options.rs", "RECV_BUFFER")
        }
        _ => field(&debug, of(&RENAMED).unwrap_or(name)),
    };
    match (of(&UNSET), &*value) {
        (Some(meaning), "None" | "0ns") => meaning.into(),
        _ if ["limit", "outbox_limit", "recv_buffer_size"].contains(&name) => said(&value, Unit::Bytes),
        _ => said(&value, Unit::None),
    }
}

/// A setting that a new connection has.
fn debug_of_new<T: std::fmt::Debug>(setting: fn(&Socket) -> std::io::Result<T>) -> String {
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let socket = Socket::connect(server.address()).expect("the server listens");
    format!("{:?}", setting(&socket).expect("it is open"))
}

/// The value that a stated default begins with, without markup: of "`None`, or what was set" `None`.
fn value(stated: &str) -> String {
    let end = [", ", "; ", ". ", "\n"].iter().filter_map(|mark| stated.find(mark)).min().unwrap_or(stated.len());
    let bare = stated[..end].trim_end_matches('.').replace(['`', '[', ']', '"'], "");
    bare.rsplit("::").next().unwrap_or_default().to_owned()
}

/// Every public method that sets something: those that return the options they are called on, and all `set_…`. Not those of a
/// `Limit`, which has no defaults: its numbers are given where it is made.
fn setters() -> Vec<String> {
    let api = read(&root().join("docs/public-api.txt"));
    let methods = api.lines().filter_map(|line| line.strip_prefix("pub fn landline::")?.split_once('('));
    let setters = methods.filter_map(|(name, rest)| {
        let (owner, method) = name.rsplit_once("::")?;
        let rest = rest.split_once(" where ").map_or(rest, |(rest, _)| rest);
        let returns = rest.rsplit_once(") -> ").map_or("", |(_, returns)| returns);
        let is_setter = method.starts_with("set_") && rest.starts_with("&self");
        let is_option = rest.starts_with("self") && returns == format!("landline::{owner}");
        let name = name.strip_prefix("net::").unwrap_or(name);
        (owner != "Limit" && (is_setter || is_option)).then(|| name.split('<').next().unwrap_or_default().to_owned())
    });
    setters.collect()
}

/// The documentation of every public method of the types in `net` and `dgram`, by name.
fn documentation() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (folder, prefix) in [("src/net", ""), ("src/dgram", "dgram::")] {
        for file in files(&root().join(folder)).expect("there are sources") {
            let (mut owner, mut text) = (String::new(), String::new());
            for line in read(&file).lines() {
                if let Some(of) = line.strip_prefix("impl ") {
                    owner = word(of).to_owned();
                }
                match line.strip_prefix("    ").filter(|code| !code.starts_with(' ')) {
                    Some(code) if code.starts_with("///") => text += &format!("{}\n", code.trim_start_matches("/// ")),
                    Some(code) if code.starts_with("#[") => {}
                    code => {
                        let text = std::mem::take(&mut text);
                        if let Some(method) = code.and_then(|code| code.strip_prefix("pub fn ")) {
                            found.insert(format!("{prefix}{owner}::{}", word(method)), text);
                        }
                    }
                }
            }
        }
    }
    found
}

/// Every default that a documentation states.
fn stated(documentation: &str) -> Vec<&str> {
    documentation.split("Default:").skip(1).map(str::trim_start).collect()
}

/// Ensures that each setter has its default on the page and in its documentation, that both are the one the library
/// has, and that nothing else is called a default in either.
#[test]
fn every_setter_says_its_default_and_so_does_the_page() {
    let page = read(&root().join("docs/defaults.md"));
    let mut on_page = BTreeMap::new();
    for [_, stated, by] in rows(&page).into_iter().filter(|[_, _, by]| !by.contains("` in `")) {
        for name in quoted(by) {
            assert_eq!(on_page.insert(name.to_owned(), stated), None, "{name} has one row");
        }
    }
    let mut documented = documentation();
    let setters = setters();
    assert!(setters.len() > 70, "the setters are read: {}", setters.len());
    for setter in &setters {
        let stated_there = on_page.remove(setter).unwrap_or_else(|| panic!("{setter} has a row on the page"));
        let text = documented.remove(setter).unwrap_or_else(|| panic!("{setter} is in the sources"));
        let [stated_here] = stated(&text)[..] else {
            panic!("{setter} says its default once, by \"Default: \": {text}")
        };
        let real = value(&real(setter));
        assert_eq!(value(stated_there), real, "the default of {setter} on the page: {stated_there}");
        assert_eq!(value(&stated_here.replace('\n', " ")), real, "the default in the documentation of {setter}");
    }
    assert_eq!(on_page, BTreeMap::new(), "what the page says to set a default is a setter");
    let mut all = files(&root().join("src")).expect("there are sources");
    let comments =
        all.drain(..).map(|file| read(&file).lines().filter(|line| line.contains("///")).collect::<String>());
    let count: usize = comments.map(|text| stated(&text).len()).sum();
    assert_eq!(count, setters.len(), "a default is stated where it is set and nowhere else in the sources");
}

/// Ensures that the page has the limit of connections that holds here, and the numbers that no option changes.
#[test]
fn the_page_of_defaults_is_right_about_what_no_option_changes() {
    let page = read(&root().join("docs/defaults.md"));
    let server = Server::listen("127.0.0.1:0").expect("port 0 can be listened on");
    let left = |limit: usize| limit.saturating_sub(limit / 8).saturating_sub(64);
    let mut constants = 0;
    for [what, stated, by] in rows(&page) {
        match *quoted(by) {
            ["ServerOptions::max_connections", _] => {
                let number: usize = value(stated).replace(',', "").parse().expect("it begins with a number");
                assert_eq!(server.max_connections(), number.min(left(descriptors())), "{what}: {stated}");
            }
            [name, file] if by.contains("` in `") => {
                constants += 1;
                let name = name.rsplit("::").next().expect("there is a last part");
                let unit = if [
                    "AT_MOST",
                    "WAITING_AT_MOST",
                    "SPARE",
                    "LINGERING_AT_MOST",
                    "REFUSED_AT_MOST",
                    "HEADERS_AT_ONCE",
                    "HELD_UP_AT_MOST",
                ]
                .contains(&name)
                {
                    Unit::None
                } else {
                    Unit::Bytes
                };
                assert_eq!(stated, said(&constant(file, name), unit), "{what}: {name}");
            }
            _ => {}
        }
    }
    assert!(constants > 8, "the second table is read: {constants}");
}
