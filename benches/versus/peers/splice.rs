//! A proxy by hand that never has the bytes in its own memory: splice(2) through a pipe, a thread for each direction.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

/// What one call moves at most: as much as the pipe holds.
const PIECE: usize = 1 << 20;

pub(crate) fn serve(target: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?.port());
    for client in listener.incoming() {
        let client = client?;
        thread::spawn(move || relay(&client, target));
    }
    Ok(())
}

fn relay(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| carry(&server, client));
        carry(client, &server)
    })
}

fn carry(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (out, into) = pipe()?;
    // Kept as it is where that is not allowed.
    let _ = fcntl_setpipe_size(&into, PIECE);
    loop {
        let mut left = splice(from, None, &into, None, PIECE, SpliceFlags::MOVE)?;
        if left == 0 {
            return to.shutdown(Shutdown::Write);
        }
        while left > 0 {
            left -= splice(&out, None, to, None, left, SpliceFlags::MOVE)?;
        }
    }
}
