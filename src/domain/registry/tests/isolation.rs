//! Into the failure queue, and out of it.

use super::*;
use crate::domain::conversation::Manner;

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
    desk.judge(&grant, Ruling::Keep);
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
        assert_eq!(recovery(&desk.core.failures()[0]).relapse, relapse, "{seconds}");
        desk.now = if seconds == 29 { 60 } else { seconds };
        desk.recover("a");
    }
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
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let at_home = desk.core.subject(&id("a")).unwrap();
    let epoch = desk.core.view_of_id("a").epoch;
    assert_eq!((at_home.endpoint.id.as_str(), at_home.epoch, at_home.manner), ("a", epoch, Manner::Whole));
    desk.fail("a");
    assert_eq!(desk.core.subject(&id("a")), desk.core.failures().pop().map(|job| job.subject));
    assert_eq!(desk.core.subject(&id("x")), None);
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
