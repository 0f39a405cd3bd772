//! The page on what is stable is right about what can be read: `#[non_exhaustive]`, dependencies, thread names, Rust.

use std::collections::BTreeSet;

use crate::support::pages::{files, quoted, read, root};

/// The cells of a row of the page.
fn row(what: &str) -> [String; 2] {
    let page = read(&root().join("docs/stability.md"));
    let found = page.lines().find_map(|line| line.strip_prefix(&format!("| {what} | "))?.strip_suffix(" |"));
    let cells = found.unwrap_or_else(|| panic!("the page has a row on {what}")).split(" | ");
    cells.map(str::to_owned).collect::<Vec<_>>().try_into().expect("a row has three cells")
}

/// Ensures that enums and structs with public fields are what the page says: open for more, but for the variant it names.
#[test]
fn what_may_grow_is_non_exhaustive() {
    let api = read(&root().join("docs/public-api.txt"));
    let (mut open, mut enums, mut with_fields) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in api.lines() {
        let bare = line.strip_prefix("#[non_exhaustive] ");
        let Some(item) = bare.unwrap_or(line).strip_prefix("pub ") else { continue };
        let path = item.strip_prefix("enum ").or(item.strip_prefix("struct ")).unwrap_or(item);
        // Of `landline::net::SocketEvent<D>` what stands before the generics.
        let name = path.split(['<', '(']).next().unwrap_or(path);
        if bare.is_some() {
            open.insert(name.to_owned());
        }
        if item.starts_with("enum ") {
            enums.insert(name.to_owned());
        } else if let Some((owner, _)) = item.split_once(": ").and_then(|(field, _)| field.rsplit_once("::")) {
            // A function or a constant begins with another word.
            with_fields.extend(owner.starts_with("landline::").then(|| owner.to_owned()));
        }
    }
    assert!(enums.len() > 8 && with_fields.len() > 15, "the list is read: {enums:?} {with_fields:?}");
    let closed: Vec<_> = enums.union(&with_fields).filter(|name| !open.contains(*name)).collect();
    assert_eq!(closed, ["landline::net::SocketEvent::Close"], "the page says that this alone never grows");
    let [stable, _] = row("`#[non_exhaustive]`");
    let last = |name: &String| name.rsplit("::").next().unwrap_or_default().to_owned();
    let structs: BTreeSet<_> =
        open.iter().filter(|name| with_fields.contains(*name) && !name.contains("Report::")).collect();
    let structs: BTreeSet<_> = structs.into_iter().map(last).collect();
    let named: BTreeSet<_> = quoted(stable.split(". ").next().unwrap_or_default()).map(str::to_owned).collect();
    assert_eq!(named, structs, "the page names the structs with public fields");
}

/// Ensures that the public API has the types of the one crate that the page calls a public dependency, in what its feature
/// adds, and of no other.
#[test]
fn the_public_api_has_the_types_of_one_crate() {
    let api = read(&root().join("docs/public-api.txt"));
    let foreign: BTreeSet<_> = api
        .lines()
        .flat_map(|line| line.match_indices("::").map(|(at, _)| &line[..at]).map(last_word))
        .filter(|name| ["socket2", "libc", "crossbeam_utils", "crossbeam_channel"].contains(name))
        .collect();
    assert_eq!(foreign, BTreeSet::from(["crossbeam_channel"]), "it has no other crate's types");
    for line in api.lines().filter(|line| line.contains("crossbeam_channel")) {
        assert!(line.contains("landline::Events<T>"), "only what the feature adds has them: {line}");
    }
    let manifest = read(&root().join("Cargo.toml"));
    let [stable, _] = row("public dependencies");
    let said = stable.strip_prefix("`crossbeam-channel` ").expect("it begins with it").split(':').next();
    let version = manifest.split("crossbeam-channel = { version = \"").nth(1).expect("it is a dependency");
    assert!(version.starts_with(said.expect("there is a first part")), "its version is {version}");
}

/// The word that a text ends with.
fn last_word(text: &str) -> &str {
    let start = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    &text[start..]
}

/// Ensures that the page has the roles that threads are named by.
#[test]
fn the_roles_of_threads_are_those_of_the_source() {
    let mut roles = BTreeSet::new();
    for file in files(&root().join("src")).expect("there are sources") {
        let source = read(&file);
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        // As in `let name = format!("{thread_name} serve {}", …)` and `Builder::new(format!("landline lookup {}", …)`.
        let names = code
            .filter(|line| line.contains("name = format!(") || line.contains("name} ") || line.contains("\"landline "));
        for text in names.filter_map(|line| line.split_once("format!(\"")) {
            let role = text.1.split_once(' ').and_then(|(_, rest)| rest.split_once(" {"));
            let role = role.map(|(role, _)| role).filter(|role| role.chars().all(char::is_alphabetic));
            roles.extend(role.map(str::to_owned));
        }
    }
    let [stable, _] = row("names of threads");
    let (_, named) = stable.split_once(": ").expect("the roles stand behind a colon");
    let named: BTreeSet<_> = quoted(named).map(str::to_owned).collect();
    assert_eq!(named, roles, "the page has each role of a thread");
}

/// Ensures that the oldest Rust is the one of Cargo.toml.
#[test]
fn the_oldest_rust_is_the_one_of_the_manifest() {
    let manifest = read(&root().join("Cargo.toml"));
    let version = manifest.split("\nrust-version = \"").nth(1).and_then(|rest| rest.split('"').next());
    let [stable, _] = row("Rust");
    assert!(stable.starts_with(&format!("{} and newer", version.expect("it is there"))), "{version:?}: {stable}");
}
