use landline::{Address, Family, ToIp, is_ip, is_ipv4, is_ipv6};

const IPV4: [&str; 8] = [
    "0.0.0.0",
    "8.8.8.8",
    "127.0.0.1",
    "100.100.100.100",
    "192.168.0.1",
    "18.101.25.153",
    "123.23.34.2",
    "255.255.255.255",
];

const NOT_IPV4: [&str; 20] = [
    "",
    ".",
    "1.2.3",
    "1.2.3.",
    ".1.2.3",
    "1.2.3.4.5",
    "1.2.3.4.",
    "01.2.3.4",
    "1.2.3.04",
    "1.2.3.00",
    "256.1.1.1",
    "1.1.1.256",
    "1.1.1.1000",
    "-1.1.1.1",
    "+1.1.1.1",
    "1.1.1.a",
    "0x7f.0.0.1",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.4%1",
];

const IPV6: [&str; 26] = [
    "::",
    "::1",
    "1::",
    "1::8",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::",
    "::2:3:4:5:6:7:8",
    "1:2:3:4::6:7:8",
    "2001:0db8:0000:0000:0000:ff00:0042:8329",
    "2001:db8::ff00:42:8329",
    "FE80::ABCD",
    "fe80::Ab:cD",
    "0000:0000:0000:0000:0000:0000:0000:0000",
    "1:2:3:4:5:6:1.2.3.4",
    "::1.2.3.4",
    "::ffff:1.2.3.4",
    "::ffff:102:304",
    "64:ff9b::1.2.3.4",
    "1::5:11.22.33.44",
    "fe80::7:8%eth0",
    "fe80::7:8%1",
    "::%lo",
    "::ffff:1.2.3.4%lo",
    "fe80::1%a.b-c:d",
    "fe80::1%Z9",
    "a:0:0:0:0:0:0:f",
];

const NOT_IPV6: [&str; 31] = [
    "",
    ":",
    ":::",
    "1:",
    ":1",
    "::1::",
    "1:::2",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "12345::",
    "00001::",
    "g::",
    "1:2:3::4:5:6:7:8:9",
    "::1.2.3",
    "::1.2.3.4.5",
    "::256.1.1.1",
    "::1.2.3.04",
    "1.2.3.4::",
    "1:2:3:4:5:6:7:1.2.3.4",
    "[::1]",
    "::1 ",
    " ::1",
    "::1/64",
    "fe80::1%",
    "fe80::1%a b",
    "fe80::1%é",
    "fe80::1%eth_0",
    "fe80::1%a%b",
    "%eth0",
    "localhost",
];

/// Ensures four decimal parts up to 255 without leading zeros are IPv4, and nothing else is.
#[test]
fn is_ipv4_takes_plain_dotted_quads_only() {
    for text in IPV4 {
        assert_eq!(is_ip(text), Some(Family::Ipv4), "{text} is an IPv4 address");
        assert!(is_ipv4(text) && !is_ipv6(text), "the three functions agree about {text}");
    }
    for text in NOT_IPV4 {
        assert_eq!(is_ip(text), None, "{text:?} is no IP address");
        assert!(!is_ipv4(text) && !is_ipv6(text), "the three functions agree about {text:?}");
    }
}

/// Ensures IPv6 in all its forms, embedded IPv4 and zones included, is IPv6, and nothing else is.
#[test]
fn is_ipv6_takes_every_form_and_zones() {
    for text in IPV6 {
        assert_eq!(is_ip(text), Some(Family::Ipv6), "{text} is an IPv6 address");
        assert!(is_ipv6(text) && !is_ipv4(text), "the three functions agree about {text}");
    }
    for text in NOT_IPV6 {
        assert_eq!(is_ip(text), None, "{text:?} is no IP address");
        assert!(!is_ipv6(text) && !is_ipv4(text), "the three functions agree about {text:?}");
    }
}

/// Ensures Node gives the same answer for each text of this file, and for each with one character changed.
#[test]
fn is_ip_agrees_with_node() {
    let mut texts: Vec<String> = [&IPV4[..], &NOT_IPV4, &IPV6, &NOT_IPV6].concat().iter().map(|&t| t.into()).collect();
    for text in IPV4.iter().chain(&IPV6).filter(|text| !text.contains('%')) {
        for at in 0..text.len() {
            for by in ["", ":", ".", "0", "f", "5"] {
                texts.push(format!("{}{by}{}", &text[..at], &text[at + 1..]));
            }
        }
    }
    let script = "const net = require('net');
        const texts = require('fs').readFileSync(0, 'utf8').split('\\n');
        process.stdout.write(texts.map(text => net.isIP(text)).join('\\n'));";
    let Some(answers) = crate::encoding::node(script, &texts.join("\n")) else { return };

    for (text, answer) in texts.iter().zip(answers.lines()) {
        let ours = match is_ip(text) {
            Some(Family::Ipv4) => "4",
            Some(_) => "6",
            None => "0",
        };
        assert_eq!(ours, answer, "Node says {answer} of {text:?}");
    }
    assert_eq!(answers.lines().count(), texts.len(), "Node answers for every text");
}

/// Ensures a socket address is read with its port, port 80 included, which Node's parser turns into 0.
#[test]
fn address_parse_keeps_the_port_and_80_too() {
    for (text, ip, port) in [
        ("1.2.3.4:80", "1.2.3.4", 80),
        ("[::1]:80", "::1", 80),
        ("1.2.3.4:443", "1.2.3.4", 443),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("1.2.3.4:0", "1.2.3.4", 0),
    ] {
        let address = Address::parse(text).expect(text);
        assert_eq!(address.ip().map(|ip| ip.to_string()).as_deref(), Some(ip), "{text} has its address");
        assert_eq!(address.port(), port, "{text} has its port");
    }
}

/// Ensures the port defaults to 0.
#[test]
fn address_parse_defaults_to_port_0() {
    for text in ["1.2.3.4", "[::1]"] {
        assert_eq!(Address::parse(text).map(|address| address.port()), Some(0), "{text} has no port");
    }
}

/// Ensures what is no address with or without a port is `None`: names, paths, bare IPv6, ports out of range.
#[test]
fn address_parse_answers_none_for_anything_else() {
    for text in [
        "",
        "localhost",
        "localhost:80",
        "http://1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:80:90",
        "1.2.3.4/",
        " 1.2.3.4",
        "::1",
        "::1:3000",
        "[::1",
        "[::1]:",
        "[::1]80",
        "[1.2.3.4]:80",
        ":80",
        "80",
        "/tmp/socket",
    ] {
        assert_eq!(Address::parse(text), None, "{text:?} is no socket address");
    }
}

/// Ensures the numeric forms of IPv4 that programs read differently are refused.
#[test]
fn address_parse_refuses_legacy_numeric_ipv4() {
    for text in ["2130706433", "2130706433:80", "0x7f000001", "0x7f.0.0.1", "127.1", "127.1:80", "010.0.0.1", "1.2.3"] {
        assert_eq!(Address::parse(text), None, "{text} is not the one plain form of an IPv4 address");
    }
}

/// Ensures an IPv4-mapped address is the IPv4 address, as everywhere.
#[test]
fn address_parse_is_canonical() {
    let mapped = Address::parse("[::ffff:1.2.3.4]:80");
    assert_eq!(mapped, Address::parse("1.2.3.4:80"), "one peer has one name");
}

/// Ensures a bad text is ERR_INVALID_ADDRESS where a call asks for an address.
#[test]
fn bad_addresses_are_err_invalid_address() {
    for text in ["x", "", "1.2.3.4:80", "999.999.999.999", "[::1]", "localhost"] {
        assert_eq!(text.to_ip().unwrap_err().code(), "ERR_INVALID_ADDRESS", "{text:?} is no IP address");
    }
    assert_eq!("1.2.3.4".parse::<Address>().unwrap_err().code(), "ERR_INVALID_ADDRESS", "the port is missing");
    let unix = Address::from(std::path::PathBuf::from("/tmp/socket"));
    assert_eq!(unix.to_ip().unwrap_err().code(), "ERR_INVALID_ADDRESS", "a Unix socket has no IP address");
}

/// Ensures every form of an address is taken, and ports and zones are left aside.
#[test]
fn to_ip_takes_every_form() {
    let ip = std::net::IpAddr::from([1, 2, 3, 4]);
    let at = std::net::SocketAddr::from((ip, 80));
    let forms: [Option<std::net::IpAddr>; 6] = [
        ip.to_ip().ok(),
        [1, 2, 3, 4].to_ip().ok(),
        at.to_ip().ok(),
        Address::from(at).to_ip().ok(),
        "1.2.3.4".to_ip().ok(),
        String::from("1.2.3.4").to_ip().ok(),
    ];
    assert_eq!(forms, [Some(ip); 6], "each form names the same address");
    assert_eq!("fe80::1%eth0".to_ip().ok(), "fe80::1".to_ip().ok(), "the zone is left aside");
}
