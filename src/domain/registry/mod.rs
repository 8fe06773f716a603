//! The registry's core: joins the queues, the leases and the choice. Everything that happens to an endpoint happens here,
//! one input at a time.
//!
//! Inputs are methods; their consequences for others are left as [`Effect`]s, which the actor carries out in order.

mod ask;
mod clients;
mod conclusions;
mod dearth;
mod doubts;
mod effects;
mod fork;
mod invariants;
mod jobs;
mod keeping;
mod lanes;
mod moves;
mod pick;
mod pool;
mod search;
mod supply;
mod verifications;
mod view;
mod waiters;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use ask::{Acquired, Ask, Limit, NoEndpoint, Reach, Service, Tried, Turn, WaiterId};
pub use effects::{Effect, Grant, Keep, MoveNote, Observation, Outputs};
pub use supply::Supplies;
pub use view::{CooldownView, EndpointView, RegistryView};

use super::audit::Audit;
use super::breaker::Ruling;
use super::budget::{BudgetPolicy, RetryBudget};
use super::cooling::{Cooldown, Cooling, CoolingPolicy, Throttled};
use super::epoch::EpochReader;
use super::events::{Event, EventKind};
use super::ids::{ClientId, Epoch, ProfileId, Serial, Ticket};
use super::journal::{Entry, Journal};
use super::leases::{Leases, OpenLease};
use super::opinions::{Fingerprint, Opinions};
use super::outcome::{ErrorNote, Outcome, Reason, Report};
use super::queues::{Evidence, Member, Queues};
use super::schedule::Suffices;
use super::sessions::{AffinityPolicy, Sessions};
use super::slots::{BySlot, Slot};
use super::throttle::Throttle;
use super::time::{Moment, whole_millis};
use keeping::Kept;
use lanes::Lanes;
use pool::Pool;
use search::Found;
use verifications::Verifications;
use waiters::{LeaseEnd, Waiters};

/// A lease's end, as reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which lease.
    pub ticket: Ticket,
    /// How the attempt ended.
    pub report: Report,
    /// The model that was asked for.
    pub model: Option<Arc<str>>,
    /// Where the epoch clock stood when the request's first byte was written; `None` if nothing was.
    pub written_at: Option<Epoch>,
}

/// The settings that the registry needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegistryPolicy {
    /// How long a recovered endpoint's share takes to grow to its whole.
    pub slow_start: Duration,
    /// The time from an isolation to its first verification, and the least time between two hastened ones.
    pub initial_delay: Duration,
    /// How long cooldowns last.
    pub cooling: CoolingPolicy,
    /// How long sessions stay bound.
    pub affinity: AffinityPolicy,
    /// How many further retries there may be.
    pub budget: BudgetPolicy,
    /// How many requests may be parked.
    pub park_max: usize,
    /// How many entries the journal keeps; 0 in production.
    pub journal: usize,
}

/// A failure whose verdict is awaited.
#[derive(Clone, Debug)]
struct Pending {
    error: Option<ErrorNote>,
    model: Option<Arc<str>>,
    doubt: Doubt,
}

/// Whether a failure may be its request's own.
#[derive(Clone, Copy, Debug)]
enum Doubt {
    /// No such doubt has been raised.
    None,
    /// It may be the fault of this request.
    Raised(Option<Fingerprint>),
}

/// The owner of every endpoint's standing.
#[derive(Debug)]
pub struct RegistryCore {
    policy: RegistryPolicy,
    queues: Queues,
    leases: Leases,
    audit: Audit,
    pools: BTreeMap<ProfileId, Pool>,
    profile_of: BTreeMap<ClientId, ProfileId>,
    lanes: Lanes,
    turns: BySlot<f64>,
    pending: HashMap<Serial, Pending>,
    cooling: BySlot<Cooling>,
    sessions: Sessions,
    budget: RetryBudget,
    opinions: Opinions,
    verifications: Verifications,
    /// What was known before the start, kept until its endpoints arrive.
    before: Kept,
    waiters: Waiters,
    /// Whether the gateway is stopping: no further request is parked.
    stopping: bool,
    last_served: Option<Slot>,
    journal: Journal,
}

impl RegistryCore {
    /// A registry without endpoints; [`Self::apply`] adds them.
    pub fn new(policy: RegistryPolicy) -> Self {
        Self {
            queues: Queues::default(),
            leases: Leases::default(),
            audit: Audit::default(),
            pools: BTreeMap::new(),
            profile_of: BTreeMap::new(),
            lanes: Lanes::default(),
            turns: BySlot::default(),
            pending: HashMap::new(),
            cooling: BySlot::default(),
            sessions: Sessions::new(&policy.affinity),
            budget: RetryBudget::default(),
            opinions: Opinions::default(),
            verifications: Verifications::default(),
            before: Kept::default(),
            waiters: Waiters::default(),
            stopping: false,
            last_served: None,
            journal: Journal::new(policy.journal),
            policy,
        }
    }

    /// What was done, in order, as far back as it is kept.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A reader of the epoch clock for other threads.
    pub fn epochs(&self) -> EpochReader {
        self.queues.epochs()
    }

    /// Gives a request an endpoint, makes it wait, or refuses it.
    pub fn acquire(&mut self, mut ask: Ask, now: Moment, out: &mut Outputs) -> Acquired {
        self.readdress(&mut ask);
        self.note_what_is_asked(&ask, out);
        if self.next_wake().is_some_and(|wake| wake <= now) {
            // Requests that waited for this moment come first.
            self.look_at_waiters_for_the_clock(now, out);
        }
        if ask.turn == Turn::First {
            self.budget.request(&ask.client, now);
        }
        let acquired = self.grant_or_wait(ask, now, out);
        self.check_invariants();
        acquired
    }

    /// Takes in a lease's end. A second report of the same lease changes nothing; one of another epoch only ends the lease.
    pub fn settle(&mut self, settlement: Settlement, now: Moment, out: &mut Outputs) {
        let Settlement { ticket, report, model, written_at } = settlement;
        let Some(lease) = self.leases.close(ticket.serial) else { return };
        let member = self.queues.at(lease.slot);
        let bound = member.and_then(|member| member.endpoint().max_in_flight);
        let is_current = member.is_some_and(|member| member.epoch() == ticket.epoch);
        let rests = report.throttle.is_some();
        self.check_for_leak(&ticket, &lease, written_at, out);
        if let Some(session) = lease.origin.session() {
            self.sessions.used(session, &model, lease.slot, report.outcome == Outcome::Success, now);
        }
        if is_current {
            self.take_in(ticket, &lease, report, model, now, out);
        }
        self.reseat(lease.slot, now);
        // The lease's end may have made room, or put its endpoint into a cooldown. Nothing else helps a waiting request,
        // and no newcomer may be served before the waiting ones.
        if !self.waiters.is_empty() {
            if rests {
                self.look_at_waiters(now, out);
            } else if let Some(most) = bound {
                let had_room = self.leases.in_flight(lease.slot).saturating_add(1) < most.get();
                let ended = LeaseEnd { slot: lease.slot, had_room };
                self.look_at_waiters_for_room(&ended, now, out);
            }
        }
        self.check_invariants();
    }

    fn take_in(
        &mut self,
        ticket: Ticket,
        lease: &OpenLease,
        report: Report,
        model: Option<Arc<str>>,
        now: Moment,
        out: &mut Outputs,
    ) {
        let Report { outcome, error, throttle, opinion } = report;
        match outcome {
            Outcome::Success => {
                self.note_proven(lease.slot, out);
                self.last_served = Some(lease.slot);
                if let Some(cooling) = self.cooling.get_mut(lease.slot) {
                    cooling.success(model.as_ref());
                }
                out.push(Effect::Observe(Observation { ticket, outcome }));
            }
            Outcome::Failure(_) | Outcome::Fatal(_) => {
                if self.queues.hold(&ticket.endpoint, ticket.epoch, ticket.serial) {
                    self.pending.insert(ticket.serial, Pending { error, model, doubt: Doubt::None });
                    out.push(Effect::Observe(Observation { ticket, outcome }));
                }
            }
            Outcome::Neutral | Outcome::Cancelled => {
                if let Some(reason) = opinion {
                    self.ask_for_opinion(&ticket, reason, model.clone(), error.clone(), None, now, out);
                }
                if let Some(throttle) = throttle {
                    self.throttle(&ticket, lease, throttle, (model, error), now, out);
                }
            }
        }
    }

    /// An answer reports a limit or an overload: its endpoint (the one the lease was for) starts a cooldown, or has been
    /// overloaded for too long.
    fn throttle(
        &mut self,
        ticket: &Ticket,
        lease: &OpenLease,
        throttle: Throttle,
        (model, error): (Option<Arc<str>>, Option<ErrorNote>),
        now: Moment,
        out: &mut Outputs,
    ) {
        let policy = self.policy.cooling;
        let is_used_up = |cooldown: &Cooldown| super::cooling::is_exhausted(cooldown, &policy);
        let cooling = self.cooling.get_or_default(lease.slot);
        let was_exhausted = cooling.now(model.as_ref(), now).is_some_and(|cooldown| is_used_up(&cooldown));
        out.push(Effect::Keep(Keep::Soon));
        let throttled = cooling.throttle(model.as_ref(), throttle, lease.origin, lease.since, now, &policy);
        self.reseat(lease.slot, now);
        match throttled {
            // Lengthening a cooldown is news only if that turns it into a used-up window.
            Throttled::Rests(cooldown) if cooldown.since == now || (is_used_up(&cooldown) && !was_exhausted) => {
                let is_exhausted = is_used_up(&cooldown);
                let kind = if is_exhausted { EventKind::Exhausted } else { EventKind::Cooldown };
                let mut event = Event::new(kind, now, &ticket.endpoint);
                event.epoch = Some(ticket.epoch);
                event.model = model.as_deref().map(ToOwned::to_owned);
                event.detail = Some(cooldown.reason.as_str().to_owned());
                event.ms = Some(whole_millis(cooldown.until.since(now)));
                out.push(Effect::Note(event, MoveNote::None));
                if is_exhausted {
                    out.push(Effect::PublishJobs);
                }
            }
            Throttled::Noted | Throttled::Rests(_) => {}
            Throttled::TooLong => {
                // The overload may be of a single model.
                let suffices = Suffices::AnyModel;
                let evidence = Evidence { reason: Reason::Overloaded, failures: 0, error, model, suffices };
                self.isolate(&ticket.endpoint, ticket.epoch, evidence, None, now, out);
                self.look_at_waiters(now, out);
            }
        }
    }

    /// Takes in the breaker's verdict on a failure: the hold ends, and a verdict to trip isolates the endpoint.
    pub fn judge(&mut self, ticket: &Ticket, ruling: Ruling, now: Moment, out: &mut Outputs) {
        let Some(Pending { error, model, doubt }) = self.pending.remove(&ticket.serial) else { return };
        self.queues.release(&ticket.endpoint, ticket.serial);
        if let Some(slot) = self.queues.slot(&ticket.endpoint) {
            self.reseat(slot, now);
        }
        match ruling {
            Ruling::Keep => {}
            Ruling::Trip { reason, failures } => {
                let evidence = Evidence { reason, failures, error, model, suffices: Suffices::ThatModel };
                let isolates = self.isolate(&ticket.endpoint, ticket.epoch, evidence, None, now, out);
                if let (true, Doubt::Raised(request)) = (isolates, doubt) {
                    self.doubt_isolation(ticket, request, now, out);
                }
            }
        }
        out.push(Effect::Judged(ticket.serial));
        self.look_at_waiters(now, out);
        self.check_invariants();
    }

    /// Whether the verdict on this lease's failure is still awaited. If so, [`Effect::Judged`] follows.
    pub fn awaits_verdict(&self, serial: Serial) -> bool {
        self.pending.contains_key(&serial)
    }

    /// Grants what was found, if the retry budget allows it.
    fn grant(&mut self, ask: &Ask, found: &Found, now: Moment) -> Result<Grant, NoEndpoint> {
        let Found { endpoint: slot, next_turn, binds } = *found;
        let member = self.queues.at(slot).ok_or(NoEndpoint::PathUnserved)?;
        let id = &member.endpoint().id;
        let is_elsewhere_for_the_first_time =
            ask.tried.len() <= 1 && ask.tried.iter().all(|tried| tried.endpoint != *id);
        let is_further = match ask.turn {
            Turn::First | Turn::Paced => false,
            Turn::Onward => ask.has_been_at(id),
            Turn::Retry => !is_elsewhere_for_the_first_time,
        };
        if is_further && !self.budget.take(&ask.client, now, &self.policy.budget) {
            return Err(NoEndpoint::BudgetSpent);
        }
        if let Some(next_turn) = next_turn {
            self.turns.insert(slot, next_turn);
        }
        if let (true, true, Some(session)) = (self.policy.affinity.enabled, binds, ask.origin.session()) {
            self.sessions.bind(session, &ask.model, slot, now, &self.policy.affinity);
        }
        let serial = self.leases.open(OpenLease { slot, since: now, origin: ask.origin });
        let ticket = Ticket { endpoint: id.clone(), epoch: member.epoch(), serial };
        if self.journal.is_kept() {
            self.journal.push(Entry::Leased { endpoint: id.clone(), epoch: ticket.epoch });
        }
        let grant = Grant { endpoint: Arc::clone(member.endpoint()), gate: member.gate().clone(), ticket };
        self.reseat(slot, now);
        Ok(grant)
    }

    fn check_for_leak(&mut self, ticket: &Ticket, lease: &OpenLease, written_at: Option<Epoch>, out: &mut Outputs) {
        if let Some(written_at) = written_at
            && self.audit.check(&ticket.endpoint, written_at)
        {
            out.push(Effect::Leaked(ticket.clone()));
        }
        if self.leases.in_flight(lease.slot) == 0 {
            self.audit.forget_ended(&ticket.endpoint);
        }
    }

    /// Reports a change in the number of isolated endpoints that a selection leaves out, and remembers which lanes serve
    /// the model.
    fn note_what_is_asked(&mut self, ask: &Ask, out: &mut Outputs) {
        let Some(pool) = self.pools.get_mut(&ask.profile) else { return };
        pool.learn(ask.model.as_ref(), &self.lanes);
        let excluded = pool.isolated;
        if pool.reported_excluded != excluded {
            pool.reported_excluded = excluded;
            out.push(Effect::Filtered { profile: ask.profile.clone(), excluded });
        }
    }
}

#[cfg(test)]
mod tests;
