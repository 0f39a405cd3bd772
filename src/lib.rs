//! Node's `net` and `dgram` for Rust programs that block: one thread, one line.

mod address;
mod block_list;
mod cancel;
mod encoding;
mod error;
mod ip;
mod lock;
mod report;
mod running;
mod sys;

pub mod dgram;
pub mod net;

#[doc(no_inline)]
pub use crossbeam_channel as channel;

pub use address::{Address, Endpoint, Family};
pub use block_list::BlockList;
pub use cancel::Cancel;
pub use encoding::{Decoder, Encoding};
pub use error::{Error, Result};
pub use ip::{ToIp, is_ip, is_ipv4, is_ipv6};
pub use report::{Connection, ConnectionId, How, RefusedBy, Report};
pub use running::Running;
