//! TCP: servers, and sockets that blocking calls read and write.
//!
//! Read the files in this order to follow a connection: `server.rs` (listening), `accept.rs` (the workers), `slots.rs` and
//! `ledger.rs` (who is let in), `connection.rs` and `socket.rs` (the connection), `events.rs` (callbacks), `shutdown.rs`
//! (the end). A client begins in `connect.rs`, `lookup.rs` (names) and `race.rs` (several addresses).

mod accept;
mod channel;
mod connect;
mod connection;
mod events;
mod keep_alive;
mod ledger;
mod lines;
mod lookup;
mod outbox;
mod pipe;
mod race;
mod refuse;
mod server;
mod shutdown;
mod slots;
mod socket;
mod timeout;
mod unix;

pub use channel::ServerEvent;
pub use connect::SocketOptions;
pub use events::{ServerCallbacks, SocketCallbacks, SocketEvent};
pub use keep_alive::KeepAlive;
pub use ledger::{RefusedStats, Stats};
pub use lines::Lines;
pub use outbox::{Full, Outbox};
pub use pipe::relay;
pub use refuse::Refused;
pub use server::{Server, ServerOptions, WhenFull};
pub use shutdown::ShutdownReport;
pub use socket::{ReadyState, Socket};

pub use crate::sys::Raw;
