//! accept(2): the next client, and what happens when accepting fails.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::callback::guarded;
use crate::error::Error;
use crate::net::server::admission::Introduced;
use crate::net::server::arrival::{Accepted, Incoming};
use crate::net::server::kept::InHand;
use crate::net::server::listener::Listener;
use crate::net::server::patience::{Caller, Crew};
use crate::net::server::refuse::{Hooks, refuse};
use crate::net::server::registry::{Presence, Seat};
use crate::net::socket::Socket;
use crate::report::{RefusedBy, Report};
use crate::sync::deadline::Deadline;
use crate::sync::gate::{NoSeat, Phase};

/// How many clients a caller refuses in a row after its time has expired, before it gives up. The next one may be
/// admitted.
const REFUSED_AT_MOST: u32 = 16;

/// Returns the next client to a caller that serves it itself.
pub(crate) fn accept(server: &Listener, caller: &Caller) -> io::Result<Option<Socket>> {
    caller.check(server)?;
    let hooks = Hooks::default();
    let mut refused_late = 0;
    loop {
        if let Some(client) = kept_client(server, &hooks, caller) {
            return Ok(Some(client));
        }
        let (incoming, _in_hand) = match next_client(server, None, &hooks, caller) {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return Ok(None),
            Err(error) if Error::is_tick(&error) && !caller.until().is_over() => continue,
            Err(error) => return Err(error),
        };
        match let_in(server, incoming, &hooks, caller.until()) {
            Introduced::In(client) => return Ok(Some(client.register(server).0)),
            Introduced::NotYet(client) => {
                let incoming = keep(server, client, &hooks, caller)?;
                if let Introduced::In(client) = let_in(server, incoming, &hooks, Deadline::NEVER) {
                    return Ok(Some(client.register(server).0));
                }
            }
            Introduced::Refused => {}
        }
        if caller.until().is_over() {
            refused_late += 1;
            if refused_late == REFUSED_AT_MOST {
                return Err(caller.time_is_over());
            }
        }
    }
}

/// Admits or refuses a client. May wait for its PROXY header.
fn let_in(server: &Listener, incoming: Incoming, hooks: &Hooks<'_>, until: Deadline) -> Introduced {
    let Incoming { stream, remote, slots, presence, header } = incoming;
    match slots {
        Ok(slots) => server.admit(stream, remote, slots, presence, header).introduce(server, hooks, until),
        Err(by) => {
            refuse(server, stream, (None, remote), by, presence, hooks, &|| {});
            Introduced::Refused
        }
    }
}

/// Returns the first kept client that can be admitted now. The others stay kept. Waits only if other threads begin to
/// serve in between, for the header of one client.
fn kept_client(server: &Listener, hooks: &Hooks<'_>, caller: &Caller) -> Option<Socket> {
    let count = if caller.takes_kept() { 0 } else { server.count_kept() };
    let _in_hand = (count > 0).then(|| InHand::new(server));
    for _ in 0..count {
        let now = Deadline::after(Duration::ZERO);
        let client = match server.next_kept()?.with_slots(server, now, Phase::Listening) {
            Ok(incoming) => match let_in(server, incoming, hooks, now) {
                Introduced::In(client) => return Some(client.register(server).0),
                Introduced::Refused => continue,
                Introduced::NotYet(client) => client,
            },
            Err(client) => *client,
        };
        if let Ok(incoming) = keep(server, client, hooks, caller) {
            if let Introduced::In(client) = let_in(server, incoming, hooks, Deadline::NEVER) {
                return Some(client.register(server).0);
            }
        }
    }
    None
}

/// Keeps a client for the next call, and returns the error of the expired time. A closing server keeps none. If other
/// threads have begun to serve, they may have looked for kept clients before. Then this returns a kept client.
fn keep(server: &Listener, client: Accepted, hooks: &Hooks<'_>, crew: &dyn Crew) -> io::Result<Incoming> {
    if let Err(client) = server.keep(client) {
        let Accepted { stream, remote, presence, slots, .. } = *client;
        drop(slots);
        refuse(server, stream, (None, remote), RefusedBy::Closing, presence, hooks, &|| {});
    } else if server.registry.gate.is_claimed() {
        let client = server.next_kept().map(|client| client.with_slots(server, Deadline::NEVER, Phase::Listening));
        if let Some(Ok(incoming)) = client {
            return Ok(incoming);
        }
    }
    Err(crew.time_is_over())
}

/// Takes a [`Seat`] at the listener. `None` once the server is closing, or the time has expired.
pub(crate) fn sit(server: &Listener, until: Deadline) -> Option<Seat<'_>> {
    loop {
        match Seat::take(&server.registry) {
            Ok(seat) => return Some(seat),
            Err(NoSeat::Full) if !until.is_over() => server.pause(until.or_after(FIRST_PAUSE)),
            Err(_) => return None,
        }
    }
}

/// Blocks until a client comes, usually in accept(2). `None` once the server is closing, or if the thread may end
/// instead of pausing. With the client comes an [`InHand`] if the caller may keep the client.
///
/// # Errors
/// - The thread's time has expired.
/// - The thread may not accept.
/// - The listener no longer works, and the server was closed.
pub(crate) fn next_client<'a>(
    server: &'a Listener,
    mut seat: Option<Seat<'a>>,
    hooks: &Hooks<'_>,
    crew: &dyn Crew,
) -> io::Result<Option<(Incoming, Option<InHand<'a>>)>> {
    let mut until = crew.until_next_look(server, crew.until());
    let (mut turn, mut in_a_row) = (None, InARow::default());
    loop {
        crew.may_accept(server)?;
        if let Some(client) = crew.takes_kept().then(|| server.next_kept()).flatten() {
            return match client.with_slots(server, until, Phase::Listening) {
                Ok(incoming) => Ok(Some((incoming, None))),
                Err(client) => keep(server, *client, hooks, crew).map(|incoming| Some((incoming, None))),
            };
        }
        if crew.takes_turns(server) {
            // A thread that waits for its turn or for a slot is not in accept(2), and `close` waits only for threads in
            // accept(2). So the thread leaves its seat.
            drop(seat.take());
            if turn.is_none() {
                turn = server.turn.enter(until, || server.is_closing());
                match turn {
                    _ if server.is_closing() => return Ok(None),
                    None => return Err(crew.time_is_over()),
                    // Since the last check, the server may have been claimed, or a client may have been kept.
                    Some(_) => {
                        until = crew.until_next_look(server, until);
                        continue;
                    }
                }
            }
            let has_room = server.wait_for_room(until);
            if server.is_closing() {
                return Ok(None);
            }
            if !has_room {
                return Err(crew.time_is_over());
            }
        }
        let Some(taken) = seat.take().or_else(|| sit(server, until)) else {
            return if server.is_closing() { Ok(None) } else { Err(crew.time_is_over()) };
        };
        let began = Instant::now();
        let listener = if server.is_closing() { None } else { server.listener() };
        let accepted = match listener.as_ref().map(|listener| server.set_wait(listener, until, turn.is_some())) {
            None => return Ok(None),
            Some(Ok(false)) => continue,
            Some(Ok(true)) => listener.as_ref().and_then(|listener| server.accept_client(listener)),
            Some(Err(error)) => Some(Err(error)),
        };
        let Some(accepted) = accepted else { return Ok(None) };
        // Dropped before the thread leaves its seat, because `close` closes the descriptor when no seat is taken.
        drop(listener);
        let error = match accepted {
            Ok((stream, remote)) => {
                let (presence, view) = taken.rise();
                let remote = Address::of(&remote).unwrap_or_else(|| PathBuf::new().into());
                let stream = server.stream_of(stream);
                let client = Accepted { stream, remote, presence, slots: None, header: None };
                let in_hand = (until != Deadline::NEVER && server.may_keep()).then(|| InHand::new(server));
                // A client of an adopted listener is admitted while the server closes, because no other process can get
                // this client.
                let phase = view.phase();
                let incoming = if server.filters(phase) {
                    // The filter is the program's code, and may take long. Other threads accept while it runs.
                    turn = None;
                    client.filtered(server, until, phase, crew)
                } else {
                    client.with_slots(server, until, phase)
                };
                let incoming = match incoming {
                    Ok(incoming) => incoming,
                    Err(client) => return keep(server, *client, hooks, crew).map(|incoming| Some((incoming, None))),
                };
                // A caller without a time keeps no client any more.
                let in_hand = in_hand.filter(|_| crew.until() != Deadline::NEVER);
                drop(turn);
                server.accepting_works(&incoming.presence, hooks, crew);
                return Ok(Some((incoming, in_hand)));
            }
            Err(error) => error,
        };
        if server.is_closing() {
            return Ok(None);
        }
        let pauses = match verdict(&error, began.elapsed()) {
            Verdict::Again if until.is_over() => return Err(crew.time_is_over()),
            Verdict::Again => {
                in_a_row = InARow::default();
                seat = Some(taken);
                continue;
            }
            Verdict::Stop => {
                server.registry.accept_failed();
                // `close` waits for the seat. While the presence exists, the server has not ended.
                let (presence, _) = taken.rise_alone();
                let _frame = presence.frame();
                drop(turn);
                let error = Error::call("accept", &error);
                if server.close() && crew.reports_the_end() {
                    let _in_hook = server.registry.in_hook();
                    server.registry.reporter.tell_failed(&error);
                }
                return Err(error.into());
            }
            Verdict::Pause(pauses) => pauses,
        };
        if pauses.are_told {
            server.registry.accept_failed();
        }
        let Some(pause) = in_a_row.pause(pauses) else {
            seat = Some(taken);
            continue;
        };
        if pauses.are_told {
            turn = None;
            server.accepting_fails(taken, error, hooks, crew);
        } else {
            drop(taken);
        }
        if until.is_over() {
            return Err(crew.time_is_over());
        }
        if crew.may_end() {
            return Ok(None);
        }
        server.pause(until.or_after(pause));
    }
}

pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What to do after an error of accept(2).
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Again,
    Pause(&'static Pauses),
    Stop,
}

/// Pauses that double while an error repeats.
#[derive(Debug, PartialEq, Eq)]
struct Pauses {
    /// How many errors in a row cost no pause.
    at_once: u32,
    first: Duration,
    longest: Duration,
    /// Whether the errors are reported and counted.
    are_told: bool,
}

/// Descriptors, memory or threads are short, or the network fails.
const SHORTAGE: Pauses = Pauses { at_once: 0, first: FIRST_PAUSE, longest: LONGEST_PAUSE, are_told: true };
/// The client is gone again. After so many in a row, each retry pauses, so that the thread does not spin.
const CLIENT_GONE: Pauses = Pauses { at_once: 16, ..SHORTAGE };
/// The listener is non-blocking. Another process may have set that, so it is kept, and the listener is polled.
const DOES_NOT_BLOCK: Pauses =
    Pauses { at_once: 0, first: Duration::from_millis(2), longest: Duration::from_millis(16), are_told: false };

/// The errors of one kind that came in a row. A poll that finds no client is a kind of its own. It shows that accepting
/// works, so the errors before it and after it are not in a row.
#[derive(Default)]
struct InARow {
    kind: Option<&'static Pauses>,
    count: u32,
}

impl InARow {
    /// Counts an error, and returns the pause after it.
    fn pause(&mut self, pauses: &'static Pauses) -> Option<Duration> {
        let before = if self.kind == Some(pauses) { self.count } else { 0 };
        *self = InARow { kind: Some(pauses), count: before.saturating_add(1) };
        pauses.after(self.count)
    }
}

/// A call that took longer than this has waited.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What an error of accept(2) means. `took` is how long the call took.
///
/// | accept(2) returns | what is done |
/// |---|---|
/// | interrupted by a signal | retry |
/// | `EAGAIN` after a wait: a receive timeout on the listener | retry |
/// | `EAGAIN` at once: the listener is non-blocking | retry after 2 to 16 ms |
/// | the client is gone again: `ECONNABORTED`, `ECONNRESET`, … | retry; after 16 in a row with pauses as below |
/// | the listener no longer works: `EINVAL`, `EBADF`, `ENOTSOCK` | stop |
/// | anything else: no descriptors, no memory, `EPERM`, network errors of the client | retry after 5 ms to 1 s |
fn verdict(error: &io::Error, took: Duration) -> Verdict {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    match error.kind() {
        Interrupted => Verdict::Again,
        WouldBlock | TimedOut if took >= AT_ONCE => Verdict::Again,
        WouldBlock => Verdict::Pause(&DOES_NOT_BLOCK),
        ConnectionAborted | ConnectionReset | ConnectionRefused => Verdict::Pause(&CLIENT_GONE),
        _ if matches!(Error::call("accept", error).code(), "EINVAL" | "EBADF" | "ENOTSOCK") => Verdict::Stop,
        _ => Verdict::Pause(&SHORTAGE),
    }
}

impl Pauses {
    /// The pause after so many errors in a row.
    fn after(&self, in_a_row: u32) -> Option<Duration> {
        let doubled = in_a_row.checked_sub(self.at_once + 1)?.min(8);
        Some(self.longest.min(self.first * (1 << doubled)))
    }
}

impl Listener {
    /// Records that accepting fails, leaves the seat, and reports the failure once. Other threads in accept(2) have
    /// already reserved a descriptor, so they get the next client. This thread found no free descriptor, so it would
    /// only wait as well.
    fn accepting_fails(&self, seat: Seat<'_>, error: io::Error, hooks: &Hooks<'_>, crew: &dyn Crew) {
        let (presence, view) = seat.rise_alone();
        let is_short = view.seats() == 0;
        if is_short && !self.shortage.is_on() {
            self.tell_shortage(Some(Error::call("accept", &error)), &presence, hooks, crew);
        }
    }

    /// Records that accepting works, because a client came.
    fn accepting_works(&self, presence: &Presence, hooks: &Hooks<'_>, crew: &dyn Crew) {
        if self.shortage.is_on() {
            self.tell_shortage(None, presence, hooks, crew);
        }
    }

    fn tell_shortage(&self, error: Option<Error>, presence: &Presence, hooks: &Hooks<'_>, crew: &dyn Crew) {
        let reporter = &self.registry.reporter;
        let is_told = reporter.is_on() || hooks.error.is_some();
        if !is_told || !self.shortage.changes_to(error) {
            return;
        }
        let _in_hook = self.registry.in_hook();
        let _frame = presence.frame();
        crew.away(&mut || self.tell_all_of_shortage(hooks));
    }

    fn tell_all_of_shortage(&self, hooks: &Hooks<'_>) {
        let reporter = &self.registry.reporter;
        while let Some(error) = self.shortage.next_to_tell() {
            let address = self.address.clone();
            match error {
                Some(error) => {
                    let told = error.clone();
                    reporter.tell(|| Report::AcceptPaused { address, error: told, pause: FIRST_PAUSE });
                    if let Some(hook) = hooks.error {
                        guarded(|| hook(&error, None));
                    }
                }
                None => reporter.tell(|| Report::Resumed { address }),
            }
        }
    }

    /// Sleeps until then, unless the server is closing.
    pub(crate) fn pause(&self, until: Deadline) {
        self.registry.gate.wait(until, &[], &|view| view.phase() != Phase::Listening);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.registry.gate.phase() != Phase::Listening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ensures that each kind of failure gets the answer of the table, and none is taken for another.
    #[test]
    fn each_error_of_accept_has_its_verdict() {
        use io::ErrorKind::{
            AddrInUse, ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory, PermissionDenied, WouldBlock,
        };
        let long = Duration::from_millis(500);
        let table = [
            (Interrupted, Duration::ZERO, Verdict::Again),
            (Interrupted, long, Verdict::Again),
            (WouldBlock, long, Verdict::Again),
            (WouldBlock, Duration::ZERO, Verdict::Pause(&DOES_NOT_BLOCK)),
            (ConnectionAborted, Duration::ZERO, Verdict::Pause(&CLIENT_GONE)),
            (ConnectionReset, long, Verdict::Pause(&CLIENT_GONE)),
            (OutOfMemory, Duration::ZERO, Verdict::Pause(&SHORTAGE)),
            (PermissionDenied, long, Verdict::Pause(&SHORTAGE)),
            (AddrInUse, Duration::ZERO, Verdict::Pause(&SHORTAGE)),
        ];
        for (kind, took, expected) in table {
            assert_eq!(verdict(&kind.into(), took), expected, "{kind:?} after {took:?}");
        }
    }

    /// Ensures that what makes a listener useless ends accepting, and what passes does not.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_useless_listener_ends_accepting_and_nothing_else_does() {
        // EBADF, EINVAL, ENOTSOCK; EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH.
        for code in [9, 22, 88] {
            assert_eq!(verdict(&io::Error::from_raw_os_error(code), Duration::ZERO), Verdict::Stop, "{code} ends it");
        }
        for code in [24, 23, 105, 12, 71, 1, 100, 113] {
            let pause = Verdict::Pause(&SHORTAGE);
            assert_eq!(verdict(&io::Error::from_raw_os_error(code), Duration::ZERO), pause, "{code} passes");
        }
    }

    /// Ensures that pauses double up to the longest, after those errors that cost none.
    #[test]
    fn pauses_grow_from_the_first_to_the_longest() {
        let pauses: Vec<_> = (1..=10).map(|n| SHORTAGE.after(n).map_or(0, |pause| pause.as_millis())).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000], "a shortage pauses from 5 ms to 1 s");
        let pauses: Vec<_> = (1..=5).map(|n| DOES_NOT_BLOCK.after(n).map_or(0, |pause| pause.as_millis())).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 16], "a listener that does not block is looked at every 2 to 16 ms");
        assert_eq!(CLIENT_GONE.after(16), None, "sixteen clients that are gone again cost no pause");
        assert_eq!(CLIENT_GONE.after(17), Some(FIRST_PAUSE), "the next in a row does");
    }

    /// Ensures that an error's pause depends on the errors of its kind alone, and that a poll that finds no client
    /// begins the count anew.
    #[test]
    fn each_kind_of_error_is_counted_by_itself() {
        let mut in_a_row = InARow::default();
        let mut last = |pauses, count| (0..count).map(|_| in_a_row.pause(pauses)).last().flatten();
        assert_eq!(last(&DOES_NOT_BLOCK, 100), Some(Duration::from_millis(16)), "the premise: polls pause");
        assert_eq!(last(&CLIENT_GONE, 16), None, "after polls, sixteen clients that are gone again cost no pause");
        assert_eq!(last(&DOES_NOT_BLOCK, 1), Some(Duration::from_millis(2)), "the polls begin anew");
        assert_eq!(last(&SHORTAGE, 1), Some(FIRST_PAUSE), "after polls, the first pause of a shortage is the shortest");
        assert_eq!(last(&CLIENT_GONE, 16), None, "a shortage does not count as a client that is gone again");
        assert_eq!(last(&CLIENT_GONE, 1), Some(FIRST_PAUSE), "the seventeenth in a row pauses");
    }
}
