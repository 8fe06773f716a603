//! What must hold after every input, checked in debug builds.

use std::collections::BTreeSet;

use super::super::ids::{Epoch, Serial};
use super::super::selection::Candidate;
use super::super::time::Moment;
use super::super::tournament::Field;
use super::RegistryCore;
use super::lanes::Seat;

impl RegistryCore {
    /// Panics in debug builds if the state contradicts itself. The types already ensure that each endpoint has exactly one
    /// standing, and that a hold exists only in a home queue.
    pub fn check_invariants(&self) {
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
    }

    fn assert_invariants(&self) {
        let epochs: BTreeSet<Epoch> = self.queues.iter().map(super::Member::epoch).collect();
        assert_eq!(epochs.len(), self.queues.iter().count(), "two endpoints share an epoch");
        assert!(self.queues.iter().all(|member| member.gate().is_at(member.epoch())), "a gate lags behind");
        assert!(epochs.iter().all(|epoch| *epoch <= self.queues.epochs().newest()), "an epoch was never announced");
        assert!(self.leases.counts_match(), "in flight differs from the open leases");
        assert!(self.waiters.counts_match(), "what is counted of those who wait differs from them");
        let held: BTreeSet<Serial> = self.queues.iter().flat_map(|member| member.holds().copied()).collect();
        assert!(held.iter().all(|serial| self.pending.contains_key(serial)), "a hold awaits no verdict");
        let failures = self.failures();
        let isolated = self.queues.iter().filter(|member| member.isolation().is_some()).count();
        assert_eq!(failures.len(), isolated, "the published list differs from the failure queue");
        assert!(
            self.pools.values().flat_map(|pool| &pool.ranks).all(|rank| rank
                .endpoints
                .iter()
                .filter_map(|slot| self.queues.at(*slot))
                .all(|member| (member.endpoint().home, member.endpoint().priority) == (rank.home, rank.priority))),
            "an endpoint is in a rank that is not its own"
        );
        self.assert_what_the_choice_knows();
    }

    /// Asserts that what is kept to avoid looking at all endpoints equals what such a look would find. What depends on the
    /// clock is left out here: each choice is checked against a look at each endpoint.
    fn assert_what_the_choice_knows(&self) {
        assert!(self.lanes.are_consistent(), "a lane contradicts itself");
        for member in self.queues.iter() {
            let is_out = !member.is_home() || member.endpoint().weight == 0;
            let seat = self.lanes.seat(member.slot());
            assert!(seat.is_some(), "an endpoint is in no lane");
            match seat {
                Some(Seat::Out) => assert!(is_out || self.is_full(member), "an endpoint that is free is left out"),
                Some(Seat::Watched) => assert!(!is_out, "an endpoint is watched that nobody gets"),
                Some(Seat::Free(field)) => {
                    assert!(!is_out && !member.is_held() && !self.is_full(member), "one that is not free is given out");
                    let whole = Candidate {
                        weight: f64::from(member.endpoint().weight),
                        ..self.candidate(member, Moment::START)
                    };
                    assert_eq!(field, Field::of(&whole), "a lane lags behind");
                }
                None => {}
            }
        }
        for pool in self.pools.values() {
            let isolated = pool.members(&self.queues).filter(|member| member.isolation().is_some()).count();
            assert_eq!(pool.isolated, isolated, "the count of a profile's isolated endpoints lags behind");
            assert!(pool.knows_the_truth(&self.lanes), "the lanes that serve a model are others");
        }
    }
}
