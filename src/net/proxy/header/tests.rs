//! The limits of headers, and a table of refused ones. tests/random has the rules for every header, and makes its
//! headers by the functions here.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::*;

pub(crate) fn passed(client: impl Into<Address>, reached: impl Into<Address>) -> Header {
    Header::Passed { client: client.into(), reached: reached.into() }
}

pub(crate) fn binary_of(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("it is short").to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

pub(crate) fn addresses_of(client: SocketAddr, reached: SocketAddr) -> Vec<u8> {
    let octets = |at: SocketAddr| match at.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [client.port().to_be_bytes(), reached.port().to_be_bytes()].concat();
    [octets(client), octets(reached), ports].concat()
}

/// A name of a Unix socket in its field of 108 bytes.
pub(crate) fn field_of(name: &[u8]) -> Vec<u8> {
    let mut field = name.to_vec();
    field.resize(UNIX_NAME, 0);
    field
}

/// The checksum, computed in another way: a division of polynomials, bit by bit, the highest power first.
fn sum_of(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |i| u32::from(byte >> i & 1))) {
        let carries = remainder >> 31 != bit;
        remainder = (remainder << 1) ^ if carries { 0x1edc_6f41 } else { 0 };
    }
    !remainder.reverse_bits()
}

pub(crate) fn add_sum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend([CRC32C, 0, 4, 0, 0, 0, 0]);
    let length = u16::try_from(bytes.len() - FIXED).expect("it is short").to_be_bytes();
    bytes[FIXED - 2..FIXED].copy_from_slice(&length);
    let sum = sum_of(&bytes).to_be_bytes();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&sum);
    bytes
}

/// A stream that returns its bytes in pieces.
pub(crate) struct Pieces<'a> {
    bytes: &'a [u8],
    /// How many bytes come at a time, repeated.
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    here: usize,
    pub(crate) taken: usize,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(bytes: &'a [u8], sizes: &'a [usize]) -> Pieces<'a> {
        Pieces { bytes, sizes: sizes.iter().cycle(), here: 0, taken: 0 }
    }

    fn next_size(&mut self) -> usize {
        *self.sizes.next().expect("there is a size")
    }
}

impl Source for Pieces<'_> {
    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(!buf.is_empty(), "the buffer is not empty");
        if self.here == self.taken {
            self.here = (self.here + self.next_size()).min(self.bytes.len());
        }
        let n = buf.len().min(self.here - self.taken);
        buf[..n].copy_from_slice(&self.bytes[self.taken..][..n]);
        Ok(n)
    }

    fn take(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.next_size().min(buf.len()).min(self.here - self.taken);
        assert!(n > 0, "what has been seen is there to be taken, and no more is asked for");
        buf[..n].copy_from_slice(&self.bytes[self.taken..][..n]);
        self.taken += n;
        Ok(n)
    }
}

/// Ensures that the longest headers are taken, and those of one byte more refused.
#[test]
fn the_limits_are_exact() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_LINE - 16));
    assert_eq!(longest.len(), 107, "the longest that the specification allows");
    assert_eq!(parse(longest.as_bytes()).expect("it is valid"), Some((Header::Own, 107)));
    let longer = longest.replace(" f", " ff");
    for length in [107, 108] {
        let error = parse(&longer.as_bytes()[..length]).expect_err("it is too long").to_string();
        assert_eq!(error, "The PROXY header is wrong: no line of at most 107 bytes");
    }
    // Incomplete until the longest line is there, and no longer.
    assert!(matches!(parse(&longer.as_bytes()[..106]), Ok(None)));

    let addition = |length: usize| [&[4][..], &(length as u16).to_be_bytes(), &vec![0; length]].concat();
    let whole = binary_of(1, 0x11, &[vec![1; 12], addition(LONGEST - FIXED - 12 - 3)].concat());
    assert_eq!(parse(&whole).expect("it is valid").map(|(_, length)| length), Some(LONGEST));
    let mut pieces = Pieces::new(&whole, &[1, 700, 2]);
    receive(&mut pieces).expect("the buffer holds it");
    let error = parse(&binary_of(1, 0x11, &[0; LONGEST - FIXED + 1])[..FIXED]).expect_err("it is too long");
    assert_eq!(error.to_string(), "The PROXY header is wrong: 4097 bytes, more than 4096");
}

/// Ensures that addresses are canonical, as HAProxy writes them for IPv4 clients of a listener for both families too.
#[test]
fn addresses_are_canonical() {
    let at = |text: &str| text.parse::<Address>().expect("an address");
    let header = Some(passed(at("1.2.3.4:5"), at("[::1]:6")));
    let said = |bytes: &[u8]| parse(bytes).expect("it is valid").map(|(header, _)| header);
    assert_eq!(said(b"PROXY TCP6 ::ffff:1.2.3.4 ::1 5 6\r\n"), header);
    assert_eq!(said(b"PROXY TCP6 0:0:0:0:0:FFFF:102:304 0000:0000:0000:0000:0000:0000:0000:0001 5 6\r\n"), header);
    let mapped =
        addresses_of("[::ffff:1.2.3.4]:5".parse().expect("an address"), "[::1]:6".parse().expect("an address"));
    assert_eq!(said(&binary_of(1, 0x21, &mapped)), header);
}

/// Ensures that the names of Unix sockets are those the system knows.
#[test]
fn names_of_unix_sockets_are_whole() {
    let whole = [b'x'; UNIX_NAME];
    let names: [(&[u8], &[u8]); 5] = [
        (b"/run/a", b"/run/a"),
        (b"/run/a\0left over", b"/run/a"),
        (b"", b""),
        (b"\0abstract\0name\0", b"\0abstract\0name"),
        (&whole, &whole),
    ];
    for (sent, meant) in names {
        let bytes = binary_of(1, 0x31, &[field_of(sent), field_of(b"/run/b")].concat());
        let header = passed(sys::path_from_bytes(meant), PathBuf::from("/run/b"));
        assert_eq!(parse(&bytes).expect("it is valid"), Some((header, bytes.len())), "{}", sent.escape_ascii());
    }
}

/// Ensures that the checksum is that of RFC 4960, by its usual check value.
#[test]
fn the_checksum_is_crc32c() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(sum_of(b"123456789"), 0xe306_9283, "so does the one of these tests");
}

/// Ensures that everything before the CRLF of `UNKNOWN` is ignored, even a single CR or LF.
#[test]
fn what_comes_before_crlf_of_unknown_is_ignored() {
    let lines: [&[u8]; 6] = [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN \r\n",
        b"PROXY UNKNOWN \n\r\n",
        b"PROXY UNKNOWN\r\r\n",
        b"PROXY UNKNOWN a\rb\nc \0\xff\r\n",
        b"PROXY UNKNOWN \r\r \r\n",
    ];
    for line in lines {
        for length in 1..line.len() {
            let said = parse(&line[..length]).expect("its start is a header's");
            assert_eq!(said, None, "{length} bytes of {} are incomplete", line.escape_ascii());
        }
        let bytes = [line, b"\r\n"].concat();
        let said = parse(&bytes).expect("it is valid");
        assert_eq!(said, Some((Header::Own, line.len())), "{} ends at its first CRLF", line.escape_ascii());
    }
}

/// Ensures that a header that tells of datagrams, which is valid, names no client.
#[test]
fn a_header_of_datagrams_names_no_client() {
    let addresses = [(0x12, vec![1; 12]), (0x22, vec![1; 36]), (0x32, vec![b'x'; 216]), (0x02, vec![]), (0x12, vec![])];
    for (family, rest) in addresses {
        let bytes = binary_of(1, family, &rest);
        let said = parse(&bytes).expect("a valid combination");
        assert_eq!(said, Some((Header::Own, bytes.len())), "family and protocol {family:02x}, {} bytes", rest.len());
    }
}

/// Ensures that a checksum is checked in headers that name no client too: of a header with one, no bit can be changed
/// so that its client becomes the sender.
#[test]
fn one_bit_of_damage_makes_no_client_the_sender() {
    let named = [(0x11, vec![7; 12]), (0x21, vec![7; 36]), (0x31, [field_of(b"/run/a"), field_of(b"/run/b")].concat())];
    for (family, addresses) in named {
        let header = add_sum(binary_of(1, family, &addresses));
        for bit in 0..8 * header.len() {
            let mut damaged = header.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Some((header, _))) = parse(&damaged) {
                assert_ne!(header, Header::Own, "family {family:02x}, bit {bit}: the client is not the sender");
            }
        }
    }
    for (command, family, addresses) in
        [(0, 0, 0), (0, 0x11, 12), (1, 0, 0), (1, 0x22, 36), (0, 0x31, 216), (0, 0x11, 0)]
    {
        let header = add_sum(binary_of(command, family, &vec![7; addresses]));
        let said = parse(&header).expect("its sum is right");
        assert_eq!(said, Some((Header::Own, header.len())), "command {command}, family {family:02x}");
        let mut damaged = header.clone();
        *damaged.last_mut().expect("it has a sum") ^= 1;
        let error = parse(&damaged).expect_err("its sum is wrong").to_string();
        assert!(error.contains("its checksum is"), "command {command}, family {family:02x}: {error}");
    }
}

/// Ensures that what is wrong is refused, and named.
#[test]
fn what_is_wrong_is_named() {
    let lines: &[(&[u8], &str)] = &[
        (b"G", "it begins with 'G', which is neither version's"),
        (b"GET / HTTP/1.1\r\n", "it begins with 'GET / HTTP/1', which is neither version's"),
        (b"proxy TCP4 ", "it begins with 'proxy TCP4 ', which is neither version's"),
        (b"PROXY\r\n", "it begins with 'PROXY\\r\\n', which is neither version's"),
        (b" PROXY ", "it begins with ' PROXY ', which is neither version's"),
        (b"\r\n\r\n\0\r\nQUIT\r", "it begins with '\\r\\n\\r\\n\\x00\\r\\nQUIT\\r', which is neither version's"),
        (b"PROXY \r\n", "protocol '', not TCP4, TCP6 or UNKNOWN"),
        (b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "protocol 'TCP5', not TCP4, TCP6 or UNKNOWN"),
        (b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", "protocol 'tcp4', not TCP4, TCP6 or UNKNOWN"),
        (b"PROXY UNKNOWNX\r\n", "protocol 'UNKNOWNX', not TCP4, TCP6 or UNKNOWN"),
        (b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "protocol '', not TCP4, TCP6 or UNKNOWN"),
        (b"PROXY TCP4\r\n", "2 words with one space between them, not 6"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "5 words with one space between them, not 6"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", "7 words with one space between them, not 6"),
        (b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", "7 words with one space between them, not 6"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", "7 words with one space between them, not 6"),
        (b"PROXY TCP4 1.2.3.4\t5.6.7.8 1 2\r\n", "5 words with one space between them, not 6"),
        (b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", "'1.2.3' is no source address of its protocol"),
        (b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", "'01.2.3.4' is no source address of its protocol"),
        (b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", "'1.2.3.256' is no source address of its protocol"),
        (b"PROXY TCP4 0x1.2.3.4 5.6.7.8 1 2\r\n", "'0x1.2.3.4' is no source address of its protocol"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8. 1 2\r\n", "'5.6.7.8.' is no destination address of its protocol"),
        (b"PROXY TCP4 1.2.3.4 \xff 1 2\r\n", "'\\xff' is no destination address of its protocol"),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", "'::1' is no source address of its protocol"),
        (b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n", "'1.2.3.4' is no source address of its protocol"),
        (b"PROXY TCP6 [::1] ::1 1 2\r\n", "'[::1]' is no source address of its protocol"),
        (b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", "'fe80::1%lo' is no source address of its protocol"),
        (b"PROXY TCP6 ::1 1::2::3 1 2\r\n", "'1::2::3' is no destination address of its protocol"),
        (b"PROXY TCP6 ::1 00001:: 1 2\r\n", "'00001::' is no destination address of its protocol"),
        (b"PROXY TCP6 ::1 1:2:3:4:5:6:7 1 2\r\n", "'1:2:3:4:5:6:7' is no destination address of its protocol"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", "'01' is no source port"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 00 2\r\n", "'00' is no source port"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", "'+1' is no source port"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", "'-1' is no source port"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "'65536' is no destination port"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", "'' is no destination port"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2x\r\n", "'2x' is no destination port"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \xd9\xa3\r\n", "'\\xd9\\xa3' is no destination port"),
        (b"PROXY UNKNOWN\n", "a CR or LF stands alone"),
        (b"PROXY UNKNOWN\nGET / HTTP/1.0\r\n", "a CR or LF stands alone"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", "a CR or LF stands alone"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx", "a CR or LF stands alone"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n", "a CR or LF stands alone"),
    ];
    for (bytes, what) in lines {
        let error = parse(bytes).expect_err(&bytes.escape_ascii().to_string());
        assert_eq!(error.to_string(), format!("The PROXY header is wrong: {what}"), "{}", bytes.escape_ascii());
        assert_eq!((error.code(), error.kind()), ("ERR_PROXY_HEADER", io::ErrorKind::InvalidData));
    }

    let v4 = [1; 12];
    let with = |additions: &[u8]| binary_of(1, 0x11, &[&v4, additions].concat());
    let mut another_version = binary_of(1, 0x11, &v4);
    another_version[12] = 0x11;
    let summed = add_sum(binary_of(1, 0x11, &v4));
    // The first of the two is right, whatever the second says.
    let mut twice = with(&[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]);
    let first = sum_of(&twice).to_be_bytes();
    twice[FIXED + 12 + 3..][..4].copy_from_slice(&first);
    let mut wrong_sum = summed.clone();
    wrong_sum[20] ^= 1;
    let (right, said) = (sum_of(&[&wrong_sum[..wrong_sum.len() - 4], &[0; 4]].concat()), &summed[summed.len() - 4..]);
    let said = u32::from_be_bytes(said.try_into().expect("four bytes"));
    let table: Vec<(Vec<u8>, String)> = vec![
        (another_version, "version 1 behind the signature of version 2".into()),
        (binary_of(2, 0x11, &v4), "command 2, not 0 (LOCAL) or 1 (PROXY)".into()),
        (binary_of(15, 0x11, &v4), "command 15, not 0 (LOCAL) or 1 (PROXY)".into()),
        (binary_of(1, 0x41, &v4), "address family 4".into()),
        (binary_of(1, 0xf0, &v4), "address family 15".into()),
        (binary_of(1, 0x13, &v4), "transport protocol 3".into()),
        (binary_of(1, 0x11, &v4[1..]), "11 bytes of addresses, where its family has 12".into()),
        (binary_of(1, 0x11, &[]), "0 bytes of addresses, where its family has 12".into()),
        (binary_of(1, 0x21, &[0; 35]), "35 bytes of addresses, where its family has 36".into()),
        (binary_of(1, 0x31, &[0; 215]), "215 bytes of addresses, where its family has 216".into()),
        (binary_of(1, 0x31, &vec![0; 5000]), "5016 bytes, more than 4096".into()),
        (binary_of(0, 0x00, &vec![0; 65535]), "65551 bytes, more than 4096".into()),
        (with(&[4]), "1 bytes behind its last addition".into()),
        (with(&[4, 0, 1, 9, 4, 0]), "2 bytes behind its last addition".into()),
        (with(&[4, 0, 1]), "an addition of type 4 with 1 bytes, where 0 are left".into()),
        (with(&[4, 0, 0, 32, 1, 0, 5]), "an addition of type 32 with 256 bytes, where 1 are left".into()),
        (with(&[3, 0, 3, 0, 0, 0]), "a checksum of 3 bytes, not 4".into()),
        (twice, "two checksums".into()),
        (wrong_sum, format!("its checksum is {said:08x}, where {right:08x} would be right")),
    ];
    for (bytes, what) in table {
        let error = parse(&bytes).expect_err(&what);
        assert_eq!(error.to_string(), format!("The PROXY header is wrong: {what}"), "{}", bytes.escape_ascii());
    }
}
