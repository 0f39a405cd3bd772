//! A server: listening, accepting, its limit, its reports, and its end.

// Helpers of tests that need channels, or Linux.
#![cfg_attr(any(not(feature = "channel"), not(target_os = "linux")), allow(dead_code, unused_imports))]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod accept;
mod accept_timeout;
mod adopt;
#[cfg(unix)]
mod before_bind;
mod block_list;
#[cfg(feature = "channel")]
mod channel;
mod close;
mod count;
mod embedding;
#[cfg(feature = "channel")]
mod ends_from_inside;
mod filter;
mod givers;
mod guard;
mod idle;
#[cfg(feature = "channel")]
mod inherit;
mod limit;
mod listen;
#[cfg(feature = "channel")]
mod one_clock;
mod overload;
#[cfg(unix)]
mod own;
mod programs;
mod raw;
mod reports;
mod restarts;
mod shared_limit;
mod shutdown;
mod shutdown_input;
mod timed_waits;
