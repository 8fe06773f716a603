//! How large the world is, and what may happen in it.

use std::num::NonZeroUsize;
use std::time::Duration;

use qcc_gateway::domain::breaker::BreakerPolicy;
use qcc_gateway::domain::budget::BudgetPolicy;
use qcc_gateway::domain::cooling::CoolingPolicy;
use qcc_gateway::domain::endpoint::{Endpoint, Home};
use qcc_gateway::domain::ids::EndpointId;
use qcc_gateway::domain::registry::RegistryPolicy;
use qcc_gateway::domain::retry::RetryPolicy;
use qcc_gateway::domain::schedule::SchedulePolicy;
use qcc_gateway::domain::sessions::AffinityPolicy;
use qcc_gateway::domain::time::Moment;

use crate::endpoint::plain_endpoint;

/// When the world begins.
pub(crate) const BEGINNING: Moment = Moment::after_start(Duration::from_secs(3_600));
/// One step of the clock: longer than anything in this world lasts.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
/// Never reached.
pub(crate) const NEVER: Moment = Moment::after_start(Duration::from_secs(1_000_000_000));
/// How long a request may be parked.
const PARK: Duration = Duration::from_secs(10);

/// The names of the two endpoints.
pub(crate) const NAMES: [&str; 2] = ["a", "b"];
/// The services that an endpoint can be by its settings: redefining it makes the one of the other.
const SERVICES: [[&str; 2]; 2] = [["http://a.test", "http://a2.test"], ["http://b.test", "http://b2.test"]];

/// What may happen, and how often. Requests come one after the other without end, unless `requests` bounds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// What it is about.
    pub(crate) name: &'static str,
    /// How many consecutive failures isolate.
    pub(crate) threshold: u32,
    /// In which queues the endpoints are at home.
    pub(crate) homes: [Home; 2],
    /// How many workers there are, each with a request at a time.
    pub(crate) workers: usize,
    /// How many requests come in all; without end where none.
    pub(crate) requests: Option<u8>,
    /// How often a request is sent to one endpoint at most, of two attempts.
    pub(crate) max_per_endpoint: u32,
    /// Whether requests that fail for good doubt their failures.
    pub(crate) doubts: bool,
    /// How often a client leaves while its request waits.
    pub(crate) leavers: u8,
    /// Whether messages to and from the verifier get lost.
    pub(crate) losses: bool,
    /// Whether hours pass.
    pub(crate) hours: bool,
    /// How often an admin switches an endpoint off; on again as often as he likes.
    pub(crate) switches: u8,
    /// How often the settings of an endpoint are changed, removed or added.
    pub(crate) reloads: u8,
    /// How many reports can be on their way to the breakers, and how many verdicts from them; one more has to wait.
    pub(crate) reports: usize,
    /// How many failure lists can be on their way to the verifier; of more the latest takes the place of the one before it.
    pub(crate) lists: usize,
    /// How many results can be on their way from the verifier.
    pub(crate) news: usize,
}

impl Scope {
    /// Traffic and verification, and nothing else.
    pub(crate) const fn traffic(threshold: u32) -> Self {
        Self {
            name: "traffic",
            threshold,
            homes: [Home::Primary, Home::Secondary],
            workers: 2,
            requests: None,
            max_per_endpoint: 1,
            doubts: false,
            leavers: 0,
            losses: false,
            hours: false,
            switches: 0,
            reloads: 0,
            reports: 1,
            lists: 1,
            news: 1,
        }
    }

    pub(crate) const fn breaker(&self) -> BreakerPolicy {
        // Failures in a row alone: in a window without length there is no share of failures.
        BreakerPolicy {
            failure_threshold: self.threshold,
            failure_rate: 1.0,
            min_requests: u32::MAX,
            window: Duration::ZERO,
        }
    }

    pub(crate) const fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 2,
            max_per_endpoint: self.max_per_endpoint,
            deadline: NEVER,
            backoff: Duration::ZERO,
            backoff_max: Duration::ZERO,
            park: PARK,
        }
    }
}

/// No delay at all: every verification is due at once, so that it can begin at any time.
pub(crate) fn registry_policy() -> RegistryPolicy {
    let none = Duration::ZERO;
    RegistryPolicy {
        slow_start: none,
        initial_delay: none,
        cooling: CoolingPolicy {
            default_cooldown: none,
            exhausted_after: none,
            overload_cooldown: none,
            overload_max: none,
            isolate_after: none,
        },
        affinity: AffinityPolicy {
            enabled: false,
            ttl: none,
            secondary_ttl: none,
            patience: none,
            max_sessions: NonZeroUsize::MIN,
        },
        budget: BudgetPolicy { ratio: 0.0, min_per_second: u32::MAX },
        park_max: 16,
        journal: 0,
    }
}

pub(crate) fn schedule_policy() -> SchedulePolicy {
    SchedulePolicy {
        initial_delay: Duration::ZERO,
        multiplier: 1.0,
        interval: Duration::ZERO,
        interval_account: Duration::ZERO,
        jitter: 0.0,
        concurrency: NAMES.len(),
    }
}

pub(crate) fn id(endpoint: usize) -> EndpointId {
    EndpointId::new(NAMES[endpoint]).unwrap()
}

/// Which endpoint this is.
pub(crate) fn index(id: &EndpointId) -> usize {
    NAMES.iter().position(|name| *name == id.as_str()).unwrap()
}

/// An endpoint as the settings define it.
pub(crate) fn endpoint(which: usize, service: usize, home: Home) -> Endpoint {
    // So turns are whole numbers.
    let weight = 1;
    Endpoint { home, weight, ..plain_endpoint(id(which), SERVICES[which][service]) }
}
