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

const fn std(case: &'static str, key: &'static str, bound: f64) -> Goal {
    Goal { case, key, against: Against::Server("std"), bound: Some(bound) }
}

const fn others(case: &'static str, key: &'static str, bound: f64) -> Goal {
    Goal { case, key, against: Against::Others, bound: Some(bound) }
}

const fn published(case: &'static str, key: &'static str, against: Against) -> Goal {
    Goal { case, key, against, bound: None }
}

const GOALS: &[Goal] = &[
    std("echo-64-1", "rate", 0.99),
    others("echo-64-1", "rate", 1.05),
    std("echo-64-64", "rate", 0.98),
    published("echo-64-64", "rate", Against::Others),
    published("echo-64-64-polled", "rate", Against::Others),
    published("echo-64-256-polled", "rate", Against::Others),
    Goal { case: "echo-64k", key: "rate", against: Against::Server("std, no-delay"), bound: Some(1.6) },
    others("echo-64k", "rate", 1.15),
    std("bulk-1", "rate", 1.25),
    others("bulk-1", "rate", 1.2),
    std("bulk-8", "rate", 1.25),
    others("bulk-8", "rate", 1.2),
    std("churn-1", "rate", 1.6),
    others("churn-1", "rate", 1.05),
    std("churn-16", "rate", 2.3),
    others("churn-16", "rate", 1.0),
    std("burst", "seconds", 0.02),
    others("burst", "seconds", 1.0),
    std("refusals", "rate", 1.0),
    std("refusals", "p99", 1.0),
    others("refusals", "rate", 1.1),
    others("refusals", "p99", 0.5),
    std("udp", "rate", 0.99),
    others("udp", "rate", 1.1),
    std("udp-window", "rate", 0.99),
    others("udp-window", "rate", 1.1),
    Goal { case: "udp-flood", key: "loss", against: Against::Itself, bound: Some(0.0) },
    others("udp-flood", "loss", 1.0),
    std("idle", "resident", 0.75),
    published("idle", "resident", Against::Others),
    published("idle", "sum", Against::Server("std")),
    Goal { case: "proxy-1", key: "rate", against: Against::Server("splice by hand"), bound: Some(1.0) },
    others("proxy-1", "rate", 1.3),
    Goal { case: "proxy-8", key: "rate", against: Against::Server("splice by hand"), bound: Some(1.0) },
    others("proxy-8", "rate", 1.3),
    published(builds::NAME, "build", Against::Server("std")),
    others(builds::NAME, "build", 0.5),
    others(builds::NAME, "crates", 1.0),
];

/// The goals as the rows of a table.
pub(crate) fn lines(figures: &Figures) -> Vec<String> {
    let mut lines =
        vec!["| case | figure | against | goal | measured | |".to_owned(), "|---|---|---|---|---|---|".to_owned()];
    lines.extend(GOALS.iter().filter_map(|goal| goal.line(figures)));
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

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
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
