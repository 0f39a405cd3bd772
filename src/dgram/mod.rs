//! UDP sockets that block, modelled on Node's `dgram`.
//!
//! A [`Socket`] is always bound to an address. A client binds port 0. There are three ways to receive:
//!
//! - [blocking calls](Socket::recv)
//! - [events](Socket::each), handled on the thread that receives
//! - a [channel](Socket::events)
//!
//! ```
//! use landline::dgram::Socket;
//!
//! let server = Socket::bind("127.0.0.1:0")?;
//! let echo = server.clone();
//! let serving = std::thread::spawn(move || {
//!     let mut buffer = [0; 65_535];
//!     while let Ok(Some((bytes, from))) = echo.recv(&mut buffer) {
//!         let _ = echo.send_to(bytes, &from);
//!     }
//! });
//!
//! let client = Socket::bind("127.0.0.1:0")?;
//! client.send_to(b"hello", server.address())?;
//! let mut buffer = [0; 100];
//! let (reply, from) = client.recv(&mut buffer)?.expect("it is open");
//! assert_eq!((reply, from.address()), (&b"hello"[..], server.address()));
//!
//! server.close();
//! serving.join().expect("the loop does not panic");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Each datagram is one message and arrives whole. It may be empty. If a buffer is too small for a datagram, the
//! receiver can [see](RemoteInfo::is_truncated) that the rest is missing. Datagrams may be lost, on the network or
//! because the receiver is too slow. [`Socket::lost`] counts those lost because the receiver was too slow.
//!
//! # One socket, several threads
//! A [`Socket`] is a handle, and its clones are the same socket. Any number of threads may receive and send at the same
//! time. Each datagram goes to one receiver. [`close`](Socket::close) wakes all receivers.
//!
//! # A machine with several addresses
//! A socket bound to a wildcard (`0.0.0.0`, `::`) sends from the address that the system chooses. On a machine with
//! several addresses, an answer may therefore come from a different address than the one that the request was sent to.
//! If that matters, bind one socket to each address.

mod bind;
#[cfg(feature = "channel")]
mod channel;
mod connect;
mod each;
mod interface;
mod multicast;
mod options;
mod receive;
mod send;
mod settings;
mod shared;
mod socket;
mod timeouts;
mod udp;
mod wake;

pub use each::SocketEvent;
pub use interface::Interface;
pub use options::SocketOptions;
pub use receive::RemoteInfo;
pub use socket::Socket;
