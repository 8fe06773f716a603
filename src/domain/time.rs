//! Time as the pure cores know it: a moment that was read from a clock elsewhere.

use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A point in time, as the duration since the process's clock began.
///
/// The cores never read a clock: a `Moment` comes in as an argument. So tests set the time, and a simulation replays it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The moment at which the clock began.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment `elapsed` after the clock began.
    #[must_use]
    pub const fn after_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the clock's beginning this moment is.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this moment is; zero if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment that is `earlier` before this one; the clock's beginning if it had not begun by then.
    #[must_use]
    pub const fn before(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier))
    }
}

/// A time-out that is noticed this much too late shows that the process itself was held up.
const HELD_UP: Duration = Duration::from_millis(500);
/// The longest extra wait that is granted for that.
const LONGEST_RESPITE: Duration = Duration::from_secs(5);

/// How much longer to wait for a peer whose time-out is noticed this late; `None` if it is not too late. A process that was
/// paused, moved to another machine or starved for a while finds time-outs over before it has looked at what came meanwhile.
/// That time must not be held against the peer.
#[must_use]
pub fn respite(late: Duration) -> Option<Duration> {
    (late >= HELD_UP).then(|| late.min(LONGEST_RESPITE))
}

/// A duration in whole milliseconds, as it is shown.
#[must_use]
pub fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at the end of time, so that an absurd setting can't overflow.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, later: Duration) {
        *self = *self + later;
    }
}
