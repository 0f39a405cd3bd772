//! What a listening Unix socket needs besides: its file, and who may connect to it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::lookup::Limits;
use crate::address::Address;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::sys;

/// The file of a listening socket. Dropping it removes the file, if it still is the one that was made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    made: Option<sys::FileIdentity>,
}

/// Whether a path is a name without a file: Linux's abstract names start with a NUL.
pub(super) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().first() == Some(&0)
}

/// Listens on a path, with permissions for all to write (connect) or read as asked for.
pub(super) fn listen(
    path: &Path,
    backlog: u32,
    (readable, writable): (bool, bool),
) -> Result<(Socket, Option<SocketFile>)> {
    let failed = |error: io::Error| {
        // A missing directory, as libuv tells it.
        let error =
            if error.kind() == io::ErrorKind::NotFound { io::ErrorKind::PermissionDenied.into() } else { error };
        Error::call("listen", &error).at(path.to_path_buf())
    };
    let socket = unix_socket().map_err(failed)?;
    socket.bind(&address(path).map_err(failed)?).map_err(failed)?;
    let file = (!is_abstract(path)).then(|| SocketFile { path: path.to_path_buf(), made: sys::file_identity(path) });
    if readable || writable {
        sys::open_to_all(path, readable, writable).map_err(failed)?;
    }
    socket.listen(backlog.try_into().unwrap_or(i32::MAX)).map_err(failed)?;
    Ok((socket, file))
}

/// How long connect(2) waits at most before it is looked whether it has been cancelled.
const SLICE: Duration = Duration::from_millis(10);

/// Connects. As long as the listener's queue is full Linux makes that wait, and unlike TCP's it is not woken by shutdown(2):
/// only by SO_SNDTIMEO. Elsewhere a full queue is a refusal.
pub(super) fn connect(path: &Path, limits: Limits<'_>) -> Result<Socket> {
    let failed = |error: io::Error| Error::call("connect", &error).at(path.to_path_buf());
    let socket = unix_socket().map_err(failed)?;
    let address = address(path).map_err(failed)?;
    let result = loop {
        if limits.is_cancelled() {
            return Err(Cancel::error());
        }
        if limits.is_over() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        if !limits.is_none() {
            // Not less, or it would be rounded to zero, which is none.
            let wait = limits.left().unwrap_or(SLICE).clamp(Duration::from_millis(1), SLICE);
            socket.set_write_timeout(Some(wait)).map_err(failed)?;
        }
        match socket.connect(&address) {
            // connect(2) on a Unix socket either is done or has not begun.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !limits.is_none() => {}
            result => break result,
        }
    };
    if result.is_ok() && !limits.is_none() {
        socket.set_write_timeout(None).map_err(failed)?;
    }
    result.map(|()| socket).map_err(failed)
}

/// Connects without waiting, to wake whoever accepts; gives the name by which the connection is known there, where it has
/// one. Elsewhere it is taken for a client that ends at once.
pub(super) fn call(path: &Path) -> io::Result<Option<Address>> {
    let socket = unix_socket()?;
    let own = sys::bind_to_any_name(&socket)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address(path)?)?;
    Ok(own.map(Address::from))
}

fn unix_socket() -> io::Result<Socket> {
    if !sys::UNIX_SOCKETS {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Socket::new(Domain::UNIX, Type::STREAM, None)
}

fn address(path: &Path) -> io::Result<SockAddr> {
    if path.as_os_str().is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Too long a path is `InvalidInput` here, before anything is cut off.
    SockAddr::unix(path)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.made.is_some() && sys::file_identity(&self.path) == self.made {
            // Somebody else may have removed it just now.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
