//! The actor that owns every endpoint's standing. It translates messages for its core and carries out what follows.

mod keeping;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, MessageResult, Recipient, Response, SpawnHandle,
};
use log::{debug, error, info, warn};
use tokio::sync::oneshot;

use super::Policies;
use super::lease::Lease;
use super::lifeline::Lifeline;
use super::messages::{
    Acquire, Acquired, Apply, AwaitKept, Converse, Doubt, Drain, FailureList, Fit, Hasten, IsKept, Isolate, Judged,
    KeepImage, Note, Notify, Observe, Proved, Recovered, ResetBreaker, Retract, SetBreakerPolicy, SetEnabled,
    SetVerifierPolicy, Settle, StillFailing, StopParking, Tick, Undecided, Unfit, Verdict, VerifyNow, ViewJournal,
    ViewRegistry,
};
use crate::clock::Clock;
use crate::domain::events::{Event, EventKind};
use crate::domain::health::{BreakerState, Status};
use crate::domain::ids::{EndpointId, Serial};
use crate::domain::memory::{Image, Memory};
use crate::domain::notice::Notice;
use crate::domain::outcome::Reason;
use crate::domain::queues::{Switch, SwitchError};
use crate::domain::registry::{self as core, Effect, Grant, MoveNote, Outputs, RegistryCore, RegistryPolicy, WaiterId};
use crate::domain::time::Moment;
use crate::domain::topology::TopologyDiff;
use crate::domain::verification::Verification;
use keeping::Keeping;

/// How often waiters' deadlines are looked at and the failure list is told again.
const TICK: Duration = Duration::from_secs(1);

/// Whom the registry speaks to.
#[derive(Debug)]
pub struct Peers {
    /// The breakers, for outcomes.
    pub observe: Recipient<Observe>,
    /// The breakers, for recoveries.
    pub reset: Recipient<ResetBreaker>,
    /// The breakers, for failures that are taken back.
    pub retract: Recipient<Retract>,
    /// The verifier, for the failure queue.
    pub failures: Recipient<FailureList>,
    /// The verifier, for those that requests wait for.
    pub hasten: Recipient<Hasten>,
    /// The verifier, for conversations that an admin wants.
    pub converse: Recipient<Converse>,
    /// The breakers, for what the settings say.
    pub breaker_policy: Recipient<SetBreakerPolicy>,
    /// The verifier, likewise.
    pub verifier_policy: Recipient<SetVerifierPolicy>,
    /// The keeper, if anything outlives a restart.
    pub keep: Option<Recipient<KeepImage>>,
    /// The stats collector.
    pub stats: Recipient<Note>,
    /// The notifier.
    pub notices: Recipient<Notify>,
}

/// A request that waits: where its answer goes, and the model that it asked for.
#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Acquired>,
    model: Option<Arc<str>>,
}

/// The one owner of queue membership.
#[derive(Debug)]
pub struct Registry {
    core: RegistryCore,
    clock: Clock,
    peers: Peers,
    waiting: HashMap<WaiterId, Waiting>,
    alarm: Option<(Moment, SpawnHandle)>,
    awaiting_verdict: HashMap<Serial, Vec<oneshot::Sender<()>>>,
    /// What leases report to: one for all, for each address of its own is a queue's further end.
    address: Option<Arc<Addr<Self>>>,
    /// None where nothing outlives a restart.
    keeping: Option<Keeping>,
    /// What follows from an input, until it is carried out; kept for its room.
    effects: Outputs,
    lifeline: Lifeline,
}

impl Registry {
    /// A registry without endpoints; [`Apply`] brings them. `memory` is what is known of the time before the start.
    pub fn new(policy: RegistryPolicy, clock: Clock, memory: Memory, peers: Peers, lifeline: Lifeline) -> Self {
        let mut core = RegistryCore::new(policy);
        core.remember(memory, &clock.almanac(), clock.now());
        let keeping = peers.keep.clone().map(|keeper| Keeping::new(keeper, peers.stats.clone()));
        Self {
            core,
            keeping,
            clock,
            peers,
            waiting: HashMap::new(),
            alarm: None,
            awaiting_verdict: HashMap::new(),
            address: None,
            effects: Outputs::new(),
            lifeline,
        }
    }

    fn lease(&mut self, grant: Grant, model: Option<Arc<str>>, ctx: &Context<Self>) -> Lease {
        let address = self.address.get_or_insert_with(|| Arc::new(ctx.address()));
        Lease::new(grant, model, self.core.epochs(), Arc::clone(address))
    }

    fn publish_failures(&self) {
        self.peers.failures.do_send(FailureList(self.core.conversations(self.clock.now()).into()));
    }

    /// Gives the core an input, dated once, and carries out what follows.
    fn step<T>(
        &mut self,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut RegistryCore, Moment, &mut Outputs) -> T,
    ) -> T {
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut self.effects);
        let answer = input(&mut self.core, now, &mut effects);
        self.carry_out(effects.drain(..), now, ctx);
        self.effects = effects;
        answer
    }

    /// Carries out what has followed from an input, in order.
    fn carry_out(&mut self, effects: impl Iterator<Item = Effect>, now: Moment, ctx: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Observe(observation) => {
                    self.peers.observe.do_send(Observe { observation, at: now });
                }
                Effect::ResetBreaker(endpoint, epoch) => self.peers.reset.do_send(ResetBreaker { endpoint, epoch }),
                Effect::Retract(ticket) => self.peers.retract.do_send(Retract(ticket)),
                Effect::PublishFailures => self.publish_failures(),
                Effect::Hasten(wanted) => self.peers.hasten.do_send(Hasten(wanted.into())),
                Effect::Granted(waiter, grant) => {
                    // A lease that nobody takes any more gives itself back when it is dropped.
                    if let Some(Waiting { reply, model }) = self.waiting.remove(&waiter) {
                        drop(reply.send(Ok(self.lease(grant, model, ctx))));
                    } else {
                        drop(self.lease(grant, None, ctx));
                    }
                }
                Effect::Refused(waiter, why) => {
                    if let Some(Waiting { reply, .. }) = self.waiting.remove(&waiter) {
                        drop(reply.send(Err(why)));
                    }
                }
                Effect::Judged(serial) => {
                    for reply in self.awaiting_verdict.remove(&serial).unwrap_or_default() {
                        self.tell_when_kept(reply);
                    }
                }
                Effect::Note(event, note) => {
                    log_move(&event, note);
                    self.log_standing(&event);
                    self.peers.notices.do_send(Notify(Notice::Event(event.clone())));
                    self.peers.stats.do_send(Note::Event(event));
                }
                Effect::Filtered { profile, excluded } => {
                    info!("failure queue filter: excluded {excluded} endpoint(s) profile={profile}");
                }
                Effect::Summary { profile, endpoints, usable, isolated } => {
                    info!("profile {profile}: {endpoints} endpoints, {usable} usable, {isolated} in the failure queue");
                }
                Effect::NothingUsable { profile, endpoints, isolated } => {
                    let disabled = endpoints.saturating_sub(isolated);
                    error!(
                        "profile {profile}: no endpoint is usable, {isolated} in the failure queue and {disabled} disabled"
                    );
                    self.peers.notices.do_send(Notify(Notice::NothingUsable { at: now, profile, endpoints, isolated }));
                }
                Effect::NeverProven(id) => warn!(
                    "endpoint {id} has never passed a verification nor served a request, so after this isolation it may not \
                     come back; see its base_url, key and verify_model, and verify it"
                ),
                Effect::Keep(keep) => self.keep(|keeping, image| keeping.changed(keep, image)),
                Effect::Leaked(ticket) => {
                    error!("LEAK: a request was sent to endpoint {} while it was isolated", ticket.endpoint);
                }
            }
        }
        self.set_alarm(ctx);
    }

    /// Has something kept, where anything is.
    fn keep(&mut self, act: impl FnOnce(&mut Keeping, &dyn Fn() -> Image)) {
        if let Some(keeping) = &mut self.keeping {
            let (core, clock) = (&self.core, &self.clock);
            act(keeping, &|| core.image(&clock.almanac(), clock.now()));
        }
    }

    /// Tells it once the latest move is on the disk, so that whoever hears of a move can rely on it also after a crash.
    fn tell_when_kept(&mut self, reply: oneshot::Sender<()>) {
        let now = self.clock.now();
        let at_once = match &mut self.keeping {
            Some(keeping) => keeping.wait(reply, now),
            None => Some(reply),
        };
        if let Some(reply) = at_once {
            let _ = reply.send(());
        }
    }

    /// Answers with this once the latest move is on the disk.
    fn when_kept<T: 'static>(&mut self, answer: T) -> Response<T> {
        let (reply, kept) = oneshot::channel();
        self.tell_when_kept(reply);
        Response::fut(async move {
            kept.await.unwrap_or_default();
            answer
        })
    }

    /// Sees to it that the clock is looked at when the next waiter has to be.
    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let next = self.core.next_wake();
        if self.alarm.map(|(wake, _)| wake) == next {
            return;
        }
        if let Some((_, alarm)) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        self.alarm = next.map(|wake| {
            let alarm = ctx.run_later(wake.since(self.clock.now()), |registry, ctx| {
                registry.alarm = None;
                registry.look_at_the_clock(ctx);
            });
            (wake, alarm)
        });
    }

    fn look_at_the_clock(&mut self, ctx: &mut Context<Self>) {
        self.forget_who_left();
        self.step(ctx, RegistryCore::tick);
    }

    fn forget_who_left(&mut self) {
        let gone: Vec<WaiterId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.reply.is_closed()).map(|(waiter, _)| *waiter).collect();
        for waiter in gone {
            self.waiting.remove(&waiter);
            self.core.leave(waiter);
        }
    }

    /// How an endpoint stands right after it moved: with a fresh epoch no failure is counted, and no verification begun.
    fn log_standing(&self, event: &Event) {
        if !log::log_enabled!(log::Level::Debug) {
            return;
        }
        let Some(id) = &event.endpoint else { return };
        let view = self.core.view(self.clock.now());
        let Some(moved) = view.endpoints.iter().find(|view| view.endpoint.id == *id) else { return };
        let standing = moved.standing.as_str();
        let status = Status::of(moved.standing, 0, moved.ease()).as_str();
        let breaker = BreakerState::of(moved.isolation.is_some(), false).as_str();
        debug!("endpoint {id} standing={standing} status={status} breaker={breaker} in_flight={}", moved.in_flight);
    }
}

fn log_move(event: &Event, note: MoveNote) {
    let Some(id) = &event.endpoint else { return };
    let by = event.by.map_or_else(String::new, |address| format!(" by=\"admin {address}\""));
    match event.kind {
        EventKind::Isolated => {
            let failures = match note {
                MoveNote::Failures(failures) => failures,
                MoveNote::None => 0,
            };
            let reason = event.reason.map_or("", Reason::as_str);
            let last_error = event.detail.as_deref().unwrap_or("-");
            warn!("endpoint {id} isolated reason={reason} failures={failures} last_error={last_error:?}{by}");
        }
        // Their lines are written where more is known: of a recovery its verifications, of a reload its faults.
        EventKind::Recovered | EventKind::Verified | EventKind::SecondOpinion | EventKind::Reload => {}
        EventKind::Cooldown => info!("endpoint {id} cooling {}", rest(event)),
        // It does not end as soon as a cooldown, and takes more than patience.
        EventKind::Exhausted => warn!("endpoint {id} exhausted {}", rest(event)),
        EventKind::Disabled => info!("endpoint {id} disabled{by}"),
        EventKind::Enabled => info!("endpoint {id} enabled{by}"),
        EventKind::Added => debug!("endpoint {id} added"),
        EventKind::Changed => info!("endpoint {id} changed"),
        EventKind::Removed => info!("endpoint {id} removed"),
    }
}

/// Who has written the settings would look in vain for why they don't do what they say.
fn log_overruled(id: &EndpointId, switch: Switch) {
    let (is, settings, route) = match switch {
        Switch::Off => ("off", "on", "enable"),
        Switch::On => ("on", "off", "disable"),
    };
    warn!(
        "endpoint {id} was switched {is} by an admin, though the settings have it {settings}: so it stays until \
         POST /__qcc__/endpoints/{id}/{route}"
    );
}

/// For what an endpoint rests, why and how long.
fn rest(event: &Event) -> String {
    let model = event.model.as_deref().unwrap_or("-");
    let reason = event.detail.as_deref().unwrap_or("-");
    let seconds = event.ms.unwrap_or_default().div_ceil(1000);
    format!("model={model:?} reason={reason} for={seconds}s")
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
        ctx.run_interval(TICK, |_, ctx| ctx.notify(Tick));
    }
}

impl Handler<Acquire> for Registry {
    type Result = ();

    fn handle(&mut self, Acquire { ask, failures, reply }: Acquire, ctx: &mut Self::Context) {
        let model = ask.model.clone();
        // Who has left takes no place from who has come.
        self.forget_who_left();
        let doubting = (!failures.is_empty()).then(|| ask.clone());
        let acquired = self.step(ctx, |core, now, out| core.acquire(ask, now, out));
        match acquired {
            core::Acquired::Granted(grant) => drop(reply.send(Ok(self.lease(grant, model, ctx)))),
            core::Acquired::Refused(why) => drop(reply.send(Err(why))),
            core::Acquired::Waiting(waiter) => {
                self.waiting.insert(waiter, Waiting { reply, model });
                if let Some(ask) = doubting {
                    self.step(ctx, |core, now, out| core.doubt_while_waiting(&ask, &failures, now, out));
                }
            }
        }
    }
}

impl Handler<Settle> for Registry {
    type Result = ();

    fn handle(&mut self, Settle(settlement): Settle, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.settle(settlement, now, out));
    }
}

impl Handler<Doubt> for Registry {
    type Result = ();

    fn handle(&mut self, Doubt { ask, failures }: Doubt, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.doubt(&ask, &failures, now, out));
    }
}

impl Handler<Fit> for Registry {
    type Result = ();

    fn handle(&mut self, Fit { endpoint, epoch, purpose }: Fit, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.fit(&endpoint, epoch, purpose, now, out));
    }
}

impl Handler<Proved> for Registry {
    type Result = ();

    fn handle(&mut self, Proved { endpoint, epoch }: Proved, _: &mut Self::Context) {
        self.core.proved(&endpoint, epoch);
    }
}

impl Handler<Unfit> for Registry {
    type Result = ();

    fn handle(&mut self, Unfit { endpoint, epoch, error }: Unfit, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.unfit(&endpoint, epoch, error, now, out));
    }
}

impl Handler<Undecided> for Registry {
    type Result = ();

    fn handle(&mut self, Undecided { endpoint, epoch }: Undecided, ctx: &mut Self::Context) {
        self.step(ctx, |core, _, out| core.undecided(&endpoint, epoch, out));
    }
}

impl Handler<StillFailing> for Registry {
    type Result = ();

    fn handle(&mut self, news: StillFailing, ctx: &mut Self::Context) {
        let StillFailing { endpoint, epoch, finished } = news;
        self.step(ctx, |core, now, out| core.still_failing(&endpoint, epoch, &finished, now, out));
    }
}

impl Handler<Verdict> for Registry {
    type Result = ();

    fn handle(&mut self, Verdict { ticket, judgement }: Verdict, ctx: &mut Self::Context) {
        self.step(ctx, |core, now, out| core.judge(&ticket, judgement, now, out));
    }
}

impl Handler<Judged> for Registry {
    type Result = Response<()>;

    fn handle(&mut self, Judged(serial): Judged, _: &mut Self::Context) -> Self::Result {
        if !self.core.awaits_verdict(serial) {
            return self.when_kept(());
        }
        let (reply, answer) = oneshot::channel();
        self.awaiting_verdict.entry(serial).or_default().push(reply);
        Response::fut(async move { answer.await.unwrap_or_default() })
    }
}

impl Handler<Recovered> for Registry {
    type Result = ();

    fn handle(&mut self, Recovered { proof, verifications, step }: Recovered, ctx: &mut Self::Context) {
        let (id, ms, score) = (proof.endpoint().clone(), proof.elapsed().as_millis(), proof.score());
        self.step(ctx, |core, now, out| {
            core.passed(&id, proof.epoch(), step);
            if core.restore(proof, now, out).is_some() {
                info!("endpoint {id} recovered ms={ms} score={score} verifications={verifications}");
            }
        });
    }
}

impl Handler<Apply> for Registry {
    type Result = MessageResult<Apply>;

    fn handle(&mut self, Apply { topology, profiles, policies }: Apply, ctx: &mut Self::Context) -> Self::Result {
        let Policies { registry, breaker, schedule, probe, events: _ } = policies;
        self.core.set_policy(registry);
        self.peers.breaker_policy.do_send(SetBreakerPolicy(breaker));
        self.peers.verifier_policy.do_send(SetVerifierPolicy { schedule, probe });
        self.core.set_clients(profiles);
        let diff: TopologyDiff = self.step(ctx, |core, now, out| core.apply(topology, now, out));
        for (id, switch) in self.core.overruled() {
            log_overruled(id, switch);
        }
        MessageResult(diff)
    }
}

impl Handler<SetEnabled> for Registry {
    type Result = Response<Result<(), SwitchError>>;

    fn handle(&mut self, SetEnabled { id, enabled, by }: SetEnabled, ctx: &mut Self::Context) -> Self::Result {
        let result = self.step(ctx, |core, now, out| core.set_enabled(&id, enabled, by, now, out));
        self.when_kept(result.map(drop))
    }
}

impl Handler<Isolate> for Registry {
    type Result = Response<Result<(), SwitchError>>;

    fn handle(&mut self, Isolate { id, by }: Isolate, ctx: &mut Self::Context) -> Self::Result {
        let result = self.step(ctx, |core, now, out| core.isolate_by_admin(&id, by, now, out));
        self.when_kept(result.map(drop))
    }
}

impl Handler<VerifyNow> for Registry {
    type Result = Response<Result<Verification, SwitchError>>;

    fn handle(&mut self, VerifyNow { id, by }: VerifyNow, _: &mut Self::Context) -> Self::Result {
        let Some(subject) = self.core.subject(&id) else {
            return Response::reply(Err(SwitchError::Unknown));
        };
        let (reply, answer) = oneshot::channel();
        self.peers.converse.do_send(Converse { subject, by, reply });
        Response::fut(async move { Ok(answer.await.unwrap_or_else(|_| Verification::interrupted())) })
    }
}

impl Handler<AwaitKept> for Registry {
    type Result = Response<()>;

    fn handle(&mut self, _: AwaitKept, _: &mut Self::Context) -> Self::Result {
        self.when_kept(())
    }
}

impl Handler<ViewRegistry> for Registry {
    type Result = MessageResult<ViewRegistry>;

    fn handle(&mut self, _: ViewRegistry, _: &mut Self::Context) -> Self::Result {
        self.forget_who_left();
        MessageResult(self.core.view(self.clock.now()))
    }
}

impl Handler<ViewJournal> for Registry {
    type Result = MessageResult<ViewJournal>;

    fn handle(&mut self, _: ViewJournal, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.core.journal().clone())
    }
}

impl Handler<Tick> for Registry {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.look_at_the_clock(ctx);
        self.publish_failures();
        let now = self.clock.now();
        self.keep(|keeping, image| {
            keeping.catch_up(image);
            keeping.look_at_the_clock(now);
        });
    }
}

impl Handler<IsKept> for Registry {
    type Result = ();

    fn handle(&mut self, IsKept(number): IsKept, _: &mut Self::Context) {
        self.keep(|keeping, image| keeping.is_kept(number, image));
    }
}

impl Handler<StopParking> for Registry {
    type Result = ();

    fn handle(&mut self, _: StopParking, ctx: &mut Self::Context) {
        self.step(ctx, RegistryCore::stop_parking);
    }
}

impl Handler<Drain> for Registry {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.keep(|keeping, image| keeping.finish(image));
        self.lifeline.release();
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
