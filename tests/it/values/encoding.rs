use std::borrow::Cow;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use landline::{Decoder, Encoding};

use crate::support::Told;

const ALL: [Encoding; 7] = [
    Encoding::Utf8,
    Encoding::Utf16le,
    Encoding::Latin1,
    Encoding::Ascii,
    Encoding::Hex,
    Encoding::Base64,
    Encoding::Base64url,
];

/// Numbers that look random and are the same in every run (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// What a script prints that reads `input`. `None` where there is no Node, which only a CI run may not bear.
pub(crate) fn node(script: &str, input: &str) -> Option<String> {
    let started = Command::new("node").args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut node = match started {
        Ok(node) => node,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "CI compares with Node: node not found");
            eprintln!("skipped: node not found");
            return None;
        }
        Err(error) => panic!("node cannot be started: {error}"),
    };
    // Node reads to the end before it writes, so neither side waits for the other.
    let mut stdin = node.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).expect("node reads its input");
    drop(stdin);
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "the script runs to its end");
    Some(String::from_utf8(output.stdout).expect("node prints UTF-8"))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    Encoding::Hex.encode(bytes)
}

/// Bytes that tell decoders apart, and random ones.
fn samples() -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> = [
        &b""[..],
        b"a",
        b"ab",
        b"abc",
        b"hello, world",
        "é€😀\u{feff}x".as_bytes(),
        b"\xef\xbb\xbfA",
        b"\0\x7f\x80\xff",
        // UTF-8: bytes that only go on, too long forms, surrogates, beyond U+10FFFF, cut short, cut short in the middle.
        b"\x80\xbfA",
        b"\xc0\x80\xc1\xbf\xe0\x80\x80\xf0\x80\x80\x80",
        b"\xed\xa0\x80\xed\xbf\xbf",
        b"\xf4\x90\x80\x80\xf5\xff\xfe",
        b"\xe2\x82",
        b"\xe2\x82A\xf0\x9f\x92",
        b"\xf0\x9f\x92\xa9\xf0\x9f\x92",
        b"\xf0\x9fA\xf0\x9f\x92\xc3\xa9",
        // UTF-16: a pair, halves of pairs in every place.
        b"\x3d\xd8\x4d\xdc",
        b"\x3d\xd8",
        b"\x3d\xd8A\0",
        b"\x3d\xd8\x3d\xd8\x4d\xdc",
        b"\x4d\xdc\x3d\xd8",
        b"A\0\x4d\xdcB\0",
    ]
    .map(<[u8]>::to_vec)
    .into();
    samples.push((0..=255).collect());
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    for length in 0..60 {
        samples.push(random.bytes(length));
        // Mostly the first bytes of long characters and bytes that go on.
        samples.push((0..length).map(|_| b"\xe2\xf0\x82\xac\x9f\xc3\xed\xd8\xdcA"[random.below(10)]).collect());
    }
    samples
}

/// Ensures the vectors of RFC 4648 section 10 hold in both directions.
#[test]
fn rfc_4648_vectors_hold() -> io::Result<()> {
    for (bytes, base64, base16) in [
        ("", "", ""),
        ("f", "Zg==", "66"),
        ("fo", "Zm8=", "666f"),
        ("foo", "Zm9v", "666f6f"),
        ("foob", "Zm9vYg==", "666f6f62"),
        ("fooba", "Zm9vYmE=", "666f6f6261"),
        ("foobar", "Zm9vYmFy", "666f6f626172"),
    ] {
        let bytes = bytes.as_bytes();
        let url = base64.trim_end_matches('=');
        assert_eq!(Encoding::Base64.encode(bytes), base64, "BASE64 of the RFC");
        assert_eq!(Encoding::Base64url.encode(bytes), url, "the same without filling");
        assert_eq!(Encoding::Hex.encode(bytes), base16, "BASE16 of the RFC, in Node's lower case");
        assert_eq!(Encoding::Base64.decode(base64)?, bytes, "BASE64 back");
        assert_eq!(Encoding::Base64url.decode(url)?, bytes, "and without filling");
        assert_eq!(Encoding::Hex.decode(base16.to_uppercase())?, bytes, "BASE16 back, as the RFC writes it");
    }
    assert_eq!(Encoding::Base64.encode([0xfb, 0xff, 0xbf]), "+/+/", "the alphabet of section 4");
    assert_eq!(Encoding::Base64url.encode([0xfb, 0xff, 0xbf]), "-_-_", "the alphabet of section 5");
    Ok(())
}

/// Ensures bytes come back from every encoding that can hold them.
#[test]
fn bytes_come_back_from_text() -> io::Result<()> {
    for bytes in samples() {
        for encoding in [Encoding::Latin1, Encoding::Hex, Encoding::Base64, Encoding::Base64url] {
            assert_eq!(encoding.decode(encoding.encode(&bytes))?, bytes, "{encoding} holds any bytes");
        }
        let text = String::from_utf8_lossy(&bytes);
        for encoding in [Encoding::Utf8, Encoding::Utf16le] {
            assert_eq!(encoding.encode(encoding.decode(&text)?), text, "{encoding} holds any text");
        }
    }
    Ok(())
}

/// Ensures Node makes the same text of the same bytes in every encoding. Where a text is no Unicode, Node is asked what
/// it would send.
#[test]
fn encode_agrees_with_node() {
    let samples = samples();
    let script = "for (const line of require('fs').readFileSync(0, 'utf8').split('\\n'))
        for (const encoding of ['utf8', 'utf16le', 'latin1', 'ascii', 'hex', 'base64', 'base64url'])
            console.log(Buffer.from(Buffer.from(line, 'hex').toString(encoding)).toString('hex'));";
    let input: Vec<String> = samples.iter().map(hex).collect();
    let Some(answer) = node(script, &input.join("\n")) else { return };
    let mut answers = answer.lines();

    for bytes in &samples {
        for encoding in ALL {
            let answer = answers.next().expect("an answer for each sample and encoding");
            // The one difference: half a UTF-16 unit is not dropped.
            let odd = encoding == Encoding::Utf16le && bytes.len() % 2 == 1;
            let expected = format!("{answer}{}", if odd { hex("\u{fffd}") } else { String::new() });
            assert_eq!(hex(encoding.encode(bytes)), expected, "{encoding} of {}", hex(bytes));
        }
    }
    assert_eq!(answers.next(), None, "no answer is left over");
}

/// Ensures Node makes the same bytes of the same text in every encoding, except where it loses something: there, and
/// nowhere else, this is an error.
#[test]
fn decode_agrees_with_node_or_says_what_is_lost() {
    let mut texts: Vec<String> = [
        "",
        "abc",
        "é",
        "€",
        "a€b",
        "😀",
        "aÿĀ",
        "6869",
        "AbCd",
        "c0f",
        "0g",
        "g0",
        " 6869",
        "68 69",
        "6８",
        "aGk=",
        "aGk",
        "aG k=\r\n",
        "YQ==",
        "YQ=",
        "YQ",
        "Y",
        "YR==",
        "-_-_",
        "+/+/",
        "a-/_",
        "YQ==YQ==",
        "YQ==\nYQ==",
        "YQ==\n",
        "aGk!",
        "aGké",
        "====",
        "=aGk",
    ]
    .map(String::from)
    .into();
    for bytes in samples() {
        texts
            .extend([Encoding::Hex, Encoding::Base64, Encoding::Base64url, Encoding::Latin1].map(|e| e.encode(&bytes)));
    }
    let script = "for (const line of require('fs').readFileSync(0, 'utf8').split('\\n')) {
        const text = Buffer.from(line, 'hex').toString();
        for (const encoding of ['utf8', 'utf16le', 'latin1', 'ascii', 'hex', 'base64', 'base64url']) {
            const bytes = Buffer.from(text, encoding);
            console.log(bytes.toString('hex') + ' ' + Buffer.from(bytes.toString(encoding)).toString('hex'));
        }
    }";
    let input: Vec<String> = texts.iter().map(hex).collect();
    let Some(answer) = node(script, &input.join("\n")) else { return };
    let mut answers = answer.lines();

    // The digits of a text, one spelling for each: what must not get lost.
    let digits = |encoding: Encoding, text: &str| -> String {
        match encoding {
            Encoding::Hex => text.to_lowercase(),
            Encoding::Base64 | Encoding::Base64url => {
                text.replace(['=', ' ', '\r', '\n', '\t'], "").replace('-', "+").replace('_', "/")
            }
            _ => text.to_string(),
        }
    };
    for text in &texts {
        for encoding in ALL {
            let answer = answers.next().expect("an answer for each text and encoding");
            let (bytes, back) = answer.split_once(' ').expect("bytes, and what Node makes of them again");
            let back = String::from_utf8(Encoding::Hex.decode(back).expect("hex")).expect("UTF-8");
            match encoding.decode(text) {
                Ok(decoded) => assert_eq!(hex(decoded), bytes, "{encoding} of {text:?}"),
                Err(error) => {
                    assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "a text that is not {encoding}");
                    assert_ne!(digits(encoding, &back), digits(encoding, text), "Node loses nothing: {error}");
                }
            }
        }
    }
    assert_eq!(answers.next(), None, "no answer is left over");
}

/// Ensures an error says what is wrong and where, in bytes of the text.
#[test]
fn decode_errors_name_the_place() {
    for (encoding, text, message) in [
        (Encoding::Latin1, "é€", "The argument 'text' is not latin1: '€' at byte 2"),
        (Encoding::Ascii, "aé", "The argument 'text' is not ascii: 'é' at byte 1"),
        (Encoding::Hex, "c0ffeg", "The argument 'text' is not hex: 'g' at byte 5"),
        (Encoding::Hex, "c0 ff", "The argument 'text' is not hex: ' ' at byte 2"),
        (Encoding::Hex, "c0f", "The argument 'text' is not hex: it ends in half a byte, 'f' at byte 2"),
        (Encoding::Base64, "aG!k", "The argument 'text' is not base64: '!' at byte 2"),
        (Encoding::Base64, "YQ==\nYQ==", "The argument 'text' is not base64: 'Y' at byte 5"),
        (Encoding::Base64url, "aGVsb\n", "The argument 'text' is not base64url: it ends in half a byte, 'b' at byte 4"),
    ] {
        let error = encoding.decode(text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text:?} is named with its place");
        assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "with Node's code");
    }
}

/// Ensures base64 is read in both alphabets, filled or not, with the line ends of mail and PEM files.
#[test]
fn base64_is_read_leniently_where_nothing_is_lost() -> io::Result<()> {
    for encoding in [Encoding::Base64, Encoding::Base64url] {
        for text in ["-_-_YQ", "+/+/YQ==", "-/+_YQ=", "-_-_\r\nYQ==\r\n", " -_ -_\tY Q"] {
            assert_eq!(encoding.decode(text)?, b"\xfb\xff\xbfa", "{text:?} as {encoding}");
        }
    }
    Ok(())
}

/// Ensures each of Node's names is an encoding, in any case, and is shown under Node's first name.
#[test]
fn names_are_nodes() -> io::Result<()> {
    for (encoding, name, aliases) in [
        (Encoding::Utf8, "utf8", &["utf-8", "UTF8", "Utf-8"][..]),
        (Encoding::Utf16le, "utf16le", &["utf-16le", "ucs2", "ucs-2", "UCS2"]),
        (Encoding::Latin1, "latin1", &["binary", "LATIN1"]),
        (Encoding::Ascii, "ascii", &["ASCII"]),
        (Encoding::Hex, "hex", &["HEX"]),
        (Encoding::Base64, "base64", &["BASE64"]),
        (Encoding::Base64url, "base64url", &["base64URL"]),
    ] {
        assert_eq!(encoding.to_string(), name, "the name Node shows");
        for alias in aliases.iter().chain([&name]) {
            assert_eq!(alias.parse::<Encoding>()?, encoding, "{alias} is {name}");
        }
    }
    assert_eq!(Encoding::default(), Encoding::Utf8, "UTF-8 is the default, as in Node");
    for name in ["", "utf", "utf-16-le", "us-ascii", "buffer", "utf8 "] {
        let error = name.parse::<Encoding>().unwrap_err();
        assert_eq!(error.told().code(), "ERR_UNKNOWN_ENCODING", "{name:?} is none of Node's names");
        assert_eq!(error.to_string(), format!("Unknown encoding: {name}"), "it is named");
    }
    Ok(())
}

/// All that a decoder makes of pieces.
fn decoded<'a>(encoding: Encoding, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut decoder = Decoder::new(encoding);
    let mut text: String = pieces.into_iter().map(|piece| decoder.push(piece)).collect();
    text.push_str(&decoder.finish());
    text
}

/// Ensures the text does not depend on where the bytes were cut: in two at every place, into single bytes, at random.
#[test]
fn decoder_text_does_not_depend_on_the_cuts() {
    let mut random = Random(0x1405_7b7e_f767_814f);
    for bytes in samples() {
        for encoding in ALL {
            let whole = encoding.encode(&bytes);
            for at in 0..=bytes.len() {
                let (a, b) = bytes.split_at(at);
                assert_eq!(decoded(encoding, [a, b]), whole, "{encoding} of {} cut at {at}", hex(&bytes));
            }
            assert_eq!(decoded(encoding, bytes.chunks(1)), whole, "{encoding} of {} byte by byte", hex(&bytes));
            let mut rest = &bytes[..];
            let pieces = std::iter::from_fn(|| {
                let (piece, after) = rest.split_at_checked(random.below(6)).unwrap_or((rest, b""));
                rest = after;
                (!piece.is_empty() || !rest.is_empty()).then_some(piece)
            });
            assert_eq!(decoded(encoding, pieces), whole, "{encoding} of {} in random pieces", hex(&bytes));
        }
    }
}

/// Ensures 40,960 characters of three bytes arrive whole wherever reads cut them.
#[test]
fn large_string_survives_every_chunk_size() {
    let text = "あ".repeat(40_960);
    for size in [1, 2, 3, 4, 5, 7, 1023, 1024, 1460, 65_536] {
        assert_eq!(decoded(Encoding::Utf8, text.as_bytes().chunks(size)), text, "in chunks of {size} bytes");
    }
}

/// Ensures what is complete comes at once, what is cut is held, and a piece without a cut is not copied.
#[test]
fn decoder_holds_only_what_is_cut() {
    let mut decoder = Decoder::new(Encoding::Utf8);
    assert_eq!(decoder.encoding(), Encoding::Utf8, "it knows its encoding");
    assert!(matches!(decoder.push(b"abc"), Cow::Borrowed("abc")), "whole text is borrowed");
    assert!(matches!(decoder.push(b"x\xf0\x9f"), Cow::Borrowed("x")), "so is the whole part of a cut one");
    assert_eq!(decoder.push(b"\x98"), "", "still not complete");
    assert_eq!(decoder.push(b"\x80y"), "😀y", "complete");
    assert_eq!(decoder.push(b"\xe2A"), "\u{fffd}A", "what can no longer become a character is not held");

    let mut decoder = Decoder::new(Encoding::Utf16le);
    assert_eq!(decoder.push(b"A\0\x3d"), "A", "half a unit is held");
    assert_eq!(decoder.push(b"\xd8\x00"), "", "half a pair is held, and half a unit after it");
    assert_eq!(decoder.push(b"\xde"), "😀", "complete");

    let mut decoder = Decoder::new(Encoding::Base64);
    assert_eq!([decoder.push(b"a"), decoder.push(b"bcd")], ["", "YWJj"], "groups of three bytes are complete");
    assert_eq!(decoder.finish(), "ZA==", "the last group is filled up at the end");
}

/// Ensures a decoder tells of a character that was never completed, and can be used again.
#[test]
fn finish_replaces_what_is_held_and_starts_anew() {
    for (encoding, bytes, rest) in [
        (Encoding::Utf8, &b"\xf0\x9f\x98"[..], "\u{fffd}"),
        (Encoding::Utf16le, b"\x3d\xd8", "\u{fffd}"),
        (Encoding::Utf16le, b"A", "\u{fffd}"),
        (Encoding::Base64, b"a", "YQ=="),
        (Encoding::Base64url, b"ab", "YWI"),
        (Encoding::Hex, b"", ""),
    ] {
        let mut decoder = Decoder::new(encoding);
        assert_eq!(decoder.push(bytes), "", "{encoding} holds it");
        assert_eq!(decoder.finish(), rest, "{encoding} gives it up at the end");
        assert_eq!(decoder.finish(), "", "once");
        assert_eq!(decoder.push(&encoding.decode("abcd").expect("a text in each")), "abcd", "as new");
    }
}

/// Ensures Node's StringDecoder makes the same text of the same pieces, piece by piece where the bytes are text.
#[test]
fn decoder_agrees_with_nodes_string_decoder() {
    let mut random = Random(0x14d0_49bb_1331_11eb);
    let mut cases: Vec<Vec<Vec<u8>>> = Vec::new();
    let text = "aé€😀b".repeat(3);
    let utf16 = Encoding::Utf16le.decode(&text).expect("any text");
    for bytes in samples().into_iter().chain([text.into_bytes(), utf16]).filter(|bytes| !bytes.is_empty()) {
        for _ in 0..4 {
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((1 + random.below(5)).min(rest.len()));
                pieces.push(piece.to_vec());
                rest = after;
            }
            cases.push(pieces);
        }
    }
    let script = "const { StringDecoder } = require('string_decoder');
        for (const line of require('fs').readFileSync(0, 'utf8').split('\\n'))
            for (const encoding of ['utf8', 'utf16le', 'latin1', 'ascii', 'hex', 'base64', 'base64url']) {
                const decoder = new StringDecoder(encoding);
                const texts = line.split(' ').map(piece => decoder.write(Buffer.from(piece, 'hex')));
                texts.push(decoder.end());
                const hex = text => Buffer.from(text).toString('hex');
                console.log(hex(texts.join('')) + ' ' + texts.map(hex).join(','));
            }";
    let lines: Vec<String> = cases.iter().map(|pieces| pieces.iter().map(hex).collect::<Vec<_>>().join(" ")).collect();
    let Some(answer) = node(script, &lines.join("\n")) else { return };
    let mut answers = answer.lines();

    for pieces in &cases {
        for encoding in ALL {
            let answer = answers.next().expect("an answer for each case and encoding");
            let (joined, texts) = answer.split_once(' ').expect("the text, and the texts of the pieces");
            let place = format!("{encoding} of {:?}", pieces.iter().map(hex).collect::<Vec<_>>());
            let whole = pieces.concat();
            let mut decoder = Decoder::new(encoding);
            let mut ours: Vec<String> = pieces.iter().map(|piece| hex(decoder.push(piece).as_bytes())).collect();
            ours.push(hex(decoder.finish()));

            // The one difference: half a UTF-16 unit is not dropped.
            let odd = encoding == Encoding::Utf16le && whole.len() % 2 == 1;
            let expected = format!("{joined}{}", if odd { hex("\u{fffd}") } else { String::new() });
            assert_eq!(ours.concat(), expected, "{place}");
            // Of what is not UTF-8 Node holds more than it must; of a UTF-16 pair it may give out the first half.
            let same_pieces = match encoding {
                Encoding::Utf8 => std::str::from_utf8(&whole).is_ok(),
                Encoding::Utf16le => false,
                _ => true,
            };
            if same_pieces {
                assert_eq!(ours.join(","), texts, "piece by piece, {place}");
            }
        }
    }
    assert_eq!(answers.next(), None, "no answer is left over");
}
