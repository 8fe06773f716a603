//! Second opinions: who is asked about what, and which requests were found to be the cause of their failures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qcc_gateway::domain::ids::{EndpointId, Epoch, Serial};
use qcc_gateway::domain::opinions::{FailedAttempt, Fingerprint};
use qcc_gateway::domain::outcome::FailureKind;
use qcc_gateway::domain::registry::Ask;
use qcc_gateway::domain::time::Moment;

use super::plain::{Cause, Place, Plain};
use super::rests::Model;
use super::{Shadow, Told};

/// For how long a request that was found to be the cause gets a single attempt.
const POISON: Duration = Duration::from_mins(1);

pub(super) struct Asked {
    epoch: Epoch,
    pub(super) cause: Cause,
    about: BTreeSet<Fingerprint>,
}

#[derive(Default)]
pub(super) struct Opinions {
    pub(super) asked: BTreeMap<EndpointId, Asked>,
    /// Requests whose failures have isolated an endpoint and are in doubt.
    pub(super) about_isolated: BTreeMap<EndpointId, BTreeSet<Fingerprint>>,
    /// Failures in doubt whose verdict is not in, and whose they are.
    pub(super) unjudged: BTreeMap<Serial, Option<Fingerprint>>,
    passed: BTreeMap<EndpointId, Moment>,
    poisoned: Vec<(Fingerprint, Moment)>,
}

impl Opinions {
    pub(super) fn forget(&mut self, id: &EndpointId) {
        self.asked.remove(id);
        self.about_isolated.remove(id);
        self.passed.remove(id);
    }

    pub(super) fn passed(&mut self, id: &EndpointId, epoch: Epoch, now: Moment) {
        self.passed.insert(id.clone(), now);
        let asked = self.asked.remove(id).filter(|asked| asked.epoch == epoch).map(|asked| asked.about);
        let isolated = self.about_isolated.remove(id);
        for request in asked.into_iter().chain(isolated).flatten() {
            self.poison(request, now);
        }
    }

    fn poison(&mut self, request: Fingerprint, now: Moment) {
        self.poisoned.push((request, now));
    }

    pub(super) fn is_poisoned(&self, request: Fingerprint, now: Moment) -> bool {
        self.poisoned.iter().any(|(poisoned, since)| *poisoned == request && now.since(*since) < POISON)
    }
}

impl Shadow {
    pub(crate) fn is_poisoned(&self, request: Option<Fingerprint>, now: Moment) -> bool {
        request.is_some_and(|request| self.opinions.is_poisoned(request, now))
    }

    /// Which of a request's failures may be its own.
    fn doubted(&self, ask: &Ask, failures: &[FailedAttempt], now: Moment) -> Vec<FailedAttempt> {
        let Some(first) = failures.first().map(|failed| failed.ticket.endpoint.clone()) else { return Vec::new() };
        let is_known = self.is_poisoned(ask.fingerprint, now);
        let is_alone =
            failures.iter().all(|failed| failed.ticket.endpoint == first) && !self.has_other(ask, &first, now);
        let alike = |one: &FailedAttempt, other: &FailedAttempt| {
            one.kind == other.kind && one.status == other.status && one.ticket.endpoint != other.ticket.endpoint
        };
        failures
            .iter()
            .filter(|failed| failed.kind != FailureKind::Connect)
            .filter(|failed| is_known || is_alone || failures.iter().any(|other| alike(failed, other)))
            .cloned()
            .collect()
    }

    /// A request that has failed waits. Tells whether it doubts an isolation.
    pub(crate) fn doubt_while_waiting(&mut self, ask: &Ask, failures: &[FailedAttempt], now: Moment) -> bool {
        let mut any = false;
        for failed in self.doubted(ask, failures, now) {
            let ticket = &failed.ticket;
            self.doubt_verdict(ticket.serial, ask.fingerprint);
            if let Some(plain) = self.endpoints.get_mut(&ticket.endpoint)
                && let Place::Isolated(quarantine) = &mut plain.place
                && quarantine.is_for_failures_of(ticket.epoch)
            {
                any = true;
                quarantine.doubted = true;
                self.opinions.about_isolated.entry(ticket.endpoint.clone()).or_default().extend(ask.fingerprint);
            }
        }
        any
    }

    /// A request has failed for good. Which of its failures must be taken back, in their order.
    pub(crate) fn doubt(&mut self, ask: &Ask, failures: &[FailedAttempt], now: Moment) -> Vec<FailedAttempt> {
        let doubted = self.doubted(ask, failures, now);
        for failed in &doubted {
            let ticket = &failed.ticket;
            let cause = Cause::of(failed.kind.into(), failed.error.as_ref());
            self.ask_for_opinion(&ticket.endpoint, ticket.epoch, cause, ask.fingerprint, now);
            self.doubt_verdict(ticket.serial, ask.fingerprint);
            let Some(plain) = self.endpoints.get_mut(&ticket.endpoint) else { continue };
            match &mut plain.place {
                Place::Isolated(quarantine) if quarantine.is_for_failures_of(ticket.epoch) => {
                    quarantine.doubted = true;
                    let about = self.opinions.about_isolated.entry(ticket.endpoint.clone()).or_default();
                    about.extend(ask.fingerprint);
                }
                Place::Home => {
                    let recovered = plain.recovered.filter(|(_, from)| from.is_for_failures_of(ticket.epoch));
                    if recovered.is_some() {
                        // It has passed already: nothing remembers that it was out, and the request was the cause.
                        plain.recovered = None;
                        if let Some(request) = ask.fingerprint {
                            self.opinions.poison(request, now);
                        }
                    }
                }
                Place::Isolated(_) | Place::Off { .. } => {}
            }
        }
        doubted
    }

    fn doubt_verdict(&mut self, serial: Serial, about: Option<Fingerprint>) {
        if self.awaited.contains_key(&serial) {
            self.opinions.unjudged.insert(serial, about);
        }
    }

    pub(super) fn ask_for_opinion(
        &mut self,
        id: &EndpointId,
        epoch: Epoch,
        cause: Cause,
        about: Option<Fingerprint>,
        now: Moment,
    ) {
        if !self.is_home_in(id, epoch) {
            return;
        }
        if let Some(asked) = self.opinions.asked.get_mut(id).filter(|asked| asked.epoch == epoch) {
            asked.about.extend(about);
            if cause.is_of_stream && !asked.cause.is_of_stream {
                asked.cause = cause;
            }
            return;
        }
        if self.opinions.passed.get(id).is_some_and(|at| now.since(*at) < self.policy.initial_delay) {
            if let Some(request) = about {
                self.opinions.poison(request, now);
            }
            return;
        }
        let about = about.into_iter().collect();
        self.opinions.asked.insert(id.clone(), Asked { epoch, cause, about });
    }

    /// An endpoint has passed where it stands: nobody moves. `returns` is the model whose window it was asked about, where it was asked
    /// for that. Tells whether that has ended by it.
    pub(crate) fn fit(&mut self, id: &EndpointId, epoch: Epoch, returns: Option<&Model>, now: Moment) -> bool {
        if !self.is_home_in(id, epoch) {
            return false;
        }
        match returns {
            // What it has been asked meanwhile is another question.
            Some(_) => drop(self.opinions.passed.insert(id.clone(), now)),
            None => self.opinions.passed(id, epoch, now),
        }
        self.told.insert(id.clone(), Told { epoch, began: now, next: now });
        let policy = self.policy.cooling;
        let rests = self.rests.get_mut(id);
        returns.zip(rests).is_some_and(|(model, rests)| rests.return_early(model, now, &policy))
    }

    /// An endpoint was asked about this model's used-up window in vain.
    pub(crate) fn still_used_up(&mut self, id: &EndpointId, epoch: Epoch, model: &Model, now: Moment) {
        if self.is_home_in(id, epoch)
            && let Some(rests) = self.rests.get_mut(id)
        {
            rests.still_used_up(model, now);
        }
    }

    /// An endpoint has failed its second opinion. Tells whether it must be isolated: not where nobody has asked in this epoch.
    pub(crate) fn unfit(&mut self, id: &EndpointId, epoch: Epoch, now: Moment) -> bool {
        let asked = self.opinions.asked.get(id).filter(|asked| asked.epoch == epoch);
        let Some(cause) = asked.map(|asked| asked.cause) else { return false };
        self.opinions.asked.remove(id);
        if !self.is_home_in(id, epoch) {
            return false;
        }
        self.told.insert(id.clone(), Told { epoch, began: now, next: now });
        self.isolate(id, cause, now);
        if let Some(quarantine) = self.endpoints.get_mut(id).and_then(Plain::quarantine_mut) {
            // It has failed by itself.
            quarantine.ended = Epoch::NONE;
        }
        true
    }

    pub(crate) fn is_asked(&self, id: &EndpointId) -> bool {
        self.asked_for(id).is_some()
    }

    /// What for an endpoint's opinion is asked for, if it is.
    pub(super) fn asked_for(&self, id: &EndpointId) -> Option<Cause> {
        let asked = self.opinions.asked.get(id).filter(|asked| self.is_home_in(id, asked.epoch))?;
        Some(asked.cause)
    }
}
