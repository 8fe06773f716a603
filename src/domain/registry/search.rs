//! Which endpoint a request gets, or why none.

use super::super::ids::EndpointId;
use super::super::queues::{Member, Standing};
use super::super::selection::{Candidate, choose, slow_start_share};
use super::super::time::Moment;
use super::{Ask, NoEndpoint, RegistryCore, Service};

/// What a search of the ranks came to.
pub(super) enum Search {
    Found { endpoint: EndpointId, next_turn: f64 },
    Held,
    Nothing(NoEndpoint),
}

impl RegistryCore {
    /// Goes through the ranks from the best to the last. A held endpoint is waited for before a lower rank is used, so
    /// that a single failure never spills traffic to the secondaries.
    pub(super) fn search(&self, ask: &Ask, now: Moment) -> Search {
        if now >= ask.deadline {
            return Search::Nothing(NoEndpoint::TooLate);
        }
        let Some(pool) = self.pools.get(&ask.profile) else { return Search::Nothing(NoEndpoint::PathUnserved) };
        let mut seen = Seen::default();
        for rank in &pool.ranks {
            let mut free = Vec::with_capacity(rank.endpoints.len());
            let mut any_held = false;
            for member in rank.endpoints.iter().filter_map(|id| self.queues.get(id)) {
                match self.look_at(member, ask) {
                    Availability::OtherProtocol => {}
                    Availability::OtherModels => seen.other_models += 1,
                    Availability::Isolated => seen.isolated.push(member),
                    Availability::Disabled => seen.disabled += 1,
                    Availability::GivenUp => seen.given_up += 1,
                    Availability::Full => seen.full += 1,
                    Availability::Held => any_held = true,
                    Availability::Free => free.push(self.candidate(member, now)),
                }
                if ask.service == Service::Other && (any_held || !free.is_empty()) {
                    break;
                }
            }
            if let Some(choice) = choose(&free) {
                return Search::Found { endpoint: choice.key.clone(), next_turn: choice.next_turn };
            }
            if any_held {
                return Search::Held;
            }
        }
        Search::Nothing(seen.verdict())
    }

    fn look_at(&self, member: &Member, ask: &Ask) -> Availability {
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
        let is_full = endpoint.max_in_flight.is_some_and(|most| self.leases.in_flight(&endpoint.id) >= most.get());
        if ask.given_up.contains(&endpoint.id) {
            Availability::GivenUp
        } else if endpoint.weight == 0 {
            Availability::Disabled
        } else if member.is_held() {
            Availability::Held
        } else if is_full {
            Availability::Full
        } else {
            Availability::Free
        }
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
}

/// What a selection makes of one endpoint.
enum Availability {
    /// It does not serve this path.
    OtherProtocol,
    /// It does not serve this model.
    OtherModels,
    Isolated,
    /// Switched off, or of weight 0 and so for bound sessions only.
    Disabled,
    GivenUp,
    Full,
    /// The verdict on a failure is awaited.
    Held,
    Free,
}

/// What a fruitless search has seen.
#[derive(Default)]
struct Seen<'a> {
    isolated: Vec<&'a Member>,
    other_models: usize,
    disabled: usize,
    given_up: usize,
    full: usize,
}

impl Seen<'_> {
    fn verdict(self) -> NoEndpoint {
        if self.full > 0 {
            return NoEndpoint::Full { usable: self.full };
        }
        if self.given_up > 0 {
            return NoEndpoint::GivenUp;
        }
        if self.isolated.is_empty() {
            return match (self.disabled, self.other_models) {
                (0, 0) => NoEndpoint::PathUnserved,
                (0, _) => NoEndpoint::ModelUnserved,
                (total, _) => NoEndpoint::SwitchedOff { total },
            };
        }
        let needs_operator = self
            .isolated
            .iter()
            .all(|member| member.isolation().is_some_and(|isolation| isolation.reason.needs_operator()));
        let isolated: Vec<EndpointId> = self.isolated.iter().map(|member| member.endpoint().id.clone()).collect();
        NoEndpoint::Isolated { total: isolated.len() + self.disabled, isolated, needs_operator }
    }
}
