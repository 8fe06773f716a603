//! The actor that owns the circuit breakers. It hears from the registry and answers it, and knows nobody else.

use actix::{Actor, Context, Handler, MessageResult, Recipient};

use super::lifeline::Lifeline;
use super::messages::{Drain, Observe, ResetBreaker, Retract, Verdict, ViewBreakers};
use crate::domain::breaker::{BreakerBank, BreakerPolicy};

/// Counts failures and judges them.
#[derive(Debug)]
pub struct Breakers {
    bank: BreakerBank,
    policy: BreakerPolicy,
    registry: Recipient<Verdict>,
    lifeline: Lifeline,
}

impl Breakers {
    /// Breakers that answer this registry.
    pub fn new(policy: BreakerPolicy, registry: Recipient<Verdict>, lifeline: Lifeline) -> Self {
        Self { bank: BreakerBank::default(), policy, registry, lifeline }
    }
}

impl Actor for Breakers {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
    }
}

impl Handler<Observe> for Breakers {
    type Result = ();

    fn handle(&mut self, Observe { observation, at }: Observe, _: &mut Self::Context) {
        let ticket = observation.ticket;
        if let Some(judgement) = self.bank.observe(&ticket, observation.outcome, at, &self.policy) {
            self.registry.do_send(Verdict { ticket, judgement });
        }
    }
}

impl Handler<ResetBreaker> for Breakers {
    type Result = ();

    fn handle(&mut self, ResetBreaker { endpoint, epoch }: ResetBreaker, _: &mut Self::Context) {
        if self.bank.reset(&endpoint, epoch) {
            log::debug!("breaker reset endpoint={endpoint}");
        }
    }
}

impl Handler<Retract> for Breakers {
    type Result = ();

    fn handle(&mut self, Retract(ticket): Retract, _: &mut Self::Context) {
        self.bank.retract(&ticket);
    }
}

impl Handler<ViewBreakers> for Breakers {
    type Result = MessageResult<ViewBreakers>;

    fn handle(&mut self, _: ViewBreakers, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.bank.clone())
    }
}

impl Handler<Drain> for Breakers {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.lifeline.release();
    }
}
