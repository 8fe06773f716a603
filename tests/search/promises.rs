//! What was promised, as plainly as it is said: who is where, which failures are not judged yet, and what may change either.

mod checks;

use qcc_gateway::domain::breaker::Ruling;
use qcc_gateway::domain::ids::{EndpointId, Epoch, Serial, Ticket};
use qcc_gateway::domain::outcome::Outcome;
use qcc_gateway::domain::registry::RegistryView;

use super::scope::{Scope, index};

/// Where an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) service: usize,
    pub(crate) enabled: bool,
    /// It has failed, and has not recovered since.
    pub(crate) isolated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    place: Place,
    epoch: Epoch,
}

/// What one step changes: an endpoint, and where it is then; none where it leaves.
pub(crate) type Move = Option<(usize, Option<Place>)>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    known: [Option<Known>; 2],
    /// What has left the settings while it was isolated.
    departed: Vec<(usize, usize)>,
    switched_off: [bool; 2],
    /// The counted failures whose verdict is not in.
    unjudged: Vec<Ticket>,
    /// The failures in a row that the breakers have heard of, in the newest epoch that they have heard of.
    runs: [(Epoch, Vec<Serial>); 2],
    newest: Epoch,
    /// Whose each epoch is.
    owners: Vec<usize>,
}

impl Promises {
    pub(crate) fn begin(&mut self, view: &RegistryView) {
        self.owners = vec![0];
        for (endpoint, seen) in view.endpoints.iter().enumerate() {
            let place = Place { service: 0, enabled: true, isolated: false };
            self.known[endpoint] = Some(Known { place, epoch: seen.epoch });
            self.newest = self.newest.max(seen.epoch);
            self.owners.push(endpoint);
        }
    }

    pub(crate) fn owner(&self, epoch: Epoch) -> usize {
        usize::try_from(epoch.get()).ok().and_then(|epoch| self.owners.get(epoch)).copied().unwrap_or_default()
    }

    pub(crate) fn is_enabled(&self, endpoint: usize) -> Option<bool> {
        self.known[endpoint].map(|known| known.place.enabled)
    }

    /// What there is to tell states apart by, beyond what the cores show themselves.
    pub(crate) fn traces(&self) -> impl std::fmt::Debug {
        (&self.departed, self.switched_off, &self.unjudged)
    }

    /// Whether this is news of the present, or of what is over.
    pub(crate) fn is_present(&self, id: &EndpointId, epoch: Epoch) -> bool {
        self.known[index(id)].is_some_and(|known| known.epoch == epoch)
    }

    fn is_home_in(&self, id: &EndpointId, epoch: Epoch) -> bool {
        let is_home = |known: Known| known.epoch == epoch && known.place.enabled && !known.place.isolated;
        self.known[index(id)].is_some_and(is_home)
    }

    /// An attempt has failed. Tells whether it counts.
    pub(crate) fn failed(&mut self, ticket: &Ticket) -> bool {
        let counts = self.is_home_in(&ticket.endpoint, ticket.epoch);
        if counts {
            self.unjudged.push(ticket.clone());
        }
        counts
    }

    /// The breakers hear of an attempt's end. Returns whether they should say that it is enough; none where nothing is to be
    /// said.
    pub(crate) fn heard(&mut self, ticket: &Ticket, outcome: Outcome, scope: &Scope) -> Option<bool> {
        let (epoch, run) = &mut self.runs[index(&ticket.endpoint)];
        if ticket.epoch > *epoch {
            (*epoch, *run) = (ticket.epoch, Vec::new());
        }
        let is_stale = ticket.epoch < *epoch;
        match outcome {
            Outcome::Failure(_) | Outcome::Fatal(_) if is_stale => Some(false),
            Outcome::Failure(_) | Outcome::Fatal(_) => {
                run.push(ticket.serial);
                Some(run.len() >= scope.threshold as usize)
            }
            Outcome::Success if !is_stale => {
                run.clear();
                None
            }
            Outcome::Success | Outcome::Neutral | Outcome::Cancelled => None,
        }
    }

    /// The breakers are to forget a failure.
    pub(crate) fn taken_back(&mut self, ticket: &Ticket) {
        self.runs[index(&ticket.endpoint)].1.retain(|serial| *serial != ticket.serial);
    }

    /// A breaker is to start anew. One that has heard of nothing has nothing to forget.
    pub(crate) fn starts_anew(&mut self, endpoint: usize, epoch: Epoch) {
        let run = &mut self.runs[endpoint];
        if run.0 != Epoch::NONE && run.0 < epoch {
            *run = (epoch, Vec::new());
        }
    }

    /// A verdict has come. Only one on a failure of the present isolates.
    pub(crate) fn judged(&mut self, ticket: &Ticket, ruling: Ruling) -> Move {
        self.unjudged.retain(|unjudged| unjudged.serial != ticket.serial);
        match ruling {
            Ruling::Keep => None,
            Ruling::Trip { .. } => self.isolates(&ticket.endpoint, ticket.epoch),
        }
    }

    /// Something isolates an endpoint, if it is in its home queue in this epoch.
    pub(crate) fn isolates(&self, id: &EndpointId, epoch: Epoch) -> Move {
        let place = self.known[index(id)].filter(|_| self.is_home_in(id, epoch))?.place;
        Some((index(id), Some(Place { isolated: true, ..place })))
    }

    /// A proof has come. Only one of the present isolation brings back.
    pub(crate) fn proved(&self, id: &EndpointId, epoch: Epoch) -> Move {
        let known = self.known[index(id)].filter(|known| known.epoch == epoch)?;
        let is_out = known.place.enabled && known.place.isolated;
        is_out.then_some((index(id), Some(Place { isolated: false, ..known.place })))
    }

    /// What is isolated stays so beneath.
    pub(crate) fn switched(&mut self, endpoint: usize, enabled: bool) -> Move {
        self.switched_off[endpoint] = !enabled;
        let place = self.known[endpoint]?.place;
        Some((endpoint, Some(Place { enabled, ..place })))
    }

    pub(crate) fn redefined(&mut self, endpoint: usize, service: usize) -> Move {
        let place = self.known[endpoint]?.place;
        self.leaves(endpoint, place);
        let isolated = place.isolated | self.takes_departed(endpoint, service);
        Some((endpoint, Some(Place { service, isolated, ..place })))
    }

    pub(crate) fn removed(&mut self, endpoint: usize) -> Move {
        let place = self.known[endpoint]?.place;
        self.leaves(endpoint, place);
        Some((endpoint, None))
    }

    fn leaves(&mut self, endpoint: usize, place: Place) {
        self.takes_departed(endpoint, place.service);
        if place.isolated {
            self.departed.push((endpoint, place.service));
            self.departed.sort_unstable();
        }
    }

    /// What left while it was isolated and comes back the same is isolated.
    pub(crate) fn added(&mut self, endpoint: usize, service: usize) -> Place {
        let isolated = self.takes_departed(endpoint, service);
        Place { service, enabled: !self.switched_off[endpoint], isolated }
    }

    fn takes_departed(&mut self, endpoint: usize, service: usize) -> bool {
        let before = self.departed.len();
        self.departed.retain(|departed| *departed != (endpoint, service));
        self.departed.len() < before
    }
}
