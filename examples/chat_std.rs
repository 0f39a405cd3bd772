//! The twin of `chat` in plain std.
//!
//! Terminal 1:
//!
//! ```text
//! $ cargo run --example chat_std
//! listening on 127.0.0.1:3000
//! 127.0.0.1:40001 joined
//! 127.0.0.1:40002 joined
//! 127.0.0.1:40001 left
//! ```
//!
//! Terminal 2, where `>` marks what is typed:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! > hello
//! > Ctrl+C
//! ```
//!
//! Terminal 3:
//!
//! ```text
//! $ nc 127.0.0.1 3000
//! 127.0.0.1:40001: hello
//! ```
//!
//! Lesson: a queue and a second thread for each client do by hand what an outbox does. Against `chat`, four things are
//! missing. There is no limit in bytes, so one line without an end takes all memory. There is no goodbye, since queued
//! lines are lost when a client is dropped. There is no limit of clients and no way to end the server. Each client
//! takes one descriptor more.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, thread};

/// The client's own handle, by which it is closed, and its queue.
type Clients = Arc<Mutex<HashMap<SocketAddr, (TcpStream, SyncSender<Arc<str>>)>>>;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:3000".into()))?;
    println!("listening on {}", listener.local_addr()?);
    let clients = Clients::default();
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(client) => client,
            Err(error) => {
                eprintln!("accept: {error}"); // no descriptors left, most likely: neither end nor spin
                thread::sleep(std::time::Duration::from_millis(5));
                continue;
            }
        };
        let clients = Arc::clone(&clients);
        // thread::spawn would panic without a free thread, and end the server.
        let started = thread::Builder::new().spawn(move || {
            let result = serve(&stream, peer, &clients);
            clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
            println!("{peer} left");
            result
        });
        if let Err(error) = started {
            eprintln!("refused {peer}: {error}");
        }
    }
}

fn serve(stream: &TcpStream, peer: SocketAddr, clients: &Clients) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (sender, queue) = sync_channel(100);
    let (handle, writer) = (stream.try_clone()?, stream.try_clone()?);
    clients.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, (handle, sender));
    println!("{peer} joined");
    thread::Builder::new().spawn(move || write(&writer, &queue))?;
    for line in BufReader::new(stream).lines() {
        let line: Arc<str> = format!("{peer}: {}\n", line?).into();
        let clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        for (handle, sender) in clients.iter().filter(|(other, _)| **other != peer).map(|(_, client)| client) {
            if sender.try_send(Arc::clone(&line)).is_err() {
                let _ = handle.shutdown(Shutdown::Both); // it does not read
            }
        }
    }
    Ok(())
}

fn write(mut to: &TcpStream, queue: &Receiver<Arc<str>>) -> io::Result<()> {
    queue.iter().try_for_each(|line| to.write_all(line.as_bytes()))
}
