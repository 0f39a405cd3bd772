//! TCP and Unix sockets: servers and clients that block.

// Each folder is an object, and each file in it is a role. `server` listens, admits clients and serves them. `connect`
// makes clients. `proxy` reads the header of load balancers. All three use `socket`, which imports none of them. To
// follow a connection, read `socket/connection.rs` (its state, and how it is closed), then `read.rs`, `write.rs` and
// `timers.rs`.
//
// Words: our direction ends when we send FIN, and the peer's direction ends when the peer does. A read then returns 0,
// the end of the stream. A connection is closed once its descriptor is shut down or closed. It ends in order if our FIN
// is sent without RST. A server is closed once it no longer listens, and has stopped once nothing of it runs any more.

mod connect;
mod proxy;
mod server;
mod socket;
mod unix;

pub use connect::options::SocketOptions;
pub use server::Server;
pub use server::callbacks::ServerCallbacks;
#[cfg(feature = "channel")]
pub use server::channel::ServerEvent;
pub use server::guard::ShutdownOnDrop;
pub use server::options::{ServerOptions, WhenFull};
pub use server::refuse::Refused;
pub use server::registry::ShutdownReport;
pub use server::registry::Stats;
pub use socket::buffered::Buffered;
pub use socket::each::SocketEvent;
pub use socket::keep_alive::KeepAlive;
pub use socket::outbox::Outbox;
pub use socket::outbox::error::SendError;
pub use socket::outbox::message::Message;
pub use socket::pipe::relay;
pub use socket::{ReadyState, Socket};
