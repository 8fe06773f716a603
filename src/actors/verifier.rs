//! The actor that holds test conversations. It converses only with endpoints that the registry has named, and moves none:
//! it reports what it found.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, SpawnHandle,
    WrapFuture,
};
use log::info;
use tokio::sync::oneshot;

use super::lifeline::Lifeline;
use super::messages::{
    Concluded, Conclusion, Converse, Drain, FailureList, ForgetOthers, Hasten, Note, Notify, Recovered,
    SetVerifierPolicy, Tick, ViewVerifier,
};
use crate::clock::Clock;
use crate::domain::challenge::{Code, RecoveryProof, Unproven, Verdict};
use crate::domain::conversation::Tokens;
use crate::domain::events::{Event, EventKind};
use crate::domain::ids::EndpointId;
use crate::domain::notice::Notice;
use crate::domain::schedule::{
    AtHome, AtOnce, Conversation, Count, Failed, Passed, Progress, Purpose, Schedule, SchedulePolicy, Subject,
    Suffices, Task, VerifyJob,
};
use crate::domain::stats::VerificationRecord;
use crate::domain::time::{Moment, whole_millis};
use crate::domain::usage::Usage;
use crate::domain::verification::{LastVerification, Verification};
use crate::upstream::{Bill, Probe};

/// The actors that the verifier sends to.
#[derive(Debug)]
pub struct Peers {
    /// The registry, for proofs.
    pub recovered: Recipient<Recovered>,
    /// The registry, for all other conclusions.
    pub concluded: Recipient<Concluded>,
    /// The stats collector.
    pub stats: Recipient<Note>,
    /// The notifier.
    pub notices: Recipient<Notify>,
}

/// The verifier's state as routes and tests see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifierView {
    /// How far the conversations with each named endpoint are.
    pub progress: BTreeMap<EndpointId, Progress>,
    /// How often each endpoint was verified since its latest isolation.
    pub counts: BTreeMap<EndpointId, Count>,
    /// The latest conversation with each endpoint.
    pub last: BTreeMap<EndpointId, LastVerification>,
    /// What all conversations with each endpoint have cost, those that failed or were broken off included.
    pub spent: BTreeMap<EndpointId, Tokens>,
}

#[derive(Debug)]
struct Running {
    subject: Subject,
    bill: Rc<Bill>,
    handle: SpawnHandle,
    replies: Vec<oneshot::Sender<Verification>>,
    /// The admin who wanted it.
    by: Option<IpAddr>,
}

/// The admin who wants a conversation, and where its verdict goes.
type Wanted = (IpAddr, oneshot::Sender<Verification>);

/// Holds the conversations.
#[derive(Debug)]
pub struct Verifier {
    schedule: Schedule,
    clock: Clock,
    probe: Rc<Probe>,
    peers: Peers,
    /// The conversations under way, at most one per endpoint.
    running: HashMap<EndpointId, Running>,
    last: BTreeMap<EndpointId, LastVerification>,
    spent: BTreeMap<EndpointId, Tokens>,
    alarm: Option<(Moment, SpawnHandle)>,
    lifeline: Lifeline,
}

impl Verifier {
    /// A verifier that knows of no failure yet.
    pub fn new(policy: SchedulePolicy, clock: Clock, probe: Probe, peers: Peers, lifeline: Lifeline) -> Self {
        Self {
            schedule: Schedule::new(policy),
            clock,
            probe: Rc::new(probe),
            peers,
            running: HashMap::new(),
            last: BTreeMap::new(),
            spent: BTreeMap::new(),
            alarm: None,
            lifeline,
        }
    }

    /// Starts what is due and sets the alarm for what is due next.
    fn look_at_the_clock(&mut self, ctx: &mut Context<Self>) {
        for subject in self.schedule.start_due(self.clock.now()) {
            self.start(subject, None, ctx);
        }
        let next = self.schedule.next_due();
        if self.alarm.map(|(due, _)| due) == next {
            return;
        }
        if let Some((_, alarm)) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        self.alarm = next.map(|due| {
            let alarm = ctx.run_later(due.since(self.clock.now()), |verifier, ctx| {
                verifier.alarm = None;
                ctx.notify(Tick);
            });
            (due, alarm)
        });
    }

    fn start(&mut self, subject: Subject, wanted: Option<Wanted>, ctx: &mut Context<Self>) {
        let conversation = subject.conversation();
        let (probe, clock, bill) = (Rc::clone(&self.probe), self.clock, Rc::new(Bill::default()));
        let code = Code::from_random(fastrand::u64(..));
        let talk = {
            let (subject, bill) = (subject.clone(), Rc::clone(&bill));
            async move { probe.converse(&subject, code, clock, &bill).await }
        };
        let handle = ctx.spawn(talk.into_actor(self).map(move |verdict, verifier, ctx| {
            verifier.finish(&conversation, verdict, ctx);
        }));
        let (by, replies) = wanted.map_or_else(Default::default, |(by, reply)| (Some(by), vec![reply]));
        let running = Running { subject, bill, handle, replies, by };
        self.running.insert(running.subject.endpoint.id.clone(), running);
    }

    fn finish(&mut self, conversation: &Conversation, verdict: Verdict, ctx: &mut Context<Self>) {
        let passed = matches!(verdict, Verdict::Proven(_));
        let Some(Running { subject, bill, replies, by, .. }) = self.take_running(conversation, Some(passed)) else {
            return;
        };
        let (id, epoch) = conversation;
        let now = self.clock.now();
        let result = Verification { tokens: bill.total(), ..Verification::of(&verdict) };
        self.note((&subject, by), self.schedule.counts_for(id, *epoch), &result, now);
        match verdict {
            Verdict::Proven(proof) => {
                let passed = self.schedule.passed(id, *epoch, now);
                self.report_passed(&subject, proof, passed);
            }
            Verdict::Unproven(unproven) => {
                let failed = self.schedule.failed(id, *epoch, now, fastrand::f64());
                self.report_failed(&subject, unproven, failed);
            }
        }
        let last = LastVerification { service: Arc::clone(&subject.endpoint), at: now, result: result.clone() };
        self.last.insert(id.clone(), last);
        for reply in replies {
            drop(reply.send(result.clone()));
        }
        self.look_at_the_clock(ctx);
    }

    fn report_passed(&self, subject: &Subject, proof: RecoveryProof, passed: Option<Passed>) {
        let (id, ms, score) = (proof.endpoint(), proof.elapsed().as_millis(), proof.score());
        match passed {
            Some(Passed::Recovered { verifications, step }) => {
                self.peers.recovered.do_send(Recovered { proof, verifications, step });
            }
            Some(Passed::Fit(purpose)) => {
                info!("endpoint {id} {} passed ms={ms} score={score}", Purpose::AtHome(purpose).as_str());
                self.conclude(subject, Conclusion::Fit { purpose, model: subject.model.clone() });
            }
            None => {
                info!("endpoint {id} verified ms={ms} score={score}");
                self.conclude(subject, Conclusion::Proved);
            }
        }
    }

    fn report_failed(&self, subject: &Subject, unproven: Unproven, failed: Option<Failed>) {
        const OPINION: &str = Purpose::AtHome(AtHome::Opinion).as_str();
        let (id, decides_nothing) = (&subject.endpoint.id, unproven.decides_nothing(&subject.endpoint.auth));
        let error = unproven.error;
        match failed {
            Some(Failed::StillFailing(finished)) => {
                let (verifications, shown) = (finished.verifications, show_delay(finished.next_in));
                info!("endpoint {id} verification {verifications} failed error={:?} next={shown}", error.as_str());
                self.conclude(subject, Conclusion::StillFailing(finished));
            }
            Some(Failed::OnceMore) => {
                info!("endpoint {id} {OPINION} failed error={:?}", error.as_str());
            }
            Some(Failed::Unfit) => {
                info!("endpoint {id} {OPINION} failed error={:?}", error.as_str());
                let conclusion = if decides_nothing { Conclusion::Undecided } else { Conclusion::Unfit(error) };
                self.conclude(subject, conclusion);
            }
            Some(Failed::StillExhausted { next_in }) => {
                let (what, shown) = (Purpose::AtHome(AtHome::EarlyReturn).as_str(), show_delay(next_in));
                info!("endpoint {id} {what} failed error={:?} next={shown}", error.as_str());
                self.conclude(subject, Conclusion::StillExhausted { model: subject.model.clone() });
            }
            None => info!("endpoint {id} not verified error={:?}", error.as_str()),
        }
    }

    fn conclude(&self, subject: &Subject, conclusion: Conclusion) {
        let (endpoint, epoch) = (subject.endpoint.id.clone(), subject.epoch);
        self.peers.concluded.do_send(Concluded { endpoint, epoch, conclusion });
    }

    fn note(
        &self,
        (subject, by): (&Subject, Option<IpAddr>),
        counts_for: Option<Task>,
        result: &Verification,
        now: Moment,
    ) {
        let mut event = Event::new(EventKind::Verified, now, &subject.endpoint.id);
        if let Some(Task::Opinion { reason }) = counts_for {
            event.kind = EventKind::SecondOpinion;
            event.reason = Some(reason);
            event.model = subject.model.as_deref().map(str::to_owned);
        }
        event.epoch = Some(subject.epoch);
        event.by = by;
        event.detail = Some(result.error.clone().unwrap_or_else(|| Event::PASSED.to_owned()));
        event.ms = Some(whole_millis(result.elapsed));
        event.score = Some(result.score);
        event.tokens = Some(result.tokens);
        self.peers.notices.do_send(Notify(Notice::Event(event.clone())));
        self.peers.stats.do_send(Note::Event(event));
    }

    /// Breaks off a conversation that is void. Whoever waits for its verdict is told so by the lost channel, if that is dropped.
    fn break_off(&mut self, conversation: &Conversation, ctx: &mut Context<Self>) -> Option<Running> {
        let running = self.take_running(conversation, None)?;
        ctx.cancel_future(running.handle);
        Some(running)
    }

    /// Holds a void conversation again for the admins who wait for its verdict: something else is asked now, or nothing
    /// is. If the endpoint has not moved, they get the verdict of the conversation that takes its place.
    fn hold_again(&mut self, void: Running, jobs: &[VerifyJob], ctx: &mut Context<Self>) {
        let conversation = void.subject.conversation();
        let listed = jobs.iter().find(|job| job.subject.endpoint.id == conversation.0).map(|job| &job.subject);
        // An endpoint that is on no list has moved, unless it was asked about a used-up window, which has ended since.
        let ended_window = (void.subject.suffices == Suffices::ItAlone).then_some(&void.subject);
        let again = listed.or(ended_window).filter(|subject| subject.conversation() == conversation);
        if let Some(subject) = again
            && let AtOnce::Begin { subject, void: None } = self.schedule.start_now(subject, self.clock.now())
        {
            self.start(subject, None, ctx);
        }
        let (id, epoch) = conversation;
        if let Some(running) = self.running.get_mut(&id).filter(|running| running.subject.epoch == epoch) {
            running.replies.extend(void.replies);
            running.by = running.by.or(void.by);
        }
    }

    /// Removes a conversation that is over, and notes its cost. `passed` is `None` if it was broken off.
    fn take_running(&mut self, (id, epoch): &Conversation, passed: Option<bool>) -> Option<Running> {
        self.running.get(id).filter(|running| running.subject.epoch == *epoch)?;
        let running = self.running.remove(id)?;
        let Tokens { input, output } = running.bill.total();
        *self.spent.entry(id.clone()).or_default() += running.bill.total();
        self.peers.stats.do_send(Note::Verification(VerificationRecord {
            endpoint: running.subject.endpoint.clone(),
            model: running.bill.model(),
            passed,
            usage: Usage { input, output, ..Usage::default() },
        }));
        Some(running)
    }
}

/// A delay for people to read: whole seconds, or milliseconds below one second.
fn show_delay(delay: Duration) -> String {
    match delay.as_secs() {
        0 => format!("{}ms", delay.as_millis()),
        seconds => format!("{}s", seconds + u64::from(delay.subsec_millis() >= 500)),
    }
}

impl Actor for Verifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
    }
}

impl Handler<FailureList> for Verifier {
    type Result = ();

    fn handle(&mut self, FailureList(jobs): FailureList, ctx: &mut Self::Context) {
        let mut still_wanted = Vec::new();
        for conversation in self.schedule.update(&jobs, self.clock.now(), fastrand::f64) {
            let broken_off = self.break_off(&conversation, ctx);
            still_wanted.extend(broken_off.filter(|running| !running.replies.is_empty()));
        }
        self.look_at_the_clock(ctx);
        for wanted in still_wanted {
            self.hold_again(wanted, &jobs, ctx);
        }
    }
}

impl Handler<Hasten> for Verifier {
    type Result = ();

    fn handle(&mut self, Hasten(waited_for): Hasten, ctx: &mut Self::Context) {
        self.schedule.hasten(&waited_for, self.clock.now());
        self.look_at_the_clock(ctx);
    }
}

impl Handler<SetVerifierPolicy> for Verifier {
    type Result = ();

    /// Conversations under way go on under the policy they began with.
    fn handle(&mut self, message: SetVerifierPolicy, ctx: &mut Self::Context) {
        let SetVerifierPolicy { schedule, probe } = message;
        self.schedule.set_policy(schedule, self.clock.now(), fastrand::f64);
        self.probe = Rc::new(self.probe.with(probe));
        self.look_at_the_clock(ctx);
    }
}

impl Handler<ForgetOthers> for Verifier {
    type Result = ();

    /// An admin's conversation with an endpoint that is gone goes on; what is noted at its end is forgotten the next
    /// time.
    fn handle(&mut self, ForgetOthers(known): ForgetOthers, _: &mut Self::Context) {
        self.schedule.forget_others(&known);
        self.last.retain(|id, _| known.contains(id));
        self.spent.retain(|id, _| known.contains(id));
    }
}

impl Handler<Converse> for Verifier {
    type Result = ();

    fn handle(&mut self, Converse { subject, by, reply }: Converse, ctx: &mut Self::Context) {
        match self.schedule.start_now(&subject, self.clock.now()) {
            AtOnce::Begin { subject, void } => {
                if let Some(void) = void {
                    self.break_off(&void, ctx);
                }
                self.start(subject, Some((by, reply)), ctx);
            }
            AtOnce::UnderWay => {
                if let Some(running) = self.running.get_mut(&subject.endpoint.id) {
                    running.replies.push(reply);
                    running.by = Some(by);
                }
            }
            // The closed channel tells that the endpoint has moved.
            AtOnce::Stale => drop(reply),
        }
        self.look_at_the_clock(ctx);
    }
}

impl Handler<Tick> for Verifier {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.look_at_the_clock(ctx);
    }
}

impl Handler<ViewVerifier> for Verifier {
    type Result = MessageResult<ViewVerifier>;

    fn handle(&mut self, _: ViewVerifier, _: &mut Self::Context) -> Self::Result {
        MessageResult(VerifierView {
            progress: self.schedule.progress().map(|(id, progress)| (id.clone(), progress)).collect(),
            counts: self.schedule.counts().clone(),
            last: self.last.clone(),
            spent: self.spent.clone(),
        })
    }
}

impl Handler<Drain> for Verifier {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.lifeline.release();
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
