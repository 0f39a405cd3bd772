//! Datagram sockets.

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
