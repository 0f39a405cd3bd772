//! A client: which address it connects to, for how long, and what ends an attempt.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

#[cfg(unix)]
mod before_bind;
mod cancel;
mod endpoints;
mod lists;
mod race;
mod resolver;
mod this_machine;
