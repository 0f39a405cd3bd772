//! The events of a connection, through a channel.

use std::io;
use std::time::Duration;

use crate::error::{Cause, Error};
use crate::events::{CloseSignal, Events, Feed, channel};
use crate::net::socket::Socket;
use crate::net::socket::connection::destroyed;
use crate::net::socket::each::{Ends, SocketEvent};
use crate::thread::{Running, ThreadOptions};

impl Socket {
    /// Reads on a thread of its own, and sends the events into a channel that holds `n` at most; 0 hands each one over.
    /// See [`Events`] for what the receiver must know. Dropping the `Events` destroys the connection.
    ///
    /// The connection ends when both sides have: at `End`, and at `ShuttingDown`, call
    /// [`outbox().end()`](crate::net::Outbox::end) or [`destroy`](Socket::destroy).
    ///
    /// # Errors
    /// `NotConnected` if the socket is closed. `ERR_OUT_OF_RANGE` if `n` is above 1,048,576: the room is allocated at
    /// once. The thread cannot be started.
    pub fn events(&self, n: usize) -> io::Result<Events<SocketEvent>> {
        self.connection.stream("read")?;
        let (feed, events) = channel(n)?;
        let socket = self.clone();
        let ThreadOptions { thread_name, stack_size } = self.connection.threads();
        let name = format!("{thread_name} socket {}", self.remote_address());
        let destroyed = self.clone();
        let close = move || destroyed.destroy();
        let (its_name, size, ending) = (thread_name.clone(), *stack_size, self.clone());
        let begin_shutdown = move |grace| {
            let (socket, destroyed) = (ending.clone(), ending.clone());
            let name = format!("{its_name} shutdown {}", ending.remote_address());
            let work = move || {
                end_within(&socket, grace);
                Ok(())
            };
            Running::start(name, size, 0, move || destroyed.destroy(), work).map(Some)
        };
        let feed = move || feed_from(&socket, &feed, |event| event);
        let running = Running::start(name, *stack_size, 0, close.clone(), feed)?;
        Ok(events.fed_by(running, close, begin_shutdown))
    }
}

/// Ends reading, and destroys the connection when the time is up, unless it is closed before.
fn end_within(socket: &Socket, grace: Duration) {
    let (signal, closed) = CloseSignal::new();
    socket.connection.tell_closed(signal);
    socket.connection.interrupt_reads();
    // It is disconnected when the connection is closed.
    let _ = closed.recv_timeout(grace);
    socket.destroy();
}

/// Sends the events of a connection until it is closed.
pub(crate) fn feed_from<T>(socket: &Socket, feed: &Feed<T>, wrap: impl Fn(SocketEvent) -> T) -> io::Result<()> {
    // Whoever waits for room stops waiting when the connection is destroyed.
    let (signal, closed) = CloseSignal::new();
    socket.connection.tell_closed(signal);
    let mut is_close_told = false;
    let result = socket.each_until(Ends::ByReceiver, &mut |socket, event| {
        is_close_told |= matches!(event, SocketEvent::Close { .. });
        // These two are sent even so.
        let is_last = matches!(event, SocketEvent::Error(_) | SocketEvent::Close { .. });
        let event = wrap(event.into_owned());
        let sent = if is_last { feed.send(event) } else { feed.send_unless(event, &closed) };
        sent.map_err(|_| {
            socket.destroy();
            destroyed("send").into()
        })
    });
    // The end of the receiver is no error.
    let result = match result {
        Err(error) if Cause::Destroyed.is_of(&error) => Ok(()),
        result => result.map_err(Error::from),
    };
    if !is_close_told {
        // It was closed before the first event.
        let had_error = result.is_err();
        let error = result.as_ref().err().cloned().map(SocketEvent::Error);
        let _ =
            error.into_iter().chain([SocketEvent::Close { had_error }]).try_for_each(|event| feed.send(wrap(event)));
    }
    Ok(result?)
}
