//! A thread for each connection, no-delay. Answers leave before the thread waits, as they do with landline.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::{Values, answer};

#[path = "../../../../examples/redis/resp.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "it publishes nothing, and another one has a type of its own")]
pub(crate) mod resp;

pub(crate) struct Buffered {
    requests: BufReader<Answering>,
    line: Vec<u8>,
}

/// A stream that sends what is kept for it before it reads.
struct Answering {
    stream: TcpStream,
    answers: Vec<u8>,
}

const LONGEST_LINE: u64 = 64 * 1024;

impl Read for Answering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.write_all(&self.answers)?;
        self.answers.clear();
        self.stream.read(buffer)
    }
}

impl Buffered {
    pub(crate) fn next_line_bytes(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        (&mut self.requests).take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        let line = self.line.strip_suffix(b"\n");
        Ok(line.map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.requests.read(buffer)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.requests.read_exact(buffer)
    }
}

pub(super) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?.port());
    let values = Arc::new(Values::default());
    for stream in listener.incoming() {
        let (stream, values) = (stream?, Arc::clone(&values));
        thread::spawn(move || talk(stream, &values));
    }
    Ok(())
}

fn talk(stream: TcpStream, values: &Values) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let requests = BufReader::new(Answering { stream, answers: Vec::new() });
    let mut client = Buffered { requests, line: Vec::new() };
    while let Some(request) = resp::receive(&mut client)? {
        let answer = answer(&request, values);
        let answering = client.requests.get_mut();
        answering.answers.extend(answer);
        if answering.answers.len() >= 8 * 1024 {
            answering.stream.write_all(&answering.answers)?;
            answering.answers.clear();
        }
    }
    Ok(())
}
