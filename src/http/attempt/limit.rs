//! When an attempt has taken too long, and what follows.

use tokio::time::Instant;

use super::super::times::{Patience, after};
use super::{AttemptEnd, Task, fault};
use crate::domain::outcome_table::Class;
use crate::domain::peek::Wanted;

/// When an attempt has taken too long, and whose patience that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) at: Instant,
    pub(super) whose: Patience,
    too_slow: &'static str,
}

impl Limit {
    /// How the attempt ends if the limit has passed.
    pub(super) fn passed(self) -> AttemptEnd {
        match self.whose {
            Patience::Gateway => fault(Class::Timeout, self.too_slow),
            Patience::Client => AttemptEnd::ClientOutOfTime,
        }
    }
}

impl Task<'_> {
    /// When the head of an attempt that began at this moment is overdue, and of a whole answer also its end.
    pub(super) fn limit(&self, wanted: Wanted, began: Instant) -> Limit {
        let (time, too_slow) = match wanted {
            Wanted::Stream => (self.times.first_event, "no answer within first_event"),
            Wanted::Whole | Wanted::Unknown => (self.times.response, "no whole answer within response"),
        };
        let ours = after(began, time);
        let client_leaves = self.times.client_leaves.filter(|_| wanted != Wanted::Stream);
        match client_leaves.filter(|leaves| *leaves < ours) {
            // A client that waits nearly as long as the operator would counts as just as patient.
            Some(leaves) if ours.duration_since(leaves) > time / 10 => {
                Limit { at: leaves, whose: Patience::Client, too_slow }
            }
            Some(leaves) => Limit { at: leaves, whose: Patience::Gateway, too_slow },
            None => Limit { at: ours, whose: Patience::Gateway, too_slow },
        }
    }
}
