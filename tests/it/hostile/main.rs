//! Hostile peers, hostile callbacks, and a system that runs out of everything.

// Helpers of tests that need channels, or Linux.
#![cfg_attr(any(not(feature = "channel"), not(target_os = "linux")), allow(dead_code, unused_imports))]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod callbacks;
mod connect;
mod dgram;
mod faults;
mod overload;
mod pitfalls;
mod sigpipe;
mod slow_peers;
