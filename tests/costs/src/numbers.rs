//! The numbers: what was counted, what is recorded in `numbers.txt`, and how they compare.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fmt, fs, io};

/// One number, exact unless its tolerance says how much more it may be.
#[derive(Clone, PartialEq)]
pub struct Figure {
    pub name: String,
    number: f64,
    unit: String,
    tolerance: f64,
    /// Which calls they are.
    made_of: String,
}

impl Figure {
    pub fn new(name: &str, number: f64, unit: &str) -> Figure {
        Figure { name: name.into(), number, unit: unit.into(), tolerance: 0.0, made_of: String::new() }
    }

    pub fn within(self, tolerance: f64) -> Figure {
        Figure { tolerance: round(tolerance), number: round(self.number), ..self }
    }

    pub fn made_of(self, made_of: String) -> Figure {
        Figure { made_of, ..self }
    }

    /// The columns are two spaces apart or more.
    fn read(line: &str) -> Option<Figure> {
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        let mut column = || columns.next();
        let (name, number, unit, tolerance) = (column()?, column()?, column()?, column()?);
        Some(Figure {
            tolerance: tolerance.parse().ok()?,
            made_of: column().unwrap_or_default().into(),
            ..Figure::new(name, number.parse().ok()?, unit)
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { name, number, unit, tolerance, made_of } = self;
        let line = format!("{name:<40}  {number:>9}  {unit:<15}  {tolerance:>7}  {made_of}");
        f.write_str(line.trim_end())
    }
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// What is recorded.
pub struct Record {
    file: PathBuf,
    compiler: String,
    figures: Vec<Figure>,
}

/// The head of the file, before the compiler.
const HEAD: &str = "\
# What landline costs. Written by tests/costs/run --update, compared by tests/costs/run.
# The columns: name, number, unit, how much more it may be, and which calls they are.
# Made with: ";

impl Record {
    pub fn load() -> io::Result<Record> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("numbers.txt");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let compiler = text.strip_prefix(HEAD).and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let read = |line| Figure::read(line).ok_or_else(|| io::Error::other(format!("numbers.txt: {line}")));
        Ok(Record { compiler, figures: lines.map(read).collect::<io::Result<_>>()?, file })
    }

    /// Puts `now` in the place of what is recorded of `parts`.
    pub fn update(mut self, parts: &[&str], now: Vec<Figure>) -> io::Result<()> {
        let compiler = compiler()?;
        self.figures.retain(|figure| !parts.contains(&part(&figure.name)));
        if !self.figures.is_empty() && compiler != self.compiler {
            return Err(io::Error::other("with another compiler, all parts must be recorded"));
        }
        self.figures.extend(now);
        // The parts in the order of the alphabet; within each, the order stays.
        self.figures.sort_by(|a, b| part(&a.name).cmp(part(&b.name)));
        let rows: String = self.figures.iter().map(|figure| format!("{figure}\n")).collect();
        fs::write(&self.file, format!("{HEAD}{compiler}\n\n{rows}"))
    }

    /// Prints how `now` compares with what is recorded of `parts`; gives whether all is held.
    pub fn compare(&self, parts: &[&str], now: &[Figure]) -> io::Result<bool> {
        let is_same_compiler = compiler()? == self.compiler;
        if !is_same_compiler {
            println!("recorded with {}, so instructions, memory and size are not held", self.compiler);
        }
        println!("{:<40}  {:>9}  {:>9}  {:<15}  verdict", "name", "recorded", "now", "unit");
        let mut is_held = true;
        for figure in now {
            let recorded = self.figures.iter().find(|recorded| recorded.name == figure.name);
            let is_compiled = ["instructions", "memory", "size"].contains(&part(&figure.name));
            let verdict = match recorded {
                None => Verdict::Unknown,
                Some(recorded) if is_same_compiler || !is_compiled => judge(recorded, figure),
                Some(recorded) => Verdict::Printed(figure.number - recorded.number),
            };
            is_held &= !verdict.fails();
            let number = recorded.map_or("-".into(), |recorded| recorded.number.to_string());
            let Figure { name, number: now, unit, made_of, .. } = figure;
            println!("{name:<40}  {number:>9}  {now:>9}  {unit:<15}  {:<16}  {made_of}", verdict.to_string());
        }
        let is_counted = |name: &str| now.iter().any(|figure| figure.name == name);
        for gone in self.figures.iter().filter(|old| parts.contains(&part(&old.name)) && !is_counted(&old.name)) {
            println!("{:<40}  {:>9}  {:>9}  {:<15}  GONE", gone.name, gone.number, "-", gone.unit);
            is_held = false;
        }
        Ok(is_held)
    }
}

enum Verdict {
    Held,
    Lower,
    Exceeded,
    OtherCalls,
    Unknown,
    Printed(f64),
}

fn judge(recorded: &Figure, now: &Figure) -> Verdict {
    // What is lost to binary fractions is less.
    const ROUNDED: f64 = 0.0005;
    let (more, tolerance) = (now.number - recorded.number, recorded.tolerance);
    if more > tolerance + ROUNDED {
        Verdict::Exceeded
    } else if -more > tolerance + ROUNDED {
        Verdict::Lower
    } else if now.made_of != recorded.made_of {
        Verdict::OtherCalls
    } else {
        Verdict::Held
    }
}

impl Verdict {
    fn fails(&self) -> bool {
        matches!(self, Verdict::Exceeded | Verdict::OtherCalls | Verdict::Unknown)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Held => f.write_str("held"),
            Verdict::Lower => f.write_str("lower: record it"),
            Verdict::Exceeded => f.write_str("EXCEEDED"),
            Verdict::OtherCalls => f.write_str("OTHER CALLS"),
            Verdict::Unknown => f.write_str("NOT RECORDED"),
            Verdict::Printed(difference) => write!(f, "printed: {difference:+.1}"),
        }
    }
}

/// `calls` of `calls/tcp/read`.
fn part(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// The compiler, the system that it builds for, and the C library, through which each system call goes.
fn compiler() -> io::Result<String> {
    let rustc = output("rustc", "-vV")?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let libc = output("getconf", "GNU_LIBC_VERSION").unwrap_or_default();
    Ok(format!("{}, {host}, {}", rustc.lines().next().unwrap_or_default(), libc.trim()))
}

fn output(program: &str, option: &str) -> io::Result<String> {
    let output = Command::new(program).arg(option).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
