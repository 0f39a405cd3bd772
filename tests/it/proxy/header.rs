//! Behind a load balancer: the client's address comes in a header, which only those may send who are trusted. The
//! parser has tests of its own; here the header comes over a real connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, ServerOptions, Socket};
use landline::{Address, BlockList, RefusedBy, Report};

use crate::support::Whole;
use crate::support::fixtures::Served;
use crate::support::{HANG, each_ip, eventually, within};

/// A time that no test can wait for.
pub(crate) const AN_HOUR: Duration = Duration::from_secs(3600);

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

pub(crate) fn list(rules: &[&str]) -> BlockList {
    let list = BlockList::new();
    list.add_cidrs(rules).expect("they are subnets");
    list
}

/// Options of a server behind load balancers on this machine, which may be as slow as the machine is.
pub(crate) fn behind() -> ServerOptions {
    ServerOptions::new().proxy_protocol(&list(&["127.0.0.0/8", "::1/128"])).proxy_timeout(AN_HOUR)
}

/// A connection as a load balancer makes it, that has said nothing yet.
pub(crate) fn balancer(server: &Server) -> TcpStream {
    let to = server.address().socket_addr().expect("it is TCP");
    let stream = TcpStream::connect(to).expect("the server listens");
    stream.set_read_timeout(Some(HANG)).expect("a read timeout can be set");
    stream.set_nodelay(true).expect("no-delay can be set");
    stream
}

/// A connection that has sent `bytes`.
pub(crate) fn passed_on(server: &Server, bytes: &[u8]) -> TcpStream {
    let stream = balancer(server);
    (&stream).write_all(bytes).expect("it is connected");
    stream
}

/// A header that is in order and so long that it comes for longer than [`HANG`] by [`dribble`].
pub(crate) fn long_header() -> Vec<u8> {
    // An addition without a meaning takes up what the addresses leave.
    binary(1, 0x11, &[&[0; 12][..], &[4, 15, 157], &[0; 3997]].concat())
}

/// Sends a byte now and then until all are sent or the connection is over; gives how many went out.
pub(crate) fn dribble(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    let sent = bytes.iter().take_while(|byte| {
        // Not a bound: the pace of the sender.
        thread::park_timeout(Duration::from_millis(20));
        stream.write_all(&[**byte]).is_ok()
    });
    sent.count()
}

/// Sends byte by byte, each in a packet of its own. It may be cut off on the way.
fn trickle(stream: &TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if { stream }.write_all(&[*byte]).is_err() {
            return;
        }
    }
}

/// What a connection brings until it is over; nothing if it is refused, whether it sees its end or a reset.
pub(crate) fn rest(stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match { stream }.read_to_end(&mut all) {
        Ok(_) => all,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Vec::new(),
        Err(error) => panic!("the connection ends within {HANG:?}: {error}"),
    }
}

pub(crate) fn line(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 1000 443\r\n").into_bytes()
}

pub(crate) fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[0x20 | command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

/// Answers with what it reads of the client, after its addresses.
pub(crate) fn tell(socket: &Socket) -> io::Result<()> {
    let said = socket.read_text()?;
    let (remote, local, read) = (socket.remote_address(), socket.local_address(), socket.bytes_read());
    let proxy = socket.proxy_address().map_or("nobody".into(), Address::to_string);
    socket.write_end(format!("{remote} to {local} by {proxy}, {read} read: {said}"))
}

/// Ensures that the accounts are right: nobody is open, and everybody who came was accepted or refused.
#[track_caller]
pub(crate) fn assert_balanced(server: &Server, came: u64) {
    eventually("all have ended", || server.connections() == 0 && server.stats().open == 0);
    let stats = server.stats();
    assert_eq!(stats.accepted, stats.open + stats.ended + stats.failed + stats.panicked, "{stats:?}");
    assert_eq!(stats.accepted + stats.refused_total(), came, "each is counted once: {stats:?}");
}

/// Ensures that a socket has the addresses of the header, of either version, and that the handler reads what follows it
/// and nothing else, whether all comes at once or byte by byte.
#[test]
fn a_header_names_the_client_and_what_follows_is_the_clients() {
    let v6 = [[0x20; 16], [0x30; 16]].concat();
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7]].concat();
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (line("192.0.2.7"), "192.0.2.7:1000 to 192.0.2.1:443"),
        (b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n".to_vec(), "[2001:db8::7]:0 to [::1]:65535"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), "192.0.2.7:1 to [::1]:2"),
        (binary(1, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 3, 232, 1, 187]), "192.0.2.7:1000 to 192.0.2.1:443"),
        (
            binary(1, 0x21, &[&v6[..], &[0, 1, 0, 2]].concat()),
            "[2020:2020:2020:2020:2020:2020:2020:2020]:1 to [3030:3030:3030:3030:3030:3030:3030:3030]:2",
        ),
        (binary(1, 0x21, &[&mapped[..], &mapped, &[0, 1, 0, 2]].concat()), "192.0.2.7:1 to 192.0.2.7:2"),
        // Additions behind the addresses.
        (binary(1, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 3, 232, 1, 187, 4, 0, 1, 0]), "192.0.2.7:1000 to 192.0.2.1:443"),
        (binary(1, 0x31, &[b"/run/a".as_slice(), &[0; 102], b"/run/b", &[0; 102]].concat()), "/run/a to /run/b"),
    ];
    each_ip(|at| {
        let served = Served::start(at, &behind(), tell);
        for (header, addresses) in &rows {
            for at_once in [true, false] {
                let bytes = [header, b"PROXY, says the client".as_slice()].concat();
                let stream = balancer(&served.server);
                let own = Address::from(stream.local_addr().expect("it is connected"));
                if at_once {
                    (&stream).write_all(&bytes).expect("it is connected");
                } else {
                    trickle(&stream, &bytes);
                }
                stream.shutdown(Shutdown::Write).expect("it is connected");
                let said = String::from_utf8(rest(stream)).expect("it is text");
                assert_eq!(
                    said,
                    format!("{addresses} by {own}, 22 read: PROXY, says the client"),
                    "at once: {at_once}"
                );
            }
        }
        assert_balanced(&served.server, 2 * rows.len() as u64);
        served.stop();
    });
}

/// Ensures that where the header names nobody, the addresses are the connection's own.
#[test]
fn a_header_that_names_nobody_leaves_the_connections_own_addresses() {
    let rows: [&[u8]; 8] = [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN a\rb\nc\r\n",
        b"PROXY UNKNOWN 192.0.2.7 192.0.2.1 1000 443\r\n",
        &binary(0, 0x00, &[]),
        &binary(0, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 3, 232, 1, 187]),
        &binary(1, 0x00, b"whatever"),
        &binary(1, 0x10, &[192, 0, 2, 7]),
        &binary(1, 0x12, &[192, 0, 2, 7, 192, 0, 2, 1, 3, 232, 1, 187]),
    ];
    each_ip(|at| {
        let served = Served::start(at, &behind(), tell);
        for header in rows {
            let stream = passed_on(&served.server, &[header, b"hello"].concat());
            let own = stream.local_addr().expect("it is connected");
            let to = served.server.address();
            stream.shutdown(Shutdown::Write).expect("it is connected");
            let said = String::from_utf8(rest(stream)).expect("it is text");
            assert_eq!(said, format!("{own} to {to} by nobody, 5 read: hello"), "{}", header.escape_ascii());
        }
        served.stop();
    });
}

/// Ensures that a header that is wrong ends its connection before a handler sees it, and is counted and reported with
/// what is wrong; so is a connection that ends within its header.
#[test]
fn a_wrong_header_is_refused_counted_and_named() {
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
    let rows: [(&[u8], &str); 15] = [
        (b"GET / HTTP/1.1\r\n\r\n", "which is neither version's"),
        (b"hello\n", "which is neither version's"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "which is neither version's"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 01000 443\r\n", "'01000' is no source port"),
        (b"PROXY TCP4 192.0.2.7  192.0.2.1 1000 443\r\n", "7 words with one space between them, not 6"),
        (b"PROXY TCP4 192.0.2.07 192.0.2.1 1000 443\r\n", "'192.0.2.07' is no source address of its protocol"),
        (b"PROXY TCP6 192.0.2.7 ::1 1000 443\r\n", "'192.0.2.7' is no source address of its protocol"),
        (b"PROXY UDP4 192.0.2.7 192.0.2.1 1000 443\r\n", "protocol 'UDP4', not TCP4, TCP6 or UNKNOWN"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 443\n", "a CR or LF stands alone"),
        (long.as_bytes(), "no line of at most 107 bytes"),
        (&binary(2, 0x11, &[0; 12]), "command 2, not 0 (LOCAL) or 1 (PROXY)"),
        (&binary(1, 0x51, &[0; 12]), "address family 5"),
        (&binary(1, 0x21, &[0; 12]), "12 bytes of addresses, where its family has 36"),
        (&binary(1, 0x11, &[0; 13]), "1 bytes behind its last addition"),
        (&binary(1, 0x11, &[0; 5000]), "5016 bytes, more than 4096"),
    ];
    each_ip(|at| {
        let (reports, reported) = mpsc::channel();
        let options = behind().report(move |report| match report {
            Report::Failed { error, .. } => reports.send((error.code().into(), error.to_string())).expect("it waits"),
            Report::Refused { by, remote, .. } => reports.send((by.to_string(), remote.to_string())).expect("it waits"),
            _ => {}
        });
        let served = Served::start(at, &options, |_| panic!("a handler never sees it"));
        let mut came = 0;
        let mut refused = |bytes: &[u8], what: &str, at_once: bool| {
            came += 1;
            let stream = balancer(&served.server);
            let own = stream.local_addr().expect("it is connected").to_string();
            if at_once {
                (&stream).write_all(bytes).expect("it is connected");
            } else {
                trickle(&stream, bytes);
            }
            // A header that is wrong is refused while the connection is open.
            if what.starts_with("The connection ended") {
                stream.shutdown(Shutdown::Write).expect("it is connected");
            }
            assert_eq!(rest(stream), b"", "{what}: nothing but the end");
            let (code, said): (String, String) = reported.recv_timeout(HANG).expect("what was wrong is reported");
            let told = what.starts_with("The connection ended") || said.contains("The PROXY header is wrong");
            assert!(said.starts_with(&format!("{own}: ")) && said.ends_with(what) && told, "{what}: {said}");
            assert_eq!(code, "ERR_PROXY_HEADER", "{what}");
            let (by, from) = reported.recv_timeout(HANG).expect("that it was refused is reported");
            assert_eq!((by.as_str(), from), ("its PROXY header", own), "{what}");
        };
        for (bytes, what) in rows {
            refused(bytes, what, true);
            refused(bytes, what, false);
        }
        for (bytes, length) in [(b"".as_slice(), 0), (b"PROXY TCP4 192.0.2.7", 20), (SIGNATURE, 12)] {
            refused(bytes, &format!("The connection ended before its PROXY header, after {length} bytes"), true);
        }
        let whole = binary(1, 0x11, &[0; 12]);
        for length in 1..whole.len() {
            let what = format!("The connection ended before its PROXY header, after {length} bytes");
            refused(&whole[..length], &what, true);
        }
        assert_eq!(served.server.stats().refused(RefusedBy::ProxyHeader), came, "each is counted");
        assert_balanced(&served.server, came);
        served.stop();
    });
}

/// Ensures that a header that does not come in time ends its connection then, and not before: a header of which nothing
/// comes, one of which a byte comes now and then, and one that stops short of its end.
#[test]
fn a_late_header_is_refused_when_its_time_is_up() {
    const TIME: Duration = Duration::from_millis(100);
    let options = format!("{:?}", ServerOptions::new());
    assert!(options.contains("trusted: None, proxy_timeout: Some(5s)"), "the defaults are as the docs say: {options}");
    each_ip(|at| {
        let (reports, reported) = mpsc::channel();
        let options = behind().proxy_timeout(TIME).report(move |report| {
            if let Report::Failed { .. } | Report::Refused { .. } = report {
                reports.send(report.to_string()).expect("the test waits");
            }
        });
        let served = Served::start(at, &options, |_| panic!("a handler never sees it"));
        let late = |talk: &dyn Fn(&TcpStream)| {
            let start = Instant::now();
            let stream = balancer(&served.server);
            let own = stream.local_addr().expect("it is connected");
            talk(&stream);
            assert_eq!(rest(stream), b"", "nothing but the end");
            assert!(start.elapsed() >= TIME, "it had all its time, not {:?}", start.elapsed());
            let failed = reported.recv_timeout(HANG).expect("it is reported");
            assert_eq!(failed, format!("failed: {own}: No PROXY header within 100ms"));
            let refused = reported.recv_timeout(HANG).expect("it is reported");
            assert!(refused.ends_with(": no PROXY header in time"), "{refused}");
        };
        late(&|_| {});
        late(&|mut stream| {
            // It may be over by now.
            let _ = stream.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 443\r");
        });
        late(&|stream| {
            let header = long_header();
            assert!(dribble(stream, &header) < header.len(), "a header that trickles is cut off on the way");
        });
        let stats = served.server.stats();
        assert_eq!(stats.refused(RefusedBy::ProxyTimeout), 3, "each is counted: {stats:?}");
        assert_balanced(&served.server, 3);
        served.stop();
    });
}

/// Ensures that only those are believed who are trusted: the others are closed unread, told of as refused, and counted.
/// The list may be changed while the server runs.
#[test]
fn who_is_not_trusted_is_closed_whatever_it_sends() {
    each_ip(|at| {
        let trusted = list(&["192.0.2.0/24"]);
        let server = ServerOptions::new().proxy_protocol(&trusted).listen(at).expect("port 0 can be listened on");
        let (tell_refused, refused) = mpsc::channel();
        let running = server
            .on()
            .connection(tell)
            .refused(move |client| tell_refused.send(client.clone()).expect("the test waits"))
            .spawn()
            .expect("a thread can be started");
        let stream = balancer(&server);
        let own = Address::from(stream.local_addr().expect("it is connected"));
        // It may be closed by now.
        let _ = (&stream).write_all(&line("192.0.2.7"));
        assert_eq!(rest(stream), b"", "nothing but the end");
        let client = refused.recv_timeout(HANG).expect("it is told of");
        assert_eq!((client.by, &client.remote, &client.local), (RefusedBy::Untrusted, &own, server.address()));
        assert_eq!(server.stats().refused(RefusedBy::Untrusted), 1, "it is counted");

        trusted.add_cidrs(["127.0.0.0/8", "::1/128"]).expect("they are subnets");
        let stream = passed_on(&server, &line("192.0.2.7"));
        stream.shutdown(Shutdown::Write).expect("it is connected");
        assert!(rest(stream).starts_with(b"192.0.2.7:1000 to"), "who is trusted by now is believed");
        trusted.clear();
        assert_eq!(rest(balancer(&server)), b"", "an empty list trusts nobody");
        assert_balanced(&server, 3);
        server.close();
        within("run returns", || running.join()).expect("all went well");
    });
}
