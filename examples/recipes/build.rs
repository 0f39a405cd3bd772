//! Makes the text for the documentation tests of the recipes with foreign crates. They are marked `rs`, which the
//! library's own tests leave out.

use std::path::Path;
use std::{env, fs};

fn main() {
    let text = fs::read_to_string("../../docs/recipes.md").expect("the recipes can be read");
    let out = env::var_os("OUT_DIR").expect("Cargo names a folder");
    fs::write(Path::new(&out).join("recipes.md"), text.replace("```rs\n", "```rust\n").replace("```rs,", "```rust,"))
        .expect("it can be written to");
    println!("cargo::rerun-if-changed=../../docs/recipes.md");
}
