//! UDP: Node's `dgram`, blocking.
//!
//! A [`Socket`] is bound from the start, so there is no unbound state to get wrong: a client binds port 0. It can be
//! used in three ways: by [blocking calls](Socket::recv), by [events](Socket::each) on the thread that receives, or
//! through a [channel](Socket::events):
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
//! let (reply, from) = client.recv(&mut buffer)?.expect("nobody closed it");
//! assert_eq!((reply, from.address()), (&b"hello"[..], server.address()));
//!
//! server.close();
//! serving.join().expect("the loop does not panic");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Datagrams are whole: each is one message, also an empty one, and none is cut without saying so. They are not safe:
//! any may be lost, on the way or because the receiver is too slow. How many the second has cost, [`Socket::lost`]
//! says.
//!
//! # One socket, several threads
//! A [`Socket`] is a handle; clones are the same socket. Any number of threads may receive and send by it at once, and
//! each datagram goes to one receiver. [`close`](Socket::close) ends them all.
//!
//! # Two addresses, one machine
//! A socket bound to a wildcard (`0.0.0.0`, `::`) answers from the address the system chooses, which on a machine with
//! several need not be the one it was asked at. Where that matters, bind one socket to each address.

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
