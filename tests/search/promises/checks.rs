//! What may be seen after a step, and what may be done in it.

use qcc_gateway::domain::breaker::{BreakerBank, Ruling};
use qcc_gateway::domain::ids::{Epoch, Ticket};
use qcc_gateway::domain::queues::Standing;
use qcc_gateway::domain::registry::{Ask, EndpointView, Reach, RegistryView};

use super::{Known, Move, Place, Promises};
use crate::scope::{NAMES, id};
use crate::world::Broken;

impl Promises {
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
        verdict: Option<Ruling>,
        view: &RegistryView,
    ) -> Result<(), Broken> {
        match verdict {
            None if counts => Err("a request goes on before the verdict on its failure".to_owned()),
            Some(Ruling::Trip { .. }) => {
                let seen = view.endpoints.iter().find(|seen| seen.endpoint.id == ticket.endpoint);
                let is_as_before = seen.is_some_and(|seen| is_home(seen) && seen.epoch == ticket.epoch);
                if is_as_before {
                    return Err("a request goes on before the isolation has taken effect that it has caused".to_owned());
                }
                Ok(())
            }
            None | Some(Ruling::Keep) => Ok(()),
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
