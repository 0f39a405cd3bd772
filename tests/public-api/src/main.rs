//! Prints a crate's public API, a line for each item, from the JSON that rustdoc wrote of it.

use public_api::Builder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let json = std::env::args_os().nth(1).ok_or("usage: landline-public-api RUSTDOC.json")?;
    let api = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    for item in api.items().map(ToString::to_string) {
        // The pages of docs/, which no program has.
        if !item.starts_with("pub mod landline::guide") {
            println!("{item}");
        }
    }
    Ok(())
}
