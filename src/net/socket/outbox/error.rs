//! The error of sending through an outbox.

use std::{fmt, io};

use crate::error::Error;
use crate::net::socket::outbox::message::Message;

/// Why [`Outbox::try_send`](crate::net::Outbox::try_send) or [`send`](crate::net::Outbox::send) did not take a message.
/// No part of it was queued, and it is returned in here.
///
/// `?` turns it into an [`io::Error`], which does not keep the message.
#[derive(Clone)]
pub struct SendError {
    error: Error,
    message: Message,
}

impl SendError {
    pub(crate) fn new(error: Error, message: Message) -> SendError {
        SendError { error, message }
    }

    /// Whether there is no room in the queue, or the writer thread cannot be started. Try again.
    pub fn is_full(&self) -> bool {
        self.error.kind() == io::ErrorKind::WouldBlock
    }

    /// Whether a timeout expired before there was room, as [`Error::is_tick`] says. Nothing was taken. The next call
    /// waits for the whole time again.
    pub fn is_tick(&self) -> bool {
        self.error.is_waited()
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The message.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Without the message.
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
