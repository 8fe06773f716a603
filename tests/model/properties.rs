//! Properties of single cores against obvious references.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use qcc_gateway::domain::audit::Audit;
use qcc_gateway::domain::breaker::{BreakerBank, BreakerPolicy};
use qcc_gateway::domain::challenge::{Challenge, Code, RecoveryProof, Reply, Verdict};
use qcc_gateway::domain::classify::{Judgement, Words};
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::ids::{EndpointId, Epoch, Serial, Ticket};
use qcc_gateway::domain::outcome::{FailureKind, Fatal, Outcome, Reason};
use qcc_gateway::domain::outcome_table::{Class, LastResort, PathKind};
use qcc_gateway::domain::queues::{Evidence, Queues};
use qcc_gateway::domain::retry::{Ending, Plan, RetryPolicy};
use qcc_gateway::domain::schedule::{Purpose, Schedule, SchedulePolicy, VerifyJob};
use qcc_gateway::domain::time::Moment;
use qcc_gateway::domain::topology::Topology;

use super::chance::{id, plain_endpoint};
use super::counts::Counts;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn proof(endpoint: &EndpointId, epoch: Epoch) -> RecoveryProof {
    let code = Code::from_random(7);
    let body = format!(r#"{{"content":[{{"type":"text","text":"{code}"}}]}}"#);
    let reply =
        Reply { protocol: Protocol::Anthropic, status: 200, body: body.as_bytes(), elapsed: Duration::from_millis(1) };
    match Challenge::new(endpoint.clone(), epoch, code).judge(&reply, Words::Left) {
        Verdict::Proven(proof) => proof,
        Verdict::Unproven(unproven) => panic!("the code was not accepted: {unproven:?}"),
    }
}

const SCHEDULE: SchedulePolicy = SchedulePolicy {
    initial_delay: Duration::from_secs(5),
    multiplier: 2.0,
    interval: Duration::from_secs(60),
    interval_account: Duration::from_secs(900),
    jitter: 0.0,
    concurrency: 2,
};

/// The delay before verification `step`, the first being 0: doubled step by step up to the limit.
fn plain_delay(step: u32) -> Duration {
    (0..step).fold(SCHEDULE.initial_delay, |delay, _| (delay * 2).min(SCHEDULE.interval))
}

#[derive(Clone, Debug)]
enum Move {
    List(Vec<(usize, u64, bool)>),
    StartDue,
    StartNow(usize, u64),
    Passed(usize, u64),
    Failed(usize, u64),
    Wait(u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    let named = || (0..3_usize, 1..4_u64);
    prop_oneof![
        prop::collection::vec((0..3_usize, 1..4_u64, any::<bool>()), 0..4).prop_map(Move::List),
        Just(Move::StartDue),
        named().prop_map(|(name, epoch)| Move::StartNow(name, epoch)),
        named().prop_map(|(name, epoch)| Move::Passed(name, epoch)),
        named().prop_map(|(name, epoch)| Move::Failed(name, epoch)),
        (0..40_u64).prop_map(Move::Wait),
    ]
}

/// One endpoint that is to be verified, as one would note it on paper.
#[derive(Clone)]
struct Note {
    epoch: u64,
    step: u32,
    due: Moment,
    running: bool,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn job(name: usize, epoch: u64, relapse: bool, isolated_at: Moment) -> VerifyJob {
    VerifyJob {
        endpoint: Arc::new(plain_endpoint(id(NAMES[name]))),
        purpose: Purpose::Recovery,
        epoch: Epoch::from_raw(epoch),
        reason: Reason::Connect,
        model: None,
        isolated_at,
        relapse,
        at_once: false,
    }
}

proptest! {
    /// Whatever comes in whatever order: who is verified is who is listed, in its listed epoch, when its time has come, and
    /// no more at a time than may be.
    #[test]
    fn the_schedule_agrees_with_notes_on_paper(moves in prop::collection::vec(any_move(), 0..60)) {
        let mut schedule = Schedule::new(SCHEDULE);
        let mut notes: BTreeMap<usize, Note> = BTreeMap::new();
        let mut reached: BTreeMap<usize, u32> = BTreeMap::new();
        let mut now = Moment::START;
        for next in moves {
            match next {
                Move::Wait(seconds) => now += Duration::from_secs(seconds),
                Move::List(mut named) => {
                    named.sort_unstable();
                    named.dedup_by_key(|(name, ..)| *name);
                    let jobs: Vec<_> = named.iter().map(|(name, epoch, relapse)| job(*name, *epoch, *relapse, now)).collect();
                    let mut void = Vec::new();
                    for (name, note) in notes.clone() {
                        if !named.iter().any(|(other, epoch, _)| *other == name && *epoch == note.epoch) {
                            notes.remove(&name);
                            reached.insert(name, note.step);
                            void.extend(note.running.then(|| (id(NAMES[name]), Epoch::from_raw(note.epoch))));
                        }
                    }
                    for (name, epoch, relapse) in named {
                        notes.entry(name).or_insert_with(|| {
                            let before = reached.remove(&name).unwrap_or_default();
                            let step = if relapse { before } else { 0 };
                            Note { epoch, step, due: now + plain_delay(step), running: false }
                        });
                    }
                    prop_assert_eq!(schedule.update(&jobs, now, || 0.5), void);
                }
                Move::StartDue => {
                    let room = SCHEDULE.concurrency.saturating_sub(notes.values().filter(|note| note.running).count());
                    let mut due: Vec<_> = notes.iter().filter(|(_, note)| !note.running && note.due <= now).collect();
                    due.sort_by_key(|(name, note)| (note.due, **name));
                    let started: Vec<usize> = due.into_iter().take(room).map(|(name, _)| *name).collect();
                    for name in &started {
                        notes.get_mut(name).unwrap().running = true;
                    }
                    let really: Vec<_> = schedule.start_due(now).into_iter().map(|job| job.endpoint.id.clone()).collect();
                    prop_assert_eq!(really, started.into_iter().map(|name| id(NAMES[name])).collect::<Vec<_>>());
                }
                Move::StartNow(name, epoch) => {
                    let note = notes.get_mut(&name).filter(|note| note.epoch == epoch && !note.running);
                    let starts = schedule.start_now(&id(NAMES[name]), Epoch::from_raw(epoch)).is_some();
                    prop_assert_eq!(starts, note.map(|note| note.running = true).is_some());
                }
                Move::Passed(name, epoch) => {
                    let note = notes.get_mut(&name).filter(|note| note.epoch == epoch);
                    let counted = schedule.passed(&id(NAMES[name]), Epoch::from_raw(epoch), now).is_some();
                    prop_assert_eq!(counted, note.is_some());
                    if let Some(note) = note {
                        (note.running, note.due) = (false, now + SCHEDULE.initial_delay);
                    }
                }
                Move::Failed(name, epoch) => {
                    let note = notes.get_mut(&name).filter(|note| note.epoch == epoch);
                    let finished = schedule.failed(&id(NAMES[name]), Epoch::from_raw(epoch), now, 0.5);
                    prop_assert_eq!(finished.is_some(), note.is_some());
                    if let Some(note) = note {
                        note.step += 1;
                        (note.running, note.due) = (false, now + plain_delay(note.step));
                        prop_assert_eq!(finished.unwrap().next_in, plain_delay(note.step));
                    }
                }
            }
            let shown: Vec<_> = schedule.progress().map(|(id, progress)| (id.clone(), progress.epoch, progress.next)).collect();
            let noted = notes.iter().map(|(name, note)| {
                (id(NAMES[*name]), Epoch::from_raw(note.epoch), (!note.running).then_some(note.due))
            });
            prop_assert_eq!(shown, noted.collect::<Vec<_>>());
        }
    }

    /// Whatever is reported of whichever epoch, the breakers judge as a count over a list of everything does.
    #[test]
    fn the_breakers_agree_with_a_count(
        threshold in 1..6_u32,
        min_requests in 1..12_u32,
        reports in prop::collection::vec((0..2_usize, 0..4_u64, 0..8_u8, 0..6_u64), 0..120),
    ) {
        let window = Duration::from_secs(20);
        let policy = BreakerPolicy { failure_threshold: threshold, failure_rate: 0.5, min_requests, window };
        let (mut bank, mut counts, mut now) = (BreakerBank::default(), Counts::default(), Moment::START);
        for (serial, (name, epoch, what, seconds)) in (0_u64..).zip(reports) {
            now += Duration::from_secs(seconds);
            let (endpoint, epoch) = (id(NAMES[name]), Epoch::from_raw(epoch));
            let outcome = match what {
                0 => Outcome::Fatal(Fatal::Credential),
                1..4 => Outcome::Failure(FailureKind::Stream),
                4 => Outcome::Neutral,
                5 => {
                    bank.reset(&endpoint, epoch);
                    counts.reset(&endpoint, epoch);
                    continue;
                }
                _ => Outcome::Success,
            };
            let ticket = Ticket { endpoint, epoch, serial: Serial::from_raw(serial) };
            let judgement = bank.observe(&ticket, outcome, now, &policy);
            let right = counts.observe(&ticket, outcome, now, &policy);
            prop_assert!(right.contains(&judgement), "{:?} of {:?}", judgement, right);
        }
    }

    /// The audit knows of every moment of the epoch clock whether an endpoint was isolated then.
    #[test]
    fn the_audit_agrees_with_a_diary(diary in prop::collection::vec(any::<bool>(), 1..60), written_at in 0..80_usize) {
        let mut audit = Audit::default();
        for (epoch, isolated) in (1_u64..).zip(&diary) {
            audit.note(&id("a"), Epoch::from_raw(epoch), *isolated);
        }
        let was_isolated = match written_at.checked_sub(1) {
            Some(day) => diary.get(day).or(diary.last()).copied().unwrap(),
            None => false,
        };
        prop_assert_eq!(audit.check(&id("a"), Epoch::from_raw(u64::try_from(written_at).unwrap())), was_isolated);
        prop_assert_eq!(audit.leaks(), u64::from(was_isolated));
    }

    /// No news of another epoch than the present one holds, isolates or restores, wherever the endpoint is.
    #[test]
    fn news_of_any_other_epoch_moves_nobody(moves in prop::collection::vec(0..4_u8, 0..20), off_by in 1..9_u64) {
        let evidence = || Evidence { reason: Reason::Connect, failures: 1, error: None, model: None };
        let name = id("a");
        let mut queues = Queues::default();
        queues.apply(Arc::new(Topology::new([plain_endpoint(name.clone())])));
        for next in moves {
            let present = queues.get(&name).unwrap().epoch();
            for other in [present.get() + off_by, present.get().saturating_sub(off_by)].map(Epoch::from_raw) {
                let before = queues.get(&name).map(|member| (member.epoch(), member.standing(), member.is_held()));
                prop_assert!(!queues.hold(&name, other, Serial::from_raw(1)));
                prop_assert!(queues.isolate(&name, other, evidence(), at(0), Duration::ZERO).is_none());
                prop_assert!(queues.restore(&proof(&name, other), at(0)).is_none());
                let after = queues.get(&name).map(|member| (member.epoch(), member.standing(), member.is_held()));
                prop_assert_eq!(before, after);
            }
            match next {
                0 => drop(queues.isolate(&name, present, evidence(), at(0), Duration::ZERO)),
                1 => drop(queues.restore(&proof(&name, present), at(0))),
                2 => drop(queues.set_enabled(&name, false)),
                _ => drop(queues.set_enabled(&name, true)),
            }
        }
    }

    /// Of the answers that may be passed on, the best is; of equals, the last.
    #[test]
    fn a_requests_ending_is_the_best_of_its_answers(attempts in prop::collection::vec(0..6_u8, 0..8)) {
        use LastResort::{ClientError, Overload, RateLimit, ServerError};
        let mut plan = Plan::new(RetryPolicy {
            max_attempts: 99,
            max_per_endpoint: 99,
            deadline: at(1),
            backoff: Duration::ZERO,
            backoff_max: Duration::ZERO,
            park: Duration::ZERO,
        });
        let ticket = Ticket { endpoint: id("a"), epoch: Epoch::from_raw(1), serial: Serial::from_raw(1) };
        let mut answers = Vec::new();
        for (number, what) in attempts.iter().enumerate() {
            let rank = [ClientError, ServerError, RateLimit, Overload].get(usize::from(*what)).copied();
            let class = if *what == 4 { Class::Timeout } else { Class::UpstreamStatus };
            plan.begin();
            let judgement = Judgement::of_fault(class, "x");
            plan.failed(&ticket, &judgement, PathKind::Llm, rank.map(|rank| (rank, number)), at(0));
            answers.extend(rank.map(|rank| (rank, number)));
        }
        let all = u32::try_from(attempts.len()).unwrap();
        let expected = match answers.into_iter().min_by_key(|(rank, number)| (*rank, Reverse(*number))) {
            Some((Overload, number)) => Ending::Overloaded(number),
            Some((_, number)) => Ending::PassOn(number),
            None if all == 0 => Ending::NoAttempt,
            None if attempts.iter().all(|what| *what == 4) => Ending::TimedOut { attempts: all },
            None => Ending::Failed { attempts: all },
        };
        prop_assert_eq!(plan.take_ending(), expected);
    }
}
