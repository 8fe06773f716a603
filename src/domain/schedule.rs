//! When to hold which test conversation: growing delays, at most one conversation at a time with an endpoint, a bounded number in
//! all, and a memory for relapses.

mod job;
mod policy;
mod results;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::endpoint::SharedEndpoint;
use super::ids::{EndpointId, Epoch};
use super::time::Moment;

pub use job::{AtHome, Conversation, Purpose, Recovery, Resume, Subject, Suffices, Task, Urgency, Verified, VerifyJob};
pub use policy::SchedulePolicy;
pub use results::{AtOnce, Count, Failed, Finished, Passed, Progress};

/// How many conversations in a row must fail for a second opinion to be a verdict.
const OPINIONS: u32 = 2;

#[derive(Clone, Debug)]
struct Entry {
    job: VerifyJob,
    step: u32,
    due: Moment,
    running: bool,
    /// How many conversations for the second opinion have failed since the last pause.
    doubts: u32,
}

/// The endpoints to talk to, as the verifier sees them.
#[derive(Clone, Debug)]
pub struct Schedule {
    policy: SchedulePolicy,
    entries: BTreeMap<EndpointId, Entry>,
    /// Conversations under way that an admin wanted and that count for no entry.
    unlisted: BTreeMap<EndpointId, Subject>,
    /// The step that an endpoint had reached when it left, in case it relapses.
    reached: BTreeMap<EndpointId, u32>,
    /// When the latest conversation with an endpoint began, in any epoch.
    began: BTreeMap<EndpointId, Moment>,
    counts: BTreeMap<EndpointId, Count>,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(policy: SchedulePolicy) -> Self {
        Self {
            policy,
            entries: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            reached: BTreeMap::new(),
            began: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Takes over other delays. Waits that are longer than these allow are shortened to them; none becomes longer than planned.
    pub fn set_policy(&mut self, policy: SchedulePolicy, now: Moment, mut chance: impl FnMut() -> f64) {
        self.policy = policy;
        for entry in self.entries.values_mut() {
            let longest = match entry.job.task {
                Task::Recovery(Recovery { reason, .. }) => policy.delay(reason, entry.step, chance()),
                Task::Opinion { .. } => policy.initial_delay,
                Task::EarlyReturn { .. } => policy.early_return(chance()),
            };
            entry.due = entry.due.min(now + longest);
        }
    }

    /// Takes over the whole list of endpoints to talk to, each with one task. Entries that are no longer on it, or that are there
    /// with another epoch or for another purpose, are forgotten at once. The returned conversations are void.
    pub fn update(&mut self, jobs: &[VerifyJob], now: Moment, mut chance: impl FnMut() -> f64) -> Vec<Conversation> {
        let named: BTreeMap<&EndpointId, &VerifyJob> = jobs.iter().map(|job| (&job.subject.endpoint.id, job)).collect();
        let mut void = self.forget_all_but(&named);
        for (id, job) in named {
            match self.entries.get_mut(id) {
                Some(entry) => void.extend(entry.refresh(job, now)),
                None => self.enter(job, now, &mut chance),
            }
        }
        let initial_delay = self.policy.initial_delay;
        self.began.retain(|id, began| {
            let is_of_use = self.entries.contains_key(id) || self.unlisted.contains_key(id);
            is_of_use || now.since(*began) < initial_delay
        });
        void
    }

    fn forget_all_but(&mut self, named: &BTreeMap<&EndpointId, &VerifyJob>) -> Vec<Conversation> {
        let mut void = Vec::new();
        self.entries.retain(|id, entry| {
            let keep = named.get(id).is_some_and(|job| job.is_same_task(&entry.job));
            if !keep {
                entry.leave_to(&mut self.reached);
                void.extend(entry.conversation());
            }
            keep
        });
        self.unlisted.retain(|id, subject| {
            let keep = named.get(id).is_none_or(|named| named.subject.epoch == subject.epoch);
            void.extend((!keep).then(|| subject.conversation()));
            keep
        });
        void
    }

    fn enter(&mut self, job: &VerifyJob, now: Moment, chance: &mut impl FnMut() -> f64) {
        let VerifyJob { subject, task } = job;
        let id = &subject.endpoint.id;
        let (step, due) = match *task {
            Task::Recovery(recovery) => self.begin_recovery(&subject.endpoint, recovery, now, chance),
            Task::Opinion { .. } => (0, now),
            Task::EarlyReturn { since } => {
                // A conversation that was held for another reason meanwhile counts too.
                let latest = self.began.get(id).map_or(since, |began| since.max(*began));
                (0, latest + self.policy.early_return(chance()))
            }
        };
        // A verification that an admin wanted before the list came is this entry's first.
        let counts = |under_way: &Subject| under_way.epoch == subject.epoch && under_way.manner == subject.manner;
        let running = task.purpose() == Purpose::Recovery && self.unlisted.get(id).is_some_and(counts);
        if running {
            self.unlisted.remove(id);
        }
        self.entries.insert(id.clone(), Entry { job: job.clone(), step, due, running, doubts: 0 });
    }

    /// The step from which the delays of an isolation go on, and when its first verification is due.
    fn begin_recovery(
        &mut self,
        endpoint: &SharedEndpoint,
        recovery: Recovery,
        now: Moment,
        chance: &mut impl FnMut() -> f64,
    ) -> (u32, Moment) {
        let Recovery { reason, isolated_at, relapse, resume, urgency } = recovery;
        let earlier = resume.map(|resume| resume.step);
        let reached = self.reached.remove(&endpoint.id).or(earlier).unwrap_or_default();
        let going_on = resume.and_then(|resume| resume.since_isolation);
        let step = if relapse || going_on.is_some() { reached } else { 0 };
        self.count_for(endpoint, isolated_at, going_on.map_or(0, |verified| verified.verifications));
        let delay = self.policy.delay(reason, step, chance());
        let due = match (urgency, going_on) {
            (Urgency::AtOnce, _) => now,
            // Not beyond the delay, even if the system's clock was set back meanwhile.
            (Urgency::Delayed, Some(verified)) => verified.next.min(now + delay),
            (Urgency::Delayed, None) => isolated_at + delay,
        };
        (step, due)
    }

    /// Starts the conversations that are due, as many as there is room for, the longest overdue first.
    pub fn start_due(&mut self, now: Moment) -> Vec<Subject> {
        let room = self.policy.concurrency.saturating_sub(self.running());
        let mut due: Vec<&mut Entry> = self
            .entries
            .iter_mut()
            .filter(|(id, entry)| !entry.running && entry.due <= now && !self.unlisted.contains_key(*id))
            .map(|(_, entry)| entry)
            .collect();
        due.sort_by_key(|entry| entry.due);
        let mut started = Vec::new();
        for entry in due.into_iter().take(room) {
            entry.running = true;
            self.began.insert(entry.job.subject.endpoint.id.clone(), now);
            started.push(entry.job.subject.clone());
        }
        started
    }

    /// Starts a conversation that an admin wants, due or not, even if the endpoint is on no list. It may exceed the room that
    /// there is, but is never the second one with an endpoint.
    pub fn start_now(&mut self, subject: &Subject, now: Moment) -> AtOnce {
        let id = &subject.endpoint.id;
        let listed = self.entries.get(id).map(Entry::epoch);
        let under_way = self.conversation_with(id);
        if under_way == Some(subject.epoch) {
            return AtOnce::UnderWay;
        }
        if listed.max(under_way).is_some_and(|latest| latest > subject.epoch) {
            return AtOnce::Stale;
        }
        let void = under_way.map(|epoch| (id.clone(), epoch));
        self.unlisted.remove(id);
        self.began.insert(id.clone(), now);
        if let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.epoch() == subject.epoch) {
            entry.running = true;
            return AtOnce::Begin { subject: entry.job.subject.clone(), void };
        }
        // The endpoint is in a newer epoch than the latest list knows of.
        if let Some(entry) = self.entries.remove(id) {
            entry.leave_to(&mut self.reached);
        }
        self.unlisted.insert(id.clone(), subject.clone());
        AtOnce::Begin { subject: subject.clone(), void }
    }

    /// Hastens the verification of isolated endpoints for which requests wait: each is due as soon as it may be, which is the
    /// first delay after the latest conversation with it began.
    pub fn hasten(&mut self, waited_for: &[Conversation], now: Moment) {
        for (id, epoch) in waited_for {
            let began = self.began.get(id).copied();
            let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.epoch() == *epoch) else { continue };
            match entry.job.task {
                Task::Recovery(_) => {
                    let soonest = began.map_or(now, |began| now.max(began + self.policy.initial_delay));
                    entry.due = entry.due.min(soonest);
                }
                Task::Opinion { .. } | Task::EarlyReturn { .. } => {}
            }
        }
    }

    /// Notes that a conversation passed. `None` if it counts for no job. The job stays until a list without it comes; if none
    /// comes, because the news was lost, the endpoint is talked to again after a pause.
    pub fn passed(&mut self, endpoint: &EndpointId, epoch: Epoch, now: Moment) -> Option<Passed> {
        let policy = self.policy;
        let entry = self.ended(endpoint, epoch)?;
        entry.doubts = 0;
        match entry.job.task {
            Task::Recovery(_) => {
                entry.due = now + policy.initial_delay;
                let verifications = self.count(endpoint);
                let step = self.step_after_a_relapse(endpoint, verifications);
                Some(Passed::Recovered { verifications, step })
            }
            Task::Opinion { .. } => {
                entry.due = now + policy.initial_delay;
                Some(Passed::Fit(AtHome::Opinion))
            }
            Task::EarlyReturn { .. } => {
                entry.due = now + policy.interval_account;
                Some(Passed::Fit(AtHome::EarlyReturn))
            }
        }
    }

    /// Notes that a conversation failed, and plans the next one. `None` if it counts for no job.
    pub fn failed(&mut self, endpoint: &EndpointId, epoch: Epoch, now: Moment, chance: f64) -> Option<Failed> {
        let policy = self.policy;
        let began = self.began.get(endpoint).copied().unwrap_or(now);
        let entry = self.ended(endpoint, epoch)?;
        match entry.job.task {
            Task::Recovery(Recovery { reason, .. }) => {
                entry.step = entry.step.saturating_add(1);
                let next_in = policy.delay(reason, entry.step, chance);
                let (step, next) = (entry.step, now + next_in);
                entry.due = next;
                let verifications = self.count(endpoint);
                Some(Failed::StillFailing(Finished { step, verifications, began, next_in, next }))
            }
            Task::Opinion { .. } => {
                entry.doubts = entry.doubts.saturating_add(1);
                if entry.doubts < OPINIONS {
                    entry.due = now;
                    return Some(Failed::OnceMore);
                }
                entry.doubts = 0;
                entry.due = now + policy.initial_delay;
                Some(Failed::Unfit)
            }
            Task::EarlyReturn { .. } => {
                let next_in = policy.early_return(chance);
                entry.due = now + next_in;
                Some(Failed::StillExhausted { next_in })
            }
        }
    }

    /// Forgets the progress of all endpoints but `known`. These include endpoints that left while they were isolated, as long
    /// as that is remembered: should they come back, their delays and counts go on. Any other endpoint has neither to continue:
    /// a later isolation is no relapse, and counts anew.
    pub fn forget_others(&mut self, known: &BTreeSet<EndpointId>) {
        let Self { entries, reached, counts, .. } = self;
        reached.retain(|id, _| known.contains(id));
        // The list without it may not have come yet.
        counts.retain(|id, _| known.contains(id) || entries.contains_key(id));
    }

    /// When the next conversation that could start is due; `None` if there is nothing to wait for but running ones.
    pub fn next_due(&self) -> Option<Moment> {
        if self.running() >= self.policy.concurrency {
            return None;
        }
        let waiting = self.entries.iter().filter(|(id, entry)| !entry.running && !self.unlisted.contains_key(*id));
        waiting.map(|(_, entry)| entry.due).min()
    }

    /// The progress of the conversations with each listed endpoint.
    pub fn progress(&self) -> impl Iterator<Item = (&EndpointId, Progress)> {
        self.entries.iter().map(|(id, Entry { job, due, running, .. })| {
            let verifications = match job.task {
                Task::Recovery(_) => self.counts.get(id).map_or(0, |count| count.verifications),
                Task::Opinion { .. } | Task::EarlyReturn { .. } => 0,
            };
            let next = (!running).then_some(*due);
            (id, Progress { epoch: job.subject.epoch, purpose: job.task.purpose(), verifications, next })
        })
    }

    /// How often each endpoint was verified since its latest isolation, whether or not it has recovered since.
    pub fn counts(&self) -> &BTreeMap<EndpointId, Count> {
        &self.counts
    }

    /// How many conversations are under way.
    pub fn running(&self) -> usize {
        self.entries.values().filter(|entry| entry.running).count() + self.unlisted.len()
    }

    /// The epoch in which a conversation with this endpoint is under way.
    fn conversation_with(&self, id: &EndpointId) -> Option<Epoch> {
        let listed = self.entries.get(id).filter(|entry| entry.running).map(Entry::epoch);
        listed.or_else(|| self.unlisted.get(id).map(|subject| subject.epoch))
    }

    /// The task that a conversation under way counts for. `None` if it counts for none, such as one that an admin wanted with an
    /// endpoint in its home queue.
    pub fn counts_for(&self, id: &EndpointId, epoch: Epoch) -> Option<Task> {
        let entry = self.entries.get(id).filter(|entry| entry.running && entry.epoch() == epoch)?;
        Some(entry.job.task)
    }

    /// Notes a conversation's end. Returns the entry for which it counts, if any.
    fn ended(&mut self, id: &EndpointId, epoch: Epoch) -> Option<&mut Entry> {
        if self.unlisted.get(id).is_some_and(|subject| subject.epoch == epoch) {
            self.unlisted.remove(id);
            return None;
        }
        let entry = self.entries.get_mut(id).filter(|entry| entry.running && entry.epoch() == epoch)?;
        entry.running = false;
        Some(entry)
    }

    /// The step from which an endpoint's delays go on should it relapse after this pass. If it passed at the first try, a relapse
    /// shows that its conversations prove too little, and no failed one lengthens the delay. So the step grows here, lest the
    /// endpoint get traffic again and again after the first delay.
    fn step_after_a_relapse(&mut self, id: &EndpointId, verifications: u32) -> u32 {
        let Some(entry) = self.entries.get_mut(id) else { return 0 };
        if verifications == 1 {
            entry.step = entry.step.saturating_add(1);
        }
        entry.step
    }

    /// Counts the verifications of this isolation from now on. An endpoint that was switched off and on, or is another service
    /// now, keeps its count; `before` is the count of the last run.
    fn count_for(&mut self, endpoint: &SharedEndpoint, isolated_at: Moment, before: u32) {
        let known = self.counts.get(&endpoint.id).filter(|count| count.isolated_at == isolated_at);
        let verifications = known.map_or(before, |count| count.verifications);
        let count = Count { endpoint: Arc::clone(endpoint), isolated_at, verifications };
        self.counts.insert(endpoint.id.clone(), count);
    }

    fn count(&mut self, id: &EndpointId) -> u32 {
        let Some(count) = self.counts.get_mut(id) else { return 0 };
        count.verifications = count.verifications.saturating_add(1);
        count.verifications
    }
}

impl Entry {
    fn epoch(&self) -> Epoch {
        self.job.subject.epoch
    }

    fn conversation(&self) -> Option<Conversation> {
        self.running.then(|| self.job.subject.conversation())
    }

    /// Remembers how far an isolated endpoint had come.
    fn leave_to(&self, reached: &mut BTreeMap<EndpointId, u32>) {
        match self.job.task {
            Task::Recovery(_) => {
                reached.insert(self.job.subject.endpoint.id.clone(), self.step);
            }
            Task::Opinion { .. } | Task::EarlyReturn { .. } => {}
        }
    }

    /// Takes over what a newer list says about the same task. The returned conversation is void.
    fn refresh(&mut self, job: &VerifyJob, now: Moment) -> Option<Conversation> {
        let is_now_urgent = job.task.is_urgent() && !self.job.task.is_urgent();
        // A whole answer says nothing about streams, nor one model's silence about others: neither settles what is doubted now.
        let (before, now_asked) = (&self.job.subject, &job.subject);
        let is_another_question = before.manner < now_asked.manner || before.suffices < now_asked.suffices;
        let void = if is_another_question { self.conversation() } else { None };
        self.job = job.clone();
        if void.is_some() {
            self.running = false;
        }
        if void.is_some() || is_now_urgent {
            self.due = now;
        }
        void
    }
}

#[cfg(test)]
mod tests;
