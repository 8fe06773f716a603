//! What a request must be answered at one moment, by sorting everybody and taking the first.

use std::time::Duration;

use qcc_gateway::domain::cooling::{Cooldown, CooldownReason};
use qcc_gateway::domain::endpoint::{Endpoint, Home};
use qcc_gateway::domain::ids::EndpointId;
use qcc_gateway::domain::registry::{Ask, Limit, NoEndpoint, Reach, Service};
use qcc_gateway::domain::time::Moment;

use super::Shadow;
use super::plain::{Place, Plain};
use super::rests::{Model, is_exhausted};

/// How one endpoint stands to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Switched off, or drained and not the session's own.
    Off,
    Isolated,
    Rests(Cooldown),
    Tried,
    Held,
    Full,
    Free,
}

/// What a look around comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    OneOf {
        ids: Vec<EndpointId>,
        binds: bool,
    },
    /// A verdict is awaited.
    Held,
    /// The session's own endpoint rests until then, which is not long.
    Patience(Moment),
    Nothing(Nothing),
    TooLate,
}

/// Why there is nothing, and what may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nothing {
    pub(crate) why: NoEndpoint,
    /// Until when waiting may be worth it.
    pub(crate) wait: Option<Moment>,
    /// Whose verification has to be hastened for it.
    pub(crate) wanted: Vec<EndpointId>,
    /// Whose verification has been hastened, or was due before.
    pub(crate) awaited: Vec<EndpointId>,
}

impl Shadow {
    fn state(&self, plain: &Plain, ask: &Ask, is_own: bool, now: Moment) -> State {
        let id = &plain.definition.id;
        match plain.place {
            Place::Off { .. } => return State::Off,
            _ if plain.definition.weight == 0 && !is_own => return State::Off,
            Place::Isolated(_) => return State::Isolated,
            Place::Home => {}
        }
        if let (Service::Llm(_), Some(cooldown)) = (ask.service, self.rest_of(id, ask, now)) {
            return State::Rests(cooldown);
        }
        let most = plain.definition.max_in_flight;
        if self.may_not_again(plain, ask, now) {
            State::Tried
        } else if !plain.holds.is_empty() {
            State::Held
        } else if most.is_some_and(|most| self.open_leases(id) >= most.get()) {
            State::Full
        } else {
            State::Free
        }
    }

    pub(crate) fn rest_of(&self, id: &EndpointId, ask: &Ask, now: Moment) -> Option<Cooldown> {
        self.rests.get(id)?.now(&ask.model, now)
    }

    /// Whether the request has been there, and what it asks for does not allow it to go there again.
    fn may_not_again(&self, plain: &Plain, ask: &Ask, now: Moment) -> bool {
        let id = &plain.definition.id;
        let Some(tried) = ask.tried.iter().find(|tried| tried.endpoint == *id) else { return false };
        match ask.reach {
            Reach::Fresh => true,
            Reach::Again => tried.spent,
            Reach::Parked { .. } => {
                // What rests on the models' paths does not on others.
                let has_rested = ask.service != Service::Other
                    && self.rests.get(id).is_some_and(|rests| rests.has_ended_since(&ask.model, tried.at, now));
                plain.is_in(tried.epoch) && !has_rested
            }
        }
    }

    /// Where the request's session is at home with this model, else at which primary with its latest. And whether there is a cache.
    fn own(&self, ask: &Ask, now: Moment) -> Option<(&Plain, bool)> {
        let policy = self.policy.affinity;
        if !policy.enabled || ask.service == Service::Other {
            return None;
        }
        let session = ask.origin.session()?;
        let home = |model: &Model| {
            let bond = self.sessions.get(&(session, model.clone()))?;
            let plain = self.endpoints.get(&bond.endpoint).filter(|plain| plain.definition.in_profile(&ask.profile))?;
            let lasts = match plain.definition.home {
                Home::Primary => policy.ttl,
                Home::Secondary => policy.secondary_ttl.min(policy.ttl),
            };
            (now.since(bond.used) < lasts).then_some((plain, bond.has_served))
        };
        // For another model there is no cache: it is neither waited for, nor kept on a secondary.
        let latest = self.latest_models.get(&session).filter(|model| **model != ask.model);
        home(&ask.model).or_else(|| {
            let (plain, _) = home(latest?)?;
            (plain.definition.home == Home::Primary).then_some((plain, false))
        })
    }

    /// Whether a request waits so long for its session's own endpoint: only where that has served it before, for there is a cache,
    /// and has not just refused this request.
    fn is_worth_it(&self, ask: &Ask, (own, has_served): (&Plain, bool), wait: Duration) -> bool {
        let has_been_there = ask.tried.iter().any(|tried| tried.endpoint == own.definition.id);
        has_served && !has_been_there && wait <= self.policy.affinity.patience
    }

    /// Which endpoint is the session's own at this moment, and whether it has served it. It may lapse by the clock alone, or
    /// come by another request of the session; those who wait are not told of that.
    pub(crate) fn own_and_served(&self, ask: &Ask, now: Moment) -> Option<(EndpointId, bool)> {
        self.own(ask, now).map(|(own, has_served)| (own.definition.id.clone(), has_served))
    }

    /// Whether the request's session is at another endpoint than this with the model that it was given one for last.
    pub(crate) fn is_elsewhere_with_its_latest_model(&self, ask: &Ask, own: &EndpointId) -> bool {
        let latest = ask.origin.session().and_then(|session| {
            let model = self.latest_models.get(&session)?;
            self.sessions.get(&(session, model.clone()))
        });
        latest.is_some_and(|bond| bond.endpoint != *own)
    }

    /// The endpoint that a session must get whenever it is free and this request has not been there.
    pub(crate) fn own_if_free(&self, ask: &Ask, now: Moment) -> Option<EndpointId> {
        let (own, _) = self.own(ask, now).filter(|(own, _)| fits(&own.definition, ask))?;
        let ask = &Ask { reach: Reach::Fresh, ..ask.clone() };
        let is_free = now < ask.deadline && self.state(own, ask, true, now) == State::Free;
        is_free.then(|| own.definition.id.clone())
    }

    pub(crate) fn find(&self, ask: &Ask, since: Moment, patient: bool, now: Moment) -> Finding {
        if now >= ask.deadline {
            return Finding::TooLate;
        }
        // Who was not tried, of whatever rank; else whoever may be tried again.
        let untried = Ask { reach: Reach::Fresh, ..ask.clone() };
        [&untried, ask]
            .into_iter()
            .find_map(|ask| self.find_among(ask, since, patient, now))
            .unwrap_or_else(|| Finding::Nothing(self.nothing(ask, now)))
    }

    fn find_among(&self, ask: &Ask, since: Moment, patient: bool, now: Moment) -> Option<Finding> {
        let mut binds = true;
        if let Some((own, has_served)) = self.own(ask, now) {
            let id = own.definition.id.clone();
            match self.state(own, ask, true, now) {
                _ if !serves_path(&own.definition, ask) => binds = false,
                _ if !fits(&own.definition, ask) => {}
                State::Free => return Some(Finding::OneOf { ids: vec![id], binds }),
                State::Held => return Some(Finding::Held),
                State::Rests(rest) if patient && self.is_worth_it(ask, (own, has_served), rest.until.since(since)) => {
                    return Some(Finding::Patience(rest.until));
                }
                State::Full => binds = false,
                State::Rests(_) | State::Isolated | State::Off | State::Tried => {}
            }
        }
        let fit = self.endpoints.values().filter(|plain| fits(&plain.definition, ask));
        let mut usable: Vec<(&Plain, State)> = fit
            .map(|plain| (plain, self.state(plain, ask, false, now)))
            .filter(|(_, state)| matches!(state, State::Held | State::Free))
            .collect();
        usable.sort_by_key(|(plain, _)| self.rank(plain, ask));
        let best = self.rank(usable.first()?.0, ask);
        let of_best = usable.iter().filter(|(plain, _)| self.rank(plain, ask) == best);
        let considered = of_best.take(if ask.service == Service::Other { 1 } else { usize::MAX });
        let free = considered.filter(|(_, state)| *state == State::Free);
        let ids: Vec<EndpointId> = free.map(|(plain, _)| plain.definition.id.clone()).collect();
        Some(if ids.is_empty() { Finding::Held } else { Finding::OneOf { ids, binds } })
    }

    /// Primaries first, then by host, then by priority; a last attempt goes by the host first.
    fn rank(&self, plain: &Plain, ask: &Ask) -> (bool, bool, bool, u8) {
        let host = |endpoint: &Endpoint| endpoint.base_url.origin().host.clone();
        let in_doubt = ask.tried.iter().filter(|tried| tried.host_in_doubt).any(|tried| {
            let tried = self.endpoints.get(&tried.endpoint);
            tried.is_some_and(|tried| host(&tried.definition) == host(&plain.definition))
        });
        let is_secondary = plain.definition.home == Home::Secondary;
        (ask.is_last && in_doubt, is_secondary, in_doubt, plain.definition.priority)
    }

    /// Whether a failed request could have gone to another endpoint than this one.
    pub(super) fn has_other(&self, ask: &Ask, asked: &EndpointId, now: Moment) -> bool {
        let untried = Ask { tried: Vec::new(), ..ask.clone() };
        self.endpoints
            .values()
            .filter(|plain| plain.definition.id != *asked && fits(&plain.definition, ask))
            .any(|plain| matches!(self.state(plain, &untried, false, now), State::Free | State::Held | State::Full))
    }

    pub(super) fn nothing(&self, ask: &Ask, now: Moment) -> Nothing {
        // To its own sessions a drained endpoint is one like any other.
        let own = self.own(ask, now).map(|(own, _)| &own.definition.id);
        let state = |plain: &Plain| self.state(plain, ask, own == Some(&plain.definition.id), now);
        let serves_path: Vec<&Plain> =
            self.endpoints.values().filter(|plain| serves_path(&plain.definition, ask)).collect();
        let fit = serves_path.iter().copied().filter(|plain| fits(&plain.definition, ask));
        let states: Vec<(&Plain, State)> = fit.map(|plain| (plain, state(plain))).collect();
        let count = |wanted: &[State]| states.iter().filter(|(_, state)| wanted.contains(state)).count();
        let tried = count(&[State::Tried]);
        let full = count(&[State::Full, State::Held, State::Free]);
        let any_usable = tried + full > 0;
        let may_be_repeated = states.iter().any(|(plain, state)| *state == State::Tried && !is_spent(ask, plain));
        let mut resting: Vec<Cooldown> = Vec::new();
        resting.extend(states.iter().filter_map(|(_, state)| match state {
            State::Rests(rest) => Some(*rest),
            _ => None,
        }));
        let isolated: Vec<&Plain> =
            states.iter().filter(|(_, state)| *state == State::Isolated).map(|(plain, _)| *plain).collect();
        let mendable: Vec<&Plain> =
            isolated.iter().copied().filter(|plain| !plain.isolated().unwrap().cause.reason.needs_operator()).collect();
        let comes = |plain: &Plain| {
            let scheduled = self.scheduled(plain);
            let hastened = (!any_usable).then(|| self.soonest(&plain.definition.id, now));
            scheduled.into_iter().chain(hastened).min()
        };
        let back = mendable.iter().filter_map(|plain| comes(plain)).min();
        let why = if tried > 0 {
            NoEndpoint::GivenUp
        } else if full > 0 {
            NoEndpoint::Full { usable: full }
        } else if !isolated.is_empty() {
            let next = back.into_iter().chain(resting.iter().map(|rest| rest.until)).min();
            NoEndpoint::Isolated {
                isolated: isolated.len(),
                total: states.len(),
                next: next.map(|next| next.since(now)),
            }
        } else if let Some(soonest) = resting.iter().min_by_key(|rest| rest.until) {
            let left = soonest.until.since(now);
            let limit = if resting.iter().any(|rest| rest.reason == CooldownReason::Overload) {
                Limit::Overload
            } else if is_exhausted(soonest, &self.policy.cooling) && left > self.policy.cooling.exhausted_after {
                Limit::Exhausted
            } else {
                Limit::Rate
            };
            NoEndpoint::Cooling { total: resting.len(), soonest: left, limit }
        } else if !states.is_empty() {
            NoEndpoint::SwitchedOff { total: states.len() }
        } else if !serves_path.is_empty() {
            NoEndpoint::ModelUnserved
        } else if !self.endpoints.values().any(|plain| plain.definition.in_profile(&ask.profile)) {
            NoEndpoint::ProfileGone
        } else {
            NoEndpoint::PathUnserved
        };
        let awaited = mendable.iter().copied().filter(|_| !any_usable);
        let (wanted, awaited): (Vec<&Plain>, Vec<&Plain>) = awaited.partition(|plain| {
            let is_due = self.scheduled(plain).is_some_and(|at| at <= now);
            !is_due && !self.hastened.contains(&plain.definition.id)
        });
        let [wanted, awaited] =
            [wanted, awaited].map(|plains| plains.into_iter().map(|plain| plain.definition.id.clone()).collect());
        let may_come = full > 0 || back.is_some_and(|back| Some(back) < parked_until(ask));
        Nothing { why, wait: wait(ask, now, &resting, may_come, may_be_repeated), wanted, awaited }
    }

    /// When the verification of an isolated endpoint is due by itself, where the registry can know that: after a relapse it is
    /// later than the first delay.
    fn scheduled(&self, plain: &Plain) -> Option<Moment> {
        let quarantine = plain.isolated().unwrap();
        match self.told.get(&plain.definition.id).filter(|told| plain.is_in(told.epoch)) {
            Some(told) => Some(told.next),
            None if quarantine.redefined || quarantine.doubted => Some(quarantine.since),
            None => (!quarantine.relapse).then(|| quarantine.since + self.policy.initial_delay),
        }
    }

    /// When it may begin if requests hasten it.
    fn soonest(&self, id: &EndpointId, now: Moment) -> Moment {
        self.told.get(id).map_or(now, |told| now.max(told.began + self.policy.initial_delay))
    }
}

/// Until when a request may be parked, if it may be at all.
fn parked_until(ask: &Ask) -> Option<Moment> {
    match ask.reach {
        Reach::Parked { until } => Some(until.min(ask.deadline)),
        Reach::Fresh | Reach::Again => None,
    }
}

/// Whether the request has been sent to this endpoint as often as it may be.
fn is_spent(ask: &Ask, plain: &Plain) -> bool {
    ask.tried.iter().any(|tried| tried.spent && tried.endpoint == plain.definition.id)
}

/// Until when a request that found nothing may wait: for the end of an overload to its deadline where nothing is left that
/// it could repeat, for all else as long as it may be parked. Whatever ends a rest before then is a reason to look.
fn wait(ask: &Ask, now: Moment, resting: &[Cooldown], may_come: bool, may_be_repeated: bool) -> Option<Moment> {
    let parked = parked_until(ask)?;
    let in_time = |rest: &&Cooldown| match rest.reason {
        CooldownReason::Overload if !may_be_repeated => rest.until < ask.deadline,
        CooldownReason::Overload | CooldownReason::RateLimit => rest.until < parked,
    };
    let ends = resting.iter().filter(in_time).map(|rest| rest.until);
    let until = ends.chain((now < parked && may_come).then_some(parked)).min()?;
    Some(resting.iter().map(|rest| rest.until).fold(until, Moment::min))
}

fn serves_path(endpoint: &Endpoint, ask: &Ask) -> bool {
    let speaks = match ask.service {
        Service::Llm(protocol) => endpoint.protocol == protocol,
        Service::Other => true,
    };
    endpoint.in_profile(&ask.profile) && speaks
}

fn fits(endpoint: &Endpoint, ask: &Ask) -> bool {
    serves_path(endpoint, ask) && endpoint.models.serves(ask.model.as_deref())
}
