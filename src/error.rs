use std::borrow::Cow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::{fmt, io};

use crate::address::Address;
use crate::sys;

/// What the library's own code returns. Every public call returns [`io::Result`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What an [`io::Error`] of this library has beside its kind, such as the operation, the code and the address.
///
/// Every call returns [`io::Result`]. [`Error::of`] finds the library's error in it.
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
/// Two kinds of errors have none inside. One are the plain errors that std's own readers give too, such as
/// `UnexpectedEof` of `read_exact`, or `InvalidData` of a line that is too long or is not UTF-8. The other is a panic
/// that [`join`](crate::Running::join) returns as an error. docs/reference.md has a table of all codes.
///
/// Its text begins as Node's does for the same failure, so it can be searched for. The error of the system, or of the
/// program's own code, is its [`source`](std::error::Error::source). Two errors are equal when code, operation and
/// address are.
///
/// Its `Debug` is the text too. A `main` that returns `Result<(), landline::Error>` ends with `Error: listen
/// EADDRINUSE: address already in use 127.0.0.1:3000`. A `main` that returns `io::Result` shows it as std shows any
/// error inside another, as in `Error: Custom { kind: AddrInUse, error: … }`.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: io::ErrorKind,
    code: Cow<'static, str>,
    cause: Option<Cause>,
    syscall: Option<&'static str>,
    /// The whole text where it does not follow from the other fields.
    text: Option<Cow<'static, str>>,
    address: Option<Address>,
    local_address: Option<Address>,
    host: Option<Box<str>>,
    causes: Vec<Error>,
    source: Option<Arc<io::Error>>,
}

/// The errors that the library's own code distinguishes, whatever their texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server is served already.
    AlreadyListen,
    /// The connection was closed by this program.
    Destroyed,
    /// The server is shutting down.
    ShuttingDown,
    /// The idle timeout has passed.
    Idle,
    /// The timeout of one call has passed.
    Waited,
    /// The queue of an outbox has no room.
    Full,
}

impl Cause {
    /// Whether an error is this one itself.
    pub(crate) fn is_of(self, error: &io::Error) -> bool {
        Error::itself(error).is_some_and(|error| error.has(self))
    }

    /// Whether an error is this one or has it as its source. It calls `source` of the program's own errors.
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
    /// The operation that failed, by Node's name, such as `listen`, `connect`, `bind`, `send`, `getaddrinfo`, `read`,
    /// `write`, `accept` or an option's setter. `None` if no system call was made.
    pub fn syscall(&self) -> Option<&str> {
        self.0.syscall
    }

    /// The code, which is the same on every system, such as `EADDRINUSE`, `ECONNREFUSED`, `ENOTFOUND` or
    /// `ERR_SOCKET_BAD_PORT`.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The kind of an [`io::Error`] that is made of this.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind
    }

    /// The system's error number, where the system reported one.
    #[doc(alias = "errno")]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_ref()?.raw_os_error()
    }

    /// The address that the call listened on, connected to or sent to. If several were tried, it is the first. `None`
    /// for reads and writes, whose peer the socket knows as [`remote_address`](crate::net::Socket::remote_address).
    pub fn address(&self) -> Option<&Address> {
        self.0.address.as_ref().or_else(|| self.0.causes.first()?.address())
    }

    /// The local address that the program asked for, if it did.
    pub fn local_address(&self) -> Option<&Address> {
        self.0.local_address.as_ref()
    }

    /// The name that was looked up, when the look-up failed.
    #[doc(alias = "hostname")]
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// The failure of each address, in the order they were tried. Empty unless several were tried.
    #[doc(alias = "AggregateError")]
    pub fn causes(&self) -> &[Error] {
        &self.0.causes
    }

    /// The library's error inside an [`io::Error`], also if the program has wrapped it as the
    /// [`source`](std::error::Error::source) of an error of its own. `None` if there is none.
    pub fn of(error: &io::Error) -> Option<&Error> {
        Error::behind(error, &|_| true)
    }

    /// The first of the library's errors for which `is_so` holds, from the outermost inwards.
    fn behind<'a>(error: &'a io::Error, is_so: &dyn Fn(&Error) -> bool) -> Option<&'a Error> {
        /// A bound on the sources, for an error that is its own source.
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
                // Its `source` skips the error inside it, so take that one.
                Some(error) => inside(error),
                None => error.source(),
            };
        }
        None
    }

    /// The library's error, unless the program has wrapped it.
    fn itself(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether an error is a tick, which is a timeout of a read, a write, a receive, an accept or an idle connection. A
    /// tick ends and loses nothing. The next call waits for the whole time again, so a loop can continue.
    ///
    /// All ticks are of kind `TimedOut`. A [deadline](crate::net::Socket::set_deadline) that has passed is of that kind
    /// too, but is not a tick, since every later call fails as well.
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

    /// A failed system call.
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

    /// The same as an error that ends something. The library no longer distinguishes it.
    pub(crate) fn without_cause(mut self, kind: io::ErrorKind) -> Error {
        self.0.cause = None;
        self.of_kind(kind)
    }

    /// The same with another kind than std has for the system's number.
    pub(crate) fn of_kind(mut self, kind: io::ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The same for a call about an address.
    pub(crate) fn at(mut self, address: impl Into<Address>) -> Error {
        self.0.address = Some(address.into());
        self
    }

    /// The same for a call that set a local address too.
    pub(crate) fn with_local(mut self, address: impl Into<Address>) -> Error {
        self.0.local_address = Some(address.into());
        self
    }

    /// The same for something that a peer did. Its text begins with the address.
    pub(crate) fn of_peer(mut self, address: &Address) -> Error {
        self.0.text = Some(format!("{address}: {self}").into());
        self.at(address.clone())
    }

    /// The same for a name that was looked up.
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

    /// The source, if it is the program's own error and gives this one its text.
    fn own_source(&self) -> Option<&io::Error> {
        self.0.source.as_deref().filter(|_| self.0.syscall.is_none() && self.0.text.is_none())
    }

    pub(crate) fn has(&self, cause: Cause) -> bool {
        self.0.cause == Some(cause)
    }

    /// What the system would answer, for a call that is certain to fail and is not made.
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

    /// A look-up failed. It is `NotFound` only if the resolver's answer is known to mean that there is no such name.
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

    /// Several addresses were tried until a deadline. The code is the deadline's, whatever failed before.
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

/// Prints the text too, since a `main` that returns the error prints its `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    /// The system's error, or the error that the program's own handler, hook or resolver returned.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = &**self.0.source.as_ref()?;
        match source.get_ref() {
            Some(inside) => Some(inside),
            None => Some(source),
        }
    }
}

// The source may be any error. It is shown and not used otherwise.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

impl PartialEq for Error {
    /// Whether code, operation and address are the same.
    fn eq(&self, other: &Error) -> bool {
        (self.code(), self.syscall(), self.address()) == (other.code(), other.syscall(), other.address())
    }
}

impl Eq for Error {}

impl From<Error> for io::Error {
    /// An error of the same kind with this inside. An error that the library did not make comes out as it went in. If a
    /// clone of it is kept, or a name or address is known beside it, it becomes the
    /// [`source`](std::error::Error::source).
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
    /// The library's error inside, or else one with the whole as its source.
    fn from(error: io::Error) -> Error {
        match error.downcast() {
            Ok(inside) => inside,
            Err(error) => Error::new(error.kind(), sys::code(&error)).with_source(error),
        }
    }
}

/// libuv's words for a code. Node shows them for `listen` alone.
fn description(code: &str) -> &'static str {
    match code {
        "EACCES" => "permission denied",
        "EADDRINUSE" => "address already in use",
        "EADDRNOTAVAIL" => "address not available",
        "EAFNOSUPPORT" => "address family not supported",
        "EBADF" => "bad file descriptor",
        "EINVAL" => "invalid argument",
        "EMFILE" => "too many open files",
        "ENFILE" => "file table overflow",
        "ENOBUFS" => "no buffer space available",
        "ENOMEM" => "not enough memory",
        "ENOPROTOOPT" => "protocol not available",
        "ENOTDIR" => "not a directory",
        "ENOTSOCK" => "socket operation on non-socket",
        "ENOTSUP" | "EOPNOTSUPP" => "operation not supported on socket",
        "EPERM" => "operation not permitted",
        "EROFS" => "read-only file system",
        _ => "system error",
    }
}
