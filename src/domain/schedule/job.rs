//! One task of the verifier: whom to talk to, and what for.

use std::sync::Arc;

use super::super::conversation::Manner;
use super::super::endpoint::SharedEndpoint;
use super::super::ids::{EndpointId, Epoch};
use super::super::outcome::Reason;
use super::super::time::Moment;

/// What a conversation is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The endpoint is isolated: passing brings it back.
    Recovery,
    /// The endpoint is in its home queue, and a failure of it is in doubt: failing twice isolates it.
    Opinion,
    /// The endpoint is in its home queue with a used-up window: passing ends the cooldown early, failing changes nothing.
    EarlyReturn,
}

/// One endpoint that a conversation is to be held with, as the registry names it.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyJob {
    /// Whom to talk to.
    pub endpoint: SharedEndpoint,
    /// What for.
    pub purpose: Purpose,
    /// Its epoch. In any other one the conversation's result is void.
    pub epoch: Epoch,
    /// Why it was isolated, or would be.
    pub reason: Reason,
    /// How the conversation is held.
    pub manner: Manner,
    /// The model whose failure isolated it.
    pub model: Option<Arc<str>>,
    /// Since when; for an early return: since when it rests.
    pub isolated_at: Moment,
    /// Whether it was isolated again within its slow start.
    pub relapse: bool,
    /// How far its verification had come before this process began.
    pub resume: Option<Resume>,
    /// Whether it was redefined, or its isolation is in doubt, and it should be verified at once.
    pub at_once: bool,
}

/// How far an endpoint's verification had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// By how many steps its delay had grown.
    pub step: u32,
    /// How often it was verified since its isolation; none where that is over, and only a relapse goes on from the step.
    pub since_isolation: Option<Verified>,
}

/// What the verifications of an isolation that lasts have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many there were.
    pub verifications: u32,
    /// When the next one is due.
    pub next: Moment,
}

impl VerifyJob {
    /// Whether both are the same task, so that what has come of the one counts for the other.
    pub(super) fn is_same_task(&self, other: &Self) -> bool {
        self.endpoint.id == other.endpoint.id && self.epoch == other.epoch && self.purpose == other.purpose
    }
}

/// A conversation under way: with whom, and in which of its epochs.
pub type Conversation = (EndpointId, Epoch);
