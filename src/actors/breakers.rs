//! The actor that owns the circuit breakers. It talks to the registry only.

use actix::{Actor, Context, Handler, MessageResult, Recipient};

use super::lifeline::Lifeline;
use super::messages::{Drain, ForgetOthers, Observe, ResetBreaker, Retract, SetBreakerPolicy, Verdict, ViewBreakers};
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
        if let Some(ruling) = self.bank.observe(&ticket, observation.outcome, at, &self.policy) {
            self.registry.do_send(Verdict { ticket, ruling });
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

impl Handler<SetBreakerPolicy> for Breakers {
    type Result = ();

    fn handle(&mut self, SetBreakerPolicy(policy): SetBreakerPolicy, _: &mut Self::Context) {
        self.policy = policy;
    }
}

impl Handler<ForgetOthers> for Breakers {
    type Result = ();

    fn handle(&mut self, ForgetOthers(known): ForgetOthers, _: &mut Self::Context) {
        self.bank.forget_others(&known);
    }
}

impl Handler<ViewBreakers> for Breakers {
    type Result = MessageResult<ViewBreakers>;

    fn handle(&mut self, _: ViewBreakers, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.bank.counts())
    }
}

impl Handler<Drain> for Breakers {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.lifeline.release();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::domain::breaker::Ruling;
    use crate::domain::ids::{Epoch, Serial, Ticket};
    use crate::domain::outcome::{FailureKind, Outcome};
    use crate::domain::registry::Observation;
    use crate::domain::testing::{at, id};

    /// A registry that only listens.
    struct Silent(Rc<RefCell<Vec<Ruling>>>);

    impl Actor for Silent {
        type Context = Context<Self>;
    }

    impl Handler<Verdict> for Silent {
        type Result = ();
        fn handle(&mut self, verdict: Verdict, _: &mut Self::Context) {
            self.0.borrow_mut().push(verdict.ruling);
        }
    }

    #[actix_web::test]
    async fn a_failure_that_was_taken_back_does_not_help_to_trip() {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let silent = Silent(Rc::clone(&heard)).start();
        let policy = BreakerPolicy {
            failure_threshold: 2,
            failure_rate: 1.0,
            min_requests: 100,
            window: Duration::from_secs(60),
        };
        let line = Lifeline::new("breakers", Arc::new(|_| ()));
        let breakers = Breakers::new(policy, silent.clone().recipient(), line).start();
        let ticket = |serial| Ticket { endpoint: id("a"), epoch: Epoch::from_raw(1), serial: Serial::from_raw(serial) };
        for serial in 1..=3 {
            let observation =
                Observation { ticket: ticket(serial), outcome: Outcome::Failure(FailureKind::UpstreamStatus) };
            breakers.do_send(Observe { observation, at: at(0) });
            if serial == 1 {
                breakers.do_send(Retract(ticket(serial)));
            }
        }
        breakers.send(ViewBreakers).await.unwrap();
        while heard.borrow().len() < 3 {
            tokio::task::yield_now().await;
        }
        let tripped: Vec<bool> = heard.borrow().iter().map(|ruling| *ruling != Ruling::Keep).collect();
        assert_eq!(tripped, [false, false, true]);
    }
}
