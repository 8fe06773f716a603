//! Properties of single cores against obvious references.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use qcc_gateway::domain::audit::Audit;
use qcc_gateway::domain::breaker::{BreakerBank, BreakerPolicy};
use qcc_gateway::domain::challenge::{Challenge, Code, RecoveryProof, Reply, ReplyBody, Verdict};
use qcc_gateway::domain::classify::{Judgement, Words};
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::finding::Asked;
use qcc_gateway::domain::ids::{EndpointId, Epoch, Serial, Ticket};
use qcc_gateway::domain::outcome::{FailureKind, Fatal, Outcome, Reason};
use qcc_gateway::domain::outcome_table::{Class, LastResort, PathKind};
use qcc_gateway::domain::queues::{Evidence, Queues};
use qcc_gateway::domain::retry::{Ending, Plan, RetryPolicy};
use qcc_gateway::domain::schedule::{
    AtHome, AtOnce, Failed, Passed, Purpose, Recovery, Schedule, SchedulePolicy, Subject, Suffices, Task, Urgency,
    VerifyJob,
};
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
    let body = ReplyBody::Whole(body.as_bytes());
    let reply = Reply {
        protocol: Protocol::Anthropic,
        status: 200,
        body,
        asked: Asked::ANYTHING,
        elapsed: Duration::from_millis(1),
    };
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
    List(Vec<(usize, u64, Purpose, bool)>),
    StartDue,
    StartNow(usize, u64),
    Passed(usize, u64),
    Failed(usize, u64),
    Hasten(usize, u64),
    Wait(u64),
}

const OPINION: Purpose = Purpose::AtHome(AtHome::Opinion);
const EARLY_RETURN: Purpose = Purpose::AtHome(AtHome::EarlyReturn);

fn any_purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![3 => Just(Purpose::Recovery), 2 => Just(OPINION), 1 => Just(EARLY_RETURN)]
}

fn any_move() -> impl Strategy<Value = Move> {
    let named = || (0..3_usize, 1..4_u64);
    prop_oneof![
        prop::collection::vec((0..3_usize, 1..4_u64, any_purpose(), any::<bool>()), 0..4).prop_map(Move::List),
        Just(Move::StartDue),
        named().prop_map(|(name, epoch)| Move::StartNow(name, epoch)),
        named().prop_map(|(name, epoch)| Move::Passed(name, epoch)),
        named().prop_map(|(name, epoch)| Move::Failed(name, epoch)),
        named().prop_map(|(name, epoch)| Move::Hasten(name, epoch)),
        (0..40_u64).prop_map(Move::Wait),
    ]
}

/// One endpoint that is to be talked to, as one would note it on paper.
#[derive(Clone)]
struct Note {
    epoch: u64,
    purpose: Purpose,
    step: u32,
    due: Moment,
    running: bool,
    doubts: u32,
    isolated_at: Moment,
    verifications: u32,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn subject(name: usize, epoch: u64) -> Subject {
    let endpoint = Arc::new(plain_endpoint(id(NAMES[name])));
    Subject::new(endpoint, Epoch::from_raw(epoch))
}

fn job(name: usize, epoch: u64, purpose: Purpose, relapse: bool, isolated_at: Moment) -> VerifyJob {
    let reason = Reason::Connect;
    let task = match purpose {
        Purpose::Recovery => {
            Task::Recovery(Recovery { reason, isolated_at, relapse, resume: None, urgency: Urgency::Delayed })
        }
        Purpose::AtHome(AtHome::Opinion) => Task::Opinion { reason },
        Purpose::AtHome(AtHome::EarlyReturn) => Task::EarlyReturn { since: isolated_at },
    };
    VerifyJob { subject: subject(name, epoch), task }
}

/// What a conversation counted for.
fn purpose_of(failed: Failed) -> Purpose {
    match failed {
        Failed::StillFailing(_) => Purpose::Recovery,
        Failed::OnceMore | Failed::Unfit => OPINION,
        Failed::StillExhausted { .. } => EARLY_RETURN,
    }
}

fn conversation(name: usize, epoch: u64) -> (EndpointId, Epoch) {
    (id(NAMES[name]), Epoch::from_raw(epoch))
}

/// What the schedule should do, kept as notes on paper.
#[derive(Default)]
struct Paper {
    notes: BTreeMap<usize, Note>,
    /// Conversations with endpoints on no list.
    unlisted: BTreeMap<usize, u64>,
    reached: BTreeMap<usize, u32>,
    began: BTreeMap<usize, Moment>,
    /// How often those that left were verified since which isolation.
    counts: BTreeMap<usize, (Moment, u32)>,
}

impl Paper {
    /// The conversations under way. More than one with an endpoint would show here.
    fn under_way(&self) -> Vec<(usize, u64)> {
        let listed = self.notes.iter().filter(|(_, note)| note.running).map(|(name, note)| (*name, note.epoch));
        listed.chain(self.unlisted.iter().map(|(name, epoch)| (*name, *epoch))).collect()
    }

    fn forget(&mut self, name: usize) -> Option<(EndpointId, Epoch)> {
        let note = self.notes.remove(&name)?;
        if note.purpose == Purpose::Recovery {
            self.reached.insert(name, note.step);
            self.counts.insert(name, (note.isolated_at, note.verifications));
        }
        note.running.then(|| conversation(name, note.epoch))
    }

    fn list(&mut self, named: &[(usize, u64, Purpose, bool)], now: Moment) -> Vec<(EndpointId, Epoch)> {
        let mut void = Vec::new();
        for (name, note) in self.notes.clone() {
            let same = |(other, epoch, purpose, _): &(usize, u64, Purpose, bool)| {
                (*other, *epoch, *purpose) == (name, note.epoch, note.purpose)
            };
            if !named.iter().any(same) {
                void.extend(self.forget(name));
            }
        }
        for (name, under_way) in self.unlisted.clone() {
            if named.iter().any(|(other, epoch, ..)| *other == name && *epoch != under_way) {
                self.unlisted.remove(&name);
                void.push(conversation(name, under_way));
            }
        }
        for (name, epoch, purpose, relapse) in named.iter().copied() {
            if self.notes.contains_key(&name) {
                continue;
            }
            let (mut step, mut due) = (0, now);
            match purpose {
                Purpose::Recovery => {
                    let before = self.reached.remove(&name).unwrap_or_default();
                    step = if relapse { before } else { 0 };
                    due += plain_delay(step);
                }
                Purpose::AtHome(AtHome::Opinion) => {}
                Purpose::AtHome(AtHome::EarlyReturn) => due += SCHEDULE.interval_account,
            }
            let running = purpose == Purpose::Recovery && self.unlisted.remove(&name).is_some();
            let same = self.counts.get(&name).filter(|(isolated_at, _)| *isolated_at == now);
            let verifications = same.map_or(0, |(_, count)| *count);
            let note = Note { epoch, purpose, step, due, running, doubts: 0, isolated_at: now, verifications };
            self.notes.insert(name, note);
        }
        void
    }

    /// Who may start, in order.
    fn due(&self, now: Moment) -> Vec<usize> {
        let may =
            |(name, note): &(&usize, &Note)| !note.running && note.due <= now && !self.unlisted.contains_key(*name);
        let mut due: Vec<_> = self.notes.iter().filter(may).collect();
        due.sort_by_key(|(name, note)| (note.due, **name));
        due.into_iter().map(|(name, _)| *name).collect()
    }

    /// Whether a wanted conversation begins, and what it breaks off.
    fn start_now(&mut self, name: usize, epoch: u64, now: Moment) -> (bool, Option<(EndpointId, Epoch)>) {
        let under_way = self.under_way().into_iter().find(|(other, _)| *other == name).map(|(_, epoch)| epoch);
        let listed = self.notes.get(&name).map(|note| note.epoch);
        if under_way == Some(epoch) || under_way.max(listed) > Some(epoch) {
            return (false, None);
        }
        self.began.insert(name, now);
        self.unlisted.remove(&name);
        if let Some(note) = self.notes.get_mut(&name).filter(|note| note.epoch == epoch) {
            note.running = true;
        } else {
            self.forget(name);
            self.unlisted.insert(name, epoch);
        }
        (true, under_way.map(|epoch| conversation(name, epoch)))
    }

    /// The note for which a conversation's end counts.
    fn ended(&mut self, name: usize, epoch: u64) -> Option<&mut Note> {
        if self.unlisted.get(&name) == Some(&epoch) {
            self.unlisted.remove(&name);
            return None;
        }
        let note = self.notes.get_mut(&name).filter(|note| note.running && note.epoch == epoch)?;
        note.running = false;
        Some(note)
    }

    fn hasten(&mut self, name: usize, epoch: u64, now: Moment) {
        let began = self.began.get(&name).copied();
        let Some(note) = self.notes.get_mut(&name).filter(|note| note.epoch == epoch) else { return };
        if note.purpose == Purpose::Recovery {
            let soonest = began.map_or(now, |began| (began + SCHEDULE.initial_delay).max(now));
            note.due = note.due.min(soonest);
        }
    }
}

proptest! {
    /// Whatever comes in whatever order: who is talked to is who is listed, in its listed epoch and for its listed purpose,
    /// when its time has come; never two at a time with one endpoint, and no more at a time than may be.
    #[test]
    fn the_schedule_agrees_with_notes_on_paper(moves in prop::collection::vec(any_move(), 0..60)) {
        let mut schedule = Schedule::new(SCHEDULE);
        let mut paper = Paper::default();
        let mut now = Moment::START;
        for next in moves {
            match next {
                Move::Wait(seconds) => now += Duration::from_secs(seconds),
                Move::List(mut named) => {
                    named.sort_unstable_by_key(|(name, ..)| *name);
                    named.dedup_by_key(|(name, ..)| *name);
                    let jobs: Vec<_> = named
                        .iter()
                        .map(|(name, epoch, purpose, relapse)| job(*name, *epoch, *purpose, *relapse, now))
                        .collect();
                    let void = paper.list(&named, now);
                    prop_assert_eq!(schedule.update(&jobs, now, || 0.5), void);
                }
                Move::StartDue => {
                    let room = SCHEDULE.concurrency.saturating_sub(paper.under_way().len());
                    let started: Vec<usize> = paper.due(now).into_iter().take(room).collect();
                    for name in &started {
                        paper.notes.get_mut(name).unwrap().running = true;
                        paper.began.insert(*name, now);
                    }
                    let really: Vec<_> = schedule.start_due(now).into_iter().map(|subject| subject.endpoint.id.clone()).collect();
                    prop_assert_eq!(really, started.into_iter().map(|name| id(NAMES[name])).collect::<Vec<_>>());
                }
                Move::StartNow(name, epoch) => {
                    let begins = paper.start_now(name, epoch, now);
                    match schedule.start_now(&subject(name, epoch), now) {
                        AtOnce::Begin { subject, void } => {
                            let counts_for = schedule.counts_for(&id(NAMES[name]), subject.epoch);
                            let noted = paper.notes.get(&name).map(|note| note.purpose);
                            prop_assert_eq!(counts_for.map(|task| task.purpose()), noted);
                            prop_assert_eq!(subject.epoch, Epoch::from_raw(epoch));
                            prop_assert_eq!(begins, (true, void));
                        }
                        AtOnce::UnderWay | AtOnce::Stale => prop_assert_eq!(begins, (false, None)),
                    }
                }
                Move::Passed(name, epoch) => {
                    let counted = schedule.passed(&id(NAMES[name]), Epoch::from_raw(epoch), now);
                    let note = paper.ended(name, epoch);
                    let purpose = counted.map(|passed| match passed {
                        Passed::Recovered { .. } => Purpose::Recovery,
                        Passed::Fit(purpose) => Purpose::AtHome(purpose),
                    });
                    prop_assert_eq!(purpose, note.as_ref().map(|note| note.purpose));
                    if let Some(note) = note {
                        let is_early_return = note.purpose == EARLY_RETURN;
                        let pause = if is_early_return { SCHEDULE.interval_account } else { SCHEDULE.initial_delay };
                        (note.due, note.doubts) = (now + pause, 0);
                        note.verifications += 1;
                        if note.purpose == Purpose::Recovery && note.verifications == 1 {
                            note.step += 1;
                        }
                    }
                }
                Move::Failed(name, epoch) => {
                    let failed = schedule.failed(&id(NAMES[name]), Epoch::from_raw(epoch), now, 0.5);
                    let began = paper.began.get(&name).copied();
                    let note = paper.ended(name, epoch);
                    prop_assert_eq!(failed.map(purpose_of), note.as_ref().map(|note| note.purpose));
                    match (failed, note) {
                        (None, _) | (_, None) => {}
                        (Some(Failed::StillFailing(finished)), Some(note)) => {
                            note.step += 1;
                            note.verifications += 1;
                            note.due = now + plain_delay(note.step);
                            prop_assert_eq!((finished.next, Some(finished.began)), (note.due, began));
                            prop_assert_eq!(finished.next_in, plain_delay(note.step));
                        }
                        (Some(Failed::OnceMore), Some(note)) => {
                            prop_assert_eq!(note.doubts, 0);
                            (note.due, note.doubts) = (now, 1);
                        }
                        (Some(Failed::Unfit), Some(note)) => {
                            prop_assert_eq!(note.doubts, 1, "two failures are a verdict, and then it rests");
                            (note.due, note.doubts) = (now + SCHEDULE.initial_delay, 0);
                        }
                        (Some(Failed::StillExhausted { next_in }), Some(note)) => {
                            note.due = now + SCHEDULE.interval_account;
                            prop_assert_eq!(next_in, SCHEDULE.interval_account);
                        }
                    }
                }
                Move::Hasten(name, epoch) => {
                    paper.hasten(name, epoch, now);
                    schedule.hasten(&[conversation(name, epoch)], now);
                }
            }
            let shown: Vec<_> = schedule
                .progress()
                .map(|(id, progress)| (id.clone(), progress.epoch, progress.purpose, progress.next))
                .collect();
            let noted = paper.notes.iter().map(|(name, note)| {
                (id(NAMES[*name]), Epoch::from_raw(note.epoch), note.purpose, (!note.running).then_some(note.due))
            });
            prop_assert_eq!(shown, noted.collect::<Vec<_>>());
            let mut under_way = paper.under_way();
            prop_assert_eq!(schedule.running(), under_way.len());
            under_way.sort_unstable();
            under_way.dedup_by_key(|(name, _)| *name);
            prop_assert_eq!(schedule.running(), under_way.len(), "two conversations with one endpoint");
        }
    }

    /// However often requests hasten it, and through however many epochs: a conversation that was not due by its own pace
    /// never begins closer to the latest one than the first delay.
    #[test]
    fn hastening_never_knocks_more_often_than_the_first_delay(
        steps in prop::collection::vec((0..3_u8, 0..4_u64), 0..80),
    ) {
        let mut schedule = Schedule::new(SCHEDULE);
        let (mut now, mut epoch, mut began) = (Moment::START, 1, None::<Moment>);
        let list = |epoch| [job(0, epoch, Purpose::Recovery, false, Moment::START + Duration::from_secs(1_000_000))];
        schedule.update(&list(epoch), now, || 0.5);
        for (what, seconds) in steps {
            now += Duration::from_secs(seconds);
            match what {
                0 => schedule.hasten(&[conversation(0, epoch)], now),
                1 => {
                    epoch += 1;
                    schedule.update(&list(epoch), now, || 0.5);
                }
                _ => {
                    schedule.passed(&id(NAMES[0]), Epoch::from_raw(epoch), now);
                    // As if it had been forgotten on the way: it is listed anew, far from due.
                    schedule.update(&[], now, || 0.5);
                    schedule.update(&list(epoch), now, || 0.5);
                }
            }
            if !schedule.start_due(now).is_empty() {
                prop_assert!(began.is_none_or(|began| now.since(began) >= SCHEDULE.initial_delay));
                began = Some(now);
            }
        }
    }

    /// Whatever is reported of whichever epoch, the breakers judge as a count over a list of everything does.
    #[test]
    fn the_breakers_agree_with_a_count(
        threshold in 1..6_u32,
        min_requests in 1..12_u32,
        reports in prop::collection::vec((0..2_usize, 0..4_u64, 0..9_u8, 0..6_u64), 0..120),
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
                8 => {
                    // A failure of not long ago is taken back; or one that was none, or of another epoch.
                    let ticket = Ticket { endpoint, epoch, serial: Serial::from_raw(serial.saturating_sub(seconds)) };
                    bank.retract(&ticket);
                    counts.retract(&ticket);
                    let shown = bank.get(&ticket.endpoint).map(|breaker| (breaker.epoch(), breaker.consecutive_failures()));
                    prop_assert_eq!(shown, counts.in_a_row(&ticket.endpoint));
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
        let suffices = Suffices::ThatModel;
        let evidence = || Evidence { reason: Reason::Connect, failures: 1, error: None, model: None, suffices };
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
