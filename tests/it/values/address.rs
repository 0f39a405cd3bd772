//! Addresses and endpoints: what they are made from, what they print, and what is none.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};

use landline::net::Server;
use landline::{Address, Endpoint, Family};

use crate::support::Told;

/// Ensures that an address prints as it is written, tells its parts, and parses from what it prints.
#[test]
fn an_address_prints_what_it_parses_from() {
    let cases = [
        ("127.0.0.1:3000", "127.0.0.1", Family::Ipv4, 3000, r#"{"address":"127.0.0.1","family":"IPv4","port":3000}"#),
        ("[::1]:3000", "::1", Family::Ipv6, 3000, r#"{"address":"::1","family":"IPv6","port":3000}"#),
        ("[::]:0", "::", Family::Ipv6, 0, r#"{"address":"::","family":"IPv6","port":0}"#),
        ("0.0.0.0:80", "0.0.0.0", Family::Ipv4, 80, r#"{"address":"0.0.0.0","family":"IPv4","port":80}"#),
    ];
    for (text, ip, family, port, json) in cases {
        let address: Address = text.parse().expect("it is an address");
        assert_eq!(address.to_string(), text, "it prints as it is written");
        assert_eq!(address.ip().map(|ip| ip.to_string()).as_deref(), Some(ip), "its IP");
        assert_eq!((address.family(), address.port()), (family, port), "its family and port");
        assert_eq!(address.to_json(), json, "as Node prints it");
        assert_eq!(address.path(), None, "it is no path");
        assert_eq!(address.socket_addr().map(Address::from), Some(address), "std's type and back");
    }
}

/// Ensures that the zone of an address is kept: in what it prints and parses from, in JSON, in std's type and in an endpoint.
#[test]
fn a_zone_is_part_of_an_address() {
    for text in ["[fe80::1%7]:3000", "[ff02::1%7]:3000", "[fe80::1%7]:0"] {
        let address: Address = text.parse().expect("it is an address");
        assert_eq!(address.to_string(), text, "it prints as it is written");
        assert_eq!(Endpoint::from(&address).to_string(), text, "as an endpoint too");
        let Some(SocketAddr::V6(at)) = address.socket_addr() else { panic!("{text} is IPv6") };
        assert_eq!((at.scope_id(), Address::from(at)), (7, address.clone()), "std's type and back");
        let ip = at.ip();
        let json = format!(r#"{{"address":"{ip}%7","family":"IPv6","port":{}}}"#, at.port());
        assert_eq!(address.to_json(), json, "in JSON");
        assert_ne!(address, SocketAddr::from((*ip, at.port())).into(), "without the zone it is another");
    }
}

/// Ensures that an IP address without a port is made into one with port 0, from each of its forms.
#[test]
fn an_ip_address_is_an_address_with_port_0() {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let forms: [Address; 4] = [
        loopback.into(),
        Ipv4Addr::LOCALHOST.into(),
        [127, 0, 0, 1].into(),
        Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
    ];
    for address in forms {
        assert_eq!((address.ip(), address.port()), (Some(loopback), 0), "{address}");
    }
    let forms: [Address; 3] = [Ipv6Addr::LOCALHOST.into(), [0, 0, 0, 0, 0, 0, 0, 1_u16].into(), {
        let mut bytes = [0_u8; 16];
        bytes[15] = 1;
        bytes.into()
    }];
    for address in forms {
        assert_eq!((address.ip(), address.port()), (Some(Ipv6Addr::LOCALHOST.into()), 0), "{address}");
    }
}

/// Ensures that IPv4 written as IPv6 is IPv4: one peer has one name.
#[test]
fn a_mapped_address_is_its_ipv4_address() {
    let mapped: Address = "[::ffff:127.0.0.1]:3000".parse().expect("it is an address");
    assert_eq!(mapped.to_string(), "127.0.0.1:3000", "canonical");
    assert_eq!(mapped.family(), Family::Ipv4, "in its family too");
    assert_eq!(Some(mapped), "127.0.0.1:3000".parse().ok(), "and equal");
}

/// Ensures that the flow label of an IPv6 address is no part of it, since it is not printed: one peer has one name.
#[test]
fn addresses_that_print_alike_are_equal() {
    for (text, zone) in [("[2001:db8::1]:80", 0), ("[fe80::1%7]:80", 7)] {
        let parsed: Address = text.parse().expect("it is an address");
        let ip = parsed.ip().expect("it is an IP address");
        let IpAddr::V6(ip) = ip else { panic!("{text} is IPv6") };
        let labelled = Address::from(SocketAddrV6::new(ip, 80, 7, zone));
        assert_eq!(labelled.to_string(), text, "the premise: the label is not printed");
        assert_eq!(labelled, parsed, "with a label it is the same address");
        assert_eq!(HashSet::from([labelled, parsed]).len(), 1, "both hash alike");
    }
}

/// Ensures that an address is the same as std's type of its family, abstract names and clients without a name too, and
/// that the type of the other family is an error that names it.
#[test]
#[cfg(unix)]
fn an_address_is_one_of_stds_types() {
    use std::os::unix::net::SocketAddr as UnixAddr;

    let unix = |path: &str| UnixAddr::try_from(&Address::from(PathBuf::from(path)));
    let named = unix("/run/a").expect("it is a path");
    assert_eq!(named.as_pathname(), Some(Path::new("/run/a")), "a path is std's pathname");
    assert!(unix("").expect("it is one").is_unnamed(), "the empty path of a client without a name is std's unnamed");
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        let name = unix("\0a").expect("it is an abstract name");
        assert_eq!(name.as_abstract_name(), Some(&b"a"[..]), "a path that begins with a NUL is std's abstract name");
    }

    let ip: Address = "127.0.0.1:80".parse().expect("it is an address");
    assert_eq!(SocketAddr::try_from(&ip).ok(), ip.socket_addr(), "an IP address is std's SocketAddr");
    let errors = [
        (UnixAddr::try_from(&ip).err(), "127.0.0.1:80"),
        (SocketAddr::try_from(&Address::from(PathBuf::from("/run/a"))).err(), "/run/a"),
    ];
    for (error, named) in errors {
        let error = error.expect("it is of the other family");
        assert_eq!(error.told().code(), "ERR_INVALID_ADDRESS_FAMILY", "the code says why");
        assert!(error.to_string().contains(named), "the error names the address: {error}");
    }
    assert!(unix(&"a".repeat(200)).is_err(), "a path too long for the system is an error");
}

/// Ensures that the JSON of a path escapes each character as `JSON.stringify` does.
#[test]
fn a_path_in_json_is_escaped_as_node_does() {
    let escaped = |c: char| match c {
        '\u{8}' => r"\b".into(),
        '\t' => r"\t".into(),
        '\n' => r"\n".into(),
        '\u{c}' => r"\f".into(),
        '\r' => r"\r".into(),
        '"' => "\\\"".into(),
        '\\' => r"\\".into(),
        ..' ' => format!(r"\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    for c in ('\0'..='\u{100}').chain(['\u{2028}', '\u{2029}', '\u{1F600}']) {
        let json = Address::from(PathBuf::from(format!("/{c}"))).to_json();
        assert_eq!(json, format!("\"/{}\"", escaped(c)), "{c:?}");
    }
}

/// Ensures that addresses can be compared, ordered, hashed, and written into JSON as a path.
#[test]
fn addresses_are_values() {
    let (a, b): (Address, Address) = ("127.0.0.1:1".parse().expect("one"), "127.0.0.1:2".parse().expect("another"));
    assert!(a < b && a != b, "ordered by port");
    assert_eq!(HashSet::from([a.clone(), a.clone(), b.clone()]).len(), 2, "equal ones hash alike");
    assert_eq!(BTreeSet::from([b.clone(), a.clone()]).first(), Some(&a), "ordered");
    let path = Address::from(PathBuf::from("/tmp/a \"b\"\n"));
    assert_eq!(path.to_json(), r#""/tmp/a \"b\"\n""#, "a path is a JSON string");
    assert_eq!((path.family(), path.port(), path.ip()), (Family::Unix, 0, None), "a path has no port and no IP");
    assert_eq!(path.path(), Some(Path::new("/tmp/a \"b\"\n")), "but itself");
    let written = ["/a/b", "/a//b", "/a/./b", "/a/b/"].map(|path| Address::from(PathBuf::from(path)));
    assert_eq!(HashSet::from(written).len(), 4, "a path is what was written, as an abstract name is");
    let families = [Family::Ipv4, Family::Ipv6, Family::Unix].map(|family| format!("{family:>5}"));
    assert_eq!(families, [" IPv4", " IPv6", " Unix"], "families print in Node's words, padded if asked");
}

/// Ensures that addresses and endpoints of every kind are padded as texts are, and that a path is one line.
#[test]
fn addresses_and_endpoints_are_padded() {
    let path = PathBuf::from("/run/a");
    let addresses = [
        Address::from(SocketAddr::from(([1, 2, 3, 4], 5))),
        "[::1]:5".parse().expect("it is one"),
        path.clone().into(),
    ];
    for address in &addresses {
        let text = address.to_string();
        assert_eq!(format!("{address:>16}|{address:^16}|"), format!("{text:>16}|{text:^16}|"), "an address");
    }
    let endpoints: [Endpoint; 6] =
        [80.into(), (&addresses[0]).into(), ("host", 80).into(), "[::1%lo]:80".into(), path.into(), "x".into()];
    for endpoint in endpoints {
        let text = endpoint.to_string();
        assert_eq!(format!("{endpoint:>90}|{endpoint:12}|"), format!("{text:>90}|{text:12}|"), "an endpoint");
    }
    let two_lines = PathBuf::from("\0a\nb");
    assert_eq!(Endpoint::from(&two_lines).to_string(), r"@a\nb", "an endpoint is one line");
    assert_eq!(Address::from(two_lines).to_string(), r"@a\nb", "and so is an address");
}

/// Ensures that what is no address is an error that names it: names, paths, ports out of range or alone, and IPv6 without
/// brackets, where a port could not be told from the address. Names are not looked up, and ports are not guessed.
#[test]
fn what_is_no_address_is_an_error_that_names_it() {
    for text in [
        "",
        "x",
        "localhost",
        "localhost:80",
        "http://1.2.3.4",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:80:90",
        "127.0.0.1/",
        " 127.0.0.1",
        "::1",
        "::1:80",
        "[::1",
        "[::1]:",
        "[::1]80",
        "[127.0.0.1]:80",
        ":80",
        "80",
        "/tmp/socket",
    ] {
        let error = text.parse::<Address>().expect_err("that is no address");
        assert_eq!(error.told().code(), "ERR_INVALID_ADDRESS", "{text:?}");
        assert_eq!(error.to_string(), format!("Invalid address: {text}"), "it names the text");
        assert_eq!((error.told().syscall(), error.kind()), (None, std::io::ErrorKind::InvalidInput), "{text:?}");
    }
}

/// Ensures that an address keeps its port, port 80 included, which Node's parser turns into 0.
#[test]
fn a_parsed_address_keeps_its_port_and_80_too() {
    for (text, ip, port) in [
        ("1.2.3.4:80", "1.2.3.4", 80),
        ("[::1]:80", "::1", 80),
        ("1.2.3.4:443", "1.2.3.4", 443),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("1.2.3.4:0", "1.2.3.4", 0),
    ] {
        let address: Address = text.parse().expect(text);
        assert_eq!(address.ip().map(|ip| ip.to_string()).as_deref(), Some(ip), "{text} has its address");
        assert_eq!(address.port(), port, "{text} has its port");
    }
}

/// Ensures that an IP address is an address without its port too, which is 0 then.
#[test]
fn a_parsed_address_has_port_0_by_default() {
    for (text, whole) in [
        ("1.2.3.4", "1.2.3.4:0"),
        ("[::1]", "[::1]:0"),
        ("[fe80::1%7]", "[fe80::1%7]:0"),
        ("[::ffff:1.2.3.4]", "1.2.3.4:0"),
    ] {
        let address: Address = text.parse().expect(text);
        assert_eq!(address.to_string(), whole, "{text} has no port");
    }
}

/// Ensures that the numeric forms of IPv4 that programs read differently are no addresses.
#[test]
fn legacy_numeric_ipv4_is_no_address() {
    for text in ["2130706433", "2130706433:80", "0x7f000001", "0x7f.0.0.1", "127.1", "127.1:80", "010.0.0.1", "1.2.3"] {
        text.parse::<Address>().expect_err("it is not the one plain form of an IPv4 address");
    }
}

/// Ensures that an endpoint is made from each of the types it promises, and means what it says.
#[test]
fn an_endpoint_is_made_from_everything_it_promises() {
    let (four, six) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let (at_four, at_six) = (SocketAddrV4::new(four, 80), SocketAddrV6::new(six, 80, 0, 0));
    let address: Address = "127.0.0.1:80".parse().expect("it is an address");
    let (text, path) = (String::from("localhost:80"), PathBuf::from("/tmp/socket"));
    let cases: Vec<(Endpoint, &str)> = vec![
        (80.into(), ":80"),
        ("80".into(), ":80"),
        (":80".into(), ":80"),
        ("127.0.0.1:80".into(), "127.0.0.1:80"),
        ("[::1]:80".into(), "[::1]:80"),
        ("localhost:80".into(), "localhost:80"),
        (text.clone().into(), "localhost:80"),
        ((&text).into(), "localhost:80"),
        (("localhost", 80).into(), "localhost:80"),
        ((String::from("localhost"), 80).into(), "localhost:80"),
        (("::1", 80).into(), "[::1]:80"),
        (("127.0.0.1", 80).into(), "127.0.0.1:80"),
        ((IpAddr::V4(four), 80).into(), "127.0.0.1:80"),
        ((four, 80).into(), "127.0.0.1:80"),
        ((six, 80).into(), "[::1]:80"),
        (([127, 0, 0, 1], 80).into(), "127.0.0.1:80"),
        (SocketAddr::V4(at_four).into(), "127.0.0.1:80"),
        ((&SocketAddr::V6(at_six)).into(), "[::1]:80"),
        (at_four.into(), "127.0.0.1:80"),
        (at_six.into(), "[::1]:80"),
        (address.clone().into(), "127.0.0.1:80"),
        ((&address).into(), "127.0.0.1:80"),
        (path.as_path().into(), "/tmp/socket"),
        ((&path).into(), "/tmp/socket"),
        (path.clone().into(), "/tmp/socket"),
        (Address::from(path.clone()).into(), "/tmp/socket"),
        (vec![SocketAddr::V4(at_four), SocketAddr::V6(at_six)].into(), "127.0.0.1:80, [::1]:80"),
        ([SocketAddr::V4(at_four), SocketAddr::V4(at_four)].into(), "127.0.0.1:80"),
        // A zone is left to the resolver, which alone knows the interfaces.
        ("[fe80::1%lo]:80".into(), "[fe80::1%lo]:80"),
    ];
    for (endpoint, text) in cases {
        assert_eq!(endpoint.to_string(), text, "what it means");
        assert_eq!(format!("{endpoint:?}"), format!("Endpoint({text})"), "Debug shows it too");
    }
}

/// Ensures that a text which is no endpoint is an error of the call it is given to, and that the error names the text.
#[test]
fn what_is_no_endpoint_is_an_error_that_names_it() {
    let bad: [(&str, &str); 16] = [
        ("", ""),
        (":", ":"),
        ("localhost", "localhost"),
        ("localhost:", "localhost:"),
        ("localhost:http", "localhost:http"),
        ("localhost:-1", "localhost:-1"),
        ("localhost:+80", "localhost:+80"),
        ("localhost: 80", "localhost: 80"),
        ("::1:80", "[::1]:80"),
        ("[::1]", "[::1]"),
        ("[localhost]:80", "[localhost]"),
        ("[::1:80", "[::1"),
        ("two words:80", "two words"),
        ("user@host:80", "user@host"),
        ("http://host:80", "http://host"),
        ("/tmp/socket:80", "/tmp/socket"),
    ];
    for (text, named) in bad {
        let error = Server::listen(text).expect_err("that is no endpoint");
        assert_eq!((error.told().code(), error.told().syscall()), ("ERR_INVALID_ARG_VALUE", None), "{text:?}: {error}");
        assert!(error.to_string().contains(named), "{text:?}: the error names {named:?}: {error}");
    }
    for path in ["/run/app.sock", "./app.sock"] {
        let error = Server::listen(path).expect_err("a path is no text").to_string();
        assert!(error.contains(path) && error.ends_with("given as a Path"), "it says how a path is given: {error}");
    }
    let with_port = ["localhost:80", "127.0.0.1:80", "::1:http", "localhost%1:80", "fe80::1%"];
    for host in ["", "two words", "a/b", "[::1]", "nul\0byte"].into_iter().chain(with_port) {
        let error = Server::listen((host, 80)).expect_err("that is no host");
        assert_eq!(error.told().code(), "ERR_INVALID_ARG_VALUE", "{host:?}: {error}");
        assert_eq!(error.to_string(), format!("The host {host:?} is invalid: expected a name or an IP address"));
    }
    let shown = Endpoint::from("nonsense").to_string();
    assert!(shown.contains("nonsense"), "a bad endpoint prints why: {shown}");
}
