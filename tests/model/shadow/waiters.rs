//! Who waits, who may be parked, and who is served first.

use std::collections::BTreeSet;
use std::time::Duration;

use qcc_gateway::domain::ids::{ClientId, EndpointId, Epoch, Ticket};
use qcc_gateway::domain::registry::{Ask, NoEndpoint, Turn, WaiterId};
use qcc_gateway::domain::time::Moment;

use super::plain::Place;
use super::{Bond, Finding, Open, Shadow};

/// Over how long requests and further retries are counted, second by second.
const BUDGET_WINDOW: u64 = 10;

/// For so long beyond their time idle sessions are remembered, for an attempt that may end yet.
const LONGEST_ATTEMPT: Duration = Duration::from_hours(1);

/// A request that waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiter {
    pub(crate) id: WaiterId,
    pub(crate) ask: Ask,
    pub(crate) since: Moment,
    /// Whether it takes a place; else it waits for a verdict, which takes none.
    pub(crate) parked: bool,
    /// Its session's own endpoint when it was last looked at, and whether that had served it.
    pub(crate) own: Option<(EndpointId, bool)>,
    pub(crate) looked_at: Moment,
    pub(crate) until: Waits,
}

/// What must become of a request that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Granted { ids: Vec<EndpointId>, binds: bool },
    Waits { parked: bool, until: Waits },
    Refused(NoEndpoint),
}

/// What ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// A verdict, which comes by itself: what the clock alone changes until then nobody looks at.
    ForAVerdict,
    ForTheClock,
}

/// What must be told to others on the way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    Hastened(Vec<EndpointId>),
    /// For a refusal, or for another endpoint than the one that it was waiting for.
    GivesUpItsPlace(Box<Waiter>, Look),
}

/// A first turn, or a further retry.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    at: Moment,
    client: Option<ClientId>,
    is_retry: bool,
}

/// Why there is no further retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// Nobody has one.
    TheBudget,
    /// This client has had its part, and others have asked for something.
    ItsPart,
}

fn count<T>(items: impl Iterator<Item = T>) -> f64 {
    f64::from(u32::try_from(items.count()).unwrap())
}

enum PlaceToWait {
    Free,
    InPlaceOf(WaiterId),
    None,
}

impl Shadow {
    pub(crate) fn waiters(&self) -> &[Waiter] {
        &self.waiters
    }

    pub(crate) fn parked(&self) -> usize {
        self.waiters.iter().filter(|waiter| waiter.parked).count()
    }

    pub(crate) fn parked_for(&self, client: Option<&ClientId>) -> usize {
        self.waiters.iter().filter(|waiter| waiter.parked && waiter.ask.client.as_ref() == client).count()
    }

    /// How many places a client may take while others wait.
    pub(crate) fn share(&self) -> usize {
        (self.policy.park_max / 4).max(1)
    }

    pub(crate) fn begins_to_wait(&mut self, id: WaiterId, ask: Ask, (parked, until): (bool, Waits), now: Moment) {
        let own = self.own_and_served(&ask, now);
        self.waiters.push(Waiter { id, ask, since: now, parked, own, looked_at: now, until });
    }

    pub(crate) fn stops_waiting(&mut self, id: WaiterId) {
        self.waiters.retain(|waiter| waiter.id != id);
    }

    /// It was looked at, and waits on.
    pub(crate) fn stays(&mut self, waiter: &Waiter, (parked, until): (bool, Waits), now: Moment) {
        let own = self.own_and_served(&waiter.ask, now);
        for waiter in self.waiters.iter_mut().filter(|other| other.id == waiter.id) {
            (waiter.parked, waiter.until) = (parked, until);
            (waiter.own, waiter.looked_at) = (own.clone(), now);
        }
    }

    pub(crate) fn count_turn(&mut self, ask: &Ask, now: Moment) {
        if ask.turn == Turn::First {
            self.turns.push(Counted { at: now, client: ask.client.clone(), is_retry: false });
        }
    }

    /// What must become of a request. `was_parked` is how it has waited so far.
    pub(crate) fn look(
        &mut self,
        ask: &Ask,
        since: Moment,
        was_parked: Option<bool>,
        now: Moment,
    ) -> (Vec<Expected>, Look) {
        let has_place = was_parked == Some(true);
        let mut expected = Vec::new();
        let mut finding = self.find(ask, since, !self.stopping, now);
        if matches!(finding, Finding::Patience(_)) && !has_place && !self.takes_place(ask, now, &mut expected) {
            finding = self.find(ask, since, false, now);
        }
        let look = match finding {
            Finding::OneOf { ids, binds } => Look::Granted { ids, binds },
            Finding::Held => Look::Waits { parked: has_place, until: Waits::ForAVerdict },
            Finding::Patience(_) => Look::Waits { parked: true, until: Waits::ForTheClock },
            Finding::TooLate => Look::Refused(self.too_late(ask, now)),
            Finding::Nothing(nothing) => {
                if !nothing.wanted.is_empty() {
                    self.hastened.extend(nothing.wanted.iter().cloned());
                    expected.push(Expected::Hastened(nothing.wanted));
                }
                let may_wait = nothing.wait.is_some();
                if may_wait && self.stopping {
                    Look::Refused(NoEndpoint::Stopping)
                } else if may_wait && (has_place || self.takes_place(ask, now, &mut expected)) {
                    Look::Waits { parked: true, until: Waits::ForTheClock }
                } else {
                    Look::Refused(nothing.why)
                }
            }
        };
        (expected, look)
    }

    /// Whoever has waited in vain until its deadline for what is isolated or rests is told so.
    fn too_late(&self, ask: &Ask, now: Moment) -> NoEndpoint {
        let why = self.nothing(ask, now).why;
        let is_what_it_waited_for = matches!(why, NoEndpoint::Isolated { .. } | NoEndpoint::Cooling { .. });
        if is_what_it_waited_for { why } else { NoEndpoint::TooLate }
    }

    /// The gateway stops. Whoever is parked must be told so, in the order in which they came.
    pub(crate) fn stop_parking(&mut self) -> Vec<Waiter> {
        self.stopping = true;
        self.waiters.iter().filter(|waiter| waiter.parked).cloned().collect()
    }

    /// Whether a wait at this moment leads anywhere: what a waiter's place stands on.
    pub(crate) fn may_wait(&self, waiter: &Waiter, now: Moment) -> bool {
        // A bond that had lapsed when it was looked at may have been renewed, and have lapsed again since.
        let has_changed = |at| self.own_and_served(&waiter.ask, at) != waiter.own;
        if has_changed(now) || has_changed(waiter.looked_at) {
            return true;
        }
        let now = match waiter.until {
            Waits::ForAVerdict => waiter.looked_at,
            Waits::ForTheClock => now,
        };
        match self.find(&waiter.ask, waiter.since, waiter.parked, now) {
            Finding::Held => true,
            Finding::Patience(until) => until > now,
            Finding::Nothing(nothing) => waiter.parked && nothing.wait.is_some_and(|until| until > now),
            Finding::OneOf { .. } | Finding::TooLate => false,
        }
    }

    /// The isolated endpoints that requests are parked for, but for those whose verification is still to be hastened.
    pub(crate) fn awaited(&self, now: Moment) -> BTreeSet<EndpointId> {
        let parked = self.waiters.iter().filter(|waiter| waiter.parked);
        parked
            .filter_map(|waiter| match self.find(&waiter.ask, waiter.since, true, now) {
                Finding::Nothing(nothing) if nothing.wait.is_some() => Some(nothing.awaited),
                _ => None,
            })
            .flatten()
            .collect()
    }

    fn takes_place(&mut self, ask: &Ask, now: Moment, expected: &mut Vec<Expected>) -> bool {
        match self.place_for(ask) {
            PlaceToWait::Free => true,
            PlaceToWait::None => false,
            PlaceToWait::InPlaceOf(id) => {
                let index = self.waiters.iter().position(|waiter| waiter.id == id).unwrap();
                let waiter = self.waiters.remove(index);
                let look = match self.find(&waiter.ask, waiter.since, false, now) {
                    Finding::OneOf { ids, binds } => Look::Granted { ids, binds },
                    Finding::Nothing(nothing) => Look::Refused(nothing.why),
                    Finding::Held | Finding::Patience(_) | Finding::TooLate => Look::Refused(NoEndpoint::TooLate),
                };
                expected.push(Expected::GivesUpItsPlace(Box::new(waiter), look));
                true
            }
        }
    }

    /// A client with its share of the places takes no more while others wait; and where all are taken, whoever has more than
    /// its share gives one up, the one that came last.
    fn place_for(&self, ask: &Ask) -> PlaceToWait {
        let own = self.parked_for(ask.client.as_ref());
        if self.parked() > own && own >= self.share() {
            return PlaceToWait::None;
        }
        if self.parked() < self.policy.park_max {
            return PlaceToWait::Free;
        }
        let mut others = self.waiters.iter().filter(|waiter| waiter.parked && waiter.ask.client != ask.client);
        let last = others.rfind(|waiter| self.parked_for(waiter.ask.client.as_ref()) > self.share());
        last.map_or(PlaceToWait::None, |waiter| PlaceToWait::InPlaceOf(waiter.id))
    }

    /// What is spent, where this attempt is a further retry and can't be had.
    pub(crate) fn spent(&self, ask: &Ask, id: &EndpointId, now: Moment) -> Option<Spent> {
        if !is_further(ask, id) {
            return None;
        }
        let second = |at: Moment| at.since(Moment::START).as_secs();
        let recent: Vec<&Counted> =
            self.turns.iter().filter(|turn| second(now) - second(turn.at) < BUDGET_WINDOW).collect();
        let own: Vec<&Counted> = recent.iter().copied().filter(|turn| turn.client == ask.client).collect();
        let policy = self.policy.budget;
        let besides = f64::from(policy.min_per_second) * Duration::from_secs(BUDGET_WINDOW).as_secs_f64();
        let next = |turns: &[&Counted]| count(turns.iter().filter(|turn| turn.is_retry)) + 1.0;
        let share = |turns: &[&Counted]| policy.ratio * count(turns.iter().filter(|turn| !turn.is_retry));
        let others_ask = own.len() < recent.len();
        if next(&recent) > share(&recent) + besides {
            Some(Spent::TheBudget)
        } else if others_ask && next(&own) > share(&own).ceil() + besides / 2.0 {
            Some(Spent::ItsPart)
        } else {
            None
        }
    }

    /// A lease is given out: everything that must be so for that.
    pub(crate) fn granted(&mut self, ask: &Ask, ticket: &Ticket, binds: bool, now: Moment) {
        let id = &ticket.endpoint;
        let plain = &self.endpoints[id];
        let most = plain.definition.max_in_flight;
        assert!(plain.place == Place::Home && plain.holds.is_empty(), "{id} was given out");
        assert!(self.may_have_epoch(id, ticket.epoch), "{ticket:?}");
        assert!(most.is_none_or(|most| self.open_leases(id) < most.get()), "{id} has no room");
        let rests = self.rest_of(id, ask, now).is_some();
        assert!(!rests || ask.service == qcc_gateway::domain::registry::Service::Other, "{id} rests for this model");
        assert!(now < ask.deadline, "a lease for one who came too late");
        if is_further(ask, id) {
            self.turns.push(Counted { at: now, client: ask.client.clone(), is_retry: true });
        }
        if let Some(session) = ask.origin.session().filter(|_| binds && self.policy.affinity.enabled) {
            // An attempt that began so long before would still bring its session back.
            let forgotten = self.policy.affinity.ttl + LONGEST_ATTEMPT;
            self.sessions.retain(|_, bond| now.since(bond.used) <= forgotten);
            let with_model = (session, ask.model.clone());
            let before = self.sessions.get(&with_model).filter(|bond| bond.endpoint == *id);
            let has_served = before.is_some_and(|bond| bond.has_served);
            self.sessions.insert(with_model, Bond { endpoint: id.clone(), used: now, has_served });
            self.latest_models.insert(session, ask.model.clone());
        }
        let open = Open { ticket: ticket.clone(), origin: ask.origin, since: now };
        assert!(self.open.insert(ticket.serial, open).is_none(), "a lease's number came twice");
    }

    /// Whether the epoch is the endpoint's, or as new as the move that is being carried out.
    pub(crate) fn may_have_epoch(&self, id: &EndpointId, epoch: Epoch) -> bool {
        self.endpoints.get(id).is_some_and(|plain| plain.may_have(epoch))
    }
}

fn is_further(ask: &Ask, id: &EndpointId) -> bool {
    match ask.turn {
        Turn::First | Turn::Paced => false,
        Turn::Onward => ask.tried.iter().any(|tried| tried.endpoint == *id),
        // Free is whatever goes elsewhere for the first time.
        Turn::Retry => match &ask.tried[..] {
            [] => false,
            [only] => only.endpoint == *id,
            _ => true,
        },
    }
}
