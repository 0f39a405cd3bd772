//! The tests of the whole crate, in one binary. Each file is about one thing, each test's name is what it claims.

mod dgram_address;
mod dgram_connected;
mod dgram_events;
mod dgram_examples;
mod dgram_loss;
mod dgram_multicast;
mod dgram_options;
mod dgram_receive;
mod dgram_send;
mod dgram_stop;
mod support_dgram;
