//! What the pages point at is there: functions, files, other pages and their headings.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::pages::{read, root, written};

/// README, CONTRIBUTING and every page of docs/, those in its folders included.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/lessons", "docs/zh"] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        let paths = entries.map(|entry| entry.expect("a file").path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages.sort();
    pages
}

/// What a page says to be in which file: `` `name` in `src/…` ``, in Chinese `` `name`（`src/…`） ``.
fn placed(page: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = page.split('`').collect();
    let between = |piece: &str| matches!(piece, " in " | "（");
    let triples =
        pieces.windows(3).skip(1).step_by(2).filter(|triple| between(triple[1]) && triple[2].ends_with(".rs"));
    triples.map(|triple| (triple[0], triple[2])).collect()
}

/// Whether a source file has the function, type or constant; `Type::name` in an `impl` of the type, or its variant.
fn has(source: &str, name: &str) -> bool {
    let word = |text: &str, word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
        })
    };
    let (owner, name) = name.rsplit_once("::").map_or((None, name), |(owner, name)| (Some(owner), name));
    let of_owner = owner.is_none_or(|owner| {
        source.lines().any(|line| (line.starts_with("impl") || line.contains("enum ")) && word(line, owner))
    });
    let kinds = ["fn", "struct", "enum", "const", "trait", "type", "static", "mod"];
    let is_item = kinds.iter().any(|kind| word(source, &format!("{kind} {name}")));
    let is_variant = owner.is_some() && source.lines().any(|line| line.trim_start().starts_with(name));
    of_owner && (is_item || is_variant)
}

/// Where a page's links and pictures lead, as file and heading. Those on other sites are left out.
fn links(page: &str) -> Vec<(&str, &str)> {
    let inline = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = page.lines().filter(|line| line.starts_with('[')).filter_map(|line| Some(line.split_once("]: ")?.1));
    let ours = inline.chain(defined).filter(|target| !target.contains("://"));
    ours.map(|target| target.split_once('#').unwrap_or((target, ""))).collect()
}

/// The names that a page's headings have in links.
fn headings(page: &str) -> Vec<String> {
    let mut is_code = false;
    let lines = page.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let named = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "-_".contains(c) => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    lines.map(|line| line.trim_start_matches('#').trim().chars().filter_map(named).collect()).collect()
}

/// Whether a link leads to a file that is there and to one of its headings. A link on a page of docs/ stays in docs/, since
/// the book has nothing else.
fn leads(from: &Path, file: &str, heading: &str) -> bool {
    let target = if file.is_empty() { from.to_owned() } else { from.with_file_name(file) };
    let Ok(target) = target.canonicalize() else {
        return false;
    };
    let docs = root().join("docs").canonicalize().expect("the folder is there");
    let is_inside = !from.starts_with(root().join("docs")) || target.starts_with(docs);
    is_inside && (heading.is_empty() || headings(&read(&target)).iter().any(|named| named == heading))
}

/// Ensures that the book's table of contents lists every page of docs/ once.
#[test]
fn the_book_has_every_page() {
    let docs = root().join("docs");
    let contents = read(&docs.join("SUMMARY.md"));
    for page in pages().iter().filter(|page| page.starts_with(&docs) && !page.ends_with("SUMMARY.md")) {
        let name = written(page.strip_prefix(&docs).expect("it is there"));
        assert_eq!(contents.matches(&format!("]({name})")).count(), 1, "docs/SUMMARY.md lists each page once: {name}");
    }
}

/// Ensures that every function and file that the pages name exists, and every page, heading and picture they link to.
#[test]
fn what_the_pages_point_at_is_there() {
    let known =
        "impl Socket {\n    pub fn read(&self) {\npub enum Outcome {\n    Finished,\nconst LINGER_BYTES: u8 = 1;\n";
    for (name, is) in
        [("Socket::read", true), ("Outcome::Finished", true), ("LINGER_BYTES", true), ("Socket::rea", false)]
    {
        assert_eq!(has(known, name), is, "the reader of sources can tell: {name}");
    }
    assert!(!has(known, "Server::read") && !has(known, "LINGER"), "it reads whole words, and whose they are");

    let known = "[a](b.md#c) ![d](e.svg) [f][g]\n\n[g]: h.md\n\n## `A`, b_c (d)\n\n```\n# no\n```\n";
    assert_eq!(links(known), [("b.md", "c"), ("e.svg", ""), ("h.md", "")], "the reader of pages finds every link");
    assert_eq!(headings(known), ["a-b_c-d"], "it names headings as their pages do, and reads no code");

    let (mut names, mut wrong) = (0, Vec::new());
    for path in pages() {
        let page = read(&path);
        let shown = path.strip_prefix(root()).expect("it is ours").display().to_string();
        for (name, file) in placed(&page) {
            names += 1;
            let source = root().join(file);
            if !source.is_file() || !has(&read(&source), name.trim_end_matches("()")) {
                wrong.push(format!("{shown}: {name} in {file}"));
            }
        }
        let files =
            page.split('`').skip(1).step_by(2).filter(|text| text.starts_with("src/") || text.starts_with("examples/"));
        // The reader's own program is another matter.
        wrong.extend(
            files
                .filter(|file| *file != "src/main.rs" && !root().join(file).exists())
                .map(|file| format!("{shown}: {file}")),
        );
        let lost = links(&page).into_iter().filter(|(file, heading)| !leads(&path, file, heading));
        wrong.extend(lost.map(|(file, heading)| format!("{shown}: link to {file}#{heading}")));
    }
    assert!(names > 80, "the pages name what they show: {names}");
    assert_eq!(wrong, Vec::<String>::new(), "these are pointed at and are not there");
}
