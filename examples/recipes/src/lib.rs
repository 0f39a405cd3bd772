//! Compiles and runs the code of docs/recipes.md, that of foreign crates too: `cargo test`.

#![doc = include_str!(concat!(env!("OUT_DIR"), "/recipes.md"))]
