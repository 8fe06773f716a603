//! The real cores and the queues between them. What the actors do with messages is done here by hand, in the same order:
//! the breakers' and the verifier's mailboxes are queues of their own, and chance decides whose turn it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fastrand::Rng;
use qcc_gateway::domain::breaker::{BreakerBank, BreakerPolicy, Ruling};
use qcc_gateway::domain::challenge::{Challenge, Code, RecoveryProof};
use qcc_gateway::domain::endpoint::{Endpoint, Protocol};
use qcc_gateway::domain::ids::{EndpointId, Epoch, ProfileId, Serial, Ticket};
use qcc_gateway::domain::outcome::{ErrorNote, FailureKind};
use qcc_gateway::domain::registry::{Grant, Observation, Outputs, RegistryCore, RegistryPolicy, WaiterId};
use qcc_gateway::domain::schedule::{AtHome, Finished, Schedule, SchedulePolicy, Subject, VerifyJob};
use qcc_gateway::domain::time::Moment;
use qcc_gateway::domain::topology::Topology;

use super::chance;
use super::counts::Counts;
use super::effects::Followed;
use super::ends::Weather;
use super::journeys::{Journey, JourneyId};
use super::policies;
use super::restart::Disk;
use super::shadow::Shadow;
use super::trace::Trace;

pub(crate) const ADMIN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A granted lease, as a worker holds it.
pub(crate) struct Lease {
    pub(crate) grant: Grant,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) written_at: Option<Epoch>,
    /// Its client left before it came: it will only be dropped.
    pub(crate) abandoned: bool,
    /// Of which request it is an attempt, if that has a plan.
    pub(crate) journey: Option<JourneyId>,
}

/// Who takes the answer to a request for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taker {
    /// A request with a plan.
    Journey(JourneyId),
    /// One that chance made up, as it may be in the midst of its attempts.
    Nobody,
    /// The client has left meanwhile.
    WhoHasLeft,
}

pub(crate) enum ToVerifier {
    FailureList(Vec<VerifyJob>),
    Hasten(Vec<Conversation>),
    Converse(Subject),
    SetPolicy(SchedulePolicy),
    ForgetOthers(BTreeSet<EndpointId>),
}

/// What the verifier tells the registry, but for proofs, of which there can be no second copy.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Fit { id: EndpointId, epoch: Epoch, purpose: AtHome, model: Option<Arc<str>> },
    StillExhausted { id: EndpointId, epoch: Epoch, model: Option<Arc<str>> },
    Unfit { id: EndpointId, epoch: Epoch, error: ErrorNote },
    StillFailing { id: EndpointId, epoch: Epoch, finished: Finished },
}

/// A message in the breakers' mailbox.
pub(crate) enum ToBreakers {
    Observe(Observation, Moment),
    Retract(Ticket),
    SetPolicy(BreakerPolicy),
    ForgetOthers(BTreeSet<EndpointId>),
}

/// A conversation under way.
pub(crate) struct Talk {
    pub(crate) challenge: Challenge,
    pub(crate) code: Code,
    pub(crate) protocol: Protocol,
    /// The model in question.
    pub(crate) model: Option<Arc<str>>,
}

pub(crate) type Conversation = (EndpointId, Epoch);

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Moment,
    /// When the present process began.
    pub(crate) began: Moment,
    pub(crate) steps: u32,
    pub(crate) policy: RegistryPolicy,
    pub(crate) trace: Trace,
    pub(crate) weather: Weather,
    /// Whether no message is lost, or comes twice, in all of the run.
    pub(crate) is_faithful: bool,
    /// Whether messages that may be lost are lost now and then.
    pub(crate) lossy: bool,

    pub(crate) core: RegistryCore,
    pub(crate) shadow: Shadow,
    pub(crate) disk: Disk,
    pub(crate) settings: BTreeMap<EndpointId, Endpoint>,
    /// The profiles that are known to have nothing usable, of which protocol.
    pub(crate) outages: BTreeSet<(ProfileId, Protocol)>,
    /// Of those who wait, whose client has left; nobody has noticed yet.
    pub(crate) left: BTreeSet<WaiterId>,

    pub(crate) breaker_policy: BreakerPolicy,
    pub(crate) bank: BreakerBank,
    pub(crate) counts: Counts,

    pub(crate) schedule: Schedule,
    pub(crate) talks: BTreeMap<Conversation, Talk>,
    /// Those of them in which nothing will ever come.
    pub(crate) hung: BTreeSet<Conversation>,
    /// When the latest conversation with each endpoint began.
    pub(crate) conversed: BTreeMap<EndpointId, Moment>,
    /// In which epochs which endpoints have truly sent the code back.
    pub(crate) passed: BTreeSet<Conversation>,

    pub(crate) journeys: BTreeMap<JourneyId, Journey>,
    pub(crate) next_journey: JourneyId,
    /// Those of them that wait for an endpoint.
    pub(crate) waiting: BTreeMap<WaiterId, JourneyId>,
    /// Those of them that await the verdict on a failure, and whether they end with it.
    pub(crate) awaiting_verdict: BTreeMap<Serial, (JourneyId, bool)>,
    /// The failures that have isolated their endpoints.
    pub(crate) isolating: BTreeSet<Serial>,

    pub(crate) leases: Vec<Lease>,
    /// Those that are never settled: neither their endpoint nor their client ever lets go.
    pub(crate) stuck: Vec<Lease>,
    /// Tickets of leases that are over: whoever still speaks of them brings stale news.
    pub(crate) past: Vec<Ticket>,
    /// Those of them that failed.
    pub(crate) failed: Vec<(Ticket, FailureKind)>,

    pub(crate) to_breakers: VecDeque<ToBreakers>,
    /// Apart from the others, because no order of the two may matter.
    pub(crate) resets: VecDeque<(EndpointId, Epoch)>,
    pub(crate) verdicts: VecDeque<(Ticket, Ruling)>,
    pub(crate) to_verifier: VecDeque<ToVerifier>,
    pub(crate) proofs: VecDeque<RecoveryProof>,
    pub(crate) news: VecDeque<News>,
    /// News that was delivered: it may come again.
    pub(crate) old_news: Vec<News>,
    /// Proofs that the verifier would keep to itself, of endpoints that were not isolated when they were asked.
    pub(crate) kept_proofs: Vec<RecoveryProof>,
}

/// Of how many looks one is also at what a restart would find.
const RESTART_EVERY: u32 = 32;

/// Of how many runs one loses nothing.
const FAITHFUL_EVERY: u64 = 4;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let breaker_policy = policies::breaker(&mut rng);
        let schedule_policy = policies::schedule(&mut rng);
        let registry_policy = policies::registry(&mut rng);
        let weather = Weather { faults: [5, 20, 60][rng.usize(..3)], overloads: [0, 0, 0, 80][rng.usize(..4)] };
        let is_faithful = seed.is_multiple_of(FAITHFUL_EVERY);
        let mut world = Self {
            rng,
            now: Moment::START,
            began: Moment::START,
            steps: 0,
            policy: registry_policy,
            trace: Trace::new(seed),
            weather,
            is_faithful,
            lossy: !is_faithful,
            core: RegistryCore::new(registry_policy),
            shadow: Shadow::new(registry_policy),
            disk: Disk::default(),
            settings: BTreeMap::new(),
            outages: BTreeSet::new(),
            left: BTreeSet::new(),
            breaker_policy,
            bank: BreakerBank::default(),
            counts: Counts::default(),
            schedule: Schedule::new(schedule_policy),
            talks: BTreeMap::new(),
            hung: BTreeSet::new(),
            conversed: BTreeMap::new(),
            passed: BTreeSet::new(),
            journeys: BTreeMap::new(),
            next_journey: 0,
            waiting: BTreeMap::new(),
            awaiting_verdict: BTreeMap::new(),
            isolating: BTreeSet::new(),
            leases: Vec::new(),
            stuck: Vec::new(),
            past: Vec::new(),
            failed: Vec::new(),
            to_breakers: VecDeque::new(),
            resets: VecDeque::new(),
            verdicts: VecDeque::new(),
            to_verifier: VecDeque::new(),
            proofs: VecDeque::new(),
            news: VecDeque::new(),
            old_news: Vec::new(),
            kept_proofs: Vec::new(),
        };
        for id in chance::all_ids() {
            if !chance::one_in(&mut world.rng, 4) {
                world.settings.insert(id.clone(), chance::endpoint(&mut world.rng, id));
            }
        }
        world.apply();
        world
    }

    /// Has the registry take over the present settings.
    pub(crate) fn apply(&mut self) {
        let topology = Arc::new(Topology::new(self.settings.values().cloned()));
        let mut effects = Outputs::new();
        let quarantined = self.shadow.quarantined();
        let remembered = self.shadow.apply(&self.settings);
        if remembered {
            self.trace.met("one that was isolated when it was removed");
        }
        let diff = self.core.apply(topology, self.now, &mut effects);
        self.outages.retain(|(profile, _)| self.shadow.summary(profile).0 > 0);
        let came_isolated = self.shadow.isolated().into_iter().filter(|id| !quarantined.contains(id)).collect();
        assert_eq!(self.carry_out(effects, 1), Followed { isolated: came_isolated, ..Followed::default() });
        if !diff.removed.is_empty() {
            let known = self.core.known();
            assert!(self.shadow.is_known(&known), "{known:?}");
            self.to_breakers.push_back(ToBreakers::ForgetOthers(known.clone()));
            self.to_verifier.push_back(ToVerifier::ForgetOthers(known));
        }
        self.check();
    }

    pub(crate) fn publish_failures(&mut self) {
        self.to_verifier.push_back(ToVerifier::FailureList(self.core.conversations(self.now)));
    }

    /// Holds everything that can be seen against the shadow.
    pub(crate) fn check(&mut self) {
        self.core.check_invariants();
        let view = self.core.view(self.now);
        self.shadow.compare(&view, self.now);
        self.shadow.compare_conversations(&self.core.conversations(self.now), self.now);
        self.check_waiters();
        self.check_haste();
        self.steps += 1;
        self.check_disk(&view);
        if self.steps.is_multiple_of(RESTART_EVERY) {
            self.check_restart(&view);
        }
        for endpoint in &view.endpoints {
            self.trace.fold(&(endpoint.standing, endpoint.epoch, endpoint.in_flight, endpoint.held));
        }
    }

    /// Those for whom requests are parked, with nothing usable, are verified soon: what the registry expects of the verifier is what
    /// that does.
    fn check_haste(&self) {
        let is_told = self.to_verifier.is_empty() && self.news.is_empty() && self.proofs.is_empty();
        if !self.is_faithful || !is_told {
            return;
        }
        for id in self.shadow.awaited(self.now) {
            let again = self.conversed.get(&id).map(|began| *began + policies::INITIAL_DELAY);
            // The registry does not know what chance adds to the first delay.
            let soon =
                again.map_or(self.now, |again| again.max(self.now)) + policies::INITIAL_DELAY.mul_f64(policies::JITTER);
            let progress = self.schedule.progress().find(|(listed, _)| **listed == id).map(|(_, progress)| progress);
            let is_soon = progress.as_ref().is_some_and(|progress| progress.next.is_none_or(|next| next <= soon));
            assert!(
                is_soon,
                "requests are parked for {id}, and its verification is not near: {progress:?} at {:?}",
                self.now
            );
        }
    }

    /// Until the clock has to be looked at, nobody waits in vain, and nobody waits who could be served.
    fn check_waiters(&self) {
        let wake = self.core.next_wake();
        assert_eq!(wake.is_some(), !self.shadow.waiters().is_empty(), "when the clock has to be looked at");
        for waiter in self.shadow.waiters() {
            assert!(wake.is_some_and(|wake| wake <= waiter.ask.deadline), "nobody would wake {:?} in time", waiter.id);
            let is_due = wake.is_some_and(|wake| wake <= self.now);
            let is_right = is_due || self.shadow.may_wait(waiter, self.now);
            assert!(is_right, "{:?} waits for nothing: {:?}", waiter.id, waiter.ask);
        }
    }
}
