//! A client: which address it connects to, for how long, and what ends an attempt.

// Helpers of tests that need channels, or Linux.
#![cfg_attr(any(not(feature = "channel"), not(target_os = "linux")), allow(dead_code, unused_imports))]

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
