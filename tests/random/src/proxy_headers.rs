//! Headers of the PROXY protocol, whole, cut short, cut up and with a byte changed.

use std::io;
use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::header::tests::{Pieces, add_sum, addresses_of, binary_of, field_of, passed};
use crate::header::{Header, parse, receive};
use crate::{inputs, sys};

/// What a binary header begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The part of a binary header that is always there.
const FIXED: usize = 16;
/// The type of the addition that is a checksum.
const CRC32C: u8 = 3;
/// The field of a Unix socket's name.
const UNIX_NAME: usize = 108;

/// A header, and what it says.
#[derive(Debug, Clone)]
struct Sample {
    bytes: Vec<u8>,
    header: Header,
    /// Whether each of its bytes matters to what it says, but for upper and lower case.
    all_matters: bool,
    /// Where its addresses stand, if it has a checksum.
    summed: Option<std::ops::Range<usize>>,
}

fn line_of(client: SocketAddr, reached: SocketAddr) -> String {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), reached.ip(), client.port(), reached.port())
}

fn pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
    // Few groups that are not zero, so that `::` stands everywhere.
    let group = prop_oneof![Just(0u16), any::<u16>()];
    let ip = proptest::array::uniform8(group);
    let v6 = (ip.clone(), any::<u16>(), ip, any::<u16>()).prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
    prop_oneof![v4, v6]
}

fn lines() -> impl Strategy<Value = Sample> {
    let tcp = pair().prop_map(|(client, reached)| {
        let bytes = line_of(client, reached).into_bytes();
        Sample { bytes, header: passed(client, reached), all_matters: true, summed: None }
    });
    let unknown = "( [ -~]{0,91})?".prop_map(|rest| {
        let bytes = format!("PROXY UNKNOWN{rest}\r\n").into_bytes();
        Sample { bytes, header: Header::Own, all_matters: false, summed: None }
    });
    prop_oneof![4 => tcp, 1 => unknown]
}

fn additions() -> impl Strategy<Value = Vec<u8>> {
    let addition = (any::<u8>().prop_filter("not a checksum", |kind| *kind != CRC32C), vec(any::<u8>(), 0..300));
    vec(addition, 0..4).prop_map(|all| {
        let length = |value: &[u8]| u16::try_from(value.len()).expect("it is short").to_be_bytes();
        all.iter().flat_map(|(kind, value)| [&[*kind], &length(value)[..], &value[..]].concat()).collect()
    })
}

fn binaries() -> impl Strategy<Value = Sample> {
    let tcp = pair().prop_map(|(client, reached)| {
        let family = if client.is_ipv4() { 0x11 } else { 0x21 };
        (binary_of(1, family, &addresses_of(client, reached)), passed(client, reached))
    });
    let name = vec(1..=255u8, 0..=UNIX_NAME);
    let unix = (name.clone(), name).prop_map(|(client, reached)| {
        let header = passed(sys::path_from_bytes(&client), sys::path_from_bytes(&reached));
        (binary_of(1, 0x31, &[field_of(&client), field_of(&reached)].concat()), header)
    });
    let named =
        (prop_oneof![4 => tcp, 1 => unix], additions(), any::<bool>()).prop_map(|((bytes, header), additions, sum)| {
            let addresses = FIXED..bytes.len();
            let all_matters = additions.is_empty() && addresses.len() < 2 * UNIX_NAME && !sum;
            let rest = [&bytes[FIXED..], &additions].concat();
            let bytes = binary_of(1, bytes[FIXED - 3], &rest);
            let bytes = if sum { add_sum(bytes) } else { bytes };
            Sample { bytes, header, all_matters, summed: sum.then_some(addresses) }
        });
    let own = (prop_oneof![Just((0, 0)), Just((0, 0x11)), Just((0, 0xff)), Just((1, 0)), Just((1, 0x10))], additions());
    let own = own.prop_map(|((command, family), rest)| Sample {
        bytes: binary_of(command, family, &rest),
        header: Header::Own,
        all_matters: false,
        summed: None,
    });
    prop_oneof![4 => named, 1 => own]
}

fn samples() -> impl Strategy<Value = Sample> {
    prop_oneof![lines(), binaries()]
}

proptest! {
    #![proptest_config(inputs(256))]

    /// Ensures that a header says what its sender meant, whatever follows it.
    #[test]
    fn a_header_says_what_was_meant(sample in samples(), behind in vec(any::<u8>(), 0..40)) {
        let all = [&sample.bytes[..], &behind].concat();
        prop_assert_eq!(parse(&all).expect("it is valid"), Some((sample.header, sample.bytes.len())));
    }

    /// Ensures that a header cut short anywhere is incomplete: neither wrong nor another header.
    #[test]
    fn a_header_cut_short_is_incomplete(sample in samples()) {
        for length in 0..sample.bytes.len() {
            let parsed = parse(&sample.bytes[..length]);
            prop_assert!(matches!(parsed, Ok(None)), "of {}, the first {length}: {parsed:?}", sample.bytes.len());
        }
    }

    /// Ensures that one changed byte makes another header, of another client or length, or none; of one with a
    /// checksum, a changed address makes none.
    #[test]
    fn a_changed_byte_never_goes_unnoticed(sample in samples(), change in 1..=255u8, behind in vec(any::<u8>(), 300)) {
        for at in 0..sample.bytes.len() {
            let mut bytes = [&sample.bytes[..], &behind].concat();
            bytes[at] ^= change;
            let parsed = parse(&bytes);
            if let Ok(Some((_, length))) = parsed {
                prop_assert!(length <= bytes.len(), "it ends before the bytes do");
            }
            // Of IPv6, `0` and `:` may be two spellings of one address: 1:0:1:0:1:0:1:0 is 1:0:1:0:1:0:1:: too.
            let before = bytes[at] ^ change;
            let is_spelling = matches!([before, bytes[at]], [b'0', b':'] | [b':', b'0']);
            if sample.all_matters && !is_spelling && !bytes[at].eq_ignore_ascii_case(&before) {
                let same = Some((sample.header.clone(), sample.bytes.len()));
                prop_assert!(parsed.as_ref().ok() != Some(&same), "byte {at} matters");
            }
            if sample.summed.as_ref().is_some_and(|addresses| addresses.contains(&at)) {
                prop_assert!(parsed.is_err(), "the checksum is over byte {at} too");
            }
        }
    }

    /// Ensures that no bytes make it panic.
    #[test]
    fn noise_is_refused_without_harm(bytes in vec(any::<u8>(), 0..600), fixed in any::<[u8; 4]>()) {
        let _ = parse(&bytes);
        let _ = parse(&[b"PROXY TCP4 ", &bytes[..]].concat());
        let _ = parse(&[SIGNATURE, &fixed, &bytes].concat());
        let _ = parse(&[SIGNATURE, &[0x21, 0x11, 1, 0], &bytes].concat());
    }

    /// Ensures that not a byte behind the header is taken, in whatever pieces it comes.
    #[test]
    fn what_follows_a_header_is_left(
        sample in samples(),
        behind in vec(any::<u8>(), 0..40),
        sizes in prop_oneof![Just(vec![1]), vec(1..20usize, 1..8), vec(1..5000usize, 1..8)],
    ) {
        let all = [&sample.bytes[..], &behind].concat();
        let mut pieces = Pieces::new(&all, &sizes);
        prop_assert_eq!(receive(&mut pieces).expect("it is valid"), sample.header);
        prop_assert_eq!(pieces.taken, sample.bytes.len());
    }

    /// Ensures that a stream that ends within the header is told apart from a header that is wrong.
    #[test]
    fn an_end_within_the_header_is_an_end(
        sample in samples(), size in 1..200usize, cut in any::<prop::sample::Index>(),
    ) {
        let length = cut.index(sample.bytes.len());
        let error = receive(&mut Pieces::new(&sample.bytes[..length], &[size])).expect_err("it is not whole");
        prop_assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        prop_assert!(error.to_string().contains(&format!("after {length} bytes")), "{error}");
    }
}
