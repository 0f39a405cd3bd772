//! What an outbox sends.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

/// Text or bytes for an [`Outbox`](crate::net::Outbox). Strings and byte slices convert into it with `into()`.
///
/// A clone shares the bytes, so one message can go to many connections without copying. Making a message copies its
/// bytes, unless it is made from an `Arc<[u8]>` or an `Arc<str>`.
///
/// ```
/// use landline::net::{Message, Server, Socket};
///
/// let server = Server::listen("127.0.0.1:0")?;
/// let clients = [Socket::connect(server.address())?, Socket::connect(server.address())?];
///
/// let line = Message::from(format!("{} are here\n", clients.len()));
/// for _ in &clients {
///     let socket = server.accept()?.expect("the server is open");
///     socket.outbox().try_send(&line)?;
///     socket.outbox().try_send("bye\n")?;
/// }
/// for client in clients {
///     assert_eq!(std::io::read_to_string(client)?, "2 are here\nbye\n");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Arc<[u8]>);

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// From the types that `Arc` takes, converted by an expression.
macro_rules! from {
    ($($source:ty: |$given:ident| $bytes:expr;)*) => {$(
        impl From<$source> for Message {
            fn from($given: $source) -> Message {
                Message(Arc::from($bytes))
            }
        }
    )*};
}

from! {
    &str: |text| text.as_bytes();
    &String: |text| text.as_bytes();
    String: |text| text.into_bytes();
    Cow<'_, str>: |text| text.as_bytes();
    Arc<str>: |text| text;
    &[u8]: |bytes| bytes;
    &Vec<u8>: |bytes| bytes.as_slice();
    Vec<u8>: |bytes| bytes;
    Box<[u8]>: |bytes| bytes;
    Arc<[u8]>: |bytes| bytes;
    &Arc<[u8]>: |bytes| Arc::clone(bytes);
    &Message: |message| Arc::clone(&message.0);
}

impl<const N: usize> From<[u8; N]> for Message {
    fn from(bytes: [u8; N]) -> Message {
        Message(Arc::from(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Message {
        Message(Arc::from(&bytes[..]))
    }
}
