//! Groups of endpoints that every request sees alike, so that one is chosen without looking at each.

use std::collections::BTreeMap;

use super::super::endpoint::{Home, ModelFilter, Protocol};
use super::super::ids::ProfileId;
use super::super::queues::{Member, Queues};
use super::super::slots::{BySlot, Slot};
use super::super::tournament::{Best, Field, Tournament};

/// What a lane knows of one of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seat {
    /// Isolated, switched off, drained or full: at most a session bound to it gets it.
    Out,
    /// It is held, may be in a cooldown for a model, or is in slow start: each request has to look at it.
    Watched,
    /// Free to every request that has not tried it.
    Free(Field),
}

/// Endpoints of the same queue, priority, protocol, profiles and models, in the order of their ids.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) protocol: Protocol,
    models: ModelFilter,
    home: Home,
    priority: u8,
    profiles: Vec<ProfileId>,
    slots: Vec<Slot>,
    /// The free ones.
    free: Tournament,
    /// The watched ones.
    watched: Vec<Slot>,
}

/// Where an endpoint is among the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LanePlace {
    pub(super) lane: usize,
    pub(super) index: usize,
}

/// All lanes. Each endpoint is in exactly one.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    places: BySlot<LanePlace>,
}

impl Lane {
    fn new(members: &[&Member]) -> Option<Self> {
        let endpoint = members.first()?.endpoint();
        Some(Self {
            protocol: endpoint.protocol,
            models: endpoint.models.clone(),
            home: endpoint.home,
            priority: endpoint.priority,
            profiles: endpoint.profiles.clone(),
            slots: members.iter().map(|member| member.slot()).collect(),
            free: Tournament::new(members.len()),
            watched: Vec::new(),
        })
    }

    /// Whether its endpoints serve this model.
    pub(super) fn serves(&self, model: Option<&str>) -> bool {
        self.models.serves(model)
    }

    /// The watched ones.
    pub(super) fn watched(&self) -> &[Slot] {
        &self.watched
    }

    /// The free endpoints except those at these places.
    pub(super) fn free_but(&self, without: &[usize]) -> Field {
        self.free.all_but(without)
    }

    /// The first free endpoint as good as the best, except those at these places.
    pub(super) fn first(&self, best: Best, without: &[usize]) -> Option<Slot> {
        self.slots.get(self.free.first(best, without)?).copied()
    }

    fn sit(&mut self, slot: Slot, index: usize, seat: Seat) {
        let was_watched = self.watched.contains(&slot);
        match (was_watched, seat) {
            (false, Seat::Watched) => self.watched.push(slot),
            (true, Seat::Out | Seat::Free(_)) => self.watched.retain(|watched| *watched != slot),
            (false, Seat::Out | Seat::Free(_)) | (true, Seat::Watched) => {}
        }
        let field = match seat {
            Seat::Free(field) => field,
            Seat::Out | Seat::Watched => Field::EMPTY,
        };
        self.free.set(index, field);
    }
}

impl Lanes {
    /// The lanes of these endpoints, with no seats assigned yet.
    pub(super) fn new(queues: &Queues) -> Self {
        let mut alike: BTreeMap<_, Vec<&Member>> = BTreeMap::new();
        for member in queues.iter() {
            let endpoint = member.endpoint();
            let who = (&endpoint.profiles, endpoint.models.patterns());
            alike.entry((endpoint.home, endpoint.priority, endpoint.protocol, who)).or_default().push(member);
        }
        let lanes: Vec<Lane> = alike.into_values().filter_map(|members| Lane::new(&members)).collect();
        let mut places = BySlot::default();
        for (number, lane) in lanes.iter().enumerate() {
            for (index, slot) in lane.slots.iter().enumerate() {
                places.insert(*slot, LanePlace { lane: number, index });
            }
        }
        Self { lanes, places }
    }

    /// The lane of this number.
    pub(super) fn get(&self, number: usize) -> Option<&Lane> {
        self.lanes.get(number)
    }

    /// The numbers of the lanes of one rank of a profile.
    pub(super) fn of_rank(&self, profile: &ProfileId, home: Home, priority: u8) -> Vec<usize> {
        let is_of = |lane: &Lane| (lane.home, lane.priority) == (home, priority) && lane.profiles.contains(profile);
        self.lanes.iter().enumerate().filter(|(_, lane)| is_of(lane)).map(|(number, _)| number).collect()
    }

    /// Where an endpoint is among the lanes.
    pub(super) fn place(&self, slot: Slot) -> Option<LanePlace> {
        self.places.get(slot).copied()
    }

    /// Assigns a seat to an endpoint.
    pub(super) fn sit(&mut self, slot: Slot, seat: Seat) {
        if let Some(LanePlace { lane, index }) = self.place(slot)
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            lane.sit(slot, index, seat);
        }
    }

    /// The seat of an endpoint.
    pub(super) fn seat(&self, slot: Slot) -> Option<Seat> {
        let LanePlace { lane, index } = self.place(slot)?;
        let lane = self.lanes.get(lane)?;
        let field = lane.free.at(index);
        Some(match (lane.watched.contains(&slot), field == Field::EMPTY) {
            (true, _) => Seat::Watched,
            (false, true) => Seat::Out,
            (false, false) => Seat::Free(field),
        })
    }

    /// Whether no endpoint has two seats, and the fields agree with the seats.
    pub(super) fn are_consistent(&self) -> bool {
        let is_on_one = |lane: &Lane, slot: &Slot| {
            let watched = lane.watched.iter().filter(|watched| *watched == slot).count();
            let is_free = self.place(*slot).is_some_and(|place| lane.free.at(place.index) != Field::EMPTY);
            watched + usize::from(is_free) <= 1
        };
        self.lanes.iter().all(|lane| lane.free.is_consistent() && lane.slots.iter().all(|slot| is_on_one(lane, slot)))
    }
}
