//! What the breakers are told, and the verdicts that come of it.

use qcc_gateway::domain::breaker::Ruling;
use qcc_gateway::domain::outcome::Reason;
use qcc_gateway::domain::registry::{Observation, Outputs};
use qcc_gateway::domain::time::Moment;

use super::chance::{one_in, pick};
use super::effects::Followed;
use super::steps::LOST;
use super::world::{ToBreakers, World};

impl World {
    pub(crate) fn deliver_to_breakers(&mut self) {
        match self.to_breakers.pop_front() {
            None => {}
            Some(ToBreakers::Observe(observation, at)) => self.observe(&observation, at),
            Some(ToBreakers::SetPolicy(policy)) => self.breaker_policy = policy,
            Some(ToBreakers::ForgetOthers(known)) => {
                self.trace.note(&format!("the breakers know {known:?} still"));
                self.bank.forget_others(&known);
                self.counts.forget_others(&known);
            }
            Some(ToBreakers::Retract(ticket)) => {
                self.trace.note(&format!("the breakers take back {ticket:?}"));
                self.bank.retract(&ticket);
                self.counts.retract(&ticket);
                let shown =
                    self.bank.get(&ticket.endpoint).map(|breaker| (breaker.epoch(), breaker.consecutive_failures()));
                assert_eq!(shown, self.counts.in_a_row(&ticket.endpoint), "after {ticket:?} was taken back");
                self.trace.met("a failure taken back");
            }
        }
    }

    fn observe(&mut self, observation: &Observation, at: Moment) {
        let (ticket, outcome) = (observation.ticket.clone(), observation.outcome);
        let ruling = self.bank.observe(&ticket, outcome, at, &self.breaker_policy);
        let right = self.counts.observe(&ticket, outcome, at, &self.breaker_policy);
        self.trace.note(&format!("the breakers judge {ticket:?} {outcome:?}: {ruling:?}"));
        assert!(right.contains(&ruling), "{ruling:?}, though by the count it is {right:?}");
        let shown = self.bank.get(&ticket.endpoint).map(|breaker| (breaker.epoch(), breaker.consecutive_failures()));
        assert_eq!(shown, self.counts.in_a_row(&ticket.endpoint));
        if let Some(ruling) = ruling {
            self.verdicts.push_back((ticket, ruling));
        }
    }

    pub(crate) fn deliver_reset(&mut self) {
        let Some((id, epoch)) = self.resets.pop_front() else { return };
        if self.lossy && one_in(&mut self.rng, LOST) {
            return;
        }
        self.trace.note(&format!("the breaker of {id} starts anew for {epoch:?}"));
        self.bank.reset(&id, epoch);
        self.counts.reset(&id, epoch);
    }

    pub(crate) fn deliver_verdict(&mut self) {
        let Some((ticket, ruling)) = self.verdicts.pop_front() else { return };
        self.trace.note(&format!("verdict on {ticket:?}: {ruling:?}"));
        let judged = usize::from(self.shadow.awaits(ticket.serial));
        let is_enough = self.shadow.judge(&ticket, ruling, self.now);
        self.isolating.extend(is_enough.then_some(ticket.serial));
        self.trace.met(match ruling {
            Ruling::Keep => "a verdict that keeps",
            Ruling::Trip { .. } if is_enough => "a verdict that isolates",
            Ruling::Trip { .. } => "a verdict of an older epoch",
        });
        let mut effects = Outputs::new();
        self.core.judge(&ticket, ruling, self.now, &mut effects);
        let isolated = if is_enough { vec![ticket.endpoint] } else { Vec::new() };
        assert_eq!(self.carry_out(effects, judged), Followed { judged, isolated, ..Followed::default() });
    }

    /// A verdict that nobody awaits: nothing may follow.
    pub(crate) fn stray_verdict(&mut self) {
        let known = self.past.iter().chain(self.leases.iter().map(|lease| &lease.grant.ticket));
        let tickets: Vec<_> = known.filter(|ticket| !self.shadow.awaits(ticket.serial)).cloned().collect();
        let Some(ticket) = pick(&mut self.rng, &tickets) else { return };
        self.trace.note(&format!("stray verdict on {ticket:?}"));
        let mut effects = Outputs::new();
        self.core.judge(&ticket, Ruling::Trip { reason: Reason::Stream, failures: 9 }, self.now, &mut effects);
        assert!(effects.is_empty(), "a stray verdict was followed by {effects:?}");
    }
}
