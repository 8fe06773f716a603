//! What follows from a step for others, as their actors would carry it out, and what must hold after it.

use qcc_gateway::domain::ids::Serial;
use qcc_gateway::domain::registry::{Effect, Grant, NoEndpoint, Outputs, WaiterId};

use super::promises::{Move, Promises};
use super::worker::Stage;
use super::world::{Broken, ToBreakers, World};

impl World {
    /// Carries out what follows from an input, in order, and checks what has come of it.
    pub(crate) fn follow(&mut self, effects: Outputs, moved: Move) -> Result<(), Broken> {
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
                Effect::PublishJobs => self.publish(),
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
    fn released(&mut self, serial: Serial) -> Result<(), Broken> {
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
