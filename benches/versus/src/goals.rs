//! What was aimed at, and what came out.

use crate::builds;
use crate::common::case::{Case, Measure};
use crate::common::figures::{Figures, Spread};
use crate::peers::OTHERS;

#[derive(Debug, Clone, Copy)]
enum Against {
    Server(&'static str),
    /// The best of the others.
    Others,
    /// No ratio: the figure itself.
    Itself,
}

/// At least this ratio, or at most, where less is better; `None` is published as it is.
struct Goal {
    case: &'static str,
    key: &'static str,
    against: Against,
    bound: Option<f64>,
}

const fn server(case: &'static str, key: &'static str, server: &'static str, bound: f64) -> Goal {
    Goal { case, key, against: Against::Server(server), bound: Some(bound) }
}

const fn std(case: &'static str, key: &'static str, bound: f64) -> Goal {
    server(case, key, "std", bound)
}

/// std with the same options.
const fn tuned(case: &'static str, key: &'static str, bound: f64) -> Goal {
    server(case, key, "std, tuned", bound)
}

const fn others(case: &'static str, key: &'static str, bound: f64) -> Goal {
    Goal { case, key, against: Against::Others, bound: Some(bound) }
}

const fn published(case: &'static str, key: &'static str, against: Against) -> Goal {
    Goal { case, key, against, bound: None }
}

const GOALS: &[Goal] = &[
    std("echo-64-1", "rate", 0.97),
    std("echo-64-64", "rate", 1.0),
    published("echo-64-64", "rate", Against::Others),
    published("echo-64-64-polled", "rate", Against::Others),
    published("echo-64-256-polled", "rate", Against::Others),
    tuned("echo-64k", "rate", 0.97),
    others("echo-64k", "rate", 1.15),
    tuned("bulk-1", "rate", 0.97),
    others("bulk-1", "rate", 2.0),
    tuned("bulk-8", "rate", 0.97),
    others("bulk-8", "rate", 1.5),
    std("churn-1", "rate", 1.6),
    server("churn-1", "rate", "tokio", 1.1),
    server("churn-16", "rate", "tokio", 1.0),
    tuned("burst", "seconds", 1.0),
    others("burst", "seconds", 1.0),
    std("refusals", "rate", 0.97),
    std("refusals", "p99", 1.0),
    std("udp", "rate", 0.97),
    std("udp-window", "rate", 0.97),
    Goal { case: "udp-flood", key: "loss", against: Against::Itself, bound: Some(0.0) },
    others("udp-flood", "loss", 1.0),
    std("idle", "resident", 0.61),
    published("idle", "resident", Against::Others),
    published("idle", "sum", Against::Server("std")),
    server("proxy-1", "rate", "splice by hand", 1.0),
    others("proxy-1", "rate", 1.3),
    published("proxy-8", "rate", Against::Server("splice by hand")),
    server("proxy-8", "rate", "Go", 0.85),
    std("redis-1", "cost", 1.03),
    server("redis-1", "cost", "tokio", 1.5),
    std("redis-16", "cost", 1.03),
    server("redis-16", "cost", "tokio", 1.5),
    server("fan-out-200", "cost", "redis-server", 1.2),
    server("fan-out-50", "cost", "redis-server", 1.2),
    server("http-4", "rate", "tiny_http", 3.0),
    server("http-64", "rate", "hyper", 0.75),
    std("dns", "cost", 1.04),
    published(builds::NAME, "build", Against::Server("std")),
    published(builds::NAME, "build", Against::Others),
    published(builds::NAME, "crates", Against::Others),
];

/// The goals as the rows of a table.
pub(crate) fn lines(figures: &Figures) -> Vec<String> {
    let mut lines =
        vec!["| case | figure | against | goal | measured | |".to_owned(), "|---|---|---|---|---|---|".to_owned()];
    let rows: Vec<String> = GOALS.iter().filter_map(|goal| goal.line(figures)).collect();
    let count = |verdict: &str| rows.iter().filter(|row| row.ends_with(&format!("| {verdict} |"))).count();
    let summary = format!("{} goals were met, {} missed.", count(MET), count(MISSED));
    lines.extend(rows);
    lines.extend([String::new(), summary]);
    lines
}

impl Goal {
    /// `None` if it was not measured.
    fn line(&self, figures: &Figures) -> Option<String> {
        let case = Case::by_name(self.case);
        let (title, measures) = case.map_or((builds::TITLE, builds::MEASURES), |case| (case.title, case.measures));
        let measure = measures.iter().find(|measure| measure.key == self.key)?;
        let among = if case.is_none() { builds::OTHERS } else { OTHERS };
        let (against, measured) = match self.against {
            Against::Server(base) => (base.to_owned(), figures.ratio(self.case, "landline", base, self.key)?),
            Against::Itself => ("itself".to_owned(), figures.spread(self.case, "landline", self.key)?),
            Against::Others => {
                let best = best(figures, self.case, measure, among)?;
                (format!("the best of the others: {best}"), figures.ratio(self.case, "landline", best, self.key)?)
            }
        };
        let Spread { median, least, most } = measured;
        let (goal, verdict) = match self.bound {
            None => ("published".to_owned(), ""),
            Some(bound) if measure.less_is_better => (format!("≤ {bound}"), verdict(median <= bound)),
            Some(bound) => (format!("≥ {bound}"), verdict(median >= bound)),
        };
        let measured = format!("{median:.3} ({least:.3} to {most:.3})");
        Some(format!("| {title} | {} | {against} | {goal} | {measured} | {verdict} |", measure.unit))
    }
}

const MET: &str = "met";
const MISSED: &str = "**missed**";

fn verdict(is_met: bool) -> &'static str {
    if is_met { MET } else { MISSED }
}

fn best<'a>(figures: &Figures, case: &str, measure: &Measure, among: &[&'a str]) -> Option<&'a str> {
    let medians = among.iter().filter_map(|server| Some((*server, figures.spread(case, server, measure.key)?.median)));
    let sign = if measure.less_is_better { -1.0 } else { 1.0 };
    medians.max_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1))).map(|(server, _)| server)
}

/// A name that is none would drop out of the table without a word.
#[test]
fn every_goal_is_of_a_case_and_a_figure() {
    for goal in GOALS {
        let measures = Case::by_name(goal.case).map_or(builds::MEASURES, |case| case.measures);
        assert!(measures.iter().any(|measure| measure.key == goal.key), "{} has no {}", goal.case, goal.key);
        assert!(goal.case == builds::NAME || Case::by_name(goal.case).is_some(), "there is no {}", goal.case);
    }
}
