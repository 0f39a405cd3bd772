//! The page of reference says what the source does: codes, kinds, intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::pages::{files, public_names, quoted, read, root, word, written};

/// The cells of the rows of one section, without its heading.
fn rows(page: &str, section: &str) -> Vec<Vec<String>> {
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("it has {section}"));
    let section = rest.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::to_owned).collect()).collect()
}

fn page() -> String {
    read(&root().join("docs/reference.md"))
}

/// The code of each file of src, its tests and comments left out.
fn sources() -> BTreeMap<String, String> {
    let all = files(&root().join("src")).expect("there are sources");
    let names = all.into_iter().map(|file| {
        let name = written(file.strip_prefix(root()).expect("it is in the project"));
        (name, read(&file))
    });
    let code = |source: String| {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    };
    names.filter(|(name, _)| !name.ends_with("tests.rs")).map(|(name, source)| (name, code(source))).collect()
}

/// Whether a text is one of the library's own codes.
fn is_own(text: &str) -> bool {
    text == "ABORT_ERR"
        || text.strip_prefix("ERR_").is_some_and(|rest| rest.chars().all(|c| c == '_' || c.is_ascii_uppercase()))
}

/// Each code of the library's own in a source, with the kinds that it is made with next to it.
fn codes(source: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let pieces: Vec<&str> = source.split('"').collect();
    for (at, code) in pieces.iter().enumerate().filter(|(_, piece)| is_own(piece)) {
        let before = pieces[at - 1].trim_end();
        let kinds = found.entry(*code).or_default();
        if before.ends_with("invalid(") {
            kinds.insert("InvalidInput");
        } else if let Some((_, kind)) = before.trim_end_matches(',').rsplit_once("ErrorKind::") {
            // The last word before the code, as in `Error::fixed(io::ErrorKind::TimedOut, "ERR_…"`.
            if kind.chars().all(char::is_alphanumeric) {
                kinds.insert(kind);
            }
        }
    }
    found
}

/// Ensures that the page has each code of the library's own and no other, with the kinds it is made with.
#[test]
fn each_code_has_a_row_with_its_kind() {
    let known =
        "Error::invalid(\"ERR_ONE\", text); Error::fixed(\n    io::ErrorKind::TimedOut,\n    \"ERR_TWO\", text)";
    let read = codes(known).into_iter().map(|(code, kinds)| (code, kinds.into_iter().collect::<Vec<_>>()));
    let right = [("ERR_ONE", vec!["InvalidInput"]), ("ERR_TWO", vec!["TimedOut"])];
    assert_eq!(read.collect::<Vec<_>>(), right, "the reader of sources can read");

    let sources = sources();
    let mut made: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources.values() {
        for (code, kinds) in codes(source) {
            made.entry(code).or_default().extend(kinds);
        }
    }
    assert!(made.len() > 25, "the codes are read: {}", made.len());
    let page = page();
    let rows = rows(&page, "Error codes");
    let own: BTreeMap<_, _> = rows
        .iter()
        .filter_map(|cells| {
            assert_eq!(cells.len(), 4, "a row has four cells: {cells:?}");
            let code = quoted(&cells[0]).next()?;
            is_own(code).then(|| (code, quoted(&cells[1]).collect::<BTreeSet<_>>()))
        })
        .collect();
    let names = |map: &BTreeMap<&str, BTreeSet<&str>>| map.keys().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&own), names(&made), "the page has the codes that the source has");
    for (code, kinds) in made {
        // Made in a way that this does not read: by a constant, or of the kind of another error.
        if !kinds.is_empty() {
            assert_eq!(own[code], kinds, "the kinds of {code}");
        }
    }
}

/// The times in a text: `2 ms to 16 ms` are two.
fn times(text: &str) -> Vec<Duration> {
    let words: Vec<&str> = text.split([' ', ',']).collect();
    let pairs = words.windows(2).filter_map(|pair| Some((pair[0].parse::<u64>().ok()?, pair[1])));
    let time = |(n, unit)| match unit {
        "µs" => Some(Duration::from_micros(n)),
        "ms" => Some(Duration::from_millis(n)),
        "s" => Some(Duration::from_secs(n)),
        _ => None,
    };
    pairs.filter_map(time).collect()
}

/// The times that a source makes of a number.
fn made(source: &str) -> Vec<Duration> {
    let mut found = Vec::new();
    for (unit, scale) in [("micros", 1_000), ("millis", 1_000_000), ("secs", 1_000_000_000)] {
        for piece in source.split(&format!("Duration::from_{unit}(")).skip(1) {
            let number = piece.split(')').next().unwrap_or_default().replace('_', "");
            let factors: Option<Vec<u64>> = number.split('*').map(|factor| factor.trim().parse().ok()).collect();
            found.extend(factors.map(|all| Duration::from_nanos(all.into_iter().product::<u64>() * scale)));
        }
    }
    found
}

/// Ensures that the page has each time that is a number in the source, beside the file it is in, and no other.
#[test]
fn each_interval_of_the_source_has_a_row() {
    let known = "Duration::from_millis(1_500), Duration::from_secs(24 * 60), Duration::from_millis(n), from_nanos(1)";
    assert_eq!(made(known), [Duration::from_millis(1500), Duration::from_secs(1440)], "the reader can read");
    assert_eq!(times("2 ms to 16 ms, 7 times").len(), 2, "and so can that of the page");

    let sources = sources();
    let in_source: BTreeSet<_> = sources
        .iter()
        .flat_map(|(file, source)| made(source).into_iter().map(move |time| (file.clone(), time)))
        .collect();
    assert!(in_source.len() > 40, "the intervals are read: {}", in_source.len());
    let page = page();
    let mut on_page = BTreeSet::new();
    for cells in rows(&page, "Fixed intervals").iter().filter(|cells| cells[0] != "what") {
        let [what, long, _, place] = &cells[..] else { panic!("a row has four cells: {cells:?}") };
        let (times, file) = (times(long), quoted(place).last().expect("it names a file").to_owned());
        assert!(!times.is_empty(), "{what}: {long} is a time");
        on_page.extend(times.into_iter().map(|time| (file.clone(), time)));
    }
    let missing: Vec<_> = in_source.difference(&on_page).collect();
    assert_eq!(missing, Vec::<&(String, Duration)>::new(), "the page lacks these times of the source");
    let gone: Vec<_> = on_page.difference(&in_source).collect();
    assert_eq!(gone, Vec::<&(String, Duration)>::new(), "the source has no such times");
}

/// How the documentation of a call says that it blocks.
const BLOCKS: [&str; 6] = ["Blocks until", "Blocks for", "Blocks while", "Blocks as", "Waits until", "Waits for"];

/// The public functions whose documentation says that they block, as the page names them.
fn blocking() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files(&root().join("src")).expect("there are sources") {
        let module = if file.components().any(|part| part.as_os_str() == "dgram") { "dgram::" } else { "" };
        let (mut owner, mut text) = (String::new(), String::new());
        for line in read(&file).lines() {
            if let Some(of) = line.strip_prefix("impl") {
                // Of `impl<T> Events<T> {` the name.
                let of = of.strip_prefix('<').and_then(|rest| rest.split_once("> ")).map_or(of, |(_, of)| of);
                owner = format!("{module}{}::", word(of.trim_start()));
            }
            let code = line.trim_start();
            match (code.strip_prefix("///"), code.strip_prefix("pub fn ")) {
                (Some(comment), _) => text += comment,
                (None, Some(function)) => {
                    let owner = if code == line { "" } else { &owner };
                    if BLOCKS.iter().any(|words| text.contains(words)) {
                        found.insert(format!("{owner}{}", word(function)));
                    }
                    text.clear();
                }
                _ if code.starts_with("#[") => {}
                _ => text.clear(),
            }
        }
    }
    found
}

/// Ensures that the page has each call whose documentation says that it blocks, and names no call that there is not.
#[test]
fn each_call_that_blocks_has_a_row() {
    let page = page();
    let rows = rows(&page, "What blocks, and what wakes it");
    let named: BTreeSet<String> = rows.iter().flat_map(|cells| quoted(&cells[0])).map(str::to_owned).collect();
    let blocking = blocking();
    assert!(blocking.len() > 15, "the documentation is read: {blocking:?}");
    let missing: Vec<_> = blocking.difference(&named).collect();
    assert_eq!(missing, Vec::<&String>::new(), "these block by their documentation and have no row");
    let public = public_names();
    let gone: Vec<_> = named.iter().filter(|name| *name != "Write" && !public.contains(*name)).collect();
    assert_eq!(gone, Vec::<&String>::new(), "the page names these, and they are no calls");
}
