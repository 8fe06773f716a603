//! The schedule's results: how far the conversations are, and what follows when one begins or ends.

use std::fmt;
use std::time::Duration;

use super::super::endpoint::{Endpoint, SharedEndpoint};
use super::super::ids::Epoch;
use super::super::time::Moment;
use super::job::{AtHome, Conversation, Purpose, Subject};

/// How far the conversations with one endpoint are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its epoch.
    pub epoch: Epoch,
    /// What they are held for.
    pub purpose: Purpose,
    /// How often it was verified since its isolation; 0 for any other purpose.
    pub verifications: u32,
    /// When the next one is due; `None` while one is under way.
    pub next: Option<Moment>,
}

/// How often an endpoint was verified since an isolation.
#[derive(Clone, PartialEq)]
pub struct Count {
    /// The endpoint as it was defined then.
    pub(super) endpoint: SharedEndpoint,
    pub(super) isolated_at: Moment,
    pub(super) verifications: u32,
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Count").field(&self.verifications).finish()
    }
}

impl Count {
    /// The count, if it is about this service.
    #[must_use]
    pub fn about(&self, service: &Endpoint) -> Option<u32> {
        self.endpoint.same_service(service).then_some(self.verifications)
    }
}

/// What follows from a conversation that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The isolated endpoint works again.
    Recovered {
        /// How often it was verified since its isolation, this time included.
        verifications: u32,
        /// The step from which its delays go on if it relapses.
        step: u32,
    },
    /// The endpoint in its home queue works.
    Fit(AtHome),
}

/// What follows from a conversation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The endpoint stays isolated.
    StillFailing(Finished),
    /// The second opinion is asked for once more, at once.
    OnceMore,
    /// The second opinion is given: the endpoint is at fault.
    Unfit,
    /// The endpoint's window is still used up.
    StillExhausted {
        /// How long until the next conversation.
        next_in: Duration,
    },
}

/// A verification of an isolated endpoint that did not pass, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// By how many steps its delay has grown.
    pub step: u32,
    /// How often the endpoint was verified since its isolation, this one included.
    pub verifications: u32,
    /// When this verification began.
    pub began: Moment,
    /// How long until the next one.
    pub next_in: Duration,
    /// When the next one is due.
    pub next: Moment,
}

/// What becomes of a conversation that is asked for out of turn.
#[derive(Clone, Debug, PartialEq)]
pub enum AtOnce {
    /// It begins. It counts as running.
    Begin {
        /// As listed, if the endpoint has a job in this epoch; else as asked for.
        subject: Subject,
        /// A void conversation with the same endpoint, which must end first.
        void: Option<Conversation>,
    },
    /// One is already under way in this epoch; its end will do.
    UnderWay,
    /// The endpoint has moved on since.
    Stale,
}
