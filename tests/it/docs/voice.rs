//! The words and the punctuation of the pages and of the source's comments.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::pages::{files, read, root};

/// Words for persons, and for what only persons do. The texts are about clients, threads, sockets and programs.
const PERSONS: &[&str] =
    &["nobody", "somebody", "who", "whom", "whoever", "told of", "goes on", "go on", "has its turn", "is let in"];

/// The title of a lesson.
const TITLE: &str = "who says goodbye";

/// What was counted in some files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    words: usize,
    sentences: usize,
    /// Colons and semicolons.
    joints: usize,
    /// The places of `PERSONS`.
    persons: Vec<String>,
}

impl Counts {
    /// Counts one paragraph, list item or comment, which begins at `place`.
    fn add(&mut self, place: &str, text: &str) {
        // Code in backticks is one word, and the targets of links are none.
        let text: String = text.split('`').enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "X" }).collect();
        let mut parts = text.split("](");
        let first = parts.next().unwrap_or_default().to_owned();
        let text = parts.fold(first, |text, part| text + "]" + part.split_once(')').map_or("", |(_, rest)| rest));
        let mut parts = text.split("][");
        let first = parts.next().unwrap_or_default().to_owned();
        let text = parts.fold(first, |text, part| text + "]" + part.split_once(']').map_or("", |(_, rest)| rest));
        let words: Vec<&str> = text.split_whitespace().collect();
        let ending =
            |ends: &[char]| words.iter().filter(|word| word.trim_end_matches([')', '*']).ends_with(ends)).count();
        self.words += words.len();
        self.sentences += ending(&['.', '!', '?']).max(1);
        self.joints += ending(&[':', ';']);
        let plain = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
        let plain: String = text.chars().map(plain).collect();
        let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ").replace(TITLE, "");
        for person in PERSONS {
            let found = format!(" {plain} ").matches(&format!(" {person} ")).count();
            self.persons.extend((0..found).map(|_| format!("{place}: {person}")));
        }
    }

    /// Counts the paragraphs of a page, or of the comments of a source. Code, tables and headings are left out.
    fn add_file(&mut self, name: &str, text: &str) {
        let is_source = name.ends_with(".rs");
        let (mut paragraph, mut begin, mut is_code) = (String::new(), 0, false);
        for (at, line) in text.lines().chain([""]).enumerate() {
            let line = match (is_source, line.trim_start().strip_prefix("//")) {
                (true, Some(comment)) => comment.trim_start_matches(['/', '!']).trim(),
                (true, None) => "",
                (false, _) => line.trim(),
            };
            let is_fence = line.starts_with("```");
            is_code = is_code != is_fence;
            let is_target = line.starts_with('[') && line.contains("]: ");
            let is_prose =
                !is_code && !is_fence && !is_target && !line.is_empty() && !line.starts_with(['|', '#', '<']);
            let is_item = line.starts_with("- ") || line.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
            if (!is_prose || is_item) && !paragraph.is_empty() {
                self.add(&format!("{name}:{begin}"), &std::mem::take(&mut paragraph));
            }
            if is_prose {
                if paragraph.is_empty() {
                    begin = at + 1;
                }
                paragraph += &format!("{line} ");
            }
        }
    }

    fn of(paths: &[PathBuf]) -> Counts {
        let mut counts = Counts::default();
        for path in paths {
            let name = path.strip_prefix(root()).expect("it is in the project").display().to_string();
            counts.add_file(&name, &read(path));
        }
        counts
    }
}

/// The pages of a folder, and those in its folder of lessons.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let folders = [folder.to_owned(), folder.join("lessons")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("the folder can be read"));
    let paths = entries.map(|entry| entry.expect("a file").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Ensures that README, the pages and the comments of the source name clients, threads and programs, and not persons, in all
/// but one of 10,000 words, and that four sentences in ten have a colon or a semicolon at most.
#[test]
fn texts_name_things_and_make_one_claim_a_sentence() {
    let areas = [
        ("README", vec![root().join("README.md")]),
        ("docs", pages(&root().join("docs"))),
        ("src", files(&root().join("src")).expect("there are sources")),
    ];
    for (area, paths) in areas {
        let found = Counts::of(&paths);
        println!("{area}: {} words, {} sentences, {} joints", found.words, found.sentences, found.joints);
        assert!(found.words > 500, "{area} is read: {} words", found.words);
        let list = found.persons.join("\n");
        assert!(found.persons.len() * 10_000 <= found.words, "{area} names persons in these places:\n{list}");
        if found.joints * 10 > found.sentences * 4 {
            let mut worst: Vec<_> =
                paths.iter().map(|path| (Counts::of(std::slice::from_ref(path)).joints, path)).collect();
            worst.sort();
            panic!("{area} has too many colons and semicolons, most of them here: {:?}", worst.iter().rev().take(5));
        }
    }
}

/// Ensures that the reader counts prose, in pages and comments, and neither code nor tables nor links.
#[test]
fn prose_is_counted() {
    let mut counts = Counts::default();
    counts.add_file(
        "a.md",
        "# Who?\n\nOne: `a; b` [c](who.md), [two][who.md]\nwords. And who\ngoes on?\n\n[who.md]: who.md\n\n```\nwho: x;\n```\n| who; |\n- x\n- y\n",
    );
    let persons = vec!["a.md:3: who".to_owned(), "a.md:3: goes on".to_owned()];
    assert_eq!(counts, Counts { words: 13, sentences: 4, joints: 1, persons });
    let mut counts = Counts::default();
    counts.add_file("a.rs", "/// Nobody\n/// here;\nlet who = 1; // who\n    // Two.\n");
    assert_eq!(counts, Counts { words: 3, sentences: 2, joints: 1, persons: vec!["a.rs:1: nobody".to_owned()] });
}
