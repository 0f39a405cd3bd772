//! The PROXY protocol: headers, servers that expect them, and HAProxy.

// Helpers of tests that need Linux.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod haproxy;
mod header;
mod server;
