//! What the registry knows of the verifier's work: when each endpoint was talked to, when it is next, how far its verification
//! has come, and whether that is hastened.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ids::{EndpointId, Epoch};
use super::super::queues::{Isolation, Member};
use super::super::schedule::{Finished, Resume, Verified};
use super::super::time::Moment;

/// What is known of the conversations with each endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Verifications(BTreeMap<EndpointId, Known>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    latest: Option<Latest>,
    /// How far its verification has come in this run, in the epoch of which isolation.
    now: Option<(Epoch, Resume)>,
    /// The same of the last run; the epoch is that of the isolation which goes on in this one.
    before: Option<(Epoch, Resume)>,
    /// In which epoch the next verification has been hastened since the latest one: in another one the verifier knows nothing
    /// of it any more.
    hastened: Option<Epoch>,
}

/// The latest conversation.
#[derive(Clone, Copy, Debug)]
struct Latest {
    /// The endpoint's epoch then, for which alone `next` holds.
    epoch: Epoch,
    began: Moment,
    next: Moment,
}

/// When an isolated endpoint is verified next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    /// By the verifier's plan, where that is known.
    pub(super) scheduled: Option<Moment>,
    /// When it could be, if it were hastened.
    pub(super) at_the_soonest: Moment,
}

impl Verifications {
    fn of(&self, id: &EndpointId) -> Known {
        self.0.get(id).copied().unwrap_or_default()
    }

    fn of_mut(&mut self, id: &EndpointId) -> &mut Known {
        self.0.entry(id.clone()).or_default()
    }

    /// A conversation has passed, or was with an endpoint in its home queue: should that be isolated again, its verification is not
    /// hastened to within the first delay of this one either.
    pub(super) fn note_conversation(&mut self, id: &EndpointId, epoch: Epoch, began: Moment, now: Moment) {
        self.of_mut(id).latest = Some(Latest { epoch, began, next: now });
    }

    /// An isolated endpoint has failed a verification.
    pub(super) fn note_failed(&mut self, id: &EndpointId, epoch: Epoch, finished: &Finished) {
        let Finished { step, verifications, began, next, .. } = *finished;
        let since_isolation = Some(Verified { verifications, next });
        let known = self.of_mut(id);
        known.latest = Some(Latest { epoch, began, next });
        known.now = Some((epoch, Resume { step, since_isolation }));
        known.hastened = None;
    }

    /// An isolated endpoint has passed its verification: from this step the delays go on, should it relapse.
    pub(super) fn note_step(&mut self, id: &EndpointId, epoch: Epoch, step: u32) {
        self.of_mut(id).now = Some((epoch, Resume { step, since_isolation: None }));
    }

    /// So far the verification had come when the last run ended. The isolation goes on in this epoch.
    pub(super) fn take_up(&mut self, id: &EndpointId, epoch: Epoch, resume: Resume) {
        let known = self.of_mut(id);
        known.before = Some((epoch, resume));
        if let Some(Verified { next, .. }) = resume.since_isolation {
            known.latest = Some(Latest { epoch, began: Moment::START, next });
        }
    }

    /// The endpoint has moved. In another epoch no verification is under way that was hastened.
    pub(super) fn moved(&mut self, id: &EndpointId) {
        if let Some(known) = self.0.get_mut(id) {
            known.hastened = None;
        }
    }

    /// The endpoint is another service now, or gone.
    pub(super) fn forget(&mut self, id: &EndpointId) {
        self.0.remove(id);
    }

    /// The verifier has been told that requests wait for this endpoint.
    pub(super) fn hasten(&mut self, id: &EndpointId, epoch: Epoch) {
        self.of_mut(id).hastened = Some(epoch);
    }

    /// Whether the verifier has been told that in this epoch, since the latest verification.
    pub(super) fn is_hastened(&self, id: &EndpointId, epoch: Epoch) -> bool {
        self.of(id).hastened == Some(epoch)
    }

    /// When an isolated endpoint is verified next. `first_delay` is that from an isolation to its first verification, and the
    /// least time between two that are hastened.
    pub(super) fn next(&self, member: &Member, isolation: &Isolation, first_delay: Duration, now: Moment) -> Next {
        let latest = self.of(&member.endpoint().id).latest;
        let scheduled = match latest.filter(|latest| latest.epoch == member.epoch()) {
            Some(latest) => Some(latest.next),
            None if isolation.is_due_at_once() => Some(isolation.at),
            // Its delays go on from where they were, which the verifier knows.
            None if isolation.relapse => None,
            None => Some(isolation.at + first_delay),
        };
        Next { scheduled, at_the_soonest: latest.map_or(now, |latest| now.max(latest.began + first_delay)) }
    }

    /// What the verifier can't know of itself, because it was before this run.
    pub(super) fn resume(&self, member: &Member, isolation: &Isolation) -> Option<Resume> {
        let (epoch, resume) = self.of(&member.endpoint().id).before?;
        if epoch == member.epoch() {
            return Some(resume);
        }
        isolation.relapse.then_some(Resume { step: resume.step, since_isolation: None })
    }

    /// How far it has come, for an image.
    pub(super) fn latest(&self, member: &Member) -> Option<Resume> {
        let Known { now, before, .. } = self.of(&member.endpoint().id);
        let (epoch, resume) = now.or(before)?;
        if epoch == member.epoch() {
            return Some(resume);
        }
        // The isolation is over, or this is another one: only a relapse goes on from the step.
        let may_relapse = member.isolation().map_or(member.recovered().is_some(), |isolation| isolation.relapse);
        may_relapse.then_some(Resume { step: resume.step, since_isolation: None })
    }
}
