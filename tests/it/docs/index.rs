//! What the pages for learners point at is there: functions, files, other pages.

use std::path::{Path, PathBuf};

use crate::support::pages::{lessons, read, root};

/// The pages of docs/, README, and the lessons in both languages.
fn pages() -> Vec<PathBuf> {
    let single = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/index.md",
        "docs/design.md",
        "docs/defaults.md",
        "docs/reference.md",
        "docs/stability.md",
        "docs/std.md",
        "docs/recipes.md",
        "docs/embedding.md",
        "docs/reliability.md",
        "docs/twins.md",
        "docs/node.md",
        "docs/tour.md",
        "docs/wishes.md",
        "docs/others.md",
        "docs/lessons/README.md",
        "docs/zh/README.md",
        "docs/zh/landline.md",
        "docs/zh/node.md",
    ];
    let mut pages: Vec<_> = single.iter().map(|page| root().join(page)).collect();
    pages.extend(["docs/lessons", "docs/zh"].into_iter().flat_map(lessons));
    pages
}

/// What a page says to be in which file: `` `name` in `src/…` ``, in Chinese `` `name`（`src/…`） ``.
fn placed(page: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = page.split('`').collect();
    let between = |piece: &str| matches!(piece, " in " | "（");
    let is_file = |piece: &str| piece.ends_with(".rs");
    let triples = pieces.windows(3).skip(1).step_by(2).filter(|triple| between(triple[1]) && is_file(triple[2]));
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

/// Where a page's links lead, those to other sites left out.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// Ensures that every function and file that the pages name exists, and every page they link to.
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
        let folder = path.parent().unwrap_or(Path::new(""));
        let lost = links(&page).into_iter().filter(|target| !folder.join(target).exists());
        wrong.extend(lost.map(|target| format!("{shown}: link to {target}")));
    }
    assert!(names > 80, "the pages name what they show: {names}");
    assert_eq!(wrong, Vec::<String>::new(), "these are pointed at and are not there");
}
