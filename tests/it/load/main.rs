//! Many clients at once.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod burst;
mod crowd;
mod scale;
mod stampede;
