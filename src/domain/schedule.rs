//! Who is verified when: growing delays, at most so many at a time, and a memory for relapses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::backoff::Growth;
use super::endpoint::SharedEndpoint;
use super::ids::{EndpointId, Epoch};
use super::outcome::Reason;
use super::time::Moment;

/// When to verify.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SchedulePolicy {
    /// From the isolation to the first verification.
    pub initial_delay: Duration,
    /// The factor from one delay to the next.
    pub multiplier: f64,
    /// The longest delay.
    pub interval: Duration,
    /// The longest delay for isolations that only the operator can mend.
    pub interval_account: Duration,
    /// The share by which delays waver.
    pub jitter: f64,
    /// The most verifications at a time.
    pub concurrency: usize,
}

impl SchedulePolicy {
    fn delay(&self, reason: Reason, step: u32, chance: f64) -> Duration {
        let limit = if reason.needs_operator() { self.interval_account } else { self.interval };
        Growth { initial: self.initial_delay, multiplier: self.multiplier, limit, jitter: self.jitter }
            .delay(step, chance)
    }
}

/// What a conversation is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The endpoint is isolated: passing brings it back.
    Recovery,
    /// The endpoint is in its home queue, and a failure of it is in doubt: failing twice isolates it.
    Opinion,
    /// The endpoint is in its home queue with a used-up window: passing ends the cooldown early, failing changes nothing.
    EarlyReturn,
}

/// One endpoint that a conversation is to be held with, as the registry names it.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyJob {
    /// Whom to talk to.
    pub endpoint: SharedEndpoint,
    /// What for.
    pub purpose: Purpose,
    /// Its epoch. In any other one the conversation's result is void.
    pub epoch: Epoch,
    /// Why it was isolated, or would be.
    pub reason: Reason,
    /// The model whose failure isolated it.
    pub model: Option<std::sync::Arc<str>>,
    /// Since when.
    pub isolated_at: Moment,
    /// Whether it was isolated again within its slow start.
    pub relapse: bool,
    /// Whether it was redefined and should be verified at once.
    pub at_once: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    job: VerifyJob,
    step: u32,
    due: Moment,
    running: bool,
    verifications: u32,
}

/// What one isolated endpoint's verification has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The epoch of its isolation.
    pub epoch: Epoch,
    /// How often it was verified since its isolation.
    pub verifications: u32,
    /// When it is verified next; `None` while it is.
    pub next: Option<Moment>,
}

/// A verification that did not pass, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How often the endpoint was verified since its isolation, this one included.
    pub verifications: u32,
    /// How long until the next.
    pub next_in: Duration,
}

/// The failure queue as the verifier sees it.
#[derive(Clone, Debug)]
pub struct Schedule {
    policy: SchedulePolicy,
    entries: BTreeMap<EndpointId, Entry>,
    /// The step that an endpoint had reached when it left, for the case that it relapses.
    reached: BTreeMap<EndpointId, u32>,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(policy: SchedulePolicy) -> Self {
        Self { policy, entries: BTreeMap::new(), reached: BTreeMap::new() }
    }

    /// Takes over the whole list of isolated endpoints. What is not on it any more, or is with another epoch, is
    /// forgotten at once; the returned epochs' conversations are void.
    pub fn update(
        &mut self,
        jobs: &[VerifyJob],
        now: Moment,
        mut chance: impl FnMut() -> f64,
    ) -> Vec<(EndpointId, Epoch)> {
        let still_named = |id: &EndpointId, entry: &Entry| {
            jobs.iter().any(|job| job.endpoint.id == *id && job.epoch == entry.job.epoch)
        };
        let mut void = Vec::new();
        self.entries.retain(|id, entry| {
            let keep = still_named(id, entry);
            if !keep {
                self.reached.insert(id.clone(), entry.step);
                void.extend(entry.running.then(|| (id.clone(), entry.job.epoch)));
            }
            keep
        });
        for job in jobs.iter().filter(|job| !self.entries.contains_key(&job.endpoint.id)).collect::<Vec<_>>() {
            let reached = self.reached.remove(&job.endpoint.id);
            let step = if job.relapse { reached.unwrap_or_default() } else { 0 };
            let due = if job.at_once { now } else { job.isolated_at + self.policy.delay(job.reason, step, chance()) };
            let entry = Entry { job: job.clone(), step, due, running: false, verifications: 0 };
            self.entries.insert(job.endpoint.id.clone(), entry);
        }
        void
    }

    /// The endpoints to be verified now, as many as there is room for, the longest overdue first. They count as running.
    pub fn start_due(&mut self, now: Moment) -> Vec<VerifyJob> {
        let running = self.entries.values().filter(|entry| entry.running).count();
        let room = self.policy.concurrency.saturating_sub(running);
        let mut due: Vec<&mut Entry> =
            self.entries.values_mut().filter(|entry| !entry.running && entry.due <= now).collect();
        due.sort_by_key(|entry| entry.due);
        due.into_iter()
            .take(room)
            .map(|entry| {
                entry.running = true;
                entry.job.clone()
            })
            .collect()
    }

    /// Has an endpoint verified at once, whatever its turn. `None` where it is not isolated in this epoch, or a
    /// verification is running already.
    pub fn start_now(&mut self, endpoint: &EndpointId, epoch: Epoch) -> Option<VerifyJob> {
        let entry = self.entries.get_mut(endpoint).filter(|entry| entry.job.epoch == epoch && !entry.running)?;
        entry.running = true;
        Some(entry.job.clone())
    }

    /// Notes that a verification passed. The job stays until a list without it comes; should none come, because the news
    /// was lost, it is verified again after the first delay.
    pub fn passed(&mut self, endpoint: &EndpointId, epoch: Epoch, now: Moment) -> Option<u32> {
        let initial_delay = self.policy.initial_delay;
        let entry = self.entries.get_mut(endpoint).filter(|entry| entry.job.epoch == epoch)?;
        entry.running = false;
        entry.verifications = entry.verifications.saturating_add(1);
        entry.due = now + initial_delay;
        Some(entry.verifications)
    }

    /// Notes that a verification failed, and plans the next.
    pub fn failed(&mut self, endpoint: &EndpointId, epoch: Epoch, now: Moment, chance: f64) -> Option<Finished> {
        let policy = self.policy;
        let entry = self.entries.get_mut(endpoint).filter(|entry| entry.job.epoch == epoch)?;
        entry.running = false;
        entry.verifications = entry.verifications.saturating_add(1);
        entry.step = entry.step.saturating_add(1);
        let next_in = policy.delay(entry.job.reason, entry.step, chance);
        entry.due = now + next_in;
        Some(Finished { verifications: entry.verifications, next_in })
    }

    /// When the next verification is due that could start; `None` where there is nothing to wait for but running ones.
    pub fn next_due(&self) -> Option<Moment> {
        let running = self.entries.values().filter(|entry| entry.running).count();
        if running >= self.policy.concurrency {
            return None;
        }
        self.entries.values().filter(|entry| !entry.running).map(|entry| entry.due).min()
    }

    /// What each isolated endpoint's verification has come to.
    pub fn progress(&self) -> impl Iterator<Item = (&EndpointId, Progress)> {
        self.entries.iter().map(|(id, entry)| {
            let next = (!entry.running).then_some(entry.due);
            (id, Progress { epoch: entry.job.epoch, verifications: entry.verifications, next })
        })
    }
}

#[cfg(test)]
mod tests;
