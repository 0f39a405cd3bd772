//! The error of sending through an outbox.

use std::{fmt, io};

use crate::error::Error;
use crate::net::socket::outbox::message::Message;

/// The error of [`Outbox::try_send`](crate::net::Outbox::try_send) and [`send`](crate::net::Outbox::send). It contains
/// the message. While the connection stays usable, no part of the message was queued or sent. If the connection failed
/// or was closed during the call, the kernel may have taken a part.
///
/// `?` converts it into an [`io::Error`], which does not keep the message.
#[derive(Clone)]
pub struct SendError {
    error: Error,
    message: Message,
}

impl SendError {
    pub(crate) fn new(error: Error, message: Message) -> SendError {
        SendError { error, message }
    }

    /// Whether the queue has no room, or the writer thread cannot be started. In both cases the call can be tried
    /// again.
    pub fn is_full(&self) -> bool {
        self.error.kind() == io::ErrorKind::WouldBlock
    }

    /// Whether a timeout expired before the queue had room, as in [`Error::is_tick`]. The connection stays usable, and
    /// the next call waits for the whole time again.
    pub fn is_tick(&self) -> bool {
        self.error.is_waited()
    }

    /// The error, without the message.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Returns the message.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Prints the error without the message.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendError").field(&self.error).finish()
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for io::Error {
    fn from(refused: SendError) -> io::Error {
        refused.error.into()
    }
}
