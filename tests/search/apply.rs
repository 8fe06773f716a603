//! What a step does: the cores' own work, and what follows from it for others, as their actors would carry it out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use qcc_gateway::domain::breaker::Judgement;
use qcc_gateway::domain::challenge::{Challenge, Code, RecoveryProof, Reply, ReplyBody, Verdict};
use qcc_gateway::domain::classify::Words;
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::ids::{EndpointId, Epoch, Ticket};
use qcc_gateway::domain::outcome::ErrorNote;
use qcc_gateway::domain::registry::{Acquired, Effect, Grant, NoEndpoint, Outputs, Settlement, WaiterId};
use qcc_gateway::domain::schedule::{Failed, Passed, Purpose, VerifyJob};

use super::promises::{Move, Promises};
use super::scope::{HOUR, id};
use super::steps::Step;
use super::worker::{End, Stage, Way};
use super::world::{Broken, News, ToBreakers, World};

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

    fn forget_who_left(&mut self) {
        for waiter in std::mem::take(&mut self.left) {
            self.core.leave(waiter);
        }
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
                let judgement = self.bank.observe(&ticket, outcome, self.now, &self.scope.breaker());
                self.tell(|| format!("of {ticket:?}: {outcome:?}, and say {judgement:?}"));
                let right = self.promises.heard(&ticket, outcome, &self.scope);
                let is_enough = judgement.map(|judgement| judgement != Judgement::Keep);
                if is_enough != right {
                    return Err(format!("the breakers judge a failure as {judgement:?}; is it enough: {right:?}"));
                }
                self.verdicts.extend(judgement.map(|judgement| (ticket, judgement)));
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
        let (ticket, judgement) = self.verdicts.pop_front()?;
        self.tell(|| format!("on {ticket:?}: {judgement:?}"));
        for worker in &mut self.workers {
            match &mut worker.stage {
                Stage::Failed { ticket: its, verdict } if its.serial == ticket.serial => *verdict = Some(judgement),
                _ => {}
            }
        }
        let moved = self.promises.judged(&ticket, judgement);
        self.core.judge(&ticket, judgement, self.now, effects);
        moved
    }

    fn list(&mut self) -> Move {
        let list = self.lists.pop_front()?;
        self.tell(|| {
            let jobs = list.iter().map(|job| format!("{} in {:?} for {:?}", job.endpoint.id, job.epoch, job.purpose));
            jobs.collect::<Vec<_>>().join(", ")
        });
        for void in self.schedule.update(&list, self.now, || 0.5) {
            self.tell(|| format!("the conversation with {} in {:?} is broken off", void.0, void.1));
            self.talks.retain(|talk| *talk != void);
        }
        self.heard = list;
        None
    }

    fn tick(&mut self, effects: &mut Outputs) -> Move {
        self.forget_who_left();
        self.core.tick(self.now, effects);
        effects.push(Effect::PublishFailures);
        None
    }

    fn begins(&mut self) -> Result<Move, Broken> {
        for job in self.schedule.start_due(self.now) {
            self.tell(|| format!("a conversation with {} in {:?} for {:?}", job.endpoint.id, job.epoch, job.purpose));
            if self.talks.iter().any(|(id, _)| *id == job.endpoint.id) {
                return Err(format!("there are two conversations with {}", job.endpoint.id));
            }
            self.talks.push((job.endpoint.id.clone(), job.epoch));
        }
        self.talks.sort_unstable();
        Ok(None)
    }

    /// The conversation that ends.
    fn takes_talk(&mut self, endpoint: usize) -> Option<(EndpointId, Epoch)> {
        let index = self.talks.iter().position(|(id, _)| super::scope::index(id) == endpoint)?;
        Some(self.talks.remove(index))
    }

    fn conversation_passes(&mut self, endpoint: usize) -> Result<Move, Broken> {
        let Some((id, epoch)) = self.takes_talk(endpoint) else { return Ok(None) };
        let news = match self.schedule.passed(&id, epoch, self.now) {
            Some(Passed::Recovered { .. }) => News::Recovered(id, epoch),
            Some(Passed::Fit(purpose)) => News::Fit(id, epoch, purpose),
            None => return Err(format!("the conversation with {id} in {epoch:?} counts for nothing")),
        };
        self.news.push_back(news);
        Ok(None)
    }

    fn conversation_fails(&mut self, endpoint: usize) -> Move {
        let (id, epoch) = self.takes_talk(endpoint)?;
        match self.schedule.failed(&id, epoch, self.now, 0.5) {
            Some(Failed::StillFailing(finished)) => self.news.push_back(News::StillFailing(id, epoch, finished)),
            Some(Failed::Unfit) => self.news.push_back(News::Unfit(id, epoch, ErrorNote::new("no code"))),
            Some(Failed::OnceMore | Failed::StillExhausted { .. }) | None => {}
        }
        None
    }

    fn news_arrives(&mut self, effects: &mut Outputs) -> Result<Move, Broken> {
        let Some(news) = self.news.pop_front() else { return Ok(None) };
        self.tell(|| format!("{news:?}"));
        let (id, epoch) = match &news {
            News::Recovered(id, epoch)
            | News::StillFailing(id, epoch, _)
            | News::Fit(id, epoch, _)
            | News::Unfit(id, epoch, _) => (id.clone(), *epoch),
        };
        let is_stale = !self.promises.is_present(&id, epoch);
        // When a conversation began is of use in any epoch.
        let is_void = is_stale && !matches!(news, News::StillFailing(..));
        let before = is_void.then(|| format!("{:?}", self.core));
        let moved = match news {
            News::Recovered(id, epoch) => {
                self.core.restore(proof(&id, epoch), self.now, effects);
                self.promises.proved(&id, epoch)
            }
            News::StillFailing(id, epoch, finished) => {
                self.core.still_failing(&id, epoch, &finished, self.now, effects);
                None
            }
            News::Fit(id, epoch, purpose) => {
                self.core.fit(&id, epoch, purpose, self.now, effects);
                None
            }
            News::Unfit(id, epoch, error) => {
                let is_it = |job: &VerifyJob| job.endpoint.id == id && job.purpose == Purpose::Opinion;
                let is_asked = self.core.conversations(self.now).iter().any(is_it);
                self.core.unfit(&id, epoch, error, self.now, effects);
                if is_asked { self.promises.isolates(&id, epoch) } else { None }
            }
        };
        if before.is_some_and(|before| before != format!("{:?}", self.core) || !effects.is_empty()) {
            return Err(format!("news of {epoch:?}, which is over, has changed something"));
        }
        Ok(moved)
    }

    /// Carries out what follows from an input, in order, and checks what has come of it.
    fn follow(&mut self, effects: Outputs, moved: Move) -> Result<(), Broken> {
        let view = self.core.view(self.now);
        let mut granted = Vec::new();
        let mut judged = Vec::new();
        for effect in effects {
            match effect {
                Effect::Observe(observation) => self.to_breakers.push_back(ToBreakers::Observe(observation)),
                Effect::Retract(ticket) => self.to_breakers.push_back(ToBreakers::Retract(ticket)),
                Effect::ResetBreaker(endpoint, epoch) => {
                    self.resets.insert(endpoint, epoch);
                }
                Effect::PublishFailures => self.publish(),
                Effect::Granted(waiter, grant) => granted.push((waiter, Ok(grant))),
                Effect::Refused(waiter, why) => granted.push((waiter, Err(why))),
                Effect::Judged(serial) => judged.push(serial),
                Effect::Leaked(ticket) => return Err(format!("the audit finds a leak: {ticket:?}")),
                Effect::Hasten(wanted) => return Err(format!("{wanted:?} are due, and yet hastened")),
                Effect::Note(..)
                | Effect::Filtered { .. }
                | Effect::Summary { .. }
                | Effect::NothingUsable { .. }
                | Effect::NeverProven(_)
                | Effect::Keep(_) => {}
            }
        }
        self.promises.check(moved, &view, self.core.epochs().newest())?;
        for (waiter, answer) in granted {
            self.answered(waiter, answer)?;
        }
        for serial in judged {
            self.released(serial)?;
        }
        self.forget_idle_resets();
        self.check_leases()
    }

    /// Somebody who waits is answered.
    fn answered(&mut self, waiter: WaiterId, answer: Result<Grant, NoEndpoint>) -> Result<(), Broken> {
        let waits = |stage: &Stage| matches!(stage, Stage::Waits { waiter: its, .. } if *its == waiter);
        let Some(number) = self.workers.iter().position(|worker| waits(&worker.stage)) else {
            self.left.retain(|left| *left != waiter);
            self.dropped.extend(answer);
            return Ok(());
        };
        let Stage::Waits { ask, way, since, .. } = std::mem::replace(&mut self.workers[number].stage, Stage::Idle)
        else {
            return Ok(());
        };
        if let Some(plan) = &mut self.workers[number].plan {
            plan.waited(self.now.since(since));
        }
        match answer {
            Ok(grant) => {
                self.tell(|| format!("worker {number} is given {:?}", grant.ticket));
                self.promises.granted(&ask, &grant.ticket, &self.core.view(self.now))?;
                self.workers[number].granted(grant);
            }
            Err(why) => {
                self.tell(|| format!("worker {number} is refused: {why:?}"));
                self.workers[number].refused(&why, way);
            }
        }
        Ok(())
    }

    /// Somebody who has waited for the verdict on a failure goes on.
    fn released(&mut self, serial: qcc_gateway::domain::ids::Serial) -> Result<(), Broken> {
        for number in 0..self.workers.len() {
            let Stage::Failed { ticket, verdict } = &self.workers[number].stage else { continue };
            if ticket.serial == serial {
                Promises::released(ticket, true, *verdict, &self.core.view(self.now))?;
                self.workers[number].released(&self.scope, self.now);
                self.tell(|| format!("worker {number} hears that its failure is judged"));
            }
        }
        Ok(())
    }

    /// What is in flight is what workers hold.
    fn check_leases(&self) -> Result<(), Broken> {
        let held = || self.workers.iter().filter_map(super::worker::Worker::grant).chain(&self.dropped);
        for seen in &self.core.view(self.now).endpoints {
            let count = held().filter(|grant| grant.ticket.endpoint == seen.endpoint.id).count();
            if seen.in_flight as usize != count {
                return Err(format!("{} has {} in flight, and {count} are held", seen.endpoint.id, seen.in_flight));
            }
        }
        if self.schedule.running() != self.talks.len() {
            return Err(format!("{} conversations count as running of {}", self.schedule.running(), self.talks.len()));
        }
        Ok(())
    }
}

/// A proof, come by honestly: a challenge that was answered with its code.
fn proof(endpoint: &EndpointId, epoch: Epoch) -> RecoveryProof {
    let code = Code::from_random(7);
    let body = format!(r#"{{"content":[{{"type":"text","text":"{code}"}}]}}"#);
    let body = ReplyBody::Whole(body.as_bytes());
    let reply = Reply { protocol: Protocol::Anthropic, status: 200, body, elapsed: Duration::ZERO };
    match Challenge::new(endpoint.clone(), epoch, code).judge(&reply, Words::Left) {
        Verdict::Proven(proof) => proof,
        Verdict::Unproven(unproven) => panic!("the code was not accepted: {unproven:?}"),
    }
}
