//! What the registry knows of the verifier's work: when each endpoint was last talked to, when it is next, how far its
//! verification has come, and whether that is hastened.

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
    /// How far its verification has come in this run, and the epoch of the isolation concerned.
    now: Option<(Epoch, Resume)>,
    /// How far its verification had come in the last run, and the epoch in which that isolation goes on in this one.
    before: Option<(Epoch, Resume)>,
    /// The epoch in which the next verification was hastened since the latest one: in another epoch the verifier no longer
    /// knows of it.
    hastened: Option<Epoch>,
}

/// The latest conversation.
#[derive(Clone, Copy, Debug)]
struct Latest {
    /// The endpoint's epoch then; `next` holds only for it.
    epoch: Epoch,
    began: Moment,
    next: Moment,
}

/// When an isolated endpoint is verified next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    /// By the verifier's plan, if known.
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

    /// A conversation has passed, or was with an endpoint in its home queue. If that endpoint is isolated again, its
    /// verification is not hastened to within the first delay of this conversation either.
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

    /// An isolated endpoint has passed its verification. If it relapses, its delays go on from this step.
    pub(super) fn note_step(&mut self, id: &EndpointId, epoch: Epoch, step: u32) {
        self.of_mut(id).now = Some((epoch, Resume { step, since_isolation: None }));
    }

    /// Restores how far the verification had come when the last run ended. The isolation goes on in this epoch.
    pub(super) fn take_up(&mut self, id: &EndpointId, epoch: Epoch, resume: Resume) {
        let known = self.of_mut(id);
        known.before = Some((epoch, resume));
        if let Some(Verified { next, .. }) = resume.since_isolation {
            known.latest = Some(Latest { epoch, began: Moment::START, next });
        }
    }

    /// The endpoint has moved. No hastened verification is under way in its new epoch.
    pub(super) fn moved(&mut self, id: &EndpointId) {
        if let Some(known) = self.0.get_mut(id) {
            known.hastened = None;
        }
    }

    /// The endpoint is now another service, or gone.
    pub(super) fn forget(&mut self, id: &EndpointId) {
        self.0.remove(id);
    }

    /// The verifier has been told that requests wait for this endpoint.
    pub(super) fn hasten(&mut self, id: &EndpointId, epoch: Epoch) {
        self.of_mut(id).hastened = Some(epoch);
    }

    /// Whether the verifier has been told, in this epoch and since the latest verification, that requests wait.
    pub(super) fn is_hastened(&self, id: &EndpointId, epoch: Epoch) -> bool {
        self.of(id).hastened == Some(epoch)
    }

    /// When an isolated endpoint is verified next. `first_delay` is the time from an isolation to its first verification,
    /// and the least time between two hastened ones.
    pub(super) fn next(&self, member: &Member, isolation: &Isolation, first_delay: Duration, now: Moment) -> Next {
        let latest = self.of(&member.endpoint().id).latest;
        let scheduled = match latest.filter(|latest| latest.epoch == member.epoch()) {
            Some(latest) => Some(latest.next),
            None if isolation.is_due_at_once() => Some(isolation.at),
            // Its delays go on from where they were, which only the verifier knows.
            None if isolation.relapse => None,
            None => Some(isolation.at + first_delay),
        };
        Next { scheduled, at_the_soonest: latest.map_or(now, |latest| now.max(latest.began + first_delay)) }
    }

    /// The progress that the verifier can't know itself, because it was made before this run.
    pub(super) fn resume(&self, member: &Member, isolation: &Isolation) -> Option<Resume> {
        let (epoch, resume) = self.of(&member.endpoint().id).before?;
        if epoch == member.epoch() {
            return Some(resume);
        }
        isolation.relapse.then_some(Resume { step: resume.step, since_isolation: None })
    }

    /// How far the verification has come, for an image.
    pub(super) fn latest(&self, member: &Member) -> Option<Resume> {
        let Known { now, before, .. } = self.of(&member.endpoint().id);
        let (epoch, resume) = now.or(before)?;
        if epoch == member.epoch() {
            return Some(resume);
        }
        // That isolation is over, or this is another one: only a relapse goes on from the step.
        let may_relapse = member.isolation().map_or(member.recovered().is_some(), |isolation| isolation.relapse);
        may_relapse.then_some(Resume { step: resume.step, since_isolation: None })
    }
}
