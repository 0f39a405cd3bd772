use std::borrow::Cow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::{fmt, io};

use crate::address::Address;
use crate::sys;

/// The result type inside the library. Every public call returns [`io::Result`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The library's own error inside an [`io::Error`]: its code, the operation that failed, and the address.
///
/// Every call returns [`io::Result`]. [`Error::of`] finds this type inside an [`io::Error`].
///
/// ```
/// use landline::{Error, net::Server};
///
/// let first = Server::listen("127.0.0.1:0")?;
/// let error = Server::listen(first.address()).unwrap_err();
///
/// assert_eq!(Error::of(&error).map(Error::code), Some("EADDRINUSE"));
/// assert_eq!(error.to_string(), format!("listen EADDRINUSE: address already in use {}", first.address()));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Some errors of this library's calls have no [`Error`] inside:
///
/// - the plain errors of std's readers, such as `UnexpectedEof` from `read_exact`, or `InvalidData` for a line that is
///   too long or is not UTF-8
/// - the panic of a thread, which [`join`](crate::Running::join) returns as an error
///
/// docs/reference.md has a table of all codes.
///
/// The text begins like Node's text for the same failure, so a web search finds it.
/// [`source`](std::error::Error::source) returns the error of the system, or of the program's own code. Two errors are
/// equal if their code, operation and address are equal.
///
/// `Debug` prints the same text as `Display`. A `main` that returns `Result<(), landline::Error>` ends with `Error:
/// listen EADDRINUSE: address already in use 127.0.0.1:3000`. A `main` that returns `io::Result` prints what std prints
/// for any wrapped error: `Error: Custom { kind: AddrInUse, error: … }`.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: io::ErrorKind,
    code: Cow<'static, str>,
    cause: Option<Cause>,
    syscall: Option<&'static str>,
    /// The whole text, if it cannot be made from the other fields.
    text: Option<Cow<'static, str>>,
    address: Option<Address>,
    local_address: Option<Address>,
    host: Option<Box<str>>,
    causes: Vec<Error>,
    source: Option<Arc<io::Error>>,
}

/// The errors that the library's own code distinguishes, whatever their texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// `serve` or `spawn` was called on a server that is already being served.
    AlreadyListen,
    /// The connection was closed by this program.
    Destroyed,
    /// The server is shutting down.
    ShuttingDown,
    /// The idle timeout has passed.
    Idle,
    /// The timeout of one call has passed.
    Waited,
    /// The queue of an outbox is full.
    Full,
}

impl Cause {
    /// Whether `error` itself has this cause.
    pub(crate) fn is_of(self, error: &io::Error) -> bool {
        Error::itself(error).is_some_and(|error| error.has(self))
    }

    /// Whether `error`, or any error in its chain of sources, has this cause. It calls `source` of the program's own
    /// errors.
    pub(crate) fn is_behind(self, error: &io::Error) -> bool {
        Error::behind(error, &|error| error.has(self)).is_some()
    }

    fn kind_and_code(self) -> (io::ErrorKind, &'static str) {
        match self {
            Cause::AlreadyListen => (io::ErrorKind::AlreadyExists, "ERR_SERVER_ALREADY_LISTEN"),
            Cause::Destroyed => (io::ErrorKind::NotConnected, "ERR_STREAM_DESTROYED"),
            Cause::ShuttingDown => (io::ErrorKind::ConnectionAborted, "ERR_SERVER_SHUTTING_DOWN"),
            Cause::Idle | Cause::Waited => (io::ErrorKind::TimedOut, "ERR_SOCKET_TIMEOUT"),
            Cause::Full => (io::ErrorKind::WouldBlock, "ERR_OUTBOX_FULL"),
        }
    }
}

impl Error {
    /// Returns Node's name of the operation that failed, such as `listen`, `connect`, `bind`, `send`, `getaddrinfo`,
    /// `read`, `write` or `accept`, or the name of an option's setter. `None` if no system call was made.
    pub fn syscall(&self) -> Option<&str> {
        self.0.syscall
    }

    /// Returns the code, such as `EADDRINUSE`, `ECONNREFUSED`, `ENOTFOUND` or `ERR_SOCKET_BAD_PORT`. The codes are the
    /// same on every system.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Returns the kind of an [`io::Error`] that is made from this error.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind
    }

    /// Returns the system's error number, if the system reported one.
    #[doc(alias = "errno")]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_ref()?.raw_os_error()
    }

    /// Returns the address that the call listened on, connected to or sent to. If several addresses were tried, it is
    /// the first. `None` for reads and writes. Their peer is the socket's
    /// [`remote_address`](crate::net::Socket::remote_address).
    pub fn address(&self) -> Option<&Address> {
        self.0.address.as_ref().or_else(|| self.0.causes.first()?.address())
    }

    /// Returns the local address that the program asked for. `None` if it asked for none.
    pub fn local_address(&self) -> Option<&Address> {
        self.0.local_address.as_ref()
    }

    /// Returns the name that was looked up, if the look-up failed.
    #[doc(alias = "hostname")]
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// Returns the error of each address, in the order they were tried. Empty unless several addresses were tried.
    #[doc(alias = "AggregateError")]
    pub fn causes(&self) -> &[Error] {
        &self.0.causes
    }

    /// Returns the library's error inside an [`io::Error`]. The error is found even if the program has wrapped it as
    /// the [`source`](std::error::Error::source) of its own error. `None` if there is no error of this library.
    pub fn of(error: &io::Error) -> Option<&Error> {
        Error::behind(error, &|_| true)
    }

    /// The first of the library's errors for which `is_so` returns true, from the outermost error inwards.
    fn behind<'a>(error: &'a io::Error, is_so: &dyn Fn(&Error) -> bool) -> Option<&'a Error> {
        /// A limit on the number of sources, for an error that is its own source.
        const MOST: usize = 64;
        fn inside(error: &io::Error) -> Option<&(dyn std::error::Error + 'static)> {
            error.get_ref().map(|error| error as _)
        }
        let mut next = inside(error);
        for _ in 0..MOST {
            let error = next?;
            match error.downcast_ref::<Error>() {
                Some(error) if is_so(error) => return Some(error),
                _ => {}
            }
            next = match error.downcast_ref::<io::Error>() {
                // `source` of an `io::Error` skips the error inside it, so take that error here.
                Some(error) => inside(error),
                None => error.source(),
            };
        }
        None
    }

    /// The library's error, unless the program has wrapped it in another.
    fn itself(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// Returns whether an error is a tick. A tick means that a timeout of a read, write, receive, accept or idle
    /// connection has passed. A tick closes nothing and loses no data. The next call waits for the whole timeout again,
    /// so a loop can continue.
    ///
    /// Every tick has the kind `TimedOut`. A passed [deadline](crate::net::Socket::set_deadline) has this kind too but
    /// is no tick, because every later call also fails.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let server = landline::net::Server::listen("127.0.0.1:0")?;
    /// # let socket = landline::net::Socket::connect(server.address())?;
    /// socket.set_read_timeout(Duration::from_millis(10))?;
    /// let error = socket.read(&mut [0; 100]).unwrap_err();
    /// assert!(landline::Error::is_tick(&error));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_tick(error: &io::Error) -> bool {
        Error::of(error).is_some_and(Error::is_waited)
    }

    pub(crate) fn is_waited(&self) -> bool {
        self.has(Cause::Idle) || self.has(Cause::Waited)
    }

    fn new(kind: io::ErrorKind, code: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Inner {
            kind,
            code: code.into(),
            cause: None,
            syscall: None,
            text: None,
            address: None,
            local_address: None,
            host: None,
            causes: Vec::new(),
            source: None,
        }))
    }

    /// The error of a failed system call.
    pub(crate) fn call(syscall: &'static str, error: &io::Error) -> Error {
        if let Some(error) = Error::itself(error) {
            return error.clone();
        }
        let mut this = Error::new(error.kind(), sys::code(error));
        this.0.source = error.raw_os_error().map(|number| Arc::new(io::Error::from_raw_os_error(number)));
        this.0.syscall = Some(syscall);
        this
    }

    pub(crate) fn with_source(mut self, source: io::Error) -> Error {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The same error without its cause, because it is now final. The library's code no longer distinguishes it.
    pub(crate) fn without_cause(mut self, kind: io::ErrorKind) -> Error {
        self.0.cause = None;
        self.of_kind(kind)
    }

    /// The same error with a different kind than std gives the system's number.
    pub(crate) fn of_kind(mut self, kind: io::ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The same error with the address that the call was about.
    pub(crate) fn at(mut self, address: impl Into<Address>) -> Error {
        self.0.address = Some(address.into());
        self
    }

    /// The same error with the local address that the call asked for.
    pub(crate) fn with_local(mut self, address: impl Into<Address>) -> Error {
        self.0.local_address = Some(address.into());
        self
    }

    /// The same error for something that a peer did. Its text begins with the peer's address.
    pub(crate) fn of_peer(mut self, address: &Address) -> Error {
        self.0.text = Some(format!("{address}: {self}").into());
        self.at(address.clone())
    }

    /// The same error with the name that was looked up.
    pub(crate) fn of_host(mut self, host: &str) -> Error {
        self.0.host = Some(host.into());
        self
    }

    /// An error with a fixed text, `ERR_…`.
    pub(crate) fn fixed(kind: io::ErrorKind, code: &'static str, text: impl Into<Cow<'static, str>>) -> Error {
        let mut this = Error::new(kind, code);
        this.0.text = Some(text.into());
        this
    }

    /// An error that the library's own code distinguishes.
    pub(crate) fn of_cause(cause: Cause, text: impl Into<Cow<'static, str>>) -> Error {
        let (kind, code) = cause.kind_and_code();
        let mut this = Error::fixed(kind, code, text);
        this.0.cause = Some(cause);
        this
    }

    /// The source, if it is the program's own error and its text is shown as this error's text.
    fn own_source(&self) -> Option<&io::Error> {
        self.0.source.as_deref().filter(|_| self.0.syscall.is_none() && self.0.text.is_none())
    }

    pub(crate) fn has(&self, cause: Cause) -> bool {
        self.0.cause == Some(cause)
    }

    /// The error that the system would return, for a call that would certainly fail and is therefore not made.
    pub(crate) fn coded(syscall: &'static str, kind: io::ErrorKind, code: &'static str) -> Error {
        let mut this = Error::new(kind, code);
        this.0.syscall = Some(syscall);
        this
    }

    /// The size of a buffer could not be read or set.
    pub(crate) fn buffer_size(call: &'static str, error: &Error) -> Error {
        let (code, text) = (error.code(), description(error.code()));
        let text = format!("Could not get or set buffer size: {call} returned {code} ({text})");
        let mut this = Error::fixed(error.kind(), "ERR_SOCKET_BUFFER_SIZE", text);
        this.0.source = error.0.source.clone();
        this
    }

    /// An argument is invalid.
    pub(crate) fn invalid(code: &'static str, text: impl Into<Cow<'static, str>>) -> Error {
        Error::fixed(io::ErrorKind::InvalidInput, code, text)
    }

    /// An option is out of its range.
    pub(crate) fn option(name: &str, must: impl fmt::Display, received: impl fmt::Display) -> Error {
        Error::out_of_range(name, &must, &received)
    }

    fn out_of_range(name: &str, must: &dyn fmt::Display, received: &dyn fmt::Display) -> Error {
        let text = format!("The value of \"{name}\" is out of range. It must be {must}. Received {received}");
        Error::invalid("ERR_OUT_OF_RANGE", text)
    }

    pub(crate) fn bad_port(received: impl fmt::Display) -> Error {
        let text = format!("options.port should be >= 0 and < 65536. Received {received}.");
        Error::invalid("ERR_SOCKET_BAD_PORT", text)
    }

    /// A look-up failed. The kind is `NotFound` only if the resolver's answer means that the name does not exist. Without
    /// a free descriptor, glibc may answer that too.
    pub(crate) fn lookup(host: &str, error: io::Error) -> Error {
        let code = sys::lookup_code(&error);
        if code == "ENOTFOUND" {
            return Error::not_found(host).with_source(error);
        }
        let text = format!("getaddrinfo {code} {host}: {}", sys::lookup_text(&error));
        let mut this = Error::new(io::ErrorKind::Other, code).of_host(host).with_source(error);
        this.0.syscall = Some("getaddrinfo");
        this.0.text = Some(text.into());
        this
    }

    /// The name has no address of the family that was asked for.
    pub(crate) fn not_found(host: &str) -> Error {
        let mut this = Error::new(io::ErrorKind::NotFound, "ENOTFOUND");
        this.0.syscall = Some("getaddrinfo");
        this.0.host = Some(host.into());
        this
    }

    /// Several addresses were tried and all failed. The code is that of the first.
    pub(crate) fn aggregate(to: impl fmt::Display, causes: Vec<Error>) -> Error {
        let first = causes.first().cloned().unwrap_or_else(|| Error::new(io::ErrorKind::NotFound, "ENOTFOUND"));
        Error::led_by(first, &to, causes)
    }

    /// Several addresses were tried until a deadline passed. The code is the deadline's, whatever errors came before.
    pub(crate) fn aggregate_at_deadline(to: impl fmt::Display, causes: Vec<Error>) -> Error {
        Error::led_by(Error::call("connect", &io::ErrorKind::TimedOut.into()), &to, causes)
    }

    fn led_by(mut this: Error, to: &dyn fmt::Display, causes: Vec<Error>) -> Error {
        let mut text = format!("{} {} {to} (", this.0.syscall.unwrap_or("connect"), this.0.code);
        for (i, cause) in causes.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            text.push_str(&match cause.address() {
                Some(address) => format!("{separator}{address} {}", cause.code()),
                None => format!("{separator}{cause}"),
            });
        }
        text.push(')');
        this.0.text = Some(text.into());
        this.0.causes = causes;
        this
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let this = &*self.0;
        if let Some(text) = &this.text {
            return f.write_str(text);
        }
        if let Some(source) = self.own_source() {
            return source.fmt(f);
        }
        let f: &mut dyn fmt::Write = f;
        write!(f, "{} {}", this.syscall.unwrap_or("operation"), this.code)?;
        if this.syscall == Some("listen") {
            write!(f, ": {}", description(&this.code))?;
        }
        if let Some(host) = &this.host {
            write!(f, " {host}")?;
        }
        if let Some(address) = &this.address {
            write!(f, " {}", address.in_messages())?;
        }
        if let Some(local) = &this.local_address {
            write!(f, " - Local ({})", local.in_messages())?;
        }
        Ok(())
    }
}

/// `Debug` prints the text too, because a `main` that returns the error prints its `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    /// Returns the system's error, or the error that the program's own handler, hook or resolver returned.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = &**self.0.source.as_ref()?;
        match source.get_ref() {
            Some(inside) => Some(inside),
            None => Some(source),
        }
    }
}

// The source may be any error. It is only shown.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

impl PartialEq for Error {
    /// Whether code, operation and address are equal.
    fn eq(&self, other: &Error) -> bool {
        (self.code(), self.syscall(), self.address()) == (other.code(), other.syscall(), other.address())
    }
}

impl Eq for Error {}

impl From<Error> for io::Error {
    /// Makes an `io::Error` of the same kind with this error inside. If this error only wraps a foreign error, the
    /// foreign error comes out unchanged. If another clone of it exists, or it has a host name or an address, it stays
    /// wrapped and the foreign error is its [`source`](std::error::Error::source).
    fn from(mut error: Error) -> io::Error {
        if error.own_source().is_some() && error.0.host.is_none() && error.0.address.is_none() {
            match error.0.source.take().map(Arc::try_unwrap) {
                Some(Ok(source)) => return source,
                shared => error.0.source = shared.and_then(Result::err),
            }
        }
        io::Error::new(error.kind(), error)
    }
}

impl From<io::Error> for Error {
    /// Takes out the library's error. If there is none inside, makes a new one with the whole `io::Error` as its
    /// source.
    fn from(error: io::Error) -> Error {
        match error.downcast() {
            Ok(inside) => inside,
            Err(error) => Error::new(error.kind(), sys::code(&error)).with_source(error),
        }
    }
}

/// libuv's words for a code. Node prints them only for `listen`.
fn description(code: &str) -> &'static str {
    match code {
        "EACCES" => "permission denied",
        "EADDRINUSE" => "address already in use",
        "EADDRNOTAVAIL" => "address not available",
        "EAFNOSUPPORT" => "address family not supported",
        "EBADF" => "bad file descriptor",
        "EINVAL" => "invalid argument",
        "EIO" => "i/o error",
        "ELOOP" => "too many symbolic links encountered",
        "EMFILE" => "too many open files",
        "ENAMETOOLONG" => "name too long",
        "ENFILE" => "file table overflow",
        "ENOBUFS" => "no buffer space available",
        "ENODEV" => "no such device",
        "ENOMEM" => "not enough memory",
        "ENOPROTOOPT" => "protocol not available",
        "ENOSPC" => "no space left on device",
        "ENOTDIR" => "not a directory",
        "ENOTSOCK" => "socket operation on non-socket",
        "ENOTSUP" | "EOPNOTSUPP" => "operation not supported on socket",
        "EPERM" => "operation not permitted",
        "EROFS" => "read-only file system",
        _ => "system error",
    }
}
