//! What the verifier's conversations have come to. None of it restores an endpoint: a proof alone does.

use std::sync::Arc;

use super::super::ids::{EndpointId, Epoch};
use super::super::outcome::ErrorNote;
use super::super::queues::{Evidence, Member};
use super::super::schedule::{AtHome, Finished, Suffices};
use super::super::time::Moment;
use super::{Effect, Keep, Outputs, RegistryCore};

/// How many conversations it takes to fail a second opinion.
const FAILED_TWICE: u32 = 2;

impl RegistryCore {
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
        out.push(Effect::PublishJobs);
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
            out.push(Effect::PublishJobs);
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
            out.push(Effect::PublishJobs);
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
        // With one that has left the settings meanwhile all is forgotten that was known of its verification.
        if self.queues.get(id).is_some() {
            self.verifications.note_failed(id, epoch, finished);
        }
        self.queues.note_failed(id, epoch);
        self.opinions.isolation_was_right(id, epoch);
        out.push(Effect::Keep(Keep::Soon));
        self.look_at_waiters(now, out);
        self.check_invariants();
    }
}
