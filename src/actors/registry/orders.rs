//! Handles orders from the settings and from admins.

use std::sync::Arc;

use actix::{Handler, MessageResult, Response};
use tokio::sync::oneshot;

use super::super::Policies;
use super::super::messages::{
    Apply, Converse, ForgetOthers, Isolate, SetBreakerPolicy, SetEnabled, SetVerifierPolicy, VerifyNow,
};
use super::{Registry, log_overruled};
use crate::domain::queues::SwitchError;
use crate::domain::topology::TopologyDiff;
use crate::domain::verification::Verification;

impl Handler<Apply> for Registry {
    type Result = MessageResult<Apply>;

    fn handle(&mut self, Apply { topology, profiles, policies }: Apply, ctx: &mut Self::Context) -> Self::Result {
        let Policies { registry, breaker, schedule, probe, events: _ } = policies;
        self.core.set_policy(registry);
        self.peers.breaker_policy.do_send(SetBreakerPolicy(breaker));
        self.peers.verifier_policy.do_send(SetVerifierPolicy { schedule, probe });
        self.core.set_clients(profiles);
        let diff: TopologyDiff = self.step(ctx, |core, now, out| core.apply(topology, now, out));
        // Sent after the failure list without them, which breaks off their conversations.
        if !diff.removed.is_empty() {
            let known = Arc::new(self.core.known());
            self.peers.breakers_known.do_send(ForgetOthers(Arc::clone(&known)));
            self.peers.verifier_known.do_send(ForgetOthers(known));
        }
        for (id, switch) in self.core.overruled() {
            log_overruled(id, switch);
        }
        MessageResult(diff)
    }
}

impl Handler<SetEnabled> for Registry {
    type Result = Response<Result<(), SwitchError>>;

    fn handle(&mut self, SetEnabled { id, enabled, by }: SetEnabled, ctx: &mut Self::Context) -> Self::Result {
        let result = self.step(ctx, |core, now, out| core.set_enabled(&id, enabled, by, now, out));
        self.when_kept(result.map(drop))
    }
}

impl Handler<Isolate> for Registry {
    type Result = Response<Result<(), SwitchError>>;

    fn handle(&mut self, Isolate { id, by }: Isolate, ctx: &mut Self::Context) -> Self::Result {
        let result = self.step(ctx, |core, now, out| core.isolate_by_admin(&id, by, now, out));
        self.when_kept(result.map(drop))
    }
}

impl Handler<VerifyNow> for Registry {
    type Result = Response<Result<Verification, SwitchError>>;

    fn handle(&mut self, VerifyNow { id, by }: VerifyNow, _: &mut Self::Context) -> Self::Result {
        let Some(subject) = self.core.subject(&id) else {
            return Response::reply(Err(SwitchError::Unknown));
        };
        let (reply, answer) = oneshot::channel();
        self.peers.converse.do_send(Converse { subject, by, reply });
        Response::fut(async move { Ok(answer.await.unwrap_or_else(|_| Verification::interrupted())) })
    }
}
