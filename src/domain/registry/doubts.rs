//! Second opinions: when they are asked for, and what follows.

use std::sync::Arc;

use super::super::ids::{EndpointId, Epoch, Ticket};
use super::super::opinions::{FailedAttempt, Fingerprint, NewlyAsked, Others, in_doubt};
use super::super::outcome::{ErrorNote, Reason};
use super::super::queues::{Doubted, Member};
use super::super::slots::Slot;
use super::super::time::Moment;
use super::{Ask, Doubt, Effect, Keep, Outputs, RegistryCore};

impl RegistryCore {
    /// Takes in that a request has failed for good. Those of its failures that may be its own fault are retracted, and
    /// their endpoints asked for a second opinion.
    pub fn doubt(&mut self, ask: &Ask, failures: &[FailedAttempt], now: Moment, out: &mut Outputs) {
        for failed in self.doubted(ask, failures, now) {
            let ticket = &failed.ticket;
            out.push(Effect::Retract(ticket.clone()));
            let (reason, model) = (Reason::from(failed.kind), ask.model.clone());
            self.ask_for_opinion(ticket, reason, model, failed.error.clone(), ask.fingerprint, now, out);
            self.doubt_isolation(ticket, ask.fingerprint, now, out);
            self.doubt_verdict(ticket, ask.fingerprint);
        }
        self.check_invariants();
    }

    /// Takes in that a request that has failed has to wait. It may wait for the very endpoints that its own failures
    /// isolated, which are back at once if that is known. So doubt is raised now about those isolations and pending
    /// verdicts; about other failures only in the end, since the request may yet be served. `out` may hold the effects of
    /// its ask.
    pub fn doubt_while_waiting(&mut self, ask: &Ask, failures: &[FailedAttempt], now: Moment, out: &mut Outputs) {
        for failed in self.doubted(ask, failures, now) {
            let is_isolated = |member: &Member| member.isolation().is_some();
            if self.queues.get(&failed.ticket.endpoint).is_some_and(is_isolated) {
                self.doubt_isolation(&failed.ticket, ask.fingerprint, now, out);
            }
            self.doubt_verdict(&failed.ticket, ask.fingerprint);
        }
        // Doubts come first: a verification hastened for this request would begin without them, be void at once and begin
        // anew.
        out.sort_by_key(|effect| matches!(effect, Effect::Hasten(_)));
        self.check_invariants();
    }

    /// Those of a request's failures that may be its own fault.
    fn doubted<'a>(&mut self, ask: &Ask, failures: &'a [FailedAttempt], now: Moment) -> Vec<&'a FailedAttempt> {
        let Some(first) = failures.first() else { return Vec::new() };
        let is_known = ask.fingerprint.is_some_and(|request| self.opinions.is_poisoned(request, now));
        let has_other = self.has_other(ask, &first.ticket.endpoint, now);
        let others = if has_other { Others::Some } else { Others::None };
        in_doubt(failures, others, is_known)
    }

    /// Puts the endpoint's isolation in doubt, if this lease's failure helped to cause it.
    pub(super) fn doubt_isolation(
        &mut self,
        ticket: &Ticket,
        request: Option<Fingerprint>,
        now: Moment,
        out: &mut Outputs,
    ) {
        match self.queues.doubt(&ticket.endpoint, ticket.epoch) {
            Doubted::Isolated(isolation) => {
                out.push(Effect::Keep(Keep::Soon));
                self.opinions.doubt_isolation(&ticket.endpoint, isolation, request);
                out.push(Effect::PublishJobs);
            }
            Doubted::Forgiven => {
                // The next process must not remember the isolation either.
                out.push(Effect::Keep(Keep::Soon));
                self.opinions.note_cause(request, now);
            }
            Doubted::Nothing => {}
        }
    }

    /// Notes the doubt for a verdict that is still awaited: if it isolates the endpoint, that isolation is in doubt.
    fn doubt_verdict(&mut self, ticket: &Ticket, request: Option<Fingerprint>) {
        if let Some(pending) = self.pending.get_mut(&ticket.serial) {
            pending.doubt = Doubt::Raised(request);
        }
    }

    /// An endpoint's slot, if it is in its home queue in this epoch.
    pub(super) fn home_slot(&self, id: &EndpointId, epoch: Epoch) -> Option<Slot> {
        self.queues.get(id).filter(|member| member.epoch() == epoch && member.is_home()).map(Member::slot)
    }

    /// Asks an endpoint for a second opinion; void once it leaves its home queue.
    #[expect(clippy::too_many_arguments, reason = "a doubt is made of so many things")]
    pub(super) fn ask_for_opinion(
        &mut self,
        ticket: &Ticket,
        reason: Reason,
        model: Option<Arc<str>>,
        error: Option<ErrorNote>,
        about: Option<Fingerprint>,
        now: Moment,
        out: &mut Outputs,
    ) {
        if self.home_slot(&ticket.endpoint, ticket.epoch).is_none() {
            return;
        }
        let asked = NewlyAsked { epoch: ticket.epoch, reason, model, error, about };
        if self.opinions.ask(&ticket.endpoint, asked, self.policy.initial_delay, now) {
            out.push(Effect::PublishJobs);
        }
    }
}
