//! What a fruitless search has seen: why nothing was found, and what may come.

use std::time::Duration;

use super::super::cooling::{CooldownReason, is_exhausted};
use super::super::ids::{EndpointId, Epoch};
use super::super::queues::Member;
use super::super::time::Moment;
use super::search::{Availability, Binding};
use super::verifications::Next;
use super::{Ask, Limit, NoEndpoint, Reach, RegistryCore};

impl RegistryCore {
    /// Finds out why there is no endpoint for the request, and what may come.
    pub(super) fn dearth(&self, ask: &Ask, now: Moment) -> Dearth {
        let Some(pool) = self.pools.get(&ask.profile) else {
            return Dearth { profile_gone: true, ..Dearth::default() };
        };
        let mut dearth = Dearth::default();
        // The session's own endpoint may be one that takes no new sessions.
        let own = self.own_endpoint(ask, now).map(|(member, _)| member);
        for member in pool.members(&self.queues) {
            let is_own = own.is_some_and(|own| own.endpoint().id == member.endpoint().id);
            let bond = if is_own { Binding::Bound } else { Binding::None };
            match self.look_at(member, ask, bond, now) {
                Availability::OtherProtocol => {}
                Availability::OtherModels => dearth.other_models += 1,
                Availability::Disabled => dearth.disabled += 1,
                Availability::Tried => {
                    dearth.tried += 1;
                    dearth.may_be_repeated |= !is_spent(member, ask);
                }
                Availability::Full | Availability::Free | Availability::Held => dearth.full += 1,
                Availability::Cooling(cooldown) => dearth.cooling.push(Rest {
                    until: cooldown.until,
                    left: cooldown.until.since(now),
                    reason: cooldown.reason,
                    exhausted: is_exhausted(&cooldown, &self.policy.cooling)
                        && cooldown.until.since(now) > self.policy.cooling.exhausted_after,
                }),
                Availability::Isolated => dearth.isolated.extend(self.out(member, now)),
            }
        }
        // If another endpoint is usable, no request hastens the verification of the isolated ones.
        if !dearth.any_usable() {
            for isolated in &mut dearth.isolated {
                let Next { scheduled, at_the_soonest } = isolated.next;
                isolated.comes = Some(scheduled.map_or(at_the_soonest, |scheduled| scheduled.min(at_the_soonest)));
            }
        }
        for isolated in &mut dearth.isolated {
            isolated.comes_in = isolated.comes.map(|comes| comes.since(now));
        }
        dearth
    }

    fn out(&self, member: &Member, now: Moment) -> Option<Out> {
        let isolation = member.isolation()?;
        let next = self.verifications.next(member, isolation, self.policy.initial_delay, now);
        Some(Out {
            endpoint: member.endpoint().id.clone(),
            epoch: member.epoch(),
            comes_for_requests: !isolation.reason.needs_operator(),
            next,
            comes: next.scheduled,
            comes_in: None,
        })
    }
}

/// Whether the request has been sent to this endpoint as often as it may be.
fn is_spent(member: &Member, ask: &Ask) -> bool {
    ask.tried.iter().any(|tried| tried.spent && tried.endpoint == member.endpoint().id)
}

/// An endpoint in a cooldown.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Moment,
    left: Duration,
    reason: CooldownReason,
    /// Whether the rest of it is still long enough for a used-up window.
    exhausted: bool,
}

/// An isolated endpoint.
#[derive(Clone, Debug)]
pub(super) struct Out {
    pub(super) endpoint: EndpointId,
    pub(super) epoch: Epoch,
    /// Whether requests wait for it: none waits for what only the operator can fix.
    comes_for_requests: bool,
    /// When it is verified next.
    next: Next,
    /// When it counts as back: the sooner of `next`'s moments if waiting requests hasten it, else the scheduled one.
    comes: Option<Moment>,
    comes_in: Option<Duration>,
}

impl Out {
    /// Whether waiting requests would have it verified earlier.
    pub(super) fn is_hastened_by_waiting(&self, now: Moment) -> bool {
        self.comes_for_requests && self.next.scheduled.is_none_or(|scheduled| now < scheduled)
    }
}

/// What a fruitless search has seen.
#[derive(Debug, Default)]
pub(super) struct Dearth {
    /// The profile has no endpoint at all.
    profile_gone: bool,
    isolated: Vec<Out>,
    cooling: Vec<Rest>,
    other_models: usize,
    disabled: usize,
    tried: usize,
    /// Whether an endpoint that was tried may be tried again.
    may_be_repeated: bool,
    full: usize,
}

impl Dearth {
    /// Whether any endpoint is usable, even if not for this request now.
    pub(super) fn any_usable(&self) -> bool {
        self.tried > 0 || self.full > 0
    }

    pub(super) fn isolated(&self) -> impl Iterator<Item = &Out> {
        self.isolated.iter()
    }

    /// When the request has to be looked at again, if one of the endpoints may come in time. An overload is waited out
    /// until the request's deadline if nothing else is left to try; anything else for as long as the request may be parked.
    pub(super) fn wake(&self, ask: &Ask, now: Moment) -> Option<Moment> {
        let Reach::Parked { until: parked } = ask.reach else { return None };
        let parked = parked.min(ask.deadline);
        let may_be_parked = now < parked;
        let bound = |rest: &Rest| match rest.reason {
            CooldownReason::Overload if !self.may_be_repeated => ask.deadline,
            CooldownReason::Overload | CooldownReason::RateLimit => parked,
        };
        let rests = self.cooling.iter().filter(|rest| rest.until < bound(rest)).map(|rest| rest.until);
        let room = (self.full > 0 && may_be_parked).then_some(parked);
        let in_time = |out: &Out| out.comes.is_some_and(|comes| comes < parked);
        let comes = |out: &&Out| out.comes_for_requests && may_be_parked && in_time(out);
        let recovery = self.isolated.iter().any(|out| comes(&out)).then_some(parked);
        let worth_waiting_for = rests.chain(room).chain(recovery).min()?;
        // Any cooldown that ends before then may end the wait too, though it alone would not have been waited for.
        Some(self.cooling.iter().map(|rest| rest.until).fold(worth_waiting_for, Moment::min))
    }

    /// What the request is told.
    pub(super) fn verdict(&self) -> NoEndpoint {
        if self.profile_gone {
            return NoEndpoint::ProfileGone;
        }
        if self.tried > 0 {
            return NoEndpoint::GivenUp;
        }
        if self.full > 0 {
            return NoEndpoint::Full { usable: self.full };
        }
        let soonest = self.cooling.iter().min_by_key(|rest| rest.until);
        if let Some(soonest) = soonest.filter(|_| self.isolated.is_empty()) {
            let is_overloaded = self.cooling.iter().any(|rest| rest.reason == CooldownReason::Overload);
            let limit = match soonest.exhausted {
                _ if is_overloaded => Limit::Overload,
                true => Limit::Exhausted,
                false => Limit::Rate,
            };
            return NoEndpoint::Cooling { total: self.cooling.len(), soonest: soonest.left, limit };
        }
        if self.isolated.is_empty() {
            return match (self.disabled, self.other_models) {
                (0, 0) => NoEndpoint::PathUnserved,
                (0, _) => NoEndpoint::ModelUnserved,
                (total, _) => NoEndpoint::SwitchedOff { total },
            };
        }
        let back = self.isolated.iter().filter(|out| out.comes_for_requests).filter_map(|out| out.comes_in);
        NoEndpoint::Isolated {
            isolated: self.isolated.len(),
            total: self.isolated.len() + self.cooling.len() + self.disabled,
            next: back.chain(self.cooling.iter().map(|rest| rest.left)).min(),
        }
    }
}
