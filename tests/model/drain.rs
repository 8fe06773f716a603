//! The end of a run: chance no longer interferes, everything that is under way arrives. Then nobody may be left waiting, and
//! no endpoint that works may be left in the failure queue.

use std::time::Duration;

use super::chance;
use super::steps::Manner;
use super::world::World;

/// Longer than the longest delay between two verifications.
const LONG: Duration = Duration::from_secs(1_800);
/// With one conversation at a time and four endpoints, four rounds do; each has its turn.
const ROUNDS: usize = 8;

impl World {
    pub(crate) fn drain(&mut self) {
        self.lossy = false;
        self.trace.note("no further step: what is under way arrives");
        while let Some(lease) = self.leases.pop() {
            let outcome = chance::outcome(&mut self.rng, self.faults);
            self.settle(lease, outcome);
            self.check();
            self.deliver_everything();
        }
        self.deliver_everything();
        self.registry_tick();
        self.check();
        assert!(self.waiting.is_empty(), "somebody was never answered");
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
        while !self.observations.is_empty() || !self.verdicts.is_empty() || !self.leases.is_empty() {
            self.deliver_observation();
            self.deliver_verdict();
            self.check();
            if let Some(lease) = self.leases.pop() {
                let outcome = chance::outcome(&mut self.rng, self.faults);
                self.settle(lease, outcome);
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
            while !self.proofs.is_empty() {
                self.deliver_proof();
                self.check();
            }
            while !self.resets.is_empty() {
                self.deliver_reset();
            }
        }
        assert!(self.shadow.isolated().is_empty(), "{:?} stay failed for ever", self.shadow.isolated());
    }
}
