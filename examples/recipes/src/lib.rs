//! Compiles and runs the code of docs/recipes.md by `cargo test`, also that of foreign crates.

#![doc = include_str!(concat!(env!("OUT_DIR"), "/recipes.md"))]
