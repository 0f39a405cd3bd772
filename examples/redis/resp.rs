//! Redis's protocol, RESP 2, with its requests and answers.

use std::fmt::Display;
use std::io::{self, Read};

use super::Buffered;

/// The most that a request may have, in bytes and in words.
const LONGEST: usize = 1024 * 1024;

pub(crate) const NULL: &[u8] = b"$-1\r\n";

/// The words of the next request, the first in capitals. A request comes in the protocol's form or as a typed line.
/// `None` at the client's end.
pub(crate) fn receive(client: &mut Buffered) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(line) = client.next_line_bytes()? else { return Ok(None) };
    let mut words = Vec::new();
    if line.starts_with(b"*") {
        let (count, mut left) = (length(line, b'*', LONGEST)?, LONGEST);
        for _ in 0..count {
            let length = length(client.next_line_bytes()?.unwrap_or_default(), b'$', left)?;
            let mut word = vec![0; length + 2];
            client.read_exact(&mut word)?;
            word.truncate(length);
            words.push(word);
            left -= length;
        }
    } else {
        words.extend(line.split(|byte| *byte == b' ').map(Vec::from));
    }
    words.iter_mut().take(1).for_each(|name| name.make_ascii_uppercase());
    Ok(Some(words))
}

/// Whether these bytes begin with a whole request, so that `receive` does not wait for more.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
    let Some(mut at) = line(bytes) else { return false };
    if !bytes.starts_with(b"*") {
        return true;
    }
    for _ in 0..length(bytes[..at].trim_ascii_end(), b'*', LONGEST).unwrap_or(0) {
        let Some(end) = bytes.get(at..).and_then(line) else { return false };
        at += end + length(bytes[at..][..end].trim_ascii_end(), b'$', LONGEST).unwrap_or(0) + 2;
    }
    at <= bytes.len()
}

fn length(line: &[u8], kind: u8, most: usize) -> io::Result<usize> {
    let digits = line.strip_prefix(&[kind]).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    digits.filter(|length| *length <= most).ok_or(io::ErrorKind::InvalidData.into())
}

/// The answer to a request of which no more is to be said, whatever it gave.
pub(crate) fn done<T>(_: T) -> Vec<u8> {
    b"+OK\r\n".into()
}

pub(crate) fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

pub(crate) fn number(n: impl Display) -> Vec<u8> {
    format!(":{n}\r\n").into()
}

pub(crate) fn error(text: &str) -> Vec<u8> {
    format!("-ERR {text}\r\n").into()
}

pub(crate) fn array(parts: &[Vec<u8>]) -> Vec<u8> {
    format!("*{}\r\n", parts.len()).into_bytes().into_iter().chain(parts.concat()).collect()
}
