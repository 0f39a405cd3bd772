use std::borrow::Cow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::{fmt, io};

use crate::address::Address;
use crate::sys;

/// What the library's own code returns: every public call returns [`io::Result`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What an [`io::Error`] of this library says beside its kind: the operation, the code, the address.
///
/// Every call returns [`io::Result`], and [`Error::of`] finds this in its error:
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
/// It is not in the plain errors that std's own readers give too: `UnexpectedEof` of `read_exact`, `InvalidData` of a
/// line that is too long or no text. Nor in the panic that [`join`](crate::Running::join) gives. docs/reference.md has a
/// table of all codes.
///
/// Its text begins as Node's does for the same failure, so it can be searched for. What the system or the program's own
/// code has said is kept as its [`source`](std::error::Error::source). Two errors are equal when code, operation and
/// address are.
///
/// Its `Debug` is the text too, so a `main` that returns `Result<(), landline::Error>` ends with
/// `Error: listen EADDRINUSE: address already in use 127.0.0.1:3000`. One that returns `io::Result` shows it as std
/// shows any error inside another: `Error: Custom { kind: AddrInUse, error: … }`.
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

/// The errors that the library itself decides by, apart from their texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server is served already.
    AlreadyListen,
    /// The connection was closed by this program.
    Destroyed,
    /// The server is shutting down.
    ShuttingDown,
    /// The idle time is over.
    Idle,
    /// The time of one call is over.
    Waited,
    /// The queue of an outbox has no room.
    Full,
}

impl Cause {
    /// Whether an error says this and no more.
    pub(crate) fn is_of(self, error: &io::Error) -> bool {
        Error::itself(error).is_some_and(|error| error.has(self))
    }

    /// Whether an error says this, or has one that does as its source. Asks errors of the program's own.
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
    /// The operation that failed, as Node names it: `listen`, `connect`, `bind`, `send`, `getaddrinfo`, `read`,
    /// `write`, `accept`, or that of an option setter. `None` where no system call was made.
    pub fn syscall(&self) -> Option<&str> {
        self.0.syscall
    }

    /// The code, the same on every system: `EADDRINUSE`, `ECONNREFUSED`, `ENOTFOUND`, `ERR_SOCKET_BAD_PORT`, …
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The kind an [`io::Error`] made of this has.
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind
    }

    /// The system's error number, where the system reported one.
    #[doc(alias = "errno")]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_ref()?.raw_os_error()
    }

    /// The address that was listened on, connected to or sent to. Of several that were tried, the first. `None` for
    /// reads and writes: there the socket has it, [`remote_address`](crate::net::Socket::remote_address).
    pub fn address(&self) -> Option<&Address> {
        self.0.address.as_ref().or_else(|| self.0.causes.first()?.address())
    }

    /// The local address that was asked for, where one was.
    pub fn local_address(&self) -> Option<&Address> {
        self.0.local_address.as_ref()
    }

    /// The name that was looked up, when the look-up failed.
    #[doc(alias = "hostname")]
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// When several addresses were tried, the failure of each, in the order they were tried; otherwise empty.
    #[doc(alias = "AggregateError")]
    pub fn causes(&self) -> &[Error] {
        &self.0.causes
    }

    /// The error of the library inside an [`io::Error`], also where the program has wrapped it into one of its own, as
    /// its [`source`](std::error::Error::source). `None` if there is none.
    pub fn of(error: &io::Error) -> Option<&Error> {
        Error::behind(error, &|_| true)
    }

    /// The first error of the library that is so, of the one inside an [`io::Error`] and those behind it.
    fn behind<'a>(error: &'a io::Error, is_so: &dyn Fn(&Error) -> bool) -> Option<&'a Error> {
        /// More sources than any error has that is not its own source.
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
                // Its `source` is that of what is inside.
                Some(error) => inside(error),
                None => error.source(),
            };
        }
        None
    }

    /// What an [`io::Error`] is, if it is one of the library's: not one that the program has made of it.
    fn itself(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether an error is a tick: a timeout of a read, of a write, of a receive, of an accept, or of an idle
    /// connection. Nothing has ended or is lost by a tick, and the next call waits anew: a loop goes on.
    ///
    /// All ticks are of kind `TimedOut`; so is a [deadline](crate::net::Socket::set_deadline) that has passed, after
    /// which every call fails, and which is no tick.
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

    /// The same, told as an end: it is no longer one that the library decides by.
    pub(crate) fn without_cause(mut self, kind: io::ErrorKind) -> Error {
        self.0.cause = None;
        self.of_kind(kind)
    }

    /// The same, of another kind than the system's number has in std.
    pub(crate) fn of_kind(mut self, kind: io::ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The same as `call`, of a call about an address.
    pub(crate) fn at(mut self, address: impl Into<Address>) -> Error {
        self.0.address = Some(address.into());
        self
    }

    /// The same, of a call that named its own end too.
    pub(crate) fn with_local(mut self, address: impl Into<Address>) -> Error {
        self.0.local_address = Some(address.into());
        self
    }

    /// The same, of what a peer did; its text begins with the address.
    pub(crate) fn of_peer(mut self, address: &Address) -> Error {
        self.0.text = Some(format!("{address}: {self}").into());
        self.at(address.clone())
    }

    /// The same, of a name that was looked up.
    pub(crate) fn of_host(mut self, host: &str) -> Error {
        self.0.host = Some(host.into());
        self
    }

    /// One of the errors with a fixed text, `ERR_…`.
    pub(crate) fn fixed(kind: io::ErrorKind, code: &'static str, text: impl Into<Cow<'static, str>>) -> Error {
        let mut this = Error::new(kind, code);
        this.0.text = Some(text.into());
        this
    }

    /// An error that the library itself decides by.
    pub(crate) fn of_cause(cause: Cause, text: impl Into<Cow<'static, str>>) -> Error {
        let (kind, code) = cause.kind_and_code();
        let mut this = Error::fixed(kind, code, text);
        this.0.cause = Some(cause);
        this
    }

    /// The source where it is the program's own error, and its text this one's.
    fn own_source(&self) -> Option<&io::Error> {
        self.0.source.as_deref().filter(|_| self.0.syscall.is_none() && self.0.text.is_none())
    }

    pub(crate) fn has(&self, cause: Cause) -> bool {
        self.0.cause == Some(cause)
    }

    /// What the system would answer to a call that was not made, because it can be told beforehand.
    pub(crate) fn coded(syscall: &'static str, kind: io::ErrorKind, code: &'static str) -> Error {
        let mut this = Error::new(kind, code);
        this.0.syscall = Some(syscall);
        this
    }

    /// A buffer size that could not be read or set.
    pub(crate) fn buffer_size(call: &'static str, error: &Error) -> Error {
        let (code, text) = (error.code(), description(error.code()));
        let text = format!("Could not get or set buffer size: {call} returned {code} ({text})");
        let mut this = Error::fixed(error.kind(), "ERR_SOCKET_BUFFER_SIZE", text);
        this.0.source = error.0.source.clone();
        this
    }

    /// An argument that cannot be right.
    pub(crate) fn invalid(code: &'static str, text: impl Into<Cow<'static, str>>) -> Error {
        Error::fixed(io::ErrorKind::InvalidInput, code, text)
    }

    /// An option outside its range, by its name.
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

    /// A name look-up that failed. Only what is known to mean that there is no such name is `NotFound`.
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

    /// A name without an address of the family that is asked for.
    pub(crate) fn not_found(host: &str) -> Error {
        let mut this = Error::new(io::ErrorKind::NotFound, "ENOTFOUND");
        this.0.syscall = Some("getaddrinfo");
        this.0.host = Some(host.into());
        this
    }

    /// Several addresses were tried and each failed. The code is that of the first.
    pub(crate) fn aggregate(to: impl fmt::Display, causes: Vec<Error>) -> Error {
        let first = causes.first().cloned().unwrap_or_else(|| Error::new(io::ErrorKind::NotFound, "ENOTFOUND"));
        Error::led_by(first, &to, causes)
    }

    /// Several addresses were tried and a deadline ended it. The code is the deadline's, whatever failed before.
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

/// Prints the text too: it is what a program shows whose `main` returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    /// What the system said, or the error that the program's own handler, hook or resolver returned.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = &**self.0.source.as_ref()?;
        match source.get_ref() {
            Some(inside) => Some(inside),
            None => Some(source),
        }
    }
}

// The source, which may be any error, is shown and no more.
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
    /// An error of the same kind with this inside. What was no error of the library's comes out as it went in, unless a
    /// clone is kept, or a name or an address is known beside it: then it is the [`source`](std::error::Error::source).
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
    /// Gives back the error of the library inside, or else keeps the whole as the source.
    fn from(error: io::Error) -> Error {
        match error.downcast() {
            Ok(inside) => inside,
            Err(error) => Error::new(error.kind(), sys::code(&error)).with_source(error),
        }
    }
}

/// libuv's words for a code, which Node shows for `listen` alone.
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
