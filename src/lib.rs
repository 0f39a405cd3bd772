#![cfg_attr(all(doc, not(doctest)), doc = include_str!("guide/links.md"))]
//! Node's `net` and `dgram` for Rust programs that block: TCP servers, TCP clients and UDP sockets, with one thread for
//! each connection.
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
//! landline is for servers and tools with up to a few thousand connections. The code of one connection is one function,
//! which reads from top to bottom. If one connection at a time is enough, use std alone. For tens of thousands of
//! connections, or if most of them only wait, use mio or tokio. If your program is already asynchronous, use tokio.
//!
//! # Ways to use it
//!
//! | | by calls that block | by events | by one channel |
//! |---|---|---|---|
//! | [`net::Server`] | [`accept`](net::Server::accept), [`serve`](net::Server::serve), [`spawn`](net::Server::spawn) | [`on`](net::Server::on) | [`events`](net::Server::events), [`incoming`](net::Server::incoming) |
//! | [`net::Socket`] | it is `Read` and `Write`; [`buffered`](net::Socket::buffered), [`pipe`](net::Socket::pipe), … | [`each`](net::Socket::each) | [`events`](net::Socket::events) |
//! | [`dgram::Socket`] | [`recv`](dgram::Socket::recv), [`send_to`](dgram::Socket::send_to), [`send`](dgram::Socket::send) | [`each`](dgram::Socket::each) | [`events`](dgram::Socket::events) |
//!
//! Begin with the first column. [`each`](net::Socket::each) runs a read loop that passes each event to one closure. A
//! server's [`on`](net::Server::on) takes one closure for each kind of event, under Node's event names. The code in the
//! first two columns may block. The third column is for a program that already has a main loop. That loop can wait for
//! several channels with the `select!` of [`channel`]. It must not block on anything else, see [`Events`].
//!
//! Options come first. The last call on them, such as `listen`, `connect` or `bind`, makes the server or socket. See
//! [`net::ServerOptions`], [`net::SocketOptions`] and [`dgram::SocketOptions`]. The short calls
//! [`Server::listen`](net::Server::listen), [`Socket::connect`](net::Socket::connect) and [`dgram::Socket::bind`] use
//! the default options. Every call that takes an address accepts it in [many forms](Endpoint). The `report` hook
//! receives a [`Report`] of everything that happens. A [`Cancel`] closes servers and sockets and aborts connects, from
//! any thread.
//!
//! # Threads
//!
//! ![Three clients are connected, each to a thread of its own. A fourth client finds the server full.][server.svg]
//!
//! A server has one thread for each open connection, and a few threads that wait for the next client.
//!
//! - The thread that accepts a client also serves it. Before the thread serves the client, it makes sure that another
//!   thread is accepting.
//! - A connection stays on one thread. When the connection has ended, its thread accepts again.
//! - The handler runs on its connection's thread, so a handler that blocks delays no other connection.
//! - While one thread reads from a socket, a second thread may write to it, through a reference or a clone.
//! - [`destroy`](net::Socket::destroy) and [`close`](net::Server::close) may be called on any thread. They wake the
//!   threads that are blocked on the socket or server.
//! - [`serve`](net::Server::serve) returns when the server is closed and the last handler has returned. All of its
//!   threads have ended by then.
//! - [`shutdown`](net::Server::shutdown) waits a limited time for the handlers to return, and reports how many did not.
//!
//! All servers, event loops and outboxes of the process share one limit of threads. On Linux the limit is a quarter of
//! the free memory mappings, minus 1,000. The free memory mappings are `vm.max_map_count` minus those that the rest of
//! the program uses. When the limit is reached, new clients are refused.
//!
//! A datagram socket uses only the threads that call it. The exception is [`events`](dgram::Socket::events), which
//! starts one thread. Any number of threads may receive from one socket.
//!
//! # Features
//!
//! `channel` is on by default. Set `default-features = false` to turn it off. The feature adds the third column above,
//! the type [`Events`], and the module [`channel`]. That module is the crate `crossbeam-channel`, which is part of
//! landline's public interface. Without the feature, `crossbeam-channel` is not compiled and everything else stays the
//! same.
//!
//! # What it does not do
//!
//! - No TLS, no HTTP. The only framing is [lines](net::Buffered).
//! - No async. Each open connection has a thread. A channel brings the events of many sockets to one thread, but the
//!   connections keep their threads.
//! - It catches no signals and prints nothing. Events that a program may want to log go to the `report` hook.
//! - In a program built with `panic = "abort"`, a panic in a handler ends the process.
//!
//! # Further reading
//!
//! The module [`guide`] has the pages of docs/.
//!
//! - [The tour](guide::tour) shows every part briefly and lists the examples.
//! - [The lessons](guide::lessons) teach sockets, from a first server to many machines. docs/zh/ has them in Chinese.
//! - [Design](guide::design) gives the reasons for the design. [The index](guide::index) says which function shows
//!   which idea.
//! - [Defaults](guide::defaults) lists every default. [Reference](mod@guide::reference) lists every error code, every
//!   call that blocks, what wakes it, and every fixed interval. [Stability](guide::stability) says which parts will not
//!   change.
//! - docs/benchmarks.md compares the speed with that of other libraries.
//! - [Coming from Node](guide::node) lists each option, method and event of Node, with its name here and the test that
//!   proves it. It also says where landline differs and why, and shows the programs of a Node tutorial next to their
//!   landline versions.
//! - [Coming from std](guide::std) lists each call of std's sockets with its name here, and the kinds of errors. [A
//!   short table](guide::others) does this for Go, tokio and Python. [Asked for in std](guide::wishes) shows what
//!   people miss in std.
//! - [Recipes](guide::recipes) are short programs for TLS, WebSockets, JSON, a GUI, a pool, CONNECT, handlers that are
//!   not `Sync`, a server in a test, logs, metrics and Ctrl+C. [Twins](guide::twins) shows the examples next to plain
//!   std.
//! - [Reliability](guide::reliability) lists the tests that tried to break landline, such as loom, fuzzing, a thousand
//!   hostile clients, and 10,000 connections at once. It has a test for each of thirty known pitfalls.
//! - [Embedding](guide::embedding) says what a host program may rely on about signals, output, threads, globals and
//!   unloading.
//! - [Platforms](guide::platforms) lists what differs between systems. The tests run on Linux, and under Wine for
//!   Windows. On other systems landline has only been type-checked.
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
mod zone;

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
#[cfg(all(doctest, feature = "channel"))]
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
