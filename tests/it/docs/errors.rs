//! Whoever reads the documentation of a call that can fail finds what to expect.

use std::path::Path;

use crate::support::pages::files;

/// The type that a function returns, as far as its text up to the body tells: what follows its parameters and the arrow.
fn returned(signature: &str) -> &str {
    // An arrow's point would count as a closing bracket.
    let (mut angles, mut parens, mut after_arrow) = (0, 0, false);
    for (i, c) in signature.char_indices() {
        match c {
            '<' => angles += 1,
            '>' if !after_arrow => angles -= 1,
            '(' => parens += 1,
            ')' => {
                parens -= 1;
                if parens == 0 && angles == 0 {
                    return signature[i + 1..].trim_start_matches([' ', '-', '>']);
                }
            }
            _ => {}
        }
        after_arrow = c == '-';
    }
    ""
}

/// The public functions of a source file that return a `Result`, and whether their documentation has a section on errors.
fn fallible(source: &str) -> Vec<(String, bool)> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("pub fn ") else { continue };
        let end = lines[i..].iter().position(|line| line.ends_with('{')).map_or(lines.len(), |body| i + body + 1);
        let signature = lines[i..end].join(" ");
        if ["Result<", "io::Result<"].iter().any(|result| returned(&signature).starts_with(result)) {
            let above = lines[..i].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with("#["));
            let name = name.split(['(', '<']).next().unwrap_or_default();
            found.push((name.to_owned(), above.copied().any(|line| line == "/// # Errors")));
        }
    }
    found
}

/// Ensures that every public function that can fail says how, in a section `# Errors`.
#[test]
fn every_call_that_can_fail_says_how() {
    let known = "    /// It may fail.\n    ///\n    /// # Errors\n    /// Always.\n    #[inline]\n    \
                 pub fn told<F: Fn(&u8) -> u8>(f: F) -> io::Result<()> {\n    /// No word.\n    \
                 pub fn untold(\n        n: u8,\n    ) -> Result<u8>\n    where\n        u8: Copy,\n    {\n    \
                 pub fn builder<F: Fn() -> Result<u8>>(f: F, g: impl Fn() -> Result<u8>) -> Builder<Result<F>> {\n";
    assert_eq!(fallible(known), [("told".into(), true), ("untold".into(), false)], "the reader of sources can read");

    let (mut all, mut silent) = (0, Vec::new());
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("there are sources") {
        let found = fallible(&std::fs::read_to_string(&file).expect("it is text"));
        all += found.len();
        let file = file.file_name().expect("it has a name").to_string_lossy().into_owned();
        silent.extend(found.iter().filter(|(_, told)| !told).map(|(name, _)| format!("{file}: {name}")));
    }
    // As many as rustdoc's own JSON had when this was written; clippy's missing_errors_doc looks at all of them too.
    assert!(all >= 76, "the sources are read: {all} calls that can fail");
    assert_eq!(silent, Vec::<String>::new(), "these can fail and do not say how");
}
