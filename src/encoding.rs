use std::borrow::Cow;
use std::str::FromStr;
use std::{fmt, io};

use crate::error::Error;

/// How bytes are written as text and read back. The encodings and their names are Node's.
///
/// ```
/// use landline::Encoding;
///
/// assert_eq!(Encoding::Hex.encode("hi"), "6869");
/// assert_eq!(Encoding::Base64.decode("aGk=")?, b"hi");
///
/// let encoding: Encoding = "ucs2".parse()?;
/// assert_eq!(encoding.to_string(), "utf16le");
/// # Ok::<(), landline::Error>(())
/// ```
///
/// Node uses the two words the other way round. It calls `buffer.toString('hex')` decoding, which is `Hex.encode` here.
/// It calls `Buffer.from(text, 'hex')` encoding, which is `Hex.decode` here. For bytes that arrive in pieces,
/// a [`Decoder`] does what `encode` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8, the default. Also named `utf-8`.
    #[default]
    Utf8,
    /// UTF-16 with the low byte first. Also named `utf-16le`, `ucs2` and `ucs-2`.
    #[doc(alias = "ucs2")]
    Utf16le,
    /// One byte for each character from U+0000 to U+00FF. Also named `binary`.
    #[doc(alias = "binary")]
    Latin1,
    /// One byte for each character from U+0000 to U+007F.
    Ascii,
    /// Two hexadecimal digits for each byte.
    Hex,
    /// RFC 4648 section 4: with `+` and `/`, padded with `=`.
    Base64,
    /// RFC 4648 section 5: with `-` and `_`, without padding.
    Base64url,
}

impl Encoding {
    /// Turns bytes into text.
    ///
    /// It never fails. Bytes that are invalid in the encoding are replaced like in Node:
    ///
    /// - Invalid UTF-8, and half of a UTF-16 surrogate pair, become U+FFFD.
    /// - ASCII drops the highest bit of each byte.
    /// - An odd byte at the end of UTF-16 becomes U+FFFD. Only here Node differs: it drops the byte.
    ///
    /// ```
    /// use landline::Encoding;
    ///
    /// assert_eq!(Encoding::Base64url.encode([0xfb, 0xff]), "-_8");
    /// assert_eq!(Encoding::Latin1.encode([0xe9]), "é");
    /// ```
    #[doc(alias = "toString")]
    pub fn encode(self, bytes: impl AsRef<[u8]>) -> String {
        self.text(bytes.as_ref()).into_owned()
    }

    /// Turns text into bytes.
    ///
    /// Nothing is lost silently. For a character that Node would skip, stop at or truncate to a byte, this returns an
    /// error with the position.
    ///
    /// | encoding | accepted | an error here | in Node |
    /// |---|---|---|---|
    /// | UTF-8, UTF-16 | every text | | |
    /// | Latin-1 | up to U+00FF | any other character | Node keeps its low byte |
    /// | ASCII | up to U+007F | any other character | Node keeps its low byte |
    /// | hex | digits of either case | any other character; an odd digit at the end | Node stops there |
    /// | base64, base64url | both alphabets, with or without `=`, with spaces and line ends | any other character; characters after `=`; one digit too many | Node skips them |
    ///
    /// ```
    /// use landline::Encoding;
    ///
    /// assert_eq!(Encoding::Base64.decode("aGVs\r\nbG8")?, b"hello");
    ///
    /// let error = Encoding::Hex.decode("c0ffeg").unwrap_err();
    /// assert_eq!(error.to_string(), "The argument 'text' is not hex: 'g' at byte 5");
    /// # Ok::<(), landline::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ERR_INVALID_ARG_VALUE`, with the character and its byte offset in the text.
    #[doc(alias = "from")]
    pub fn decode(self, text: impl AsRef<str>) -> io::Result<Vec<u8>> {
        let text = text.as_ref();
        match self {
            Encoding::Utf8 => Ok(text.as_bytes().to_vec()),
            Encoding::Utf16le => {
                let mut bytes = Vec::with_capacity(2 * text.len());
                for unit in text.encode_utf16() {
                    bytes.extend_from_slice(&unit.to_le_bytes());
                }
                Ok(bytes)
            }
            Encoding::Latin1 => self.single_bytes(text, '\u{ff}'),
            Encoding::Ascii => self.single_bytes(text, '\u{7f}'),
            Encoding::Hex => self.read_hex(text),
            Encoding::Base64 | Encoding::Base64url => self.read_base64(text),
        }
    }

    /// Does the same as [`encode`](Self::encode), without a copy if the bytes already are the text.
    fn text(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Encoding::Utf8 => String::from_utf8_lossy(bytes),
            Encoding::Latin1 | Encoding::Ascii if bytes.is_ascii() => String::from_utf8_lossy(bytes),
            Encoding::Latin1 => characters(bytes, 0xff).into(),
            Encoding::Ascii => characters(bytes, 0x7f).into(),
            Encoding::Utf16le => utf16le(bytes).into(),
            Encoding::Hex => hex(bytes).into(),
            Encoding::Base64 => base64(bytes, BASE64, true).into(),
            Encoding::Base64url => base64(bytes, BASE64URL, false).into(),
        }
    }

    fn single_bytes(self, text: &str, last: char) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len());
        for (at, c) in text.char_indices() {
            match u8::try_from(c) {
                Ok(byte) if c <= last => bytes.push(byte),
                _ => return Err(self.refuse(c, at)),
            }
        }
        Ok(bytes)
    }

    fn read_hex(self, text: &str) -> io::Result<Vec<u8>> {
        let mut digits = text.char_indices().map(|(at, c)| match c.to_digit(16) {
            Some(digit) => Ok((at, c, digit as u8)),
            None => Err(self.refuse(c, at)),
        });
        let mut bytes = Vec::with_capacity(text.len() / 2);
        while let Some(high) = digits.next() {
            let (at, c, high) = high?;
            match digits.next() {
                Some(low) => bytes.push(high << 4 | low?.2),
                None => return Err(self.half(c, at)),
            }
        }
        Ok(bytes)
    }

    fn read_base64(self, text: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
        let (mut group, mut digits, mut filled, mut last) = (0_u32, 0_u32, false, (0, '='));
        for (at, c) in text.char_indices() {
            let digit = match c {
                ' ' | '\t' | '\n' | '\r' => continue,
                '=' => {
                    filled = true;
                    continue;
                }
                _ if filled => return Err(self.refuse(c, at)),
                'A'..='Z' => u32::from(c) - u32::from('A'),
                'a'..='z' => u32::from(c) - u32::from('a') + 26,
                '0'..='9' => u32::from(c) - u32::from('0') + 52,
                '+' | '-' => 62,
                '/' | '_' => 63,
                _ => return Err(self.refuse(c, at)),
            };
            last = (at, c);
            group = group << 6 | digit;
            digits += 1;
            if digits == 4 {
                bytes.extend_from_slice(&group.to_be_bytes()[1..]);
                (group, digits) = (0, 0);
            }
        }
        // In a last group of two or three digits, the bits left over belong to no byte.
        match digits {
            1 => return Err(self.half(last.1, last.0)),
            2 => bytes.push((group >> 4) as u8),
            3 => bytes.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
            _ => {}
        }
        Ok(bytes)
    }

    fn refuse(self, c: char, at: usize) -> io::Error {
        Error::invalid("ERR_INVALID_ARG_VALUE", format!("The argument 'text' is not {self}: {c:?} at byte {at}")).into()
    }

    fn half(self, c: char, at: usize) -> io::Error {
        let text = format!("The argument 'text' is not {self}: it ends in half a byte, {c:?} at byte {at}");
        Error::invalid("ERR_INVALID_ARG_VALUE", text).into()
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Encoding::Utf8 => "utf8",
            Encoding::Utf16le => "utf16le",
            Encoding::Latin1 => "latin1",
            Encoding::Ascii => "ascii",
            Encoding::Hex => "hex",
            Encoding::Base64 => "base64",
            Encoding::Base64url => "base64url",
        })
    }
}

impl FromStr for Encoding {
    type Err = io::Error;

    /// Accepts each of Node's names, in any case.
    ///
    /// # Errors
    /// `ERR_UNKNOWN_ENCODING` for any other name.
    fn from_str(name: &str) -> io::Result<Encoding> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "utf8" | "utf-8" => Encoding::Utf8,
            "utf16le" | "utf-16le" | "ucs2" | "ucs-2" => Encoding::Utf16le,
            "latin1" | "binary" => Encoding::Latin1,
            "ascii" => Encoding::Ascii,
            "hex" => Encoding::Hex,
            "base64" => Encoding::Base64,
            "base64url" => Encoding::Base64url,
            _ => return Err(Error::invalid("ERR_UNKNOWN_ENCODING", format!("Unknown encoding: {name}")).into()),
        })
    }
}

/// Makes text out of bytes that arrive in pieces. If a character is split between two pieces, it comes out whole with
/// the second piece.
///
/// The joined texts equal what [`Encoding::encode`] makes of all the bytes at once, wherever the bytes were split.
///
/// ```
/// use landline::{Decoder, Encoding};
///
/// let mut decoder = Decoder::new(Encoding::Utf8);
/// assert_eq!(decoder.push(b"5 \xe2\x82"), "5 ");
/// assert_eq!(decoder.push(b"\xac!"), "€!");
/// assert_eq!(decoder.finish(), "");
/// ```
#[doc(alias = "StringDecoder")]
#[doc(alias = "setEncoding")]
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    encoding: Encoding,
    /// The bytes of an incomplete character or group of digits, at most 3.
    held: Vec<u8>,
}

impl Decoder {
    /// Makes a decoder that holds no bytes.
    pub fn new(encoding: Encoding) -> Decoder {
        Decoder { encoding, held: Vec::new() }
    }

    /// Returns the encoding that the decoder was made with.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Adds these bytes, and returns the text that is now complete. The bytes of an incomplete character are kept for
    /// the next call.
    ///
    /// Valid UTF-8 that needs no bytes from an earlier call is borrowed, not copied.
    #[doc(alias = "write")]
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        if self.held.is_empty() {
            let (whole, cut) = bytes.split_at(complete(self.encoding, bytes));
            self.held.extend_from_slice(cut);
            return self.encoding.text(whole);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(bytes);
        self.held = joined.split_off(complete(self.encoding, &joined));
        self.encoding.encode(joined).into()
    }

    /// Returns the text of the remaining bytes, after the last piece. An incomplete character becomes U+FFFD. In
    /// base64, the one or two remaining bytes become the last digits. The text is empty if no bytes remain. Afterwards
    /// the decoder can be used again like a new one.
    #[doc(alias = "end")]
    pub fn finish(&mut self) -> String {
        self.encoding.encode(std::mem::take(&mut self.held))
    }
}

/// How many bytes at the beginning are complete characters or groups of digits.
fn complete(encoding: Encoding, bytes: &[u8]) -> usize {
    match encoding {
        Encoding::Utf8 => complete_utf8(bytes),
        Encoding::Utf16le => {
            let whole = bytes.len() / 2 * 2;
            match bytes[..whole] {
                // The first half of a surrogate pair.
                [.., 0xd8..=0xdb] => whole - 2,
                _ => whole,
            }
        }
        Encoding::Base64 | Encoding::Base64url => bytes.len() / 3 * 3,
        Encoding::Latin1 | Encoding::Ascii | Encoding::Hex => bytes.len(),
    }
}

fn complete_utf8(bytes: &[u8]) -> usize {
    // A character has up to 4 bytes, and all but the first are 0x80 to 0xBF. So an incomplete character begins in the
    // last 3 bytes. It begins at the last byte that is not 0x80 to 0xBF.
    let tail = bytes.len().saturating_sub(3);
    let Some(start) = bytes[tail..].iter().rposition(|byte| !(0x80..=0xbf).contains(byte)) else {
        return bytes.len();
    };
    match std::str::from_utf8(&bytes[tail + start..]) {
        // `None` as the length means that the bytes are valid so far and that more must follow.
        Err(error) if error.error_len().is_none() => tail + start,
        _ => bytes.len(),
    }
}

fn utf16le(bytes: &[u8]) -> String {
    let (pairs, odd) = bytes.split_at(bytes.len() / 2 * 2);
    let units = pairs.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let mut text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    if !odd.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    let digits = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(digits[usize::from(byte >> 4)]));
        text.push(char::from(digits[usize::from(byte & 15)]));
    }
    text
}

/// Makes one character of each byte, after masking the byte.
fn characters(bytes: &[u8], mask: u8) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(byte & mask));
    }
    text
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64(bytes: &[u8], alphabet: &[u8; 64], fill: bool) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |i: usize| group.get(i).map_or(0, |&byte| usize::from(byte));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            // One byte makes two digits, two make three, three make four.
            if digit <= group.len() {
                text.push(char::from(alphabet[bits >> (18 - 6 * digit) & 63]));
            } else if fill {
                text.push('=');
            }
        }
    }
    text
}
