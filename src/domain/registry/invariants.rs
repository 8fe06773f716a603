//! What must hold after every input, checked in debug builds.

use std::collections::BTreeSet;

use super::super::ids::{Epoch, Serial};
use super::RegistryCore;

impl RegistryCore {
    /// Panics in debug builds where the state contradicts itself. That each endpoint has exactly one standing, and that a
    /// hold exists only in a home queue, is so by the types.
    pub fn check_invariants(&self) {
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
    }

    fn assert_invariants(&self) {
        let epochs: BTreeSet<Epoch> = self.queues.iter().map(super::Member::epoch).collect();
        assert_eq!(epochs.len(), self.queues.iter().len(), "two endpoints share an epoch");
        assert!(self.queues.iter().all(|member| member.gate().is_at(member.epoch())), "a gate lags behind");
        assert!(epochs.iter().all(|epoch| *epoch <= self.queues.epochs().newest()), "an epoch was never announced");
        assert!(self.leases.counts_are_true(), "in flight differs from the open leases");
        let held: BTreeSet<Serial> = self.queues.iter().flat_map(|member| member.holds().copied()).collect();
        assert!(held.iter().all(|serial| self.pending.contains_key(serial)), "a hold awaits no verdict");
        let failures = self.failures();
        let isolated = self.queues.iter().filter(|member| member.isolation().is_some()).count();
        assert_eq!(failures.len(), isolated, "the published list differs from the failure queue");
        assert!(
            self.pools.values().flat_map(|pool| &pool.ranks).all(|rank| rank
                .endpoints
                .iter()
                .filter_map(|id| self.queues.get(id))
                .all(|member| (member.endpoint().home, member.endpoint().priority) == (rank.home, rank.priority))),
            "an endpoint is in a rank that is not its own"
        );
    }
}
