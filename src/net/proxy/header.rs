//! The header that a load balancer sends first on a connection it passes on: the PROXY protocol, versions 1 and 2, as
//! in HAProxy's `proxy-protocol.txt`.
//!
//! ```text
//! 1:  PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n        TCP4, TCP6 or UNKNOWN; at most 107 bytes
//! 2:  12 bytes of signature, version and command, family and protocol, the length of the rest (two bytes);
//!     both addresses, both ports; then any number of type, length (two bytes), value
//! ```
//!
//! No byte after the header may be taken, because it belongs to the client. But the length of a line is known only at
//! the end of the line. So [`receive`] peeks before it takes (recv(2) with MSG_PEEK). While the header is incomplete,
//! everything that has arrived belongs to it. A header that arrives whole costs two calls.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::address::{Address, Family};
use crate::error::{Error, Result};
use crate::sys;

/// The client of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    /// The connection of a client.
    Passed {
        client: Address,
        /// The address that the client connected to: the address of the load balancer, or of a proxy before it.
        reached: Address,
    },
    /// The load balancer's own connection, for instance a health check, or the connection of a client that it cannot
    /// name. In both cases the addresses of the connection itself are used.
    Own,
}

/// The source of a header: a stream that can be peeked.
pub(crate) trait Source {
    /// Blocks until there are bytes, and copies them. They stay in the stream. Returns 0 at the end of the stream.
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes that [`peek`](Source::peek) has returned.
    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize>;
}

/// Takes the header off a stream, and nothing after it. After an error the position of the stream is undefined.
///
/// # Errors
/// - `InvalidData`, `ERR_PROXY_HEADER`. The text names what is wrong.
/// - `UnexpectedEof` if the stream ends before the header.
/// - Those of the source.
pub(crate) fn receive(source: &mut impl Source) -> io::Result<Header> {
    let mut bytes = [0; LONGEST];
    let mut taken = 0;
    loop {
        // There is room, because a header that fills the buffer is never incomplete.
        let seen = taken + source.peek(&mut bytes[taken..])?;
        if seen == taken {
            return Err(ended(taken));
        }
        let header = parse(&bytes[..seen])?;
        let ours = header.as_ref().map_or(seen, |(_, length)| *length);
        while taken < ours {
            match source.take(&mut bytes[taken..ours])? {
                0 => return Err(ended(taken)),
                n => taken += n,
            }
        }
        if let Some((header, _)) = header {
            return Ok(header);
        }
    }
}

/// The longest header of either version. A line has at most 107 bytes. Binary headers should fit into one segment, 536
/// bytes, but additions such as a client's certificate may be longer. Memory for an unknown sender needs a bound, and
/// nginx allows 4 KiB.
const LONGEST: usize = 4096;
/// `PROXY UNKNOWN`, two IPv6 addresses and two ports, each of the greatest length.
const LONGEST_LINE: usize = 107;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
/// The fixed part of a binary header.
const FIXED: usize = 16;
const CRC32C: u8 = 3;

/// Returns the header at the start of `bytes`, and its length. Returns `None` if the header is incomplete.
///
/// # Errors
/// No header begins like this. The first byte that fits neither version is such an error. Other errors are found when
/// the line is complete or the length is known.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>> {
    let begins = |with: &[u8]| bytes.starts_with(with) || with.starts_with(bytes);
    match () {
        () if begins(LINE) => line(bytes),
        () if begins(SIGNATURE) => binary(bytes),
        () => {
            let first = bytes[..bytes.len().min(SIGNATURE.len())].escape_ascii();
            Err(wrong(format_args!("it begins with '{first}', which is neither version's")))
        }
    }
}

// ---- version 1

fn line(bytes: &[u8]) -> Result<Option<(Header, usize)>> {
    let most = &bytes[..bytes.len().min(LONGEST_LINE)];
    let is_unknown = most.strip_prefix(UNKNOWN).is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'\r')));
    let end = match most.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        // Everything before CRLF is ignored.
        Some(_) if is_unknown => most.windows(2).position(|pair| pair == b"\r\n"),
        Some(end) if most[end..].starts_with(b"\r\n") => Some(end),
        Some(end) if most[end] == b'\n' || end + 1 < most.len() => {
            return Err(wrong("a CR or LF stands alone"));
        }
        _ => None,
    };
    let end = match end {
        Some(end) => end,
        None if most.len() < LONGEST_LINE => return Ok(None),
        None => return Err(wrong(format_args!("no line of at most {LONGEST_LINE} bytes"))),
    };
    if is_unknown {
        return Ok(Some((Header::Own, end + 2)));
    }
    let words: Vec<&[u8]> = most[..end].split(|byte| *byte == b' ').collect();
    let header = match words[..] {
        [_, b"TCP4", client, reached, from, to] => passed(IpAddr::is_ipv4, [client, reached], [from, to])?,
        [_, b"TCP6", client, reached, from, to] => passed(IpAddr::is_ipv6, [client, reached], [from, to])?,
        [_, b"TCP4" | b"TCP6", ..] => {
            return Err(wrong(format_args!("{} words with one space between them, not 6", words.len())));
        }
        [_, protocol, ..] => {
            return Err(wrong(format_args!("protocol {}, not TCP4, TCP6 or UNKNOWN", quoted(protocol))));
        }
        // `PROXY `, as it begins, makes two words.
        [..] => return Err(wrong("no protocol")),
    };
    Ok(Some((header, end + 2)))
}

type OfProtocol = fn(&IpAddr) -> bool;

fn passed(of: OfProtocol, [client, reached]: [&[u8]; 2], [from, to]: [&[u8]; 2]) -> Result<Header> {
    let client = (ip(of, "source", client)?, port("source", from)?);
    let reached = (ip(of, "destination", reached)?, port("destination", to)?);
    Ok(Header::Passed { client: SocketAddr::from(client).into(), reached: SocketAddr::from(reached).into() })
}

/// Parses an IP address with std. std accepts an IPv4 address only in its plain form, without leading zeros. It also
/// accepts an IPv6 address that ends in IPv4 form. The grammar has no such form, but HAProxy writes IPv4 clients like
/// that if its listener is for both families.
fn ip(of: OfProtocol, which: &str, word: &[u8]) -> Result<IpAddr> {
    let ip = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    ip.filter(of).ok_or_else(|| wrong(format_args!("{} is no {which} address of its protocol", quoted(word))))
}

fn port(which: &str, word: &[u8]) -> Result<u16> {
    // std would accept a plus sign and leading zeros.
    let is_plain = word.iter().all(u8::is_ascii_digit) && (word == b"0" || !word.starts_with(b"0"));
    let port = std::str::from_utf8(word).ok().filter(|_| is_plain).and_then(|text| text.parse().ok());
    port.ok_or_else(|| wrong(format_args!("{} is no {which} port", quoted(word))))
}

// ---- version 2

fn binary(bytes: &[u8]) -> Result<Option<(Header, usize)>> {
    let Some(&[version_and_command, family_and_protocol, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(None);
    };
    let (version, command) = halves(version_and_command);
    if version != 2 {
        return Err(wrong(format_args!("version {version} behind the signature of version 2")));
    }
    let family = match command {
        // The addresses of such a header are ignored, but its checksum is not.
        0 => None,
        1 => family(family_and_protocol)?,
        other => return Err(wrong(format_args!("command {other}, not 0 (LOCAL) or 1 (PROXY)"))),
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED + rest;
    if length > LONGEST {
        return Err(wrong(format_args!("{length} bytes, more than {LONGEST}")));
    }
    let needed = family.map_or(0, addresses_length);
    if rest < needed {
        return Err(wrong(format_args!("{rest} bytes of addresses, where its family has {needed}")));
    }
    let Some(all) = bytes.get(..length) else {
        return Ok(None);
    };
    let Some(family) = family else {
        check_unnamed(all, family_and_protocol)?;
        return Ok(Some((Header::Own, length)));
    };
    check_additions(all, FIXED + needed)?;
    let addresses = &all[FIXED..FIXED + needed];
    let (client, reached) = match family {
        Family::Ipv4 => (ip_address::<4>(addresses, 0), ip_address::<4>(addresses, 1)),
        Family::Ipv6 => (ip_address::<16>(addresses, 0), ip_address::<16>(addresses, 1)),
        Family::Unix => {
            let (client, reached) = addresses.split_at(UNIX_NAME);
            (unix_address(client), unix_address(reached))
        }
    };
    Ok(Some((Header::Passed { client, reached }, length)))
}

/// The length of the field for the name of a Unix socket.
const UNIX_NAME: usize = 108;

/// How many bytes the two addresses and their ports take together.
fn addresses_length(family: Family) -> usize {
    match family {
        Family::Ipv4 => 2 * (4 + 2),
        Family::Ipv6 => 2 * (16 + 2),
        Family::Unix => 2 * UNIX_NAME,
    }
}

/// The family of the client. `None` if the sender cannot name a client, or names datagrams. Such headers are valid, but
/// name no client of a stream.
fn family(byte: u8) -> Result<Option<Family>> {
    Ok(match halves(byte) {
        (4.., _) => return Err(wrong(format_args!("address family {}", byte >> 4))),
        (_, 3..) => return Err(wrong(format_args!("transport protocol {}", byte & 15))),
        (_, 1) => family_of(byte),
        _ => None,
    })
}

/// The family in this byte, for any protocol.
fn family_of(byte: u8) -> Option<Family> {
    match byte >> 4 {
        1 => Some(Family::Ipv4),
        2 => Some(Family::Ipv6),
        3 => Some(Family::Unix),
        _ => None,
    }
}

/// Checks the checksum, if any, of a header that names no client. The rest of the header is ignored. The checksum is
/// there to find damage: one damaged bit can turn a client's header into a header that names no client.
///
/// The checksum is expected after the addresses of the stated family. If no family is stated, that may be the damage.
/// So the checksum is looked for after the addresses of each family. Additions end exactly where the header ends.
fn check_unnamed(header: &[u8], family_and_protocol: u8) -> Result<()> {
    let stated = family_of(family_and_protocol).map(addresses_length).filter(|length| FIXED + length <= header.len());
    let any = [Family::Ipv4, Family::Ipv6, Family::Unix].map(addresses_length);
    let places: &[usize] = match &stated {
        Some(length) => std::slice::from_ref(length),
        None => &[0, any[0], any[1], any[2]],
    };
    let mut damaged = None;
    for length in places {
        // Otherwise there are no additions, or none with a checksum.
        if let Ok(Some(value)) = additions(header, FIXED + length) {
            match check_sum(header, value) {
                Ok(()) => return Ok(()),
                Err(error) => damaged = damaged.or(Some(error)),
            }
        }
    }
    damaged.map_or(Ok(()), Err)
}

/// One of the two addresses, each of `N` bytes. Their ports follow.
fn ip_address<const N: usize>(addresses: &[u8], which: usize) -> Address
where
    IpAddr: From<[u8; N]>,
{
    let mut ip = [0; N];
    ip.copy_from_slice(&addresses[which * N..][..N]);
    let port = &addresses[2 * N + 2 * which..];
    SocketAddr::from((IpAddr::from(ip), u16::from_be_bytes([port[0], port[1]]))).into()
}

/// Reads a Unix address. A path ends before its first NUL. An abstract name begins with a NUL, and may contain more.
/// NULs at its end only fill the field.
fn unix_address(field: &[u8]) -> Address {
    let end = match field.iter().position(|byte| *byte == 0) {
        Some(0) => field.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
        Some(end) => end,
        None => field.len(),
    };
    sys::path_from_bytes(&field[..end]).into()
}

/// Checks what follows the addresses. It must end where the header ends, and a checksum, if any, must be right.
/// Everything else in it is ignored.
fn check_additions(header: &[u8], at: usize) -> Result<()> {
    additions(header, at)?.map_or(Ok(()), |value| check_sum(header, value))
}

/// The position of the checksum's value, if there is one among the additions that begin at `at`. The contents of other
/// values do not matter.
fn additions(header: &[u8], mut at: usize) -> Result<Option<Range<usize>>> {
    let mut sum = None;
    while at < header.len() {
        let rest = &header[at..];
        let &[kind, high, low, ..] = rest else {
            return Err(wrong(format_args!("{} bytes behind its last addition", rest.len())));
        };
        let (length, left) = (usize::from(u16::from_be_bytes([high, low])), rest.len() - 3);
        if length > left {
            return Err(wrong(format_args!("an addition of type {kind} with {length} bytes, where {left} are left")));
        }
        let value = at + 3..at + 3 + length;
        at = value.end;
        if kind == CRC32C {
            if length != 4 {
                return Err(wrong(format_args!("a checksum of {length} bytes, not 4")));
            }
            if sum.replace(value).is_some() {
                return Err(wrong("two checksums"));
            }
        }
    }
    Ok(sum)
}

/// Compares the checksum with the one computed over the header, in which zeros replace the checksum.
fn check_sum(header: &[u8], value: Range<usize>) -> Result<()> {
    let (mut said, mut zeroed) = (0, header.to_vec());
    for byte in &mut zeroed[value] {
        said = said << 8 | u32::from(std::mem::take(byte));
    }
    let sum = crc32c(&zeroed);
    if sum == said {
        return Ok(());
    }
    Err(wrong(format_args!("its checksum is {said:08x}, where {sum:08x} would be right")))
}

/// RFC 4960, appendix B: the polynomial 0x1EDC6F41, its bits reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    !crc
}

fn halves(byte: u8) -> (u8, u8) {
    (byte >> 4, byte & 15)
}

// ---- errors

const CODE: &str = "ERR_PROXY_HEADER";

fn wrong(what: impl Display) -> Error {
    Error::fixed(io::ErrorKind::InvalidData, CODE, format!("The PROXY header is wrong: {what}"))
}

fn ended(taken: usize) -> io::Error {
    let text = format!("The connection ended before its PROXY header, after {taken} bytes");
    Error::fixed(io::ErrorKind::UnexpectedEof, CODE, text).into()
}

fn quoted(word: &[u8]) -> String {
    format!("'{}'", word.escape_ascii())
}

// Named by its path, because tests/random has this file elsewhere in its tree.
#[cfg(test)]
#[path = "header/tests.rs"]
pub(super) mod tests;
