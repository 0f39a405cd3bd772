//! An echo server over message-io.

use std::io;

use message_io::network::{NetEvent, Transport};
use message_io::node;

fn main() -> io::Result<()> {
    let (handler, listener) = node::split::<()>();
    let (_, at) = handler.network().listen(Transport::Tcp, "127.0.0.1:3000")?;
    println!("listening on {at}");
    listener.for_each(move |event| {
        if let NetEvent::Message(client, bytes) = event.network() {
            handler.network().send(client, bytes);
        }
    });
    Ok(())
}
