//! The servers that speak a protocol: examples, the same by hand, and programs of others.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use crate::common::case::{Case, Load, Serve};
use crate::common::run::{self, Server, this_program};
use crate::{dns, http, redis};

/// A program of others, the Debian package that has it, and how it says its version.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
}

const fn program(name: &'static str, package: &'static str, version: &'static str) -> Program {
    Program { name, package, version }
}

pub(crate) const PROGRAMS: &[Program] = &[
    program("redis-server", "redis-server", "--version"),
    program("redis-benchmark", "redis-tools", "--version"),
    program("mosquitto", "mosquitto", "-h"),
    program("wrk", "wrk", "-v"),
    program("dnsperf", "dnsperf", "-h"),
];

/// Where a program is that is started by its name.
pub(crate) fn path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    // Debian has servers in /usr/sbin, which is not in every user's PATH.
    let mut folders = env::split_paths(&folders).chain(["/usr/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// The program that a case's clients are.
pub(crate) fn client(case: &Case) -> Option<&'static str> {
    match case.load {
        Load::RedisBenchmark { .. } => Some("redis-benchmark"),
        Load::Wrk { .. } => Some("wrk"),
        Load::Dnsperf { .. } => Some("dnsperf"),
        _ => None,
    }
}

pub(crate) fn servers() -> Vec<Server> {
    let is_redis = |case: &Case| case.serve == Serve::Redis;
    let is_http = |case: &Case| case.serve == Serve::Http;
    let is_dns = |case: &Case| case.serve == Serve::Dns;
    let mut servers = vec![
        Server::own("landline", &["program", "redis"], |case| matches!(case.serve, Serve::Redis | Serve::Publish)),
        Server::own("landline", &["program", "http_hello"], is_http),
        Server::own("landline", &["program", "dns landline"], is_dns),
        Server::own("std", &["program", "redis std"], is_redis),
        Server::own("std", &["program", "dns std"], is_dns),
        Server::own("tokio", &["program", "redis tokio threads"], is_redis),
        Server::own("tokio, 1 thread", &["program", "redis tokio one-thread"], is_redis),
        Server::own("tiny_http", &["program", "tiny_http"], is_http),
        Server::own("tiny_http, 1 thread", &["program", "tiny_http one-thread"], is_http),
        Server::own("hyper", &["program", "hyper"], is_http),
    ];
    if path("redis-server").is_some() {
        let serves = |case: &Case| matches!(case.serve, Serve::Redis | Serve::Publish);
        servers.push(Server::own("redis-server", &["program", "redis-server"], serves));
    }
    if path("mosquitto").is_some() {
        servers.push(Server::own("mosquitto", &["program", "mosquitto"], |case| case.serve == Serve::Publish));
    }
    servers
}

/// Is one of the servers from here on.
pub(crate) fn serve(name: &str) -> io::Result<()> {
    match name {
        "redis" | "http_hello" => become_program(Command::new(this_program().with_file_name(name)).arg("127.0.0.1:0")),
        "redis-server" => at_free_port("redis-server", &["--bind", "127.0.0.1", "--save", "", "--port"]),
        "mosquitto" => at_free_port("mosquitto", &["-p"]),
        _ => {
            run::end_with_input();
            match *name.split(' ').collect::<Vec<_>>() {
                ["redis", over, ref how @ ..] => redis::serve(over, how.first().unwrap_or(&"")),
                ["dns", "landline"] => dns::landline(),
                ["dns", "std"] => dns::std(),
                ["tiny_http"] => http::tiny_http(std::thread::available_parallelism().map_or(1, usize::from)),
                ["tiny_http", "one-thread"] => http::tiny_http(1),
                ["hyper"] => http::hyper(),
                _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("nothing serves {name}"))),
            }
        }
    }
}

/// Says the port before anything listens there: clients try until something does.
fn at_free_port(program: &str, args: &[&str]) -> io::Result<()> {
    let port = run::free_address()?.port().to_string();
    println!("listening on {port}");
    io::stdout().flush()?;
    become_program(Command::new(path(program).ok_or(io::ErrorKind::NotFound)?).args(args).arg(port))
}

/// The process is the program's own, so that what it uses is counted, and it ends with the one that has started this.
fn become_program(command: &mut Command) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    let mut with_parent = Command::new("setpriv");
    with_parent.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    Err(if path("setpriv").is_some() { with_parent.exec() } else { command.exec() })
}
