//! A connection: reading, writing, its timers and options, and its end.

// Helpers of tests that need channels, or Linux.
#![cfg_attr(any(not(feature = "channel"), not(target_os = "linux")), allow(dead_code, unused_imports))]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod available;
mod buffered;
mod copies;
mod data;
mod destroy;
mod ends;
mod events;
mod lingering;

mod options;
mod outbox;
mod pause;
#[cfg(unix)]
mod raw;
mod relay;
mod reset;
mod slow_readers;
mod ticks;
mod timeouts;
mod unix;
mod vanished;
mod writes;
