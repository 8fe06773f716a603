//! Second opinions: when they are asked for, and what follows.

use std::sync::Arc;

use super::super::ids::{EndpointId, Epoch, Ticket};
use super::super::opinions::{Failed, Fingerprint, NewlyAsked, Others, in_doubt};
use super::super::outcome::{ErrorNote, Reason};
use super::super::queues::{Doubted, Evidence, Member};
use super::super::schedule::{AtHome, Finished, Subject, Suffices, Task, VerifyJob};
use super::super::slots::Slot;
use super::super::time::Moment;
use super::{Ask, Doubt, Effect, Keep, Outputs, RegistryCore};

impl RegistryCore {
    /// Takes in that a request has failed for good. Those of its failures that may be its own fault are retracted, and
    /// their endpoints asked for a second opinion.
    pub fn doubt(&mut self, ask: &Ask, failures: &[Failed], now: Moment, out: &mut Outputs) {
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
    pub fn doubt_while_waiting(&mut self, ask: &Ask, failures: &[Failed], now: Moment, out: &mut Outputs) {
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
    fn doubted<'a>(&mut self, ask: &Ask, failures: &'a [Failed], now: Moment) -> Vec<&'a Failed> {
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
                out.push(Effect::PublishFailures);
            }
            Doubted::Forgiven => {
                // The next process must not remember the isolation either.
                out.push(Effect::Keep(Keep::Soon));
                self.opinions.was_the_cause(request, now);
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
    fn home_slot(&self, id: &EndpointId, epoch: Epoch) -> Option<Slot> {
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
            out.push(Effect::PublishFailures);
        }
    }

    /// An endpoint in its home queue has passed a conversation. This restores nothing: it was never out. `model` is the one
    /// in question.
    pub fn fit(
        &mut self,
        id: &EndpointId,
        epoch: Epoch,
        purpose: AtHome,
        model: Option<&Arc<str>>,
        now: Moment,
        out: &mut Outputs,
    ) {
        let Some(slot) = self.home_slot(id, epoch) else { return };
        self.note_proven(slot, out);
        self.verifications.note_conversation(id, epoch, now, now);
        let has_ended = match purpose {
            AtHome::EarlyReturn => {
                self.opinions.passed_unasked(id, now);
                let policy = &self.policy.cooling;
                self.cooling.get_mut(slot).is_some_and(|cooling| cooling.end_exhausted(model, now, policy))
            }
            AtHome::Opinion => {
                self.opinions.passed(id, epoch, now);
                false
            }
        };
        out.push(Effect::PublishFailures);
        if has_ended {
            out.push(Effect::Keep(Keep::Soon));
            self.look_at_waiters(now, out);
        }
        self.check_invariants();
    }

    /// An endpoint has passed a conversation that an admin asked for and nothing else waits for.
    pub fn proved(&mut self, id: &EndpointId, epoch: Epoch, out: &mut Outputs) {
        if let Some(slot) = self.home_slot(id, epoch) {
            self.note_proven(slot, out);
        }
    }

    /// An endpoint in its home queue has failed its second opinion: it is isolated for the failure that raised the
    /// question.
    pub fn unfit(&mut self, id: &EndpointId, epoch: Epoch, error: ErrorNote, now: Moment, out: &mut Outputs) {
        let Some(asked) = self.opinions.failed(id, epoch) else { return };
        let error = asked.error.or(Some(error));
        let (reason, failures, model) = (asked.reason, FAILED_TWICE, asked.model);
        let evidence = Evidence { reason, failures, error, model, suffices: Suffices::AnyModel };
        if !self.isolate(id, epoch, evidence, None, now, out) {
            return;
        }
        if let Some(isolation) = self.queues.get(id).map(Member::epoch) {
            self.queues.note_failed(id, isolation);
        }
        self.verifications.note_conversation(id, epoch, now, now);
        self.look_at_waiters(now, out);
        self.check_invariants();
    }

    /// No second opinion on an endpoint can be had. It stays where it is, and the retracted failures are forgotten.
    pub fn undecided(&mut self, id: &EndpointId, epoch: Epoch, out: &mut Outputs) {
        if self.opinions.failed(id, epoch).is_some() {
            out.push(Effect::PublishFailures);
        }
        self.check_invariants();
    }

    /// An endpoint was asked about this model's used-up window and has not passed: the next model is asked about next.
    pub fn still_exhausted(
        &mut self,
        id: &EndpointId,
        epoch: Epoch,
        model: Option<&Arc<str>>,
        now: Moment,
        out: &mut Outputs,
    ) {
        let present = self.home_slot(id, epoch);
        if let Some(cooling) = present.and_then(|slot| self.cooling.get_mut(slot)) {
            cooling.still_exhausted(model, now);
            out.push(Effect::PublishFailures);
        }
    }

    /// An isolated endpoint has passed its verification and is about to be restored. If it relapses, its delays go on from
    /// this step, even in the next run.
    pub fn passed(&mut self, id: &EndpointId, epoch: Epoch, step: u32) {
        let is_isolated = |member: &Member| member.epoch() == epoch && member.isolation().is_some();
        if self.queues.get(id).is_some_and(is_isolated) {
            self.verifications.note_step(id, epoch, step);
        }
    }

    /// An isolated endpoint has failed a verification.
    pub fn still_failing(
        &mut self,
        id: &EndpointId,
        epoch: Epoch,
        finished: &Finished,
        now: Moment,
        out: &mut Outputs,
    ) {
        self.verifications.note_failed(id, epoch, finished);
        self.queues.note_failed(id, epoch);
        self.opinions.isolation_was_right(id, epoch);
        out.push(Effect::Keep(Keep::Soon));
        self.look_at_waiters(now, out);
        self.check_invariants();
    }

    /// All conversations that the verifier is to hold, in the order of the endpoints' ids.
    pub fn conversations(&self, now: Moment) -> Vec<VerifyJob> {
        self.queues
            .iter()
            .filter_map(|member| {
                let recovery = || member.isolation().map(|isolation| self.recovery(member, isolation));
                let home = || member.is_home().then_some(member);
                let opinion = || self.opinions.job(home()?.endpoint(), member.epoch());
                recovery().or_else(opinion).or_else(|| self.early_return(home()?, now))
            })
            .collect()
    }

    fn early_return(&self, member: &Member, now: Moment) -> Option<VerifyJob> {
        let cooling = self.cooling.get(member.slot())?;
        let (model, cooldown) = cooling.exhausted(now, &self.policy.cooling)?;
        let endpoint = Arc::clone(member.endpoint());
        let (model, suffices) = (model.cloned(), Suffices::ItAlone);
        let subject = Subject { model, suffices, ..Subject::new(endpoint, member.epoch()) };
        Some(VerifyJob { subject, task: Task::EarlyReturn { since: cooldown.since } })
    }
}

/// How many conversations it takes to fail a second opinion.
const FAILED_TWICE: u32 = 2;
