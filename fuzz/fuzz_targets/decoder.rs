//! Bytes to text in every encoding, whole and in pieces, and text to bytes.
#![no_main]

use arbitrary::Arbitrary;
use landline::{Decoder, Encoding};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    encoding: u8,
    pieces: Vec<&'a [u8]>,
    text: &'a str,
}

const ALL: [Encoding; 7] = [
    Encoding::Utf8,
    Encoding::Utf16le,
    Encoding::Latin1,
    Encoding::Ascii,
    Encoding::Hex,
    Encoding::Base64,
    Encoding::Base64url,
];

fuzz_target!(|input: Input<'_>| {
    let encoding = ALL[usize::from(input.encoding) % ALL.len()];
    let bytes = input.pieces.concat();
    let whole = encoding.encode(&bytes);
    let mut decoder = Decoder::new(encoding);
    let mut text = String::new();
    for piece in &input.pieces {
        text += &decoder.push(piece);
    }
    text += &decoder.finish();
    assert_eq!(text, whole, "wherever the bytes are cut, the text is the same");
    assert_eq!(decoder.finish(), "", "and then nothing is held");
    match encoding {
        Encoding::Utf8 => assert_eq!(whole, String::from_utf8_lossy(&bytes)),
        Encoding::Utf16le | Encoding::Ascii => {}
        _ => assert_eq!(encoding.decode(&whole).ok().as_ref(), Some(&bytes), "text stands for its bytes"),
    }

    match encoding.decode(input.text) {
        Ok(bytes) => {
            let again = encoding.encode(&bytes);
            match encoding {
                Encoding::Hex => assert_eq!(again, input.text.to_ascii_lowercase()),
                Encoding::Base64 | Encoding::Base64url => assert_eq!(encoding.decode(again).ok(), Some(bytes)),
                _ => assert_eq!(again, input.text, "text that was taken comes back"),
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with(&format!("The argument 'text' is not {encoding}: ")), "{text}");
            let at = text.rsplit_once(" at byte ").and_then(|(_, at)| at.parse().ok()).expect("it says where");
            assert!(input.text.is_char_boundary(at) && at < input.text.len(), "at a character: {text}");
        }
    }
});
