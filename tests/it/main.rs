//! What landline promises, one test for each promise.

mod encoding;
mod is_ip;
