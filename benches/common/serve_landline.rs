//! The servers over landline, with its default options.

use std::io;
use std::net::SocketAddr;

use landline::dgram;
use landline::net::{Server, ServerEvent, ServerOptions, Socket, SocketEvent, relay};

use super::case::LIMIT;

/// `way` is how landline is used: pipe, read, each or channel.
pub(crate) fn tcp(mode: &str, target: Option<SocketAddr>, way: &str) -> io::Result<()> {
    let server = match mode {
        "limit" => ServerOptions::new().max_connections(LIMIT).listen("127.0.0.1:0")?,
        "many" => ServerOptions::new().max_connections(None).listen("127.0.0.1:0")?,
        _ => Server::listen("127.0.0.1:0")?,
    };
    println!("listening on {}", server.address().port());
    if let Some(target) = target {
        return server.serve(|socket| relay(socket, &Socket::connect(target)?));
    }
    match way {
        "pipe" => server.serve(|socket| socket.pipe(socket)),
        "read" => server.serve(by_reading),
        "each" => server.serve(by_events),
        "channel" => by_channel(&server),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no such way: {way}"))),
    }
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

fn by_channel(server: &Server) -> io::Result<()> {
    let events = server.events(1024)?;
    for event in events.iter() {
        match event {
            ServerEvent::Socket(socket, SocketEvent::Data(bytes)) => {
                socket.outbox().try_send(bytes).unwrap_or_else(|_| socket.destroy());
            }
            ServerEvent::Socket(socket, SocketEvent::End) => drop(socket.outbox().end()),
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn udp(mode: &str, way: &str) -> io::Result<()> {
    let socket = dgram::Socket::bind("127.0.0.1:0")?;
    println!("listening on {}", socket.address().port());
    let mut count = 0_u64;
    match (mode, way) {
        ("sink", _) => socket.each(|socket, event| match event {
            dgram::SocketEvent::Message([_], from) => {
                Ok(socket.send_to(count.to_string().as_bytes(), from).map(drop)?)
            }
            dgram::SocketEvent::Message(..) => {
                count += 1;
                Ok(())
            }
            _ => Ok(()),
        }),
        (_, "read") => {
            let mut buffer = vec![0; 65_535];
            while let Some((bytes, from)) = socket.recv(&mut buffer)? {
                socket.send_to(bytes, from)?;
            }
            Ok(())
        }
        (_, "channel") => {
            for event in socket.events(1024)?.iter() {
                if let dgram::SocketEvent::Message(bytes, from) = event {
                    socket.send_to(&bytes, from)?;
                }
            }
            Ok(())
        }
        _ => socket.each(|socket, event| match event {
            dgram::SocketEvent::Message(bytes, from) => Ok(socket.send_to(bytes, from).map(drop)?),
            _ => Ok(()),
        }),
    }
}
