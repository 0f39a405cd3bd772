//! What the report hook of a server was told, in one sequence, and what has to hold of it.

use std::collections::HashMap;
use std::sync::Mutex;

use landline::net::Stats;
use landline::{ConnectionId, Outcome, Report};

use crate::lock;

/// The reports of one server.
#[derive(Default)]
pub struct Book(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    /// How many reports came.
    told: u64,
    connections: HashMap<ConnectionId, Told>,
    refused: u64,
    closing: u64,
    /// The numbers of the reports `Closed`.
    closed: Vec<u64>,
    wrong: Vec<String>,
}

/// What was told of one connection: the numbers of its reports.
#[derive(Default)]
struct Told {
    accepted: Vec<u64>,
    ended: Vec<(u64, Ended)>,
}

/// How a connection ended.
#[derive(Clone, Copy)]
pub struct Ended {
    pub outcome: Outcome,
    pub read: u64,
    pub written: u64,
}

impl Book {
    /// Numbers a report, before the hook does anything else.
    pub fn record(&self, report: &Report) {
        let pages = &mut *lock(&self.0);
        pages.told += 1;
        let number = pages.told;
        if !pages.closed.is_empty() {
            pages.wrong.push(format!("told after Closed: {report}"));
        }
        match report {
            Report::Accepted { connection, .. } => {
                pages.connections.entry(connection.id).or_default().accepted.push(number);
            }
            Report::Ended { connection, outcome, read, written, .. } => {
                let ended = Ended { outcome: *outcome, read: *read, written: *written };
                pages.connections.entry(connection.id).or_default().ended.push((number, ended));
            }
            Report::Refused { .. } => pages.refused += 1,
            Report::Closing { .. } => pages.closing += 1,
            Report::Closed { .. } => pages.closed.push(number),
            _ => {}
        }
    }

    pub fn ended(&self, id: ConnectionId) -> Option<Ended> {
        lock(&self.0).connections.get(&id).and_then(|told| told.ended.first()).map(|(_, ended)| *ended)
    }

    /// What does not hold, of a server that is over.
    pub fn check(&self, stats: Stats) -> Vec<String> {
        let pages = &mut *lock(&self.0);
        let mut wrong = std::mem::take(&mut pages.wrong);
        if stats.accepted != stats.ended + stats.failed + stats.panicked || stats.open != 0 {
            wrong.push(format!("the accounts do not balance: {stats:?}"));
        }
        if pages.connections.len() as u64 != stats.accepted {
            wrong.push(format!("{} connections were told of, of {}", pages.connections.len(), stats.accepted));
        }
        if pages.refused != stats.refused_total() {
            wrong.push(format!("{} clients were reported as refused, of {}", pages.refused, stats.refused_total()));
        }
        if pages.closing != 1 {
            wrong.push(format!("Closing was told {} times", pages.closing));
        }
        let last = match pages.closed[..] {
            [last] => last,
            _ => {
                wrong.push(format!("Closed was told {} times", pages.closed.len()));
                pages.told + 1
            }
        };
        for (id, told) in &pages.connections {
            let in_order = match (&told.accepted[..], &told.ended[..]) {
                ([accepted], [(ended, _)]) => accepted < ended && *ended < last,
                _ => false,
            };
            if !in_order {
                let ended: Vec<_> = told.ended.iter().map(|(number, _)| number).collect();
                wrong.push(format!("{id}: Accepted {:?} < Ended {ended:?} < Closed {last}", told.accepted));
            }
        }
        wrong
    }
}
