//! The lessons say what is so: their programs run and print what is shown, and both languages have the same ones.
//!
//! In docs/lessons, a `rust` block that has a `main` is a program, and if the next block is a `text` block, that is what it
//! prints. What differs from run to run is compared by its place only: a port, the number of a connection and a time with
//! three decimals may be any, but where the page shows the same one twice, the program has to print the same one twice.
//! Every `rust` block runs as a documentation test too, by a line in src/lib.rs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::{env, fs, thread};

use crate::support::pages::{Block, blocks, lessons, read, root};
use crate::support::process::{run, target};
use crate::support::{differs, has_proc, network_of_its_own};

/// A program of a lesson.
#[derive(Debug)]
struct Shown {
    /// `04_2`: the second one of lesson 4.
    name: String,
    code: String,
    /// What the page says that it prints.
    prints: Option<String>,
}

fn programs() -> Vec<Shown> {
    let mut programs = Vec::new();
    for lesson in lessons("docs/lessons") {
        let number = lesson.file_name().expect("it has a name").to_string_lossy()[..2].to_owned();
        let blocks = blocks(&read(&lesson));
        let mut of_lesson = 0;
        for (i, block) in blocks.iter().enumerate() {
            if !["rust", "rust,no_run"].contains(&&*block.kind) || !block.text.contains("fn main()") {
                continue;
            }
            of_lesson += 1;
            let prints = blocks.get(i + 1).filter(|next| next.kind == "text").map(|next| next.text.clone());
            assert!(block.kind == "rust" || prints.is_none(), "{number}: what prints something is run");
            programs.push(Shown { name: format!("{number}_{of_lesson}"), code: block.text.clone(), prints });
        }
    }
    programs
}

/// Puts all programs of the lessons into one, which is given the name of the one to run, and builds it: a package of its own
/// that depends on this one, as a reader's does.
pub(crate) fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let package = target().join("lessons");
        fs::create_dir_all(package.join("src")).expect("target can be written");
        // What has not changed stays, so that it is not compiled again; what has changed is whole at once, for another run of
        // the tests.
        let write = |name: &str, text: &str| {
            let (file, new) = (package.join(name), package.join(format!("{name}.{}", std::process::id())));
            if fs::read_to_string(&file).ok().as_deref() != Some(text) {
                fs::write(&new, text).and_then(|()| fs::rename(&new, file)).expect("target can be written");
            }
        };
        let (mut modules, mut arms) = (String::new(), String::new());
        for Shown { name, code, .. } in programs() {
            write(&format!("src/lesson_{name}.rs"), &code.replace("fn main()", "pub fn main()"));
            modules += &format!("mod lesson_{name};\n");
            arms += &format!("{name:?} => say(lesson_{name}::main()),\n");
        }
        // As std shows what `main` returns, on the other stream, since that is shown too.
        let say = "fn say(result: impl std::process::Termination) { result.report(); }\n";
        let choose = "match &*std::env::args().nth(2).expect(\"the name of a program\")";
        write("src/main.rs", &format!("{modules}{say}fn main() {{ {choose} {{\n{arms}_ => unreachable!() }} }}\n"));
        let manifest = format!(
            "[package]\nname = \"lessons\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\nlandline = {{ path = {:?} }}\n[profile.dev]\ndebug = \"line-tables-only\"\n[workspace]\n",
            root().display().to_string()
        );
        write("Cargo.toml", &manifest);
        // The versions that this crate was built with, which are here without a network.
        let lock = root().join("Cargo.lock");
        if lock.is_file() {
            write("Cargo.lock", &read(&lock));
        }
        let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
        // Where the tests are built, with the same profile: what both depend on is compiled once.
        let built = Command::new(cargo)
            .args(["build", "--offline", "--quiet", "--target-dir"])
            .arg(target())
            .current_dir(&package)
            .stdin(Stdio::null())
            .output()
            .expect("cargo starts");
        assert!(built.status.success(), "the lessons' programs compile:\n{}", String::from_utf8_lossy(&built.stderr));
        target().join("debug/lessons").with_extension(env::consts::EXE_EXTENSION)
    })
}

/// A text with what differs from run to run replaced: each port and each number of a connection by how many others of its
/// kind came before it, each time by nothing.
fn masked(text: &str) -> String {
    let (mut out, mut rest, mut seen) = (String::new(), text, HashMap::new());
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let (number, after) = from.split_at(digits(from));
        out += before;
        rest = after;
        let is_port = number.len() > 3 && [".1:", ".2:", "]:", "\"port\":"].iter().any(|end| out.ends_with(end));
        let is_id = before.ends_with('#');
        let decimals = after.strip_prefix('.').map_or(0, digits);
        if is_port || is_id {
            let others = seen.len();
            let nth = *seen.entry((is_id, number)).or_insert(others);
            out += &format!("<{nth}>");
        } else if decimals == 3 && after[4..].starts_with(" s") {
            out += "<time>";
            rest = &after[4..];
        } else {
            out += number;
        }
    }
    out + rest
}

/// Ensures that every program of the lessons prints what the lesson shows, and that each lesson has one.
#[test]
fn programs_print_what_the_lessons_show() {
    if !has_proc() {
        return;
    }
    let programs = programs();
    let numbers: Vec<_> = lessons("docs/lessons").iter().map(|lesson| lesson_number(lesson)).collect();
    assert_eq!(numbers, (1..=12).map(|n| format!("{n:02}")).collect::<Vec<_>>(), "there are twelve lessons, in order");
    for number in numbers {
        let shown = programs.iter().filter(|program| program.name.starts_with(&number) && program.prints.is_some());
        assert!(shown.count() > 0, "lesson {number} shows what a program prints");
    }
    // Each in a network of its own, so that a port that a program has given back is not another one's at once. Most of them
    // wait most of the time.
    let built = built();
    let wrong: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = programs.iter().map(|program| scope.spawn(|| difference(built, program))).collect();
        runs.into_iter().filter_map(|run| run.join().expect("the program runs")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a program prints, and what its lesson shows, where these differ.
fn difference(built: &Path, Shown { name, prints, .. }: &Shown) -> Option<String> {
    let mut shown = prints.clone()?;
    for (here, there) in [("Some(5) queue", "None queue"), ("lost the others: true", "lost the others: false")] {
        if shown.contains(here) && differs("no table tells how many clients are queued and datagrams are lost") {
            shown = shown.replace(here, there);
        }
    }
    let built = built.to_str().expect("the path of the target folder is text");
    let command = [network_of_its_own(), &[built, "127.0.0.1:0", name]].concat();
    let said = run(command[0], &command[1..], &Arc::from([]));
    let out = String::from_utf8_lossy(&said.out);
    let is_same = masked(&out) == masked(&shown);
    (!is_same).then(|| format!("program {name} prints\n{out}{}and the lesson shows\n{shown}", said.err))
}

/// Ensures that the programs of the lessons compile, in a package that depends on this one as a reader's does.
#[test]
fn programs_of_the_lessons_compile() {
    if !has_proc() {
        return;
    }
    assert!(built().is_file(), "the lessons' programs are built");
}

fn lesson_number(lesson: &Path) -> String {
    lesson.file_name().expect("it has a name").to_string_lossy()[..2].to_owned()
}

/// Ensures that the comparison of outputs tells what differs, and passes over what may.
#[test]
fn outputs_are_compared_but_for_what_no_run_repeats() {
    let shown = "#2 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 1.234 s, 5 read\n";
    for same in [shown, "#7 127.0.0.1:51234 -> 127.0.0.1:61111 finished after 0.001 s, 5 read\n"] {
        assert_eq!(masked(same), masked(shown));
    }
    for other in [
        "#2 127.0.0.1:40001 -> 127.0.0.1:40001 finished after 1.234 s, 5 read\n",
        "#2 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 1.234 s, 6 read\n",
        "#2 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 1.23 s, 5 read\n",
        "#2 127.0.0.2:40001 -> 127.0.0.1:3000 finished after 1.234 s, 5 read\n",
        "2 127.0.0.1:40001 -> 127.0.0.1:3000 finished after 1.234 s, 5 read\n",
    ] {
        assert_ne!(masked(other), masked(shown));
    }
}

/// Ensures that a lesson has at most 200 lines without the answers and the targets of links, of a length that can be read,
/// an experiment, exercises with answers, and a way on.
#[test]
fn lessons_are_short() {
    for lesson in lessons("docs/lessons") {
        let page = read(&lesson);
        let mut is_answer = false;
        let lines = page.lines().filter(|line| {
            is_answer = *line == "<details>" || is_answer && *line != "</details>";
            !is_answer && !line.contains("]: ")
        });
        let lines = lines.collect::<Vec<_>>().join("\n").trim_end().lines().count();
        assert!(lines <= 200, "{}: {lines} lines", lesson.display());
        let long = page.lines().find(|line| line.chars().count() > 120 && !line.starts_with('|'));
        assert_eq!(long, None, "{}: a line has 120 characters at most", lesson.display());
        for part in ["\n## Experiment: ", "\n## Exercises\n", "\n<details>\n", "\n## Where to read on\n"] {
            assert!(page.contains(part), "{}: it has its{part}", lesson.display());
        }
    }
}

/// A block's kind, its code without comments, and the comments.
fn code_and_comments(block: &Block) -> (&str, Vec<&str>, Vec<&str>) {
    let is_code = block.kind.starts_with("rust");
    let split = |line| if is_code { str::split_once(line, "// ") } else { None };
    let code = block.text.lines().map(|line| split(line).map_or(line, |(code, _)| code));
    (&block.kind, code.collect(), block.text.lines().filter_map(|line| Some(split(line)?.1)).collect())
}

/// Ensures that the Chinese lessons have the English ones' names, code and outputs, and comments of their own language.
#[test]
fn both_languages_show_the_same() {
    let names = |folder| lessons(folder).iter().map(|path| path.file_name().map(ToOwned::to_owned)).collect::<Vec<_>>();
    assert_eq!(names("docs/zh"), names("docs/lessons"), "the same lessons");
    for (english, chinese) in lessons("docs/lessons").iter().zip(lessons("docs/zh")) {
        let (one, other) = (blocks(&read(english)), blocks(&read(&chinese)));
        assert_eq!(other.len(), one.len(), "{}: as many blocks", chinese.display());
        for (one, other) in one.iter().zip(&other) {
            let ((kind, code, comments), (their_kind, their_code, theirs)) =
                (code_and_comments(one), code_and_comments(other));
            assert_eq!((their_kind, their_code), (kind, code), "{}: the same code", chinese.display());
            assert_eq!(theirs.len(), comments.len(), "{}: as many comments: {theirs:?}", chinese.display());
            assert!(theirs.iter().all(|comment| !comment.is_ascii()), "comments are translated: {theirs:?}");
        }
    }
}

/// Ensures that the Chinese README has programs of the English one, which are compiled.
#[test]
fn the_chinese_readme_shows_programs_of_the_english_one() {
    let programs = |page| {
        let blocks = blocks(&read(&root().join(page))).into_iter();
        blocks.filter(|block| block.kind.starts_with("rust")).map(|block| block.text).collect::<Vec<_>>()
    };
    let (english, chinese) = (programs("README.md"), programs("docs/zh/landline.md"));
    assert!(!chinese.is_empty() && chinese.iter().all(|program| english.contains(program)), "{chinese:?}");
}
