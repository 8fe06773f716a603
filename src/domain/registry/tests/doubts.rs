//! Second opinions.

use super::super::super::opinions::{FailedAttempt, Fingerprint};
use super::super::super::outcome::Reason;
use super::super::super::schedule::{AtHome, Finished, Suffices, Task, Urgency, VerifyJob};
use super::*;

const REQUEST: Fingerprint = Fingerprint(7);

/// A request that asks again, having failed before.
fn asking_again() -> Ask {
    Ask { fingerprint: Some(REQUEST), turn: Turn::Retry, ..ask() }
}

fn failed(grant: &Grant) -> FailedAttempt {
    FailedAttempt { ticket: grant.ticket.clone(), kind: FailureKind::UpstreamStatus, status: Some(500), error: None }
}

/// Fails one lease of each endpoint, and gives the verdict on each.
fn fail_on_each(desk: &mut Desk, ruling: Ruling) -> Vec<FailedAttempt> {
    let endpoints = desk.core.view(at(0)).endpoints.len();
    let grants: Vec<Grant> = (0..endpoints).map(|_| desk.lease()).collect();
    for grant in &grants {
        desk.settle(grant, FAILED);
        desk.judge(grant, ruling);
    }
    grants.iter().map(failed).collect()
}

fn doubt(desk: &mut Desk, failures: &[FailedAttempt]) {
    desk.core.doubt(&asking_again(), failures, at(desk.now), &mut desk.out);
}

fn is_opinion(job: &VerifyJob) -> bool {
    matches!(job.task, Task::Opinion { .. })
}

/// Whether there are isolated endpoints, and all are to be verified with this urgency.
fn are_all(desk: &Desk, urgency: Urgency) -> bool {
    let jobs = desk.core.failures();
    !jobs.is_empty() && jobs.iter().all(|job| recovery(job).urgency == urgency)
}

fn asked(desk: &Desk) -> Vec<String> {
    let jobs = desk.core.conversations(at(desk.now));
    jobs.iter().filter(|job| is_opinion(job)).map(|job| job.subject.endpoint.id.to_string()).collect()
}

fn retracted(desk: &mut Desk) -> usize {
    desk.out.drain(..).filter(|effect| matches!(effect, Effect::Retract(_))).count()
}

fn is_poisoned(desk: &mut Desk) -> bool {
    matches!(desk.ask(asking_again()), Acquired::Refused(NoEndpoint::Poisoned))
}

#[test]
fn failures_alike_everywhere_are_taken_back_and_each_endpoint_is_asked() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    desk.out.clear();
    doubt(&mut desk, &failures);
    assert_eq!(asked(&desk), ["a", "b"]);
    assert_eq!(retracted(&mut desk), 2);
    assert!(matches!(desk.leased().as_str(), "a" | "b"), "they stay in their queues");
}

#[test]
fn a_failure_where_there_was_another_to_ask_counts() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    desk.judge(&grant, Ruling::Keep);
    doubt(&mut desk, &[failed(&grant)]);
    assert_eq!(asked(&desk), [""; 0]);
}

#[test]
fn one_that_was_asked_and_has_not_failed_was_another_to_ask_too() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    desk.judge(&grant, Ruling::Keep);
    let both = ["a", "b"].map(|name| tried(name, desk.core.view_of_id(name).epoch));
    desk.core.doubt(&Ask { tried: both.to_vec(), ..asking_again() }, &[failed(&grant)], at(0), &mut desk.out);
    assert_eq!(asked(&desk), [""; 0]);
}

#[test]
fn who_passes_keeps_a_clean_record_and_the_request_gets_a_single_attempt_for_a_minute() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    assert!(!is_poisoned(&mut desk));
    let epoch = failures[0].ticket.epoch;
    desk.core.fit(&id("a"), epoch, AtHome::Opinion, None, at(0), &mut desk.out);
    assert_eq!(asked(&desk), [""; 0]);
    assert!(is_poisoned(&mut desk));
    assert!(matches!(desk.ask(Ask { turn: Turn::First, ..asking_again() }), Acquired::Granted(_)), "its one attempt");
    desk.now = 60;
    assert!(!is_poisoned(&mut desk));
}

/// Found by reading: the question was taken for answered, and the request for the cause.
#[test]
fn a_conversation_about_a_used_up_window_answers_no_second_opinion_that_is_asked_meanwhile() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    let epoch = failures[0].ticket.epoch;
    desk.core.fit(&id("a"), epoch, AtHome::EarlyReturn, None, at(0), &mut desk.out);
    assert_eq!(asked(&desk), ["a"]);
    doubt(&mut desk, &failures);
    assert!(!is_poisoned(&mut desk), "while that is asked, nobody knows what the cause was");
}

#[test]
fn who_fails_is_isolated_for_what_brought_it_about() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    let epoch = failures[0].ticket.epoch;
    desk.core.unfit(&id("a"), epoch, ErrorNote::new("HTTP 500"), at(0), &mut desk.out);
    assert_eq!(desk.core.view_of_id("a").isolation.unwrap().reason, Reason::UpstreamStatus);
    desk.core.unfit(&id("a"), epoch, ErrorNote::new("HTTP 500"), at(0), &mut desk.out);
    assert!(desk.recover("a"), "isolated once");
}

#[test]
fn a_doubt_after_the_isolation_verifies_at_once_and_who_passes_is_back_at_full_share() {
    let mut desk = Desk::new([primary("a"), primary("b"), primary("c")]);
    let failures = fail_on_each(&mut desk, TRIP);
    assert!(are_all(&desk, Urgency::Delayed));
    doubt(&mut desk, &failures);
    assert!(are_all(&desk, Urgency::AtOnce));
    for name in ["a", "b", "c"] {
        assert!(desk.recover(name));
        let view = desk.core.view_of_id(name);
        assert!(!view.slow_start && (view.effective_weight - 100.0).abs() < 1e-9, "{name}");
    }
    assert!(is_poisoned(&mut desk), "it was the cause");
    desk.fail("a");
    assert!(desk.core.failures().iter().all(|job| !recovery(job).relapse), "nothing remembers");
}

#[test]
fn a_doubt_does_not_touch_an_isolation_of_another_cause_or_epoch() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    desk.core.isolate_by_admin(&id("a"), ADMIN, at(0), &mut desk.out).unwrap();
    doubt(&mut desk, &failures);
    assert!(are_all(&desk, Urgency::Delayed), "an admin's word");
    desk.recover("a");
    desk.fail("a");
    doubt(&mut desk, &failures);
    assert!(are_all(&desk, Urgency::Delayed), "a later isolation");
    desk.recover("a");
    doubt(&mut desk, &failures);
    assert!(desk.core.view_of_id("a").slow_start, "what has ended a later isolation is not forgiven either");
}

#[test]
fn who_has_just_passed_is_not_asked_again() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    desk.core.fit(&id("a"), failures[0].ticket.epoch, AtHome::Opinion, None, at(0), &mut desk.out);
    for (now, expected) in [(4, 0), (5, 1)] {
        desk.now = now;
        let failures = fail_on_each(&mut desk, Ruling::Keep);
        doubt(&mut desk, &failures);
        assert_eq!(asked(&desk).len(), expected, "{now}");
    }
}

#[test]
fn an_end_may_ask_for_an_opinion_by_itself() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    let refused = Report { opinion: Some(Reason::Credential), ..Report::of(Outcome::Neutral) };
    desk.report(&grant, refused, Some("m"));
    let job = desk.core.conversations(at(0)).pop().unwrap();
    assert_eq!((job.task, job.subject.model.as_deref()), (Task::Opinion { reason: Reason::Credential }, Some("m")));
    desk.core.unfit(&id("a"), job.subject.epoch, ErrorNote::new("HTTP 403"), at(0), &mut desk.out);
    assert_eq!(desk.core.view_of_id("a").isolation.unwrap().reason, Reason::Credential);
}

#[test]
fn an_opinion_of_an_older_epoch_moves_nothing() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    let epoch = failures[0].ticket.epoch;
    desk.fail("a");
    desk.core.fit(&id("a"), epoch, AtHome::Opinion, None, at(0), &mut desk.out);
    assert_eq!(desk.standing("a"), Standing::Failure, "an opinion restores nothing");
    desk.recover("a");
    desk.core.unfit(&id("a"), epoch, ErrorNote::new("HTTP 500"), at(0), &mut desk.out);
    assert_eq!(desk.standing("a"), Standing::Primary);
}

#[test]
fn what_was_passed_before_the_latest_move_answers_no_question_of_now() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    let before = failures[0].ticket.epoch;
    desk.fail("a");
    desk.recover("a");
    desk.now = 60;
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    desk.core.fit(&id("a"), before, AtHome::Opinion, None, at(60), &mut desk.out);
    assert_eq!((asked(&desk), is_poisoned(&mut desk)), (vec!["a".to_owned()], false));
}

#[test]
fn who_is_isolated_has_passed_no_opinion() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, TRIP);
    doubt(&mut desk, &failures);
    let epoch = desk.core.view_of_id("a").epoch;
    desk.core.fit(&id("a"), epoch, AtHome::Opinion, None, at(0), &mut desk.out);
    assert!(!is_poisoned(&mut desk), "only a recovery says that");
    assert!(desk.recover("a") && is_poisoned(&mut desk));
}

#[test]
fn a_doubt_that_comes_after_the_recovery_forgives_what_is_left_of_it() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let failures = fail_on_each(&mut desk, TRIP);
    for name in ["a", "b"] {
        assert!(desk.recover(name));
        assert!(desk.core.view_of_id(name).slow_start);
    }
    doubt(&mut desk, &failures);
    for name in ["a", "b"] {
        assert!(!desk.core.view_of_id(name).slow_start, "{name}");
    }
    assert!(is_poisoned(&mut desk), "both have passed");
    desk.fail("a");
    assert!(desk.core.failures().iter().all(|job| !recovery(job).relapse), "nothing remembers");
}

#[test]
fn nobody_waits_for_one_that_has_just_failed_its_opinion_longer_than_it_takes_to_be_asked_again() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    desk.core.unfit(&id("a"), failures[0].ticket.epoch, ErrorNote::new("HTTP 500"), at(0), &mut desk.out);
    let parked = |until| Ask { reach: Reach::Parked { until: at(until) }, ..ask() };
    assert!(matches!(desk.ask(parked(4)), Acquired::Refused(_)), "it is asked again after 5 s");
    assert!(matches!(desk.ask(parked(6)), Acquired::Waiting(_)));
}

#[test]
fn an_opinion_that_fails_after_its_endpoint_has_moved_to_another_queue_tells_nothing() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    desk.apply([secondary("a")]);
    desk.core.unfit(&id("a"), failures[0].ticket.epoch, ErrorNote::new("HTTP 500"), at(0), &mut desk.out);
    assert_eq!(desk.standing("a"), Standing::Secondary);
    desk.fail("a");
    assert!(
        matches!(desk.ask(Ask { reach: Reach::Parked { until: at(4) }, ..ask() }), Acquired::Waiting(_)),
        "at once"
    );
}

#[test]
fn that_nothing_remembers_an_isolation_any_more_is_kept() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, TRIP);
    desk.recover("a");
    desk.out.clear();
    doubt(&mut desk, &failures);
    assert!(!desk.core.view_of_id("a").slow_start, "it is forgiven");
    assert!(desk.out.iter().any(|effect| matches!(effect, Effect::Keep(Keep::Soon))), "{:?}", desk.out);
}

/// Once wrong: when the outage was over the endpoint was as if it had never been out, and the request was blamed.
#[test]
fn a_doubt_is_over_once_the_isolated_endpoint_has_failed_its_verification() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let failures = fail_on_each(&mut desk, TRIP);
    doubt(&mut desk, &failures);
    for name in ["a", "b"] {
        still_failing(&mut desk, name, 1);
    }
    doubt(&mut desk, &failures);
    assert!(are_all(&desk, Urgency::Delayed), "nor can it come up again");
    desk.now = 600;
    assert!(desk.recover("a") && desk.recover("b"));
    assert!(!is_poisoned(&mut desk), "it was the endpoints");
    assert!(desk.core.view_of_id("a").slow_start, "they were out");
    doubt(&mut desk, &failures);
    assert!(!is_poisoned(&mut desk) && desk.core.view_of_id("a").slow_start, "nor after the recovery");
}

/// The second opinion is the verifier's own finding.
#[test]
fn a_late_failure_does_not_put_in_doubt_what_the_second_opinion_has_found() {
    let mut desk = Desk::new([primary("a")]);
    let (first, late) = (desk.lease(), desk.lease());
    desk.settle(&first, FAILED);
    desk.judge(&first, Ruling::Keep);
    doubt(&mut desk, &[failed(&first)]);
    desk.core.unfit(&id("a"), first.ticket.epoch, ErrorNote::new("HTTP 500"), at(0), &mut desk.out);
    assert_eq!(desk.standing("a"), Standing::Failure);
    desk.settle(&late, FAILED);
    doubt(&mut desk, &[failed(&late)]);
    assert!(are_all(&desk, Urgency::Delayed), "it has just failed two conversations");
}

/// A client that leaves between its failure and the verdict on it.
#[test]
fn a_doubt_that_comes_before_the_verdict_is_one_about_the_isolation() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    doubt(&mut desk, &[failed(&grant)]);
    desk.judge(&grant, TRIP);
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(are_all(&desk, Urgency::AtOnce), "it is in doubt");
    desk.now = 1;
    assert!(desk.recover("a"));
    assert!(is_poisoned(&mut desk) && !desk.core.view_of_id("a").slow_start);
}

/// Once wrong: the doubt came with the request's end, and it waited for the verification that only the doubt hastens.
#[test]
fn a_request_that_waits_for_those_that_it_has_isolated_itself_has_them_verified_at_once() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let failures = fail_on_each(&mut desk, TRIP);
    assert!(are_all(&desk, Urgency::Delayed));
    desk.core.doubt_while_waiting(&asking_again(), &[], at(0), &mut desk.out);
    assert!(are_all(&desk, Urgency::Delayed), "it has not failed");
    desk.core.doubt_while_waiting(&asking_again(), &failures, at(0), &mut desk.out);
    assert!(are_all(&desk, Urgency::AtOnce));
}

/// Once wrong: the verification was hastened for the failed model alone, and broken off a moment later because of the
/// doubt.
#[test]
fn the_verifier_learns_of_a_doubt_before_it_is_to_make_haste() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, TRIP);
    desk.out.clear();
    let ask = Ask { reach: Reach::Parked { until: at(30) }, ..asking_again() };
    assert!(matches!(desk.ask(ask.clone()), Acquired::Waiting(_)));
    desk.core.doubt_while_waiting(&ask, &failures, at(0), &mut desk.out);
    let to_verifier = desk.out.iter().filter_map(|effect| match effect {
        Effect::PublishJobs => Some("list"),
        Effect::Hasten(_) => Some("haste"),
        _ => None,
    });
    assert_eq!(to_verifier.collect::<Vec<_>>(), ["list", "haste"]);
}

/// Once wrong: it asks for the next endpoint before the verdict on its failure is in, and nothing was told of what that isolates.
#[test]
fn a_request_that_waits_doubts_what_the_verdict_on_its_failure_isolates() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    desk.core.doubt_while_waiting(&asking_again(), &[failed(&grant)], at(0), &mut desk.out);
    desk.judge(&grant, TRIP);
    assert!(are_all(&desk, Urgency::AtOnce));
}

#[test]
fn while_it_waits_a_request_doubts_no_endpoint_that_is_in_its_home_queue() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    desk.out.clear();
    desk.core.doubt_while_waiting(&asking_again(), &failures, at(0), &mut desk.out);
    assert_eq!((retracted(&mut desk), asked(&desk)), (0, Vec::new()), "it may yet be served");
    assert!(!is_poisoned(&mut desk));
}

fn suffices(desk: &Desk) -> Suffices {
    desk.core.failures()[0].subject.suffices
}

/// Once wrong: one conversation that failed, and again only the model that works nowhere could bring the endpoint back.
#[test]
fn who_was_doubted_is_brought_back_by_any_models_answer_until_it_is_back() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, TRIP);
    assert_eq!(suffices(&desk), Suffices::ThatModel);
    doubt(&mut desk, &failures);
    assert_eq!(suffices(&desk), Suffices::AnyModel);
    still_failing(&mut desk, "a", 1);
    assert_eq!(suffices(&desk), Suffices::AnyModel);
    desk.now = 2;
    assert!(desk.recover("a"));
    desk.fail("a");
    assert_eq!(suffices(&desk), Suffices::ThatModel, "another isolation");
}

#[test]
fn an_opinion_is_given_by_any_models_answer_and_so_is_the_proof_of_who_failed_it() {
    let mut desk = Desk::new([primary("a")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    let job = desk.core.conversations(at(0)).pop().unwrap();
    assert_eq!(job.subject.suffices, Suffices::AnyModel);
    desk.core.unfit(&id("a"), job.subject.epoch, ErrorNote::new("HTTP 500"), at(0), &mut desk.out);
    assert_eq!(suffices(&desk), Suffices::AnyModel);
}

fn still_failing(desk: &mut Desk, name: &str, now: u64) {
    let epoch = desk.core.view_of_id(name).epoch;
    let next_in = Duration::from_secs(60);
    let finished = Finished { step: 1, verifications: 1, began: at(now), next_in, next: at(now) + next_in };
    desk.core.still_failing(&id(name), epoch, &finished, at(now), &mut desk.out);
}

/// Once wrong: any isolation while an opinion was asked for was in doubt, whatever had brought it about.
#[test]
fn an_isolation_by_other_failures_is_in_no_doubt() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let failures = fail_on_each(&mut desk, Ruling::Keep);
    doubt(&mut desk, &failures);
    let other = loop {
        let grant = desk.lease();
        if grant.endpoint.id == id("a") {
            break grant;
        }
    };
    desk.settle(&other, FAILED);
    desk.judge(&other, TRIP);
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(are_all(&desk, Urgency::Delayed));
}
