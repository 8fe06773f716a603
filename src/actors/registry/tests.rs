//! The registry's actor with peers that only listen: what it tells whom, and what it does while nobody answers it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use actix::{Actor, Addr, Context, Handler};

use super::super::Policies;
use super::super::lease::Lease;
use super::super::messages::{
    Acquire, Acquired, Apply, Concluded, Conclusion, CountUsable, Doubt, Isolate, Judged, Recovered, SetEnabled,
    Verdict, VerifyNow, ViewRegistry,
};
use super::*;
use crate::domain::breaker::{BreakerPolicy, Ruling};
use crate::domain::classify::Words;
use crate::domain::endpoint::Home;
use crate::domain::ids::{EndpointId, Ticket};
use crate::domain::memory::Salt;
use crate::domain::opinions::FailedAttempt;
use crate::domain::outcome::{FailureKind, Outcome, Report};
use crate::domain::queues::{Standing, SwitchError};
use crate::domain::registry::{Ask, NoEndpoint, Reach};
use crate::domain::rules::Rules;
use crate::domain::schedule::{Finished, SchedulePolicy};
use crate::domain::testing::{ask, endpoint, id, proof, registry_policy, tried};
use crate::domain::topology::Topology;
use crate::domain::verification::Verification;
use crate::upstream::{ProbeSettings, WritePermit};

/// The admin who gives orders here.
const ADMIN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the peers were told.
#[derive(Default)]
struct Heard {
    observed: Vec<Ticket>,
    reset: Vec<EndpointId>,
    lists: Vec<Vec<EndpointId>>,
    conversations: Vec<EndpointId>,
    retracted: Vec<Ticket>,
    hastened: Vec<EndpointId>,
    known: Vec<Vec<EndpointId>>,
    thresholds: Vec<u32>,
    intervals: Vec<Duration>,
    notes: usize,
    images: usize,
}

/// All peers in one, which answers nothing.
struct Silent(Rc<RefCell<Heard>>);

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<Observe> for Silent {
    type Result = ();
    fn handle(&mut self, message: Observe, _: &mut Self::Context) {
        self.0.borrow_mut().observed.push(message.observation.ticket);
    }
}

impl Handler<ResetBreaker> for Silent {
    type Result = ();
    fn handle(&mut self, message: ResetBreaker, _: &mut Self::Context) {
        self.0.borrow_mut().reset.push(message.endpoint);
    }
}

impl Handler<FailureList> for Silent {
    type Result = ();
    fn handle(&mut self, message: FailureList, _: &mut Self::Context) {
        self.0.borrow_mut().lists.push(message.0.iter().map(|job| job.subject.endpoint.id.clone()).collect());
    }
}

impl Handler<Retract> for Silent {
    type Result = ();
    fn handle(&mut self, Retract(ticket): Retract, _: &mut Self::Context) {
        self.0.borrow_mut().retracted.push(ticket);
    }
}

impl Handler<Hasten> for Silent {
    type Result = ();
    fn handle(&mut self, Hasten(wanted): Hasten, _: &mut Self::Context) {
        self.0.borrow_mut().hastened.extend(wanted.iter().map(|(id, _)| id.clone()));
    }
}

impl Handler<Converse> for Silent {
    type Result = ();
    fn handle(&mut self, message: Converse, _: &mut Self::Context) {
        self.0.borrow_mut().conversations.push(message.subject.endpoint.id.clone());
    }
}

impl Handler<ForgetOthers> for Silent {
    type Result = ();
    fn handle(&mut self, ForgetOthers(known): ForgetOthers, _: &mut Self::Context) {
        self.0.borrow_mut().known.push(known.iter().cloned().collect());
    }
}

impl Handler<SetBreakerPolicy> for Silent {
    type Result = ();
    fn handle(&mut self, SetBreakerPolicy(policy): SetBreakerPolicy, _: &mut Self::Context) {
        self.0.borrow_mut().thresholds.push(policy.failure_threshold);
    }
}

impl Handler<SetVerifierPolicy> for Silent {
    type Result = ();
    fn handle(&mut self, SetVerifierPolicy { schedule, .. }: SetVerifierPolicy, _: &mut Self::Context) {
        self.0.borrow_mut().intervals.push(schedule.interval);
    }
}

impl Handler<Notify> for Silent {
    type Result = ();
    fn handle(&mut self, _: Notify, _: &mut Self::Context) {}
}

impl Handler<Note> for Silent {
    type Result = ();
    fn handle(&mut self, _: Note, _: &mut Self::Context) {
        self.0.borrow_mut().notes += 1;
    }
}

impl Handler<KeepImage> for Silent {
    type Result = ();
    fn handle(&mut self, _: KeepImage, _: &mut Self::Context) {
        self.0.borrow_mut().images += 1;
    }
}

/// What settings might say.
fn policies() -> Policies {
    Policies {
        registry: registry_policy(),
        breaker: BreakerPolicy {
            failure_threshold: 3,
            failure_rate: 0.5,
            min_requests: 10,
            window: Duration::from_secs(60),
        },
        schedule: SchedulePolicy {
            initial_delay: Duration::from_secs(5),
            multiplier: 2.0,
            interval: Duration::from_secs(60),
            interval_account: Duration::from_secs(900),
            jitter: 0.0,
            concurrency: 4,
        },
        probe: ProbeSettings {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            model: None,
            anthropic_model: "m".to_owned(),
            openai_model: "m".to_owned(),
            max_tokens: 64,
            words: Words::Left,
            rules: Rules::none(),
        },
        events: 1000,
    }
}

/// A registry with a primary `a` and a secondary `b`, and what its peers hear.
async fn registry() -> (Addr<Registry>, Rc<RefCell<Heard>>) {
    registry_with(|_| None).await
}

/// A registry as [`registry`] makes it, with the keeper that `keeper` gives, if any.
async fn registry_with(
    keeper: impl FnOnce(Addr<Silent>) -> Option<Recipient<KeepImage>>,
) -> (Addr<Registry>, Rc<RefCell<Heard>>) {
    let heard = Rc::new(RefCell::new(Heard::default()));
    let silent = Silent(Rc::clone(&heard)).start();
    let peers = Peers {
        observe: silent.clone().recipient(),
        reset: silent.clone().recipient(),
        retract: silent.clone().recipient(),
        hasten: silent.clone().recipient(),
        failures: silent.clone().recipient(),
        converse: silent.clone().recipient(),
        breaker_policy: silent.clone().recipient(),
        verifier_policy: silent.clone().recipient(),
        breakers_known: silent.clone().recipient(),
        verifier_known: silent.clone().recipient(),
        keep: keeper(silent.clone()),
        stats: silent.clone().recipient(),
        notices: silent.recipient(),
    };
    let registry = Registry::new(
        registry_policy(),
        Clock::start(),
        Memory::Fresh(Salt::default()),
        peers,
        Lifeline::new("registry", Arc::new(|_| ())),
    )
    .start();
    let topology = Topology::new([endpoint("a", Home::Primary), endpoint("b", Home::Secondary)]);
    registry.send(applied(topology, policies())).await.unwrap();
    (registry, heard)
}

fn applied(topology: Topology, policies: Policies) -> Apply {
    Apply { topology: Arc::new(topology), profiles: BTreeMap::new(), policies }
}

async fn acquire(registry: &Addr<Registry>, ask: Ask) -> Lease {
    let (acquire, answer) = Acquire::new(ask, Vec::new());
    registry.do_send(acquire);
    answer.await.unwrap().unwrap()
}

/// A request whose answer is not in yet.
async fn waiting(registry: &Addr<Registry>, ask: Ask) -> oneshot::Receiver<Acquired> {
    let (acquire, mut answer) = Acquire::new(ask, Vec::new());
    registry.do_send(acquire);
    registry.send(ViewRegistry).await.unwrap();
    assert!(answer.try_recv().is_err());
    answer
}

/// Fails a lease on `a`; the verdict is up to the test.
async fn fail(registry: &Addr<Registry>) -> Ticket {
    let mut lease = acquire(registry, ask()).await;
    let ticket = lease.ticket().clone();
    lease.settle(Report::of(Outcome::Failure(FailureKind::UpstreamStatus)));
    ticket
}

const TRIP: Ruling = Ruling::Trip { reason: Reason::UpstreamStatus, failures: 1 };

#[actix_web::test]
async fn while_the_breakers_are_silent_a_failed_endpoint_is_not_given_out() {
    let (registry, heard) = registry().await;
    let ticket = fail(&registry).await;
    for _ in 0..1000 {
        let lease = acquire(&registry, Ask { tried: vec![tried("a", ticket.epoch)], ..ask() }).await;
        assert_eq!(lease.endpoint().id, id("b"));
    }
    let asking = waiting(&registry, ask()).await;
    assert_eq!(heard.borrow().observed, std::slice::from_ref(&ticket));
    registry.do_send(Verdict { ticket, ruling: Ruling::Keep });
    assert_eq!(asking.await.unwrap().unwrap().endpoint().id, id("a"));
}

#[actix_web::test]
async fn judged_is_answered_when_the_verdict_is_in_and_not_before() {
    let (registry, _) = registry().await;
    let ticket = fail(&registry).await;
    let asked = Judged(ticket.serial);
    let judged = actix_rt::spawn({
        let registry = registry.clone();
        async move { registry.send(asked).await.unwrap() }
    });
    for _ in 0..100 {
        registry.send(ViewRegistry).await.unwrap();
        assert!(!judged.is_finished());
    }
    registry.do_send(Verdict { ticket, ruling: TRIP });
    judged.await.unwrap();
    let view = registry.send(ViewRegistry).await.unwrap();
    assert_eq!(view.endpoints[0].standing, Standing::Failure);
}

#[actix_web::test]
async fn whoever_leaves_is_forgotten_by_breakers_and_verifier_unless_its_isolation_is_remembered() {
    let (registry, heard) = registry().await;
    registry.send(Isolate { id: id("b"), by: ADMIN }).await.unwrap().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| endpoint(name, Home::Primary));
    for endpoints in [vec![a.clone(), b.clone(), c.clone()], vec![a, b], vec![c]] {
        registry.send(applied(Topology::new(endpoints), policies())).await.unwrap();
    }
    registry.send(ViewRegistry).await.unwrap();
    let [first, second] = [vec![id("a"), id("b")], vec![id("b"), id("c")]];
    assert_eq!(heard.borrow().known, [first.clone(), first, second.clone(), second], "each is told");
}

#[actix_web::test]
async fn usable_is_who_is_in_a_home_queue() {
    let (registry, _) = registry().await;
    assert_eq!(registry.send(CountUsable).await.unwrap(), 2);
    let ticket = fail(&registry).await;
    assert_eq!(registry.send(CountUsable).await.unwrap(), 2, "whoever is held is not out");
    registry.do_send(Verdict { ticket, ruling: TRIP });
    assert_eq!(registry.send(CountUsable).await.unwrap(), 1);
    registry.send(SetEnabled { id: id("b"), enabled: false, by: ADMIN }).await.unwrap().unwrap();
    assert_eq!(registry.send(CountUsable).await.unwrap(), 0);
}

#[actix_web::test]
async fn a_lease_that_is_dropped_is_over() {
    let (registry, heard) = registry().await;
    let lease = acquire(&registry, ask()).await;
    assert_eq!(registry.send(ViewRegistry).await.unwrap().endpoints[0].in_flight, 1);
    drop(lease);
    assert_eq!(registry.send(ViewRegistry).await.unwrap().endpoints[0].in_flight, 0);
    assert!(heard.borrow().observed.is_empty(), "a client that left is no news for the breakers");
}

#[actix_web::test]
async fn a_requester_that_leaves_while_it_waits_leaves_no_lease_behind() {
    let (registry, _) = registry().await;
    let ticket = fail(&registry).await;
    let asking = waiting(&registry, ask()).await;
    drop(asking);
    registry.do_send(Verdict { ticket, ruling: Ruling::Keep });
    // The lease that nobody took reports itself after this.
    registry.send(ViewRegistry).await.unwrap();
    let view = registry.send(ViewRegistry).await.unwrap();
    assert_eq!((view.waiting, view.endpoints[0].in_flight), (0, 0));
}

#[actix_web::test]
async fn who_has_left_waits_no_more() {
    let (registry, _) = registry().await;
    let ticket = fail(&registry).await;
    let stays = waiting(&registry, ask()).await;
    drop(waiting(&registry, ask()).await);
    assert_eq!(registry.send(ViewRegistry).await.unwrap().waiting, 1);
    registry.do_send(Verdict { ticket, ruling: Ruling::Keep });
    assert!(stays.await.unwrap().is_ok());
}

#[actix_web::test]
async fn what_a_request_doubts_is_taken_back_and_the_endpoint_is_asked() {
    let (registry, heard) = registry().await;
    let ticket = fail(&registry).await;
    registry.send(Verdict { ticket: ticket.clone(), ruling: Ruling::Keep }).await.unwrap();
    let alike = Ticket { endpoint: id("b"), ..ticket.clone() };
    let failed = |ticket: &Ticket| FailedAttempt {
        ticket: ticket.clone(),
        kind: FailureKind::UpstreamStatus,
        status: Some(500),
        error: None,
    };
    heard.borrow_mut().lists.clear();
    registry.send(Doubt { ask: ask(), failures: vec![failed(&ticket), failed(&alike)] }).await.unwrap();
    registry.send(ViewRegistry).await.unwrap();
    assert_eq!(heard.borrow().retracted, [ticket, alike]);
    assert_eq!(heard.borrow().lists, [vec![id("a")]], "the other ticket is of no epoch of its endpoint");
}

#[actix_web::test]
async fn who_finds_nothing_has_the_isolated_ones_hastened_and_is_refused_when_its_time_is_up() {
    let (registry, heard) = registry().await;
    for name in ["a", "b"] {
        registry.send(Isolate { id: id(name), by: ADMIN }).await.unwrap().unwrap();
    }
    let until = Clock::BEGAN + Duration::from_millis(200);
    let refused = waiting(&registry, Ask { reach: Reach::Parked { until }, ..ask() }).await;
    assert_eq!(heard.borrow().hastened, [id("a"), id("b")]);
    assert!(
        matches!(refused.await.unwrap(), Err(NoEndpoint::Isolated { isolated: 2, .. })),
        "by the alarm, not a tick"
    );
}

#[actix_web::test]
async fn a_tick_refuses_who_has_waited_past_the_deadline() {
    let (registry, _) = registry().await;
    let ticket = fail(&registry).await;
    let deadline = Clock::BEGAN + Duration::from_millis(100);
    let (acquire, mut answer) = Acquire::new(Ask { deadline, ..ask() }, Vec::new());
    registry.do_send(acquire);
    let refused = loop {
        registry.send(Tick).await.unwrap();
        if let Ok(answered) = answer.try_recv() {
            break answered.unwrap_err();
        }
    };
    assert_eq!(refused, NoEndpoint::TooLate);
    registry.do_send(Verdict { ticket, ruling: Ruling::Keep });
}

#[actix_web::test]
async fn the_failure_list_is_told_at_each_change_and_each_tick() {
    let (registry, heard) = registry().await;
    let ticket = fail(&registry).await;
    registry.send(Verdict { ticket, ruling: TRIP }).await.unwrap();
    let epoch = registry.send(ViewRegistry).await.unwrap().endpoints[0].epoch;
    heard.borrow_mut().lists.clear();
    registry.send(Tick).await.unwrap();
    registry.send(Tick).await.unwrap();
    registry.send(Recovered { proof: proof(&id("a"), epoch), verifications: 1, step: 1 }).await.unwrap();
    registry.send(ViewRegistry).await.unwrap();
    assert_eq!(heard.borrow().lists, [vec![id("a")], vec![id("a")], vec![]], "a lost list is made up for by the next");
    assert_eq!(heard.borrow().reset, [id("a")]);
}

#[actix_web::test]
async fn a_lease_whose_endpoint_was_isolated_may_not_write() {
    let (registry, _) = registry().await;
    let granted_before = acquire(&registry, ask()).await;
    assert!(granted_before.may_write().is_ok());
    assert!(!granted_before.was_written(), "it was permitted, and no more");
    granted_before.has_written();
    let withdrawn = acquire(&registry, ask()).await;
    let ticket = fail(&registry).await;
    registry.send(Verdict { ticket, ruling: TRIP }).await.unwrap();
    assert!(withdrawn.may_write().is_err());
    assert!(!withdrawn.was_written() && granted_before.was_written());
    drop((withdrawn, granted_before));
    assert_eq!(registry.send(ViewRegistry).await.unwrap().leaks, 0);
}

#[actix_web::test]
async fn an_admins_verification_names_the_endpoint_to_the_verifier() {
    let (registry, heard) = registry().await;
    assert_eq!(
        registry.send(VerifyNow { id: id("nobody"), by: ADMIN }).await.unwrap().unwrap_err(),
        SwitchError::Unknown
    );
    let verdict = registry.send(VerifyNow { id: id("b"), by: ADMIN }).await.unwrap().unwrap();
    assert_eq!(verdict, Verification::interrupted(), "the silent verifier drops the question");
    assert_eq!(heard.borrow().conversations, [id("b")]);
}

/// Found under load: a verification's result was lost if the stop came while the disk was busy with something else.
#[actix_web::test]
async fn what_changes_while_an_image_is_under_way_goes_to_the_disk_before_the_registry_goes() {
    let (registry, heard) = registry_with(|silent| Some(silent.recipient())).await;
    registry.do_send(Isolate { id: id("a"), by: ADMIN });
    let epoch = registry.send(ViewRegistry).await.unwrap().endpoints[0].epoch;
    let before = heard.borrow().images;
    let finished =
        Finished { verifications: 1, step: 1, began: Clock::BEGAN, next: Clock::BEGAN, next_in: Duration::ZERO };
    let conclusion = Conclusion::StillFailing(finished);
    registry.send(Concluded { endpoint: id("a"), epoch, conclusion }).await.unwrap();
    registry.send(Tick).await.unwrap();
    assert_eq!(heard.borrow().images, before, "one is under way, and the keeper has not answered");
    registry.send(Drain).await.unwrap();
    assert_eq!(heard.borrow().images, before + 1);
}

#[actix_web::test]
async fn each_move_is_noted() {
    let (registry, heard) = registry().await;
    let before = heard.borrow().notes;
    registry.send(SetEnabled { id: id("a"), enabled: false, by: ADMIN }).await.unwrap().unwrap();
    registry.send(SetEnabled { id: id("a"), enabled: false, by: ADMIN }).await.unwrap().unwrap();
    registry.send(ViewRegistry).await.unwrap();
    assert_eq!(heard.borrow().notes - before, 1, "the second changed nothing");
}

#[actix_web::test]
async fn a_reload_tells_breakers_and_verifier_what_the_settings_say_now() {
    let (registry, heard) = registry().await;
    let mut policies = policies();
    policies.breaker.failure_threshold = 7;
    policies.schedule.interval = Duration::from_secs(9);
    let topology = Topology::new([endpoint("a", Home::Primary)]);
    let diff = registry.send(applied(topology, policies)).await.unwrap();
    assert_eq!(diff.removed, [id("b")]);
    registry.send(ViewRegistry).await.unwrap();
    assert_eq!(heard.borrow().thresholds, [3, 7]);
    assert_eq!(heard.borrow().intervals, [Duration::from_secs(60), Duration::from_secs(9)]);
}
