//! What the promises say, against the core itself.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use super::super::endpoint::{Endpoint, Home, Protocol};
use super::super::outcome::{FailureKind, Fatal, Reason};
use super::super::queues::{Standing, SwitchError};
use super::super::testing::{ask, at, endpoint, id, proof, registry_policy, tried};
use super::super::topology::Topology;
use super::*;

mod choice;
mod clocks;
mod doubts;
mod limits;
mod outages;
mod proven;
mod relapses;
mod restarts;
mod sessions;
mod waiting;

const FAILED: Outcome = Outcome::Failure(FailureKind::UpstreamStatus);
const TRIP: Judgement = Judgement::Trip { reason: Reason::UpstreamStatus, failures: 3 };
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

    /// Ends a lease with more to say than an outcome.
    fn report(&mut self, grant: &Grant, report: Report, model: Option<&str>) {
        let written_at = Some(self.core.epochs().newest());
        let model = model.map(Arc::from);
        let settlement = Settlement { ticket: grant.ticket.clone(), report, model, written_at };
        self.core.settle(settlement, at(self.now), &mut self.out);
    }

    fn judge(&mut self, grant: &Grant, judgement: Judgement) {
        self.core.judge(&grant.ticket, judgement, at(self.now), &mut self.out);
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
        self.view(at(0)).endpoints.into_iter().find(|view| view.endpoint.id == id(name)).unwrap()
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
fn a_failed_endpoint_is_never_given_out_however_much_time_passes() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    for day in 0..1000 {
        desk.now = day * 86_400;
        desk.core.tick(at(desk.now), &mut desk.out);
        assert_eq!(desk.leased(), "b");
    }
}

#[test]
fn with_every_endpoint_failed_the_answer_is_an_honest_refusal() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.fail("b");
    let Acquired::Refused(why) = desk.ask(ask()) else { panic!("not refused") };
    assert_eq!(why, NoEndpoint::Isolated { isolated: 2, total: 2, needs_operator: false, next: Duration::ZERO });
}

#[test]
fn only_the_operator_can_help_where_every_isolation_is_of_a_credential() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, Outcome::Fatal(Fatal::Credential));
    desk.judge(&grant, Judgement::Trip { reason: Reason::Credential, failures: 1 });
    let refused = desk.ask(ask());
    assert!(matches!(refused, Acquired::Refused(NoEndpoint::Isolated { needs_operator: true, .. })), "{refused:?}");
}

#[test]
fn a_failure_holds_its_endpoint_until_the_verdict_and_then_isolates_it() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let grant = desk.lease();
    let failed = grant.endpoint.id.to_string();
    desk.settle(&grant, FAILED);
    for _ in 0..100 {
        assert_ne!(desk.leased(), failed);
    }
    desk.judge(&grant, TRIP);
    assert_eq!(desk.standing(&failed), Standing::Failure);
}

#[test]
fn a_single_failure_never_spills_traffic_to_the_secondaries() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    assert!(matches!(desk.ask(ask()), Acquired::Waiting(_)));
    desk.judge(&grant, Judgement::Keep);
    assert_eq!(desk.granted_to_waiters(), ["a"]);
}

#[test]
fn who_waited_for_one_that_is_isolated_gets_the_next() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    assert!(matches!(desk.ask(ask()), Acquired::Waiting(_)));
    assert!(desk.core.awaits_verdict(grant.ticket.serial));
    desk.judge(&grant, TRIP);
    assert!(!desk.core.awaits_verdict(grant.ticket.serial));
    assert_eq!(desk.granted_to_waiters(), ["b"]);
}

#[test]
fn a_waiter_is_refused_at_its_deadline_and_forgotten_when_it_leaves() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    let Acquired::Waiting(late) = desk.ask(Ask { deadline: at(5), ..ask() }) else { panic!("not waiting") };
    let Acquired::Waiting(gone) = desk.ask(ask()) else { panic!("not waiting") };
    desk.core.leave(gone);
    desk.core.tick(at(5), &mut desk.out);
    let refused = |effect: &Effect| matches!(effect, Effect::Refused(id, NoEndpoint::TooLate) if *id == late);
    assert!(desk.out.iter().any(refused));
    desk.judge(&grant, Judgement::Keep);
    assert_eq!(desk.granted_to_waiters(), [""; 0]);
}

#[test]
fn nobody_is_given_an_endpoint_after_the_deadline_though_no_tick_has_come() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    let Acquired::Waiting(late) = desk.ask(Ask { deadline: at(5), ..ask() }) else { panic!("not waiting") };
    desk.now = 5;
    desk.judge(&grant, Judgement::Keep);
    let refused = |effect: &Effect| matches!(effect, Effect::Refused(id, NoEndpoint::TooLate) if *id == late);
    assert!(desk.out.iter().any(refused), "{:?}", desk.out);
    let asked_too_late = desk.ask(Ask { deadline: at(5), ..ask() });
    assert!(matches!(asked_too_late, Acquired::Refused(NoEndpoint::TooLate)), "{asked_too_late:?}");
}

#[test]
fn late_news_from_before_a_recovery_changes_nothing() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let (late_failure, late_fatal, late_success) = (desk.lease(), desk.lease(), desk.lease());
    desk.fail("a");
    desk.settle(&late_success, Outcome::Success);
    assert_eq!(desk.standing("a"), Standing::Failure, "a late success must not recover");
    assert!(desk.recover("a"));
    desk.out.clear();
    desk.settle(&late_failure, FAILED);
    desk.settle(&late_fatal, Outcome::Fatal(Fatal::Credential));
    assert!(desk.out.is_empty(), "nobody hears of stale news: {:?}", desk.out);
    desk.judge(&late_failure, TRIP);
    assert_eq!(desk.standing("a"), Standing::Primary, "a late failure must not isolate");
    assert!(!desk.core.view_of_id("a").held);
}

#[test]
fn two_failures_at_once_isolate_once() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let (first, second) = (desk.lease(), desk.lease());
    desk.settle(&first, FAILED);
    desk.settle(&second, FAILED);
    desk.judge(&first, TRIP);
    let epoch = desk.core.view_of_id("a").epoch;
    desk.judge(&second, TRIP);
    assert_eq!(desk.core.view_of_id("a").epoch, epoch);
}

#[test]
fn a_proof_of_an_older_isolation_restores_nothing() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    let old = desk.core.view_of_id("a").epoch;
    desk.recover("a");
    desk.fail("a");
    assert!(desk.core.restore(proof(&id("a"), old), at(9), &mut desk.out).is_none());
    assert_eq!(desk.standing("a"), Standing::Failure);
}

#[test]
fn a_recovered_endpoint_returns_to_its_home_queue_with_a_growing_share() {
    let mut desk = Desk::new([secondary("a"), primary("b")]);
    desk.fail("b");
    desk.fail("a");
    desk.now = 100;
    assert!(desk.recover("a"));
    assert_eq!(desk.standing("a"), Standing::Secondary);
    let share = |desk: &Desk, seconds| {
        let view = desk.core.view(at(seconds));
        let view = view.endpoints.iter().find(|view| view.endpoint.id == id("a")).unwrap();
        (view.effective_weight.round(), view.slow_start)
    };
    assert_eq!(share(&desk, 100), (10.0, true));
    assert_eq!(share(&desk, 115), (55.0, true));
    assert_eq!(share(&desk, 130), (100.0, false));
}

#[test]
fn an_isolation_within_the_slow_start_is_a_relapse() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    for (seconds, relapse) in [(0, false), (29, true), (100, false)] {
        desk.now = seconds;
        desk.fail("a");
        assert_eq!(desk.core.failures()[0].relapse, relapse, "{seconds}");
        desk.now = if seconds == 29 { 60 } else { seconds };
        desk.recover("a");
    }
}

#[test]
fn disabling_and_enabling_does_not_launder_a_failed_endpoint() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    let before = desk.core.view_of_id("a").epoch;
    let switch = |desk: &mut Desk, on| desk.core.set_enabled(&id("a"), on, ADMIN, at(1), &mut Vec::new());
    assert_eq!(switch(&mut desk, false), Ok(true));
    assert_eq!(switch(&mut desk, false), Ok(false));
    assert_eq!(desk.standing("a"), Standing::Disabled);
    assert!(!desk.recover("a"), "a disabled endpoint stays disabled");
    assert_eq!(switch(&mut desk, true), Ok(true));
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(desk.core.view_of_id("a").epoch > before);
    assert_eq!(desk.core.set_enabled(&id("x"), true, ADMIN, at(1), &mut Vec::new()), Err(SwitchError::Unknown));
}

#[test]
fn a_disabled_endpoint_gets_nothing_and_comes_back_where_it_was() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.leased(), "b");
    assert_eq!(desk.core.isolate_by_admin(&id("a"), ADMIN, at(1), &mut desk.out), Err(SwitchError::Disabled));
    desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.leased(), "a");
}

#[test]
fn an_admin_isolates_until_the_next_verification() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    assert_eq!(desk.core.isolate_by_admin(&id("a"), ADMIN, at(1), &mut desk.out), Ok(true));
    assert_eq!(desk.core.isolate_by_admin(&id("a"), ADMIN, at(1), &mut desk.out), Ok(false));
    assert_eq!((desk.standing("a"), desk.leased().as_str()), (Standing::Failure, "b"));
    assert!(desk.recover("a"));
}

#[test]
fn an_admin_may_have_any_endpoint_verified_wherever_it_is() {
    use super::super::schedule::Purpose;
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let at_home = desk.core.job_for(&id("a"), at(1)).unwrap();
    let epoch = desk.core.view_of_id("a").epoch;
    assert_eq!((at_home.endpoint.id.as_str(), at_home.epoch, at_home.at_once), ("a", epoch, true));
    assert_eq!((at_home.purpose, at_home.reason, at_home.isolated_at), (Purpose::Recovery, Reason::Admin, at(1)));
    desk.fail("a");
    assert_eq!(desk.core.job_for(&id("a"), at(1)), desk.core.failures().pop());
    assert_eq!(desk.core.job_for(&id("x"), at(1)), None);
}

#[test]
fn a_new_definition_keeps_the_isolation_and_voids_what_was_under_way() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let under_way = desk.lease();
    desk.fail("a");
    let old = desk.core.view_of_id("a").epoch;
    let other_key = Endpoint {
        auth: super::super::endpoint::Auth::Own {
            style: super::super::endpoint::AuthStyle::XApiKey,
            key: super::super::secret::Secret::new("another"),
        },
        ..primary("a")
    };
    desk.apply([other_key, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(desk.core.restore(proof(&id("a"), old), at(1), &mut desk.out).is_none());
    assert!(desk.core.failures()[0].at_once);
    assert!(!under_way.gate.is_at(under_way.ticket.epoch));
}

#[test]
fn removing_and_adding_does_not_launder_a_failed_endpoint() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure);
    desk.apply([secondary("b")]);
    let moved =
        Endpoint { base_url: super::super::endpoint::BaseUrl::parse("http://127.0.0.1:2").unwrap(), ..primary("a") };
    desk.apply([moved, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Primary, "another service has no past");
}

#[test]
fn another_service_of_the_same_name_in_between_does_not_launder_a_failed_endpoint() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.apply([secondary("b")]);
    let another =
        Endpoint { base_url: super::super::endpoint::BaseUrl::parse("http://127.0.0.1:2").unwrap(), ..primary("a") };
    desk.apply([another, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Primary);
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(desk.recover("a"));
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Primary, "it was sound when it left");
}

#[test]
fn changing_a_sound_endpoint_into_one_that_left_isolated_does_not_launder_that() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.apply([secondary("b")]);
    let another =
        Endpoint { base_url: super::super::endpoint::BaseUrl::parse("http://127.0.0.1:2").unwrap(), ..primary("a") };
    desk.apply([another, secondary("b")]);
    let under_way = desk.lease();
    assert_eq!(under_way.endpoint.id, id("a"));
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!((desk.standing("a"), desk.leased().as_str()), (Standing::Failure, "b"));
    assert!(!under_way.gate.is_at(under_way.ticket.epoch));
}

#[test]
fn what_an_admin_switched_off_stays_off_though_it_leaves_the_settings_and_comes_back() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out).unwrap();
    desk.apply([Endpoint { weight: 7, ..primary("a") }, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Disabled);
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Disabled);
    desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.standing("a"), Standing::Primary);
}

#[test]
fn an_endpoint_whose_credential_is_missing_is_off_until_it_has_one() {
    let keyless = Endpoint { auth: super::super::endpoint::Auth::Missing, ..primary("a") };
    let mut desk = Desk::new([keyless, secondary("b")]);
    assert_eq!((desk.standing("a"), desk.leased().as_str()), (Standing::Disabled, "b"));
    let switched_on = desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out);
    assert_eq!(switched_on, Err(SwitchError::NoCredential));
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!((desk.standing("a"), desk.leased().as_str()), (Standing::Primary, "a"));
    desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out), Ok(true));
}

#[test]
fn a_changed_weight_voids_nothing() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.apply([Endpoint { weight: 7, ..primary("a") }]);
    assert!(grant.gate.is_at(grant.ticket.epoch));
    desk.settle(&grant, FAILED);
    assert!(desk.core.awaits_verdict(grant.ticket.serial));
}

#[test]
fn a_removed_endpoint_finishes_what_is_in_flight() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let grant = desk.lease();
    let kept = if grant.endpoint.id == id("a") { "b" } else { "a" };
    desk.apply([primary(kept)]);
    desk.settle(&grant, Outcome::Success);
    assert_eq!(desk.core.view(at(0)).leaks, 0);
    assert_eq!(desk.leased(), kept);
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
fn the_gate_closes_with_the_isolation() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let grant = desk.lease();
    assert!(grant.gate.is_at(grant.ticket.epoch));
    desk.fail("a");
    assert!(!grant.gate.is_at(grant.ticket.epoch));
}

#[test]
fn an_attempt_written_after_the_isolation_is_counted_as_a_leak() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let (early, leaky) = (desk.lease(), desk.lease());
    let before = desk.core.epochs().newest();
    desk.fail("a");
    let written = |grant: &Grant, written_at| Settlement {
        ticket: grant.ticket.clone(),
        report: Report::of(Outcome::Neutral),
        model: None,
        written_at,
    };
    desk.core.settle(written(&early, Some(before)), at(0), &mut desk.out);
    assert_eq!(desk.core.view(at(0)).leaks, 0);
    desk.core.settle(written(&leaky, Some(desk.core.epochs().newest())), at(0), &mut desk.out);
    assert_eq!(desk.core.view(at(0)).leaks, 1);
}

#[test]
fn a_leak_is_seen_though_others_have_ended_and_its_endpoint_has_recovered_since() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let (early, leaky) = (desk.lease(), desk.lease());
    desk.fail("a");
    let during = desk.core.epochs().newest();
    desk.recover("a");
    desk.settle(&early, Outcome::Neutral);
    let (report, ticket) = (Report::of(Outcome::Neutral), leaky.ticket.clone());
    let settlement = Settlement { ticket, report, model: None, written_at: Some(during) };
    desk.core.settle(settlement, at(0), &mut desk.out);
    assert_eq!(desk.core.view(at(0)).leaks, 1);
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
fn weight_zero_takes_nothing_new() {
    let drained = Endpoint { weight: 0, ..primary("a") };
    let mut desk = Desk::new([drained, secondary("b")]);
    assert_eq!(desk.leased(), "b");
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

#[test]
fn an_admins_switch_that_moves_nobody_is_kept_all_the_same() {
    let mut off = primary("a");
    off.enabled = false;
    let mut desk = Desk::new([off]);
    desk.out.clear();
    assert_eq!(desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out), Ok(false));
    assert!(matches!(desk.out[..], [Effect::Keep(Keep::Now)]), "{:?}", desk.out);
}
