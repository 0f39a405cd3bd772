//! Clients in plain std and the handlers of a server under test.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use landline::net::{Server, Socket};
use landline::{Address, Running};

use crate::support::{HANG, eventually, within};

/// A client whose calls give up after [`HANG`].
#[track_caller]
pub(crate) fn client(at: &Address) -> TcpStream {
    let at = at.socket_addr().expect("the server has an IP address");
    let client = TcpStream::connect_timeout(&at, HANG).expect("the client connects");
    client.set_read_timeout(Some(HANG)).expect("a timeout can be set");
    client.set_write_timeout(Some(HANG)).expect("a timeout can be set");
    client
}

/// Sends one byte to an echo server and waits for it to come back.
pub(crate) fn ask(mut client: &TcpStream) -> io::Result<()> {
    client.write_all(b"?")?;
    let mut answer = [0];
    client.read_exact(&mut answer)?;
    assert_eq!(&answer, b"?", "an echo is what was sent");
    Ok(())
}

/// Whether the server closes the connection, by an end or by a reset, without a byte.
#[track_caller]
pub(crate) fn is_turned_away(mut client: &TcpStream) -> bool {
    match client.read(&mut [0]) {
        Ok(n) => n == 0,
        // Windows may say ConnectionAborted to a client that has sent.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => true,
        Err(error) => panic!("a refused client sees the end or a reset, not {error}"),
    }
}

/// Waits until the backlog has so many clients. On a busy machine connect(2) may return before. Without Linux'
/// /proc there is no wait.
#[track_caller]
pub(crate) fn are_queued(server: &Server, count: usize) {
    let port = format!(":{:04X} ", at(server).port());
    eventually("the clients are in the backlog", || {
        // Wine shows it too.
        let table = std::fs::read_to_string("/proc/net/tcp").ok().filter(|_| cfg!(target_os = "linux"));
        let Some(table) = table else { return true };
        let table = table + &std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
        // State 0A is that of a listener. The length of its backlog follows, behind the colon.
        let listeners = table.lines().filter(|row| row.contains(" 0A ") && row.contains(&port));
        let queued = listeners.filter_map(|row| row.split(" 0A 00000000:").nth(1)?.get(..8));
        queued.map(|number| usize::from_str_radix(number, 16).expect("a number")).sum::<usize>() >= count
    });
}

/// As [`is_turned_away`], for a client that may have connected at the very moment at which its server closed. Linux may
/// lose the reset of such a client. It sends another when the client sends.
#[track_caller]
pub(crate) fn is_turned_away_by_close(mut client: &TcpStream) -> bool {
    let _ = client.write(b"?");
    is_turned_away(client)
}

/// Ends the client's side and waits for the server's end. The slot is free then.
#[track_caller]
pub(crate) fn leave(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).expect("the client ends");
    match client.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("a server that has read the end ends too, but: {error}"),
    }
}

/// Sends back what arrives until the client ends. Our end is sent when the handler returns, so a client that has seen
/// it has given its slot back. `pipe` would pass the end on before.
pub(crate) fn echo(socket: &Socket) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => socket.write_all(&buffer[..n])?,
        }
    }
}

/// The server's address, as std's type.
pub(crate) fn at(server: &Server) -> SocketAddr {
    server.address().socket_addr().expect("the server has an IP address")
}

/// Closes the server and waits until serving has ended without an error.
#[track_caller]
pub(crate) fn stop(server: &Server, serving: Running) {
    server.close();
    within("serving ends after close()", move || serving.join()).expect("serving ends without an error");
}

/// Prints the median, the 99th percentile and the largest of `times`, and returns the 99th percentile.
pub(crate) fn measured(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |per_cent: usize| times[(times.len() - 1) * per_cent / 100];
    // On a line of its own, whatever the test program has printed before.
    println!("\nmeasured {what}: {} times, median {:?}, p99 {:?}, max {:?}", times.len(), at(50), at(99), at(100));
    at(99)
}

/// Closes the server when dropped, so that a test that fails in a scope with accepting threads does not hang.
pub(crate) struct Closes<'a>(pub(crate) &'a Server);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Tells the clients of a scope that the test is over when dropped, so that a test that fails does not hang.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
