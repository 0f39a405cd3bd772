//! Makes the text for the documentation tests: what the library's own leave out, since they lack the crates, is marked `rs`.

use std::path::Path;
use std::{env, fs};

fn main() {
    let text = fs::read_to_string("../../docs/recipes.md").expect("the recipes can be read");
    let out = env::var_os("OUT_DIR").expect("Cargo names a folder");
    fs::write(Path::new(&out).join("recipes.md"), text.replace("```rs\n", "```rust\n").replace("```rs,", "```rust,"))
        .expect("it can be written to");
    println!("cargo::rerun-if-changed=../../docs/recipes.md");
}
