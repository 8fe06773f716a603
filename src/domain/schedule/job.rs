//! One task of the verifier: which endpoint to talk to, and what for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::conversation::Manner;
use super::super::endpoint::SharedEndpoint;
use super::super::ids::{EndpointId, Epoch};
use super::super::outcome::Reason;
use super::super::time::Moment;

/// Which kind of task a conversation is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A [`Task::Recovery`].
    Recovery,
    /// A task with an endpoint in its home queue.
    AtHome(AtHome),
}

/// Why an endpoint in its home queue is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtHome {
    /// A [`Task::Opinion`].
    Opinion,
    /// A [`Task::EarlyReturn`].
    EarlyReturn,
}

impl Purpose {
    /// What the log calls such a conversation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovery => "verification",
            Self::AtHome(AtHome::Opinion) => "second opinion",
            Self::AtHome(AtHome::EarlyReturn) => "early return",
        }
    }
}

impl Task {
    /// Whether it is the verification of an isolated endpoint that need not wait.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self, Self::Recovery(Recovery { urgency: Urgency::AtOnce, .. }))
    }

    /// Its kind.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::Recovery(_) => Purpose::Recovery,
            Self::Opinion { .. } => Purpose::AtHome(AtHome::Opinion),
            Self::EarlyReturn { .. } => Purpose::AtHome(AtHome::EarlyReturn),
        }
    }
}

/// The endpoint that a conversation is held with, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The endpoint to talk to.
    pub endpoint: SharedEndpoint,
    /// Its epoch. In any other one the conversation's result is void.
    pub epoch: Epoch,
    /// How the conversation is held.
    pub manner: Manner,
    /// The model in question, if any.
    pub model: Option<Arc<str>>,
    /// What it takes to pass.
    pub suffices: Suffices,
}

/// Which model's answer suffices in a conversation about a model. If the settings name a model to verify with, it takes the
/// place of the one in question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suffices {
    /// That model's; or the next one's, if the endpoint lacks it.
    #[default]
    ThatModel,
    /// Any model's: the model alone may have failed, and a request that names one which works nowhere must not take the
    /// endpoint from all others.
    AnyModel,
    /// That model's alone, whatever the settings name: a used-up window may be one model's, and another model's answer says
    /// nothing of it. If no model is in question, the same as [`Suffices::ThatModel`].
    ItAlone,
}

/// A conversation to be held with one endpoint, as the registry lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyJob {
    /// The endpoint, and how to talk to it.
    pub subject: Subject,
    /// The reason for it.
    pub task: Task,
}

/// What a conversation is held for, with the details of that purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The endpoint is isolated: passing brings it back.
    Recovery(Recovery),
    /// The endpoint is in its home queue, and a failure of it is in doubt: failing twice isolates it.
    Opinion {
        /// What it would be isolated for.
        reason: Reason,
    },
    /// The endpoint is in its home queue with a used-up window: passing ends the cooldown early, failing changes nothing.
    EarlyReturn {
        /// Since when it is in that cooldown.
        since: Moment,
    },
}

/// The verification of an isolated endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Why it was isolated.
    pub reason: Reason,
    /// Since when.
    pub isolated_at: Moment,
    /// Whether it was isolated again within its slow start.
    pub relapse: bool,
    /// How far its verification had come before this process began.
    pub resume: Option<Resume>,
    /// Whether it has to wait.
    pub urgency: Urgency,
}

/// Whether the first verification of an isolation has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// For the first delay.
    Delayed,
    /// It need not: another service is behind the endpoint, its isolation is in doubt, or what was known of it is lost.
    AtOnce,
}

/// How far an endpoint's verification had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// By how many steps its delay had grown.
    pub step: u32,
    /// Its verifications since its isolation; `None` if that is over and only a relapse goes on from the step.
    pub since_isolation: Option<Verified>,
}

/// The verifications so far of an isolation that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many there were.
    pub verifications: u32,
    /// When the next one is due.
    pub next: Moment,
}

impl Subject {
    /// A subject with no model in particular, answered in one piece.
    #[must_use]
    pub const fn new(endpoint: SharedEndpoint, epoch: Epoch) -> Self {
        Self { endpoint, epoch, manner: Manner::Whole, model: None, suffices: Suffices::ThatModel }
    }

    /// The key of a conversation with it.
    #[must_use]
    pub fn conversation(&self) -> Conversation {
        (self.endpoint.id.clone(), self.epoch)
    }
}

impl VerifyJob {
    /// Whether both are the same task, so that the result of one counts for the other.
    pub(super) fn is_same_task(&self, other: &Self) -> bool {
        self.subject.endpoint.id == other.subject.endpoint.id
            && self.subject.epoch == other.subject.epoch
            && self.task.purpose() == other.task.purpose()
    }
}

/// A conversation under way: the endpoint, and in which of its epochs.
pub type Conversation = (EndpointId, Epoch);
