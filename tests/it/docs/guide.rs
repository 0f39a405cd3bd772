//! The module `guide`, which shows the pages of docs/ to readers of rustdoc's pages.
//!
//! A page's links lead to files, and rustdoc has none. So the pages name where their links lead at their ends, and
//! src/guide/links.md gives each such name another meaning, which is the module of that page, or the picture itself.
//! `DRAW=1 cargo test --test docs guide` writes it anew.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::{env, fs};

use crate::support::pages::{read, root, written};

/// Where docs.rs shows the files of docs/ that are no modules.
const FILES: &str = "https://docs.rs/crate/landline/latest/source/docs";

/// The pages that the guide has, as paths in docs/, with their modules.
fn modules() -> BTreeMap<PathBuf, String> {
    let source = read(&root().join("src/guide.rs"));
    let pages = source.split("include_str!(\"../docs/").skip(1).map(|rest| {
        let (page, rest) = rest.split_once('"').expect("it ends");
        let (_, rest) = rest.split_once("pub mod ").expect("a module follows");
        (page.into(), rest.split(' ').next().unwrap_or_default().to_owned())
    });
    pages.collect()
}

/// The names of a page's links, which are where they lead in docs/.
fn names(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).map(|(name, target)| {
        assert_eq!(name, target, "a link's name is where it leads");
        name
    })
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
        plain
    })
}

/// A picture as a URL.
fn data(svg: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b':' | b';' | b'=' | b',' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    format!("data:image/svg+xml,{}", svg.bytes().map(byte).collect::<String>())
}

/// Ensures that each link and picture of the guide's pages leads to a module, to the picture itself or to a file that docs.rs
/// shows.
#[test]
fn links_of_the_guide_lead_somewhere() {
    let modules = modules();
    // The crate's own page shows this one.
    let picture = "server.svg";
    let mut meanings = BTreeMap::from([(picture.to_owned(), data(&read(&root().join("docs").join(picture))))]);
    for page in modules.keys() {
        let text = read(&root().join("docs").join(page));
        for name in names(&text) {
            let (file, heading) = name.split_once('#').map_or((name, String::new()), |(f, h)| (f, format!("#{h}")));
            let path = plain(&page.with_file_name(file));
            let meaning = match modules.get(&path) {
                Some(module) => format!("crate::guide::{module}{heading}"),
                None if file.ends_with(".svg") => data(&read(&root().join("docs").join(path))),
                None => format!("{FILES}/{}", written(&path)),
            };
            let before = meanings.insert(name.to_owned(), meaning.clone()).unwrap_or_else(|| meaning.clone());
            assert_eq!(before, meaning, "a name means one thing on all pages: {name}");
        }
        let inline = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default());
        let lost: Vec<_> = inline.filter(|target| !target.contains("://") && !target.starts_with('#')).collect();
        assert_eq!(lost, Vec::<&str>::new(), "{}: `[words][file.md]`, and its end has the file", page.display());
    }
    assert!(modules.len() > 25 && meanings.len() > 60, "{} pages and {} names", modules.len(), meanings.len());
    let wanted: String = meanings.iter().map(|(name, meaning)| format!("[{name}]: {meaning}\n")).collect();
    let links = root().join("src/guide/links.md");
    if env::var_os("DRAW").is_some() {
        fs::write(&links, &wanted).expect("it can be written");
    }
    assert!(read(&links) == wanted, "`DRAW=1 cargo test --test docs guide` writes src/guide/links.md");
}
