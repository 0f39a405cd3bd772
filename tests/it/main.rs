//! What landline promises, one test for each promise.

mod accept;
mod block_list;
mod burst;
mod clients;
mod close;
mod encoding;
mod faults;
mod is_ip;
mod limits;
mod support;
