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
mod examples;
mod fixtures;
mod is_ip;
mod lines;
mod listen;
mod options;
mod peers;
mod programs;
mod reports;
mod reset;
mod sigpipe;
mod support;
mod writes;
