//! The registry's state as routes and tests see it: a cheap copy, never the thing itself.

use super::super::endpoint::SharedEndpoint;
use super::super::ids::{EndpointId, Epoch};
use super::super::queues::{Isolation, Member, Standing};
use super::super::schedule::{Purpose, VerifyJob};
use super::super::time::Moment;
use super::RegistryCore;

/// One endpoint at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Its definition.
    pub endpoint: SharedEndpoint,
    /// Where it is.
    pub standing: Standing,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its attempts under way.
    pub in_flight: u32,
    /// Its isolation while it has failed and not recovered, whether or not it was switched off meanwhile.
    pub isolation: Option<Isolation>,
    /// The weight that the choice goes by; 0 while no traffic reaches it.
    pub effective_weight: f64,
    /// Whether it has come back and its share is still growing.
    pub slow_start: bool,
    /// Whether the verdict on a failure is awaited.
    pub held: bool,
    /// Whether it has ever passed a verification or served a request.
    pub proven: bool,
}

/// All endpoints at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryView {
    /// In the order of their ids.
    pub endpoints: Vec<EndpointView>,
    /// How many attempts were sent to an isolated endpoint.
    pub leaks: u64,
    /// Which endpoint served the latest answer.
    pub last_served: Option<EndpointId>,
    /// How many requests wait for a verdict.
    pub waiting: usize,
}

impl RegistryCore {
    /// A copy of the state.
    pub fn view(&self, now: Moment) -> RegistryView {
        RegistryView {
            endpoints: self.queues.iter().map(|member| self.view_of(member, now)).collect(),
            leaks: self.audit.leaks(),
            last_served: self.last_served.clone(),
            waiting: self.waiters.len(),
        }
    }

    /// The whole failure queue, for the verifier.
    pub fn failures(&self) -> Vec<VerifyJob> {
        self.queues.iter().filter_map(|member| member.isolation().map(|isolation| job(member, isolation))).collect()
    }

    /// A job to verify this endpoint wherever it is; `None` where there is none of this name.
    pub fn job_for(&self, id: &EndpointId, now: Moment) -> Option<VerifyJob> {
        let member = self.queues.get(id)?;
        Some(match member.isolation() {
            Some(isolation) => job(member, isolation),
            None => VerifyJob {
                endpoint: member.endpoint().clone(),
                purpose: Purpose::Recovery,
                epoch: member.epoch(),
                reason: super::super::outcome::Reason::Admin,
                model: None,
                isolated_at: now,
                relapse: false,
                at_once: true,
            },
        })
    }

    fn view_of(&self, member: &Member, now: Moment) -> EndpointView {
        let standing = member.standing();
        let takes_traffic = matches!(standing, Standing::Primary | Standing::Secondary);
        let recovering = |at| now.since(at) < self.policy.slow_start;
        EndpointView {
            endpoint: member.endpoint().clone(),
            standing,
            epoch: member.epoch(),
            in_flight: self.leases.in_flight(&member.endpoint().id),
            isolation: member.quarantine().cloned(),
            effective_weight: if takes_traffic { self.effective_weight(member, now) } else { 0.0 },
            slow_start: member.recovered().is_some_and(recovering),
            held: member.is_held(),
            proven: member.is_proven(),
        }
    }
}

fn job(member: &Member, isolation: &Isolation) -> VerifyJob {
    VerifyJob {
        endpoint: member.endpoint().clone(),
        purpose: Purpose::Recovery,
        epoch: member.epoch(),
        reason: isolation.reason,
        model: isolation.model.clone(),
        isolated_at: isolation.at,
        relapse: isolation.relapse,
        at_once: isolation.redefined,
    }
}
