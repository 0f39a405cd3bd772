//! What landline promises, one test for each promise.

mod block_list;
mod encoding;
mod is_ip;
mod support;
