//! The page of what people ask for in public has every wish, its program and its sources.

use crate::support::pages::{read, root};

/// How many wishes there are.
const WISHES: usize = 62;

/// The wish that is about no program: few crates.
const WITHOUT_PROGRAM: usize = 61;

/// The number that a line begins with, behind `mark`.
fn number(line: &str, mark: &str) -> Option<usize> {
    line.strip_prefix(mark)?.split(['.', ' ']).next()?.parse().ok()
}

/// Ensures that each wish has its heading, in order, and a program that is run: a block below it or below the headings that
/// follow at once, or a recipe.
#[test]
fn every_wish_has_a_program() {
    let page = read(&root().join("docs/wishes.md"));
    let sections: Vec<(usize, &str)> = page
        .split("\n### ")
        .skip(1)
        .map(|section| (number(section, "").expect("a heading begins with the number of its wish"), section))
        .collect();
    let numbers: Vec<usize> = sections.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=WISHES).collect::<Vec<_>>(), "each wish has its heading");
    let lacking: Vec<usize> = (0..sections.len())
        .filter(|at| {
            let shared = sections[*at..].iter().find(|(_, section)| section.trim().lines().count() > 1);
            !shared.is_some_and(|(_, text)| text.contains("```rust\n") || text.contains("][recipes.md#"))
        })
        .map(|at| numbers[at])
        .collect();
    assert_eq!(lacking, [WITHOUT_PROGRAM], "each wish has a program");
}

/// Ensures that the table of sources has a row for each wish, which counts the discussions that it names.
#[test]
fn every_wish_has_its_sources_counted() {
    let page = read(&root().join("docs/wishes.md"));
    let (_, table) = page.split_once("\n## Sources\n").expect("the page has its sources");
    let rows: Vec<(usize, usize, usize)> = table
        .lines()
        .filter_map(|line| {
            let named = line.matches(['#', '@']).count();
            let count = line.split('|').nth(2)?.trim().parse().ok()?;
            Some((number(line, "| ")?, count, named))
        })
        .collect();
    let numbers: Vec<usize> = rows.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=WISHES).collect::<Vec<_>>(), "each wish has its row");
    for (wish, count, named) in rows {
        assert_eq!(count, named, "the discussions of wish {wish}");
    }
}
