//! What a step does: the cores' own work on what a worker, the breakers, an admin or the settings send.

use std::net::{IpAddr, Ipv4Addr};

use qcc_gateway::domain::breaker::Ruling;
use qcc_gateway::domain::ids::{Epoch, Ticket};
use qcc_gateway::domain::registry::{Acquired, Effect, Outputs, Settlement};

use super::promises::{Move, Promises};
use super::scope::{HOUR, id};
use super::steps::Step;
use super::worker::{End, Stage, Way};
use super::world::{Broken, ToBreakers, World};

const ADMIN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl World {
    /// Does a step, and holds what has come of it against the promises.
    pub(crate) fn apply(&mut self, step: Step) -> Result<(), Broken> {
        let mut effects = Outputs::new();
        let moved = match step {
            Step::Asks(worker) => self.asks(worker, &mut effects)?,
            Step::Writes(worker) => self.writes(worker, &mut effects)?,
            Step::Ends(worker, end) => self.ends(worker, end, &mut effects)?,
            Step::Leaves(worker) => self.leaves(worker),
            Step::Doubts(worker) => self.doubts(worker, &mut effects),
            Step::Dropped => self.gives_back(&mut effects),
            Step::BreakersHear => self.breakers_hear()?,
            Step::Reset(endpoint) => self.reset(endpoint)?,
            Step::Verdict => self.verdict(&mut effects),
            Step::List => self.list(),
            Step::ListIsLost => {
                self.lists.pop_front();
                None
            }
            Step::Tick => self.tick(&mut effects),
            Step::Begins => self.begins()?,
            Step::Passes(endpoint) => self.conversation_passes(endpoint)?,
            Step::Fails(endpoint) => self.conversation_fails(endpoint),
            Step::News => self.news_arrives(&mut effects)?,
            Step::NewsIsLost => {
                self.news.pop_front();
                None
            }
            Step::Hour => {
                self.now += HOUR;
                self.tick(&mut effects)
            }
            Step::SwitchedOff(endpoint) | Step::SwitchedOn(endpoint) => {
                let enabled = step == Step::SwitchedOn(endpoint);
                self.switches_left -= u8::from(!enabled);
                let answer = self.core.set_enabled(&id(endpoint), enabled, ADMIN, self.now, &mut effects);
                if answer != Ok(true) {
                    return Err(format!("the admin is told {answer:?}"));
                }
                self.promises.switched(endpoint, enabled)
            }
            Step::Redefined(endpoint) => {
                let service = self.settings[endpoint].map_or(0, |service| 1 - service);
                self.settle_settings(endpoint, Some(service), &mut effects);
                self.promises.redefined(endpoint, service)
            }
            Step::Removed(endpoint) => {
                self.settle_settings(endpoint, None, &mut effects);
                self.promises.removed(endpoint)
            }
            Step::Added(endpoint) => {
                self.settle_settings(endpoint, Some(0), &mut effects);
                Some((endpoint, Some(self.promises.added(endpoint, 0))))
            }
        };
        self.follow(effects, moved)
    }

    /// The settings name another service for an endpoint, or it no more.
    fn settle_settings(&mut self, endpoint: usize, service: Option<usize>, effects: &mut Outputs) {
        self.reloads_left -= 1;
        self.settings[endpoint] = service;
        let topology = self.topology();
        self.core.apply(topology, self.now, effects);
    }

    fn asks(&mut self, number: usize, effects: &mut Outputs) -> Result<Move, Broken> {
        let worker = &mut self.workers[number];
        let way = match worker.stage {
            Stage::Asks(way) => way,
            _ => Way::Usual,
        };
        if let (None, Some(left)) = (&worker.plan, &mut self.requests_left) {
            *left -= 1;
        }
        let ask = worker.ask(&self.scope, way, self.now);
        self.forget_who_left();
        match self.core.acquire(ask.clone(), self.now, effects) {
            Acquired::Granted(grant) => {
                self.tell(|| format!("it is given {:?}", grant.ticket));
                self.promises.granted(&ask, &grant.ticket, &self.core.view(self.now))?;
                self.workers[number].granted(grant);
            }
            Acquired::Waiting(waiter) => {
                self.tell(|| format!("it waits as {waiter:?}"));
                self.workers[number].stage = Stage::Waits { waiter, ask, way, since: self.now };
            }
            Acquired::Refused(why) => {
                self.tell(|| format!("it is refused: {why:?}"));
                self.workers[number].refused(&why, way);
            }
        }
        Ok(None)
    }

    fn writes(&mut self, number: usize, effects: &mut Outputs) -> Result<Move, Broken> {
        let Some(grant) = self.workers[number].grant().cloned() else { return Ok(None) };
        let newest = self.core.epochs().newest();
        if grant.gate.is_at(grant.ticket.epoch) {
            self.tell(|| "it is open: the request is written".to_owned());
            Promises::written(&grant.ticket, &self.core.view(self.now))?;
            self.workers[number].stage = Stage::Sent(grant, newest);
        } else {
            self.tell(|| "it is closed: the attempt is withdrawn".to_owned());
            self.settle(&grant.ticket, End::Cancelled, None, effects);
            self.workers[number].withdrawn();
        }
        Ok(None)
    }

    fn settle(&mut self, ticket: &Ticket, end: End, written_at: Option<Epoch>, effects: &mut Outputs) {
        let settlement = Settlement { ticket: ticket.clone(), report: end.report(), model: None, written_at };
        self.core.settle(settlement, self.now, effects);
    }

    fn ends(&mut self, number: usize, end: End, effects: &mut Outputs) -> Result<Move, Broken> {
        let (ticket, written_at) = match &self.workers[number].stage {
            Stage::Granted(grant) => (grant.ticket.clone(), None),
            Stage::Sent(grant, newest) => (grant.ticket.clone(), Some(*newest)),
            _ => return Ok(None),
        };
        self.settle(&ticket, end, written_at, effects);
        let is_heard = effects.iter().any(|effect| matches!(effect, Effect::Observe(_)));
        if is_heard && !self.promises.is_present(&ticket.endpoint, ticket.epoch) {
            return Err(format!("the breakers are told how {ticket:?} has ended, whose epoch is over"));
        }
        match end {
            End::Success => self.workers[number].is_served(),
            End::Cancelled => self.workers[number].is_over(),
            End::Failure => {
                let counts = self.promises.failed(&ticket);
                self.workers[number].failed(ticket.clone(), self.now);
                self.tell(|| format!("{ticket:?} counts: {counts}"));
                if !self.core.awaits_verdict(ticket.serial) {
                    Promises::released(&ticket, counts, None, &self.core.view(self.now))?;
                    self.workers[number].released(&self.scope, self.now);
                }
            }
        }
        Ok(None)
    }

    fn leaves(&mut self, number: usize) -> Move {
        self.leavers_left -= 1;
        let worker = &mut self.workers[number];
        if let Stage::Waits { waiter, .. } = worker.stage {
            self.left.push(waiter);
        }
        worker.is_over();
        None
    }

    pub(crate) fn forget_who_left(&mut self) {
        self.core.leave(&std::mem::take(&mut self.left).into_iter().collect());
    }

    fn doubts(&mut self, number: usize, effects: &mut Outputs) -> Move {
        let ask = self.workers[number].ask(&self.scope, Way::Usual, self.now);
        let failures = std::mem::take(&mut self.workers[number].doubted);
        self.core.doubt(&ask, &failures, self.now, effects);
        self.workers[number].is_served();
        None
    }

    fn gives_back(&mut self, effects: &mut Outputs) -> Move {
        if let Some(grant) = self.dropped.pop_front() {
            self.settle(&grant.ticket, End::Cancelled, None, effects);
        }
        None
    }

    fn breakers_hear(&mut self) -> Result<Move, Broken> {
        match self.to_breakers.pop_front() {
            Some(ToBreakers::Observe(observation)) => {
                let (ticket, outcome) = (observation.ticket, observation.outcome);
                let ruling = self.bank.observe(&ticket, outcome, self.now, &self.scope.breaker());
                self.tell(|| format!("of {ticket:?}: {outcome:?}, and say {ruling:?}"));
                let right = self.promises.heard(&ticket, outcome, &self.scope);
                let is_enough = ruling.map(|ruling| ruling != Ruling::Keep);
                if is_enough != right {
                    return Err(format!("the breakers judge a failure as {ruling:?}; is it enough: {right:?}"));
                }
                self.verdicts.extend(ruling.map(|ruling| (ticket, ruling)));
            }
            Some(ToBreakers::Retract(ticket)) => {
                self.tell(|| format!("that {ticket:?} was none"));
                self.bank.retract(&ticket);
                self.promises.taken_back(&ticket);
            }
            None => {}
        }
        self.promises.check_breakers(&self.bank)?;
        Ok(None)
    }

    fn reset(&mut self, endpoint: usize) -> Result<Move, Broken> {
        if let Some(epoch) = self.resets.remove(&id(endpoint)) {
            self.bank.reset(&id(endpoint), epoch);
            self.promises.starts_anew(endpoint, epoch);
        }
        self.promises.check_breakers(&self.bank)?;
        Ok(None)
    }

    fn verdict(&mut self, effects: &mut Outputs) -> Move {
        let (ticket, ruling) = self.verdicts.pop_front()?;
        self.tell(|| format!("on {ticket:?}: {ruling:?}"));
        for worker in &mut self.workers {
            match &mut worker.stage {
                Stage::Failed { ticket: its, verdict } if its.serial == ticket.serial => *verdict = Some(ruling),
                _ => {}
            }
        }
        let moved = self.promises.judged(&ticket, ruling);
        self.core.judge(&ticket, ruling, self.now, effects);
        moved
    }
}
