//! Requests that wait: for a verdict on the endpoint that they would get, or parked until an endpoint may serve them.

mod line;

use std::collections::BTreeSet;

use super::super::ids::{EndpointId, Epoch};
use super::super::slots::Slot;
use super::super::time::Moment;
use super::dearth::Dearth;
use super::search::Search;
use super::{Acquired, Ask, Effect, NoEndpoint, Outputs, RegistryCore, Turn, WaiterId};
use line::{Finds, Wait, Waiter, Why};

pub(super) use line::Waiters;

/// The end of a lease on an endpoint of bounded room.
pub(super) struct LeaseEnd {
    pub(super) slot: Slot,
    /// Whether the endpoint had room before.
    pub(super) had_room: bool,
}

/// Whether there is a place for a request to be parked.
enum ParkingPlace {
    Free,
    /// This waiter has to give up its place: its client takes more than its share.
    InPlaceOf(WaiterId),
    None,
}

/// What becomes of a request that was looked at.
enum Look {
    Granted(super::Grant),
    Waits(Wait),
    Refused(NoEndpoint),
}

impl RegistryCore {
    pub(super) fn grant_or_wait(&mut self, ask: Ask, now: Moment, out: &mut Outputs) -> Acquired {
        let is_second = ask.turn != Turn::First;
        if let Some(request) = ask.fingerprint
            && is_second
            && self.opinions.is_poisoned(request, now)
        {
            return Acquired::Refused(NoEndpoint::Poisoned);
        }
        match self.look(&ask, now, None, now, out) {
            Look::Granted(grant) => Acquired::Granted(grant),
            Look::Refused(why) => Acquired::Refused(why),
            Look::Waits(wait) => Acquired::Waiting(self.waiters.begin(ask, now, wait)),
        }
    }

    /// Looks for an endpoint. `waited` says what the request has waited for so far, since `since`.
    fn look(&mut self, ask: &Ask, since: Moment, waited: Option<Why>, now: Moment, out: &mut Outputs) -> Look {
        let mut search = self.search(ask, since, now, !self.stopping);
        // Read before a place is claimed: the waiter that gives one up may be granted an endpoint, and bind the same
        // session to it.
        let own = if let Search::Found(_) = search { None } else { self.own(ask, now) };
        if let Search::Patience { .. } = search
            && waited != Some(Why::Parked)
            && !self.claim_place(ask, now, out)
        {
            search = self.search(ask, since, now, false);
        }
        let waits = |why, finds, wake| Look::Waits(Wait { why, finds, own, wake });
        match search {
            Search::Found(found) => match self.grant(ask, &found, now) {
                Ok(grant) => Look::Granted(grant),
                Err(why) => Look::Refused(why),
            },
            Search::Held => waits(waited.unwrap_or(Why::Verdict), Finds::Held, ask.deadline),
            Search::Patience { until } => waits(Why::Parked, Finds::ItsOwn, until.min(ask.deadline)),
            Search::Nothing(dearth) => {
                self.hasten(&dearth, now, out);
                match dearth.wake(ask, now) {
                    Some(_) if self.stopping => Look::Refused(NoEndpoint::Stopping),
                    Some(wake) if waited == Some(Why::Parked) || self.claim_place(ask, now, out) => {
                        waits(Why::Parked, Finds::Nobody, wake)
                    }
                    Some(_) | None => Look::Refused(dearth.verdict()),
                }
            }
            Search::TooLate => Look::Refused(self.too_late(ask, now)),
        }
    }

    /// The refusal of a request that has waited until its deadline: it names what the request waited for.
    fn too_late(&self, ask: &Ask, now: Moment) -> NoEndpoint {
        match self.dearth(ask, now).verdict() {
            why @ (NoEndpoint::Isolated { .. } | NoEndpoint::Cooling { .. }) => why,
            NoEndpoint::ProfileGone
            | NoEndpoint::PathUnserved
            | NoEndpoint::ModelUnserved
            | NoEndpoint::Full { .. }
            | NoEndpoint::SwitchedOff { .. }
            | NoEndpoint::GivenUp
            | NoEndpoint::BudgetSpent
            | NoEndpoint::Poisoned
            | NoEndpoint::TooLate
            | NoEndpoint::Stopping => NoEndpoint::TooLate,
        }
    }

    /// Stops parking, since the gateway is stopping: parked requests are refused, and no more are parked. Verdicts are
    /// still waited for.
    pub fn stop_parking(&mut self, now: Moment, out: &mut Outputs) {
        self.stopping = true;
        let parked = self.waiters.take_parked();
        out.extend(parked.into_iter().map(|waiter| Effect::Refused(waiter, NoEndpoint::Stopping)));
        self.look_at_waiters(now, out);
        self.check_invariants();
    }

    /// Takes a place to park a request, if there is one for it.
    fn claim_place(&mut self, ask: &Ask, now: Moment, out: &mut Outputs) -> bool {
        match self.place_for(ask) {
            ParkingPlace::Free => true,
            ParkingPlace::None => false,
            ParkingPlace::InPlaceOf(waiter) => {
                if let Some(Waiter { id, ask, since, .. }) = self.waiters.take(waiter) {
                    out.push(match self.search(&ask, since, now, false) {
                        // It waited for its session's own endpoint; now another one must do.
                        Search::Found(found) => match self.grant(&ask, &found, now) {
                            Ok(grant) => Effect::Granted(id, grant),
                            Err(why) => Effect::Refused(id, why),
                        },
                        Search::Nothing(dearth) => Effect::Refused(id, dearth.verdict()),
                        Search::Held | Search::Patience { .. } | Search::TooLate => {
                            Effect::Refused(id, NoEndpoint::TooLate)
                        }
                    });
                }
                true
            }
        }
    }

    /// The place for a request. No client takes more than a quarter of the places while others wait.
    fn place_for(&self, ask: &Ask) -> ParkingPlace {
        let most = self.policy.park_max;
        let share = (most / 4).max(1);
        let parked = self.waiters.parked();
        let own = self.waiters.parked_of_its_client(ask);
        let others_wait = parked > own;
        if others_wait && own >= share {
            return ParkingPlace::None;
        }
        if parked < most {
            return ParkingPlace::Free;
        }
        let takes_too_much = |waiter: &&Waiter| {
            waiter.is_parked()
                && waiter.ask.client != ask.client
                && self.waiters.parked_of_its_client(&waiter.ask) > share
        };
        // Of the clients that take too much, the waiter that came last gives way.
        match self.waiters.iter().filter(takes_too_much).max_by_key(|waiter| waiter.id) {
            Some(waiter) => ParkingPlace::InPlaceOf(waiter.id),
            None => ParkingPlace::None,
        }
    }

    /// Hastens the verification of the isolated endpoints that requests wait for, if none is usable.
    fn hasten(&mut self, dearth: &Dearth, now: Moment, out: &mut Outputs) {
        if dearth.any_usable() {
            return;
        }
        let wanted: Vec<(EndpointId, Epoch)> = dearth
            .isolated()
            .filter(|isolated| isolated.is_hastened_by_waiting(now))
            .filter(|isolated| !self.verifications.is_hastened(&isolated.endpoint, isolated.epoch))
            .map(|isolated| (isolated.endpoint.clone(), isolated.epoch))
            .collect();
        if !wanted.is_empty() {
            for (id, epoch) in &wanted {
                self.verifications.hasten(id, *epoch);
            }
            out.push(Effect::Hasten(wanted));
        }
    }

    /// Looks at all waiters again, first come first served.
    pub(super) fn look_at_waiters(&mut self, now: Moment, out: &mut Outputs) {
        self.look_at_each(now, out, |_, _| true);
    }

    /// Looks at waiters again after nothing but a lease's end. If its endpoint had room before, and once the room it leaves
    /// is taken, a waiter that found nothing would find nothing again.
    pub(super) fn look_at_waiters_for_room(&mut self, ended: &LeaseEnd, now: Moment, out: &mut Outputs) {
        self.look_at_each(now, out, |core, waiter| {
            let is_taken = core.queues.at(ended.slot).is_some_and(|member| !member.is_held() && core.is_full(member));
            !(core.finds_the_same(waiter, now) && (ended.had_room || is_taken))
        });
    }

    /// Looks at waiters again after nothing but the passing of time.
    pub(super) fn look_at_waiters_for_the_clock(&mut self, now: Moment, out: &mut Outputs) {
        self.look_at_each(now, out, |core, waiter| !core.finds_the_same(waiter, now));
    }

    /// Whether a look would find what the latest one found, provided that no endpoint has moved, no cooldown has begun or
    /// ended early, and no full endpoint has got room: after each of these, all waiters are looked at. For a waiter that
    /// finds nothing, or waits for its own endpoint, the clock changes nothing before `wake`, except its session's bond:
    /// that expires when idle, and other requests of the session renew it.
    fn finds_the_same(&self, waiter: &Waiter, now: Moment) -> bool {
        let Wait { finds, own, wake, .. } = waiter.wait;
        finds != Finds::Held && wake > now && own == self.own(&waiter.ask, now)
    }

    /// Looks at each waiter that is worth it. Every waiter passes from the front of the queue to its back, so that all the
    /// others are counted while one takes a place.
    fn look_at_each(&mut self, now: Moment, out: &mut Outputs, is_worth: impl Fn(&Self, &Waiter) -> bool) {
        let mut latest = None;
        while let Some(waiter) = self.waiters.front().filter(|waiter| Some(waiter.id) > latest) {
            latest = Some(waiter.id);
            if !is_worth(self, waiter) {
                self.waiters.pass();
                continue;
            }
            let Some(waiter) = self.waiters.pop_front() else { return };
            #[cfg(test)]
            {
                self.waiters.looks += 1;
            }
            match self.look(&waiter.ask, waiter.since, Some(waiter.wait.why), now, out) {
                Look::Granted(grant) => out.push(Effect::Granted(waiter.id, grant)),
                Look::Refused(why) => out.push(Effect::Refused(waiter.id, why)),
                Look::Waits(wait) => self.waiters.join(Waiter { wait, ..waiter }),
            }
        }
    }

    /// Takes in the present time: cooldowns end, and so does patience.
    pub fn tick(&mut self, now: Moment, out: &mut Outputs) {
        self.look_at_waiters(now, out);
        self.check_invariants();
    }

    /// Looks at the waiters for which the clock has changed something; due at [`Self::next_wake`]. [`Self::tick`] does not
    /// depend on it.
    pub fn wake(&mut self, now: Moment, out: &mut Outputs) {
        self.look_at_waiters_for_the_clock(now, out);
        self.check_invariants();
    }

    /// When [`Self::wake`] is due next.
    pub fn next_wake(&self) -> Option<Moment> {
        self.waiters.next_wake()
    }

    /// Forgets waiters whose clients have left.
    pub fn leave(&mut self, gone: &BTreeSet<WaiterId>) {
        self.waiters.leave(gone);
    }

    /// Readdresses all waiters: the profiles have changed, and so perhaps the endpoints that they wait for.
    pub(super) fn readdress_waiters(&mut self) {
        for mut waiter in self.waiters.take_all() {
            self.readdress(&mut waiter.ask);
            self.waiters.join(waiter);
        }
    }

    /// How many requests wait, parked or for a verdict.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }
}
