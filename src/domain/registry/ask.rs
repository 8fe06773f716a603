//! What a request asks of the registry, and why it may get nothing.

use std::sync::Arc;
use std::time::Duration;

use super::super::endpoint::Protocol;
use super::super::ids::{ClientId, EndpointId, Epoch, ProfileId};
use super::super::opinions::Fingerprint;
use super::super::sessions::Origin;
use super::super::time::Moment;
use super::Grant;

/// Which endpoints can serve a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// An LLM path: endpoints of its protocol, chosen by load.
    Llm(Protocol),
    /// Another path: endpoints of any protocol, always the first usable one, so that what is stored with one account is
    /// found there again.
    Other,
}

impl Ask {
    /// Whether the request was sent to this endpoint.
    pub(super) fn has_been_at(&self, endpoint: &EndpointId) -> bool {
        self.tried.iter().any(|tried| tried.endpoint == *endpoint)
    }
}

/// An endpoint that a request was sent to, and that has not answered it well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Which one.
    pub endpoint: EndpointId,
    /// Its epoch then. In another one it has been out and come back, or is another service.
    pub epoch: Epoch,
    /// When the attempt ended.
    pub at: Moment,
    /// Whether the request has been sent there as often as it may be.
    pub spent: bool,
    /// Whether its host may be at fault, so that another host is better.
    pub host_in_doubt: bool,
}

/// What the next attempt of a request is, as far as the retry budget goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Its first.
    First,
    /// A retry. It is free where it goes to another endpoint for the first time.
    Retry,
    /// One that waited for an overload to pass: its pace is set by the cooldowns.
    Paced,
    /// One behind an endpoint that lacks what is asked for: nothing has failed there.
    Onward,
}

/// Which endpoints are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those not tried yet, at once.
    Fresh,
    /// Those not tried yet; else any that recovers, ends its cooldown or has room again until then.
    Parked {
        /// When the waiting ends.
        until: Moment,
    },
    /// Also those that were tried and not spent.
    Again,
}

/// What a request asks of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Whose endpoints.
    pub profile: ProfileId,
    /// What they must be able to do.
    pub service: Service,
    /// The model that the client named.
    pub model: Option<Arc<str>>,
    /// Who asks.
    pub client: Option<ClientId>,
    /// For which session.
    pub origin: Origin,
    /// What it asks; known once an attempt has failed.
    pub fingerprint: Option<Fingerprint>,
    /// The endpoints that this request was sent to, each once.
    pub tried: Vec<Tried>,
    /// What the attempt is.
    pub turn: Turn,
    /// Which endpoints it may be.
    pub reach: Reach,
    /// Whether it is the request's last attempt.
    pub is_last: bool,
    /// No attempt starts later than this.
    pub deadline: Moment,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(pub(super) u64);

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Acquired {
    /// One attempt's permission to use one endpoint.
    Granted(Grant),
    /// The request waits: for a verdict on the endpoint that it would get, or for one that may serve it. An
    /// [`Effect`](super::Effect) for this waiter follows.
    Waiting(WaiterId),
    /// No endpoint can be had.
    Refused(NoEndpoint),
}

/// What keeps endpoints that are all in a cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The provider of one of them is overloaded.
    Overload,
    /// The soonest end is that of a used-up window.
    Exhausted,
    /// The soonest end is that of a rate limit.
    Rate,
}

/// Why no endpoint can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// No endpoint is of the profile: none ever was, or a reload has taken it away while the request was under way.
    ProfileGone,
    /// No endpoint of the profile serves the path.
    PathUnserved,
    /// Those that serve the path don't serve the model.
    ModelUnserved,
    /// Those that do are isolated, some of them perhaps switched off or in a cooldown, and none is left.
    Isolated {
        /// How many of them are isolated.
        isolated: usize,
        /// How many there are in all.
        total: usize,
        /// How long it is until one may be back; `None` where all that are left are isolated for what only the operator can mend.
        next: Option<Duration>,
    },
    /// All that are left are in a cooldown.
    Cooling {
        /// How many these are.
        total: usize,
        /// How long it is to the soonest end.
        soonest: Duration,
        /// What keeps them.
        limit: Limit,
    },
    /// All that are left have as many attempts under way as they may.
    Full {
        /// How many these are.
        usable: usize,
    },
    /// Those that do are all switched off.
    SwitchedOff {
        /// How many these are.
        total: usize,
    },
    /// The request has tried every one that is usable.
    GivenUp,
    /// The budget for further retries is spent.
    BudgetSpent,
    /// The same request has been found to be the cause of its failures, and has had its one attempt.
    Poisoned,
    /// The request's deadline passed while it waited.
    TooLate,
    /// It would have to wait, and the gateway is stopping.
    Stopping,
}
