//! Bytes to text, whole and in pieces, and text to bytes.

use landline::{Decoder, Encoding};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{cut, inputs};

fn encoding() -> impl Strategy<Value = Encoding> {
    use Encoding::*;
    prop::sample::select(vec![Utf8, Utf16le, Latin1, Ascii, Hex, Base64, Base64url])
}

/// Bytes of which many are text, and many nearly.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        ".{0,16}".prop_map(String::into_bytes),
        vec(prop::sample::select(vec![0x00, b'a', 0x80, 0xbf, 0xc3, 0xd8, 0xdc, 0xe2, 0xf0, 0xff]), 0..24),
    ]
}

proptest! {
    #![proptest_config(inputs(1000))]

    /// Ensures that text that comes in pieces is the text of the whole, wherever it is cut.
    #[test]
    fn a_decoder_gives_the_same_text_however_the_bytes_are_cut(
        encoding in encoding(), bytes in bytes(), cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut decoder = Decoder::new(encoding);
        let mut text: String = cut(&bytes, &cuts).into_iter().map(|piece| decoder.push(piece).into_owned()).collect();
        text += &decoder.finish();
        prop_assert_eq!(&text, &encoding.encode(&bytes), "the same as at once");
        prop_assert_eq!(decoder.finish(), "", "and nothing is left");
    }

    /// Ensures that bytes come back from the text that stands for them, in the encodings that have one for all bytes,
    /// and text from its bytes in those that have bytes for all texts.
    #[test]
    fn what_is_encoded_is_decoded_to_the_same(bytes in bytes(), text in ".{0,24}") {
        for encoding in [Encoding::Latin1, Encoding::Hex, Encoding::Base64, Encoding::Base64url] {
            prop_assert_eq!(encoding.decode(encoding.encode(&bytes)).ok(), Some(bytes.clone()), "{}", encoding);
        }
        for encoding in [Encoding::Utf8, Encoding::Utf16le] {
            let bytes = encoding.decode(&text).expect("every text is taken");
            prop_assert_eq!(encoding.encode(bytes), text.as_str(), "{}", encoding);
        }
    }

    /// Ensures that a text is decoded, or is an error that says where it is wrong: at a character that is not one of
    /// the encoding's, all before it being so.
    #[test]
    fn a_text_is_decoded_or_an_error_says_where_it_is_wrong(encoding in encoding(), text in "[ -~]{0,20}.{0,3}") {
        if let Err(error) = encoding.decode(&text) {
            let told = error.to_string();
            prop_assert!(told.starts_with(&format!("The argument 'text' is not {encoding}: ")), "{}", told);
            let at: usize = told.rsplit_once(" at byte ").and_then(|(_, at)| at.parse().ok()).expect("it says where");
            let c = text[at..].chars().next().expect("there is a character");
            prop_assert!(told.contains(&format!("{c:?} at byte")), "and which: {}", told);
            let half = told.contains("half a byte");
            // What stands before a wrong character is right, but for a byte that is not complete there.
            let before = encoding.decode(&text[..at]).err().map(|error| error.to_string());
            let right = before.is_none_or(|before| before.contains("half a byte"));
            prop_assert!(half || right, "all before it is right: {}", told);
        }
    }
}
