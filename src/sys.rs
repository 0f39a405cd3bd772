//! The differences between systems. No other file has a `cfg` on the system.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use socket2::SockRef;

/// std's owned descriptor.
#[cfg(unix)]
pub(crate) type OwnedHandle = std::os::fd::OwnedFd;
#[cfg(windows)]
pub(crate) type OwnedHandle = std::os::windows::io::OwnedSocket;

/// std's borrowed descriptor.
#[cfg(unix)]
pub(crate) type BorrowedHandle<'a> = std::os::fd::BorrowedFd<'a>;
#[cfg(windows)]
pub(crate) type BorrowedHandle<'a> = std::os::windows::io::BorrowedSocket<'a>;

/// Borrows the descriptor of a socket.
#[cfg(unix)]
pub(crate) fn borrow(socket: &impl std::os::fd::AsFd) -> BorrowedHandle<'_> {
    socket.as_fd()
}
#[cfg(windows)]
pub(crate) fn borrow(socket: &impl std::os::windows::io::AsSocket) -> BorrowedHandle<'_> {
    socket.as_socket()
}

/// Whether to use Linux's own behaviour. With `--cfg landline_portable` Linux runs the code for macOS and the BSDs, so
/// that it can be tested here. Linux wakes threads where other systems do not, which would hide a missing wake-up.
const LINUX: bool =
    cfg!(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows))));

/// Whether to use the code for Windows. With `--cfg landline_windows`, Linux runs as much of this code as it can. It
/// keeps Linux's error numbers, queries, SO_REUSEADDR (which std sets too), SO_REUSEPORT and Unix sockets.
const WINDOWS: bool = cfg!(any(windows, landline_windows));

/// Whether Linux runs the code for another system.
const PORTABLE: bool = cfg!(any(landline_portable, landline_windows));

/// Whether an accepted socket inherits the listener's settings (socket(7), measured on Linux), so that setting them
/// once on the listener costs nothing per connection.
pub(crate) const ACCEPTED_INHERITS: bool = LINUX && cfg!(target_os = "linux");

/// Whether SO_REUSEADDR only lets a listener bind a port that has connections in TIME_WAIT, which is wanted. On Windows
/// it also lets two programs listen on one port.
pub(crate) const REUSE_ADDRESS_IS_SAFE: bool = cfg!(unix);

/// Whether shutdown(2) on a listener wakes every thread in accept(2) on it, and every later one.
pub(crate) const SHUTDOWN_WAKES_ACCEPT: bool = LINUX;

/// Whether accept(2) waits at most for the receive timeout that the listener has when the call begins.
pub(crate) const ACCEPT_TAKES_TIME: bool = LINUX;

/// Calls shutdown(2) on a listener. Returns whether this wakes every thread that accepts on it, now or later. On Linux
/// it fails if a filter forbids the call. On other systems it wakes one thread or none, or fails.
pub(crate) fn shut_listener(listener: &socket2::Socket) -> bool {
    !PORTABLE && listener.shutdown(std::net::Shutdown::Both).is_ok() && SHUTDOWN_WAKES_ACCEPT
}

/// Lets several sockets share one port, SO_REUSEPORT.
#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
pub(crate) fn reuse_port(socket: &socket2::Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}
#[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
pub(crate) fn reuse_port(_: &socket2::Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets close-on-exec, so that started programs do not get the descriptor. Windows' sockets are not inherited anyway.
#[cfg(unix)]
pub(crate) fn close_on_exec(socket: &socket2::Socket) -> io::Result<()> {
    socket.set_cloexec(true)
}
#[cfg(not(unix))]
pub(crate) fn close_on_exec(_: &socket2::Socket) -> io::Result<()> {
    Ok(())
}

/// Whether the socket is in non-blocking mode. `false` if the system cannot say.
#[cfg(unix)]
pub(crate) fn is_nonblocking(socket: &socket2::Socket) -> io::Result<bool> {
    socket.nonblocking()
}
#[cfg(not(unix))]
pub(crate) fn is_nonblocking(_: &socket2::Socket) -> io::Result<bool> {
    Ok(false)
}

/// Whether a datagram socket is a UDP one, as far as the system says.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(crate) fn is_udp(socket: &socket2::Socket) -> bool {
    !socket.protocol().is_ok_and(|protocol| protocol.is_some_and(|protocol| protocol != socket2::Protocol::UDP))
}
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(crate) fn is_udp(_: &socket2::Socket) -> bool {
    true
}

/// Whether other sockets may bind the port of a socket because of SO_REUSEPORT, which [`reuse_port`] sets. `true` if
/// the system cannot say.
#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
pub(crate) fn may_share_port(socket: &SockRef<'_>) -> bool {
    socket.reuse_port().unwrap_or(true)
}
#[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
pub(crate) fn may_share_port(_: &SockRef<'_>) -> bool {
    false
}

/// Whether other sockets may bind the address of a datagram socket, because of SO_REUSEADDR or SO_REUSEPORT. `true` if
/// the system cannot say.
pub(crate) fn may_share_address(socket: &SockRef<'_>) -> bool {
    may_share_port(socket) || socket.reuse_address().unwrap_or(true)
}

/// Whether a socket is bound to one network device, SO_BINDTODEVICE.
pub(crate) fn is_bound_to_device(socket: &SockRef<'_>) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket.device().map_or(true, |device| device.is_some());
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = socket;
        false
    }
}

/// The number of the calling thread's network namespace. `None` without /proc, and on systems that have none.
pub(crate) fn network() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if LINUX {
        use std::os::unix::fs::MetadataExt;

        return std::fs::metadata("/proc/thread-self/ns/net").ok().map(|network| network.ino());
    }
    None
}

/// Whether the socket with this inode is in a table of the calling thread's network namespace, such as `udp6`. If not,
/// a different namespace may have made the socket. `false` without /proc.
pub(crate) fn is_of_this_network(inode: Option<u64>, table: &str) -> bool {
    !LINUX || inode.is_some_and(|inode| table_row(inode, table, usize::MAX).is_some())
}

/// Whether the socket listens. If the system cannot say, whether it has no peer, which also holds for a socket that is
/// only bound.
#[cfg(all(
    any(target_os = "linux", target_os = "android", target_os = "freebsd"),
    not(any(landline_portable, landline_windows))
))]
pub(crate) fn is_listener(socket: &socket2::Socket) -> io::Result<bool> {
    socket.is_listener()
}
#[cfg(not(all(
    any(target_os = "linux", target_os = "android", target_os = "freebsd"),
    not(any(landline_portable, landline_windows))
)))]
pub(crate) fn is_listener(socket: &socket2::Socket) -> io::Result<bool> {
    let is_stream = socket.r#type()? == socket2::Type::STREAM;
    let has_no_peer = socket.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected);
    Ok(is_stream && has_no_peer)
}

/// IP_TOS, or IPV6_TCLASS if the system has it.
pub(crate) fn set_type_of_service(socket: &SockRef<'_>, v6: bool, value: u8) -> io::Result<()> {
    // Some systems have neither.
    let _ = (socket, value);
    match v6 {
        #[cfg(not(any(target_os = "solaris", target_os = "haiku")))]
        false => socket.set_tos_v4(value.into()),
        #[cfg(any(target_os = "solaris", target_os = "haiku"))]
        false => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos"))]
        true => socket.set_tclass_v6(value.into()),
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos")))]
        true => Err(io::ErrorKind::Unsupported.into()),
    }
}

pub(crate) fn type_of_service(socket: &SockRef<'_>, v6: bool) -> io::Result<u8> {
    let _ = socket;
    let value: io::Result<u32> = match v6 {
        #[cfg(not(any(target_os = "solaris", target_os = "haiku")))]
        false => socket.tos_v4(),
        #[cfg(any(target_os = "solaris", target_os = "haiku"))]
        false => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos"))]
        true => socket.tclass_v6(),
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos")))]
        true => Err(io::ErrorKind::Unsupported.into()),
    };
    // It is a byte in the packet.
    Ok(value? as u8)
}

/// TCP_USER_TIMEOUT in whole milliseconds, rounded up. Zero is the system's default.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows))))]
pub(crate) fn set_user_timeout(socket: &SockRef<'_>, time: std::time::Duration) -> io::Result<()> {
    let rounded_up = time.saturating_add(std::time::Duration::from_nanos(999_999));
    socket.set_tcp_user_timeout(Some(rounded_up))
}
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows)))))]
pub(crate) fn set_user_timeout(_: &SockRef<'_>, time: std::time::Duration) -> io::Result<()> {
    if time.is_zero() { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows))))]
pub(crate) fn user_timeout(socket: &SockRef<'_>) -> io::Result<Option<std::time::Duration>> {
    socket.tcp_user_timeout()
}
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows)))))]
pub(crate) fn user_timeout(_: &SockRef<'_>) -> io::Result<Option<std::time::Duration>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Adds the pause between keep-alive probes and their number, if the system has them.
#[cfg(any(unix, windows))]
pub(crate) fn keep_alive_probes(
    settings: socket2::TcpKeepalive,
    interval: std::time::Duration,
    count: u32,
) -> socket2::TcpKeepalive {
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris")))]
    let settings = settings.with_interval(interval).with_retries(count);
    #[cfg(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris"))]
    let _ = (interval, count);
    settings
}

/// Whether only setting the number of probes failed. Windows has this setting since Windows 10 1703. It is set last, so
/// everything else has been set.
pub(crate) fn has_no_number_of_probes(error: &io::Error) -> bool {
    const WSAENOPROTOOPT: i32 = 10042;
    cfg!(windows) && error.raw_os_error() == Some(WSAENOPROTOOPT)
}

/// The maximum number of buffers in one call. More fail with EMSGSIZE.
const IOV_MAX: usize = if cfg!(any(target_os = "solaris", target_os = "illumos")) { 16 } else { 1024 };

// Flags that std and socket2 have no names for, from the systems' headers.

#[cfg(not(any(windows, landline_windows)))]
const MSG_PEEK: i32 = 2;

#[cfg(not(any(windows, landline_windows)))]
const MSG_DONTWAIT: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 0x40 } else { 0x80 };

/// Suppresses SIGPIPE, which by default ends a program. Apple's systems have a setting for it instead, see [`prepare`].
/// Windows has no such signal.
const MSG_NOSIGNAL: i32 = match () {
    () if cfg!(any(target_os = "linux", target_os = "android")) => 0x4000,
    () if cfg!(target_os = "freebsd") => 0x2_0000,
    () if cfg!(any(target_os = "netbsd", target_os = "openbsd", target_os = "dragonfly")) => 0x400,
    () if cfg!(any(target_os = "solaris", target_os = "illumos")) => 0x200,
    () if cfg!(target_os = "haiku") => 0x800,
    () => 0,
};

/// Writes several buffers by one system call without SIGPIPE. std's own `write_vectored` is writev(2), which raises it.
pub(crate) fn write_vectored(stream: &TcpStream, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(stream).send_vectored_with_flags(&buffers[..buffers.len().min(IOV_MAX)], MSG_NOSIGNAL)
}

/// Whether a write that waits polls instead of blocking. On some systems a write that times out does not say how much
/// it has written.
pub(crate) const WRITES_ARE_POLLED: bool = SLICE.is_some();

/// Writes as many bytes as the kernel takes without blocking.
#[cfg(not(any(windows, landline_windows)))]
pub(crate) fn write_now(stream: &TcpStream, data: &[u8]) -> io::Result<usize> {
    SockRef::from(stream).send_with_flags(data, MSG_DONTWAIT | MSG_NOSIGNAL)
}
#[cfg(any(windows, landline_windows))]
pub(crate) fn write_now(stream: &TcpStream, data: &[u8]) -> io::Result<usize> {
    // Windows takes a buffer of any length whole if there is room for one byte.
    const MOST: usize = 64 * 1024;
    without_blocking(&SockRef::from(stream), |_| io::Write::write(&mut { stream }, &data[..data.len().min(MOST)]))
}

/// Makes a call that does not block, on systems that have no flag for it. It switches the socket to non-blocking mode,
/// which affects other threads too. If a different thread switched the mode back in between, the call would block
/// forever, so only one thread at a time does this. A receive that begins in between may find the socket non-blocking.
/// Receivers handle this and try again.
#[cfg(any(windows, landline_windows))]
fn without_blocking<T>(socket: &SockRef<'_>, call: impl FnOnce(&SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
    use std::sync::Mutex;
    static MODES: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];
    // Windows' handles are multiples of four.
    #[cfg(windows)]
    let number = std::os::windows::io::AsRawSocket::as_raw_socket(&**socket) as usize / 4;
    #[cfg(not(windows))]
    let number = std::os::fd::AsRawFd::as_raw_fd(&**socket) as usize;
    let _changing = MODES[number % MODES.len()].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    socket.set_nonblocking(true)?;
    let result = call(socket);
    socket.set_nonblocking(false)?;
    result
}

/// Peeks without blocking, at most as many bytes as the buffer holds. The buffer's contents mean nothing afterwards.
/// Returns how many bytes have arrived, 0 if the peer has sent FIN, and `WouldBlock` if nothing has arrived. It takes a
/// pending error from the socket.
#[cfg(not(any(windows, landline_windows)))]
pub(crate) fn peek_now(stream: &TcpStream, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    SockRef::from(stream).recv_with_flags(buffer, MSG_PEEK | MSG_DONTWAIT)
}
#[cfg(any(windows, landline_windows))]
pub(crate) fn peek_now(stream: &TcpStream, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    without_blocking(&SockRef::from(stream), |stream| stream.peek(buffer))
}

/// Blocks until data has arrived, on systems where a read that times out may lose bytes.
pub(crate) fn await_data(stream: &TcpStream) -> io::Result<()> {
    if SLICE.is_some() { stream.peek(&mut [0]).map(drop) } else { Ok(()) }
}

/// Writes several buffers without blocking, with one system call, on systems with a flag for that. Otherwise it writes
/// only the first.
#[cfg(not(any(windows, landline_windows)))]
pub(crate) fn write_vectored_now(stream: &TcpStream, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let buffers = &buffers[..buffers.len().min(IOV_MAX)];
    SockRef::from(stream).send_vectored_with_flags(buffers, MSG_DONTWAIT | MSG_NOSIGNAL)
}
#[cfg(any(windows, landline_windows))]
pub(crate) fn write_vectored_now(stream: &TcpStream, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    write_now(stream, buffers.first().map_or(&[], |buffer| buffer))
}

/// Discards data that has arrived, without blocking, at most as much as the buffer holds. The buffer's contents mean
/// nothing afterwards.
#[cfg(not(any(windows, landline_windows)))]
pub(crate) fn discard_now(stream: &TcpStream, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // On Linux this copies nothing for TCP.
    const MSG_TRUNC: i32 = if LINUX { 0x20 } else { 0 };
    SockRef::from(stream).recv_with_flags(buffer, MSG_DONTWAIT | MSG_TRUNC)
}
#[cfg(any(windows, landline_windows))]
pub(crate) fn discard_now(stream: &TcpStream, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    without_blocking(&SockRef::from(stream), |stream| stream.recv(buffer))
}

/// Resets a TCP connection and closes the descriptor. connect(2) to an address of no family sends RST at once, and
/// wakes every thread that is blocked on the connection. This works even if another process has the descriptor too,
/// after fork(2). SO_LINGER would send RST only when the last descriptor is closed.
///
/// # Errors
/// The reset failed. Some kernels refuse it while a thread is blocked. The descriptor is closed all the same.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows))))]
pub(crate) fn reset(stream: TcpStream) -> io::Result<()> {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    let no_family = no_family()?;
    UnixDatagram::from(OwnedFd::from(stream)).connect_addr(no_family)
}
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows)))))]
pub(crate) fn reset(_: TcpStream) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Resets a TCP connection whose descriptor this process still uses elsewhere. Returns whether that worked.
pub(crate) fn is_reset_now(stream: &TcpStream) -> bool {
    stream.try_clone().and_then(reset).is_ok()
}

/// An address of no family, AF_UNSPEC. std and socket2 have no name for it. But if a datagram has no sender address,
/// std returns an address of no family, because Linux writes nothing into it and its family stays 0. With any other
/// family, connect(2) on a connected TCP socket would fail with EISCONN.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows))))]
fn no_family() -> io::Result<&'static std::os::unix::net::SocketAddr> {
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    static NO_FAMILY: OnceLock<SocketAddr> = OnceLock::new();
    if let Some(address) = NO_FAMILY.get() {
        return Ok(address);
    }
    let (sender, receiver) = UnixDatagram::pair()?;
    sender.send(&[0])?;
    let (_, address) = receiver.recv_from(&mut [0])?;
    Ok(NO_FAMILY.get_or_init(|| address))
}

/// Sets those socket options of a connection that only this system needs. They fail only on a dead socket.
pub(crate) fn prepare(stream: &TcpStream) {
    // std does this only for sockets that it makes itself.
    #[cfg(target_vendor = "apple")]
    let _ = SockRef::from(stream).set_nosigpipe(true);
    let _ = stream;
}

/// Whether this library supports Unix sockets here.
pub(crate) const UNIX_SOCKETS: bool = cfg!(unix);

/// Whether a path that begins with a NUL is a name without a file.
pub(crate) const ABSTRACT_NAMES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The path of a Unix socket's address. It is empty without a name, and has a leading NUL for an abstract name.
#[cfg(unix)]
pub(crate) fn path_of(address: &socket2::SockAddr) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    if let Some(path) = address.as_pathname() {
        return Some(path.to_path_buf());
    }
    if let Some(name) = address.as_abstract_namespace() {
        let name: Vec<u8> = [b"\0", name].concat();
        return Some(std::ffi::OsStr::from_bytes(&name).into());
    }
    address.is_unix().then(PathBuf::new)
}
#[cfg(not(unix))]
pub(crate) fn path_of(_: &socket2::SockAddr) -> Option<PathBuf> {
    None
}

/// std's address of a Unix socket with that path.
#[cfg(unix)]
pub(crate) fn address_of(path: &Path) -> io::Result<std::os::unix::net::SocketAddr> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"\0") {
            return std::os::unix::net::SocketAddr::from_abstract_name(name);
        }
    }
    std::os::unix::net::SocketAddr::from_pathname(path)
}

/// A path that came from outside the program.
#[cfg(unix)]
pub(crate) fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}
#[cfg(not(unix))]
pub(crate) fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// Binds a Unix socket to a unique name. Only Linux has such names.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows))))]
pub(crate) fn bind_to_any_name(socket: &socket2::Socket) -> io::Result<Option<PathBuf>> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let name = format!("\0landline {} {}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
    socket.bind(&socket2::SockAddr::unix(&name)?)?;
    Ok(Some(name.into()))
}
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows)))))]
pub(crate) fn bind_to_any_name(_: &socket2::Socket) -> io::Result<Option<PathBuf>> {
    Ok(None)
}

/// Opens a file without reading it, and returns a path that leads to it even if the file is moved or removed. `None` if
/// the file is not there. Only Linux has such paths, and only with /proc. With musl, std does not pass O_PATH on,
/// because musl counts it among the access modes.
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(any(target_env = "musl", landline_portable, landline_windows))
))]
pub(crate) fn hold(path: &Path) -> Option<(std::fs::File, PathBuf)> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    const O_PATH: i32 = 0o10_000_000;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(O_PATH).open(path).ok()?;
    let held = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    held.exists().then_some((file, held))
}
#[cfg(not(all(
    any(target_os = "linux", target_os = "android"),
    not(any(target_env = "musl", landline_portable, landline_windows))
)))]
pub(crate) fn hold(_: &Path) -> Option<(std::fs::File, PathBuf)> {
    None
}

/// The device and the inode of a file.
pub(crate) type FileIdentity = (u64, u64);

#[cfg(unix)]
pub(crate) fn file_identity(path: &Path) -> io::Result<FileIdentity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}
#[cfg(not(unix))]
pub(crate) fn file_identity(_: &Path) -> io::Result<FileIdentity> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The identity of a Unix socket's file, and when the file was made. `None` if it is a link or a file of a different
/// kind. The inode of a removed file may be reused, so the time distinguishes the two files.
#[cfg(unix)]
pub(crate) fn socket_file(path: &Path) -> Option<(FileIdentity, std::time::SystemTime)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let file = std::fs::symlink_metadata(path).ok().filter(|file| file.file_type().is_socket())?;
    Some(((file.dev(), file.ino()), file.modified().ok()?))
}
#[cfg(not(unix))]
pub(crate) fn socket_file(_: &Path) -> Option<(FileIdentity, std::time::SystemTime)> {
    None
}

/// Whether a path leads to a socket to which this user may write, as connect(2) requires. open(2) never opens a socket.
/// Only Linux first checks whether it may be written to.
#[cfg(unix)]
pub(crate) fn is_writable_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && !std::fs::OpenOptions::new().write(true).open(path).is_err_and(is_denied)
}
#[cfg(not(unix))]
pub(crate) fn is_writable_socket(_: &Path) -> bool {
    false
}

/// Lets all users read or write a file.
#[cfg(unix)]
pub(crate) fn open_to_all(path: &Path, readable: bool, writable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = std::fs::metadata(path)?.permissions();
    let (read, write) = (if readable { 0o444 } else { 0 }, if writable { 0o222 } else { 0 });
    permissions.set_mode(permissions.mode() | read | write);
    std::fs::set_permissions(path, permissions)
}
#[cfg(not(unix))]
pub(crate) fn open_to_all(_: &Path, _: bool, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a call ended because of SO_RCVTIMEO or SO_SNDTIMEO. On Unix, `ETIMEDOUT` means something else: the kernel
/// has given up the connection.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    // The real system's number, even with `landline_windows`.
    error.kind() == if cfg!(windows) { io::ErrorKind::TimedOut } else { io::ErrorKind::WouldBlock }
}

/// Whether a receive failed at once with this error because its socket is in non-blocking mode. Windows cannot say the
/// mode, but has a different error for a timeout.
pub(crate) fn did_not_wait(socket: &UdpSocket, error: &io::Error) -> bool {
    match cfg!(windows) {
        true => error.kind() == io::ErrorKind::WouldBlock,
        false => is_nonblocking(&SockRef::from(socket)).unwrap_or(false),
    }
}

/// Whether a timeout or a signal ended a call. Neither says anything about the connection.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || is_timeout(error)
}

/// How often a blocked read or write checks whether its socket was closed, on systems where shutdown(2) does not wake
/// it.
pub(crate) const SLICE: Option<std::time::Duration> =
    if WINDOWS { Some(std::time::Duration::from_millis(500)) } else { None };

/// Whether shutdown(2) of the reading side wakes a thread in a read. If it does not, threads check after each slice.
/// The reading side then stays open, because the system would reset a peer that still sends.
pub(crate) const SHUTDOWN_WAKES_READ: bool = SLICE.is_none();

/// Whether shutdown(2) wakes a thread in connect(2) on the same socket, which then fails.
pub(crate) const SHUTDOWN_WAKES_CONNECT: bool = LINUX;

/// Calls connect(2) and waits for at most `time`.
///
/// Windows reports the same state for a connection that failed and for one that the peer has already ended. socket2 reports
/// both as a failure. The second has no error number.
pub(crate) fn connect_timeout(
    socket: &socket2::Socket,
    to: &socket2::SockAddr,
    time: std::time::Duration,
) -> io::Result<()> {
    match socket.connect_timeout(to, time) {
        Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::Other && error.raw_os_error().is_none() => {
            socket.peer_addr().map(drop).map_err(|_| io::ErrorKind::ConnectionReset.into())
        }
        result => result,
    }
}

/// Whether connect(2), called again on a connecting socket, waits for the first call to finish. If not, it fails with
/// `EALREADY`.
pub(crate) const CONNECT_RESUMES: bool = LINUX;

/// Lets several datagram sockets have one address, by SO_REUSEADDR. macOS and the BSDs need SO_REUSEPORT too.
pub(crate) fn share_address(socket: &socket2::Socket, share: bool) -> io::Result<()> {
    #[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
    socket.set_reuse_port(share)?;
    socket.set_reuse_address(share)
}

/// Whether a receive would return at once, or may. It peeks without blocking, and takes a pending error from the socket.
#[cfg(not(any(windows, landline_windows)))]
pub(crate) fn is_readable(socket: &UdpSocket, _adopted: bool) -> io::Result<bool> {
    let peeked = SockRef::from(socket).recv_with_flags(&mut [std::mem::MaybeUninit::uninit()], MSG_PEEK | MSG_DONTWAIT);
    match peeked {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
#[cfg(any(windows, landline_windows))]
pub(crate) fn is_readable(socket: &UdpSocket, adopted: bool) -> io::Result<bool> {
    if adopted {
        // Its mode is another owner's. The receive itself finds out, with a timeout of 1 ms.
        return Ok(true);
    }
    match without_blocking(&SockRef::from(socket), |_| peek_datagram(socket)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a receive makes its socket non-blocking for a moment, which another thread's send may meet.
pub(crate) const RECEIVES_CHANGE_THE_MODE: bool = WINDOWS;

/// Whether shutdown(2) of the sending side of a UDP socket ends every send that waits for room, even without a peer.
pub(crate) const SHUTDOWN_ENDS_SENDS: bool = LINUX;

/// Receives one datagram.
///
/// On Windows a receive that times out may lose a datagram. There a peek waits, and the receive behind it does not. If
/// another thread took the datagram in between, it is `Interrupted`, as by a signal. `adopted`: the mode of the socket
/// is another owner's, who may have made it non-blocking, so the receive itself blocks until its time is up.
pub(crate) fn receive(socket: &UdpSocket, adopted: bool, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    #[cfg(any(windows, landline_windows))]
    {
        peek_datagram(socket)?;
        if !adopted {
            let taken = receive_now(socket, buffer);
            let is_gone = taken.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            return if is_gone { Err(io::ErrorKind::Interrupted.into()) } else { taken };
        }
    }
    let _ = adopted;
    socket.recv_from(buffer)
}

/// Receives one datagram that has arrived, or returns `WouldBlock`. Except on Windows, the socket then stays
/// non-blocking. There another thread's receive would make it blocking again between the two calls.
#[cfg(not(any(windows, landline_windows)))]
pub(crate) fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    socket.set_nonblocking(true)?;
    socket.recv_from(buffer)
}
#[cfg(any(windows, landline_windows))]
pub(crate) fn receive_now(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    without_blocking(&SockRef::from(socket), |_| socket.recv_from(buffer))
}

/// Windows reports an error if a datagram is larger than the buffer.
#[cfg(any(windows, landline_windows))]
fn peek_datagram(socket: &UdpSocket) -> io::Result<()> {
    const WSAEMSGSIZE: i32 = 10040;
    match socket.peek(&mut [0]) {
        Err(error) if cfg!(windows) && error.raw_os_error() == Some(WSAEMSGSIZE) => Ok(()),
        peeked => peeked.map(drop),
    }
}

/// The inode of an open socket, on systems with tables that list it. [`table_row`] finds the socket by its inode.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows))))]
pub(crate) fn inode(socket: &impl std::os::fd::AsRawFd) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok().map(|socket| socket.ino())
}
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(landline_portable, landline_windows)))))]
pub(crate) fn inode<T>(_: &T) -> Option<u64> {
    None
}

/// The row of a socket in a table of the calling thread's network namespace, such as `udp6`, if the row is among the
/// first `most`. The row is found by inode, because other sockets may have the same address and port. Reading a long
/// table takes long, so the caller should hold neither the socket nor a lock.
pub(crate) fn table_row(inode: u64, table: &str, most: usize) -> Option<String> {
    let (inode, column) = (inode.to_string(), if table == "unix" { 6 } else { 9 });
    let table = std::fs::File::open(format!("/proc/thread-self/net/{table}")).ok()?;
    // The path of another Unix socket need not be UTF-8.
    for row in io::BufRead::split(io::BufReader::with_capacity(32 << 10, table), b'\n').take(most) {
        let row = row.ok()?;
        let row = String::from_utf8_lossy(&row);
        if row.split_whitespace().nth(column) == Some(&inode) {
            return Some(row.into_owned());
        }
    }
    None
}

/// Whether a different Unix socket than the one with this inode listens on the path, as far as the tables say. The file
/// there may be that socket's.
pub(crate) fn is_listened_on_by_another(path: &Path, inode: Option<u64>) -> bool {
    const LISTENS: &str = "00010000";
    let (Some(inode), Ok(table)) = (inode, std::fs::read("/proc/thread-self/net/unix")) else { return false };
    let (inode, end) = (inode.to_string(), format!(" {}", path.to_string_lossy()));
    String::from_utf8_lossy(&table).lines().any(|row| {
        let mut columns = row.split_whitespace().skip(3);
        columns.next() == Some(LISTENS) && columns.nth(2) != Some(&inode) && row.ends_with(&end)
    })
}

/// Joins or leaves an IPv4 group on the interface with a number.
#[cfg(not(any(
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "haiku",
    target_os = "solaris",
    target_os = "illumos"
)))]
pub(crate) fn change_membership_v4(socket: &SockRef<'_>, group: Ipv4Addr, index: u32, join: bool) -> io::Result<()> {
    let interface = socket2::InterfaceIndexOrAddress::Index(index);
    if join { socket.join_multicast_v4_n(&group, &interface) } else { socket.leave_multicast_v4_n(&group, &interface) }
}
#[cfg(any(
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "haiku",
    target_os = "solaris",
    target_os = "illumos"
))]
pub(crate) fn change_membership_v4(socket: &SockRef<'_>, group: Ipv4Addr, index: u32, join: bool) -> io::Result<()> {
    let interface = Ipv4Addr::from(index);
    if join { socket.join_multicast_v4(&group, &interface) } else { socket.leave_multicast_v4(&group, &interface) }
}

/// An address of the interface with this number, for those IPv4 multicast calls that take no number.
///
/// A probe socket is bound to the device and connected, which sends nothing. It then has the address that the system
/// would send from. For loopback, whose address is valid only on this machine, the system prefers the address of a
/// different device. So each candidate is tested: the probe joins a group by number and leaves it by address. The group
/// is that of all hosts, which is not announced to routers.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn multicast_interface_v4(index: u32, name: Option<&str>) -> Option<Ipv4Addr> {
    const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
    let name_of = |index| {
        let table = std::fs::read_to_string("/proc/thread-self/net/igmp").ok()?;
        table.lines().find_map(|line| {
            let mut fields = line.split_whitespace();
            // A colon follows the name, without a space if the name has 10 bytes or more.
            (fields.next()?.parse() == Ok(index)).then(|| Some(fields.next()?.trim_end_matches(':').to_owned()))?
        })
    };
    let name = name.map(String::from).or_else(|| name_of(index));
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let options = SockRef::from(&probe);
    options.join_multicast_v4_n(&ALL_HOSTS, &socket2::InterfaceIndexOrAddress::Index(index)).ok()?;
    // Without /proc the name may be unknown. In this case the system's choice and loopback are tested.
    let bound = name.map_or(Ok(()), |name| options.bind_device(Some(name.as_bytes())));
    let bound = bound.and_then(|()| probe.connect((ALL_HOSTS, 9)));
    let source = bound.and_then(|()| probe.local_addr()).map(|at| at.ip());
    for candidate in [source.ok(), Some(Ipv4Addr::LOCALHOST.into())] {
        match candidate {
            Some(std::net::IpAddr::V4(address)) if options.leave_multicast_v4(&ALL_HOSTS, &address).is_ok() => {
                return Some(address);
            }
            _ => {}
        }
    }
    None
}
/// RFC 1724, 3.3: an address in 0.0.0.0/8 is the number of an interface.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn multicast_interface_v4(index: u32, _: Option<&str>) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(index))
}

/// The number of the interface that has this address, if the system has a list.
pub(crate) fn interface_of(address: Ipv6Addr) -> Option<u32> {
    if PORTABLE {
        return None;
    }
    let table = std::fs::read_to_string("/proc/thread-self/net/if_inet6").ok()?;
    let wanted = format!("{:032x}", u128::from(address));
    let row = rest_of_line(&table, &wanted)?;
    u32::from_str_radix(row.split_whitespace().next()?, 16).ok()
}

/// The rest of the first line that begins with `begin`.
fn rest_of_line<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(begin))
}

/// Joins or leaves a group for one source. `Unsupported` if socket2 has no such call.
#[cfg(not(any(target_os = "netbsd", target_os = "openbsd", target_os = "dragonfly", target_os = "haiku")))]
pub(crate) fn join_source_v4(
    socket: &UdpSocket,
    [source, group, interface]: [Ipv4Addr; 3],
    join: bool,
) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if join {
        socket.join_ssm_v4(&source, &group, &interface)
    } else {
        socket.leave_ssm_v4(&source, &group, &interface)
    }
}
#[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "dragonfly", target_os = "haiku"))]
pub(crate) fn join_source_v4(_: &UdpSocket, _: [Ipv4Addr; 3], _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The system's error if no more descriptors can be opened. Some calls do not return it: without a descriptor, glibc's
/// resolver says that a name or an interface does not exist. A shortage that has ended since then is not noticed.
pub(crate) fn shortage() -> Option<io::Error> {
    let probe = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
    probe.err().filter(|error| matches!(&*code(error), "EMFILE" | "ENFILE"))
}

/// How many descriptors this process may have, if the system says so. Linux without /proc does not say, so its default
/// is used.
pub(crate) fn descriptor_limit() -> Option<usize> {
    const DEFAULT: usize = 1024;
    let told = || {
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        let line = rest_of_line(&limits, "Max open files")?;
        line.split_whitespace().next()?.parse().ok()
    };
    LINUX.then(|| told().unwrap_or(DEFAULT))
}

/// The ports that the system chooses from for connections that are not bound, if it says so.
pub(crate) fn local_ports() -> Option<Vec<u16>> {
    if !LINUX {
        return None;
    }
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    let range = setting("ip_local_port_range")?;
    let (first, last) = range.trim().split_once(char::is_whitespace)?;
    let (first, last): (u16, u16) = (first.parse().ok()?, last.trim().parse().ok()?);
    // `8080,9148-9150`
    let mut reserved: Vec<(u16, u16)> = Vec::new();
    for range in setting("ip_local_reserved_ports")?.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
            reserved.push((first, last));
        }
    }
    let mut ports = Vec::new();
    for port in first..=last {
        if !reserved.iter().any(|(first, last)| *first <= port && port <= *last) {
            ports.push(port);
        }
    }
    Some(ports)
}

/// The longest backlog, whatever was asked for. If the system does not say, a bound that is large enough.
pub(crate) fn longest_backlog() -> u32 {
    let longest = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    longest.and_then(|text| text.trim().parse().ok()).unwrap_or(4096)
}

/// How many threads this library may have at once, in a process that has no other memory mappings. Only Linux has a
/// known limit.
pub(crate) fn thread_ceiling() -> usize {
    most_mappings().map_or(usize::MAX >> 2, |most| threads_beside(most, 0, 0))
}

/// How many threads this library may have at once beside the process's other mappings, with `running` of them running
/// now. It takes about 4 ms for each 1,000 mappings. `None` if the mappings cannot be counted now.
pub(crate) fn thread_ceiling_now(running: usize) -> Option<usize> {
    let Some(most) = most_mappings() else {
        return Some(thread_ceiling());
    };
    Some(threads_beside(most, mappings()?, running))
}

/// A std thread takes four memory mappings. If Linux cannot make one of the later ones, it aborts the process instead
/// of failing the call. So the library's threads may use only what the host program's mappings leave. A reserve of a
/// thousand threads is subtracted, because the host will map more. While there is room, at least 16 threads are
/// allowed.
fn threads_beside(most: usize, mappings: usize, running: usize) -> usize {
    let of_host = mappings.saturating_sub(4 * running);
    let room = most.saturating_sub(of_host) / 4;
    room.saturating_sub(1000).max(room.min(16))
}

/// How many mappings a process may have, if that is limited. Without /proc it is the kernel's default.
fn most_mappings() -> Option<usize> {
    const DEFAULT: usize = 65_530;
    static MOST: OnceLock<Option<usize>> = OnceLock::new();
    let told = || std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok();
    *MOST.get_or_init(|| cfg!(any(target_os = "linux", target_os = "android")).then(|| told().unwrap_or(DEFAULT)))
}

/// How many mappings this process has. It is the number of lines of a file that may have millions of bytes.
fn mappings() -> Option<usize> {
    let mut maps = std::fs::File::open("/proc/self/maps").ok()?;
    let (mut part, mut lines) = ([0; 4096], 0);
    loop {
        match io::Read::read(&mut maps, &mut part).ok()? {
            0 => return Some(lines),
            length => {
                for byte in &part[..length] {
                    lines += usize::from(*byte == b'\n');
                }
            }
        }
    }
}

/// The name of an error, such as `EADDRINUSE`. It is the same on every system.
pub(crate) fn code(error: &io::Error) -> Cow<'static, str> {
    let Some(number) = error.raw_os_error() else {
        return code_of_kind(error.kind()).into();
    };
    let of_unix = if cfg!(windows) { &[] } else { OF_UNIX };
    match OF_SYSTEM.iter().chain(of_unix).find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).into(),
        None => match code_of_kind(error.kind()) {
            "UNKNOWN" => format!("UNKNOWN ({number})").into(),
            name => name.into(),
        },
    }
}

/// The resolver's text for a failed look-up, gai_strerror(3), in the language of this program.
pub(crate) fn lookup_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// Node's code for a failed getaddrinfo(3). On Unix std does not give the error's number, so its text decides. An
/// unknown text becomes `EAI_AGAIN`, because one more attempt costs a program less than giving up a name that exists.
pub(crate) fn lookup_code(error: &io::Error) -> Cow<'static, str> {
    let text = lookup_text(error);
    let said = text.as_str();
    match error.raw_os_error() {
        // On Windows WSAHOST_NOT_FOUND, WSANO_DATA, WSATRY_AGAIN and WSANO_RECOVERY.
        Some(11001 | 11004) => "ENOTFOUND".into(),
        Some(11002) => "EAI_AGAIN".into(),
        Some(11003) => "EAI_FAIL".into(),
        Some(_) => code(error),
        None if NO_SUCH_NAME.contains(&said) => "ENOTFOUND".into(),
        None if FINAL.contains(&said) => "EAI_FAIL".into(),
        None if TRY_AGAIN.contains(&said) => "EAI_AGAIN".into(),
        None if no_such_name_here().is_some_and(|text| text == said) => "ENOTFOUND".into(),
        None => "EAI_AGAIN".into(),
    }
}

/// EAI_NONAME and EAI_NODATA.
const NO_SUCH_NAME: &[&str] = &[
    // glibc
    "Name or service not known",
    "No address associated with hostname",
    // musl, and the first FreeBSD too
    "Name does not resolve",
    "Name has no usable address",
    // macOS
    "nodename nor servname provided, or not known",
    "No address associated with nodename",
    // NetBSD, Android, FreeBSD before 13, with the EAI_NODATA of glibc
    "hostname nor servname provided, or not known",
    // OpenBSD
    "name or service is not known",
    "no address associated with name",
    // illumos
    "node name or service name not known",
];

/// EAI_FAIL.
const FINAL: &[&str] = &[
    "Non-recoverable failure in name resolution",
    "non-recoverable failure in name resolution",
    "Non-recoverable error",
];

/// EAI_AGAIN.
const TRY_AGAIN: &[&str] = &[
    "Temporary failure in name resolution",
    "temporary failure in name resolution",
    "Name could not be resolved at this time",
    "Try again",
];

/// The text of EAI_NONAME in the language of this program. Only glibc translates it. This look-up of an interface fails
/// without asking a name server, because no interface has a name longer than 15 bytes.
fn no_such_name_here() -> Option<String> {
    if !cfg!(target_env = "gnu") {
        return None;
    }
    let error = std::net::ToSocketAddrs::to_socket_addrs(&("fe80::1%no-such-interface", 0)).err()?;
    error.raw_os_error().is_none().then(|| lookup_text(&error))
}

fn code_of_kind(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::*;
    match kind {
        AddrInUse => "EADDRINUSE",
        AddrNotAvailable => "EADDRNOTAVAIL",
        AlreadyExists => "EEXIST",
        BrokenPipe => "EPIPE",
        ConnectionAborted => "ECONNABORTED",
        ConnectionRefused => "ECONNREFUSED",
        ConnectionReset => "ECONNRESET",
        HostUnreachable => "EHOSTUNREACH",
        Interrupted => "EINTR",
        InvalidInput => "EINVAL",
        NetworkDown => "ENETDOWN",
        NetworkUnreachable => "ENETUNREACH",
        NotConnected => "ENOTCONN",
        NotFound => "ENOENT",
        OutOfMemory => "ENOMEM",
        PermissionDenied => "EACCES",
        TimedOut => "ETIMEDOUT",
        Unsupported => "ENOTSUP",
        WouldBlock => "EAGAIN",
        _ => "UNKNOWN",
    }
}

/// The numbers of every Unix. Those of Haiku are negative.
#[rustfmt::skip]
const OF_UNIX: &[(i32, &str)] = &[
    (1, "EPERM"), (2, "ENOENT"), (4, "EINTR"), (5, "EIO"), (9, "EBADF"), (12, "ENOMEM"), (13, "EACCES"),
    (14, "EFAULT"), (17, "EEXIST"), (19, "ENODEV"), (20, "ENOTDIR"), (21, "EISDIR"), (22, "EINVAL"), (23, "ENFILE"),
    (24, "EMFILE"), (28, "ENOSPC"), (30, "EROFS"), (32, "EPIPE"),
];

/// The numbers of this system alone.
const OF_SYSTEM: &[(i32, &str)] = match () {
    () if cfg!(windows) => OF_WINDOWS,
    () if cfg!(any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly")) => OF_BSD,
    () if cfg!(any(target_os = "netbsd", target_os = "openbsd")) => OF_BSD,
    () if cfg!(any(target_os = "solaris", target_os = "illumos")) => OF_SVR4,
    // Linux has other numbers there.
    () if cfg!(any(target_arch = "mips", target_arch = "mips64")) => OF_SVR4,
    () if cfg!(any(target_arch = "mips32r6", target_arch = "mips64r6")) => OF_SVR4,
    () if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) => &[],
    () if cfg!(any(target_os = "linux", target_os = "android")) => OF_LINUX,
    () => &[],
};

/// Solaris, illumos, and Linux on MIPS agree on these.
#[rustfmt::skip]
const OF_SVR4: &[(i32, &str)] = &[
    (11, "EAGAIN"), (71, "EPROTO"), (78, "ENAMETOOLONG"), (90, "ELOOP"), (95, "ENOTSOCK"), (96, "EDESTADDRREQ"),
    (97, "EMSGSIZE"), (98, "EPROTOTYPE"), (99, "ENOPROTOOPT"), (120, "EPROTONOSUPPORT"), (122, "EOPNOTSUPP"),
    (124, "EAFNOSUPPORT"), (125, "EADDRINUSE"), (126, "EADDRNOTAVAIL"), (127, "ENETDOWN"), (128, "ENETUNREACH"),
    (129, "ENETRESET"), (130, "ECONNABORTED"), (131, "ECONNRESET"), (132, "ENOBUFS"), (133, "EISCONN"),
    (134, "ENOTCONN"), (145, "ETIMEDOUT"), (146, "ECONNREFUSED"), (147, "EHOSTDOWN"), (148, "EHOSTUNREACH"),
    (149, "EALREADY"), (150, "EINPROGRESS"),
];

#[rustfmt::skip]
const OF_LINUX: &[(i32, &str)] = &[
    (11, "EAGAIN"), (36, "ENAMETOOLONG"), (40, "ELOOP"), (71, "EPROTO"), (88, "ENOTSOCK"), (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"), (91, "EPROTOTYPE"), (92, "ENOPROTOOPT"), (93, "EPROTONOSUPPORT"), (95, "EOPNOTSUPP"),
    (97, "EAFNOSUPPORT"), (98, "EADDRINUSE"), (99, "EADDRNOTAVAIL"), (100, "ENETDOWN"), (101, "ENETUNREACH"),
    (102, "ENETRESET"), (103, "ECONNABORTED"), (104, "ECONNRESET"), (105, "ENOBUFS"), (106, "EISCONN"),
    (107, "ENOTCONN"), (110, "ETIMEDOUT"), (111, "ECONNREFUSED"), (112, "EHOSTDOWN"), (113, "EHOSTUNREACH"),
    (114, "EALREADY"), (115, "EINPROGRESS"),
];

#[rustfmt::skip]
const OF_WINDOWS: &[(i32, &str)] = &[
    (10004, "EINTR"), (10009, "EBADF"), (10013, "EACCES"), (10014, "EFAULT"), (10022, "EINVAL"), (10024, "EMFILE"),
    (10035, "EAGAIN"), (10036, "EINPROGRESS"), (10037, "EALREADY"), (10038, "ENOTSOCK"), (10039, "EDESTADDRREQ"),
    (10040, "EMSGSIZE"), (10041, "EPROTOTYPE"), (10042, "ENOPROTOOPT"), (10043, "EPROTONOSUPPORT"),
    (10045, "EOPNOTSUPP"), (10047, "EAFNOSUPPORT"), (10048, "EADDRINUSE"), (10049, "EADDRNOTAVAIL"),
    (10050, "ENETDOWN"), (10051, "ENETUNREACH"), (10052, "ENETRESET"), (10053, "ECONNABORTED"),
    (10054, "ECONNRESET"), (10055, "ENOBUFS"), (10056, "EISCONN"), (10057, "ENOTCONN"), (10058, "EPIPE"),
    (10060, "ETIMEDOUT"), (10061, "ECONNREFUSED"), (10064, "EHOSTDOWN"), (10065, "EHOSTUNREACH"),
];

/// macOS and the BSDs agree on these, except for 45. Only macOS has 102.
#[rustfmt::skip]
const OF_BSD: &[(i32, &str)] = &[
    (35, "EAGAIN"), (36, "EINPROGRESS"), (37, "EALREADY"), (38, "ENOTSOCK"), (39, "EDESTADDRREQ"), (40, "EMSGSIZE"),
    (41, "EPROTOTYPE"), (42, "ENOPROTOOPT"), (43, "EPROTONOSUPPORT"),
    (45, if cfg!(target_vendor = "apple") { "ENOTSUP" } else { "EOPNOTSUPP" }), (47, "EAFNOSUPPORT"),
    (48, "EADDRINUSE"), (49, "EADDRNOTAVAIL"), (50, "ENETDOWN"), (51, "ENETUNREACH"), (52, "ENETRESET"),
    (53, "ECONNABORTED"), (54, "ECONNRESET"), (55, "ENOBUFS"), (56, "EISCONN"), (57, "ENOTCONN"), (60, "ETIMEDOUT"),
    (61, "ECONNREFUSED"), (62, "ELOOP"), (63, "ENAMETOOLONG"), (64, "EHOSTDOWN"), (65, "EHOSTUNREACH"),
    (102, "EOPNOTSUPP"),
];

#[cfg(test)]
mod tests {
    use std::io;

    use super::{lookup_code, threads_beside};

    /// Ensures that only texts that are known to mean a missing name are `ENOTFOUND`, on each system. An unknown text,
    /// in another language for instance, is not.
    #[test]
    fn each_failure_of_a_look_up_has_its_code() {
        let unknown = [
            "Name or service not known",
            "No address associated with hostname",
            "Name does not resolve",
            "Name has no usable address",
            "nodename nor servname provided, or not known",
            "No address associated with nodename",
            "hostname nor servname provided, or not known",
            "name or service is not known",
            "no address associated with name",
        ];
        let again = [
            "Temporary failure in name resolution",
            "Try again",
            "Name could not be resolved at this time",
            "Tempor\u{e4}rer Fehler bei der Namensaufl\u{f6}sung",
            "System error",
            "",
        ];
        let failed = ["Non-recoverable failure in name resolution", "Non-recoverable error"];
        for (texts, code) in [(&unknown[..], "ENOTFOUND"), (&again, "EAI_AGAIN"), (&failed, "EAI_FAIL")] {
            for text in texts {
                let error = io::Error::other(format!("failed to lookup address information: {text}"));
                assert_eq!(lookup_code(&error), code, "{text}");
            }
        }
        for (number, code) in [(11001, "ENOTFOUND"), (11004, "ENOTFOUND"), (11002, "EAI_AGAIN"), (11003, "EAI_FAIL")] {
            assert_eq!(lookup_code(&io::Error::from_raw_os_error(number)), code, "Windows' {number}");
        }
        #[cfg(target_os = "linux")]
        assert_eq!(lookup_code(&io::Error::from_raw_os_error(24)), "EMFILE", "a number is the system's own error");
    }

    /// Ensures that threads get what the mappings of the host leave, less a thousand threads. Mappings of running
    /// threads are not the host's. As long as there is room, there are 16.
    #[test]
    fn the_ceiling_of_threads_is_what_the_host_leaves() {
        let cases = [
            ((65_530, 0, 0), 15_382),
            ((65_530, 60_000, 0), 382),
            ((65_530, 61_000, 250), 382),
            // Mappings of neighbours that are alike are one, so threads may have fewer than four each.
            ((65_530, 700, 250), 15_382),
            ((65_530, 61_500, 0), 16),
            ((65_530, 65_490, 0), 10),
            ((65_530, 70_000, 0), 0),
        ];
        for ((most, mappings, running), ceiling) in cases {
            let now = threads_beside(most, mappings, running);
            assert_eq!(now, ceiling, "of {most} mappings {mappings} are there, with {running} threads");
        }
    }
}
