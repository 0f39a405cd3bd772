//! docs/benchmarks.md: what stands between two marks is written anew, everything else is kept.

use std::path::Path;
use std::{fs, io};

use crate::builds;
use crate::chart;
use crate::common::case::{CASES, Case, Measure};
use crate::common::figures::{Figures, Spread, number};
use crate::goals;
use crate::scale;

pub(crate) fn write(docs: &Path, figures: &Figures, machine: &[String]) -> io::Result<()> {
    let file = docs.join("benchmarks.md");
    let mut page = fs::read_to_string(&file)?;
    let list: String = machine.iter().map(|line| format!("- {line}\n")).collect();
    page = replaced(&page, "machine", &list)?;
    page = replaced(&page, "goals", &(goals::lines(figures).join("\n") + "\n"))?;
    page = replaced(&page, "tokio", &beside_tokio(figures))?;
    for case in CASES.iter().filter(|case| !case.is_of_scale()) {
        page = topic(docs, page, case.name, case.title, case.measures, Some(case), figures)?;
    }
    page = topic(docs, page, builds::NAME, builds::TITLE, builds::MEASURES, None, figures)?;
    if !scale::servers(figures).is_empty() {
        let (title, chart) = scale::chart(figures);
        fs::write(docs.join(format!("benchmarks/{}.svg", scale::NAME)), chart)?;
        let text = format!("{}\n![{title}](benchmarks/{}.svg)\n", scale::tables(figures), scale::NAME);
        page = replaced(&page, scale::NAME, &text)?;
    }
    fs::write(file, page)
}

/// What landline's figure is of tokio's, in every case.
fn beside_tokio(figures: &Figures) -> String {
    let mut text = "| case | figure | / tokio | / tokio, 1 thread |\n|---|---|---|---|\n".to_owned();
    let measured =
        CASES.iter().filter(|case| !case.is_about_ways()).map(|case| (case.name, case.title, &case.measures[0]));
    for (name, title, measure) in measured.chain([(builds::NAME, builds::TITLE, &builds::MEASURES[0])]) {
        let ratio = |base: &str| {
            let ratio = figures.ratio(name, "landline", base, measure.key).filter(|ratio| ratio.most.is_finite());
            ratio.map_or(String::new(), |Spread { median, least, most }| {
                format!("{median:.2} ({least:.2} to {most:.2})")
            })
        };
        let better = if measure.less_is_better { "less is better" } else { "more is better" };
        let (tokio, one) =
            (ratio(if name == builds::NAME { builds::TOKIO } else { "tokio" }), ratio("tokio, 1 thread"));
        if tokio.is_empty() && one.is_empty() {
            continue;
        }
        text += &format!("| {title} | {}; {better} | {tokio} | {one} |\n", measure.unit);
    }
    text
}

/// One table with its chart.
fn topic(
    docs: &Path,
    page: String,
    name: &str,
    title: &str,
    measures: &[Measure],
    case: Option<&Case>,
    figures: &Figures,
) -> io::Result<String> {
    if figures.servers(name).is_empty() {
        return Ok(page);
    }
    fs::write(docs.join(format!("benchmarks/{name}.svg")), chart::draw(name, title, &measures[0], figures))?;
    let place = case.map_or(String::new(), |case| format!("Placement: {}.\n\n", case.pin.text()));
    let table = table(name, measures, case, figures);
    replaced(&page, name, &format!("{place}{table}\n![{title}](benchmarks/{name}.svg)\n"))
}

/// The page with other text between the marks of a name.
fn replaced(page: &str, name: &str, text: &str) -> io::Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("docs/benchmarks.md has no {begin}… {end}"));
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

/// The figures of all servers, with the ratio of each to std.
pub(crate) fn table(name: &str, measures: &[Measure], case: Option<&Case>, figures: &Figures) -> String {
    let has_processors = figures.0.iter().any(|figure| figure.case == name && figure.key == "server");
    let has_cost = measures.iter().any(|measure| measure.key == "cost");
    let has_std = figures.servers(name).contains(&"std");
    let mut head = vec!["server".to_owned()];
    for (i, measure) in measures.iter().enumerate() {
        head.push(measure.unit.into());
        if i == 0 && has_std {
            head.push("/ std".into());
        }
    }
    if has_processors && !has_cost {
        head.push(format!("server us / {}", singular(measures[0].unit)));
    }
    if has_processors {
        head.push("clients busy".into());
    }
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    let mut has_limited = false;
    for server in figures.servers(name) {
        let mut cells = vec![server.to_owned()];
        for (i, measure) in measures.iter().enumerate() {
            cells.push(figures.spread(name, server, measure.key).map_or("".into(), cell));
            if i == 0 && has_std {
                // Of nothing there is none.
                let ratio = figures.ratio(name, server, "std", measure.key).filter(|ratio| ratio.most.is_finite());
                let ratio = ratio.map_or("".into(), |r| format!("{:.2} ({:.2} to {:.2})", r.median, r.least, r.most));
                cells.push(if server == "std" { "1".into() } else { ratio });
            }
        }
        if has_processors {
            let of = |key| figures.spread(name, server, key).map_or(f64::NAN, |spread| spread.median);
            let busy = of("client");
            let cost = figures.quotient(name, (server, "server"), (server, "rate"));
            let is_limited = case.is_some_and(|case| case.is_limited_by_load(busy));
            has_limited |= is_limited;
            if !has_cost {
                cells.push(cost.map_or("".into(), |cost| number(cost.median * 1e6)));
            }
            cells.push(format!("{busy:.2}{}", if is_limited { " †" } else { "" }));
        }
        text += &format!("| {} |\n", cells.join(" | "));
    }
    if has_limited {
        text += "\n† The clients could not do more: the server may be faster than it looks.\n";
    }
    text
}

/// One of what a rate counts.
fn singular(unit: &str) -> &str {
    let unit = unit.trim_end_matches("/s");
    unit.strip_suffix('s').unwrap_or(unit)
}

fn cell(spread: Spread) -> String {
    let Spread { median, least, most } = spread;
    if least == most { number(median) } else { format!("{} ({} to {})", number(median), number(least), number(most)) }
}
