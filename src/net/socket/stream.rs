//! The settings of a bare stream, and how they are applied.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;

use crate::error::{Error, Result};
use crate::net::socket::keep_alive::KeepAlive;
use crate::sys;

/// The options of a connection, a client's or an accepted one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) settings: Settings,
    pub(crate) buffers: Buffers,
    pub(crate) allow_half_open: bool,
    pub(crate) paused: bool,
    pub(crate) outbox_limit: usize,
    pub(crate) timeout: Option<Duration>,
    /// How long the connection may last in all.
    pub(crate) deadline: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        let settings = Settings { no_delay: true, ..Settings::UNKNOWN };
        Options {
            settings,
            buffers: Buffers::default(),
            allow_half_open: false,
            paused: false,
            outbox_limit: 1024 * 1024,
            timeout: None,
            deadline: None,
        }
    }
}

impl Options {
    /// Rejects values that no system supports. The error names the option.
    pub(crate) fn check(&self) -> Result<()> {
        self.settings.keep_alive.map_or(Ok(()), KeepAlive::check)?;
        self.buffers.check()?;
        self.settings.user_timeout.map_or(Ok(()), check_user_timeout)
    }
}

/// The buffer sizes of a TCP socket. They are set before connecting, because the handshake negotiates the scale of the
/// window. `None` is the system's choice.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Buffers {
    pub(crate) recv_buffer_size: Option<usize>,
    pub(crate) send_buffer_size: Option<usize>,
}

impl Buffers {
    pub(crate) fn are_none(self) -> bool {
        self.recv_buffer_size.is_none() && self.send_buffer_size.is_none()
    }

    fn check(self) -> Result<()> {
        // The system takes a C int.
        const MOST: usize = i32::MAX as usize;
        for (name, bytes) in [("recv_buffer_size", self.recv_buffer_size), ("send_buffer_size", self.send_buffer_size)]
        {
            if let Some(bytes) = bytes.filter(|bytes| !(1..=MOST).contains(bytes)) {
                return Err(Error::option(name, format!(">= 1 and <= {MOST}"), bytes));
            }
        }
        Ok(())
    }

    pub(crate) fn apply(self, socket: &SockRef<'_>) -> io::Result<()> {
        if let Some(bytes) = self.recv_buffer_size {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer_size {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }
}

/// Settings of the descriptor. `None` leaves the system's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) no_delay: bool,
    pub(crate) keep_alive: Option<KeepAlive>,
    /// Zero is the system's value.
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) type_of_service: Option<u8>,
}

impl Settings {
    /// For a socket that other code has made.
    pub(crate) const UNKNOWN: Settings =
        Settings { no_delay: false, keep_alive: None, user_timeout: None, type_of_service: None };
}

/// The buffer size of the library's own loops for much data. `BufReader` over a std stream leaves the buffer
/// uninitialised, so a connection costs only the pages that it has used.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Makes a socket from other code blocking, without timeouts. Fails only on a dead socket.
pub(crate) fn plain(stream: &TcpStream) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(None);
    let _ = stream.set_write_timeout(None);
}

/// Applies the settings of a socket. If it `is_new`, it has the system's values, and a setting that is off takes no
/// call. An accepted socket may have inherited others from its listener.
pub(crate) fn apply(socket: &SockRef<'_>, settings: Settings, is_new: bool) -> io::Result<()> {
    if settings.no_delay || !is_new {
        socket.set_tcp_nodelay(settings.no_delay)?;
    }
    if let Some(keep_alive) = settings.keep_alive.filter(|keep_alive| keep_alive.is_on() || !is_new) {
        keep_alive.apply(socket)?;
    }
    if let Some(time) = settings.user_timeout.filter(|time| !time.is_zero() || !is_new) {
        sys::set_user_timeout(socket, time)?;
    }
    if let Some(value) = settings.type_of_service {
        let v6 = socket.local_addr()?.is_ipv6();
        match sys::set_type_of_service(socket, v6, value) {
            // Windows has it for IPv4 only.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            set => set?,
        }
        if v6 {
            // A listener on `::` has IPv4 clients too. Fails where it cannot have any.
            let _ = sys::set_type_of_service(socket, false, value);
        }
    }
    Ok(())
}

/// Rejects values that no system supports. The error names the option.
pub(crate) fn check_user_timeout(time: Duration) -> Result<()> {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
    if time <= LONGEST {
        return Ok(());
    }
    Err(Error::option("user_timeout", format!("<= {LONGEST:?}"), format!("{time:?}")))
}
