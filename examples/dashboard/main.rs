//! An echo server, and a page that shows its live state. It has connections, accounts, reports and two controls.
//!
//! Terminal 1, in which the last lines come at the end of terminal 2:
//!
//! ```text
//! $ cargo run --release --example dashboard 127.0.0.1:3000 127.0.0.1:4000
//! listening on 127.0.0.1:3000
//! dashboard on http://127.0.0.1:4000/
//! 0 finished, 0 forced, 0 still running, after 0.000 s
//! ```
//!
//! Terminal 2, beside a browser that shows the page, or without one:
//!
//! ```text
//! $ curl --request POST http://127.0.0.1:4000/limit/2
//! the Origin is not this page's
//! $ curl --request POST --header Origin:http://127.0.0.1:4000 http://127.0.0.1:4000/limit/2
//! the limit is 2
//! $ curl --request POST --header Origin:http://127.0.0.1:4000 http://127.0.0.1:4000/drain
//! draining
//! ```
//!
//! `curl --no-buffer http://127.0.0.1:4000/events` shows what the page receives, which is server-sent events, once a
//! second.
//!
//! Lesson: any thread can read a server's state at any time. This program keeps two things more, in its `report` hook:
//! when each connection began, and the last reports. The page has a server of its own, so it still answers when the
//! first server is full, and it shows how the first server ended.

mod http;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, io, io::ErrorKind};

use landline::net::{Server, ServerOptions, Socket, Stats};
use landline::{ConnectionId, Error, RefusedBy, Report};

const GRACE: Duration = Duration::from_secs(10);
const MOST_ROWS: usize = 500;
const MOST_REPORTS: usize = 12;

#[derive(Default)]
struct Log {
    since: HashMap<ConnectionId, Instant>,
    reports: VecDeque<String>,
}

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let mut address = |default: &str| args.next().unwrap_or(default.into());
    let log = Arc::<Mutex<Log>>::default();
    let hook = Arc::clone(&log);
    let limited = ServerOptions::new().timeout(Duration::from_secs(300)).deadline(Duration::from_secs(3600));
    let server = limited.report(move |report| note(&mut lock(&hook), report)).listen(address("127.0.0.1:3000"))?;
    let page = ServerOptions::new().max_connections(16).listen(address("127.0.0.1:4000"))?;
    println!("listening on {}\ndashboard on http://{}/", server.address(), page.address());
    let serving = server.spawn(|socket| socket.pipe(socket))?;
    let shown = server.clone();
    let showing = page.spawn(move |socket| answer(socket, &shown, &log))?;

    serving.join()?; // until it is drained
    server.report().iter().for_each(|report| println!("{report}"));
    let _ = page.shutdown(GRACE);
    showing.join()
}

fn answer(socket: &Socket, server: &Server, log: &Mutex<Log>) -> io::Result<()> {
    socket.set_deadline(Instant::now() + GRACE);
    let request = http::receive(socket)?;
    let limit = request.path.strip_prefix("/limit/").and_then(|max| max.parse::<usize>().ok());
    let (status, text) = match (&*request.method, &*request.path, limit) {
        _ if !request.has_numeric_host => ("403 Forbidden", "the Host is an address or localhost".into()),
        ("GET", "/", _) => return http::send(socket, "200 OK", "text/html", include_str!("page.html")),
        ("GET", "/events", _) => return stream(socket, server, log),
        // A page of another site that is open in the same browser can send POSTs here, but not with this Origin.
        ("POST", ..) if !request.is_of_same_origin => ("403 Forbidden", "the Origin is not this page's".into()),
        ("POST", _, Some(max)) => {
            server.set_max_connections(max);
            ("200 OK", format!("the limit is {}", server.max_connections()))
        }
        ("POST", "/drain", _) => {
            server.begin_shutdown(GRACE)?;
            ("200 OK", "draining".into())
        }
        _ => ("404 Not Found", "there is nothing here".into()),
    };
    http::send(socket, status, "text/plain", &(text + "\n"))
}

/// Sends the state each second, until the browser closes the page or the page's server is shut down.
fn stream(socket: &Socket, server: &Server, log: &Mutex<Log>) -> io::Result<()> {
    socket.set_deadline(None);
    socket.set_read_timeout(Duration::from_secs(1))?;
    socket.set_write_timeout(GRACE)?; // a browser that has stopped reading
    socket.write_all(http::head("200 OK", "text/event-stream"))?;
    loop {
        socket.write_all(state(server, log))?;
        match socket.read(&mut [0; 64]) {
            Err(error) if Error::is_tick(&error) => {}
            // The page's server is shut down after the other one. The last state says how that ended.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => return socket.write_all(state(server, log)),
            Ok(0) => return Ok(()),
            read => drop(read?),
        }
    }
}

/// Three events of lines, with tabs between the fields.
fn state(server: &Server, log: &Mutex<Log>) -> String {
    let (stats, sockets, now) = (server.stats(), server.sockets(), Instant::now());
    // Dropped before `sockets`: dropping the last handle of a connection calls the hook, which locks the log.
    let log = lock(log);
    let phase = match server.report() {
        Some(report) => format!("drained: {report}"),
        None => if server.is_listening() { "listening" } else { "draining" }.into(),
    };
    let Stats { open, peak, accepted, ended, failed, panicked, lingering, cut_short, accept_errors, .. } = stats;
    let (address, limit) = (server.address(), server.max_connections());
    let (refused, full) = (stats.refused_total(), stats.refused(RefusedBy::Full));
    let mut text = format!(
        "event: server\ndata: address\t{address}\ndata: phase\t{phase}\ndata: limit\t{limit}\n\
         data: open\t{open}\ndata: peak\t{peak}\ndata: accepted\t{accepted}\ndata: ended\t{ended}\n\
         data: failed\t{failed}\ndata: panicked\t{panicked}\ndata: refused\t{refused}\ndata: refused: full\t{full}\n\
         data: lingering\t{lingering}\ndata: cut short\t{cut_short}\ndata: accept errors\t{accept_errors}\n\n\
         event: connections\n"
    );
    let seconds = |time: Option<Duration>| time.map_or("none".into(), |time| format!("{} s", time.as_secs()));
    for socket in sockets.iter().take(MOST_ROWS) {
        let (id, peer, ready_state) = (socket.id(), socket.remote_address(), socket.ready_state());
        let (read, written) = (socket.bytes_read(), socket.bytes_written());
        let age = log.since.get(&id).map(Instant::elapsed);
        let left = socket.deadline().map(|at| at.saturating_duration_since(now));
        let [age, idle, left] = [age, socket.timeout(), left].map(seconds);
        text += &format!("data: {id}\t{peer}\t{age}\t{read}\t{written}\t{ready_state}\t{idle}\t{left}\n");
    }
    text += "data:\n\nevent: reports\n";
    log.reports.iter().for_each(|line| text += &format!("data: {line}\n"));
    text + "data:\n\n"
}

fn note(log: &mut Log, report: &Report) {
    match report {
        Report::Accepted { connection, .. } => drop(log.since.insert(connection.id, Instant::now())),
        Report::Ended { connection, .. } => drop(log.since.remove(&connection.id)),
        _ => {}
    }
    log.reports.truncate(MOST_REPORTS - 1);
    log.reports.push_front(report.to_string());
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
