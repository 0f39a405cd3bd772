//! What landline promises, one test for each promise.

mod block_list;
mod encoding;
mod fixtures;
mod is_ip;
mod outbox;
mod programs;
mod support;
mod timeouts;
