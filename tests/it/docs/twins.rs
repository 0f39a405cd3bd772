//! The page that counts the lines of examples and of their twins counts right.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::pages::{code_lines, sources};

/// Ensures that each row of the table has the numbers of lines that there are, that every twin is in it, and that every other
/// example is named on the page.
#[test]
fn the_table_of_twins_counts_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/twins.md");
    let page = fs::read_to_string(page).expect("the page can be read");
    let sources = sources();
    let count = |name: &str| {
        let path = sources.get(name).unwrap_or_else(|| panic!("{name} is an example"));
        code_lines(&fs::read_to_string(path).expect("an example can be read"))
    };
    let mut twins = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let ["", ours, our_lines, std, std_lines, lacks, ""] = *cells else { panic!("a row has five cells: {row}") };
        assert_eq!(our_lines, count(ours).to_string(), "the lines of {ours}");
        assert_eq!(std_lines, count(std).to_string(), "the lines of {std}");
        assert!(!lacks.is_empty(), "{std} lacks something");
        twins.insert(std.to_owned());
    }
    let all: BTreeSet<_> = sources.keys().filter(|name| name.ends_with("_std")).cloned().collect();
    assert_eq!(twins, all, "every twin is in the table");
    for name in sources.keys() {
        assert!(page.contains(&format!("`{name}`")), "the page says why there is a twin of {name}, or none");
    }
}
