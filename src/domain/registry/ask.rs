//! What a request asks of the registry, and why it may be refused.

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
    /// Another path: endpoints of any protocol, always the first usable one, so that what is stored with an account is
    /// found there again.
    Other,
}

impl Ask {
    /// Whether the request was sent to this endpoint.
    pub(super) fn has_been_at(&self, endpoint: &EndpointId) -> bool {
        self.tried.iter().any(|tried| tried.endpoint == *endpoint)
    }
}

/// An endpoint that a request was sent to without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Which one.
    pub endpoint: EndpointId,
    /// Its epoch then. In another epoch it has been out and come back, or is another service.
    pub epoch: Epoch,
    /// When the attempt ended.
    pub at: Moment,
    /// Whether the request has been sent there as often as it may be.
    pub spent: bool,
    /// Whether its host may be at fault, so that another host is better.
    pub host_in_doubt: bool,
}

/// What a request's next attempt is to the retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The request's first attempt.
    First,
    /// A retry. Going to a second endpoint for the first time is free.
    Retry,
    /// An attempt that waited for an overload to pass: free, since cooldowns set its pace.
    Paced,
    /// An attempt after an endpoint that lacks what is asked for: free unless the endpoint was tried before, since nothing
    /// failed.
    Onward,
}

/// Which endpoints are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those not tried yet, without waiting.
    Fresh,
    /// Those not tried yet; failing these, any endpoint that recovers, ends its cooldown or has room again by then.
    Parked {
        /// When the waiting ends.
        until: Moment,
    },
    /// Also those that were tried but are not spent.
    Again,
}

/// What a request asks of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The profile whose endpoints may serve it.
    pub profile: ProfileId,
    /// What the endpoints must be able to serve.
    pub service: Service,
    /// The model that the client named.
    pub model: Option<Arc<str>>,
    /// The client.
    pub client: Option<ClientId>,
    /// The session.
    pub origin: Origin,
    /// The request's fingerprint; known once an attempt has failed.
    pub fingerprint: Option<Fingerprint>,
    /// The endpoints that this request was sent to, each once.
    pub tried: Vec<Tried>,
    /// What the attempt is.
    pub turn: Turn,
    /// Which endpoints it may use.
    pub reach: Reach,
    /// Whether it is the request's last attempt.
    pub is_last: bool,
    /// No attempt starts at or after this moment.
    pub deadline: Moment,
}

/// The id of a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(pub(super) u64);

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Acquired {
    /// One attempt's permission to use one endpoint.
    Granted(Grant),
    /// The request waits: for a verdict on the endpoint that it would get, or for an endpoint that may serve it. An
    /// [`Effect`](super::Effect) for this waiter follows.
    Waiting(WaiterId),
    /// No endpoint can be had.
    Refused(NoEndpoint),
}

/// What limits endpoints that are all in a cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The provider of one of them is overloaded.
    Overload,
    /// The cooldown that ends soonest is a used-up window.
    Exhausted,
    /// The cooldown that ends soonest is a rate limit.
    Rate,
}

/// Why no endpoint can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The profile has no endpoint: it never had one, or a reload removed it while the request was under way.
    ProfileGone,
    /// No endpoint of the profile serves the path.
    PathUnserved,
    /// No endpoint that serves the path serves the model.
    ModelUnserved,
    /// Some of those that serve path and model are isolated, and the others are switched off, drained or in a cooldown.
    Isolated {
        /// How many are isolated.
        isolated: usize,
        /// How many there are in all.
        total: usize,
        /// The time until one may be back; `None` if all that could come back are isolated for reasons that only the
        /// operator can fix.
        next: Option<Duration>,
    },
    /// None is isolated, and those in use are all in a cooldown.
    Cooling {
        /// How many there are.
        total: usize,
        /// The time until the first cooldown ends.
        soonest: Duration,
        /// What limits them.
        limit: Limit,
    },
    /// The usable endpoints have as many attempts under way as they may.
    Full {
        /// How many there are.
        usable: usize,
    },
    /// All that serve path and model are switched off or drained.
    SwitchedOff {
        /// How many there are.
        total: usize,
    },
    /// The request has tried every usable endpoint that had room.
    GivenUp,
    /// The budget for further retries is spent.
    BudgetSpent,
    /// The request was found to be the cause of its own failures, and has had its one attempt.
    Poisoned,
    /// The request's deadline passed while it waited.
    TooLate,
    /// It would have to wait, and the gateway is stopping.
    Stopping,
}
