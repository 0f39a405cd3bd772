//! landline against the same program written by hand over std: `cargo bench`.
//!
//! Every round runs both servers in turn, in an order that changes from round to round, with one client on the same
//! machine. What is printed is landline's rate divided by std's of the same round: the median, the least and the most. For
//! figures that say something, keep both ends on one core: `taskset -c 0 cargo bench`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use landline::net::{Server, Socket, SocketEvent};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(400);

/// Rate of one client against a server.
type Case = fn(SocketAddr) -> io::Result<f64>;
type Handler = fn(&Socket) -> io::Result<()>;

fn main() -> io::Result<()> {
    let cases: [(&str, Case); 3] = [
        ("echo of 64 B", |at| echo(at, 64)),
        ("echo of 64 KiB", |at| echo(at, 64 * 1024)),
        ("connect, echo, close", churn),
    ];
    let ways: [(&str, Handler); 3] = [("read and write", by_reading), ("each", by_events), ("pipe", by_piping)];
    let std = std_server()?;
    println!("landline / std, median (least to most) of {ROUNDS} rounds");
    for (way, handler) in ways {
        let server = Server::listen("127.0.0.1:0")?;
        let running = server.spawn(handler)?;
        let at = server.address().socket_addr().expect("it is a TCP server");
        for (case, rate) in cases {
            let mut ratios = Vec::new();
            for round in 0..ROUNDS {
                let (ours, theirs) = if round % 2 == 0 {
                    let ours = rate(at)?;
                    (ours, rate(std)?)
                } else {
                    let theirs = rate(std)?;
                    (rate(at)?, theirs)
                };
                ratios.push(ours / theirs);
            }
            ratios.sort_by(f64::total_cmp);
            println!(
                "{case:>22} by {way:<15} {:.3} ({:.3} to {:.3})",
                ratios[ROUNDS / 2],
                ratios[0],
                ratios[ROUNDS - 1]
            );
        }
        server.close();
        running.join()?;
    }
    Ok(())
}

/// What one writes by hand: a thread for each connection, 16 KiB, no-delay, as landline has it.
fn std_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || -> io::Result<()> {
                stream.set_nodelay(true)?;
                let (mut stream, mut buffer) = (&stream, vec![0; 16 * 1024]);
                loop {
                    match stream.read(&mut buffer)? {
                        0 => return Ok(()),
                        n => stream.write_all(&buffer[..n])?,
                    }
                }
            });
        }
    });
    Ok(at)
}

fn by_reading(socket: &Socket) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => socket.write_all(&buffer[..n])?,
        }
    }
}

fn by_events(socket: &Socket) -> io::Result<()> {
    socket.each(|socket, event| match event {
        SocketEvent::Data(bytes) => socket.write_all(bytes),
        _ => Ok(()),
    })
}

fn by_piping(socket: &Socket) -> io::Result<()> {
    socket.pipe(socket).map(drop)
}

/// Messages a second there and back over one connection.
fn echo(at: SocketAddr, size: usize) -> io::Result<f64> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    let (message, mut answer) = (vec![7; size], vec![0; size]);
    rate(|| {
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)
    })
}

/// Connections a second that exchange 64 bytes.
fn churn(at: SocketAddr) -> io::Result<f64> {
    rate(|| {
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(&[7; 64])?;
        stream.read_exact(&mut [0; 64])
    })
}

fn rate(mut once: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < ROUND {
        for _ in 0..16 {
            once()?;
        }
        count += 16;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
