//! landline against the same programs written by hand over std: `cargo bench`.
//!
//! Every round runs all servers in turn, in an order that changes from round to round, each in a process of its own with
//! the same clients. What is printed is landline's figure divided by that of the same round: the median, the least and the
//! most. It takes some minutes; `cargo bench -- churn` runs only the cases that have this in their names. docs/benchmarks.md
//! says what the cases are, and compares with more than std.

#[path = "../common/mod.rs"]
mod common;

use std::time::Duration;
use std::{env, io};

use common::case::{CASES, Case, Load};
use common::figures::{Figures, Spread, number};
use common::run::{self, Effort};

const EFFORT: Effort = Effort { rounds: 5, time: Duration::from_millis(400) };

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", ..] => common::serve(&args[1..]),
        ["load", ..] => run::load(&args[1..], common::load::run),
        ["case", ..] => run::case(&args[1..], &common::servers()),
        // cargo says --bench.
        _ => compare(&words.into_iter().filter(|word| *word != "--bench").collect::<Vec<_>>()),
    }
}

fn compare(words: &[&str]) -> io::Result<()> {
    let Effort { rounds, time } = EFFORT;
    println!(
        "Medians of {rounds} rounds of {} ms. What a server is of another was taken within a round, with the least and",
        time.as_millis()
    );
    println!("the most; \"std, tuned\" is std with landline's buffers, backlog and no-delay.");
    if run::pinning().is_none() {
        println!(
            "taskset not found, so nothing is pinned, and ratios of one connection say little (Debian: util-linux)"
        );
    }
    if run::network_of_its_own().is_empty() {
        println!("unshare not found or not permitted, so ports may run short (Debian: util-linux)");
    }
    let is_polled = |case: &Case| matches!(case.load, Load::EchoPolled { .. } | Load::Scale { .. });
    let is_blocking = |case: &&Case| !is_polled(case) && !case.is_of_a_protocol();
    let names: Vec<_> = CASES.iter().filter(is_blocking).map(|case| case.name).collect();
    // A whole name means that case alone.
    let has = |word: &str, name: &str| if names.contains(&word) { name == word } else { name.contains(word) };
    if let Some(word) = words.iter().find(|word| !names.iter().any(|name| has(word, name))) {
        println!("No case has {word} in its name; there are {}.", names.join(", "));
        std::process::exit(1);
    }
    let is_asked_for = |case: &&Case| words.is_empty() || words.iter().any(|word| has(word, case.name));
    for case in CASES.iter().filter(is_blocking).filter(is_asked_for) {
        let mut figures = Figures::default();
        run::in_own_network(case, EFFORT, |figure| figures.0.push(figure))?;
        println!("\n{}, {}", case.title, case.pin.text());
        for server in figures.servers(case.name) {
            print_server(case, &figures, server);
        }
    }
    Ok(())
}

fn print_server(case: &Case, figures: &Figures, server: &str) {
    for measure in case.measures {
        let Some(spread) = figures.spread(case.name, server, measure.key) else { continue };
        let against = |base: &str| match figures.ratio(case.name, server, base, measure.key) {
            Some(Spread { median, least, most }) if base != server => {
                format!("{median:.3} ({least:.3} to {most:.3}) of {base}")
            }
            _ => String::new(),
        };
        let is_ours = server.starts_with("landline");
        let bases = if is_ours { figures.servers(case.name) } else { Vec::new() };
        let ratios: Vec<_> = bases.into_iter().filter(|base| base.starts_with("std")).map(against).collect();
        let client = figures.spread(case.name, server, "client");
        let limit =
            if client.is_some_and(|busy| case.is_limited_by_load(busy.median)) { "the clients limit it; " } else { "" };
        let (median, unit) = (number(spread.median), measure.unit);
        let better = if measure.less_is_better { "less is better; " } else { "" };
        let line = format!("  {server:<18} {median:>9} {unit:<26} {limit}{better}{}", ratios.join(", "));
        println!("{}", line.trim_end());
    }
}
