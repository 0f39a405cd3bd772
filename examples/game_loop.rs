//! A game's loop with 20 steps a second. It takes what has arrived and never waits for a client.
//!
//! Terminal 1, which is never at rest:
//!
//! ```text
//! $ cargo run --example game_loop
//! listening on 127.0.0.1:3000
//! then: cargo run --example echo_client 127.0.0.1:3000
//! ...
//! after 0.950 s, players: 1
//! ...
//! ```
//!
//! Terminal 2, where `>` marks what is typed, d for a step to the right and a for one to the left:
//!
//! ```text
//! $ cargo run --example echo_client 127.0.0.1:3000
//! #1 at 0
//! > ddd
//! #1 at 3
//! > a
//! #1 at 2
//! ```
//!
//! Lesson: `try_iter` returns the events that have arrived and does not wait. `take` bounds how many of them one step
//! handles. The rest waits in the channel, then in the kernel, and then the client waits. A player that reads too
//! slowly gets fewer frames. `clear` drops a frame that was not sent yet, since the new one replaces it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use landline::net::{Message, Server, ServerEvent, SocketEvent};

const STEP: Duration = Duration::from_millis(50);

fn main() -> io::Result<()> {
    let server = Server::listen(env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    println!("listening on {0}\nthen: cargo run --example echo_client {0}", server.address());
    let events = server.events(1024)?;
    let (mut players, mut shown, start) = (BTreeMap::new(), String::new(), Instant::now());
    let mut next = start;
    for step in 1_u64.. {
        for event in events.receiver().try_iter().take(1024) {
            match event {
                ServerEvent::Connection(socket) => drop(players.insert(socket.id(), (socket, 0_i64))),
                ServerEvent::Socket(socket, SocketEvent::Data(keys)) => {
                    if let Some((_, place)) = players.get_mut(&socket.id()) {
                        *place += keys.iter().map(|key| i64::from(*key == b'd') - i64::from(*key == b'a')).sum::<i64>();
                    }
                }
                ServerEvent::Socket(socket, SocketEvent::End | SocketEvent::ShuttingDown) => socket.destroy(),
                ServerEvent::Socket(socket, SocketEvent::Close { .. }) => drop(players.remove(&socket.id())),
                _ => {}
            }
        }
        let places: Vec<_> = players.iter().map(|(id, (_, place))| format!("{id} at {place}")).collect();
        let frame = places.join(", ") + "\n";
        if frame != shown {
            let message = Message::from(&frame);
            for (socket, _) in players.values() {
                socket.outbox().clear();
                if socket.outbox().try_send(&message).is_err() {
                    socket.destroy();
                }
            }
            shown = frame;
        }
        if step % 20 == 0 {
            println!("after {:.3} s, players: {}", start.elapsed().as_secs_f64(), players.len());
        }
        next += STEP;
        match next.checked_duration_since(Instant::now()) {
            Some(left) => thread::sleep(left),
            None => next = Instant::now(), // late: the steps that were missed are not made up for
        }
    }
    Ok(())
}
