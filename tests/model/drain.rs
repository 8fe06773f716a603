//! The end of a run: chance no longer interferes, everything that is under way arrives. Then nobody may be left waiting, no
//! endpoint that works may be left in the failure queue, and no opinion may be left unasked.

use std::time::Duration;

use super::chance;
use super::verifier::Manner;
use super::world::World;

/// Longer than the longest delay between two verifications.
const LONG: Duration = Duration::from_secs(1_800);
/// With one conversation at a time and four endpoints, four rounds do; each has its turn.
const ROUNDS: usize = 8;
/// So often at most somebody is woken: a waiter's wakes are cooldowns that end, and its own bounds.
const WAKES: usize = 2_000;

impl World {
    pub(crate) fn drain(&mut self) {
        self.lossy = false;
        self.trace.note("no further step: what is under way arrives");
        self.deliver_everything();
        for _ in 0..WAKES {
            if self.shadow.waiters().is_empty() {
                break;
            }
            self.alarm();
            self.check();
            self.deliver_everything();
        }
        assert!(self.shadow.waiters().is_empty(), "somebody was never answered");
        assert!(self.shadow.is_at_rest(), "a lease, a hold or a verdict is left");
        self.recover_all();
        for id in chance::all_ids() {
            self.admin_switches(&id, true);
            self.check();
        }
        self.recover_all();
    }

    /// Messages bring leases to those who wait; they are settled too.
    fn deliver_everything(&mut self) {
        while !self.to_breakers.is_empty() || !self.verdicts.is_empty() || !self.leases.is_empty() {
            self.deliver_to_breakers();
            self.deliver_verdict();
            self.check();
            if let Some(lease) = self.leases.pop() {
                let report = chance::report(&mut self.rng, self.weather);
                self.settle(lease, report);
                self.check();
            }
        }
    }

    /// With every endpoint sound, ticks alone bring every isolated one back, whatever was lost before.
    fn recover_all(&mut self) {
        for _ in 0..ROUNDS {
            self.now += LONG;
            self.registry_tick();
            while !self.to_verifier.is_empty() {
                self.deliver_to_verifier();
            }
            self.start_due();
            let talks: Vec<_> = self.talks.keys().cloned().collect();
            for key in talks {
                self.conversation_ends(&key, Manner::SendsTheCode);
            }
            while !self.proofs.is_empty() || !self.news.is_empty() {
                self.deliver_proof();
                self.deliver_news();
                self.check();
            }
            while !self.resets.is_empty() {
                self.deliver_reset();
            }
        }
        assert!(self.shadow.isolated().is_empty(), "{:?} stay failed for ever", self.shadow.isolated());
        let left = self.core.conversations(self.now);
        assert!(left.is_empty(), "an opinion stays asked for ever: {left:?}");
    }
}
