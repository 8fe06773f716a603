//! Which endpoint a request gets.

use super::super::cooling::{Cooldown, Cooling};
use super::super::endpoint::Home;
use super::super::ids::EndpointId;
use super::super::queues::{Member, Standing};
use super::super::selection::{Candidate, slow_start_share};
use super::super::sessions::{self, With};
use super::super::slots::Slot;
use super::super::time::Moment;
use super::dearth::Dearth;
use super::pick::{Hosts, Pick};
use super::pool::Pool;
use super::{Ask, Reach, RegistryCore, Service};

/// The endpoint that was chosen.
pub(super) struct Found {
    pub(super) endpoint: Slot,
    /// When its next turn is due; `None` if this choice took no turn.
    pub(super) next_turn: Option<f64>,
    /// Whether the request's session is bound to it from now on.
    pub(super) binds: bool,
}

/// The result of a search.
pub(super) enum Search {
    Found(Found),
    /// The verdict on the endpoint that it would get is awaited.
    Held,
    /// The cooldown of the session's own endpoint ends soon enough to wait for it.
    Patience {
        until: Moment,
    },
    Nothing(Dearth),
    TooLate,
}

/// Whether one endpoint can serve a request, or why not.
pub(super) enum Availability {
    /// It does not serve this path.
    OtherProtocol,
    /// It does not serve this model.
    OtherModels,
    Isolated,
    /// Switched off, or of weight 0 and so only for bound sessions.
    Disabled,
    Cooling(Cooldown),
    /// The request has tried it.
    Tried,
    Full,
    /// The verdict on a failure is awaited.
    Held,
    Free,
}

/// Whether the request's session is bound to the endpoint that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    Bound,
    None,
}

/// The endpoint that a session is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    endpoint: Slot,
    has_served: bool,
}

impl RegistryCore {
    /// Finds an endpoint that the request has not tried; failing that, one that has failed it, if its reach allows. In both
    /// cases the session's own endpoint comes first. `since` is when the request began to wait.
    pub(super) fn search(&self, ask: &Ask, since: Moment, now: Moment, patient: bool) -> Search {
        if now >= ask.deadline {
            return Search::TooLate;
        }
        let Some(pool) = self.pools.get(&ask.profile) else { return Search::Nothing(self.dearth(ask, now)) };
        let may_repeat = !ask.tried.is_empty() && ask.reach != Reach::Fresh;
        let untried = || {
            let ask = Ask { reach: Reach::Fresh, ..ask.clone() };
            self.search_among(pool, &ask, since, now, patient)
        };
        may_repeat
            .then(untried)
            .flatten()
            .or_else(|| self.search_among(pool, ask, since, now, patient))
            .unwrap_or_else(|| Search::Nothing(self.dearth(ask, now)))
    }

    /// Finds the session's own endpoint, else one of the pool's, within the request's reach.
    fn search_among(&self, pool: &Pool, ask: &Ask, since: Moment, now: Moment, patient: bool) -> Option<Search> {
        let mut binds = true;
        if let Some((member, has_served)) = self.own_endpoint(ask, now) {
            match self.look_at(member, ask, Binding::Bound, now) {
                Availability::Free => return Some(Search::Found(self.found(member, now))),
                Availability::Held => return Some(Search::Held),
                Availability::Cooling(cooldown)
                    if patient
                        && has_served
                        && !ask.has_been_at(&member.endpoint().id)
                        && cooldown.until <= since + self.policy.affinity.patience =>
                {
                    return Some(Search::Patience { until: cooldown.until });
                }
                // It will serve the session again when it has room.
                Availability::Full | Availability::OtherProtocol => binds = false,
                Availability::OtherModels
                | Availability::Cooling(_)
                | Availability::Isolated
                | Availability::Disabled
                | Availability::Tried => {}
            }
        }
        let Some(choice) = self.pick(pool, ask, now)?.choice else { return Some(Search::Held) };
        // An endpoint that is always chosen first takes no turns: it would owe them to requests that do.
        let next_turn = match ask.service {
            Service::Llm(_) => Some(choice.next_turn),
            Service::Other => None,
        };
        Some(Search::Found(Found { endpoint: choice.key, next_turn, binds }))
    }

    /// Picks from the best rank that has an endpoint, down to the last. A held endpoint is waited for before a lower rank
    /// is used, so that a single failure never spills traffic to the secondaries.
    fn pick(&self, pool: &Pool, ask: &Ask, now: Moment) -> Option<Pick> {
        let host_in_doubt = ask.tried.iter().any(|tried| tried.host_in_doubt);
        match ask.service {
            Service::Llm(_) if !host_in_doubt => {
                let served = pool.served(ask.model.as_deref());
                decided(served.map(|(rank, served)| self.pick_by_lanes(rank, served, ask, now)))
            }
            Service::Other if !host_in_doubt => {
                decided(pool.ranks.iter().map(|rank| self.pick_by_looking(rank, Hosts::All, ask, now)))
            }
            Service::Llm(_) | Service::Other => {
                let order = Self::order(&pool.ranks, ask).into_iter();
                decided(order.map(|(rank, hosts)| self.pick_by_looking(rank, hosts, ask, now)))
            }
        }
    }

    /// The endpoint that the request's session is bound to with this model, else the primary bound with its latest model,
    /// and whether it has served this one. A bond to a secondary expires sooner.
    pub(super) fn own_endpoint(&self, ask: &Ask, now: Moment) -> Option<(&Member, bool)> {
        let policy = &self.policy.affinity;
        if !policy.enabled || ask.service == Service::Other {
            return None;
        }
        let holds = |sessions::Bond { with, endpoint, idle, has_served }| {
            let member = self.queues.at(endpoint).filter(|member| member.endpoint().in_profile(&ask.profile))?;
            match (member.endpoint().home, with) {
                (Home::Secondary, With::ThisModel) if idle >= policy.secondary_ttl => None,
                (Home::Primary | Home::Secondary, With::ThisModel) => Some((member, has_served)),
                // A model without a cache there has nothing to wait for, and nothing to keep it on a secondary.
                (Home::Primary, With::AnotherModel) => Some((member, false)),
                (Home::Secondary, With::AnotherModel) => None,
            }
        };
        self.sessions.find(ask.origin.session()?, &ask.model, now, policy).find_map(holds)
    }

    /// The result of [`Self::own_endpoint`] in a form that can be kept.
    pub(super) fn own(&self, ask: &Ask, now: Moment) -> Option<Own> {
        self.own_endpoint(ask, now).map(|(member, has_served)| Own { endpoint: member.slot(), has_served })
    }

    pub(super) fn look_at(&self, member: &Member, ask: &Ask, bond: Binding, now: Moment) -> Availability {
        let endpoint = member.endpoint();
        let speaks = match ask.service {
            Service::Llm(protocol) => endpoint.protocol == protocol,
            Service::Other => true,
        };
        if !speaks {
            return Availability::OtherProtocol;
        }
        if !self.serves(member, ask) {
            return Availability::OtherModels;
        }
        match member.standing() {
            Standing::Disabled => return Availability::Disabled,
            _ if endpoint.weight == 0 && bond == Binding::None => return Availability::Disabled,
            Standing::Failure => return Availability::Isolated,
            Standing::Primary | Standing::Secondary => {}
        }
        if let Some(cooldown) = self.cooldown(member, ask, now) {
            return Availability::Cooling(cooldown);
        }
        if self.is_tried(member, ask, now) {
            Availability::Tried
        } else if member.is_held() {
            Availability::Held
        } else if self.is_full(member) {
            Availability::Full
        } else {
            Availability::Free
        }
    }

    /// Whether an endpoint serves the model, by what the pool remembers if it does.
    fn serves(&self, member: &Member, ask: &Ask) -> bool {
        let models = &member.endpoint().models;
        let Some(model) = ask.model.as_deref().filter(|_| !models.patterns().is_empty()) else { return true };
        let kept = || self.pools.get(&ask.profile)?.knows(model, self.lanes.place(member.slot())?.lane);
        kept().unwrap_or_else(|| models.serves(Some(model)))
    }

    /// Whether an endpoint has as many attempts under way as it may.
    pub(super) fn is_full(&self, member: &Member) -> bool {
        member.endpoint().max_in_flight.is_some_and(|most| self.leases.in_flight(member.slot()) >= most.get())
    }

    /// The endpoint's cooldown for this request. Requests on other paths have no model, and their limits are their own.
    fn cooldown(&self, member: &Member, ask: &Ask, now: Moment) -> Option<Cooldown> {
        match ask.service {
            Service::Other => None,
            Service::Llm(_) => self.cooling.get(member.slot())?.now(ask.model.as_ref(), now),
        }
    }

    /// Whether the request has tried this endpoint and may not have it again.
    pub(super) fn is_tried(&self, member: &Member, ask: &Ask, now: Moment) -> bool {
        let id = &member.endpoint().id;
        let Some(tried) = ask.tried.iter().find(|tried| tried.endpoint == *id) else { return false };
        match ask.reach {
            Reach::Fresh => true,
            Reach::Again => tried.spent,
            // An endpoint that has recovered since, or whose cooldown has ended, may serve although the request failed
            // there.
            Reach::Parked { .. } => {
                let ended = |cooling: &Cooling| cooling.has_ended_since(ask.model.as_ref(), tried.at, now);
                let has_rested = match ask.service {
                    Service::Other => false,
                    Service::Llm(_) => self.cooling.get(member.slot()).is_some_and(ended),
                };
                tried.epoch == member.epoch() && !has_rested
            }
        }
    }

    fn found(&self, member: &Member, now: Moment) -> Found {
        let Candidate { key, weight, turn, .. } = self.candidate(member, now);
        // An endpoint of weight 0 has no turns.
        let next_turn = (weight > 0.0).then(|| turn + weight.recip());
        Found { endpoint: key, next_turn, binds: true }
    }

    pub(super) fn candidate(&self, member: &Member, now: Moment) -> Candidate<Slot> {
        let slot = member.slot();
        Candidate {
            key: slot,
            in_flight: self.leases.in_flight(slot),
            weight: self.effective_weight(member, now),
            turn: self.turns.get(slot).copied().unwrap_or_default(),
        }
    }

    /// The weight used for the choice: smaller during slow start.
    pub(super) fn effective_weight(&self, member: &Member, now: Moment) -> f64 {
        let share = member.recovered().map_or(1.0, |at| slow_start_share(now.since(at), self.policy.slow_start));
        f64::from(member.endpoint().weight) * share
    }

    /// Whether the request could have been sent to an endpoint other than this one.
    pub(super) fn has_other(&self, ask: &Ask, asked: &EndpointId, now: Moment) -> bool {
        let mut untried = Ask { tried: Vec::new(), ..ask.clone() };
        self.readdress(&mut untried);
        let Some(pool) = self.pools.get(&untried.profile) else { return false };
        pool.members(&self.queues).filter(|member| member.endpoint().id != *asked).any(|member| {
            match self.look_at(member, &untried, Binding::None, now) {
                Availability::Free | Availability::Held | Availability::Full => true,
                Availability::OtherProtocol
                | Availability::OtherModels
                | Availability::Isolated
                | Availability::Disabled
                | Availability::Cooling(_)
                | Availability::Tried => false,
            }
        })
    }
}

/// The first rank with a free or held endpoint: a single failure never spills traffic to a lower rank.
fn decided(mut picks: impl Iterator<Item = Pick>) -> Option<Pick> {
    picks.find(|pick| pick.choice.is_some() || pick.any_held)
}
