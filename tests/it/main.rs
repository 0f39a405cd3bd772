//! What landline promises, one test for each promise.

mod block_list;
mod channel;
mod encoding;
mod fixtures;
mod is_ip;
mod outbox;
mod pause;
mod programs;
mod support;
mod timeouts;
