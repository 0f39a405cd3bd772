//! A task for each connection, no-delay: parses what has come, answers it in one write, and reads on.

use std::io::{self, Read};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Values, answer};

#[path = "../../../../examples/redis/resp.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the answers are made by the other one")]
mod resp;

/// What has come and was not parsed.
struct Buffered<'a>(&'a [u8]);

impl Buffered<'_> {
    /// `UnexpectedEof` until the whole line has come.
    fn next_line_bytes(&mut self) -> io::Result<Option<&[u8]>> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or(io::ErrorKind::UnexpectedEof)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

impl Read for Buffered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut self.0, buffer)
    }
}

pub(super) fn serve(how: &str) -> io::Result<()> {
    crate::tokio_peer::run(how, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?.port());
        let values = Arc::new(Values::default());
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(talk(stream, Arc::clone(&values)));
        }
    })
}

async fn talk(mut stream: TcpStream, values: Arc<Values>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut answers) = (Vec::with_capacity(8 * 1024), Vec::new());
    while stream.read_buf(&mut input).await? > 0 {
        let mut left = input.len();
        let mut client = Buffered(&input);
        loop {
            match resp::receive(&mut client) {
                Ok(Some(request)) => answers.extend(answer(&request, &values)),
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            left = client.0.len();
        }
        input.drain(..input.len() - left);
        stream.write_all(&answers).await?;
        answers.clear();
    }
    Ok(())
}
