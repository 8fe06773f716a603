//! The real cores and the queues between them. What the actors do with messages is done here by hand, in the same order:
//! the breakers' and the verifier's mailboxes are queues of their own, and chance decides whose turn it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use qcc_gateway::domain::breaker::{BreakerBank, BreakerPolicy, Judgement};
use qcc_gateway::domain::challenge::{Challenge, Code, RecoveryProof};
use qcc_gateway::domain::endpoint::{Endpoint, Protocol};
use qcc_gateway::domain::events::EventKind;
use qcc_gateway::domain::ids::{EndpointId, Epoch, Ticket};
use qcc_gateway::domain::registry::{
    Ask, Effect, Grant, NoEndpoint, Observation, Outputs, RegistryCore, RegistryPolicy, WaiterId,
};
use qcc_gateway::domain::schedule::{Schedule, SchedulePolicy, VerifyJob};
use qcc_gateway::domain::time::Moment;
use qcc_gateway::domain::topology::Topology;

use super::chance;
use super::counts::Counts;
use super::shadow::{Answer, Shadow};
use super::trace::Trace;

pub(crate) const ADMIN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A granted lease, as a worker holds it.
pub(crate) struct Lease {
    pub(crate) grant: Grant,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) written_at: Option<Epoch>,
    /// Its client left before it came: it will only be dropped.
    pub(crate) abandoned: bool,
}

/// A request that waits, as the registry's actor knows it.
pub(crate) struct Waiting {
    pub(crate) ask: Ask,
    pub(crate) client_left: bool,
}

pub(crate) enum ToVerifier {
    FailureList(Vec<VerifyJob>),
    Converse(VerifyJob),
}

/// A conversation under way.
pub(crate) struct Talk {
    pub(crate) challenge: Challenge,
    pub(crate) code: Code,
    pub(crate) protocol: Protocol,
}

/// What an input was followed by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    pub(crate) observed: usize,
    pub(crate) judged: usize,
    pub(crate) isolated: Vec<EndpointId>,
    pub(crate) recovered: Vec<EndpointId>,
}

pub(crate) type Conversation = (EndpointId, Epoch);

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Moment,
    pub(crate) trace: Trace,
    /// Of a hundred attempts, how many fail.
    pub(crate) faults: u32,
    /// Whether messages that may be lost are lost now and then.
    pub(crate) lossy: bool,

    pub(crate) core: RegistryCore,
    pub(crate) shadow: Shadow,
    pub(crate) settings: BTreeMap<EndpointId, Endpoint>,
    pub(crate) waiting: BTreeMap<WaiterId, Waiting>,

    pub(crate) breaker_policy: BreakerPolicy,
    pub(crate) bank: BreakerBank,
    pub(crate) counts: Counts,

    pub(crate) schedule: Schedule,
    pub(crate) talks: BTreeMap<Conversation, Talk>,
    /// In which epochs which endpoints have truly sent the code back.
    pub(crate) passed: BTreeSet<Conversation>,

    pub(crate) leases: Vec<Lease>,
    /// Tickets of leases that are over: whoever still speaks of them brings stale news.
    pub(crate) past: Vec<Ticket>,

    pub(crate) observations: VecDeque<(Observation, Moment)>,
    /// Apart from the observations, because no order of the two may matter.
    pub(crate) resets: VecDeque<(EndpointId, Epoch)>,
    pub(crate) verdicts: VecDeque<(Ticket, Judgement)>,
    pub(crate) to_verifier: VecDeque<ToVerifier>,
    pub(crate) proofs: VecDeque<RecoveryProof>,
    /// Proofs that the verifier would keep to itself, of endpoints that were not isolated when they were asked.
    pub(crate) kept_proofs: Vec<RecoveryProof>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let breaker_policy = BreakerPolicy {
            failure_threshold: rng.u32(1..5),
            failure_rate: [0.5, 0.8, 1.0][rng.usize(..3)],
            min_requests: rng.u32(2..8),
            window: Duration::from_secs(20),
        };
        let schedule_policy = SchedulePolicy {
            initial_delay: Duration::from_secs(5),
            multiplier: 2.0,
            interval: Duration::from_secs(60),
            interval_account: Duration::from_secs(900),
            jitter: 0.1,
            concurrency: rng.usize(1..4),
        };
        let registry_policy = RegistryPolicy { slow_start: Duration::from_secs(30), journal: 0 };
        let faults = [10, 40, 80][rng.usize(..3)];
        let mut world = Self {
            rng,
            now: Moment::START,
            trace: Trace::new(seed),
            faults,
            lossy: true,
            core: RegistryCore::new(registry_policy),
            shadow: Shadow::default(),
            settings: BTreeMap::new(),
            waiting: BTreeMap::new(),
            breaker_policy,
            bank: BreakerBank::default(),
            counts: Counts::default(),
            schedule: Schedule::new(schedule_policy),
            talks: BTreeMap::new(),
            passed: BTreeSet::new(),
            leases: Vec::new(),
            past: Vec::new(),
            observations: VecDeque::new(),
            resets: VecDeque::new(),
            verdicts: VecDeque::new(),
            to_verifier: VecDeque::new(),
            proofs: VecDeque::new(),
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
        let remembered = self.shadow.apply(&self.settings);
        if remembered {
            self.trace.met("one that was isolated when it was removed");
        }
        self.core.apply(topology, self.now, &mut effects);
        assert_eq!(self.carry_out(effects), Followed::default());
        self.check();
    }

    /// Carries out what follows from an input, in order, as the registry's actor does.
    pub(crate) fn carry_out(&mut self, effects: Outputs) -> Followed {
        let mut followed = Followed::default();
        for effect in effects {
            match effect {
                Effect::Observe(observation) => {
                    followed.observed += 1;
                    self.observations.push_back((observation, self.now));
                }
                Effect::ResetBreaker(endpoint, epoch) => self.resets.push_back((endpoint, epoch)),
                Effect::PublishFailures => self.publish_failures(),
                Effect::Granted(waiter, grant) => {
                    let waiting = self.waiting.remove(&waiter).expect("who is answered has waited");
                    self.trace.met(if waiting.client_left {
                        "a lease for one who left"
                    } else {
                        "a lease for one who waited"
                    });
                    self.granted(grant, &waiting.ask, waiting.client_left);
                }
                Effect::Refused(waiter, why) => {
                    let waiting = self.waiting.remove(&waiter).expect("who is answered has waited");
                    self.trace.met(if why == NoEndpoint::TooLate { "a waiter too late" } else { "a waiter refused" });
                    assert_eq!(self.shadow.answer(&waiting.ask, self.now), Answer::No(why));
                }
                Effect::Judged(serial) => {
                    followed.judged += 1;
                    assert!(!self.core.awaits_verdict(serial), "judged, and yet awaited");
                }
                Effect::Note(event, _) => match event.kind {
                    EventKind::Isolated => followed.isolated.extend(event.endpoint),
                    EventKind::Recovered => followed.recovered.extend(event.endpoint),
                    EventKind::Verified | EventKind::SecondOpinion => {
                        panic!("verifications are the verifier's to tell")
                    }
                    EventKind::Disabled
                    | EventKind::Enabled
                    | EventKind::Added
                    | EventKind::Changed
                    | EventKind::Removed => {}
                },
                Effect::Filtered { profile, excluded } => assert_eq!(self.shadow.summary(&profile).2, excluded),
                Effect::Summary { profile, endpoints, usable, isolated } => {
                    assert_eq!(self.shadow.summary(&profile), (endpoints, usable, isolated));
                }
                // A word to the operator, which moves nothing.
                Effect::NeverProven(_) => {}
                Effect::Leaked(ticket) => panic!("written to an isolated endpoint: {ticket:?}"),
            }
        }
        followed
    }

    pub(crate) fn publish_failures(&mut self) {
        self.to_verifier.push_back(ToVerifier::FailureList(self.core.failures()));
    }

    /// A worker is given a lease that it asked for.
    pub(crate) fn granted(&mut self, grant: Grant, ask: &Ask, abandoned: bool) {
        let id = &grant.ticket.endpoint;
        match self.shadow.answer(ask, self.now) {
            Answer::OneOf(ids) => assert!(ids.contains(id), "{id} was given out, though it was the turn of {ids:?}"),
            other => panic!("{id} was given out, though the answer is {other:?}"),
        }
        assert!(grant.gate.is_at(grant.ticket.epoch), "a lease came with a closed gate");
        assert_eq!(grant.endpoint.id, *id);
        self.shadow.granted(&grant.ticket);
        self.leases.push(Lease { grant, model: ask.model.clone(), written_at: None, abandoned });
    }

    pub(crate) fn refused(&self, why: &NoEndpoint, ask: &Ask) {
        assert_eq!(self.shadow.answer(ask, self.now), Answer::No(why.clone()));
    }

    /// Holds everything that can be seen against the shadow.
    pub(crate) fn check(&mut self) {
        self.core.check_invariants();
        let view = self.core.view(self.now);
        self.shadow.compare(&view);
        assert_eq!(view.waiting, self.waiting.len(), "a waiter was forgotten");
        for waiting in self.waiting.values() {
            assert!(self.shadow.has_reason_to_wait(&waiting.ask), "a request waits for nothing");
        }
        let listed: Vec<EndpointId> = self.core.failures().into_iter().map(|job| job.endpoint.id.clone()).collect();
        assert_eq!(listed, self.shadow.isolated());
        for endpoint in &view.endpoints {
            self.trace.fold(&(endpoint.standing, endpoint.epoch, endpoint.in_flight, endpoint.held));
        }
    }
}
