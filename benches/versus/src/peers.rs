//! Who takes part: found, and built where that is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::case::{Case, Serve};
use crate::common::run::{Server, this_program};
use crate::programs::{self, PROGRAMS};

/// A program in a language of its own.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) command: Vec<PathBuf>,
}

/// Whom the goals mean by the others.
pub(crate) const OTHERS: &[&str] = &["Node", "Go", "tokio", "tokio, 1 thread", "Python", "POCO"];

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(file)
}

fn built(name: &str) -> PathBuf {
    this_program().with_file_name("peers").join(name)
}

/// Builds those that are compiled; says who is missing, and how to get them.
pub(crate) fn build() -> Vec<Peer> {
    let place = built("");
    // What an earlier run built would be taken for found.
    let _ = fs::remove_dir_all(&place);
    let _ = fs::create_dir_all(&place);
    let mut go = Command::new("go");
    go.args(["build", "-o"]).args([built("go"), source("go.go")]).env("GO111MODULE", "off");
    let mut poco = Command::new("g++");
    poco.args(["-O2", "-std=c++17", "-o"]).args([built("poco"), source("poco.cpp")]);
    poco.args(["-lPocoNet", "-lPocoFoundation", "-lpthread"]);
    // cargo run has built this program alone.
    let mut examples = Command::new("cargo");
    examples
        .args(["build", "--release", "--locked", "--bin", "redis", "--bin", "http_hello", "--target-dir"])
        .arg(built("../.."));
    examples.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    for (name, mut compiler) in [("go.go", go), ("poco.cpp", poco), ("the examples", examples)] {
        let Ok(output) = compiler.output() else { continue };
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            println!("{name} does not compile: {}", text.lines().next().unwrap_or_default());
        }
    }
    let found = found();
    for (name, packages) in
        [("Node", "nodejs"), ("Go", "golang-go"), ("Python", "python3"), ("POCO", "g++ libpoco-dev")]
    {
        if !found.iter().any(|peer| peer.name == name) {
            println!("{name} not found, so it is left out (Debian: apt-get install {packages})");
        }
    }
    for program in PROGRAMS.iter().filter(|program| programs::path(program.name).is_none()) {
        let (name, package) = (program.name, program.package);
        println!("{name} not found, so it is left out, or what it measures (Debian: apt-get install {package})");
    }
    found
}

/// Those that can be run.
pub(crate) fn found() -> Vec<Peer> {
    let mut peers = Vec::new();
    if said("node", &["--version"]).is_some() {
        peers.push(Peer { name: "Node", command: vec!["node".into(), source("node.js")] });
    }
    // What is called python3 may be a script that looks for it.
    if let Some(python) = said("python3", &["-c", "import sys; print(sys.executable)"]) {
        peers.push(Peer { name: "Python", command: vec![python.into(), source("python.py")] });
    }
    for (name, file) in [("Go", "go"), ("POCO", "poco")] {
        if built(file).is_file() {
            peers.push(Peer { name, command: vec![built(file)] });
        }
    }
    peers
}

/// The first line that a program prints.
pub(crate) fn said(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned();
    output.status.success().then_some(text)
}

/// All servers, in the order of the first round.
pub(crate) fn servers(found: &[Peer]) -> Vec<Server> {
    let is_theirs = |case: &Case| !case.is_about_ways() && !case.is_of_a_protocol();
    let mut servers = crate::common::servers();
    let is_without_scale = |case: &Case| !case.is_about_ways() && !case.is_of_a_protocol() && !case.is_of_scale();
    for peer in found {
        let command = peer.command.iter().map(|part| part.clone().into_os_string()).collect();
        servers.push(Server { name: peer.name.into(), command, serves: is_without_scale });
    }
    servers.push(Server::own("tokio", &["serve", "tokio", "threads"], is_theirs));
    servers.push(Server::own("tokio, 1 thread", &["serve", "tokio", "one-thread"], is_theirs));
    servers.push(Server::own("splice by hand", &["serve", "splice"], |case| case.serve == Serve::Proxy));
    servers.extend(programs::servers());
    servers
}
