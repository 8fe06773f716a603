//! The registry's core: joins the queues, the leases and the choice. Everything that happens to an endpoint happens here,
//! one input after the other.
//!
//! Inputs are methods; what follows from them for others is left as [`Effect`]s, which the actor carries out in order.

mod effects;
mod invariants;
mod moves;
mod pool;
mod search;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use effects::{Effect, Grant, MoveNote, Observation, Outputs};
pub use view::{EndpointView, RegistryView};

use super::audit::Audit;
use super::breaker::Judgement;
use super::endpoint::Protocol;
use super::epoch::EpochReader;
use super::ids::{EndpointId, Epoch, ProfileId, Serial, Ticket};
use super::journal::{Entry, Journal};
use super::leases::Leases;
use super::outcome::{ErrorNote, Outcome, Report};
use super::queues::{Evidence, Member, Queues};
use super::time::Moment;
use pool::Pool;
use search::Search;

/// Which endpoints can serve a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// An LLM path: endpoints of its protocol, chosen by load.
    Llm(Protocol),
    /// Another path: endpoints of any protocol, always the first usable one, so that what is stored with one account is
    /// found there again.
    Other,
}

/// What a request asks of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Whose endpoints.
    pub profile: ProfileId,
    /// What they must be able to do.
    pub service: Service,
    /// The model that the client named.
    pub model: Option<Arc<str>>,
    /// Endpoints that this request has given up on.
    pub given_up: Vec<EndpointId>,
    /// No attempt starts later than this.
    pub deadline: Moment,
}

/// A request that waits for a verdict on the endpoint that it would get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(u64);

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Acquired {
    /// One attempt's permission to use one endpoint.
    Granted(Grant),
    /// The endpoints of the best rank are held: an [`Effect`] for this waiter follows.
    Waiting(WaiterId),
    /// No endpoint can be had.
    Refused(NoEndpoint),
}

/// Why no endpoint can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// No endpoint of the profile serves the path.
    PathUnserved,
    /// Those that serve the path don't serve the model.
    ModelUnserved,
    /// Those that do are isolated, or some of them switched off, and none is left.
    Isolated {
        /// Those of them that are isolated.
        isolated: Vec<EndpointId>,
        /// How many there are in all.
        total: usize,
        /// Whether every isolation is one that only the operator can mend.
        needs_operator: bool,
    },
    /// All that are left have as many attempts under way as they may.
    Full {
        /// How many these are.
        usable: usize,
    },
    /// Those that do are all switched off.
    SwitchedOff {
        /// How many these are.
        total: usize,
    },
    /// The request has given up on every one that is usable.
    GivenUp,
    /// The request's deadline passed while it waited.
    TooLate,
}

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

/// What the registry needs to know of the settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegistryPolicy {
    /// Over how long a recovered endpoint's share grows to its whole.
    pub slow_start: Duration,
    /// How many entries the journal keeps; 0 in production.
    pub journal: usize,
}

#[derive(Debug)]
struct Waiter {
    id: WaiterId,
    ask: Ask,
}

/// A failure whose verdict is awaited.
#[derive(Debug)]
struct Pending {
    error: Option<ErrorNote>,
    model: Option<Arc<str>>,
}

/// The owner of every endpoint's standing.
#[derive(Debug)]
pub struct RegistryCore {
    policy: RegistryPolicy,
    queues: Queues,
    leases: Leases,
    audit: Audit,
    pools: BTreeMap<ProfileId, Pool>,
    turns: BTreeMap<EndpointId, f64>,
    pending: HashMap<Serial, Pending>,
    waiters: VecDeque<Waiter>,
    newest_waiter: u64,
    last_served: Option<EndpointId>,
    journal: Journal,
}

impl RegistryCore {
    /// A registry without endpoints; [`Self::apply`] brings them.
    pub fn new(policy: RegistryPolicy) -> Self {
        Self {
            policy,
            queues: Queues::default(),
            leases: Leases::default(),
            audit: Audit::default(),
            pools: BTreeMap::new(),
            turns: BTreeMap::new(),
            pending: HashMap::new(),
            waiters: VecDeque::new(),
            newest_waiter: 0,
            last_served: None,
            journal: Journal::new(policy.journal),
        }
    }

    /// What was done, in order, as far as it is kept.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What other threads see of the epoch clock.
    pub fn epochs(&self) -> EpochReader {
        self.queues.epochs()
    }

    /// Gives a request an endpoint, has it wait for a verdict, or refuses it.
    pub fn acquire(&mut self, ask: Ask, now: Moment, out: &mut Outputs) -> Acquired {
        self.report_excluded(&ask.profile, out);
        let acquired = match self.search(&ask, now) {
            Search::Found { endpoint, next_turn } => match self.grant(&endpoint, next_turn) {
                Some(grant) => Acquired::Granted(grant),
                None => Acquired::Refused(NoEndpoint::PathUnserved),
            },
            Search::Held => {
                self.newest_waiter += 1;
                let id = WaiterId(self.newest_waiter);
                self.waiters.push_back(Waiter { id, ask });
                Acquired::Waiting(id)
            }
            Search::Nothing(why) => Acquired::Refused(why),
        };
        self.check_invariants();
        acquired
    }

    /// Takes in a lease's end. The second report of the same lease changes nothing; one of another epoch only ends the lease.
    pub fn settle(&mut self, settlement: Settlement, out: &mut Outputs) {
        let Settlement { ticket, report: Report { outcome, error, .. }, model, written_at } = settlement;
        if self.leases.close(ticket.serial).is_none() {
            return;
        }
        self.check_for_leak(&ticket, written_at, out);
        let is_current = self.queues.get(&ticket.endpoint).is_some_and(|member| member.epoch() == ticket.epoch);
        if is_current {
            match outcome {
                Outcome::Success => {
                    self.queues.note_served(&ticket.endpoint);
                    self.last_served = Some(ticket.endpoint.clone());
                    out.push(Effect::Observe(Observation { ticket, outcome }));
                }
                Outcome::Failure(_) | Outcome::Fatal(_) => {
                    if self.queues.hold(&ticket.endpoint, ticket.epoch, ticket.serial) {
                        self.pending.insert(ticket.serial, Pending { error, model });
                        out.push(Effect::Observe(Observation { ticket, outcome }));
                    }
                }
                Outcome::Neutral | Outcome::Cancelled => {}
            }
        }
        self.check_invariants();
    }

    /// Takes in the breaker's verdict on a failure: the hold ends, and if it is enough the endpoint is isolated.
    pub fn judge(&mut self, ticket: &Ticket, judgement: Judgement, now: Moment, out: &mut Outputs) {
        let Some(Pending { error, model }) = self.pending.remove(&ticket.serial) else { return };
        self.queues.release(&ticket.endpoint, ticket.serial);
        match judgement {
            Judgement::Keep => {}
            Judgement::Trip { reason, failures } => {
                let evidence = Evidence { reason, failures, error, model };
                self.isolate(&ticket.endpoint, ticket.epoch, evidence, None, now, out);
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

    /// Refuses waiters whose deadline has passed.
    pub fn expire(&mut self, now: Moment, out: &mut Outputs) {
        self.waiters.retain(|waiter| {
            let in_time = now < waiter.ask.deadline;
            if !in_time {
                out.push(Effect::Refused(waiter.id, NoEndpoint::TooLate));
            }
            in_time
        });
        self.check_invariants();
    }

    /// Forgets a waiter whose client has left.
    pub fn leave(&mut self, waiter: WaiterId) {
        self.waiters.retain(|waiting| waiting.id != waiter);
    }

    /// Looks at all waiters again, first come first served.
    fn look_at_waiters(&mut self, now: Moment, out: &mut Outputs) {
        for waiter in std::mem::take(&mut self.waiters) {
            match self.search(&waiter.ask, now) {
                Search::Held => self.waiters.push_back(waiter),
                Search::Nothing(why) => out.push(Effect::Refused(waiter.id, why)),
                Search::Found { endpoint, next_turn } => out.push(match self.grant(&endpoint, next_turn) {
                    Some(grant) => Effect::Granted(waiter.id, grant),
                    None => Effect::Refused(waiter.id, NoEndpoint::PathUnserved),
                }),
            }
        }
    }

    fn grant(&mut self, endpoint: &EndpointId, next_turn: f64) -> Option<Grant> {
        let member = self.queues.get(endpoint)?;
        self.turns.insert(endpoint.clone(), next_turn);
        let ticket = self.leases.open(|serial| Ticket { endpoint: endpoint.clone(), epoch: member.epoch(), serial });
        if self.journal.is_kept() {
            self.journal.push(Entry::Leased { endpoint: endpoint.clone(), epoch: ticket.epoch });
        }
        Some(Grant { endpoint: Arc::clone(member.endpoint()), gate: member.gate().clone(), ticket })
    }

    fn check_for_leak(&mut self, ticket: &Ticket, written_at: Option<Epoch>, out: &mut Outputs) {
        if let Some(written_at) = written_at
            && self.audit.check(&ticket.endpoint, written_at)
        {
            out.push(Effect::Leaked(ticket.clone()));
        }
        if self.leases.in_flight(&ticket.endpoint) == 0 {
            self.audit.forget_ended(&ticket.endpoint);
        }
    }

    /// Tells when the number of isolated endpoints that a selection leaves out has changed.
    fn report_excluded(&mut self, profile: &ProfileId, out: &mut Outputs) {
        let Some(pool) = self.pools.get_mut(profile) else { return };
        let excluded = pool.excluded(&self.queues);
        if pool.reported_excluded != excluded {
            pool.reported_excluded = excluded;
            out.push(Effect::Filtered { profile: profile.clone(), excluded });
        }
    }
}

#[cfg(test)]
mod tests;
