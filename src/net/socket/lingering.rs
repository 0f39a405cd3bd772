//! Throwing away what a peer still sends while its connection ends in order: closing with input unread sends RST, which
//! can destroy the reply on its way (RFC 9112, 9.6).

use std::io::{self, BufRead, BufReader};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::net::socket::stream::CHUNK;
use crate::sync::deadline::Deadline;
use crate::sys;

/// How long a connection's unread input is thrown away while it ends in order, if nobody has said otherwise.
pub(crate) const LINGERING_CLOSE: Duration = Duration::from_secs(1);

/// At most this much unread input is thrown away while a connection ends in order.
pub(crate) const LINGERING_BYTES: usize = 1024 * 1024;

/// Until the peer's end, for `time` at most, after our own end.
pub(crate) fn discard_until_end(mut stream: &TcpStream, time: Duration) {
    let end = Deadline::after(time);
    let mut reader = BufReader::with_capacity(CHUNK, &mut stream);
    let mut left = LINGERING_BYTES;
    loop {
        if end.is_over() || reader.get_ref().set_read_timeout(end.left()).is_err() {
            return;
        }
        match reader.fill_buf().map(<[u8]>::len) {
            Ok(n) if n > 0 && n <= left => {
                left -= n;
                reader.consume(n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The peer's end, or it is gone, or the time or the size is used up.
            _ => return,
        }
    }
}

/// A peer that is not read any more is taken to have paused when it has sent nothing this often in a row, at such
/// intervals. Looks are counted and not the time, since a busy machine may keep both sides from running.
const LOOKS: usize = 20;
const LOOK: Duration = Duration::from_millis(5);

/// What stands in for `discard_until_end` after an interruption, shutdown(Read), which on Linux means that reads do not
/// wait any more, and that the system answers with RST to all that still comes once our FIN is out. So the FIN has to
/// wait until the peer has paused. One that is silent at the first look, and has been told nothing that could be lost,
/// has paused.
pub(crate) fn discard_until_quiet(stream: &TcpStream, time: Duration, has_goodbye: bool) {
    // The interruption may have come too late for this stream.
    let _ = stream.shutdown(Shutdown::Read);
    let start = Instant::now();
    let mut reader = BufReader::with_capacity(CHUNK, stream);
    let mut looks = if has_goodbye { LOOKS } else { 1 };
    let (mut left, mut in_vain) = (LINGERING_BYTES, 0);
    while start.elapsed() < time && is_writable(stream) {
        match reader.fill_buf().map(<[u8]>::len) {
            Ok(0) => {
                in_vain += 1;
                if in_vain >= looks {
                    return;
                }
                thread::sleep(LOOK);
            }
            Ok(n) if n <= left => {
                left -= n;
                reader.consume(n);
                (in_vain, looks) = (0, LOOKS);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Whether the connection is open still, which a read does not show after an interruption. A write of nothing fails
/// then.
fn is_writable(stream: &TcpStream) -> bool {
    !sys::write_now(stream, &[]).is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
}
