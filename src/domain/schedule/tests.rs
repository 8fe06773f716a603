use std::sync::Arc;

use super::super::endpoint::Home;
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

fn job(name: &str, epoch: u64, isolated_at: u64) -> VerifyJob {
    VerifyJob {
        endpoint: Arc::new(endpoint(name, Home::Primary)),
        purpose: Purpose::Recovery,
        epoch: Epoch::from_raw(epoch),
        reason: Reason::UpstreamStatus,
        model: None,
        isolated_at: at(isolated_at),
        relapse: false,
        at_once: false,
    }
}

fn steady() -> f64 {
    0.5
}

fn started(schedule: &mut Schedule, seconds: u64) -> Vec<String> {
    schedule.start_due(at(seconds)).iter().map(|job| job.endpoint.id.to_string()).collect()
}

/// Fails every verification as soon as it is due and tells the seconds at which they began.
fn begins(schedule: &mut Schedule, name: &str, epoch: u64, count: usize) -> Vec<u64> {
    let mut begins = Vec::new();
    for _ in 0..count {
        let due = schedule.next_due().unwrap();
        assert_eq!(started(schedule, due.since_start().as_secs()), [name]);
        begins.push(due.since_start().as_secs());
        schedule.failed(&id(name), Epoch::from_raw(epoch), due, 0.5).unwrap();
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
    schedule.update(&[VerifyJob { reason: Reason::Credential, ..job("a", 1, 0) }], at(0), steady);
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
    schedule.failed(&id("b"), Epoch::from_raw(2), at(100), 0.5);
    assert_eq!(started(&mut schedule, 100), ["a"]);
}

#[test]
fn one_that_left_the_list_is_void_at_once() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    assert_eq!(schedule.update(&[job("a", 4, 6)], at(6), steady), [(id("a"), Epoch::from_raw(1))]);
    assert_eq!(schedule.failed(&id("a"), Epoch::from_raw(1), at(7), 0.5), None);
    assert_eq!(schedule.passed(&id("a"), Epoch::from_raw(1), at(7)), None);
    assert_eq!(started(&mut schedule, 11), ["a"]);
}

#[test]
fn a_relapse_goes_on_with_the_delay_that_was_reached() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    begins(&mut schedule, "a", 1, 3);
    schedule.update(&[], at(50), steady);
    schedule.update(&[VerifyJob { relapse: true, ..job("a", 3, 60) }], at(60), steady);
    assert_eq!(schedule.next_due(), Some(at(60 + 40)));
    schedule.update(&[], at(70), steady);
    schedule.update(&[job("a", 5, 1000)], at(1000), steady);
    assert_eq!(schedule.next_due(), Some(at(1005)));
}

#[test]
fn a_passed_one_that_stays_on_the_list_is_verified_again() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(started(&mut schedule, 5), ["a"]);
    assert_eq!(schedule.passed(&id("a"), Epoch::from_raw(1), at(6)), Some(1));
    schedule.update(&[job("a", 1, 0)], at(7), steady);
    assert_eq!(started(&mut schedule, 11), ["a"]);
}

#[test]
fn a_redefined_one_is_verified_at_once() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[VerifyJob { at_once: true, ..job("a", 1, 0) }], at(3), steady);
    assert_eq!(started(&mut schedule, 3), ["a"]);
}

#[test]
fn one_can_be_started_out_of_turn_but_not_twice() {
    let mut schedule = Schedule::new(POLICY);
    schedule.update(&[job("a", 1, 0)], at(0), steady);
    assert_eq!(schedule.start_now(&id("a"), Epoch::from_raw(9)), None);
    assert!(schedule.start_now(&id("a"), Epoch::from_raw(1)).is_some());
    assert_eq!(schedule.start_now(&id("a"), Epoch::from_raw(1)), None);
    let (_, progress) = schedule.progress().next().unwrap();
    assert_eq!(progress, Progress { epoch: Epoch::from_raw(1), verifications: 0, next: None });
}
