//! A client: which address it connects to, for how long, and what ends an attempt.

// Helpers of tests that need channels.
#![cfg_attr(not(feature = "channel"), allow(dead_code, unused_imports))]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

#[cfg(unix)]
mod before_bind;
mod cancel;
mod endpoints;
mod lists;
mod race;
mod resolver;
mod this_machine;
