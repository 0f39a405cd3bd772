//! `close` of an adopted Unix listener whose file was removed does not wake its accept.
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::ServerOptions;

fn main() {
    let path = std::env::temp_dir().join(format!("landline-adopt-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let _first = UnixStream::connect(&path);
    std::fs::remove_file(&path).unwrap();
    let server = ServerOptions::new().adopt(listener).unwrap();
    let running = server.spawn(|_| Ok(())).unwrap();
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    server.close();
    let closed = begun.elapsed();
    let waited = cases::within(Duration::from_secs(5), move || server.wait()).is_some();
    let joined = cases::within(Duration::from_secs(5), move || running.join()).is_some();
    cases::verdict(waited && joined, format!("close took {closed:?}; wait returns: {waited}; serve returns: {joined}"))
}
