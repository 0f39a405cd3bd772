//! landline beside what else one would take: std by hand, Node, Go, tokio, Python, POCO. One command:
//!
//! ```text
//! cargo run --release --manifest-path benches/versus/Cargo.toml
//! ```
//!
//! It says which of them it does not find, runs every case (some 25 minutes, on a machine that has nothing else to do), and
//! writes docs/benchmarks/results.tsv, the charts beside it, and the tables in docs/benchmarks.md, whose prose it keeps.
//! Words are parts of the names of cases to run, the others keep their figures: `… -- churn udp`. `--rounds N` and
//! `--millis N` change how often and how long, `--draw` writes anew from the figures that are there.

#[path = "../../common/mod.rs"]
mod common;

mod builds;
mod chart;
mod goals;
mod machine;
mod page;
mod peers;
mod polled;
#[path = "../peers/splice.rs"]
mod splice;
#[path = "../peers/tokio.rs"]
mod tokio_peer;

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use common::case::CASES;
use common::figures::{Figure, Figures};
use common::run::{self, Effort};

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", "tokio", how, mode, ..] => {
            run::end_with_input();
            tokio_peer::serve(how, mode, args.get(4).cloned())
        }
        ["serve", "splice", _, at] => {
            run::end_with_input();
            splice::serve(at.parse().map_err(|_| wrong("an address"))?)
        }
        ["serve", ..] => common::serve(&args[1..]),
        ["load", ..] => run::load(&args[1..], polled::run),
        ["case", ..] => run::case(&args[1..], &peers::servers(&peers::found())),
        _ => compare(&words),
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} is wanted; see benches/versus/src/main.rs"))
}

fn compare(words: &[&str]) -> io::Result<()> {
    let mut effort = Effort { rounds: 9, time: Duration::from_millis(300) };
    let (mut names, mut draws_only, mut rest) = (Vec::new(), false, words.iter());
    while let Some(word) = rest.next() {
        let mut number =
            || rest.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).ok_or_else(|| wrong("a number"));
        match *word {
            "--rounds" => effort.rounds = number()?,
            "--millis" => effort.time = Duration::from_millis(number()? as u64),
            "--draw" => draws_only = true,
            word if word.starts_with('-') => return Err(wrong("--rounds, --millis or --draw")),
            word => names.push(word),
        }
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let (results, mut figures, mut machine) = (docs.join("benchmarks/results.tsv"), Figures::default(), Vec::new());
    if draws_only || !names.is_empty() {
        let text = fs::read_to_string(&results).unwrap_or_default();
        machine = text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect();
        figures.0 = text.lines().filter_map(Figure::from_line).collect();
    }
    if !draws_only {
        machine = measure(&mut figures, effort, &names)?;
    }
    let mut text: String = machine.iter().map(|line| format!("# {line}\n")).collect();
    text.extend(figures.0.iter().map(|figure| figure.to_line() + "\n"));
    fs::create_dir_all(docs.join("benchmarks"))?;
    fs::write(&results, text)?;
    page::write(&docs, &figures, &machine)?;
    for line in goals::lines(&figures) {
        println!("{line}");
    }
    Ok(())
}

/// Runs the cases; gives what machine it was.
fn measure(figures: &mut Figures, effort: Effort, names: &[&str]) -> io::Result<Vec<String>> {
    let start = Instant::now();
    let found = peers::build();
    let machine = machine::describe(&found, effort);
    machine.iter().for_each(|line| println!("{line}"));
    let is_asked_for = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part));
    for case in CASES.iter().filter(|case| is_asked_for(case.name)) {
        let began = Instant::now();
        figures.0.retain(|figure| figure.case != case.name);
        if let Err(error) = run::in_own_network(case, effort, |figure| figures.0.push(figure)) {
            println!("{error}");
        }
        println!("\n{} ({:.0} s)", case.title, began.elapsed().as_secs_f64());
        print!("{}", page::table(case.name, case.measures, Some(case), figures));
    }
    if is_asked_for(builds::NAME) {
        figures.0.retain(|figure| figure.case != builds::NAME);
        builds::run(effort.rounds.min(3), figures)?;
        println!("\n{}", builds::TITLE);
        print!("{}", page::table(builds::NAME, builds::MEASURES, None, figures));
    }
    println!("\n{:.0} s in all\n", start.elapsed().as_secs_f64());
    Ok(machine)
}
