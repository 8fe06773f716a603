//! Carries out the effects that the core has decided on.

use actix::Context;

use super::super::messages::{FailureList, Hasten, Note, Notify, Observe, ResetBreaker, Retract};
use super::requests::AwaitsLease;
use super::{Registry, log_filtered, log_leak, log_move, log_never_proven, log_nothing_usable, log_summary};
use crate::domain::notice::Notice;
use crate::domain::registry::Effect;
use crate::domain::time::Moment;

impl Registry {
    /// Sends the verifier all endpoints to converse with.
    pub(super) fn publish_failures(&self) {
        self.peers.failures.do_send(FailureList(self.core.conversations(self.clock.now()).into()));
    }

    /// Carries out the effects of an input, in order.
    pub(super) fn carry_out(&mut self, effects: impl Iterator<Item = Effect>, now: Moment, ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Observe(observation) => {
                    self.peers.observe.do_send(Observe { observation, at: now });
                }
                Effect::ResetBreaker(endpoint, epoch) => self.peers.reset.do_send(ResetBreaker { endpoint, epoch }),
                Effect::Retract(ticket) => self.peers.retract.do_send(Retract(ticket)),
                Effect::PublishJobs => self.publish_failures(),
                Effect::Hasten(wanted) => self.peers.hasten.do_send(Hasten(wanted.into())),
                Effect::Granted(waiter, grant) => {
                    // A lease that its waiter no longer takes gives itself back when dropped.
                    if let Some(AwaitsLease { reply, model }) = self.waiting.remove(&waiter) {
                        drop(reply.send(Ok(self.lease(grant, model, ctx))));
                    } else {
                        drop(self.lease(grant, None, ctx));
                    }
                }
                Effect::Refused(waiter, why) => {
                    if let Some(AwaitsLease { reply, .. }) = self.waiting.remove(&waiter) {
                        drop(reply.send(Err(why)));
                    }
                }
                Effect::Judged(serial) => {
                    for reply in self.awaiting_verdict.remove(&serial).unwrap_or_default() {
                        self.tell_when_kept(reply);
                    }
                }
                Effect::Note(event, note) => {
                    log_move(&event, note);
                    self.log_standing(&event);
                    self.peers.notices.do_send(Notify(Notice::Event(event.clone())));
                    self.peers.stats.do_send(Note::Event(event));
                }
                Effect::Filtered { profile, excluded } => log_filtered(&profile, excluded),
                Effect::Summary { profile, endpoints, usable, isolated } => {
                    log_summary(&profile, endpoints, usable, isolated);
                }
                Effect::NothingUsable { profile, protocol, endpoints, isolated } => {
                    log_nothing_usable(&profile, protocol, endpoints, isolated);
                    let notice = Notice::NothingUsable { at: now, profile, protocol, endpoints, isolated };
                    self.peers.notices.do_send(Notify(notice));
                }
                Effect::NeverProven(id) => log_never_proven(&id),
                Effect::Keep(keep) => self.keep(|keeping, image| keeping.changed(keep, image)),
                Effect::Leaked(ticket) => log_leak(&ticket),
            }
        }
        self.set_alarm(ctx);
    }
}
