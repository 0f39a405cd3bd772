//! TCP: servers, and sockets that blocking calls read and write.
//!
//! Read the files in this order to follow a connection: `listen.rs` and `server.rs`, `accept.rs` (the workers),
//! `slots.rs` and `per_address.rs` and `ledger.rs` (who is let in), `refuse.rs` and `goodbye.rs` (who is not),
//! `proxied.rs` and `proxy_protocol.rs` (who comes through a load balancer); `connection.rs` (its state and its end) and
//! `linger.rs`, `read.rs` and `write.rs`, `timeout.rs` and `rate.rs`, `socket.rs` and `settings.rs` (the handle to it);
//! `outbox.rs` (queued writes), `events.rs` (callbacks), `channel.rs`; `shutdown.rs` (the server's end). A client begins
//! in `connect.rs`, `lookup.rs` (names) and `race.rs` (several addresses).

mod connect;
mod proxy;
mod server;
mod socket;
mod unix;

pub use connect::SocketOptions;
pub use server::Server;
pub use server::callbacks::ServerCallbacks;
pub use server::channel::ServerEvent;
pub use server::options::{ServerOptions, WhenFull};
pub use server::registry::{RefusedStats, Stats};
pub use server::reject::Refused;
pub use server::shutdown::ShutdownReport;
pub use socket::each::{SocketCallbacks, SocketEvent};
pub use socket::keep_alive::KeepAlive;
pub use socket::lines::Lines;
pub use socket::outbox::Outbox;
pub use socket::pipe::relay;
pub use socket::queue::Full;
pub use socket::{ReadyState, Socket};

pub use crate::sys::Raw;
