//! What landline promises, one test for each promise.

mod attributes;
mod block_list;
mod block_list_net;
mod channel;
mod chat;
mod crowd;
mod docs_node;
mod encoding;
mod fixtures;
mod is_ip;
mod outbox;
mod pause;
mod programs;
mod proxy;
mod select_loop;
mod support;
mod timeouts;
mod unix;
