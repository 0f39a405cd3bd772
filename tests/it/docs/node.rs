//! The page for those who come from Node names only what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::pages::{files, is_test, public_names, quoted, tests};

/// The rows of the page's tables: the cells of each.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let rows = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| !cells[0].starts_with("Node")).collect()
}

/// What the text says of how many rows of its section have a counterpart, and how many rows there are in all: what is
/// stated, and what is so.
fn counts(page: &str) -> Vec<([usize; 2], [usize; 2])> {
    let level = |line: &str| Some(line.bytes().take_while(|b| *b == b'#').count()).filter(|level| *level > 0);
    let lines: Vec<&str> = page.lines().collect();
    let mut counts = Vec::new();
    let mut depth = 0;
    for (i, line) in lines.iter().enumerate() {
        depth = level(line).unwrap_or(depth);
        let Some((before, _)) = line.split_once(" have a counterpart") else { continue };
        let mut words = before.rsplit(' ');
        let [all, "of", with] = [(); 3].map(|()| words.next().unwrap_or_default()) else { panic!("{line}") };
        let stated = [with, all].map(|number| number.parse().expect("it is a number"));
        let section = lines[i + 1..].iter().take_while(|line| level(line).is_none_or(|level| level > depth));
        let section = section.copied().collect::<Vec<_>>().join("\n");
        let rows = rows(&section);
        counts.push((stated, [rows.iter().filter(|cells| !cells[1].starts_with("none:")).count(), rows.len()]));
    }
    counts
}

/// Ensures that every landline name, every file and every test that docs/node.md names exists, that each row has a test or
/// says why there is none, and that the stated numbers of rows are right.
#[test]
fn what_the_page_for_node_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(path).expect("it is text");
    let (names, tests) = (public_names(), tests());
    let page = read(&root.join("docs/node.md"));
    let exists = |name: &str| names.contains(name) || name.starts_with("examples/") && root.join(name).is_file();
    let rows = rows(&page);
    let of_dgram = rows.iter().filter(|cells| cells[1].contains("`dgram::")).count();
    assert!(rows.len() > 200 && of_dgram > 30, "the page is read: {} rows, {of_dgram} of dgram", rows.len());
    let mut wrong = Vec::new();
    for cells in &rows {
        let (ours, proofs) = if cells.len() > 2 { (cells[1], cells[2]) } else { ("", cells[1]) };
        wrong.extend(quoted(ours).filter(|name| !exists(name)).map(str::to_owned));
        wrong.extend(quoted(proofs).filter(|test| !tests.contains(*test)).map(str::to_owned));
        let why = ours.split_once("not here:").or_else(|| proofs.split_once("none:"));
        if let Some((_, why)) = why {
            let count = why.split_whitespace().count();
            assert!((2..=5).contains(&count), "why it is left out, in five words: {why}");
        }
        assert!(why.is_some() || quoted(proofs).next().is_some(), "a row has a proof or a reason: {cells:?}");
    }
    let text = page.lines().filter(|line| !line.starts_with('|')).flat_map(quoted);
    let named = text.filter(|name| name.contains("::") && name.contains(char::is_uppercase));
    wrong.extend(named.filter(|name| !exists(name)).map(str::to_owned));
    assert_eq!(wrong, Vec::<String>::new(), "these are named and do not exist");
    let counts = counts(&page);
    assert_eq!(counts.len(), 3, "net, dgram, and both: {counts:?}");
    for (stated, is) in counts {
        assert_eq!(stated, is, "how many rows have a counterpart, and of how many");
    }
    // The reader of the list sees what is known to be there, and no more.
    let known = [("Server::close", true), ("SocketEvent::Data", true), ("relay", true), ("Server::clsoe", false)];
    let of_dgram = [("dgram::Socket::lost", true), ("dgram::Interface::ANY", true), ("dgram::Server::close", false)];
    for (name, is) in known.into_iter().chain(of_dgram) {
        assert_eq!(names.contains(name), is, "{name}");
    }
}

/// The names in a text of Node's: of `server[Symbol.asyncIterator]()` the last part.
fn names_of_node(text: &str) -> impl Iterator<Item = &str> {
    let bare = text.split(['(', '[']).next().unwrap_or_default();
    let parts = bare.split(['/', ' ']).filter(|part| !["get", "net", "new"].contains(part));
    parts.filter_map(|part| part.rsplit('.').next()).filter(|name| !name.is_empty())
}

/// Ensures that the search of the documentation finds what Node's name stands for: each name with a counterpart is ours too,
/// but for capitals and underscores, which the search does not mind, or it is an alias of one of ours.
#[test]
fn every_name_of_nodes_is_found_by_a_search() {
    // Not names of anything, so nobody searches for them: a module all of whose calls are ours, and two parameters.
    const WORDS: [&str; 3] = ["promises", "offset", "length"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut aliases = BTreeSet::new();
    for file in files(&root.join("src")).expect("there are sources") {
        let source = fs::read_to_string(file).expect("it is text");
        for attribute in source.split("#[doc(alias").skip(1).filter_map(|rest| rest.split(")]").next()) {
            aliases.extend(attribute.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let names: BTreeSet<_> = public_names().iter().filter_map(|name| name.rsplit("::").next()).map(plain).collect();
    let page = fs::read_to_string(root.join("docs/node.md")).expect("it is text");
    let page = page.split("\n## Where we differ").next().expect("a text has a beginning");
    let (mut all, mut missing) = (0, Vec::new());
    for cells in rows(page).iter().filter(|cells| cells.len() > 2 && !cells[1].starts_with("not here")) {
        for name in quoted(cells[0]).flat_map(names_of_node).filter(|name| !WORDS.contains(name)) {
            all += 1;
            let is_left_out = cells[1].contains(&format!("{name} not here"));
            if !is_left_out && !names.contains(&plain(name)) && !aliases.contains(name) {
                missing.push(name);
            }
        }
    }
    assert!(all > 150, "the page is read: {all} names");
    assert_eq!(missing, Vec::<&str>::new(), "nobody who searches for these finds what they are called here");
}

/// Ensures that the Chinese page has the English one's rows and differences, with the same names. It leaves out which tests
/// prove a row, and the list of Node's own tests.
#[test]
fn the_chinese_page_names_the_same() {
    let page = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("it is text");
    let (english, chinese) = (page("docs/node.md"), page("docs/zh/node.md"));
    let english = english.split("\n## Node's own tests").next().expect("a text has a beginning");
    let sorted = |text: &str| {
        let mut names: Vec<_> = quoted(text).map(str::to_owned).collect();
        names.sort();
        names
    };
    let named = |page| rows(page).iter().map(|cells| [sorted(cells[0]), sorted(cells[1])]).collect::<Vec<_>>();
    assert!(named(english).len() > 100, "the page is read");
    for (theirs, ours) in named(&chinese).iter().zip(named(english)) {
        assert_eq!(*theirs, ours, "a row of the Chinese page has the names of the English one");
    }
    assert_eq!(named(&chinese).len(), named(english).len(), "as many rows");
    let differences = |page: &str| {
        let lines = page.lines().filter(|line| line.starts_with("- "));
        lines.map(|line| sorted(line).into_iter().filter(|name| name.contains("::")).collect()).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(differences(&chinese), differences(english), "the same differences, which name the same");
}

/// Ensures that each test that a page of docs/ names exists.
#[test]
fn the_tests_that_the_pages_name_exist() {
    let tests = tests();
    let (mut all, mut missing) = (0, Vec::new());
    for page in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).expect("there are docs") {
        let page = page.expect("it can be listed").path();
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).expect("it is text");
        for name in quoted(&text).filter(|name| is_test(name)) {
            all += 1;
            if !tests.contains(name) {
                missing.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(all > 200, "the pages are read: {all} names");
    assert_eq!(missing, Vec::<String>::new(), "these are named and do not exist");
}
