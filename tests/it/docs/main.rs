//! The pages of docs/ and the documentation of the source, held against the code.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod defaults;
mod errors;
mod guide;
mod house;
mod index;
mod node;
mod others;
mod reference;
mod reliability;
mod stability;
mod twins;
mod voice;
mod wishes;
mod zero;
