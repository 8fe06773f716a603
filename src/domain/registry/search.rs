//! Which endpoint a request gets.

use super::super::cooling::{Cooldown, Cooling};
use super::super::endpoint::Home;
use super::super::ids::EndpointId;
use super::super::queues::{Member, Standing};
use super::super::selection::{Candidate, choose, slow_start_share};
use super::super::sessions;
use super::super::time::Moment;
use super::dearth::{Dearth, is_spent};
use super::pool::Rank;
use super::{Ask, Reach, RegistryCore, Service};

/// The endpoint that was chosen.
pub(super) struct Found {
    pub(super) endpoint: EndpointId,
    /// When its next turn is due; none where this was no turn.
    pub(super) next_turn: Option<f64>,
    /// Whether the request's session is bound to it from now on.
    pub(super) binds: bool,
}

/// What a search came to.
pub(super) enum Search {
    Found(Found),
    /// A verdict is awaited.
    Held,
    /// The session's own endpoint ends its cooldown soon enough to be waited for.
    Patience {
        until: Moment,
    },
    Nothing(Dearth),
    TooLate,
}

/// What a selection makes of one endpoint.
pub(super) enum Availability {
    /// It does not serve this path.
    OtherProtocol,
    /// It does not serve this model.
    OtherModels,
    Isolated,
    /// Switched off, or of weight 0 and so for bound sessions only.
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
pub(super) enum Bond {
    Bound,
    None,
}

/// In which order the hosts come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hosts {
    All,
    /// Those that are not in doubt.
    Others,
    InDoubt,
}

impl RegistryCore {
    /// The session's own endpoint first; else the ranks from the best to the last. A held endpoint is waited for before a
    /// lower rank is used, so that a single failure never spills traffic to the secondaries. `since` is when the request
    /// began to wait.
    pub(super) fn search(&self, ask: &Ask, since: Moment, now: Moment, patient: bool) -> Search {
        if now >= ask.deadline {
            return Search::TooLate;
        }
        let Some(pool) = self.pools.get(&ask.profile) else { return Search::Nothing(self.dearth(ask, now)) };
        let own = self.own_endpoint(ask, now);
        let mut binds = true;
        if let Some((member, has_served)) = own {
            match self.look_at(member, ask, Bond::Bound, now) {
                Availability::Free => return Search::Found(self.found(member, now)),
                Availability::Held => return Search::Held,
                Availability::Cooling(cooldown)
                    if patient
                        && has_served
                        && !is_spent(member, ask)
                        && cooldown.until <= since + self.policy.affinity.patience =>
                {
                    return Search::Patience { until: cooldown.until };
                }
                // It serves the session's other models, or will again when it has room.
                Availability::Full | Availability::OtherModels | Availability::OtherProtocol => binds = false,
                Availability::Cooling(_) | Availability::Isolated | Availability::Disabled | Availability::Tried => {}
            }
        }
        for (rank, hosts) in Self::order(&pool.ranks, ask) {
            let mut free = Vec::with_capacity(rank.endpoints.len());
            let mut any_held = false;
            for member in rank.endpoints.iter().filter_map(|id| self.queues.get(id)) {
                if !self.is_of(member, hosts, ask) {
                    continue;
                }
                match self.look_at(member, ask, Bond::None, now) {
                    Availability::Held => any_held = true,
                    Availability::Free => free.push(self.candidate(member, now)),
                    Availability::OtherProtocol
                    | Availability::OtherModels
                    | Availability::Isolated
                    | Availability::Disabled
                    | Availability::Cooling(_)
                    | Availability::Tried
                    | Availability::Full => {}
                }
                if ask.service == Service::Other && (any_held || !free.is_empty()) {
                    break;
                }
            }
            if let Some(choice) = choose(&free) {
                // Who is always the first takes no turns: it would owe them to requests that do.
                let next_turn = match ask.service {
                    Service::Llm(_) => Some(choice.next_turn),
                    Service::Other => None,
                };
                return Search::Found(Found { endpoint: choice.key.clone(), next_turn, binds });
            }
            if any_held {
                return Search::Held;
            }
        }
        Search::Nothing(self.dearth(ask, now))
    }

    /// The ranks as this request goes through them: within a queue other hosts than those in doubt come first; the last
    /// attempt is for another host, a secondary too.
    fn order<'a>(ranks: &'a [Rank], ask: &Ask) -> Vec<(&'a Rank, Hosts)> {
        if !ask.tried.iter().any(|tried| tried.host_in_doubt) {
            return ranks.iter().map(|rank| (rank, Hosts::All)).collect();
        }
        let of = |home: Home, hosts| ranks.iter().filter(move |rank| rank.home == home).map(move |rank| (rank, hosts));
        let primaries = |hosts| of(Home::Primary, hosts);
        let secondaries = |hosts| of(Home::Secondary, hosts);
        if ask.is_last {
            primaries(Hosts::Others)
                .chain(secondaries(Hosts::Others))
                .chain(primaries(Hosts::InDoubt))
                .chain(secondaries(Hosts::InDoubt))
                .collect()
        } else {
            primaries(Hosts::Others)
                .chain(primaries(Hosts::InDoubt))
                .chain(secondaries(Hosts::Others))
                .chain(secondaries(Hosts::InDoubt))
                .collect()
        }
    }

    fn is_of(&self, member: &Member, hosts: Hosts, ask: &Ask) -> bool {
        if hosts == Hosts::All {
            return true;
        }
        let host = &member.endpoint().base_url.origin().host;
        let in_doubt = ask.tried.iter().filter(|tried| tried.host_in_doubt).any(|tried| {
            self.queues.get(&tried.endpoint).is_some_and(|tried| tried.endpoint().base_url.origin().host == *host)
        });
        in_doubt == (hosts == Hosts::InDoubt)
    }

    /// The endpoint that the request's session is bound to, and whether it has served it. On a secondary it stays for a
    /// shorter while.
    pub(super) fn own_endpoint(&self, ask: &Ask, now: Moment) -> Option<(&Member, bool)> {
        let policy = &self.policy.affinity;
        if !policy.enabled || ask.service == Service::Other {
            return None;
        }
        let sessions::Bond { endpoint, idle, has_served } = self.sessions.find(&ask.origin.session()?, now, policy)?;
        let member = self.queues.get(endpoint).filter(|member| member.endpoint().in_profile(&ask.profile))?;
        match member.endpoint().home {
            Home::Secondary if idle >= policy.secondary_ttl => None,
            Home::Primary | Home::Secondary => Some((member, has_served)),
        }
    }

    pub(super) fn look_at(&self, member: &Member, ask: &Ask, bond: Bond, now: Moment) -> Availability {
        let endpoint = member.endpoint();
        let speaks = match ask.service {
            Service::Llm(protocol) => endpoint.protocol == protocol,
            Service::Other => true,
        };
        if !speaks {
            return Availability::OtherProtocol;
        }
        if !endpoint.models.serves(ask.model.as_deref()) {
            return Availability::OtherModels;
        }
        match member.standing() {
            Standing::Disabled => return Availability::Disabled,
            Standing::Failure => return Availability::Isolated,
            Standing::Primary | Standing::Secondary => {}
        }
        if endpoint.weight == 0 && bond == Bond::None {
            return Availability::Disabled;
        }
        if let Some(cooldown) = self.cooldown(member, ask, now) {
            return Availability::Cooling(cooldown);
        }
        let is_full = endpoint.max_in_flight.is_some_and(|most| self.leases.in_flight(&endpoint.id) >= most.get());
        if self.is_tried(member, ask, now) {
            Availability::Tried
        } else if member.is_held() {
            Availability::Held
        } else if is_full {
            Availability::Full
        } else {
            Availability::Free
        }
    }

    /// What is asked of one account on other paths has no model, and its limits are its own.
    fn cooldown(&self, member: &Member, ask: &Ask, now: Moment) -> Option<Cooldown> {
        match ask.service {
            Service::Other => None,
            Service::Llm(_) => self.cooling.get(&member.endpoint().id)?.now(ask.model.as_ref(), now),
        }
    }

    /// Whether the request has tried this endpoint and may not have it again.
    fn is_tried(&self, member: &Member, ask: &Ask, now: Moment) -> bool {
        let id = &member.endpoint().id;
        let Some(tried) = ask.tried.iter().find(|tried| tried.endpoint == *id) else { return false };
        match ask.reach {
            Reach::Fresh => true,
            Reach::Again => tried.spent,
            // One that has recovered or ended its cooldown since may serve, though the request had failed there.
            Reach::Parked { .. } => {
                let ended = |cooling: &Cooling| cooling.has_ended_since(ask.model.as_ref(), tried.at, now);
                let has_rested = match ask.service {
                    Service::Other => false,
                    Service::Llm(_) => self.cooling.get(id).is_some_and(ended),
                };
                tried.epoch == member.epoch() && !has_rested
            }
        }
    }

    fn found(&self, member: &Member, now: Moment) -> Found {
        let Candidate { key, weight, turn, .. } = self.candidate(member, now);
        // One of weight 0 has no turns of its own.
        let next_turn = (weight > 0.0).then(|| turn + weight.recip());
        Found { endpoint: key.clone(), next_turn, binds: true }
    }

    fn candidate<'a>(&self, member: &'a Member, now: Moment) -> Candidate<&'a EndpointId> {
        let id = &member.endpoint().id;
        Candidate {
            key: id,
            in_flight: self.leases.in_flight(id),
            weight: self.effective_weight(member, now),
            turn: self.turns.get(id).copied().unwrap_or_default(),
        }
    }

    /// The weight that the choice goes by: smaller while in slow start.
    pub(super) fn effective_weight(&self, member: &Member, now: Moment) -> f64 {
        let share = member.recovered().map_or(1.0, |at| slow_start_share(now.since(at), self.policy.slow_start));
        f64::from(member.endpoint().weight) * share
    }

    /// Whether there is another endpoint than this one that the request could have been sent to.
    pub(super) fn has_other(&self, ask: &Ask, asked: &EndpointId, now: Moment) -> bool {
        let Some(pool) = self.pools.get(&ask.profile) else { return false };
        let untried = Ask { tried: Vec::new(), ..ask.clone() };
        pool.members(&self.queues).filter(|member| member.endpoint().id != *asked).any(|member| {
            match self.look_at(member, &untried, Bond::None, now) {
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
