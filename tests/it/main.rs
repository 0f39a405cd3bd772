//! What landline promises, one test for each promise.

mod block_list;
mod clients;
mod close;
mod encoding;
mod faults;
mod is_ip;
mod limits;
mod support;
