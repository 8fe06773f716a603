//! The gateway's promises, tested on the core itself.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use super::super::endpoint::{Endpoint, Home, Protocol};
use super::super::outcome::{FailureKind, Fatal, Reason};
use super::super::queues::{Standing, SwitchError};
use super::super::testing::{ask, at, endpoint, id, proof, recovery, registry_policy, tried};
use super::super::topology::Topology;
use super::*;

mod choice;
mod clocks;
mod doubts;
mod isolation;
mod limits;
mod outages;
mod proven;
mod relapses;
mod restarts;
mod sessions;
mod settings;
mod waiting;

const FAILED: Outcome = Outcome::Failure(FailureKind::UpstreamStatus);
const TRIP: Ruling = Ruling::Trip { reason: Reason::UpstreamStatus, failures: 3 };
const ADMIN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A registry with its endpoints, driven by hand.
struct Desk {
    core: RegistryCore,
    out: Outputs,
    now: u64,
}

impl Desk {
    fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self::with(registry_policy(), endpoints)
    }

    fn with(policy: RegistryPolicy, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let core = RegistryCore::new(policy);
        let mut desk = Self { core, out: Vec::new(), now: 0 };
        desk.apply(endpoints);
        desk
    }

    fn apply(&mut self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.core.apply(Arc::new(Topology::new(endpoints)), at(self.now), &mut self.out);
    }

    fn ask(&mut self, ask: Ask) -> Acquired {
        self.core.acquire(ask, at(self.now), &mut self.out)
    }

    fn lease(&mut self) -> Grant {
        match self.ask(ask()) {
            Acquired::Granted(grant) => grant,
            other => panic!("no lease: {other:?}"),
        }
    }

    fn leased(&mut self) -> String {
        let grant = self.lease();
        self.settle(&grant, Outcome::Neutral);
        grant.endpoint.id.to_string()
    }

    fn settle(&mut self, grant: &Grant, outcome: Outcome) {
        let written_at = Some(self.core.epochs().newest());
        let settlement =
            Settlement { ticket: grant.ticket.clone(), report: Report::of(outcome), model: None, written_at };
        self.core.settle(settlement, at(self.now), &mut self.out);
    }

    /// Ends a lease with a full report.
    fn report(&mut self, grant: &Grant, report: Report, model: Option<&str>) {
        let written_at = Some(self.core.epochs().newest());
        let model = model.map(Arc::from);
        let settlement = Settlement { ticket: grant.ticket.clone(), report, model, written_at };
        self.core.settle(settlement, at(self.now), &mut self.out);
    }

    fn judge(&mut self, grant: &Grant, ruling: Ruling) {
        self.core.judge(&grant.ticket, ruling, at(self.now), &mut self.out);
    }

    /// Isolates an endpoint by a failure of a lease of its own.
    fn fail(&mut self, name: &str) {
        for _ in 0..100 {
            let grant = self.lease();
            if grant.endpoint.id == id(name) {
                self.settle(&grant, FAILED);
                self.judge(&grant, TRIP);
                return;
            }
            self.settle(&grant, Outcome::Neutral);
        }
        panic!("{name} is never given out");
    }

    fn recover(&mut self, name: &str) -> bool {
        let epoch = self.core.view_of_id(name).epoch;
        self.core.restore(proof(&id(name), epoch), at(self.now), &mut self.out).is_some()
    }

    fn standing(&self, name: &str) -> Standing {
        self.core.view_of_id(name).standing
    }

    fn granted_to_waiters(&mut self) -> Vec<String> {
        let granted = |effect| match effect {
            Effect::Granted(_, grant) => Some(grant.endpoint.id.to_string()),
            _ => None,
        };
        self.out.drain(..).filter_map(granted).collect()
    }
}

impl RegistryCore {
    fn view_of_id(&self, name: &str) -> EndpointView {
        self.view_of(&id(name), at(0)).unwrap()
    }
}

fn primary(name: &str) -> Endpoint {
    endpoint(name, Home::Primary)
}

fn secondary(name: &str) -> Endpoint {
    endpoint(name, Home::Secondary)
}

#[test]
fn primaries_come_before_secondaries_and_lower_priority_first() {
    let later = Endpoint { priority: 1, ..primary("later") };
    let mut desk = Desk::new([secondary("backup"), later, primary("main")]);
    assert_eq!(desk.leased(), "main");
    desk.fail("main");
    assert_eq!(desk.leased(), "later");
    desk.fail("later");
    assert_eq!(desk.leased(), "backup");
}

#[test]
fn a_view_of_one_endpoint_is_what_a_view_of_all_shows_of_it() {
    let mut desk = Desk::new([primary("a"), secondary("b"), secondary("c")]);
    let limited = desk.lease();
    let limit = Some(Throttle::Named(Duration::from_secs(4)));
    desk.report(&limited, Report { throttle: limit, ..Report::of(Outcome::Neutral) }, Some("m"));
    desk.core.isolate_by_admin(&id("b"), ADMIN, at(0), &mut desk.out).unwrap();
    let _kept = desk.lease();
    for view in desk.core.view(at(1)).endpoints {
        assert_eq!(desk.core.view_of(&view.endpoint.id.clone(), at(1)), Some(view));
    }
    assert_eq!(desk.core.view_of(&id("d"), at(1)), None);
}

#[test]
fn with_every_endpoint_failed_the_answer_is_an_honest_refusal() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.fail("b");
    let Acquired::Refused(why) = desk.ask(ask()) else { panic!("not refused") };
    assert_eq!(why, NoEndpoint::Isolated { isolated: 2, total: 2, next: Some(Duration::ZERO) });
}

#[test]
fn only_the_operator_can_help_where_every_isolation_is_of_a_credential() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, Outcome::Fatal(Fatal::Credential));
    desk.judge(&grant, Ruling::Trip { reason: Reason::Credential, failures: 1 });
    let refused = desk.ask(ask());
    assert!(matches!(refused, Acquired::Refused(NoEndpoint::Isolated { next: None, .. })), "{refused:?}");
}

#[test]
fn a_waiter_is_refused_at_its_deadline_and_forgotten_when_it_leaves() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    let Acquired::Waiting(late) = desk.ask(Ask { deadline: at(5), ..ask() }) else { panic!("not waiting") };
    let Acquired::Waiting(gone) = desk.ask(ask()) else { panic!("not waiting") };
    desk.core.leave(&[gone].into());
    desk.core.tick(at(5), &mut desk.out);
    let refused = |effect: &Effect| matches!(effect, Effect::Refused(id, NoEndpoint::TooLate) if *id == late);
    assert!(desk.out.iter().any(refused));
    desk.judge(&grant, Ruling::Keep);
    assert_eq!(desk.granted_to_waiters(), [""; 0]);
}

#[test]
fn nobody_is_given_an_endpoint_after_the_deadline_though_no_tick_has_come() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    let Acquired::Waiting(late) = desk.ask(Ask { deadline: at(5), ..ask() }) else { panic!("not waiting") };
    desk.now = 5;
    desk.judge(&grant, Ruling::Keep);
    let refused = |effect: &Effect| matches!(effect, Effect::Refused(id, NoEndpoint::TooLate) if *id == late);
    assert!(desk.out.iter().any(refused), "{:?}", desk.out);
    let asked_too_late = desk.ask(Ask { deadline: at(5), ..ask() });
    assert!(matches!(asked_too_late, Acquired::Refused(NoEndpoint::TooLate)), "{asked_too_late:?}");
}

#[test]
fn a_lease_counts_once_however_often_it_is_settled() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    assert_eq!(desk.core.view_of_id("a").in_flight, 1);
    desk.settle(&grant, Outcome::Success);
    desk.out.clear();
    desk.settle(&grant, FAILED);
    assert!(desk.out.is_empty());
    assert_eq!(desk.core.view_of_id("a").in_flight, 0);
}

#[test]
fn a_full_endpoint_is_passed_over() {
    let narrow = Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") };
    let mut desk = Desk::new([narrow, secondary("b")]);
    let first = desk.lease();
    let second = desk.lease();
    assert_eq!((first.endpoint.id.as_str(), second.endpoint.id.as_str()), ("a", "b"));
    desk.settle(&first, Outcome::Success);
    assert_eq!(desk.leased(), "a");
}

#[test]
fn refusals_tell_why() {
    let narrow = Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") };
    let mut desk = Desk::new([narrow]);
    let refusal = |desk: &mut Desk, ask| match desk.ask(ask) {
        Acquired::Refused(why) => why,
        other => panic!("not refused: {other:?}"),
    };
    let openai = Ask { service: Service::Llm(Protocol::OpenAi), ..ask() };
    assert_eq!(refusal(&mut desk, openai), NoEndpoint::PathUnserved);
    let stranger = Ask { profile: ProfileId::new("other").unwrap(), ..ask() };
    assert_eq!(refusal(&mut desk, stranger), NoEndpoint::ProfileGone);
    let epoch = desk.core.view_of_id("a").epoch;
    assert_eq!(refusal(&mut desk, Ask { tried: vec![tried("a", epoch)], ..ask() }), NoEndpoint::GivenUp);
    let _kept = desk.lease();
    assert_eq!(refusal(&mut desk, ask()), NoEndpoint::Full { usable: 1 });
    desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(refusal(&mut desk, ask()), NoEndpoint::SwitchedOff { total: 1 });
}

#[test]
fn a_model_goes_only_where_it_is_served() {
    let gpt =
        Endpoint { models: super::super::endpoint::ModelFilter::new(&["gpt-*".to_owned()]).unwrap(), ..primary("gpt") };
    let mut desk = Desk::new([gpt, secondary("all")]);
    let claude = Ask { model: Some("claude-x".into()), ..ask() };
    let Acquired::Granted(grant) = desk.ask(claude.clone()) else { panic!("not granted") };
    assert_eq!(grant.endpoint.id, id("all"));
    let gpt = desk.core.view_of_id("gpt").endpoint.as_ref().clone();
    desk.apply([gpt]);
    assert!(matches!(desk.ask(claude), Acquired::Refused(NoEndpoint::ModelUnserved)));
}

#[test]
fn other_paths_go_to_the_first_usable_endpoint_of_any_protocol() {
    let openai = Endpoint { protocol: Protocol::OpenAi, ..primary("a") };
    let mut desk = Desk::new([openai, primary("b"), secondary("c")]);
    for _ in 0..5 {
        let Acquired::Granted(grant) = desk.ask(Ask { service: Service::Other, ..ask() }) else {
            panic!("not granted")
        };
        assert_eq!(grant.endpoint.id, id("a"));
    }
}

#[test]
fn the_filters_line_comes_when_the_number_changes_and_not_once_a_request() {
    let mut desk = Desk::new([primary("a"), primary("b"), secondary("c")]);
    desk.fail("a");
    desk.out.clear();
    for _ in 0..5 {
        desk.leased();
    }
    desk.fail("b");
    desk.leased();
    desk.recover("a");
    desk.leased();
    let told: Vec<usize> = desk
        .out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Filtered { excluded, .. } => Some(*excluded),
            _ => None,
        })
        .collect();
    assert_eq!(told, [1, 2, 1]);
}
