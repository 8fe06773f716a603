//! The end of a run: chance no longer interferes, everything that is under way arrives. Then nobody may be left waiting, no
//! endpoint that works may be left in the failure queue, and no opinion may be left unasked.

use std::time::Duration;

use qcc_gateway::domain::outcome::{Outcome, Report};

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
        self.trace.ends();
        self.deliver_everything();
        for _ in 0..WAKES {
            if self.shadow.waiters().is_empty() {
                break;
            }
            self.alarm();
            self.check();
            self.deliver_everything();
        }
        assert!(self.shadow.waiters().is_empty() && self.journeys.is_empty(), "somebody was never answered");
        let stuck = self.stuck.iter().map(|lease| lease.grant.ticket.serial).collect();
        assert!(self.shadow.is_at_rest_but_for(&stuck), "a lease, a hold or a verdict is left");
        self.recover_all();
        for id in chance::all_ids() {
            self.admin_switches(&id, true);
            self.check();
        }
        self.recover_all();
        // What was never settled has been in nobody's way, and whatever comes of it at last moves nobody.
        for lease in std::mem::take(&mut self.stuck) {
            self.settle(lease, Report::of(Outcome::Cancelled));
            self.check();
        }
    }

    /// Messages bring leases to those who wait; they are settled too.
    fn deliver_everything(&mut self) {
        while !self.to_breakers.is_empty() || !self.verdicts.is_empty() || !self.leases.is_empty() || self.travels_on()
        {
            self.check();
            self.deliver_to_breakers();
            self.deliver_verdict();
            self.check();
            if let Some(lease) = self.leases.pop() {
                self.lease_ends(lease);
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
                let manner = if self.hung.contains(&key) { Manner::IsDown } else { Manner::SendsTheCode };
                self.conversation_ends(&key, manner);
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
