use std::io;

use crate::dgram::each::SocketEvent;
use crate::dgram::socket::Socket;
use crate::events::{CloseSignal, Events, Feed, Source, channel};

impl Socket {
    /// Starts a thread that receives, and sends each event into a channel of at most `n` events. With `n` = 0 the
    /// thread waits until each event is received. While the channel is full, datagrams wait in the [receive
    /// buffer](Socket::recv_buffer_size). Dropping the [`Events`] closes the socket. [`SocketEvent::Close`] is the last
    /// event.
    ///
    /// ```
    /// use landline::channel::{after, select};
    /// use landline::dgram::{Socket, SocketEvent};
    /// use std::time::Duration;
    ///
    /// let socket = Socket::bind("127.0.0.1:0")?;
    /// let events = socket.events(16)?;
    /// Socket::bind("127.0.0.1:0")?.send_to(b"hello", socket.address())?;
    ///
    /// select! {
    ///     recv(events.receiver()) -> event => match event {
    ///         Ok(SocketEvent::Message(bytes, from)) => println!("{} bytes from {}", bytes.len(), from.address()),
    ///         other => panic!("a message was sent, but {other:?} came"),
    ///     },
    ///     recv(after(Duration::from_secs(5))) -> _ => panic!("nothing came"),
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// - `ERR_SOCKET_DGRAM_NOT_RUNNING` if the socket is closed
    /// - `ERR_OUT_OF_RANGE` if `n` is more than 1,048,576
    /// - the system's error if the thread cannot be started
    #[inline]
    pub fn events(&self, n: usize) -> io::Result<Events<SocketEvent>> {
        channel(n, |feed| self.feed(feed))
    }

    fn feed(&self, feed: Feed<SocketEvent>) -> io::Result<Source> {
        drop(self.open()?);
        let socket = self.clone();
        let running = self.start(move || {
            // A thread that waits for room in the channel stops waiting when the socket is closed.
            let (signal, closed) = CloseSignal::new();
            let _attached = socket.0.closing.attach(move || drop(signal));
            socket.each(|socket, event| {
                let is_close = matches!(event, SocketEvent::Close);
                let event = event.into_owned();
                // `Close` is sent even then.
                if feed.send(event, (!is_close).then_some(&closed)).is_err() {
                    socket.close();
                }
                Ok(())
            })
        })?;
        let (socket, ending) = (self.clone(), self.clone());
        let close = move || socket.close();
        let begin_shutdown = move |_| {
            ending.close();
            Ok(None)
        };
        Ok(Source { running, close: Box::new(close), begin_shutdown: Box::new(begin_shutdown) })
    }
}
