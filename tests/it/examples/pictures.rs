//! The pictures of the lessons: who sent what when, drawn from a text, and held against the packets of the lesson's program.
//!
//! Beside `04-fin.svg` is `04-fin.txt`, from which it is drawn:
//!
//! ```text
//! program 04_1
//! client = the client
//! server = the server
//! client > server: SYN
//! note client: SYN_SENT
//! server > client: "hello\n"
//! ...
//! ```
//!
//! - `program 04_1`: the name of a program, as in `lessons.rs`. The arrows are the packets that it sends, and those of one
//!   connection have this order. Packets that only acknowledge are left out, but for the third one of a handshake. A text without this
//!   line is drawn and not compared.
//! - `client = the client`: a side, and what the picture calls it.
//! - `note client: SYN_SENT`: a box at that side.
//! - An arrow whose text ends in `…` shows the beginning of what is sent.
//! - `...`: the program sends more, which the picture does not show.
//!
//! `DRAW=1 cargo test --test examples pictures` draws all pictures anew.
//! With `ONCE=1` a program whose packets differ is not run again, and the test shows what it sent at once: the way to begin a
//! new text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::support::pages::{lessons, read, root};

/// The text of a picture.
#[derive(Debug, Default)]
struct Talk {
    program: Option<String>,
    /// Each side, and what the picture calls it.
    sides: Vec<(String, String)>,
    steps: Vec<Step>,
    is_cut: bool,
}

#[derive(Debug, PartialEq)]
enum Step {
    Arrow { from: String, to: String, label: String },
    Note { at: String, label: String },
}

fn talk(text: &str) -> Talk {
    let mut talk = Talk::default();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("program ") {
            talk.program = Some(name.into());
        } else if line == "..." {
            talk.is_cut = true;
        } else if let Some((name, label)) = line.split_once(" = ").filter(|_| talk.steps.is_empty()) {
            talk.sides.push((name.into(), label.into()));
        } else {
            let (head, label) = line.split_once(": ").unwrap_or_else(|| panic!("a line of a picture: {line:?}"));
            let step = match (head.split_once(" > "), head.strip_prefix("note ")) {
                (Some((from, to)), _) => Step::Arrow { from: from.into(), to: to.into(), label: label.into() },
                (None, Some(at)) => Step::Note { at: at.into(), label: label.into() },
                (None, None) => panic!("a line of a picture: {line:?}"),
            };
            talk.steps.push(step);
        }
    }
    talk
}

/// Colours for a light and a dark page, on a ground of its own; the same in the pictures that are made by hand.
const STYLE: &str = "<style>\n\
    svg { color: #1f2328; background: #ffffff; font: 14px sans-serif }\n\
    text { fill: currentColor; text-anchor: middle }\n\
    .code { font-family: monospace; paint-order: stroke; stroke: #ffffff; stroke-width: 5 }\n\
    line, path, rect { stroke: currentColor; fill: none; stroke-width: 1.2 }\n\
    .life { stroke-dasharray: 3 4; opacity: 0.5 } .note { fill: #8884; stroke: none } .tip { fill: currentColor }\n\
    @media (prefers-color-scheme: dark) {\n  \
    svg { color: #e6edf3; background: #0d1117 } .code { stroke: #0d1117 }\n\
    }\n\
    </style>\n";

const GAP: usize = 270;
const ROW: usize = 40;

fn draw(talk: &Talk) -> String {
    let x = |side: &str| {
        let at = talk.sides.iter().position(|(name, _)| name == side);
        140 + GAP * at.unwrap_or_else(|| panic!("a side of the picture: {side}"))
    };
    let (width, height) = (280 + GAP * (talk.sides.len() - 1), 70 + ROW * talk.steps.len());
    let mut svg =
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n");
    svg += STYLE;
    for (name, label) in &talk.sides {
        let (x, label) = (x(name), escaped(label));
        let _ = writeln!(svg, "<line class=\"life\" x1=\"{x}\" y1=\"34\" x2=\"{x}\" y2=\"{}\"/>", height - 10);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"24\" font-weight=\"bold\">{label}</text>");
    }
    for (i, step) in talk.steps.iter().enumerate() {
        let y = 62 + ROW * i;
        match step {
            Step::Arrow { from, to, label } => {
                // A packet takes its time, so the arrow falls.
                let (from, to, end) = (x(from), x(to), y + 10);
                let back = if to > from { to - 10 } else { to + 10 };
                let _ = writeln!(svg, "<line x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{end}\"/>");
                let _ =
                    writeln!(svg, "<path class=\"tip\" d=\"M{to} {end} L{back} {} L{back} {} Z\"/>", end - 5, end + 4);
                let (middle, above) = ((from + to) / 2, y - 3);
                let _ = writeln!(svg, "<text class=\"code\" x=\"{middle}\" y=\"{above}\">{}</text>", escaped(label));
            }
            Step::Note { at, label } => {
                let wide: usize = 16 + label.chars().map(|c| if c.is_ascii() { 8 } else { 15 }).sum::<usize>();
                let (x, top) = (x(at), y - 18);
                let left = x - wide / 2;
                let _ = writeln!(svg, "<rect class=\"note\" x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"26\"/>");
                let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(label));
            }
        }
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The files of both languages' folders whose names end like this, in order.
fn files(extension: &str) -> Vec<PathBuf> {
    let folders = ["docs/lessons", "docs/zh"].map(|folder| fs::read_dir(root().join(folder)).expect("it is a folder"));
    let paths = folders.into_iter().flatten().map(|entry| entry.expect("a folder can be read").path());
    let mut found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
    found.sort();
    found
}

/// Ensures that each picture of a conversation is what its text gives.
#[test]
fn pictures_are_drawn_from_their_texts() {
    let texts = files("txt");
    assert!(!texts.is_empty(), "there are texts to draw");
    for text in texts {
        let (file, drawn) = (text.with_extension("svg"), draw(&talk(&read(&text))));
        let shown = fs::read_to_string(&file).unwrap_or_default();
        if shown != drawn && env::var_os("DRAW").is_some() {
            fs::write(&file, &drawn).expect("docs can be written");
            continue;
        }
        assert_eq!(shown, drawn, "{}: `DRAW=1 cargo test --test examples pictures` draws it", file.display());
    }
}

/// Ensures that every picture is shown with words in its place, is readable on a dark page, and needs nothing but itself.
#[test]
fn pictures_stand_alone_and_are_shown() {
    let pages: Vec<_> = ["docs/lessons", "docs/zh"].into_iter().flat_map(lessons).map(|path| read(&path)).collect();
    for path in files("svg") {
        let (svg, name) = (read(&path), path.file_name().expect("it has a name").to_string_lossy());
        // `![What it shows][04-fin.svg]`, or with parentheses.
        let images = pages.iter().flat_map(|page| page.split("![").skip(1));
        let images = images.filter_map(|image| image.split_once(".svg")?.0.split_once(']'));
        let words: Vec<_> =
            images.filter(|(_, file)| file[1..] == name[..name.len() - 4]).map(|(words, _)| words).collect();
        assert!(!words.is_empty(), "{name}: a lesson shows it");
        assert!(words.iter().all(|words| words.len() > 20), "{name}: words say what it shows: {words:?}");
        assert!(svg.contains("<text") && svg.contains(STYLE), "{name}: text, in colours for a dark page too");
        for part in ["<script", "href", "url(", "@import", "<image", "onload"] {
            assert!(!svg.contains(part), "{name}: a picture has no {part}");
        }
    }
    for lesson in lessons("docs/lessons") {
        assert!(read(&lesson).contains(".svg]"), "{}: each lesson has a picture", lesson.display());
    }
}

/// What a picture shows whatever its language: of a text the sides and the steps, of one made by hand all but its words.
fn without_words(path: &Path) -> Vec<String> {
    let (text, is_drawn) = (read(path), path.with_extension("txt").exists());
    let lines = text.lines().map(|line| match path.extension().is_some_and(|end| end == "txt") {
        true if line.starts_with("note ") => line.split(": ").next().unwrap_or(line),
        true => line.split(" = ").next().unwrap_or(line),
        false if is_drawn => "drawn",
        false => line.split('>').next().unwrap_or(line),
    });
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.dedup_by(|one, other| *one == "drawn" && *other == "drawn");
    lines
}

/// Ensures that both languages have the same pictures, which differ in their words alone.
#[test]
fn both_languages_have_the_same_pictures() {
    for kind in ["txt", "svg"] {
        let (chinese, english): (Vec<_>, Vec<_>) =
            files(kind).into_iter().partition(|path| path.starts_with(root().join("docs/zh")));
        let names =
            |paths: &[PathBuf]| paths.iter().map(|path| path.file_name().map(ToOwned::to_owned)).collect::<Vec<_>>();
        assert_eq!(names(&chinese), names(&english), "the same pictures");
        for (chinese, english) in chinese.iter().zip(&english) {
            assert_eq!(without_words(chinese), without_words(english), "{}: all but words", chinese.display());
            assert_ne!(read(chinese), read(english), "{}: it is translated", chinese.display());
        }
    }
}

/// A packet as the kernel sent it: two addresses, and what it says.
type Packet = (String, String, String);

/// An IPv4 packet with TCP or UDP in it.
#[cfg(target_os = "linux")]
fn packet(bytes: &[u8]) -> Option<Packet> {
    let number = |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let inner = usize::from(bytes.first()? & 15) * 4;
    let is_tcp = match bytes.get(9)? {
        6 => true,
        17 => false,
        _ => return None,
    };
    let end = |address: usize, port: usize| {
        let ip = <[u8; 4]>::try_from(bytes.get(address..address + 4)?).ok()?;
        Some(format!("{}:{}", std::net::Ipv4Addr::from(ip), number(inner + port)?))
    };
    let head = if is_tcp { usize::from(bytes.get(inner + 12)? >> 4) * 4 } else { 8 };
    let data = format!("{:?}", String::from_utf8_lossy(bytes.get(inner + head..number(2)?)?));
    let flags = if is_tcp { *bytes.get(inner + 13)? } else { 0 };
    let mut says: Vec<_> =
        [(2, "SYN"), (4, "RST"), (1, "FIN")].iter().filter(|(bit, _)| flags & bit != 0).map(|it| it.1).collect();
    match (is_tcp, flags & 0b10010) {
        (true, 0b10010) => says.push("ACK"), // of a SYN
        (true, 0b10000) if says.is_empty() && data == "\"\"" => says.push("ACK"),
        _ => {}
    }
    if data != "\"\"" || !is_tcp {
        says.insert(0, &data);
    }
    Some((end(12, 0)?, end(16, 2)?, says.join(", ").replace("SYN, ACK", "SYN ACK")))
}

/// The packets of a conversation without those that only acknowledge, but for the third one of a handshake.
fn told(packets: Vec<Packet>) -> Vec<Packet> {
    let mut answered = Vec::new();
    let is_told = |(from, to, says): &Packet| {
        if says == "SYN ACK" {
            answered.push((to.clone(), from.clone()));
        }
        let ends = (from.clone(), to.clone());
        let is_third = says == "ACK" && answered.contains(&ends);
        answered.retain(|other| !(is_third && *other == ends));
        says != "ACK" || is_third
    };
    packets.into_iter().filter(is_told).collect()
}

/// By connection, in the order of their first packets: who sends, who receives, and what it says.
fn by_connection<'a>(all: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Vec<Vec<(&'a str, &'a str, &'a str)>> {
    let mut groups = Vec::<Vec<(&str, &str, &str)>>::new();
    for packet @ (from, to, _) in all {
        let ends = [(from, to), (to, from)];
        match groups.iter_mut().find(|group| ends.contains(&(group[0].0, group[0].1))) {
            Some(group) => group.push(packet),
            None => groups.push(vec![packet]),
        }
    }
    groups
}

/// What is different between the packets of a program and the arrows of a picture. Packets of two connections may cross.
fn difference(talk: &Talk, packets: &[Packet]) -> Option<String> {
    let arrows = talk.steps.iter().filter_map(|step| match step {
        Step::Arrow { from, to, label } => Some((&**from, &**to, &**label)),
        Step::Note { .. } => None,
    });
    let arrows = by_connection(arrows);
    let sent = by_connection(packets.iter().map(|(from, to, says)| (&**from, &**to, &**says)));
    let mut sides = BTreeMap::new();
    let is_as_many = |shown: usize, sent: usize| if talk.is_cut { shown <= sent } else { shown == sent };
    let is_same = is_as_many(arrows.len(), sent.len())
        && arrows.iter().zip(&sent).all(|(arrows, sent)| {
            is_as_many(arrows.len(), sent.len())
                && arrows.iter().zip(sent).all(|((from, to, label), (sender, receiver, says))| {
                    let is_said = label.strip_suffix('…').map_or(label == says, |start| says.starts_with(start));
                    is_said
                        && sides.entry(*sender).or_insert(*from) == from
                        && sides.entry(*receiver).or_insert(*to) == to
                })
        });
    (!is_same).then(|| {
        let lines = packets.iter().map(|(from, to, says)| format!("{from} > {to}: {says}\n"));
        format!("{:?} sends\n{}", talk.program, lines.collect::<String>())
    })
}

/// Ensures that the pictures show the packets that the programs of their lessons send.
#[test]
#[cfg(target_os = "linux")]
fn pictures_show_what_the_programs_send() {
    use socket2::{Domain, Protocol, Socket, Type};
    use std::io::Read;
    use std::sync::Arc;

    use crate::support::process::run;
    use crate::support::{HANG, differs, has_network_of_its_own, has_proc, in_child};

    if !has_proc() || differs("a server that closes calls itself, which the pictures do not show") {
        return;
    }
    if !has_network_of_its_own() {
        return;
    }
    let built = crate::lessons::built();
    in_child(this_test!(), &[], || {
        // The Chinese ones have the same steps, which a test of its own ensures.
        for path in files("txt").into_iter().filter(|path| path.starts_with(root().join("docs/lessons"))) {
            let talk = talk(&read(&path));
            let Some(program) = &talk.program else { continue };
            // On a machine that is busy, two writes may leave in one packet. Such a run is made again.
            let start = std::time::Instant::now();
            loop {
                // IPv4 packets as they arrive, which on loopback is each of them once.
                let protocol = Protocol::from(i32::from(0x0800_u16.to_be()));
                let mut wire = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).expect("the network is ours");
                let said = run(built, &["127.0.0.1:0", program], &Arc::from([]));
                assert!(said.status.success(), "{said:?}");
                wire.set_nonblocking(true).expect("it is a socket");
                let (mut packets, mut buffer) = (Vec::new(), vec![0; 70_000]);
                while let Ok(n) = wire.read(&mut buffer) {
                    packets.extend(packet(&buffer[..n]));
                }
                let Some(difference) = difference(&talk, &told(packets)) else { break };
                assert!(start.elapsed() < HANG && env::var_os("ONCE").is_none(), "{}: {difference}", path.display());
            }
        }
    });
}

/// Ensures that a text is read and drawn, and that the comparison tells a packet that is not as drawn.
#[test]
fn a_picture_is_compared_with_packets() {
    let text = "program 01_1\nclient = Client\nserver = Server\nclient > server: SYN\nnote server: <new>\nserver > client: RST\n";
    let read = talk(text);
    let svg = draw(&read);
    assert!(
        svg.contains(">Client</text>") && svg.contains(">SYN</text>") && svg.contains(">&lt;new&gt;</text>"),
        "{svg}"
    );
    let packet = |from: &str, to: &str, says: &str| (from.to_owned(), to.to_owned(), says.to_owned());
    let same = [packet("a:1", "b:2", "SYN"), packet("b:2", "a:1", "RST")];
    assert_eq!(difference(&read, &same), None, "the same packets");
    for other in [
        vec![packet("a:1", "b:2", "SYN")],
        vec![packet("a:1", "b:2", "SYN"), packet("b:2", "a:1", "FIN")],
        vec![packet("a:1", "b:2", "SYN"), packet("b:2", "c:1", "RST"), packet("b:2", "a:1", "RST")],
        vec![packet("a:1", "b:2", "SYN"), packet("a:1", "b:2", "RST")],
    ] {
        assert!(difference(&read, &other).is_some(), "other packets: {other:?}");
    }
    let acknowledged =
        [packet("a", "b", "SYN"), packet("b", "a", "SYN ACK"), packet("a", "b", "ACK"), packet("a", "b", "ACK")];
    assert_eq!(told(acknowledged.to_vec()).len(), 3, "of what only acknowledges, the third of a handshake is told");
}
