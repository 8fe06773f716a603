use std::sync::Arc;
use std::time::Duration;

use super::super::conversation::Manner;
use super::super::endpoint::{Auth, Endpoint, Home};
use super::super::outcome::Reason;
use super::super::testing::{at, endpoint, id};
use super::*;

const POLICY: SchedulePolicy = SchedulePolicy {
    initial_delay: Duration::from_secs(5),
    multiplier: 2.0,
    interval: Duration::from_secs(60),
    interval_account: Duration::from_secs(900),
    jitter: 0.0,
    concurrency: 2,
};

fn subject(name: &str, epoch: u64) -> Subject {
    let endpoint = Arc::new(endpoint(name, Home::Primary));
    Subject::new(endpoint, Epoch::from_raw(epoch))
}

fn isolated(at_second: u64) -> Recovery {
    Recovery {
        reason: Reason::UpstreamStatus,
        isolated_at: at(at_second),
        relapse: false,
        resume: None,
        urgency: Urgency::Delayed,
    }
}

/// The verification of an isolated endpoint.
fn recovery(name: &str, epoch: u64, recovery: Recovery) -> VerifyJob {
    VerifyJob { subject: subject(name, epoch), task: Task::Recovery(recovery) }
}

fn job(name: &str, epoch: u64, isolated_at: u64) -> VerifyJob {
    recovery(name, epoch, isolated(isolated_at))
}

fn opinion(name: &str, epoch: u64) -> VerifyJob {
    VerifyJob { subject: subject(name, epoch), task: Task::Opinion { reason: Reason::UpstreamStatus } }
}

fn early_return(name: &str, epoch: u64) -> VerifyJob {
    VerifyJob { subject: subject(name, epoch), task: Task::EarlyReturn { since: at(0) } }
}

/// A list of one.
fn one(job: &VerifyJob) -> [VerifyJob; 1] {
    [job.clone()]
}

fn steady() -> f64 {
    0.5
}

fn started(schedule: &mut Schedule, seconds: u64) -> Vec<String> {
    schedule.start_due(at(seconds)).iter().map(|subject| subject.endpoint.id.to_string()).collect()
}

fn failed(schedule: &mut Schedule, name: &str, epoch: u64, seconds: u64) -> Option<Failed> {
    schedule.failed(&id(name), Epoch::from_raw(epoch), at(seconds), 0.5)
}

fn passed(schedule: &mut Schedule, name: &str, epoch: u64, seconds: u64) -> Option<Passed> {
    schedule.passed(&id(name), Epoch::from_raw(epoch), at(seconds))
}

fn due(schedule: &Schedule) -> Option<u64> {
    schedule.next_due().map(|due| due.since_start().as_secs())
}

fn conversation(name: &str, epoch: u64) -> Conversation {
    (id(name), Epoch::from_raw(epoch))
}

/// Fails every verification as soon as it is due, and returns the seconds at which they began.
fn begins(schedule: &mut Schedule, name: &str, epoch: u64, count: usize) -> Vec<u64> {
    let mut begins = Vec::new();
    for _ in 0..count {
        let due = schedule.next_due().unwrap();
        assert_eq!(started(schedule, due.since_start().as_secs()), [name]);
        begins.push(due.since_start().as_secs());
        assert!(matches!(failed(schedule, name, epoch, due.since_start().as_secs()), Some(Failed::StillFailing(_))));
    }
    begins
}

#[test]
fn delays_grow_from_the_isolation_on() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 100)], at(100), steady);
    assert_eq!(begins(&mut schedule, "a", 1, 6), [105, 115, 135, 175, 235, 295]);
}

#[test]
fn what_only_the_operator_can_mend_is_knocked_at_ever_more_rarely() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[recovery("a", 1, Recovery { reason: Reason::Credential, ..isolated(0) })], at(0), steady);
    let begins = begins(&mut schedule, "a", 1, 12);
    assert_eq!(begins[0], 5);
    assert_eq!(begins[11] - begins[10], 900);
}

#[test]
fn no_more_run_at_a_time_than_there_is_room_for() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 2), job("b", 2, 0), job("c", 3, 1)], at(2), steady);
    assert_eq!(started(&mut schedule, 100), ["b", "c"]);
    assert_eq!(started(&mut schedule, 100), [""; 0]);
    assert_eq!(schedule.next_due(), None);
    failed(&mut schedule, "b", 2, 100);
    assert_eq!(started(&mut schedule, 100), ["a"]);
}

#[test]
fn one_that_left_the_list_is_void_at_once() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    assert_eq!(schedule.update(&[job("a", 4, 6)], at(6), steady), [(id("a"), Epoch::from_raw(1))]);
    assert_eq!(failed(&mut schedule, "a", 1, 7), None);
    assert_eq!(passed(&mut schedule, "a", 1, 7), None);
    assert_eq!(started(&mut schedule, 11), ["a"]);
}

#[test]
fn a_relapse_goes_on_with_the_delay_that_was_reached() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    begins(&mut schedule, "a", 1, 3);
    schedule.update(&[], at(50), steady);
    schedule.update(&[recovery("a", 3, Recovery { relapse: true, ..isolated(60) })], at(60), steady);
    assert_eq!(schedule.next_due(), Some(at(60 + 40)));
    schedule.update(&[], at(70), steady);
    schedule.update(&[job("a", 5, 1000)], at(1000), steady);
    assert_eq!(schedule.next_due(), Some(at(1005)));
}

/// The endpoint passes each conversation at once, but fails all other requests: it got traffic after each first delay.
#[test]
fn each_relapse_of_one_that_always_passes_makes_the_delay_longer() {
    let mut schedule = Schedule::new(POLICY);
    for (epoch, now, relapse, due_in) in [
        (1, 0, false, 5),
        (3, 100, true, 10),
        (5, 200, true, 20),
        (7, 300, true, 40),
        (9, 400, true, 60),
        (11, 500, true, 60),
        (13, 600, false, 5),
        (15, 700, true, 10),
    ] {
        schedule.update(&[recovery("a", epoch, Recovery { relapse, ..isolated(now) })], at(now), steady);
        assert_eq!(due(&schedule), Some(now + due_in), "epoch {epoch}");
        assert_eq!(started(&mut schedule, now + due_in), ["a"]);
        assert!(passed(&mut schedule, "a", epoch, now + due_in).is_some());
        schedule.update(&[], at(now + due_in), steady);
    }
}

#[test]
fn a_passed_one_that_stays_on_the_list_is_verified_again() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    assert_eq!(passed(&mut schedule, "a", 1, 6), Some(Passed::Recovered { verifications: 1, step: 1 }));
    schedule.update(&[job("a", 1, 0)], at(7), steady);
    assert_eq!(started(&mut schedule, 11), ["a"]);
}

#[test]
fn a_redefined_one_is_verified_at_once() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[recovery("a", 1, Recovery { urgency: Urgency::AtOnce, ..isolated(0) })], at(3), steady);
    assert_eq!(started(&mut schedule, 3), ["a"]);
}

#[test]
fn one_that_comes_to_be_in_doubt_is_verified_at_once() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    schedule.update(&[recovery("a", 1, Recovery { urgency: Urgency::AtOnce, ..isolated(0) })], at(1), steady);
    assert_eq!(started(&mut schedule, 1), ["a"]);
    failed(&mut schedule, "a", 1, 2);
    schedule.update(&[recovery("a", 1, Recovery { urgency: Urgency::AtOnce, ..isolated(0) })], at(3), steady);
    assert_eq!(due(&schedule), Some(12), "it was at once already");
}

#[test]
fn one_can_be_started_out_of_turn_but_not_twice() {
    let mut schedule = Schedule::new(POLICY);
    let streamed = Subject { manner: Manner::Streamed, ..subject("a", 3) };
    schedule.update(&[VerifyJob { subject: streamed.clone(), ..job("a", 3, 0) }], at(0), steady);
    assert_eq!(schedule.start_now(&subject("a", 2), at(0)), AtOnce::Stale);
    assert_eq!(schedule.start_now(&subject("a", 3), at(0)), AtOnce::Begin { subject: streamed, void: None });
    assert_eq!(schedule.start_now(&subject("a", 3), at(0)), AtOnce::UnderWay);
    assert_eq!(started(&mut schedule, 100), [""; 0]);
    let (_, progress) = schedule.progress().next().unwrap();
    let expected = Progress { epoch: Epoch::from_raw(3), purpose: Purpose::Recovery, verifications: 0, next: None };
    assert_eq!(progress, expected);
}

#[test]
fn an_endpoint_on_no_list_is_talked_to_when_an_admin_wants_it_and_counts_for_nothing() {
    let mut schedule = Schedule::new(POLICY);
    assert_eq!(schedule.start_now(&subject("a", 1), at(0)), AtOnce::Begin { subject: subject("a", 1), void: None });
    assert_eq!(schedule.start_now(&subject("a", 1), at(0)), AtOnce::UnderWay);
    assert_eq!((schedule.running(), schedule.progress().count()), (1, 0));
    assert_eq!(passed(&mut schedule, "a", 1, 1), None);
    assert_eq!(schedule.running(), 0);
    assert!(schedule.counts().is_empty());
}

#[test]
fn an_isolation_ends_the_conversation_that_was_under_way_before_it() {
    let mut schedule = Schedule::new(POLICY);
    schedule.start_now(&subject("a", 1), at(0));
    assert_eq!(schedule.update(&[job("a", 2, 1)], at(1), steady), [conversation("a", 1)]);
    assert_eq!(failed(&mut schedule, "a", 1, 2), None);
    assert_eq!(started(&mut schedule, 6), ["a"]);
    assert_eq!(schedule.running(), 1);
}

#[test]
fn what_an_admin_wants_of_a_newer_epoch_ends_the_conversation_of_the_older() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    let begins = AtOnce::Begin { subject: subject("a", 2), void: Some(conversation("a", 1)) };
    assert_eq!(schedule.start_now(&subject("a", 2), at(6)), begins);
    assert_eq!(passed(&mut schedule, "a", 1, 7), None);
    assert_eq!(schedule.running(), 1);
}

#[test]
fn while_an_admins_conversation_is_under_way_the_listed_one_waits() {
    let mut schedule = Schedule::new(POLICY);
    schedule.start_now(&subject("a", 1), at(0));
    let opinion = opinion("a", 1);
    assert_eq!(schedule.update(&[opinion], at(1), steady), []);
    assert_eq!((started(&mut schedule, 1).len(), due(&schedule)), (0, None));
    assert_eq!(failed(&mut schedule, "a", 1, 2), None, "it was begun before the doubt");
    assert_eq!(started(&mut schedule, 2), ["a"]);
}

#[test]
fn an_admins_verification_whose_list_comes_later_counts_for_it() {
    let mut schedule = Schedule::new(POLICY);
    schedule.start_now(&subject("a", 1), at(0));
    schedule.update(&[], at(20), steady);
    assert_eq!(schedule.update(&[job("a", 1, 0)], at(21), steady), []);
    let Some(Failed::StillFailing(finished)) = failed(&mut schedule, "a", 1, 22) else { panic!("it is listed") };
    assert_eq!((finished.verifications, finished.began), (1, at(0)), "however long ago it began");
}

#[test]
fn when_a_conversation_began_is_known_at_its_end_whatever_lists_have_come_meanwhile() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    schedule.update(&[job("a", 1, 0), job("b", 2, 20)], at(20), steady);
    let Some(Failed::StillFailing(finished)) = failed(&mut schedule, "a", 1, 22) else { panic!("it is listed") };
    assert_eq!(finished.began, at(5));
}

#[test]
fn what_was_begun_in_another_process_goes_on_from_there() {
    let resumed = |verified| Some(Resume { step: 2, since_isolation: verified });
    let verified = resumed(Some(Verified { verifications: 4, next: at(7) }));
    for (going_on, expected) in [
        (Recovery { resume: verified, ..isolated(0) }, 7),
        (Recovery { resume: verified, urgency: Urgency::AtOnce, ..isolated(0) }, 3),
        (Recovery { resume: resumed(None), relapse: true, ..isolated(0) }, 20),
        (Recovery { resume: resumed(None), ..isolated(0) }, 5),
    ] {
        let mut schedule = Schedule::new(POLICY);
        schedule.update(&[recovery("a", 1, going_on)], at(3), steady);
        assert_eq!(due(&schedule), Some(expected), "{going_on:?}");
    }
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[recovery("a", 1, Recovery { resume: verified, ..isolated(0) })], at(3), steady);
    assert_eq!(started(&mut schedule, 7), ["a"]);
    let Some(Failed::StillFailing(finished)) = failed(&mut schedule, "a", 1, 7) else { panic!("it is listed") };
    assert_eq!((finished.step, finished.verifications), (3, 5));
}

#[test]
fn a_second_opinion_is_asked_twice_at_once_and_then_rests() {
    let mut schedule = Schedule::new(POLICY);
    let opinion = opinion("a", 1);
    schedule.update(&one(&opinion), at(10), steady);
    for round in [10, 20] {
        assert_eq!(started(&mut schedule, round), ["a"]);
        assert_eq!(failed(&mut schedule, "a", 1, round + 2), Some(Failed::OnceMore));
        assert_eq!(started(&mut schedule, round + 2), ["a"]);
        assert_eq!(failed(&mut schedule, "a", 1, round + 5), Some(Failed::Unfit));
        schedule.update(&one(&opinion), at(round + 6), steady);
        assert_eq!(due(&schedule), Some(round + 10), "unless the verdict was lost, the next list is without it");
    }
    assert!(schedule.counts().is_empty(), "opinions are no verifications since an isolation");
}

#[test]
fn a_second_opinion_that_passes_forgets_the_failure_before_it() {
    let mut schedule = Schedule::new(POLICY);
    let opinion = opinion("a", 1);
    schedule.update(&one(&opinion), at(0), steady);
    started(&mut schedule, 0);
    assert_eq!(failed(&mut schedule, "a", 1, 1), Some(Failed::OnceMore));
    started(&mut schedule, 1);
    assert_eq!(passed(&mut schedule, "a", 1, 2), Some(Passed::Fit(AtHome::Opinion)));
    assert_eq!(due(&schedule), Some(7));
    started(&mut schedule, 7);
    assert_eq!(failed(&mut schedule, "a", 1, 8), Some(Failed::OnceMore));
}

#[test]
fn an_early_return_is_tried_at_its_own_pace() {
    let mut schedule = Schedule::new(POLICY);
    let task = Task::EarlyReturn { since: at(100) };
    let job = VerifyJob { subject: subject("a", 1), task };
    schedule.update(&one(&job), at(200), steady);
    assert_eq!(due(&schedule), Some(1000));
    assert_eq!(started(&mut schedule, 1000), ["a"]);
    let again = Failed::StillExhausted { next_in: Duration::from_secs(900) };
    assert_eq!(failed(&mut schedule, "a", 1, 1010), Some(again));
    assert_eq!(started(&mut schedule, 1910), ["a"]);
    assert_eq!(passed(&mut schedule, "a", 1, 1911), Some(Passed::Fit(AtHome::EarlyReturn)));
    assert_eq!(due(&schedule), Some(2811));
}

/// Found by reading: after a second opinion an old window was asked about at once, again and again.
#[test]
fn an_early_return_keeps_its_pace_also_behind_a_second_opinion() {
    let mut schedule = Schedule::new(POLICY);
    let early = VerifyJob { subject: subject("a", 1), task: Task::EarlyReturn { since: at(100) } };
    schedule.update(&one(&early), at(100), steady);
    schedule.update(&one(&opinion("a", 1)), at(5000), steady);
    assert_eq!(started(&mut schedule, 5000), ["a"]);
    assert_eq!(passed(&mut schedule, "a", 1, 5002), Some(Passed::Fit(AtHome::Opinion)));
    schedule.update(&one(&early), at(5002), steady);
    assert_eq!(due(&schedule), Some(5900));
}

#[test]
fn another_purpose_is_another_task() {
    let mut schedule = Schedule::new(POLICY);
    let early = early_return("a", 1);
    let opinion = opinion("a", 1);
    schedule.update(&one(&early), at(0), steady);
    assert_eq!(started(&mut schedule, 900), ["a"]);
    assert_eq!(schedule.update(&one(&opinion), at(901), steady), [conversation("a", 1)]);
    assert_eq!(started(&mut schedule, 901), ["a"]);
    assert_eq!(schedule.update(&[opinion], at(902), steady), []);
    assert_eq!(failed(&mut schedule, "a", 1, 902), Some(Failed::OnceMore));
}

#[test]
fn a_doubt_about_streams_voids_the_conversation_that_is_not_streamed() {
    let mut schedule = Schedule::new(POLICY);
    let opinion = opinion("a", 1);
    let streamed = Subject { manner: Manner::Streamed, ..subject("a", 1) };
    let about_streams = VerifyJob { subject: streamed.clone(), ..opinion.clone() };
    schedule.update(&one(&opinion), at(0), steady);
    assert_eq!(started(&mut schedule, 0), ["a"]);
    assert_eq!(schedule.update(&one(&about_streams), at(1), steady), [conversation("a", 1)]);
    assert_eq!(passed(&mut schedule, "a", 1, 1), None);
    assert_eq!(schedule.start_due(at(1)), [streamed]);
    assert_eq!(schedule.update(&[opinion], at(2), steady), [], "a streamed one proves whole answers too");
}

/// Once wrong: a conversation that the model alone had to pass went on, and its failure settled the doubt.
#[test]
fn a_doubt_voids_the_conversation_in_which_no_other_models_answer_suffices() {
    let mut schedule = Schedule::new(POLICY);
    let doubted = Subject { suffices: Suffices::AnyModel, ..subject("a", 1) };
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    let now = VerifyJob { subject: doubted.clone(), ..job("a", 1, 0) };
    assert_eq!(schedule.update(&one(&now), at(6), steady), [conversation("a", 1)]);
    assert_eq!(schedule.start_due(at(6)), [doubted]);
}

#[test]
fn a_hastened_verification_comes_as_soon_as_it_may() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 100)], at(100), steady);
    begins(&mut schedule, "a", 1, 3);
    assert_eq!(due(&schedule), Some(175));
    schedule.hasten(&[conversation("a", 9), conversation("b", 1)], at(136));
    assert_eq!(due(&schedule), Some(175), "not for another epoch, nor for another endpoint");
    schedule.hasten(&[conversation("a", 1)], at(136));
    assert_eq!(due(&schedule), Some(140), "the latest began at 135");
    schedule.hasten(&[conversation("a", 1)], at(138));
    assert_eq!(due(&schedule), Some(140));
    assert_eq!(started(&mut schedule, 140), ["a"]);
    schedule.hasten(&[conversation("a", 1)], at(141));
    let Some(Failed::StillFailing(finished)) = failed(&mut schedule, "a", 1, 150) else { panic!("it is listed") };
    assert_eq!((finished.began, finished.next, finished.verifications), (at(140), at(210), 4));
    schedule.hasten(&[conversation("a", 1)], at(160));
    assert_eq!(due(&schedule), Some(160), "no later than now");
}

#[test]
fn a_conversation_of_an_older_epoch_counts_for_how_often_one_may_knock() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    passed(&mut schedule, "a", 1, 6);
    schedule.update(&[], at(6), steady);
    schedule.update(&[job("a", 3, 7)], at(7), steady);
    schedule.hasten(&[conversation("a", 3)], at(7));
    assert_eq!(due(&schedule), Some(10));
}

#[test]
fn neither_opinions_nor_early_returns_are_hastened() {
    for job in [opinion("a", 1), early_return("a", 1)] {
        let mut schedule = Schedule::new(POLICY);
        schedule.update(&[job], at(1000), steady);
        assert_eq!(started(&mut schedule, 1000), ["a"]);
        passed(&mut schedule, "a", 1, 1001);
        let before = due(&schedule);
        schedule.hasten(&[conversation("a", 1)], at(1005));
        assert_eq!(due(&schedule), before);
    }
}

#[test]
fn the_count_is_that_of_the_latest_isolation() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    begins(&mut schedule, "a", 1, 2);
    schedule.update(&[opinion("a", 2)], at(50), steady);
    assert_eq!(started(&mut schedule, 50), ["a"]);
    passed(&mut schedule, "a", 2, 51);
    assert_eq!(count(&schedule, &endpoint("a", Home::Primary)), Some(2));
    schedule.update(&[job("a", 3, 60)], at(60), steady);
    assert_eq!(count(&schedule, &endpoint("a", Home::Primary)), Some(0));
}

/// Once wrong: with a fresh epoch it began anew, though the isolation was the same.
#[test]
fn the_count_goes_on_while_the_isolation_does() {
    let another = Arc::new(Endpoint { auth: Auth::Passthrough, ..endpoint("a", Home::Primary) });
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    begins(&mut schedule, "a", 1, 2);
    schedule.update(&[], at(50), steady);
    schedule.update(&[job("a", 3, 0)], at(60), steady);
    assert_eq!(count(&schedule, &endpoint("a", Home::Primary)), Some(2), "switched off and on");
    let redefined = Subject { endpoint: Arc::clone(&another), ..subject("a", 4) };
    schedule.update(&[VerifyJob { subject: redefined, ..job("a", 4, 0) }], at(70), steady);
    assert_eq!(count(&schedule, &another), Some(2), "with another key");
    assert_eq!(
        count(&schedule, &endpoint("a", Home::Primary)),
        None,
        "a service of the same name that was not verified"
    );
}

fn count(schedule: &Schedule, service: &Endpoint) -> Option<u32> {
    schedule.counts().get(&id("a"))?.about(service)
}

#[test]
fn shorter_delays_bring_the_next_verification_forward_and_longer_ones_put_off_none() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), || 0.5);
    for _ in 0..5 {
        let due = schedule.next_due().unwrap();
        schedule.start_due(due);
        schedule.failed(&id("a"), Epoch::from_raw(1), due, 0.5);
    }
    let last_failed = schedule.next_due().unwrap().before(Duration::from_secs(60));
    schedule.set_policy(SchedulePolicy { interval: Duration::from_secs(600), ..POLICY }, last_failed, || 0.5);
    assert_eq!(schedule.next_due(), Some(last_failed + Duration::from_secs(60)), "what was planned stays");
    schedule.set_policy(SchedulePolicy { interval: Duration::from_secs(7), ..POLICY }, last_failed, || 0.5);
    assert_eq!(schedule.next_due(), Some(last_failed + Duration::from_secs(7)));
}

/// Once wrong: the progress of every endpoint that there ever was remained in memory.
#[test]
fn of_one_that_is_gone_nothing_is_remembered_unless_it_may_come_back_isolated() {
    for (is_known, goes_on) in [(false, 5), (true, 20)] {
        let mut schedule = Schedule::new(POLICY);
        schedule.update(&[job("a", 1, 0)], at(0), steady);
        begins(&mut schedule, "a", 1, 2);
        schedule.update(&[], at(15), steady);
        let known = if is_known { vec![id("a")] } else { Vec::new() };
        schedule.forget_others(&known.into_iter().collect());
        assert_eq!((schedule.reached.contains_key(&id("a")), schedule.counts.len()), (is_known, usize::from(is_known)));
        let relapse = Recovery { relapse: true, ..isolated(100) };
        schedule.update(&[recovery("a", 2, relapse)], at(100), steady);
        assert_eq!(due(&schedule), Some(100 + goes_on));
    }
}

#[test]
fn one_that_is_listed_is_counted_though_it_is_said_to_be_gone() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    begins(&mut schedule, "a", 1, 1);
    schedule.forget_others(&[].into());
    assert_eq!(schedule.progress().next().map(|(_, progress)| progress.verifications), Some(1));
}
