//! Clients that are kept for the next call of `accept`. Each was accepted for a caller whose time expired before the
//! client had a complete PROXY header, or a slot. A slot can be missing if the limit was lowered just before.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use crate::net::server::arrival::{Accepted, Incoming};
use crate::net::server::listener::Listener;
use crate::net::server::options::WhenFull;
use crate::net::server::patience::Crew;
use crate::net::server::refuse::Refused;
use crate::report::RefusedBy;
use crate::sync::deadline::Deadline;
use crate::sync::gate::Phase;
use crate::sync::poison::lock;

impl Accepted {
    /// Like [`with_slots`](Self::with_slots), if the filter admits the client. The filter is called once, before the
    /// client may be kept.
    pub(crate) fn filtered(
        self,
        server: &Listener,
        until: Deadline,
        phase: Phase,
        crew: &dyn Crew,
    ) -> Result<Incoming, Box<Accepted>> {
        match server.ask_filter(&self.remote, &self.presence, &|call| crew.away(call)) {
            Ok(()) => self.with_slots(server, until, phase),
            Err(by) => {
                let Accepted { stream, remote, presence, header, .. } = self;
                Ok(Incoming { stream, remote, slots: Err(by), presence, header })
            }
        }
    }

    /// Takes the client's slots. Returns the client if no slot is free until the time expires. `phase` is the server's
    /// phase when the client came.
    pub(crate) fn with_slots(
        self,
        server: &Listener,
        until: Deadline,
        phase: Phase,
    ) -> Result<Incoming, Box<Accepted>> {
        let slots = match self.slots {
            Some(slots) => Ok(slots),
            None if phase >= Phase::Closed => Err(RefusedBy::Closing),
            None => match server.take_slots(&self.remote, until) {
                Ok(Some(slots)) => Ok(slots),
                Ok(None) => return Err(Box::new(Accepted { slots: None, ..self })),
                Err(by) => Err(by),
            },
        };
        let Accepted { stream, remote, presence, header, .. } = self;
        Ok(Incoming { stream, remote, slots, presence, header })
    }
}

/// A client in the hands of a caller that may keep it. It is counted before the caller returns its turn, and until the
/// caller has returned, refused or kept the client. So a thread that has the turn knows of each client that is kept, or
/// that may be kept while the thread is in accept(2).
pub(crate) struct InHand<'a>(&'a AtomicUsize);

impl<'a> InHand<'a> {
    pub(crate) fn new(server: &'a Listener) -> InHand<'a> {
        server.in_hand.fetch_add(1, SeqCst);
        InHand(&server.in_hand)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Listener {
    /// Whether callers may keep clients.
    pub(crate) fn may_keep(&self) -> bool {
        self.is_timed() && (self.options.trusted.is_some() || self.options.when_full == WhenFull::Wait)
    }

    /// Whether clients are kept, or may soon be.
    pub(crate) fn has_kept(&self) -> bool {
        self.may_keep() && {
            // A client is in hand before it is taken from here, and until it is here again.
            let kept = lock(&self.kept);
            !kept.is_empty() || self.in_hand.load(SeqCst) > 0
        }
    }

    /// Keeps a client for the next call. If the server is closing, returns the client, and the caller refuses it.
    pub(crate) fn keep(&self, client: Accepted) -> Result<(), Box<Accepted>> {
        let mut kept = lock(&self.kept);
        // Either this sees that the server is closing, or the closing thread finds the client.
        if self.is_closing() {
            return Err(Box::new(client));
        }
        kept.push_back(client);
        Ok(())
    }

    pub(crate) fn count_kept(&self) -> usize {
        if self.is_timed() { lock(&self.kept).len() } else { 0 }
    }

    /// The client that was kept first.
    pub(crate) fn next_kept(&self) -> Option<Accepted> {
        if self.is_timed() { lock(&self.kept).pop_front() } else { None }
    }

    /// Refuses the kept clients, for the closing thread. Returns what to report.
    pub(crate) fn turn_kept_away(&self) -> Vec<Refused> {
        let kept = std::mem::take(&mut *lock(&self.kept));
        let mut turned_away = Vec::new();
        for Accepted { stream, remote, presence, slots, .. } in kept {
            drop(slots);
            let local = self.local_of(&stream);
            self.turn_away(stream, RefusedBy::Closing, &Arc::new(presence));
            turned_away.push(Refused { local, remote, by: RefusedBy::Closing });
        }
        turned_away
    }
}
