//! The events of a connection, through a channel.

use std::io;
use std::time::Duration;

use crate::cancel::FiredOnDrop;
use crate::error::{Cause, Error};
use crate::events::{CloseSignal, Events, Feed, Over, Sent, Source, channel};
use crate::net::socket::Socket;
use crate::net::socket::connection::destroyed;
use crate::net::socket::each::{Ends, SocketEvent};
use crate::thread::{Running, ThreadOptions};

impl Socket {
    /// Reads the connection on a new thread, and sends its events into a channel. The channel holds at most `n` events.
    /// If `n` is 0, the reading thread waits until each event is received. See [`Events`] for what the receiver must
    /// do. Dropping the `Events` destroys the connection.
    ///
    /// The connection closes when both directions have ended. So at `End` and at `ShuttingDown`, call
    /// [`outbox().end()`](crate::net::Outbox::end) or [`destroy`](Socket::destroy).
    ///
    /// # Errors
    /// - `NotConnected` if the socket is closed.
    /// - `ERR_OUT_OF_RANGE` if `n` is above 1,048,576, because the memory for `n` events is allocated at once.
    /// - The system's error if the thread cannot be started.
    #[inline]
    pub fn events(&self, n: usize) -> io::Result<Events<SocketEvent>> {
        channel(n, |feed| self.feed(feed))
    }

    fn feed(&self, feed: Feed<SocketEvent>) -> io::Result<Source> {
        self.connection.stream("read")?;
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
        let work = move || feed_from(&socket, &|event, over| feed.send(event, over));
        let running = Running::start(name, *stack_size, 0, close.clone(), work)?;
        Ok(Source { running, close: Box::new(close), begin_shutdown: Box::new(begin_shutdown) })
    }
}

/// Ends reading. Destroys the connection after `grace`, unless it closes earlier.
fn end_within(socket: &Socket, grace: Duration) {
    let closed = FiredOnDrop::default();
    let its = closed.0.clone();
    socket.connection.tell_closed(closed);
    socket.connection.interrupt_reads();
    its.wait_timeout(grace);
    socket.destroy();
}

/// Passes the events of a connection to `send`, which is [`Feed::send`], until the connection is closed.
pub(crate) fn feed_from(socket: &Socket, send: &dyn Fn(SocketEvent, Option<&Over>) -> Sent) -> io::Result<()> {
    // A thread that waits for room in the channel stops waiting when the connection is destroyed.
    let (signal, closed) = CloseSignal::new();
    socket.connection.tell_closed(signal);
    let mut is_close_told = false;
    let result = socket.each_until(Ends::ByReceiver, &mut |socket, event| {
        is_close_told |= matches!(event, SocketEvent::Close { .. });
        // These two are sent even if the connection is destroyed.
        let is_last = matches!(event, SocketEvent::Error(_) | SocketEvent::Close { .. });
        send(event.into_owned(), (!is_last).then_some(&closed)).map_err(|_| {
            socket.destroy();
            destroyed("send").into()
        })
    });
    // A disconnected receiver is not an error.
    let result = match result {
        Err(error) if Cause::Destroyed.is_of(&error) => Ok(()),
        result => result.map_err(Error::from),
    };
    if !is_close_told {
        // The connection was closed before the first event.
        let result = result.clone().and_then(|()| socket.connection.failure().map_or(Ok(()), Err));
        let had_error = result.is_err();
        let error = result.as_ref().err().map(|error| send(SocketEvent::Error(error.clone()), None));
        if error.is_none_or(|sent| sent.is_ok()) {
            let _ = send(SocketEvent::Close { had_error }, None);
        }
    }
    Ok(result?)
}
