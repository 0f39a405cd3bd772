//! The curve of scale: what a server needs with more and more connections open, and what each message costs it then.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::chart::{self, Curve};
use crate::common::case::{CASES, Case, Load, Measure};
use crate::common::figures::{Figures, number};
use crate::common::load::{self, Outcome, PATIENCE, Target};
use crate::common::proc;
use crate::polled::{self, Clients};

pub(crate) const NAME: &str = "scale";
/// What its chart shows.
const CURVE: (&str, &str) = ("cost", "Scale: server us / message at full load");
const SIZE: usize = 64;
/// How many messages a second are sent however many connections there are.
const PACE: usize = 10_000;

pub(crate) fn run(connections: usize, target: Target, time: Duration) -> io::Result<Outcome> {
    // With one message a second on each of 100 connections, less than a second says nothing.
    let time = time.max(Duration::from_secs(1));
    let look = || -> io::Result<_> {
        let mappings = fs::read_to_string(format!("/proc/{}/maps", target.process))?.lines().count() as f64;
        let records = proc::memory_of_all("Slab:").ok_or(io::ErrorKind::Unsupported)?;
        Ok((load::memory(target)?, mappings, records))
    };
    let before = look()?;
    let clients = Mutex::new(Clients::open(target.at, connections, SIZE)?);
    let after = look()?;
    let mut outcome = load::memory_each(before.0, after.0, connections);
    let each = |before: f64, after: f64| (after - before) / connections as f64;
    outcome.extend([("mappings", each(before.1, after.1)), ("records", each(before.2, after.2))]);
    const PACED: [&str; 4] = ["paced-cost", "paced-switches", "paced-p50", "paced-p99"];
    const EACH: [&str; 4] = ["each-cost", "each-switches", "each-p50", "each-p99"];
    for (rate, keys) in [(PACE, PACED), (connections, EACH)] {
        outcome.extend(keys.into_iter().zip(paced(&clients, rate, target, time)?));
    }
    outcome.extend(load::repeat(1, target, time, || {}, |_| polled::echo(&clients))?);
    Ok(outcome)
}

/// So many messages a second in all, on one connection after the other, by one thread that sends and one that polls.
/// Gives the server's time and its switches for a message, and how long an answer takes.
fn paced(clients: &Mutex<Clients>, rate: usize, target: Target, time: Duration) -> io::Result<[f64; 4]> {
    let lock = || clients.lock().expect("no load panics");
    let (streams, start) = (lock().streams.clone(), Instant::now());
    let now = || start.elapsed().as_nanos() as u64;
    // When what is under way on each was sent; 0 if nothing is.
    let sent: Vec<AtomicU64> = streams.iter().map(|_| AtomicU64::new(0)).collect();
    let waits = Mutex::new(Vec::new());
    let receive = || {
        let mut waits = waits.lock().expect("no load panics");
        lock().look(|i, _| {
            waits.push((now() - sent[i].swap(0, SeqCst)) as f64 / 1e3);
            Ok(())
        })
    };
    let sender = || {
        let (mut begun, mut next) = (None, 0);
        let (streams, sent) = (&streams, &sent);
        move || {
            let begun = *begun.get_or_insert_with(Instant::now);
            let due = (begun.elapsed().as_secs_f64() * rate as f64) as usize;
            if next == due {
                let then = begun + Duration::from_secs_f64((next + 1) as f64 / rate as f64);
                thread::sleep(then.saturating_duration_since(Instant::now()));
            }
            while next < due {
                let i = next % streams.len();
                next += 1;
                // One that still waits is left out, so no more than one message is ever under way on a connection.
                if sent[i].load(SeqCst) == 0 {
                    sent[i].store(now(), SeqCst);
                    (&streams[i]).write_all(&[7; SIZE])?;
                }
            }
            Ok(0)
        }
    };
    let (receive, sender) = (&receive, &sender);
    let outcome = load::repeat(
        2,
        target,
        time,
        || {},
        |i| Ok(if i == 0 { Box::new(receive) as Box<dyn FnMut() -> io::Result<u64>> } else { Box::new(sender()) }),
    )?;
    let end = Instant::now() + PATIENCE;
    while sent.iter().any(|sent| sent.load(SeqCst) != 0) && Instant::now() < end {
        receive()?;
    }
    let of = |key| outcome.iter().find(|figure| figure.0 == key).map_or(f64::NAN, |figure| figure.1);
    let [median, most] = load::median_and_99(waits.into_inner().expect("no load panicked"));
    Ok([1e6 * of("server") / of("rate"), of("server_switches") / of("rate"), median, most])
}

/// The points of the curve, with how many connections each has.
fn points() -> impl Iterator<Item = (&'static Case, usize)> {
    CASES.iter().filter_map(|case| match case.load {
        Load::Scale { connections } => Some((case, connections)),
        _ => None,
    })
}

pub(crate) fn names() -> Vec<&'static str> {
    points().map(|(case, _)| case.name).collect()
}

pub(crate) fn servers(figures: &Figures) -> Vec<&str> {
    points().next().map_or(Vec::new(), |(first, _)| figures.servers(first.name))
}

/// A row for each figure of each server, and a column for each number of connections; and below what more would take.
pub(crate) fn tables(figures: &Figures) -> String {
    let median = |case: &Case, server: &str, key: &str| figures.spread(case.name, server, key).map(|of| of.median);
    let cell = |value: Option<f64>| value.map_or("".into(), number);
    let head = |what: &str, columns: Vec<String>| {
        format!("| {what} | server | {} |\n|---|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
    };
    let mut text = head("connections", points().map(|(_, n)| number(n as f64)).collect());
    let clients = Measure { key: "client", unit: "clients busy", less_is_better: true };
    for measure in points().next().map_or(&[][..], |(first, _)| first.measures).iter().chain([&clients]) {
        for server in servers(figures) {
            let cells: Vec<_> = points().map(|(case, _)| cell(median(case, server, measure.key))).collect();
            text += &format!("| {} | {server} | {} |\n", measure.unit, cells.join(" | "));
        }
    }
    text += "\nOn paper, by what each of 10,000 connections takes:\n\n";
    const MORE: [f64; 3] = [10_000.0, 30_000.0, 100_000.0];
    text += &head("connections", MORE.map(number).to_vec());
    let rows = [
        ("mappings", "mappings", 1.0),
        ("sum", "GB of memory", 1e-9),
        ("records", "GB of the kernel's records, both ends", 1e-9),
    ];
    for (key, unit, by) in rows {
        for server in servers(figures) {
            let each = points().find(|(_, n)| *n == 10_000).and_then(|(case, _)| median(case, server, key));
            // An event loop has none for a connection.
            let Some(each) = each.filter(|each| *each >= 1.0) else { continue };
            let cells = MORE.map(|n| number(each * n * by));
            text += &format!("| {unit} | {server} | {} |\n", cells.join(" | "));
        }
    }
    text
}

/// The title of the chart, and the chart.
pub(crate) fn chart(figures: &Figures) -> (&'static str, String) {
    let curve = |server| -> Curve {
        let point = |(case, n): (&Case, usize)| Some((n as f64, figures.spread(case.name, server, CURVE.0)?));
        (server, points().filter_map(point).collect())
    };
    let curves: Vec<_> = servers(figures).into_iter().map(curve).collect();
    (CURVE.1, chart::curves(CURVE.1, "by the number of connections; less is better", &curves))
}
