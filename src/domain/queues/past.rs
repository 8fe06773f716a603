//! What was: services that have left the settings, and the places that endpoints had before the start.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ids::EndpointId;
use super::super::memory::ServiceDigest;
use super::super::time::Moment;
use super::member::{Isolation, Returned};

/// A service that has left the settings, and its isolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Which service.
    pub service: ServiceDigest,
    /// What it left with.
    pub isolation: Isolation,
}

/// Where an endpoint was before the start, where that was not simply its home queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Was {
    /// In the failure queue, or switched off on top of that.
    Isolated(Isolation),
    /// In its home queue, since it had come back from the failure queue.
    Recovered(Moment),
}

/// What is known of the time before the start, and has not been taken up.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// The places of these.
    pub(super) places: BTreeMap<EndpointId, (ServiceDigest, Was)>,
    /// Where that is not all there was to know: by which isolation all others have to prove themselves first.
    pub(super) others: Option<Isolation>,
}

impl Before {
    /// Those of which it is known that they were isolated.
    pub(super) fn isolated(&self) -> impl Iterator<Item = &EndpointId> {
        self.places.iter().filter(|(_, (_, was))| matches!(was, Was::Isolated(_))).map(|(id, _)| id)
    }
}

/// So many services of one name are remembered, the latest: a key that is replaced every few minutes is not to fill the memory.
const MOST_DEPARTED: usize = 1000;

/// The services that left the settings while they were isolated, be it that another one has their name: coming back must not
/// launder them, whatever was in between.
#[derive(Clone, Debug, Default)]
pub(super) struct Departures(BTreeMap<EndpointId, Vec<Departed>>);

impl Departures {
    pub(super) fn new(departed: BTreeMap<EndpointId, Vec<Departed>>) -> Self {
        Self(departed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&EndpointId, &Departed)> {
        self.0.iter().flat_map(|(id, departed)| departed.iter().map(move |departed| (id, departed)))
    }

    /// A service leaves, with this isolation or sound. Of one service the latest departure counts.
    pub(super) fn leave(&mut self, id: &EndpointId, service: ServiceDigest, isolation: Option<Isolation>) {
        let departed = self.0.entry(id.clone()).or_default();
        departed.retain(|earlier| earlier.service != service);
        departed.extend(isolation.map(|isolation| Departed { service, isolation }));
        if departed.len() > MOST_DEPARTED {
            departed.remove(0);
        }
        if departed.is_empty() {
            self.0.remove(id);
        }
    }

    /// A service comes: the isolation with which it has left, if it has.
    pub(super) fn take(&mut self, id: &EndpointId, service: ServiceDigest) -> Option<Isolation> {
        let same = self.0.get_mut(id)?.extract_if(.., |departed| departed.service == service).next();
        same.map(|departed| departed.isolation)
    }
}

/// What an admin has switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switched {
    /// Off.
    pub off: BTreeSet<EndpointId>,
    /// On, although the settings have it off.
    pub on: BTreeSet<EndpointId>,
}

impl Was {
    /// Since when the endpoint is back in its home queue.
    pub(super) fn returned(self) -> Option<Returned> {
        match self {
            Self::Isolated(_) => None,
            // No attempt of the last run can end in this one, so that nobody doubts what ended then.
            Self::Recovered(at) => Some(Returned { at, pardonable: None }),
        }
    }
}
