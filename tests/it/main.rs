//! What landline promises, one test for each promise.

mod block_list;
mod cancel;
mod connecting;
mod encoding;
mod is_ip;
mod support;
