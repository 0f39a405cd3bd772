//! TCP: servers, and sockets that blocking calls read and write.
//!
//! Read the files in this order to follow a connection: `listen.rs` and `server.rs`, `accept.rs` (the workers),
//! `slots.rs` and `per_address.rs` and `ledger.rs` (who is let in), `refuse.rs` and `goodbye.rs` (who is not),
//! `proxied.rs` and `proxy_protocol.rs` (who comes through a load balancer); `connection.rs` (its state and its end) and
//! `linger.rs`, `read.rs` and `write.rs`, `timeout.rs` and `rate.rs`, `socket.rs` and `settings.rs` (the handle to it);
//! `outbox.rs` (queued writes), `events.rs` (callbacks), `channel.rs`; `shutdown.rs` (the server's end). A client begins
//! in `connect.rs`, `lookup.rs` (names) and `race.rs` (several addresses).

mod accept;
mod channel;
mod connect;
mod connection;
mod events;
mod goodbye;
mod keep_alive;
mod ledger;
mod lines;
mod linger;
mod listen;
mod lookup;
mod outbox;
mod per_address;
mod pipe;
mod proxied;
mod proxy_protocol;
mod queued;
mod race;
mod rate;
mod read;
mod refuse;
mod server;
mod settings;
mod shutdown;
mod slots;
mod socket;
mod timeout;
mod unix;
mod write;

pub use channel::ServerEvent;
pub use connect::SocketOptions;
pub use events::{ServerCallbacks, SocketCallbacks, SocketEvent};
pub use keep_alive::KeepAlive;
pub use ledger::{RefusedStats, Stats};
pub use lines::Lines;
pub use listen::ServerOptions;
pub use outbox::{Full, Outbox};
pub use pipe::relay;
pub use refuse::{Refused, WhenFull};
pub use server::Server;
pub use shutdown::ShutdownReport;
pub use socket::{ReadyState, Socket};

pub use crate::sys::Raw;
