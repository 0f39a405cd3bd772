//! The page on reliability names only tests there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::docs_node::files;

/// The tests of a file as `module::name`.
fn tests_of(file: &Path) -> Vec<String> {
    let module = file.file_stem().expect("it has a name").to_string_lossy();
    let source = fs::read_to_string(file).expect("it is text");
    let marked = source.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
    marked.map(|(name, _)| format!("{module}::{name}")).collect()
}

/// Ensures that every test that docs/reliability.md names exists, that each of its thirty pitfalls has one or says why not, and
/// that what it says can be run is there.
#[test]
fn what_the_page_on_reliability_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files(&root.join("tests/it")).expect("there are tests");
    let tests: BTreeSet<String> = files.iter().flat_map(|file| tests_of(file)).collect();
    assert!(tests.len() > 400 && tests.contains("lines::a_step_that_timed_out_loses_nothing"), "the tests are read");
    let page = fs::read_to_string(root.join("docs/reliability.md")).expect("it is text");
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let of_tests = named.iter().filter(|name| name.split_once("::").is_some_and(|(module, _)| is_module(module)));
    let missing: Vec<_> = of_tests.clone().filter(|name| !tests.contains(**name)).collect();
    assert!(of_tests.count() > 80, "the page is read");
    assert_eq!(missing, Vec::<&&str>::new(), "these are named and do not exist");
    let missing: Vec<_> = named.iter().filter(|name| name.starts_with("tests/") || name.starts_with("src/")).collect();
    assert!(missing.iter().all(|file| root.join(file).exists()), "files that are named exist: {missing:?}");
    for command in ["fuzz/run", "loom/Cargo.toml"] {
        assert!(page.contains(command) && root.join(command).is_file(), "{command} is there");
    }

    let mut numbers = 1..;
    for row in page.lines().skip_while(|line| !line.starts_with("| | what breaks")).skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells[0].parse().ok(), numbers.next(), "the rows are numbered: {row}");
        let reason = cells[3].strip_prefix("none: ").is_some_and(|why| !why.is_empty());
        assert!(reason || cells[3].starts_with('`'), "a row has a test or a reason: {row}");
    }
    assert_eq!(numbers.next(), Some(31), "all rows are read");
}

/// Whether it is spelt as a file of tests is, unlike a type.
fn is_module(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
}
