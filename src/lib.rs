#![cfg_attr(all(doc, not(doctest)), doc = include_str!("guide/links.md"))]
//! Node's `net` and `dgram` for Rust programs that block. TCP servers, clients and UDP sockets, one thread for each
//! connection.
//!
//! ```
//! use landline::net::{Server, Socket};
//!
//! let server = Server::listen("127.0.0.1:0")?;
//! let echo = server.spawn(|socket| socket.pipe(socket))?; // on each connection's own thread
//!
//! let client = Socket::connect(server.address())?;
//! client.write_end("hello")?;
//! assert_eq!(std::io::read_to_string(&client)?, "hello");
//!
//! server.close();
//! echo.join()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! It is for servers and tools with up to some thousands of connections whose code should read from top to bottom. One
//! connection is one function. If one connection at a time is enough, std alone will do. For tens of thousands of
//! connections, or if most of them only wait, take mio or tokio. If your program is asynchronous already, take tokio.
//!
//! # Ways to use it
//!
//! | | by calls that block | by events | by one channel |
//! |---|---|---|---|
//! | [`net::Server`] | [`accept`](net::Server::accept), [`serve`](net::Server::serve), [`spawn`](net::Server::spawn) | [`on`](net::Server::on) | [`events`](net::Server::events), [`incoming`](net::Server::incoming) |
//! | [`net::Socket`] | it is `Read` and `Write`; [`buffered`](net::Socket::buffered), [`pipe`](net::Socket::pipe), … | [`each`](net::Socket::each) | [`events`](net::Socket::events) |
//! | [`dgram::Socket`] | [`recv`](dgram::Socket::recv), [`send_to`](dgram::Socket::send_to), [`send`](dgram::Socket::send) | [`each`](dgram::Socket::each) | [`events`](dgram::Socket::events) |
//!
//! Begin with the first column. `each` is a read loop that hands one event at a time to one closure. A server's `on`
//! has one closure for each kind of event, in Node's words. In both columns you may block. The third column is for a
//! program that already is a loop. [`channel`] has `select!`, and that loop must not block, see [`Events`].
//!
//! Options come first and the call that makes the socket last: [`net::ServerOptions`], [`net::SocketOptions`],
//! [`dgram::SocketOptions`]. The short calls [`Server::listen`](net::Server::listen),
//! [`Socket::connect`](net::Socket::connect) and [`dgram::Socket::bind`] take the defaults. Where to listen, connect
//! and send may be written in [many ways](Endpoint). The `report` hook gets a line for each thing that
//! [happens](Report). A [`Cancel`] ends servers, sockets and connects from any thread.
//!
//! # Threads
//!
//! ![Three clients are connected, each to a thread of its own. A fourth client finds the server full.][server.svg]
//!
//! A server has one thread for each open connection and a few that wait for the next client. The thread that accepts a
//! client also serves it. Before it does, it makes sure that another thread is accepting. No connection changes
//! threads, and a thread whose client has gone accepts again. The handler runs on its connection's thread, so blocking
//! there delays no other connection. A second thread may write to a socket while the first one reads, by a reference or
//! a clone. [`destroy`](net::Socket::destroy) and [`close`](net::Server::close), called on any thread, wake the threads
//! that are blocked. [`serve`](net::Server::serve) returns when the server is closed and the last handler has returned,
//! and no thread outlives it. [`shutdown`](net::Server::shutdown) gives the handlers a time to return and says how many
//! did not.
//!
//! The threads of all servers, event loops and outboxes of the process have a common ceiling. On Linux it is a quarter
//! of what `vm.max_map_count` leaves beside the program's own memory mappings, less 1,000. Clients beyond it are
//! refused.
//!
//! A datagram socket has no thread but yours, unless you ask for [`events`](dgram::Socket::events), which start one.
//! Any number of threads may receive from one socket.
//!
//! # Features
//!
//! `channel` is on unless a program sets `default-features = false`. It adds the third column above, [`Events`] and
//! [`channel`], which is the crate `crossbeam-channel` and part of the public interface. Without it that crate is not
//! compiled. Nothing else differs.
//!
//! # What it does not do
//!
//! - No TLS, no HTTP, no framing but [lines](net::Buffered).
//! - No async. Waiting for a socket takes a thread. A channel brings the events of many sockets to one thread, but each
//!   connection still has its own.
//! - It catches no signals and prints nothing. What happens goes to the `report` hook.
//! - Built with `panic = "abort"`, a panic in a handler ends the process.
//!
//! # Further reading
//!
//! These are the pages of docs/, in the module [`guide`].
//!
//! - [The tour](guide::tour) shows every part in short and lists the examples.
//! - [The lessons](guide::lessons) (in Chinese docs/zh/) teach sockets, from a first server to many machines.
//! - [Design](guide::design) says why it is made as it is, [the index](guide::index) which function shows which idea,
//!   [defaults](guide::defaults) every default, [reference](mod@guide::reference) every error code, what blocks, what
//!   wakes it and every fixed interval, [stability](guide::stability) what is stable. docs/benchmarks.md has the speed
//!   beside other libraries.
//! - [Coming from Node](guide::node) lists each option, method and event of Node's, its name here and the test that
//!   proves it. It says where and why landline differs, and has the programs of a Node tutorial with their
//!   counterparts.
//! - [Coming from std](guide::std) does the same for std's sockets, call by call, with the kinds of errors. [A short
//!   table](guide::others) is for Go, tokio and Python. [Asked for in std](guide::wishes) has what people miss there.
//! - [Recipes](guide::recipes) has TLS, WebSockets, JSON, a GUI, a pool, CONNECT, handlers that are not `Sync`, a
//!   server for a test, logs, metrics and Ctrl+C, in few lines each. [Twins](guide::twins) has the examples beside plain
//!   std.
//! - [Reliability](guide::reliability) lists what was done to break it, with loom, fuzzing, a stampede and 10,000
//!   connections at once. It has a test for each of thirty known pitfalls.
//! - [Embedding](guide::embedding) says what a host program may rely on about signals, output, threads, globals and
//!   unloading.
//! - [Platforms](guide::platforms) lists what differs between systems. Linux is tested, Windows under Wine. Others have
//!   been type-checked only.
//! - Each program in examples/ says what to type and what it prints.

#![warn(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "in a test it is an assertion"))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "channel"),
    allow(
        dead_code,
        rustdoc::broken_intra_doc_links,
        reason = "channels alone use some of it, and much points to them"
    )
)]

mod address;
mod before_bind;
mod block_list;
mod callback;
mod cancel;
mod encoding;
mod endpoint;
mod error;
#[cfg(feature = "channel")]
mod events;
mod limit;
mod numbered;
mod one_line;
mod report;
mod slots;
mod sync;
mod sys;
mod thread;

pub mod dgram;
#[cfg(all(doc, not(doctest)))]
pub mod guide;
pub mod net;

#[cfg(feature = "channel")]
#[doc(no_inline)]
pub use crossbeam_channel as channel;

pub use address::{Address, Family};
pub use block_list::BlockList;
pub use cancel::Cancel;
pub use encoding::{Decoder, Encoding};
pub use endpoint::Endpoint;
pub use error::Error;
#[cfg(feature = "channel")]
pub use events::Events;
pub use limit::{Limit, Slot};
pub use report::{ConnectionId, ConnectionInfo, Outcome, RefusedBy, Report};
pub use thread::Running;

/// Compiles and runs the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles and runs the code of the tour.
#[cfg(doctest)]
#[doc = include_str!("../docs/tour.md")]
struct Tour;

/// Compiles and runs what people ask of std's sockets.
#[cfg(all(doctest, feature = "channel"))]
#[doc = include_str!("../docs/wishes.md")]
struct Wishes;

/// Compiles and runs the lessons' code.
#[cfg(doctest)]
mod lessons {
    #[doc = include_str!("../docs/lessons/01-a-first-server.md")]
    struct One;
    #[doc = include_str!("../docs/lessons/02-talking-to-a-client.md")]
    struct Two;
    #[doc = include_str!("../docs/lessons/03-the-clients-side.md")]
    struct Three;
    #[doc = include_str!("../docs/lessons/04-who-says-goodbye.md")]
    struct Four;
    #[doc = include_str!("../docs/lessons/05-how-many-at-once.md")]
    struct Five;
    #[doc = include_str!("../docs/lessons/06-time.md")]
    struct Six;
    #[doc = include_str!("../docs/lessons/07-many-writers-slow-readers.md")]
    struct Seven;
    #[doc = include_str!("../docs/lessons/08-datagrams.md")]
    struct Eight;
    #[doc = include_str!("../docs/lessons/09-one-to-many.md")]
    struct Nine;
    #[cfg(feature = "channel")]
    #[doc = include_str!("../docs/lessons/10-one-loop-for-everything.md")]
    struct Ten;
    #[doc = include_str!("../docs/lessons/11-shutting-down.md")]
    struct Eleven;
    #[doc = include_str!("../docs/lessons/12-many-machines.md")]
    struct Twelve;
}

/// Compiles and runs the recipes' code, that of foreign crates excepted.
#[cfg(doctest)]
#[doc = include_str!("../docs/recipes.md")]
struct Recipes;

/// Compiles and runs the code of the page on std's sockets.
#[cfg(doctest)]
#[doc = include_str!("../docs/std.md")]
struct ComingFromStd;

/// Compiles the code of the page on twins.
#[cfg(doctest)]
#[doc = include_str!("../docs/twins.md")]
struct Twins;

/// Compiles and runs the code of the page on what a host program may rely on.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;
