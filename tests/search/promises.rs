//! What was promised, as plainly as it is said: who is where, which failures are not judged yet, and what may change either.

use qcc_gateway::domain::breaker::{BreakerBank, Judgement};
use qcc_gateway::domain::ids::{EndpointId, Epoch, Serial, Ticket};
use qcc_gateway::domain::outcome::Outcome;
use qcc_gateway::domain::queues::Standing;
use qcc_gateway::domain::registry::{Ask, EndpointView, Reach, RegistryView};

use super::scope::{NAMES, Scope, id, index};
use super::world::Broken;

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

    /// The breakers must have counted what they have heard of.
    pub(crate) fn check_breakers(&self, bank: &BreakerBank) -> Result<(), Broken> {
        for (endpoint, (epoch, run)) in self.runs.iter().enumerate() {
            let counted =
                bank.get(&id(endpoint)).map(|breaker| (breaker.epoch(), breaker.consecutive_failures() as usize));
            if counted.unwrap_or_default() != (*epoch, run.len()) {
                return Err(format!(
                    "the breaker of {} has counted {counted:?}, and not {}",
                    NAMES[endpoint],
                    run.len()
                ));
            }
        }
        Ok(())
    }

    /// A verdict has come. Only one on a failure of the present isolates.
    pub(crate) fn judged(&mut self, ticket: &Ticket, judgement: Judgement) -> Move {
        self.unjudged.retain(|unjudged| unjudged.serial != ticket.serial);
        match judgement {
            Judgement::Keep => None,
            Judgement::Trip { .. } => self.isolates(&ticket.endpoint, ticket.epoch),
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
        let isolated = place.isolated | self.takes_departed(endpoint, service);
        Some((endpoint, Some(Place { service, isolated, ..place })))
    }

    pub(crate) fn removed(&mut self, endpoint: usize) -> Move {
        let place = self.known[endpoint]?.place;
        self.takes_departed(endpoint, place.service);
        if place.isolated {
            self.departed.push((endpoint, place.service));
            self.departed.sort_unstable();
        }
        Some((endpoint, None))
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

    /// What the registry shows must be what has come of this step, and nothing else; whoever has moved has a fresh epoch.
    pub(crate) fn check(&mut self, moved: Move, view: &RegistryView, newest: Epoch) -> Result<(), Broken> {
        if view.leaks > 0 {
            return Err("the audit counts a leak".to_owned());
        }
        for (endpoint, name) in NAMES.iter().enumerate() {
            let seen = view.endpoints.iter().find(|seen| seen.endpoint.id.as_str() == *name);
            let before = self.known[endpoint];
            let (place, has_moved) = match moved {
                Some((which, place)) if which == endpoint => (place, true),
                Some(_) | None => (before.map(|known| known.place), false),
            };
            let (Some(place), Some(seen)) = (place, seen) else {
                if place.is_some() || seen.is_some() {
                    return Err(format!("{name} is there: {}, and should be: {}", seen.is_some(), place.is_some()));
                }
                self.known[endpoint] = None;
                continue;
            };
            check_standing(name, place, seen)?;
            let present = before.map_or(Epoch::NONE, |known| known.epoch);
            match (has_moved, seen.epoch == present) {
                (true, true) => return Err(format!("{name} has moved, and its epoch has not")),
                (true, false) if seen.epoch <= self.newest => {
                    return Err(format!("{name} has moved to {:?}, which is not a fresh epoch", seen.epoch));
                }
                (false, false) => return Err(format!("nothing has moved {name}, and it has another epoch")),
                (true, false) | (false, true) => {}
            }
            self.known[endpoint] = Some(Known { place, epoch: seen.epoch });
            let is_held = self
                .unjudged
                .iter()
                .any(|ticket| self.is_home_in(&ticket.endpoint, ticket.epoch) && ticket.endpoint.as_str() == *name);
            if seen.held != is_held {
                return Err(format!("{name} is held: {}, and should be: {is_held}", seen.held));
            }
        }
        let owner = moved.map_or(0, |(endpoint, _)| endpoint);
        self.owners.extend((self.newest.get()..newest.get()).map(|_| owner));
        self.newest = newest;
        Ok(())
    }

    /// A lease is given out.
    pub(crate) fn granted(&self, ask: &Ask, ticket: &Ticket, view: &RegistryView) -> Result<(), Broken> {
        let id = &ticket.endpoint;
        let Some(seen) = view.endpoints.iter().find(|seen| seen.endpoint.id == *id) else {
            return Err(format!("{id} is given out, and is not in the settings"));
        };
        if !is_home(seen) {
            return Err(format!("{id} is given out in the {} queue", seen.standing.as_str()));
        }
        if seen.epoch != ticket.epoch {
            return Err(format!("{id} is given out in another epoch than its own"));
        }
        if self.unjudged.iter().any(|unjudged| unjudged.endpoint == *id && unjudged.epoch == ticket.epoch) {
            return Err(format!("{id} is given out before a failure of it is judged"));
        }
        let Some(tried) = ask.tried.iter().find(|tried| tried.endpoint == *id) else { return Ok(()) };
        let may_have_it_again = match ask.reach {
            Reach::Fresh => false,
            Reach::Parked { .. } => tried.epoch != ticket.epoch,
            Reach::Again => !tried.spent,
        };
        if may_have_it_again { Ok(()) } else { Err(format!("{id} is given to a request that has given it up")) }
    }

    /// A request is written.
    pub(crate) fn written(ticket: &Ticket, view: &RegistryView) -> Result<(), Broken> {
        let seen = view.endpoints.iter().find(|seen| seen.endpoint.id == ticket.endpoint);
        match seen {
            Some(seen) if is_home(seen) && seen.epoch == ticket.epoch => Ok(()),
            Some(seen) => {
                Err(format!("a leak: {} is written to, and stands in {}", ticket.endpoint, seen.standing.as_str()))
            }
            None => Err(format!("{} is written to, and is not in the settings", ticket.endpoint)),
        }
    }

    /// A request that has failed goes on, or is answered. `counts` says whether its failure is one of the present.
    pub(crate) fn released(
        ticket: &Ticket,
        counts: bool,
        verdict: Option<Judgement>,
        view: &RegistryView,
    ) -> Result<(), Broken> {
        match verdict {
            None if counts => Err("a request goes on before the verdict on its failure".to_owned()),
            Some(Judgement::Trip { .. }) => {
                let seen = view.endpoints.iter().find(|seen| seen.endpoint.id == ticket.endpoint);
                let is_as_before = seen.is_some_and(|seen| is_home(seen) && seen.epoch == ticket.epoch);
                if is_as_before {
                    return Err("a request goes on before the isolation has taken effect that it has caused".to_owned());
                }
                Ok(())
            }
            None | Some(Judgement::Keep) => Ok(()),
        }
    }
}

fn is_home(seen: &EndpointView) -> bool {
    matches!(seen.standing, Standing::Primary | Standing::Secondary)
}

fn check_standing(name: &str, place: Place, seen: &EndpointView) -> Result<(), Broken> {
    let standing = match (place.enabled, place.isolated) {
        (false, _) => Standing::Disabled,
        (true, true) => Standing::Failure,
        (true, false) => seen.endpoint.home.into(),
    };
    if seen.standing != standing {
        let (is, should) = (seen.standing.as_str(), standing.as_str());
        return Err(format!("{name} stands in {is}, and should stand in {should}"));
    }
    if seen.isolation.is_some() != place.isolated {
        return Err(format!(
            "{name} has failed and not recovered: {}, as it is remembered: {}",
            place.isolated,
            seen.isolation.is_some()
        ));
    }
    Ok(())
}
