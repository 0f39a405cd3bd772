//! landline beside what else one would take: std by hand, Node, Go, tokio, Python, POCO, and servers of Redis, MQTT and
//! HTTP. One command:
//!
//! ```text
//! cargo run --release --manifest-path benches/versus/Cargo.toml
//! ```
//!
//! It says which of them it does not find, runs every case (some 40 minutes, on a machine that has nothing else to do),
//! and writes docs/benchmarks/results.tsv, the charts beside it, and the tables in docs/benchmarks.md, whose prose it
//! keeps. With names of cases, or parts of them, it runs those and only prints: `… -- churn-1 udp --rounds 3`;
//! `… -- builds` alone also writes its table, and so does `… -- scale`. `--rounds N` and `--millis N` change how often
//! and how long, `--draw` writes the page and the charts anew from the figures that are there.

#[path = "../../common/mod.rs"]
mod common;

mod builds;
mod chart;
#[path = "../peers/dns.rs"]
mod dns;
mod fan_out;
mod goals;
#[path = "../peers/http.rs"]
mod http;
mod loads;
mod machine;
mod page;
mod peers;
mod polled;
mod programs;
#[path = "../peers/redis/mod.rs"]
mod redis;
mod scale;
#[path = "../peers/splice.rs"]
mod splice;
#[path = "../peers/tokio.rs"]
mod tokio_peer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use common::case::{CASES, Case};
use common::figures::{Figure, Figures};
use common::run::{self, Effort};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", "tokio", how, mode, ..] => {
            run::end_with_input();
            tokio_peer::serve(how, mode, args.get(4).cloned())
        }
        ["serve", "splice", _, at] => {
            run::end_with_input();
            at.parse().map_err(|_| wrong("an address is wanted".into())).and_then(splice::serve)
        }
        ["serve", ..] => common::serve(&args[1..]),
        ["program", name, ..] => programs::serve(name),
        ["load", ..] => run::load(&args[1..], loads::run),
        ["case", ..] => run::case(&args[1..], &peers::servers(&peers::found())),
        _ => compare(&words),
    };
    done.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

const USAGE: &str = "usage: landline-versus [--rounds N] [--millis N] [CASE | part of a case's name]…
       landline-versus --draw";

fn compare(words: &[&str]) -> io::Result<()> {
    let mut effort = Effort { rounds: 9, time: Duration::from_millis(300) };
    let (mut names, mut rest) = (Vec::new(), words.iter());
    while let Some(word) = rest.next() {
        let mut number = || {
            let given = rest.next().copied().unwrap_or("nothing");
            let number = given.parse().ok().filter(|n| *n > 0);
            number.ok_or_else(|| wrong(format!("{word} wants a number above 0, and got {given}")))
        };
        match *word {
            "--rounds" => effort.rounds = number()?,
            "--millis" => effort.time = Duration::from_millis(number()? as u64),
            "--draw" if words.len() == 1 => return draw(),
            "--draw" => return Err(wrong("--draw goes with nothing else".into())),
            "--help" => {
                println!("{USAGE}\ncases: {}", all_names().join(", "));
                return Ok(());
            }
            word if word.starts_with('-') => return Err(wrong(format!("there is no option {word}\n{USAGE}"))),
            word => names.extend(named(word)?),
        }
    }
    let mut figures = Figures::default();
    let mut machine = measure(&mut figures, effort, &names)?;
    // A section of its own, whose ratios are all of the same minutes, may be measured apart.
    let is_section = names == [builds::NAME] || names == scale::names();
    if is_section {
        let measured = figures.0;
        (figures, machine) = recorded()?;
        figures.0.retain(|figure| !names.contains(&figure.case.as_str()));
        figures.0.extend(measured);
    }
    if names.is_empty() || is_section {
        write(&figures, &machine)?;
    }
    goals::lines(&figures).iter().for_each(|line| println!("{line}"));
    if !names.is_empty() && !is_section {
        println!("\nThat was a part, so docs/ is as it was.");
    }
    Ok(())
}

fn all_names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).chain([builds::NAME]).collect()
}

/// The case that has this name, or those that have it in theirs.
fn named(word: &str) -> io::Result<Vec<&'static str>> {
    let all = all_names();
    let is_one = all.contains(&word);
    let found: Vec<_> =
        all.iter().copied().filter(|name| if is_one { *name == word } else { name.contains(word) }).collect();
    if found.is_empty() {
        return Err(wrong(format!("no case has {word} in its name; there are {}", all.join(", "))));
    }
    Ok(found)
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Writes docs/benchmarks.md, its charts, and every single figure.
fn write(figures: &Figures, machine: &[String]) -> io::Result<()> {
    let mut text: String = machine.iter().map(|line| format!("# {line}\n")).collect();
    text.extend(figures.0.iter().map(|figure| figure.to_line() + "\n"));
    fs::create_dir_all(docs().join("benchmarks"))?;
    fs::write(docs().join(RESULTS), text)?;
    page::write(&docs(), figures, machine)
}

const RESULTS: &str = "benchmarks/results.tsv";

/// Writes the page and its charts from the figures that are there.
fn draw() -> io::Result<()> {
    let (figures, machine) = recorded()?;
    write(&figures, &machine)
}

fn recorded() -> io::Result<(Figures, Vec<String>)> {
    let text = fs::read_to_string(docs().join(RESULTS))?;
    let machine = text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect();
    Ok((Figures(text.lines().filter_map(Figure::from_line).collect()), machine))
}

/// Runs the cases; gives what machine it was.
fn measure(figures: &mut Figures, effort: Effort, names: &[&str]) -> io::Result<Vec<String>> {
    let start = Instant::now();
    let found = peers::build();
    let machine = machine::describe(&found, effort);
    machine.iter().for_each(|line| println!("{line}"));
    let is_asked_for = |name: &str| names.is_empty() || names.contains(&name);
    let has_clients = |case: &Case| programs::client(case).is_none_or(|name| programs::path(name).is_some());
    for case in CASES.iter().filter(|case| is_asked_for(case.name) && has_clients(case)) {
        let began = Instant::now();
        let rounds = if case.is_of_scale() { effort.rounds.min(3) } else { effort.rounds };
        if let Err(error) = run::in_own_network(case, Effort { rounds, ..effort }, |figure| figures.0.push(figure)) {
            println!("{error}");
        }
        println!("\n{} ({:.0} s)", case.title, began.elapsed().as_secs_f64());
        print!("{}", page::table(case.name, case.measures, Some(case), figures));
    }
    if is_asked_for(builds::NAME) {
        builds::run(effort.rounds.min(3), figures)?;
        println!("\n{}", builds::TITLE);
        print!("{}", page::table(builds::NAME, builds::MEASURES, None, figures));
    }
    println!("\n{:.0} s in all\n", start.elapsed().as_secs_f64());
    Ok(machine)
}
