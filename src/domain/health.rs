//! How an endpoint is, in a word. Derived from where it stands; nothing is decided by it.

use serde::Serialize;

use super::queues::Standing;

/// An endpoint's health as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In its home queue, and nothing to say against it.
    Healthy,
    /// In its home queue, with recent failures or in slow start.
    Degraded,
    /// In the failure queue.
    Unhealthy,
    /// Switched off.
    Disabled,
}

impl Status {
    /// The health of an endpoint that stands there, with so many failures since its last success.
    pub const fn of(standing: Standing, failures: u32, slow_start: bool) -> Self {
        match standing {
            Standing::Disabled => Self::Disabled,
            Standing::Failure => Self::Unhealthy,
            Standing::Primary | Standing::Secondary if failures > 0 || slow_start => Self::Degraded,
            Standing::Primary | Standing::Secondary => Self::Healthy,
        }
    }

    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Disabled => "disabled",
        }
    }
}

/// A breaker's state as it is shown. It has no transition of its own: it follows the isolation and its verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// The endpoint is not isolated.
    Closed,
    /// It is.
    Open,
    /// It is, and a verification is under way.
    HalfOpen,
}

impl BreakerState {
    /// The state for an endpoint that is isolated or not, and verified at the moment or not.
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
        for (standing, failures, slow_start, status) in [
            (Standing::Primary, 0, false, Status::Healthy),
            (Standing::Secondary, 1, false, Status::Degraded),
            (Standing::Primary, 0, true, Status::Degraded),
            (Standing::Failure, 3, false, Status::Unhealthy),
            (Standing::Disabled, 3, true, Status::Disabled),
        ] {
            assert_eq!(Status::of(standing, failures, slow_start), status);
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
