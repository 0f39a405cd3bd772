//! Writing to a connection: whose turn it is, and the one place where a written byte is counted.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::error::Error;
use crate::net::socket::connection::{CLOSED, Connection, PEER_ENDED, WE_ENDED, destroyed};
use crate::net::socket::outbox::queue::Queue;
use crate::net::socket::read::is_passing;
use crate::net::socket::stream::CHUNK;
use crate::net::socket::timers::Direction;
use crate::sync::poison::{Guard, lock, read, try_lock};
use crate::sys;

impl Connection {
    /// Waits for the turn to write.
    pub(crate) fn turn(&self) -> WriteGuard<'_> {
        self.turn_of(lock(&self.writing))
    }

    /// The turn to write, if nobody has it.
    pub(crate) fn try_turn(&self) -> Option<WriteGuard<'_>> {
        try_lock(&self.writing).map(|turn| self.turn_of(turn))
    }

    fn turn_of<'a>(&'a self, turn: Guard<'a, ()>) -> WriteGuard<'a> {
        WriteGuard { connection: self, _turn: turn }
    }

    /// The writes that wait for their turn.
    pub(crate) fn queue(&self) -> &Queue {
        self.queue.get_or_init(|| Box::new(Queue::new(self.queue_limit)))
    }

    /// Composes a message, then writes it whole.
    pub(crate) fn compose(&self, compose: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let mut message = std::mem::take(&mut *lock(&self.scratch));
        message.clear();
        let result = compose(&mut message).and_then(|()| self.turn().write_all(&message));
        if message.capacity() <= CHUNK {
            *lock(&self.scratch) = message;
        }
        result
    }

    /// Why nothing can be written any more, if that is so.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        let flags = self.flags.load(SeqCst);
        if flags & CLOSED != 0 {
            return Err(destroyed("write").into());
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

/// The turn to write: while one thread has it, no other's bytes come between.
pub(crate) struct WriteGuard<'a> {
    connection: &'a Connection,
    _turn: Guard<'a, ()>,
}

impl WriteGuard<'_> {
    /// Writes what was queued before, then all of `data`.
    pub(crate) fn write_all(&self, data: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.write_counted(data).1
    }

    /// Writes what is queued.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.write_queued(usize::MAX)
    }

    /// Writes what is queued at this moment, `at_most` that many messages of it. An error leaves the queue as it is, as
    /// far as it is written.
    pub(crate) fn write_queued(&self, at_most: usize) -> io::Result<()> {
        let Some(queue) = self.connection.queue.get() else {
            return Ok(());
        };
        let count = queue.state().messages.len().min(at_most);
        for _ in 0..count {
            let (data, offset, end) = {
                let mut state = queue.state();
                let offset = state.offset;
                let Some(first) = state.messages.front() else {
                    break;
                };
                let next = (Arc::clone(&first.data), offset, first.end);
                state.begun = true;
                next
            };
            let (n, result) = if end { (0, self.end_now()) } else { self.write_counted(&data[offset..]) };
            let mut state = queue.state();
            if state.closed {
                return Err(destroyed("write").into());
            }
            state.bytes -= n;
            state.offset += n;
            result?;
            state.pop();
            drop(state);
            queue.tell_moved();
        }
        Ok(())
    }

    /// Writes what the kernel takes without blocking.
    pub(crate) fn write_now(&self, data: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < data.len() {
            let stream = self.connection.stream("write")?;
            match sys::write_now(&stream, &data[done..]) {
                Ok(n) => {
                    done += n;
                    self.connection.bytes_written.fetch_add(n as u64, Relaxed);
                    self.connection.timers.moved();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.connection.is_closed() => return Err(destroyed("write").into()),
                Err(error) => return Err(self.connection.broke("write", &error).into()),
            }
        }
        Ok(done)
    }

    /// How much was written, and why not more.
    pub(crate) fn write_counted(&self, data: &[u8]) -> (usize, io::Result<()>) {
        if data.is_empty() {
            return (0, self.connection.check_writable());
        }
        let mut done = 0;
        let result = self.send(|mut stream| {
            let n = stream.write(&data[done..])?;
            done += n;
            Ok((n, done == data.len()))
        });
        (done, result)
    }

    pub(crate) fn write_all_vectored(&self, mut buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.flush()?;
        IoSlice::advance_slices(&mut buffers, 0);
        if buffers.is_empty() {
            return self.connection.check_writable();
        }
        self.send(|stream| {
            let n = sys::write_vectored(stream, buffers)?;
            IoSlice::advance_slices(&mut buffers, n);
            Ok((n, buffers.is_empty()))
        })
    }

    /// Repeats `call` until it says that it has written everything.
    fn send(&self, mut call: impl FnMut(&TcpStream) -> io::Result<(usize, bool)>) -> io::Result<()> {
        self.connection.check_writable()?;
        let stream = self.connection.stream("write")?;
        let timers = &self.connection.timers;
        let mut began = timers.arm(&stream, Direction::Write)?;
        loop {
            match call(&stream) {
                Ok((n, done)) => {
                    self.connection.bytes_written.fetch_add(n as u64, Relaxed);
                    timers.moved();
                    if done {
                        return Ok(());
                    }
                    if self.connection.is_closed() {
                        return Err(destroyed("write").into());
                    }
                    if n == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    began = timers.arm(&stream, Direction::Write)?;
                }
                Err(_) if self.connection.is_closed() => return Err(destroyed("write").into()),
                Err(error) if is_passing(&error) => timers.again(&stream, Direction::Write, began, None)?,
                Err(error) => return Err(self.connection.broke("write", &error).into()),
            }
        }
    }

    /// Writes what is queued, then sends our FIN, once.
    pub(crate) fn end(&self) -> io::Result<()> {
        if !self.connection.has(WE_ENDED | CLOSED) {
            self.flush_last()?;
        }
        self.end_now()
    }

    /// As `end`, for a connection that is closed at once: the close sends the FIN. That is a system call less, and a
    /// client that sees the end finds its slot free.
    pub(crate) fn end_by_closing(&self) -> io::Result<()> {
        if !self.connection.has(WE_ENDED | CLOSED) {
            self.flush_last()?;
            self.connection.set(WE_ENDED);
        }
        Ok(())
    }

    /// Writes what is queued, behind which nothing is queued any more: what a queue has taken is not lost to an end.
    fn flush_last(&self) -> io::Result<()> {
        let queue = self.connection.queue();
        queue.begin_end();
        self.flush().inspect_err(|_| queue.take_back_end())
    }

    pub(crate) fn end_now(&self) -> io::Result<()> {
        if self.connection.has(WE_ENDED | CLOSED) {
            return Ok(());
        }
        let result = match &*read(&self.connection.stream) {
            Some(stream) => stream.shutdown(Shutdown::Write),
            None => Ok(()),
        };
        self.connection.set(WE_ENDED);
        match result {
            // The peer has reset the connection: there is nothing left to end.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(Error::call("shutdown", &error).into()),
            _ => Ok(()),
        }
    }
}

/// What a write after our own end gets.
pub(crate) fn written_after_end() -> io::Error {
    Error::fixed(io::ErrorKind::BrokenPipe, "ERR_STREAM_WRITE_AFTER_END", "write after end").into()
}
