//! Allocations a message, counted in a process of its own that does nothing else.

use std::alloc::System;
use std::hint::black_box;
use std::io;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::client::Client;
use crate::numbers::Figure;
use crate::process;
use crate::ways::{self, Serving};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 1000;

pub fn measure() -> io::Result<Option<Vec<Figure>>> {
    let figure = |name: String| {
        let (count, _) = process::end(process::start(&[], &["allocate", &name])?)?;
        let count: f64 = count.trim().parse().map_err(io::Error::other)?;
        let figure = Figure::new(&format!("allocations/{name}"), count / MESSAGES as f64, "a message");
        // A thread that waits at a channel for the first time allocates: some few do or not.
        Ok(if name.contains("events") { figure.within(0.0) } else { figure })
    };
    ways::names().into_iter().map(figure).collect::<io::Result<_>>().map(Some)
}

/// Allocations during so many messages there and back, after as many for a start.
pub fn allocate(name: &str) -> io::Result<()> {
    let region = Region::new(ALLOCATOR);
    drop(black_box(Box::new(1)));
    assert!(region.change().allocations > 0, "an allocation is counted");
    let serving = Serving::start(name)?;
    let mut client = Client::of(name, serving.address)?;
    client.ask(MESSAGES)?;
    let region = Region::new(ALLOCATOR);
    client.ask(MESSAGES)?;
    let change = region.change();
    drop(client);
    serving.end()?;
    println!("{}", change.allocations + change.reallocations);
    Ok(())
}
