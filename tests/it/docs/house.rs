//! The source imports as its folders say: arrows go down only.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::pages::{files, read, root};

/// Each file of src, as its module path, with the files it names.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let src = root().join("src");
    let module = |path: &str| {
        let path = path.trim_end_matches(".rs").replace(['/', '\\'], "::");
        path.strip_suffix("::mod").map_or(path.clone(), str::to_owned)
    };
    let sources: BTreeMap<String, String> = files(&src)
        .expect("there are sources")
        .into_iter()
        .map(|file| (file.strip_prefix(&src).expect("it is in src").to_string_lossy().into_owned(), read(&file)))
        .filter(|(file, _)| file != "lib.rs" && !file.ends_with("tests.rs"))
        .map(|(file, source)| (module(&file), source))
        .collect();
    let names: BTreeSet<&str> = sources.keys().map(String::as_str).collect();
    let of = |file: &str, source: &str| {
        let mut found = BTreeSet::new();
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (at, _) in line.match_indices("crate::") {
                found.extend(paths(&line[at + "crate::".len()..]).iter().filter_map(|path| longest(path, &names)));
            }
        }
        found.remove(file);
        found
    };
    sources.iter().map(|(file, source)| (file.clone(), of(file, source))).collect()
}

/// The paths that a text begins with: `a::{b, c::D}` is two.
fn paths(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((list, _)) => {
            list.split(',').map(|name| format!("{path}{}", name.trim().trim_end_matches("self"))).collect()
        }
        None => vec![path.to_owned()],
    }
}

/// The file that a path leads to: `net::socket::Socket` to `net::socket`.
fn longest(path: &str, names: &BTreeSet<&str>) -> Option<String> {
    let mut path = path.trim_end_matches("::");
    loop {
        if names.contains(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// The folder of a module, as far as the rules name folders.
fn folder(module: &str) -> &str {
    ["net::socket", "net::server", "net::connect", "net::proxy", "net", "dgram", "sync"]
        .into_iter()
        .find(|folder| module == *folder || module.starts_with(&format!("{folder}::")))
        .unwrap_or("root")
}

/// What each folder may import, besides itself. The root's files are the types that everything uses.
fn may_import(from: &str, to: &str) -> bool {
    match from {
        "sync" => false,
        "root" => to == "sync",
        "net::socket" => ["root", "sync"].contains(&to),
        "net::server" => ["root", "sync", "net::socket", "net::proxy", "net"].contains(&to),
        "net::connect" | "net::proxy" => ["root", "sync", "net::socket", "net"].contains(&to),
        "net" | "dgram" => ["root", "sync"].contains(&to),
        _ => false,
    }
}

/// Everything that can be reached from a file.
fn reached<'a>(from: &'a str, imports: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(file) = left.pop() {
        left.extend(imports[file].iter().map(String::as_str).filter(|to| found.insert(*to)));
    }
    found
}

/// Ensures that a folder imports only what stands below it: a connection knows neither servers nor connecting nor the PROXY
/// protocol, streams and datagrams do not know each other, and what threads wait with stands on std alone.
#[test]
fn imports_go_down() {
    let imports = imports();
    assert!(imports.len() > 50 && imports["net::server::accept"].contains("net::socket"), "the imports are read");
    let mut wrong = Vec::new();
    for (file, all) in &imports {
        for to in all {
            let (from_folder, to_folder) = (folder(file), folder(to));
            let is_up = from_folder != to_folder && !may_import(from_folder, to_folder) || file == "sys";
            // The list of public names.
            if is_up && file != "net" {
                wrong.push(format!("{file} imports {to}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "these imports run up");
}

/// Ensures that no circle of imports has more than two files, and none crosses a folder.
#[test]
fn circles_are_small() {
    let imports = imports();
    let mut circles = BTreeSet::new();
    for file in imports.keys().filter(|file| *file != "net") {
        let circle: BTreeSet<&str> =
            reached(file, &imports).into_iter().filter(|to| reached(to, &imports).contains(file.as_str())).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    println!("circles: {circles:?}");
    for circle in circles {
        let folders: BTreeSet<_> = circle.iter().map(|file| folder(file)).collect();
        assert!(circle.len() <= 2 && folders.len() == 1, "a circle has two files of one folder: {circle:?}");
    }
}
