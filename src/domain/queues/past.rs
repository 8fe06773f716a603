//! The past: services that have left the settings, and the places that endpoints had before the start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::ids::EndpointId;
use super::super::memory::ServiceDigest;
use super::super::time::Moment;
use super::member::{Isolation, Returned};

/// A service that has left the settings, and its isolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Which service.
    pub service: ServiceDigest,
    /// Its isolation when it left.
    pub isolation: Isolation,
}

/// Where an endpoint was before the start, if not simply in its home queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Was {
    /// In the failure queue, or switched off on top of that.
    Isolated(Isolation),
    /// In its home queue, having recovered at this moment.
    Recovered(Moment),
}

/// What is known from before the start and has not been restored yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// The known places.
    pub(super) places: BTreeMap<EndpointId, (ServiceDigest, Was)>,
    /// If some places were lost: the isolation of all other endpoints, which have to prove themselves first.
    pub(super) others: Option<Isolation>,
}

impl Before {
    /// The endpoints known to have been isolated.
    pub(super) fn isolated(&self) -> impl Iterator<Item = &EndpointId> {
        self.places.iter().filter(|(_, (_, was))| matches!(was, Was::Isolated(_))).map(|(id, _)| id)
    }
}

/// At most this many departed services are kept per name, oldest dropped first, so that a key replaced every few minutes
/// cannot fill the memory.
const MAX_OF_ONE_NAME: usize = 1000;

/// At most this many are kept in all, oldest dropped first, so that names made up by a script cannot fill the memory or the
/// state file, which is written whole at each move. Nobody removes that many isolated endpoints by hand.
const MOST: usize = 4000;

/// The services that left the settings while isolated, even if another one now has their name: coming back must not launder
/// them, whatever happened in between. In the order in which they left.
#[derive(Clone, Debug, Default)]
pub(super) struct Departures(VecDeque<(EndpointId, Departed)>);

impl Departures {
    pub(super) fn new(departed: impl IntoIterator<Item = (EndpointId, Departed)>) -> Self {
        let mut departures = Self::default();
        for (id, Departed { service, isolation }) in departed {
            departures.leave(&id, service, Some(isolation));
        }
        departures
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&EndpointId, &Departed)> {
        self.0.iter().map(|(id, departed)| (id, departed))
    }

    /// Notes that a service leaves, isolated or sound. Its latest departure counts.
    pub(super) fn leave(&mut self, id: &EndpointId, service: ServiceDigest, isolation: Option<Isolation>) {
        self.take(id, service);
        let departed = isolation.map(|isolation| Departed { service, isolation });
        self.0.extend(departed.map(|departed| (id.clone(), departed)));
        if self.0.iter().filter(|(name, _)| name == id).count() > MAX_OF_ONE_NAME {
            self.take_first(|name, _| name == id);
        }
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Takes out the isolation with which a service left, if it did, since the service is back.
    pub(super) fn take(&mut self, id: &EndpointId, service: ServiceDigest) -> Option<Isolation> {
        self.take_first(|name, departed| name == id && departed.service == service)
    }

    fn take_first(&mut self, is_meant: impl Fn(&EndpointId, &Departed) -> bool) -> Option<Isolation> {
        let index = self.0.iter().position(|(name, departed)| is_meant(name, departed))?;
        self.0.remove(index).map(|(_, departed)| departed.isolation)
    }
}

/// What an admin has switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switched {
    /// Off.
    pub off: BTreeSet<EndpointId>,
    /// On, although the settings say off.
    pub on: BTreeSet<EndpointId>,
}

impl Was {
    /// The endpoint's return to its home queue, if it was not isolated.
    pub(super) fn returned(self) -> Option<Returned> {
        match self {
            Self::Isolated(_) => None,
            // No attempt of the last run can end in this one, so no doubt can arise.
            Self::Recovered(at) => Some(Returned { at, pardonable: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::memory::Salt;
    use super::super::super::outcome::Reason;
    use super::super::super::schedule::{Suffices, Urgency};
    use super::super::super::testing::{endpoint, id};
    use super::super::Fault;
    use super::*;
    use crate::domain::endpoint::Home;

    /// A different service for each number.
    fn service(number: usize) -> ServiceDigest {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&number.to_be_bytes());
        ServiceDigest::of(&endpoint("a", Home::Primary), Salt::new(salt))
    }

    fn isolation() -> Isolation {
        Isolation {
            reason: Reason::Connect,
            at: Moment::START,
            failures: 1,
            error: None,
            model: None,
            relapse: false,
            fault: Fault::Settled,
            suffices: Suffices::ThatModel,
            urgency: Urgency::Delayed,
        }
    }

    fn name(number: usize) -> EndpointId {
        id(&format!("n{number}"))
    }

    /// Once wrong: there was a bound for each name, and none on names.
    #[test]
    fn of_too_many_departures_the_oldest_is_forgotten_whatever_its_name() {
        let mut departures = Departures::default();
        for number in 0..MOST + 2 {
            departures.leave(&name(number), service(number), Some(isolation()));
        }
        assert_eq!(departures.iter().count(), MOST);
        let is_known = [0, 1, 2, MOST + 1].map(|number| departures.take(&name(number), service(number)).is_some());
        assert_eq!(is_known, [false, false, true, true]);
    }

    #[test]
    fn a_name_that_leaves_again_and_again_drives_no_other_out() {
        let mut departures = Departures::default();
        departures.leave(&id("other"), service(0), Some(isolation()));
        for number in 0..=MOST {
            departures.leave(&id("a"), service(number), Some(isolation()));
        }
        assert_eq!(departures.iter().count(), MAX_OF_ONE_NAME + 1);
        assert!(departures.take(&id("other"), service(0)).is_some());
        assert!(departures.take(&id("a"), service(MOST - MAX_OF_ONE_NAME)).is_none());
        assert!(departures.take(&id("a"), service(MOST)).is_some());
    }

    #[test]
    fn of_one_service_the_latest_departure_counts_and_whoever_comes_back_leaves_nothing_behind() {
        let mut departures = Departures::default();
        departures.leave(&id("a"), service(1), Some(isolation()));
        departures.leave(&id("a"), service(1), Some(Isolation { failures: 7, ..isolation() }));
        assert_eq!(departures.take(&id("a"), service(1)).map(|isolation| isolation.failures), Some(7));
        departures.leave(&id("a"), service(1), Some(isolation()));
        departures.leave(&id("a"), service(1), None);
        assert_eq!(departures.iter().count(), 0);
    }

    #[test]
    fn what_a_state_file_has_too_many_of_is_forgotten_from_its_beginning() {
        let departed = |number| (name(number), Departed { service: service(number), isolation: isolation() });
        let mut departures = Departures::new((0..=MOST).map(departed));
        assert_eq!(departures.iter().count(), MOST);
        assert!(departures.take(&name(0), service(0)).is_none());
    }
}
