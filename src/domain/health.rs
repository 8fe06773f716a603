//! An endpoint's health in one word, for display. It is derived from the standing, and decides nothing.

use serde::Serialize;

use super::queues::Standing;

/// How much of its share an endpoint takes in its home queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ease {
    /// All of it.
    Whole,
    /// It has come back, and its share still grows.
    SlowStart,
    /// It rests for some model.
    Cooling,
    /// It rests until a used-up window begins anew.
    Exhausted,
}

/// An endpoint's health as displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In its home queue, with nothing against it.
    Healthy,
    /// In its home queue, with recent failures, in a cooldown or in slow start.
    Degraded,
    /// In its home queue with a used-up window: a long cooldown, and no fault.
    Exhausted,
    /// In the failure queue.
    Unhealthy,
    /// Switched off.
    Disabled,
}

impl Status {
    /// The health of an endpoint with this standing, and this many failures since its last success.
    pub const fn of(standing: Standing, failures: u32, ease: Ease) -> Self {
        match (standing, ease) {
            (Standing::Disabled, _) => Self::Disabled,
            (Standing::Failure, _) => Self::Unhealthy,
            (Standing::Primary | Standing::Secondary, Ease::Exhausted) => Self::Exhausted,
            (Standing::Primary | Standing::Secondary, Ease::Cooling | Ease::SlowStart) => Self::Degraded,
            (Standing::Primary | Standing::Secondary, Ease::Whole) if failures > 0 => Self::Degraded,
            (Standing::Primary | Standing::Secondary, Ease::Whole) => Self::Healthy,
        }
    }

    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Exhausted => "exhausted",
            Self::Unhealthy => "unhealthy",
            Self::Disabled => "disabled",
        }
    }
}

/// A breaker's state as displayed. It has no transitions of its own: it follows the isolation and its verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// The endpoint is not isolated.
    Closed,
    /// The endpoint is isolated.
    Open,
    /// The endpoint is isolated, and a verification is under way.
    HalfOpen,
}

impl BreakerState {
    /// The state for an endpoint, by whether it is isolated and whether it is being verified.
    pub const fn of(isolated: bool, verifying: bool) -> Self {
        match (isolated, verifying) {
            (false, _) => Self::Closed,
            (true, false) => Self::Open,
            (true, true) => Self::HalfOpen,
        }
    }

    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_follows_the_standing() {
        for (standing, failures, ease, status) in [
            (Standing::Primary, 0, Ease::Whole, Status::Healthy),
            (Standing::Secondary, 1, Ease::Whole, Status::Degraded),
            (Standing::Primary, 0, Ease::SlowStart, Status::Degraded),
            (Standing::Primary, 0, Ease::Cooling, Status::Degraded),
            (Standing::Primary, 1, Ease::Exhausted, Status::Exhausted),
            (Standing::Failure, 3, Ease::Exhausted, Status::Unhealthy),
            (Standing::Disabled, 3, Ease::SlowStart, Status::Disabled),
        ] {
            assert_eq!(Status::of(standing, failures, ease), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }

    #[test]
    fn a_breaker_is_half_open_only_while_an_isolated_endpoint_is_verified() {
        for (isolated, verifying, state) in [
            (false, false, BreakerState::Closed),
            (false, true, BreakerState::Closed),
            (true, false, BreakerState::Open),
            (true, true, BreakerState::HalfOpen),
        ] {
            assert_eq!(BreakerState::of(isolated, verifying), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
