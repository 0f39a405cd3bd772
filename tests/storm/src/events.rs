//! The thread that receives a server's events.

use std::collections::HashMap;
use std::sync::Arc;

use landline::net::{ServerEvent, SocketEvent};
use landline::{ConnectionId, Events};

use crate::client::{HEADER, POLITE};
use crate::lock;
use crate::process::phase;
use crate::random::Random;
use crate::round::{Echo, Round};

/// What has come of one connection.
#[derive(Default)]
struct Coming {
    header: Vec<u8>,
    read: u64,
    /// Not all of it could be sent back.
    lost: bool,
}

/// Echoes until the channel is disconnected, or drops it before.
pub fn receive(round: &Arc<Round>, events: Events<ServerEvent>, random: &mut Random) {
    let _phase = phase("events");
    let drops = random.one_in(4);
    let mut coming: HashMap<ConnectionId, Coming> = HashMap::new();
    let mut closed = 0;
    while let Ok(event) = events.recv() {
        if closed > 0 {
            round.wrong("an event came after Close".to_owned());
        }
        if drops && random.one_in(12) {
            let _phase = phase("drop of events");
            return;
        }
        match event {
            ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => {
                let coming = coming.entry(socket.id()).or_default();
                let missing = HEADER - coming.header.len();
                coming.header.extend(bytes.iter().take(missing));
                coming.read += bytes.len() as u64;
                if socket.outbox().try_send(bytes).is_err() {
                    coming.lost = true;
                    socket.destroy();
                }
            }
            ServerEvent::Socket(socket, SocketEvent::End) => {
                let ended = socket.outbox().end().is_ok();
                if !ended {
                    socket.destroy();
                }
                let Some(Coming { header, read, lost }) = coming.remove(&socket.id()) else { continue };
                if let Ok(header @ [POLITE, ..]) = <[u8; HEADER]>::try_from(header) {
                    let echo = Echo { id: socket.id(), read, written: read, whole: ended && !lost };
                    lock(&round.echoes).insert(header, echo);
                }
            }
            ServerEvent::Socket(socket, SocketEvent::ShuttingDown) => {
                // What had come is answered; the client may have had more to send.
                coming.remove(&socket.id());
                if socket.outbox().end().is_err() {
                    socket.destroy();
                }
            }
            ServerEvent::Connection(socket) if random.one_in(4) => lock(&round.others).push(socket),
            ServerEvent::Close => closed += 1,
            _ => {}
        }
        round.meddle_by_receiver(random);
    }
    if closed != 1 {
        round.wrong(format!("the channel was disconnected after {closed} events Close"));
    }
}
