//! How long to wait before an endpoint is talked to again.

use std::time::Duration;

use super::super::backoff::{Growth, jittered};
use super::super::outcome::Reason;

/// When to verify.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SchedulePolicy {
    /// The time from the isolation to the first verification.
    pub initial_delay: Duration,
    /// The factor from one delay to the next.
    pub multiplier: f64,
    /// The longest delay.
    pub interval: Duration,
    /// The longest delay for isolations that only the operator can fix, and the delay between attempts for endpoints with a
    /// used-up window.
    pub interval_account: Duration,
    /// The share by which delays vary at random.
    pub jitter: f64,
    /// The most conversations at once.
    pub concurrency: usize,
}

impl SchedulePolicy {
    pub(super) fn delay(&self, reason: Reason, step: u32, chance: f64) -> Duration {
        let limit = if reason.needs_operator() { self.interval_account } else { self.interval };
        let grown = Growth { initial: self.initial_delay, multiplier: self.multiplier, limit }.delay(step);
        jittered(grown, self.jitter, chance)
    }

    /// The delay between two attempts to end a long cooldown early.
    pub(super) fn early_return(&self, chance: f64) -> Duration {
        jittered(self.interval_account, self.jitter, chance)
    }
}
