//! What landline promises, one test for each promise.

mod block_list;
mod encoding;
mod examples;
mod is_ip;
mod peers;
mod programs;
mod reset;
mod support;
