//! Examples and lessons: each is started, and what it prints is compared with what its page shows.

// Helpers of tests that need Linux.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod browser;
mod chat;
mod dashboard;
mod dgram;
mod embedded;
mod headers;
mod http_hello;
mod interop;
mod lessons;
mod pictures;
mod player;
mod ports;
mod processes;
mod proxy;
mod redis;
mod select_loop;
mod served;
mod states;
