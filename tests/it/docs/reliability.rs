//! The page on reliability names only tests there are.

use std::fs;
use std::path::Path;

use crate::support::pages::{is_test, quoted, tests};

/// Ensures that every test that docs/reliability.md names exists, that each of its thirty pitfalls has one or says why not, and
/// that what it says can be run is there.
#[test]
fn what_the_page_on_reliability_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = tests();
    assert!(
        tests.len() > 400 && tests.contains("socket::buffered::a_step_that_timed_out_loses_nothing"),
        "the tests are read"
    );
    let page = fs::read_to_string(root.join("docs/reliability.md")).expect("it is text");
    let named: Vec<&str> = quoted(&page).collect();
    let of_tests = named.iter().filter(|name| is_test(name));
    let missing: Vec<_> = of_tests.clone().filter(|name| !tests.contains(**name)).collect();
    assert!(of_tests.count() > 80, "the page is read");
    assert_eq!(missing, Vec::<&&str>::new(), "these are named and do not exist");
    let missing: Vec<_> = named.iter().filter(|name| name.starts_with("tests/") || name.starts_with("src/")).collect();
    assert!(missing.iter().all(|file| root.join(file).exists()), "files that are named exist: {missing:?}");
    for command in ["fuzz/run", "loom/Cargo.toml"] {
        assert!(page.contains(command) && root.join(command).is_file(), "{command} is there");
    }

    let mut numbers = 1..;
    for row in page
        .lines()
        .skip_while(|line| !line.starts_with("| | what breaks"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells[0].parse().ok(), numbers.next(), "the rows are numbered: {row}");
        let reason = cells[3].strip_prefix("none: ").is_some_and(|why| !why.is_empty());
        assert!(reason || cells[3].starts_with('`'), "a row has a test or a reason: {row}");
    }
    assert_eq!(numbers.next(), Some(31), "all rows are read");
}
