//! Types without a socket: addresses, block lists, encodings.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod address;
#[cfg(feature = "channel")]
mod auto_traits;
mod block_list;
mod encoding;
mod errors;
