//! Headers of the PROXY protocol: those of Ranch (test/proxy_header_SUITE.erl and the unit tests in
//! src/ranch_proxy_header.erl), HAProxy (reg-tests/connection/proxy_protocol_*.vtc, doc/proxy-protocol.txt) and the
//! Rust crates ppp (src/v1/mod.rs, src/v2/mod.rs) and proxy-protocol (src/version1.rs, src/version2.rs). Where these
//! differ, doc/proxy-protocol.txt decides. Each comment names the tests there; every header is sent at once and byte by
//! byte.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use landline::net::{Server, ServerOptions};
use landline::{BlockList, RefusedBy, Running};
use landline_peers::*;

const PAYLOAD: &[u8] = b"GET / HTTP/1.1\r\n";

/// What became of a connection.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    /// Let in, as this client that reached this address; and whether that is another than the sender.
    Passed {
        client: String,
        reached: String,
    },
    /// Let in under the sender's own address.
    Own,
    Refused(RefusedBy),
}
use Verdict::{Own, Passed, Refused};

struct Behind {
    server: Server,
    running: Option<Running>,
    verdicts: Receiver<(Verdict, Vec<u8>)>,
}

impl Behind {
    fn new() -> Behind {
        Behind::with(ServerOptions::new())
    }

    fn with(options: ServerOptions) -> Behind {
        let balancers = BlockList::new();
        balancers.add_cidr("127.0.0.0/8").unwrap();
        let server = options.proxy_protocol(&balancers).listen("127.0.0.1:0").unwrap();
        let (tell, verdicts) = channel();
        let (in_handler, in_refused) = (Mutex::new(tell.clone()), Mutex::new(tell));
        let running = server
            .on()
            .connection(move |socket| {
                let rest = all(socket)?;
                let verdict = match socket.proxy_address() {
                    Some(_) => Passed {
                        client: socket.remote_address().to_string(),
                        reached: socket.local_address().to_string(),
                    },
                    None => Own,
                };
                in_handler.lock().unwrap().send((verdict, rest)).unwrap();
                Ok(())
            })
            .refused(move |refused| in_refused.lock().unwrap().send((Refused(refused.by), Vec::new())).unwrap())
            .spawn()
            .unwrap();
        Behind { server, running: Some(running), verdicts }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.server.address().socket_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    fn verdict(&self) -> (Verdict, Vec<u8>) {
        self.verdicts.recv_timeout(LONG).expect("something becomes of it")
    }

    /// Sends a header and what follows it; the latter must arrive untouched if it is let in.
    #[track_caller]
    fn judge(&self, header: &[u8], expected: &Verdict) {
        for step in [usize::MAX, 1] {
            let mut client = self.client();
            for piece in [header, PAYLOAD].concat().chunks(step.min(header.len() + PAYLOAD.len())) {
                // A client that is refused early may not be able to send the rest.
                let _ = client.write_all(piece);
            }
            let _ = client.shutdown(std::net::Shutdown::Write);
            let (verdict, rest) = self.verdict();
            let shown = header.escape_ascii();
            assert_eq!(&verdict, expected, "'{shown}' in pieces of {step}");
            if !matches!(verdict, Refused(_)) {
                assert_eq!(rest, PAYLOAD, "behind '{shown}' in pieces of {step}");
            }
        }
    }

    #[track_caller]
    fn judge_all(headers: &[(Vec<u8>, Verdict)]) {
        let behind = Behind::new();
        for (header, expected) in headers {
            behind.judge(header, expected);
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = self.server.shutdown(Duration::from_secs(1));
        drop(self.running.take());
    }
}

fn passed(client: &str, reached: &str) -> Verdict {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap().to_string();
    Passed { client: at(client), reached: at(reached) }
}

const WRONG: Verdict = Refused(RefusedBy::ProxyHeader);

fn line(text: &str) -> Vec<u8> {
    format!("{text}\r\n").into_bytes()
}

/// A header of version 2 with the length that it has.
fn binary(version_and_command: u8, family_and_protocol: u8, rest: &[u8]) -> Vec<u8> {
    binary_that_claims(version_and_command, family_and_protocol, rest.len() as u16, rest)
}

fn binary_that_claims(version_and_command: u8, family_and_protocol: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
    bytes.extend([version_and_command, family_and_protocol]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// The addresses of a client and of what it reached, as they stand in a header.
fn addresses(client: &str, reached: &str) -> Vec<u8> {
    let at = [client, reached].map(|text| text.parse::<SocketAddr>().unwrap());
    let mut bytes = Vec::new();
    for at in at {
        match at.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    at.iter().for_each(|at| bytes.extend(at.port().to_be_bytes()));
    bytes
}

fn addition(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes
}

/// CRC32C by a table, so that it shares nothing with what is tested.
fn crc32c(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|i| (0..8).fold(i, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }))
        .collect();
    !bytes.iter().fold(u32::MAX, |crc, byte| table[((crc ^ u32::from(*byte)) & 255) as usize] ^ (crc >> 8))
}

/// A header with a checksum somewhere among its additions.
fn summed(command: u8, family: u8, addresses: &[u8], before: &[u8], after: &[u8]) -> Vec<u8> {
    let rest = [addresses, before, &addition(3, &[0; 4]), after].concat();
    let mut header = binary(command, family, &rest);
    let at = 16 + addresses.len() + before.len() + 3;
    let sum = crc32c(&header).to_be_bytes();
    header[at..at + 4].copy_from_slice(&sum);
    header
}

const V4: [&str; 2] = ["127.0.0.1:444", "192.168.0.1:443"];
const V6: [&str; 2] = ["[159c:1090:1::]:444", "[2001:db8:1::]:443"];

fn v4() -> Vec<u8> {
    addresses(V4[0], V4[1])
}

fn v6() -> Vec<u8> {
    addresses(V6[0], V6[1])
}

fn field(name: &[u8]) -> Vec<u8> {
    let mut field = name.to_vec();
    field.resize(108, 0);
    field
}

mod version_1 {
    use super::*;

    /// ranch: recv_v1_proxy_header_tcp, recv_v1_proxy_header_tcp_extra_data
    #[test]
    fn a_line_names_the_client_and_what_follows_is_the_clients() {
        within(|| Behind::judge_all(&[(line("PROXY TCP4 127.0.0.1 192.168.0.1 444 443"), passed(V4[0], V4[1]))]));
    }

    /// doc/proxy-protocol.txt 2.1; ranch: parse_v1_test, v1_test; ppp: exact_tcp4, valid_tcp4, valid_tcp6,
    /// valid_tcp6_short, parse_tcp6_shortened_connection, parse_tcp6_single_zero, parse_tcp6_wildcard,
    /// parse_tcp6_implied; proxy-protocol: test_valid_ipv4_cases, test_valid_ipv6_cases
    #[test]
    fn every_valid_line_is_accepted_with_its_addresses() {
        const F: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let cases = [
            ("TCP4", "255.255.255.255", "255.255.255.255", 65535, 65535),
            ("TCP4", "192.168.0.1", "192.168.0.11", 56324, 443),
            ("TCP4", "192.168.201.102", "1.2.3.4", 0, 65535),
            ("TCP4", "0.0.0.0", "0.0.0.0", 0, 0),
            ("TCP6", F, F, 65535, 65535),
            ("TCP6", "2001:0db8:0000:0042:0000:8a2e:0370:7334", "2001:0db8:0000:0042:0000:8a2e:0370:7335", 4124, 443),
            ("TCP6", "2001:0DB8:0000:0042:0000:8A2E:0370:7334", F, 1, 2),
            ("TCP6", "::1", F, 65535, 65535),
            ("TCP6", "ffff::ffff", F, 65535, 65535),
            ("TCP6", "ffff:ffff:ffff:ffff::ffff:ffff:ffff", F, 65535, 65535),
            ("TCP6", "::", F, 65535, 65535),
            ("TCP6", "ffff::", F, 65535, 65535),
            ("TCP6", "ab:ce:ef:01:23:45:67:89", "::1", 0, 65535),
            ("TCP6", "1:2:3:4:5:6:7:8", "ffff:d903:8ae:14d:1:270f:309:8", 1234, 23456),
        ];
        let headers: Vec<_> = cases
            .map(|(family, client, reached, from, to)| {
                let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port).to_string();
                let header = line(&format!("PROXY {family} {client} {reached} {from} {to}"));
                (header, passed(&at(client, from), &at(reached, to)))
            })
            .into();
        within(move || Behind::judge_all(&headers));
    }

    /// doc/proxy-protocol.txt 2.1; ranch: parse_v1_test; ppp: parse_unknown_connection, parse_worst_case;
    /// proxy-protocol: test_valid_unknown_cases
    #[test]
    fn an_unknown_client_is_accepted_under_the_senders_address_whatever_the_line_says() {
        const F: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = line(&format!("PROXY UNKNOWN {F} {F} 65535 65535"));
        assert_eq!(longest.len(), 107);
        let headers = [
            line("PROXY UNKNOWN"),
            line("PROXY UNKNOWN 4124 443"),
            line("PROXY UNKNOWN 192.168.0.1 192.168.1.1 123 321"),
            line("PROXY UNKNOWN whatever one likes"),
            longest,
        ];
        within(move || Behind::judge_all(&headers.map(|header| (header, Own))));
    }

    /// proxy-protocol: test_valid_unknown_cases (a CR within what is to be ignored). The text: "the receiver must
    /// ignore anything presented before the CRLF is found"; HAProxy itself takes nothing but a bare UNKNOWN.
    #[test]
    fn a_lone_cr_in_the_ignored_rest_of_an_unknown_line_is_ignored_too() {
        within(|| Behind::judge_all(&[(line("PROXY UNKNOWN whatever one likes\r\r"), Own)]));
    }

    /// ranch: parse_unrecognized_header_test, parse_v1_test; ppp: bytes_invalid_utf8, parse_tcp4_invalid,
    /// parse_tcp4_leading_zeroes, parse_tcp6_invalid, parse_tcp6_leading_zeroes, parse_tcp6_over_shortened,
    /// parse_leading_zeroes_in_source_port, parse_leading_zeroes_in_destination_port, parse_source_port_too_large,
    /// parse_destination_port_too_large, parse_lowercase_proxy, parse_lowercase_protocol_family, parse_too_long,
    /// parse_more_than_one_space and its kin, parse_partial_prefix; proxy-protocol: test_invalid_cases
    #[test]
    fn every_wrong_line_is_refused() {
        const F: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let mut wrong = vec![
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"Hello \xf0\x90\x80World\r\n".to_vec(),
            b"PROX\r\n".to_vec(),
            b"PROXY UNKNOWN\nGET / HTTP/1.0\r\n".to_vec(),
            b"PROXY UNKNOWN\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\rX".to_vec(),
            b"PROXY TCP4 1.2.3.4\r\n1.2.3.5 1 2\r\n".to_vec(),
            b"PROXY\tTCP4 1.2.3.4 1.2.3.5 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\0\r\n".to_vec(),
        ];
        let lines = [
            "PROXY",
            "PROXY ",
            "PROXY TCP4",
            "PROXY TCP5 1.2.3.4 1.2.3.5 1 2",
            "PROXY TCP 1.2.3.4 1.2.3.5 1 2",
            "PROXY UDP4 1.2.3.4 1.2.3.5 1 2",
            "PROXY UNKNOWNX",
            "proxy UNKNOWN",
            "PROXY tcp4",
            "PROXY tcp4 1.2.3.4 1.2.3.5 1 2",
            "PROXY unknown",
            " PROXY TCP4 1.2.3.4 1.2.3.5 1 2",
            "PROXY TCP4 192.1638.0.1 192.168.0.11 56324 443",
            "PROXY TCP4 255.255.255.255 256.255.255.255 65535 65535",
            "PROXY TCP4 255.0255.255.255 255.255.255.255 65535 65535",
            "PROXY TCP4 1.2.3 1.2.3.5 1 2",
            "PROXY TCP4 0x1.2.3.4 1.2.3.5 1 2",
            "PROXY TCP4 16909060 1.2.3.5 1 2",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP6 1.2.3.4 1.2.3.5 1 2",
            "PROXY TCP4 192.168.0.1 192.168.0.11 1111111 443",
            "PROXY TCP4 255.255.255.255 255.255.255.255 05535 65535",
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 05535",
            "PROXY TCP4 1.2.3.4 1.2.3.5 00 2",
            "PROXY TCP4 1.2.3.4 1.2.3.5 -1 2",
            "PROXY TCP4 1.2.3.4 1.2.3.5 +1 2",
            "PROXY TCP4 1.2.3.4 1.2.3.5 1 ",
            "PROXY TCP4 1.2.3.4 1.2.3.5 1",
            "PROXY TCP4 1.2.3.4 1.2.3.5 1 2 3",
            "PROXY  TCP4 255.255.255.255 255.255.255.255 65535 65535",
            "PROXY TCP4  255.255.255.255 255.255.255.255 65535 65535",
            "PROXY TCP4 255.255.255.255  255.255.255.255 65535 65535",
            "PROXY TCP4 255.255.255.255 255.255.255.255  65535 65535",
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535  65535",
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535 ",
            "PROXY TCP6 2001:0db8:0000:0042:0000:8a2e:0370:7334 2001:0db8:00;0:0042:0000:8a2e:0370:7335 4124 443",
            "PROXY TCP6 2001:0db8:0000:0042:0000:8a2e:0370:7334 2001:0db8:0000:0042:0000:8a2e:0370:7335 4124 foo",
            "PROXY TCP6 ffff::ffff:ffff:ffff:ffff::ffff ::1 65535 65535",
            "PROXY TCP6 [::1] [::1] 1 2",
            "PROXY TCP6 fe80::1%lo ::1 1 2",
        ];
        wrong.extend(lines.map(line));
        wrong.extend([
            line(&format!("PROXY TCP6 ffff:gggg:ffff:ffff:ffff:ffff:ffff:ffff {F} 65535 65535")),
            line(&format!("PROXY TCP6 {F} ffff:ffff:0ffff:ffff:ffff:ffff:ffff:ffff 65535 65535")),
            line(&format!("PROXY TCP6 {F} {F} 65536 65535")),
            line(&format!("PROXY TCP6 {F} {F} 65535 65536")),
            line(&format!("PROXY UNKNOWN {F} {F} 65535 65535 ")),
            line(&format!("PROXY UNKNOWN {}", "x".repeat(128))),
        ]);
        within(move || Behind::judge_all(&wrong.into_iter().map(|header| (header, WRONG)).collect::<Vec<_>>()));
    }

    /// ppp: parse_partial; proxy-protocol: test_invalid_cases (an end within the line)
    #[test]
    fn a_line_that_ends_before_its_end_is_refused_at_every_byte() {
        within(|| {
            let behind = Behind::new();
            let header = line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443");
            for cut in 0..header.len() {
                let mut client = behind.client();
                client.write_all(&header[..cut]).unwrap();
                drop(client);
                assert_eq!(behind.verdict().0, WRONG, "after {cut} bytes");
            }
        });
    }

    /// doc/proxy-protocol.txt: a receiver that waits for the rest must not wait for ever
    #[test]
    fn a_line_that_stalls_is_refused_when_its_time_is_up() {
        within(|| {
            let behind = Behind::with(ServerOptions::new().proxy_timeout(Duration::from_secs(1)));
            let mut client = behind.client();
            client.write_all(b"PROXY TCP4 192.").unwrap();
            assert_eq!(behind.verdict().0, Refused(RefusedBy::ProxyTimeout));
        });
    }

    /// doc/proxy-protocol.txt 2: "must not try to guess whether the protocol header is present or not"
    #[test]
    fn a_sender_that_is_not_trusted_is_refused_with_or_without_a_header() {
        within(|| {
            let strangers = BlockList::new();
            strangers.add_address([192, 0, 2, 1]);
            let server = ServerOptions::new().proxy_protocol(&strangers).listen("127.0.0.1:0").unwrap();
            let served = Served::on(server, |_| panic!("no client is let in"));
            for header in [&b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n"[..], PAYLOAD, b""] {
                let mut client = TcpStream::connect(served.server.address().socket_addr().unwrap()).unwrap();
                let _ = client.write_all(header);
                assert!(matches!(std::io::Read::read(&mut client, &mut [0]), Ok(0) | Err(_)));
            }
            eventually("all are counted", || served.server.stats().refused(landline::RefusedBy::Untrusted) == 3);
        });
    }
}

mod version_2 {
    use super::*;

    /// haproxy: proxy_protocol_random_fail.vtc, stream/unique-id-from-proxy.vtc: the header comes by a Unix socket
    #[test]
    fn a_header_that_comes_by_a_unix_socket_names_the_client_too() {
        within(|| {
            let folder = Folder::temporary();
            let no_balancers = BlockList::new();
            let server = ServerOptions::new().proxy_protocol(&no_balancers).listen(folder.join("http.socket")).unwrap();
            for header in [line("PROXY TCP4 127.0.0.1 192.168.0.1 444 443"), binary(0x21, 0x11, &v4())] {
                let client = landline::net::Socket::connect(server.address()).unwrap();
                client.write_end([&header, PAYLOAD].concat()).unwrap();
                let socket = server.accept().unwrap().unwrap();
                assert_eq!(socket.remote_address().to_string(), V4[0]);
                assert_eq!(socket.local_address().to_string(), V4[1]);
                assert!(socket.proxy_address().is_some());
                assert_eq!(all(&socket).unwrap(), PAYLOAD);
            }
        });
    }

    /// ranch: recv_v2_proxy_header_tcp and _extra_data, parse_v2_test, v2_test; ppp: no_tlvs, proxy_with_extra;
    /// proxy-protocol: test_ipv4, test_ipv6
    #[test]
    fn a_binary_header_names_the_client_and_what_follows_is_the_clients() {
        within(|| {
            Behind::judge_all(&[
                (binary(0x21, 0x11, &v4()), passed(V4[0], V4[1])),
                (binary(0x21, 0x21, &v6()), passed(V6[0], V6[1])),
                (
                    binary(0x21, 0x11, &addresses("255.255.255.255:65535", "0.0.0.0:0")),
                    passed("255.255.255.255:65535", "0.0.0.0:0"),
                ),
            ])
        });
    }

    /// ranch: parse_v2_test, v2_test (Unix sockets); ppp: unix_tlvs_with_extra
    #[test]
    fn a_client_of_a_unix_socket_is_named_by_its_path() {
        let path = b"/var/pgsql_sock";
        let both = [field(path), field(path)].concat();
        let expected = Passed { client: "/var/pgsql_sock".into(), reached: "/var/pgsql_sock".into() };
        let full = [[b'a'; 108], [b'b'; 108]].concat();
        // ranch refuses a client without a name; the text says nothing of it.
        let unnamed = Passed { client: String::new(), reached: "/b".into() };
        let of_full = Passed { client: "a".repeat(108), reached: "b".repeat(108) };
        within(move || {
            Behind::judge_all(&[
                (binary(0x21, 0x31, &both), expected.clone()),
                (binary(0x21, 0x31, &[both, addition(2, &[5, 5]), addition(0x30, &[5])].concat()), expected),
                (binary(0x21, 0x31, &full), of_full),
                (binary(0x21, 0x31, &[field(b""), field(b"/b")].concat()), unnamed),
            ])
        });
    }

    /// ranch: recv_v2_local_header_tcp and _extra_data, v2_test; ppp: no_address, unspecified_address_family;
    /// proxy-protocol: test_unspec, test_ipv4, test_ipv6 (LOCAL). doc: "the receiver must accept this connection".
    #[test]
    fn a_connection_of_the_senders_own_is_accepted_whatever_addresses_it_claims() {
        let headers = [
            binary(0x20, 0x00, &[]),
            binary(0x20, 0x02, &[]),
            binary(0x20, 0x02, &v4()),
            binary(0x20, 0x11, &v4()),
            binary(0x20, 0x12, &v4()),
            binary(0x20, 0x21, &v6()),
            binary(0x20, 0x00, &[7; 300]),
            // ppp: invalid_protocol refuses this one; the text has it accepted.
            binary(0x20, 0x17, &v4()),
            summed(0x20, 0x00, &[], &[], &[]),
        ];
        within(move || Behind::judge_all(&headers.map(|header| (header, Own))));
    }

    /// ranch: parse_v2_test, v2_test; ppp: no_tlvs_unspec, no_tlvs_unspec_stream; proxy-protocol: test_unspec.
    /// doc: "the receiver is free to accept the connection anyway and use the real endpoint addresses".
    #[test]
    fn a_client_of_an_unspecified_family_is_accepted_under_the_senders_address() {
        let headers = [
            binary(0x21, 0x00, &[]),
            binary(0x21, 0x00, &v4()),
            binary(0x21, 0x01, &v4()[..8]),
            binary(0x21, 0x10, &v4()),
            // ppp: no_tlvs_unspec_ipv4 refuses this one; the text: "The receiver should ignore address information."
            binary(0x21, 0x10, &v4()[..8]),
            binary(0x21, 0x20, &v6()),
            binary(0x21, 0x30, &[field(b"/a"), field(b"/b")].concat()),
        ];
        within(move || Behind::judge_all(&headers.map(|header| (header, Own))));
    }

    /// ranch: parse_v2_test, v2_test (dgram); proxy-protocol: test_ipv6. doc: "A receiver is not required to implement
    /// other ones, provided that it automatically falls back to the UNSPEC mode for the valid combinations above".
    #[test]
    fn a_client_that_came_by_datagrams_is_accepted_as_one_of_an_unspecified_family() {
        let unix = [field(b"/run/source.sock"), field(b"/run/destination.sock")].concat();
        let headers = [binary(0x21, 0x12, &v4()), binary(0x21, 0x22, &v6()), binary(0x21, 0x32, &unix)];
        within(move || Behind::judge_all(&headers.map(|header| (header, Own))));
    }

    /// haproxy: proxy_protocol_tlv_validation.vtc c1 and c2, proxy_protocol_send_generic.vtc,
    /// proxy_protocol_send_unique_id*.vtc; ranch: v2_tlvs_test, v2_padding_test; ppp: with_tlvs, tlvs_with_extra;
    /// proxy-protocol: test_ipv4 (an empty addition)
    #[test]
    fn additions_are_passed_over_and_end_with_the_header() {
        let tls = [&[7, 0, 0, 0, 0][..], &addition(0x21, b"TLSv1.3"), &addition(0x22, b"example.com")].concat();
        let additions = [
            addition(2, b"12345"),
            [addition(0xe1, b"foo"), addition(0xe2, b"")].concat(),
            addition(1, b"h2"),
            addition(2, b"internal.example.org"),
            addition(0x30, b"/var/run/netns/example"),
            addition(0x20, &tls),
            [addition(0xea, b"\x01instance-id"), addition(0xff, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 0])].concat(),
            addition(5, &[9; 128]),
            // HAProxy refuses an identifier of more than 128 bytes and an authority of more than 255.
            addition(5, &[9; 129]),
            addition(2, &[b'a'; 256]),
            addition(4, &[0; 120]),
            addition(4, &[]),
            [addition(1, &[5]), addition(4, &[5, 5])].concat(),
        ];
        let headers: Vec<_> = additions
            .iter()
            .flat_map(|additions| {
                [
                    (binary(0x21, 0x11, &[v4(), additions.clone()].concat()), passed(V4[0], V4[1])),
                    (binary(0x21, 0x21, &[v6(), additions.clone()].concat()), passed(V6[0], V6[1])),
                ]
            })
            .collect();
        within(move || {
            Behind::judge_all(&headers);
            // c2: what looks like an addition behind the header is the client's.
            let behind = Behind::new();
            let mut client = behind.client();
            let header = binary(0x21, 0x11, &[v4(), addition(2, b"12345")].concat());
            client.write_all(&[header, addition(2, b"54321")].concat()).unwrap();
            drop(client);
            assert_eq!(behind.verdict(), (passed(V4[0], V4[1]), addition(2, b"54321")));
        });
    }

    /// ranch: v2_checksum_test; doc 2.2.3
    #[test]
    fn a_checksum_has_to_be_right_wherever_it_stands() {
        let right = [
            summed(0x21, 0x11, &v4(), &[], &[]),
            summed(0x21, 0x21, &v6(), &[], &[]),
            summed(0x21, 0x11, &v4(), &addition(2, b"a"), &addition(4, &[0; 9])),
        ];
        let mut headers: Vec<_> = right
            .iter()
            .map(|header| {
                (header.clone(), if header[13] == 0x11 { passed(V4[0], V4[1]) } else { passed(V6[0], V6[1]) })
            })
            .collect();
        // A bit of the address, of the port, of an addition and of the sum itself.
        for (i, at) in [(0, 17), (0, 25), (1, 20), (2, 31), (0, 31), (2, 37)] {
            let mut header = right[i].clone();
            header[at] ^= 1;
            headers.push((header, WRONG));
        }
        headers.push((binary(0x21, 0x11, &[v4(), addition(3, &[5, 5])].concat()), WRONG));
        headers.push((binary(0x21, 0x11, &[v4(), addition(3, &[0; 5])].concat()), WRONG));
        within(move || Behind::judge_all(&headers));
    }

    /// doc 2.2.3 and haproxy's own receiver: the checksum of a LOCAL header counts too. landline documents
    /// that a checksum has to be right.
    #[test]
    fn a_wrong_checksum_of_a_local_header_is_refused() {
        let mut header = summed(0x20, 0x00, &[], &[], &[]);
        let last = header.len() - 1;
        header[last] ^= 1;
        within(move || Behind::judge_all(&[(header, WRONG)]));
    }

    /// As above, with what the checksum is for: a changed bit must not turn a client's header into the balancer's own
    #[test]
    fn a_client_whose_header_lost_a_bit_does_not_become_the_balancer_itself() {
        let mut header = summed(0x21, 0x11, &v4(), &[], &[]);
        header[12] ^= 1;
        within(move || Behind::judge_all(&[(header, WRONG)]));
    }

    /// ranch: parse_v2_regression_test: what an AWS load balancer has sent, with checksum, custom addition and padding
    #[test]
    fn a_header_of_a_network_load_balancer_of_aws_is_accepted() {
        // Its parts: two private addresses; the sum it bears; 0xea with the name of an endpoint; 36 bytes of padding.
        let rest = [
            &[172, 31, 7, 113, 172, 31, 10, 31, 200, 242, 0, 80][..],
            &addition(3, &[232, 214, 137, 45]),
            &addition(234, b"\x01vpce-08d2bf15fac5001c9"),
            &addition(4, &[0; 36]),
        ]
        .concat();
        let header = binary(0x21, 0x11, &rest);
        assert_eq!(header.len(), 16 + 84);
        within(move || Behind::judge_all(&[(header, passed("172.31.7.113:51442", "172.31.10.31:80"))]));
    }

    /// haproxy: proxy_protocol_tlv_validation.vtc c3 and c4; ranch: the errors of parse_v2 and parse_tlv; ppp:
    /// invalid_version, invalid_address_family, invalid_command, partial_tlv; proxy-protocol: test_invalid_data
    #[test]
    fn every_wrong_binary_header_is_refused() {
        let headers = vec![
            // Additions that do not end where the header does: too long, and bytes left over.
            binary_that_claims(0x21, 0x11, 20, &[v4(), addition(2, b"1234512345")].concat()),
            binary_that_claims(0x21, 0x11, 20, &[v4(), addition(2, b"1234")].concat()),
            binary(0x21, 0x11, &[v4(), vec![1, 0, 1]].concat()),
            binary(0x21, 0x11, &[v4(), vec![1]].concat()),
            binary(0x21, 0x11, &[v4(), vec![1, 0]].concat()),
            // Versions and commands.
            binary(0x11, 0x11, &v4()),
            binary(0x01, 0x11, &v4()),
            binary(0x31, 0x11, &v4()),
            binary(0x22, 0x11, &v4()),
            binary(0x23, 0x11, &v4()),
            binary(0x2f, 0x11, &v4()),
            // Families and protocols that are not defined.
            binary(0x21, 0x41, &v4()),
            binary(0x21, 0x51, &v4()),
            binary(0x21, 0xf1, &v4()),
            binary(0x21, 0x13, &v4()),
            binary(0x21, 0x1f, &v4()),
            // Too short for the addresses of the family.
            binary(0x21, 0x11, &[]),
            binary(0x21, 0x11, &[1, 2, 3]),
            binary(0x21, 0x11, &v4()[..11]),
            binary(0x21, 0x21, &v6()[..35]),
            binary(0x21, 0x21, &v4()),
            binary(0x21, 0x31, &[0; 215]),
            // Not the signature.
            vec![0; 16],
            b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c".to_vec(),
        ];
        within(move || Behind::judge_all(&headers.into_iter().map(|header| (header, WRONG)).collect::<Vec<_>>()));
    }

    /// ppp: missing_tlvs, partial_address, missing_address; ranch: missing data
    #[test]
    fn a_binary_header_that_ends_before_its_end_is_refused_at_every_byte() {
        within(|| {
            let behind = Behind::new();
            let header = binary(0x21, 0x11, &[v4(), addition(2, b"12345")].concat());
            for cut in 0..header.len() {
                let mut client = behind.client();
                client.write_all(&header[..cut]).unwrap();
                drop(client);
                assert_eq!(behind.verdict().0, WRONG, "after {cut} bytes");
            }
        });
    }

    /// ppp and ranch take a header of any length; landline limits version 2 to 4096 bytes
    #[test]
    fn the_longest_header_is_of_four_kilobytes() {
        let of = |length: usize| {
            let padding = length - 16 - 12 - 3;
            binary(0x21, 0x11, &[v4(), addition(4, &vec![0; padding])].concat())
        };
        assert_eq!(of(4096).len(), 4096);
        within(move || Behind::judge_all(&[(of(4096), passed(V4[0], V4[1])), (of(4097), WRONG)]));
    }
}
