//! The actor that holds test conversations with isolated endpoints. It talks to nobody whom the registry has not named, and
//! moves nobody: it reports what it found.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, SpawnHandle,
    WrapFuture,
};
use log::info;
use tokio::sync::oneshot;

use super::lifeline::Lifeline;
use super::messages::{Converse, Drain, FailureList, Note, Recovered, Tick, ViewVerifier};
use crate::clock::Clock;
use crate::domain::challenge::{Code, Verdict};
use crate::domain::events::{Event, EventKind};
use crate::domain::ids::{EndpointId, Epoch};
use crate::domain::schedule::{Progress, Schedule, SchedulePolicy, VerifyJob};
use crate::domain::time::Moment;
use crate::domain::verification::{LastVerification, Verification};
use crate::upstream::Probe;

/// The verifier's state as routes and tests see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifierView {
    /// How far each isolated endpoint's verification is.
    pub progress: BTreeMap<EndpointId, Progress>,
    /// How often each endpoint was verified since its latest isolation.
    pub counts: BTreeMap<EndpointId, u32>,
    /// The latest verification of each endpoint.
    pub last: BTreeMap<EndpointId, LastVerification>,
}

type Conversation = (EndpointId, Epoch);

#[derive(Debug)]
struct Running {
    handle: SpawnHandle,
    replies: Vec<oneshot::Sender<Verification>>,
}

/// Holds the conversations.
#[derive(Debug)]
pub struct Verifier {
    schedule: Schedule,
    clock: Clock,
    probe: Rc<Probe>,
    registry: Recipient<Recovered>,
    stats: Recipient<Note>,
    running: HashMap<Conversation, Running>,
    counts: BTreeMap<EndpointId, u32>,
    last: BTreeMap<EndpointId, LastVerification>,
    alarm: Option<(Moment, SpawnHandle)>,
    lifeline: Lifeline,
}

impl Verifier {
    /// A verifier that knows of no failure yet.
    pub fn new(
        policy: SchedulePolicy,
        clock: Clock,
        probe: Probe,
        registry: Recipient<Recovered>,
        stats: Recipient<Note>,
        lifeline: Lifeline,
    ) -> Self {
        Self {
            schedule: Schedule::new(policy),
            clock,
            probe: Rc::new(probe),
            registry,
            stats,
            running: HashMap::new(),
            counts: BTreeMap::new(),
            last: BTreeMap::new(),
            alarm: None,
            lifeline,
        }
    }

    /// Starts what is due and sets the alarm for what is due next.
    fn look_at_the_clock(&mut self, ctx: &mut Context<Self>) {
        for job in self.schedule.start_due(self.clock.now()) {
            self.start(&job, None, ctx);
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

    fn start(&mut self, job: &VerifyJob, reply: Option<oneshot::Sender<Verification>>, ctx: &mut Context<Self>) {
        let conversation = (job.endpoint.id.clone(), job.epoch);
        if let Some(running) = self.running.get_mut(&conversation) {
            running.replies.extend(reply);
            return;
        }
        let probe = Rc::clone(&self.probe);
        let (job, code) = (job.clone(), Code::from_random(fastrand::u64(..)));
        let clock = self.clock;
        let key = conversation.clone();
        let talk = async move { probe.converse(&job, code, clock).await };
        let handle = ctx.spawn(talk.into_actor(self).map(move |verdict, verifier, ctx| {
            verifier.finish(&key, verdict, ctx);
        }));
        self.running.insert(conversation, Running { handle, replies: reply.into_iter().collect() });
    }

    fn finish(&mut self, conversation: &Conversation, verdict: Verdict, ctx: &mut Context<Self>) {
        let Some(running) = self.running.remove(conversation) else { return };
        let (id, epoch) = conversation;
        let now = self.clock.now();
        let result = Verification::of(&verdict);
        self.note(id, *epoch, &result, now);
        match verdict {
            Verdict::Proven(proof) => {
                if let Some(verifications) = self.schedule.passed(id, *epoch, now) {
                    self.counts.insert(id.clone(), verifications);
                    self.registry.do_send(Recovered { proof, verifications });
                } else {
                    info!("endpoint {id} verified ms={} score={}", proof.elapsed().as_millis(), proof.score());
                }
            }
            Verdict::Unproven(unproven) => {
                if let Some(finished) = self.schedule.failed(id, *epoch, now, fastrand::f64()) {
                    self.counts.insert(id.clone(), finished.verifications);
                    let (number, error) = (finished.verifications, unproven.error.as_str());
                    let next = show_delay(finished.next_in);
                    info!("endpoint {id} verification {number} failed error={error:?} next={next}");
                } else {
                    info!("endpoint {id} not verified error={:?}", unproven.error.as_str());
                }
            }
        }
        self.last.insert(id.clone(), LastVerification { at: now, result: result.clone() });
        for reply in running.replies {
            drop(reply.send(result.clone()));
        }
        self.look_at_the_clock(ctx);
    }

    fn note(&self, id: &EndpointId, epoch: Epoch, result: &Verification, now: Moment) {
        let mut event = Event::new(EventKind::Verified, now, id);
        event.epoch = Some(epoch);
        event.detail = Some(result.error.clone().unwrap_or_else(|| "passed".to_owned()));
        event.ms = u64::try_from(result.elapsed.as_millis()).ok();
        event.score = Some(result.score);
        self.stats.do_send(Note::Event(event));
    }

    /// Breaks off a conversation whose endpoint has moved on.
    fn break_off(&mut self, conversation: &Conversation, ctx: &mut Context<Self>) {
        if let Some(running) = self.running.remove(conversation) {
            ctx.cancel_future(running.handle);
        }
    }
}

/// Whole seconds as people read them; delays under a second in milliseconds.
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
        let now = self.clock.now();
        for job in jobs.iter() {
            let known =
                self.schedule.progress().any(|(id, progress)| *id == job.endpoint.id && progress.epoch == job.epoch);
            if !known {
                self.counts.insert(job.endpoint.id.clone(), 0);
            }
        }
        for conversation in self.schedule.update(&jobs, now, fastrand::f64) {
            self.break_off(&conversation, ctx);
        }
        self.look_at_the_clock(ctx);
    }
}

impl Handler<Converse> for Verifier {
    type Result = ();

    fn handle(&mut self, Converse { job, reply }: Converse, ctx: &mut Self::Context) {
        // If it is in the failure queue, this counts as its verification, and passing brings it back.
        self.schedule.start_now(&job.endpoint.id, job.epoch);
        self.start(&job, Some(reply), ctx);
    }
}

impl Handler<super::messages::Hasten> for Verifier {
    type Result = ();

    fn handle(&mut self, _: super::messages::Hasten, _: &mut Self::Context) {}
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
            counts: self.counts.clone(),
            last: self.last.clone(),
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
