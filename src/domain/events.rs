//! The event log: queue moves, verifications and the like, for operators to read afterwards.

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::Serialize;

use super::conversation::Tokens;
use super::ids::{EndpointId, Epoch};
use super::outcome::Reason;
use super::time::Moment;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Moved to the failure queue.
    Isolated,
    /// Moved back to its home queue.
    Recovered,
    /// A verification ended.
    Verified,
    /// A second opinion on an endpoint in its home queue was given.
    SecondOpinion,
    /// The endpoint was switched off.
    Disabled,
    /// The endpoint was switched on.
    Enabled,
    /// New in the settings.
    Added,
    /// Redefined in the settings.
    Changed,
    /// Gone from the settings.
    Removed,
    /// Rests for a while in its home queue.
    Cooldown,
    /// Rests until its used-up window begins anew.
    Exhausted,
    /// The settings were reloaded, with or without success.
    Reload,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Isolated,
        Self::Recovered,
        Self::Verified,
        Self::SecondOpinion,
        Self::Disabled,
        Self::Enabled,
        Self::Added,
        Self::Changed,
        Self::Removed,
        Self::Cooldown,
        Self::Exhausted,
        Self::Reload,
    ];

    /// The contract's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Recovered => "recovered",
            Self::Verified => "verified",
            Self::SecondOpinion => "second_opinion",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Cooldown => "cooldown",
            Self::Exhausted => "exhausted",
            Self::Reload => "reload",
        }
    }
}

/// One event. Fields that mean nothing for its kind are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// What.
    pub kind: EventKind,
    /// The endpoint concerned.
    pub endpoint: Option<EndpointId>,
    /// The model concerned.
    pub model: Option<String>,
    /// The endpoint's epoch since.
    pub epoch: Option<Epoch>,
    /// Why.
    pub reason: Option<Reason>,
    /// What was seen. It quotes an upstream only if the operator asked for that.
    pub detail: Option<String>,
    /// The peer's address, if an admin did it.
    pub by: Option<IpAddr>,
    /// How long the verification took, or the cooldown lasts, in milliseconds.
    pub ms: Option<u64>,
    /// The verification's score, 0 to 100.
    pub score: Option<u8>,
    /// What the verification cost.
    pub tokens: Option<Tokens>,
}

impl Event {
    /// The detail of a conversation that passed. For one that failed the detail is the error.
    pub const PASSED: &str = "passed";

    /// An event of this endpoint; all other fields are still empty.
    pub fn new(kind: EventKind, at: Moment, endpoint: &EndpointId) -> Self {
        Self { endpoint: Some(endpoint.clone()), ..Self::of_gateway(kind, at) }
    }

    /// An event of the gateway itself; all other fields are still empty.
    pub fn of_gateway(kind: EventKind, at: Moment) -> Self {
        Self {
            at,
            kind,
            endpoint: None,
            model: None,
            epoch: None,
            reason: None,
            detail: None,
            by: None,
            ms: None,
            score: None,
            tokens: None,
        }
    }
}

/// The latest events, numbered from 1.
#[derive(Clone, Debug)]
pub struct EventLog {
    kept: VecDeque<(u64, Event)>,
    capacity: usize,
    newest: u64,
}

impl EventLog {
    /// A log that keeps the latest `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self { kept: VecDeque::new(), capacity, newest: 0 }
    }

    /// Takes in an event and gives it its number.
    pub fn push(&mut self, event: Event) -> u64 {
        self.newest += 1;
        self.kept.push_back((self.newest, event));
        self.make_room();
        self.newest
    }

    /// Keeps no more than the latest `capacity` events from now on.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.kept.len() > self.capacity {
            self.kept.pop_front();
        }
    }

    /// The kept events with a number above `seq`, newest last.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &(u64, Event)> {
        self.kept.iter().filter(move |(number, _)| *number > seq)
    }

    /// The kept events that a reader has missed whose last one was `seq`, newest last. A number that was never given is from an
    /// earlier run, so that all events of this run are new.
    pub fn missed_since(&self, seq: u64) -> impl Iterator<Item = &(u64, Event)> {
        self.after(if seq > self.newest { 0 } else { seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_serialises_as_its_word() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn keeps_the_latest_and_numbers_them_all() {
        let mut log = EventLog::new(2);
        let id = EndpointId::new("a").unwrap();
        for kind in [EventKind::Isolated, EventKind::Verified, EventKind::Recovered] {
            log.push(Event::new(kind, Moment::START, &id));
        }
        let kept: Vec<_> = log.after(0).map(|(seq, event)| (*seq, event.kind)).collect();
        assert_eq!(kept, [(2, EventKind::Verified), (3, EventKind::Recovered)]);
        assert_eq!(log.after(2).count(), 1);
    }

    #[test]
    fn who_knows_a_number_that_was_never_given_has_missed_everything() {
        let mut log = EventLog::new(9);
        assert_eq!(log.missed_since(0).count(), 0);
        for _ in 0..3 {
            log.push(Event::new(EventKind::Verified, Moment::START, &EndpointId::new("a").unwrap()));
        }
        for (last, missed) in [(0, 3), (1, 2), (3, 0), (4, 3), (u64::MAX, 3)] {
            assert_eq!(log.missed_since(last).count(), missed, "{last}");
        }
    }
}
