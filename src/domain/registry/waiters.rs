//! Requests that wait: for a verdict on the endpoint that they would get, or parked until one may serve them.

use std::collections::{BTreeMap, VecDeque};

use super::super::ids::{ClientId, EndpointId, Epoch};
use super::super::slots::Slot;
use super::super::time::Moment;
use super::dearth::Dearth;
use super::search::Search;
use super::{Acquired, Ask, Effect, NoEndpoint, Outputs, RegistryCore, Turn, WaiterId};

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// A verdict, which comes by itself and soon: such waiters take no place.
    Verdict,
    /// An endpoint that may serve it.
    Parked,
}

#[derive(Clone, Debug)]
struct Waiter {
    id: WaiterId,
    ask: Ask,
    since: Moment,
    why: Why,
    /// Whether the latest look has found nobody for it who is free or held.
    finds_nobody: bool,
    /// When it has to be looked at even if nothing happens.
    wake: Moment,
}

/// All who wait, first come first served.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiters {
    queue: VecDeque<Waiter>,
    newest: u64,
    /// How often one of them was looked at again.
    #[cfg(test)]
    looks: usize,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn parked(&self) -> usize {
        self.queue.iter().filter(|waiter| waiter.why == Why::Parked).count()
    }

    fn parked_for(&self, client: Option<&ClientId>) -> usize {
        let theirs = |waiter: &&Waiter| waiter.why == Why::Parked && waiter.ask.client.as_ref() == client;
        self.queue.iter().filter(theirs).count()
    }

    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.looks
    }

    fn push(&mut self, ask: Ask, since: Moment, Wait { why, finds_nobody, wake }: Wait) -> WaiterId {
        self.newest += 1;
        let id = WaiterId(self.newest);
        self.queue.push_back(Waiter { id, ask, since, why, finds_nobody, wake });
        id
    }
}

/// A lease on an endpoint of bounded room has ended.
pub(super) struct LeaseEnd {
    pub(super) slot: Slot,
    /// Whether the endpoint had room before.
    pub(super) had_room: bool,
}

/// Whether there is a place to park at.
enum Place {
    Free,
    /// This one has to give up its own: its client takes more than its share.
    InPlaceOf(WaiterId),
    None,
}

/// How a request waits.
struct Wait {
    why: Why,
    finds_nobody: bool,
    wake: Moment,
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
            Look::Waits(wait) => Acquired::Waiting(self.waiters.push(ask, now, wait)),
        }
    }

    /// Looks for an endpoint. `waits` is what the request has waited for so far, since `since`.
    fn look(&mut self, ask: &Ask, since: Moment, waits: Option<Why>, now: Moment, out: &mut Outputs) -> Look {
        let mut search = self.search(ask, since, now, !self.stopping);
        if let Search::Patience { .. } = search
            && waits != Some(Why::Parked)
            && !self.claim_place(ask, now, out)
        {
            search = self.search(ask, since, now, false);
        }
        let waits_for = |why, wake| Look::Waits(Wait { why, finds_nobody: false, wake });
        match search {
            Search::Found(found) => match self.grant(ask, &found, now) {
                Ok(grant) => Look::Granted(grant),
                Err(why) => Look::Refused(why),
            },
            Search::Held => waits_for(waits.unwrap_or(Why::Verdict), ask.deadline),
            Search::Patience { until } => waits_for(Why::Parked, until.min(ask.deadline)),
            Search::Nothing(dearth) => {
                self.hasten(&dearth, now, out);
                match dearth.wake(ask, now) {
                    Some(_) if self.stopping => Look::Refused(NoEndpoint::Stopping),
                    Some(wake) if waits == Some(Why::Parked) || self.claim_place(ask, now, out) => {
                        Look::Waits(Wait { why: Why::Parked, finds_nobody: true, wake })
                    }
                    Some(_) | None => Look::Refused(dearth.verdict()),
                }
            }
            Search::TooLate => Look::Refused(self.too_late(ask, now)),
        }
    }

    /// What a request is told that has waited until its deadline: what it has waited for.
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

    /// The gateway is stopping: whoever is parked is refused, and nobody is from now on. Verdicts are still waited for.
    pub fn stop_parking(&mut self, now: Moment, out: &mut Outputs) {
        self.stopping = true;
        let waiters = std::mem::take(&mut self.waiters.queue);
        let (parked, others): (VecDeque<_>, _) = waiters.into_iter().partition(|waiter| waiter.why == Why::Parked);
        self.waiters.queue = others;
        out.extend(parked.into_iter().map(|waiter| Effect::Refused(waiter.id, NoEndpoint::Stopping)));
        self.look_at_waiters(now, out);
        self.check_invariants();
    }

    /// Takes a place for a request to be parked at, if there is one for it.
    fn claim_place(&mut self, ask: &Ask, now: Moment, out: &mut Outputs) -> bool {
        match self.place_for(ask) {
            Place::Free => true,
            Place::None => false,
            Place::InPlaceOf(waiter) => {
                let index = self.waiters.queue.iter().position(|other| other.id == waiter);
                if let Some(Waiter { id, ask, since, .. }) = index.and_then(|index| self.waiters.queue.remove(index)) {
                    out.push(match self.search(&ask, since, now, false) {
                        // It waited for its session's own endpoint; now another one has to do.
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

    /// No client takes more than a quarter of the places while others wait.
    fn place_for(&self, ask: &Ask) -> Place {
        let most = self.policy.park_max;
        let share = (most / 4).max(1);
        let parked = self.waiters.parked();
        let own = self.waiters.parked_for(ask.client.as_ref());
        let others_wait = parked > own;
        if others_wait && own >= share {
            return Place::None;
        }
        if parked < most {
            return Place::Free;
        }
        let mut of_each: BTreeMap<Option<&ClientId>, usize> = BTreeMap::new();
        let is_parked = |waiter: &&Waiter| waiter.why == Why::Parked;
        for waiter in self.waiters.queue.iter().filter(is_parked) {
            *of_each.entry(waiter.ask.client.as_ref()).or_default() += 1;
        }
        let takes_too_much = |waiter: &&Waiter| {
            let client = waiter.ask.client.as_ref();
            client != ask.client.as_ref() && of_each.get(&client).is_some_and(|parked| *parked > share)
        };
        // Of those who take too much the one that came last gives way.
        match self.waiters.queue.iter().filter(is_parked).filter(takes_too_much).max_by_key(|waiter| waiter.id) {
            Some(waiter) => Place::InPlaceOf(waiter.id),
            None => Place::None,
        }
    }

    /// Has the isolated endpoints verified that requests wait for, where none is usable.
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

    /// The same where nothing has happened but a lease's end. Where its endpoint had room before, and once the room that it
    /// leaves is taken, who has found nobody would find nobody again.
    pub(super) fn look_at_waiters_for_room(&mut self, ended: &LeaseEnd, now: Moment, out: &mut Outputs) {
        self.look_at_each(now, out, |core, waiter| {
            let is_taken = core.queues.at(ended.slot).is_some_and(|member| !member.is_held() && core.is_full(member));
            let is_as_before = waiter.finds_nobody && waiter.wake > now && (ended.had_room || is_taken);
            // One that takes no new sessions is for its own alone, and an attempt's end keeps its session from going idle.
            let own_is_drained =
                || core.own_endpoint(&waiter.ask, now).is_some_and(|(own, _)| own.endpoint().weight == 0);
            !is_as_before || own_is_drained()
        });
    }

    /// Each that is worth a look goes from the front of the queue to its back, as do the others, so that all others are counted
    /// while one takes a place.
    fn look_at_each(&mut self, now: Moment, out: &mut Outputs, is_worth: impl Fn(&Self, &Waiter) -> bool) {
        let mut latest = None;
        while self.waiters.queue.front().is_some_and(|waiter| Some(waiter.id) > latest)
            && let Some(mut waiter) = self.waiters.queue.pop_front()
        {
            latest = Some(waiter.id);
            if !is_worth(self, &waiter) {
                self.waiters.queue.push_back(waiter);
                continue;
            }
            #[cfg(test)]
            {
                self.waiters.looks += 1;
            }
            match self.look(&waiter.ask, waiter.since, Some(waiter.why), now, out) {
                Look::Granted(grant) => out.push(Effect::Granted(waiter.id, grant)),
                Look::Refused(why) => out.push(Effect::Refused(waiter.id, why)),
                Look::Waits(Wait { why, finds_nobody, wake }) => {
                    (waiter.why, waiter.finds_nobody, waiter.wake) = (why, finds_nobody, wake);
                    self.waiters.queue.push_back(waiter);
                }
            }
        }
    }

    /// Looks at the clock: cooldowns end, and so does patience.
    pub fn tick(&mut self, now: Moment, out: &mut Outputs) {
        self.look_at_waiters(now, out);
        self.check_invariants();
    }

    /// When [`Self::tick`] is wanted next.
    pub fn next_wake(&self) -> Option<Moment> {
        self.waiters.queue.iter().map(|waiter| waiter.wake).min()
    }

    /// Forgets a waiter whose client has left.
    pub fn leave(&mut self, waiter: WaiterId) {
        self.waiters.queue.retain(|waiting| waiting.id != waiter);
    }

    /// The profiles have changed, and with them perhaps whose endpoints these wait for.
    pub(super) fn readdress_waiters(&mut self) {
        let mut waiters = std::mem::take(&mut self.waiters.queue);
        for waiter in &mut waiters {
            self.readdress(&mut waiter.ask);
        }
        self.waiters.queue = waiters;
    }

    /// How many requests wait, parked or for a verdict.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.queue.len()
    }
}
