//! accept(2): the next client that is let in, and what is done when none can be accepted.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::address::Address;
use crate::error::Error;
use crate::net::server::admission::{Client, admit};
use crate::net::server::listener::Listener;
use crate::net::server::refuse::Hooks;
use crate::net::server::registry::Presence;
use crate::net::socket::Socket;
use crate::report::{Report, guarded};

/// Gives the next client to a caller who serves it himself.
pub(crate) fn accept(server: &Listener) -> io::Result<Option<Socket>> {
    let hooks = Hooks::default();
    loop {
        match next_client(server, &hooks) {
            Ok(Some((client, presence))) => {
                if let Some((client, presence)) = client.introduce(server, presence, &hooks) {
                    return Ok(Some(client.register(server, Some(presence))));
                }
            }
            Ok(None) => return Ok(None),
            Err(error) => {
                server.close();
                return Err(error);
            }
        }
    }
}

/// Blocks in accept(2) until a client comes that is let in; `None` once the server is closed.
///
/// | accept(2) says | what is done |
/// |---|---|
/// | a client | admitted, or refused and on |
/// | the server is closing | `None` |
/// | interrupted by a signal | again, at once, uncounted |
/// | the client is gone again: `ECONNABORTED`, `ECONNRESET`, … | again, at once |
/// | the listener is useless: `EINVAL`, `EBADF`, `ENOTSOCK` | the error |
/// | anything else: no descriptors, no memory, `EPERM`, `EPROTO`, the client's network errors | told once, pause, again |
pub(crate) fn next_client(server: &Listener, hooks: &Hooks<'_>) -> io::Result<Option<(Client, Presence)>> {
    let mut backoff = AcceptBackoff { server, in_a_row: 0 };
    loop {
        let turn = server.turn_to_accept();
        server.accepting.fetch_add(1, SeqCst);
        // Held between counting in and out only: `close` closes the descriptor when all are out, and `wait` looks then
        // who is present.
        let listener = if server.closing.load(SeqCst) { None } else { server.listener() };
        let accepted = listener.as_ref().and_then(|listener| server.accept_client(listener));
        drop(listener);
        let client = accepted.map(|accepted| accepted.map(|client| (client, server.registry.presence())));
        server.accepting.fetch_sub(1, SeqCst);
        let closing = server.closing.load(SeqCst);
        if closing {
            server.registry.changed();
        }
        match client {
            None => return Ok(None),
            Some(Ok(((socket, remote), presence))) => {
                let remote = Address::of(&remote).unwrap_or_else(|| PathBuf::new().into());
                let slots = server.take_slots(&remote);
                // Before anybody is told, and before the client is served.
                drop(turn);
                backoff.is_over();
                if let Some(admitted) = admit(server, socket.into(), remote, slots, presence, hooks) {
                    return Ok(Some(admitted));
                }
            }
            Some(Err(_)) if closing => return Ok(None),
            Some(Err(error)) => {
                drop(turn);
                backoff.again(error, hooks)?;
            }
        }
    }
}

pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Clients that are gone again cost no pause, unless so many come in a row that it would be spinning.
const AT_ONCE: u32 = 16;

/// One acceptor's run of failures.
struct AcceptBackoff<'a> {
    server: &'a Listener,
    in_a_row: u32,
}

impl AcceptBackoff<'_> {
    /// Pauses as the error asks for; gives back one that no pause can mend.
    fn again(&mut self, error: io::Error, hooks: &Hooks<'_>) -> io::Result<()> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if error.kind() == Interrupted {
            // A signal came, which says nothing of the clients: between two of them there may be any number.
            return Ok(());
        }
        self.server.registry.accept_failed();
        let passing = matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused);
        let error = Error::call("accept", &error);
        if matches!(error.code(), "EINVAL" | "EBADF" | "ENOTSOCK") {
            return Err(error.into());
        }
        self.in_a_row += 1;
        let pauses = if passing { self.in_a_row.saturating_sub(AT_ONCE) } else { self.in_a_row };
        if pauses == 0 {
            return Ok(());
        }
        // While others wait in accept(2), the next client is theirs: each of them has set a descriptor aside, and this
        // thread, which found none left, is only one more that waits.
        let is_short = self.server.accepting.load(SeqCst) == 0;
        if is_short && !self.server.paused.0.swap(true, SeqCst) {
            let address = self.server.address.clone();
            self.server.registry.reporter.tell(|| Report::AcceptPaused {
                address,
                error: error.clone(),
                pause: FIRST_PAUSE,
            });
            if let Some(hook) = hooks.error {
                guarded(|| hook(&error, None));
            }
        }
        self.server.pause(LONGEST_PAUSE.min(FIRST_PAUSE * (1 << (pauses - 1).min(8))));
        Ok(())
    }

    /// A client came.
    fn is_over(&mut self) {
        self.in_a_row = 0;
        let paused = &self.server.paused.0;
        if paused.load(SeqCst) && paused.swap(false, SeqCst) {
            self.server.registry.reporter.tell(|| Report::Resumed { address: self.server.address.clone() });
        }
    }
}
