//! Unix sockets: the file, its permissions, and connecting within limits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::Address;
use crate::before_bind::BeforeBind;
use crate::cancel::{Cancel, Limits};
use crate::error::{Error, Result};
use crate::sync::poison::lock;
use crate::sys;

/// The file of a bound socket. Dropping this removes the file, if it is still the file that was made. Only the process
/// that made the file removes it, never a forked child.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    made: Option<sys::FileIdentity>,
    made_by: u32,
}

/// Whether a path is a name without a file. Linux's abstract names start with a NUL.
pub(crate) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().first() == Some(&0)
}

/// Listens on a path. If requested, lets every user write to the file, which means connect, or read it.
pub(crate) fn listen(
    path: &Path,
    backlog: u32,
    (readable, writable): (bool, bool),
    remove_stale: bool,
    before_bind: &BeforeBind,
) -> Result<(Socket, Option<SocketFile>)> {
    let failed = |error: io::Error| {
        // A missing directory, reported as in libuv.
        let error =
            if error.kind() == io::ErrorKind::NotFound { io::ErrorKind::PermissionDenied.into() } else { error };
        Error::call("listen", &error).at(path.to_path_buf())
    };
    let at = address(path).map_err(failed)?;
    // One thread of this process at a time takes over a stale file.
    static TAKES_OVER: Mutex<()> = Mutex::new(());
    let mut held_up = 0;
    loop {
        let socket = unix_socket().map_err(failed)?;
        let bind = || {
            let began = Instant::now();
            socket.bind(&at).map(|()| began)
        };
        before_bind.run(&socket).map_err(|error| error.at(path.to_path_buf()))?;
        let _turn = remove_stale.then(|| lock(&TAKES_OVER));
        let began = match bind() {
            Err(error) if remove_stale && error.kind() == io::ErrorKind::AddrInUse && !is_abstract(path) => {
                if !remove_if_stale(path, &at).map_err(failed)? {
                    return Err(failed(error));
                }
                bind().map_err(failed)?
            }
            bound => bound.map_err(failed)?,
        };
        let mut file = SocketFile::of(path);
        let is_late = remove_stale && began.elapsed() >= TIME_TO_LISTEN && held_up < HELD_UP_AT_MOST;
        if let Some(file) = file.as_mut().filter(|_| is_late) {
            // Another program may have taken our file for stale, and this may be the file of that program. So ours is
            // removed as any stale file is, and made anew.
            file.made = None;
            held_up += 1;
            drop(socket);
            remove_if_stale(path, &at).map_err(failed)?;
            continue;
        }
        let opened = if readable || writable { sys::open_to_all(path, readable, writable) } else { Ok(()) };
        socket.listen(backlog.try_into().unwrap_or(i32::MAX)).map_err(failed)?;
        let Some(file) = file else { return Ok((socket, None)) };
        // Another program that takes over stale files may have moved this one before listen(2).
        match opened.and_then(|()| sys::file_identity(path)) {
            Ok(found) if Some(found) == file.made => return Ok((socket, Some(file))),
            Ok(_) if file.made.is_some() => {
                return Err(Error::call("listen", &io::ErrorKind::AddrInUse.into()).at(file.path.clone()));
            }
            // The file was moved aside, and may be moved back. No other program has the path yet.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
}

/// The path made absolute.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// How long after bind(2) a program has to call listen(2) before its file counts as stale.
const TIME_TO_LISTEN: Duration = Duration::from_millis(20);
/// How often a file is made anew because bind(2) took that long. The next one is kept, because on a slow file system
/// each may take that long.
const HELD_UP_AT_MOST: u32 = 3;

/// Removes the file of a socket on which no program listens. Returns whether the file was removed.
///
/// Another program may do the same at this moment, and then listen on a new file. That new file must not be removed. So
/// the file is moved aside first. If it is the file that was checked, it is removed. If not, it is moved back.
fn remove_if_stale(path: &Path, at: &SockAddr) -> io::Result<bool> {
    let Some(seen) = sys::socket_file(path) else {
        return Ok(false);
    };
    if !is_refused(at)? {
        return Ok(false);
    }
    std::thread::sleep(TIME_TO_LISTEN);
    if !is_refused(at)? || sys::socket_file(path) != Some(seen) {
        return Ok(false);
    }
    let folder = new_folder_beside(path)?;
    let aside = folder.join("socket");
    let removed = match std::fs::rename(path, &aside) {
        // Another program was faster, and has the path.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(()) if sys::socket_file(&aside) == Some(seen) => std::fs::remove_file(&aside).map(|()| true),
        // Unlike a rename, a link overwrites nothing.
        Ok(()) => match std::fs::hard_link(&aside, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // The file was moved back, or a third program has the path.
            _ => std::fs::remove_file(&aside).map(|()| false),
        },
    };
    let _ = std::fs::remove_dir(&folder);
    removed
}

/// Makes a new folder for the file that is moved aside.
fn new_folder_beside(path: &Path) -> io::Result<PathBuf> {
    let mut number = 0_u32;
    loop {
        let mut folder = path.as_os_str().to_owned();
        folder.push(format!(".stale-{}-{number}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            result => return result.map(|()| folder.into()),
        }
    }
}

/// Whether a connect is refused because no program listens. Does not wait for room in a backlog.
fn is_refused(at: &SockAddr) -> io::Result<bool> {
    let socket = unix_socket()?;
    socket.set_nonblocking(true)?;
    Ok(socket.connect(at).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// How often a connect checks whether it was cancelled, because nothing wakes it.
const LOOK: Duration = Duration::from_millis(10);

/// Connects, from a local path if one is given. If the listener's backlog is full, connect(2) on Linux waits for room,
/// at most as long as the write timeout.
pub(crate) fn connect(
    path: &Path,
    local: Option<&Path>,
    before_bind: &BeforeBind,
    limits: Limits<'_>,
) -> Result<(Socket, Option<SocketFile>)> {
    let failed = |error: io::Error| {
        let error = Error::call("connect", &error).at(path.to_path_buf());
        if let Some(local) = local { error.with_local(local.to_path_buf()) } else { error }
    };
    let socket = unix_socket().map_err(failed)?;
    let to = address(path).map_err(failed)?;
    before_bind.run(&socket).map_err(|error| error.at(path.to_path_buf()))?;
    let file = match local {
        Some(local) => {
            let bound = address(local).and_then(|local| socket.bind(&local));
            bound.map_err(|error| Error::call("bind", &error).at(local.to_path_buf()))?;
            SocketFile::of(local)
        }
        None => None,
    };
    loop {
        if limits.is_cancelled() {
            return Err(Cancel::error());
        }
        if limits.deadline.is_over() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        let end = if limits.cancel.is_some() { limits.deadline.or_after(LOOK) } else { limits.deadline };
        let time = end.left();
        if !limits.is_none() {
            // Never zero, which the system takes as no limit.
            let time = time.map(|time| time.max(Duration::from_millis(1)));
            socket.set_write_timeout(time).map_err(failed)?;
        }
        match socket.connect(&to) {
            // connect(2) on a Unix socket is either done or has not begun.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if !limits.is_none() && sys::is_timeout(&error) => {}
            result => {
                result.map_err(failed)?;
                if !limits.is_none() {
                    socket.set_write_timeout(None).map_err(failed)?;
                }
                return Ok((socket, file));
            }
        }
    }
}

/// Connects without waiting, to wake an accepting thread. Returns the name by which that thread recognizes the
/// connection. On a system without such names, the thread takes the connection for a client that disconnects at once.
pub(crate) fn call(path: &Path) -> io::Result<Option<Address>> {
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
    let bytes = path.as_os_str().as_encoded_bytes();
    // The kernel would end the path at a NUL, and use another file. An abstract name may contain NULs.
    if bytes.is_empty() || (bytes.contains(&0) && !(sys::ABSTRACT_NAMES && is_abstract(path))) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A path that is too long is `InvalidInput` here. Nothing is truncated.
    SockAddr::unix(path)
}

impl SocketFile {
    /// The file of a socket that was just bound to this path. `None` for an abstract name.
    fn of(path: &Path) -> Option<SocketFile> {
        (!is_abstract(path)).then(|| SocketFile {
            // Absolute, so that the file is found after a change of directory.
            path: absolute(path),
            made: sys::file_identity(path).ok(),
            made_by: std::process::id(),
        })
    }

    /// Removes the file, if it is still the file that was made, and if this process made it.
    pub(crate) fn remove(&mut self) -> Result<()> {
        let Some(made) = self.made.take().filter(|_| self.made_by == std::process::id()) else {
            return Ok(());
        };
        let removed = match sys::file_identity(&self.path) {
            Ok(found) if found != made => Ok(()),
            Ok(_) => std::fs::remove_file(&self.path),
            Err(error) => Err(error),
        };
        match removed {
            // Another program may have removed it.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::call("unlink", &error).at(self.path.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // `close` has removed it, and reported a failure.
        let _ = self.remove();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::listen;
    use crate::before_bind::BeforeBind;

    /// Ensures that the file of a socket is removed by the process that made it, and left by any other. tests/cases has
    /// a program that shows this with fork.
    #[test]
    fn a_file_is_removed_by_the_process_that_made_it_alone() {
        let path = std::env::temp_dir().join(format!("landline-made-by-{}.sock", std::process::id()));
        let (_socket, file) =
            listen(&path, 1, (false, false), false, &BeforeBind::default()).expect("no file is there");
        let mut file = file.expect("a path that is no abstract name has a file");
        let (made, made_by) = (file.made, file.made_by);

        file.made_by += 1;
        drop(file);
        assert!(path.exists(), "a process that did not make the file leaves it");

        drop(super::SocketFile { path: path.clone(), made, made_by });
        assert!(!path.exists(), "the process that made it removes it");
    }
}
