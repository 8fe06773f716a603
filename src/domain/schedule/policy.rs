//! How long to wait before an endpoint is talked to again.

use std::time::Duration;

use super::super::backoff::{Growth, jittered};
use super::super::outcome::Reason;

/// When to verify.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SchedulePolicy {
    /// From the isolation to the first verification.
    pub initial_delay: Duration,
    /// The factor from one delay to the next.
    pub multiplier: f64,
    /// The longest delay.
    pub interval: Duration,
    /// The longest delay for isolations that only the operator can mend, and the one for endpoints with a used-up window.
    pub interval_account: Duration,
    /// The share by which delays waver.
    pub jitter: f64,
    /// The most conversations at a time.
    pub concurrency: usize,
}

impl SchedulePolicy {
    pub(super) fn delay(&self, reason: Reason, step: u32, chance: f64) -> Duration {
        let limit = if reason.needs_operator() { self.interval_account } else { self.interval };
        let grown = Growth { initial: self.initial_delay, multiplier: self.multiplier, limit }.delay(step);
        jittered(grown, self.jitter, chance)
    }

    /// Between two attempts to end a long cooldown early.
    pub(super) fn early_return(&self, chance: f64) -> Duration {
        jittered(self.interval_account, self.jitter, chance)
    }
}
