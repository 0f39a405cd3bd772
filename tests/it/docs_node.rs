//! The page for those who come from Node names only what there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Every Rust file of a folder and the folders in it.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The word a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// What is public in a source file: its types and functions, and `Type::name` for their methods, constants and variants. As
/// far as rustfmt's layout tells.
fn public_names(source: &str, prefix: &str, names: &mut BTreeSet<String>) {
    let mut owner = None;
    for line in source.lines() {
        let code = line.trim_start();
        let depth = line.len() - code.len();
        if depth == 0 {
            if let Some(rest) = code.strip_prefix("impl") {
                // `impl<T> Trait for Type<T>`: the generics of the impl stand before a space.
                let rest =
                    if rest.starts_with('<') { rest.split_once("> ").map_or("", |(_, rest)| rest) } else { rest };
                let of = rest.split_once(" for ").map_or(rest, |(_, of)| of).trim_start();
                owner = Some(word(of).to_owned());
            }
            for kind in ["pub struct ", "pub enum ", "pub fn ", "pub trait ", "pub type "] {
                if let Some(rest) = code.strip_prefix(kind) {
                    names.insert(format!("{prefix}{}", word(rest)));
                    owner = Some(word(rest).to_owned());
                }
            }
        } else if let (4, Some(owner)) = (depth, &owner) {
            let member = code.strip_prefix("pub fn ").or_else(|| code.strip_prefix("pub const "));
            let variant = Some(code).filter(|code| code.starts_with(|c: char| c.is_ascii_uppercase()));
            if let Some(name) = member.or(variant) {
                names.insert(format!("{prefix}{owner}::{}", word(name)));
            }
        }
    }
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The rows of the page's tables: the cells of each.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let rows = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| !cells[0].starts_with("Node")).collect()
}

/// Ensures that every landline name and every test that docs/node.md names exists, and that a row says one or the other.
#[test]
fn what_the_page_for_node_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(path).expect("it is text");
    let (mut names, mut tests) = (BTreeSet::new(), BTreeSet::new());
    for file in files(&root.join("src")).expect("there are sources") {
        let in_dgram = file.parent().is_some_and(|parent| parent.ends_with("dgram"));
        public_names(&read(&file), if in_dgram { "dgram::" } else { "" }, &mut names);
    }
    for file in files(&root.join("tests/it")).expect("there are tests") {
        let module = file.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let source = read(&file);
        let marked = source.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn "));
        tests.extend(marked.map(|(_, rest)| format!("{module}::{}", word(rest))));
    }
    let page = read(&root.join("docs/node.md"));
    let rows = rows(&page);
    assert!(rows.len() > 60, "the page is read: {} rows", rows.len());
    let mut wrong = Vec::new();
    for cells in &rows {
        let (ours, proofs) = if cells.len() > 2 { (cells[1], cells[2]) } else { ("", cells[1]) };
        wrong.extend(quoted(ours).filter(|name| !names.contains(*name)).map(str::to_owned));
        wrong.extend(quoted(proofs).filter(|test| !tests.contains(*test)).map(str::to_owned));
        if let Some((_, why)) = ours.split_once("not here:") {
            let count = why.split_whitespace().count();
            assert!((2..=5).contains(&count), "why it is left out, in five words: {why}");
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "these are named and do not exist");
    // The reader of the sources sees what is known to be there, and no more.
    for (name, is) in [("Server::close", true), ("SocketEvent::Data", true), ("relay", true), ("Server::clsoe", false)]
    {
        assert_eq!(names.contains(name), is, "{name}");
    }
}
