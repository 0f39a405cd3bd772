//! Writing to a connection, one thread at a time. Written bytes are counted here only.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::Duration;

use crate::address::Family;
use crate::error::Error;
use crate::net::socket::connection::{CLOSED, Connection, ENDS, PEER_ENDED, QUEUES, TIMED, WE_ENDED};
use crate::net::socket::outbox::message::Message;
use crate::net::socket::outbox::queue::Queue;
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::{Direction, is_timeout};
use crate::sync::poison::{lock, read};
use crate::sync::turn::Taken;
use crate::sys;

impl Connection {
    /// Waits for the turn, and writes what was queued before, then `data`. Returns how many bytes of `data` were written.
    #[inline]
    pub(crate) fn write(&self, data: Data<'_>) -> (usize, io::Result<()>) {
        match self.try_turn() {
            Some(turn) => turn.write(data),
            None => self.write_later(data),
        }
    }

    #[cold]
    fn write_later(&self, data: Data<'_>) -> (usize, io::Result<()>) {
        match self.turn_in_time() {
            Ok(turn) => turn.write(data),
            Err(error) => (0, Err(error)),
        }
    }

    /// Waits for the turn to write.
    #[inline]
    pub(crate) fn turn(&self) -> WriteGuard<'_> {
        WriteGuard { connection: self, turn: self.writing.take() }
    }

    /// Waits for the turn to write, under the timers. The wait has the whole write timeout again after each byte that the
    /// peer has taken.
    pub(crate) fn turn_in_time(&self) -> io::Result<WriteGuard<'_>> {
        if let Some(turn) = self.try_turn() {
            return Ok(turn);
        }
        let mut limits = self.timers.begin(Direction::Write);
        let written = || self.bytes_written.load(Relaxed);
        let mut before = written();
        let turn = self.writing.wait(&mut || {
            let has_moved = std::mem::replace(&mut before, written()) != before;
            limits.left_beside_write(has_moved)
        })?;
        Ok(WriteGuard { connection: self, turn })
    }

    /// Returns the turn to write, unless another thread has it.
    #[inline]
    pub(crate) fn try_turn(&self) -> Option<WriteGuard<'_>> {
        Some(WriteGuard { connection: self, turn: self.writing.try_take()? })
    }

    /// The queue of writes. If the end of our direction was begun before the queue is made, the queue takes nothing.
    pub(crate) fn queue(&self) -> &Queue {
        self.queue.get_or_init(|| {
            let queue = Box::new(Queue::new(self.queue_limit));
            if self.flags.fetch_or(QUEUES, SeqCst) & ENDS != 0 {
                queue.begin_end();
            }
            queue
        })
    }

    /// Closes the queue to further messages. Returns the queue if there is one. Makes none, because that would cost
    /// every connection an allocation. Either this finds `QUEUES`, or the thread that makes the queue finds `ENDS`.
    fn begin_end(&self) -> Option<&Queue> {
        let has_queue = self.flags.fetch_or(ENDS, SeqCst) & QUEUES != 0;
        has_queue.then(|| self.queue()).inspect(|queue| queue.begin_end())
    }

    /// Composes a message, then writes it whole.
    pub(crate) fn compose(&self, compose: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let mut message = std::mem::take(&mut *lock(&self.scratch));
        message.clear();
        let result = compose(&mut message).and_then(|()| self.write(Data::One(&message)).1);
        if message.capacity() <= CHUNK {
            *lock(&self.scratch) = message;
        }
        result
    }

    /// Returns the error of writing, if nothing can be written any more.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        let flags = self.flags.load(SeqCst);
        if flags & CLOSED != 0 {
            return Err(self.gone("write").into());
        }
        if flags & WE_ENDED != 0 && flags & PEER_ENDED != 0 && !self.allow_half_open {
            return Err(Error::fixed(
                io::ErrorKind::BrokenPipe,
                "EPIPE",
                "This socket has been ended by the other party",
            )
            .into());
        }
        if flags & WE_ENDED != 0 {
            return Err(written_after_end());
        }
        Ok(())
    }
}

/// What one call still has to write.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    One(&'a [u8]),
    /// Several buffers, and the number of bytes of the first that are already written.
    Many(&'a [IoSlice<'a>], usize),
}

/// How many buffers one system call writes at most, once the first buffer is partly written.
const TOGETHER: usize = 64;

impl<'a> Data<'a> {
    fn length(self) -> usize {
        match self {
            Data::One(data) => data.len(),
            Data::Many(buffers, offset) => length(buffers) - offset,
        }
    }

    /// The data after the first `n` bytes.
    fn after(self, n: usize) -> Data<'a> {
        match self {
            Data::One(data) => Data::One(&data[n..]),
            Data::Many(mut buffers, offset) => {
                let mut offset = offset + n;
                while buffers.first().is_some_and(|first| offset >= first.len()) {
                    offset -= buffers[0].len();
                    buffers = &buffers[1..];
                }
                Data::Many(buffers, offset)
            }
        }
    }

    /// One system call, for at most `most` bytes.
    fn write(self, mut stream: &TcpStream, most: usize) -> io::Result<usize> {
        match self {
            Data::Many([first, ..], _) if first.is_empty() => self.after(0).write(stream, most),
            Data::One(data) => stream.write(&data[..data.len().min(most)]),
            Data::Many(buffers, 0) if most == usize::MAX => sys::write_vectored(stream, buffers),
            Data::Many(buffers, offset) => {
                let (next, count) = together(buffers, offset, most);
                sys::write_vectored(stream, &next[..count])
            }
        }
    }

    /// Makes one system call without blocking.
    fn write_now(self, stream: &TcpStream) -> io::Result<usize> {
        match self {
            Data::Many([first, ..], _) if first.is_empty() => self.after(0).write_now(stream),
            Data::One(data) => sys::write_now(stream, data),
            Data::Many(buffers, 0) => sys::write_vectored_now(stream, buffers),
            Data::Many(buffers, offset) => {
                let (next, count) = together(buffers, offset, usize::MAX);
                sys::write_vectored_now(stream, &next[..count])
            }
        }
    }
}

/// The next buffers, at most `most` bytes in all, and their length. `offset` bytes of the first are already written.
fn together<'a>(buffers: &'a [IoSlice<'a>], offset: usize, most: usize) -> ([IoSlice<'a>; TOGETHER], usize) {
    let (mut next, mut count, mut skip, mut left) = ([IoSlice::new(&[]); TOGETHER], 0, offset, most);
    for buffer in buffers.iter().take(TOGETHER) {
        let rest = &buffer[skip..];
        let rest = &rest[..rest.len().min(left)];
        next[count] = IoSlice::new(rest);
        (count, skip, left) = (count + 1, 0, left - rest.len());
    }
    (next, count)
}

impl Connection {
    #[inline]
    fn wrote(&self, n: usize) {
        self.bytes_written.fetch_add(n as u64, Relaxed);
        if self.may_have(TIMED) {
            self.timers.moved();
        }
    }

    /// Writes all of `data` under the timers. Returns how many bytes were written.
    #[cold]
    fn write_in_time(&self, stream: &TcpStream, mut data: Data<'_>) -> (usize, io::Result<()>) {
        // On a Unix socket the timeout applies not to the call, but to each piece that the system makes of its bytes.
        let most = if self.family() == Family::Unix { 32 * 1024 } else { usize::MAX };
        let mut limits = self.timers.begin(Direction::Write);
        let (mut left, mut done, mut pause) = (data.length(), 0, SHORTEST_PAUSE);
        loop {
            let (result, may_time_out) = match sys::WRITES_ARE_POLLED {
                true => match limits.check() {
                    Ok(()) => (data.write_now(stream), true),
                    Err(error) => return (done, Err(error)),
                },
                false => match self.enter(stream, &mut limits, &mut None) {
                    Ok(may_time_out) => (data.write(stream, most), may_time_out),
                    Err(error) => return (done, Err(error)),
                },
            };
            if let Ok(n) = result {
                if n == left {
                    drop(limits);
                    self.wrote(n);
                    return (done + n, Ok(()));
                }
            }
            limits.go_on(result.as_ref().is_ok_and(|n| *n > 0));
            let error: io::Error = match result {
                Ok(n) => {
                    self.wrote(n);
                    (done, left, data) = (done + n, left - n, data.after(n));
                    pause = SHORTEST_PAUSE;
                    match n {
                        _ if self.is_closed() => self.gone("write").into(),
                        0 => io::ErrorKind::WriteZero.into(),
                        _ => continue,
                    }
                }
                Err(_) if self.is_closed() => self.gone("write").into(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if sys::WRITES_ARE_POLLED && error.kind() == io::ErrorKind::WouldBlock => {
                    match limits.left(&mut None) {
                        Ok(left) => thread::sleep(left.unwrap_or(pause).min(pause)),
                        Err(error) => return (done, Err(error)),
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Err(error) if is_timeout(stream, &error, may_time_out) => continue,
                Err(error) => self.broke("write", &error).into(),
            };
            return (done, Err(error));
        }
    }
}

/// The pause of a write that polls.
const SHORTEST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// The turn to write. While a thread has it, no bytes of other threads come between its own.
pub(crate) struct WriteGuard<'a> {
    connection: &'a Connection,
    turn: Taken<'a>,
}

impl WriteGuard<'_> {
    /// Writes what was queued before, then all of `data`.
    pub(crate) fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.write(Data::One(data)).1
    }

    /// Writes what was queued before, then `data`. Returns how many bytes of `data` were written.
    pub(crate) fn write(&self, data: Data<'_>) -> (usize, io::Result<()>) {
        match self.connection.queue.get().map_or(Ok(()), |_| self.flush()) {
            Ok(()) => self.write_counted(data),
            Err(error) => (0, Err(error)),
        }
    }

    /// Writes what is queued now, then sends FIN if the end of our direction is queued. On an error, the unwritten part
    /// stays queued.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let Some(queue) = self.connection.queue.get() else {
            return Ok(());
        };
        let mut left = queue.state().len();
        while left > 0 && self.write_batch(queue, &mut left)? {}
        self.end_if_queued(queue)
    }

    /// Like `flush`, but writes only as much as fits into one system call.
    pub(crate) fn write_next(&self) -> io::Result<()> {
        let (queue, mut all) = (self.connection.queue(), usize::MAX);
        self.write_batch(queue, &mut all)?;
        self.end_if_queued(queue)
    }

    fn end_if_queued(&self, queue: &Queue) -> io::Result<()> {
        if !queue.ends_now() {
            return Ok(());
        }
        let result = self.end_now();
        queue.ended();
        result
    }

    /// Writes the next of `left` messages of the queue. `false` if there is none.
    fn write_batch(&self, queue: &Queue, left: &mut usize) -> io::Result<bool> {
        let (batch, offset) = queue.begin(left);
        if batch.is_empty() {
            return Ok(false);
        }
        let slices = slices(&batch);
        let (n, result) = self.write_counted(Data::Many(&slices, offset));
        // Called after counting. So a flush that this wakes finds the bytes in `bytes_written`.
        queue.wrote(n);
        result?;
        if self.connection.is_closed() { Err(self.connection.gone("write").into()) } else { Ok(true) }
    }

    /// Gives the turn to a waiting thread.
    pub(crate) fn hand_over(self) {
        self.turn.hand_over();
    }

    /// Writes as much of several messages as the kernel takes without blocking.
    #[inline]
    pub(crate) fn write_now(&self, messages: &[Message]) -> io::Result<usize> {
        // The close may have cut off a write of the thread that had the turn before, and the stream may still be there.
        if self.connection.is_closed() {
            return Err(self.connection.gone("write").into());
        }
        let several;
        let mut data = match messages {
            [message] => Data::One(message),
            messages => {
                several = slices(messages);
                Data::Many(&several, 0)
            }
        };
        let (mut left, mut done) = (data.length(), 0);
        while left > 0 {
            let stream = self.connection.stream("write")?;
            match data.write_now(&stream) {
                Ok(n) => {
                    self.connection.wrote(n);
                    (done, left, data) = (done + n, left - n, data.after(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.connection.is_closed() => return Err(self.connection.gone("write").into()),
                Err(error) => return Err(self.connection.broke("write", &error).into()),
            }
        }
        Ok(done)
    }

    /// Writes `data`. Returns how many bytes were written, and the error that stopped the rest.
    #[inline]
    pub(crate) fn write_counted(&self, data: Data<'_>) -> (usize, io::Result<()>) {
        let connection = self.connection;
        let length = data.length();
        if length == 0 || connection.may_have(CLOSED | WE_ENDED | TIMED) {
            return self.write_carefully(data, length);
        }
        let stream = match connection.stream("write") {
            Ok(stream) => stream,
            Err(error) => return (0, Err(error)),
        };
        let written = match data {
            Data::One(data) => (&mut &*stream).write(data),
            _ => data.write(&stream, usize::MAX),
        };
        match written {
            Ok(n) if n == length => {
                connection.wrote(n);
                (n, Ok(()))
            }
            written => self.write_rest(&stream, data, written),
        }
    }

    #[cold]
    fn write_carefully(&self, data: Data<'_>, length: usize) -> (usize, io::Result<()>) {
        let connection = self.connection;
        match connection.check_writable().and_then(|()| connection.stream("write")) {
            Ok(stream) if length > 0 => connection.write_in_time(&stream, data),
            result => (0, result.map(drop)),
        }
    }

    /// Continues after a call that has not written everything.
    #[cold]
    fn write_rest(&self, stream: &TcpStream, data: Data<'_>, written: io::Result<usize>) -> (usize, io::Result<()>) {
        let connection = self.connection;
        let n = match written {
            Ok(n) => n,
            Err(_) if connection.is_closed() => return (0, Err(self.connection.gone("write").into())),
            Err(error) if sys::is_passing(&error) => 0,
            Err(error) => return (0, Err(connection.broke("write", &error).into())),
        };
        connection.wrote(n);
        if connection.is_closed() {
            return (n, Err(self.connection.gone("write").into()));
        }
        let (more, result) = connection.write_in_time(stream, data.after(n));
        (n + more, result)
    }

    /// Writes what is queued, then sends our FIN, once.
    pub(crate) fn end(&self) -> io::Result<()> {
        if !self.connection.has(WE_ENDED | CLOSED) {
            self.flush_last()?;
        }
        self.end_now()
    }

    /// Like `end`, for a connection that is closed right after it. The close sends the FIN. This saves a system call.
    /// It also means that the slot is free before the client reads the end of the stream.
    pub(crate) fn end_by_closing(&self) -> io::Result<()> {
        if !self.connection.has(WE_ENDED | CLOSED) {
            self.flush_last()?;
            self.connection.set(WE_ENDED);
        }
        Ok(())
    }

    /// Closes the queue to further messages and writes what it holds, so that no message is lost that was taken before
    /// our direction ends. The end may come later: `end` and `close` of the connection send FIN.
    pub(crate) fn flush_last(&self) -> io::Result<()> {
        let Some(queue) = self.connection.begin_end() else {
            return Ok(());
        };
        self.flush().inspect_err(|_| queue.take_back_end())
    }

    pub(crate) fn end_now(&self) -> io::Result<()> {
        // One step for a thread that closes the connection. It knows by the flag whether the FIN was sent.
        let mut result = Ok(());
        self.connection.move_gate(&mut || {
            if self.connection.has(WE_ENDED | CLOSED) {
                return 0;
            }
            if let Some(stream) = &*read(&self.connection.stream) {
                result = stream.shutdown(Shutdown::Write);
            }
            self.connection.flags.fetch_or(WE_ENDED, SeqCst)
        });
        match result {
            // The peer has reset the connection, so there is nothing left to end.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(Error::call("shutdown", &error).into()),
            _ => Ok(()),
        }
    }
}

pub(crate) fn length(buffers: &[IoSlice<'_>]) -> usize {
    buffers.iter().map(|buffer| buffer.len()).sum()
}

fn slices(messages: &[Message]) -> Vec<IoSlice<'_>> {
    messages.iter().map(|message| IoSlice::new(message)).collect()
}

/// The error of a write after our direction has ended.
pub(crate) fn written_after_end() -> io::Error {
    Error::fixed(io::ErrorKind::BrokenPipe, "ERR_STREAM_WRITE_AFTER_END", "write after end").into()
}
