//! What holds for every input: addresses, endpoints, block lists, encodings and lines, with inputs that are made up anew in
//! each run. An input that breaks a rule is printed in the shortest form that still does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::thread;

use landline::net::SocketOptions;
use landline::{Address, BlockList, Cancel, Decoder, Encoding, Endpoint, Error, Family, is_ip};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::fixtures::pair;

/// So many inputs for each rule; none is written to a file.
fn inputs(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// IP addresses of both families, of which many are close together, and some are the last ones.
fn ip() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u8>().prop_map(|low| Ipv4Addr::new(10, 0, 0, low));
    prop_oneof![
        3 => v4.clone().prop_map(IpAddr::V4),
        2 => v4.prop_map(|ip| IpAddr::V6(ip.to_ipv6_mapped())),
        2 => any::<u8>().prop_map(|low| IpAddr::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low)))),
        1 => prop_oneof![Just(Ipv6Addr::from(0)), Just(Ipv6Addr::from(u128::MAX))].prop_map(IpAddr::V6),
        1 => prop_oneof![Just(Ipv4Addr::from(0)), Just(Ipv4Addr::from(u32::MAX))].prop_map(IpAddr::V4),
        1 => any::<IpAddr>(),
    ]
}

fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (ip(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<u128>(), any::<u16>(), any::<u32>()).prop_map(|(ip, port, scope)| SocketAddrV6::new(
            ip.into(),
            port,
            0,
            scope
        )
        .into()),
    ]
}

/// Texts that are addresses, nearly addresses, or anything.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        r"[\[\]0-9a-f:.%]{0,24}",
        r"(\[?[0-9a-z.:%]{0,12}\]?)?:?[0-9]{0,6}",
        socket_addr().prop_map(|at| at.to_string()),
        (socket_addr(), any::<prop::sample::Index>(), any::<char>()).prop_map(|(at, index, c)| {
            let mut chars: Vec<char> = at.to_string().chars().collect();
            let at = index.index(chars.len());
            chars[at] = c;
            chars.into_iter().collect()
        }),
    ]
}

/// What a connect says of an endpoint before it does anything: it was cancelled before it began.
fn check(to: impl Into<Endpoint>) -> Result<(), Error> {
    let cancelled = Cancel::new();
    cancelled.cancel();
    let error = SocketOptions::new().cancel(&cancelled).connect(to).expect_err("it is cancelled");
    if error.code() == "ABORT_ERR" { Ok(()) } else { Err(error) }
}

proptest! {
    #![proptest_config(inputs(500))]

    /// Ensures that an address is read as it is written, whichever it is.
    #[test]
    fn an_address_is_read_as_it_is_written(at in socket_addr()) {
        let address = Address::from(at);
        let again: Address = address.to_string().parse().expect("what it writes is an address");
        prop_assert_eq!(&again, &address, "the same one");
        prop_assert_eq!(address.ip(), Some(at.ip().to_canonical()), "in its one form");
        prop_assert_eq!(address.port(), at.port(), "with its port");
        prop_assert_eq!(Address::parse(&address.to_string()), Some(address), "for `parse` too");
    }

    /// Ensures that any text is an address, or an error that names the text.
    #[test]
    fn a_text_is_an_address_or_an_error_that_names_it(text in text()) {
        match text.parse::<Address>() {
            Ok(address) => {
                prop_assert_eq!(address.to_string().parse::<Address>().ok(), Some(address.clone()));
                prop_assert_eq!(Address::parse(&text), Some(address));
            }
            Err(error) => {
                prop_assert_eq!(error.code(), "ERR_INVALID_ADDRESS");
                prop_assert!(error.to_string().ends_with(&text), "it names the text: {}", error);
            }
        }
        let plain = text.parse().ok().map(|ip: IpAddr| if ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 });
        prop_assert!(text.contains('%') || is_ip(&text) == plain, "without a zone, an IP address is what std takes");
    }

    /// Ensures that any text is an endpoint, which is read as it is shown, or an error that names what is wrong with it.
    #[test]
    fn a_text_is_an_endpoint_or_an_error_that_names_it(text in text()) {
        let shown = Endpoint::from(text.as_str()).to_string();
        match check(text.as_str()) {
            Ok(()) => {
                prop_assert!(check(shown.as_str()).is_ok(), "{} is an endpoint too", shown);
                prop_assert_eq!(Endpoint::from(shown.as_str()).to_string(), shown, "and the same one");
            }
            Err(error) => {
                prop_assert_eq!(error.to_string(), shown, "a wrong endpoint shows its error");
                // A port that is too large is named alone, and so is a host that is none, with its quotes.
                let (host, port) = text.rsplit_once(':').unwrap_or(("", &text));
                let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                let host = inner.filter(|inner| inner.contains(':')).unwrap_or(host);
                let named = [format!("'{text}'"), format!("Received {port}."), format!("The host {host:?}")];
                let told = error.to_string();
                prop_assert!(named.iter().any(|named| told.contains(named)), "{:?}: {}", text, told);
            }
        }
    }

    /// Ensures that a host and a port given apart are an endpoint just as the two in one text.
    #[test]
    fn a_host_and_a_port_are_the_same_apart_and_in_one_text(host in "[a-z][a-z0-9.-]{0,20}", ip in ip(), port: u16) {
        prop_assert_eq!(Endpoint::from((host.as_str(), port)).to_string(), format!("{host}:{port}"));
        let whole = format!("{host}:{port}");
        prop_assert!(check((host.as_str(), port)).is_ok(), "given apart");
        prop_assert!(check(whole).is_ok(), "given as one text");
        let (apart, at) = (Endpoint::from((ip.to_string(), port)), SocketAddr::from((ip, port)));
        prop_assert_eq!(apart.to_string(), at.to_string());
        prop_assert_eq!(Endpoint::from(at.to_string()).to_string(), at.to_string());
    }
}

/// A change to a block list.
#[derive(Debug, Clone)]
enum Change {
    Add(Rule),
    Remove(Rule),
    Clear,
}

#[derive(Debug, Clone)]
enum Rule {
    Address(IpAddr),
    Range(IpAddr, IpAddr),
    Subnet(IpAddr, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let rule = prop_oneof![
        ip().prop_map(Rule::Address),
        (ip(), ip()).prop_map(|(start, end)| Rule::Range(start, end)),
        (ip(), prop_oneof![0..=130_u8, 24..=32_u8]).prop_map(|(ip, prefix)| Rule::Subnet(ip, prefix)),
    ];
    prop_oneof![
        12 => rule.clone().prop_map(Change::Add),
        6 => rule.prop_map(Change::Remove),
        1 => Just(Change::Clear),
    ]
}

impl Rule {
    fn add(&self, list: &BlockList) -> Result<(), Error> {
        match *self {
            Rule::Address(ip) => list.add_address(ip),
            Rule::Range(start, end) => list.add_range(start, end),
            Rule::Subnet(ip, prefix) => list.add_subnet(ip, prefix),
        }
    }

    fn remove(&self, list: &BlockList) -> Result<bool, Error> {
        match *self {
            Rule::Address(ip) => list.remove_address(ip),
            Rule::Range(start, end) => list.remove_range(start, end),
            Rule::Subnet(ip, prefix) => list.remove_subnet(ip, prefix),
        }
    }

    /// Its kind and the first and last number it covers; none if it is no rule.
    fn covers(&self) -> Option<(u8, u128, u128)> {
        match *self {
            Rule::Address(ip) => Some((0, number(ip), number(ip))),
            Rule::Range(start, end) => {
                let is_one = start.is_ipv4() == end.is_ipv4() && number(start) <= number(end);
                is_one.then(|| (1, number(start), number(end)))
            }
            Rule::Subnet(ip, prefix) => {
                let bits: u8 = if ip.is_ipv4() { 32 } else { 128 };
                // One by one, from the last bit on, so as not to do what the library does.
                let host = (0..bits).rev().take(usize::from(bits.checked_sub(prefix)?)).enumerate();
                let mask = host.fold(0_u128, |mask, (bit, _)| mask | 1 << bit);
                Some((2, number(ip) & !mask, number(ip) | mask))
            }
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => 0xffff_0000_0000 | u128::from(u32::from(ip)),
        IpAddr::V6(ip) => ip.into(),
    }
}

proptest! {
    #![proptest_config(inputs(200))]

    /// Ensures that a block list, whatever is added and removed, matches just what a search through all its rules finds, and
    /// is the same list again when made from its texts.
    #[test]
    fn a_block_list_is_a_search_through_all_its_rules(changes in vec(change(), 0..40), asked in vec(ip(), 1..20)) {
        let (list, mut rules) = (BlockList::new(), Vec::new());
        let mut edges = Vec::new();
        for change in &changes {
            match change {
                Change::Add(rule) => {
                    let covers = rule.covers();
                    prop_assert_eq!(rule.add(&list).is_ok(), covers.is_some(), "{:?} is a rule, or an error", rule);
                    rules.retain(|known| Some(known) != covers.as_ref());
                    rules.extend(covers);
                    edges.extend(covers.into_iter().flat_map(|(_, first, last)| [first, last]));
                }
                Change::Remove(rule) => {
                    let known = rules.iter().position(|known| Some(known) == rule.covers().as_ref());
                    let removed = rule.remove(&list).ok();
                    prop_assert_eq!(removed, rule.covers().map(|_| known.is_some()), "{:?} was there, or not", rule);
                    known.map(|at| rules.remove(at));
                }
                Change::Clear => {
                    list.clear();
                    rules.clear();
                }
            }
            prop_assert_eq!(list.size(), rules.len());
        }
        let near = edges.iter().flat_map(|edge| [*edge, edge.saturating_add(1), edge.saturating_sub(1)]);
        let asked = asked.iter().map(|ip| number(*ip)).chain(near);
        let again = BlockList::from_json(&list.to_json()).expect("what it writes is JSON");
        prop_assert_eq!(again.rules(), list.rules(), "made from its texts, it is the same list");
        for ip in asked {
            let found = rules.iter().any(|(_, first, last)| (*first..=*last).contains(&ip));
            prop_assert_eq!(list.check(Ipv6Addr::from(ip)), found, "{}", Ipv6Addr::from(ip));
            prop_assert_eq!(again.check(Ipv6Addr::from(ip)), found, "and its copy: {}", Ipv6Addr::from(ip));
        }
    }
}

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

/// The bytes in pieces, cut wherever `cuts` says.
fn cut<'a>(mut bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = bytes.split_at(cut.index(bytes.len() + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
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

    /// Ensures that bytes come back from the text that stands for them, in the encodings that have one for all bytes, and text
    /// from its bytes in those that have bytes for all texts.
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

    /// Ensures that a text is decoded, or is an error that says where it is wrong: at a character that is not one of the
    /// encoding's, all before it being so.
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

proptest! {
    #![proptest_config(inputs(60))]

    /// Ensures that the lines of a connection are those of the whole of its bytes, in whatever pieces they come, and whatever
    /// the limit.
    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut(
        words in vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r"), Just("a"), Just("grün"), Just("12345678")], 0..40),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        max in 0..40_usize,
    ) {
        let sent = words.concat();
        let mut expected = Vec::new();
        for line in sent.split_inclusive('\n') {
            let line = line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).unwrap_or(line);
            expected.push(if line.len() > max { None } else { Some(line) });
            if line.len() > max {
                break;
            }
        }
        let (_server, client, accepted) = pair("127.0.0.1:0");
        let lines: Vec<_> = thread::scope(|scope| {
            scope.spawn(|| {
                for piece in cut(sent.as_bytes(), &cuts) {
                    // A reader that has met a line that is too long may be gone.
                    let _ = client.write_all(piece);
                }
                let _ = client.end();
            });
            accepted.lines_max(max).map(Result::ok).collect()
        });
        prop_assert_eq!(lines.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "of {:?}", sent);
    }
}
