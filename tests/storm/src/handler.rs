//! What connections are handled with: an honest echo for polite clients, anything at all for others.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use landline::net::{Server, ServerOptions, Socket, SocketEvent};

use crate::book::Book;
use crate::client::{HEADER, POLITE};
use crate::lock;
use crate::process::phase;
use crate::random::Random;
use crate::round::{Echo, Round};

/// Something of the program's whose drop uses the server: what a handler panics with, returns, or leaves behind.
pub struct Bomb {
    round: Arc<Round>,
    /// A panic in the drop of a thread's variable ends the process.
    may_panic: bool,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        let _phase = phase("drop");
        let mut random = self.round.random.fork();
        self.round.meddle(&mut random);
        if self.may_panic && random.one_in(3) && !thread::panicking() {
            panic!("storm: in a drop");
        }
    }
}

impl fmt::Debug for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bomb")
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.round.random.fork().one_in(4) {
            panic!("storm: in an error's text");
        }
        f.write_str("the handler's own error")
    }
}

impl Error for Bomb {}

thread_local! {
    /// Dropped when the thread ends.
    static LEFT_BEHIND: RefCell<Option<Bomb>> = const { RefCell::new(None) };
}

/// The handler of every way to serve but the channel.
pub fn handle(round: &Arc<Round>, socket: &Socket) -> io::Result<()> {
    let _inside = round.inside("handler");
    let mut random = round.random.fork();
    let _lent = Lent { round, socket };
    if random.one_in(4) {
        lock(&round.others).push(socket.clone());
    }
    converse(round, socket, &mut random, true)
}

/// A handle that other threads may take until the handler has returned or panicked. Of an accepted connection each
/// handle keeps it open; of one that is served none does, so there they stay.
struct Lent<'a> {
    round: &'a Round,
    socket: &'a Socket,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.round.is_accepted_by_hand() {
            lock(&self.round.others).retain(|other| other != self.socket);
        }
    }
}

fn converse(round: &Arc<Round>, socket: &Socket, random: &mut Random, may_nest: bool) -> io::Result<()> {
    let mut first = [0];
    if random.one_in(4) || socket.read(&mut first)? == 0 || first[0] != POLITE {
        return anything(round, socket, random, may_nest);
    }
    let mut header = [POLITE; HEADER];
    socket.read_exact(&mut header[1..])?;
    let mut echo = Echo { id: socket.id(), read: HEADER as u64, written: 0, whole: false };
    let result = match random.one_in(3) {
        true => echo_by_events(round, socket, &header, &mut echo),
        false => echo_by_reading(socket, &header, &mut echo),
    };
    lock(&round.echoes).insert(header, echo);
    result
}

fn echo_by_reading(socket: &Socket, header: &[u8], echo: &mut Echo) -> io::Result<()> {
    let _phase = phase("echo");
    socket.write_all(header)?;
    echo.written += header.len() as u64;
    let mut buffer = [0; 4096];
    loop {
        let n = socket.read(&mut buffer)?;
        if n == 0 {
            echo.whole = true;
            return Ok(());
        }
        echo.read += n as u64;
        socket.write_all(&buffer[..n])?;
        echo.written += n as u64;
    }
}

fn echo_by_events(round: &Round, socket: &Socket, header: &[u8], echo: &mut Echo) -> io::Result<()> {
    let _phase = phase("echo in each");
    socket.write_all(header)?;
    echo.written += header.len() as u64;
    let mut has_ended = false;
    socket.each(|socket, event| {
        match event {
            SocketEvent::Data(bytes) => {
                echo.read += bytes.len() as u64;
                socket.write_all(bytes)?;
                echo.written += bytes.len() as u64;
            }
            SocketEvent::End => {
                has_ended = true;
                if round.half_open {
                    socket.end()?;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    // A shutdown ends the loop in order too, before the client has.
    echo.whole = has_ended;
    Ok(())
}

fn anything(round: &Arc<Round>, socket: &Socket, random: &mut Random, may_nest: bool) -> io::Result<()> {
    let bomb = |may_panic| Bomb { round: Arc::clone(round), may_panic };
    for _ in 0..1 + random.below(5) {
        match random.below(20) {
            0..3 => {
                let _phase = phase("read");
                if socket.read(&mut [0; 600])? == 0 {
                    return Ok(());
                }
            }
            3 | 4 => {
                let _phase = phase("write");
                socket.write_all(vec![b'y'; random.below(3000)])?;
            }
            5 => socket.destroy(),
            6 => socket.end()?,
            7 if random.one_in(2) => return Err(io::Error::other("the handler's own error")),
            7 => return Err(io::Error::other(bomb(true))),
            8 if random.one_in(2) => panic!("storm: in a handler"),
            8 => panic_any(bomb(true)),
            9 => {
                let _phase = phase("outbox, send");
                socket.outbox().send(vec![b'y'; random.below(200_000)])?;
            }
            10 => {
                let _phase = phase("outbox, try_send and flush");
                let outbox = socket.outbox();
                outbox.try_send(vec![b'y'; random.below(200_000)])?;
                match random.below(4) {
                    0 => outbox.flush()?,
                    1 => outbox.end()?,
                    2 => outbox.clear(),
                    _ => {}
                }
            }
            11 => round.destroy_another(random),
            12 => drop(LEFT_BEHIND.replace(Some(bomb(false)))),
            13 if may_nest && !round.is_accepted_by_hand() && random.one_in(3) => nested(round, random)?,
            14 => {
                socket.reset_and_destroy()?;
            }
            15 | 16 => round.meddle(random),
            // A handler that computes.
            _ => thread::sleep(random.millis(3)),
        }
    }
    Ok(())
}

/// Another server, served by this handler for one client, and ended by its own handler or after 20 ms.
fn nested(round: &Arc<Round>, random: &mut Random) -> io::Result<()> {
    let _phase = phase("nested serve");
    let book = Arc::new(Book::default());
    let (reports, outer) = (Arc::clone(&book), Arc::clone(round));
    let inner = ServerOptions::new()
        .lingering_close(random.one_of(&[Duration::ZERO, Duration::from_millis(20)]))
        .report(move |report| {
            reports.record(report);
            let _inside = outer.inside("nested report");
            let mut random = outer.random.fork();
            outer.meddle_now_and_then(&mut random);
        })
        .listen(round.loopback)?;
    let client = TcpStream::connect(inner.address().socket_addr().expect("an IP address"))?;
    client.shutdown(Shutdown::Write)?;
    let late = inner.clone();
    // Where no thread can be had, the server refuses its only client, and no handler closes it.
    round.start("storm late", move |_| {
        let _phase = phase("late close of a nested server");
        thread::sleep(Duration::from_millis(20));
        // Its hook may not wait for the outer server: the handler waits for that hook here, and nothing tells the
        // library on whose behalf this thread calls.
        Round::without_waiting(|| late.close());
    });
    let result = inner.serve(|socket| {
        let _closes = CloseOnDrop(&inner);
        let mut random = round.random.fork();
        round.meddle(&mut random);
        anything(round, socket, &mut random, false)
    });
    drop(client);
    round.nested.fetch_add(1, SeqCst);
    if let Err(error) = result {
        round.wrong(format!("a nested serve ended by {error}"));
    }
    let wrong = book.check(inner.stats());
    wrong.into_iter().for_each(|text| round.wrong(format!("nested: {text}")));
    Ok(())
}

struct CloseOnDrop<'a>(&'a Server);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
