//! A control port over tokio: a task for each client, of which there are 64 at most.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

#[path = "../../settings.rs"]
mod settings;
use settings::Settings;

static CLIENTS: AtomicUsize = AtomicUsize::new(0);

#[cfg(feature = "six")]
fn main() -> io::Result<()> {
    Builder::new_multi_thread().enable_io().build()?.block_on(listen(Box::leak(Box::default())))
}

#[cfg(not(feature = "six"))]
fn main() -> io::Result<()> {
    Builder::new_current_thread().enable_io().build()?.block_on(listen(Box::leak(Box::default())))
}

async fn listen(settings: &'static Settings) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        if CLIENTS.fetch_add(1, Ordering::Relaxed) < 64 {
            tokio::spawn(async {
                let _ = serve(stream, settings).await;
                CLIENTS.fetch_sub(1, Ordering::Relaxed);
            });
        } else {
            CLIENTS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

async fn serve(mut stream: TcpStream, settings: &Settings) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let Some(answer) = settings.answer(&line) else { break };
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
