//! Handles what workers ask for their requests and what their leases report.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, Response};
use tokio::sync::oneshot;

use super::super::lease::Lease;
use super::super::messages::{Acquire, Acquired, Doubt, Judged, Settle};
use super::Registry;
use crate::domain::registry::{self as core, Grant, WaiterId};

/// A request that waits: where its answer goes, and the model that it asked for.
#[derive(Debug)]
pub(super) struct AwaitsLease {
    pub(super) reply: oneshot::Sender<Acquired>,
    pub(super) model: Option<Arc<str>>,
}

impl Registry {
    /// A lease that reports to this registry.
    pub(super) fn lease(&mut self, grant: Grant, model: Option<Arc<str>>, ctx: &Context<Self>) -> Lease {
        let address = self.address.get_or_insert_with(|| Arc::new(ctx.address()));
        Lease::new(grant, model, self.core.epochs(), Arc::clone(address))
    }

    /// Removes waiters that no longer wait for their answer. No message says that a client has left, so each channel is
    /// checked.
    pub(super) fn forget_who_left(&mut self) {
        let left = self.waiting.extract_if(|_, waiting| waiting.reply.is_closed());
        let gone: BTreeSet<WaiterId> = left.map(|(waiter, _)| waiter).collect();
        if !gone.is_empty() {
            self.core.leave(&gone);
        }
    }
}

impl Handler<Acquire> for Registry {
    type Result = ();

    fn handle(&mut self, Acquire { ask, failures, reply }: Acquire, ctx: &mut Self::Context) {
        let model = ask.model.clone();
        // First, so that waiters that have left take no place from this one.
        self.forget_who_left();
        let acquired = self.step(ctx, |core, now, out| {
            let doubting = (!failures.is_empty()).then(|| ask.clone());
            let acquired = core.acquire(ask, now, out);
            if let (core::Acquired::Waiting(_), Some(ask)) = (&acquired, doubting) {
                core.doubt_while_waiting(&ask, &failures, now, out);
            }
            acquired
        });
        match acquired {
            core::Acquired::Granted(grant) => drop(reply.send(Ok(self.lease(grant, model, ctx)))),
            core::Acquired::Refused(why) => drop(reply.send(Err(why))),
            core::Acquired::Waiting(waiter) => {
                self.waiting.insert(waiter, AwaitsLease { reply, model });
            }
        }
    }
}

impl Handler<Settle> for Registry {
    type Result = ();

    fn handle(&mut self, Settle(settlement): Settle, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.settle(settlement, now, out));
    }
}

impl Handler<Judged> for Registry {
    type Result = Response<()>;

    fn handle(&mut self, Judged(serial): Judged, _: &mut Self::Context) -> Self::Result {
        if !self.core.awaits_verdict(serial) {
            return self.when_kept(());
        }
        let (reply, answer) = oneshot::channel();
        self.awaiting_verdict.entry(serial).or_default().push(reply);
        Response::fut(async move { answer.await.unwrap_or_default() })
    }
}

impl Handler<Doubt> for Registry {
    type Result = ();

    fn handle(&mut self, Doubt { ask, failures }: Doubt, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.doubt(&ask, &failures, now, out));
    }
}
