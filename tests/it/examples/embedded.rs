//! What is embedded elsewhere: the recipes with other people's crates, a server inside a C program, and the table of sizes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::headers::{building_nested, is_built, nested_target};
use crate::support::process::{Program, Server};
use crate::support::{HANG, has_proc, tool};

/// Ensures that the recipes with foreign crates compile and run.
#[test]
fn recipes_with_foreign_crates_run() {
    if !is_built("recipes") {
        return;
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes/Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["test", "--quiet", "--locked", "--doc", "--manifest-path"]).arg(manifest);
    let output = building_nested(&mut cargo).output().expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let recipes = include_str!("../../../docs/recipes.md").lines().filter(|line| line.starts_with("```r")).count();
    assert!(recipes >= 6, "there are recipes: {recipes}");
    assert!(output.status.success(), "every recipe runs: {said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("{recipes} passed")), "each of the {recipes} is run: {said}");
}

/// Ensures that a C program with SIGPIPE at its default survives clients that are gone before their answer, in the middle of
/// it, and goes on to serve, and that its server stops when it is told.
#[test]
fn a_c_program_survives_clients_that_are_gone() {
    if ["cc", "make"].into_iter().any(|name| tool(name).is_none()) || !is_built("c_host") {
        return;
    }
    let program = Program::start(nested_target().join("debug/c_host"), &["0"]);
    let address = program.line().strip_prefix("listening on ").and_then(|at| at.parse().ok()).expect("it says where");
    let mut host = Server { program, address };
    let connect = || {
        let client = TcpStream::connect(host.address).expect("the host listens");
        client.set_read_timeout(Some(HANG)).expect("it can be set");
        client
    };
    for _ in 0..50 {
        let mut client = connect();
        client.set_write_timeout(Some(HANG)).and_then(|()| client.write_all(&[b'x'; 256 * 1024])).expect("it is read");
        drop(client); // with its answers unread: a reset, and then a write to nobody
    }
    let mut client = connect();
    let mut answer = [0; 5];
    client.write_all(b"hello").and_then(|()| client.read_exact(&mut answer)).expect("the host lives");
    assert_eq!(&answer, b"hello", "and echoes");
    host.program.type_in("\n");
    assert_eq!(host.program.line_with("stopped"), "stopped, still running: 0", "it stops in order");
    assert!(host.program.status().success(), "it was not a signal that ended it");
    let signals = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c_host/host.c"));
    assert!(!signals.expect("the host can be read").contains("signal("), "the host does nothing about SIGPIPE");
}

/// Ensures that the page's crate count is the library's.
#[test]
fn the_crate_count_of_the_recipes_is_right() {
    if !has_proc() {
        return;
    }
    let page = include_str!("../../../docs/recipes.md");
    let row = page.lines().find(|line| line.starts_with("| `echo` |")).expect("the table has a row for echo");
    let stated = row.split('|').nth(2).expect("it has a count").trim();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let crates: std::collections::BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(stated, crates.len().to_string(), "{crates:?}");
}
