//! Datagram sockets.

// Helpers of tests that need Linux.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod address;
#[cfg(feature = "channel")]
mod channel;
mod close;
mod connected;
mod events;
mod loss;
mod multicast;
mod neighbours;
mod options;
#[cfg(unix)]
mod own;
#[cfg(unix)]
mod raw;
mod receive;
mod send;
