//! Was anything ever sent to an isolated endpoint? Held against the registry's own log of standings, not against the
//! comparison that is meant to prevent it.

use std::collections::BTreeMap;

use super::ids::{EndpointId, Epoch};

/// From which epoch of the epoch clock to which an endpoint was isolated.
#[derive(Clone, Copy, Debug)]
struct Quarantine {
    from: Epoch,
    /// Not yet over while `None`.
    until: Option<Epoch>,
}

/// The log of all isolations, and the count of attempts that were written during one.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Of those that were isolated and are, or may still have an attempt from before their recovery: of few.
    quarantines: BTreeMap<EndpointId, Vec<Quarantine>>,
    leaks: u64,
}

impl Audit {
    /// Notes whether an endpoint is isolated from `epoch` on.
    pub fn note(&mut self, endpoint: &EndpointId, epoch: Epoch, quarantined: bool) {
        let log = self.quarantines.get_mut(endpoint);
        match (log.and_then(|log| log.last_mut()).filter(|last| last.until.is_none()), quarantined) {
            (None, true) => {
                let begun = Quarantine { from: epoch, until: None };
                self.quarantines.entry(endpoint.clone()).or_default().push(begun);
            }
            (Some(last), false) => last.until = Some(epoch),
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Checks an attempt that was written when the epoch clock stood at `written_at`; tells whether it was a leak.
    pub fn check(&mut self, endpoint: &EndpointId, written_at: Epoch) -> bool {
        let log = self.quarantines.get(endpoint).map(Vec::as_slice).unwrap_or_default();
        let leaked = log
            .iter()
            .any(|isolated| isolated.from <= written_at && isolated.until.is_none_or(|until| written_at < until));
        self.leaks += u64::from(leaked);
        leaked
    }

    /// Forgets what no open attempt can still be held against: all ended isolations of an endpoint without any.
    pub fn forget_ended(&mut self, endpoint: &EndpointId) {
        if let Some(log) = self.quarantines.get_mut(endpoint) {
            log.retain(|isolated| isolated.until.is_none());
            if log.is_empty() {
                self.quarantines.remove(endpoint);
            }
        }
    }

    /// How many attempts were sent to an isolated endpoint.
    pub fn leaks(&self) -> u64 {
        self.leaks
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::id;
    use super::*;

    #[test]
    fn an_attempt_written_between_isolation_and_recovery_is_a_leak() {
        let mut audit = Audit::default();
        let epoch = Epoch::from_raw;
        audit.note(&id("a"), epoch(5), true);
        audit.note(&id("a"), epoch(6), true);
        audit.note(&id("a"), epoch(9), false);
        for (written_at, leaked) in [(4, false), (5, true), (8, true), (9, false), (20, false)] {
            assert_eq!(audit.check(&id("a"), epoch(written_at)), leaked, "{written_at}");
        }
        assert!(!audit.check(&id("b"), epoch(6)));
        assert_eq!(audit.leaks(), 2);
    }

    #[test]
    fn an_isolation_that_lasts_is_never_forgotten() {
        let mut audit = Audit::default();
        audit.note(&id("a"), Epoch::from_raw(5), true);
        audit.forget_ended(&id("a"));
        assert!(audit.check(&id("a"), Epoch::from_raw(7)));
        audit.note(&id("a"), Epoch::from_raw(8), false);
        audit.forget_ended(&id("a"));
        assert!(!audit.check(&id("a"), Epoch::from_raw(7)));
    }
}
