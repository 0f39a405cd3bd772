//! The example `dashboard`: what its page shows, what it changes, and which requests it refuses.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::browser::Browser;
use crate::support::pages::{code_lines, read, root};
use crate::support::process::{Server, target};
use crate::support::{HANG, each_ip, eventually, has_proc, tool};

/// As many lines of Rust as it may have, without comments and empty ones.
const LONGEST: usize = 150;

/// Starts the example; gives it with the address of its page.
fn start(at: &str) -> (Server, SocketAddr) {
    let server = Server::start("dashboard", &[at, at]);
    let line = server.program.line();
    let page = line.strip_prefix("dashboard on http://").and_then(|rest| rest.strip_suffix('/'));
    let page = page.and_then(|address| address.parse().ok());
    (server, page.unwrap_or_else(|| panic!("it says where the page is: {line}")))
}

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(to).expect("the example listens");
    client.set_read_timeout(Some(HANG)).expect("it can be set");
    client
}

/// A client of the echo server that has sent so many bytes and has them back.
fn client(to: SocketAddr, bytes: usize) -> TcpStream {
    let mut client = connect(to);
    let mut back = vec![0; bytes];
    client.write_all(&back).and_then(|()| client.read_exact(&mut back)).expect("it echoes");
    client
}

/// Sends a request with these fields and gives the connection.
fn ask(page: SocketAddr, request: &str, fields: &[(&str, &str)]) -> TcpStream {
    let mut client = connect(page);
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client.write_all(format!("{request} HTTP/1.1\r\n{fields}\r\n").as_bytes()).expect("the page's server reads");
    client
}

/// The whole answer, up to the end of the connection.
fn answer(page: SocketAddr, request: &str, fields: &[(&str, &str)]) -> String {
    let mut came = String::new();
    ask(page, request, fields).read_to_string(&mut came).expect("the answer comes, and the end");
    came
}

/// Reads events until a line has all of these texts in it.
#[track_caller]
fn until(events: &mut impl BufRead, texts: &[&str]) {
    let mut came = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(events.read_line(&mut line).expect("events come"), 0, "{texts:?} is shown: {came}");
        if texts.iter().all(|text| line.contains(text)) {
            return;
        }
        came += &line;
        // A state each second.
        assert!(came.matches("event: server").count() as u64 <= HANG.as_secs(), "{texts:?} is shown in time: {came}");
    }
}

/// Ensures that the page is served, that its events show a new client, its bytes and a changed limit, and that a drain
/// ends both servers in order, with a last event that says so.
#[test]
fn the_page_follows_the_server_and_ends_it() {
    each_ip(|at| {
        let (mut server, page) = start(at);
        let host = page.to_string();
        let origin = format!("http://{host}");
        let own = [("Host", &*host), ("Origin", &*origin)];
        let html = answer(page, "GET /", &own[..1]);
        assert!(html.starts_with("HTTP/1.1 200 OK\r\n"), "the page is served: {html}");
        assert!(html.ends_with(&read(&root().join("examples/dashboard/page.html"))), "it is the file");

        let mut events = BufReader::new(ask(page, "GET /events", &own[..1]));
        until(&mut events, &["Content-Type: text/event-stream"]);
        until(&mut events, &["phase\tlistening"]);
        until(&mut events, &["data: open\t0\n"]);
        let mut first = client(server.address, 5);
        let peer = first.local_addr().expect("it has an address").to_string();
        until(&mut events, &["data: open\t1\n"]);
        until(&mut events, &[&peer, "\t5\t5\topen\t300 s\t"]);
        until(&mut events, &[&peer, "accepted, 1 open"]);

        assert!(answer(page, "POST /limit/1", &own).ends_with("\r\n\r\nthe limit is 1\n"), "the limit is changed");
        until(&mut events, &["data: limit\t1\n"]);
        let refused = connect(server.address).read(&mut [0]);
        assert_eq!(refused.expect("the end comes"), 0, "the changed limit holds");
        until(&mut events, &["data: refused: full\t1\n"]);

        assert!(answer(page, "POST /drain", &own).ends_with("\r\n\r\ndraining\n"), "the drain has begun");
        assert_eq!(first.read(&mut [0]).expect("the end comes"), 0, "a client that waits is ended");
        until(&mut events, &["phase\tdrained: 1 finished, 0 forced, 0 still running"]);
        let mut rest = String::new();
        events.read_to_string(&mut rest).expect("the stream ends in order");
        assert!(server.program.line().starts_with("1 finished, 0 forced, 0 still running"), "the program says so");
        assert!(server.program.status().success(), "and ends well");
    });
}

/// Ensures that a page of another site changes nothing and reads nothing: a POST needs the page's own origin, and each
/// request an address, or `localhost`, as its host.
#[test]
fn other_sites_are_refused() {
    let (server, page) = start("127.0.0.1:0");
    let host = page.to_string();
    let local = format!("localhost:{}", page.port());
    let (origin, local_origin) = (format!("http://{host}"), format!("http://{local}"));
    let refused = "HTTP/1.1 403 Forbidden\r\n";
    for post in ["POST /limit/1", "POST /drain"] {
        for origin in ["http://example.com", "null", &local_origin, &host, &origin.replace("http", "https"), ""] {
            let came = answer(page, post, &[("Host", &host), ("Origin", origin)]);
            assert!(came.starts_with(refused), "{post} from {origin:?} is refused: {came}");
        }
        assert!(answer(page, post, &[("Host", &host)]).starts_with(refused), "{post} without an origin is refused");
        // The name of another site that leads here.
        let rebound = [("Host", "example.com"), ("Origin", "http://example.com")];
        assert!(answer(page, post, &rebound).starts_with(refused), "{post} to another name is refused");
    }
    for get in ["GET /", "GET /events"] {
        for fields in [&[("Host", "example.com")][..], &[("Host", "localhost.example.com:80")], &[]] {
            assert!(answer(page, get, fields).starts_with(refused), "{get} with {fields:?} is refused");
        }
    }
    assert!(answer(page, "", &[]).starts_with(refused), "what is no request is refused");
    let lost = answer(page, "GET /limit/1", &[("Host", &host), ("Origin", &origin)]);
    assert!(lost.starts_with("HTTP/1.1 404 Not Found\r\n"), "a GET changes nothing: {lost}");
    let _two = [client(server.address, 1), client(server.address, 1)];
    let mut events = BufReader::new(ask(page, "GET /events", &[("Host", &local)]));
    until(&mut events, &["phase\tlistening"]);
    until(&mut events, &["data: open\t2\n"]);
    let own = [("Host", &*local), ("Origin", &*local_origin)];
    assert!(answer(page, "POST /limit/7", &own).ends_with("the limit is 7\n"), "localhost is an origin as well");
}

/// Ensures that the example is short, and that its page loads nothing but itself and makes no HTML of what it is sent.
#[test]
fn the_dashboard_is_short_and_whole() {
    let folder = root().join("examples/dashboard");
    let length: usize = ["main.rs", "http.rs"].iter().map(|file| code_lines(&read(&folder.join(file)))).sum();
    assert!(length <= LONGEST, "it has at most {LONGEST} lines of Rust: {length}");
    let page = read(&folder.join("page.html"));
    for outside in ["//", "src=", "import", "url(", "innerHTML", "insertAdjacentHTML", "document.write"] {
        assert!(!page.contains(outside), "the page has no {outside}");
    }
}

/// Ensures that in a browser the table follows the clients, that the form sets the limit, that dark mode is dark, and
/// that the button drains the server and the page says so.
#[test]
fn a_browser_follows_the_server() {
    let Some(chromium) = tool("chromium").filter(|_| has_proc()) else {
        return;
    };
    let (mut server, page) = start("127.0.0.1:0");
    let mut clients: Vec<_> = (1..=6).map(|number| client(server.address, number * number * 1000)).collect();
    let mut browser = Browser::open(chromium, &format!("http://{page}/"));
    let rows = |count: usize| format!("document.querySelectorAll('tbody tr').length == {count}");
    browser.until("the table has a row for each client", &rows(6));
    clients.push(client(server.address, 5));
    browser.until("a client that comes has a row", &rows(7));
    browser.until(
        "the bytes are those it sent",
        "document.querySelector('tbody tr:last-child td:nth-child(4)').textContent == '5'",
    );
    clients.remove(0).shutdown(Shutdown::Both).expect("it is connected");
    browser.until("a client that ends has none", &rows(6));

    browser.evaluate("document.querySelector('input').value = 20; document.querySelector('form').requestSubmit()");
    browser.until("the form sets the limit", "document.querySelector('#answer').textContent == 'the limit is 20\\n'");

    let dark = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part < 64)";
    browser.until("light mode is light", &format!("!{dark}"));
    let picture = browser.screenshot();
    fs::write(target().join("dashboard.png"), &picture).expect("target can be written");
    assert!(picture.starts_with(b"\x89PNG"), "the picture is a PNG");
    let scheme = "{\"features\":[{\"name\":\"prefers-color-scheme\",\"value\":\"dark\"}]}";
    browser.call("Emulation.setEmulatedMedia", scheme);
    browser.until("dark mode is dark", dark);
    fs::write(target().join("dashboard-dark.png"), browser.screenshot()).expect("target can be written");

    browser.evaluate("document.querySelector('#drain').click()");
    assert!(server.program.line().starts_with("6 finished, 0 forced, 0 still running"), "the button drains");
    assert!(server.program.status().success(), "and the program ends well");
    browser.until("the page says so", "document.querySelector('#phase').textContent.startsWith('drained: 6 finished')");
    eventually("each client has its end", || {
        clients.iter_mut().all(|client| client.read(&mut [0]).is_ok_and(|n| n == 0))
    });
}
