//! A control port over message-io: one thread, and what has come of a line for each client.

use std::collections::HashMap;
use std::io;

use message_io::network::{NetEvent, Transport};
use message_io::node;

#[path = "../../settings.rs"]
mod settings;

fn main() -> io::Result<()> {
    let settings = settings::Settings::default();
    let (handler, listener) = node::split::<()>();
    let (_, at) = handler.network().listen(Transport::Tcp, "127.0.0.1:3000")?;
    println!("listening on {at}");
    let mut clients: HashMap<_, Vec<u8>> = HashMap::new();
    listener.for_each(move |event| match event.network() {
        NetEvent::Accepted(client, _) if clients.len() < 64 => drop(clients.insert(client, Vec::new())),
        NetEvent::Accepted(client, _) => drop(handler.network().remove(client.resource_id())),
        NetEvent::Message(client, bytes) => {
            let Some(pending) = clients.get_mut(&client) else { return };
            pending.extend_from_slice(bytes);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                match settings.answer(&String::from_utf8_lossy(&line)) {
                    Some(answer) => drop(handler.network().send(client, answer.as_bytes())),
                    None => {
                        handler.network().remove(client.resource_id());
                        clients.remove(&client);
                        return;
                    }
                }
            }
        }
        NetEvent::Disconnected(client) => drop(clients.remove(&client)),
        NetEvent::Connected(..) => {}
    });
    Ok(())
}
