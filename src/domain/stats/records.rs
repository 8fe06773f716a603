//! Records of what is over: requests, attempts, conversations, reloads.

use std::sync::Arc;
use std::time::Duration;

use super::super::endpoint::SharedEndpoint;
use super::super::ids::{ClientId, ProfileId};
use super::super::outcome::{ErrorNote, Outcome};
use super::super::outcome_table::Class;
use super::super::time::Moment;
use super::super::usage::Usage;

/// How a client's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestEnd {
    /// A 2xx answer, passed on whole.
    Successful,
    /// A 4xx, the client's fault, passed on or the gateway's own.
    Rejected,
    /// Anything else that was answered or broken off.
    Failed,
    /// The client went away.
    Cancelled,
}

impl RequestEnd {
    /// The contract's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Successful => "successful",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// How a request ended that was answered whole. `class` is what its attempt came to; `None` for the gateway's own
    /// answers.
    #[must_use]
    pub const fn of_answer(status: Option<u16>, class: Option<Class>) -> Self {
        match (status, class) {
            (Some(200..=299), _) => Self::Successful,
            (Some(400..=499), Some(class)) if class.is_the_clients_fault() => Self::Rejected,
            // A rate limit that reaches the client is the gateway's failure to find room.
            (Some(429), None) => Self::Failed,
            (Some(400..=499), None) => Self::Rejected,
            (Some(_) | None, _) => Self::Failed,
        }
    }
}

/// A client's request that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// How it ended.
    pub end: RequestEnd,
    /// When it ended.
    pub at: Moment,
    /// The time from its arrival to its end.
    pub elapsed: Duration,
    /// How many attempts were made.
    pub attempts: u32,
    /// The client; `None` if no keys are required, or no valid key was shown.
    pub client: Option<ClientId>,
    /// The profile that was to serve it; `None` if no valid key was shown.
    pub profile: Option<ProfileId>,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// The endpoint that it was sent to.
    pub endpoint: SharedEndpoint,
    /// The client whose request it was made for.
    pub client: Option<ClientId>,
    /// The model that the client named.
    pub model: Option<Arc<str>>,
    /// What came back.
    pub class: Class,
    /// The status of what came back, if there was one.
    pub status: Option<u16>,
    /// What its end means.
    pub outcome: Outcome,
    /// The time from the lease to the end.
    pub elapsed: Duration,
    /// The time from the lease to the first content of a stream.
    pub first_content: Option<Duration>,
    /// The usage of a model's answer; `None` if there was no such answer.
    pub usage: Option<Usage>,
    /// What was seen of a failure.
    pub error: Option<ErrorNote>,
}

/// An endpoint's rate limits as an answer's head told them.
#[derive(Clone, Debug, PartialEq)]
pub struct AllowancesRecord {
    /// The endpoint concerned.
    pub endpoint: SharedEndpoint,
    /// Names and values, as the headers have them.
    pub seen: Vec<(String, String)>,
}

/// A conversation of the verifier that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct VerificationRecord {
    /// The endpoint that it was held with.
    pub endpoint: SharedEndpoint,
    /// The model that was asked, by the name that was sent.
    pub model: Option<String>,
    /// Whether it was passed; `None` if it was broken off.
    pub passed: Option<bool>,
    /// Its usage.
    pub usage: Usage,
}

/// A reading of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadRecord {
    /// Whether they were valid, and are in force.
    pub ok: bool,
    /// When they were read.
    pub at: Moment,
}

/// Whether the state file, which outlives a restart, can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFileHealth {
    /// The latest write succeeded, or nothing has had to be written yet.
    Writable,
    /// The latest write failed or takes too long: a restart would lose what it holds.
    Failing,
}
