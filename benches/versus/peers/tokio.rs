//! tokio: a task for each connection, no-delay.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Builder;

use crate::common::case::LIMIT;

/// `how` is the runtime: one thread, or one for each processor as it is by default.
pub(crate) fn serve(how: &str, mode: &str, target: Option<String>) -> io::Result<()> {
    let mode = mode.to_owned();
    run(how, async move { if mode == "udp" || mode == "sink" { udp(&mode).await } else { tcp(&mode, target).await } })
}

pub(crate) fn run(how: &str, work: impl Future<Output = io::Result<()>> + Send + 'static) -> io::Result<()> {
    let mut builder = if how == "one-thread" { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let runtime = builder.enable_io().build()?;
    if how == "one-thread" {
        return runtime.block_on(work);
    }
    // The thread of block_on is none of the workers.
    runtime.block_on(async { tokio::spawn(work).await.expect("the server does not panic") })
}

async fn tcp(mode: &str, target: Option<String>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?.port());
    let (open, limit) = (Arc::new(AtomicUsize::new(0)), if mode == "limit" { LIMIT } else { usize::MAX });
    let target = target.map(Arc::<str>::from);
    loop {
        let (stream, _) = listener.accept().await?;
        if open.load(SeqCst) >= limit {
            continue;
        }
        open.fetch_add(1, SeqCst);
        let (open, target) = (Arc::clone(&open), target.clone());
        tokio::spawn(async move {
            let _ = match target {
                None => echo(stream).await,
                Some(target) => proxy(stream, &target).await,
            };
            open.fetch_sub(1, SeqCst);
        });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

async fn proxy(mut client: TcpStream, target: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn udp(mode: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    println!("listening on {}", socket.local_addr()?.port());
    let (mut buffer, mut count) = (vec![0; 65_535], 0_u64);
    loop {
        let (size, from) = socket.recv_from(&mut buffer).await?;
        match (mode, size) {
            ("sink", 1) => drop(socket.send_to(count.to_string().as_bytes(), from).await?),
            ("sink", _) => count += 1,
            _ => drop(socket.send_to(&buffer[..size], from).await?),
        }
    }
}
