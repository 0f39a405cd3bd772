//! The PROXY protocol: headers, servers that expect them, and HAProxy.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod haproxy;
mod header;
mod server;
