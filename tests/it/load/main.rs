//! Many clients at once.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod burst;
mod crowd;
mod lingering;
mod scale;
mod stampede;
mod wakes;
