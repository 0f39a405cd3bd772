//! What landline promises, one test for each promise.

mod address;
mod addresses;
mod block_list;
mod connect;
mod counting;
mod data;
mod destroy;
mod encoding;
mod ends;
mod events;
mod fixtures;
mod is_ip;
mod lines;
mod listen;
mod options;
mod reports;
mod sigpipe;
mod support;
mod writes;
