//! The pages of docs/, the examples and the sources, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What stands between two lines of three backticks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A relative path as pages write it, on Windows too.
pub(crate) fn written(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{} is text: {error}", path.display()))
}

/// The lessons of a folder, in order.
pub(crate) fn lessons(folder: &str) -> Vec<PathBuf> {
    let found =
        fs::read_dir(root().join(folder)).expect("the folder is there").map(|entry| entry.expect("a file").path());
    let is_lesson = |path: &PathBuf| {
        let name = path.file_name().expect("it has a name").to_string_lossy();
        name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".md")
    };
    let mut found: Vec<_> = found.filter(is_lesson).collect();
    found.sort();
    found
}

pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some(Block { kind: kind.into(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "every block ends");
    blocks
}

/// Every Rust file of a folder and the folders in it.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
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

/// The source file of each example, by name. Crates and larger examples are in folders.
pub(crate) fn sources() -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(root().join("examples")).expect("there are examples");
    let found = entries.map(|entry| entry.expect("a folder can be read").path()).filter_map(|path| {
        let name = path.file_stem()?.to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "rs") {
            return Some((name, path));
        }
        ["main.rs", "src/main.rs", "src/lib.rs"]
            .map(|file| path.join(file))
            .into_iter()
            .find(|file| file.is_file())
            .map(|file| (name, file))
    });
    // docs/recipes.md's code is not a program.
    found.filter(|(name, _)| name != "recipes").collect()
}

/// How many lines of code there are, without comments and empty lines.
pub(crate) fn code_lines(source: &str) -> usize {
    source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// What stands in backticks.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The first word of a text.
pub(crate) fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The public names of docs/public-api.txt, as pages write them, such as `relay`, `Server::close` and
/// `dgram::Socket::lost`. The crate's name is left out, and that of `net`.
pub(crate) fn public_names() -> BTreeSet<String> {
    let list = read(&root().join("docs/public-api.txt"));
    let items =
        list.lines().filter_map(|line| line.strip_prefix("#[non_exhaustive] ").unwrap_or(line).strip_prefix("pub "));
    let paths = items.filter_map(|item| Some(&item[item.find("landline::")? + "landline::".len()..]));
    let names = paths.map(|path| {
        let mut name = word(path).to_owned();
        let mut rest = &path[name.len()..];
        loop {
            // The generics of `Events<T>::recv` are left out.
            let after = if rest.starts_with('<') { rest.split_once('>').map_or("", |(_, after)| after) } else { rest };
            let Some(next) = after.strip_prefix("::") else { break name };
            name = format!("{name}::{}", word(next));
            rest = &next[word(next).len()..];
        }
    });
    names.map(|name| name.strip_prefix("net::").map_or(name.clone(), str::to_owned)).collect()
}

/// The tests there are, as `folder::file::name`, from the folders of `tests/it`.
pub(crate) fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in files(&root().join("tests/it")).expect("there are tests") {
        let mut path = file.components().rev().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let (file_name, folder) = (path.next().expect("it is a file"), path.next().expect("it is in a folder"));
        let module = file_name.trim_end_matches(".rs");
        let source = read(&file);
        let marked = source.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
        tests.extend(marked.map(|(name, _)| format!("{folder}::{module}::{name}")));
    }
    tests
}

/// Whether a name is spelt as a test's is, `folder::file::name`.
pub(crate) fn is_test(name: &str) -> bool {
    let is_lower = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    name.split("::").count() == 3 && name.split("::").all(is_lower)
}
