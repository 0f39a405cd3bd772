//! A control port over std: a thread for each client, of which there are 64 at most.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[path = "../../settings.rs"]
mod settings;
use settings::Settings;

static CLIENTS: AtomicUsize = AtomicUsize::new(0);

fn main() -> io::Result<()> {
    let settings: &Settings = Box::leak(Box::default());
    let listener = TcpListener::bind("127.0.0.1:3000")?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        if CLIENTS.fetch_add(1, Ordering::Relaxed) < 64 {
            thread::spawn(move || {
                let _ = serve(&stream, settings);
                CLIENTS.fetch_sub(1, Ordering::Relaxed);
            });
        } else {
            CLIENTS.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn serve(mut stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        let Some(answer) = settings.answer(&line?) else { break };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
