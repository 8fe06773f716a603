//! Checks that nothing was ever sent to an isolated endpoint: against the registry's own log of standings, not by the
//! comparison that is meant to prevent it.

use std::collections::BTreeMap;

use super::ids::{EndpointId, Epoch};

/// The span of epochs, by the epoch clock, in which an endpoint was isolated.
#[derive(Clone, Copy, Debug)]
struct Quarantine {
    from: Epoch,
    /// `None` while it lasts.
    until: Option<Epoch>,
}

/// The log of all isolations, and the count of attempts that were written during one.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Few entries: only endpoints that are isolated, or that may still have an attempt from before their recovery.
    quarantines: BTreeMap<EndpointId, Vec<Quarantine>>,
    leaks: u64,
}

impl Audit {
    /// Records whether an endpoint is isolated from `epoch` on.
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

    /// Checks an attempt that was written when the epoch clock stood at `written_at`. Returns whether it was a leak.
    pub fn check(&mut self, endpoint: &EndpointId, written_at: Epoch) -> bool {
        let log = self.quarantines.get(endpoint).map(Vec::as_slice).unwrap_or_default();
        let leaked = log
            .iter()
            .any(|isolated| isolated.from <= written_at && isolated.until.is_none_or(|until| written_at < until));
        self.leaks += u64::from(leaked);
        leaked
    }

    /// Forgets the ended isolations of an endpoint that has no open attempt left to check against them.
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
