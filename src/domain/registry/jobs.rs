//! The conversations that the verifier is to hold.

use std::sync::Arc;

use super::super::ids::EndpointId;
use super::super::queues::{Isolation, Member};
use super::super::schedule::{Recovery, Subject, Suffices, Task, Urgency, VerifyJob};
use super::super::time::Moment;
use super::RegistryCore;

impl RegistryCore {
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

    /// The whole failure queue.
    pub fn failures(&self) -> Vec<VerifyJob> {
        self.queues
            .iter()
            .filter_map(|member| member.isolation().map(|isolation| self.recovery(member, isolation)))
            .collect()
    }

    /// How this endpoint is to be verified, wherever it is; `None` where there is none of this name.
    pub fn subject(&self, id: &EndpointId) -> Option<Subject> {
        self.queues.get(id).map(subject)
    }

    /// The verification of an isolated endpoint.
    pub(super) fn recovery(&self, member: &Member, isolation: &Isolation) -> VerifyJob {
        let urgency = if isolation.is_due_at_once() { Urgency::AtOnce } else { Urgency::Delayed };
        let task = Task::Recovery(Recovery {
            reason: isolation.reason,
            isolated_at: isolation.at,
            relapse: isolation.relapse,
            resume: self.verifications.resume(member, isolation),
            urgency,
        });
        VerifyJob { subject: subject(member), task }
    }
}

/// How an endpoint is to be verified: if it is isolated, in the way that disproves the isolation's reason.
fn subject(member: &Member) -> Subject {
    let (endpoint, epoch) = (Arc::clone(member.endpoint()), member.epoch());
    let Some(isolation) = member.isolation() else {
        return Subject::new(endpoint, epoch);
    };
    let manner = isolation.reason.manner_of_proof(isolation.error.as_ref(), isolation.relapse);
    Subject { endpoint, epoch, manner, model: isolation.model.clone(), suffices: isolation.suffices }
}
