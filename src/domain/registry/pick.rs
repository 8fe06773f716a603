//! Which endpoint of a rank serves a request.

use super::super::endpoint::Home;
use super::super::queues::Member;
use super::super::selection::{Candidate, Choice, choose};
use super::super::slots::Slot;
use super::super::time::Moment;
use super::super::tournament::Field;
use super::lanes::{Lane, LanePlace, Seat};
use super::pool::{Rank, Served};
use super::search::{Availability, Binding};
use super::{Ask, RegistryCore, Service};

/// Which hosts a look is limited to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    All,
    /// Only those not in doubt.
    Others,
    InDoubt,
}

/// What a rank offers a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pick {
    pub(super) choice: Option<Choice<Slot>>,
    /// Whether an endpoint that was looked at is held.
    pub(super) any_held: bool,
}

impl RegistryCore {
    /// Picks by looking at each endpoint of the rank. For a path that is not an LLM's, the first endpoint that is free or
    /// held ends the search.
    pub(super) fn pick_by_looking(&self, rank: &Rank, hosts: Hosts, ask: &Ask, now: Moment) -> Pick {
        let mut free = Vec::with_capacity(rank.endpoints.len());
        let mut any_held = false;
        for member in rank.endpoints.iter().filter_map(|slot| self.queues.at(*slot)) {
            if !self.is_of(member, hosts, ask) {
                continue;
            }
            match self.look_at(member, ask, Binding::None, now) {
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
        Pick { choice: choose(&free), any_held }
    }

    /// Picks for an LLM path among all hosts, by what the lanes know: only watched endpoints are looked at.
    pub(super) fn pick_by_lanes(&self, rank: &Rank, served: Served<'_>, ask: &Ask, now: Moment) -> Pick {
        let tried = self.places_of_tried(ask, now);
        let without = |number: usize| -> Vec<usize> {
            if tried.is_empty() {
                return Vec::new();
            }
            tried.iter().filter(|place| place.lane == number).map(|place| place.index).collect()
        };
        let mut field = Field::EMPTY;
        let mut looked_at: Vec<Candidate<Slot>> = Vec::new();
        let mut any_held = false;
        for (number, lane) in self.lanes_for(served, ask) {
            field = field.with(lane.free_but(&without(number)));
            for member in lane.watched().iter().filter_map(|slot| self.queues.at(*slot)) {
                match self.look_at(member, ask, Binding::None, now) {
                    Availability::Held => any_held = true,
                    Availability::Free => {
                        let candidate = self.candidate(member, now);
                        field = field.with(Field::of(&candidate));
                        looked_at.push(candidate);
                    }
                    Availability::OtherProtocol
                    | Availability::OtherModels
                    | Availability::Isolated
                    | Availability::Disabled
                    | Availability::Cooling(_)
                    | Availability::Tried
                    | Availability::Full => {}
                }
            }
        }
        let choice = field.best().and_then(|best| {
            let of_lanes = self.lanes_for(served, ask).filter_map(|(number, lane)| lane.first(best, &without(number)));
            let chosen = of_lanes.filter_map(|slot| self.queues.at(slot)).reduce(first_by_id);
            let others = looked_at.iter().filter(|candidate| best.is_reached_by(candidate));
            let chosen =
                others.filter_map(|candidate| self.queues.at(candidate.key)).chain(chosen).reduce(first_by_id)?;
            let weight = self.effective_weight(chosen, now);
            Some(Choice { key: chosen.slot(), next_turn: best.next_turn(weight) })
        });
        let pick = Pick { choice, any_held };
        debug_assert_eq!(pick, self.pick_by_looking(rank, Hosts::All, ask, now), "the lanes know it otherwise");
        pick
    }

    fn lanes_for<'a>(&'a self, served: Served<'a>, ask: &'a Ask) -> impl Iterator<Item = (usize, &'a Lane)> {
        let (numbers, is_known) = match served {
            Served::Known(numbers) => (numbers, true),
            Served::Unknown(numbers) => (numbers, false),
        };
        numbers
            .iter()
            .filter_map(|number| Some((*number, self.lanes.get(*number)?)))
            .filter(move |(_, lane)| ask.service == Service::Llm(lane.protocol))
            .filter(move |(_, lane)| is_known || lane.serves(ask.model.as_deref()))
    }

    fn places_of_tried(&self, ask: &Ask, now: Moment) -> Vec<LanePlace> {
        if ask.tried.is_empty() {
            return Vec::new();
        }
        let tried = ask.tried.iter().filter_map(|tried| self.queues.get(&tried.endpoint));
        tried
            .filter(|member| self.is_tried(member, ask, now))
            .filter_map(|member| self.lanes.place(member.slot()))
            .collect()
    }

    /// Updates the lane of an endpoint that has changed. Must follow every change of what [`Self::seat_of`] depends on.
    pub(super) fn reseat(&mut self, slot: Slot, now: Moment) {
        if let Some(seat) = self.queues.at(slot).map(|member| self.seat_of(member, now)) {
            self.lanes.sit(slot, seat);
        }
    }

    /// Updates the lanes of all endpoints.
    pub(super) fn reseat_all(&mut self, now: Moment) {
        let seats: Vec<(Slot, Seat)> =
            self.queues.iter().map(|member| (member.slot(), self.seat_of(member, now))).collect();
        for (slot, seat) in seats {
            self.lanes.sit(slot, seat);
        }
    }

    /// Watches every recovered endpoint, since the length of slow start has changed: one that had left it may be in it
    /// again.
    pub(super) fn watch_who_has_recovered(&mut self) {
        for member in self.queues.iter().filter(|member| member.recovered().is_some()) {
            if let Some(Seat::Free(_)) = self.lanes.seat(member.slot()) {
                self.lanes.sit(member.slot(), Seat::Watched);
            }
        }
    }

    /// What an endpoint's lane should know of it. An endpoint whose state the clock can end is watched; the next grant or
    /// return of it finds out when that is no longer needed.
    fn seat_of(&self, member: &Member, now: Moment) -> Seat {
        if !member.is_home() || member.endpoint().weight == 0 {
            return Seat::Out;
        }
        let may_rest = self.cooling.get(member.slot()).is_some_and(|cooling| cooling.may_rest(now));
        let is_in_slow_start = member.recovered().is_some_and(|at| now.since(at) < self.policy.slow_start);
        if member.is_held() || may_rest || is_in_slow_start {
            Seat::Watched
        } else if self.is_full(member) {
            Seat::Out
        } else {
            Seat::Free(Field::of(&self.candidate(member, now)))
        }
    }

    /// The order in which a request tries the ranks while hosts are in doubt: within a queue, other hosts come first; for
    /// the last attempt, other hosts come first even if they are secondaries.
    pub(super) fn order<'a>(ranks: &'a [Rank], ask: &Ask) -> Vec<(&'a Rank, Hosts)> {
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
}

fn first_by_id<'a>(one: &'a Member, other: &'a Member) -> &'a Member {
    if other.endpoint().id < one.endpoint().id { other } else { one }
}
