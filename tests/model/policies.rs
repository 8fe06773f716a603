//! What the settings say beside the endpoints. Short times throughout, so that a run sees them end.

use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;
use qcc_gateway::domain::breaker::BreakerPolicy;
use qcc_gateway::domain::budget::BudgetPolicy;
use qcc_gateway::domain::cooling::CoolingPolicy;
use qcc_gateway::domain::registry::RegistryPolicy;
use qcc_gateway::domain::schedule::SchedulePolicy;
use qcc_gateway::domain::sessions::AffinityPolicy;

use super::chance;
use super::world::{ToBreakers, ToVerifier, World};

/// The first delay before a verification, of the registry and the verifier alike.
pub(crate) const INITIAL_DELAY: Duration = Duration::from_secs(5);

/// The share of a delay that is left to chance.
pub(crate) const JITTER: f64 = 0.1;

pub(crate) fn breaker(rng: &mut Rng) -> BreakerPolicy {
    BreakerPolicy {
        failure_threshold: rng.u32(1..5),
        failure_rate: [0.5, 0.8, 1.0][rng.usize(..3)],
        min_requests: rng.u32(2..8),
        window: Duration::from_secs(20),
    }
}

pub(crate) fn schedule(rng: &mut Rng) -> SchedulePolicy {
    SchedulePolicy {
        initial_delay: INITIAL_DELAY,
        multiplier: 2.0,
        interval: Duration::from_secs(60),
        interval_account: Duration::from_secs(100),
        jitter: JITTER,
        concurrency: rng.usize(1..4),
    }
}

pub(crate) fn registry(rng: &mut Rng) -> RegistryPolicy {
    RegistryPolicy {
        slow_start: Duration::from_secs(30),
        initial_delay: INITIAL_DELAY,
        cooling: CoolingPolicy {
            default_cooldown: Duration::from_secs(5),
            exhausted_after: Duration::from_secs(30),
            overload_cooldown: Duration::from_secs(2),
            overload_max: Duration::from_secs(30),
            isolate_after: Duration::from_secs([2, 10, 40][rng.usize(..3)]),
        },
        affinity: AffinityPolicy {
            enabled: !chance::one_in(rng, 8),
            ttl: Duration::from_secs([30, 3_600][rng.usize(..2)]),
            secondary_ttl: Duration::from_secs(15),
            patience: Duration::from_secs(5),
            max_sessions: NonZeroUsize::MAX,
        },
        budget: BudgetPolicy { ratio: 0.2, min_per_second: rng.u32(..2) },
        park_max: [0, 1, 2, 4, 256][rng.usize(..5)],
        journal: 0,
    }
}

impl World {
    /// Thresholds, delays and bounds change while everything is under way. The registry goes by the new ones at once, the
    /// others behind what was sent to them before.
    pub(crate) fn policies_change(&mut self) {
        self.policy = registry(&mut self.rng);
        self.shadow.set_policy(self.policy);
        self.core.set_policy(self.policy);
        self.to_breakers.push_back(ToBreakers::SetPolicy(breaker(&mut self.rng)));
        self.to_verifier.push_back(ToVerifier::SetPolicy(schedule(&mut self.rng)));
        self.trace.met("other thresholds while reports are under way");
        self.trace.note(&format!("the policy is now {:?}", self.policy));
    }
}
