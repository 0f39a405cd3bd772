//! What a client publishes.

use std::io::{self, Write};
use std::mem;

use landline::net::{Buffered, Message, Socket};

use crate::resp::{array, bulk, is_whole, number, receive};
use crate::{Map, lock};

/// Messages that a client has published to one channel, and that are not sent yet.
#[derive(Default)]
pub(crate) struct News {
    channel: Vec<u8>,
    messages: Vec<Message>,
}

impl News {
    /// The client's next request. What it has published before is sent before this waits.
    pub(crate) fn request(
        &mut self,
        client: &mut Buffered,
        subscribers: &Map<Vec<Socket>>,
    ) -> io::Result<Option<Vec<Vec<u8>>>> {
        if !is_whole(client.buffer()) {
            self.send(client, subscribers)?;
        }
        receive(client).or_else(|error| self.send(client, subscribers).and(Err(error)))
    }

    pub(crate) fn publish(
        &mut self,
        channel: &[u8],
        text: &[u8],
        client: &mut Buffered,
        subscribers: &Map<Vec<Socket>>,
    ) -> io::Result<()> {
        if self.channel != channel {
            self.send(client, subscribers)?;
            self.channel = channel.into();
        }
        self.messages.push(array(&[bulk(b"message"), bulk(channel), bulk(text)]).into());
        Ok(())
    }

    /// Sends them, with one system call for each subscriber, and answers each with how many subscribers there are.
    pub(crate) fn send(&mut self, client: &mut Buffered, subscribers: &Map<Vec<Socket>>) -> io::Result<()> {
        let messages = mem::take(&mut self.messages);
        if messages.is_empty() {
            return Ok(());
        }
        let tell = |other: &&Socket| other.outbox().try_send_all(&messages).inspect_err(|_| other.destroy()).is_ok();
        let count = lock(subscribers).get(&self.channel).into_iter().flatten().filter(tell).count();
        messages.iter().try_for_each(|_| client.write_all(&number(count)))
    }
}
